//! What is known of the processes that were added to a running container.
//!
//! `<run_dir>/execs/<id>.json`, one file for each, written under a temporary name and renamed; it goes
//! with the run directory, as Docker forgets such processes when the container stops. Whoever runs
//! the process writes; one whose writer was killed is seen by its process being gone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use orlop_sys::process::PidFd;
use orlop_types::{ContainerId, ParseError};
use serde::{Deserialize, Serialize};

use crate::error::system;
use crate::{Error, ExecRequest, Result};

/// How long an ended process is remembered, as in Docker.
const REMEMBERED: Duration = Duration::from_secs(5 * 60);

/// Id of a process that was added: 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExecId(String);

impl ExecId {
    /// The id of these bytes.
    #[must_use]
    pub fn of_bytes(bytes: &[u8; 32]) -> Self {
        Self(ContainerId::of_bytes(bytes).as_str().to_owned())
    }

    /// Its digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for ExecId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        // The same form as a container's.
        let id: ContainerId =
            text.parse().map_err(|_| ParseError::new(format!("No such exec instance: {text}")))?;
        Ok(Self(id.as_str().to_owned()))
    }
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub(crate) enum ExecState {
    /// Nobody has started it.
    Created,
    /// Somebody is starting it.
    Starting,
    /// It runs.
    Running { pid: i32, start_ticks: u64 },
    /// It has ended, or could not be started.
    Ended { exit_code: i64 },
}

/// One process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExecRecord {
    pub(crate) id: ExecId,
    pub(crate) request: ExecRequest,
    pub(crate) console_size: (u16, u16),
    #[serde(flatten)]
    pub(crate) state: ExecState,
}

impl ExecRecord {
    /// Whether its process runs.
    pub(crate) fn is_running(&self) -> bool {
        match self.state {
            ExecState::Running { pid, start_ticks } => {
                matches!(PidFd::open_same(pid, start_ticks), Ok(Some(process))
                    if !process.wait_ended(Some(Duration::ZERO)).unwrap_or(true))
            }
            ExecState::Starting => true,
            ExecState::Created | ExecState::Ended { .. } => false,
        }
    }

    /// Whether it is one that `inspect` of the container lists.
    fn is_current(&self) -> bool {
        self.state == ExecState::Created || self.is_running()
    }
}

fn directory(run_dir: &Path) -> PathBuf {
    run_dir.join("execs")
}

fn file(run_dir: &Path, id: &ExecId) -> PathBuf {
    directory(run_dir).join(format!("{}.json", id.as_str()))
}

/// The socket on which a process's terminal is resized.
pub(crate) fn socket(run_dir: &Path, id: &ExecId) -> PathBuf {
    directory(run_dir).join(format!("{}.sock", id.as_str()))
}

/// Writes what is known of a process.
pub(crate) fn write(run_dir: &Path, record: &ExecRecord) -> Result<()> {
    let directory = directory(run_dir);
    let path = file(run_dir, &record.id);
    let temporary = directory.join(format!("{}.new", record.id.as_str()));
    let write = || -> io::Result<()> {
        match fs::create_dir(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        fs::write(&temporary, serde_json::to_vec(record)?)?;
        fs::rename(&temporary, &path)
    };
    write().map_err(system("write", &path))
}

/// Claims a process that nobody has started yet, for one starter; whether it was that.
pub(crate) fn claim(run_dir: &Path, id: &ExecId) -> Result<bool> {
    let path = directory(run_dir).join(format!("{}.claim", id.as_str()));
    match fs::File::create_new(&path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(system("make", &path)(error)),
    }
}

/// What is known of a process.
pub(crate) fn read(run_dir: &Path, id: &ExecId) -> Result<Option<ExecRecord>> {
    let path = file(run_dir, id);
    match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(system("read", &path)(error)),
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| Error::System {
            operation: "read",
            subject: path.display().to_string(),
            source: error.into(),
        }),
    }
}

/// Ids of the processes that run or wait to be started, in order.
pub(crate) fn current(run_dir: &Path) -> Vec<ExecId> {
    let mut ids: Vec<ExecId> = ids(run_dir)
        .into_iter()
        .filter(|id| matches!(read(run_dir, id), Ok(Some(record)) if record.is_current()))
        .collect();
    ids.sort();
    ids
}

fn ids(run_dir: &Path) -> Vec<ExecId> {
    let entries = fs::read_dir(directory(run_dir)).into_iter().flatten().flatten();
    let name = |entry: fs::DirEntry| {
        entry.file_name().to_str()?.strip_suffix(".json")?.parse::<ExecId>().ok()
    };
    entries.filter_map(name).collect()
}

/// Forgets processes that have ended long ago; what cannot be removed goes with the run directory.
pub(crate) fn forget_old(run_dir: &Path) {
    for id in ids(run_dir) {
        let path = file(run_dir, &id);
        let is_old = path
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|time| time.elapsed().is_ok_and(|age| age > REMEMBERED));
        if is_old && matches!(read(run_dir, &id), Ok(Some(record)) if !record.is_current()) {
            forget(run_dir, &id);
        }
    }
}

/// Forgets one process.
pub(crate) fn forget(run_dir: &Path, id: &ExecId) {
    for suffix in ["json", "claim", "sock"] {
        let path = directory(run_dir).join(format!("{}.{suffix}", id.as_str()));
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!(%error, "a record of a process is left");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn record(number: u8, state: ExecState) -> ExecRecord {
        let request = ExecRequest { args: vec!["true".to_owned()], ..ExecRequest::default() };
        ExecRecord { id: ExecId::of_bytes(&[number; 32]), request, console_size: (0, 0), state }
    }

    #[test]
    fn records_come_back_and_only_current_ones_are_listed() {
        let run = tempfile::tempdir().unwrap();
        assert_eq!(current(run.path()), []);
        let own = std::process::id().cast_signed();
        let ticks = orlop_sys::process::start_ticks(own).unwrap().unwrap();
        let running = record(1, ExecState::Running { pid: own, start_ticks: ticks });
        let gone = record(2, ExecState::Running { pid: own, start_ticks: ticks + 1 });
        let created = record(3, ExecState::Created);
        let ended = record(4, ExecState::Ended { exit_code: 3 });
        for record in [&running, &gone, &created, &ended] {
            write(run.path(), record).unwrap();
            assert_eq!(read(run.path(), &record.id).unwrap().as_ref(), Some(record));
        }
        assert_eq!(current(run.path()), [running.id.clone(), created.id.clone()]);
        assert!(claim(run.path(), &created.id).unwrap());
        assert!(!claim(run.path(), &created.id).unwrap());
        forget_old(run.path());
        assert!(read(run.path(), &ended.id).unwrap().is_some(), "it ended just now");
        forget(run.path(), &ended.id);
        assert_eq!(read(run.path(), &ended.id).unwrap(), None);
    }

    #[test]
    fn ids_are_whole() {
        let id = "ab".repeat(32);
        assert_eq!(id.parse::<ExecId>().unwrap().as_str(), id);
        let error = "ab".parse::<ExecId>().unwrap_err().to_string();
        assert_eq!(error, "No such exec instance: ab");
    }
}
