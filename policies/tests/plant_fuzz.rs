//! No plant file, however broken, brings the reader down; and what it accepts is fit to be used.

use std::sync::LazyLock;

use policies::plant::Plant;
use proptest::prelude::*;

static EXAMPLES: LazyLock<Vec<String>> = LazyLock::new(|| {
    ["packaging-line", "water-works", "wind-farm"]
        .map(|name| format!("{}/examples/{name}.toml", env!("CARGO_MANIFEST_DIR")))
        .map(|file| std::fs::read_to_string(file).expect("the example is there"))
        .into()
});

/// Either a plant that keeps what `Plant` promises, or mistakes that lie inside the text.
fn check(text: &str) {
    match Plant::parse(text) {
        Ok(plant) => {
            assert!(!plant.changes.is_empty());
            assert!(
                plant
                    .targets
                    .values()
                    .all(|target| plant.zones.contains_key(&target.zone) && !target.services.is_empty())
            );
            assert!(
                plant
                    .rules
                    .iter()
                    .all(|rule| !rule.approvals.is_empty() && !rule.vendors.is_empty() && rule.duration_max.0 > 0)
            );
        }
        Err(mistakes) => {
            let lines = text.split('\n').count();
            assert!(mistakes.count() > 0);
            for mistake in mistakes.iter() {
                assert!((1..=lines).contains(&mistake.line) && mistake.column >= 1, "{mistake}");
                assert!(!mistake.to_string().chars().any(char::is_control), "{mistake:?}");
            }
            let places: Vec<_> = mistakes.iter().map(|mistake| (mistake.line, mistake.column)).collect();
            assert!(places.is_sorted());
        }
    }
}

/// What takes the place of a line or of a value: other types, other extremes, other kinds of letters.
const ODD: [&str; 24] = [
    "",
    "3",
    "-1",
    "99999999999999999999",
    "0x0",
    "1.5",
    "nan",
    "true",
    "1979-05-27",
    "\"\"",
    "\"x\"",
    "\"\\u0000\"",
    "\"\\u202e\"",
    "[]",
    "[[]]",
    "[1]",
    "[\"a\", 1]",
    "{}",
    "{ a = 1 }",
    "[{}]",
    "\"4h\"",
    "\"Mon-Sun 00:00-24:00\"",
    "\"(((((((((\"",
    "\"::/0\"",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_text_is_no_plant_and_no_panic(text in any::<String>()) {
        check(&text);
    }

    #[test]
    fn random_toml_is_no_panic(lines in prop::collection::vec("(\\[{0,2}(plant|zones|targets|rules)?\\.?[a-z\"é]{0,6}\\]{0,2}|[a-z_]{1,9} = .{0,12})", 0..20)) {
        check(&lines.join("\n"));
    }

    #[test]
    fn an_example_with_bytes_changed_is_no_panic(
        which in 0..3_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = EXAMPLES[which].clone().into_bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        check(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn an_example_with_values_exchanged_is_no_panic(
        which in 0..3_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..ODD.len(), any::<bool>()), 1..8),
    ) {
        let mut lines: Vec<_> = EXAMPLES[which].lines().map(str::to_owned).collect();
        for (at, odd, whole) in changes {
            let at = at.index(lines.len());
            lines[at] = match lines[at].split_once(" = ") {
                Some((key, _)) if !whole => format!("{key} = {}", ODD[odd]),
                _ => String::new(),
            };
        }
        check(&lines.join("\n"));
    }

    #[test]
    fn an_example_with_lines_in_another_order_is_no_panic(
        which in 0..3_usize,
        swaps in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..20),
    ) {
        let mut lines: Vec<_> = EXAMPLES[which].lines().collect();
        for (a, b) in swaps {
            let (a, b) = (a.index(lines.len()), b.index(lines.len()));
            lines.swap(a, b);
        }
        check(&lines.join("\n"));
    }
}

#[test]
fn depth_and_length_are_bounded() {
    check(&format!("plant = {}1{}", "[".repeat(50_000), "]".repeat(50_000)));
    check(&format!("{}\n", "a".repeat(5 << 20)));
    check(&format!("x = [{}]", "1,".repeat(200_000)));
    check(&format!("[plant]\nchanges = [{}]", "1,".repeat(200_000)));
    check(&format!("[plant]\ntimezone = {:?}", "Europe/Berlin".repeat(100_000)));
    check(&(0..20_000).map(|n| format!("key{n} = 1\n")).collect::<String>());
}
