//! BuildKit's words for a RUN that failed.

use orlop_container::StepEnd;
use orlop_dockerfile::go_quoted;
use orlop_types::ErrorKind;

use crate::Error;
use crate::step::RunStep;

/// A step whose process did not end well.
pub(super) fn failed(step: &RunStep, reason: &str) -> Error {
    let command = go_quoted(&step.args.join(" "));
    let message = format!("process {command} did not complete successfully: {reason}");
    Error::failed(ErrorKind::Internal, message)
}

/// How it ended.
pub(super) fn reason(end: StepEnd) -> String {
    if end.oom_killed {
        return "cannot allocate memory".to_owned();
    }
    format!("exit code: {}", end.exit_code)
}

/// An error with its causes, in one line.
pub(crate) fn text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_buildkits() {
        let words = |args: &[&str]| RunStep {
            args: args.iter().map(|&word| word.to_owned()).collect(),
            ..RunStep::default()
        };
        let text = |args, code, oom_killed| {
            failed(&words(args), &reason(StepEnd { exit_code: code, oom_killed })).to_string()
        };
        assert_eq!(
            text(&["/bin/sh", "-c", "exit 3"], 3, false),
            "process \"/bin/sh -c exit 3\" did not complete successfully: exit code: 3"
        );
        assert_eq!(
            text(&["say", "\"hi\"\tthere"], 137, true),
            "process \"say \\\"hi\\\"\\tthere\" did not complete successfully: cannot allocate memory"
        );
    }
}
