//! `cp` itself: an archive that one thread writes on one side and another unpacks on the other.

use std::io::{self, BufReader, BufWriter, PipeReader, PipeWriter, Read, Write};
use std::path::Path;

use orlop_archive::Error as ArchiveError;
use orlop_archive::compression::decoder;
use orlop_archive::resource::{Resource, pack};
use orlop_archive::unpack::{Ownership, Rename, Replace, UnpackOptions, unpack};
use orlop_archive::write::{Holes, TarWriter, Times};
use orlop_sys::confined::{LastLink, Owner, Root};

use super::rules::{self, Destination, Placement, Source, There, place};
use super::{BUFFER_BYTES, ContainerFiles, CopyError, ExtractOptions, local};
use crate::error::system;
use crate::{Error, Result};

/// How much of an archive is under way between the two threads.
const PIPE_BYTES: usize = 1 << 20;

/// How to copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// Copies what a link leads to instead of the link (`-L`).
    pub follow_link: bool,
    /// Gives the files to the container's user, if it has one (`-a`).
    pub archive: bool,
}

/// What was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Length of the archive as Docker counts it.
    pub bytes: u64,
    /// Where it went.
    pub destination: String,
}

impl ContainerFiles<'_> {
    /// Copies from the host into the container.
    pub fn copy_in(
        &self,
        source: &str,
        destination: &str,
        options: CopyOptions,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Copied> {
        let target = self.destination(destination)?;
        let source = local::source(&local::absolute(source)?, options.follow_link)?;
        let Placement { directory, name } = place(&source, &target)?;
        let name = name.unwrap_or_else(|| source.archive_name());
        let options =
            ExtractOptions { no_overwrite_dir_non_dir: true, copy_uid_gid: options.archive };
        let (reader, writer) = pipe()?;
        let (packed, extracted) = std::thread::scope(|scope| {
            let source = &source;
            let packing = scope.spawn(move || pack_local(source, &name, writer, progress));
            let input = BufReader::with_capacity(BUFFER_BYTES, reader);
            let extracted = self.extract(&directory, input, options);
            (join(packing), extracted)
        });
        let bytes = outcome(packed, extracted)?;
        Ok(Copied { bytes, destination: target.path })
    }

    /// Unpacks an archive, compressed or not, in a directory of the container.
    pub fn copy_in_archive(
        &self,
        input: impl Read + Send,
        destination: &str,
        options: CopyOptions,
    ) -> Result<()> {
        let target = self.destination(destination)?;
        if target.there != There::Directory {
            return Err(CopyError::ArchiveNeedsDirectory {
                container: self.name.clone(),
                path: destination.to_owned(),
            }
            .into());
        }
        let (_, decoded) = decoder(input).map_err(system("read", Path::new("standard input")))?;
        let input = BufReader::with_capacity(BUFFER_BYTES, decoded);
        let options =
            ExtractOptions { no_overwrite_dir_non_dir: true, copy_uid_gid: options.archive };
        self.extract(&target.path, input, options)
    }

    /// Copies out of the container to the host.
    pub fn copy_out(
        &self,
        source: &str,
        destination: &str,
        options: CopyOptions,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Copied> {
        let destination = local::absolute(destination)?;
        local::check_output(&destination)?;
        let source = self.source(source, options)?;
        let target = local::destination(&destination)?;
        let Placement { directory, name } = place(&source, &target)?;
        let unpacking = UnpackOptions {
            base: Vec::new(),
            rename: rename(&source, name),
            replace: Replace::SameKind,
            ownership: Ownership::Fixed(Owner {
                uid: rustix::process::geteuid().as_raw(),
                gid: rustix::process::getegid().as_raw(),
            }),
        };
        let root = Root::open(Path::new(&directory)).map_err(CopyError::from)?;
        let (reader, writer) = pipe()?;
        let (packed, unpacked) = std::thread::scope(|scope| {
            let path = source.path.as_str();
            let packing = scope.spawn(move || {
                let mut output = Counted { inner: writer, progress };
                self.archive_with(path, &mut output, Holes::Kept).map(|packed| packed.plain_bytes)
            });
            let input = BufReader::with_capacity(BUFFER_BYTES, reader);
            let unpacked = unpack(input, &root, &unpacking)
                .map_err(|error| Error::from(CopyError::of_unpacking(error, &directory)));
            (join(packing), unpacked.map(drop))
        });
        let bytes = outcome(packed, unpacked)?;
        Ok(Copied { bytes, destination })
    }

    /// Writes an archive of what is at a path; with `-L`, of what a link there leads to.
    pub fn copy_out_archive(
        &self,
        source: &str,
        output: &mut dyn Write,
        options: CopyOptions,
    ) -> Result<()> {
        let source = self.source(source, options)?;
        self.archive(&source.path, output).map(drop)
    }

    /// What is to be copied out.
    fn source(&self, path: &str, options: CopyOptions) -> Result<Source> {
        let stat = self.stat(path)?;
        if options.follow_link && stat.is_link() {
            let (path, name) = rules::followed(path, &stat.link_target);
            let is_directory = self.stat(&path)?.is_directory();
            return Ok(Source { path, is_directory, name });
        }
        Ok(Source { path: path.to_owned(), is_directory: stat.is_directory(), name: None })
    }

    /// What is at the place where a copy is to go; a link there stands for what it leads to.
    fn destination(&self, path: &str) -> Result<Destination> {
        let nothing = |path: String| Destination { path, there: There::Nothing };
        let mut target = path.to_owned();
        let stat = match self.stat(path) {
            Ok(stat) if stat.is_link() => {
                target.clone_from(&stat.link_target);
                self.stat(&target)
            }
            other => other,
        };
        let stat = match stat {
            Ok(stat) => stat,
            // Whether the parent is there shows when the archive is unpacked.
            Err(Error::Copy(
                CopyError::Missing { .. } | CopyError::Local { .. } | CopyError::EmptyPath,
            )) => {
                return Ok(nothing(target));
            }
            Err(error) => return Err(error),
        };
        if let Some(found) = stat.no_destination() {
            let what = format!("destination \"{}:{path}\"", self.name);
            return Err(CopyError::NoDestination { what, found }.into());
        }
        let there = if stat.is_directory() { There::Directory } else { There::File };
        Ok(Destination { path: target, there })
    }
}

/// How the names of a container's archive change on the way to the host.
fn rename(source: &Source, name: Option<String>) -> Option<Rename> {
    let to = name.or_else(|| source.name.clone())?;
    let from = rules::base(&rules::inside(&source.path)).to_owned();
    // The content of a directory has no name of its own.
    let from = (!matches!(from.as_str(), "." | "/")).then(|| from.into_bytes());
    Some(Rename { from, to: to.into_bytes() })
}

fn pack_local(
    source: &Source,
    name: &str,
    writer: PipeWriter,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<u64> {
    let (parent, base) = rules::split(&source.path);
    let root = Root::open(Path::new(&parent)).map_err(CopyError::from)?;
    let whole = matches!(base.as_str(), "." | "/");
    let resource = Resource {
        path: Path::new(if whole { "" } else { &base }),
        last: if whole { LastLink::Follow } else { LastLink::Keep },
        name: name.as_bytes(),
    };
    let output = BufWriter::with_capacity(BUFFER_BYTES, Counted { inner: writer, progress });
    let tar = TarWriter::new(output, Times::Nanoseconds).with_holes(Holes::Kept);
    let packed = pack(&root, resource, tar);
    Ok(packed.map_err(CopyError::from)?.plain_bytes)
}

/// Of two ends of one archive, the one that failed first says why: the other only sees that it broke.
fn outcome<T>(packed: Result<T>, unpacked: Result<()>) -> Result<T> {
    match (packed, unpacked) {
        (Ok(value), Ok(())) => Ok(value),
        (Err(error), Err(other)) => Err(if is_broken_pipe(&error) { other } else { error }),
        (Err(error), Ok(())) | (Ok(_), Err(error)) => Err(error),
    }
}

fn is_broken_pipe(error: &Error) -> bool {
    matches!(
        error,
        Error::Copy(CopyError::Archive(ArchiveError::Write(source)))
            if source.kind() == io::ErrorKind::BrokenPipe
    )
}

fn join<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn pipe() -> Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = io::pipe().map_err(system("make a pipe for", Path::new("cp")))?;
    if let Err(error) = rustix::pipe::fcntl_setpipe_size(&writer, PIPE_BYTES) {
        tracing::debug!(%error, "the pipe stays small");
    }
    Ok((reader, writer))
}

/// Tells how much went through.
struct Counted<'a, W> {
    inner: W,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        (self.progress)(count as u64);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
