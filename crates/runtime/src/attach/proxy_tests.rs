//! Tests of [`super`], with the monitor's side played by the test.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use super::*;
use crate::attach::frame::{Decoder, header};

fn options(tty: bool) -> ProxyOptions {
    ProxyOptions { tty, detach_keys: DETACH_KEYS.to_vec(), signal_target: None }
}

fn send(stream: &mut UnixStream, kind: Kind, payload: &[u8]) {
    stream.write_all(&header(kind, payload.len())).unwrap();
    stream.write_all(payload).unwrap();
}

fn receive_all(stream: &mut UnixStream) -> Vec<(Kind, Vec<u8>)> {
    let (mut bytes, mut decoder, mut frames) = (Vec::new(), Decoder::default(), Vec::new());
    stream.read_to_end(&mut bytes).unwrap();
    decoder.feed(&bytes);
    while let Some(frame) = decoder.next_frame().unwrap() {
        frames.push((frame.kind, frame.payload.to_vec()));
    }
    frames
}

#[test]
fn input_and_output_are_copied_until_the_exit() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let (stdin, mut typed) = std::io::pipe().unwrap();
    let (mut shown, stdout) = std::io::pipe().unwrap();
    let (mut shown_error, stderr) = std::io::pipe().unwrap();
    typed.write_all(b"hello").unwrap();
    drop(typed);
    let big = vec![b'x'; 60_000];
    let expected = big.clone();
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        shown.read_to_end(&mut text).unwrap();
        text
    });
    send(&mut theirs, Kind::Stdout, &big);
    send(&mut theirs, Kind::Stderr, b"warn");
    send(&mut theirs, Kind::Stdout, b"end");
    send(&mut theirs, Kind::Exit, &[42]);
    let mut client = Client::new(ours);
    let outcome =
        client.proxy(Some(stdin.as_fd()), stdout.as_fd(), stderr.as_fd(), &options(false)).unwrap();
    assert_eq!(outcome, Outcome::Exit(42));
    drop((stdout, stderr, client));
    assert_eq!(reader.join().unwrap(), [expected, b"end".to_vec()].concat());
    let mut text = String::new();
    shown_error.read_to_string(&mut text).unwrap();
    assert_eq!(text, "warn");
    let frames = receive_all(&mut theirs);
    let expected =
        [(Kind::Stdin, vec![]), (Kind::Stdin, b"hello".to_vec()), (Kind::StdinEnd, vec![])];
    assert_eq!(frames, expected);
}

#[test]
fn a_monitor_that_dies_is_a_lost_connection() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    let null = File::options().write(true).open("/dev/null").unwrap();
    let outcome = Client::new(ours).proxy(None, null.as_fd(), null.as_fd(), &options(false));
    assert_eq!(outcome.unwrap(), Outcome::Lost);
}

#[test]
fn nobody_reading_the_output_ends_the_command() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    send(&mut theirs, Kind::Stdout, b"x");
    let outcome = Client::new(ours).proxy(None, writer.as_fd(), writer.as_fd(), &options(false));
    assert_eq!(outcome.unwrap(), Outcome::Interrupted(libc::SIGPIPE));
}

#[test]
fn a_terminal_is_raw_and_detaches_by_keys() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let pty = orlop_sys::pty::Pty::open().unwrap();
    orlop_sys::pty::set_window_size(&pty.master, 24, 81).unwrap();
    let before = rustix::termios::tcgetattr(&pty.slave).unwrap().local_modes;
    let mut keyboard = File::from(pty.master);
    // Typed before the terminal is raw: without a line feed it would never be seen otherwise.
    let typing = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        keyboard.write_all(b"a\x10b\x10\x10\x11c").unwrap();
        keyboard
    });
    let mut client = Client::new(ours);
    let slave = pty.slave.as_fd();
    let outcome = client.proxy(Some(slave), slave, slave, &options(true)).unwrap();
    assert_eq!(outcome, Outcome::Detached);
    assert_eq!(rustix::termios::tcgetattr(&pty.slave).unwrap().local_modes, before);
    drop((client, typing.join().unwrap()));
    let frames = receive_all(&mut theirs);
    assert_eq!(frames[0], (Kind::Stdin, vec![]));
    assert_eq!(frames[1], (Kind::Resize, vec![0, 24, 0, 81]));
    let typed: Vec<u8> = frames[2..].iter().flat_map(|(_, payload)| payload.clone()).collect();
    assert_eq!(typed, b"a\x10b\x10");
}

#[test]
fn keys_are_found_across_reads() {
    let cases: [(&[u8], &[&str], &str, bool); 5] = [
        (b"", &["abc"], "abc", false),
        (b"xy", &["ax", "y", "rest"], "a", true),
        (b"xy", &["axx", "z"], "axxz", false),
        (b"xxy", &["xxxy"], "x", true),
        (b"aab", &["a", "a", "a", "c"], "aaac", false),
    ];
    for (keys, parts, expected, detached) in cases {
        let mut matcher = KeyMatcher::new(keys);
        let mut out = Vec::new();
        let found = parts.iter().any(|part| matcher.feed(part.as_bytes(), &mut out));
        assert_eq!((String::from_utf8(out).unwrap().as_str(), found), (expected, detached));
    }
}

#[test]
fn detach_keys_are_parsed() {
    assert_eq!(parse_detach_keys("ctrl-p,ctrl-q").unwrap(), DETACH_KEYS);
    assert_eq!(parse_detach_keys("a,ctrl-@,ctrl-[,ctrl-_,DEL").unwrap(), [b'a', 0, 27, 31, 127]);
    for wrong in ["ctrl-p,ctrl-1", "", "ctrl-P", "ab", "a,,b"] {
        let error = parse_detach_keys(wrong).unwrap_err().to_string();
        assert_eq!(error, format!("Invalid detach keys ({wrong}) provided"));
    }
}
