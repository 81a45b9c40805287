//! Processes: descriptors of them, their start time, detached spawning, wake-ups by signals.
//!
//! A pid alone never names a process for long; it is kept together with its start time, and signals
//! go through a descriptor that was opened before the start time was compared.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, WaitOptions};
use rustix::thread::UnshareFlags;

/// A descriptor of a process: it keeps naming the same one, whatever happens to the pid.
#[derive(Debug)]
pub struct PidFd {
    fd: OwnedFd,
}

impl PidFd {
    /// Opens the process; fails with `ESRCH` when there is none.
    pub fn open(pid: i32) -> io::Result<Self> {
        let fd = rustix::process::pidfd_open(pid_of(pid)?, PidfdFlags::empty())?;
        Ok(Self { fd })
    }

    /// Opens the process if it is still the one that started at `start_ticks`; `None` when that
    /// one is gone.
    pub fn open_same(pid: i32, start_ticks: u64) -> io::Result<Option<Self>> {
        let opened = match Self::open(pid) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
            other => other?,
        };
        // Compared after opening: the pid cannot be reused while it still has this start time.
        Ok((self::start_ticks(pid)? == Some(start_ticks)).then_some(opened))
    }

    /// Sends a signal, by number; fails with `ESRCH` when the process has ended.
    pub fn send_signal(&self, signal: i32) -> io::Result<()> {
        // SAFETY: the descriptor is open for the length of the borrow; a null `info` asks for what
        // kill(2) would send; nothing is written to our memory.
        #[allow(unsafe_code)]
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.fd.as_raw_fd(),
                signal,
                std::ptr::null::<libc::siginfo_t>(),
                0_u32,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits until the process has ended, no longer than `limit`; tells whether it has.
    pub fn wait_ended(&self, limit: Option<Duration>) -> io::Result<bool> {
        wait_readable(self.fd.as_fd(), limit)
    }
}

impl AsFd for PidFd {
    /// Readable when the process has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn pid_of(pid: i32) -> io::Result<Pid> {
    // Negative and zero pids mean groups or the caller to other calls; never here.
    if pid <= 0 {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    Pid::from_raw(pid).ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))
}

/// Waits until `fd` can be read (or is at its end), no longer than `limit`; tells whether it can.
pub fn wait_readable(fd: BorrowedFd<'_>, limit: Option<Duration>) -> io::Result<bool> {
    let deadline = limit.map(|limit| Instant::now() + limit);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
        match poll(&mut fds, left) {
            Ok(count) => return Ok(count > 0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// poll(2) with a limit as a [`Duration`]; without one it waits for ever.
pub fn poll(fds: &mut [PollFd<'_>], limit: Option<Duration>) -> io::Result<usize> {
    let limit = limit.map(|limit| rustix::time::Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    });
    Ok(rustix::event::poll(fds, limit.as_ref())?)
}

/// When the process was started, in clock ticks since boot: with the pid, an identity that is
/// never reused. `None` when there is no such process.
pub fn start_ticks(pid: i32) -> io::Result<Option<u64>> {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => parse_start_ticks(&stat)
            .map(Some)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "malformed /proc stat")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Field 22 of proc_pid_stat(5); the name (field 2) may hold blanks and parentheses.
fn parse_start_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which child.
    pub pid: i32,
    /// Its exit code, or 128 and the number of the signal that killed it.
    pub exit_code: u8,
}

/// Collects one child that has ended, if any has; does not wait.
pub fn reap() -> io::Result<Option<Ended>> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                let code = match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => code,
                    (None, Some(signal)) => 128 + signal,
                    // Stopped and continued children are not asked for.
                    (None, None) => continue,
                };
                let exit_code = u8::try_from(code & 0xff).unwrap_or(u8::MAX);
                return Ok(Some(Ended { pid: pid.as_raw_nonzero().get(), exit_code }));
            }
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(None),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Makes the calling process the parent of all orphans below it.
pub fn become_subreaper() -> io::Result<()> {
    // Any pid stands for "yes"; the kernel only looks whether the argument is zero.
    Ok(rustix::process::set_child_subreaper(Some(Pid::INIT))?)
}

/// Sets the name that `ps` shows for the calling thread; the kernel keeps 15 bytes.
pub fn set_name(name: &str) -> io::Result<()> {
    let name = CString::new(name.replace('\0', " "))?;
    Ok(rustix::thread::set_name(&name)?)
}

/// A kind of namespace that [`unshare`] makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// Mounts; the thread also gets a working directory and umask of its own.
    Mount,
    /// Network interfaces, routes and sockets.
    Network,
}

/// Moves the calling thread into a new namespace.
pub fn unshare(namespace: Namespace) -> io::Result<()> {
    let flags = match namespace {
        Namespace::Mount => UnshareFlags::NEWNS,
        Namespace::Network => UnshareFlags::NEWNET,
    };
    // SAFETY: `UnshareFlags::FILES` is not among the flags, so no descriptor changes its meaning.
    #[allow(unsafe_code)]
    unsafe {
        rustix::thread::unshare_unsafe(flags)?;
    }
    Ok(())
}

/// Moves the calling thread into the namespace that `fd` names (a file of `/proc/PID/ns`).
pub fn enter_namespace(fd: impl AsFd) -> io::Result<()> {
    rustix::thread::move_into_link_name_space(fd.as_fd(), None)?;
    Ok(())
}

/// Marks every descriptor from `first` on as closed by exec.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: with CLOSE_RANGE_CLOEXEC the call closes nothing and touches no memory.
    #[allow(unsafe_code)]
    let result =
        unsafe { libc::close_range(first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC.cast_signed()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What `ps` shows for a program that was started by a descriptor.
const PROGRAM_NAME: &str = "orlop";

/// A program that is to outlive its starter.
#[derive(Debug)]
pub struct Detached {
    /// The program.
    pub program: PathBuf,
    /// Its arguments, without the program's name.
    pub args: Vec<OsString>,
    /// Standard input.
    pub stdin: OwnedFd,
    /// Standard output.
    pub stdout: OwnedFd,
    /// Standard error.
    pub stderr: OwnedFd,
}

/// Starts a program in a session of its own, as nobody's child: it is re-parented at once, so a
/// long-lived starter never has to wait for it. No other descriptor than the three given reaches it.
pub fn spawn_detached(detached: Detached) -> io::Result<()> {
    let mut command = Command::new(&detached.program);
    command
        .arg0(PROGRAM_NAME)
        .args(&detached.args)
        .current_dir("/")
        .stdin(Stdio::from(detached.stdin))
        .stdout(Stdio::from(detached.stdout))
        .stderr(Stdio::from(detached.stderr));
    // SAFETY: the closure runs between fork and exec and makes only async-signal-safe system calls
    // (setsid, close_range, fork, _exit); it allocates nothing and takes no
    // lock. The intermediate process leaves by `_exit`, so nothing of the parent runs twice.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            close_on_exec_from(3)?;
            match libc::fork() {
                -1 => Err(io::Error::last_os_error()),
                0 => Ok(()),
                _ => libc::_exit(0),
            }
        });
    }
    // The child is the intermediate process; it has ended when the program runs.
    command.spawn()?.wait()?;
    Ok(())
}

/// The write side of the wake-up descriptor, for the signal handler; -1 while there is none.
static WAKE_FD: AtomicI32 = AtomicI32::new(-1);

/// A descriptor that becomes readable when a child ends.
///
/// Handlers are used rather than ignored or blocked signals, because only handlers are undone by
/// exec: what the process starts gets a clean slate.
#[derive(Debug)]
pub struct ChildWake {
    fd: OwnedFd,
}

impl ChildWake {
    /// Makes the calling process deaf to HUP, INT, QUIT, TERM, PIPE, USR1 and USR2, and unblocks
    /// every signal; CHLD gets its default effect until [`ChildWake::arm`]. For single-threaded
    /// processes, once.
    pub fn install() -> io::Result<Self> {
        let flags = rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK;
        let fd = rustix::event::eventfd(0, flags)?;
        WAKE_FD.store(fd.as_raw_fd(), Ordering::SeqCst);
        // An inherited "ignore" would take the children's exit codes away.
        handle(libc::SIGCHLD, libc::SIG_DFL)?;
        let deaf = [
            libc::SIGHUP,
            libc::SIGINT,
            libc::SIGQUIT,
            libc::SIGTERM,
            libc::SIGPIPE,
            libc::SIGUSR1,
            libc::SIGUSR2,
        ];
        for signal in deaf {
            handle(signal, nothing as *const () as libc::sighandler_t)?;
        }
        unblock_all()?;
        Ok(Self { fd })
    }

    /// Lets children wake the process from now on; whoever ended before is found by [`reap`].
    ///
    /// Until then no system call is interrupted by the end of a child, for the sake of code that
    /// waits for helpers of its own and does not expect that.
    pub fn arm(&self) -> io::Result<()> {
        handle(libc::SIGCHLD, wake as *const () as libc::sighandler_t)
    }

    /// Undoes [`ChildWake::arm`].
    pub fn disarm() -> io::Result<()> {
        handle(libc::SIGCHLD, libc::SIG_DFL)
    }

    /// Forgets past wake-ups; call it before [`reap`], never after.
    pub fn clear(&self) {
        let mut count = [0_u8; 8];
        // Nothing to read is the usual case of a spurious call.
        let _ = rustix::io::read(&self.fd, &mut count);
    }
}

impl AsFd for ChildWake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for ChildWake {
    fn drop(&mut self) {
        WAKE_FD.store(-1, Ordering::SeqCst);
    }
}

extern "C" fn nothing(_signal: libc::c_int) {}

extern "C" fn wake(_signal: libc::c_int) {
    let one = 1_u64;
    // SAFETY: errno's address is valid in every thread; write(2) is async-signal-safe and reads
    // eight live bytes. A descriptor that was just closed gives EBADF, which is of no consequence.
    #[allow(unsafe_code)]
    unsafe {
        let errno = libc::__errno_location();
        let saved = *errno;
        libc::write(WAKE_FD.load(Ordering::SeqCst), std::ptr::from_ref(&one).cast(), 8);
        *errno = saved;
    }
}

/// `handler` is `SIG_DFL` or one of the two functions above.
fn handle(signal: libc::c_int, handler: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: a zeroed `sigaction` is valid (empty mask, no flags); the handlers have the type that
    // goes with the absence of SA_SIGINFO and are async-signal-safe; the pointers are live or null.
    #[allow(unsafe_code)]
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = libc::SA_RESTART | libc::SA_NOCLDSTOP;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn unblock_all() -> io::Result<()> {
    // SAFETY: `sigemptyset` initialises the set before it is read; a null old set is allowed.
    #[allow(unsafe_code)]
    let result = unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(result)) }
}

/// A descriptor that delivers signals to a foreground command, which then no longer act on it.
#[derive(Debug)]
pub struct SignalFd {
    fd: OwnedFd,
    before: libc::sigset_t,
}

impl SignalFd {
    /// Blocks the signals in the calling thread and delivers them through the descriptor; the old
    /// mask comes back on drop.
    pub fn open(signals: &[i32]) -> io::Result<Self> {
        // SAFETY: both sets are initialised by `sigemptyset`/`pthread_sigmask` before they are
        // read; `signalfd` only reads the set; the returned descriptor is new and owned here.
        #[allow(unsafe_code)]
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            for signal in signals {
                libc::sigaddset(&raw mut set, *signal);
            }
            let result = libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, &raw mut before);
            if result != 0 {
                return Err(io::Error::from_raw_os_error(result));
            }
            let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if fd < 0 {
                let error = io::Error::last_os_error();
                libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
                return Err(error);
            }
            Ok(Self { fd: OwnedFd::from_raw_fd(fd), before })
        }
    }

    /// The next signal that has arrived, if any.
    pub fn next(&self) -> io::Result<Option<i32>> {
        let mut info = [0_u8; size_of::<libc::signalfd_siginfo>()];
        match rustix::io::read(&self.fd, &mut info) {
            // `ssi_signo` is the first field.
            Ok(_) => Ok(Some(i32::from_ne_bytes([info[0], info[1], info[2], info[3]]))),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for SignalFd {
    fn drop(&mut self) {
        // SAFETY: `before` was filled by `pthread_sigmask`; a null old set is allowed.
        #[allow(unsafe_code)]
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut());
        }
    }
}

/// Takes over standard input and leaves `/dev/null` in its place.
pub fn take_standard_input() -> io::Result<OwnedFd> {
    let taken = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn start_ticks_are_found_behind_a_hostile_name() {
        let fields: Vec<String> = (3..=52).map(|field| field.to_string()).collect();
        let stat = format!("17 (a) b (c) {}", fields.join(" "));
        assert_eq!(parse_start_ticks(&stat), Some(22));
        assert_eq!(parse_start_ticks("17 (a"), None);
    }

    #[test]
    fn a_process_is_recognised_by_its_start_time() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id().cast_signed();
        let ticks = start_ticks(pid).unwrap().unwrap();
        assert!(PidFd::open_same(pid, ticks + 1).unwrap().is_none());
        let opened = PidFd::open_same(pid, ticks).unwrap().unwrap();
        assert!(!opened.wait_ended(Some(Duration::ZERO)).unwrap());
        opened.send_signal(libc::SIGKILL).unwrap();
        assert!(opened.wait_ended(Some(Duration::from_secs(10))).unwrap());
        child.wait().unwrap();
        assert_eq!(start_ticks(pid).unwrap(), None);
        assert_eq!(opened.send_signal(0).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    fn pids_that_are_not_processes_are_refused() {
        for pid in [0, -1, i32::MIN] {
            assert_eq!(PidFd::open(pid).unwrap_err().raw_os_error(), Some(libc::ESRCH));
        }
    }

    #[test]
    fn a_detached_program_gets_its_files_and_a_session() {
        let (reader, writer) = std::io::pipe().unwrap();
        let null =
            || OwnedFd::from(File::options().read(true).write(true).open("/dev/null").unwrap());
        let detached = Detached {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), "cut -d' ' -f1,6 /proc/$$/stat; ls /proc/$$/fd; pwd".into()],
            stdin: null(),
            stdout: writer.into(),
            stderr: null(),
        };
        spawn_detached(detached).unwrap();
        let text = io::read_to_string(reader).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let (_, session) = lines[0].split_once(' ').unwrap();
        // Field 6 of proc_pid_stat(5). Not getsid(2) by a checked wrapper: it answers 0 where the
        // session's leader is outside this process ID namespace.
        let own = std::fs::read_to_string("/proc/self/stat").unwrap();
        let own = own.rsplit_once(')').unwrap().1.split_whitespace().nth(3).unwrap().to_owned();
        assert_ne!(session, own);
        assert_eq!(lines[1..4], ["0", "1", "2"]);
        assert_eq!(*lines.last().unwrap(), "/");
    }
}
