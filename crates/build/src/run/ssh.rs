//! SSH mounts: a socket of the step's own that leads to an agent.
//!
//! An agent serves only processes of its own user, so connections are made by the builder and passed
//! on byte by byte. Keys are given to an agent that runs as long as the build (`ssh-agent` of OpenSSH
//! with a command that ends when the builder does, however that comes).

use std::collections::BTreeMap;
use std::io::{self, BufRead as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use orlop_container::{BuildStep, StepInputs, StepMount, StepSource};
use orlop_sys::process::wait_readable;
use orlop_types::ErrorKind;

use super::RunBuild;
use crate::request::SshSource;
use crate::step::{RunMountKind, RunStep};
use crate::{Error, Result};

/// The variable that leads programs to the socket.
const VARIABLE: &str = "SSH_AUTH_SOCK";
/// How long a listener sleeps before it looks whether its step has ended.
const LOOK: Duration = Duration::from_millis(100);
/// Connections of one step at the same time.
const CONNECTIONS_MAX: usize = 64;
/// How long an agent may take to listen.
const AGENT_LIMIT: Duration = Duration::from_secs(10);

/// Agents that were started for a build's keys, by id.
#[derive(Default)]
pub(super) struct Agents(Mutex<BTreeMap<String, Agent>>);

/// A running `ssh-agent`. Dropping it ends it.
struct Agent {
    directory: PathBuf,
    socket: PathBuf,
    /// `ssh-agent … cat`: ends with its standard input, which nobody but this process holds. The agent
    /// notices that some seconds later.
    command: Child,
    /// The agent itself, which its end here does not make wait.
    pid: Option<rustix::process::Pid>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Its number is its own as long as the command lives, which it watches.
        if let Some(Err(error)) =
            self.pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::TERM))
        {
            tracing::debug!(%error, "the ssh agent has ended before");
        }
        drop(self.command.stdin.take());
        if let Err(error) = self.command.wait() {
            tracing::debug!(%error, "the ssh agent cannot be waited for");
        }
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            tracing::debug!(%error, "the ssh agent's directory is left");
        }
    }
}

/// Sockets of one step; dropping it closes them.
pub(super) struct Forwards(Vec<(Arc<AtomicBool>, JoinHandle<()>)>);

impl Drop for Forwards {
    fn drop(&mut self) {
        for (ended, _) in &self.0 {
            ended.store(true, Ordering::Relaxed);
        }
        for (_, thread) in self.0.drain(..) {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

impl Agents {
    /// Makes the sockets of a step's SSH mounts.
    pub(super) fn forward(
        &self,
        build: &RunBuild<'_>,
        step: &RunStep,
        container: &BuildStep<'_>,
        inputs: &mut StepInputs,
    ) -> Result<Forwards> {
        let mut forwards = Forwards(Vec::new());
        let mut number = 0;
        for mount in &step.mounts {
            let RunMountKind::Ssh { id, required, mode, uid, gid } = &mount.kind else { continue };
            let index = number;
            number += 1;
            let Some(source) = build.ssh.get(id) else {
                if *required {
                    return Err(missing(id, build.ssh.is_empty()));
                }
                continue;
            };
            let agent = match source {
                SshSource::Agent(path) => path.clone(),
                SshSource::Keys(keys) => self.socket(build, id, keys)?,
            };
            let path = container.directory().join(format!("ssh{index}.sock"));
            let listen = || -> io::Result<UnixListener> {
                let listener = orlop_sys::pty::bind_unix(&path)?;
                let owner = (rustix::fs::Uid::from_raw(*uid), rustix::fs::Gid::from_raw(*gid));
                rustix::fs::chown(&path, Some(owner.0), Some(owner.1))?;
                let mode = rustix::fs::Mode::from_raw_mode(mode & 0o7777);
                rustix::fs::chmod(&path, mode)?;
                listener.set_nonblocking(true)?;
                Ok(listener)
            };
            let listener = listen().map_err(failed("make the socket", &path))?;
            let ended = Arc::new(AtomicBool::new(false));
            let flag = Arc::clone(&ended);
            let thread = std::thread::spawn(move || serve(&listener, &agent, &flag));
            forwards.0.push((ended, thread));
            let target = match mount.target.as_str() {
                "" => format!("/run/buildkit/ssh_agent.{index}"),
                target => target.to_owned(),
            };
            let is_set = |entry: &String| entry.starts_with("SSH_AUTH_SOCK=");
            if !step.env.iter().chain(&inputs.secret_env).any(is_set) {
                inputs.secret_env.push(format!("{VARIABLE}={target}"));
            }
            let source = StepSource::Host(path);
            inputs.mounts.push(StepMount { target, source, read_only: false });
        }
        Ok(forwards)
    }

    /// The socket of the agent that has these keys; it is started by the first step that needs it.
    fn socket(&self, build: &RunBuild<'_>, id: &str, keys: &[PathBuf]) -> Result<PathBuf> {
        let mut agents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = agents.get(id) {
            return Ok(agent.socket.clone());
        }
        let agent = Agent::start(&build.store.paths.run_root, keys)?;
        let socket = agent.socket.clone();
        agents.insert(id.to_owned(), agent);
        Ok(socket)
    }
}

/// Nobody has given what a step cannot do without.
fn missing(id: &str, nothing_at_all: bool) -> Error {
    let message = if nothing_at_all {
        format!("no SSH key {id:?} forwarded from the client")
    } else {
        format!("unset ssh forward key {id}")
    };
    Error::failed(ErrorKind::NotFound, message)
}

impl Agent {
    fn start(run_root: &Path, keys: &[PathBuf]) -> Result<Self> {
        let name = format!("ssh-{:016x}", rand::random::<u64>());
        let directory = run_root.join("build-ssh").join(name);
        std::fs::create_dir_all(&directory).map_err(failed("make the directory", &directory))?;
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::chmod(&directory, mode)
            .map_err(|error| failed("change the mode of", &directory)(error.into()))?;
        let spawn = Command::new("ssh-agent")
            // A short name, whatever the directory's is.
            .args(["-a", "agent", "/bin/sh", "-c", "echo $SSH_AGENT_PID; exec cat"])
            .current_dir(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut command = spawn.map_err(|error| {
            let message = format!(
                "cannot start `ssh-agent` for the keys of --ssh: {error}; install OpenSSH's client programs"
            );
            Error::failed(ErrorKind::of_io(&error), message)
        })?;
        let socket = directory.join("agent");
        let mut line = String::new();
        if let Some(output) = command.stdout.take() {
            // Without the number the agent ends by itself, only later.
            let _ = io::BufReader::new(output).read_line(&mut line);
        }
        let pid = line.trim().parse().ok().and_then(rustix::process::Pid::from_raw);
        let agent = Self { directory, socket, command, pid };
        let deadline = std::time::Instant::now() + AGENT_LIMIT;
        while orlop_sys::pty::connect_unix(&agent.socket).is_err() {
            if std::time::Instant::now() > deadline {
                let message = "`ssh-agent` does not listen";
                return Err(Error::failed(ErrorKind::Unavailable, message));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        keys.iter().try_for_each(|key| agent.add(key))?;
        Ok(agent)
    }

    /// Gives the agent one key. One with a passphrase is refused, since nobody is asked for it.
    fn add(&self, key: &Path) -> Result<()> {
        let absolute = std::path::absolute(key).map_err(failed("find", key))?;
        let output = Command::new("ssh-add")
            .arg("-q")
            .arg("--")
            .arg(absolute)
            .current_dir(&self.directory)
            .env(VARIABLE, "agent")
            .env("SSH_ASKPASS_REQUIRE", "force")
            .env("SSH_ASKPASS", "/bin/false")
            .stdin(Stdio::null())
            .output()
            .map_err(failed("run `ssh-add` for", key))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().last().unwrap_or("it has a passphrase").trim();
        Err(Error::invalid(format!("failed to parse {}: {said}", key.display())))
    }
}

/// Accepts connections until the step has ended.
fn serve(listener: &UnixListener, agent: &Path, ended: &AtomicBool) {
    use std::os::fd::AsFd as _;
    let open = Places::default();
    while !ended.load(Ordering::Relaxed) {
        match wait_readable(listener.as_fd(), Some(LOOK)) {
            Ok(true) => {}
            Ok(false) => continue,
            Err(error) => return tracing::debug!(%error, "an ssh socket fails"),
        }
        let Ok((client, _)) = listener.accept() else { continue };
        let Some(place) = open.take(CONNECTIONS_MAX) else { continue };
        let agent = agent.to_owned();
        std::thread::spawn(move || {
            let _place = place;
            if let Err(error) = connect(&client, &agent) {
                tracing::debug!(%error, "an ssh connection fails");
            }
        });
    }
}

/// Passes bytes on both ways until one side closes.
fn connect(client: &UnixStream, agent: &Path) -> io::Result<()> {
    client.set_nonblocking(false)?;
    let agent = orlop_sys::pty::connect_unix(agent)?;
    let copy = |mut from: &UnixStream, mut to: &UnixStream| {
        let copied = io::copy(&mut from, &mut to);
        // The other direction ends, too.
        let _ = to.shutdown(std::net::Shutdown::Write);
        copied
    };
    std::thread::scope(|scope| {
        scope.spawn(|| copy(&agent, client));
        copy(client, &agent)
    })?;
    Ok(())
}

/// Places for connections.
#[derive(Clone, Default)]
struct Places(Arc<()>);

impl Places {
    /// A place, unless so many are taken.
    fn take(&self, limit: usize) -> Option<Arc<()>> {
        (Arc::strong_count(&self.0) <= limit).then(|| Arc::clone(&self.0))
    }
}

fn failed<'p>(operation: &'static str, path: &'p Path) -> impl Fn(io::Error) -> Error + 'p {
    move |error| {
        let message = format!("cannot {operation} `{}`: {error}", path.display());
        Error::failed(ErrorKind::of_io(&error), message)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What `ssh-add -l` says of the keys behind a socket.
    fn list(socket: &Path) -> String {
        let mut command = Command::new("ssh-add");
        let output = command.arg("-l").env(VARIABLE, socket).output().unwrap();
        format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    }

    fn make_key(path: &Path, passphrase: &str) {
        let words = ["-q", "-t", "ed25519", "-C", "of-this-build", "-N", passphrase, "-f"];
        assert!(Command::new("ssh-keygen").args(words).arg(path).status().unwrap().success());
    }

    #[test]
    fn keys_are_served_through_a_socket_of_the_step_as_long_as_the_build() {
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("key");
        make_key(&key, "");
        let agent = Agent::start(directory.path(), std::slice::from_ref(&key)).unwrap();
        let socket = directory.path().join("step.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let (flag, to) = (Arc::clone(&ended), agent.socket.clone());
        let thread = std::thread::spawn(move || serve(&listener, &to, &flag));
        let forwards = Forwards(vec![(ended, thread)]);
        for _ in 0..3 {
            assert!(list(&socket).contains("of-this-build"), "{}", list(&socket));
        }
        drop(forwards);
        assert!(list(&socket).contains("Error connecting to agent"), "{}", list(&socket));
        let pids = [agent.command.id().cast_signed(), agent.pid.unwrap().as_raw_nonzero().get()];
        let home = agent.directory.clone();
        drop(agent);
        orlop_testkit::wait_until("the agent's end", Duration::from_secs(5), || {
            // Whoever adopts it may take its time to collect it.
            let lives = |pid: &&i32| {
                let status = std::fs::read_to_string(format!("/proc/{pid}/stat"));
                status.is_ok_and(|text| !text.contains(") Z "))
            };
            let left: Vec<&i32> = pids.iter().filter(lives).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        });
        assert!(!home.exists());
    }

    #[test]
    fn keys_that_cannot_be_used_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let locked = directory.path().join("locked");
        make_key(&locked, "a passphrase");
        let missing = directory.path().join("missing");
        for key in [locked, missing] {
            let error = Agent::start(directory.path(), std::slice::from_ref(&key)).err().unwrap();
            let text = format!("failed to parse {}: ", key.display());
            assert!(error.to_string().starts_with(&text), "{error}");
        }
        let left = std::fs::read_dir(directory.path().join("build-ssh")).unwrap().count();
        assert_eq!(left, 0);
        assert_eq!(missing_text(true), "no SSH key \"default\" forwarded from the client",);
        assert_eq!(missing_text(false), "unset ssh forward key default");
    }

    fn missing_text(nothing_at_all: bool) -> String {
        super::missing("default", nothing_at_all).to_string()
    }
}
