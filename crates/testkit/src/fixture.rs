//! One machine for one test: a store, a run directory, a network namespace.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::LinkNameSpaceType;

use crate::corpus::Player;
use crate::differential::{Rules, Stage};
use crate::process::{Output, run};
use crate::wait::wait_until;
use crate::{evidence, note};

/// Time that any one command may take. Importing an example image on a busy disk is the longest.
/// How long a container may take to come into a state.
const STATE_LIMIT: Duration = Duration::from_secs(60);
const COMMAND_LIMIT: Duration = Duration::from_secs(180);

/// Time that monitors and reapers have to end when the last container is gone.
const SETTLE: Duration = Duration::from_secs(15);

static COUNT: AtomicU32 = AtomicU32::new(0);

/// The network namespace that the first test of this process came from.
static HOST_NETWORK: OnceLock<std::fs::File> = OnceLock::new();

/// A store of its own with the binary under test; see the crate's documentation.
#[derive(Debug)]
pub struct Fixture {
    binary: PathBuf,
    folder: PathBuf,
    /// Global options before every command.
    options: Vec<String>,
}

impl Fixture {
    /// Makes an empty store and moves the calling thread, and so all its children, into a new
    /// network namespace.
    ///
    /// # Panics
    /// When this machine does not let it: a root test that cannot run fails.
    #[track_caller]
    #[must_use]
    pub fn new(binary: &str) -> Self {
        enter_own_network();
        Self::in_this_network(binary)
    }

    /// Makes another store in the network namespace that the thread is in already.
    #[track_caller]
    #[must_use]
    pub fn in_this_network(binary: &str) -> Self {
        let base = std::env::var_os("ORLOP_TEST_DIR")
            .map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = base.join(format!("orlop-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder)
            .unwrap_or_else(|error| panic!("create {}: {error}", folder.display()));
        Self { binary: PathBuf::from(binary), folder, options: Vec::new() }
    }

    /// Puts a global option before every command from now on.
    pub fn add_option(&mut self, words: &[&str]) {
        self.options.extend(words.iter().map(|word| (*word).to_owned()));
    }

    /// The directory that everything of this fixture is below; tests may write there, too.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The store's root directory.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// The directory of the run state.
    #[must_use]
    pub fn run_root(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// Makes a directory for the test's own files.
    #[track_caller]
    #[must_use]
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.folder.join("files").join(name);
        std::fs::create_dir_all(&path)
            .unwrap_or_else(|error| panic!("create {}: {error}", path.display()));
        path
    }

    /// A command of ours on this store, ready to start.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--root").arg(self.root()).arg("--run-root").arg(self.run_root());
        command.args(&self.options).args(words);
        command.env_remove("ORLOP_ROOT").env_remove("ORLOP_LOG");
        command
    }

    /// Runs a command of ours to its end.
    #[track_caller]
    #[must_use]
    pub fn orlop(&self, words: &[&str]) -> Output {
        self.orlop_with_input(words, b"")
    }

    /// Runs a command of ours with `input` as its standard input.
    #[track_caller]
    #[must_use]
    pub fn orlop_with_input(&self, words: &[&str], input: &[u8]) -> Output {
        run(&mut self.command(words), input, COMMAND_LIMIT)
    }

    /// Runs a command that must succeed; gives its output without the last line break.
    #[track_caller]
    pub fn ok(&self, words: &[&str]) -> String {
        self.orlop(words).ok().to_owned()
    }

    /// Runs a command that must fail with `code` and say why in one line; gives that line.
    #[track_caller]
    pub fn fails(&self, code: i32, words: &[&str]) -> String {
        self.orlop(words).fails(code).to_owned()
    }

    /// What a template says of a container.
    #[track_caller]
    pub fn inspect(&self, name: &str, template: &str) -> String {
        self.ok(&["inspect", "-f", template, name])
    }

    /// Waits until a template says this of a container.
    #[track_caller]
    pub fn wait_for(&self, name: &str, template: &str, expected: &str) {
        wait_until(&format!("{template} to be {expected}"), STATE_LIMIT, || {
            let seen = self.inspect(name, template);
            if seen == expected { Ok(()) } else { Err(seen) }
        });
    }

    /// The events so far that pass the filters, a line each.
    #[track_caller]
    pub fn events(&self, filters: &[&str], template: &str) -> String {
        let words = ["events", "--since", "1h", "--until", "0s", "--format", template];
        let filters: Vec<&str> = filters.iter().flat_map(|filter| ["--filter", *filter]).collect();
        self.ok(&[&words[..], &filters[..]].concat())
    }

    /// Path of the tar that [`Fixture::busybox`] imports.
    #[track_caller]
    pub fn busybox_tar(&self) -> String {
        self.example("busybox.sh", &[])
    }

    /// Imports the busybox image of `examples/` as `busybox:latest`; gives its id.
    #[track_caller]
    pub fn busybox(&self) -> String {
        let tar = self.busybox_tar();
        self.ok(&["import", "--change", "CMD [\"sh\"]", &tar, "busybox:latest"])
    }

    /// A stage of the differential suite: this store with the image `busybox` in it.
    #[track_caller]
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.busybox();
        let words = self.docker_words();
        let rules = Rules::default().place(&self.root(), "<root>").place(&self.run_root(), "<run>");
        Stage::new(&self.folder.join("stage"), &words, &self.busybox_tar(), rules)
    }

    /// A player of the corpus of builds: this store with the image `busybox` in it.
    ///
    /// # Errors
    /// When its folder cannot be made.
    #[track_caller]
    pub fn player(&self) -> Result<Player, String> {
        self.busybox();
        let words = self.docker_words();
        Player::new(
            &self.folder.join("builds"),
            &words,
            &["--progress plain"],
            &[],
            &self.busybox_tar(),
        )
    }

    /// Our command under Docker's name, as somebody calls it who has made a link.
    #[track_caller]
    fn docker_words(&self) -> Vec<String> {
        let link = self.folder.join("as/docker");
        std::fs::create_dir_all(self.folder.join("as"))
            .and_then(|()| std::os::unix::fs::symlink(&self.binary, &link))
            .unwrap_or_else(|error| panic!("link {}: {error}", link.display()));
        let command = self.command(&[]);
        let options = command.get_args().map(|word| word.to_string_lossy().into_owned());
        std::iter::once(link.display().to_string()).chain(options).collect()
    }

    /// Removes every image.
    #[track_caller]
    pub fn remove_images(&self) {
        let ids = self.ok(&["images", "--quiet", "--no-trunc"]);
        let mut ids: Vec<&str> = ids.lines().collect();
        ids.sort_unstable();
        ids.dedup();
        if !ids.is_empty() {
            self.ok(&[&["rmi", "--force"], ids.as_slice()].concat());
        }
    }

    /// Imports an image of `examples/` (`postgres`, `mariadb`, `nginx`) under a reference.
    #[track_caller]
    pub fn import_example(&self, name: &str, reference: &str, extra_changes: &[&str]) -> String {
        let tar = self.example("base.sh", &[name]);
        let changes_file = examples().join(name).join("changes");
        let text = std::fs::read_to_string(&changes_file)
            .unwrap_or_else(|error| panic!("read {}: {error}", changes_file.display()));
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut words = vec!["import"];
        for change in lines.chain(extra_changes.iter().copied()) {
            words.extend(["--change", change]);
        }
        words.extend([tar.as_str(), reference]);
        self.ok(&words)
    }

    /// Runs a script of `examples/`, which prints the path of a tar.
    #[track_caller]
    fn example(&self, script: &str, words: &[&str]) -> String {
        let mut command = Command::new("bash");
        command.arg(examples().join(script)).args(words);
        let limit = Duration::from_secs(280);
        // Packages come over the host's network, which this thread has left.
        let output = std::thread::scope(|scope| {
            let work = scope.spawn(|| {
                if let Some(host) = HOST_NETWORK.get() {
                    rustix::thread::move_into_link_name_space(
                        host.as_fd(),
                        Some(LinkNameSpaceType::Network),
                    )
                    .expect("root may go back to where it came from");
                }
                run(&mut command, b"", limit)
            });
            work.join().unwrap_or_else(|_| panic!("examples/{script} failed"))
        });
        output.ok().lines().last().unwrap_or_default().to_owned()
    }

    /// Asserts that nothing of this store is mounted in the host's namespace.
    #[track_caller]
    pub fn assert_nothing_mounted(&self) {
        assert_eq!(evidence::host_mounts(&self.folder), Vec::<String>::new());
    }

    /// Processes of this store that run now, with their command lines.
    #[must_use]
    pub fn processes(&self) -> Vec<(i32, String)> {
        evidence::processes(&self.folder, &evidence::containers(&self.folder))
    }

    /// Kills a process at once, as a crash would.
    #[track_caller]
    pub fn kill_now(&self, pid: i32) {
        let pid = rustix::process::Pid::from_raw(pid).expect("a process id is positive");
        // It may just have ended by itself.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }

    /// Takes everything down; gives what should not have been there.
    fn tear_down(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let containers = evidence::containers(&self.folder);
        if self.root().exists() {
            wrong.extend(self.remove_containers());
        }
        let end = Instant::now() + SETTLE;
        let mut left = evidence::processes(&self.folder, &containers);
        while !left.is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
            left = evidence::processes(&self.folder, &containers);
        }
        for (pid, words) in left {
            wrong.push(format!("process {pid} is left: {words}"));
            self.kill_now(pid);
        }
        for line in evidence::host_mounts(&self.folder) {
            wrong.push(format!("mounted in the host's namespace: {line}"));
            if let Some(target) = line.split(' ').nth(4) {
                let _ = Command::new("umount").args(["-l", target]).status();
            }
        }
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            wrong.push(format!("remove {}: {error}", self.folder.display()));
        }
        wrong
    }

    fn remove_containers(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut checked = |words: &[&str]| {
            let limit = Duration::from_secs(90);
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                run(&mut self.command(words), b"", limit)
            }));
            match result {
                Ok(output) if output.code == 0 => output.stdout,
                Ok(output) => {
                    wrong.push(output.to_string());
                    String::new()
                }
                Err(_) => {
                    wrong.push(format!("`{}` did not end", words.join(" ")));
                    String::new()
                }
            }
        };
        let ids = checked(&["ps", "--all", "--quiet", "--no-trunc"]);
        let ids: Vec<&str> = ids.split_whitespace().collect();
        if !ids.is_empty() {
            checked(&[&["rm", "--force", "--volumes"], ids.as_slice()].concat());
        }
        checked(&["system", "check"]);
        // Gives back what an idle store keeps in the kernel: control groups are the machine's.
        checked(&["system", "check", "--repair"]);
        wrong
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let failing = std::thread::panicking();
        if failing {
            evidence::show_monitor_logs(&self.folder);
        }
        let wrong = self.tear_down();
        for line in &wrong {
            note(line);
        }
        assert!(failing || wrong.is_empty(), "the test left things behind: {wrong:#?}");
    }
}

/// The folder with the example images, from wherever a test of the workspace runs.
fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

#[track_caller]
fn enter_own_network() {
    HOST_NETWORK.get_or_init(|| {
        std::fs::File::open("/proc/thread-self/ns/net")
            .expect("procfs is mounted and names our namespace")
    });
    // Deprecated because UNSHARE_FILES would be unsound; a network namespace is a property of the
    // thread, and every process started from it inherits it.
    #[allow(deprecated)]
    rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET).unwrap_or_else(|error| {
        panic!("this test needs root (CAP_SYS_ADMIN): unshare the network: {error}")
    });
    let output =
        run(Command::new("ip").args(["link", "set", "lo", "up"]), b"", Duration::from_secs(10));
    output.ok();
}
