//! A container's kept output: Docker's `json-file` and `local` formats, rotated and compressed.
//!
//! `json-file`: one JSON document a line (`json`). `local`: framed binary records (`local`). A line of
//! more than 16 KiB becomes several entries. The newest file has the plan's name, older ones that name
//! and `.1`, `.2`, …, with `.gz` behind it where they are compressed. Only the monitor writes.

mod json;
mod local;
mod read;
mod rotate;

pub use read::{LogReader, ReadOptions};

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;

use jiff::Timestamp;

use crate::error::Error;
use crate::plan::{LogFiles, LogFormat, LogPlan};
use rotate::Rotation;

/// Bytes of one line that are kept in one document.
pub const PIECE_MAX_BYTES: usize = 16 << 10;

/// Which of a container's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output, and everything of a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl LogStream {
    /// The word in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// One document of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Where the text came from.
    pub stream: LogStream,
    /// When.
    pub time: Timestamp,
    /// A line with its line feed, or a piece of one without.
    pub text: String,
    /// What the log driver's options add: labels, variables, the tag.
    pub attributes: BTreeMap<String, String>,
}

/// What is shown before a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prefix {
    /// When it was written.
    pub timestamps: bool,
    /// Its attributes.
    pub details: bool,
}

impl LogEntry {
    /// Writes the text after what is asked for, as `docker logs` shows it.
    pub fn write_to(&self, out: &mut dyn Write, prefix: Prefix) -> io::Result<()> {
        if prefix.timestamps {
            write!(out, "{:.9} ", self.time)?;
        }
        if prefix.details {
            for (index, (name, value)) in self.attributes.iter().enumerate() {
                let comma = if index > 0 { "," } else { "" };
                write!(out, "{comma}{}={}", escape_query(name), escape_query(value))?;
            }
            out.write_all(b" ")?;
        }
        out.write_all(self.text.as_bytes())
    }
}

/// Escapes text as Go's `url.QueryEscape` does.
fn escape_query(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            b' ' => escaped.push('+'),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// One entry that is about to be written.
#[derive(Clone, Copy, Debug)]
struct Piece<'a> {
    stream: LogStream,
    /// A line with its line feed, or a piece of one without.
    text: &'a [u8],
    time: Timestamp,
    /// Number of the piece of an overlong line, from 1; 0 for a line in one piece.
    ordinal: u32,
}

/// Writes a container's output to its log.
#[derive(Debug)]
pub struct LogWriter {
    plan: LogFiles,
    rotation: Rotation,
    file: File,
    size: u64,
    /// The beginning of an unfinished line of each stream.
    partial: [Vec<u8>; 2],
    /// How many pieces of the present line of each stream are written already.
    pieces: [u32; 2],
    /// Entries that are not yet in the file.
    batch: Vec<u8>,
    /// What every entry carries, as the format writes it.
    attributes: Vec<u8>,
}

impl LogWriter {
    /// Opens the log to append to it; `None` where the plan keeps nothing.
    pub fn open(plan: &LogPlan) -> Result<Option<Self>, Error> {
        let LogPlan::Files(plan) = plan else { return Ok(None) };
        let rotation = Rotation {
            path: plan.path.clone(),
            max_files: plan.max_files.max(1),
            compress: plan.compress,
        };
        let (file, size) = open(plan).map_err(Error::file("open the log", &plan.path))?;
        Ok(Some(Self {
            attributes: match plan.format {
                LogFormat::JsonFile => json::attributes(&plan.attributes),
                LogFormat::Local => local::attributes(&plan.attributes),
            },
            plan: plan.clone(),
            rotation,
            file,
            size,
            partial: [Vec::new(), Vec::new()],
            pieces: [0; 2],
            batch: Vec::new(),
        }))
    }

    /// Takes output as it comes; whole lines are in the file afterwards.
    pub fn write(&mut self, stream: LogStream, bytes: &[u8], now: Timestamp) -> Result<(), Error> {
        let mut line = std::mem::take(&mut self.partial[stream as usize]);
        let mut result = Ok(());
        for segment in bytes.split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(segment);
            let mut start = 0;
            while line.len() - start > PIECE_MAX_BYTES {
                let end = start + piece_len(&line[start..]);
                result = result.and(self.append(stream, &line[start..end], now));
                start = end;
            }
            line.drain(..start);
            if line.last() == Some(&b'\n') {
                result = result.and(self.append(stream, &line, now));
                line.clear();
            }
        }
        if line.is_empty() {
            line = Vec::new();
        }
        self.partial[stream as usize] = line;
        result.and(self.flush())
    }

    /// Writes what was left without a line feed; to be called at the end of the output.
    pub fn finish(&mut self, now: Timestamp) -> Result<(), Error> {
        let mut result = Ok(());
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            let line = std::mem::take(&mut self.partial[stream as usize]);
            if !line.is_empty() {
                result = result.and(self.append(stream, &line, now));
            }
        }
        result.and(self.flush())
    }

    /// Adds one entry, after rotating if the file has reached its limit.
    fn append(&mut self, stream: LogStream, text: &[u8], time: Timestamp) -> Result<(), Error> {
        let limit = self.plan.max_size_bytes;
        if limit > 0 && self.size + self.batch.len() as u64 >= limit {
            self.flush()?;
            let moved = self.rotation.rotate();
            // What could not be renamed or compressed must not keep the rest from being written.
            let opened = rotate::create(&self.plan.path);
            let (size, file) = opened
                .and_then(|file| Ok((file.metadata()?.len(), file)))
                .map_err(Error::file("rotate the log", &self.plan.path))?;
            (self.file, self.size) = (file, size);
            moved
                .and_then(|()| self.rotation.pack())
                .map_err(Error::file("rotate the log", &self.plan.path))?;
        }
        let is_end = text.last() == Some(&b'\n');
        let pieces = &mut self.pieces[stream as usize];
        let ordinal = if is_end && *pieces == 0 { 0 } else { *pieces + 1 };
        *pieces = if is_end { 0 } else { ordinal };
        let piece = Piece { stream, text, time, ordinal };
        match self.plan.format {
            LogFormat::JsonFile => json::append(&piece, &self.attributes, &mut self.batch),
            LogFormat::Local => local::append(&piece, &self.attributes, &mut self.batch),
        }
        Ok(())
    }

    /// Writes the batch with one call; what was only partly written is taken back.
    fn flush(&mut self) -> Result<(), Error> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        match self.file.write_all(&batch) {
            Ok(()) => {
                self.size += batch.len() as u64;
                Ok(())
            }
            Err(error) => {
                // The next entry must not continue a torn one. If this fails too, a reader
                // skips the two that ran together.
                let _ = self.file.set_len(self.size);
                Err(Error::file("write the log", &self.plan.path)(error))
            }
        }
    }
}

/// Opens the newest file; an entry at its end that was cut off must spoil itself only.
fn open(plan: &LogFiles) -> io::Result<(File, u64)> {
    if let (LogFormat::Local, Some(directory)) = (plan.format, plan.path.parent()) {
        // The driver has a directory of its own.
        match std::fs::create_dir(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    let file = rotate::create(&plan.path)?;
    let mut size = file.metadata()?.len();
    match plan.format {
        LogFormat::JsonFile => {
            let mut last = [b'\n'];
            if size > 0 {
                file.read_exact_at(&mut last, size - 1)?;
            }
            if last != [b'\n'] {
                (&file).write_all(b"\n")?;
                size += 1;
            }
        }
        LogFormat::Local => {
            let whole = local::whole_length(&file, size)?;
            if whole < size {
                file.set_len(whole)?;
                size = whole;
            }
        }
    }
    Ok((file, size))
}

/// How much of an overlong line goes into one document: the limit, less what it would cut off a
/// UTF-8 character, whose halves could not be put together again.
fn piece_len(line: &[u8]) -> usize {
    let continues = |byte: u8| byte & 0xc0 == 0x80;
    (PIECE_MAX_BYTES - 3..=PIECE_MAX_BYTES)
        .rev()
        .find(|end| line.get(*end).is_none_or(|byte| !continues(*byte)))
        .unwrap_or(PIECE_MAX_BYTES)
}

#[cfg(test)]
#[path = "log/tests.rs"]
mod tests;
