//! `docker-init`: the first process of a container that asked for one (`--init`).
//!
//! A program of its own without any library, so that it runs in every image: it starts the command as
//! its child in a process group of its own, hands on every signal that it gets, collects every orphan,
//! and ends with the command's exit code (128 and the signal's number if a signal ended it).
//!
//! `init [--] COMMAND [ARGUMENT…]`. Built by `build.rs`, not part of the crate.

#![no_std]
#![no_main]
#![allow(unsafe_code)]

mod syscall;

use syscall::*;

/// A signal set that holds every signal.
const ALL: u64 = !0;
/// Signals that tell of a mistake of this very process: blocking them would hide it.
const OWN: u64 = 1 << (4 - 1)
    | 1 << (5 - 1)
    | 1 << (6 - 1)
    | 1 << (7 - 1)
    | 1 << (8 - 1)
    | 1 << (11 - 1)
    | 1 << (31 - 1);
const SIGCHLD: i32 = 17;
const SIGTTIN: i32 = 21;
const SIGTTOU: i32 = 22;
const ECHILD: isize = -10;
const ENOENT: isize = -2;
const ENOTDIR: isize = -20;
const EACCES: isize = -13;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(255)
}

/// Where the kernel's list of arguments and environment is.
#[unsafe(no_mangle)]
unsafe extern "C" fn begin(stack: *const usize) -> ! {
    // SAFETY: the kernel puts the number of arguments, the arguments, a null pointer, the environment
    // and a null pointer there (System V ABI).
    let (count, arguments) = unsafe { (*stack, stack.add(1).cast::<*const u8>()) };
    let environment = unsafe { arguments.add(count + 1) };
    let mut first = 1;
    if count > first && is_word(unsafe { *arguments.add(first) }, b"--") {
        first += 1;
    }
    if count <= first {
        say(b"docker-init: no command\n");
        exit(1);
    }
    let command = unsafe { arguments.add(first) };
    let before = block(ALL & !OWN);
    let child = fork();
    if child < 0 {
        say(b"docker-init: cannot fork\n");
        exit(1);
    }
    if child == 0 {
        become_command(command, environment, before)
    }
    serve(child as i32)
}

/// The child: leads a group of its own, in front of the terminal if there is one.
fn become_command(command: *const *const u8, environment: *const *const u8, mask: u64) -> ! {
    set_group(0, 0);
    // Without a terminal this fails, and nothing is lost.
    take_terminal(process_id());
    block_exactly(mask);
    let error = execute_in_path(command, environment);
    // SAFETY: the command has at least one word.
    let name = unsafe { *command };
    say(b"[FATAL docker-init] exec ");
    say_word(name);
    say(match error {
        ENOENT | ENOTDIR => b" failed: No such file or directory\n",
        EACCES => b" failed: Permission denied\n",
        _ => b" failed\n",
    });
    exit(if matches!(error, ENOENT | ENOTDIR) { 127 } else { 126 })
}

/// The parent: hands signals on and collects what ends, until the command has ended.
fn serve(child: i32) -> ! {
    loop {
        let signal = wait_signal(ALL & !OWN);
        match signal {
            ..=0 => {}
            SIGCHLD => {
                if let Some(code) = collect(child) {
                    exit(code);
                }
            }
            // Ours, because we are not in front of the terminal any more.
            SIGTTIN | SIGTTOU => {}
            signal => send(child, signal),
        }
    }
}

/// Collects everything that has ended; the exit code of the command if it is among it.
fn collect(child: i32) -> Option<i32> {
    let mut code = None;
    loop {
        let mut status = 0;
        let ended = wait_any(&mut status);
        if ended == 0 || ended == ECHILD {
            return code;
        }
        if ended as i32 == child {
            let signal = status & 0x7f;
            code = Some(if signal == 0 { status >> 8 & 0xff } else { 128 + signal });
        }
    }
}

/// Executes a command, looked for in `PATH` as execvp(3) does it; only a failure returns.
fn execute_in_path(command: *const *const u8, environment: *const *const u8) -> isize {
    // SAFETY: as in `begin`.
    let name = unsafe { *command };
    if length(name) == 0 {
        return ENOENT;
    }
    if contains(name, b'/') {
        return execute(name, command, environment);
    }
    let mut path = search_path(environment);
    let mut worst = ENOENT;
    let mut buffer = [0_u8; 4096];
    loop {
        // SAFETY: `path` stays inside a string that ends with a zero byte.
        let mut size = 0;
        while !matches!(unsafe { *path.add(size) }, 0 | b':') {
            size += 1;
        }
        if let Some(()) = join(path, size, name, &mut buffer) {
            match execute(buffer.as_ptr(), command, environment) {
                ENOENT | ENOTDIR => {}
                error => worst = error,
            }
        }
        // SAFETY: as above.
        if unsafe { *path.add(size) } == 0 {
            return worst;
        }
        path = unsafe { path.add(size + 1) };
    }
}

/// Writes `directory/name` with a zero byte; `None` if it is too long.
fn join(directory: *const u8, size: usize, name: *const u8, out: &mut [u8; 4096]) -> Option<()> {
    let name_length = length(name);
    if size + name_length + 2 > out.len() {
        return None;
    }
    let mut end = 0;
    let mut put = |byte| {
        out[end] = byte;
        end += 1;
    };
    for index in 0..size {
        // SAFETY: the caller has measured it.
        put(unsafe { *directory.add(index) });
    }
    if size > 0 {
        put(b'/');
    }
    for index in 0..=name_length {
        // SAFETY: measured above, and a zero byte follows.
        put(unsafe { *name.add(index) });
    }
    Some(())
}

fn search_path(environment: *const *const u8) -> *const u8 {
    let mut index = 0;
    loop {
        // SAFETY: the list ends with a null pointer.
        let entry = unsafe { *environment.add(index) };
        if entry.is_null() {
            return c"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".as_ptr().cast();
        }
        if begins_with(entry, b"PATH=") {
            // SAFETY: at least five bytes are there.
            return unsafe { entry.add(5) };
        }
        index += 1;
    }
}

fn begins_with(text: *const u8, prefix: &[u8]) -> bool {
    // SAFETY: stops at the first difference, at the latest at the zero byte.
    prefix.iter().enumerate().all(|(index, byte)| unsafe { *text.add(index) } == *byte)
}

fn is_word(text: *const u8, word: &[u8]) -> bool {
    begins_with(text, word) && length(text) == word.len()
}

fn contains(text: *const u8, wanted: u8) -> bool {
    // SAFETY: measured by `length`.
    (0..length(text)).any(|index| unsafe { *text.add(index) } == wanted)
}

fn length(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: the kernel's strings end with a zero byte.
    while unsafe { *text.add(length) } != 0 {
        length += 1;
    }
    length
}

fn say(text: &[u8]) {
    write_error(text.as_ptr(), text.len());
}

fn say_word(text: *const u8) {
    write_error(text, length(text));
}

/// What the compiler calls to copy and to fill; there is no C library to have it.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(target: *mut u8, value: i32, count: usize) -> *mut u8 {
    for index in 0..count {
        // SAFETY: the compiler owns `count` bytes there. Volatile, or this becomes a call of itself.
        unsafe { target.add(index).write_volatile(value as u8) };
    }
    target
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(target: *mut u8, source: *const u8, count: usize) -> *mut u8 {
    for index in 0..count {
        // SAFETY: as above, and the two do not overlap.
        unsafe { target.add(index).write_volatile(*source.add(index)) };
    }
    target
}

/// The compiler makes calls of this of loops that count up to a zero byte.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: the caller's string ends with a zero byte. Volatile, or this becomes a call of itself.
    while unsafe { text.add(length).read_volatile() } != 0 {
        length += 1;
    }
    length
}

/// Named by the core library's tables for unwinding, which never happens here.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
