//! What one plant file says otherwise than another, in words. Both are compared key by key, whatever keys there are, so
//! that none can be changed without being told; comments and order of keys mean nothing and are not told.

use std::collections::BTreeMap;

use toml::{Table, Value};

use recordings::words::Words;

/// What changes from `old` to `new`, a line each; both are right plant files.
pub fn in_words(old: &Table, new: &Table) -> Vec<String> {
    let (before, after) = (things(old), things(new));
    let mut lines = Vec::new();
    for (name, keys) in &after {
        match before.get(name) {
            None => {
                lines.push(format!("new: {name}"));
                lines.extend(keys.iter().map(|(key, value)| format!("    {key} = {value}")));
            }
            Some(was) => lines.extend(changes(name, was, keys)),
        }
    }
    lines.extend(before.keys().filter(|name| !after.contains_key(*name)).map(|name| format!("gone: {name}")));
    let common = |file: &Table, other: &BTreeMap<String, Keys>| -> Vec<String> {
        rule_names(file).into_iter().filter(|name| other.contains_key(name)).collect()
    };
    if common(old, &after) != common(new, &before) {
        let order = rule_names(new).join(", ");
        lines.push(format!("rules stand in another order, and the first that allows decides: {order}"));
    }
    lines
}

fn plain(text: &str) -> String {
    Words::from(text).to_string()
}

/// A thing's keys, and their values as text.
type Keys = BTreeMap<String, String>;

/// Everything that has a name of its own: the plant, zones, targets, services, rules.
fn things(file: &Table) -> BTreeMap<String, Keys> {
    let mut things = BTreeMap::new();
    for (section, value) in file {
        match (section.as_str(), value) {
            ("zones", Value::Table(zones)) => {
                things.extend(zones.iter().map(|(name, zone)| (format!("zone {}", plain(name)), keys(zone, ""))));
            }
            ("targets", Value::Table(targets)) => targets.iter().for_each(|(name, it)| target(name, it, &mut things)),
            ("rules", Value::Array(rules)) => {
                things.extend(rules.iter().map(|rule| (rule_name(rule), keys(rule, "id"))));
            }
            (other, value) => {
                things.insert(plain(other), keys(value, ""));
            }
        }
    }
    things
}

fn target(name: &str, value: &Value, things: &mut BTreeMap<String, Keys>) {
    let name = plain(name);
    if let Some(Value::Table(services)) = value.get("services") {
        let named = |service: &str| format!("service {} of target {name}", plain(service));
        things.extend(services.iter().map(|(service, value)| (named(service), keys(value, ""))));
    }
    things.insert(format!("target {name}"), keys(value, "services"));
}

fn rule_names(file: &Table) -> Vec<String> {
    file.get("rules").and_then(Value::as_array).into_iter().flatten().map(rule_name).collect()
}

fn rule_name(rule: &Value) -> String {
    format!("rule {}", rule.get("id").and_then(Value::as_str).map(plain).unwrap_or_default())
}

fn keys(thing: &Value, but: &str) -> Keys {
    match thing {
        Value::Table(keys) => {
            let keys = keys.iter().filter(|(key, _)| *key != but);
            keys.map(|(key, value)| (plain(key), plain(&value.to_string()))).collect()
        }
        other => Keys::from([("value".to_owned(), plain(&other.to_string()))]),
    }
}

fn changes(name: &str, was: &Keys, is: &Keys) -> Vec<String> {
    let said = is.iter().filter(|(key, value)| was.get(*key) != Some(value)).map(|(key, value)| match was.get(key) {
        Some(old) => format!("{name}: {key} was {old}, becomes {value}"),
        None => format!("{name}: {key} was not said, becomes {value}"),
    });
    let unsaid = was.iter().filter(|(key, _)| !is.contains_key(*key));
    said.chain(unsaid.map(|(key, old)| format!("{name}: {key} was {old}, is not said any more"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"
[plant]
name = "Mill 3"
[zones.packaging]
[zones.safety]
never = true
[targets.hmi-2]
zone = "packaging"
[targets.hmi-2.services.ssh]
address = "10.20.2.11:22"
[[rules]]
id = "a"
duration_max = "4h"
idle = "5m"
[[rules]]
id = "b"
actions = ["shell"]
"#;

    fn words(new: &str) -> Vec<String> {
        in_words(&OLD.parse().unwrap(), &new.parse().unwrap())
    }

    #[test]
    fn what_means_the_same_is_no_difference() {
        assert!(words(OLD).is_empty());
        assert!(words(&OLD.replace("[zones.packaging]", "# where things are packed\n[zones.packaging]")).is_empty());
    }

    #[test]
    fn every_change_is_told_by_its_thing() {
        let changed = OLD.replace("4h", "8h").replace("10.20.2.11", "10.20.2.12").replace("idle = \"5m\"\n", "");
        assert_eq!(
            words(&changed),
            [
                "rule a: duration_max was \"4h\", becomes \"8h\"",
                "rule a: idle was \"5m\", is not said any more",
                "service ssh of target hmi-2: address was \"10.20.2.11:22\", becomes \"10.20.2.12:22\"",
            ]
        );
        assert_eq!(words(&OLD.replace("[zones.safety]\nnever = true\n", "")), ["gone: zone safety"]);
        assert_eq!(
            words(&OLD.replace("never = true", "never = false")),
            ["zone safety: never was true, becomes false"]
        );
        let more = format!("{OLD}[[rules]]\nid = \"c\"\nactions = [\"tunnel\"]\n");
        assert_eq!(words(&more), ["new: rule c", "    actions = [\"tunnel\"]"]);
        assert_eq!(
            words(&OLD.replace("Mill 3", "\\u001b[2J"))[0],
            r#"plant: name was "Mill 3", becomes "\x5cu001B[2J""#
        );
    }

    #[test]
    fn another_order_of_rules_is_told_because_the_first_decides() {
        let (head, rules) = OLD.split_at(OLD.find("[[rules]]").unwrap());
        let (a, b) = rules.split_at(rules.rfind("[[rules]]").unwrap());
        assert_eq!(
            words(&format!("{head}{b}{a}")),
            ["rules stand in another order, and the first that allows decides: rule b, rule a"]
        );
    }
}
