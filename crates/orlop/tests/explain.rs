//! `explain`: which layer, volume, bind or memory file system supplies a path, and what it hides.
#![allow(clippy::unwrap_used)]

use orlop_testkit::{Fixture, fixture};

/// Images `one` ⊂ `two` ⊂ `three`: each commit changes, deletes and adds.
fn layered(fixture: &Fixture) {
    fixture.busybox();
    let step = |image: &str, script: &str, result: &str| {
        fixture.ok(&["run", "--name", "step", image, "sh", "-c", script]);
        fixture.ok(&["commit", "--message", &format!("made {result}"), "step", result]);
        fixture.ok(&["rm", "step"]);
    };
    let one = "mkdir -p /app/sub && echo 1 > /app/old && echo 1 > /app/gone && echo 1 > /app/sub/x \
               && mkdir /data && echo seed > /data/seed";
    step("busybox", one, "one");
    step("one", "echo 22 > /app/old && rm /app/gone && ln -s app /link", "two");
    step("two", "echo 3 > /app/new", "three");
}

/// The lines about a path, without the digits of digests and ids.
#[track_caller]
fn told(fixture: &Fixture, name: &str, path: &str) -> Vec<String> {
    let text = fixture.ok(&["explain", name, path]);
    let plain = |line: &str| {
        let words = line.split(' ').map(|word| {
            let digits = word.trim_start_matches('(').trim_end_matches([')', ':']);
            let is_id = digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            if is_id { word.replace(digits, "ID") } else { word.to_owned() }
        });
        words.collect::<Vec<_>>().join(" ").trim().to_owned()
    };
    text.lines().skip(1).map(plain).collect()
}

fn layers_are_told(fixture: &Fixture) {
    layered(fixture);
    fixture.ok(&["run", "-d", "--name", "web", "three", "sleep", "1000"]);
    fixture.ok(&[
        "exec",
        "web",
        "sh",
        "-c",
        "echo changed >> /app/sub/x; rm /app/new; echo own > /own",
    ]);
    for stopped in [false, true] {
        if stopped {
            fixture.ok(&["stop", "-t", "0", "web"]);
        }
        let old = told(fixture, "web", "/link/old");
        assert_eq!(old[0], "link      /link -> app", "{old:?}");
        assert_eq!(old[1], "is        /app/old, file, 3 bytes, mode 0644, owner 0:0", "{old:?}");
        assert!(old[2].starts_with("from      layer 3 (ID)"), "{old:?}");
        assert_eq!(
            old[3], "hides     layer 2 (ID): file, 2 bytes, mode 0644, owner 0:0",
            "{old:?}"
        );
        assert_eq!(old.len(), 4, "{old:?}");

        let copied = told(fixture, "web", "/app/sub/x");
        assert!(copied[1].starts_with("from      the writable layer"), "{copied:?}");
        assert!(copied[2].starts_with("copied up from layer 2 (ID)"), "{copied:?}");

        let gone = told(fixture, "web", "/app/gone");
        assert_eq!(gone[0], "is        /app/gone, which does not exist", "{gone:?}");
        assert_eq!(gone[1], "deleted   in layer 3 (ID)", "{gone:?}");
        assert!(gone[2].starts_with("hides     layer 2 (ID): file, 2 bytes"), "{gone:?}");
        let new = told(fixture, "web", "/app/new");
        assert_eq!(new[1], "deleted   in the writable layer", "{new:?}");
        assert!(new[2].starts_with("hides     layer 4 (ID)"), "{new:?}");
        let never = told(fixture, "web", "/never/was");
        assert_eq!(never[1], "would be  in the writable layer; no layer has it", "{never:?}");
        let own = told(fixture, "web", "own");
        assert_eq!(own[0], "is        /own, file, 4 bytes, mode 0644, owner 0:0", "{own:?}");
        assert!(own[1].starts_with("from      the writable layer"), "{own:?}");
        assert_eq!(own.len(), 2, "{own:?}");
    }
    let whole = fixture.ok(&["explain", "web"]);
    let (_, layers) = whole.split_once("\n\n").unwrap();
    let first: Vec<&str> =
        layers.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(first, ["LAYER", "writable", "engine", "4", "3", "2", "1"], "{whole}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn layers_of_the_overlay_driver() {
    layers_are_told(&fixture!());
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn layers_of_the_vfs_driver() {
    let mut fixture = fixture!();
    fixture.add_option(&["--storage-driver", "vfs"]);
    layers_are_told(&fixture);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn mounts_are_told_with_their_reasons_and_what_they_hide() {
    let fixture = fixture!();
    layered(&fixture);
    let tar = fixture.busybox_tar();
    fixture.ok(&[
        "import",
        "--change",
        "VOLUME /declared",
        "--change",
        "CMD [\"sh\"]",
        &tar,
        "declares",
    ]);
    fixture.ok(&["create", "--name", "other", "-v", "shared:/from-other", "busybox", "true"]);
    let bound = fixture.directory("bound");
    std::fs::write(bound.join("f"), "from the host").unwrap();
    let bind = format!("{}:/app:ro", bound.to_str().unwrap());
    let words = [
        "run",
        "-d",
        "--name",
        "web",
        "-v",
        &bind,
        "-v",
        "/plain",
        "-v",
        "shared:/app2",
        "--mount",
        "type=volume,src=named,dst=/data",
        "--tmpfs",
        "/tmp:size=1m",
        "--volumes-from",
        "other:ro",
        "-v",
        "inner:/data/inner",
        "three",
        "sleep",
        "1000",
    ];
    fixture.ok(&words);
    let bound = bound.to_str().unwrap();
    let volumes = fixture.root().join("volumes").to_str().unwrap().to_owned();
    for stopped in [false, true] {
        if stopped {
            fixture.ok(&["stop", "-t", "0", "web"]);
        }
        let file = told(&fixture, "web", "/app/f");
        assert_eq!(file[0], "is        /app/f, file, 13 bytes, mode 0644, owner 0:0");
        assert_eq!(file[1], format!("from      bind {bound} on /app (ro, -v {bind})"));
        assert_eq!(file[2], format!("host path {bound}/f"));
        assert_eq!(file.len(), 3, "{file:?}");
        // What the image has at the same path cannot be seen.
        let old = told(&fixture, "web", "/app/old");
        assert_eq!(old[0], "is        /app/old, which does not exist", "{old:?}");
        assert!(old[1].starts_with("would be  bind "), "{old:?}");
        assert!(old[3].starts_with("hides     layer 3 (ID): file, 3 bytes"), "{old:?}");
        assert!(old[4].starts_with("hides     layer 2 (ID): file, 2 bytes"), "{old:?}");

        let seed = told(&fixture, "web", "/data/seed");
        assert_eq!(seed[1], "from      volume named on /data (rw, --mount)", "{seed:?}");
        assert_eq!(seed[2], format!("host path {volumes}/named/_data/seed"));
        assert!(seed[3].starts_with("hides     layer 2 (ID): file, 5 bytes"), "{seed:?}");
        let inner = told(&fixture, "web", "/data/inner");
        assert!(
            inner[1].starts_with("from      volume inner on /data/inner (rw, -v inner:"),
            "{inner:?}"
        );
        assert!(
            inner[3].starts_with("hides     volume named: directory with 0 entries"),
            "{inner:?}"
        );
        let memory = told(&fixture, "web", "/tmp/x");
        assert!(
            memory[1].starts_with("would be  tmpfs on /tmp (rw, --tmpfs /tmp:size=1m)"),
            "{memory:?}"
        );
        let kernel = told(&fixture, "web", "/proc/version");
        let when = if stopped { ", while the container runs" } else { "" };
        assert_eq!(
            kernel[1],
            format!("{}proc on /proc{when}", if stopped { "would be  " } else { "from      " })
        );
        let hosts = told(&fixture, "web", "/etc/hosts");
        assert!(hosts[1].starts_with("from      engine "), "{hosts:?}");
        let link = told(&fixture, "web", "/link/f");
        assert_eq!(link[0], "link      /link -> app", "{link:?}");
        assert!(link[2].starts_with("from      bind "), "{link:?}");
    }
    let json = fixture.ok(&[
        "explain",
        "--format",
        "{{range .Mounts}}{{.Target}} {{.Kind}} {{.Mode}} {{.Why}}|{{.Hides}}\n{{end}}",
        "web",
    ]);
    let lines: Vec<&str> = json.lines().collect();
    let find = |target: &str| {
        let begins = format!("{target} ");
        *lines
            .iter()
            .find(|line| line.starts_with(&begins))
            .unwrap_or_else(|| panic!("{target}: {json}"))
    };
    assert!(find("/app").starts_with(&format!("/app bind ro -v {bind}|")), "{json}");
    assert!(find("/app").ends_with("|entries of 3 layers"), "{json}");
    assert_eq!(find("/plain"), "/plain volume rw -v /plain|");
    assert_eq!(find("/from-other"), "/from-other volume ro --volumes-from other:ro|");
    assert!(find("/data").contains("1 entry of layer 2"), "{json}");
    assert_eq!(find("/etc/hostname"), "/etc/hostname engine rw written at each start|");
    let depth = |line: &&str| line.split(' ').next().unwrap().matches('/').count();
    assert!(lines.iter().map(depth).is_sorted(), "{json}");

    fixture.ok(&["create", "--name", "dec", "declares"]);
    let why = fixture.ok(&["explain", "--format", "{{(index .Mounts 0).Why}}", "dec"]);
    assert_eq!(why, "VOLUME of the image");
    let document = fixture.ok(&["explain", "--format", "json", "dec", "/declared"]);
    assert!(
        document.contains("\"Kind\":\"mount\"") && document.contains("\"HostPath\":"),
        "{document}"
    );
    assert!(fixture.fails(1, &["explain", "nobody"]).contains("No such container: nobody"));
    fixture.assert_nothing_mounted();
}
