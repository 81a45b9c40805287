//! `image flatten`: the same files in fewer layers.
//!
//! Every object above the kept base is taken from the layer that brought it, so what later layers
//! replaced or deleted is left behind. The new layer is one tar: directories that it needs, removals
//! of what the base has and the image has not, then the objects.

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::io::{self, Write};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use orlop_archive::name::split;
use orlop_archive::write::{TarWriter, Times};
use orlop_layer::Layer;
use orlop_meta::{ImageRecord, LayerRecord};
use orlop_sys::confined::Root;
use orlop_sys::fault;
use orlop_types::image::HistoryEntry;
use orlop_types::reference::ImageReference;
use orlop_types::{ImageId, ParseError};
use rustix::fs::AtFlags;
use serde_json::Value;

use crate::diff::FileChange;
use crate::edit::{NewImage, raw_config};
use crate::images::{config, now};
use crate::load_source::archive;
use crate::tree::{Stack, stack};
use crate::tree_files::Files;
use crate::{Error, Images, Result};

/// What is flattened, and what is left as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlattenRequest {
    /// The image.
    pub image: String,
    /// An image whose layers stay: they must be the lowest ones of the image.
    pub keep: Option<String>,
    /// Name of the new image.
    pub reference: Option<String>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flattened {
    /// The new image.
    pub id: ImageId,
    /// Layers before and after.
    pub layers: (usize, usize),
    /// Bytes of layers before and after.
    pub bytes: (u64, u64),
}

impl Images<'_> {
    /// Makes an image with the same files and configuration, of one layer above a kept base.
    ///
    /// Order: the layer is written, unpacked, synced and published as an import's is; its files are
    /// compared with the image's; then image, name and events are one commit.
    pub fn flatten(&self, request: &FlattenRequest) -> Result<Flattened> {
        let reference = crate::target_reference(request.reference.as_deref())?;
        // Keeps the layers from being removed, those that are read and the one that is made.
        let guard = self.store.stage()?;
        let (stack, kept) = self.store.read::<_, Error>(|query| {
            let whole = stack(query, &request.image)?;
            let kept = match &request.keep {
                Some(base) => kept(&whole, &stack(query, base)?, request)?,
                None => 0,
            };
            Ok((whole, kept))
        })?;
        if stack.layers.len() <= kept {
            let text = format!("image `{}` has no layers to flatten", request.image);
            return Err(ParseError::new(text).into());
        }
        let layer = self.flat_layer(&stack.layers, kept)?;
        fault::point("image.flatten.layer");
        let finished = self.finish_flat(request, &stack, kept, &layer, reference);
        if finished.is_err() && !layer.existed {
            // The error that is told is the first one; a sweep takes what stays.
            drop(guard);
            if let Err(error) = self.remove_chain(std::slice::from_ref(&layer.chain_id)) {
                tracing::debug!(layer = %layer.chain_id, %error, "cannot take a layer back");
            }
        }
        finished
    }

    fn finish_flat(
        &self,
        request: &FlattenRequest,
        stack: &Stack,
        kept: usize,
        layer: &Layer,
        reference: Option<ImageReference>,
    ) -> Result<Flattened> {
        self.prove_equal(stack, kept, layer)?;
        let base = stack.layers.get(..kept).unwrap_or_default();
        let size = base.iter().map(|layer| layer.size_bytes).sum::<u64>() + layer.size_bytes;
        let image = NewImage {
            config: flat_config(&stack.image, kept, layer, request)?,
            top_layer: Some(layer.chain_id.clone()),
            size_bytes: size,
            action: "flatten",
            reference,
        };
        let before = stack.layers.iter().map(|layer| layer.size_bytes).sum();
        Ok(Flattened {
            id: self.insert_image(image)?,
            layers: (stack.layers.len(), kept + 1),
            bytes: (before, size),
        })
    }

    /// Writes the layer and brings it in.
    fn flat_layer(&self, layers: &[LayerRecord], kept: usize) -> Result<Layer> {
        let mut base = Files::new(self.layers.driver().whiteouts());
        for layer in layers.iter().take(kept) {
            base.apply(self.layers.layer_headers(&layer.chain_id)?)?;
        }
        let mut whole = base.clone();
        for layer in layers.iter().skip(kept) {
            whole.apply(self.layers.layer_headers(&layer.chain_id)?)?;
        }
        let roots = self.contents(layers)?.roots;
        let parent = kept.checked_sub(1).and_then(|top| layers.get(top));
        let (reader, writer) = io::pipe()
            .map_err(|source| Error::LoadFile { action: "make a pipe for a new layer", source })?;
        std::thread::scope(|scope| {
            let written = scope.spawn(move || write(&base, &whole, kept, &roots, writer));
            let options = orlop_layer::ImportOptions {
                parent: parent.map(|layer| &layer.chain_id),
                diff_id: None,
                now: &now(),
            };
            let imported = self.layers.import(reader, &options);
            let written = written.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            match (written, imported) {
                (Ok(()), imported) => Ok(imported?),
                // A broken pipe is only what the reader's error looks like from here.
                (Err(_), Err(error)) => Err(error.into()),
                (Err(error), Ok(layer)) => {
                    if !layer.existed {
                        tracing::debug!(layer = %layer.chain_id, "half a layer is left to the sweep");
                    }
                    Err(error)
                }
            }
        })
    }

    /// Compares the files of the new stack with those of the image.
    fn prove_equal(&self, stack: &Stack, kept: usize, layer: &Layer) -> Result<()> {
        let chain = self.store.read::<_, Error>(|query| Ok(query.layer_chain(&layer.chain_id)?))?;
        let new: Vec<LayerRecord> = chain.into_iter().rev().collect();
        debug_assert_eq!(new.len(), kept + 1);
        let (_, _, files) = self.compare_stacks(&stack.layers, &new, &[])?;
        // A file whose names lie in several layers is one file only where they are on each other.
        let differs = files.into_iter().find(|file| {
            file.change != FileChange::Attributes
                || file.attributes.iter().any(|attribute| attribute.name != "links")
        });
        match differs {
            None => Ok(()),
            Some(file) => Err(Error::NotEqual { path: file.path }),
        }
    }
}

/// How many layers stay.
fn kept(whole: &Stack, base: &Stack, request: &FlattenRequest) -> Result<usize> {
    let same =
        whole.layers.iter().zip(&base.layers).all(|(own, base)| own.chain_id == base.chain_id);
    if same && base.layers.len() <= whole.layers.len() {
        return Ok(base.layers.len());
    }
    let base = request.keep.as_deref().unwrap_or_default();
    let text = format!(
        "image `{base}` is no base of `{}`: its layers are not the lowest ones",
        request.image
    );
    Err(ParseError::new(text).into())
}

fn write(
    base: &Files,
    whole: &Files,
    kept: usize,
    roots: &[Root],
    output: impl Write,
) -> Result<()> {
    let mut tar = TarWriter::new(io::BufWriter::new(output), Times::Nanoseconds);
    // What the base has and the image has not: the uppermost of each tree is enough.
    let removed: Vec<&Vec<u8>> = base
        .nodes
        .keys()
        .filter(|path| !whole.nodes.contains_key(*path))
        .filter(|path| {
            let parent = split(path).0;
            parent.is_empty() || whole.nodes.get(parent).is_some_and(|node| node.is_directory())
        })
        .collect();
    let own = whole.nodes.iter().filter(|(_, node)| node.layer >= kept).map(|(path, _)| path);
    let mut wanted: BTreeSet<&[u8]> = own.map(Vec::as_slice).collect();
    let changed: Vec<&[u8]> =
        wanted.iter().copied().chain(removed.iter().map(|path| path.as_slice())).collect();
    // Directories that the layer does not name would get attributes of their own.
    for path in changed {
        let mut parent = split(path).0;
        while !parent.is_empty() && wanted.insert(parent) {
            parent = split(parent).0;
        }
    }
    for path in wanted {
        let Some(node) = whole.nodes.get(path) else { continue };
        let Some(root) = roots.get(node.layer) else { continue };
        write_object(&mut tar, root, path).map_err(archive)?;
    }
    for path in removed {
        let (parent, name) = split(path);
        if let Ok(name) = CString::new(name) {
            tar.whiteout(parent, &name).map_err(archive)?;
        }
    }
    tar.finish().map(drop).map_err(archive)
}

/// Writes one object from the directory of the layer that brought it.
fn write_object<W: Write>(
    tar: &mut TarWriter<W>,
    root: &Root,
    path: &[u8],
) -> Result<(), orlop_archive::Error> {
    let shown = Path::new(OsStr::from_bytes(path));
    let (parent, name) = root.open_parent(shown)?;
    let failed = |source: rustix::io::Errno| orlop_archive::Error::Write(source.into());
    let parent: BorrowedFd<'_> = parent.as_fd();
    let stat =
        rustix::fs::statat(parent, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::Directory {
        return tar.file(path, parent, &name, &stat);
    }
    let directory =
        orlop_sys::confined::open_dir_at(parent, &name).map_err(orlop_archive::Error::Write)?;
    tar.directory(path, directory.as_fd(), &stat)
}

/// The configuration with the new layers. Steps that made a layer above the base stay, and have none
/// any more.
fn flat_config(
    image: &ImageRecord,
    kept: usize,
    layer: &Layer,
    request: &FlattenRequest,
) -> Result<Value> {
    let parsed = config(image)?;
    let mut raw = raw_config(image)?;
    let created = now();
    let mut made = 0;
    let mut history: Vec<HistoryEntry> = parsed.history;
    for entry in history.iter_mut().filter(|entry| !entry.empty_layer) {
        entry.empty_layer = made >= kept;
        made += 1;
    }
    let base = match &request.keep {
        Some(base) => format!(" --keep {base}"),
        None => String::new(),
    };
    // Layers below that no step made must not be taken for the new one.
    history.extend((made..kept).map(|_| HistoryEntry::default()));
    history.push(HistoryEntry {
        created: Some(created.clone()),
        created_by: format!("orlop image flatten{base}"),
        comment: match parsed.rootfs.diff_ids.len() - kept {
            1 => String::new(),
            layers => format!("{layers} layers in one"),
        },
        ..HistoryEntry::default()
    });
    let mut diff_ids: Vec<_> = parsed.rootfs.diff_ids.into_iter().take(kept).collect();
    diff_ids.push(layer.diff_id.clone());
    let damaged = |source| Error::Damaged { id: image.id.clone(), source };
    for (name, value) in [
        ("created", Value::String(created)),
        ("history", serde_json::to_value(history).map_err(damaged)?),
        ("rootfs", serde_json::json!({ "type": "layers", "diff_ids": diff_ids })),
    ] {
        raw.insert(name.to_owned(), value);
    }
    Ok(Value::Object(raw))
}
