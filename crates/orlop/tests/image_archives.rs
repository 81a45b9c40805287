//! `save` and `load`: round trips, other programs' archives, streams, kills and bad input.
#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use orlop_testkit::{Fixture, fixture, run};

const LIMIT: Duration = Duration::from_secs(120);

/// `busybox` and, on it, two committed layers as `app:1`, which is also `app:latest`.
fn app(fixture: &Fixture) -> String {
    fixture.busybox();
    let script = "echo one > /one; mkdir -p /dir/sub; echo x > /dir/sub/x; ln /one /two; \
                  rm /bin/vi; dd if=/dev/zero of=/holes bs=1024 count=1 seek=4000 2>/dev/null";
    fixture.ok(&["run", "--name", "first", "busybox", "sh", "-c", script]);
    fixture.ok(&["commit", "first", "base:1"]);
    let script = "rm -r /dir; mkdir /dir; echo new > /dir/new; echo more >> /one; chown 7:8 /two";
    fixture.ok(&["run", "--name", "second", "base:1", "sh", "-c", script]);
    let id = fixture.ok(&["commit", "-c", "CMD [\"cat\", \"/one\"]", "second", "app:1"]);
    fixture.ok(&["tag", "app:1", "app"]);
    fixture.ok(&["rm", "first", "second"]);
    id
}

fn image_lines(fixture: &Fixture) -> Vec<String> {
    let text =
        fixture.ok(&["images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// What a container of the image sees, file by file, with the digest of each content.
fn files(fixture: &Fixture, image: &str) -> String {
    let script = "find / -xdev ! -path '/proc/*' ! -path '/dev/*' ! -path '/sys/*' ! -path '/etc/*' -type f \
                  -exec stat -c '%n %a %u:%g %s %h' {} + | sort; md5sum /one /dir/* /holes";
    fixture.ok(&["run", "--rm", image, "sh", "-c", script])
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn images_come_back_the_same_from_files_and_pipes() {
    let fixture = fixture!();
    let id = app(&fixture);
    let before = files(&fixture, "app:1");
    let all = image_lines(&fixture);
    let path = fixture.folder().join("all.tar").display().to_string();
    assert_eq!(fixture.ok(&["save", "-o", &path, "app", "busybox", "base:1"]), "");
    let saved = std::fs::read(&path).unwrap();
    let piped = fixture.command(&["save", "app", "busybox", "base:1"]).output().unwrap();
    assert!(piped.status.success());
    assert!(piped.stdout == saved, "a pipe gets other bytes than a file");
    fixture.remove_images();
    assert_eq!(image_lines(&fixture), Vec::<String>::new());
    let names = "Loaded image: app:1\nLoaded image: app:latest\nLoaded image: busybox:latest\nLoaded image: base:1";
    assert_eq!(fixture.ok(&["load", "-i", &path]), names);
    assert_eq!(image_lines(&fixture), all);
    assert_eq!(files(&fixture, "app:1"), before);
    assert_eq!(fixture.ok(&["run", "--rm", "app"]), "one\nmore");
    // Again, though everything is there; then packed through a pipe on an empty store.
    assert_eq!(fixture.ok(&["load", "-q", "-i", &path]), names);
    for packer in ["cat", "gzip -1", "xz -0", "zstd -q"] {
        fixture.remove_images();
        let script = format!("{packer} < {path}");
        let mut packing =
            Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
        let output =
            fixture.command(&["load"]).stdin(packing.stdout.take().unwrap()).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim_end(), names, "{packer}");
        assert!(packing.wait().unwrap().success(), "{packer} could not write everything");
        assert_eq!(image_lines(&fixture), all, "{packer}");
    }
    assert_eq!(fixture.ok(&["image", "inspect", "-f", "{{.Id}}", "app:1"]), id);
    let ids = fixture.events(&["event=load"], "{{.Action}}");
    assert!(ids.lines().count() >= 6, "{ids}");
    // By id there are no names; a repository stands for all its tags.
    fixture.ok(&["save", "-o", &path, &id["sha256:".len()..][..12]]);
    fixture.remove_images();
    assert_eq!(fixture.ok(&["load", "-i", &path]), format!("Loaded image ID: {id}"));
    assert_eq!(files(&fixture, &id), before);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn other_programs_read_and_write_the_same_archives() {
    let fixture = fixture!();
    let id = app(&fixture);
    let before = files(&fixture, "app:1");
    let folder = fixture.directory("archives");
    let path = |name: &str| folder.join(name).display().to_string();
    fixture.ok(&["save", "-o", &path("ours.tar"), "app:1"]);
    std::fs::create_dir(folder.join("ours")).unwrap();
    let shell = |script: &str| {
        let mut command = Command::new("sh");
        command.args(["-ec", script]).current_dir(&folder).env("XDG_RUNTIME_DIR", &folder);
        run(&mut command, b"", LIMIT).ok().to_owned()
    };
    shell("tar -xf ours.tar -C ours");
    // Both sides of ours, by programs that know only one of them.
    shell("umoci unpack --rootless --image ours:1 bundle >&2");
    assert_eq!(
        shell("cat bundle/rootfs/one bundle/rootfs/dir/new; ls bundle/rootfs/dir"),
        "one\nmore\nnew\nnew"
    );
    let copy = "skopeo --insecure-policy copy --quiet";
    shell(&format!("{copy} docker-archive:ours.tar:app:1 oci:layout:localhost/app:gzip"));
    shell(&format!("{copy} oci:ours:1 docker-archive:docker.tar:other/app:2"));
    shell(&format!("{copy} oci:layout:localhost/app:gzip oci-archive:oci.tar:localhost/app:3"));
    shell(&format!(
        "{copy} --dest-compress --dest-compress-format zstd oci:ours:1 dir:zstd && \
         {copy} dir:zstd oci:zstd-layout:app && tar -C zstd-layout -czf zstd.tgz ."
    ));
    let mut command = Command::new("sh");
    command.args(["-c", "ls ours/blobs/sha256 | wc -l"]).current_dir(&folder);
    assert_eq!(run(&mut command, b"", LIMIT).ok(), "5");
    for (file, name) in [
        ("docker.tar", Some("other/app:2")),
        ("oci.tar", Some("localhost/app:3")),
        ("layout", Some("localhost/app:gzip")),
        ("ours", Some("app:1")),
        ("zstd.tgz", None),
    ] {
        fixture.remove_images();
        let line = fixture.ok(&["load", "-i", &path(file)]);
        let loaded = fixture.ok(&["images", "--quiet", "--no-trunc"]);
        match name {
            Some(name) => assert_eq!(line, format!("Loaded image: {name}"), "{file}"),
            None => assert_eq!(line, format!("Loaded image ID: {loaded}"), "{file}"),
        }
        assert_eq!(files(&fixture, &loaded), before, "{file}");
        if matches!(file, "ours" | "zstd.tgz" | "docker.tar") {
            assert_eq!(loaded, id, "{file} has another configuration");
        }
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_load_or_save_that_is_killed_leaves_nothing() {
    let fixture = fixture!();
    app(&fixture);
    let path = fixture.folder().join("app.tar").display().to_string();
    fixture.ok(&["save", "-o", &path, "app:1", "busybox"]);
    fixture.remove_images();
    fixture.ok(&["reap"]);
    for point in
        ["layer.unpacked", "image.load.unpacked", "meta.publish.renamed", "image.load.layers"]
    {
        let killed =
            fixture.command(&["load", "-i", &path]).env("ORLOP_FAULT", point).output().unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&killed.status),
            Some(6),
            "{point} was not reached: {killed:?}"
        );
        assert_eq!(image_lines(&fixture), Vec::<String>::new(), "{point}");
        drop(fixture.orlop(&["system", "check", "--repair"]));
        fixture.ok(&["system", "check"]);
        let staging = fixture.root().join("staging").read_dir().unwrap().count();
        assert_eq!(staging, 0, "{point}");
    }
    assert_eq!(fixture.ok(&["load", "-i", &path]).lines().count(), 2);
    // A save that dies leaves the file that was there.
    std::fs::write(&path, "precious").unwrap();
    let mut saving = fixture.command(&["save", "-o", &path, "app:1"]).spawn().unwrap();
    saving.kill().unwrap();
    saving.wait().unwrap();
    let after = std::fs::read(&path).unwrap();
    assert!(after == b"precious" || after.starts_with(b"oci-layout"), "half an archive");
    let names: Vec<_> =
        fixture.folder().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().starts_with(".tmp-")), "{names:?}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn bad_archives_and_names_are_told_in_one_line() {
    let fixture = fixture!();
    let id = fixture.busybox();
    let folder = fixture.directory("bad");
    let path = folder.join("out.tar").display().to_string();
    assert!(fixture.fails(1, &["save", "-o", &path, "nothing"]).contains("No such image: nothing"));
    assert!(!folder.join("out.tar").exists());
    assert!(fixture.fails(1, &["save", "-o", "/nowhere/x.tar", "busybox"]).ends_with(
        "failed to save image: invalid output path: stat /nowhere: no such file or directory"
    ));
    assert!(
        fixture
            .fails(1, &["save", "--platform", "linux/s390x", "busybox"])
            .ends_with("no suitable export target found for platform linux/s390x")
    );
    assert!(
        fixture
            .fails(1, &["load", "-i", "/nowhere.tar"])
            .ends_with("open /nowhere.tar: no such file or directory")
    );
    let output = fixture.orlop_with_input(&["load"], b"this is no archive");
    assert!(output.fails(1).ends_with("unexpected EOF"), "{output}");
    // An archive cut short in the middle of its layer, from a file and from a pipe.
    fixture.ok(&["save", "-o", &path, "busybox"]);
    let whole = std::fs::read(&path).unwrap();
    fixture.ok(&["rmi", "busybox"]);
    let cut = folder.join("cut.tar").display().to_string();
    std::fs::File::create(&cut).unwrap().write_all(&whole[..whole.len() / 2]).unwrap();
    let line = fixture.fails(1, &["load", "-i", &cut]);
    assert!(
        line.contains("blobs/sha256/") && line.ends_with("the archive ends before its end"),
        "{line}"
    );
    assert_eq!(fixture.orlop_with_input(&["load"], &whole[..whole.len() / 2]).code, 1);
    assert_eq!(image_lines(&fixture), Vec::<String>::new());
    assert_eq!(fixture.orlop_with_input(&["load"], &whole).ok(), "Loaded image: busybox:latest");
    assert_eq!(fixture.ok(&["images", "-q", "--no-trunc"]), id);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_layer_that_was_changed_on_the_disk_is_not_saved() {
    let fixture = fixture!(busybox);
    let layers = fixture.root().join("layers/overlay");
    let path = fixture.folder().join("out.tar").display().to_string();
    // The same length and another byte.
    let script = format!(
        "for f in {}/*/diff/bin/busybox; do printf x | dd of=$f bs=1 seek=5000 conv=notrunc 2>/dev/null; done",
        layers.display()
    );
    run(Command::new("sh").args(["-c", &script]), b"", LIMIT).ok();
    let line = fixture.fails(1, &["save", "-o", &path, "busybox"]);
    assert!(line.contains("was changed on the disk"), "{line}");
    assert!(!std::path::Path::new(&path).exists());
}
