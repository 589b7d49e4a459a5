//! A digest as six short words, so that a card, a terminal and a voice on the telephone can be compared. For comparing
//! only: six words are 48 bits, which keep no secret and prove nothing by themselves.

use policies::digest::Digest;

/// How many words are shown.
pub const COUNT: usize = 6;

/// The first six bytes of `digest`, a word each, with spaces between.
pub fn of(digest: &Digest) -> String {
    digest.0.iter().take(COUNT).map(|byte| WORDS[usize::from(*byte)]).collect::<Vec<_>>().join(" ")
}

/// One word per byte, three or four letters each. Never changed: people compare them across versions.
const WORDS: [&str; 256] = [
    "air", "ale", "ant", "apex", "arch", "arm", "ash", "atom", "axe", "bag", "bake", "ball", "band", "bank", "bar",
    "barn", "base", "bath", "bead", "beam", "bean", "bear", "bed", "beef", "bell", "belt", "bend", "bike", "bird",
    "blue", "boat", "bone", "book", "boot", "bowl", "box", "brim", "bulb", "bull", "bush", "cafe", "cake", "calf",
    "camp", "card", "cart", "cave", "cell", "chef", "chip", "city", "clay", "club", "coal", "coat", "code", "coin",
    "cook", "cork", "corn", "crab", "crew", "crop", "crow", "cube", "cup", "dark", "date", "dawn", "deck", "deer",
    "desk", "dish", "dock", "dog", "dome", "door", "dove", "drum", "duck", "dune", "dust", "ear", "east", "echo",
    "edge", "egg", "elk", "elm", "face", "fan", "farm", "fern", "film", "fir", "fire", "fish", "five", "flag", "flax",
    "foam", "fog", "folk", "foot", "fork", "four", "fox", "frog", "fuel", "gate", "gem", "gift", "glue", "goat",
    "gold", "golf", "gown", "grid", "gulf", "gum", "hall", "hand", "hat", "hawk", "hay", "head", "herb", "hill",
    "hive", "home", "hood", "hook", "horn", "hut", "ice", "inch", "ink", "iris", "iron", "isle", "ivy", "jam", "jar",
    "jazz", "jet", "job", "joy", "jug", "kelp", "key", "king", "kite", "knee", "knot", "lake", "lamb", "lamp", "land",
    "lark", "lawn", "leaf", "lens", "lily", "lime", "lion", "lip", "list", "loaf", "lock", "log", "loop", "lung",
    "lynx", "mail", "malt", "map", "mask", "mast", "maze", "meal", "milk", "mill", "mint", "moon", "moss", "moth",
    "mud", "mule", "myth", "nail", "neck", "nest", "net", "nine", "node", "nose", "note", "oak", "oats", "oil", "opal",
    "oven", "owl", "pack", "page", "palm", "park", "path", "pea", "pear", "pen", "pier", "pig", "pile", "pin", "pine",
    "pipe", "plum", "pond", "pony", "pool", "port", "post", "pump", "rack", "raft", "rail", "rain", "ram", "reed",
    "reef", "rice", "ring", "road", "robe", "rock", "roof", "room", "root", "rope", "rose", "ruby", "rug", "rust",
    "sail", "salt", "sand", "seal", "seed", "ship", "shoe", "silk", "sink", "six", "ski", "wolf",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_byte_has_a_short_word_of_its_own() {
        assert_eq!(WORDS.iter().collect::<BTreeSet<_>>().len(), 256);
        assert!(WORDS.iter().all(|word| (3..=4).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_lowercase())));
    }

    #[test]
    fn the_words_of_a_digest_never_change() {
        assert_eq!(of(&Digest::of_bytes(b"abc")), "mud hall bed nest jazz ale");
    }
}
