//! One suite over every runtime: what a container must look like from the inside and the outside.
//!
//! Each case makes its own small root file system (busybox), run directory and control group, in a
//! mount namespace of its own, and leaves nothing behind. Needs root, `busybox-static` and `runc`.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use orlop_runtime::cgroup::ContainerCgroup;
use orlop_runtime::plan::{
    LogPlan, MountSource, PLAN_VERSION, Plan, PlannedMount, ProcessPlan, RuntimeChoice,
};
use orlop_runtime::{Bundle, CreatedProcess, Runtime, StartError, Stdio, by_choice};
use orlop_sys::mount::RootfsRecipe;
use orlop_types::ContainerId;
use orlop_types::config::HostConfig;
use orlop_types::network::NetworkPlan;
use rustix::process::{Pid, WaitOptions};
use tempfile::TempDir;

/// How long any container of this suite may take to end.
const LIMIT: Duration = Duration::from_secs(30);

/// A container that can be run with one runtime.
struct Container {
    directory: TempDir,
    plan: Plan,
    staged: Vec<Option<PathBuf>>,
    runtime: Box<dyn Runtime>,
}

/// What a process left.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    code: i32,
    out: String,
    err: String,
}

impl Container {
    fn new(choice: RuntimeChoice) -> Self {
        let directory = tempfile::Builder::new().prefix("orlop-conformance-").tempdir().unwrap();
        make_rootfs(&directory.path().join("rootfs"));
        let mut id = [0; 32];
        File::open("/dev/urandom").unwrap().read_exact(&mut id).unwrap();
        let container = ContainerId::of_bytes(&id);
        let runtime = by_choice(&choice);
        let plan = Plan {
            version: PLAN_VERSION,
            run_dir: directory.path().join("run"),
            rootfs: RootfsRecipe::Directory {
                path: directory.path().join("rootfs"),
                read_only: false,
            },
            rootfs_read_only: false,
            mounts: Vec::new(),
            process: process(&["true"]),
            hostname: "conform".to_owned(),
            domainname: String::new(),
            cgroup: format!("/orlop-conformance-{container}"),
            host_config: HostConfig::default(),
            network: NetworkPlan::None,
            log: LogPlan::None,
            health: None,
            shared: Default::default(),
            runtime: choice,
            finish: Vec::new(),
            ends_with_starter: false,
            container,
        };
        Self { directory, plan, staged: Vec::new(), runtime }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn with_bundle<T>(&self, call: impl FnOnce(&dyn Runtime, &Bundle<'_>) -> T) -> T {
        let rootfs = self.path("rootfs");
        call(
            self.runtime.as_ref(),
            &Bundle { plan: &self.plan, rootfs: &rootfs, staged: &self.staged },
        )
    }

    /// Creates and starts the first process.
    fn start(&self, stdio: Stdio) -> Result<CreatedProcess, StartError> {
        self.with_bundle(|runtime, bundle| {
            let created = runtime.create(bundle, stdio)?;
            runtime.start(bundle)?;
            Ok(created)
        })
    }

    /// Runs a command as the first process to its end.
    fn run(&mut self, command: &[&str]) -> Outcome {
        self.plan.process.args = owned(command);
        self.run_planned().unwrap()
    }

    fn run_planned(&self) -> Result<Outcome, StartError> {
        let (streams, stdio) = Streams::new();
        let outcome = self.start(stdio).map(|created| streams.outcome(created.pid));
        self.delete();
        outcome
    }

    fn exec(&self, process: &ProcessPlan) -> Result<Outcome, StartError> {
        let (streams, stdio) = Streams::new();
        let created = self.with_bundle(|runtime, bundle| runtime.exec(bundle, process, stdio))?;
        Ok(streams.outcome(created.pid))
    }

    /// Runs a first process that waits until the container is deleted.
    fn start_waiting(&mut self) -> (Streams, i32) {
        self.plan.process.args = owned(&["sleep", "1000"]);
        let (streams, stdio) = Streams::new();
        let pid = self.start(stdio).unwrap().pid;
        (streams, pid)
    }

    fn delete(&self) {
        self.with_bundle(|runtime, bundle| runtime.delete(bundle)).unwrap();
    }

    /// Shows a directory or file of this machine in the container.
    fn bind(&mut self, source: &Path, target: &str, read_only: bool) {
        self.plan.mounts.push(PlannedMount {
            target: target.into(),
            source: MountSource::Bind { path: source.to_owned(), subpath: None, recursive: true },
            read_only,
            read_only_top_only: false,
            propagation: "rprivate".to_owned(),
        });
        self.staged.push(Some(source.to_owned()));
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Also when a case failed half-way; a second time is allowed.
        let deleted = self.with_bundle(|runtime, bundle| runtime.delete(bundle));
        assert!(std::thread::panicking() || deleted.is_ok(), "{deleted:?}");
    }
}

/// Our ends of a process's standard streams.
struct Streams {
    stdin: File,
    out: File,
    err: File,
}

impl Streams {
    fn new() -> (Self, Stdio) {
        let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let ((stdin, our_stdin), (out, stdout), (err, stderr)) = (pipe(), pipe(), pipe());
        let ours = Self { stdin: our_stdin.into(), out: out.into(), err: err.into() };
        (ours, Stdio::Files { stdin, stdout, stderr })
    }

    /// Reads everything and waits for the process.
    fn outcome(mut self, pid: i32) -> Outcome {
        drop(self.stdin);
        let (mut out, mut err) = (String::new(), String::new());
        self.out.read_to_string(&mut out).unwrap();
        self.err.read_to_string(&mut err).unwrap();
        Outcome { code: wait(pid), out, err }
    }
}

fn wait(pid: i32) -> i32 {
    let end = Instant::now() + LIMIT;
    let pid = Pid::from_raw(pid).unwrap();
    loop {
        if let Some((_, status)) = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG).unwrap()
        {
            return status
                .exit_status()
                .or(status.terminating_signal().map(|signal| 128 + signal))
                .unwrap();
        }
        assert!(Instant::now() < end, "process {pid:?} does not end");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn process(command: &[&str]) -> ProcessPlan {
    ProcessPlan { args: owned(command), ..ProcessPlan::default() }
}

fn make_rootfs(root: &Path) {
    for directory in ["bin", "etc", "proc", "sys", "dev", "tmp", "srv", "home/guest"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    let list = std::process::Command::new("/bin/busybox").arg("--list").output().unwrap();
    for applet in String::from_utf8(list.stdout).unwrap().lines().filter(|name| *name != "busybox")
    {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1001::/home/guest:/bin/sh\n",
    )
    .unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\nguest:x:1001:\nmedia:x:44:guest\n").unwrap();
    fs::write(root.join("etc/file"), "content\n").unwrap();
}

/// Runs a case with each runtime, in a mount namespace of its own.
fn each_runtime(case: impl Fn(Container)) {
    assert!(rustix::process::geteuid().is_root(), "this suite needs root");
    orlop_sys::mount::unshare_mount_namespace().unwrap();
    orlop_sys::process::become_subreaper().unwrap();
    for choice in [RuntimeChoice::Builtin, RuntimeChoice::External("runc".into())] {
        let container = Container::new(choice);
        let name = container.runtime.name();
        let cgroup = container.plan.cgroup.clone();
        let _ = writeln!(std::io::stderr(), "case with {name}");
        case(container);
        for directory in ContainerCgroup::new(&cgroup).unwrap().directories() {
            assert!(!directory.exists(), "{name} left {}", directory.display());
        }
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn exit_codes() {
    each_runtime(|mut container| {
        assert_eq!(container.run(&["true"]).code, 0);
        assert_eq!(container.run(&["sh", "-c", "exit 7"]).code, 7);
        let outcome = container.run(&["sh", "-c", "echo out; echo err >&2; kill -9 $$"]);
        // The first process of a pid namespace cannot kill itself; it goes on and ends well.
        assert_eq!(outcome, Outcome { code: 0, out: "out\n".to_owned(), err: "err\n".to_owned() });
    });
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn arguments_environment_directory_and_user() {
    each_runtime(|mut container| {
        container.plan.process.env = owned(&["B=two words", "A=1"]);
        container.plan.process.cwd = "/made/here".to_owned();
        container.plan.process.user = "guest".to_owned();
        container.plan.host_config.group_add = Some(owned(&["55"]));
        let outcome = container.run(&[
            "sh",
            "-c",
            "echo \"$1|$2\"; pwd; id -u; id -g; id -G",
            "name",
            "a b",
            "*",
        ]);
        assert_eq!((outcome.code, outcome.err.as_str()), (0, ""));
        assert_eq!(outcome.out, "a b|*\n/made/here\n1000\n1001\n1001 44 55\n");
        let outcome = container.run(&["env"]);
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        assert_eq!(
            outcome.out,
            format!("{path}\nHOSTNAME=conform\nB=two words\nA=1\nHOME=/home/guest\n")
        );
    });
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn confinement() {
    const STATUS: &[&str] = &[
        "grep",
        "-E",
        "^(CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):",
        "/proc/self/status",
    ];
    let status = |own: &str, nnp: u8| {
        format!(
            "CapInh:\t0000000000000000\nCapPrm:\t{own}\nCapEff:\t{own}\nCapBnd:\t00000000a80425fb\n\
             CapAmb:\t0000000000000000\nNoNewPrivs:\t{nnp}\nSeccomp:\t2\n"
        )
    };
    each_runtime(|mut container| {
        assert_eq!(container.run(STATUS).out, status("00000000a80425fb", 0));
        container.plan.host_config.security_opt = Some(owned(&["no-new-privileges"]));
        container.plan.process.user = "1000".to_owned();
        assert_eq!(container.run(STATUS).out, status("0000000000000000", 1));
        container.plan.process.user = String::new();
        container.plan.host_config.security_opt = Some(owned(&["seccomp=unconfined"]));
        container.plan.host_config.cap_drop = Some(owned(&["ALL"]));
        container.plan.host_config.cap_add = Some(owned(&["CHOWN"]));
        let outcome = container.run(&["grep", "-E", "^(CapEff|Seccomp):", "/proc/self/status"]);
        assert_eq!(outcome.out, "CapEff:\t0000000000000001\nSeccomp:\t0\n");
    });
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn the_filter_denies() {
    each_runtime(|mut container| {
        let outcome = container.run(&["unshare", "-U", "true"]);
        assert_eq!(
            (outcome.code, outcome.err.as_str()),
            (1, "unshare: unshare(0x10000000): Operation not permitted\n")
        );
        let outcome = container.run(&["mount", "-t", "tmpfs", "x", "/tmp"]);
        assert_ne!(outcome.code, 0);
        assert!(
            outcome.err.contains("permission denied") || outcome.err.contains("not permitted"),
            "{outcome:?}"
        );
    });
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn masked_and_read_only_paths() {
    each_runtime(|mut container| {
        // Not every kernel has every one of them.
        let script = "cat /proc/kcore /proc/keys /proc/interrupts /proc/timer_list 2>/dev/null | wc -c; \
                      ls -A /sys/firmware /proc/acpi /proc/scsi 2>/dev/null | grep -v '^$' | grep -vc ':$'";
        assert_eq!(container.run(&["sh", "-c", script]).out, "0\n0\n");
        let outcome = container.run(&["sh", "-c", "echo 1 > /proc/sys/vm/swappiness"]);
        assert_eq!(
            outcome.err,
            "sh: can't create /proc/sys/vm/swappiness: Read-only file system\n"
        );
        let outcome = container.run(&["sh", "-c", "echo > /sys/kernel/x"]);
        assert_eq!(outcome.err, "sh: can't create /sys/kernel/x: Read-only file system\n");
    });
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn names_and_namespaces() {
    each_runtime(|mut container| {
        container.plan.domainname = "example.org".to_owned();
        let script =
            "hostname; cat /proc/sys/kernel/domainname; echo $$; readlink /proc/self/ns/net";
        let network = fs::read_link("/proc/self/ns/net").unwrap();
        let expected = format!("conform\nexample.org\n1\n{}\n", network.display());
        assert_eq!(container.run(&["sh", "-c", script]).out, expected);
        let ours = fs::read_link("/proc/self/ns/uts").unwrap().display().to_string();
        assert_ne!(container.run(&["readlink", "/proc/self/ns/uts"]).out.trim(), ours);
    });
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn read_only_root() {
    each_runtime(|mut container| {
        let data = container.path("data");
        fs::create_dir(&data).unwrap();
        container.plan.rootfs_read_only = true;
        container.bind(&data, "/data", false);
        let script = "touch /x; touch /dev/x && touch /dev/shm/x && touch /data/x && echo fine";
        let outcome = container.run(&["sh", "-c", script]);
        assert_eq!(outcome.err, "touch: /x: Read-only file system\n");
        assert_eq!(outcome.out, "fine\n");
        assert!(data.join("x").exists());
    });
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn mounts() {
    each_runtime(|mut container| {
        let (data, file) = (container.path("data"), container.path("hosts"));
        fs::create_dir(&data).unwrap();
        fs::write(data.join("seen"), "yes\n").unwrap();
        fs::write(&file, "127.0.0.1 conform\n").unwrap();
        symlink("/srv", container.path("rootfs/link")).unwrap();
        symlink("../../../../../../tmp", container.path("rootfs/escape")).unwrap();
        container.bind(&data, "/a/b", false);
        container.bind(&data, "/link/ro", true);
        container.bind(&file, "/etc/hosts", true);
        container.bind(&data, "/escape/kept", true);
        container.plan.mounts.push(PlannedMount {
            target: "/scratch".into(),
            source: MountSource::Tmpfs {
                options: owned(&["noexec", "nosuid", "nodev", "size=1m", "mode=0750"]),
            },
            read_only: false,
            read_only_top_only: false,
            propagation: String::new(),
        });
        container.staged.push(None);
        let script = "cat /a/b/seen /srv/ro/seen /etc/hosts /tmp/kept/seen; touch /a/b/new; touch /srv/ro/x; \
                      echo >> /etc/hosts; stat -c %a /scratch; grep ' /scratch ' /proc/mounts | cut -d' ' -f3";
        let outcome = container.run(&["sh", "-c", script]);
        assert_eq!(outcome.out, "yes\nyes\n127.0.0.1 conform\nyes\n750\ntmpfs\n");
        assert_eq!(
            outcome.err,
            "touch: /srv/ro/x: Read-only file system\nsh: can't create /etc/hosts: Read-only file system\n"
        );
        assert!(data.join("new").exists());
        assert!(container.path("rootfs/tmp/kept").is_dir());
    });
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn terminal() {
    each_runtime(|mut container| {
        container.plan.process.tty = true;
        container.plan.process.console_size = (33, 77);
        container.plan.process.args = owned(&["sh", "-c", "tty; stty size; echo $TERM"]);
        let created = container.start(Stdio::Terminal).unwrap();
        let shown = read_terminal(created.terminal.unwrap());
        assert_eq!(wait(created.pid), 0);
        assert!(
            shown == "/dev/pts/0\r\n33 77\r\nxterm\r\n"
                || shown == "/dev/console\r\n33 77\r\nxterm\r\n",
            "{shown:?}"
        );
        container.delete();
    });
}

/// Reads until the last process has closed the terminal (the kernel says EIO then).
fn read_terminal(terminal: OwnedFd) -> String {
    let mut terminal = File::from(terminal);
    let (mut shown, mut part) = (Vec::new(), [0; 1024]);
    while let Ok(count) = terminal.read(&mut part) {
        if count == 0 {
            break;
        }
        shown.extend_from_slice(&part[..count]);
    }
    String::from_utf8(shown).unwrap()
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn added_processes() {
    each_runtime(|mut container| {
        container.plan.host_config.shm_size = 1 << 20;
        let (_streams, pid) = container.start_waiting();
        let outcome =
            container.exec(&process(&["sh", "-c", "echo $$ $HOME; hostname; exit 3"])).unwrap();
        assert_eq!((outcome.code, outcome.err.as_str()), (3, ""));
        assert!(outcome.out.ends_with(" /root\nconform\n"), "{outcome:?}");
        for round in 0..20 {
            let outcome = container.exec(&process(&["echo", &round.to_string()])).unwrap();
            assert_eq!(outcome, Outcome { code: 0, out: format!("{round}\n"), err: String::new() });
        }
        let status = ["grep", "-E", "^(CapEff|CapBnd|Seccomp):", "/proc/self/status"];
        let expected = "CapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nSeccomp:\t2\n";
        assert_eq!(container.exec(&process(&status)).unwrap().out, expected);
        let guest = ProcessPlan {
            user: "guest".to_owned(),
            cwd: "/srv".to_owned(),
            ..process(&["sh", "-c", "id -u; id -G; pwd"])
        };
        assert_eq!(container.exec(&guest).unwrap().out, "1000\n1001 44\n/srv\n");
        let guest_status = ProcessPlan { user: "guest".to_owned(), ..process(&status) };
        let expected = "CapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\nSeccomp:\t2\n";
        assert_eq!(container.exec(&guest_status).unwrap().out, expected);

        let privileged = ProcessPlan { privileged: true, ..process(&status) };
        let outcome = container.exec(&privileged).unwrap();
        assert!(outcome.out.ends_with("Seccomp:\t2\n"), "{outcome:?}");
        assert!(outcome.out.starts_with("CapEff:\t000001ff"), "{outcome:?}");

        let cgroup = ContainerCgroup::new(&container.plan.cgroup).unwrap();
        assert_eq!(cgroup.pids().unwrap(), [pid]);
        container.delete();
        assert_eq!(wait(pid), 137);
    });
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn an_added_process_on_a_terminal() {
    each_runtime(|mut container| {
        let (_streams, pid) = container.start_waiting();
        let plan = ProcessPlan {
            tty: true,
            console_size: (10, 20),
            ..process(&["sh", "-c", "tty; stty size"])
        };
        let created = container
            .with_bundle(|runtime, bundle| runtime.exec(bundle, &plan, Stdio::Terminal))
            .unwrap();
        assert_eq!(read_terminal(created.terminal.unwrap()), "/dev/pts/0\r\n10 20\r\n");
        assert_eq!(wait(created.pid), 0);
        container.delete();
        assert_eq!(wait(pid), 137);
    });
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn commands_that_cannot_be_run() {
    const MISSING: &str = "exec: \"nosuch\": executable file not found in $PATH";
    each_runtime(|mut container| {
        let cases = [
            ("nosuch", 127, MISSING),
            ("/no/such", 127, "exec: \"/no/such\": stat /no/such: no such file or directory"),
            ("/etc/file", 126, "exec: \"/etc/file\": permission denied"),
        ];
        for (command, exit_code, message) in cases {
            container.plan.process.args = owned(&[command]);
            let error = container.run_planned().unwrap_err();
            assert_eq!(error, StartError { exit_code, message: message.to_owned() });
        }
        container.plan.process.args = owned(&["/etc"]);
        assert_eq!(container.run_planned().unwrap_err().exit_code, 126);
        container.plan.process = ProcessPlan { user: "nobody".to_owned(), ..process(&["true"]) };
        let message = "unable to find user nobody: no matching entries in passwd file".to_owned();
        assert_eq!(container.run_planned().unwrap_err(), StartError { exit_code: 125, message });
        container.plan.process = process(&["true"]);
        assert_eq!(container.run_planned().unwrap().code, 0);

        let (_streams, pid) = container.start_waiting();
        let error = container.exec(&process(&["nosuch"])).unwrap_err();
        assert_eq!(error, StartError { exit_code: 127, message: MISSING.to_owned() });
        let lost = ProcessPlan { cwd: "/lost".to_owned(), ..process(&["true"]) };
        assert_eq!(container.exec(&lost).unwrap_err().exit_code, 127);
        container.delete();
        assert_eq!(wait(pid), 137);
    });
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn a_directory_cannot_be_mounted_on_a_file() {
    each_runtime(|mut container| {
        let data = container.path("data");
        fs::create_dir(&data).unwrap();
        container.bind(&data, "/etc/file", false);
        let error = container.run_planned().unwrap_err();
        assert_eq!(error.exit_code, 125);
        let end = "not a directory: Are you trying to mount a directory onto a file (or vice-versa)? \
                   Check if the specified host path exists and is the expected type";
        assert!(error.message.ends_with(end), "{error}");
    });
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn limits_hold() {
    each_runtime(|mut container| {
        container.plan.host_config.pids_limit = Some(3);
        container.plan.host_config.memory = 64 << 20;
        let outcome = container.run(&["sh", "-c", "sleep 5 & sleep 5 & sleep 5 & true"]);
        assert!(outcome.err.contains("fork"), "{outcome:?}");
        container.plan.host_config.pids_limit = None;
        let script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; \
                      for f in /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max; do \
                      if [ -e $f ]; then echo 1 > $f; fi; done";
        let outcome = container.run(&["sh", "-c", script]);
        assert_eq!(outcome.out, "67108864\n");
        assert!(outcome.err.contains("Read-only file system"), "{outcome:?}");
    });
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn freezing_and_deleting_what_runs() {
    each_runtime(|mut container| {
        let (_streams, pid) = container.start_waiting();
        let cgroup = ContainerCgroup::new(&container.plan.cgroup).unwrap();
        cgroup.freeze().unwrap();
        cgroup.thaw().unwrap();
        cgroup.freeze().unwrap();
        // A frozen container is deleted too, and deleting again is no error.
        container.delete();
        assert_eq!(wait(pid), 137);
        container.delete();
        assert!(!container.path("run/runtime").exists());
    });
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn privileged() {
    each_runtime(|mut container| {
        container.plan.host_config.privileged = true;
        let script = "mount -t tmpfs x /tmp && touch /sys/fs/cgroup/../cgroup && echo $(grep Seccomp: /proc/self/status)";
        let outcome = container.run(&["sh", "-c", script]);
        assert_eq!((outcome.out.as_str(), outcome.err.as_str()), ("Seccomp: 0\n", ""));
    });
}
