//! Following a container in the foreground: `run`, `start -a`, `attach`.

use std::os::fd::AsFd as _;

use orlop_runtime::attach::{Client, Outcome, ProxyOptions};

use crate::{Engine, Error, Result, Started, WaitCondition};

/// How the caller takes part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// Whether the caller's standard input goes to the container.
    pub stdin: bool,
    /// Keys that leave a terminal; empty for none.
    pub detach_keys: Vec<u8>,
    /// Whether signals that the caller gets go to the container.
    pub signal_proxy: bool,
    /// Outputs of the container that the caller does not take.
    pub unwanted: UnwantedOutputs,
}

/// Outputs that go nowhere, because the user attached to the others only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnwantedOutputs {
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

/// How following a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// Its first process has ended with this exit code.
    Exited(u8),
    /// The user left; the container runs on.
    Detached,
    /// The caller itself was asked to end by this signal.
    Interrupted(i32),
}

impl Engine {
    /// Follows a container that was started with `attach` until it ends or the user leaves; removes
    /// one that removes itself.
    pub fn follow(&self, started: Started, options: &RunOptions) -> Result<RunOutcome> {
        let Some(client) = started.attached else {
            return Err(Error::Invalid(orlop_types::ParseError::new(
                "the container was started without attaching",
            )));
        };
        self.proxy(started.id.as_str(), client, options)
    }

    /// Connects to a running container and follows it.
    pub fn attach(&self, name: &str, options: &RunOptions) -> Result<RunOutcome> {
        // By its id from here on: at its end the name may be another container's.
        let id = self.containers().id(name)?;
        let client = self.containers().attach(id.as_str())?;
        self.proxy(id.as_str(), client, options)
    }

    fn proxy(&self, name: &str, mut client: Client, options: &RunOptions) -> Result<RunOutcome> {
        let containers = self.containers();
        let (tty, open_stdin) = containers.streams(name)?;
        let signal_target =
            if options.signal_proxy && !tty { containers.process(name)? } else { None };
        let stdin = (options.stdin && open_stdin).then(rustix::stdio::stdin);
        let proxy_options =
            ProxyOptions { tty, detach_keys: options.detach_keys.clone(), signal_target };
        let nowhere = std::fs::File::options().write(true).open("/dev/null").map_err(|source| {
            Error::System { operation: "open", subject: "/dev/null".to_owned(), source }
        })?;
        let outcome = client.proxy(
            stdin,
            if options.unwanted.stdout { nowhere.as_fd() } else { rustix::stdio::stdout() },
            if options.unwanted.stderr { nowhere.as_fd() } else { rustix::stdio::stderr() },
            &proxy_options,
        )?;
        match outcome {
            Outcome::Exit(code) => {
                if containers.take_over(name, &mut client)? {
                    self.reap_in_background();
                }
                Ok(RunOutcome::Exited(code))
            }
            Outcome::Detached => {
                containers.detached(name)?;
                Ok(RunOutcome::Detached)
            }
            Outcome::Interrupted(signal) => Ok(RunOutcome::Interrupted(signal)),
            Outcome::Lost => {
                // The monitor is gone: looking at the container settles what became of it.
                let code = containers.wait(name, WaitCondition::NotRunning)?;
                Ok(RunOutcome::Exited(u8::try_from(code).unwrap_or(u8::MAX)))
            }
        }
    }
}
