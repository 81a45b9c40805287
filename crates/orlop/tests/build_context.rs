//! Build contexts: directories with ignore rules, archives, repositories, names from hostile places.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use orlop_testkit::{Fixture, fixture};

fn write(directory: &Path, files: &[(&str, &str)]) {
    for (path, content) in files {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

fn names(top: &Path) -> Vec<String> {
    fn collect(top: &Path, path: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if fs::symlink_metadata(&path).unwrap().is_dir() {
                collect(top, &path, found);
            } else {
                found.push(path.strip_prefix(top).unwrap().display().to_string());
            }
        }
    }
    let mut found = Vec::new();
    collect(top, top, &mut found);
    found.sort();
    found
}

/// Builds with these words and lists the files that come of it.
fn built(fixture: &Fixture, name: &str, words: &[&str]) -> Vec<String> {
    let out = fixture.folder().join(name);
    let output = format!("type=local,dest={}", out.display());
    fixture.ok(&[&["build", "--quiet", "--output", &output], words].concat());
    names(&out)
}

/// What a build that must fail says.
fn refused(fixture: &Fixture, path: &str) -> String {
    let output = fixture.orlop(&["build", path]);
    assert_eq!(output.code, 1, "{}", output.stderr);
    output.stderr
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn ignore_rules_hide_files_from_the_build() {
    let fixture = fixture!();
    let directory = fixture.directory("context");
    write(
        &directory,
        &[
            ("Dockerfile", "FROM scratch\nCOPY . /\n"),
            (
                ".dockerignore",
                "# all but one\n**/*.log\nout\n!out/keep\nDockerfile\n.dockerignore\n",
            ),
            ("other.dockerfile", "FROM scratch\nCOPY . /\n"),
            ("other.dockerfile.dockerignore", "*\n!only\n"),
            ("a.log", ""),
            ("only", ""),
            ("sub/b.log", ""),
            ("sub/c", ""),
            ("out/x", ""),
            ("out/keep/y", ""),
        ],
    );
    let path = directory.to_str().unwrap();
    let all = built(&fixture, "out", &[path]);
    assert_eq!(
        all,
        ["only", "other.dockerfile", "other.dockerfile.dockerignore", "out/keep/y", "sub/c"]
    );
    let file = directory.join("other.dockerfile");
    let other = built(&fixture, "other", &["--file", file.to_str().unwrap(), path]);
    assert_eq!(other, ["only"]);
    // What is hidden does not count: the step is taken from the cache.
    fs::write(directory.join("a.log"), "changed").unwrap();
    let text = fixture.orlop(&["build", "--progress=plain", "--tag", "t", path]);
    assert_eq!(text.code, 0, "{}", text.stderr);
    fs::write(directory.join("out/x"), "changed").unwrap();
    let output = fixture.orlop(&["build", "--progress=plain", "--tag", "t", path]);
    assert!(output.stderr.contains("CACHED"), "{}", output.stderr);
    write(&directory, &[("Dockerfile", "FROM scratch\nCOPY out/x /\n")]);
    let text = refused(&fixture, path);
    assert!(text.contains("\"/out/x\": not found"), "{text}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn nothing_outside_the_context_comes_in() {
    let fixture = fixture!();
    let directory = fixture.directory("context");
    let secret = fixture.directory("secret");
    write(&secret, &[("key", "secret")]);
    write(&directory, &[("inside", "inside"), ("Dockerfile", "FROM scratch\nCOPY dir/link /f\n")]);
    fs::create_dir(directory.join("dir")).unwrap();
    let path = directory.to_str().unwrap();
    for target in [secret.join("key").to_str().unwrap(), "../../secret/key", "/etc/passwd"] {
        symlink(target, directory.join("dir/link")).unwrap();
        let text = refused(&fixture, path);
        assert!(text.contains("\"/dir/link\": not found"), "{target}: {text}");
        fs::remove_file(directory.join("dir/link")).unwrap();
    }
    // The root of the context is where such a link ends.
    symlink("../../../inside", directory.join("dir/link")).unwrap();
    assert_eq!(built(&fixture, "out", &[path]), ["f"]);
    assert_eq!(fs::read_to_string(fixture.folder().join("out/f")).unwrap(), "inside");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn an_archive_from_standard_input_is_a_context() {
    let fixture = fixture!();
    let directory = fixture.directory("context");
    write(&directory, &[("Dockerfile", "FROM scratch\nCOPY sub /\n"), ("sub/f", "f")]);
    for flag in ["--auto-compress", "--gzip", "--xz"] {
        let tar = Command::new("tar")
            .args(["--create", flag, "--directory", directory.to_str().unwrap(), "."])
            .output()
            .unwrap();
        assert!(tar.status.success(), "{}", String::from_utf8_lossy(&tar.stderr));
        let out = fixture.folder().join(format!("out{flag}"));
        let output = format!("type=local,dest={}", out.display());
        let built =
            fixture.orlop_with_input(&["build", "--quiet", "--output", &output, "-"], &tar.stdout);
        assert_eq!(built.code, 0, "{}", built.stderr);
        assert_eq!(names(&out), ["f"], "{flag}");
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn a_killed_copy_leaves_nothing_and_the_next_build_goes_on() {
    let fixture = fixture!();
    let directory = fixture.directory("context");
    write(
        &directory,
        &[("Dockerfile", "FROM scratch\nCOPY a /a\nCOPY b /b\n"), ("a", "a"), ("b", "b")],
    );
    let path = directory.to_str().unwrap();
    for point in ["layer.sealed", "layer.published", "layer.committed"] {
        // Layers that the store has from the time before are not made again.
        write(&directory, &[("a", point), ("b", &format!("{point}, too"))]);
        let output = fixture
            .command(&["build", "--quiet", path])
            .env("ORLOP_FAULT", format!("{point}:2"))
            .output()
            .unwrap();
        assert!(!output.status.success(), "{point} was not reached");
        fixture.ok(&["system", "check", "--repair"]);
        let check = fixture.ok(&["system", "check"]);
        assert!(!check.to_lowercase().contains("orphan"), "{point}: {check}");
    }
    assert_eq!(built(&fixture, "out", &[path]), ["a", "b"]);
}
