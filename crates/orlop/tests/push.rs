//! `push`: what a registry gets, what is shown, and what is done only once.
#![allow(clippy::unwrap_used)]

use orlop_testkit::{
    Fault, FaultyRegistry, Fixture, RegistryOptions, RegistryServer, digest_text, fixture,
};

const BINARY: &str = env!("CARGO_BIN_EXE_orlop");

/// `app:1`: busybox and a layer on it.
fn app(fixture: &Fixture) {
    fixture.busybox();
    let script = "echo one > /one; rm /bin/vi";
    fixture.ok(&["run", "--network", "none", "--name", "step", "busybox", "sh", "-c", script]);
    fixture.ok(&["commit", "step", "app:1"]);
    fixture.ok(&["rm", "step"]);
}

fn document(registry: &FaultyRegistry, repository: &str, tag: &str) -> serde_json::Value {
    serde_json::from_slice(&registry.manifest(repository, tag).unwrap().1).unwrap()
}

fn layers(document: &serde_json::Value) -> Vec<String> {
    let layers = document["layers"].as_array().unwrap();
    layers.iter().map(|layer| layer["digest"].as_str().unwrap().to_owned()).collect()
}

/// The twelve digits of each layer's content, uppermost first, as a push shows them.
fn ids(fixture: &Fixture, image: &str) -> Vec<String> {
    let text =
        fixture.ok(&["inspect", "-f", "{{range .RootFS.Layers}}{{println .}}{{end}}", image]);
    let lines = text.lines().filter(|line| !line.is_empty());
    let mut ids: Vec<String> = lines.map(|line| line["sha256:".len()..][..12].to_owned()).collect();
    ids.reverse();
    ids
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_second_push_has_nothing_to_do_and_another_repository_takes_layers_over() {
    let fixture = fixture!();
    let server = RegistryServer::start(&RegistryOptions::default());
    app(&fixture);
    let name = format!("{}/app:1", server.host());
    let other = format!("{}/deep/er/app", server.host());
    fixture.ok(&["tag", "app:1", &name]);
    fixture.ok(&["tag", "app:1", &other]);
    let ids = ids(&fixture, "app:1");
    let repository = name.strip_suffix(":1").unwrap();
    let states = |output: &str, id: &str| -> Vec<String> {
        let prefix = format!("{id}: ");
        output.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect()
    };
    let first = fixture.ok(&["push", &name]);
    assert!(
        first.starts_with(&format!("The push refers to repository [{repository}]\n")),
        "{first}"
    );
    for id in &ids {
        assert_eq!(states(&first, id), ["Preparing", "Pushed"], "{first}");
    }
    let last = first.lines().last().unwrap();
    let digest = fixture.ok(&["inspect", "-f", "{{index .RepoDigests 0}}", &name]);
    let digest = digest.strip_prefix(&format!("{repository}@")).unwrap();
    assert!(last.starts_with(&format!("1: digest: {digest} size: ")), "{last}");
    let second = fixture.ok(&["push", &name]);
    for id in &ids {
        assert_eq!(states(&second, id), ["Preparing", "Layer already exists"], "{second}");
    }
    assert_eq!(second.lines().last(), Some(last));
    let mounted = fixture.ok(&["push", &other]);
    assert!(mounted.starts_with("Using default tag: latest\n"), "{mounted}");
    for id in &ids {
        assert_eq!(states(&mounted, id), ["Preparing", "Mounted from app"], "{mounted}");
    }
    assert_eq!(mounted.lines().last().unwrap().replace("latest:", "1:"), last);
    assert_eq!(fixture.ok(&["push", "--quiet", &name]), name);
    // It is what it was for somebody else.
    let store = Fixture::in_this_network(BINARY);
    let words = ["run", "--rm", "--quiet", "--network", "none", &other, "cat", "/one"];
    assert_eq!(store.ok(&words), "one");
    let event = fixture.events(&["event=push"], "{{.Actor.ID}}");
    assert_eq!(event.lines().next(), Some(name.as_str()));
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_pulled_image_goes_elsewhere_byte_for_byte() {
    let fixture = fixture!();
    let (from, to) = (FaultyRegistry::start(), FaultyRegistry::start());
    app(&fixture);
    let name = format!("{}/app:1", from.host());
    fixture.ok(&["tag", "app:1", &name]);
    fixture.ok(&["push", "-q", "--compression", "gzip:1", &name]);
    // Written by somebody else: other spaces, other order.
    let document = document(&from, "app", "1");
    let text = serde_json::to_string(&document).unwrap().replacen('{', "{ \n", 1);
    let digest =
        from.put_manifest("app", "odd", document["mediaType"].as_str().unwrap(), text.as_bytes());
    let odd = name.replace(":1", ":odd");
    let store = Fixture::in_this_network(BINARY);
    store.ok(&["pull", "-q", &odd]);
    let target = format!("{}/copy:2", to.host());
    store.ok(&["tag", &odd, &target]);
    let output = store.ok(&["push", &target]);
    assert_eq!(output.lines().last(), Some(&*format!("2: digest: {digest} size: {}", text.len())));
    assert_eq!(to.manifest("copy", "2").unwrap().1, text.as_bytes());
    for layer in layers(&document) {
        assert_eq!(to.blob(&layer), from.blob(&layer));
    }
    let digests = store.ok(&["inspect", "-f", "{{len .RepoDigests}}", &target]);
    assert_eq!(digests, "2");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn what_was_not_kept_is_packed_anew_or_taken_over() {
    let fixture = fixture!();
    let (from, to) = (FaultyRegistry::start(), FaultyRegistry::start());
    app(&fixture);
    let name = format!("{}/app:1", from.host());
    fixture.ok(&["tag", "app:1", &name]);
    fixture.ok(&["push", "-q", "--compression", "zstd", &name]);
    let before = document(&from, "app", "1");
    assert_eq!(before["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(before["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
    let store = Fixture::in_this_network(BINARY);
    store.ok(&["pull", "-q", "--discard-packed", &name]);
    let kept = store.root().join("content/sha256").read_dir().unwrap().count();
    assert_eq!(kept, 1, "the manifest");
    // The registry that it came from has the layers, this one for every repository.
    let beside = format!("{}/beside:1", from.host());
    store.ok(&["tag", &name, &beside]);
    let output = store.ok(&["push", &beside]);
    assert_eq!(output.matches(": Layer already exists").count(), 2, "{output}");
    assert_eq!(document(&from, "beside", "1"), before);
    // Another one does not.
    let target = format!("{}/copy:1", to.host());
    store.ok(&["tag", &name, &target]);
    let output = store.ok(&["push", &target]);
    assert_eq!(output.matches(": Pushed").count(), 2, "{output}");
    let after = document(&to, "copy", "1");
    assert_eq!(after["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    assert_ne!(layers(&after), layers(&before));
    assert!(store.ok(&["system", "check"]).contains("no problems"));
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_damaged_blob_is_not_pushed_and_the_next_push_packs_it_anew() {
    let fixture = fixture!();
    let registry = FaultyRegistry::start();
    app(&fixture);
    let name = format!("{}/app:1", registry.host());
    fixture.ok(&["tag", "app:1", &name]);
    fixture.ok(&["push", "-q", &name]);
    let top = layers(&document(&registry, "app", "1")).pop().unwrap();
    let length = registry.blob(&top).unwrap().len();
    registry.remove_blob(&top);
    let blob = fixture.root().join("content/sha256").join(&top["sha256:".len()..]);
    std::fs::write(&blob, vec![1; length]).unwrap();
    let reason = fixture.fails(1, &["push", "-q", &name]);
    let want = format!("orlop: push: blob `{top}` was damaged on the disk and is forgotten;");
    assert!(reason.starts_with(&want), "{reason}");
    assert!(registry.blob(&top).is_none());
    fixture.ok(&["push", "-q", &name]);
    assert_eq!(digest_text(&registry.blob(&top).unwrap()), top, "packing is repeatable");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_push_that_cannot_be_says_why() {
    let fixture = fixture!();
    let registry = FaultyRegistry::start();
    let name = format!("{}/app", registry.host());
    app(&fixture);
    let says = |words: &[&str], want: &str| {
        let output = fixture.orlop(words);
        assert_eq!(output.fails(1), format!("orlop: push: {want}"), "{output}");
    };
    let missing = format!("An image does not exist locally with the tag: {name}");
    says(&["push", "-q", &name], &missing);
    fixture.ok(&["tag", "app:1", &format!("{name}:1")]);
    says(&["push", &format!("{name}:2")], &format!("tag does not exist: {name}:2"));
    says(&["push", "-a", &format!("{name}:1")], "tag can't be used with --all-tags/-a");
    let digest = format!("{name}@sha256:{}", "0".repeat(64));
    says(&["push", &digest], "cannot push a digest reference");
    says(
        &["push", "--compression", "lzma", &name],
        "compression `lzma` is not `none`, `gzip` or `zstd`",
    );
    says(
        &["push", "-q", "--platform", "linux/riscv64", &format!("{name}:1")],
        &format!(
            "image with reference {name}:1 was found but does not provide the specified platform (linux/riscv64)"
        ),
    );
    // A connection that breaks is tried again; nothing is half there before the manifest.
    registry.fault("PUT /v2/app/blobs/uploads", Fault::CutUpload(10), 1);
    fixture.ok(&["tag", "app:1", &format!("{name}:two")]);
    let output = fixture.ok(&["push", "--all-tags", &name]);
    assert_eq!(output.matches(": digest: sha256:").count(), 2, "{output}");
    assert_eq!(registry.manifest("app", "1"), registry.manifest("app", "two"));
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_push_that_is_cut_off_leaves_a_store_in_order_and_the_next_one_goes_through() {
    let fixture = fixture!();
    let registry = FaultyRegistry::start();
    app(&fixture);
    let name = format!("{}/app:1", registry.host());
    fixture.ok(&["tag", "app:1", &name]);
    for point in [
        "content.synced",
        "content.placed",
        "content.packed",
        "push.blobs",
        "push.manifest",
        "push.noted",
    ] {
        let mut command = fixture.command(&["push", "-q", &name]);
        command.env("ORLOP_FAULT", point);
        let cut = orlop_testkit::run(&mut command, b"", std::time::Duration::from_secs(60));
        assert_eq!(cut.code, 128 + 6, "{point}: {cut}");
        fixture.ok(&["system", "check", "--repair"]);
        let check = fixture.ok(&["system", "check"]);
        assert!(check.contains("no problems"), "{point}: {check}");
    }
    fixture.ok(&["push", "-q", &name]);
    assert_eq!(document(&registry, "app", "1")["layers"].as_array().unwrap().len(), 2);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_manifest_that_lies_about_layers_that_were_here_is_not_pushed() {
    let fixture = fixture!();
    let registry = FaultyRegistry::start();
    app(&fixture);
    let [name, liar, copy] =
        ["app", "liar", "copy"].map(|at| format!("{}/{at}:1", registry.host()));
    fixture.ok(&["tag", "app:1", &name]);
    fixture.ok(&["push", &name]);
    let honest = layers(&document(&registry, "app", "1"));
    let (media_type, _) = registry.manifest("app", "1").unwrap();
    let lie = |change: &dyn Fn(&mut Vec<serde_json::Value>)| {
        let mut lie = document(&registry, "app", "1");
        change(lie["layers"].as_array_mut().unwrap());
        registry.put_manifest("liar", "1", &media_type, lie.to_string().as_bytes());
        fixture.ok(&["pull", &liar]);
        fixture.ok(&["tag", "app:1", &copy]);
        fixture.ok(&["push", &copy]);
        assert_eq!(layers(&document(&registry, "copy", "1")), honest);
    };
    lie(&|layers| layers.reverse());
    lie(&|layers| layers[0]["size"] = 3.into());
}
