//! Inputs from seeds and a random number: the same number gives the same inputs everywhere.

use orlop_testkit::Random;

/// Longest input: what matters shows in short ones, and they are quick.
const LENGTH_MAX: usize = 32 * 1024;

/// Most changes to one input.
const CHANGES_MAX: u64 = 6;

/// Makes one input after the other.
#[derive(Debug)]
pub struct Mutator {
    random: Random,
    seeds: Vec<Vec<u8>>,
    words: &'static [&'static str],
}

impl Mutator {
    /// Begins; the first inputs are the seeds themselves.
    #[must_use]
    pub fn new(seed: u64, mut seeds: Vec<Vec<u8>>, words: &'static [&'static str]) -> Self {
        if seeds.is_empty() {
            seeds.push(Vec::new());
        }
        Self { random: Random(seed.max(1)), seeds, words }
    }

    /// The input of a round.
    pub fn input(&mut self, round: usize) -> Vec<u8> {
        if let Some(seed) = self.seeds.get(round) {
            return seed.clone();
        }
        let mut input = self.pick();
        for _ in 0..=self.below(CHANGES_MAX) {
            self.change(&mut input);
        }
        input.truncate(LENGTH_MAX);
        input
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random.below(limit.max(1))
    }

    fn place(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    fn pick(&mut self) -> Vec<u8> {
        let at = self.place(self.seeds.len());
        self.seeds.get(at).cloned().unwrap_or_default()
    }

    /// A part of an input.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.place(length + 1);
        // Mostly short parts, sometimes everything that follows.
        let longest = if self.below(8) == 0 { length - start } else { (length - start).min(16) };
        start..start + self.place(longest + 1)
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let length = input.len();
        match self.below(9) {
            0 if length > 0 => {
                let (at, bit) = (self.place(length), self.below(8));
                input[at] ^= 1 << bit;
            }
            1 if length > 0 => {
                let at = self.place(length);
                const ODD: &[u8] = &[0, 1, 0x7f, 0x80, 0xff, b'\n', b' ', b'"', b'\\', b'/'];
                input[at] = ODD[self.place(ODD.len())];
            }
            2 => {
                let range = self.range(length);
                input.drain(range);
            }
            3 => {
                let range = self.range(length);
                let part = input[range].to_vec();
                let at = self.place(length + 1);
                input.splice(at..at, part);
            }
            4 => {
                let other = self.pick();
                let range = self.range(other.len());
                let at = self.place(length + 1);
                input.splice(at..at, other[range].iter().copied());
            }
            5 => {
                // The beginning of this and the end of another one.
                let other = self.pick();
                input.truncate(self.place(length + 1));
                let at = self.place(other.len() + 1);
                input.extend(&other[at..]);
            }
            6 => {
                let range = self.range(length);
                let byte = u8::try_from(self.below(256)).unwrap_or(0);
                input[range].fill(byte);
            }
            _ if !self.words.is_empty() => {
                let word = self.words[self.place(self.words.len())];
                let start = self.place(length + 1);
                // Put between, or over what is there.
                let end = if self.below(2) == 0 { start } else { (start + word.len()).min(length) };
                input.splice(start..end, word.bytes());
            }
            _ => input.push(u8::try_from(self.below(256)).unwrap_or(0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_gives_the_same_inputs() {
        let seeds = vec![b"hello world".to_vec(), b"1234567890".to_vec()];
        let inputs = |seed| {
            let mut mutator = Mutator::new(seed, seeds.clone(), &["word"]);
            (0..500).map(|round| mutator.input(round)).collect::<Vec<_>>()
        };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
        assert_eq!(inputs(1)[..2], seeds[..]);
        let different: std::collections::BTreeSet<_> = inputs(1).into_iter().collect();
        assert!(different.len() > 400, "{}", different.len());
    }
}
