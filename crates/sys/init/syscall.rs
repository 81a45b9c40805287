//! The system calls that the init program makes, without any library.

use core::arch::{asm, global_asm};

/// A set of signals is eight bytes to the kernel.
const SET_BYTES: usize = 8;
const SIG_BLOCK: usize = 0;
const SIG_SETMASK: usize = 2;
/// `TIOCSPGRP`
const SET_FOREGROUND: usize = 0x5410;
/// `__WALL | WNOHANG`
const WAIT_OPTIONS: usize = 0x4000_0000 | 1;
const SIGCHLD: usize = 17;

#[cfg(target_arch = "x86_64")]
mod number {
    pub const WRITE: usize = 1;
    pub const SIGPROCMASK: usize = 14;
    pub const IOCTL: usize = 16;
    pub const GETPID: usize = 39;
    pub const CLONE: usize = 56;
    pub const EXECVE: usize = 59;
    pub const WAIT4: usize = 61;
    pub const KILL: usize = 62;
    pub const SETPGID: usize = 109;
    pub const SIGTIMEDWAIT: usize = 128;
    pub const EXIT_GROUP: usize = 231;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const IOCTL: usize = 29;
    pub const WRITE: usize = 64;
    pub const EXIT_GROUP: usize = 94;
    pub const KILL: usize = 129;
    pub const SIGPROCMASK: usize = 135;
    pub const SIGTIMEDWAIT: usize = 137;
    pub const SETPGID: usize = 154;
    pub const GETPID: usize = 172;
    pub const CLONE: usize = 220;
    pub const EXECVE: usize = 221;
    pub const WAIT4: usize = 260;
}

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call begin",
    "ud2",
);

#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, #0", "mov x0, sp", "bl begin", "brk #1");

/// # Safety
/// The arguments must be what the kernel wants for this number.
unsafe fn call(number: usize, arguments: [usize; 5]) -> isize {
    let [a, b, c, d, e] = arguments;
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the kernel changes rax, rcx and r11 only; the arguments are the caller's business.
    unsafe {
        asm!(
            "syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            in("r8") e, lateout("rcx") _, lateout("r11") _, options(nostack)
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the kernel changes x0 only; the arguments are the caller's business.
    unsafe {
        asm!(
            "svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d, in("x4") e,
            options(nostack)
        );
    }
    result
}

pub fn exit(code: i32) -> ! {
    // SAFETY: takes a number and does not return.
    unsafe { call(number::EXIT_GROUP, [code as usize, 0, 0, 0, 0]) };
    #[allow(clippy::empty_loop)]
    loop {}
}

/// As fork(2): a copy of this process.
pub fn fork() -> isize {
    // SAFETY: without CLONE_VM the copy has its own memory, and goes on on its own stack.
    unsafe { call(number::CLONE, [SIGCHLD, 0, 0, 0, 0]) }
}

/// Blocks signals; gives what was blocked before.
pub fn block(signals: u64) -> u64 {
    let mut before = 0_u64;
    let (set, old) = ((&raw const signals) as usize, (&raw mut before) as usize);
    // SAFETY: both point to eight bytes that live long enough.
    unsafe { call(number::SIGPROCMASK, [SIG_BLOCK, set, old, SET_BYTES, 0]) };
    before
}

pub fn block_exactly(signals: u64) {
    // SAFETY: points to eight bytes that live long enough.
    unsafe {
        call(number::SIGPROCMASK, [SIG_SETMASK, (&raw const signals) as usize, 0, SET_BYTES, 0])
    };
}

/// Waits for one of the signals; below 1 if something interrupted it.
pub fn wait_signal(signals: u64) -> i32 {
    // SAFETY: points to eight bytes that live long enough; nothing is wanted back, there is no limit.
    let signal =
        unsafe { call(number::SIGTIMEDWAIT, [(&raw const signals) as usize, 0, 0, SET_BYTES, 0]) };
    signal as i32
}

pub fn wait_any(status: &mut i32) -> isize {
    let status: *mut i32 = status;
    // SAFETY: points to four bytes that live long enough.
    unsafe { call(number::WAIT4, [usize::MAX, status as usize, WAIT_OPTIONS, 0, 0]) }
}

pub fn send(process: i32, signal: i32) {
    // SAFETY: takes two numbers.
    unsafe { call(number::KILL, [process as usize, signal as usize, 0, 0, 0]) };
}

pub fn set_group(process: i32, group: i32) {
    // SAFETY: takes two numbers.
    unsafe { call(number::SETPGID, [process as usize, group as usize, 0, 0, 0]) };
}

pub fn process_id() -> i32 {
    // SAFETY: takes nothing.
    unsafe { call(number::GETPID, [0; 5]) as i32 }
}

/// Puts a process group in front of the terminal that is standard input.
pub fn take_terminal(group: i32) {
    // SAFETY: points to four bytes that live long enough.
    unsafe { call(number::IOCTL, [0, SET_FOREGROUND, (&raw const group) as usize, 0, 0]) };
}

/// As execve(2); only a failure returns.
pub fn execute(
    file: *const u8,
    arguments: *const *const u8,
    environment: *const *const u8,
) -> isize {
    let words = [file as usize, arguments as usize, environment as usize, 0, 0];
    // SAFETY: the lists are the kernel's own, or a string that ends with a zero byte.
    unsafe { call(number::EXECVE, words) }
}

pub fn write_error(bytes: *const u8, count: usize) {
    // SAFETY: the caller has measured them.
    unsafe { call(number::WRITE, [2, bytes as usize, count, 0, 0]) };
}
