//! Where the result of a build goes: the image store, archives, directories, registries.

use std::collections::BTreeMap;
use std::io::{BufReader, Write as _};
use std::os::fd::AsFd as _;

use orlop_archive::Packing;
use orlop_archive::unpack::{Ownership, UnpackOptions, unpack};
use orlop_archive::write::{TarWriter, Times};
use orlop_image::PushOptions;
use orlop_image::{LayerPacking, LayoutForm, LayoutImage, LayoutOptions, LayoutTarget, MediaTypes};
use orlop_sys::confined::{Owner, Root};
use orlop_sys::mount::mount_rootfs;
use orlop_types::reference::ImageReference;
use orlop_types::{ChainId, ErrorKind, ImageId};
use serde_json::{Map, Value, json};

use crate::base::{Bases, transfer};
use crate::builder::Builder;
use crate::output_store::{NewImage, store_image};
use crate::progress::StepProgress;
use crate::request::{Destination, Output, OutputKind};
use crate::vertices::Vertices;
use crate::{Cancel, Error, Result};

/// Attributes of outputs that hold for every form of image.
const IMAGE_ATTRIBUTES: [&str; 13] = [
    "name",
    "push",
    "push-by-digest",
    "compression",
    "compression-level",
    "force-compression",
    "oci-mediatypes",
    "oci-artifact",
    "unpack",
    "store",
    "tar",
    "dest",
    "rewrite-timestamp",
];

/// What outputs work on.
pub(crate) struct Exporter<'e> {
    pub builder: Builder<'e>,
    pub bases: &'e Bases<'e>,
    pub vertices: &'e Vertices<'e>,
    pub cancel: &'e Cancel,
    pub image: &'e NewImage,
    pub tags: &'e [String],
}

impl Exporter<'_> {
    /// Checks an output before anything is built.
    pub fn check(output: &Output) -> Result<()> {
        for (name, value) in &output.attributes {
            let known = IMAGE_ATTRIBUTES.contains(&name.as_str())
                || name.starts_with("annotation")
                || matches!(name.as_str(), "type" | "mode" | "platform-split" | "context");
            if !known {
                return Err(Error::invalid(format!("unknown output option `{name}={value}`")));
            }
        }
        if let Some(value) = output.attributes.get("rewrite-timestamp")
            && !matches!(value.as_str(), "false" | "0")
        {
            return Err(Error::invalid(
                "`rewrite-timestamp` is not supported: layers keep the times of their files; set those \
                 in the steps that write them, for instance with `touch -d @$SOURCE_DATE_EPOCH`",
            ));
        }
        layout_options(output).map(drop)?;
        match (output.kind, &output.destination) {
            (OutputKind::Local, Destination::Directory(_))
            | (OutputKind::Tar | OutputKind::Docker, Destination::File(_))
            | (OutputKind::Oci, Destination::File(_) | Destination::Directory(_))
            | (OutputKind::Image | OutputKind::CacheOnly, _) => Ok(()),
            (OutputKind::Local, _) => Err(Error::invalid("dest is required for local output")),
            (OutputKind::Docker, Destination::Directory(_)) => {
                Err(Error::invalid("a docker archive is a file, not a directory"))
            }
            _ => Err(Error::invalid("dest is required for this output; give a file, or `-`")),
        }
    }

    /// Writes one output; what it adds to the metadata is put there.
    pub fn write(
        &self,
        output: Output,
        metadata: &mut Map<String, Value>,
    ) -> Result<Option<ImageId>> {
        let options = layout_options(&output)?;
        let top = self.image.top.as_ref();
        match (output.kind, output.destination) {
            (OutputKind::CacheOnly, _) => Ok(None),
            (OutputKind::Image, _) => self.to_store(&output.attributes, metadata).map(Some),
            (OutputKind::Local, Destination::Directory(path)) => {
                let name = "exporting to client directory";
                self.vertices
                    .during(name, |_| to_directory(self.builder, top, &path))
                    .map(|()| None)
            }
            (OutputKind::Tar, Destination::File(file)) => {
                let name = "exporting to client tarball";
                self.vertices.during(name, |_| to_tar(self.builder, top, file)).map(|()| None)
            }
            (kind, destination) => {
                let (form, name) = match kind {
                    OutputKind::Docker => (LayoutForm::Both, "exporting to docker image format"),
                    _ => (LayoutForm::Oci, "exporting to oci image format"),
                };
                let options = LayoutOptions { form, ..options };
                self.vertices
                    .during(name, |vertex| {
                        let progress = StepProgress { progress: self.vertices.progress(), vertex };
                        progress.status("exporting layers", 0, 0, false);
                        let written = self.to_layout(&output.attributes, destination, options);
                        progress.status("exporting layers", 0, 0, true);
                        written
                    })
                    .map(|digest| {
                        metadata.insert("containerimage.digest".to_owned(), json!(digest));
                        metadata.insert(
                            "containerimage.config.digest".to_owned(),
                            json!(self.image.id),
                        );
                        None
                    })
            }
        }
    }

    /// Names of the image: those of the request, else those of the output (as buildx).
    fn names(&self, attributes: &BTreeMap<String, String>) -> Result<Vec<ImageReference>> {
        let own = attributes.get("name").map(String::as_str).unwrap_or_default();
        let mut names: Vec<ImageReference> = Vec::new();
        let own = own.split(',').filter(|text| self.tags.is_empty() && !text.is_empty());
        for text in self.tags.iter().map(String::as_str).chain(own) {
            let name = parse_tag(text)?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn to_store(
        &self,
        attributes: &BTreeMap<String, String>,
        metadata: &mut Map<String, Value>,
    ) -> Result<ImageId> {
        let names = self.names(attributes)?;
        self.vertices.during("exporting to image", |vertex| {
            let progress = StepProgress { progress: self.vertices.progress(), vertex };
            progress.status("exporting layers", 0, 0, true);
            progress.status(&format!("writing image {}", self.image.id), 0, 0, false);
            store_image(self.builder.store, self.image, &names)?;
            progress.status(&format!("writing image {}", self.image.id), 0, 0, true);
            for name in &names {
                progress.status(&format!("naming to {}", name.canonical()), 0, 0, true);
            }
            Ok(())
        })?;
        let id = &self.image.id;
        metadata.insert("containerimage.config.digest".to_owned(), json!(id));
        metadata.insert("containerimage.digest".to_owned(), json!(id));
        if !names.is_empty() {
            let names: Vec<String> = names.iter().map(ImageReference::canonical).collect();
            metadata.insert("image.name".to_owned(), json!(names.join(",")));
        }
        let wants = |name: &str| {
            attributes.get(name).is_some_and(|value| matches!(value.as_str(), "true" | "1" | ""))
        };
        if wants("push") {
            if names.is_empty() {
                return Err(Error::invalid("tag is needed when pushing to registry"));
            }
            for name in &names {
                self.push(name, attributes, metadata)?;
            }
        }
        Ok(id.clone())
    }

    fn push(
        &self,
        name: &ImageReference,
        attributes: &BTreeMap<String, String>,
        metadata: &mut Map<String, Value>,
    ) -> Result<()> {
        let packing = packing(attributes)?.map(|(packing, _)| packing);
        let options = PushOptions { packing, ..PushOptions::of(name.clone()) };
        let client = self.bases.client()?;
        let text = format!("pushing {}", name.canonical());
        let pushed = self.vertices.during(&text, |vertex| {
            transfer(self.vertices, vertex, self.cancel, |watch| {
                Ok(self.builder.images().push(client, &options, watch)?)
            })
        })?;
        if let Some(pushed) = pushed.first() {
            metadata.insert("containerimage.digest".to_owned(), json!(pushed.digest));
        }
        Ok(())
    }

    fn to_layout(
        &self,
        attributes: &BTreeMap<String, String>,
        destination: Destination,
        options: LayoutOptions,
    ) -> Result<String> {
        let images = self.builder.images();
        let annotations = attributes
            .iter()
            .filter_map(|(name, value)| {
                let name = name
                    .strip_prefix("annotation.")
                    .or_else(|| name.strip_prefix("annotation-manifest."))?;
                Some((name.to_owned(), value.clone()))
            })
            .collect();
        let image = LayoutImage {
            config: self.image.config.clone(),
            top_layer: self.image.top.clone(),
            references: self.names(attributes)?,
            annotations,
        };
        let plan = images.plan_layout(vec![image], options)?;
        let progress = |_bytes: u64| ();
        let written = match destination {
            Destination::Directory(path) => {
                images.write_layout(&plan, LayoutTarget::Directory(&path), &progress)?
            }
            Destination::File(mut file) => {
                let written =
                    images.write_layout(&plan, LayoutTarget::Tar(&mut file), &progress)?;
                file.flush().map_err(|error| cannot("write the archive", &error))?;
                written
            }
            Destination::Store => return Err(Error::invalid("dest is required for this output")),
        };
        Ok(written.first().map_or(String::new(), |image| image.manifest.to_string()))
    }
}

/// A name that the image is to get.
pub(crate) fn parse_tag(text: &str) -> Result<ImageReference> {
    orlop_image::target_reference(Some(text))
        .map_err(|error| Error::invalid(format!("invalid tag {text:?}: {error}")))?
        .ok_or_else(|| Error::invalid(format!("invalid tag {text:?}: invalid reference format")))
}

fn cannot(what: &str, error: &std::io::Error) -> Error {
    Error::failed(ErrorKind::of_io(error), format!("cannot {what}: {error}"))
}

/// How layers are compressed, and whether those that are there in another form are packed anew.
fn packing(attributes: &BTreeMap<String, String>) -> Result<Option<(Packing, bool)>> {
    let force = attributes.get("force-compression").is_some_and(|value| value != "false");
    let Some(method) = attributes.get("compression") else { return Ok(None) };
    let level = attributes.get("compression-level");
    let text = match level {
        Some(level) => format!("{method}:{level}"),
        None => method.clone(),
    };
    let packing = text.parse::<Packing>().map_err(|error| {
        Error::invalid(format!("unsupported compression type {method}: {error}"))
    })?;
    Ok(Some((packing, force)))
}

fn layout_options(output: &Output) -> Result<LayoutOptions> {
    let docker_types = match output.attributes.get("oci-mediatypes").map(String::as_str) {
        Some("true" | "1" | "") => false,
        Some("false" | "0") => true,
        None => output.kind == OutputKind::Docker,
        Some(other) => {
            return Err(Error::invalid(format!("invalid value {other:?} for oci-mediatypes")));
        }
    };
    let packing = match packing(&output.attributes)? {
        None => LayerPacking::default(),
        Some((packing, false)) => LayerPacking::By(packing),
        Some((packing, true)) => LayerPacking::Exactly(packing),
    };
    Ok(LayoutOptions {
        form: LayoutForm::default(),
        types: if docker_types { MediaTypes::Docker } else { MediaTypes::Oci },
        packing,
    })
}

/// Writes the files of the result as a tar.
fn to_tar(builder: Builder<'_>, top: Option<&ChainId>, file: std::fs::File) -> Result<()> {
    let mut tar = TarWriter::new(std::io::BufWriter::new(file), Times::Seconds);
    if let Some(top) = top {
        let root = view(builder, top)?;
        tar.tree(root.fd(), b"").map_err(orlop_layer::Error::from)?;
    }
    tar.finish().map_err(orlop_layer::Error::from)?;
    Ok(())
}

fn view(builder: Builder<'_>, top: &ChainId) -> Result<Root> {
    let mount = mount_rootfs(&builder.layers.view(top)?).map_err(orlop_layer::Error::from)?;
    Ok(Root::of_mount(mount).map_err(orlop_layer::Error::from)?)
}

/// Puts the files of the result into a directory, among those that are there. Modes stay; the files
/// belong to whoever builds.
fn to_directory(builder: Builder<'_>, top: Option<&ChainId>, path: &std::path::Path) -> Result<()> {
    std::fs::create_dir_all(path)
        .map_err(|error| cannot(&format!("make the directory `{}`", path.display()), &error))?;
    let Some(top) = top else { return Ok(()) };
    let source = view(builder, top)?;
    let target = Root::open(path).map_err(orlop_layer::Error::from)?;
    let (reader, writer) = std::io::pipe().map_err(|error| cannot("make a pipe", &error))?;
    let owner = Owner {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
    };
    let options = UnpackOptions { ownership: Ownership::Fixed(owner), ..UnpackOptions::default() };
    std::thread::scope(|scope| {
        let written = scope.spawn(move || -> Result<()> {
            let mut tar = TarWriter::new(writer, Times::Nanoseconds);
            tar.tree(source.fd().as_fd(), b"").map_err(orlop_layer::Error::from)?;
            tar.finish().map_err(orlop_layer::Error::from)?;
            Ok(())
        });
        let unpacked = unpack(BufReader::with_capacity(1 << 20, reader), &target, &options);
        let written = written.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match unpacked {
            // The writer only saw the reader's end.
            Err(error) => Err(orlop_layer::Error::from(error).into()),
            Ok(_) => written,
        }
    })
}
