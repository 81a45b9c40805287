//! The runtime that is linked in: libcontainer 0.7.
//!
//! It forks, so the caller must be single-threaded. What it does not do, or not as Docker does, is
//! made up for here: filters of added processes and fast ones, very small process limits,
//! read-only v1 control groups, and the texts of common errors. It never talks to systemd.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

use oci_spec::runtime::{LinuxCapabilities, LinuxSeccomp, Process, Spec};

use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::syscall::syscall::SyscallType;
use rustix::process::{Pid, Signal, WaitOptions};

use crate::cgroup::ContainerCgroup;
use crate::console::ConsoleSocket;
use crate::executor::{CommandExecutor, Filter, LateSecurity};
use crate::plan::ProcessPlan;
use crate::prepare::{self, Layout, LegacyCgroups, failed};
use crate::spec::{self, refused};
use crate::unseen::Unseen;
use crate::{Bundle, CreatedProcess, Runtime, StartError, Stdio, failure, late};

/// The linked-in runtime.
#[derive(Clone, Copy, Debug, Default)]
pub struct Builtin;

impl Runtime for Builtin {
    fn name(&self) -> String {
        "builtin".to_owned()
    }

    fn create(&self, bundle: &Bundle<'_>, stdio: Stdio) -> Result<CreatedProcess, StartError> {
        let plan = bundle.plan;
        let (layout, mut spec) = prepare::specification(bundle, LegacyCgroups::Bound)?;
        let pids_limit = take_pids_limit(&mut spec);
        let late_mounts = late::prepare(bundle)?;
        let security = take_security(&mut spec);
        let executor = CommandExecutor { security, late_mounts, added: false };
        prepare::write_config(&layout, &spec)?;

        let pid_file = layout.pid_file();
        // It may join the processes of another container.
        let unseen = Unseen::begin()?;
        let (builder, console) = builder(bundle, (&layout, &pid_file), executor, stdio)?;
        let built = builder.as_init(&layout.bundle).with_systemd(false).build();
        drop(unseen);
        let container = built.map_err(|error| not_started(&pid_file, &error))?;
        let pid = container.pid().ok_or_else(|| refused("the runtime made no process"))?.as_raw();
        if let Some(limit) = pids_limit {
            ContainerCgroup::new(&plan.cgroup)
                .and_then(|cgroup| cgroup.set_pids_limit(Some(limit)))
                .map_err(|error| {
                    refused(format!("cannot limit the number of processes: {error}"))
                })?;
        }
        if plan.host_config.oom_kill_disable == Some(true) {
            // The linked-in runtime knows the field and does nothing about it.
            ContainerCgroup::new(&plan.cgroup)
                .and_then(|cgroup| cgroup.disable_oom_killer())
                .map_err(|error| {
                    refused(format!("cannot keep the out-of-memory killer away: {error}"))
                })?;
        }
        prepare::adjust_oom_score(pid, plan.host_config.oom_score_adj);
        let terminal =
            console.map(|console| console.receive(plan.process.console_size)).transpose()?;
        Ok(CreatedProcess { pid, terminal })
    }

    fn start(&self, bundle: &Bundle<'_>) -> Result<(), StartError> {
        let directory = Layout::new(bundle).root.join(bundle.plan.container.to_string());
        let mut container = Container::load(directory).map_err(|error| start_error(&error))?;
        container.start().map_err(|error| start_error(&error))
    }

    fn exec(
        &self,
        bundle: &Bundle<'_>,
        process: &ProcessPlan,
        stdio: Stdio,
    ) -> Result<CreatedProcess, StartError> {
        let config = &bundle.plan.host_config;
        let mut added = prepare::added_process(bundle, process)?;
        // As with runc: the container's filter, also for a process that gets every capability.
        let filter =
            spec::Security::parse(config)?.seccomp(config, added.container_capabilities)?;
        let security = late_security(filter, take_capabilities(&mut added.process));
        prepare::write_process(&added.layout, &added.process)?;
        // Only looked at for its existence: the container's own root is entered by namespace.
        prepare::ensure_directory(bundle.rootfs)?;

        let executor = CommandExecutor { security, late_mounts: Vec::new(), added: true };
        let pid_file = added.layout.added_pid_file();
        let unseen = Unseen::begin()?;
        let (builder, console) = builder(bundle, (&added.layout, &pid_file), executor, stdio)?;
        let tenant =
            builder.as_tenant().with_process(Some(added.layout.process_file())).with_detach(true);
        let built = tenant.build().map_err(|error| not_started(&pid_file, &error));
        drop(unseen);
        added.layout.remove_added();
        let pid = built?.as_raw();
        prepare::adjust_oom_score(pid, config.oom_score_adj);
        let terminal = console.map(|console| console.receive(process.console_size)).transpose()?;
        Ok(CreatedProcess { pid, terminal })
    }

    fn delete(&self, bundle: &Bundle<'_>) -> Result<(), StartError> {
        prepare::remove_state(bundle)
    }
}

/// What create and exec have in common.
fn builder(
    bundle: &Bundle<'_>,
    (layout, pid_file): (&Layout, &Path),
    executor: CommandExecutor,
    stdio: Stdio,
) -> Result<(ContainerBuilder, Option<ConsoleSocket>), StartError> {
    // What a failure of an earlier process left must not be taken for this one's.
    match fs::remove_file(pid_file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove", pid_file, &error));
        }
        _ => {}
    }
    let builder = ContainerBuilder::new(bundle.plan.container.to_string(), SyscallType::Linux)
        .with_executor(executor)
        .with_root_path(&layout.root)
        .and_then(|builder| builder.with_pid_file(Some(pid_file)))
        .and_then(ContainerBuilder::validate_id)
        .map_err(|error| start_error(&error))?;
    Ok(match stdio {
        Stdio::Terminal => {
            let console = ConsoleSocket::new(layout)?;
            (builder.with_console_socket(Some(console.path())), Some(console))
        }
        Stdio::Files { stdin, stdout, stderr } => {
            let builder = builder
                .with_stdin(prepare::above_standard(stdin)?)
                .with_stdout(prepare::above_standard(stdout)?)
                .with_stderr(prepare::above_standard(stderr)?);
            (builder, None)
        }
    })
}

/// Takes the limit on processes out: libcontainer sets it before its own helper processes are gone, so
/// a small one fails the start.
fn take_pids_limit(spec: &mut Spec) -> Option<u64> {
    let resources = spec.linux_mut().as_mut()?.resources_mut().as_mut()?;
    let limit = resources.pids().as_ref().map(oci_spec::runtime::LinuxPids::limit);
    resources.set_pids(None);
    limit.and_then(|limit| u64::try_from(limit).ok())
}

/// Takes filter and capabilities out, for the executor.
fn take_security(spec: &mut Spec) -> LateSecurity {
    let policy = spec.linux_mut().as_mut().and_then(|linux| {
        let policy = linux.seccomp().clone();
        linux.set_seccomp(None);
        policy
    });
    let capabilities = spec.process_mut().as_mut().and_then(take_capabilities);
    late_security(policy, capabilities)
}

fn take_capabilities(process: &mut Process) -> Option<LinuxCapabilities> {
    let capabilities = process.capabilities().clone();
    process.set_capabilities(None);
    capabilities
}

fn late_security(
    policy: Option<LinuxSeccomp>,
    capabilities: Option<LinuxCapabilities>,
) -> LateSecurity {
    // Every process that is made here has them; without them it would have none.
    let none = || {
        let mut none = LinuxCapabilities::default();
        none.set_bounding(Some(HashSet::new()))
            .set_effective(Some(HashSet::new()))
            .set_permitted(Some(HashSet::new()))
            .set_inheritable(Some(HashSet::new()))
            .set_ambient(Some(HashSet::new()));
        none
    };
    LateSecurity { filter: Filter::of(policy), capabilities: capabilities.unwrap_or_else(none) }
}

/// The error of a process that was not started, after what is left of the process is collected: as
/// long as it is there, the container's pid namespace cannot end.
fn not_started(pid_file: &Path, error: &LibcontainerError) -> StartError {
    let pid =
        fs::read_to_string(pid_file).ok().and_then(|text| Pid::from_raw(text.trim().parse().ok()?));
    if let Some(pid) = pid {
        // It has failed and is about to end; it is our child, so the number is still its own.
        let collected = rustix::process::kill_process(pid, Signal::KILL)
            .and_then(|()| rustix::process::waitpid(Some(pid), WaitOptions::empty()));
        if let Err(error) = collected {
            tracing::debug!(pid = pid.as_raw_nonzero(), %error, "a process that was not started is left");
        }
    }
    start_error(error)
}

/// libcontainer's error with every cause, as a start error.
fn start_error(error: &LibcontainerError) -> StartError {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    failure::from_runtime(&text)
}
