//! Completion, by really running bash with the script that `orlop completion bash` prints.
#![allow(clippy::unwrap_used)]

use std::process::Command;
use std::time::Duration;

use orlop_testkit::{Fixture, fixture, run};

const LIMIT: Duration = Duration::from_secs(60);

/// What bash offers for a line; the last word is completed.
fn offered(fixture: &Fixture, line: &[&str]) -> Vec<String> {
    // The program under its own name, as the script calls it.
    let bin = fixture.directory("bin");
    let orlop = bin.join("orlop");
    if !orlop.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_orlop"), &orlop).unwrap();
    }
    let script = r#"
        source <(orlop completion bash)
        COMP_WORDS=("$@")
        COMP_CWORD=$(( $# - 1 ))
        COMP_TYPE=9
        function=$(complete -p orlop | sed 's/.*-F \([^ ]*\).*/\1/')
        "$function" orlop "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}" 2>/dev/null
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut command = Command::new("bash");
    command.args(["--norc", "-c", script, "bash"]).args(line);
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", bin.display()));
    command.env("ORLOP_ROOT", fixture.root()).env("ORLOP_RUN_ROOT", fixture.run_root());
    let output = run(&mut command, b"", LIMIT);
    output.ok().lines().map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn bash_completes_commands_flags_and_names() {
    let fixture = fixture!(busybox);
    fixture.ok(&["volume", "create", "pgdata"]);
    fixture.ok(&["create", "--name", "web", "busybox"]);
    fixture.ok(&["create", "--name", "worker", "busybox"]);
    for (line, want) in [
        (&["orlop", "imp"][..], &["import"][..]),
        (&["orlop", "volume", "in"], &["inspect"]),
        (&["orlop", "ps", "--no-t"], &["--no-trunc"]),
        (&["orlop", "rm", "w"], &["web", "worker"]),
        (&["orlop", "rm", "-f", "web", "wo"], &["worker"]),
        (&["orlop", "container", "rm", "we"], &["web"]),
        (&["orlop", "volume", "rm", "p"], &["pgdata"]),
        (&["orlop", "image", "rm", "b"], &["busybox"]),
        (&["orlop", "run", "--rm", "busy"], &["busybox"]),
        (&["orlop", "inspect", "pg"], &["pgdata"]),
        (&["orlop", "network", "inspect", "bri"], &["bridge"]),
        (&["orlop", "rm", "nosuch"], &[]),
    ] {
        assert_eq!(offered(&fixture, line), want, "{line:?}");
    }
}

#[test]
#[ignore = "root: makes a store"]
fn completion_makes_no_store_and_every_shell_has_a_script() {
    let fixture = fixture!();
    assert_eq!(offered(&fixture, &["orlop", "rm", "x"]), Vec::<String>::new());
    assert!(!fixture.root().exists());
    for shell in ["bash", "zsh", "fish"] {
        let script = fixture.ok(&["completion", shell]);
        assert!(script.contains("ORLOP_COMPLETE") && script.contains("orlop"), "{script}");
    }
    let refused = fixture.fails(1, &["completion", "tcsh"]);
    assert_eq!(
        refused,
        "orlop: completion: no completion for the shell `tcsh`\nhint: the shells are bash, zsh, fish"
    );
}
