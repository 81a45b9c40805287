//! The last steps inside a container's process: finding the program, and becoming it.
//!
//! Runs in the process that libcontainer made, after its namespaces, root and user are set. It is a
//! forked copy of the caller, so it must return or execute, and print nothing but what Docker's
//! runtime prints into the container's own output.

use std::collections::HashMap;
use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};
use oci_spec::runtime::{
    LinuxCapabilities, LinuxSeccomp, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompOperator,
    Process, Spec,
};
use orlop_sys::seccomp::Instruction;
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode};

use crate::late::LateMount;
use crate::seccomp::program;

/// Becomes the command of a specification.
#[derive(Clone, Debug)]
pub(crate) struct CommandExecutor {
    /// What is done before the command is looked for.
    pub(crate) security: LateSecurity,
    /// What is mounted before that.
    pub(crate) late_mounts: Vec<LateMount>,
    /// Whether the caller still listens when the command is executed (an added process).
    pub(crate) added: bool,
}

/// Filter and capabilities, which libcontainer is not told about.
///
/// It drops the filter of an added process, and for the first one it takes long to make it. Loading a
/// filter needs CAP_SYS_ADMIN, so the capabilities are left alone until the filter is loaded here.
#[derive(Clone, Debug)]
pub(crate) struct LateSecurity {
    pub(crate) filter: Filter,
    pub(crate) capabilities: LinuxCapabilities,
}

/// A system call filter.
#[derive(Clone, Debug)]
pub(crate) enum Filter {
    /// No filter.
    None,
    /// Ready to load.
    Program(Vec<Instruction>),
    /// To be made by libseccomp.
    Policy(Box<LinuxSeccomp>),
}

impl Filter {
    /// The fastest way to a policy.
    pub(crate) fn of(policy: Option<LinuxSeccomp>) -> Self {
        match policy {
            None => Self::None,
            Some(policy) => match program::compile(&policy) {
                Some(program) => Self::Program(program),
                None => Self::Policy(Box::new(adapted(&policy))),
            },
        }
    }
}

impl LateSecurity {
    fn apply(&self) -> Result<(), String> {
        let unusable =
            |error: &dyn std::fmt::Display| format!("cannot load the seccomp filter: {error}");
        match &self.filter {
            Filter::None => {}
            Filter::Program(program) => {
                orlop_sys::seccomp::install(program).map_err(|error| unusable(&error))?;
            }
            Filter::Policy(policy) => {
                libcontainer::seccomp::initialize_seccomp(policy)
                    .map_err(|error| unusable(&error))?;
            }
        }
        let syscall = SyscallType::Linux.create_syscall();
        libcontainer::capabilities::drop_privileges(&self.capabilities, syscall.as_ref())
            .map_err(|error| format!("cannot drop capabilities: {error}"))
    }
}

/// Exchanges mask and value of masked comparisons: libcontainer 0.7 reads them the wrong way round,
/// which would compare nothing.
fn adapted(policy: &LinuxSeccomp) -> LinuxSeccomp {
    let exchanged = |argument: &LinuxSeccompArg| {
        if argument.op() != LinuxSeccompOperator::ScmpCmpMaskedEq {
            return *argument;
        }
        LinuxSeccompArgBuilder::default()
            .index(argument.index())
            .op(argument.op())
            .value(argument.value_two().unwrap_or(0))
            .value_two(argument.value())
            .build()
            .expect("index, value and operator are all that a condition needs")
    };
    let mut policy = policy.clone();
    let mut rules = policy.syscalls().clone().unwrap_or_default();
    for rule in &mut rules {
        let arguments = rule.args().as_ref().map(|all| all.iter().map(exchanged).collect());
        rule.set_args(arguments);
    }
    policy.set_syscalls(Some(rules));
    policy
}

/// Gives a process's terminal its size before the command can ask for it.
fn set_terminal_size(process: &Process) {
    if let Some(size) = process.console_size().filter(|_| process.terminal() == Some(true)) {
        let cells = |count: u64| u16::try_from(count).unwrap_or(u16::MAX);
        // A terminal without a size is still a terminal.
        let _ = orlop_sys::pty::set_window_size(
            rustix::stdio::stdin(),
            cells(size.height()),
            cells(size.width()),
        );
    }
}

impl Executor for CommandExecutor {
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let check = || {
            if !self.added {
                close_device_directories(spec);
            }
            self.late_mounts.iter().try_for_each(LateMount::attach)?;
            self.security.apply()?;
            program(command(spec)?).map(drop)
        };
        check().map_err(ExecutorValidationError::ArgValidationError)
    }

    /// Does nothing: the environment is given to `execve`, in the order of the specification.
    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let process = command(spec).map_err(ExecutorError::Other)?;
        let path = program(process).map_err(ExecutorError::Other)?;
        let strings = |texts: &Option<Vec<String>>| -> Result<Vec<CString>, ExecutorError> {
            texts
                .iter()
                .flatten()
                .map(|text| CString::new(text.as_str()).map_err(|_| ExecutorError::InvalidArg))
                .collect()
        };
        let (arguments, environment) = (strings(process.args())?, strings(process.env())?);
        let file = CString::new(path.clone().into_os_string().into_vec())
            .map_err(|_| ExecutorError::InvalidArg)?;
        set_terminal_size(process);
        let error = orlop_sys::exec::replace(&file, &arguments, &environment);
        let text = format!("exec {}: {}", path.display(), describe(&error));
        if !self.added {
            // Nobody listens any more: as with runc, the container's own error output says it and the
            // container ends with 255.
            let _ = rustix::io::write(rustix::stdio::stderr(), format!("{text}\n").as_bytes());
        }
        Err(ExecutorError::Other(text))
    }
}

/// Takes from everybody the right to write into the directories that hold devices: libcontainer makes
/// them without a mask. Nothing has been mounted on `/dev` yet, so all of it is the runtime's own.
fn close_device_directories(spec: &Spec) {
    let devices = spec.linux().as_ref().and_then(|linux| linux.devices().as_ref());
    for device in devices.into_iter().flatten() {
        for directory in device_directories(device.path()) {
            // One that cannot be changed is as it was; the device itself is there.
            let _ = rustix::fs::chmodat(CWD, directory, Mode::from(0o755), AtFlags::empty());
        }
    }
}

/// The directories between `/dev` and a device that the runtime makes for it.
fn device_directories(device: &Path) -> impl Iterator<Item = &Path> {
    let mounted = ["/dev/pts", "/dev/shm", "/dev/mqueue"].iter().any(|own| device.starts_with(own));
    let plain =
        device.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let above = device.ancestors().skip(1);
    above.take_while(move |directory| {
        plain && !mounted && directory.starts_with("/dev") && *directory != Path::new("/dev")
    })
}

fn command(spec: &Spec) -> Result<&Process, String> {
    spec.process().as_ref().ok_or_else(|| "the specification has no process".to_owned())
}

/// The file of the command, with the errors that Docker shows for one that cannot be run.
fn program(process: &Process) -> Result<PathBuf, String> {
    let name = process.args().iter().flatten().next().ok_or("no command specified")?;
    if name.contains('/') {
        let path = Path::new(name);
        return match executable(path) {
            Ok(()) => Ok(path.to_owned()),
            Err(Refusal::Missing(reason)) => {
                Err(format!("exec: \"{name}\": stat {name}: {reason}"))
            }
            Err(Refusal::Unusable(reason)) => Err(format!("exec: \"{name}\": {reason}")),
        };
    }
    let environment = process.env().iter().flatten();
    let search =
        environment.filter_map(|entry| entry.strip_prefix("PATH=")).next_back().unwrap_or("");
    search
        .split(':')
        .filter(|directory| !name.is_empty() && directory.starts_with('/'))
        .map(|directory| Path::new(directory).join(name))
        .find(|candidate| executable(candidate).is_ok())
        .ok_or_else(|| format!("exec: \"{name}\": executable file not found in $PATH"))
}

/// Why a file cannot be run.
enum Refusal {
    Missing(String),
    Unusable(&'static str),
}

fn executable(path: &Path) -> Result<(), Refusal> {
    let status =
        rustix::fs::stat(path).map_err(|error| Refusal::Missing(describe(&error.into())))?;
    if FileType::from_raw_mode(status.st_mode) == FileType::Directory {
        return Err(Refusal::Unusable("is a directory"));
    }
    let permitted = rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS);
    if permitted.is_err() || status.st_mode & 0o111 == 0 {
        return Err(Refusal::Unusable("permission denied"));
    }
    Ok(())
}

/// The kernel's text, in lower case and without Rust's "(os error n)".
fn describe(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::os::unix::fs::OpenOptionsExt;

    use super::*;
    use crate::capabilities::CapabilitySet;

    fn find(name: &str, search: &str) -> Result<PathBuf, String> {
        let mut process = Process::default();
        process.set_args(Some(vec![name.to_owned()])).set_env(Some(vec![format!("PATH={search}")]));
        program(&process)
    }

    #[test]
    fn only_directories_made_for_devices_are_changed() {
        let of = |device| -> Vec<_> { device_directories(Path::new(device)).collect() };
        assert_eq!(of("/dev/a/b/fuse"), [Path::new("/dev/a/b"), Path::new("/dev/a")]);
        for none in ["/dev/fuse", "/dev/shm/a/fuse", "/dev/a/../../etc/x", "/srv/a/fuse", "dev/a/b"]
        {
            assert_eq!(of(none), [""; 0].map(Path::new), "{none}");
        }
    }

    #[test]
    fn masks_are_exchanged_and_nothing_else() {
        let before = crate::seccomp::docker_default(CapabilitySet::docker_default());
        let after = adapted(&before);
        let argument = |filter: &LinuxSeccomp, name: &str| {
            let rules = filter.syscalls().as_ref().unwrap();
            let rule = rules.iter().find(|rule| rule.names() == &vec![name.to_owned()]).unwrap();
            let argument = rule.args().as_ref().unwrap()[0];
            (argument.value(), argument.value_two())
        };
        assert_eq!(argument(&after, "clone"), (0, Some(0x7e02_0000)));
        assert_eq!(argument(&after, "socket"), argument(&before, "socket"));
        assert_eq!(adapted(&after), before);
    }

    #[test]
    fn programs_are_found_as_docker_finds_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        fs::OpenOptions::new().create_new(true).write(true).mode(0o755).open(path("run")).unwrap();
        fs::write(path("plain"), "").unwrap();
        fs::create_dir(path("folder")).unwrap();
        let search = format!("/nonexistent:relative:{}", directory.path().display());

        assert_eq!(find("run", &search).unwrap().display().to_string(), path("run"));
        assert_eq!(find(&path("run"), "").unwrap().display().to_string(), path("run"));
        for name in ["nosuch", "plain", "folder", ""] {
            let expected = format!("exec: \"{name}\": executable file not found in $PATH");
            assert_eq!(find(name, &search).unwrap_err(), expected);
        }
        assert_eq!(
            find("/no/such", "").unwrap_err(),
            "exec: \"/no/such\": stat /no/such: no such file or directory"
        );
        let (plain, folder) = (path("plain"), path("folder"));
        assert_eq!(find(&plain, "").unwrap_err(), format!("exec: \"{plain}\": permission denied"));
        assert_eq!(find(&folder, "").unwrap_err(), format!("exec: \"{folder}\": is a directory"));
    }
}
