//! `pull`: what comes, what is shown, and what happens when the registry or the machine fails.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::Duration;

use orlop_testkit::{Fault as RegistryFault, FaultyRegistry, Fixture, fixture, run};

const BINARY: &str = env!("CARGO_BIN_EXE_orlop");

/// Another store in the same network.
fn other() -> Fixture {
    Fixture::in_this_network(BINARY)
}

/// A registry with `HOST/app:1`: busybox and two small layers. Gives its name.
fn serve(fixture: &Fixture, registry: &FaultyRegistry) -> String {
    fixture.busybox();
    let name = format!("{}/app:1", registry.host());
    for (from, to, script) in [
        ("busybox", "base:1", "echo one > /one"),
        ("base:1", name.as_str(), "dd if=/dev/urandom of=/two bs=4096 count=512 2>/dev/null"),
    ] {
        fixture.ok(&["run", "--network", "none", "--name", "step", from, "sh", "-c", script]);
        fixture.ok(&["commit", "step", to]);
        fixture.ok(&["rm", "step"]);
    }
    fixture.ok(&["push", "--quiet", &name]);
    name
}

/// Digests of the layers that a registry has, lowest first.
fn layers(registry: &FaultyRegistry) -> Vec<String> {
    let (_, manifest) = registry.manifest("app", "1").unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    layers.iter().map(|layer| layer["digest"].as_str().unwrap().to_owned()).collect()
}

/// How often the bytes of a blob were asked for.
fn gets(registry: &FaultyRegistry, digest: &str) -> usize {
    registry.count(&format!("GET /v2/app/blobs/{digest}"))
}

fn is_empty(store: &Fixture) {
    assert_eq!(store.ok(&["images", "--all", "--quiet"]), "");
    let check = store.ok(&["system", "check"]);
    assert!(check.contains("no problems"), "{check}");
}

fn files(store: &Fixture, folder: &str) -> Vec<PathBuf> {
    let Ok(entries) = store.root().join("content").join(folder).read_dir() else {
        return Vec::new();
    };
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn an_image_comes_as_it_was_pushed_and_a_second_pull_finds_it_here() {
    let fixture = fixture!();
    let registry = FaultyRegistry::start();
    let name = serve(&fixture, &registry);
    let id = fixture.ok(&["inspect", "-f", "{{.Id}}", &name]);
    let digest = orlop_testkit::digest_text(&registry.manifest("app", "1").unwrap().1);
    let store = other();
    let output = store.ok(&["pull", &name]);
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines.first(), Some(&"1: Pulling from app"));
    for layer in layers(&registry) {
        let short = &layer["sha256:".len()..][..12];
        let states: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix(short)).collect();
        let want = [
            ": Pulling fs layer",
            ": Verifying Checksum",
            ": Download complete",
            ": Pull complete",
        ];
        assert_eq!(states, want, "{output}");
    }
    assert_eq!(
        lines[lines.len() - 3..],
        [
            &format!("Digest: {digest}"),
            &format!("Status: Downloaded newer image for {name}"),
            name.as_str()
        ]
    );
    assert_eq!(store.ok(&["inspect", "-f", "{{.Id}} {{.RepoDigests}}", &name]), {
        let repository = name.strip_suffix(":1").unwrap();
        format!("{id} [{repository}@{digest}]")
    });
    assert_eq!(store.ok(&["run", "--rm", "--network", "none", &name, "cat", "/one"]), "one");
    let event =
        store.events(&["type=image"], "{{.Action}} {{.Actor.ID}} {{.Actor.Attributes.name}}");
    assert_eq!(event, format!("pull {name} {}", name.strip_suffix(":1").unwrap()));
    let again = store.ok(&["pull", &name]);
    assert_eq!(
        again,
        format!(
            "1: Pulling from app\nDigest: {digest}\nStatus: Image is up to date for {name}\n{name}"
        )
    );
    assert_eq!(store.ok(&["pull", "--quiet", &name]), name);
    // By its digest, as a second name.
    let by_digest = format!("{}@{digest}", name.strip_suffix(":1").unwrap());
    assert_eq!(store.ok(&["pull", "-q", &by_digest]), by_digest);
    for layer in layers(&registry) {
        assert_eq!(gets(&registry, &layer), 1, "{layer}");
    }
    // Everything goes with the image.
    store.ok(&["rmi", "--force", &id]);
    assert_eq!(files(&store, "sha256"), Vec::<PathBuf>::new());
    is_empty(&store);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_download_that_breaks_off_goes_on_where_it_was() {
    let fixture = fixture!();
    let registry = FaultyRegistry::start();
    let name = serve(&fixture, &registry);
    let big = layers(&registry).pop().unwrap();
    registry.fault(&format!("blobs/{big}"), RegistryFault::CutBody(1_500_000), 1);
    let store = other();
    let output = store.ok(&["pull", &name]);
    assert!(
        output.contains(&format!("{}: Retrying in", &big["sha256:".len()..][..12])),
        "{output}"
    );
    let ranges: Vec<String> = registry
        .requests()
        .into_iter()
        .filter(|request| request.line.contains(&big))
        .filter_map(|request| request.headers.get("range").cloned())
        .collect();
    assert_eq!(ranges.len(), 1, "{ranges:?}");
    assert!(ranges[0].starts_with("bytes=") && ranges[0] != "bytes=0-", "{ranges:?}");
    assert_eq!(
        store.ok(&["run", "--rm", "--network", "none", &name, "wc", "-c", "/two"]),
        "2097152 /two"
    );
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn lies_are_noticed_and_nothing_of_them_is_seen() {
    let fixture = fixture!();
    let registry = FaultyRegistry::start();
    let name = serve(&fixture, &registry);
    let big = layers(&registry).pop().unwrap();
    let (media_type, manifest) = registry.manifest("app", "1").unwrap();
    let mut manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let store = other();
    // One byte is another, each time that it is sent.
    registry.fault(&format!("blobs/{big}"), RegistryFault::FlipByte(900_000), 20);
    let reason = store.fails(1, &["pull", "--quiet", &name]);
    assert!(
        reason.contains(&format!("filesystem layer verification failed for digest {big}")),
        "{reason}"
    );
    is_empty(&store);
    registry.heal();
    // The manifest has other layers than the configuration.
    manifest["layers"].as_array_mut().unwrap().pop();
    registry.put_manifest("app", "2", &media_type, manifest.to_string().as_bytes());
    let two = name.replace(":1", ":2");
    let reason = store.fails(1, &["pull", "--quiet", &two]);
    assert_eq!(reason, "orlop: pull: layers from manifest don't match image configuration");
    // The blobs are right, but in another order than the configuration says.
    let (_, whole) = registry.manifest("app", "1").unwrap();
    let mut swapped: serde_json::Value = serde_json::from_slice(&whole).unwrap();
    swapped["layers"].as_array_mut().unwrap().swap(0, 1);
    registry.put_manifest("app", "3", &media_type, swapped.to_string().as_bytes());
    let reason = store.fails(1, &["pull", "--quiet", &name.replace(":1", ":3")]);
    assert!(reason.starts_with("orlop: pull: invalid diffID for layer: expected"), "{reason}");
    is_empty(&store);
    store.ok(&["pull", "--quiet", &name]);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_busy_registry_is_asked_again() {
    let fixture = fixture!();
    let registry = FaultyRegistry::start();
    let name = serve(&fixture, &registry);
    let low = layers(&registry).remove(0);
    for code in [429, 503] {
        let fault =
            RegistryFault::Status { code, retry_after: Some("1".to_owned()), body: String::new() };
        registry.fault(&format!("blobs/{low}"), fault, 1);
    }
    let store = other();
    store.ok(&["pull", "--quiet", &name]);
    assert_eq!(gets(&registry, &low), 3);
}

/// Where a pull can be cut, with how often the point comes by before.
const POINTS: [&str; 10] = [
    "pull.download.written:3",
    "pull.downloaded",
    "pull.unpacked",
    "pull.unpacked:3",
    "pull.gathered",
    "layer.published",
    "pull.layers",
    "content.partial.placed:2",
    "pull.placed",
    "pull.committed",
];

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_pull_that_is_cut_off_anywhere_leaves_nothing_half_and_the_next_one_goes_on() {
    let fixture = fixture!();
    let registry = FaultyRegistry::start();
    let name = serve(&fixture, &registry);
    let bytes = |digest: &String| registry.blob(digest).unwrap().len() as u64;
    for point in POINTS {
        let store = other();
        let mark = store.folder().join("mark");
        let mut command = store.command(&["pull", "--quiet", &name]);
        command.env("ORLOP_FAULT", point).env("ORLOP_FAULT_MARK", &mark);
        let cut = run(&mut command, b"", Duration::from_secs(60));
        assert_eq!(cut.code, 128 + 6, "{point}: {cut}");
        assert!(mark.exists(), "{point}");
        let check = store.ok(&["system", "check", "--repair"]);
        let check =
            if check.contains("no problems") { check } else { store.ok(&["system", "check"]) };
        assert!(check.contains("no problems"), "{point}: {check}");
        let is_there = !store.ok(&["images", "--quiet"]).is_empty();
        assert_eq!(is_there, point == "pull.committed", "{point}");
        // What came whole is not fetched once more.
        let whole: Vec<String> = layers(&registry)
            .into_iter()
            .filter(|digest| {
                let path = store.root().join("content/partial").join(&digest["sha256:".len()..]);
                path.metadata().is_ok_and(|metadata| metadata.len() == bytes(digest))
            })
            .collect();
        let before: Vec<usize> = whole.iter().map(|digest| gets(&registry, digest)).collect();
        store.ok(&["pull", "--quiet", &name]);
        let after: Vec<usize> = whole.iter().map(|digest| gets(&registry, digest)).collect();
        assert_eq!(before, after, "{point}");
        let seen = store.ok(&["run", "--rm", "--network", "none", &name, "wc", "-c", "/two"]);
        assert_eq!(seen, "2097152 /two", "{point}");
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn what_an_earlier_pull_left_is_not_believed() {
    let fixture = fixture!();
    let registry = FaultyRegistry::start();
    let name = serve(&fixture, &registry);
    let big = layers(&registry).pop().unwrap();
    let store = other();
    let folder = store.root().join("content/partial");
    // A store, so that the directory can be made in it.
    is_empty(&store);
    for rest in [vec![0; 700_000], vec![7; registry.blob(&big).unwrap().len()], vec![1; 9_000_000]]
    {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(&big["sha256:".len()..]), rest).unwrap();
        store.ok(&["pull", "--quiet", &name]);
        store.ok(&["run", "--rm", "--network", "none", &name, "true"]);
        store.ok(&["rmi", "--force", &name]);
        is_empty(&store);
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn damaged_and_missing_layers_are_fetched_again() {
    let fixture = fixture!();
    let registry = FaultyRegistry::start();
    let name = serve(&fixture, &registry);
    let store = other();
    store.ok(&["pull", "--quiet", &name]);
    let layer_of = |file: &str| {
        let layers = store.root().join("layers/overlay");
        let mut found = layers.read_dir().unwrap().map(|entry| entry.unwrap().path());
        found.find(|path| path.join("diff").join(file).exists()).unwrap()
    };
    let works = || {
        let seen = store.ok(&[
            "run",
            "--rm",
            "--network",
            "none",
            &name,
            "sh",
            "-c",
            "cat /one; wc -c /two",
        ]);
        assert_eq!(seen, "one\n2097152 /two");
    };
    works();
    // A file is gone, one is cut short, and a whole directory is gone.
    std::fs::remove_file(layer_of("one").join("diff/one")).unwrap();
    let output = store.ok(&["pull", &name]);
    assert_eq!(output.matches(": Already exists").count(), 2, "{output}");
    assert_eq!(output.matches(": Pull complete").count(), 1, "{output}");
    works();
    let two = std::fs::File::options().write(true).open(layer_of("two").join("diff/two")).unwrap();
    two.set_len(100).unwrap();
    store.ok(&["pull", "--quiet", &name]);
    works();
    std::fs::remove_dir_all(layer_of("two")).unwrap();
    store.ok(&["pull", "--quiet", &name]);
    works();
    // The packed layer was kept, so nothing had to come over the network.
    for layer in layers(&registry) {
        assert_eq!(gets(&registry, &layer), 1);
    }
    // With a damaged packed layer it has to.
    let big = layers(&registry).pop().unwrap();
    std::fs::remove_dir_all(layer_of("two")).unwrap();
    let blob = store.root().join("content/sha256").join(&big["sha256:".len()..]);
    std::fs::write(&blob, vec![0; registry.blob(&big).unwrap().len()]).unwrap();
    store.ok(&["pull", "--quiet", &name]);
    assert_eq!(gets(&registry, &big), 2);
    works();
    assert!(store.ok(&["system", "check"]).contains("no problems"));
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_layer_is_not_exchanged_under_a_running_container() {
    let fixture = fixture!();
    let registry = FaultyRegistry::start();
    let name = serve(&fixture, &registry);
    let store = other();
    store.ok(&[
        "run",
        "-d",
        "--quiet",
        "--network",
        "none",
        "--name",
        "web",
        &name,
        "sleep",
        "1000",
    ]);
    let layers = store.root().join("layers/overlay");
    let mut found = layers.read_dir().unwrap().map(|entry| entry.unwrap().path().join("diff/one"));
    std::fs::remove_file(found.find(|path| path.exists()).unwrap()).unwrap();
    let reason = store.fails(1, &["pull", "--quiet", &name]);
    assert!(reason.ends_with("stop the container and pull again"), "{reason}");
    store.ok(&["rm", "--force", "web"]);
    store.ok(&["pull", "--quiet", &name]);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn eight_pulls_of_one_image_fetch_it_once() {
    let fixture = fixture!();
    let registry = FaultyRegistry::start();
    let name = serve(&fixture, &registry);
    let store = other();
    is_empty(&store);
    std::thread::scope(|scope| {
        let pulls: Vec<_> =
            (0..8).map(|_| scope.spawn(|| store.orlop(&["pull", "--quiet", &name]))).collect();
        for pull in pulls {
            assert_eq!(pull.join().unwrap().ok(), name);
        }
    });
    for layer in layers(&registry) {
        assert_eq!(gets(&registry, &layer), 1);
    }
    assert_eq!(store.ok(&["images", "--quiet"]).lines().count(), 1);
    assert!(store.ok(&["system", "check"]).contains("no problems"));
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn run_and_create_pull_what_is_missing_as_they_are_told() {
    let fixture = fixture!();
    let registry = FaultyRegistry::start();
    let name = serve(&fixture, &registry);
    let store = other();
    let run_words = ["run", "--rm", "--network", "none", &name, "cat", "/one"];
    let never = store.fails(125, &[&["run", "--pull", "never"], &run_words[1..]].concat());
    assert!(never.starts_with(&format!("orlop: run: No such image: {name}")), "{never}");
    let output = store.orlop(&run_words);
    assert_eq!(output.ok(), "one");
    let told: Vec<&str> = output.stderr.lines().collect();
    assert_eq!(told[0], format!("Unable to find image '{name}' locally"));
    assert_eq!(told[1], "1: Pulling from app");
    assert_eq!(told[told.len() - 1], format!("Status: Downloaded newer image for {name}"));
    let manifests = registry.count("GET /v2/app/manifests/");
    assert_eq!(store.ok(&run_words), "one");
    assert_eq!(registry.count("GET /v2/app/manifests/"), manifests, "it is here");
    let always = store.orlop(&[&["run", "--pull", "always", "-q"], &run_words[1..]].concat());
    assert_eq!((always.ok(), always.stderr.as_str()), ("one", ""));
    // Its digest was asked for, and is the one that is here.
    assert_eq!(registry.count("GET /v2/app/manifests/"), manifests);
    assert_eq!(registry.count("HEAD /v2/app/manifests/1"), 2);
    // What the registry does not have, either.
    let none = name.replace(":1", ":9");
    let failed = store.orlop(&["run", "--rm", &none]);
    assert_eq!(failed.code, 125, "{failed}");
    assert_eq!(
        failed.stderr,
        format!(
            "Unable to find image '{none}' locally\norlop: run: manifest for {none} not found: manifest unknown: manifest unknown\n"
        )
    );
    let failed = store.orlop(&["create", "--quiet", &none]);
    assert_eq!((failed.code, failed.stdout.as_str()), (1, ""), "{failed}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn an_index_gives_the_image_of_a_platform() {
    let fixture = fixture!();
    let registry = FaultyRegistry::start();
    let name = serve(&fixture, &registry);
    let (media_type, manifest) = registry.manifest("app", "1").unwrap();
    let digest = orlop_testkit::digest_text(&manifest);
    let entry = |architecture: &str| {
        serde_json::json!({ "mediaType": media_type, "digest": digest, "size": manifest.len(),
            "platform": { "os": "linux", "architecture": architecture } })
    };
    let index_type = "application/vnd.oci.image.index.v1+json";
    let host = fixture.ok(&["inspect", "-f", "{{.Architecture}}", &name]);
    let index = serde_json::json!({ "schemaVersion": 2, "mediaType": index_type,
        "manifests": [entry("s390x"), entry(&host)] });
    let index = registry.put_manifest("app", "many", index_type, index.to_string().as_bytes());
    let many = name.replace(":1", ":many");
    let store = other();
    let output = store.ok(&["pull", &many]);
    assert!(output.contains(&format!("\nDigest: {index}\n")), "{output}");
    let reason = store.fails(1, &["pull", "--quiet", "--platform", "linux/riscv64", &many]);
    assert_eq!(
        reason,
        "orlop: pull: no matching manifest for linux/riscv64 in the manifest list entries"
    );
    // The index says what the image does not.
    let output = store.ok(&["pull", "--platform", "linux/s390x", &many]);
    let warning = format!(
        "WARNING: image with reference {many} was found but its platform (linux/{host}) does not match the specified platform (linux/s390x)\n"
    );
    assert!(output.contains(&warning), "{output}");
    store.ok(&["tag", &many, "kept"]);
    let all = store.ok(&["pull", "--all-tags", name.strip_suffix(":1").unwrap()]);
    assert_eq!(all.matches(": Pulling from app\n").count(), 2, "{all}");
    let reason = store.fails(1, &["pull", "--all-tags", &name]);
    assert_eq!(reason, "orlop: pull: tag can't be used with --all-tags/-a");
}

/// Runs in a mount namespace of its own; `$1` is the program, `$2` an empty directory, `$3` an image.
const FULL_DISK: &str = r#"
set -u
mount -t tmpfs -o size=5m tmpfs "$2"
orlop() { "$bin" --root "$dir/root" --run-root "$dir/run" "$@"; }
bin=$1 dir=$2
orlop images >/dev/null || exit 10
orlop pull --quiet "$3" 2>&1
echo "code $?"
for _ in $(seq 100); do
    [ -z "$(ls "$dir/root/trash" "$dir/root/staging" | grep -v :)" ] && break
    sleep 0.1
done
find "$dir/root/content" -type f | wc -l
orlop system check || exit 11
mount -o remount,size=40m "$2"
orlop pull --quiet "$3" || exit 12
orlop system check --repair || exit 14
"#;

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_pull_on_a_full_disk_gives_back_what_it_took() {
    let fixture = fixture!();
    let registry = FaultyRegistry::start();
    let name = serve(&fixture, &registry);
    let disk = fixture.directory("disk");
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "bash", "-c", FULL_DISK, "bash"]);
    command.arg(BINARY).arg(&disk).arg(&name);
    let output = run(&mut command, b"", Duration::from_secs(120));
    assert_eq!(output.code, 0, "{output}");
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert!(lines[0].ends_with("no space left on device"), "{output}");
    assert!(output.stdout.contains("\ncode 1\n0\n"), "{output}");
    assert_eq!(output.stdout.matches("no problems").count(), 2, "{output}");
}
