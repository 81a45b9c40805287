//! Reading a log: its tail, a span of time, and following it through rotation.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::inotify;

use super::rotate::{self, Part};
use super::{LogEntry, LogStream, json, local};
use crate::error::Error;
use crate::plan::LogFormat;
use crate::record::{Liveness, liveness};

/// How many bytes are read at once.
const BLOCK_BYTES: usize = 64 << 10;
/// A line that is longer than this is no document of ours: 16 KiB of text are at most 96 KiB in
/// JSON.
const LINE_MAX_BYTES: usize = 1 << 20;
/// A follower looks again after this time even if nothing woke it.
const FOLLOW_LIMIT: Duration = Duration::from_millis(500);

/// What of a log is read.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// Only this many documents from the end; `None` for all.
    pub tail: Option<u64>,
    /// Goes on until the monitor of this run directory has ended.
    pub follow: Option<PathBuf>,
    /// Only documents of this time or later.
    pub since: Option<Timestamp>,
    /// Only documents of this time or earlier.
    pub until: Option<Timestamp>,
    /// Whether standard output is read.
    pub stdout: bool,
    /// Whether standard error is read.
    pub stderr: bool,
}

impl Default for ReadOptions {
    /// Everything there is now.
    fn default() -> Self {
        Self { tail: None, follow: None, since: None, until: None, stdout: true, stderr: true }
    }
}

/// What became of an attempt to read on.
enum Advance {
    /// The buffer holds more.
    More,
    /// Another file is being read.
    NewFile,
    /// There is nothing more now.
    End,
}

/// Yields the entries of a log in order.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    options: ReadOptions,
    /// The files that are yet to be read, oldest first; the first one is being read.
    files: VecDeque<Part>,
    format: LogFormat,
    /// Bytes that were read but not yielded, from `start` on.
    buffer: Vec<u8>,
    start: usize,
    watch: Option<OwnedFd>,
    ended: bool,
}

impl LogReader {
    /// Opens a log; one that does not exist is empty.
    pub fn open(path: &Path, format: LogFormat, options: ReadOptions) -> Result<Self, Error> {
        let failed = |source| Error::File { op: "read the log", path: path.to_owned(), source };
        let watch = options.follow.as_deref().map(|run_dir| watch(path, run_dir)).transpose();
        let watch = watch.map_err(failed)?;
        let mut files = open_from(path, None).map_err(failed)?;
        if let Some(tail) = options.tail {
            seek_to_tail(&mut files, format, tail).map_err(failed)?;
        }
        Ok(Self {
            path: path.to_owned(),
            options,
            files,
            format,
            buffer: Vec::new(),
            start: 0,
            watch,
            ended: false,
        })
    }

    /// Finds a whole entry in the buffer; for JSON lines, `searched` bytes hold no end of one. What is
    /// none is skipped.
    fn find_entry(&mut self, searched: &mut usize) -> Option<std::ops::Range<usize>> {
        match self.format {
            LogFormat::JsonFile => {
                let rest = &self.buffer[self.start + *searched..];
                if let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
                    let line = self.start..self.start + *searched + length;
                    self.start = line.end + 1;
                    return Some(line);
                }
                *searched += rest.len();
                if *searched > LINE_MAX_BYTES {
                    (self.start, *searched) = (self.buffer.len(), 0);
                }
                None
            }
            LogFormat::Local => {
                let rest = self.buffer.get(self.start..)?;
                let frame = local::FRAME_BYTES as usize;
                let length = rest.first_chunk::<{ local::FRAME_BYTES as usize }>()?;
                let length = u32::from_be_bytes(*length);
                if u64::from(length) > local::RECORD_MAX_BYTES {
                    // Nothing behind it can be found any more.
                    self.start = self.buffer.len();
                    return None;
                }
                let end = frame + length as usize;
                rest.get(..end + frame)?;
                let message = self.start + frame..self.start + end;
                self.start += end + frame;
                Some(message)
            }
        }
    }

    /// Finds the next whole entry, reading on as far as needed; `None` at the end.
    fn next_entry(&mut self) -> Result<Option<std::ops::Range<usize>>, Error> {
        // Bytes after `start` that hold no line feed.
        let mut searched = 0;
        loop {
            if let Some(entry) = self.find_entry(&mut searched) {
                return Ok(Some(entry));
            }
            // Asked before reading: what was written by a monitor that is now dead is read below.
            let alive = self.is_alive()?;
            let advance = match self.fill() {
                Ok(true) => Ok(Advance::More),
                Ok(false) => self.next_file(),
                Err(error) => Err(error),
            };
            match advance.map_err(|source| self.failed(source))? {
                Advance::More => {}
                Advance::NewFile => {
                    // A document never spans two files: what is left is torn.
                    self.buffer.clear();
                    (self.start, searched) = (0, 0);
                }
                Advance::End if alive => self.wait().map_err(|source| self.failed(source))?,
                Advance::End => return Ok(None),
            }
        }
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::File { op: "read the log", path: self.path.clone(), source }
    }

    /// Reads one block; false at the end of the present file.
    fn fill(&mut self) -> io::Result<bool> {
        let Some(Part { file, .. }) = self.files.front_mut() else { return Ok(false) };
        self.buffer.drain(..self.start);
        self.start = 0;
        let old = self.buffer.len();
        self.buffer.resize(old + BLOCK_BYTES, 0);
        let read = file.read(&mut self.buffer[old..]);
        self.buffer.truncate(old + read.as_ref().map_or(0, |count| *count));
        Ok(read? > 0)
    }

    /// Goes on to the next file, if there is one.
    fn next_file(&mut self) -> io::Result<Advance> {
        if self.files.len() < 2 && self.watch.is_some() {
            // Whoever follows looks whether the file was rotated away meanwhile.
            let newer = open_from(&self.path, self.files.front())?;
            if self.files.is_empty() && !newer.is_empty() {
                self.files = newer;
                return Ok(Advance::NewFile);
            }
            self.files.extend(newer);
        }
        if self.files.len() < 2 {
            return Ok(Advance::End);
        }
        // What was written between the last read and the rotation.
        if self.fill()? {
            return Ok(Advance::More);
        }
        self.files.pop_front();
        Ok(Advance::NewFile)
    }

    fn is_alive(&self) -> Result<bool, Error> {
        match &self.options.follow {
            Some(run_dir) => Ok(liveness(run_dir)? != Liveness::Dead),
            None => Ok(false),
        }
    }

    /// Waits until something happens to the log or the monitor.
    fn wait(&self) -> io::Result<()> {
        let Some(watch) = &self.watch else { return Ok(()) };
        if orlop_sys::process::wait_readable(watch.as_fd(), Some(FOLLOW_LIMIT))? {
            let mut events = [MaybeUninit::uninit(); 4096];
            // What happened does not matter, only that something did.
            match rustix::io::read(watch, &mut events) {
                Ok(_) | Err(rustix::io::Errno::AGAIN) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

impl Iterator for LogReader {
    type Item = Result<LogEntry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            let range = match self.next_entry() {
                Ok(Some(range)) => range,
                Ok(None) => break,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            };
            let bytes = &self.buffer[range];
            let parsed = match self.format {
                LogFormat::JsonFile => json::parse(bytes),
                LogFormat::Local => local::parse(bytes),
            };
            let Some(entry) = parsed else {
                // Torn by a crash or written by something else.
                tracing::debug!(log = %self.path.display(), "malformed line skipped");
                continue;
            };
            if self.options.until.is_some_and(|until| entry.time > until) {
                break;
            }
            let wanted = match entry.stream {
                LogStream::Stdout => self.options.stdout,
                LogStream::Stderr => self.options.stderr,
            };
            if wanted && self.options.since.is_none_or(|since| entry.time >= since) {
                return Some(Ok(entry));
            }
        }
        self.ended = true;
        None
    }
}

/// Opens the files of a log that are newer than `present` (all without one), oldest first.
///
/// The newest is opened first: if the log is rotated meanwhile, a file shows up twice, which is
/// noticed, and none is missed. If `present` was removed, every file there is, is newer.
fn open_from(path: &Path, present: Option<&Part>) -> io::Result<VecDeque<Part>> {
    let present = present.map(|part| part.identity);
    let mut files: VecDeque<Part> = VecDeque::new();
    let mut missing = 0;
    for number in 0.. {
        match rotate::open(path, number)? {
            Some(part) if Some(part.identity) == present => break,
            Some(part) => {
                missing = 0;
                // Two open files with one number are one file. A compressed one may only be the one
                // that was just opened under its former name.
                let is_known = files.iter().enumerate().any(|(index, other)| {
                    other.identity == part.identity && (index == 0 || !part.packed && !other.packed)
                });
                if !is_known {
                    files.push_front(part);
                }
            }
            None => missing += 1,
        }
        // One name is missing for a moment while the log is rotated.
        if missing == 2 {
            break;
        }
    }
    Ok(files)
}

/// Skips all but the last `wanted` entries: drops older files and moves into the one where they begin.
fn seek_to_tail(files: &mut VecDeque<Part>, format: LogFormat, wanted: u64) -> io::Result<()> {
    let mut found = 0;
    for index in (0..files.len()).rev() {
        let file = &files[index].file;
        let (position, entries) = match format {
            LogFormat::JsonFile => tail_position(file, wanted - found)?,
            LogFormat::Local => local_tail_position(file, wanted - found)?,
        };
        io::Seek::seek(&mut files[index].file, io::SeekFrom::Start(position))?;
        found += entries;
        if found == wanted {
            files.drain(..index);
            break;
        }
    }
    Ok(())
}

/// Where the last `wanted` records of a file begin, and how many there really are.
fn local_tail_position(file: &File, wanted: u64) -> io::Result<(u64, u64)> {
    let size = file.metadata()?.len();
    let mut position = local::whole_length(file, size)?;
    let mut found = 0;
    while found < wanted {
        match local::last_record(file, position)? {
            Some(start) => position = start,
            None => return Ok((0, found)),
        }
        found += 1;
    }
    Ok((position, found))
}

/// Where the last `wanted` whole lines of a file begin, and how many there really are.
fn tail_position(file: &File, wanted: u64) -> io::Result<(u64, u64)> {
    let mut block = vec![0; BLOCK_BYTES];
    let mut block_end = file.metadata()?.len();
    // The line feed that ends the line in question; the last one ends line 1 from the end.
    let mut seen = 0;
    while block_end > 0 {
        let block_start = block_end.saturating_sub(BLOCK_BYTES as u64);
        let length = (block_end - block_start) as usize;
        file.read_exact_at(&mut block[..length], block_start)?;
        for index in (0..length).rev() {
            if block[index] == b'\n' {
                if seen == wanted {
                    return Ok((block_start + index as u64 + 1, wanted));
                }
                seen += 1;
            }
        }
        block_end = block_start;
    }
    Ok((0, seen))
}

/// Watches the log's directory, and the monitor's lock, which the kernel closes when it ends.
fn watch(path: &Path, run_dir: &Path) -> io::Result<OwnedFd> {
    use inotify::WatchFlags;
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    let changes = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
    inotify::add_watch(&watch, directory, changes)?;
    match inotify::add_watch(&watch, run_dir.join("lock"), WatchFlags::CLOSE_WRITE) {
        // Without a lock there is no monitor, and reading ends at the end.
        Ok(_) | Err(rustix::io::Errno::NOENT) => Ok(watch),
        Err(errno) => Err(errno.into()),
    }
}
