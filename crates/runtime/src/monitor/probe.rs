//! Health probes: a copy of the monitor adds a process to the container and tells how it went.
//!
//! The copy ([`orlop_sys::fork`]) waits for the probe, ends one that takes too long, and writes one
//! line about it into a pipe. So the monitor never waits, also when the container is frozen while
//! a probe enters it.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use orlop_sys::fork;
use orlop_sys::process::{self, ChildWake, PidFd};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::cgroup::ContainerCgroup;
use crate::error::Error;
use crate::health::{HealthPlan, Judgement};
use crate::plan::ProcessPlan;
use crate::record::Record;
use crate::{Bundle, Runtime, StartError, Stdio};

/// Bytes of a probe's output that are kept.
const OUTPUT_MAX_BYTES: usize = 4096;
/// What stands behind output that was cut.
const CUT: &str = "...";
/// Exit code of a probe that could not be run or took too long.
const FAILED: i64 = -1;
/// How often a probe that is under way is looked at: its container may have been paused.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes that one read takes.
const READ_BYTES: usize = 4096;
/// Reads at once: as much as a pipe holds. What a probe has left running may print for ever, and the
/// container has to be served meanwhile.
const READS_MAX: usize = 16;

/// Probes the health of one run of a container.
pub(super) struct Prober<'a> {
    plan: &'a HealthPlan,
    bundle: Bundle<'a>,
    runtime: &'a dyn Runtime,
    cgroup: Option<ContainerCgroup>,
    judgement: Judgement,
    started: Instant,
    next: Instant,
    running: Option<Running>,
}

/// A probe that is under way.
struct Running {
    helper: i32,
    exec_id: String,
    start: Timestamp,
    age: Duration,
    output: File,
    text: Vec<u8>,
    cut: bool,
    report: File,
    report_text: Vec<u8>,
    /// The container was paused meanwhile: the result says nothing.
    void: bool,
}

/// What the copy says about a probe.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    exit_code: i64,
    timed_out: bool,
    error: Option<String>,
}

impl std::fmt::Debug for Prober<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Prober").field("judgement", &self.judgement).finish_non_exhaustive()
    }
}

impl<'a> Prober<'a> {
    /// A prober for a run that has begun just now; `None` where the plan has no health check.
    pub(super) fn new(bundle: Bundle<'a>, runtime: &'a dyn Runtime) -> Option<Self> {
        let plan = bundle.plan.health.as_ref()?;
        let started = Instant::now();
        let judgement = Judgement::default();
        Some(Self {
            plan,
            bundle,
            runtime,
            cgroup: ContainerCgroup::new(&bundle.plan.cgroup).ok(),
            judgement,
            started,
            next: started + judgement.interval(plan, Duration::ZERO),
            running: None,
        })
    }

    /// What to wait for besides the time.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.running.iter().flat_map(|running| [running.output.as_fd(), running.report.as_fd()])
    }

    /// How long there is nothing to do unless a descriptor becomes readable.
    pub(super) fn limit(&self) -> Duration {
        match &self.running {
            Some(_) => WATCH_INTERVAL,
            None => self.next.saturating_duration_since(Instant::now()),
        }
    }

    /// Does what is due; the record of a probe that has ended.
    pub(super) fn tick(&mut self) -> Option<Record> {
        if let Some(mut running) = self.running.take() {
            running.void |= self.is_frozen();
            running.read_output();
            let Some(report) = running.read_report() else {
                self.running = Some(running);
                return None;
            };
            running.read_output();
            return self.finish(running, report);
        }
        if Instant::now() >= self.next {
            if self.is_frozen() {
                self.schedule();
            } else {
                return self.begin();
            }
        }
        None
    }

    /// Ends what is under way; the container has ended.
    pub(super) fn abandon(&mut self) {
        if let Some(running) = self.running.take()
            && let Ok(helper) = PidFd::open(running.helper)
            && let Err(error) = helper.send_signal(libc::SIGKILL)
        {
            tracing::debug!(%error, "the end of a probe is left to itself");
        }
    }

    fn is_frozen(&self) -> bool {
        self.cgroup.as_ref().is_some_and(ContainerCgroup::is_frozen)
    }

    fn schedule(&mut self) {
        self.next = Instant::now() + self.judgement.interval(self.plan, self.started.elapsed());
    }

    /// Starts a probe; the record of one that could not even be tried.
    fn begin(&mut self) -> Option<Record> {
        let (exec_id, start, age) = (exec_id(), Timestamp::now(), self.started.elapsed());
        let begun = exec_id.and_then(|exec_id| {
            let (output, output_writer) = io::pipe()?;
            let (report, report_writer) = io::pipe()?;
            rustix::io::ioctl_fionbio(&output, true)?;
            rustix::io::ioctl_fionbio(&report, true)?;
            let helper = fork::spawn_copy(|| self.act(output_writer.into(), report_writer.into()))?;
            Ok(Running {
                helper,
                exec_id,
                start,
                age,
                output: OwnedFd::from(output).into(),
                text: Vec::new(),
                cut: false,
                report: OwnedFd::from(report).into(),
                report_text: Vec::new(),
                void: false,
            })
        });
        match begun {
            Ok(running) => self.running = Some(running),
            Err(error) => {
                tracing::warn!(%error, "the health cannot be probed");
                self.schedule();
            }
        }
        None
    }

    /// The copy's work. Everything of the monitor's but the two pipes is closed first: a copy that held
    /// the container's input or an attached command's connection would keep it open.
    fn act(&self, output: OwnedFd, report: OwnedFd) -> i32 {
        let outcome = || -> Result<Report, StartError> {
            ChildWake::disarm().map_err(Error::stream("prepare a probe"))?;
            fork::close_others(&[output.as_raw_fd(), report.as_raw_fd()])
                .and_then(|()| process::become_subreaper())
                .map_err(Error::stream("prepare a probe"))?;
            let pid = self.add_process(output)?;
            wait_for_probe(pid, self.plan.timeout)
                .map_err(Error::stream("wait for a probe"))
                .map_err(Into::into)
        };
        let said = outcome().unwrap_or_else(|error| Report {
            exit_code: FAILED,
            timed_out: false,
            error: Some(error.message),
        });
        let text = serde_json::to_vec(&said).unwrap_or_default();
        i32::from(File::from(report).write_all(&text).is_err())
    }

    fn add_process(&self, output: OwnedFd) -> Result<i32, StartError> {
        let first = &self.bundle.plan.process;
        let probe = ProcessPlan {
            args: self.plan.args.clone(),
            tty: false,
            console_size: (0, 0),
            open_stdin: false,
            stdin_once: false,
            privileged: first.privileged || self.bundle.plan.host_config.privileged,
            ..first.clone()
        };
        let open = || -> io::Result<Stdio> {
            let stdin = File::open("/dev/null")?.into();
            let (stdout, stderr) = (output.try_clone()?, output);
            Ok(Stdio::Files { stdin, stdout, stderr })
        };
        let stdio = open().map_err(Error::stream("open the probe's streams"))?;
        Ok(self.runtime.exec(&self.bundle, &probe, stdio)?.pid)
    }

    fn finish(&mut self, mut running: Running, report: Report) -> Option<Record> {
        if running.void {
            self.schedule();
            return None;
        }
        let text = running.text();
        let timeout = go_duration(self.plan.timeout);
        let output = match (report.error, report.timed_out) {
            (Some(error), _) => error,
            (None, true) if text.is_empty() => format!("Health check exceeded timeout ({timeout})"),
            (None, true) => format!("Health check exceeded timeout ({timeout}): {text}"),
            (None, false) => text,
        };
        self.judgement.judge(self.plan, report.exit_code, running.age);
        self.schedule();
        Some(Record::Probed {
            exec_id: running.exec_id,
            start: running.start,
            end: Timestamp::now(),
            exit_code: report.exit_code,
            output,
            status: self.judgement.status,
            failing_streak: self.judgement.failing_streak,
        })
    }
}

impl Running {
    /// Takes what the probe has printed; what is too much is thrown away, as the probe must not wait.
    fn read_output(&mut self) {
        let mut block = [0; READ_BYTES];
        for _ in 0..READS_MAX {
            let Ok(count @ 1..) = self.output.read(&mut block) else { return };
            let room = OUTPUT_MAX_BYTES - self.text.len();
            self.text.extend_from_slice(&block[..count.min(room)]);
            self.cut |= count > room;
        }
    }

    /// What the copy says, once it has said it or has gone away.
    fn read_report(&mut self) -> Option<Report> {
        let mut block = [0; READ_BYTES];
        loop {
            match rustix::io::read(&self.report, &mut block) {
                Ok(0) => break,
                Ok(count) => self.report_text.extend_from_slice(&block[..count]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return None,
                Err(_) => break,
            }
        }
        let lost = || Report {
            exit_code: FAILED,
            timed_out: false,
            error: Some("the health check ended without a result".to_owned()),
        };
        Some(serde_json::from_slice(&self.report_text).unwrap_or_else(|_| lost()))
    }

    fn text(&mut self) -> String {
        let mut text = String::from_utf8_lossy(&self.text).into_owned();
        if self.cut {
            text.push_str(CUT);
        }
        text
    }
}

/// Waits for the probe, no longer than `limit`.
fn wait_for_probe(pid: i32, limit: Duration) -> io::Result<Report> {
    let process = PidFd::open(pid)?;
    let timed_out = !process.wait_ended(Some(limit))?;
    if timed_out {
        process.send_signal(libc::SIGKILL)?;
        process.wait_ended(None)?;
    }
    while let Some(ended) = process::reap()? {
        if ended.pid == pid {
            let exit_code = if timed_out { FAILED } else { i64::from(ended.exit_code) };
            return Ok(Report { exit_code, timed_out, error: None });
        }
    }
    Err(io::Error::other("it has ended and nobody told how"))
}

/// An id for the process of a probe: 64 hexadecimal digits.
fn exec_id() -> io::Result<String> {
    let mut bytes = [0_u8; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A time as Go prints it: `1m30s`, `1.5s`, `200ms`.
fn go_duration(duration: Duration) -> String {
    let decimal = |value: f64, unit: &str| format!("{value}{unit}");
    let nanoseconds = duration.subsec_nanos();
    let seconds = duration.as_secs();
    if seconds == 0 {
        return match nanoseconds {
            0 => "0s".to_owned(),
            1..=999 => format!("{nanoseconds}ns"),
            1_000..=999_999 => decimal(f64::from(nanoseconds) / 1e3, "µs"),
            _ => decimal(f64::from(nanoseconds) / 1e6, "ms"),
        };
    }
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = format!("{nanoseconds:09}");
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    let tail = format!("{rest}{point}{fraction}s");
    match (hours, minutes) {
        (0, 0) => tail,
        (0, _) => format!("{minutes}m{tail}"),
        _ => format!("{hours}h{minutes}m{tail}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_in_go() {
        let cases = [
            (Duration::from_secs(30), "30s"),
            (Duration::from_millis(1500), "1.5s"),
            (Duration::from_millis(200), "200ms"),
            (Duration::from_micros(1_250), "1.25ms"),
            (Duration::from_secs(90), "1m30s"),
            (Duration::from_secs(3600), "1h0m0s"),
            (Duration::ZERO, "0s"),
        ];
        for (duration, expected) in cases {
            assert_eq!(go_duration(duration), expected);
        }
    }

    #[test]
    fn ids_are_long_and_differ() {
        let (one, two) = (exec_id().unwrap(), exec_id().unwrap());
        assert_eq!(one.len(), 64);
        assert_ne!(one, two);
    }

    fn running(output: io::PipeReader, report: io::PipeReader) -> Running {
        rustix::io::ioctl_fionbio(&output, true).unwrap();
        rustix::io::ioctl_fionbio(&report, true).unwrap();
        Running {
            helper: 0,
            exec_id: String::new(),
            start: Timestamp::UNIX_EPOCH,
            age: Duration::ZERO,
            output: OwnedFd::from(output).into(),
            text: Vec::new(),
            cut: false,
            report: OwnedFd::from(report).into(),
            report_text: Vec::new(),
            void: false,
        }
    }

    #[test]
    fn output_is_cut_and_a_lost_report_is_a_failure() {
        let (output, mut output_writer) = io::pipe().unwrap();
        let (report, report_writer) = io::pipe().unwrap();
        let mut running = running(output, report);
        output_writer.write_all(&vec![b'x'; OUTPUT_MAX_BYTES]).unwrap();
        running.read_output();
        assert_eq!(running.text().len(), OUTPUT_MAX_BYTES);
        output_writer.write_all(b"y").unwrap();
        running.read_output();
        assert_eq!(running.text(), "x".repeat(OUTPUT_MAX_BYTES) + "...");
        assert!(running.read_report().is_none());
        drop(report_writer);
        let report = running.read_report().unwrap();
        assert_eq!(report.exit_code, -1);
        assert_eq!(report.error.unwrap(), "the health check ended without a result");
    }

    #[test]
    fn a_probe_that_prints_for_ever_does_not_hold_up_its_container() {
        let (output, _output_writer) = io::pipe().unwrap();
        let (report, _report_writer) = io::pipe().unwrap();
        let mut running = running(output, report);
        // There is always more to read.
        running.output = File::open("/dev/zero").unwrap();
        let (done, is_done) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            running.read_output();
            done.send(running.text()).unwrap();
        });
        let text = is_done.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!(text, "\0".repeat(OUTPUT_MAX_BYTES) + CUT);
    }
}
