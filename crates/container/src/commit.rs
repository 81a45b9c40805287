//! `commit`: an image of what a container changed.
//!
//! A running container is frozen while its files are read, so that the layer shows one moment. Asked
//! to end meanwhile, the command lets the container go on first; killed, it leaves it paused, which
//! everybody sees and `unpause` ends.
//!
//! Order: the layer is unpacked beside the store and published, then image, name and event are one
//! commit.

use orlop_image::{ChildImage, Images, target_reference};
use orlop_meta::{ContainerRecord, ContainerStatus};
use orlop_sys::process::SignalFd;
use orlop_types::ImageId;
use orlop_types::change::apply_changes;
use orlop_types::config::Config;

use crate::changes::check_usable;
use crate::merge::merge;
use crate::settle::container_event;
use crate::{Containers, Error, Result, now_ns, now_text};

/// Digest of a tar without entries: a step that changed nothing makes no layer.
const EMPTY_TAR: &str = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
/// Signals that end a command: SIGHUP, SIGINT, SIGQUIT, SIGTERM.
const ENDING: [i32; 4] = [1, 2, 3, 15];

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct CommitRequest {
    /// Name of the image.
    pub reference: Option<String>,
    /// Who made it.
    pub author: String,
    /// Free text.
    pub message: String,
    /// Dockerfile instructions for its configuration.
    pub changes: Vec<String>,
    /// Whether a running container goes on while it is read.
    pub keep_running: bool,
    /// The configuration to begin with instead of the container's.
    pub config: Option<Config>,
}

impl Containers<'_> {
    /// Makes an image of a container.
    pub fn commit(&self, name: &str, request: CommitRequest) -> Result<ImageId> {
        let reference = target_reference(request.reference.as_deref())?;
        let id = self.id(name)?;
        let _operation = self.lock_operation(&id)?;
        let container = self.settle_locked(&id)?;
        check_usable(&container, "commit")?;
        let mut config = request.config.unwrap_or_else(|| container.config.clone());
        apply_changes(&mut config, &request.changes)?;
        merge(&mut config, &container.config);
        // Keeps the layer until the image has its row.
        let guard = self.store.stage()?;
        let unpacked = self.read_frozen(&container, request.keep_running)?;
        let top = container.top_layer.as_ref();
        let layer = if unpacked.diff_id().digest().hex() == EMPTY_TAR {
            None
        } else {
            self.layers.commit(vec![unpacked], top, &now_text())?.pop()
        };
        orlop_sys::fault::point("container.commit.layer");
        let image_ref = reference.as_ref().map(|name| name.familiar()).unwrap_or_default();
        let comment = request.message.clone();
        let child = ChildImage {
            base: container.image_id.clone(),
            base_layer: container.top_layer.clone(),
            layer,
            config,
            author: request.author,
            comment: request.message,
            created_by: container.config.cmd.clone().unwrap_or_default().join(" "),
            reference,
        };
        let image = Images::new(self.store, self.layers).add_child(child, |image| {
            let mut event = container_event(&container, "commit", now_ns());
            for (key, value) in
                [("comment", comment), ("imageID", image.to_string()), ("imageRef", image_ref)]
            {
                event.attributes.insert(key.to_owned(), value);
            }
            event
        })?;
        drop(guard);
        tracing::info!(op = "container commit", container = %container.id, image = %image);
        Ok(image)
    }

    /// Unpacks what the container changed while none of its processes runs.
    fn read_frozen(
        &self,
        container: &ContainerRecord,
        keep_running: bool,
    ) -> Result<orlop_layer::Unpacked> {
        let top = container.top_layer.as_ref();
        if keep_running || container.state.status != ContainerStatus::Running {
            return Ok(self.layers.unpack_writable(&container.id, top, &|| false)?);
        }
        let signals = SignalFd::open(&ENDING).map_err(|source| Error::System {
            operation: "hold back signals for",
            subject: container.id.as_str().to_owned(),
            source,
        })?;
        let frozen = Frozen::new(self, container);
        orlop_sys::fault::point("container.commit.frozen");
        let asked_to_end = || matches!(signals.next(), Ok(Some(_)));
        let ended = std::sync::atomic::AtomicBool::new(false);
        let stop = || {
            use std::sync::atomic::Ordering::Relaxed;
            ended.load(Relaxed) || (asked_to_end() && !ended.swap(true, Relaxed))
        };
        let unpacked = self.layers.unpack_writable(&container.id, top, &stop);
        drop(frozen);
        if ended.load(std::sync::atomic::Ordering::Relaxed) && unpacked.is_err() {
            let text = "interrupted: no image was made, and the container goes on";
            return Err(Error::conflict(text));
        }
        Ok(unpacked?)
    }
}

/// A container that is frozen by this command; it goes on when this is dropped.
pub(crate) struct Frozen<'a> {
    containers: &'a Containers<'a>,
    container: &'a ContainerRecord,
}

impl<'a> Frozen<'a> {
    /// Freezes it. Where that does not work the files are read as they are, as Docker does.
    pub(crate) fn new(
        containers: &'a Containers<'a>,
        container: &'a ContainerRecord,
    ) -> Option<Self> {
        match containers.group(container).and_then(|group| group.freeze()) {
            Ok(()) => Some(Self { containers, container }),
            Err(error) => {
                tracing::debug!(container = %container.id, %error, "cannot pause for a commit");
                // It may be half frozen.
                containers.thaw(container);
                None
            }
        }
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        self.containers.thaw(self.container);
        // Whoever looked meanwhile has seen a paused container.
        let seen = self.containers.store.read(|query| query.container(&self.container.id));
        if let Ok(Some(container)) = seen
            && let Err(error) = self.containers.follow_freezer(container)
        {
            tracing::debug!(container = %self.container.id, %error, "cannot note the end of the pause");
        }
    }
}
