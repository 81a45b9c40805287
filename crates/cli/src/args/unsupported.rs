//! Flags of Docker's `run` that cannot do anything here: those for Windows, and the API's socket.
//!
//! They are parsed (so that their values are not taken for the image) but hidden from the help.

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

/// Flags that only a daemon on Windows has.
const WINDOWS: [&str; 4] = ["cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops"];
/// Wants the socket of a daemon.
const API_SOCKET: &str = "use-api-socket";

/// The first flag of the lists above that was given.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unsupported {
    given: Option<&'static str>,
}

impl Unsupported {
    /// Why the command cannot be carried out.
    #[must_use]
    pub fn refusal(self) -> Option<String> {
        let flag = self.given?;
        Some(if flag == API_SOCKET {
            format!("--{flag} needs the socket of a daemon, which containers here do not have")
        } else {
            format!(
                "\"--{flag}\" is only supported on a Docker daemon running on windows, but the Docker daemon is running \
                 on linux"
            )
        })
    }
}

impl Args for Unsupported {
    fn augment_args(command: Command) -> Command {
        let values = WINDOWS.iter().map(|&name| {
            Arg::new(name).long(name).num_args(1).hide(true).action(ArgAction::Append)
        });
        let socket = Arg::new(API_SOCKET).long(API_SOCKET).action(ArgAction::SetTrue).hide(true);
        command.args(values).arg(socket)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Unsupported {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |name: &&str| matches.value_source(name) == Some(ValueSource::CommandLine);
        Ok(Self { given: WINDOWS.into_iter().chain([API_SOCKET]).find(given) })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
