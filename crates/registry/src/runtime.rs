//! The private runtime, and waiting on it with an eye on the caller's flag.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::OnceLock;
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::error::{Error, Result};
use crate::watch::Watch;

/// How often the caller's flag is looked at; far below what a person notices.
const FLAG_INTERVAL: Duration = Duration::from_millis(50);
/// Hashing, TLS and sockets of all transfers; more gain nothing on a usual connection.
const WORKERS_MAX: usize = 4;

/// The runtime of this process, started by the first request.
pub(crate) fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let made = Builder::new_multi_thread()
        .worker_threads(cores.min(WORKERS_MAX))
        .thread_name("orlop-registry")
        .enable_io()
        .enable_time()
        .build()
        .map_err(|source| Error::System { attempt: "starting the network threads", source })?;
    let mut made = Some(made);
    let runtime = RUNTIME.get_or_init(|| made.take().expect("just made"));
    if let Some(second) = made {
        // Another thread was faster.
        second.shutdown_background();
    }
    Ok(runtime)
}

/// Waits for a future; ends early with `Cancelled` when the flag is raised.
pub(crate) fn wait<T>(watch: &Watch, future: impl Future<Output = Result<T>>) -> Result<T> {
    runtime()?.block_on(cancellable(watch, future))
}

/// The future, ended by the flag.
pub(crate) async fn cancellable<T>(
    watch: &Watch,
    future: impl Future<Output = Result<T>>,
) -> Result<T> {
    if watch.is_cancelled() {
        return Err(Error::Cancelled);
    }
    let mut future = pin!(future);
    let mut timer = tokio::time::interval(FLAG_INTERVAL);
    poll_fn(|context| {
        if let Poll::Ready(result) = future.as_mut().poll(context) {
            return Poll::Ready(result);
        }
        while timer.poll_tick(context).is_ready() {
            if watch.is_cancelled() {
                return Poll::Ready(Err(Error::Cancelled));
            }
        }
        Poll::Pending
    })
    .await
}
