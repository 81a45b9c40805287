//! The runs of one container: served until their end, and repeated as the restart policy says.
//!
//! Order at the end of a run: output drained → `Exited` record → exit code to attached commands →
//! teardown. A run that is repeated keeps the lock, the socket and the record numbers; everything
//! else (network, mounts, process) is made anew.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use orlop_sys::process::ChildWake;

use super::probe::Prober;
use super::serve::Serving;
use super::{
    Started, Starter, State, answer, give_up, kill, remove_run_dir, remove_socket, report,
    spawn_finish, start, take_down_mounts,
};
use crate::attach::frame::Kind;
use crate::error::{Error, one_line};
use crate::launch::ReadyMessage;
use crate::log::LogWriter;
use crate::plan::Plan;
use crate::record::{self, Record, oom_killed};
use crate::restart::{self, EndedRun, Restarts};
use crate::stage::view;
use crate::{Bundle, ContainerNetwork, Runtime, StartError};

/// Docker's exit code of a container whose end nobody saw.
const EXIT_CODE_LOST: u8 = 255;
/// Records that may lie in the run directory before somebody is made to fold them.
const RECORDS_MAX: usize = 64;
/// How often a pending restart is looked at without being woken.
const RESTART_WATCH: Duration = Duration::from_secs(1);
/// How often a restart looks whether the copies that it waits for have ended.
const COPY_WATCH: Duration = Duration::from_millis(20);

/// A monitor whose container runs.
pub(super) struct Runs<'a> {
    plan: &'a Plan,
    state: State,
    serving: Serving<'a>,
    restarts: Restarts,
    runtime: &'a dyn Runtime,
    network: &'a mut dyn ContainerNetwork,
    /// Records since somebody was last made to fold them.
    unfolded: usize,
}

/// Runs the container until its last end, and ends it.
pub(super) fn serve(
    plan: &Plan,
    mut state: State,
    started: Started,
    starter: Starter,
    runtime: &dyn Runtime,
    network: &mut dyn ContainerNetwork,
) {
    orlop_sys::fault::point("monitor.started");
    let mut serving = Serving::new(plan, state.listener.take());
    let first = Record::Started {
        pid: started.pid,
        start_ticks: started.start_ticks,
        at: Timestamp::now(),
    };
    if let Err(error) = state.records.append(&first) {
        // Nobody would ever know of it: a container that runs must be recorded.
        if kill(started.pid, &state.wake).is_none() {
            tracing::error!(pid = started.pid, "the first process does not end");
        }
        let stage = &started.stage;
        let bundle = Bundle { plan, rootfs: &stage.rootfs, staged: &stage.staged };
        report(runtime.delete(&bundle).err());
        report(network.leave().err());
        report(take_down_mounts(plan, &state.home).err());
        return give_up(plan, state, &starter.stream, &error.into());
    }
    orlop_sys::fault::point("monitor.started.recorded");
    let ready = ReadyMessage { pid: std::process::id().cast_signed(), init_pid: started.pid };
    if answer(&starter.stream, Kind::Ready, &ready) && starter.attach {
        report(serving.add_client(starter.stream).err());
    } else {
        drop(starter);
    }
    let restarts = Restarts::default();
    Runs { plan, state, serving, restarts, runtime, network, unfolded: 1 }.all(started);
}

impl<'a> Runs<'a> {
    fn all(mut self, first: Started) {
        let mut run = first;
        let is_clean = loop {
            let (restart, is_clean) = self.one(run);
            let Some(delay) = restart else { break is_clean };
            orlop_sys::fault::point("monitor.restart.pending");
            match self.again(delay) {
                Ok(Some(next)) => run = next,
                Ok(None) => {
                    self.record(&Record::Cancelled { at: Timestamp::now(), error: None });
                    break is_clean;
                }
                Err(error) => {
                    let error = Some(error.message);
                    self.record(&Record::Cancelled { at: Timestamp::now(), error });
                    break false;
                }
            }
        };
        let Self { plan, state, mut serving, .. } = self;
        serving.close();
        report(remove_socket(plan).err());
        orlop_sys::fault::point("monitor.unmounted");
        drop(state.lock);
        orlop_sys::fault::point("monitor.released");
        serving.until_clients_are_gone(|| spawn_finish(plan));
        if serving.is_taken_over() && is_clean {
            report(remove_run_dir(plan).err());
        }
    }

    /// Serves one run and takes down what it had; when to start the next, and whether everything was
    /// unmounted.
    fn one(&mut self, run: Started) -> (Option<Duration>, bool) {
        let begun = Instant::now();
        let Started { stage, pid, streams, .. } = run;
        let bundle = Bundle { plan: self.plan, rootfs: &stage.rootfs, staged: &stage.staged };
        let mut prober = Prober::new(bundle, self.runtime);
        self.serving.begin(self.state.log.take(), streams, pid);
        let wake = self.network.wake_fd().and_then(|fd| fd.try_clone_to_owned().ok());
        self.serving.watch(wake);
        let failure = self.until_ended(prober.as_mut()).err();
        self.serving.watch(None);
        if let Some(prober) = &mut prober {
            prober.abandon();
        }
        let exit_code = match (self.serving.exit_code(), &failure) {
            (Some(code), _) => code,
            (None, _) => kill(pid, &self.state.wake).unwrap_or(EXIT_CODE_LOST),
        };
        let restart = self.next_start(exit_code, begun.elapsed());
        let record = Record::Exited {
            exit_code,
            oom_killed: oom_killed(&self.plan.cgroup),
            at: Timestamp::now(),
            error: failure.as_ref().map(|error| one_line(error)),
            restart_in_ms: restart
                .map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
        };
        orlop_sys::fault::point("monitor.exited");
        self.record(&record);
        orlop_sys::fault::point("monitor.exited.recorded");
        self.serving.announce_exit(exit_code, restart.is_some());
        orlop_sys::fault::point("monitor.exited.announced");

        report(ChildWake::disarm().map_err(Error::stream("wait for children")).err());
        report(self.runtime.delete(&bundle).err());
        orlop_sys::fault::point("monitor.deleted");
        report(self.network.leave().err());
        let unmounted = take_down_mounts(self.plan, &self.state.home);
        let is_clean = unmounted.is_ok();
        report(unmounted.err());
        (restart, is_clean)
    }

    /// Serves until the first process has ended, and probes its health meanwhile.
    fn until_ended(&mut self, mut prober: Option<&mut Prober<'_>>) -> Result<(), Error> {
        self.state.wake.arm().map_err(Error::stream("wait for children"))?;
        // It may have ended before its end could wake anybody.
        self.serving.reap()?;
        loop {
            let served = self.serving.serve(&self.state.wake, prober.as_deref());
            if served? {
                return Ok(());
            }
            self.network.work();
            if let Some((rows, columns)) = self.serving.take_resized() {
                self.record(&Record::Resized { rows, columns, at: Timestamp::now() });
            }
            if let Some(record) = prober.as_deref_mut().and_then(Prober::tick) {
                self.record(&record);
            }
        }
    }

    /// When to start again after a run, if at all.
    fn next_start(&mut self, exit_code: u8, duration: Duration) -> Option<Duration> {
        let run_dir = &self.plan.run_dir;
        let updated = restart::updated(run_dir);
        let policy = &updated.as_ref().unwrap_or(&self.plan.host_config).restart_policy;
        let stopped_by_user = restart::is_stopped_by_user(run_dir);
        let ended = EndedRun { exit_code, duration, stopped_by_user };
        if restart::is_cancelled(run_dir) { None } else { self.restarts.next(policy, ended) }
    }

    /// Waits and starts the container again; `None` if somebody has cancelled that.
    fn again(&mut self, delay: Duration) -> Result<Option<Started>, StartError> {
        let run_dir = &self.plan.run_dir;
        let due = Instant::now() + delay;
        loop {
            if restart::is_cancelled(run_dir) {
                return Ok(None);
            }
            let left = due.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                self.serving.idle(left.min(RESTART_WATCH))?;
            } else if view::is_looked_at(&self.plan.rootfs)? {
                // Waited for here, where a restart can be cancelled.
                self.serving.idle(COPY_WATCH)?;
            } else {
                break;
            }
        }
        orlop_sys::fault::point("monitor.restart.due");
        restart::begin_run(run_dir)?;
        self.state.log = LogWriter::open(&self.plan.log)?;
        let updated =
            restart::updated(run_dir).map(|host_config| Plan { host_config, ..self.plan.clone() });
        let plan = updated.as_ref().unwrap_or(self.plan);
        let started = start(plan, &self.state.home, self.runtime, self.network)?;
        orlop_sys::fault::point("monitor.restart.started");
        let (pid, start_ticks) = (started.pid, started.start_ticks);
        self.record(&Record::Started { pid, start_ticks, at: Timestamp::now() });
        Ok(Some(started))
    }

    /// Appends a record; once in a while somebody is made to fold them, if nobody looks by himself.
    fn record(&mut self, record: &Record) {
        report(self.state.records.append(record).err());
        self.unfolded += 1;
        if self.unfolded >= RECORDS_MAX {
            self.unfolded = record::count(&self.plan.run_dir);
            if self.unfolded >= RECORDS_MAX {
                spawn_finish(self.plan);
                self.unfolded = 0;
            }
        }
    }
}
