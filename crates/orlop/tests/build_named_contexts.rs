//! Named contexts that are images: of the store, of a registry, of an OCI layout.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use orlop_testkit::{Fixture, fixture};

/// A context whose result tells the files of two bases.
fn context(fixture: &Fixture) -> PathBuf {
    let directory = fixture.directory("context");
    let text = "FROM base\nCOPY --from=other /etc/mark /other\n";
    std::fs::write(directory.join("Dockerfile"), text).unwrap();
    directory
}

/// A layout with the tags `one` and `two`, whose `/etc/mark` holds the tag.
fn layout(fixture: &Fixture) -> PathBuf {
    fixture.busybox();
    for tag in ["one", "two"] {
        let directory = fixture.directory(tag);
        let text = format!("FROM busybox\nRUN echo {tag} >/etc/mark\n");
        std::fs::write(directory.join("Dockerfile"), text).unwrap();
        let name = format!("marked:{tag}");
        fixture.ok(&["build", "-q", "-t", &name, directory.to_str().unwrap()]);
    }
    let place = fixture.folder().join("layout");
    std::fs::create_dir(&place).unwrap();
    let archive = fixture.folder().join("both.tar");
    fixture.ok(&["save", "-o", archive.to_str().unwrap(), "marked:one", "marked:two"]);
    let words = ["-xf", archive.to_str().unwrap(), "-C", place.to_str().unwrap()];
    assert!(std::process::Command::new("tar").args(words).status().unwrap().success());
    for name in ["marked:one", "marked:two"] {
        fixture.ok(&["rmi", name]);
    }
    place
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn images_of_a_layout_are_bases_and_sources_and_get_no_name() {
    let fixture = fixture!();
    let layout = layout(&fixture);
    let context = context(&fixture);
    let context = context.to_str().unwrap();
    let named = |name: &str, end: &str| format!("{name}=oci-layout://{}{end}", layout.display());
    let (base, other) = (named("base", ":one"), named("other", ":two"));
    let words = ["build", "--build-context", &base, "--build-context", &other];
    fixture.ok(&[words.as_slice(), &["-q", "-t", "built", context]].concat());
    let marks = fixture.ok(&["run", "--rm", "built", "cat", "/etc/mark", "/other"]);
    assert_eq!(marks, "one\ntwo");
    let names = fixture.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert!(!names.contains("marked"), "{names}");
    // A digest of the index chooses, too.
    let index = std::fs::read_to_string(layout.join("index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    let digest = index["manifests"][1]["digest"].as_str().unwrap();
    let by_digest = named("base", &format!("@{digest}"));
    let words = ["build", "--build-context", &by_digest, "--build-context", &other];
    fixture.ok(&[words.as_slice(), &["-q", "-t", "built", context]].concat());
    let marks = fixture.ok(&["run", "--rm", "built", "cat", "/etc/mark", "/other"]);
    assert_eq!(marks, "two\ntwo");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn what_names_no_image_is_refused() {
    let fixture = fixture!();
    let layout = layout(&fixture);
    let context = context(&fixture);
    let context = context.to_str().unwrap();
    let error = |value: &str| {
        let base = format!("base={value}");
        let words = ["build", "--build-context", &base, "--progress", "quiet", context];
        let output = fixture.orlop(&words);
        assert_eq!(output.code, 1, "{output}");
        output.stderr.trim_end().to_owned()
    };
    let missing = format!("oci-layout://{}:three", layout.display());
    let text = error(&missing);
    let expected = format!(
        "oci-layout reference {missing:?} could not be resolved: no such image in its index"
    );
    assert!(text.contains(&expected), "{text}");
    let text = error("oci-layout:///nowhere");
    assert!(text.contains("no such file or directory"), "{text}");
    // Targets of other builds are known to `bake` only.
    assert_eq!(
        error("target:other"),
        "ERROR: failed to build: failed to get build context base: stat target:other: no such file or directory"
    );
    let text = fixture.fails(1, &["build", "docker-image://busybox"]);
    let expected = "unable to prepare context: path \"docker-image://busybox\" not found";
    assert!(text.contains(expected), "{text}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn times_of_layers_are_not_rewritten_and_that_is_said() {
    let fixture = fixture!();
    let directory = fixture.directory("context");
    std::fs::write(directory.join("Dockerfile"), "FROM scratch\n").unwrap();
    let build = |value: &str| {
        let output = format!("type=image,rewrite-timestamp={value}");
        fixture.orlop(&["build", "--output", &output, directory.to_str().unwrap()])
    };
    assert_eq!(build("false").code, 0);
    let refused = build("true");
    assert_eq!(refused.code, 1, "{refused}");
    assert!(refused.stderr.contains("`rewrite-timestamp` is not supported: "), "{refused}");
}
