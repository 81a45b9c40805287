//! What a caller in the foreground needs of a container: its streams, its process, its end.

use orlop_runtime::attach::Client;
use orlop_sys::process::PidFd;
use orlop_types::{ContainerName, ParseError};

use orlop_meta::{ContainerStatus, Durability};

use crate::remove::RunDirectory;
use crate::stop::open_process;
use crate::{Containers, Error, RemoveOptions, Result};

impl Containers<'_> {
    /// Connects to a running container.
    pub fn attach(&self, name: &str) -> Result<Client> {
        let container = self.get(name)?;
        match container.state.status {
            ContainerStatus::Running => {}
            ContainerStatus::Paused => {
                let text = "You cannot attach to a paused container, unpause it first";
                return Err(Error::conflict(text));
            }
            ContainerStatus::Restarting => {
                let text = "You cannot attach to a restarting container, wait until it is running";
                return Err(Error::conflict(text));
            }
            _ => {
                let text = "You cannot attach to a stopped container, start it first";
                return Err(Error::conflict(text));
            }
        }
        let client = self.connect(&container.id)?;
        self.log_event(&container, "attach")?;
        Ok(client)
    }

    /// Notes that a user has left a container that runs on.
    pub fn detached(&self, name: &str) -> Result<()> {
        let container = self.store.read(|query| crate::lookup::find(query, name))?;
        self.log_event(&container, "detach")
    }

    /// Whether a container has a terminal, and whether it reads standard input.
    pub fn streams(&self, name: &str) -> Result<(bool, bool)> {
        let container = self.store.read(|query| crate::lookup::find(query, name))?;
        Ok((container.config.tty, container.config.open_stdin))
    }

    /// The first process, if it runs.
    pub fn process(&self, name: &str) -> Result<Option<PidFd>> {
        let container = self.store.read(|query| crate::lookup::find(query, name))?;
        open_process(&container)
    }

    /// Does, for a caller that has seen the end, what the monitor would otherwise have done: the end
    /// becomes part of the state and an auto-remove container is removed. Returns whether it was.
    ///
    /// Nobody waits for the monitor here: it unmounts, which may take a disk's time, while the caller
    /// is already gone.
    pub fn take_over(&self, name: &str, client: &mut Client) -> Result<bool> {
        let container = match self.get(name) {
            Err(Error::NotFound { .. }) => return Ok(false),
            other => other?,
        };
        if !container.host_config.auto_remove || container.state.status.is_active() {
            return Ok(false);
        }
        let options = RemoveOptions { force: false, volumes: true };
        let removed = self.lock_operation(&container.id).and_then(|_operation| {
            self.remove_with(&container.id, options, RunDirectory::LeaveToMonitor)
        });
        match removed {
            // The monitor's own process may have been faster.
            // Or somebody has started it again.
            Err(Error::NotFound { .. } | Error::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
            Ok(()) => {
                client.take_over()?;
                Ok(true)
            }
        }
    }

    /// Gives a container another name.
    pub fn rename(&self, name: &str, new: &str) -> Result<()> {
        if name.is_empty() || new.is_empty() {
            return Err(Error::Invalid(ParseError::new(
                "Error: Neither old nor new names may be empty",
            )));
        }
        let container = self.get(name)?;
        let new: ContainerName = new.parse().map_err(|_| {
            ParseError::new(format!(
                "Error when allocating new name: Invalid container name (/{new}), \
                 only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
            ))
        })?;
        if container.name == new {
            return Err(Error::Invalid(ParseError::new(
                "Renaming a container with the same name as its current name",
            )));
        }
        self.store.write(Durability::Durable, |query| {
            if let Some(owner) = query.container_by_name(new.as_str())? {
                let taken = Error::NameTaken {
                    name: new.as_str().to_owned(),
                    owner: owner.id.as_str().to_owned(),
                };
                return Err(Error::conflict(format!("Error when allocating new name: {taken}")));
            }
            query.container_set_name(&container.id, &new)?;
            let mut event = crate::settle::container_event(&container, "rename", crate::now_ns());
            event.attributes.insert("oldName".to_owned(), format!("/{}", container.name));
            event.attributes.insert("name".to_owned(), new.as_str().to_owned());
            Ok(query.event_insert(&event)?)
        })?;
        self.refresh_names(&container.id)
    }
}
