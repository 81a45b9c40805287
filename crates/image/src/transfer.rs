//! What a pull or a push tells while it works: Docker's messages, typed.
//!
//! A face shows them as bars, as lines or as Docker's JSON stream ([`TransferEvent::to_json`]).

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use orlop_types::Digest;
use serde_json::{Value, json};

/// How often one layer tells how far it is; Docker's interval.
const TICK: Duration = Duration::from_millis(100);

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferEvent {
    /// `TAG: Pulling from PATH`.
    PullingFrom {
        /// Tag or digest.
        tag: String,
        /// Path of the repository, without its host.
        path: String,
    },
    /// `The push refers to repository [NAME]`.
    PushRefersTo {
        /// Name of the repository, with its host.
        name: String,
    },
    /// A layer's state changed, or it came further.
    Layer {
        /// Twelve digits: of the blob when pulled, of the content when pushed.
        id: String,
        /// Its state.
        state: LayerState,
    },
    /// `Digest: DIGEST` of what was pulled.
    Digest(Digest),
    /// `TAG: digest: DIGEST size: N` of what was pushed.
    Pushed {
        /// The tag.
        tag: String,
        /// Digest of the manifest.
        digest: Digest,
        /// Length of the manifest.
        size: u64,
    },
    /// A line for people, for instance `Status: …` or a warning.
    Line(String),
}

/// What happens to a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerState {
    /// It is known that it must be fetched.
    PullingFsLayer,
    /// Others come first.
    Waiting,
    /// It comes in.
    Downloading {
        /// Bytes of the blob that are here.
        current: u64,
        /// Length of the blob.
        total: u64,
    },
    /// It broke off and is tried again.
    Retrying {
        /// Seconds until then.
        seconds: u64,
    },
    /// All bytes are here.
    VerifyingChecksum,
    /// All bytes are here and are right.
    DownloadComplete,
    /// It is unpacked.
    Extracting {
        /// Bytes of the blob that are unpacked.
        current: u64,
        /// Length of the blob.
        total: u64,
    },
    /// It is unpacked.
    PullComplete,
    /// The store has it.
    AlreadyExists,
    /// It will be pushed.
    Preparing,
    /// It is packed before it goes out.
    Packing {
        /// Bytes of its tar that are packed.
        current: u64,
        /// Length of its tar.
        total: u64,
    },
    /// It goes out.
    Pushing {
        /// Bytes that went.
        current: u64,
        /// Bytes in all.
        total: u64,
    },
    /// The registry has it now.
    Pushed,
    /// The registry had it.
    LayerAlreadyExists,
    /// The registry took it over from another repository.
    MountedFrom(String),
}

impl LayerState {
    /// Docker's words.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::PullingFsLayer => "Pulling fs layer".to_owned(),
            Self::Waiting => "Waiting".to_owned(),
            Self::Downloading { .. } => "Downloading".to_owned(),
            Self::Retrying { seconds } => {
                format!("Retrying in {seconds} second{}", if *seconds == 1 { "" } else { "s" })
            }
            Self::VerifyingChecksum => "Verifying Checksum".to_owned(),
            Self::DownloadComplete => "Download complete".to_owned(),
            Self::Extracting { .. } => "Extracting".to_owned(),
            Self::PullComplete => "Pull complete".to_owned(),
            Self::AlreadyExists => "Already exists".to_owned(),
            Self::Preparing => "Preparing".to_owned(),
            Self::Packing { .. } => "Compressing".to_owned(),
            Self::Pushing { .. } => "Pushing".to_owned(),
            Self::Pushed => "Pushed".to_owned(),
            Self::LayerAlreadyExists => "Layer already exists".to_owned(),
            Self::MountedFrom(repository) => format!("Mounted from {repository}"),
        }
    }

    /// How far it is: bytes done and bytes in all.
    #[must_use]
    pub fn progress(&self) -> Option<(u64, u64)> {
        match self {
            Self::Downloading { current, total }
            | Self::Extracting { current, total }
            | Self::Packing { current, total }
            | Self::Pushing { current, total } => Some((*current, *total)),
            _ => None,
        }
    }
}

impl TransferEvent {
    /// The message of Docker's stream, or the two of them.
    #[must_use]
    pub fn to_json(&self) -> Vec<Value> {
        match self {
            Self::PullingFrom { tag, path } => {
                vec![json!({ "status": format!("Pulling from {path}"), "id": tag })]
            }
            Self::PushRefersTo { .. } | Self::Digest(_) | Self::Line(_) => {
                vec![json!({ "status": self.line() })]
            }
            Self::Layer { id, state } => {
                let detail = match state.progress() {
                    Some((current, total)) => json!({ "current": current, "total": total }),
                    None => json!({}),
                };
                vec![json!({ "status": state.text(), "progressDetail": detail, "id": id })]
            }
            Self::Pushed { tag, digest, size } => vec![
                json!({ "status": self.line() }),
                json!({
                    "progressDetail": {},
                    "aux": { "Tag": tag, "Digest": digest, "Size": size },
                }),
            ],
        }
    }

    /// The message as one line for people.
    #[must_use]
    pub fn line(&self) -> String {
        match self {
            Self::PullingFrom { tag, path } => format!("{tag}: Pulling from {path}"),
            Self::PushRefersTo { name } => format!("The push refers to repository [{name}]"),
            Self::Layer { id, state } => format!("{id}: {}", state.text()),
            Self::Digest(digest) => format!("Digest: {digest}"),
            Self::Pushed { tag, digest, size } => format!("{tag}: digest: {digest} size: {size}"),
            Self::Line(text) => text.clone(),
        }
    }
}

/// Who is told, and how the transfer is stopped.
#[derive(Clone)]
pub struct TransferWatch {
    /// Raised by whoever wants the transfer to stop, and by the transfer itself when it fails.
    pub stop: Arc<AtomicBool>,
    /// Called from several threads.
    pub sink: Arc<dyn Fn(TransferEvent) + Send + Sync>,
}

impl std::fmt::Debug for TransferWatch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TransferWatch").field("stop", &self.stop).finish_non_exhaustive()
    }
}

impl TransferWatch {
    /// Hands every event to a function.
    pub fn new(sink: impl Fn(TransferEvent) + Send + Sync + 'static) -> Self {
        Self { stop: Arc::new(AtomicBool::new(false)), sink: Arc::new(sink) }
    }

    pub(crate) fn tell(&self, event: TransferEvent) {
        (self.sink)(event);
    }

    pub(crate) fn layer(&self, id: &str, state: LayerState) {
        self.tell(TransferEvent::Layer { id: id.to_owned(), state });
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(std::sync::atomic::Ordering::Relaxed)
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    /// What the registry's client is given for the transfer of one layer.
    pub(crate) fn of_layer(&self, id: &str) -> orlop_registry::Watch {
        let (sink, id) = (Arc::clone(&self.sink), id.to_owned());
        orlop_registry::Watch::new(Arc::clone(&self.stop), move |event| {
            if let orlop_registry::Event::Retrying { seconds } = event {
                let state = LayerState::Retrying { seconds };
                sink(TransferEvent::Layer { id: id.clone(), state });
            }
        })
    }

    /// What the registry's client is given for sending one layer.
    pub(crate) fn of_upload(&self, id: &str, total: u64) -> orlop_registry::Watch {
        let (sink, id) = (Arc::clone(&self.sink), id.to_owned());
        let tick = Mutex::new(Tick::default());
        orlop_registry::Watch::new(Arc::clone(&self.stop), move |event| {
            let state = match event {
                orlop_registry::Event::Retrying { seconds } => LayerState::Retrying { seconds },
                orlop_registry::Event::Transferred { bytes } => {
                    if !tick.lock().unwrap_or_else(PoisonError::into_inner).is_due() {
                        return;
                    }
                    LayerState::Pushing { current: bytes, total }
                }
                orlop_registry::Event::Resumed { .. } => return,
            };
            sink(TransferEvent::Layer { id: id.clone(), state });
        })
    }

    /// What the registry's client is given for everything else.
    pub(crate) fn quiet(&self) -> orlop_registry::Watch {
        orlop_registry::Watch::new(Arc::clone(&self.stop), |_| {})
    }
}

/// Lets one event through now and then.
#[derive(Debug, Default)]
pub(crate) struct Tick {
    last: Option<Instant>,
}

impl Tick {
    /// Whether it is time again.
    pub(crate) fn is_due(&mut self) -> bool {
        let due = self.last.is_none_or(|last| last.elapsed() >= TICK);
        if due {
            self.last = Some(Instant::now());
        }
        due
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn events_are_dockers_json_and_lines() {
        let digest: Digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        let layer = |state| TransferEvent::Layer { id: "0123456789ab".to_owned(), state };
        let pulling =
            TransferEvent::PullingFrom { tag: "latest".to_owned(), path: "library/x".to_owned() };
        let pushed =
            TransferEvent::Pushed { tag: "1".to_owned(), digest: digest.clone(), size: 528 };
        let cases = [
            (
                pulling,
                "latest: Pulling from library/x",
                json!([{"status": "Pulling from library/x", "id": "latest"}]),
            ),
            (
                layer(LayerState::PullingFsLayer),
                "0123456789ab: Pulling fs layer",
                json!([{"status": "Pulling fs layer", "progressDetail": {}, "id": "0123456789ab"}]),
            ),
            (
                layer(LayerState::Downloading { current: 5, total: 9 }),
                "0123456789ab: Downloading",
                json!([{"status": "Downloading", "progressDetail": {"current": 5, "total": 9}, "id": "0123456789ab"}]),
            ),
            (
                layer(LayerState::Retrying { seconds: 1 }),
                "0123456789ab: Retrying in 1 second",
                json!([{"status": "Retrying in 1 second", "progressDetail": {}, "id": "0123456789ab"}]),
            ),
            (
                layer(LayerState::MountedFrom("base".to_owned())),
                "0123456789ab: Mounted from base",
                json!([{"status": "Mounted from base", "progressDetail": {}, "id": "0123456789ab"}]),
            ),
            (
                pushed,
                &format!("1: digest: {digest} size: 528"),
                json!([
                    {"status": format!("1: digest: {digest} size: 528")},
                    {"progressDetail": {}, "aux": {"Tag": "1", "Digest": digest, "Size": 528}},
                ]),
            ),
        ];
        for (event, line, want) in cases {
            assert_eq!(event.line(), line);
            assert_eq!(Value::from(event.to_json()), want);
        }
    }
}
