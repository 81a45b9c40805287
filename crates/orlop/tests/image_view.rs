//! `image tree`, `diff`, `flatten`, `edit`, and `images --tree`.
#![allow(clippy::unwrap_used)]

use orlop_testkit::{Fixture, fixture};

/// `base:1` is busybox and a layer, `app:1` one more; both declare the volume `/data`.
fn app(fixture: &Fixture) {
    fixture.busybox();
    let script = "echo one > /one; mkdir -p /dir/sub; echo x > /dir/sub/x; ln /one /two; \
                  dd if=/dev/zero of=/big bs=1000 count=3000 2>/dev/null; touch -d @1000 /one /dir/sub/x";
    fixture.ok(&["run", "--name", "first", "busybox", "sh", "-c", script]);
    fixture.ok(&["commit", "-c", "VOLUME /data", "-c", "ENV A=b", "first", "base:1"]);
    let script = "rm -r /dir/sub /big; echo new > /dir/new; rm /two; cp /one /two; chown 7:8 /one; \
                  touch -d @2000 /two";
    fixture.ok(&["run", "--name", "second", "base:1", "sh", "-c", script]);
    fixture.ok(&["commit", "-c", "CMD [\"cat\", \"/one\"]", "-c", "LABEL k=v", "second", "app:1"]);
    fixture.ok(&["rm", "-v", "first", "second"]);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn trees_and_differences() {
    let fixture = fixture!();
    app(&fixture);
    let tree = fixture.ok(&["image", "tree", "app:1"]);
    let lines: Vec<&str> = tree.lines().collect();
    assert!(lines[0].starts_with("app:1  "), "{tree}");
    assert!(lines[1].contains(" in 3 layers, ") && lines[1].ends_with("; 3MB wasted"), "{tree}");
    assert!(lines.contains(&"│                 shared with base:1, busybox:latest"), "{tree}");
    let second =
        lines.iter().position(|line| line.starts_with("├─   2       3MB  sh -c ")).unwrap();
    // /data is made for the volume when the container is.
    assert!(lines[second + 1].ends_with("added · 3MB wasted"), "{tree}");
    assert!(lines[second].ends_with('…') && lines[second].chars().count() <= 80, "{tree}");
    assert!(!tree.contains('\x1b'), "{tree}");
    let json = fixture.ok(&["image", "tree", "--format", "json", "app:1"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let layer = &json["Steps"][2]["Layer"];
    assert_eq!((&layer["Number"], &layer["AttributesOnly"]), (&3.into(), &2.into()), "{layer}");
    assert_eq!((&layer["Changed"], &layer["Deleted"]), (&0.into(), &3.into()), "{layer}");
    let files = fixture.ok(&["image", "tree", "--format", "{{.Files}}", "app:1"]);
    assert_eq!(files, json["Files"].to_string());
    let diff = fixture.ok(&["image", "diff", "base:1", "app:1", "/one", "/two", "/dir", "/big"]);
    let want = "\
D /big  3MB
A /dir/new  4B
D /dir/sub/
D /dir/sub/x  2B
M /one  owner 0:0 → 7:8, links 2 → 1
M /two  time 1970-01-01T00:16:40Z → 1970-01-01T00:33:20Z, links 2 → 1

1 added, 0 changed, 2 attributes only, 3 deleted, 1 the same; 3MB → 12B";
    assert_eq!(diff, want);
    let all = fixture.ok(&["image", "diff", "base:1", "app:1"]);
    assert!(all.contains("\nS Labels.k  – → v\n"), "{all}");
    let mut same = fixture.command(&["image", "diff", "--exit-code", "app:1", "app:1"]);
    assert_eq!(same.output().unwrap().status.code(), Some(0));
    let mut other =
        fixture.command(&["image", "diff", "--exit-code", "--summary", "base:1", "app:1"]);
    let output = other.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 1);
    let mut missing = fixture.command(&["image", "diff", "app:1", "nothing"]);
    let output = missing.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let first = text.lines().next();
    assert_eq!(first, Some("orlop: image diff: No such image: nothing:latest"));
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn flattened_images_hold_the_same_files() {
    let fixture = fixture!();
    app(&fixture);
    let script = "cd /; prune='-path ./proc -o -path ./dev -o -path ./sys -o -path ./etc'; \
                  find . -mindepth 1 \\( $prune \\) -prune -o ! -type d \
                  -exec stat -c '%n %F %a %u:%g %s %h %Y' {} + | sort; \
                  find . -mindepth 1 \\( $prune \\) -prune -o -type d \
                  -exec stat -c '%n %a %u:%g' {} + | sort; cat /one /two /dir/new";
    let seen = |image: &str| fixture.ok(&["run", "--rm", image, "sh", "-c", script]);
    let before = seen("app:1");
    for (keep, layers) in [(None, 1), (Some("busybox"), 2), (Some("base:1"), 3)] {
        let mut words = vec!["image", "flatten", "app:1", "-t", "flat:1"];
        words.extend(keep.into_iter().flat_map(|base| ["--keep", base]));
        let id = fixture.ok(&words);
        let count = fixture.ok(&["image", "inspect", "-f", "{{len .RootFS.Layers}}", "flat:1"]);
        assert_eq!(count, layers.to_string(), "{keep:?}");
        assert_eq!(fixture.ok(&["images", "-q", "--no-trunc", "flat"]), id, "{keep:?}");
        let diff = fixture.ok(&["image", "diff", "app:1", "flat:1"]);
        assert!(diff.starts_with("0 added, 0 changed, 0 attributes only, 0 deleted, "), "{diff}");
        assert!(seen("flat:1") == before, "{keep:?}: {}", seen("flat:1"));
        assert_eq!(fixture.ok(&["run", "--rm", "flat:1"]), "one", "{keep:?}");
    }
    let tree = fixture.ok(&["image", "tree", "flat:1"]);
    assert!(tree.contains("└─   3"), "{tree}");
    fixture.ok(&["rmi", "app:1", "flat:1"]);
    fixture.ok(&["system", "check"]);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn an_edited_image_makes_no_volume_any_more() {
    let fixture = fixture!();
    app(&fixture);
    let edit = ["image", "edit", "--unset-volume", "/data", "--env", "C=d e", "--unset-env", "A"];
    let id = fixture.ok(&[&edit[..], &["app:1", "-t", "plain:1"]].concat());
    assert!(id.starts_with("sha256:"));
    let volumes = || fixture.ok(&["volume", "ls", "-q"]).lines().count();
    let before = volumes();
    fixture.ok(&["create", "--name", "none", "plain:1"]);
    assert_eq!(volumes(), before);
    fixture.ok(&["create", "--name", "one", "app:1"]);
    assert_eq!(volumes(), before + 1);
    assert_eq!(fixture.ok(&["run", "--rm", "plain:1", "sh", "-c", "echo $C$A"]), "d e");
    let layers = |image: &str| fixture.ok(&["image", "inspect", "-f", "{{.RootFS.Layers}}", image]);
    assert_eq!(layers("plain:1"), layers("app:1"));
    let newest =
        fixture.ok(&["history", "--no-trunc", "--format", "{{.CreatedBy}} {{.Size}}", "plain:1"]);
    assert_eq!(
        newest.lines().next(),
        Some("orlop image edit --unset-volume /data --unset-env A --env C=d e 0B")
    );
    let mut wrong = fixture.command(&["image", "edit", "--unset-volume", "/nothing", "app:1"]);
    let output = wrong.output().unwrap();
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "orlop: image edit: the image declares no volume `/nothing`; it declares `/data`\n"
    );
    fixture.ok(&["rm", "-v", "none", "one"]);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn the_table_of_images_is_dockers() {
    let fixture = fixture!();
    fixture.busybox();
    fixture.ok(&["tag", "busybox", "bb:1"]);
    let table = fixture.ok(&["images", "--tree"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(
        lines[0],
        "WARNING: This is an experimental feature. The output may change and shouldn't be depended on."
    );
    assert_eq!(lines[1].trim(), "Info ->  U In Use");
    assert_eq!(lines[3], "IMAGE            ID             DISK USAGE   CONTENT SIZE   EXTRA");
    assert_eq!((lines[4], lines.len()), ("bb:1", 6));
    assert!(lines[5].starts_with("busybox:latest   "), "{table}");
    for (flag, name) in [
        ("-q", "--quiet"),
        ("--no-trunc", "--no-trunc"),
        ("--digests", "--show-digest"),
        ("--format=json", "--format"),
    ] {
        let output = fixture.command(&["images", "--tree", flag]).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.ends_with(&format!("{name} is not yet supported with --tree\n")), "{text}");
        assert_eq!(output.status.code(), Some(1));
    }
}
