//! Tests of plain lines: one step after the other, steps at once, errors.
#![allow(clippy::unwrap_used)]

use super::*;
use jiff::Timestamp;
use orlop_engine::build::progress::Event;

struct Script {
    screen: Plain,
    start: Instant,
    out: Vec<u8>,
}

impl Script {
    fn new(names: &[&str]) -> Self {
        let mut script = Self { screen: Plain::new(), start: Instant::now(), out: Vec::new() };
        for (at, name) in names.iter().enumerate() {
            let (vertex, name) = (at + 1, (*name).to_owned());
            let event = Event::Announced { vertex, digest: name.clone(), name, inputs: vec![] };
            script.at(0, event);
        }
        script
    }

    fn at(&mut self, ms: u64, event: Event) {
        let at = self.start + Duration::from_millis(ms);
        let stamped = Stamped { event, at, time: Timestamp::UNIX_EPOCH };
        self.screen.event(stamped, &mut self.out).unwrap();
        self.screen.refresh(at, &mut self.out).unwrap();
    }

    fn log(&mut self, ms: u64, vertex: usize, text: &str) {
        self.at(ms, Event::Log { vertex, stream: 1, data: text.as_bytes().to_vec() });
    }

    fn finish(mut self) -> String {
        let end = self.start + Duration::from_secs(60);
        self.screen.finish(end, &mut self.out).unwrap();
        String::from_utf8(self.out).unwrap()
    }
}

const HEAD: &str = "#0 building with \"default\" instance using orlop driver\n\n";

#[test]
fn steps_follow_each_other() {
    let mut script =
        Script::new(&["[internal] load build definition", "[1/2] FROM a", "[2/2] RUN b"]);
    script.at(0, Event::Started { vertex: 1 });
    let id = "transferring dockerfile".to_owned();
    script.at(5, Event::Status { vertex: 1, id, current: 31, total: 31, done: true });
    script.at(10, Event::Ended { vertex: 1, outcome: Outcome::Done });
    script.at(20, Event::Ended { vertex: 2, outcome: Outcome::Cached });
    script.at(30, Event::Started { vertex: 3 });
    script.log(153, 3, "one\ntw");
    script.log(200, 3, "o\n");
    script.at(1330, Event::Ended { vertex: 3, outcome: Outcome::Done });
    assert_eq!(
        script.finish(),
        format!(
            "{HEAD}#1 [internal] load build definition\n#1 transferring dockerfile: 31B done\n#1 DONE 0.0s\n\n#2 [1/2] FROM a\n#2 CACHED\n\n#3 [2/2] RUN b\n#3 0.123 one\n#3 0.123 two\n#3 DONE 1.3s\n"
        )
    );
}

#[test]
fn of_steps_that_run_at_once_one_has_the_screen() {
    let mut script = Script::new(&["A", "B"]);
    script.at(0, Event::Started { vertex: 1 });
    script.at(0, Event::Started { vertex: 2 });
    script.log(100, 1, "a1\n");
    script.log(200, 2, "b1\n");
    script.log(300, 1, "a2\n");
    script.at(400, Event::Ended { vertex: 2, outcome: Outcome::Done });
    script.log(500, 1, "a3\n");
    script.at(600, Event::Ended { vertex: 1, outcome: Outcome::Done });
    assert_eq!(
        script.finish(),
        format!(
            "{HEAD}#1 A\n#1 0.100 a1\n#1 0.300 a2\n#1 ...\n\n#2 B\n#2 0.200 b1\n#2 DONE 0.4s\n\n#1 A\n#1 0.500 a3\n#1 DONE 0.6s\n"
        )
    );
}

#[test]
fn a_silent_step_gives_the_screen_up() {
    let mut script = Script::new(&["A", "B"]);
    script.at(0, Event::Started { vertex: 1 });
    script.at(0, Event::Started { vertex: 2 });
    script.log(100, 2, "b1\n");
    script.log(7000, 2, "b2\n");
    let text = script.finish();
    assert_eq!(text, format!("{HEAD}#1 A\n#1 ...\n\n#2 B\n#2 0.100 b1\n#2 7.000 b2\n"));
}

#[test]
fn a_failure_shows_its_last_lines_again() {
    let mut script = Script::new(&["[2/2] RUN false", "other"]);
    script.at(0, Event::Started { vertex: 1 });
    script.at(0, Event::Started { vertex: 2 });
    for line in 1..=12 {
        script.log(100, 1, &format!("line {line}\n"));
    }
    script.at(200, Event::Ended { vertex: 1, outcome: Outcome::Failed("process failed".into()) });
    script.at(300, Event::Ended { vertex: 2, outcome: Outcome::Cancelled });
    let text = script.finish();
    assert!(text.contains("#1 ERROR: process failed\n\n#2 other\n#2 CANCELED\n"), "{text}");
    let last: String = (3..=12).map(|line| format!("0.100 line {line}\n")).collect();
    assert!(text.ends_with(&format!("------\n > [2/2] RUN false:\n{last}------\n")), "{text}");
}

#[test]
fn an_open_line_is_shown_as_it_grows() {
    let mut script = Script::new(&["A"]);
    script.at(0, Event::Started { vertex: 1 });
    script.log(100, 1, "wait");
    script.log(200, 1, "ing");
    script.log(300, 1, " done\nnext");
    script.at(400, Event::Ended { vertex: 1, outcome: Outcome::Done });
    assert_eq!(
        script.finish(),
        format!("{HEAD}#1 A\n#1 0.100 waiting done\n#1 0.300 next\n#1 DONE 0.4s\n")
    );
}

#[test]
fn warnings_stand_at_the_step_that_read_the_file() {
    let mut script = Script::new(&["[internal] load build definition from Dockerfile"]);
    script.at(0, Event::Started { vertex: 1 });
    let (rule, message) = ("StageNameCasing".to_owned(), "Stage name 'A'".to_owned());
    script.at(
        1,
        Event::Warning { rule, message, detail: String::new(), url: String::new(), line: 2 },
    );
    script.at(10, Event::Ended { vertex: 1, outcome: Outcome::Done });
    assert!(script.finish().contains("#1 WARN: StageNameCasing: Stage name 'A' (line 2)\n#1 DONE"));
}
