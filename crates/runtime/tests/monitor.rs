//! The monitor's whole life, with a runtime that forks plain processes.
//!
//! The monitor is this test program, started again to run the "test" [`act_as_monitor`] only; it
//! makes its own mount namespace, so nothing is mounted that anybody else sees.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio as ProcessStdio};
use std::time::{Duration, Instant};

use orlop_runtime::attach::{self, Client, Event};
use orlop_runtime::launch::{LaunchOptions, Launched, launch};
use orlop_runtime::log::{LogReader, ReadOptions};
use orlop_runtime::monitor::{Handover, carry_out};
use orlop_runtime::plan::{
    LogFiles, LogFormat, LogPlan, MountSource, PLAN_VERSION, Plan, PlannedMount, ProcessPlan,
    RuntimeChoice,
};
use orlop_runtime::record::{Liveness, Record, liveness, read_after};
use orlop_runtime::{Bundle, ContainerNetwork, CreatedProcess, Runtime, StartError, Stdio};
use orlop_sys::mount::{OverlayUpper, RootfsRecipe};
use orlop_sys::process::PidFd;
use orlop_sys::pty::Pty;
use orlop_types::ContainerId;
use orlop_types::config::HostConfig;
use orlop_types::network::NetworkPlan;

/// Longer than anything here takes, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

/// A runtime without containers: the process runs on the host, with the mounts' places in its
/// environment. A named pipe holds it back until `start`.
struct PlainRuntime;

impl PlainRuntime {
    fn gate(bundle: &Bundle<'_>) -> PathBuf {
        bundle.plan.run_dir.join("gate")
    }
}

#[allow(clippy::needless_pass_by_value)] // Used as a function over errors.
fn failed(message: impl ToString) -> StartError {
    StartError { exit_code: 127, message: message.to_string() }
}

impl Runtime for PlainRuntime {
    fn name(&self) -> String {
        "plain".to_owned()
    }

    fn create(&self, bundle: &Bundle<'_>, stdio: Stdio) -> Result<CreatedProcess, StartError> {
        if bundle.plan.process.args[0] == "missing" {
            return Err(failed("exec: \"missing\": executable file not found in $PATH"));
        }
        let made = Command::new("mkfifo").arg(Self::gate(bundle)).status().map_err(failed)?;
        assert!(made.success());
        let mut command = Command::new("sh");
        command.args(["-c", "read _ < \"$GATE\"; exec \"$@\"", "sh"]);
        command.args(&bundle.plan.process.args);
        command.env("GATE", Self::gate(bundle)).env("ROOTFS", bundle.rootfs);
        for (index, path) in bundle.staged.iter().enumerate() {
            command.env(format!("M{index}"), path.as_deref().unwrap_or(Path::new("")));
        }
        let mut terminal = None;
        match stdio {
            Stdio::Files { stdin, stdout, stderr } => {
                command.stdin(stdin).stdout(stdout).stderr(stderr);
            }
            Stdio::Terminal => {
                let pty = Pty::open().map_err(failed)?;
                command.stdin(pty.slave.try_clone().unwrap());
                command.stdout(pty.slave.try_clone().unwrap()).stderr(pty.slave);
                terminal = Some(pty.master);
            }
        }
        let child = command.spawn().map_err(failed)?;
        Ok(CreatedProcess { pid: child.id().cast_signed(), terminal })
    }

    fn start(&self, bundle: &Bundle<'_>) -> Result<(), StartError> {
        fs::write(Self::gate(bundle), "go\n").map_err(failed)
    }

    fn exec(
        &self,
        _bundle: &Bundle<'_>,
        _process: &ProcessPlan,
        _stdio: Stdio,
    ) -> Result<CreatedProcess, StartError> {
        Err(failed("the plain runtime has no exec"))
    }

    fn delete(&self, bundle: &Bundle<'_>) -> Result<(), StartError> {
        // Leaves a trace of when it was called: an event of the teardown.
        fs::write(bundle.plan.run_dir.join("deleted"), "").map_err(failed)?;
        let _ = fs::remove_file(Self::gate(bundle));
        Ok(())
    }
}

/// Leaves traces instead of making interfaces.
struct TracedNetwork(PathBuf);

impl ContainerNetwork for TracedNetwork {
    fn enter(&mut self, _plan: &NetworkPlan) -> Result<(), StartError> {
        fs::write(self.0.join("network"), "up").map_err(failed)
    }

    fn leave(&mut self) -> Result<(), StartError> {
        fs::write(self.0.join("network"), "down").map_err(failed)
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN (a helper: acts as the monitor where a test has started it)"]
fn act_as_monitor() {
    // Run by itself it has no starter, and nothing to do.
    if std::env::args().next_back().as_deref() != Some("monitor") {
        return;
    }
    let handover = Handover::receive().unwrap();
    let mut network = TracedNetwork(handover.plan().run_dir.clone());
    let failed = carry_out(handover, &PlainRuntime, &mut network).is_err();
    std::process::exit(failed.into());
}

/// A container's directories; what still runs is killed at the end.
struct Container {
    directory: tempfile::TempDir,
}

impl Container {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["run", "lower/etc", "upper", "work", "volume"] {
            fs::create_dir_all(directory.path().join(name)).unwrap();
        }
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn run_dir(&self) -> PathBuf {
        self.path("run")
    }

    fn plan(&self, script: &str) -> Plan {
        let upper =
            OverlayUpper { upper: self.path("upper"), work: self.path("work"), volatile: false };
        Plan {
            version: PLAN_VERSION,
            container: ContainerId::of_bytes(&[7; 32]),
            run_dir: self.run_dir(),
            rootfs: RootfsRecipe::Overlay { lowers: vec![self.path("lower")], upper: Some(upper) },
            rootfs_read_only: false,
            mounts: vec![PlannedMount {
                target: "/data".into(),
                source: MountSource::Bind {
                    path: self.path("volume"),
                    subpath: None,
                    recursive: true,
                },
                read_only: false,
                read_only_top_only: false,
                propagation: "rprivate".to_owned(),
            }],
            process: ProcessPlan {
                args: vec!["sh".into(), "-c".into(), script.into()],
                ..ProcessPlan::default()
            },
            hostname: "c".to_owned(),
            domainname: String::new(),
            cgroup: "/orlop-test/none".to_owned(),
            host_config: HostConfig::default(),
            network: NetworkPlan::None,
            log: LogPlan::Files(LogFiles::json(self.path("c-json.log"))),
            health: None,
            shared: Default::default(),
            runtime: RuntimeChoice::Builtin,
            finish: vec!["/bin/touch".into(), self.path("finished").display().to_string()],
            ends_with_starter: false,
        }
    }

    fn launch(&self, plan: &Plan, attach: bool) -> Result<Launched, StartError> {
        let arguments =
            ["--exact", "act_as_monitor", "--ignored", "--nocapture", "--test-threads=1"];
        let options = LaunchOptions {
            executable: "/proc/self/exe".into(),
            arguments: arguments.iter().map(Into::into).collect(),
            attach,
        };
        launch(plan, &options)
    }

    /// Starts a container that is attached from the beginning.
    fn attached(&self, plan: &Plan) -> (Launched, Client) {
        let mut launched = self.launch(plan, true).unwrap();
        let client = launched.attach.take().unwrap();
        (launched, client)
    }

    fn records(&self) -> Vec<Record> {
        read_after(&self.run_dir(), 0).unwrap().into_iter().map(|(_, record)| record).collect()
    }

    fn log(&self) -> String {
        let reader =
            LogReader::open(&self.path("c-json.log"), LogFormat::JsonFile, ReadOptions::default())
                .unwrap();
        reader.map(|entry| entry.unwrap().text).collect()
    }

    fn wait_dead(&self) {
        wait_until("the monitor ends", || liveness(&self.run_dir()).unwrap() == Liveness::Dead);
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        for record in read_after(&self.run_dir(), 0).unwrap_or_default() {
            if let Record::Started { pid, start_ticks, .. } = record.1
                && let Ok(Some(process)) = PidFd::open_same(pid, start_ticks)
            {
                let _ = process.send_signal(libc::SIGKILL);
            }
        }
        let deadline = Instant::now() + LIMIT;
        while liveness(&self.run_dir()).is_ok_and(|state| state != Liveness::Dead)
            && Instant::now() < deadline
        {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "waited for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Everything that an attached command sees: output, error output, exit code.
fn collect(client: &mut Client) -> (String, String, Option<u8>) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    loop {
        match client.receive().unwrap() {
            Some(Event::Stdout(bytes)) => stdout.extend(bytes),
            Some(Event::Stderr(bytes)) => stderr.extend(bytes),
            Some(Event::Exit(code)) => return (text(stdout), text(stderr), Some(code)),
            None => return (text(stdout), text(stderr), None),
        }
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn exit_record(record: &Record) -> (u8, Option<String>) {
    match record {
        Record::Exited { exit_code, oom_killed: false, error, .. } => (*exit_code, error.clone()),
        other => panic!("not an exit: {other:?}"),
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn a_container_runs_attached_and_writes_where_it_should() {
    let container = Container::new();
    let plan = container.plan(
        "echo out; echo err >&2; echo v > $M0/file; echo u > $ROOTFS/etc/new; printf end; exit 3",
    );
    let (launched, mut client) = container.attached(&plan);
    assert_eq!(collect(&mut client), ("out\nend".into(), "err\n".into(), Some(3)));
    drop(client);
    container.wait_dead();
    let records = container.records();
    let Record::Started { pid, start_ticks, .. } = records[0] else { panic!("{records:?}") };
    assert_eq!(pid, launched.init_pid);
    assert!(start_ticks > 0);
    assert_eq!(exit_record(&records[1]), (3, None));
    assert_eq!(records.len(), 2);
    let mut lines: Vec<String> = container.log().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["end", "err", "out"]);
    assert_eq!(fs::read_to_string(container.path("volume/file")).unwrap(), "v\n");
    assert_eq!(fs::read_to_string(container.path("upper/etc/new")).unwrap(), "u\n");
    assert_eq!(fs::read_to_string(container.path("run/network")).unwrap(), "down");
    assert!(container.path("run/deleted").exists());
    assert!(!container.path("run/attach.sock").exists());
    // Nothing of the stage is visible here.
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(container.run_dir().to_str().unwrap()));
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn a_command_that_takes_over_leaves_nothing_but_the_run_directory_to_the_monitor() {
    let container = Container::new();
    let (launched, mut client) = container.attached(&container.plan("echo x > $M0/file"));
    let monitor = PidFd::open(launched.pid).unwrap();
    assert_eq!(collect(&mut client).2, Some(0));
    client.take_over().unwrap();
    assert!(client.wait_closed(LIMIT).unwrap());
    assert!(monitor.wait_ended(Some(LIMIT)).unwrap());
    assert!(!container.run_dir().exists());
    assert_eq!(fs::read_to_string(container.path("volume/file")).unwrap(), "x\n");
    assert!(!container.path("finished").exists());
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn a_detached_container_goes_on_and_is_finished_by_its_monitor() {
    let container = Container::new();
    let launched = container.launch(&container.plan("exec sleep 60"), false).unwrap();
    assert!(launched.attach.is_none());
    let alive = Liveness::Alive { pid: launched.pid };
    assert_eq!(liveness(&container.run_dir()).unwrap(), alive);
    // What asks a daemon to end does not end a container.
    let monitor = PidFd::open(launched.pid).unwrap();
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT, libc::SIGPIPE] {
        monitor.send_signal(signal).unwrap();
    }
    let init = PidFd::open(launched.init_pid).unwrap();
    // A second start of a running container is refused and hurts nothing.
    let error = container.launch(&container.plan("true"), false).unwrap_err();
    assert_eq!(error.message, "the container is already running");
    assert_eq!(liveness(&container.run_dir()).unwrap(), alive);
    assert!(!init.wait_ended(Some(Duration::ZERO)).unwrap());
    init.send_signal(libc::SIGTERM).unwrap();
    container.wait_dead();
    assert_eq!(exit_record(&container.records()[1]), (128 + 15, None));
    wait_until("finish", || container.path("finished").exists());
    assert_eq!(
        attach::connect(&container.run_dir()).unwrap_err().to_string(),
        "the container is not running"
    );
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn the_process_starts_with_clean_signals_and_files() {
    let container = Container::new();
    let mut plan = container.plan("");
    // Not by a shell, which plays with its own signal mask.
    let args = ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"];
    plan.process.args = args.iter().map(ToString::to_string).collect();
    let (_, mut client) = container.attached(&plan);
    let (stdout, _, _) = collect(&mut client);
    let masks = stdout.lines().map(|line| line.split_once('\t').unwrap().1);
    let masks: Vec<u64> = masks.map(|mask| u64::from_str_radix(mask, 16).unwrap()).collect();
    // The test itself may have inherited ignored signals of the C library's own (32 and 33).
    assert_eq!((masks[0], masks[1] & 0x7fff_ffff), (0, 0), "{stdout}");
    drop(client);
    container.wait_dead();

    let (_, mut client) = container.attached(&container.plan("umask; ls /proc/$$/fd"));
    assert_eq!(collect(&mut client), ("0022\n0\n1\n2\n".to_owned(), String::new(), Some(0)));
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn a_failed_start_is_told_recorded_and_taken_back() {
    let container = Container::new();
    let mut plan = container.plan("");
    plan.process.args = vec!["missing".to_owned()];
    let error = container.launch(&plan, true).unwrap_err();
    let message = "exec: \"missing\": executable file not found in $PATH";
    assert_eq!(error, StartError { exit_code: 127, message: message.to_owned() });
    container.wait_dead();
    let [Record::Failed { exit_code: 127, error, .. }] = &container.records()[..] else {
        panic!("{:?}", container.records());
    };
    assert_eq!(error, message);
    assert_eq!(fs::read_to_string(container.path("run/network")).unwrap(), "down");
    // The next start finds everything as it should be.
    let (_, mut client) = container.attached(&container.plan("exit 0"));
    assert_eq!(collect(&mut client).2, Some(0));
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn a_monitor_that_dies_silently_is_an_error() {
    let container = Container::new();
    let options = LaunchOptions {
        executable: "/bin/sh".into(),
        arguments: vec!["-c".into(), "echo cannot work >&2; exit 1".into()],
        attach: false,
    };
    let error = launch(&container.plan("true"), &options).unwrap_err();
    assert_eq!(error.message, "the monitor ended without an answer: cannot work");
    assert_eq!(error.exit_code, 125);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn input_reaches_the_container_and_ends_once() {
    let container = Container::new();
    let mut plan = container.plan("cat; echo done");
    (plan.process.open_stdin, plan.process.stdin_once) = (true, true);
    let (_, mut client) = container.attached(&plan);
    let big = "line\n".repeat(100_000);
    let mut sender = UnixSender::of(&client);
    let typed = big.clone();
    let typing = std::thread::spawn(move || sender.type_and_end(typed.as_bytes()));
    let (stdout, _, code) = collect(&mut client);
    typing.join().unwrap();
    assert_eq!(code, Some(0));
    assert_eq!(stdout.len(), big.len() + 5);
    assert!(stdout == big + "done\n");
}

/// Types through a second descriptor of a connection, as the test reads at the same time.
struct UnixSender(std::os::unix::net::UnixStream);

impl UnixSender {
    fn of(client: &Client) -> Self {
        Self(client.as_fd().try_clone_to_owned().unwrap().into())
    }

    fn type_and_end(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(60_000) {
            self.send(0, chunk);
        }
        self.send(3, &[]);
    }

    fn send(&mut self, kind: u8, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        self.0.write_all(&[&[kind, 0, 0, 0], &length[..], payload].concat()).unwrap();
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn a_typing_command_that_vanishes_ends_the_input_and_only_that() {
    let container = Container::new();
    let mut plan = container.plan("cat > /dev/null; echo seen; sleep 0.2; echo after");
    (plan.process.open_stdin, plan.process.stdin_once) = (true, true);
    let (_, mut client) = container.attached(&plan);
    client.announce_stdin().unwrap();
    drop(client);
    container.wait_dead();
    assert_eq!(container.log(), "seen\nafter\n");
    wait_until("finish", || container.path("finished").exists());
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn a_terminal_has_a_size_and_an_echo() {
    let container = Container::new();
    let mut plan = container.plan("stty size; read x; stty size; echo got $x");
    (plan.process.tty, plan.process.open_stdin) = (true, true);
    plan.process.console_size = (24, 80);
    let (_, mut client) = container.attached(&plan);
    let mut seen = String::new();
    while !seen.contains("24 80") {
        let Some(Event::Stdout(bytes)) = client.receive().unwrap() else { panic!("{seen}") };
        seen.push_str(&text(bytes));
    }
    client.resize(50, 132).unwrap();
    client.send_stdin(b"abc\n").unwrap();
    let (stdout, _, code) = collect(&mut client);
    assert_eq!((seen + &stdout).as_str(), "24 80\r\nabc\r\n50 132\r\ngot abc\r\n");
    assert_eq!(code, Some(0));
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn a_slow_command_gets_everything_and_a_second_one_too() {
    let container = Container::new();
    // Six megabytes: more than every buffer on the way.
    let script = "read x < $M0/gate; i=0; while [ $i -lt 96 ]; do head -c 65536 /dev/zero | tr '\\0' x; i=$((i+1)); done";
    let made = Command::new("mkfifo").arg(container.path("volume/gate")).status().unwrap();
    assert!(made.success());
    let mut plan = container.plan(script);
    plan.log = LogPlan::None;
    let (launched, mut slow) = container.attached(&plan);
    let mut second = attach::connect(&container.run_dir()).unwrap();
    // Known to be attached when the monitor has answered something: it reads before it writes.
    second.resize(1, 1).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    fs::write(container.path("volume/gate"), "go\n").unwrap();
    let other = std::thread::spawn(move || collect(&mut second));
    // The container has to wait for the slow one.
    std::thread::sleep(Duration::from_millis(300));
    let init = PidFd::open(launched.init_pid).unwrap();
    assert!(!init.wait_ended(Some(Duration::ZERO)).unwrap());
    let (stdout, _, code) = collect(&mut slow);
    assert_eq!((stdout.len(), code), (96 * 65536, Some(0)));
    let (stdout, _, code) = other.join().unwrap();
    assert_eq!((stdout.len(), code), (96 * 65536, Some(0)));
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn the_rest_of_the_output_waits_for_a_slow_command_but_the_end_does_not() {
    let container = Container::new();
    let plan = container.plan("head -c 900000 /dev/zero | tr '\\0' x");
    let (_, mut slow) = container.attached(&plan);
    container.wait_dead();
    assert_eq!(exit_record(&container.records()[1]), (0, None));
    let (stdout, _, code) = collect(&mut slow);
    assert_eq!((stdout.len(), code), (900_000, Some(0)));
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn output_that_something_else_keeps_open_does_not_hold_up_the_end() {
    let container = Container::new();
    let (_, mut client) = container.attached(&container.plan("sleep 30 & echo $!; exit 5"));
    let start = Instant::now();
    let (stdout, _, code) = collect(&mut client);
    assert_eq!(code, Some(5));
    assert!(start.elapsed() < Duration::from_secs(10));
    let sleeper = PidFd::open(stdout.trim().parse().unwrap()).unwrap();
    sleeper.send_signal(libc::SIGKILL).unwrap();
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn a_starter_that_dies_early_leaves_a_finished_or_no_container() {
    let container = Container::new();
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut monitor = Command::new("/proc/self/exe")
        .args(["--exact", "act_as_monitor", "--ignored", "--nocapture", "monitor"])
        .stdin(std::os::fd::OwnedFd::from(theirs))
        .stdout(ProcessStdio::null())
        .stderr(File::create(container.path("log")).unwrap())
        .spawn()
        .unwrap();
    // Dies in the middle of the plan.
    let mut starter = UnixSender(ours);
    starter.send(7, b"{\"attach\":");
    drop(starter);
    assert!(!monitor.wait().unwrap().success());
    let mut log = String::new();
    File::open(container.path("log")).unwrap().read_to_string(&mut log).unwrap();
    assert!(log.contains("the plan is not complete"), "{log}");
    assert_eq!(fs::read_dir(container.run_dir()).unwrap().count(), 0);

    // Dies after the plan, before the answer: the container runs all the same.
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut monitor = Command::new("/proc/self/exe")
        .args(["--exact", "act_as_monitor", "--ignored", "--nocapture", "monitor"])
        .stdin(std::os::fd::OwnedFd::from(theirs))
        .stdout(ProcessStdio::null())
        .spawn()
        .unwrap();
    let plan = serde_json::to_string(&container.plan("echo ran")).unwrap();
    let mut starter = UnixSender(ours);
    starter.send(7, format!("{{\"attach\":true,\"plan\":{plan}}}").as_bytes());
    starter.send(8, &[]);
    drop(starter);
    assert!(monitor.wait().unwrap().success());
    assert_eq!(container.log(), "ran\n");
    wait_until("finish", || container.path("finished").exists());
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn a_command_that_stands_still_is_dropped_when_others_wait() {
    let container = Container::new();
    let script = "read x < $M0/gate; head -c 8000000 /dev/zero | tr '\\0' x";
    let made = Command::new("mkfifo").arg(container.path("volume/gate")).status().unwrap();
    assert!(made.success());
    let mut plan = container.plan(script);
    plan.log = LogPlan::None;
    let (_, mut stuck) = container.attached(&plan);
    let mut other = attach::connect(&container.run_dir()).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    fs::write(container.path("volume/gate"), "go\n").unwrap();
    let start = Instant::now();
    let (stdout, _, code) = collect(&mut other);
    assert_eq!((stdout.len(), code), (8_000_000, Some(0)));
    assert!(start.elapsed() >= Duration::from_secs(9), "{:?}", start.elapsed());
    // What it had been sent arrives; then the connection just ends.
    let (stdout, _, code) = collect(&mut stuck);
    assert!(stdout.len() < 8_000_000);
    assert_eq!(code, None);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn a_killed_monitor_is_seen_at_once_by_everybody() {
    let container = Container::new();
    let (launched, mut client) = container.attached(&container.plan("echo up; exec sleep 60"));
    assert_eq!(client.receive().unwrap(), Some(Event::Stdout(b"up\n".to_vec())));
    let monitor = PidFd::open(launched.pid).unwrap();
    monitor.send_signal(libc::SIGKILL).unwrap();
    assert_eq!(client.receive().unwrap(), None);
    assert!(monitor.wait_ended(Some(LIMIT)).unwrap());
    // Its child does not hold the lock for it, though it was forked after the lock was taken.
    assert_eq!(liveness(&container.run_dir()).unwrap(), Liveness::Dead);
    assert!(matches!(container.records()[..], [Record::Started { .. }]));
    assert!(!PidFd::open(launched.init_pid).unwrap().wait_ended(Some(Duration::ZERO)).unwrap());
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn a_start_that_cannot_be_recorded_is_no_start() {
    let container = Container::new();
    // Records are written under this name first.
    fs::create_dir_all(container.run_dir().join("records/new")).unwrap();
    let script = "echo $$ > /data/pid; exec sleep 300";
    let error = container.launch(&container.plan(script), false).unwrap_err();
    assert!(error.message.contains("records/1.json"), "{error}");
    container.wait_dead();
    assert_eq!(container.records(), []);
    assert_eq!(fs::read_to_string(container.run_dir().join("network")).unwrap(), "down");
    assert!(container.run_dir().join("deleted").exists());
}
