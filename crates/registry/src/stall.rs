//! Ends an upload that makes no progress.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Mutex;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::exchange::Failure;

/// How often progress is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// A server may be silent so much longer than between two pieces: at the end of an upload it
/// reads all bytes again to check the digest.
const PATIENCE: u32 = 5;

/// When the last byte moved.
#[derive(Debug)]
pub(crate) struct Moved(Mutex<Instant>);

impl Default for Moved {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

impl Moved {
    pub(crate) fn touch(&self) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Instant::now();
    }

    fn since(&self) -> Duration {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).elapsed()
    }
}

/// The future, ended as a passing failure when nothing moves for too long.
pub(crate) async fn stalling<T>(
    moved: &Moved,
    idle: Duration,
    future: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    moved.touch();
    let mut future = pin!(future);
    let mut timer = tokio::time::interval(LOOK_INTERVAL);
    poll_fn(|context| {
        if let Poll::Ready(result) = future.as_mut().poll(context) {
            return Poll::Ready(result);
        }
        while timer.poll_tick(context).is_ready() {
            if moved.since() > idle * PATIENCE {
                return Poll::Ready(Err(Failure::from(Error::Transport {
                    method: "Put".to_owned(),
                    url: String::new(),
                    cause: "the upload makes no progress".to_owned(),
                    transient: true,
                })));
            }
        }
        Poll::Pending
    })
    .await
}
