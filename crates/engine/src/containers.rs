//! Operations on containers.

use orlop_runtime::attach::Client;
use orlop_types::ContainerId;
use serde_json::Value;

use crate::{
    BootStart, ContainerQuery, ContainerStats, ContainerSummary, CreateRequest, Created, Engine,
    ExecId, ExecRequest, ExecStart, LogEntry, LogOptions, ProcessList, RemoveOptions, Result,
    StartOptions, Started, StopOptions, UpdateRequest, WaitCondition,
};

impl Engine {
    /// Creates a container.
    pub fn container_create(&self, request: CreateRequest) -> Result<Created> {
        Ok(self.containers().create(request)?)
    }

    /// Starts a container.
    pub fn container_start(&self, name: &str, options: StartOptions) -> Result<Started> {
        Ok(self.containers().start(name, options)?)
    }

    /// Stops a container.
    pub fn container_stop(&self, name: &str, options: &StopOptions) -> Result<()> {
        Ok(self.containers().stop(name, options)?)
    }

    /// Stops and starts a container.
    pub fn container_restart(&self, name: &str, options: &StopOptions) -> Result<()> {
        Ok(self.containers().restart(name, options)?)
    }

    /// Sends a signal to a container's first process.
    pub fn container_kill(&self, name: &str, signal: &str) -> Result<()> {
        Ok(self.containers().kill(name, signal)?)
    }

    /// Removes a container.
    pub fn container_remove(&self, name: &str, options: RemoveOptions) -> Result<()> {
        self.store.make_room();
        self.containers().remove(name, options)?;
        self.reap_in_background();
        Ok(())
    }

    /// Gives a container another name.
    pub fn container_rename(&self, name: &str, new: &str) -> Result<()> {
        Ok(self.containers().rename(name, new)?)
    }

    /// Changes limits and the restart policy of a container; gives warnings.
    pub fn container_update(&self, name: &str, request: &UpdateRequest) -> Result<Vec<String>> {
        Ok(self.containers().update(name, request)?)
    }

    /// Waits for an end of a container; its exit code.
    pub fn container_wait(&self, name: &str, condition: WaitCondition) -> Result<i64> {
        Ok(self.containers().wait(name, condition)?)
    }

    /// Stops every process of a container until it is unpaused.
    pub fn container_pause(&self, name: &str) -> Result<()> {
        Ok(self.containers().pause(name)?)
    }

    /// Lets the processes of a paused container go on.
    pub fn container_unpause(&self, name: &str) -> Result<()> {
        Ok(self.containers().unpause(name)?)
    }

    /// Lists the processes of a container; `args` are those of `ps`.
    pub fn container_top(&self, name: &str, args: &[String]) -> Result<ProcessList> {
        Ok(self.containers().top(name, args)?)
    }

    /// What a container has used of the machine.
    pub fn container_stats(&self, name: &str) -> Result<ContainerStats> {
        Ok(self.containers().stats(name)?)
    }

    /// What every container has used of the machine; `all` includes those that do not run.
    pub fn container_stats_all(&self, all: bool) -> Result<Vec<ContainerStats>> {
        Ok(self.containers().stats_all(all)?)
    }

    /// Starts the containers whose restart policy says so, as Docker's daemon does when it starts.
    pub fn start_all(&self) -> Result<Vec<BootStart>> {
        Ok(self.containers().start_all()?)
    }

    /// Lists containers.
    pub fn container_list(&self, query: &ContainerQuery) -> Result<Vec<ContainerSummary>> {
        Ok(self.containers().list(query)?)
    }

    /// Shows everything about a container.
    pub fn container_inspect(&self, name: &str) -> Result<Value> {
        Ok(self.containers().inspect(name)?)
    }

    /// Hands what a container has written to `sink`, line by line.
    pub fn container_logs(
        &self,
        name: &str,
        options: LogOptions,
        sink: &mut dyn FnMut(&LogEntry) -> std::io::Result<()>,
    ) -> Result<()> {
        Ok(self.containers().logs(name, options, sink)?)
    }

    /// Runs a process in a container, on the caller's own standard streams; its exit code.
    pub fn container_exec(&self, name: &str, request: &ExecRequest) -> Result<u8> {
        Ok(self.containers().exec(name, request)?)
    }

    /// Prepares a process in a running container.
    pub fn exec_create(&self, name: &str, request: &ExecRequest) -> Result<ExecId> {
        Ok(self.containers().exec_create(name, request)?)
    }

    /// Starts a prepared process; the connection to its streams unless it is detached.
    pub fn exec_start(&self, id: &ExecId, start: ExecStart) -> Result<Option<Client>> {
        Ok(self.containers().exec_start(id, start)?)
    }

    /// Shows everything about a process that was added to a container.
    pub fn exec_inspect(&self, id: &ExecId) -> Result<Value> {
        Ok(self.containers().exec_inspect(id)?)
    }

    /// Sets the size of the terminal of a process that was added to a container.
    pub fn exec_resize(&self, id: &ExecId, rows: u16, columns: u16) -> Result<()> {
        Ok(self.containers().exec_resize(id, rows, columns)?)
    }

    /// The work of the helper that holds such a process.
    pub fn exec_run(&self, container: &ContainerId, id: &ExecId) -> Result<()> {
        Ok(self.containers().exec_run(container, id)?)
    }

    /// What the monitor has run when its container has ended.
    pub fn container_ended(&self, id: &ContainerId) -> Result<()> {
        self.containers().ended(id)?;
        self.reap()
    }
}
