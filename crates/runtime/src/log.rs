//! A container's kept output, in the format of Docker's `json-file` driver.
//!
//! One JSON document a line: `{"log":"text\n","stream":"stdout","time":"RFC 3339"}`; a line of more
//! than 16 KiB becomes several documents, of which only the last ends with a line feed. The newest
//! file has the plan's name, older ones that name and `.1`, `.2`, … Only the monitor writes.

mod read;

pub use read::{LogReader, ReadOptions};

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::error::Error;
use crate::plan::LogPlan;

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
}

impl LogEntry {
    /// Writes the text, after its time if asked for, as `docker logs` shows it.
    pub fn write_to(&self, out: &mut dyn Write, timestamps: bool) -> io::Result<()> {
        if timestamps {
            write!(out, "{:.9} ", self.time)?;
        }
        out.write_all(self.text.as_bytes())
    }
}

/// Writes a container's output to its log.
#[derive(Debug)]
pub struct LogWriter {
    path: PathBuf,
    file: File,
    size: u64,
    max_size: u64,
    max_files: u32,
    /// The beginning of an unfinished line of each stream.
    partial: [Vec<u8>; 2],
    /// Documents that are not yet in the file.
    batch: Vec<u8>,
}

impl LogWriter {
    /// Opens the log to append to it; `None` where the plan keeps nothing.
    pub fn open(plan: &LogPlan) -> Result<Option<Self>, Error> {
        let LogPlan::JsonFile { path, max_size_bytes, max_files } = plan else { return Ok(None) };
        let open = || -> io::Result<(File, u64)> {
            let file = create(path)?;
            let mut size = file.metadata()?.len();
            let mut last = [b'\n'];
            if size > 0 {
                file.read_exact_at(&mut last, size - 1)?;
            }
            if last != [b'\n'] {
                // A document that was cut off spoils itself only, not the next one.
                (&file).write_all(b"\n")?;
                size += 1;
            }
            Ok((file, size))
        };
        let (file, size) = open().map_err(Error::file("open the log", path))?;
        Ok(Some(Self {
            path: path.clone(),
            file,
            size,
            max_size: *max_size_bytes,
            max_files: (*max_files).max(1),
            partial: [Vec::new(), Vec::new()],
            batch: Vec::new(),
        }))
    }

    /// Takes output as it comes; whole lines are in the file afterwards.
    pub fn write(&mut self, stream: LogStream, bytes: &[u8], now: Timestamp) -> Result<(), Error> {
        let mut line = std::mem::take(&mut self.partial[stream as usize]);
        let time = now.to_string();
        let mut result = Ok(());
        for segment in bytes.split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(segment);
            let mut start = 0;
            while line.len() - start > PIECE_MAX_BYTES {
                let end = start + piece_len(&line[start..]);
                result = result.and(self.append(stream, &line[start..end], &time));
                start = end;
            }
            line.drain(..start);
            if line.last() == Some(&b'\n') {
                result = result.and(self.append(stream, &line, &time));
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
        let time = now.to_string();
        let mut result = Ok(());
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            let line = std::mem::take(&mut self.partial[stream as usize]);
            if !line.is_empty() {
                result = result.and(self.append(stream, &line, &time));
            }
        }
        result.and(self.flush())
    }

    /// Adds one document, after rotating if the file has reached its limit.
    fn append(&mut self, stream: LogStream, text: &[u8], time: &str) -> Result<(), Error> {
        if self.max_size > 0 && self.size + self.batch.len() as u64 >= self.max_size {
            self.flush()?;
            self.rotate().map_err(Error::file("rotate the log", &self.path))?;
        }
        self.batch.extend_from_slice(b"{\"log\":\"");
        escape_json(text, &mut self.batch);
        self.batch.extend_from_slice(b"\",\"stream\":\"");
        self.batch.extend_from_slice(stream.as_str().as_bytes());
        self.batch.extend_from_slice(b"\",\"time\":\"");
        self.batch.extend_from_slice(time.as_bytes());
        self.batch.extend_from_slice(b"\"}\n");
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
                // The next line must not continue a torn document. If this fails too, a reader
                // skips the two that ran together.
                let _ = self.file.set_len(self.size);
                Err(Error::file("write the log", &self.path)(error))
            }
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        if self.max_files > 1 {
            for number in (1..self.max_files - 1).rev() {
                rename_if_there(&numbered(&self.path, number), &numbered(&self.path, number + 1))?;
            }
            rename_if_there(&self.path, &numbered(&self.path, 1))?;
        } else {
            fs::remove_file(&self.path)?;
        }
        self.file = create(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

fn create(path: &Path) -> io::Result<File> {
    File::options().read(true).append(true).create(true).mode(0o640).open(path)
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The name of an older file.
fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    PathBuf::from(name)
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

/// Appends text as the inside of a JSON string; what is not UTF-8 becomes U+FFFD, and the
/// characters that HTML and JavaScript treat specially are escaped, as Docker does.
fn escape_json(text: &[u8], out: &mut Vec<u8>) {
    for chunk in text.utf8_chunks() {
        escape_valid(chunk.valid(), out);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(br"\ufffd");
        }
    }
}

fn escape_valid(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut plain_from = 0;
    let mut index = 0;
    while index < bytes.len() {
        let (length, escape): (usize, Option<String>) = match bytes[index] {
            b'"' => (1, Some("\\\"".to_owned())),
            b'\\' => (1, Some("\\\\".to_owned())),
            b'\n' => (1, Some("\\n".to_owned())),
            b'\r' => (1, Some("\\r".to_owned())),
            b'\t' => (1, Some("\\t".to_owned())),
            byte @ (0..0x20 | b'<' | b'>' | b'&') => (1, Some(format!("\\u{byte:04x}"))),
            0xe2 if bytes[index..].starts_with("\u{2028}".as_bytes()) => {
                (3, Some(r"\u2028".to_owned()))
            }
            0xe2 if bytes[index..].starts_with("\u{2029}".as_bytes()) => {
                (3, Some(r"\u2029".to_owned()))
            }
            _ => (1, None),
        };
        if let Some(escape) = escape {
            out.extend_from_slice(&bytes[plain_from..index]);
            out.extend_from_slice(escape.as_bytes());
            plain_from = index + length;
        }
        index += length;
    }
    out.extend_from_slice(&bytes[plain_from..]);
}

#[cfg(test)]
#[path = "log/tests.rs"]
mod tests;
