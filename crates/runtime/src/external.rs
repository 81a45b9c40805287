//! Any program with the OCI runtime command line (`runc`, `crun`) as a runtime.
//!
//! The caller must be a subreaper: the program exits, and what it started becomes the caller's child.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio as ProcessStdio};

use crate::console::ConsoleSocket;
use crate::plan::ProcessPlan;
use crate::prepare::{self, Layout, LegacyCgroups, failed};
use crate::spec::refused;
use crate::{Bundle, CreatedProcess, Runtime, StartError, Stdio, failure};

/// Longest log of a runtime that is read for its error.
const MAX_LOG_BYTES: usize = 64 << 10;

/// A runtime program.
#[derive(Clone, Debug)]
pub struct External {
    program: PathBuf,
}

impl External {
    /// The runtime at a path, or found by name in `$PATH`.
    #[must_use]
    pub fn new(program: PathBuf) -> Self {
        Self { program }
    }

    /// Runs the program and waits for it; its last logged error becomes ours.
    fn run(
        &self,
        layout: &Layout,
        arguments: &[&std::ffi::OsStr],
        stdio: Stdio,
    ) -> Result<(), StartError> {
        let log = layout.root.join("log.json");
        let mut command = Command::new(&self.program);
        command
            .arg("--root")
            .arg(layout.root.join("state"))
            .arg("--log")
            .arg(&log)
            .args(["--log-format", "json"]);
        command.args(arguments);
        match stdio {
            Stdio::Files { stdin, stdout, stderr } => {
                command.stdin(stdin).stdout(stdout).stderr(stderr)
            }
            Stdio::Terminal => command
                .stdin(ProcessStdio::null())
                .stdout(ProcessStdio::null())
                .stderr(ProcessStdio::null()),
        };
        let status = command.status().map_err(|error| failed("run", &self.program, &error))?;
        if status.success() {
            return Ok(());
        }
        let text = logged_error(&log)
            .unwrap_or_else(|| format!("`{}` ended with {status}", self.program.display()));
        Err(failure::from_runtime(&text))
    }

    /// Runs a command that starts a process, and finds out its pid and terminal.
    fn run_process(
        &self,
        layout: &Layout,
        mut arguments: Vec<std::ffi::OsString>,
        (id, pid_file): (&str, &Path),
        stdio: Stdio,
        console_size: (u16, u16),
    ) -> Result<CreatedProcess, StartError> {
        let console = match stdio {
            Stdio::Terminal => Some(ConsoleSocket::new(layout)?),
            Stdio::Files { .. } => None,
        };
        arguments.extend(["--pid-file".into(), pid_file.into()]);
        if let Some(console) = &console {
            arguments.extend(["--console-socket".into(), console.path().into()]);
        }
        arguments.push(id.into());
        let arguments: Vec<&std::ffi::OsStr> =
            arguments.iter().map(std::ffi::OsString::as_os_str).collect();
        self.run(layout, &arguments, stdio)?;
        let text =
            fs::read_to_string(pid_file).map_err(|error| failed("read", pid_file, &error))?;
        let pid = text
            .trim()
            .parse()
            .map_err(|_| refused(format!("`{}` holds no process id", pid_file.display())))?;
        let terminal = console.map(|console| console.receive(console_size)).transpose()?;
        Ok(CreatedProcess { pid, terminal })
    }
}

impl Runtime for External {
    fn name(&self) -> String {
        self.program.file_name().unwrap_or(self.program.as_os_str()).to_string_lossy().into_owned()
    }

    fn create(&self, bundle: &Bundle<'_>, stdio: Stdio) -> Result<CreatedProcess, StartError> {
        let plan = bundle.plan;
        let (layout, spec) = prepare::specification(bundle, LegacyCgroups::MountedByRuntime)?;
        prepare::write_config(&layout, &spec)?;
        let (id, pid_file) = (plan.container.to_string(), layout.pid_file());
        let arguments = vec!["create".into(), "--bundle".into(), layout.bundle.clone().into()];
        let console_size = plan.process.console_size;
        let created =
            self.run_process(&layout, arguments, (&id, &pid_file), stdio, console_size)?;
        prepare::adjust_oom_score(created.pid, plan.host_config.oom_score_adj);
        Ok(created)
    }

    fn start(&self, bundle: &Bundle<'_>) -> Result<(), StartError> {
        let id = bundle.plan.container.to_string();
        self.run(&Layout::new(bundle), &["start".as_ref(), id.as_ref()], Stdio::Terminal)
    }

    fn exec(
        &self,
        bundle: &Bundle<'_>,
        process: &ProcessPlan,
        stdio: Stdio,
    ) -> Result<CreatedProcess, StartError> {
        let added = prepare::added_process(bundle, process)?;
        prepare::write_process(&added.layout, &added.process)?;
        // runc changes its directory there before it enters the container's namespaces.
        prepare::ensure_directory(bundle.rootfs)?;
        let pid_file = added.layout.added_pid_file();
        let arguments = vec![
            "exec".into(),
            "--detach".into(),
            "--process".into(),
            added.layout.process_file().into(),
        ];
        let id = bundle.plan.container.to_string();
        let created = self.run_process(
            &added.layout,
            arguments,
            (&id, &pid_file),
            stdio,
            process.console_size,
        );
        added.layout.remove_added();
        let created = created?;
        prepare::adjust_oom_score(created.pid, bundle.plan.host_config.oom_score_adj);
        Ok(created)
    }

    fn delete(&self, bundle: &Bundle<'_>) -> Result<(), StartError> {
        let (layout, id) = (Layout::new(bundle), bundle.plan.container.to_string());
        if !layout.root.join("state").join(&id).exists() {
            return prepare::remove_state(bundle);
        }
        let deleted = self.run(
            &layout,
            &["delete".as_ref(), "--force".as_ref(), id.as_ref()],
            Stdio::Terminal,
        );
        // Its state is removed in any case: with the groups gone there is nothing that it could still do.
        prepare::remove_state(bundle).and(deleted)
    }
}

/// The last error of a JSON log.
fn logged_error(log: &Path) -> Option<String> {
    let text = fs::read(log).ok()?;
    let text =
        String::from_utf8_lossy(&text[text.len().saturating_sub(MAX_LOG_BYTES)..]).into_owned();
    text.lines().rev().find_map(|line| {
        let entry: serde_json::Value = serde_json::from_str(line).ok()?;
        (entry.get("level")? == "error" || entry.get("level")? == "fatal").then_some(())?;
        entry.get("msg")?.as_str().map(str::to_owned)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_of_a_log() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log.json");
        assert_eq!(logged_error(&log), None);
        let text = "{\"level\":\"error\",\"msg\":\"first\"}\n{\"level\":\"error\",\"msg\":\"second\"}\n\
                    {\"level\":\"warning\",\"msg\":\"later\"}\nbroken\n";
        fs::write(&log, text).unwrap();
        assert_eq!(logged_error(&log), Some("second".to_owned()));
    }

    #[test]
    fn a_program_that_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let layout =
            Layout { root: directory.path().to_owned(), bundle: directory.path().join("bundle") };
        let error = External::new("/nonexistent/runc".into())
            .run(&layout, &[], Stdio::Terminal)
            .unwrap_err();
        let message = "cannot run `/nonexistent/runc`: No such file or directory (os error 2)";
        assert_eq!(error, StartError { exit_code: 125, message: message.to_owned() });
    }
}
