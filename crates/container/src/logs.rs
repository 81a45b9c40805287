//! Reads what a container has written.

use jiff::Timestamp;
use orlop_meta::ContainerStatus;
use orlop_runtime::log::{LogEntry, LogReader, ReadOptions};
use orlop_types::ParseError;

use crate::{Containers, Error, Result, log_options};

/// Which part of a container's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Waits for more until the container ends.
    pub follow: bool,
    /// Only the last so many lines.
    pub tail: Option<u64>,
    /// Only lines from this time on.
    pub since: Option<Timestamp>,
    /// Only lines up to this time.
    pub until: Option<Timestamp>,
}

impl Containers<'_> {
    /// Hands every line of a container's output to `sink`, oldest first; ends when `sink` fails.
    pub fn logs(
        &self,
        name: &str,
        options: LogOptions,
        sink: &mut dyn FnMut(&LogEntry) -> std::io::Result<()>,
    ) -> Result<()> {
        let container = self.get(name)?;
        let directory = self.store.paths.container(&container.id);
        let Some(file) = log_options::file(&container, &directory) else {
            return Err(Error::Invalid(ParseError::new(
                "configured logging driver does not support reading",
            )));
        };
        if container.state.status == ContainerStatus::Created && !options.follow {
            return Ok(());
        }
        let follow = options.follow.then(|| self.store.paths.container_run(&container.id));
        let reader = LogReader::open(
            &file.path,
            file.format,
            ReadOptions {
                tail: options.tail,
                follow,
                since: options.since,
                until: options.until,
                stdout: true,
                stderr: true,
            },
        )?;
        for entry in reader {
            if let Err(source) = sink(&entry?) {
                return Err(Error::System {
                    operation: "write",
                    subject: "the output".to_owned(),
                    source,
                });
            }
        }
        Ok(())
    }
}
