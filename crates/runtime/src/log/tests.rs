//! Tests of [`super`].
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use orlop_sys::lock::FileLock;

use super::*;

struct Log {
    directory: tempfile::TempDir,
}

impl Log {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("c-json.log")
    }

    fn writer(&self, max_size_bytes: u64, max_files: u32) -> LogWriter {
        self.writer_of(LogFiles { max_size_bytes, max_files, ..LogFiles::json(self.path()) })
    }

    fn writer_of(&self, files: LogFiles) -> LogWriter {
        LogWriter::open(&LogPlan::Files(files)).unwrap().unwrap()
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    fn read(&self, options: ReadOptions) -> Vec<String> {
        LogReader::open(&self.path(), LogFormat::JsonFile, options)
            .unwrap()
            .map(|entry| entry.unwrap().text)
            .collect()
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::new(1_700_000_000 + second, 120_000_000).unwrap()
}

#[test]
fn lines_are_documents_and_partial_ones_wait() {
    let log = Log::new();
    let mut writer = log.writer(0, 1);
    writer.write(LogStream::Stdout, b"one\ntw", at(0)).unwrap();
    writer.write(LogStream::Stderr, b"err <&>\"\\\x01\t\xff\n", at(0)).unwrap();
    writer.write(LogStream::Stdout, b"o\r\nend", at(1)).unwrap();
    writer.finish(at(2)).unwrap();
    let expected = concat!(
        r#"{"log":"one\n","stream":"stdout","time":"2023-11-14T22:13:20.12Z"}"#,
        "\n",
        r#"{"log":"err \u003c\u0026\u003e\"\\\u0001\t\ufffd\n","stream":"stderr","time":"2023-11-14T22:13:20.12Z"}"#,
        "\n",
        r#"{"log":"two\r\n","stream":"stdout","time":"2023-11-14T22:13:21.12Z"}"#,
        "\n",
        r#"{"log":"end","stream":"stdout","time":"2023-11-14T22:13:22.12Z"}"#,
        "\n",
    );
    assert_eq!(log.text(), expected);
    let mode = fs::metadata(log.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

#[test]
fn long_lines_are_split_without_breaking_characters() {
    let log = Log::new();
    let mut writer = log.writer(0, 1);
    let plain = "a".repeat(PIECE_MAX_BYTES);
    // As in Docker, the line feed of a line that fills a piece stands alone.
    writer.write(LogStream::Stdout, format!("{plain}\n").as_bytes(), at(0)).unwrap();
    let wide = format!("{}€b\n", "a".repeat(PIECE_MAX_BYTES - 1));
    for byte in wide.as_bytes() {
        writer.write(LogStream::Stdout, &[*byte], at(0)).unwrap();
    }
    let lengths: Vec<usize> = log.read(ReadOptions::default()).iter().map(String::len).collect();
    assert_eq!(lengths, [PIECE_MAX_BYTES, 1, PIECE_MAX_BYTES - 1, 5]);
    assert_eq!(log.read(ReadOptions::default())[2..].concat(), wide);
}

#[test]
fn rotation_keeps_the_newest_files() {
    let log = Log::new();
    let mut writer = log.writer(100, 3);
    // Two documents of 66 bytes fill a file; ten lines make five files.
    for number in 0..10 {
        writer.write(LogStream::Stdout, format!("{number}\n").as_bytes(), at(number)).unwrap();
    }
    assert_eq!(log.read(ReadOptions::default()), ["4\n", "5\n", "6\n", "7\n", "8\n", "9\n"]);
    let mut names: Vec<_> =
        fs::read_dir(log.directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["c-json.log", "c-json.log.1", "c-json.log.2"]);

    let single = Log::new();
    let mut writer = single.writer(100, 1);
    let lines = (0..5).map(|number| format!("{number}\n")).collect::<String>();
    writer.write(LogStream::Stdout, lines.as_bytes(), at(0)).unwrap();
    assert_eq!(single.read(ReadOptions::default()), ["4\n"]);
}

#[test]
fn a_torn_document_spoils_only_itself() {
    let log = Log::new();
    fs::write(log.path(), r#"{"log":"lost"#).unwrap();
    log.writer(0, 1).write(LogStream::Stdout, b"kept\n", at(0)).unwrap();
    assert_eq!(log.read(ReadOptions::default()), ["kept\n"]);
}

#[test]
fn tail_time_and_stream_select() {
    let log = Log::new();
    let mut writer = log.writer(100, 9);
    for number in 0..8 {
        let stream = if number % 2 == 0 { LogStream::Stdout } else { LogStream::Stderr };
        writer.write(stream, format!("{number}\n").as_bytes(), at(number)).unwrap();
    }
    let all = ReadOptions::default();
    assert_eq!(log.read(ReadOptions { tail: Some(0), ..all.clone() }), [""; 0]);
    assert_eq!(log.read(ReadOptions { tail: Some(3), ..all.clone() }), ["5\n", "6\n", "7\n"]);
    assert_eq!(log.read(ReadOptions { tail: Some(99), ..all.clone() }).len(), 8);
    assert_eq!(
        log.read(ReadOptions { stdout: false, ..all.clone() }),
        ["1\n", "3\n", "5\n", "7\n"]
    );
    let span = ReadOptions { since: Some(at(2)), until: Some(at(4)), ..all.clone() };
    assert_eq!(log.read(span), ["2\n", "3\n", "4\n"]);
    let missing = LogReader::open(Path::new("/nonexistent/x"), LogFormat::JsonFile, all).unwrap();
    assert_eq!(missing.count(), 0);
}

#[test]
fn following_goes_through_rotations_until_the_lock_is_free() {
    let log = Log::new();
    let lock = FileLock::try_acquire(&log.directory.path().join("lock")).unwrap().unwrap();
    let mut writer = log.writer(100, 40);
    writer.write(LogStream::Stdout, b"0\n1\n", at(0)).unwrap();
    let options = ReadOptions {
        tail: Some(1),
        follow: Some(log.directory.path().to_owned()),
        ..ReadOptions::default()
    };
    let reader = LogReader::open(&log.path(), LogFormat::JsonFile, options).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for number in 2..60 {
                writer.write(LogStream::Stdout, format!("{number}\n").as_bytes(), at(1)).unwrap();
                if number % 20 == 0 {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
            }
            writer.write(LogStream::Stdout, b"last", at(1)).unwrap();
            writer.finish(at(2)).unwrap();
            drop(lock);
        });
        let texts: Vec<String> = reader.map(|entry| entry.unwrap().text).collect();
        let mut expected: Vec<String> = (1..60).map(|number| format!("{number}\n")).collect();
        expected.push("last".to_owned());
        assert_eq!(texts, expected);
    });
}

#[test]
fn timestamps_have_nine_digits() {
    let entry = LogEntry {
        stream: LogStream::Stdout,
        time: at(0),
        text: "x\n".to_owned(),
        attributes: [("k".to_owned(), "a b&".to_owned())].into(),
    };
    let mut out = Vec::new();
    entry.write_to(&mut out, Prefix { timestamps: true, details: true }).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "2023-11-14T22:13:20.120000000Z k=a+b%26 x\n");
}

#[test]
fn compressed_files_are_read_as_the_others() {
    for format in [LogFormat::JsonFile, LogFormat::Local] {
        let log = Log::new();
        let files = LogFiles {
            format,
            max_size_bytes: 200,
            max_files: 4,
            compress: true,
            ..LogFiles::json(log.path())
        };
        let mut writer = log.writer_of(files);
        for number in 0..20 {
            let line = format!("line {number}\n");
            writer.write(LogStream::Stdout, line.as_bytes(), at(number)).unwrap();
        }
        let read = |options| -> Vec<String> {
            let reader = LogReader::open(&log.path(), format, options).unwrap();
            reader.map(|entry| entry.unwrap().text).collect()
        };
        let all = read(ReadOptions::default());
        assert_eq!(all.last().unwrap(), "line 19\n");
        assert!(all.len() > 8, "{all:?}");
        let numbers: Vec<usize> =
            all.iter().map(|line| line.trim()[5..].parse().unwrap()).collect();
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
        let tail = read(ReadOptions { tail: Some(7), ..ReadOptions::default() });
        assert_eq!(tail, all[all.len() - 7..]);
        let kept = fs::read_dir(log.directory.path()).unwrap().count();
        assert_eq!(kept, 4);
        assert!(fs::exists(log.directory.path().join("c-json.log.3.gz")).unwrap());
    }
}

#[test]
fn overlong_lines_of_the_local_format_are_put_together() {
    let log = Log::new();
    let files = LogFiles { format: LogFormat::Local, ..LogFiles::json(log.path()) };
    let mut writer = log.writer_of(files.clone());
    let long = "x".repeat(40_000) + "\n";
    writer.write(LogStream::Stdout, long.as_bytes(), at(0)).unwrap();
    writer.write(LogStream::Stdout, b"short\nrest", at(1)).unwrap();
    writer.finish(at(2)).unwrap();
    drop(writer);
    // A torn record at the end is cut off by the next writer.
    let mut bytes = fs::read(log.path()).unwrap();
    let whole = bytes.len();
    bytes.extend_from_slice(&[0, 0, 0, 99, 1]);
    fs::write(log.path(), bytes).unwrap();
    drop(log.writer_of(files));
    assert_eq!(fs::metadata(log.path()).unwrap().len(), whole as u64);
    let options = ReadOptions::default();
    let reader = LogReader::open(&log.path(), LogFormat::Local, options).unwrap();
    let text: String = reader.map(|entry| entry.unwrap().text).collect();
    assert_eq!(text, format!("{long}short\nrest"));
}
