//! `run`, `create`, `start`, `attach`, `exec`: what makes containers run and connects to them.

use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use orlop_types::config::HostConfig;
use orlop_types::reference::ImageReference;

use orlop_engine::{
    CreateRequest, Created, ExecRequest, RunOptions, RunOutcome, StartOptions, Started,
    UnwantedOutputs,
};

use super::pull::pull_for;
use super::{Session, for_each};
use crate::args::{Attach, Create, Exec, Run, Start};
use crate::failure::{Failure, Outcome};
use crate::request::{Attachment, Surroundings, create_request, environment};

/// Exit code of `run` for everything that goes wrong before the container's process exists.
const NOT_RUN: i32 = 125;

/// An engine error with the exit code that `run` has for it.
fn run_failure(error: orlop_engine::Error) -> Failure {
    let code = error.exit_code().map_or(NOT_RUN, i32::from);
    not_run(Failure::from(error).with_code(code))
}

/// A failure of `run` with the exit code that Docker's command line takes from its words.
fn not_run(failure: Failure) -> Failure {
    let says = |words: &[&str]| words.iter().any(|word| failure.why.contains(word));
    let not_found = ["executable file not found", "no such file or directory"];
    let denied = ["permission denied", "is a directory"];
    let code = match failure.code {
        NOT_RUN if says(&["not a directory"]) => NOT_RUN,
        NOT_RUN if says(&not_found) || says(&["No such file or directory"]) => 127,
        NOT_RUN if says(&denied) => 126,
        code => code,
    };
    failure.with_code(code)
}

/// `run`
pub fn run(session: &mut Session<'_, '_>, args: &Run) -> Outcome {
    let flags = &args.create;
    let attachment = if args.detach { Attachment::Detached } else { Attachment::Attached };
    let detach_keys = detach_keys(args.detach_keys.as_deref())?;
    if args.detach && !flags.attach.is_empty() {
        return Err(Failure::new("conflicting options: cannot specify both --attach and --detach"));
    }
    let streams = attached_streams(flags);
    if !args.detach && flags.tty && streams.stdin && !std::io::stdin().is_terminal() {
        return Err(Failure::new("the input device is not a TTY").with_code(1));
    }
    // Without a terminal, signals go to the container, also those that come while it starts.
    let hold = !args.detach && args.sig_proxy && !flags.tty;
    let _held = if hold { Some(orlop_engine::hold_signals()?) } else { None };
    let migration = orlop_engine::expect_migration();
    let created = create_container(session, flags, attachment)?;
    let id = created.id.as_str().to_owned();
    let options = StartOptions {
        attach: !args.detach,
        console_size: terminal_size(flags.tty && !args.detach),
    };
    if args.detach {
        // As Docker does: the container is there, also when it does not start.
        session.streams.line(&id)?;
    }
    let started = session.engine.container_start(&id, options).map_err(run_failure)?;
    drop(migration);
    if args.detach {
        return Ok(0);
    }
    session.streams.out.flush()?;
    let options = RunOptions {
        stdin: streams.stdin,
        detach_keys,
        signal_proxy: args.sig_proxy && !flags.tty,
        unwanted: streams.unwanted,
    };
    follow(session, started, &options).map_err(run_failure)
}

/// `create`
pub fn create(session: &mut Session<'_, '_>, flags: &Create) -> Outcome {
    let created = create_container(session, flags, Attachment::ForLater)?;
    session.streams.line(created.id.as_str())?;
    Ok(0)
}

/// What `run` attaches to.
struct AttachedStreams {
    stdin: bool,
    unwanted: UnwantedOutputs,
}

/// Everything, unless `-a` chooses.
fn attached_streams(flags: &Create) -> AttachedStreams {
    let is_chosen = |name| flags.attach.iter().any(|chosen| chosen.eq_ignore_ascii_case(name));
    let some = !flags.attach.is_empty();
    AttachedStreams {
        stdin: flags.interactive || is_chosen("stdin"),
        unwanted: UnwantedOutputs {
            stdout: some && !is_chosen("stdout"),
            stderr: some && !is_chosen("stderr"),
        },
    }
}

/// Creates the container; pulls its image before that or when it is missing, as `--pull` says.
fn create_with_image(
    session: &mut Session<'_, '_>,
    flags: &Create,
    request: CreateRequest,
    attachment: Attachment,
) -> Result<Created, Failure> {
    let refused = |error: orlop_engine::Error| match attachment {
        Attachment::ForLater => Failure::from(error),
        _ => run_failure(error),
    };
    // Whatever went wrong, nothing ran.
    let not_pulled = |failure: Failure| match attachment {
        Attachment::ForLater => failure,
        _ => failure.with_code(NOT_RUN),
    };
    if flags.pull == "always" {
        pull_for(session, flags).map_err(not_pulled)?;
    }
    // A whole id is no name that could be pulled.
    let name = request.image.parse::<ImageReference>().ok();
    let name = name.map(|name| name.tag_or_latest().familiar());
    let can_pull = matches!(flags.pull.as_str(), "" | "missing");
    match session.engine.container_create(request.clone()) {
        Err(error) if can_pull && name.as_ref().is_some_and(|name| error.lacks_image(name)) => {
            if let Some(name) = name.filter(|_| !flags.quiet) {
                writeln!(session.streams.err, "Unable to find image '{name}' locally")?;
            }
            pull_for(session, flags).map_err(not_pulled)?;
            session.engine.container_create(request).map_err(refused)
        }
        created => created.map_err(refused),
    }
}

/// Creates the container, writes its id to `--cidfile` and tells about warnings.
fn create_container(
    session: &mut Session<'_, '_>,
    flags: &Create,
    attachment: Attachment,
) -> Result<Created, Failure> {
    if let Some(why) = flags.unsupported.refusal() {
        return Err(Failure::new(why));
    }
    let cwd = current_dir()?;
    let mut request = create_request(flags, attachment, &surroundings(&cwd))?;
    crate::proxies::add(&mut request.config.env, crate::proxies::of_user(session)?);
    let id_file = flags.cidfile.as_deref().map(IdFile::create).transpose();
    let id_file = id_file.map_err(|failure| match attachment {
        Attachment::ForLater => failure.with_code(1),
        _ => not_run(failure),
    })?;
    let local_server = loopback_server(&request.host_config);
    let created = create_with_image(session, flags, request, attachment)?;
    if let Some(id_file) = id_file {
        id_file.write(created.id.as_str())?;
    }
    for warning in &created.warnings {
        writeln!(session.streams.err, "WARNING: {warning}")?;
    }
    if let Some(server) = local_server {
        let text = format!("WARNING: Localhost DNS ({server}) may fail in containers.");
        writeln!(session.streams.err, "{text}")?;
    }
    Ok(created)
}

/// A name server that a container would look for in itself.
fn loopback_server(host: &HostConfig) -> Option<IpAddr> {
    let servers = host.dns.iter().flatten().filter_map(|server| server.parse::<IpAddr>().ok());
    servers.into_iter().find(IpAddr::is_loopback)
}

fn current_dir() -> Result<String, Failure> {
    let path = std::env::current_dir()
        .map_err(|error| Failure::new(format!("current directory: {error}")))?;
    path.into_os_string().into_string().map_err(|path| {
        Failure::new(format!("current directory {} is not valid UTF-8", path.to_string_lossy()))
    })
}

fn surroundings(cwd: &str) -> Surroundings<'_> {
    Surroundings { cwd, env: &|name| std::env::var(name).ok(), read: &read_text }
}

fn read_text(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("open {}: {error}", path.display()))
}

/// The file of `--cidfile`: reserved before the container exists, removed if none comes.
struct IdFile {
    path: PathBuf,
    file: Option<File>,
}

impl IdFile {
    fn create(path: &Path) -> Result<Self, Failure> {
        match File::create_new(path) {
            Ok(file) => Ok(Self { path: path.to_owned(), file: Some(file) }),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(Failure::new(format!(
                    "container ID file found, make sure the other container isn't running or delete {}",
                    path.display()
                ))
                .with_code(NOT_RUN))
            }
            Err(error) => Err(Failure::new(format!(
                "failed to create the container ID file: open {}: {error}",
                path.display()
            ))
            .with_code(NOT_RUN)),
        }
    }

    fn write(mut self, id: &str) -> Result<(), Failure> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        file.write_all(id.as_bytes()).map_err(|error| {
            Failure::new(format!(
                "failed to write the container ID to {}: {error}",
                self.path.display()
            ))
            .with_code(NOT_RUN)
        })
    }
}

impl Drop for IdFile {
    fn drop(&mut self) {
        if self.file.is_some()
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::debug!(%error, "an empty container ID file was left behind");
        }
    }
}

/// Rows and columns of this terminal, where the container gets one.
fn terminal_size(tty: bool) -> Option<(u16, u16)> {
    let size = tty.then(|| rustix::termios::tcgetwinsize(std::io::stdout()).ok())??;
    Some((size.ws_row, size.ws_col))
}

fn detach_keys(raw: Option<&str>) -> Result<Vec<u8>, Failure> {
    match raw {
        None | Some("") => Ok(orlop_engine::DETACH_KEYS.to_vec()),
        Some(raw) => orlop_engine::parse_detach_keys(raw)
            .map_err(|error| Failure::from(error).with_code(NOT_RUN)),
    }
}

fn exit_code(outcome: RunOutcome) -> i32 {
    match outcome {
        RunOutcome::Exited(code) => i32::from(code),
        RunOutcome::Detached => 0,
        // As a shell reports a process that a signal has ended.
        RunOutcome::Interrupted(signal) => 128 + signal,
    }
}

/// Follows a started container to its end.
fn follow(
    session: &Session<'_, '_>,
    started: Started,
    options: &RunOptions,
) -> Result<i32, orlop_engine::Error> {
    session.engine.follow(started, options).map(exit_code)
}

/// `start`
pub fn start(session: &mut Session<'_, '_>, args: &Start) -> Outcome {
    let migration = orlop_engine::expect_migration();
    if !args.attach && !args.interactive {
        return for_each(session, "start", &args.names, |session, name| {
            let options = StartOptions { attach: false, console_size: None };
            session.engine.container_start(name, options)?;
            Ok(session.streams.line(name)?)
        });
    }
    let [name] = args.names.as_slice() else {
        return Err(Failure::new("you cannot start and attach multiple containers at once"));
    };
    let detach_keys = detach_keys(args.detach_keys.as_deref())?;
    let tty = has_terminal(session, name)?;
    let options = StartOptions { attach: true, console_size: terminal_size(tty) };
    let started = session.engine.container_start(name, options).map_err(|error| {
        let code = error.exit_code().filter(|code| *code != 125).map_or(1, i32::from);
        Failure::from(error).with_code(code)
    })?;
    drop(migration);
    let options = RunOptions {
        stdin: args.interactive,
        detach_keys,
        signal_proxy: !tty,
        ..RunOptions::default()
    };
    Ok(follow(session, started, &options)?)
}

/// `attach`
pub fn attach(session: &mut Session<'_, '_>, args: &Attach) -> Outcome {
    if !args.no_stdin && !std::io::stdin().is_terminal() {
        let document = session.engine.container_inspect(&args.name)?;
        // What cannot be attached to at all is told first.
        if document["State"]["Status"] == "running" && document["Config"]["Tty"] == true {
            return Err(Failure::new("the input device is not a TTY"));
        }
    }
    let options = RunOptions {
        stdin: !args.no_stdin,
        detach_keys: detach_keys(args.detach_keys.as_deref())?,
        signal_proxy: args.sig_proxy,
        ..RunOptions::default()
    };
    Ok(session.engine.attach(&args.name, &options).map(exit_code)?)
}

/// Whether the container was made with `-t`.
fn has_terminal(session: &Session<'_, '_>, name: &str) -> Result<bool, Failure> {
    let document = session.engine.container_inspect(name)?;
    Ok(document["Config"]["Tty"].as_bool().unwrap_or(false))
}

/// `exec`
pub fn exec(session: &mut Session<'_, '_>, args: Exec) -> Outcome {
    if !args.detach && args.tty && args.interactive && !std::io::stdin().is_terminal() {
        return Err(Failure::new("the input device is not a TTY"));
    }
    let (name, command) = args.container_and_command();
    if command.is_empty() {
        return Err(Failure::new("'orlop exec' requires a command after the container"));
    }
    let name = name.to_owned();
    let request = ExecRequest {
        env: environment(&args.env_file, &args.env, &surroundings(""))?,
        detach_keys: detach_keys(args.detach_keys.as_deref())?,
        args: command.to_vec(),
        cwd: args.workdir,
        user: args.user,
        tty: args.tty,
        interactive: args.interactive,
        detach: args.detach,
        privileged: args.privileged,
    };
    session.streams.out.flush()?;
    session.engine.container_exec(&name, &request).map(i32::from).map_err(|error| {
        let code = error.exit_code().filter(|code| *code != 125 && !request.detach);
        let code = code.map_or(1, i32::from);
        Failure::from(error).with_code(code)
    })
}
