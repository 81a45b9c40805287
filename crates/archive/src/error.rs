//! What can go wrong with an archive.

use orlop_sys::confined::PathError;
use orlop_types::ErrorKind;

use crate::compression::Compression;

/// Why an entry of an archive is not unpacked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The name leads above the root.
    #[error("the name leads outside the layer")]
    Escapes,
    /// The name holds a zero byte or has a component that is too long.
    #[error("the name is not a valid file name")]
    InvalidName,
    /// The name is one of the whiteout markers that mean nothing, or hides below one.
    #[error("names that begin with `.wh.` are reserved for whiteouts")]
    ReservedName,
    /// The name has too many components.
    #[error("more than {0} directories deep")]
    TooDeep(usize),
    /// The archive has too many entries.
    #[error("more than {0} entries")]
    TooManyEntries(u64),
    /// The content is longer than allowed.
    #[error("more than {0} bytes of content")]
    TooLarge(u64),
    /// A parent is a link that leads to nothing inside the layer, or is no directory.
    #[error("its parent `{0}` is not a directory inside the layer")]
    ParentNotDirectory(String),
    /// A link without a target.
    #[error("a link without a target")]
    NoTarget,
    /// A hard link to something that this layer does not hold.
    #[error("the target `{0}` of the hard link is not a file of this layer")]
    LinkTarget(String),
    /// A type of entry that is not known.
    #[error("unknown type {0:?} of entry")]
    UnknownType(char),
    /// An owner that no file can have.
    #[error("owner {0}:{1} is out of range")]
    Owner(u64, u64),
    /// A map of data in a sparse file that contradicts itself.
    #[error("the map of the sparse file is invalid")]
    SparseMap,
    /// An extended record whose value is malformed.
    #[error("invalid value in the extended header `{0}`")]
    ExtendedHeader(String),
    /// A device without numbers.
    #[error("a device without numbers")]
    Device,
}

/// Where an archive is damaged; without one good entry it is hardly an archive at all.
fn damaged_where(after: &str) -> String {
    match after {
        "" => "this is no tar archive, or its beginning is damaged".to_owned(),
        after => format!("the archive is damaged after the entry `{after}`"),
    }
}

/// Where an archive ends too early.
fn truncated_where(entry: &str) -> String {
    match entry {
        // Docker's words for what is hardly an archive at all.
        "" => "unexpected EOF".to_owned(),
        entry => format!("the archive ends in the middle of the entry `{entry}`"),
    }
}

/// A failed operation on an archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The archive asks for something that is not allowed.
    #[error("the archive's entry `{entry}` is refused: {refusal}")]
    Refused {
        /// The entry's name.
        entry: String,
        /// Why.
        refusal: Refusal,
    },
    /// The archive is damaged.
    #[error("{}", damaged_where(after))]
    Damaged {
        /// The last good entry; empty if there is none.
        after: String,
        /// What the parser found.
        #[source]
        source: tar_core::parse::ParseError,
    },
    /// The archive ends too early.
    #[error("{}", truncated_where(entry))]
    Truncated {
        /// The entry.
        entry: String,
    },
    /// The stream cannot be read or decompressed.
    #[error("cannot read the {} stream", compression.name())]
    Stream {
        /// Its compression.
        compression: Compression,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// The decompressed stream is longer than allowed.
    #[error("the stream is longer than the limit of {limit_bytes} bytes after decompression")]
    StreamTooLong {
        /// The limit.
        limit_bytes: u64,
    },
    /// The file system refused something for an entry.
    #[error("cannot {action} for the archive's entry `{entry}`")]
    Entry {
        /// The entry's name.
        entry: String,
        /// What was attempted.
        action: &'static str,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// A file of a tree that is archived cannot be read or represented.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The archive cannot be written.
    #[error("cannot write the archive")]
    Write(#[source] std::io::Error),
    /// A file cannot be represented in an archive.
    #[error("cannot represent `{path}` in an archive")]
    Represent {
        /// The file.
        path: String,
        /// What does not fit.
        #[source]
        source: tar_core::HeaderError,
    },
    /// What a layer keeps of its tar cannot be read or written.
    #[error("cannot {action} the record of the layer's tar")]
    Skeleton {
        /// What was attempted.
        action: &'static str,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// An entry would replace a directory by something else, or the other way round.
    #[error("cannot overwrite {} `{path}` with {}", kind_word(!directory_comes), kind_word(*directory_comes))]
    OtherKind {
        /// What is there, relative to where the archive is unpacked.
        path: String,
        /// Whether the entry is the directory of the two.
        directory_comes: bool,
    },
    /// A file name of a tree would become a whiteout in an archive.
    #[error("cannot archive `{0}`: names that begin with `.wh.` are reserved for whiteouts")]
    Reserved(String),
}

impl Error {
    /// The kind that picks status and exit code.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { .. } | Self::StreamTooLong { .. } | Self::Reserved(_) => {
                ErrorKind::InvalidInput
            }
            // What cannot be read uncompressed is the disk's or the network's fault, not the content's.
            Self::Stream { compression: Compression::None, source } | Self::Write(source) => {
                ErrorKind::of_io(source)
            }
            Self::Damaged { .. } | Self::Truncated { .. } | Self::Stream { .. } => {
                ErrorKind::Corrupt
            }
            Self::Entry { source, .. } | Self::Skeleton { source, .. } => ErrorKind::of_io(source),
            Self::Path(error) => ErrorKind::of_io(&error.source),
            Self::Represent { .. } | Self::OtherKind { .. } => ErrorKind::Internal,
        }
    }
}

fn kind_word(is_directory: bool) -> &'static str {
    if is_directory { "directory" } else { "non-directory" }
}

/// A name as it is shown in messages.
pub(crate) fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// The refusal of an entry.
pub(crate) fn refuse(entry: &[u8], refusal: Refusal) -> Error {
    Error::Refused { entry: shown(entry), refusal }
}
