//! Replaces the calling process by another program, with a clean signal state.
//!
//! Source: Linux `execve(2)`, `signal(7)`: ignored signals and the signal mask survive `execve`, so a
//! program would otherwise inherit what the caller set up for itself (a blocked `SIGCHLD`, Rust's
//! ignored `SIGPIPE`).

use std::ffi::{CStr, CString, c_char};
use std::io;

/// Highest signal number of Linux plus one.
const SIGNAL_END: libc::c_int = 65;

/// Replaces this process by the program at `path`; returns only when that failed.
///
/// Every signal gets its default action and is unblocked first, so a caller that goes on after a
/// failure has lost its own handlers.
#[must_use]
pub fn replace(path: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let mut argument_pointers: Vec<*const c_char> =
        arguments.iter().map(|text| text.as_ptr()).collect();
    argument_pointers.push(std::ptr::null());
    let mut environment_pointers: Vec<*const c_char> =
        environment.iter().map(|text| text.as_ptr()).collect();
    environment_pointers.push(std::ptr::null());
    reset_signals();
    // SAFETY: `path` is a valid C string; both arrays end in a null pointer, and each other element
    // points to a C string that is borrowed until the end of this function.
    #[allow(unsafe_code)]
    unsafe {
        libc::execve(path.as_ptr(), argument_pointers.as_ptr(), environment_pointers.as_ptr());
    }
    io::Error::last_os_error()
}

/// Gives every signal its default action and unblocks all of them.
fn reset_signals() {
    for signal in 1..SIGNAL_END {
        // SAFETY: setting the default action is sound for every number; the kernel and the C library
        // refuse those that cannot be set (KILL, STOP, the C library's own), which is what we want.
        #[allow(unsafe_code)]
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
    // SAFETY: `sigemptyset` initialises the whole set before it is read; the set lives on this stack
    // during both calls, and no old set is asked for.
    #[allow(unsafe_code)]
    unsafe {
        let mut none = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_reported() {
        let error = replace(c"/nonexistent/program", &[CString::new("program").unwrap()], &[]);
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    }
}
