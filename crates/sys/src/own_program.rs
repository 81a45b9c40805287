//! The running program as a read-only mount of its own.
//!
//! A process that enters a container can be made to execute the program it came from
//! (`#!/proc/self/exe`); root inside could then write to that file through `/proc/PID/exe` once it is
//! no longer executing, and so change the program on the host (the class of CVE-2019-5736). What
//! enters a container therefore runs from a detached, read-only mount of the program: through it,
//! the kernel refuses every write.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, StatVfsMountFlags};

use crate::mount::{Attributes, Reach, clone_tree, set_attributes};

/// The running program's magic link.
const OWN: &str = "/proc/self/exe";
/// Tells the program that it has been executed again already.
const MARK: &str = "ORLOP_READ_ONLY_PROGRAM";

/// A program that cannot be written through the process that runs it.
#[derive(Debug)]
pub struct OwnProgram {
    path: PathBuf,
    _mount: Option<OwnedFd>,
}

impl OwnProgram {
    /// Makes a read-only mount of a program. Where that is not possible (no CAP_SYS_ADMIN), the
    /// program is used as it is: nobody without that capability enters containers of others.
    #[must_use]
    pub fn open(program: &Path) -> Self {
        let mount = || -> io::Result<OwnedFd> {
            let mount = clone_tree(CWD, program, Reach::Top).map_err(io::Error::other)?;
            set_attributes(&mount, Attributes { read_only: Some(Reach::Top), propagation: None })?;
            Ok(mount)
        };
        match mount() {
            Ok(mount) => {
                let path = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
                Self { path, _mount: Some(mount) }
            }
            Err(error) => {
                tracing::debug!(program = %program.display(), %error, "cannot mount the program read-only");
                Self { path: program.to_owned(), _mount: None }
            }
        }
    }

    /// Where the program is for this process and those it forks, as long as `self` lives.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes sure that this process runs from a read-only mount: executes the program again if it does
/// not. To be called before anything is done that a second run would repeat.
pub fn ensure_read_only() -> io::Result<()> {
    let is_read_only = rustix::fs::statvfs(OWN)?.f_flag.contains(StatVfsMountFlags::RDONLY);
    if is_read_only || std::env::var_os(MARK).is_some() {
        return Ok(());
    }
    let program = OwnProgram::open(Path::new(OWN));
    let text = |text: OsString| CString::new(text.into_vec()).map_err(io::Error::other);
    let arguments = std::env::args_os().map(text).collect::<io::Result<Vec<_>>>()?;
    let mut environment = std::env::vars_os()
        .map(|(name, value)| {
            let mut pair = name;
            pair.push("=");
            pair.push(value);
            text(pair)
        })
        .collect::<io::Result<Vec<_>>>()?;
    environment.push(text(format!("{MARK}=1").into())?);
    let path = text(program.path().as_os_str().to_owned())?;
    Err(crate::exec::replace(&path, &arguments, &environment))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "root: CAP_SYS_ADMIN"]
    fn a_program_cannot_be_written_through_the_mount() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("program");
        std::fs::write(&file, "#!/bin/true\n").unwrap();
        let program = OwnProgram::open(&file);
        assert_ne!(program.path(), file);
        assert_eq!(std::fs::read_to_string(program.path()).unwrap(), "#!/bin/true\n");
        let error = std::fs::OpenOptions::new().write(true).open(program.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ReadOnlyFilesystem);
        // The file itself is as writable as before.
        std::fs::write(&file, "new").unwrap();
    }
}
