//! What is measured: one table of commands that every engine understands.
//!
//! In the words, `{image}` is the image, `{layers}` another name of it for one with many layers,
//! `{tar}` a large tar, `{scratch}` the engine's own folder with one file (`file`) and ten thousand
//! (`tree`), `{n}` the round, `{i}` counts the repetitions of [`Workload::once`], and a word with
//! `{each}` becomes one word for each of them.

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
    /// Commands before the first round.
    pub(super) once: &'static [&'static [&'static str]],
    /// How often they are carried out, one after the other.
    pub(super) repetitions: usize,
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
    once: &[],
    repetitions: 1,
    before: None,
    timed: &[],
    after: None,
    finally: None,
};

/// Makes 50,000 empty files with the shell of the image.
const MANY_FILES: &str =
    "mkdir /d && cd /d && i=0; while [ $i -lt 50000 ]; do : >$i; i=$((i+1)); done";

/// Adds a layer of 1 MB that no compression shortens.
const LAYERED: &[&[&str]] = &[
    &[
        "run",
        "--name",
        "orlop-bench-layer",
        "{layers}",
        "sh",
        "-c",
        "head -c 1000000 /dev/urandom >/layer-{i}",
    ],
    &["commit", "orlop-bench-layer", "{layers}"],
    &["rm", "orlop-bench-layer"],
];

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
        name: "run-network",
        what: "the same on a network of the user",
        once: &[&["network", "create", "orlop-bench-net"]],
        timed: &["run", "--rm", "--network", "orlop-bench-net", "{image}", "true"],
        finally: Some(&["network", "rm", "orlop-bench-net"]),
        ..NOTHING
    },
    Workload {
        name: "run-detached",
        what: "`run -d IMAGE sleep`",
        timed: &["run", "-d", "--name", "orlop-bench-{n}", "{image}", "sleep", "3600"],
        after: Some(&["rm", "-f", "orlop-bench-{n}"]),
        ..NOTHING
    },
    Workload {
        name: "create",
        what: "`create IMAGE`",
        timed: &["create", "--name", "orlop-bench-{n}", "{image}", "true"],
        after: Some(&["rm", "orlop-bench-{n}"]),
        ..NOTHING
    },
    Workload {
        name: "start",
        what: "`start CONTAINER`",
        before: Some(&["create", "--name", "orlop-bench-{n}", "{image}", "sleep", "3600"]),
        timed: &["start", "orlop-bench-{n}"],
        after: Some(&["rm", "-f", "orlop-bench-{n}"]),
        ..NOTHING
    },
    Workload {
        name: "stop",
        what: "`stop CONTAINER` that ends at once",
        before: Some(&[
            "run",
            "-d",
            "--stop-signal",
            "KILL",
            "--name",
            "orlop-bench-{n}",
            "{image}",
            "sleep",
            "3600",
        ]),
        timed: &["stop", "orlop-bench-{n}"],
        after: Some(&["rm", "-f", "orlop-bench-{n}"]),
        ..NOTHING
    },
    Workload {
        name: "rm-running",
        what: "`rm -f` of a running container",
        before: Some(&["run", "-d", "--name", "orlop-bench-{n}", "{image}", "sleep", "3600"]),
        timed: &["rm", "-f", "orlop-bench-{n}"],
        ..NOTHING
    },
    Workload {
        name: "exec",
        what: "`exec CONTAINER true`",
        once: &[&["run", "-d", "--name", "orlop-bench-idle", "{image}", "sleep", "3600"]],
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
        once: &[&["volume", "create", "orlop-bench-seen"]],
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
        name: "network-create",
        what: "`network create NAME`",
        timed: &["network", "create", "orlop-bench-{n}"],
        after: Some(&["network", "rm", "orlop-bench-{n}"]),
        ..NOTHING
    },
    Workload {
        name: "network-rm",
        what: "`network rm NAME`",
        before: Some(&["network", "create", "orlop-bench-{n}"]),
        timed: &["network", "rm", "orlop-bench-{n}"],
        ..NOTHING
    },
    Workload { name: "help", what: "`--help`", timed: &["--help"], ..NOTHING },
    Workload {
        name: "cp-in",
        what: "`cp` of one file into a container",
        once: &[&["create", "--name", "orlop-bench-cp", "{image}", "true"]],
        timed: &["cp", "{scratch}/file", "orlop-bench-cp:/file-{n}"],
        finally: Some(&["rm", "orlop-bench-cp"]),
        ..NOTHING
    },
    Workload {
        name: "cp-out",
        what: "`cp` of one file out of a container",
        once: &[&["create", "--name", "orlop-bench-cp", "{image}", "true"]],
        timed: &["cp", "orlop-bench-cp:/bin/busybox", "{scratch}/out-{n}"],
        finally: Some(&["rm", "orlop-bench-cp"]),
        ..NOTHING
    },
    Workload {
        name: "cp-in-tree",
        what: "`cp` of 10,000 files into a container",
        heavy: true,
        rounds: 3,
        once: &[&["create", "--name", "orlop-bench-cp", "{image}", "true"]],
        timed: &["cp", "{scratch}/tree", "orlop-bench-cp:/tree-{n}"],
        finally: Some(&["rm", "orlop-bench-cp"]),
        ..NOTHING
    },
    Workload {
        name: "cp-out-tree",
        what: "`cp` of 10,000 files out of a container",
        heavy: true,
        rounds: 3,
        once: &[
            &["create", "--name", "orlop-bench-cp", "{image}", "true"],
            &["cp", "{scratch}/tree", "orlop-bench-cp:/tree"],
        ],
        timed: &["cp", "orlop-bench-cp:/tree", "{scratch}/out-{n}"],
        finally: Some(&["rm", "orlop-bench-cp"]),
        ..NOTHING
    },
    Workload {
        name: "diff",
        what: "`diff` of a container with 10,000 files",
        heavy: true,
        rounds: 5,
        once: &[
            &["create", "--name", "orlop-bench-cp", "{image}", "true"],
            &["cp", "{scratch}/tree", "orlop-bench-cp:/tree"],
        ],
        timed: &["diff", "orlop-bench-cp"],
        finally: Some(&["rm", "orlop-bench-cp"]),
        ..NOTHING
    },
    Workload {
        name: "commit",
        what: "`commit` of a container with one new file",
        once: &[
            &["create", "--name", "orlop-bench-cp", "{image}", "true"],
            &["cp", "{scratch}/file", "orlop-bench-cp:/file"],
        ],
        timed: &["commit", "orlop-bench-cp", "orlop-bench:commit"],
        after: Some(&["rmi", "orlop-bench:commit"]),
        finally: Some(&["rm", "orlop-bench-cp"]),
        ..NOTHING
    },
    Workload {
        name: "save",
        what: "`save` of an image with ten layers of 1 MB",
        heavy: true,
        rounds: 5,
        once: LAYERED,
        repetitions: 9,
        timed: &["save", "-o", "{scratch}/saved.tar", "{layers}"],
        ..NOTHING
    },
    Workload {
        name: "load",
        what: "`load` of an image with ten layers of 1 MB; needs `save` before it",
        heavy: true,
        rounds: 5,
        before: Some(&["rmi", "-f", "{layers}"]),
        timed: &["load", "-i", "{scratch}/saved.tar"],
        ..NOTHING
    },
    Workload {
        name: "stats",
        what: "`stats --no-stream` with 20 containers",
        heavy: true,
        rounds: 5,
        once: &[&["run", "-d", "--name", "orlop-bench-many-{i}", "{image}", "sleep", "3600"]],
        repetitions: 20,
        timed: &["stats", "--no-stream"],
        finally: Some(&["rm", "-f", "orlop-bench-many-{each}"]),
        ..NOTHING
    },
    Workload {
        name: "ps",
        what: "`ps -a` with 500 containers",
        heavy: true,
        once: &[&["create", "--name", "orlop-bench-many-{i}", "{image}", "true"]],
        repetitions: 500,
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
    pub(super) layers: &'a str,
    pub(super) tar: &'a str,
    pub(super) scratch: &'a str,
    pub(super) round: usize,
    pub(super) repetition: usize,
    pub(super) repetitions: usize,
}

/// The words of a command.
pub(super) fn expand(words: &[&str], values: Values<'_>) -> Vec<String> {
    let fill = |word: &str, each: usize| {
        word.replace("{image}", values.image)
            .replace("{layers}", values.layers)
            .replace("{tar}", values.tar)
            .replace("{scratch}", values.scratch)
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
        let values = Values {
            image: "i:1",
            layers: "l:1",
            tar: "/t",
            scratch: "/s",
            round: 7,
            repetition: 2,
            repetitions: 3,
        };
        assert_eq!(
            expand(&["a", "{image}", "{layers}", "v-{n}", "c-{i}", "{tar}", "{scratch}/f"], values),
            ["a", "i:1", "l:1", "v-7", "c-2", "/t", "/s/f"]
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
