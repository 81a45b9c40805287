//! A file that one thread writes while another reads it.
//!
//! Downloads go to files, and layers are unpacked from these files while they grow: a slow disk never
//! holds up the network, and a download that breaks off and goes on is nothing that the reader sees. A
//! download that turns out to be wrong begins again; whoever has read of the wrong one is told so.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// How far one file is.
#[derive(Debug, Default)]
pub(crate) struct Arrival {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    file: Option<Arc<File>>,
    bytes: u64,
    /// Counts the beginnings.
    round: u32,
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// All bytes are here and are right.
    Whole,
    /// Nothing more will come.
    Failed,
}

impl Arrival {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    /// Begins, perhaps once more: nothing of the file is right yet.
    pub(crate) fn begin(&self, file: Arc<File>) {
        self.change(|state| {
            state.file = Some(file);
            state.bytes = 0;
            state.round += 1;
        });
    }

    /// So many bytes of the file may be read.
    pub(crate) fn reached(&self, bytes: u64) {
        self.change(|state| state.bytes = bytes);
    }

    /// All of it is here and right.
    pub(crate) fn is_whole(&self) {
        self.change(|state| state.end = Some(End::Whole));
    }

    /// Nothing more comes; does nothing to what is whole.
    pub(crate) fn failed(&self) {
        self.change(|state| {
            state.end.get_or_insert(End::Failed);
        });
    }

    /// Waits for a beginning and reads from there; `None` if it failed before.
    pub(crate) fn reader(&self) -> Option<ArrivalReader<'_>> {
        let mut state = self.state();
        loop {
            if state.end == Some(End::Failed) {
                return None;
            }
            if let Some(file) = &state.file {
                let (file, round) = (Arc::clone(file), state.round);
                return Some(ArrivalReader { arrival: self, file, round, at: 0 });
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until it is known whether what was read in a round was right.
    pub(crate) fn was_right(&self, round: u32) -> bool {
        let mut state = self.state();
        loop {
            match state.end {
                _ if state.round != round => return false,
                Some(end) => return end == End::Whole,
                None => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// Whether all of it is here and right.
    pub(crate) fn has_come(&self) -> bool {
        self.state().end == Some(End::Whole)
    }

    /// Whether it failed for good.
    pub(crate) fn has_failed(&self) -> bool {
        self.state().end == Some(End::Failed)
    }
}

/// Reads behind whoever writes.
pub(crate) struct ArrivalReader<'a> {
    arrival: &'a Arrival,
    file: Arc<File>,
    round: u32,
    at: u64,
}

impl ArrivalReader<'_> {
    /// Which beginning it reads from.
    pub(crate) fn round(&self) -> u32 {
        self.round
    }

    /// Waits for more; gives how much may be read, nothing at the end.
    fn available(&self) -> io::Result<u64> {
        let mut state = self.arrival.state();
        loop {
            if state.round != self.round {
                return Err(io::Error::other("the download began again"));
            }
            if state.bytes > self.at {
                return Ok(state.bytes - self.at);
            }
            match state.end {
                Some(End::Whole) => return Ok(0),
                Some(End::Failed) => return Err(io::Error::other("the download failed")),
                None => {
                    state =
                        self.arrival.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

impl Read for ArrivalReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = usize::try_from(self.available()?).unwrap_or(usize::MAX);
        let want = available.min(buffer.len());
        let (buffer, _) = buffer.split_at_mut(want);
        let got = self.file.read_at(buffer, self.at)?;
        if got == 0 && want > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += got as u64;
        Ok(got)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> Arc<File> {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(bytes, 0).unwrap();
        Arc::new(file)
    }

    #[test]
    fn a_reader_waits_for_what_comes_and_ends_with_it() {
        let arrival = Arrival::default();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut reader = arrival.reader().unwrap();
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes).unwrap();
                (bytes, arrival.was_right(reader.round()))
            });
            arrival.begin(file(b"abcdef"));
            arrival.reached(2);
            arrival.reached(6);
            arrival.is_whole();
            assert_eq!(reader.join().unwrap(), (b"abcdef".to_vec(), true));
        });
        arrival.failed();
        assert!(!arrival.has_failed(), "what is whole stays so");
    }

    #[test]
    fn who_has_read_what_was_wrong_is_told_and_may_read_again() {
        let arrival = Arrival::default();
        arrival.begin(file(b"wrong"));
        arrival.reached(5);
        let mut reader = arrival.reader().unwrap();
        let mut bytes = [0; 5];
        reader.read_exact(&mut bytes).unwrap();
        arrival.begin(file(b"right"));
        arrival.reached(5);
        arrival.is_whole();
        assert!(reader.read(&mut bytes).is_err());
        assert!(!arrival.was_right(reader.round()));
        let mut again = arrival.reader().unwrap();
        again.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"right");
        assert!(arrival.was_right(again.round()));
    }

    #[test]
    fn nobody_waits_for_what_failed() {
        let arrival = Arrival::default();
        arrival.begin(file(b"half"));
        arrival.reached(4);
        let mut reader = arrival.reader().unwrap();
        arrival.failed();
        let mut bytes = Vec::new();
        assert!(reader.read_to_end(&mut bytes).is_err());
        assert_eq!(bytes, b"half");
        assert!(arrival.reader().is_none());
    }
}
