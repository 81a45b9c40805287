//! Where archives go: a file that appears whole or not at all, or standard output.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::failure::Failure;
use crate::io::Streams;

/// A file that gets its name only when everything is in it.
#[derive(Debug)]
pub struct Pending {
    file: File,
    target: PathBuf,
    /// Its name until then, where the file system knows no files without one.
    temporary: Option<PathBuf>,
}

/// Lets a function write to `path`, or to standard output if there is none. `what` begins the text
/// of a failure to write the file.
pub fn write<T>(
    streams: &mut Streams<'_>,
    path: Option<&str>,
    what: &str,
    function: impl FnOnce(&mut File) -> Result<T, Failure>,
) -> Result<T, Failure> {
    match path.filter(|path| !path.is_empty()) {
        None => {
            streams.out.flush()?;
            let output = rustix::io::dup(rustix::stdio::stdout()).map_err(io::Error::from)?;
            function(&mut File::from(output))
        }
        Some(path) => {
            let failed = |reason: String| Failure::new(format!("{what}: {reason}"));
            check(Path::new(path)).map_err(failed)?;
            let mut pending =
                Pending::new(Path::new(path)).map_err(|error| failed(error.to_string()))?;
            let value = function(&mut pending.file)?;
            pending.publish().map_err(|error| failed(error.to_string()))?;
            Ok(value)
        }
    }
}

/// Refuses to fill a terminal with an archive.
pub fn refuse_terminal(path: Option<&str>) -> Result<(), Failure> {
    if path.is_none_or(str::is_empty) && io::stdout().is_terminal() {
        return Err(Failure::new(
            "cowardly refusing to save to a terminal. Use the -o flag or redirect",
        ));
    }
    Ok(())
}

/// What Docker says of a path that no archive can be written to.
fn check(path: &Path) -> Result<(), String> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        let stat = |error: &str| format!("invalid output path: stat {}: {error}", parent.display());
        match parent.metadata() {
            Ok(facts) if facts.is_dir() => {}
            Ok(_) => return Err(stat("not a directory")),
            Err(error) => return Err(stat(&error.to_string())),
        }
    }
    let Ok(facts) = path.symlink_metadata() else { return Ok(()) };
    let kind = facts.file_type();
    let target = if kind.is_file() {
        return Ok(());
    } else if kind.is_dir() {
        "directory"
    } else if kind.is_symlink() {
        "symbolic link directly"
    } else if kind.is_fifo() {
        "named pipe (FIFO)"
    } else if kind.is_socket() {
        "socket"
    } else if kind.is_char_device() {
        "character device file"
    } else {
        "block device file"
    };
    Err(format!("cannot write to a {target}"))
}

impl Pending {
    /// Begins a file that shall be called `target`.
    pub fn new(target: &Path) -> io::Result<Self> {
        let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let mode = Mode::from_raw_mode(0o600);
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let target = target.to_owned();
        match rustix::fs::open(parent, flags, mode) {
            Ok(file) => Ok(Self { file: file.into(), target, temporary: None }),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => {
                let path = beside(&target);
                let file = File::options().write(true).create_new(true).open(&path)?;
                rustix::fs::fchmod(&file, mode)?;
                Ok(Self { file, target, temporary: Some(path) })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The file to write to.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file its name. Order: sync, give it a name of its own, rename over the target.
    pub fn publish(mut self) -> io::Result<()> {
        use std::os::fd::AsRawFd as _;
        self.file.sync_all()?;
        if self.temporary.is_none() {
            let path = beside(&self.target);
            let own = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            rustix::fs::linkat(CWD, own, CWD, &path, AtFlags::SYMLINK_FOLLOW)?;
            self.temporary = Some(path);
        }
        if let Some(path) = &self.temporary {
            std::fs::rename(path, &self.target)?;
            self.temporary = None;
        }
        Ok(())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(path) = &self.temporary
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::debug!(path = %path.display(), %error, "cannot remove an unfinished file");
        }
    }
}

/// A name that nobody else uses in the same directory.
fn beside(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".tmp-{name}-{}", std::process::id()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn attempt(path: &Path, function: impl FnOnce(&mut File) -> Result<(), Failure>) -> String {
        let (mut input, mut out, mut err) = (&b""[..], Vec::new(), Vec::new());
        let mut streams = Streams { input: &mut input, out: &mut out, err: &mut err };
        let result = write(&mut streams, path.to_str(), "failed to save image", function);
        result.map_or_else(|failure| failure.why, |()| "written".to_owned())
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let directory = std::env::temp_dir().join(format!("orlop-output-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let path = directory.join("a.tar");
        let put = |text: &'static str| {
            move |file: &mut File| Ok(file.write_all(text.as_bytes())?) as Result<(), Failure>
        };
        assert_eq!(attempt(&path, put("one")), "written");
        assert_eq!(attempt(&path, put("two")), "written");
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        let broken = |file: &mut File| {
            file.write_all(b"half")?;
            Err(Failure::new("broken"))
        };
        assert_eq!(attempt(&path, broken), "broken");
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(names(&directory), ["a.tar"]);
        std::os::unix::fs::symlink("a.tar", directory.join("link")).unwrap();
        for (name, reason) in [
            (
                "no/a.tar",
                "invalid output path: stat DIR/no: No such file or directory (os error 2)",
            ),
            ("a.tar/b", "invalid output path: stat DIR/a.tar: not a directory"),
            ("link", "cannot write to a symbolic link directly"),
            ("", "cannot write to a directory"),
        ] {
            let why = attempt(&directory.join(name), put("x"));
            let want = reason.replace("DIR", directory.to_str().unwrap());
            assert_eq!(why, format!("failed to save image: {want}"), "{name}");
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
