//! What a runtime says when a start fails, turned into Docker's text and exit code.

use crate::StartError;

/// Docker's text of a failed start, and the exit code that its command line derives from the text.
pub(crate) fn from_runtime(text: &str) -> StartError {
    // Runtimes put their own story before it: `…: error in executing process : exec: "x": …`.
    let message = match text.find("exec: \"") {
        Some(at) => &text[at..],
        None => text.split("exec failed: ").last().unwrap_or(text),
    };
    let message = message.trim().trim_matches('\u{0}');
    let any = |needles: &[&str]| needles.iter().any(|needle| message.contains(needle));
    let about_command = message.starts_with("exec") || message.starts_with("chdir to cwd");
    let exit_code =
        if about_command && any(&["executable file not found", "no such file or directory"]) {
            127
        } else if about_command && any(&["permission denied", "is a directory"]) {
            126
        } else {
            125
        };
    StartError { exit_code, message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_exit_codes() {
        let cases = [
            (
                "failed to create container: exec process failed with error error in executing process : exec: \"nosuch\": executable file not found in $PATH",
                127,
                "exec: \"nosuch\": executable file not found in $PATH",
            ),
            (
                "runc create failed: unable to start container process: exec: \"/x\": stat /x: no such file or directory",
                127,
                "exec: \"/x\": stat /x: no such file or directory",
            ),
            (
                "exec failed: unable to start container process: exec: \"/etc\": is a directory",
                126,
                "exec: \"/etc\": is a directory",
            ),
            (
                "runc create failed: unable to start container process: exec: \"/f\": permission denied",
                126,
                "exec: \"/f\": permission denied",
            ),
            (
                "failed to prepare rootfs: no such file or directory",
                125,
                "failed to prepare rootfs: no such file or directory",
            ),
            ("exec /x: exec format error\0\0", 125, "exec /x: exec format error"),
        ];
        for (text, exit_code, message) in cases {
            assert_eq!(from_runtime(text), StartError { exit_code, message: message.to_owned() });
        }
    }
}
