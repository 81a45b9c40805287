//! A few threads that share a heap of work, which grows while they work.

use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::{Cancel, Error, Result};

/// More threads only wait for each other in the kernel's directories.
const THREADS_MAX: usize = 8;
/// How many there may be here; asking takes a dozen system calls.
static THREADS: OnceLock<usize> = OnceLock::new();

/// Work that is to be done.
pub(crate) struct Crew<J> {
    state: Mutex<State<J>>,
    change: Condvar,
}

struct State<J> {
    jobs: Vec<J>,
    working: usize,
    failed: Option<Error>,
}

/// Does a job and all that come of it, on all processors; ends early at the first error.
pub(crate) fn work<J: Send>(
    first: J,
    cancel: &Cancel,
    run: impl Fn(&Crew<J>, J) -> Result<()> + Sync,
) -> Result<()> {
    let state = State { jobs: Vec::new(), working: 0, failed: None };
    let crew = Crew { state: Mutex::new(state), change: Condvar::new() };
    run(&crew, first)?;
    let threads = *THREADS.get_or_init(|| {
        std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX)
    });
    let waiting = crew.lock().jobs.len();
    std::thread::scope(|scope| {
        for _ in 1..threads.min(waiting) {
            scope.spawn(|| crew.carry_on(cancel, &run));
        }
        crew.carry_on(cancel, &run);
    });
    crew.state.into_inner().unwrap_or_else(PoisonError::into_inner).failed.map_or(Ok(()), Err)
}

impl<J: Send> Crew<J> {
    /// Leaves jobs to whoever has time first.
    pub(crate) fn push(&self, jobs: Vec<J>) {
        if !jobs.is_empty() {
            self.lock().jobs.extend(jobs);
            self.change.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn carry_on(&self, cancel: &Cancel, run: &(impl Fn(&Self, J) -> Result<()> + Sync)) {
        loop {
            let mut state = self.lock();
            let job = loop {
                if state.failed.is_some() {
                    return;
                }
                if let Some(job) = state.jobs.pop() {
                    break job;
                }
                if state.working == 0 {
                    return;
                }
                state = self.change.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            state.working += 1;
            drop(state);
            let result = cancel.check().and_then(|()| run(self, job));
            let mut state = self.lock();
            state.working -= 1;
            if let Err(error) = result {
                state.failed.get_or_insert(error);
            }
            if state.failed.is_some() || (state.working == 0 && state.jobs.is_empty()) {
                self.change.notify_all();
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn everything_that_comes_up_is_done_once() {
        let sum = AtomicU64::new(0);
        work(1_u64, &Cancel::default(), |crew, number| {
            sum.fetch_add(number, Ordering::Relaxed);
            if number < 1024 {
                crew.push(vec![2 * number, 2 * number + 1]);
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(sum.into_inner(), (1..2048).sum::<u64>());
    }

    #[test]
    fn the_first_error_ends_it() {
        let done = AtomicU64::new(0);
        let error = work(0_u64, &Cancel::default(), |crew, number| {
            done.fetch_add(1, Ordering::Relaxed);
            crew.push((0..100).collect());
            if number == 99 { Err(Error::invalid("enough")) } else { Ok(()) }
        })
        .unwrap_err();
        assert_eq!(error.to_string(), "enough");
        assert!(done.into_inner() < 10_000);
        let cancel = Cancel::default();
        cancel.cancel();
        let error = work(0, &cancel, |crew, _| {
            crew.push(vec![1]);
            Ok(())
        });
        assert!(matches!(error, Err(Error::Cancelled)));
    }
}
