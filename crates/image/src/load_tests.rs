//! Archives of every form, honest and not.

use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use orlop_archive::digest::of_bytes;
use orlop_layer::LayerStore;
use orlop_meta::Store;
use orlop_types::ErrorKind;
use orlop_types::filter::Filters;
use serde_json::{Value, json};

use crate::{Error, Images, LayoutOptions, LoadOptions, LoadSource, Loaded, RemoveOptions};

pub(crate) struct Fixture {
    directory: tempfile::TempDir,
    pub(crate) store: Arc<Store>,
    pub(crate) layers: LayerStore,
    driver: &'static str,
}

impl Fixture {
    pub(crate) fn new(driver: &'static str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        let store = Arc::new(Store::open(&root, &directory.path().join("run")).unwrap());
        let layers = LayerStore::open(Arc::clone(&store), Some(driver)).unwrap();
        Self { directory, store, layers, driver }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn images(&self) -> Images<'_> {
        Images::new(&self.store, &self.layers)
    }

    pub(crate) fn load(&self, source: LoadSource) -> Result<Vec<Loaded>, Error> {
        self.images().load(source, &LoadOptions::default(), &|_| {})
    }

    pub(crate) fn file(&self, archive: &[u8]) -> LoadSource {
        let path = self.directory.path().join("archive");
        std::fs::write(&path, archive).unwrap();
        LoadSource::File(std::fs::File::open(path).unwrap())
    }

    pub(crate) fn save(&self, names: &[&str]) -> Vec<u8> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let plan = self.images().plan_save(&names, None, LayoutOptions::default()).unwrap();
        let mut archive = Vec::new();
        self.images().save(&plan, &mut archive, &|_| {}).unwrap();
        archive
    }

    pub(crate) fn is_empty(&self) {
        assert!(self.images().list(&Filters::default()).unwrap().is_empty());
        let layers = self.directory.path().join("root/layers").join(self.driver);
        assert_eq!(layers.read_dir().unwrap().count(), 0, "layers are left");
        assert_eq!(self.store.paths.staging().read_dir().unwrap().count(), 0, "staging is full");
        assert!(!self.directory.path().join("canary").exists());
    }

    pub(crate) fn clear(&self) {
        for image in self.images().list(&Filters::default()).unwrap() {
            let options = RemoveOptions { force: true };
            self.images().remove(image.id.as_str(), options).unwrap();
        }
        for entry in self.store.paths.trash().read_dir().unwrap() {
            let path = entry.unwrap().path();
            let removed = match path.is_dir() {
                true => std::fs::remove_dir_all(path),
                false => std::fs::remove_file(path),
            };
            removed.unwrap();
        }
        self.is_empty();
    }
}

/// A layer of files that belong to whoever runs the test.
pub(crate) fn layer(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(u64::from(rustix::process::geteuid().as_raw()));
        header.set_gid(u64::from(rustix::process::getegid().as_raw()));
        header.set_mtime(1_000_000_000);
        builder.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Two layers, the second twice; larger than what a stream keeps in memory.
pub(crate) fn layers() -> Vec<Vec<u8>> {
    let text = "0123456789abcdef".repeat(10_000);
    let second = layer(&[("b", &text[1..]), (".wh.a", "")]);
    vec![layer(&[("a", "one"), ("large", &text)]), second.clone(), second]
}

pub(crate) fn config(layers: &[Vec<u8>]) -> String {
    // Spaces, unknown fields and `null` are kept as they are: the id is the digest of these bytes.
    format!(
        "{{ \"os\": \"linux\",\"architecture\":\"{}\", \"config\": {{\"Cmd\":[\"x\"], \"Labels\":null}},\n\
         \"container\":\"abc\", \"history\": null, \"rootfs\":{{\"type\":\"layers\",\"diff_ids\":{}}} }}",
        crate::Platform::host().architecture,
        json!(layers.iter().map(|layer| of_bytes(layer)).collect::<Vec<_>>())
    )
}

pub(crate) type Entries = Vec<(String, Vec<u8>)>;

pub(crate) fn pack(entries: &Entries) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        if let Some(target) = content.strip_prefix(b"-> ") {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            builder.append_link(&mut header, name, std::str::from_utf8(target).unwrap()).unwrap();
            continue;
        }
        header.set_size(content.len() as u64);
        // `append_data` refuses the names that some of these tests are about.
        let field = header.as_old_mut();
        field.name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, content.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

pub(crate) fn blob(bytes: &[u8]) -> String {
    format!("blobs/sha256/{}", of_bytes(bytes).hex())
}

/// Docker before version 25: a directory for each layer, one of them a link, then the descriptions.
pub(crate) fn old_docker() -> Entries {
    let layers = layers();
    let config = config(&layers);
    let config_name = format!("{}.json", of_bytes(config.as_bytes()).hex());
    let mut entries: Entries = Vec::new();
    for (at, layer) in layers.iter().take(2).enumerate() {
        entries.push((format!("{at}/VERSION"), b"1.0".to_vec()));
        entries.push((format!("{at}/json"), b"{}".to_vec()));
        entries.push((format!("{at}/layer.tar"), layer.clone()));
    }
    entries.push(("2/layer.tar".to_owned(), b"-> ../1/layer.tar".to_vec()));
    entries.push((config_name.clone(), config.into_bytes()));
    let list = json!([{
        "Config": config_name, "RepoTags": ["app:1", "example.org/app:2"],
        "Layers": ["0/layer.tar", "1/layer.tar", "2/layer.tar"],
    }]);
    entries.push(("manifest.json".to_owned(), list.to_string().into_bytes()));
    entries.push(("repositories".to_owned(), b"{\"app\":{\"1\":\"2\"}}".to_vec()));
    entries
}

/// An OCI layout with layers packed by a function, as podman, skopeo and containerd write it.
pub(crate) fn layout(packed: fn(&[u8]) -> Vec<u8>, annotations: &Value) -> Entries {
    let layers = layers();
    let config = config(&layers).into_bytes();
    let mut entries: Entries = vec![(blob(&config), config.clone())];
    let mut descriptors = Vec::new();
    for layer in &layers {
        let bytes = packed(layer);
        descriptors
            .push(json!({ "mediaType": "x", "digest": of_bytes(&bytes), "size": bytes.len() }));
        if !entries.iter().any(|(name, _)| *name == blob(&bytes)) {
            entries.push((blob(&bytes), bytes));
        }
    }
    let manifest = json!({
        "schemaVersion": 2,
        "config": { "mediaType": "c", "digest": of_bytes(&config), "size": config.len() },
        "layers": descriptors,
    });
    let manifest = manifest.to_string().into_bytes();
    let host = crate::Platform::host();
    let inner = json!({ "schemaVersion": 2, "manifests": [
        { "digest": of_bytes(b"not here"), "size": 8, "platform": { "os": "linux", "architecture": "pdp11" } },
        { "digest": of_bytes(&manifest), "size": manifest.len(),
          "platform": { "os": "linux", "architecture": host.architecture } },
        { "digest": of_bytes(b"nor this"), "size": 8, "platform": { "os": "unknown", "architecture": "unknown" },
          "annotations": { "vnd.docker.reference.type": "attestation-manifest" } },
    ]});
    let inner = inner.to_string().into_bytes();
    let index = json!({ "schemaVersion": 2, "manifests": [
        { "digest": of_bytes(&inner), "size": inner.len(), "annotations": annotations },
    ]});
    entries.push((blob(&manifest), manifest));
    entries.push((blob(&inner), inner));
    entries.push(("oci-layout".to_owned(), b"{\"imageLayoutVersion\": \"1.0.0\"}".to_vec()));
    entries.push(("index.json".to_owned(), index.to_string().into_bytes()));
    entries
}

fn every_form_gives_the_same_image(driver: &'static str) {
    let fixture = Fixture::new(driver);
    let id = of_bytes(config(&layers()).as_bytes());
    let full = json!({ "io.containerd.image.name": "docker.io/library/app:1" });
    let short = json!({ "org.opencontainers.image.ref.name": "localhost/app:1" });
    let tag = json!({ "org.opencontainers.image.ref.name": "latest" });
    let forms: [(Entries, &[&str]); 4] = [
        (old_docker(), &["app:1", "example.org/app:2"]),
        (layout(<[u8]>::to_vec, &full), &["app:1"]),
        (layout(gzip, &short), &["localhost/app:1"]),
        (layout(zstd, &tag), &[]),
    ];
    for (number, (entries, names)) in forms.into_iter().enumerate() {
        let archive = pack(&entries);
        let directory = fixture.directory.path().join(format!("layout{number}"));
        unpack(&directory, &entries);
        let sources: [LoadSource; 4] = [
            fixture.file(&archive),
            fixture.file(&gzip(&archive)),
            LoadSource::Stream(Box::new(std::io::Cursor::new(archive.clone()))),
            LoadSource::Directory(directory),
        ];
        for source in sources {
            let what = format!("form {number}, {source:?}");
            let loaded = fixture.load(source).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(loaded.len(), 1, "{what}");
            assert_eq!(loaded[0].id.digest(), &id, "{what}");
            assert_eq!(loaded[0].names, names, "{what}");
            let record = fixture.images().resolve(id.as_str()).unwrap();
            assert_eq!(record.config, config(&layers()), "{what}");
            // And once more: nothing is new.
            let again = fixture.load(fixture.file(&archive)).unwrap();
            assert!(again[0].renamed.is_empty(), "{what}");
            fixture.clear();
        }
    }
}

pub(crate) fn unpack(directory: &Path, entries: &Entries) {
    for (name, content) in entries {
        let path: PathBuf = directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match content.strip_prefix(b"-> ") {
            Some(target) => {
                std::os::unix::fs::symlink(std::str::from_utf8(target).unwrap(), path).unwrap();
            }
            None => std::fs::write(path, content).unwrap(),
        }
    }
}

fn a_saved_image_comes_back_with_its_id(driver: &'static str) {
    let fixture = Fixture::new(driver);
    fixture.load(fixture.file(&pack(&old_docker()))).unwrap();
    let id = of_bytes(config(&layers()).as_bytes());
    let archive = fixture.save(&["app:1", "example.org/app"]);
    assert_eq!(archive, fixture.save(&["app:1", "example.org/app"]), "not the same bytes again");
    let mut names = Vec::new();
    let mut documents = std::collections::BTreeMap::new();
    for entry in tar::Archive::new(&archive[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        if let Some(hex) = name.strip_prefix("blobs/sha256/").filter(|hex| !hex.is_empty()) {
            assert_eq!(of_bytes(&content).hex(), hex);
        }
        if let Ok(value) = serde_json::from_slice::<Value>(&content) {
            documents.insert(name.clone(), value);
        }
        names.push(name);
    }
    assert_eq!(&names[..4], ["oci-layout", "index.json", "manifest.json", "repositories"]);
    assert_eq!(names.len(), 4 + 2 + 2 + 2, "{names:?}");
    let list = &documents["manifest.json"][0];
    assert_eq!(list["RepoTags"], json!(["app:1", "example.org/app:2"]));
    assert_eq!(list["Config"], blob(config(&layers()).as_bytes()));
    assert_eq!(list["Layers"][1], blob(&layers()[1]));
    assert_eq!(list["Layers"][1], list["Layers"][2]);
    let top = of_bytes(&layers()[1]);
    assert_eq!(
        documents["repositories"],
        json!({ "app": { "1": top.hex() }, "example.org/app": { "2": top.hex() } })
    );
    let index = &documents["index.json"]["manifests"];
    assert_eq!(index.as_array().unwrap().len(), 2);
    assert_eq!(
        index[0]["annotations"],
        json!({ "io.containerd.image.name": "docker.io/library/app:1",
                "org.opencontainers.image.ref.name": "1" })
    );
    // Both sides of it, and from a stream.
    let without = |name: &str| {
        let mut builder = tar::Builder::new(Vec::new());
        for entry in tar::Archive::new(&archive[..]).entries().unwrap() {
            let entry = entry.unwrap();
            if entry.path().unwrap() != Path::new(name) {
                let header = entry.header().clone();
                builder.append(&header, entry).unwrap();
            }
        }
        builder.into_inner().unwrap()
    };
    for archive in [archive.clone(), without("index.json"), without("manifest.json")] {
        fixture.clear();
        let loaded = fixture.load(fixture.file(&archive)).unwrap();
        assert_eq!((loaded[0].id.digest(), loaded[0].names.len()), (&id, 2));
        fixture.clear();
        let stream = std::io::Cursor::new(archive);
        let loaded = fixture.load(LoadSource::Stream(Box::new(stream))).unwrap();
        assert_eq!((loaded[0].id.digest(), loaded[0].names.len()), (&id, 2));
    }
    // By id there is no name.
    let archive = fixture.save(&[&id.hex()[..12]]);
    fixture.clear();
    let loaded = fixture.load(fixture.file(&archive)).unwrap();
    assert_eq!((loaded[0].id.digest(), loaded[0].names.len()), (&id, 0));
    let missing = fixture
        .images()
        .plan_save(&["nothing".to_owned()], None, LayoutOptions::default())
        .unwrap_err();
    assert_eq!(missing.to_string(), "No such image: nothing");
    let other = fixture
        .images()
        .plan_save(&[id.to_string()], Some("linux/pdp11"), LayoutOptions::default())
        .unwrap_err();
    assert_eq!(other.to_string(), "no suitable export target found for platform linux/pdp11");
}

/// Changes one entry's content by a function.
fn changed(mut entries: Entries, name: &str, change: impl Fn(&str) -> String) -> Vec<u8> {
    let entry = entries.iter_mut().find(|(known, _)| known == name).unwrap();
    entry.1 = change(std::str::from_utf8(&entry.1).unwrap()).into_bytes();
    pack(&entries)
}

fn with(mut entries: Entries, name: &str, content: &[u8]) -> Vec<u8> {
    entries.insert(0, (name.to_owned(), content.to_vec()));
    pack(&entries)
}

fn without(mut entries: Entries, name: &str) -> Vec<u8> {
    entries.retain(|(known, _)| known != name);
    pack(&entries)
}

fn hostile() -> Vec<(&'static str, Vec<u8>, String)> {
    let docker = old_docker;
    let oci = || layout(gzip, &json!({}));
    let layers = layers();
    let config_name = format!("{}.json", of_bytes(config(&layers).as_bytes()).hex());
    let packed = blob(&gzip(&layers[0]));
    let entry =
        |name: &str, problem: &str| format!("cannot load `{name}` of the archive: {problem}");
    let outside = "the name leads outside the layer";
    let manifest = "manifest.json";
    let wrong_layer = layer(&[("a", &"another".repeat(20_000))]);
    vec![
        ("parent entry", with(docker(), "../canary", b"x"), entry("../canary", outside)),
        ("link out", with(docker(), "l", b"-> ../../canary"), entry("l", outside)),
        ("absolute link", with(docker(), "l", b"-> /etc/passwd"), entry("l", outside)),
        (
            "loop",
            changed(
                {
                    let mut all = docker();
                    all.push(("x".into(), b"-> y".to_vec()));
                    all.push(("y".into(), b"-> x".to_vec()));
                    all
                },
                manifest,
                |text| text.replace("0/layer.tar", "x"),
            ),
            entry("x", "too many links lead to each other"),
        ),
        (
            "twice",
            with(docker(), manifest, b"[]"),
            entry(manifest, "the archive has two entries of this name"),
        ),
        (
            "config outside",
            changed(docker(), manifest, |text| text.replace(&config_name, "../c")),
            entry("../c", outside),
        ),
        (
            "layer outside",
            changed(docker(), manifest, |text| text.replace("0/layer.tar", "/../l")),
            entry("/../l", outside),
        ),
        (
            "no such layer",
            changed(docker(), manifest, |text| text.replace("0/layer.tar", "no")),
            entry("no", "there is no such entry"),
        ),
        ("no such blob", without(oci(), &packed), entry(&packed, "there is no such entry")),
        (
            "layer count",
            changed(docker(), manifest, |text| text.replace("\"0/layer.tar\",", "")),
            "invalid manifest, layers length mismatch: expected 2, got 3".to_owned(),
        ),
        (
            "another config",
            changed(docker(), &config_name, |text| text.replace("abc", "abd")),
            entry(&config_name, "its digest is sha256:"),
        ),
        (
            "another layer",
            {
                let mut entries = docker();
                entries[2].1.clone_from(&wrong_layer);
                pack(&entries)
            },
            format!("invalid diffID for layer: expected `{}`", of_bytes(&layers[0])),
        ),
        (
            "another blob",
            {
                let mut entries = oci();
                // The same content, packed otherwise: the digest of the blob is a lie.
                entries[1].1 = zstd(&layers[0]);
                pack(&entries)
            },
            entry(&packed, "it is "),
        ),
        (
            "no description",
            pack(&vec![("x".into(), b"y".to_vec())]),
            "invalid archive: does not contain a manifest.json".to_owned(),
        ),
        (
            "bad tag",
            changed(docker(), manifest, |text| text.replace("app:1", "APP:1")),
            "invalid reference format: repository name".to_owned(),
        ),
        (
            "no tag",
            changed(docker(), manifest, |text| text.replace("app:1", "app")),
            "invalid tag \"app\"".to_owned(),
        ),
        (
            "not linux",
            {
                let mut entries = docker();
                let text = config(&layers).replace("\"linux\"", "\"plan9\"");
                let name = format!("{}.json", of_bytes(text.as_bytes()).hex());
                entries.push((name.clone(), text.into_bytes()));
                changed(entries, manifest, |list| list.replace(&config_name, &name))
            },
            "operating system is not supported: `plan9`; only linux is".to_owned(),
        ),
        (
            "deep",
            changed(docker(), manifest, |_| "[".repeat(100_000)),
            entry(manifest, "invalid type: sequence, expected a string"),
        ),
        (
            "twice in an object",
            changed(docker(), manifest, |text| {
                text.replace("\"Config\"", "\"Config\":\"x\",\"Config\"")
            }),
            entry(manifest, "duplicate field `Config`"),
        ),
        (
            "long",
            with(docker(), "long.json", &[b"{".as_slice(), &[b' '; 9 << 20]].concat()),
            String::new(),
        ),
        (
            "no tar",
            b"this is not an archive at all".repeat(40),
            "this is no tar archive, or its beginning is damaged".to_owned(),
        ),
        (
            "hostile layer",
            {
                let layers = vec![layer(&[("a", &"x".repeat(70_000))]), hostile_layer()];
                let text = config(&layers);
                let list = json!([{ "Config": "c", "Layers": ["0", "1"] }]).to_string();
                pack(&vec![
                    ("0".into(), layers[0].clone()),
                    ("1".into(), layers[1].clone()),
                    ("c".into(), text.into_bytes()),
                    (manifest.into(), list.into_bytes()),
                ])
            },
            "the archive's entry `../canary` is refused: the name leads outside the layer"
                .to_owned(),
        ),
    ]
}

fn hostile_layer() -> Vec<u8> {
    let text = vec![b'x'; 70_000];
    pack(&vec![("ok".to_owned(), text), ("../canary".to_owned(), b"out".to_vec())])
}

fn what_is_refused_leaves_nothing(driver: &'static str) {
    let fixture = Fixture::new(driver);
    for (what, archive, want) in hostile() {
        let stream = LoadSource::Stream(Box::new(std::io::Cursor::new(archive.clone())));
        for source in [fixture.file(&archive), stream] {
            let what = format!("{what}, {source:?}");
            match fixture.load(source) {
                Err(error) => {
                    assert!(error.to_string().starts_with(&want), "{what}: {error}");
                    let kinds = [ErrorKind::InvalidInput, ErrorKind::Corrupt];
                    assert!(kinds.contains(&error.kind()), "{what}: {error:?}");
                    fixture.is_empty();
                }
                // Too long to be kept, and nobody asked for it.
                Ok(_) if want.is_empty() => fixture.clear(),
                Ok(loaded) => panic!("{what}: {loaded:?}"),
            }
        }
    }
}

fn a_cut_archive_leaves_nothing(driver: &'static str) {
    let fixture = Fixture::new(driver);
    for entries in [old_docker(), layout(zstd, &json!({}))] {
        let archive = pack(&entries);
        let whole = archive.len() - 1024;
        for part in [1, 100, 511, 700, whole / 3, whole / 2, whole - 5000, whole - 600] {
            let cut = archive[..part].to_vec();
            for source in [
                fixture.file(&cut),
                LoadSource::Stream(Box::new(std::io::Cursor::new(cut.clone()))),
                LoadSource::Stream(Box::new(std::io::Cursor::new(
                    gzip(&archive)[..part.min(gzip(&archive).len() - 10)].to_vec(),
                ))),
            ] {
                assert!(fixture.load(source).is_err(), "{part} bytes");
                fixture.is_empty();
            }
        }
    }
}

fn several_images_come_together_or_not_at_all(driver: &'static str) {
    let fixture = Fixture::new(driver);
    fixture.load(fixture.file(&pack(&old_docker()))).unwrap();
    let other = layers()[..1].to_vec();
    let text = config(&other);
    let list = json!([{ "Config": "c", "RepoTags": ["app:1"], "Layers": ["0"] }]).to_string();
    let entries: Entries = vec![
        ("c".into(), text.clone().into_bytes()),
        ("manifest.json".into(), list.into_bytes()),
        // The store has the layer: it is not read.
        ("0".into(), b"never looked at".to_vec()),
    ];
    let loaded = fixture.load(fixture.file(&pack(&entries))).unwrap();
    let first = of_bytes(config(&layers()).as_bytes());
    assert_eq!(loaded[0].renamed[0].0, "app:1");
    assert_eq!(loaded[0].renamed[0].1.digest(), &first);
    let archive = fixture.save(&["app", "example.org/app:2"]);
    fixture.clear();
    let loaded = fixture.load(fixture.file(&archive)).unwrap();
    let names: Vec<&str> =
        loaded.iter().flat_map(|image| &image.names).map(String::as_str).collect();
    assert_eq!(names, ["app:1", "example.org/app:2"]);
    fixture.clear();
    // The second image of it is damaged: the last byte of a layer that only it has.
    let damaged_name = blob(&layers()[1]);
    let mut builder = tar::Builder::new(Vec::new());
    for entry in tar::Archive::new(&archive[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = entry.header().clone();
        let is_it = entry.path().unwrap() == Path::new(&damaged_name);
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        if is_it {
            content[600] ^= 1;
        }
        builder.append(&header, &content[..]).unwrap();
    }
    let damaged = builder.into_inner().unwrap();
    for source in [
        fixture.file(&damaged),
        LoadSource::Stream(Box::new(std::io::Cursor::new(damaged.clone()))),
    ] {
        let error = fixture.load(source).unwrap_err();
        assert!(error.to_string().starts_with("invalid diffID for layer"), "{error}");
        fixture.is_empty();
    }
}

fn random_damage_never_leaves_half_an_image(driver: &'static str) {
    let fixture = Fixture::new(driver);
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut below = |limit: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit
    };
    // The descriptions and headers, where a byte means something, are hit more often than layers.
    for entries in [old_docker(), layout(gzip, &json!({}))] {
        let archive = pack(&entries);
        for round in 0..120 {
            let mut damaged = archive.clone();
            let blocks = damaged.len() / 512;
            for _ in 0..=round % 3 {
                let at = match round % 2 {
                    0 => below(damaged.len()),
                    _ => below(blocks) * 512 + below(160),
                };
                damaged[at] ^= 1 << below(8);
            }
            let source = match round % 3 {
                0 => LoadSource::Stream(Box::new(std::io::Cursor::new(damaged))),
                _ => fixture.file(&damaged),
            };
            match fixture.load(source) {
                Ok(loaded) => {
                    for image in loaded {
                        fixture.save(&[image.id.as_str()]);
                    }
                    fixture.clear();
                }
                Err(_) => fixture.is_empty(),
            }
        }
    }
}

macro_rules! for_both_drivers {
    ($($name:ident),* $(,)?) => {
        mod vfs { $(#[test] fn $name() { super::$name("vfs"); })* }
        mod overlay {
            $(#[test] #[ignore = "root: CAP_SYS_ADMIN"] fn $name() { super::$name("overlay"); })*
        }
    };
}
for_both_drivers!(
    every_form_gives_the_same_image,
    a_saved_image_comes_back_with_its_id,
    what_is_refused_leaves_nothing,
    a_cut_archive_leaves_nothing,
    several_images_come_together_or_not_at_all,
    random_damage_never_leaves_half_an_image,
);
