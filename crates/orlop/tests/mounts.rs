//! Mounts in every form: modes, keys, propagation, subpaths, targets through links, what overlaps what.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use orlop_testkit::tar::{DIRECTORY, Entry, Tar};
use orlop_testkit::{Fixture, Output, fixture, run};

const LIMIT: Duration = Duration::from_secs(120);

#[track_caller]
fn sh(fixture: &Fixture, options: &[&str], script: &str) -> Output {
    fixture.orlop(&[&["run", "--rm"], options, &["busybox", "sh", "-c", script]].concat())
}

fn data(fixture: &Fixture, volume: &str) -> PathBuf {
    fixture.root().join("volumes").join(volume).join("_data")
}

fn volumes(fixture: &Fixture) -> Vec<String> {
    fixture.ok(&["volume", "ls", "-q"]).lines().map(str::to_owned).collect()
}

/// An image with links and files where mounts shall go.
fn odd_image(fixture: &Fixture) {
    let busybox = std::fs::read("/bin/busybox").unwrap();
    let tar = Tar::new()
        .directory("bin/")
        .entry(Entry { name: "bin/busybox", mode: 0o755, content: &busybox, ..Entry::default() })
        .symlink("bin/sh", "busybox")
        .directory("data/")
        .file("data/image", b"of the image\n")
        .symlink("dlink", "/data")
        .symlink("esc", "../../../tmp")
        .symlink("loop", "loop")
        .file("file", b"a file\n")
        .symlink("flink", "file")
        .entry(Entry {
            name: "closed/",
            kind: DIRECTORY,
            mode: 0o2750,
            uid: 7,
            gid: 8,
            ..Entry::default()
        })
        .finish();
    let words = ["import", "-c", "ENV PATH=/bin", "-c", "CMD [\"sh\"]", "-", "odd"];
    fixture.orlop_with_input(&words, &tar).ok();
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn modes_of_v_are_taken_or_refused_in_dockers_words() {
    let fixture = fixture!(busybox);
    let folder = fixture.directory("bound").display().to_string();
    for mode in [
        "ro",
        "rw",
        "z",
        "Z",
        "ro,z",
        "rprivate",
        "private,ro",
        "consistent",
        "cached,rw",
        "delegated",
    ] {
        let bind = format!("{folder}:/m:{mode}");
        let read_only = mode.split(',').any(|word| word == "ro");
        let output = sh(&fixture, &["-v", &bind], "touch /m/x");
        assert_eq!(output.code, i32::from(read_only), "{mode}: {output}");
        let name = format!("{}{mode}:/m", "").replace([',', ':', '/'], "");
        let volume = format!("vol{name}:/m:{mode}");
        if !mode.contains("private") {
            let output = sh(&fixture, &["-v", &volume], "touch /m/x");
            assert_eq!(output.code, i32::from(read_only), "{mode}: {output}");
        }
    }
    let before = volumes(&fixture).len();
    for (raw, text) in [
        (format!("{folder}:/m:ro,rw"), "invalid mode: ro,rw".to_owned()),
        (format!("{folder}:/m:bogus"), "invalid mode: bogus".to_owned()),
        (
            format!("{folder}:/m:nocopy"),
            format!("invalid volume specification: '{folder}:/m:nocopy': invalid mount config for type \"bind\": field VolumeOptions must not be specified"),
        ),
        (
            "named:/m:shared".to_owned(),
            "invalid volume specification: 'named:/m:shared': invalid mount config for type \"volume\": field BindOptions must not be specified".to_owned(),
        ),
        (
            "named:/".to_owned(),
            "invalid volume specification: 'named:/': invalid mount config for type \"volume\": invalid specification: destination can't be '/'".to_owned(),
        ),
        (
            "named:relative".to_owned(),
            "invalid volume specification: 'named:relative': invalid mount config for type \"volume\": invalid mount path: 'relative' mount path must be absolute".to_owned(),
        ),
        ("/foo:ro".to_owned(), "invalid volume specification: '/foo:ro'".to_owned()),
        ("a:b:c:d".to_owned(), "invalid spec: a:b:c:d: too many colons".to_owned()),
        ("named::ro".to_owned(), "invalid spec: named::ro: empty section between colons".to_owned()),
        (
            "rel/sub:/x".to_owned(),
            "create rel/sub: \"rel/sub\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path".to_owned(),
        ),
    ] {
        let refused = fixture.fails(125, &["run", "--rm", "-v", &raw, "busybox", "true"]);
        assert!(refused.contains(&text), "{raw}: {refused}");
    }
    assert_eq!(volumes(&fixture).len(), before, "nothing half-made");
    assert_eq!(fixture.ok(&["ps", "-aq"]), "");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn keys_of_mount_make_the_mount_they_name() {
    let fixture = fixture!(busybox);
    let labelled = "type=volume,src=lab,dst=/m,volume-label=a=1,volume-label=b,volume-driver=local";
    assert_eq!(sh(&fixture, &["--mount", labelled], "true").code, 0);
    assert_eq!(
        fixture.ok(&["volume", "inspect", "-f", "{{json .Labels}}", "lab"]),
        "{\"a\":\"1\",\"b\":\"\"}"
    );
    let memory = "type=volume,src=mem,dst=/m,volume-opt=type=tmpfs,volume-opt=device=tmpfs,\"volume-opt=o=size=1m,mode=700\"";
    assert_eq!(
        sh(&fixture, &["--mount", memory], "stat -c %a /m; grep -c ' /m tmpfs ' /proc/mounts").ok(),
        "700\n1"
    );
    let options = fixture.ok(&["volume", "inspect", "-f", "{{json .Options}}", "mem"]);
    assert_eq!(options, "{\"device\":\"tmpfs\",\"o\":\"size=1m,mode=700\",\"type\":\"tmpfs\"}");

    let made = fixture.directory("files").join("made");
    let create = format!("type=bind,src={},dst=/m,bind-create-src", made.display());
    assert_eq!(sh(&fixture, &["--mount", &create], "touch /m/x").code, 0);
    assert!(made.join("x").exists());
    for (mount, text) in [
        (
            "type=bind,src=/nowhere/at/all,dst=/m",
            "invalid mount config for type \"bind\": bind source path does not exist: /nowhere/at/all",
        ),
        (
            "type=bind,src=rel,dst=/m",
            "invalid mount config for type \"bind\": invalid mount path: 'rel' mount path must be absolute",
        ),
        ("type=volume,src=v1", "target is required"),
        (
            "type=volume,src=v1,dst=/m,bind-propagation=rshared",
            "cannot mix 'bind-*' options with mount type 'volume'",
        ),
        (
            "type=tmpfs,src=v1,dst=/m",
            "invalid mount config for type \"tmpfs\": field Source must not be specified",
        ),
        (
            "type=strange,src=v1,dst=/m",
            "invalid mount config for type \"strange\": mount type unknown",
        ),
        ("src=v1,dst=/m,colour=red", "unknown option 'colour' in 'colour=red'"),
        ("src=v1,dst=", "invalid value for 'dst': value is empty"),
        ("dst=/m,volume-subpath=a", "must not set Subpath when using anonymous volumes"),
        ("src=v1,dst=/m,volume-subpath=../a", "subpath must be a relative path within the volume"),
        (
            "type=bind,src=/tmp,dst=/m,bind-nonrecursive",
            "bind-nonrecursive is deprecated, use bind-recursive=disabled instead",
        ),
        (
            "type=bind,src=/tmp,dst=/m,bind-recursive=readonly",
            "option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction",
        ),
    ] {
        let refused = fixture.fails(125, &["run", "--rm", "--mount", mount, "busybox", "true"]);
        assert!(refused.contains(text), "{mount}: {refused}");
    }
    assert_eq!(volumes(&fixture), ["lab", "mem"]);
}

/// Runs a script in a mount namespace of its own, with `$orlop` as the command under test.
fn in_own_namespace(fixture: &Fixture, script: &str) -> Output {
    let command = fixture.command(&[]);
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    let script = format!("set -e; orlop() {{ {} \"$@\"; }}\n{script}", words.join(" "));
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "bash", "-c", &script]);
    run(&mut command, b"", LIMIT)
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn propagation_words_let_mounts_travel_in_the_directions_they_name() {
    let fixture = fixture!(busybox);
    let folder = fixture.directory("bound").display().to_string();
    // What the host mounts is seen inside; what the container mounts is seen on the host.
    for (word, inwards, outwards) in [
        ("rshared", true, true),
        ("rslave", true, false),
        ("rprivate", false, false),
        ("shared", true, true),
        ("slave", true, false),
    ] {
        let script = format!(
            "mount -t tmpfs host {folder}; mount --make-shared {folder}; mkdir {folder}/in {folder}/out
             orlop run -d --name {word} --cap-add SYS_ADMIN --security-opt seccomp=unconfined -v {folder}:/m:{word} busybox sleep 1000 >/dev/null
             mount -t tmpfs later {folder}/in; touch {folder}/in/host
             orlop exec {word} sh -c 'ls /m/in; mount -t tmpfs inner /m/out && touch /m/out/guest'
             echo --; ls {folder}/out; echo --
             orlop inspect -f '{{{{(index .Mounts 0).Propagation}}}}' {word}
             orlop rm -f {word} >/dev/null"
        );
        let output = in_own_namespace(&fixture, &script);
        let want = format!(
            "{}--\n{}--\n{word}\n",
            if inwards { "host\n" } else { "" },
            if outwards { "guest\n" } else { "" }
        );
        assert_eq!((output.code, &*output.stdout), (0, &*want), "{word}: {output}");
    }
    // A mount that is not shared cannot be had as a shared one.
    for (word, kind) in [("rshared", "a shared mount"), ("rslave", "a shared or slave mount")] {
        let script = format!(
            "mount -t tmpfs host {folder}; mount --make-private {folder}
             orlop run --rm -v {folder}:/m:{word} busybox true"
        );
        let output = in_own_namespace(&fixture, &script);
        let text = format!("path {folder} is mounted on {folder} but it is not {kind}");
        assert!(output.code == 125 && output.stderr.contains(&text), "{output}");
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn recursion_of_a_bind_is_as_it_was_asked_for() {
    let fixture = fixture!(busybox);
    let folder = fixture.directory("bound").display().to_string();
    let show = |keys: &str| {
        let script = format!(
            "mount -t tmpfs host {folder}; mkdir {folder}/sub; mount -t tmpfs below {folder}/sub; touch {folder}/sub/f
             orlop run --rm --mount type=bind,src={folder},dst=/m,{keys} busybox sh -c \
             'ls /m/sub; touch /m/a 2>/dev/null && echo top; touch /m/sub/a 2>/dev/null && echo sub; true'"
        );
        let output = in_own_namespace(&fixture, &script);
        assert_eq!(output.code, 0, "{keys}: {output}");
        output.stdout.lines().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(show("bind-recursive=enabled"), "f top sub");
    assert_eq!(show("bind-recursive=disabled"), "top sub");
    assert_eq!(show("readonly"), "f");
    assert_eq!(show("readonly,bind-recursive=writable"), "f sub");
    assert_eq!(show("readonly,bind-recursive=readonly,bind-propagation=rprivate"), "f");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn targets_are_found_inside_the_root_whatever_links_the_image_holds() {
    let fixture = fixture!();
    odd_image(&fixture);
    let run = |options: &[&str], script: &str| {
        fixture.orlop(&[&["run", "--rm"], options, &["odd", "sh", "-c", script]].concat())
    };
    assert_eq!(run(&["-v", "v1:/dlink"], "echo x > /data/f; busybox ls /data").ok(), "f\nimage");
    assert!(data(&fixture, "v1").join("f").exists());
    // Out of the root leads back into it.
    let guard = Path::new("/tmp/orlop-escaped");
    assert_eq!(run(&["-v", "v2:/esc"], "echo x > /tmp/orlop-escaped").code, 0);
    assert!(data(&fixture, "v2").join("orlop-escaped").exists() && !guard.exists());
    let refused = run(&["-v", "v3:/loop/x"], "true");
    assert!(refused.code == 125 || refused.code == 127, "{refused}");

    // A directory on a file and a file on a directory.
    let folder = fixture.directory("files");
    std::fs::write(folder.join("one"), "one\n").unwrap();
    let one = folder.join("one").display().to_string();
    let mismatch = "Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type";
    for mount in [
        format!("{}:/file", folder.display()),
        format!("{one}:/data"),
        format!("{}:/flink", folder.display()),
    ] {
        let refused = run(&["-v", &mount], "true");
        assert!(refused.code == 125 && refused.stderr.contains(mismatch), "{mount}: {refused}");
    }
    let refused = run(&["-v", "/file"], "true");
    let text = "cannot mount volume over existing file, file exists";
    assert!(refused.code == 125 && refused.stderr.contains(text), "{refused}");
    assert_eq!(run(&["-v", &format!("{one}:/flink")], "busybox cat /file /flink").ok(), "one\none");
    // What is missing is made in the container's layer, a file for a file.
    assert_eq!(run(&["-v", &format!("{one}:/new/place")], "busybox cat /new/place").ok(), "one");
    assert_eq!(std::fs::read_to_string(folder.join("one")).unwrap(), "one\n");
    // An empty directory of the image gives its owner and mode to the volume.
    assert_eq!(run(&["-v", "v4:/closed"], "busybox stat -c '%a %u %g' /closed").ok(), "2750 7 8");
    assert_eq!(
        run(&["-v", "v5:/closed:nocopy"], "busybox stat -c '%a %u %g' /closed").ok(),
        "755 0 0"
    );
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_part_of_a_volume_stays_a_part() {
    let fixture = fixture!(busybox);
    assert_eq!(sh(&fixture, &["-v", "vol:/v"], "mkdir -p /v/a/b; echo deep > /v/a/b/f; ln -s a/b /v/link; ln -s / /v/out; ln -s .. /v/a/up").code, 0);
    let part = |subpath: &str| format!("type=volume,src=vol,dst=/p,volume-subpath={subpath}");
    let cat = |subpath: &str, file: &str| {
        sh(&fixture, &["--mount", &part(subpath)], &format!("cat /p{file}"))
    };
    assert_eq!(cat("a/b", "/f").ok(), "deep");
    assert_eq!(cat("link", "/f").ok(), "deep");
    assert_eq!(cat("a/b/f", "").ok(), "deep");
    assert_eq!(cat("a/up", "/a/b/f").ok(), "deep");
    let refused = cat("out", "/etc/passwd");
    let escapes = format!(
        "path concatenation escapes the base directory, base: {}, subpath: out",
        data(&fixture, "vol").display()
    );
    assert!(refused.code == 125 && refused.stderr.contains(&escapes), "{refused}");
    let missing = cat("none", "/f");
    let place = data(&fixture, "vol").join("none").display().to_string();
    let text = format!("cannot access path {place}: lstat {place}: no such file or directory");
    assert!(missing.code == 127 && missing.stderr.contains(&text), "{missing}");
    assert!(!Path::new(&place).exists(), "never made");
    // Copy-up fills the part.
    std::fs::create_dir(data(&fixture, "vol").join("etc")).unwrap();
    let fill = "type=volume,src=vol,dst=/etc,volume-subpath=etc";
    assert_eq!(sh(&fixture, &["--mount", fill], "true").code, 0);
    assert!(data(&fixture, "vol").join("etc/passwd").exists());
    assert!(!data(&fixture, "vol").join("passwd").exists());
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn volumes_from_takes_over_what_was_frozen_at_its_creation() {
    let fixture = fixture!(busybox);
    let folder = fixture.directory("bound").display().to_string();
    let bind = format!("{folder}:/bind:ro");
    fixture.ok(&[
        "create",
        "--name",
        "first",
        "-v",
        "named:/named",
        "-v",
        "/anon",
        "-v",
        &bind,
        "--tmpfs",
        "/tmp1",
        "--mount",
        "type=tmpfs,dst=/tmp2",
        "busybox",
    ]);
    fixture.ok(&[
        "create",
        "--name",
        "second",
        "--volumes-from",
        "first",
        "-v",
        "other:/named",
        "busybox",
    ]);
    let mounts = |name: &str| {
        let template = "{{range .Mounts}}{{.Destination}} {{.Type}} {{.RW}} {{.Mode}}|{{end}}";
        let mut parts: Vec<String> = fixture
            .ok(&["inspect", "-f", template, name])
            .split('|')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect();
        parts.sort();
        parts
    };
    assert_eq!(
        mounts("second"),
        ["/anon volume true ", "/bind bind false ", "/named volume true z"]
    );
    fixture.ok(&["create", "--name", "third", "--volumes-from", "second:ro", "busybox"]);
    assert_eq!(
        mounts("third"),
        ["/anon volume false ", "/bind bind false ", "/named volume false "]
    );
    // The reference is held from creation on, not only from the first start.
    fixture.ok(&["rm", "first", "second"]);
    let id = fixture.ok(&["inspect", "-f", "{{.Id}}", "third"]);
    let refused = fixture.fails(1, &["volume", "rm", "other"]);
    assert!(refused.contains(&format!("remove other: volume is in use - [{id}]")), "{refused}");
    for (from, text) in [
        ("nobody", "No such container: nobody"),
        ("third:nocopy", "invalid mode: nocopy"),
        ("third:rshared", "invalid mode: rshared"),
        ("third:what", "invalid mode: what"),
        ("", "volumes-from specification cannot be an empty string"),
    ] {
        let refused = fixture.fails(125, &["run", "--volumes-from", from, "busybox"]);
        assert!(refused.contains(text), "{from}: {refused}");
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn which_volumes_go_with_their_container_depends_on_how_they_were_mounted() {
    let fixture = fixture!();
    let tar = fixture.busybox_tar();
    fixture.ok(&["import", "-c", "VOLUME /declared", "-c", "CMD [\"true\"]", &tar, "declared"]);
    let old = fixture.ok(&["volume", "create"]);
    // Each row of Docker's table, for `rm -v` and for `--rm`.
    let by_id = format!("{old}:/byid");
    let options = [
        "-v",
        "/anon",
        "--mount",
        "type=volume,dst=/mounted",
        "-v",
        "named:/named",
        "--mount",
        "src=named2,dst=/named2",
        "-v",
        &by_id,
    ];
    let create = [&["create", "--name", "one"][..], &options, &["declared"]].concat();
    fixture.ok(&create);
    assert_eq!(volumes(&fixture).len(), 6);
    fixture.ok(&["rm", "-v", "one"]);
    let mut kept = vec![old.clone(), "named".to_owned(), "named2".to_owned()];
    kept.sort();
    let mut left = volumes(&fixture);
    left.sort();
    assert_eq!(left, kept, "rm -v");
    fixture.ok(&[&["run", "--rm"][..], &options, &["declared"]].concat());
    let mut left = volumes(&fixture);
    left.sort();
    assert_eq!(left, kept, "--rm");
    // Without `-v` all of them stay.
    fixture.ok(&create);
    fixture.ok(&["rm", "one"]);
    assert_eq!(volumes(&fixture).len(), 6);
    fixture.ok(&["volume", "prune", "-f"]);

    // Taken over from another container: with the last that has it.
    fixture.ok(&["create", "--name", "owner", "-v", "/anon", "declared"]);
    fixture.ok(&["create", "--name", "guest", "--volumes-from", "owner", "declared"]);
    let both = volumes(&fixture).len();
    fixture.ok(&["rm", "-v", "owner"]);
    assert_eq!(volumes(&fixture).len(), both, "the guest still refers to them");
    fixture.ok(&["rm", "-v", "guest"]);
    assert_eq!(volumes(&fixture).len(), both - 2);
    let refused = fixture.fails(125, &["run", "--rm", "--restart", "always", "declared"]);
    assert!(
        refused.contains("onflicting options: ")
            || refused.contains("can't create 'AutoRemove' container with restart policy"),
        "{refused}"
    );
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn an_image_is_mounted_read_only_and_kept_by_the_mount() {
    let fixture = fixture!(busybox);
    odd_image(&fixture);
    let whole = "type=image,src=odd,dst=/i";
    assert_eq!(sh(&fixture, &["--mount", whole], "cat /i/data/image").ok(), "of the image");
    let refused = sh(&fixture, &["--mount", whole], "touch /i/x");
    assert!(refused.code == 1 && refused.stderr.contains("Read-only file system"), "{refused}");
    let part = "type=image,src=odd,dst=/i,image-subpath=data";
    assert_eq!(sh(&fixture, &["--mount", part], "cat /i/image").ok(), "of the image");
    let refused = fixture.orlop(&[
        "run",
        "--rm",
        "--mount",
        "type=image,src=nothing,dst=/i",
        "busybox",
        "true",
    ]);
    assert!(refused.code == 125 && refused.stderr.contains("No such image: nothing"), "{refused}");
    let both =
        ["run", "--rm", "-v", "fresh:/v", "--mount", "type=image,src=nothing,dst=/i", "busybox"];
    fixture.fails(125, &both);
    assert_eq!(volumes(&fixture), Vec::<String>::new());
    // The image stays as long as something mounts it.
    fixture.ok(&["create", "--name", "user", "--mount", whole, "busybox", "true"]);
    let refused = fixture.fails(1, &["rmi", "odd"]);
    assert!(
        refused.contains("is using its referenced image") || refused.contains("is being used"),
        "{refused}"
    );
    fixture.ok(&["rm", "user"]);
    fixture.ok(&["rmi", "odd"]);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn memory_and_devices_can_be_mounted_over() {
    let fixture = fixture!(busybox);
    let seen = sh(
        &fixture,
        &["--tmpfs", "/m:size=1m,exec,uid=5,mode=1711"],
        "stat -c '%a %u' /m; grep ' /m ' /proc/mounts",
    );
    let seen = seen.ok();
    assert!(
        seen.starts_with(
            "1711 5\ntmpfs /m tmpfs rw,nosuid,nodev,relatime,size=1024k,mode=1711,uid=5"
        ),
        "{seen}"
    );
    let refused = fixture.fails(125, &["run", "--rm", "--tmpfs", "/m:foo", "busybox", "true"]);
    assert!(refused.contains("invalid tmpfs option \"foo\""), "{refused}");
    let refused = fixture.fails(125, &["run", "--rm", "--tmpfs", "/", "busybox", "true"]);
    assert!(refused.contains("destination can't be '/'"), "{refused}");
    // Nothing of the image is copied into memory, nothing of memory is kept.
    fixture.ok(&[
        "create",
        "--name",
        "one",
        "--tmpfs",
        "/etc",
        "busybox",
        "sh",
        "-c",
        "ls /etc; touch /etc/left",
    ]);
    for _ in 0..2 {
        let seen = fixture.ok(&["start", "-a", "one"]);
        assert!(!seen.contains("passwd") && !seen.contains("left"), "{seen}");
    }
    assert_eq!(
        sh(
            &fixture,
            &["-v", "shm:/dev/shm"],
            "echo x > /dev/shm/f; grep -c ' /dev/shm tmpfs' /proc/mounts"
        )
        .stdout,
        "0\n"
    );
    assert!(data(&fixture, "shm").join("f").exists());
    // A volume on the whole of `/dev` may start as often as any other.
    fixture.ok(&["create", "--name", "dev", "-v", "devices:/dev", "busybox", "true"]);
    for round in 0..3 {
        let output = fixture.orlop(&["start", "-a", "dev"]);
        assert_eq!(output.code, 0, "round {round}: {output}");
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn events_tell_when_a_volume_is_mounted_by_whom_and_where() {
    let fixture = fixture!(busybox);
    let id =
        fixture.ok(&["run", "-d", "--name", "one", "-v", "data:/v:ro", "busybox", "sleep", "1000"]);
    fixture.ok(&["rm", "-f", "one"]);
    fixture.ok(&["volume", "create", "data"]);
    fixture.ok(&["volume", "rm", "data"]);
    let template = "{{.Type}} {{.Action}} {{json .Actor.Attributes}}";
    let events = fixture.events(&["type=volume"], template);
    let want = [
        "volume create {\"driver\":\"local\"}".to_owned(),
        format!(
            "volume mount {{\"container\":\"{id}\",\"destination\":\"/v\",\"driver\":\"local\",\"propagation\":\"\",\"read/write\":\"false\"}}"
        ),
        format!("volume unmount {{\"container\":\"{id}\",\"driver\":\"local\"}}"),
        "volume destroy {\"driver\":\"local\"}".to_owned(),
    ];
    assert_eq!(events.lines().collect::<Vec<_>>(), want);
    let order = fixture.events(&[], "{{.Type}} {{.Action}}");
    let at = |what: &str| {
        order.lines().position(|line| line == what).unwrap_or_else(|| panic!("{what} in {order}"))
    };
    assert!(
        at("volume mount") < at("container start") && at("container die") < at("volume unmount"),
        "{order}"
    );
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn the_kernel_s_list_of_mounts_goes_from_the_top_down() {
    let fixture = fixture!(busybox);
    let folder = fixture.directory("bound").display().to_string();
    let bind = format!("{folder}:/z/y/x");
    let words = [
        "-v",
        "deep:/z/y/x/w/v",
        "--tmpfs",
        "/z/y",
        "-v",
        &bind,
        "--mount",
        "src=top,dst=/z",
        "-v",
        "/q/r/s",
        "-v",
        "q1:/q",
        "--mount",
        "type=tmpfs,dst=/q/r",
    ];
    let script = "grep -o -e ' /[zq][a-z/]* ' /proc/self/mountinfo";
    let seen = sh(&fixture, &words, script);
    let seen: Vec<&str> = seen.ok().lines().map(str::trim).collect();
    let mut sorted = seen.clone();
    sorted.sort_by_key(|path| path.matches('/').count());
    assert_eq!(seen, sorted, "by depth");
    let all: std::collections::BTreeSet<&str> = seen.into_iter().collect();
    let want = ["/q", "/q/r", "/q/r/s", "/z", "/z/y", "/z/y/x", "/z/y/x/w/v"];
    assert_eq!(all.into_iter().collect::<Vec<_>>(), want);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn containers_made_at_once_fill_a_fresh_volume_once_and_find_it_whole() {
    let fixture = fixture!();
    let mut tar = Tar::new().directory("bin/").directory("seed/");
    let busybox = std::fs::read("/bin/busybox").unwrap();
    tar = tar
        .entry(Entry { name: "bin/busybox", mode: 0o755, content: &busybox, ..Entry::default() })
        .symlink("bin/sh", "busybox");
    for number in 0..500 {
        tar = tar.file(&format!("seed/{number}"), number.to_string().as_bytes());
    }
    let words = ["import", "-c", "ENV PATH=/bin", "-", "seeded"];
    fixture.orlop_with_input(&words, &tar.finish()).ok();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                // Whoever comes first fills it; nobody sees it half full.
                let script = "busybox ls /seed | busybox wc -l";
                let words = ["run", "--rm", "-v", "fresh:/seed", "seeded", "sh", "-c", script];
                assert_eq!(fixture.ok(&words), "500");
            });
        }
    });
    assert_eq!(std::fs::read_dir(data(&fixture, "fresh")).unwrap().count(), 500);
    // A part that somebody took away is not brought back.
    std::fs::remove_file(data(&fixture, "fresh").join("7")).unwrap();
    fixture.ok(&["run", "--rm", "-v", "fresh:/seed", "seeded", "busybox", "true"]);
    assert!(!data(&fixture, "fresh").join("7").exists());
}
