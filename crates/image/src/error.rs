//! What can go wrong with images; the texts are Docker's where Docker has one.

use orlop_types::{ErrorKind, ImageId, ParseError};

/// A failed operation on an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such image.
    #[error("No such image: {name}")]
    NotFound {
        /// The name, with the tag that was looked for.
        name: String,
    },
    /// A name, a change, a filter or a platform is malformed.
    #[error(transparent)]
    Invalid(#[from] ParseError),
    /// A tag would look like a digest.
    #[error("refusing to create an ambiguous tag using digest algorithm as name")]
    AmbiguousTag,
    /// A tag cannot hold a digest.
    #[error("refusing to create a tag with a digest reference")]
    DigestTag,
    /// An imported image cannot be named by a digest.
    #[error("cannot import digest reference")]
    DigestImport,
    /// Containers of this operating system cannot run here.
    #[error("operating system is not supported: `{0}`; only linux is")]
    OperatingSystem(String),
    /// An image is not for the platform it should be saved for.
    #[error("no suitable export target found for platform {platform}")]
    NoExport {
        /// The platform.
        platform: String,
    },
    /// An image is not for the platform that was asked for.
    #[error(
        "image with reference {name} was found but does not provide the specified platform ({platform})"
    )]
    OtherPlatform {
        /// The image as the user named it.
        name: String,
        /// The platform.
        platform: String,
    },
    /// An archive that is loaded has no image for a platform.
    #[error("no matching manifest for {platform} in the archive")]
    NoPlatform {
        /// The platform.
        platform: String,
    },
    /// An archive that is loaded is of no known form.
    #[error("invalid archive: does not contain a manifest.json")]
    NoManifest,
    /// An image of an archive has more or fewer layers than its configuration says.
    #[error("invalid manifest, layers length mismatch: expected {expected}, got {found}")]
    LayerCount {
        /// Layers of the manifest.
        expected: usize,
        /// Layers of the configuration.
        found: usize,
    },
    /// A part of an archive that is loaded is not what it must be.
    #[error("cannot load `{entry}` of the archive: {problem}")]
    LoadEntry {
        /// The part.
        entry: String,
        /// What is wrong.
        problem: LoadProblem,
    },
    /// An archive or what is unpacked from it cannot be read or kept.
    #[error("cannot {action}")]
    LoadFile {
        /// What was attempted.
        action: &'static str,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A file of an OCI layout cannot be written.
    #[error("cannot write `{}`", path.display())]
    SaveFile {
        /// The file.
        path: std::path::PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A directory holds something else than an OCI layout.
    #[error("`{}` is neither empty nor an OCI layout; name another directory", path.display())]
    NoLayout {
        /// The directory.
        path: std::path::PathBuf,
    },
    /// A flattened image came out with other files; it was not kept.
    #[error("the flattened layer differs from the image at `{path}`; nothing was changed")]
    NotEqual {
        /// The first path that differs.
        path: String,
    },
    /// The image cannot be removed for now.
    #[error("conflict: {0}")]
    Conflict(Conflict),
    /// Another prune works on the store.
    #[error("a prune operation is already running")]
    PruneRunning,
    /// The stored configuration is not one.
    #[error("the configuration of the image {id} is damaged")]
    Damaged {
        /// The image.
        id: ImageId,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// There is no such blob.
    #[error("blob `{0}` is not in the store")]
    NoBlob(orlop_types::Digest),
    /// A blob is not what it was.
    #[error("blob `{0}` is damaged on the disk; `orlop system check --repair` removes it")]
    DamagedBlob(orlop_types::Digest),
    /// A blob that must be a description is too long for one.
    #[error("blob `{digest}` is longer than {limit_bytes} bytes")]
    LongBlob {
        /// The blob.
        digest: orlop_types::Digest,
        /// What it may be.
        limit_bytes: u64,
    },
    /// What was to be kept has another digest than it was said to have.
    #[error("the content has the digest `{found}`, not `{expected}`")]
    OtherDigest {
        /// What was said.
        expected: orlop_types::Digest,
        /// What it is.
        found: orlop_types::Digest,
    },
    /// A file of the content store cannot be worked on.
    #[error("cannot {action} `{}`", path.display())]
    ContentFile {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: std::path::PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// An exchange with a registry failed.
    #[error(transparent)]
    Registry(#[from] orlop_registry::Error),
    /// A blob that was to be sent is not what it was.
    #[error(
        "blob `{0}` was damaged on the disk and is forgotten; push again to pack the layer anew, or pull the image before"
    )]
    ForgottenBlob(orlop_types::Digest),
    /// Containers of an image's operating system cannot run here.
    #[error("image operating system {0:?} cannot be used on this platform")]
    OtherSystem(String),
    /// A manifest has other layers than the configuration that it names.
    #[error("layers from manifest don't match image configuration")]
    LayersDoNotFit,
    /// What a registry has under the name is no image.
    #[error("unsupported media type `{0}`: this is no container image")]
    NotAnImage(String),
    /// A configuration is not text.
    #[error("invalid image configuration: it is not valid UTF-8")]
    ConfigText,
    /// A damaged layer cannot be replaced for now.
    #[error(
        "layer `{layer}` is damaged on the disk, and container {container} runs on it; stop the container and pull again"
    )]
    DamagedInUse {
        /// The layer.
        layer: orlop_types::ChainId,
        /// The container, as Docker shortens ids.
        container: String,
    },
    /// No image has a name of the repository.
    #[error("An image does not exist locally with the tag: {0}")]
    NoSuchRepository(String),
    /// No image has the name.
    #[error("tag does not exist: {0}")]
    NoSuchTag(String),
    /// What is pushed is named by tags.
    #[error("cannot push a digest reference")]
    PushDigest,
    /// A name that stands for nothing.
    #[error("'scratch' is a reserved name")]
    Scratch,
    /// A lock file cannot be used.
    #[error("cannot lock `{}`", path.display())]
    Lock {
        /// The file.
        path: std::path::PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A layer cannot be brought in or taken away.
    #[error(transparent)]
    Layer(#[from] orlop_layer::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] orlop_meta::Error),
}

/// What is wrong with a part of an archive.
#[derive(Debug, thiserror::Error)]
pub enum LoadProblem {
    /// There is no such part.
    #[error("there is no such entry")]
    Missing,
    /// The layer lies elsewhere by design: its publisher does not let it be passed on.
    #[error("it is a foreign layer, which the archive does not hold; pull the image instead")]
    Foreign,
    /// The name leads outside.
    #[error("{0}")]
    Name(orlop_archive::Refusal),
    /// There are two parts of the name.
    #[error("the archive has two entries of this name")]
    Twice,
    /// Links lead to each other.
    #[error("too many links lead to each other")]
    LinkLoop,
    /// It is no link or regular file.
    #[error("it is no regular file")]
    Kind,
    /// Too long for a description.
    #[error("it is longer than {0} bytes")]
    TooLong(u64),
    /// Too many parts, or too many descriptions.
    #[error("more than {0} of its kind")]
    TooMany(usize),
    /// No JSON of the right form.
    #[error("{0}")]
    Json(serde_json::Error),
    /// Not text.
    #[error("it is not valid UTF-8")]
    Text,
    /// The content is not what the digest says.
    #[error("its digest is {found}, not {expected}")]
    Digest {
        /// What it should be.
        expected: orlop_types::Digest,
        /// What it is.
        found: orlop_types::Digest,
    },
    /// The length is another.
    #[error("it is {found} bytes long, not {expected}")]
    Length {
        /// What it should be.
        expected: u64,
        /// What it is.
        found: u64,
    },
    /// The archive ends before.
    #[error("the archive ends before its end")]
    Truncated,
}

/// What keeps an image; short ids as Docker prints them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The last name of an image that a container uses.
    #[error(
        "unable to remove repository reference \"{reference}\" (must force) - container {container} is using its \
         referenced image {image}"
    )]
    LastReference {
        /// The name as given.
        reference: String,
        /// The container.
        container: String,
        /// The image.
        image: String,
    },
    /// A running container uses the image.
    #[error(
        "unable to delete {image} (cannot be forced) - image is being used by running container {container}"
    )]
    Running {
        /// The image.
        image: String,
        /// The container.
        container: String,
    },
    /// A stopped container uses the image.
    #[error(
        "unable to delete {image} (must be forced) - image is being used by stopped container {container}"
    )]
    Stopped {
        /// The image.
        image: String,
        /// The container.
        container: String,
    },
    /// An image given by id has several names.
    #[error(
        "unable to delete {image} (must be forced) - image is referenced in multiple repositories"
    )]
    ManyReferences {
        /// The image.
        image: String,
    },
}

impl Error {
    /// The kind that picks status and exit code.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid(_)
            | Self::AmbiguousTag
            | Self::DigestTag
            | Self::DigestImport
            | Self::OperatingSystem(_)
            | Self::NoManifest
            | Self::NoLayout { .. }
            | Self::LayerCount { .. }
            | Self::LoadEntry { .. }
            | Self::OtherDigest { .. }
            | Self::LongBlob { .. }
            | Self::OtherSystem(_)
            | Self::LayersDoNotFit
            | Self::NotAnImage(_)
            | Self::ConfigText
            | Self::PushDigest => ErrorKind::InvalidInput,
            Self::NotFound { .. }
            | Self::NoBlob(_)
            | Self::NoSuchRepository(_)
            | Self::NoSuchTag(_)
            | Self::NoExport { .. }
            | Self::NoPlatform { .. }
            | Self::OtherPlatform { .. } => ErrorKind::NotFound,
            Self::Conflict(Conflict::ManyReferences { .. }) | Self::PruneRunning => {
                ErrorKind::Conflict
            }
            Self::Conflict(_) | Self::DamagedInUse { .. } => ErrorKind::InUse,
            Self::Damaged { .. }
            | Self::DamagedBlob(_)
            | Self::ForgottenBlob(_)
            | Self::NotEqual { .. } => ErrorKind::Corrupt,
            Self::Lock { source, .. }
            | Self::LoadFile { source, .. }
            | Self::SaveFile { source, .. }
            | Self::ContentFile { source, .. } => ErrorKind::of_io(source),
            Self::Registry(error) => error.kind(),
            Self::Scratch => ErrorKind::Denied,
            Self::Layer(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }
}
