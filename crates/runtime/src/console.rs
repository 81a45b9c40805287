//! The console socket: how a runtime hands over the master side of a new terminal.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use orlop_sys::pty;
use rustix::fs::{Mode, OFlags};

use crate::StartError;
use crate::prepare::{Layout, failed};
use crate::spec::refused;

/// File name of the socket; many processes may wait for a terminal at once.
fn name() -> String {
    format!("console-{}.sock", std::process::id())
}

/// How long a runtime that has reported success may take to hand the terminal over.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A socket that waits for one terminal; removed when dropped.
#[derive(Debug)]
pub(crate) struct ConsoleSocket {
    socket: pty::ConsoleSocket,
    directory: OwnedFd,
}

impl ConsoleSocket {
    /// Makes the socket in the runtime's state directory.
    pub(crate) fn new(layout: &Layout) -> Result<Self, StartError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&layout.root, flags, Mode::empty())
            .map_err(|error| failed("open", &layout.root, &error))?;
        let file = layout.root.join(name());
        let socket =
            pty::ConsoleSocket::bind(&file).map_err(|error| failed("bind", &file, &error))?;
        Ok(Self { socket, directory })
    }

    /// A path that other processes can connect to while this process lives: the address of a socket
    /// holds only 107 bytes, and the run directory may be longer.
    pub(crate) fn path(&self) -> PathBuf {
        Path::new(&format!("/proc/{}/fd/{}", std::process::id(), self.directory.as_raw_fd()))
            .join(name())
    }

    /// Receives the terminal and sets its size (height, width) where that is known.
    pub(crate) fn receive(&self, (height, width): (u16, u16)) -> Result<OwnedFd, StartError> {
        let unusable = |error| refused(format!("cannot receive the terminal: {error}"));
        let terminal = self.socket.receive(TIMEOUT).map_err(unusable)?;
        if (height, width) != (0, 0) {
            pty::set_window_size(&terminal, height, width).map_err(unusable)?;
        }
        Ok(terminal)
    }
}
