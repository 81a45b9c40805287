//! Terminals: making them, their size, raw mode, and receiving one over a console socket.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, Termios, Winsize};

/// A new terminal.
#[derive(Debug)]
pub struct Pty {
    /// The side that shows and types.
    pub master: OwnedFd,
    /// The side of the program.
    pub slave: OwnedFd,
}

impl Pty {
    /// Makes a terminal, which becomes nobody's controlling one.
    pub fn open() -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags)?;
        rustix::pty::unlockpt(&master)?;
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
        Ok(Self { master, slave })
    }
}

/// Sets height and width in characters of a terminal, given either side of it.
pub fn set_window_size(terminal: impl AsFd, rows: u16, columns: u16) -> io::Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(terminal, size)?)
}

/// Height and width in characters of a terminal.
pub fn window_size(terminal: impl AsFd) -> io::Result<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(terminal)?;
    Ok((size.ws_row, size.ws_col))
}

/// Whether the descriptor is a terminal.
pub fn is_terminal(fd: impl AsFd) -> bool {
    rustix::termios::isatty(fd)
}

/// Keeps the user's terminal in raw mode; dropped, the terminal is as before.
#[derive(Debug)]
pub struct RawMode {
    terminal: OwnedFd,
    before: Termios,
}

impl RawMode {
    /// Switches the terminal to raw mode: every key reaches the program as it is.
    pub fn enter(terminal: impl AsFd) -> io::Result<Self> {
        // A copy, so that the way back exists whatever happens to the caller's descriptor.
        let terminal = rustix::io::fcntl_dupfd_cloexec(terminal, 3)?;
        let before = rustix::termios::tcgetattr(&terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(&terminal, OptionalActions::Now, &raw)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // The terminal may have gone away; then there is nothing to restore.
        let _ = rustix::termios::tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// The socket on which an OCI runtime hands over the master of a container's terminal.
#[derive(Debug)]
pub struct ConsoleSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ConsoleSocket {
    /// Listens at `path`, replacing what a former run left there.
    pub fn bind(path: &Path) -> io::Result<Self> {
        Ok(Self { listener: bind_unix(path)?, path: path.to_owned() })
    }

    /// Waits for the runtime and takes the terminal that it sends; `TimedOut` after `limit`.
    pub fn receive(&self, limit: Duration) -> io::Result<OwnedFd> {
        let timed_out = || io::Error::from(io::ErrorKind::TimedOut);
        if !crate::process::wait_readable(self.listener.as_fd(), Some(limit))? {
            return Err(timed_out());
        }
        let (stream, _) = self.listener.accept()?;
        if !crate::process::wait_readable(stream.as_fd(), Some(limit))? {
            return Err(timed_out());
        }
        receive_descriptor(&stream)
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        // A left-over name is replaced by the next `bind`.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Receives one descriptor that was sent with `SCM_RIGHTS`.
pub fn receive_descriptor(socket: impl AsFd) -> io::Result<OwnedFd> {
    // Runtimes send the terminal's name along; only the descriptor counts.
    let mut name = [0_u8; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut name)];
    rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    control
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        })
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no descriptor was sent"))
}

/// Listens on a unix socket of any path length, replacing what lies there; mode as the directory
/// allows (callers keep such sockets in directories of mode 0700).
pub fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    with_short_path(path, |path| UnixListener::bind(path))
}

/// Connects to a unix socket of any path length.
pub fn connect_unix(path: &Path) -> io::Result<std::os::unix::net::UnixStream> {
    with_short_path(path, |path| std::os::unix::net::UnixStream::connect(path))
}

/// Names a file through a descriptor of its directory: a socket address holds only 107 bytes.
fn with_short_path<T>(path: &Path, call: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let directory = File::open(parent)?;
    let base = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    call(&base.join(name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::{Read as _, Write as _};

    #[test]
    fn raw_mode_is_undone_on_drop() {
        let pty = Pty::open().unwrap();
        let before = rustix::termios::tcgetattr(&pty.slave).unwrap().local_modes;
        let guard = RawMode::enter(&pty.slave).unwrap();
        assert_ne!(rustix::termios::tcgetattr(&pty.slave).unwrap().local_modes, before);
        drop(guard);
        assert_eq!(rustix::termios::tcgetattr(&pty.slave).unwrap().local_modes, before);
    }

    #[test]
    fn both_sides_show_one_size() {
        let pty = Pty::open().unwrap();
        set_window_size(&pty.master, 33, 99).unwrap();
        assert_eq!(window_size(&pty.slave).unwrap(), (33, 99));
        assert!(is_terminal(&pty.slave));
    }

    #[test]
    fn a_console_socket_receives_a_working_terminal() {
        use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
        let directory = tempfile::tempdir().unwrap();
        // Longer than a socket address holds.
        let deep = directory.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let path = deep.join("console.sock");
        let socket = ConsoleSocket::bind(&path).unwrap();
        let pty = Pty::open().unwrap();
        let stream = connect_unix(&path).unwrap();
        let descriptors = [pty.master.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
        let parts = [io::IoSlice::new(b"/dev/pts/0")];
        rustix::net::sendmsg(&stream, &parts, &mut control, SendFlags::empty()).unwrap();
        let mut received = File::from(socket.receive(Duration::from_secs(10)).unwrap());
        File::from(pty.slave).write_all(b"hello\n").unwrap();
        let mut text = [0_u8; 7];
        received.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"hello\r\n");
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_console_socket_does_not_wait_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let socket = ConsoleSocket::bind(&directory.path().join("s")).unwrap();
        let error = socket.receive(Duration::from_millis(10)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
