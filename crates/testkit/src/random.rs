//! Numbers for tests that try many cases.

/// Numbers that look random and are the same in every run, from a seed (zero gives zeros only).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number below a limit.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// One of these words.
    ///
    /// # Panics
    /// Without a word.
    pub fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[usize::try_from(self.below(words.len() as u64)).expect("an index fits")]
    }
}
