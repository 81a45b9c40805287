//! What is measured: one table of commands that every engine understands.
//!
//! In the words, `{image}` is the image, `{tar}` a large tar, `{n}` the round, `{i}` counts the
//! repetitions of [`Workload::once`], and a word with `{each}` becomes one word for each of them.

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Workload {
    /// Name for `--only` and the report.
    pub(super) name: &'static str,
    /// What it is, for the report.
    pub(super) what: &'static str,
    /// Measured only when it is asked for: it takes long.
    pub(super) heavy: bool,
    /// Most rounds.
    pub(super) rounds: usize,
    /// Command before the first round, and how often.
    pub(super) once: Option<(usize, &'static [&'static str])>,
    /// Command before each round.
    pub(super) before: Option<&'static [&'static str]>,
    /// The command that is timed.
    pub(super) timed: &'static [&'static str],
    /// Command after each round.
    pub(super) after: Option<&'static [&'static str]>,
    /// Command after the last round.
    pub(super) finally: Option<&'static [&'static str]>,
}

/// The name of the row that `RUN OPTION…` of the command line belongs to.
pub(super) const RUN: &str = "run";

/// Rounds of a workload that says nothing else.
const MANY: usize = usize::MAX;

const NOTHING: Workload = Workload {
    name: "",
    what: "",
    heavy: false,
    rounds: MANY,
    once: None,
    before: None,
    timed: &[],
    after: None,
    finally: None,
};

/// Makes 50,000 empty files with the shell of the image.
const MANY_FILES: &str =
    "mkdir /d && cd /d && i=0; while [ $i -lt 50000 ]; do : >$i; i=$((i+1)); done";

/// Everything that is measured, in this order within each round.
pub(super) const WORKLOADS: &[Workload] = &[
    Workload {
        name: RUN,
        what: "`run --rm IMAGE true` on the bridge",
        timed: &["run", "--rm", "{image}", "true"],
        ..NOTHING
    },
    Workload {
        name: "run-none",
        what: "the same without network",
        timed: &["run", "--rm", "--network", "none", "{image}", "true"],
        ..NOTHING
    },
    Workload {
        name: "run-volumes",
        what: "`run --rm` with five named volumes",
        timed: &[
            "run",
            "--rm",
            "-v",
            "orlop-bench-a:/a",
            "-v",
            "orlop-bench-b:/b",
            "-v",
            "orlop-bench-c:/c",
            "-v",
            "orlop-bench-d:/d",
            "-v",
            "orlop-bench-e:/e",
            "{image}",
            "true",
        ],
        finally: Some(&[
            "volume",
            "rm",
            "orlop-bench-a",
            "orlop-bench-b",
            "orlop-bench-c",
            "orlop-bench-d",
            "orlop-bench-e",
        ]),
        ..NOTHING
    },
    Workload {
        name: "exec",
        what: "`exec CONTAINER true`",
        once: Some((1, &["run", "-d", "--name", "orlop-bench-idle", "{image}", "sleep", "3600"])),
        timed: &["exec", "orlop-bench-idle", "true"],
        finally: Some(&["rm", "-f", "orlop-bench-idle"]),
        ..NOTHING
    },
    Workload {
        name: "volume-create",
        what: "`volume create NAME`",
        timed: &["volume", "create", "orlop-bench-{n}"],
        after: Some(&["volume", "rm", "orlop-bench-{n}"]),
        ..NOTHING
    },
    Workload {
        name: "volume-inspect",
        what: "`volume inspect NAME`",
        once: Some((1, &["volume", "create", "orlop-bench-seen"])),
        timed: &["volume", "inspect", "orlop-bench-seen"],
        finally: Some(&["volume", "rm", "orlop-bench-seen"]),
        ..NOTHING
    },
    Workload { name: "volume-ls", what: "`volume ls`", timed: &["volume", "ls"], ..NOTHING },
    Workload {
        name: "volume-rm",
        what: "`volume rm NAME`",
        before: Some(&["volume", "create", "orlop-bench-{n}"]),
        timed: &["volume", "rm", "orlop-bench-{n}"],
        ..NOTHING
    },
    Workload {
        name: "ps",
        what: "`ps -a` with 500 containers",
        heavy: true,
        once: Some((500, &["create", "--name", "orlop-bench-many-{i}", "{image}", "true"])),
        timed: &["ps", "-a"],
        finally: Some(&["rm", "-f", "orlop-bench-many-{each}"]),
        ..NOTHING
    },
    Workload {
        name: "rm-files",
        what: "`rm` of a container that has written 50,000 files",
        heavy: true,
        rounds: 3,
        before: Some(&["run", "--name", "orlop-bench-files", "{image}", "sh", "-c", MANY_FILES]),
        timed: &["rm", "orlop-bench-files"],
        ..NOTHING
    },
    Workload {
        name: "import",
        what: "`import` of a tar of 300 MB",
        heavy: true,
        rounds: 3,
        timed: &["import", "{tar}", "orlop-bench:large"],
        after: Some(&["rmi", "orlop-bench:large"]),
        ..NOTHING
    },
];

/// What stands for the placeholders.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values<'a> {
    pub(super) image: &'a str,
    pub(super) tar: &'a str,
    pub(super) round: usize,
    pub(super) repetition: usize,
    pub(super) repetitions: usize,
}

/// The words of a command.
pub(super) fn expand(words: &[&str], values: Values<'_>) -> Vec<String> {
    let fill = |word: &str, each: usize| {
        word.replace("{image}", values.image)
            .replace("{tar}", values.tar)
            .replace("{n}", &values.round.to_string())
            .replace("{i}", &values.repetition.to_string())
            .replace("{each}", &each.to_string())
    };
    words
        .iter()
        .flat_map(|word| {
            let count = if word.contains("{each}") { values.repetitions } else { 1 };
            (0..count).map(|each| fill(word, each)).collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_in_the_placeholders() {
        let values = Values { image: "i:1", tar: "/t", round: 7, repetition: 2, repetitions: 3 };
        assert_eq!(
            expand(&["a", "{image}", "v-{n}", "c-{i}", "{tar}"], values),
            ["a", "i:1", "v-7", "c-2", "/t"]
        );
        assert_eq!(expand(&["rm", "x-{each}"], values), ["rm", "x-0", "x-1", "x-2"]);
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = WORKLOADS.iter().map(|workload| workload.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), WORKLOADS.len());
    }
}
