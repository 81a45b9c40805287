//! Names for containers that nobody named: a word of the sea and a vessel, as in `brisk_sloop`.

use orlop_types::ContainerName;

const WORDS: [&str; 48] = [
    "able", "amber", "azure", "bold", "brave", "bright", "brisk", "calm", "clear", "coral",
    "crisp", "deep", "eager", "early", "fair", "fleet", "fresh", "gentle", "golden", "grand",
    "handy", "hardy", "keen", "kind", "lively", "loyal", "lucky", "merry", "mild", "noble", "open",
    "placid", "proud", "quick", "quiet", "ready", "salty", "silver", "smooth", "snug", "sound",
    "steady", "stout", "sturdy", "sunny", "swift", "trim", "true",
];

const VESSELS: [&str; 48] = [
    "argosy", "barge", "bark", "brig", "canoe", "caravel", "carrack", "clipper", "coaster", "cog",
    "coracle", "corvette", "cutter", "dhow", "dinghy", "dory", "ferry", "frigate", "galleon",
    "galley", "gig", "hooker", "hoy", "hulk", "junk", "kayak", "ketch", "launch", "lighter",
    "longship", "lugger", "packet", "pinnace", "pram", "punt", "raft", "sampan", "schooner",
    "scow", "shallop", "skiff", "sloop", "smack", "tender", "trawler", "wherry", "xebec", "yawl",
];

/// Makes a name from a random number; the number itself joins in after the first few clashes.
pub(crate) fn generate(random: u64, attempt: u32) -> ContainerName {
    let pick = |words: &[&'static str], from: u64| {
        let index = usize::try_from(from % words.len() as u64).unwrap_or(0);
        words.get(index).copied().unwrap_or("able")
    };
    let mut name = format!("{}_{}", pick(&WORDS, random), pick(&VESSELS, random >> 32));
    if attempt > 2 {
        name.push_str(&format!("{:x}", random & 0xffff_ffff));
    }
    name.parse().expect("made of letters, an underscore and digits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_valid_and_become_unique() {
        assert_eq!(generate(0, 0).as_str(), "able_argosy");
        assert_eq!(generate(0xabcd, 3).as_str(), format!("{}_argosyabcd", WORDS[0xabcd % 48]));
    }
}
