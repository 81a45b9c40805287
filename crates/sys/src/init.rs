//! The init program of containers that ask for one: static, so that it runs in every image.

/// The program's file, built from `init/` by this crate's build script.
pub const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/init"));

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Command, Stdio};

    fn program() -> (tempfile::TempDir, Command) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("init");
        let file = std::fs::File::options().write(true).create_new(true).mode(0o755).open(&path);
        std::io::Write::write_all(&mut file.unwrap(), super::PROGRAM).unwrap();
        let command = Command::new(path);
        (directory, command)
    }

    #[test]
    fn it_ends_as_its_command_ends() {
        for (words, code) in [
            (&["--", "sh", "-c", "exit 7"][..], 7),
            (&["sh", "-c", "kill -9 $$"], 137),
            (&["/bin/true"], 0),
            (&["no-such-command"], 127),
            (&["/etc/passwd"], 126),
            (&["--"], 1),
        ] {
            let (_directory, mut command) = program();
            let status = command.args(words).stderr(Stdio::null()).status().unwrap();
            assert_eq!(status.code(), Some(code), "{words:?}");
        }
    }

    #[test]
    fn signals_are_handed_on() {
        let (_directory, mut command) = program();
        let script = "trap 'exit 5' TERM; echo up; while :; do sleep 0.05; done";
        let mut child = command.args(["sh", "-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut up = [0; 3];
        child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = child.wait().unwrap();
        assert_eq!((status.code(), status.signal()), (Some(5), None));
    }
}
