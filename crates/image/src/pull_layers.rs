//! Fetching and unpacking the layers of an image, several at once and each while it comes in.
//!
//! One set of threads downloads, another unpacks; both take the layers from the lowest up. A download
//! waits for nobody, so an unpacking thread that waits for its layer's bytes always gets them in the
//! end. The first error stops everything else.

use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use orlop_layer::Unpacked;
use orlop_registry::{Error as RegistryError, Repository};
use orlop_sys::fault;
use orlop_types::ChainId;

use crate::images::now;
use crate::pull_arrival::{Arrival, ArrivalReader};
use crate::pull_fetch::{Fetch, Fetched};
use crate::pull_plan::{PlannedLayer, Presence};
use crate::transfer::{LayerState, Tick, TransferWatch};
use crate::{Error, Images, Result};

/// Layers that are unpacked at the same time at most: more threads than processors would only fight
/// over the disk.
const UNPACK_MAX: usize = 8;
/// A machine with one processor still unpacks one layer while another one's files are being written.
const UNPACK_MIN: usize = 2;

/// What was fetched and unpacked.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// By the layer's place; without those that had to be committed at once.
    pub(crate) unpacked: Vec<(usize, Unpacked)>,
    /// Whole blobs that have no place yet, by the layer's place.
    pub(crate) blobs: Vec<(usize, File)>,
}

/// A layer that the store lacks.
struct Job<'a> {
    at: usize,
    layer: &'a PlannedLayer,
    presence: Presence,
    id: &'a str,
    /// The same content on another parent, from which it can be taken.
    copy_of: Option<ChainId>,
    arrival: Arrival,
}

/// What the threads share.
struct Work<'a> {
    images: &'a Images<'a>,
    repository: &'a Repository,
    watch: &'a TransferWatch,
    jobs: Vec<Job<'a>>,
    next_download: AtomicUsize,
    next_unpack: AtomicUsize,
    gathered: Mutex<Gathered>,
    /// The first one; those that follow from it are not told.
    error: Mutex<Option<Error>>,
}

impl Images<'_> {
    /// Fetches and unpacks what the store lacks. `parallel` downloads go on at once.
    pub(crate) fn gather(
        &self,
        repository: &Repository,
        layers: &[PlannedLayer],
        presence: &[Presence],
        parallel: usize,
        watch: &TransferWatch,
    ) -> Result<Gathered> {
        let mut jobs = Vec::new();
        for (at, (layer, presence)) in layers.iter().zip(presence).enumerate() {
            let id = layer.blob.digest.short();
            if *presence == Presence::Whole {
                watch.layer(id, LayerState::AlreadyExists);
                continue;
            }
            watch.layer(id, LayerState::PullingFsLayer);
            let (presence, arrival) = (*presence, Arrival::default());
            let copy_of = self.copy_of(layer)?;
            jobs.push(Job { at, layer, presence, id, copy_of, arrival });
        }
        for job in jobs.iter().skip(parallel) {
            watch.layer(job.id, LayerState::Waiting);
        }
        let work = Work {
            images: self,
            repository,
            watch,
            jobs,
            next_download: AtomicUsize::new(0),
            next_unpack: AtomicUsize::new(0),
            gathered: Mutex::default(),
            error: Mutex::default(),
        };
        work.run(parallel)
    }

    /// Another whole layer of the same content.
    fn copy_of(&self, layer: &PlannedLayer) -> Result<Option<ChainId>> {
        let chains = self.store.read(|query| query.layers_of_content(&layer.diff_id))?;
        for chain in chains {
            if chain.chain_id != layer.chain_id && self.layers.looks_whole(&chain.chain_id)? {
                return Ok(Some(chain.chain_id));
            }
        }
        Ok(None)
    }
}

impl Work<'_> {
    fn run(self, parallel: usize) -> Result<Gathered> {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let unpackers = match self.images.layers.driver().independent_layers() {
            true => processors.clamp(UNPACK_MIN, UNPACK_MAX),
            // A layer needs the one below it in the store.
            false => 1,
        };
        std::thread::scope(|scope| {
            for _ in 0..parallel.max(1).min(self.jobs.len()) {
                scope.spawn(|| self.downloads());
            }
            for _ in 0..unpackers.min(self.jobs.len()) {
                scope.spawn(|| self.unpacks());
            }
        });
        match self.error.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(self.gathered.into_inner().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    /// Notes an error and lets every thread come to its end.
    fn fail(&self, error: Error) {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.watch.stop();
        for job in &self.jobs {
            job.arrival.failed();
        }
    }

    fn gathered(&self, add: impl FnOnce(&mut Gathered)) {
        add(&mut self.gathered.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn downloads(&self) {
        while let Some(job) = self.jobs.get(self.next_download.fetch_add(1, Ordering::Relaxed)) {
            if self.watch.is_stopped() {
                // Whoever stopped it from outside has not told the unpacking threads.
                return self.fail(RegistryError::Cancelled.into());
            }
            if job.copy_of.is_none()
                && let Err(error) = self.download(job)
            {
                return self.fail(error);
            }
        }
    }

    fn download(&self, job: &Job<'_>) -> Result<()> {
        let fetch = Fetch {
            content: self.images.content(),
            repository: self.repository,
            descriptor: &job.layer.blob,
            id: job.id,
            watch: self.watch,
            arrival: &job.arrival,
        };
        if let Fetched::Came(file) = fetch.run()? {
            self.gathered(|gathered| gathered.blobs.push((job.at, file)));
        }
        Ok(())
    }

    fn unpacks(&self) {
        while let Some(job) = self.jobs.get(self.next_unpack.fetch_add(1, Ordering::Relaxed)) {
            match self.unpack(job) {
                Ok(Some(unpacked)) => {
                    if let Err(error) = self.keep(job, unpacked) {
                        return self.fail(error);
                    }
                    self.watch.layer(job.id, LayerState::PullComplete);
                }
                // The download has told why.
                Ok(None) => return,
                Err(error) => return self.fail(error),
            }
        }
    }

    fn keep(&self, job: &Job<'_>, unpacked: Unpacked) -> Result<()> {
        if self.images.layers.driver().independent_layers() {
            self.gathered(|gathered| gathered.unpacked.push((job.at, unpacked)));
            return Ok(());
        }
        self.images.put_layer(job.layer, job.presence, unpacked)
    }

    /// Unpacks a layer while it comes in; `None` if it does not come.
    fn unpack(&self, job: &Job<'_>) -> Result<Option<Unpacked>> {
        let PlannedLayer { parent, diff_id, .. } = job.layer;
        if let Some(copy) = &job.copy_of {
            match self.images.layers.unpack_copy(copy, parent.as_ref(), diff_id) {
                Ok(unpacked) => return Ok(Some(unpacked)),
                Err(error) => {
                    tracing::warn!(op = "pull", layer = %copy, %error, "a layer cannot be copied");
                    self.download(job)?;
                }
            }
        }
        while let Some(reader) = job.arrival.reader() {
            let round = reader.round();
            let reader =
                Extracting { reader, job, watch: self.watch, at: 0, tick: Tick::default() };
            let unpacked = self.images.layers.unpack(reader, parent.as_ref(), Some(diff_id));
            if let Err(error) = unpacked {
                let error = Error::from(error);
                if error.is_full_disk() || job.arrival.was_right(round) {
                    return Err(error);
                }
            } else if job.arrival.was_right(round) {
                fault::point("pull.unpacked");
                return Ok(unpacked.ok());
            }
            // It was wrong: it comes once more, or not at all.
            if job.arrival.has_failed() {
                return Ok(None);
            }
        }
        Ok(None)
    }
}

impl Images<'_> {
    /// Makes one unpacked layer part of the store.
    pub(crate) fn put_layer(
        &self,
        layer: &PlannedLayer,
        presence: Presence,
        unpacked: Unpacked,
    ) -> Result<()> {
        if presence == Presence::Damaged {
            self.refuse_if_running(&layer.chain_id)?;
            return Ok(self.layers.replace(&layer.chain_id, unpacked)?);
        }
        self.layers.commit(vec![unpacked], layer.parent.as_ref(), &now())?;
        Ok(())
    }

    /// A copy on the disk cannot be exchanged under a container that has it mounted.
    pub(crate) fn refuse_if_running(&self, chain_id: &ChainId) -> Result<()> {
        self.store.read(|query| {
            for container in query.containers()? {
                let Some(top) = container.top_layer.filter(|_| container.state.status.is_active())
                else {
                    continue;
                };
                let chain = query.layer_chain(&top)?;
                if chain.iter().any(|layer| layer.chain_id == *chain_id) {
                    let container = container.id.short().to_owned();
                    return Err(Error::DamagedInUse { layer: chain_id.clone(), container });
                }
            }
            Ok(())
        })
    }
}

/// Tells how far a layer is unpacked, once its download has nothing more to tell.
struct Extracting<'a> {
    reader: ArrivalReader<'a>,
    job: &'a Job<'a>,
    watch: &'a TransferWatch,
    at: u64,
    tick: Tick,
}

impl Read for Extracting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.reader.read(buffer)?;
        self.at += got as u64;
        if self.job.arrival.has_come() && self.tick.is_due() {
            let total = self.job.layer.blob.size;
            self.watch.layer(self.job.id, LayerState::Extracting { current: self.at, total });
        }
        Ok(got)
    }
}
