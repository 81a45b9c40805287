//! What the engine starts in the background: `monitor`, `reap`, `container-ended ID`,
//! `exec-run CONTAINER ID`.
//!
//! Such a process is started by the engine itself with the global options written out in full, each
//! followed by its value, then the name of the face. Anything else is the command line's.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use orlop_engine::{Engine, EngineOptions};
use tracing::level_filters::LevelFilter;

use crate::network::KernelNetwork;

/// Exit code of a monitor that could not do its work.
const MONITOR_FAILED: u8 = 125;

/// A background process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Background {
    /// Lives as long as its container.
    Monitor,
    /// Empties the trash.
    Reap(Store),
    /// Draws the consequences of a container's end.
    ContainerEnded(Store, String),
    /// Holds a process that was added to a container: the container's id and the process's.
    ExecRun(Store, String, String),
}

/// The store that a background process works on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Store {
    root: PathBuf,
    run_root: Option<PathBuf>,
    storage_driver: Option<String>,
    global_arguments: Vec<OsString>,
}

impl Background {
    /// Recognises a background process by its arguments, the program's name included.
    pub(crate) fn recognise(arguments: &[OsString]) -> Option<Self> {
        let mut store = Store::default();
        let mut rest = arguments.get(1..)?;
        while let [option, value, after @ ..] = rest {
            match option.to_str()? {
                "--root" => store.root = value.into(),
                "--run-root" => store.run_root = Some(value.into()),
                "--storage-driver" => store.storage_driver = Some(value.to_str()?.to_owned()),
                _ => break,
            }
            store.global_arguments.extend([option.clone(), value.clone()]);
            rest = after;
        }
        let words: Vec<&str> = rest.iter().map(|word| word.to_str()).collect::<Option<_>>()?;
        // Without a root nobody but a person has typed this.
        match words.as_slice() {
            _ if store.root.as_os_str().is_empty() => None,
            ["monitor"] => Some(Self::Monitor),
            ["reap"] => Some(Self::Reap(store)),
            ["container-ended", id] => Some(Self::ContainerEnded(store, (*id).to_owned())),
            ["exec-run", container, id] => {
                Some(Self::ExecRun(store, (*container).to_owned(), (*id).to_owned()))
            }
            _ => None,
        }
    }

    /// Does the work.
    pub(crate) fn run(self) -> ExitCode {
        // The monitor's standard error is `monitor.log` in the run directory.
        orlop_cli::logging::start(LevelFilter::WARN);
        let outcome = match self {
            Self::Monitor => return monitor(),
            Self::Reap(store) => store.open().and_then(|engine| Ok(engine.reap()?)),
            Self::ContainerEnded(store, id) => {
                store.open().and_then(|engine| Ok(engine.container_ended(&id.parse()?)?))
            }
            Self::ExecRun(store, container, id) => store
                .open()
                .and_then(|engine| Ok(engine.exec_run(&container.parse()?, &id.parse()?)?)),
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            // Nobody reads what this process prints; whoever looks next finds the work undone.
            Err(_) => ExitCode::FAILURE,
        }
    }
}

impl Store {
    fn open(self) -> anyhow::Result<Engine> {
        Ok(Engine::open(EngineOptions {
            root: self.root,
            run_root: self.run_root,
            storage_driver: self.storage_driver,
            global_arguments: self.global_arguments,
        })?)
    }
}

fn monitor() -> ExitCode {
    // The starter was told what went wrong, if it still is there.
    match orlop_runtime::monitor::run(orlop_runtime::by_choice, &mut KernelNetwork::default()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(MONITOR_FAILED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recognise(words: &[&str]) -> Option<Background> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        Background::recognise(&words)
    }

    #[test]
    fn background_processes_are_told_from_commands() {
        let monitor = recognise(&["orlop", "--root", "/r", "--run-root", "/s", "monitor"]);
        assert_eq!(monitor, Some(Background::Monitor));
        let reap = recognise(&["orlop", "--root", "/r", "--storage-driver", "vfs", "reap"]);
        assert!(
            matches!(reap, Some(Background::Reap(store)) if store.storage_driver.as_deref() == Some("vfs"))
        );
        let ended = recognise(&["orlop", "--root", "/r", "container-ended", "ab"]);
        assert!(matches!(ended, Some(Background::ContainerEnded(_, id)) if id == "ab"));
        let exec = recognise(&["orlop", "--root", "/r", "exec-run", "c", "e"]);
        assert!(
            matches!(exec, Some(Background::ExecRun(_, container, id)) if (container.as_str(), id.as_str()) == ("c", "e"))
        );
        for command in [
            &["orlop"][..],
            &["orlop", "monitor"],
            &["orlop", "--root", "/r", "run", "monitor"],
            &["orlop", "--root", "/r", "ps"],
        ] {
            assert_eq!(recognise(command), None, "{command:?}");
        }
    }
}
