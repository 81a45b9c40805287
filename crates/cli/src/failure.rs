//! Why a command did not work, as the user sees it: one line, perhaps a hint, and an exit code.

use orlop_types::ParseError;

/// A failed command.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// What was attempted, or on what; left out where the reason says it.
    pub what: Option<String>,
    /// The reason, in Docker's words where Docker has some.
    pub why: String,
    /// What the user may do about it.
    pub hint: Option<String>,
    /// Exit code.
    pub code: i32,
}

/// What command functions return: an exit code, or a failure.
pub type Outcome = Result<i32, Failure>;

impl Failure {
    /// A failure with exit code 1.
    pub fn new(why: impl Into<String>) -> Self {
        Self { what: None, why: why.into(), hint: None, code: 1 }
    }

    /// Says what was attempted unless that is said already.
    #[must_use]
    pub fn during(mut self, what: &str) -> Self {
        self.what.get_or_insert_with(|| what.to_owned());
        self
    }

    /// Sets the exit code.
    #[must_use]
    pub fn with_code(mut self, code: i32) -> Self {
        self.code = code;
        self
    }

    /// Adds a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The lines for standard error; `program` is the name that the caller used.
    pub fn lines(&self, program: &str) -> String {
        let what = self.what.as_ref().map(|what| format!("{what}: ")).unwrap_or_default();
        let hint = match &self.hint {
            Some(usage) if usage.starts_with("usage: ") => format!("{usage}\n"),
            Some(hint) => hint_line(hint, program),
            None => String::new(),
        };
        // What is said to be an error already is Docker's own line, which scripts look for.
        if self.why.starts_with("Error: ") {
            return format!("{}\n{hint}", self.why);
        }
        format!("{program}: {what}{}\n{hint}", self.reason())
    }

    /// The reason in the words that users know.
    pub fn reason(&self) -> String {
        without_numbers(&self.why)
    }
}

/// The line of a hint; commands in it begin with the name that the caller used.
pub fn hint_line(hint: &str, program: &str) -> String {
    let hint = hint.replace("`orlop ", &format!("`{program} "));
    format!("hint: {}\n", hint.replace("| orlop ", &format!("| {program} ")))
}

impl From<orlop_engine::Error> for Failure {
    /// The engine's own exit codes are for `run`, `start` and `exec`, which ask for them.
    fn from(error: orlop_engine::Error) -> Self {
        // A reader of the output that left, seen from inside the engine (`logs`, `events`).
        if is_broken_pipe(&error) {
            return Self::new("").with_code(BROKEN_PIPE);
        }
        Self { what: None, why: chain(&error), hint: error.hint(), code: 1 }
    }
}

/// Takes ` (os error 2)` away, which Rust adds to the system's words, and writes these small, as
/// Docker's users (and scripts) know them: `no such file or directory`.
fn without_numbers(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(" (os error ") {
        let words = before.rfind(": ").map_or(0, |at| at + 2);
        out.push_str(&before[..words]);
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        match after[digits..].strip_prefix(')') {
            Some(tail) if digits > 0 => {
                out.extend(before[words..].chars().take(1).flat_map(char::to_lowercase));
                out.extend(before[words..].chars().skip(1));
                rest = tail;
            }
            _ => {
                out.push_str(&before[words..]);
                out.push_str(" (os error ");
                rest = after;
            }
        }
    }
    out + rest
}

/// An error and its causes in one line; a cause that the line already ends with is not repeated.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let reason = cause.to_string();
        if !text.ends_with(&reason) {
            text.push_str(": ");
            text.push_str(&reason);
        }
        source = cause.source();
    }
    // Errors are one line, whatever a cause says.
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

fn is_broken_pipe(error: &dyn std::error::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        let io = cause.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe) {
            return true;
        }
        source = cause.source();
    }
    false
}

impl From<ParseError> for Failure {
    fn from(error: ParseError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<orlop_template::Error> for Failure {
    fn from(error: orlop_template::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// A failed write to standard output. Whoever reads it may leave (`orlop ps | head`): that ends the
/// command quietly, with the exit code that a shell gives to a process killed by `SIGPIPE`.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::new("").with_code(BROKEN_PIPE),
            _ => Self::new(format!("write output: {error}")),
        }
    }
}

/// 128 + `SIGPIPE`.
pub const BROKEN_PIPE: i32 = 141;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_and_a_hint() {
        let failure = Failure::new("No such image: x").during("run").with_hint("import it");
        assert_eq!(failure.lines("orlop"), "orlop: run: No such image: x\nhint: import it\n");
        assert_eq!(Failure::new("no").lines("orlop"), "orlop: no\n");
        let system = Failure::new("open x: No such file or directory (os error 2)");
        assert_eq!(system.lines("orlop"), "orlop: open x: no such file or directory\n");
        assert_eq!(without_numbers("a (os error x (os error 13) b"), "a (os error x b");
        assert_eq!(
            failure.during("later").lines("docker"),
            "docker: run: No such image: x\nhint: import it\n"
        );
        let typed = Failure::new("no").with_hint("`curl x | orlop load`, or `orlop pull x`");
        assert_eq!(
            typed.lines("docker"),
            "docker: no\nhint: `curl x | docker load`, or `docker pull x`\n"
        );
        let arity = Failure::new("'orlop rm' requires at least 1 argument")
            .with_hint("usage: orlop rm CONTAINER");
        assert_eq!(
            arity.lines("orlop"),
            "orlop: 'orlop rm' requires at least 1 argument\nusage: orlop rm CONTAINER\n"
        );
    }

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open `{0}`")]
    struct Open(&'static str, #[source] std::io::Error);

    #[test]
    fn causes_follow_the_error_in_one_line() {
        let error = Open("x", std::io::Error::other("no\n such\nthing"));
        assert_eq!(chain(&error), "cannot open `x`: no; such; thing");
        assert_eq!(chain(&std::io::Error::other("twice")), "twice");
        assert!(is_broken_pipe(&Open("x", std::io::ErrorKind::BrokenPipe.into())));
        assert!(!is_broken_pipe(&error));
    }

    #[test]
    fn a_reader_that_leaves_is_no_failure_to_tell() {
        let broken = Failure::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert_eq!((broken.why.as_str(), broken.code), ("", BROKEN_PIPE));
    }
}
