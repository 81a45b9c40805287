//! Forms of saved images: compression, OCI and Docker, directories; podman, buildah, skopeo and umoci
//! read ours, and we read theirs.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use orlop_testkit::{Fixture, fixture, run};

/// Other programs compress and copy whole images, on two slow processors perhaps.
const LIMIT: Duration = Duration::from_secs(300);

/// `base:1` is busybox and a layer, `app:1` one more.
fn app(fixture: &Fixture) -> String {
    fixture.busybox();
    let script = "echo one > /one; mkdir -p /dir/sub; ln /one /two; ln -s one /link; rm /bin/vi; \
                  yes orlop | head -c 400000 > /large; chown 7:8 /large; chmod 4711 /large";
    fixture.ok(&["run", "--name", "first", "busybox", "sh", "-c", script]);
    fixture.ok(&["commit", "first", "base:1"]);
    let script = "rm -r /dir; mkdir /dir; echo new > /dir/new; echo more >> /one";
    fixture.ok(&["run", "--name", "second", "base:1", "sh", "-c", script]);
    let id = fixture.ok(&["commit", "-c", "CMD [\"cat\", \"/one\"]", "second", "app:1"]);
    fixture.ok(&["rm", "first", "second"]);
    id
}

/// What a container of the image sees, file by file.
fn files(fixture: &Fixture, image: &str) -> String {
    let script = "cd /; prune='-path ./proc -o -path ./dev -o -path ./sys -o -path ./etc'; \
                  find . -mindepth 1 \\( $prune \\) -prune -o ! -type d \
                  -exec stat -c '%n %F %a %u:%g %s %h' {} + | sort; \
                  find . -mindepth 1 \\( $prune \\) -prune -o -type d \
                  -exec stat -c '%n %a %u:%g' {} + | sort; \
                  find one two dir large -type f | sort | xargs md5sum";
    fixture.ok(&["run", "--rm", "--entrypoint", "sh", image, "-c", script])
}

/// Other programs, each with its own store below the fixture's folder.
struct Others {
    folder: PathBuf,
}

impl Others {
    fn shell(&self, script: &str) -> String {
        // podman wants its run root to be no longer than 50 characters.
        let store = self.folder.ancestors().nth(2).unwrap();
        let options = format!(
            "--root {0}/pod/root --runroot {0}/pod/run --storage-driver vfs",
            store.display()
        );
        let script = format!(
            "podman() {{ command podman {options} \"$@\"; }}\n\
             buildah() {{ command buildah {options} \"$@\"; }}\n\
             copy() {{ skopeo --insecure-policy copy --quiet \"$@\"; }}\n{script}"
        );
        let mut command = Command::new("bash");
        command.args(["-euc", &script]).current_dir(&self.folder);
        command.env("XDG_RUNTIME_DIR", &self.folder).env("TMPDIR", &self.folder);
        run(&mut command, b"", LIMIT).ok().to_owned()
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

fn size(path: &str) -> u64 {
    Path::new(path).metadata().unwrap().len()
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn every_form_and_compression_comes_back() {
    let fixture = fixture!();
    let id = app(&fixture);
    let before = files(&fixture, "app:1");
    let folder = fixture.directory("archives");
    let path = |name: &str| folder.join(name).display().to_string();
    let mut sizes = Vec::new();
    for form in ["both", "oci", "docker", "oci-dir"] {
        for compression in ["none", "gzip", "zstd:9"] {
            let what = format!("{form} {compression}");
            let file = path(&format!("{form}-{compression}"));
            let save = ["save", "--format", form, "--compression", compression, "-o"];
            fixture.ok(&[&save[..], &[&file, "app:1", "base:1"]].concat());
            if form != "oci-dir" {
                sizes.push(size(&file));
                let again = path("again");
                fixture.ok(&[&save[..], &[&again, "app:1", "base:1"]].concat());
                assert!(
                    std::fs::read(&file).unwrap() == std::fs::read(&again).unwrap(),
                    "{what}: other bytes"
                );
            }
            fixture.remove_images();
            let loaded = fixture.ok(&["load", "-i", &file]);
            assert_eq!(loaded, "Loaded image: app:1\nLoaded image: base:1", "{what}");
            assert_eq!(fixture.ok(&["images", "-q", "--no-trunc", "app"]), id, "{what}");
            assert_eq!(files(&fixture, "app:1"), before, "{what}");
            if form != "oci-dir" {
                // Compressed layers are kept, so the same archive is written again by default.
                let again = path("again");
                fixture.ok(&["save", "--format", form, "-o", &again, "app:1", "base:1"]);
                assert!(
                    std::fs::read(&file).unwrap() == std::fs::read(&again).unwrap(),
                    "{what}: not as it came"
                );
            }
        }
    }
    // Three forms, each plain, with gzip and with zstd.
    for form in sizes.chunks(3) {
        assert!(form[1] < form[0] * 7 / 10 && form[2] < form[0] * 7 / 10, "{sizes:?}");
    }
    fixture.ok(&["system", "check"]);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn other_programs_read_every_form() {
    let fixture = fixture!();
    let id = app(&fixture);
    let others = Others { folder: fixture.directory("others") };
    for compression in ["none", "gzip", "zstd"] {
        for form in ["both", "oci", "docker", "oci-dir"] {
            let what = format!("{form} {compression}");
            let file = others.path("ours");
            let save = ["save", "--format", form, "--compression", compression, "-o", &file];
            fixture.ok(&[&save[..], &["app:1"]].concat());
            let source = match form {
                "docker" => "docker-archive:ours",
                "oci" => "oci-archive:ours",
                "oci-dir" => "oci:ours:1",
                _ => "docker-archive:ours:app:1",
            };
            let script = format!(
                "podman pull --quiet {source} >&2; podman images --quiet --no-trunc; \
                 copy {source} dir:copied; podman rmi --all --force >&2; rm -r copied ours"
            );
            assert_eq!(others.shell(&script), id, "{what}");
        }
    }
    // Several images in one archive, and a container of one of them built upon.
    let file = others.path("ours.tar");
    fixture.ok(&["save", "--compression", "zstd", "-o", &file, "app:1", "base:1"]);
    let script = "podman load --quiet --input ours.tar; \
                  container=$(buildah from --pull-never localhost/app:1); \
                  folder=$(buildah mount $container); cat $folder/one $folder/dir/new; \
                  test ! -e $folder/bin/vi; stat -c '%a %u:%g' $folder/large; \
                  buildah rm $container >&2; podman rmi --all --force >&2";
    let want =
        "Loaded image: localhost/app:1\nLoaded image: localhost/base:1\none\nmore\nnew\n4711 7:8";
    assert_eq!(others.shell(script), want);
    // umoci reads directories, whose compressed layers were gzip only when it was made.
    let directory = others.path("layout");
    for compression in ["none", "gzip"] {
        let save = ["save", "--format", "oci-dir", "--compression", compression, "-o", &directory];
        fixture.ok(&[&save[..], &["app:1"]].concat());
        let script = "umoci unpack --image layout:1 bundle >&2; \
                      cat bundle/rootfs/one bundle/rootfs/dir/new; rm -r bundle layout";
        assert_eq!(others.shell(script), "one\nmore\nnew", "{compression}");
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn what_other_programs_write_is_loaded() {
    let fixture = fixture!();
    app(&fixture);
    let others = Others { folder: fixture.directory("others") };
    fixture.ok(&["save", "-o", &others.path("ours.tar"), "app:1"]);
    let id = others.shell(
        "podman load --quiet --input ours.tar >&2; \
         container=$(buildah from --pull-never docker.io/library/app:1); folder=$(buildah mount $container); \
         echo built > $folder/built; rm -r $folder/dir; buildah umount $container >&2; \
         buildah config --label by=buildah --cmd 'cat /built' $container; \
         buildah commit --quiet $container localhost/built:1; \
         podman save --quiet --format docker-archive -o pd.tar localhost/built:1; \
         podman save --quiet --multi-image-archive -o pm.tar localhost/built:1 docker.io/library/app:1; \
         podman save --quiet --format oci-archive -o po.tar localhost/built:1; \
         podman save --quiet --format oci-dir -o pod localhost/built:1; \
         podman save --quiet --format docker-dir -o pdd localhost/built:1; \
         podman save --quiet --format docker-dir --compress -o pddc localhost/built:1; \
         buildah push --quiet localhost/built:1 oci:bo:x; \
         buildah push --quiet --compression-format zstd localhost/built:1 oci:bz:z; \
         buildah push --quiet localhost/built:1 docker-archive:bd.tar:example.org/built:2; \
         copy --dest-compress --dest-compress-format zstd:chunked oci:bo:x oci:chunked:c; \
         copy oci:bz:z oci-archive:sz.tar:example.org/zstd:3; \
         cp -r bo um; umoci config --image um:x --tag y --config.label by=umoci; \
         umoci unpack --image um:y bundle >&2; echo more > bundle/rootfs/umoci; \
         umoci repack --image um:z bundle >&2; copy oci:um:z oci-archive:um.tar:z",
    );
    let mut seen = String::new();
    let names: [(&str, &[&str]); 11] = [
        ("pd.tar", &["localhost/built:1"]),
        ("pm.tar", &["localhost/built:1", "app:1"]),
        ("po.tar", &["localhost/built:1"]),
        ("pod", &["localhost/built:1"]),
        ("pdd", &[]),
        ("pddc", &[]),
        ("bo", &[]),
        ("bz", &[]),
        ("bd.tar", &["example.org/built:2", "localhost/built:1"]),
        ("chunked", &[]),
        ("sz.tar", &["example.org/zstd:3"]),
    ];
    for (file, names) in names {
        fixture.remove_images();
        let loaded = fixture.ok(&["load", "-i", &others.path(file)]);
        let want: Vec<String> = match names {
            [] => vec![format!("Loaded image ID: sha256:{id}")],
            names => names.iter().map(|name| format!("Loaded image: {name}")).collect(),
        };
        assert_eq!(loaded, want.join("\n"), "{file}");
        let now = files(&fixture, &id);
        if seen.is_empty() {
            seen.clone_from(&now);
        }
        assert_eq!(now, seen, "{file}");
        assert_eq!(fixture.ok(&["run", "--rm", &id]), "built", "{file}");
    }
    fixture.remove_images();
    // umoci's layer is on top; a layout with several images is loaded whole.
    let loaded = fixture.ok(&["load", "-i", &others.path("um.tar")]);
    let umoci = loaded.strip_prefix("Loaded image ID: ").unwrap().to_owned();
    assert_eq!(fixture.ok(&["run", "--rm", &umoci, "cat", "/umoci", "/built"]), "more\nbuilt");
    let loaded = fixture.ok(&["load", "-i", &others.path("um")]);
    assert_eq!(loaded.lines().count(), 3, "{loaded}");
    let diff = fixture.ok(&["image", "diff", &id, &umoci, "/umoci", "/built", "/one"]);
    assert_eq!(diff.lines().next(), Some("A /umoci  5B"), "{diff}");
    fixture.ok(&["system", "check"]);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn directories_and_choices_are_told_in_one_line() {
    let fixture = fixture!();
    fixture.busybox();
    let folder = fixture.directory("out");
    let path = |name: &str| folder.join(name).display().to_string();
    let layout = path("layout");
    let save = ["save", "--format", "oci-dir", "-o", &layout];
    fixture.ok(&[&save[..], &["busybox"]].concat());
    // Another image comes to the first one.
    fixture.ok(&["tag", "busybox", "other:2"]);
    fixture.ok(&[&save[..], &["other:2"]].concat());
    fixture.remove_images();
    let loaded = fixture.ok(&["load", "-i", &layout]);
    assert_eq!(loaded, "Loaded image: busybox:latest\nLoaded image: other:2");
    std::fs::create_dir(folder.join("full")).unwrap();
    std::fs::write(folder.join("full/mine"), "x").unwrap();
    let full = path("full");
    let no_layout = format!("`{full}` is neither empty nor an OCI layout; name another directory");
    for (args, message) in [
        (vec!["--format", "oci-dir", "-o", &full], no_layout.as_str()),
        (vec!["--format", "oci-dir"], "a directory cannot be written to standard output"),
        (vec!["--format", "x"], "format `x` is not `both`, `oci`, `docker` or `oci-dir`"),
        (vec!["--compression", "xz"], "compression `xz` is not `none`, `gzip` or `zstd`"),
        (vec!["--compression", "gzip:0"], "compression level 0 is not from 1 to 9"),
    ] {
        let words = [&["save"], args.as_slice(), &["busybox"]].concat();
        let output = fixture.command(&words).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(text.lines().next(), Some(format!("orlop: save: {message}").as_str()));
        assert_eq!(output.status.code(), Some(1));
    }
    let output = fixture.command(&["load", "-i", "/dev/zero"]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text, "orlop: load: invalid archive: does not contain a manifest.json\n");
}
