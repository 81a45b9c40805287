//! What the monitor tells those who come later: small records, and whether it lives.
//!
//! `<run_dir>/records/<number>.json`, numbered from 1 without gaps over every run in this directory,
//! each written under a temporary name and renamed, so that a reader sees all of it or nothing. Not
//! synced: after a power cut there is no container to tell about. Only the holder of
//! `<run_dir>/lock` writes.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use orlop_sys::lock::Holder;
use orlop_types::health::HealthStatus;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// One thing that happened to a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "event")]
pub enum Record {
    /// The first process executes its command.
    Started {
        /// Its pid on the host.
        pid: i32,
        /// When it was started in clock ticks since boot; with the pid, its identity.
        start_ticks: u64,
        /// When.
        at: Timestamp,
    },
    /// The start was given up; nothing of it is left.
    Failed {
        /// The exit code that Docker gives.
        exit_code: u8,
        /// Why.
        error: String,
        /// When.
        at: Timestamp,
    },
    /// The first process has ended.
    Exited {
        /// Its exit code, or 128 and the signal's number.
        exit_code: u8,
        /// Whether the kernel killed something in the container for want of memory.
        oom_killed: bool,
        /// When.
        at: Timestamp,
        /// Trouble of the monitor, if that is why it ended.
        error: Option<String>,
        /// Milliseconds until it is started again by its restart policy, if it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restart_in_ms: Option<u64>,
    },
    /// The start that an `Exited` record announced does not take place.
    Cancelled {
        /// When.
        at: Timestamp,
        /// Why, if nobody asked for it.
        error: Option<String>,
    },
    /// Somebody has set the size of the container's terminal.
    Resized {
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
        /// When.
        at: Timestamp,
    },
    /// The health was probed.
    Probed {
        /// Id of the process that probed.
        exec_id: String,
        /// When the probe began.
        start: Timestamp,
        /// When it ended.
        end: Timestamp,
        /// Its exit code; -1 for a probe that could not be run or took too long.
        exit_code: i64,
        /// What it printed, cut.
        output: String,
        /// What the container's health is now.
        status: HealthStatus,
        /// Failures in a row.
        failing_streak: u32,
    },
}

/// Appends records; one per monitor.
#[derive(Debug)]
pub struct RecordWriter {
    directory: PathBuf,
    next: u64,
}

impl RecordWriter {
    /// Continues the records of a run directory.
    pub fn open(run_dir: &Path) -> Result<Self, Error> {
        let directory = run_dir.join("records");
        match fs::create_dir(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::file("make", directory)(error));
            }
            _ => {}
        }
        let last = numbers(&directory)?.into_iter().max().unwrap_or(0);
        Ok(Self { directory, next: last + 1 })
    }

    /// Writes the next record; returns its number.
    pub fn append(&mut self, record: &Record) -> Result<u64, Error> {
        let number = self.next;
        let path = file_of(&self.directory, number);
        let temporary = self.directory.join("new");
        let text = serde_json::to_vec(record).map_err(io::Error::from);
        text.and_then(|text| File::create(&temporary)?.write_all(&text))
            .and_then(|()| fs::rename(&temporary, &path))
            .map_err(Error::file("write", path))?;
        self.next += 1;
        Ok(number)
    }
}

/// Reads the records after number `after` (0 for all), in order, with their numbers.
pub fn read_after(run_dir: &Path, after: u64) -> Result<Vec<(u64, Record)>, Error> {
    let directory = run_dir.join("records");
    let mut found = numbers(&directory)?;
    found.retain(|number| *number > after);
    found.sort_unstable();
    let mut records = Vec::with_capacity(found.len());
    for number in found {
        let path = file_of(&directory, number);
        let text = match fs::read(&path) {
            // Somebody removes the directory: whoever does that has read them all.
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            other => other.map_err(Error::file("read", &path))?,
        };
        let record =
            serde_json::from_slice(&text).map_err(|source| Error::Record { path, source })?;
        records.push((number, record));
    }
    Ok(records)
}

/// Removes the records up to number `folded`, which have become part of the container's state: a
/// container that is restarted or probed for months must not fill the run directory.
pub fn forget(run_dir: &Path, folded: u64) -> Result<(), Error> {
    let directory = run_dir.join("records");
    for number in numbers(&directory)?.into_iter().filter(|number| *number <= folded) {
        let path = file_of(&directory, number);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::file("remove", path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// How often a run directory is emptied again because somebody wrote into it meanwhile.
const REMOVE_ATTEMPTS: u32 = 100;

/// Removes a run directory with everything in it; succeeds when there is none.
///
/// An `exec` or a `stop` that has not noticed the container's end may still write a file there: each
/// writes a few at most, so emptying it again gets to an end.
pub fn remove_run_dir(run_dir: &Path) -> io::Result<()> {
    for attempt in 1.. {
        match fs::remove_dir_all(run_dir) {
            Err(error)
                if error.kind() == io::ErrorKind::DirectoryNotEmpty
                    && attempt < REMOVE_ATTEMPTS => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            other => return other,
        }
    }
    Ok(())
}

/// How many records nobody has folded yet.
pub(crate) fn count(run_dir: &Path) -> usize {
    numbers(&run_dir.join("records")).map_or(0, |numbers| numbers.len())
}

fn file_of(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number}.json"))
}

fn numbers(directory: &Path) -> Result<Vec<u64>, Error> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::file("read", directory))?,
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::file("read", directory))?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".json"));
        // A temporary name is left behind by a monitor that was killed.
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    Ok(numbers)
}

/// Whether a container's monitor runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// Nobody holds the lock: every record is written and everything is taken down, as far as it
    /// will be.
    Dead,
    /// The monitor runs.
    Alive {
        /// Its pid.
        pid: i32,
    },
}

/// Tells whether the monitor of a run directory lives; the monitor does not notice.
pub fn liveness(run_dir: &Path) -> Result<Liveness, Error> {
    let path = run_dir.join("lock");
    let holder = orlop_sys::lock::holder(&path).map_err(Error::file("query the lock", path))?;
    Ok(match holder {
        None => Liveness::Dead,
        Some(Holder::Process(pid)) => Liveness::Alive { pid },
        // Not the way a monitor locks; whoever it is, the container is not to be touched.
        Some(Holder::OpenFile) => Liveness::Alive { pid: 0 },
    })
}

/// Whether the kernel has killed something in the control group for want of memory.
///
/// Best effort: a hierarchy that is not there, or a kernel that does not count, says no.
pub(crate) fn oom_killed(cgroup: &str) -> bool {
    let cgroup = cgroup.trim_start_matches('/');
    let v1 = Path::new("/sys/fs/cgroup/memory").join(cgroup).join("memory.oom_control");
    let v2 = Path::new("/sys/fs/cgroup").join(cgroup).join("memory.events");
    [v1, v2]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .any(|text| oom_count(&text) > 0)
}

fn oom_count(text: &str) -> u64 {
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use orlop_sys::lock::FileLock;

    fn started(pid: i32) -> Record {
        let at = "2026-01-02T03:04:05.000000006Z".parse().unwrap();
        Record::Started { pid, start_ticks: 7, at }
    }

    #[test]
    fn records_are_numbered_over_several_runs() {
        let run = tempfile::tempdir().unwrap();
        assert_eq!(read_after(run.path(), 0).unwrap(), []);
        let mut writer = RecordWriter::open(run.path()).unwrap();
        assert_eq!(writer.append(&started(1)).unwrap(), 1);
        let text = fs::read_to_string(run.path().join("records/1.json")).unwrap();
        let expected =
            r#"{"event":"started","pid":1,"start_ticks":7,"at":"2026-01-02T03:04:05.000000006Z"}"#;
        assert_eq!(text, expected);
        // What a monitor leaves that was killed while it wrote.
        fs::write(run.path().join("records/new"), "{").unwrap();
        let mut writer = RecordWriter::open(run.path()).unwrap();
        for pid in 2..=11 {
            writer.append(&started(pid)).unwrap();
        }
        let read = read_after(run.path(), 8).unwrap();
        assert_eq!(read, [(9, started(9)), (10, started(10)), (11, started(11))]);
    }

    #[test]
    fn folded_records_are_forgotten() {
        let run = tempfile::tempdir().unwrap();
        forget(run.path(), 9).unwrap();
        let mut writer = RecordWriter::open(run.path()).unwrap();
        for pid in 1..=4 {
            writer.append(&started(pid)).unwrap();
        }
        forget(run.path(), 3).unwrap();
        forget(run.path(), 3).unwrap();
        assert_eq!(count(run.path()), 1);
        assert_eq!(read_after(run.path(), 0).unwrap(), [(4, started(4))]);
        assert_eq!(writer.append(&started(5)).unwrap(), 5);
    }

    #[test]
    fn a_malformed_record_is_an_error() {
        let run = tempfile::tempdir().unwrap();
        fs::create_dir(run.path().join("records")).unwrap();
        fs::write(run.path().join("records/1.json"), "{").unwrap();
        let error = read_after(run.path(), 0).unwrap_err();
        assert_eq!(error.kind(), orlop_types::ErrorKind::Corrupt);
    }

    #[test]
    fn the_lock_tells_whether_the_monitor_lives() {
        let run = tempfile::tempdir().unwrap();
        assert_eq!(liveness(run.path()).unwrap(), Liveness::Dead);
        let held = FileLock::try_acquire(&run.path().join("lock")).unwrap();
        assert_eq!(liveness(run.path()).unwrap(), Liveness::Alive { pid: 0 });
        drop(held);
        assert_eq!(liveness(run.path()).unwrap(), Liveness::Dead);
    }

    #[test]
    fn oom_kills_are_counted_in_both_formats() {
        assert_eq!(oom_count("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"), 2);
        assert_eq!(oom_count("low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\noom_group_kill 0\n"), 1);
        assert_eq!(oom_count("oom_kill_disable 0\n"), 0);
    }
}
