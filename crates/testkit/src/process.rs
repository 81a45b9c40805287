//! Commands with a time limit, their output and exit code.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// Exit code; 128 + n when signal n ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Asserts success and returns standard output without the last line break.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!(self.code, 0, "{self}");
        self.stdout.strip_suffix('\n').unwrap_or(&self.stdout)
    }

    /// Asserts the exit code and that the reason is one clear line; returns it.
    #[track_caller]
    pub fn fails(&self, code: i32) -> &str {
        assert_eq!(self.code, code, "{self}");
        let reason = self.stderr.trim_end();
        assert!(!reason.is_empty(), "no reason was given: {self}");
        // A hint may stand on a line of its own; a trace or a flood may not.
        assert!(reason.lines().count() <= 2, "the reason is not one clear line: {self}");
        assert!(!reason.contains("panicked at"), "{self}");
        reason
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { command, code, stdout, stderr } = self;
        write!(out, "`{command}` ended with {code}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// Runs a command to its end, with `input` as its standard input.
///
/// # Panics
/// When it does not start, does not end within `limit`, or leaves somebody holding its output open
/// (as a shell's `$(…)` would wait for).
#[track_caller]
pub fn run(command: &mut Command, input: &[u8], limit: Duration) -> Output {
    let line = describe(command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("start `{line}`: {error}"));
    let mut stdin = child.stdin.take().expect("it was piped");
    let input = input.to_vec();
    std::thread::spawn(move || {
        // A command that ends without reading its input closes the pipe: that is its right.
        let _ = stdin.write_all(&input);
    });
    let stdout = collect(child.stdout.take().expect("it was piped"));
    let stderr = collect(child.stderr.take().expect("it was piped"));
    let end = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait().expect("it is our child") {
            break status;
        }
        if Instant::now() >= end {
            let _ = child.kill();
            let _ = child.wait();
            let wait = Duration::from_secs(1);
            panic!(
                "`{line}` did not end within {limit:?}\n--- stdout\n{}\n--- stderr\n{}",
                stdout.recv_timeout(wait).unwrap_or_default(),
                stderr.recv_timeout(wait).unwrap_or_default()
            );
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let text = |channel: mpsc::Receiver<String>, name: &str| {
        channel
            .recv_timeout(Duration::from_secs(5))
            .unwrap_or_else(|_| panic!("`{line}` has ended, but somebody holds its {name} open"))
    };
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1);
    Output { code, stdout: text(stdout, "stdout"), stderr: text(stderr, "stderr"), command: line }
}

fn collect(mut from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is still worth showing.
        let _ = from.read_to_end(&mut bytes);
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}

fn describe(command: &Command) -> String {
    let name = std::path::Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(name).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn gives_code_and_output() {
        let output = run(&mut shell("cat; echo why >&2; exit 3"), b"given", LIMIT);
        assert_eq!(
            (output.code, output.stdout.as_str(), output.stderr.as_str()),
            (3, "given", "why\n")
        );
        assert_eq!(output.fails(3), "why");
        assert_eq!(run(&mut shell("kill -9 $$"), b"", LIMIT).code, 137);
    }

    #[test]
    #[should_panic(expected = "did not end within")]
    fn gives_up_in_time() {
        run(&mut shell("exec sleep 30"), b"", Duration::from_millis(100));
    }

    #[test]
    #[should_panic(expected = "holds its stdout open")]
    fn notices_a_process_that_keeps_the_output() {
        run(&mut shell("sleep 8 2>/dev/null & exit 0"), b"", LIMIT);
    }
}
