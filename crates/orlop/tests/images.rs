//! Images: import of every compression, changes, tags, removal; hostile archives stay inside.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use orlop_testkit::tar::{Entry, HARD_LINK, PAX, SYMLINK, Tar};
use orlop_testkit::{Fixture, fixture, run};

fn small_root() -> Vec<u8> {
    let busybox = std::fs::read("/bin/busybox").unwrap();
    Tar::new()
        .directory("bin/")
        .entry(Entry { name: "bin/busybox", mode: 0o755, content: &busybox, ..Entry::default() })
        .symlink("bin/sh", "busybox")
        .file("marker", b"here\n")
        .finish()
}

fn images(fixture: &Fixture) -> Vec<String> {
    let text = fixture.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    let mut names: Vec<String> = text.lines().map(str::to_owned).collect();
    names.sort();
    names
}

/// Everything below a directory but the store itself.
fn listing(folder: &Path) -> Vec<String> {
    let output = run(
        Command::new("find").arg(folder).args(["-printf", "%P %y %m %s\\n"]),
        b"",
        Duration::from_secs(10),
    );
    let mut lines: Vec<String> = output.ok().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn every_compression_gives_the_same_layer() {
    let fixture = fixture!();
    let plain = small_root();
    let limit = Duration::from_secs(60);
    let mut layers = Vec::new();
    for (number, words) in
        [&["cat"][..], &["gzip"], &["bzip2"], &["xz", "-1"], &["zstd", "-q"]].iter().enumerate()
    {
        let file = fixture.folder().join(format!("root.{number}"));
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{} > {}", words.join(" "), file.display())]);
        run(&mut command, &plain, limit).ok();
        let reference = format!("packed:{number}");
        let id = fixture.ok(&["import", file.to_str().unwrap(), &reference]);
        assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
        layers.push(fixture.ok(&["image", "inspect", "-f", "{{json .RootFS.Layers}}", &reference]));
        assert_eq!(
            fixture.ok(&["run", "--rm", &reference, "/bin/sh", "-c", "read a < /marker; echo $a"]),
            "here"
        );
    }
    layers.dedup();
    assert_eq!(layers.len(), 1, "{layers:?}");
    // From standard input as well.
    let words = ["import", "-", "packed:stdin"];
    fixture.orlop_with_input(&words, &plain).ok();
    assert_eq!(
        fixture.ok(&["image", "inspect", "-f", "{{json .RootFS.Layers}}", "packed:stdin"]),
        layers[0]
    );
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn changes_become_the_images_settings() {
    let fixture = fixture!();
    let changes = [
        "CMD [\"-c\", \"echo $GREETING $(pwd)\"]",
        "ENTRYPOINT [\"/bin/sh\"]",
        "ENV GREETING=hello OTHER=\"a b\"",
        "WORKDIR /srv",
        "USER 12:34",
        "EXPOSE 80 53/udp",
        "LABEL one=1 two=\"2 2\"",
        "VOLUME /data /logs",
        "STOPSIGNAL SIGINT",
    ];
    let mut words = vec!["import"];
    for change in changes {
        words.extend(["-c", change]);
    }
    words.extend(["-m", "made by hand", "-", "set:1"]);
    fixture.orlop_with_input(&words, &small_root()).ok();
    let text = fixture.ok(&["image", "inspect", "set:1"]);
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let config = &document[0]["Config"];
    for (key, expected) in [
        ("Cmd", serde_json::json!(["-c", "echo $GREETING $(pwd)"])),
        ("Entrypoint", serde_json::json!(["/bin/sh"])),
        ("WorkingDir", "/srv".into()),
        ("User", "12:34".into()),
        ("ExposedPorts", serde_json::json!({"53/udp": {}, "80/tcp": {}})),
        ("Labels", serde_json::json!({"one": "1", "two": "2 2"})),
        ("Volumes", serde_json::json!({"/data": {}, "/logs": {}})),
        ("StopSignal", "SIGINT".into()),
    ] {
        assert_eq!(config[key], expected, "{key}");
    }
    for pair in ["GREETING=hello", "OTHER=a b"] {
        assert!(config["Env"].as_array().unwrap().contains(&pair.into()), "{config}");
    }
    assert_eq!(document[0]["RepoTags"], serde_json::json!(["set:1"]));
    assert_eq!(fixture.ok(&["run", "--rm", "set:1"]), "hello /srv");
    let refused =
        fixture.orlop_with_input(&["import", "-c", "RUN true", "-", "set:2"], &small_root());
    assert!(
        refused.fails(1).to_lowercase().contains("run is not a valid change command"),
        "{refused}"
    );
    assert_eq!(images(&fixture), ["set:1"]);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn tags_move_and_removal_counts_them() {
    let fixture = fixture!();
    let id = fixture.orlop_with_input(&["import", "-", "app:1"], &small_root()).ok().to_owned();
    fixture.ok(&["tag", "app:1", "app:2"]);
    fixture.ok(&["tag", &id, "localhost:5000/deep/er:x"]);
    assert_eq!(images(&fixture), ["app:1", "app:2", "localhost:5000/deep/er:x"]);
    assert_eq!(fixture.ok(&["rmi", "app:1"]), "Untagged: app:1");
    fixture.ok(&["rmi", "localhost:5000/deep/er:x"]);
    let output = fixture.ok(&["rmi", "app:2"]);
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[0], "Untagged: app:2");
    assert!(lines.contains(&format!("Deleted: {id}").as_str()), "{output}");
    assert_eq!(images(&fixture), Vec::<String>::new());
    let refused = fixture.fails(1, &["rmi", "app:2"]);
    assert!(refused.contains("No such image: app:2"), "{refused}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn an_image_in_use_is_not_removed() {
    let fixture = fixture!();
    fixture.orlop_with_input(&["import", "-", "app:1"], &small_root()).ok();
    fixture.ok(&["run", "--name", "one", "app:1", "/bin/busybox", "true"]);
    let refused = fixture.fails(1, &["rmi", "app:1"]);
    assert!(
        refused.contains("conflict: unable to remove repository reference \"app:1\" (must force)"),
        "{refused}"
    );
    assert_eq!(images(&fixture), ["app:1"]);
    fixture.ok(&["rm", "one"]);
    fixture.ok(&["rmi", "app:1"]);
    assert_eq!(images(&fixture), Vec::<String>::new());
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn one_layer_serves_two_images() {
    let fixture = fixture!();
    let first = fixture.orlop_with_input(&["import", "-", "app:1"], &small_root()).ok().to_owned();
    let second = fixture
        .orlop_with_input(&["import", "-c", "LABEL v=2", "-", "app:2"], &small_root())
        .ok()
        .to_owned();
    assert_ne!(first, second);
    let layers = fixture.root().join("layers");
    let stored = run(
        Command::new("find").arg(&layers).args(["-name", "marker"]),
        b"",
        Duration::from_secs(10),
    );
    assert_eq!(stored.ok().lines().count(), 1, "{stored}");
    fixture.ok(&["rmi", "app:1"]);
    assert_eq!(
        fixture.ok(&["run", "--rm", "app:2", "/bin/sh", "-c", "read a < /marker; echo $a"]),
        "here"
    );
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn hostile_archives_write_nothing_outside() {
    let fixture = fixture!();
    let outside = fixture.directory("outside");
    std::fs::write(outside.join("victim"), "untouched\n").unwrap();
    let target = outside.to_str().unwrap();
    let up = format!("{}{}", "../".repeat(20), &target[1..]);
    let before = listing(&outside);
    let absolute_new = format!("{target}/new");
    let absolute_victim = format!("{target}/victim");
    let up_new = format!("{up}/new");
    let link = |name, to| Entry { name, kind: SYMLINK, link: to, ..Entry::default() };
    let hard = |name, to| Entry { name, kind: HARD_LINK, link: to, ..Entry::default() };
    let file = |name| Entry { name, content: b"pwned\n", ..Entry::default() };
    let archives = [
        ("an absolute name", Tar::new().entry(file(&absolute_new))),
        ("a name with dots", Tar::new().entry(file(&up_new))),
        (
            "dots in the middle",
            Tar::new()
                .directory("a/")
                .entry(file("a/../../../../../../../../../../../tmp/orlop-hostile")),
        ),
        ("through a link", Tar::new().entry(link("out", target)).entry(file("out/new"))),
        ("through a link upwards", Tar::new().entry(link("out", &up)).entry(file("out/new"))),
        (
            "through two links",
            Tar::new().entry(link("a", ".")).entry(link("a/b", target)).entry(file("b/new")),
        ),
        ("over a link", Tar::new().entry(link("f", &absolute_victim)).entry(file("f"))),
        ("a hard link outside", Tar::new().entry(hard("h", &absolute_victim)).entry(file("h"))),
        (
            "a hard link through a link",
            Tar::new().entry(link("out", target)).entry(hard("h", "out/victim")).entry(file("h")),
        ),
        ("a PAX name", Tar::new().pax(&[("path", up_new.as_str())]).entry(file("f"))),
        (
            "a PAX link",
            Tar::new().pax(&[("linkpath", target)]).entry(link("out", "x")).entry(file("out/new")),
        ),
        (
            "a whiteout of a link",
            Tar::new().entry(link("out", target)).entry(file("out/.wh.victim")),
        ),
        ("a whiteout upwards", Tar::new().entry(file(".wh..."))),
        (
            "an opaque mark behind a link",
            Tar::new().entry(link("out", target)).entry(file("out/.wh..wh..opq")),
        ),
    ];
    for (what, archive) in archives {
        // Whether it is refused or tamed is the archive's affair; that it stays inside is ours.
        let output = fixture.orlop_with_input(&["import", "-", "hostile"], &archive.finish());
        assert!(output.code == 0 || output.code == 1, "{what}: {output}");
        assert!(!output.stderr.contains("panicked"), "{what}: {output}");
        assert_eq!(listing(&outside), before, "{what}: {output}");
        assert_eq!(
            std::fs::read_to_string(outside.join("victim")).unwrap(),
            "untouched\n",
            "{what}"
        );
        assert!(!Path::new("/tmp/orlop-hostile").exists(), "{what}");
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn broken_archives_are_refused_and_leave_nothing() {
    let fixture = fixture!();
    let whole = small_root();
    let huge = Tar::new().entry(Entry {
        name: "f",
        content: b"short",
        claimed_size: Some(0o77_777_777_777),
        ..Entry::default()
    });
    let records = Tar::new().pax(&[("size", "99999999999999999999")]).file("f", b"x");
    let pax_flood = Tar::new().entry(Entry {
        name: "p",
        kind: PAX,
        content: b"x",
        claimed_size: Some(1 << 32),
        ..Entry::default()
    });
    let mut damaged = whole.clone();
    damaged[0] ^= 0xff;
    for (what, bytes) in [
        ("a cut archive", whole[..whole.len() / 2].to_vec()),
        ("a damaged header", damaged),
        ("noise", b"this is no archive, and it is not compressed either".repeat(50)),
        ("a size that is not there", huge.unfinished()),
        ("a PAX size out of range", records.finish()),
        ("PAX records without end", pax_flood.unfinished()),
        ("half a gzip", vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3]),
    ] {
        let output = fixture.orlop_with_input(&["import", "-", "broken"], &bytes);
        assert_eq!(output.code, 1, "{what}: {output}");
        output.fails(1);
    }
    assert_eq!(images(&fixture), Vec::<String>::new());
    assert_eq!(std::fs::read_dir(fixture.root().join("staging")).unwrap().count(), 0);
    fixture.ok(&["system", "check"]);
}
