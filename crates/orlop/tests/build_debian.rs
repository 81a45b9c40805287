//! The layer cache as people learn it: a Debian base, packages, an app; two Dockerfiles that differ in
//! their last lines share everything before, on disk and in time.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::{Duration, Instant};

use orlop_testkit::{Fixture, fixture};

/// What the two Dockerfiles have in common.
const COMMON: &str = r#"FROM debian:12
RUN apt-get update && apt-get install -y python3
RUN python3 -c 'print("warm")' > /opt/warm
COPY app.py /srv/app.py
"#;

/// Bytes below a directory as `du` counts them.
fn disk_usage(path: &Path) -> u64 {
    let output = std::process::Command::new("du").arg("-s").arg("-B1").arg(path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

fn layers(fixture: &Fixture, image: &str) -> Vec<String> {
    let text = fixture.ok(&["image", "inspect", "-f", "{{json .RootFS.Layers}}", image]);
    serde_json::from_str(&text).unwrap()
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn dockerfiles_that_differ_at_their_end_share_all_earlier_layers_on_disk_and_in_time() {
    let fixture = fixture!();
    fixture.import_example("debian", "debian:12", &[]);
    let context = fixture.directory("app");
    std::fs::write(context.join("app.py"), "import sys\nprint('hello from', sys.argv[1])\n")
        .unwrap();
    let entry = |word: &str| format!("ENTRYPOINT [\"python3\", \"/srv/app.py\", \"{word}\"]\n");
    std::fs::write(context.join("Dockerfile.one"), format!("{COMMON}{}", entry("one"))).unwrap();
    let end = format!("RUN head -c 100000 /dev/urandom > /srv/data\n{}", entry("two"));
    std::fs::write(context.join("Dockerfile.two"), format!("{COMMON}{end}")).unwrap();
    let build = |name: &str| {
        let file = context.join(format!("Dockerfile.{name}"));
        let start = Instant::now();
        let tag = format!("app:{name}");
        fixture.ok(&[
            "build",
            "-q",
            "-t",
            &tag,
            "-f",
            file.to_str().unwrap(),
            context.to_str().unwrap(),
        ]);
        start.elapsed()
    };

    let first = build("one");
    let used = disk_usage(&fixture.root().join("layers"));
    let second = build("two");
    let grown = disk_usage(&fixture.root().join("layers")).saturating_sub(used);

    // One layer for the base, two RUN, one COPY; the second image has one more on the same four.
    let (one, two) = (layers(&fixture, "app:one"), layers(&fixture, "app:two"));
    assert_eq!((one.len(), two.len()), (4, 5));
    assert_eq!(one[..], two[..4]);
    // 100,000 bytes of data, and what is written about a layer.
    assert!((100_000..1_500_000).contains(&grown), "the second image took {grown} bytes");
    assert!(second < first / 2, "{second:?} against {first:?}");
    assert!(first > Duration::from_millis(500), "installing packages took only {first:?}");

    for word in ["one", "two"] {
        let said = fixture.ok(&["run", "--rm", &format!("app:{word}")]);
        assert_eq!(said, format!("hello from {word}"));
    }
    // A changed app reaches both, and neither installs its packages again.
    std::fs::write(context.join("app.py"), "import sys\nprint('changed for', sys.argv[1])\n")
        .unwrap();
    for word in ["one", "two"] {
        let again = build(word);
        assert!(again < first / 2, "{again:?} against {first:?}");
        let said = fixture.ok(&["run", "--rm", &format!("app:{word}")]);
        assert_eq!(said, format!("changed for {word}"));
        assert_eq!(layers(&fixture, &format!("app:{word}"))[..3], one[..3]);
    }
    assert_eq!(layers(&fixture, "app:two")[3], layers(&fixture, "app:one")[3]);
}
