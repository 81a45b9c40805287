//! Waiting for the end of containers, by any process, however the end comes.

use std::time::Duration;

use orlop_meta::ContainerRecord;
use orlop_types::{ContainerId, ParseError};

use crate::stop::{open_process, wait_process};
use crate::{Containers, Error, Result};

/// Pause between two looks at a container without a process.
const POLL: Duration = Duration::from_millis(10);

/// What is waited for: Docker's conditions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// That it does not run; one that has ended already answers at once.
    #[default]
    NotRunning,
    /// Its next end, also of a run that has not begun yet.
    NextExit,
    /// That it is removed.
    Removed,
}

impl std::str::FromStr for WaitCondition {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "" | "not-running" => Ok(Self::NotRunning),
            "next-exit" => Ok(Self::NextExit),
            "removed" => Ok(Self::Removed),
            _ => Err(ParseError::new(format!("invalid condition: \"{text}\""))),
        }
    }
}

impl Containers<'_> {
    /// Waits; the exit code of the run that has ended. The end of a run that its restart policy
    /// repeats is an end.
    pub fn wait(&self, name: &str, condition: WaitCondition) -> Result<i64> {
        let first = self.get(name)?;
        let id = first.id.clone();
        if condition == WaitCondition::NotRunning && !first.state.status.is_active() {
            return Ok(first.state.exit_code);
        }
        let mut present = first.clone();
        loop {
            let has_ended = present.state.finished_at != first.state.finished_at;
            let is_over =
                condition == WaitCondition::NotRunning && !present.state.status.is_active();
            if has_ended && condition != WaitCondition::Removed || is_over {
                return Ok(present.state.last_exit_code);
            }
            self.wait_for_change(&present)?;
            match self.get(id.as_str()) {
                Ok(container) => present = container,
                // What has removed it has seen its end; the code may be known from before.
                Err(Error::NotFound { .. }) => return Ok(self.last_code(&id, &present)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until the first process ends, or a moment where there is none.
    fn wait_for_change(&self, container: &ContainerRecord) -> Result<()> {
        match open_process(container)? {
            Some(process) => wait_process(&process, None).map(drop),
            None => {
                std::thread::sleep(POLL);
                Ok(())
            }
        }
    }

    /// The exit code of a container that is gone: its last event tells, where nobody saw the state.
    fn last_code(&self, id: &ContainerId, seen: &ContainerRecord) -> i64 {
        let events = self.store.read(|query| query.events(orlop_meta::EventFilter::default()));
        let told = events.ok().and_then(|events| {
            let last = events.iter().rev().find(|event| {
                event.kind == "container" && event.action == "die" && event.actor == id.as_str()
            })?;
            last.attributes.get("exitCode")?.parse().ok()
        });
        told.unwrap_or(seen.state.last_exit_code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_dockers() {
        assert_eq!("".parse(), Ok(WaitCondition::NotRunning));
        assert_eq!("next-exit".parse(), Ok(WaitCondition::NextExit));
        assert_eq!("removed".parse(), Ok(WaitCondition::Removed));
        let error = "x".parse::<WaitCondition>().expect_err("not a condition");
        assert_eq!(error.to_string(), "invalid condition: \"x\"");
    }
}
