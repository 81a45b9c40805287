//! Where the lines of a scenario are played: a folder of its own with a program called `docker`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::case::{Answer, Line};
use super::normal::Rules;
use crate::process::run;

/// Time that any one line may take.
const LINE_LIMIT: Duration = Duration::from_secs(120);

/// Waits until a command line succeeds, for what happens a moment later in either engine.
const AWAIT: &str = "#!/bin/sh
i=0
until sh -c \"$1\" >/dev/null 2>&1; do
    i=$((i + 1))
    [ $i -lt 300 ] || { echo \"await: never true: $1\" >&2; exit 1; }
    sleep 0.1
done
";

/// A place to play one scenario.
#[derive(Debug)]
pub struct Stage {
    programs: PathBuf,
    work: PathBuf,
    busybox: String,
    rules: Rules,
}

impl Stage {
    /// Makes the folders below `folder`; `words` is the engine's command with its global options,
    /// `busybox` the tar that lines know as `$BUSYBOX`.
    ///
    /// # Panics
    /// When the folder cannot be made.
    #[track_caller]
    #[must_use]
    pub fn new(folder: &Path, words: &[String], busybox: &str, rules: Rules) -> Self {
        let (programs, work) = (folder.join("programs"), folder.join("work"));
        for path in [&programs, &work] {
            std::fs::create_dir_all(path)
                .unwrap_or_else(|error| panic!("create {}: {error}", path.display()));
        }
        let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        program(&programs.join("docker"), &format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" ")));
        program(&programs.join("await"), AWAIT);
        let rules = rules.place(&work, "<dir>").place(Path::new(busybox), "<tar>");
        let rules = match std::fs::read(busybox) {
            Ok(bytes) => rules.image_size(crate::tar::content_bytes(&bytes)),
            Err(_) => rules,
        };
        Self { programs, work, busybox: busybox.to_owned(), rules }
    }

    /// Plays a line; gives its answer after the rules.
    ///
    /// # Errors
    /// When a line of set-up fails.
    pub fn play(&self, line: &Line) -> Result<Answer, String> {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("sh");
        command
            .args(["-c", &line.script])
            .current_dir(&self.work)
            .env_clear()
            .env("PATH", format!("{}:{path}", self.programs.display()))
            .env("HOME", &self.work)
            .env("BUSYBOX", &self.busybox)
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .env("TERM", "dumb");
        let output = run(&mut command, b"", LINE_LIMIT);
        if !line.checked && output.code != 0 {
            return Err(format!("the set-up failed: {output}"));
        }
        let raw = Answer { stdout: output.stdout, stderr: output.stderr, code: output.code };
        Ok(self.rules.answer(&raw))
    }

    /// The rules of this stage, for an answer from a file.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }
}

fn program(path: &Path, text: &str) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o755)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
}

/// A word as the shell reads it back.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::differential::Topic;

    #[test]
    fn plays_lines_with_the_engine_under_one_name() {
        let folder = std::env::temp_dir().join(format!("orlop-stage-{}", std::process::id()));
        let words = ["echo".to_owned(), "it's".to_owned()];
        let stage = Stage::new(&folder, &words, "/some.tar", Rules::default());
        let text = "=== s\n% echo x > f\n$ docker \"$PWD/f\" $BUSYBOX; cat f; exit 3\n% false\n$ await 'test -e f'\n";
        let topic = Topic::parse(text).unwrap();
        let answers: Vec<_> =
            topic.scenarios[0].lines.iter().map(|line| stage.play(line)).collect();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(
            answers[1].as_ref().unwrap().to_string(),
            "    it's <dir>/f <tar>\n    x\n  = 3\n"
        );
        assert!(answers[2].is_err());
        assert_eq!(answers[3], Ok(Answer::default()));
    }
}
