//! A copy of a single-threaded process that does one thing and leaves.
//!
//! The monitor makes such copies for work that may take long or hang in the kernel (entering a
//! container that is being frozen), so that it never waits itself. The copy never returns to its
//! caller and runs no destructors.

use std::io;
use std::os::fd::RawFd;

/// Makes a copy of the calling process that runs `act` and leaves with the exit code it gives;
/// returns the copy's process id. The caller must be single-threaded: what other threads hold locked
/// would stay locked in the copy for ever.
pub fn spawn_copy(act: impl FnOnce() -> i32) -> io::Result<i32> {
    // SAFETY: the caller is single-threaded (documented above), so the copy finds every lock free and
    // may allocate; it leaves by `_exit`, so nothing of the parent (buffers, destructors) runs twice,
    // and a panic ends it, because unwinding stops at `catch_unwind`.
    #[allow(unsafe_code)]
    unsafe {
        match libc::fork() {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                let act = std::panic::AssertUnwindSafe(act);
                let code = std::panic::catch_unwind(act).unwrap_or(i32::from(u8::MAX));
                libc::_exit(code)
            }
            pid => Ok(pid),
        }
    }
}

/// Closes every descriptor above the standard ones except those of `keep`. Only for a copy made by
/// [`spawn_copy`]: whoever owns the closed descriptors must never touch or drop them again.
pub fn close_others(keep: &[RawFd]) -> io::Result<()> {
    let mut keep: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(*fd).ok()).collect();
    keep.sort_unstable();
    let mut first = 3_u32;
    for fd in keep.into_iter().filter(|fd| *fd >= 3).chain([u32::MAX]) {
        if fd > first {
            let last = if fd == u32::MAX { fd } else { fd - 1 };
            // SAFETY: closing touches no memory; that nobody uses the descriptors again is what the
            // caller promises.
            #[allow(unsafe_code)]
            let result = unsafe { libc::close_range(first, last, 0) };
            if result != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        first = fd.saturating_add(1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsRawFd as _;

    use super::*;

    // The test harness has threads, but the copy below takes no lock that another thread could hold:
    // it only makes system calls.
    #[test]
    fn a_copy_keeps_what_it_is_told_to_and_leaves_with_its_code() {
        let (mut reader, mut writer) = io::pipe().unwrap();
        let (mut other_reader, other_writer) = io::pipe().unwrap();
        let pid = spawn_copy(|| {
            let kept = close_others(&[writer.as_raw_fd()]).is_ok();
            i32::from(!(kept && writer.write_all(b"x").is_ok()))
        })
        .unwrap();
        drop((writer, other_writer));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
        // The copy has closed its end, so this ends although it may still live.
        assert_eq!(other_reader.read(&mut [0]).unwrap(), 0);
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let (_, status) =
            rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty())
                .unwrap()
                .unwrap();
        assert_eq!(status.exit_status(), Some(0));
    }
}
