//! Images written in every form, and hostile OCI layout directories.

use std::path::Path;

use orlop_archive::Packing;
use orlop_archive::digest::of_bytes;
use serde_json::{Value, json};

use crate::load_tests::{
    Entries, Fixture, blob, config, gzip, layers, layout, old_docker, pack, unpack,
};
use crate::{
    LayerPacking, LayoutForm, LayoutOptions, LayoutTarget, LoadSource, MediaTypes, WrittenImage,
};

impl Fixture {
    fn write(&self, options: LayoutOptions) -> (Vec<u8>, Vec<WrittenImage>) {
        let plan = self.images().plan_save(&["app:1".to_owned()], None, options).unwrap();
        let mut archive = Vec::new();
        let target = LayoutTarget::Tar(&mut archive);
        let written = self.images().write_layout(&plan, target, &|_| {}).unwrap();
        (archive, written)
    }

    fn write_directory(&self, path: &Path, packing: LayerPacking) -> Result<(), crate::Error> {
        let options = LayoutOptions { form: LayoutForm::Oci, packing, ..LayoutOptions::default() };
        let plan = self.images().plan_save(&["app:1".to_owned()], None, options)?;
        let target = LayoutTarget::Directory(path);
        self.images().write_layout(&plan, target, &|_| {}).map(drop)
    }

    fn load_directory(&self, name: &str, entries: &Entries) -> Result<String, crate::Error> {
        let directory = self.folder().join(name);
        unpack(&directory, entries);
        let loaded = self.load(LoadSource::Directory(directory))?;
        Ok(loaded[0].id.to_string())
    }
}

fn options(form: LayoutForm, packing: LayerPacking) -> LayoutOptions {
    LayoutOptions { form, packing, ..LayoutOptions::default() }
}

fn names(archive: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap();
    entries.map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect()
}

#[test]
fn every_form_and_compression_comes_back_and_is_always_the_same() {
    let fixture = Fixture::new("vfs");
    let id = of_bytes(config(&layers()).as_bytes());
    for form in [LayoutForm::Both, LayoutForm::Oci, LayoutForm::Docker] {
        for packing in [
            LayerPacking::Kept,
            LayerPacking::By(Packing::None),
            LayerPacking::By(Packing::GZIP),
            LayerPacking::Exactly(Packing::Zstd(7)),
        ] {
            let what = format!("{form:?} {packing:?}");
            fixture.load(fixture.file(&pack(&old_docker()))).unwrap();
            let (archive, written) = fixture.write(options(form, packing));
            assert_eq!(written[0].id.digest(), &id, "{what}");
            assert!(archive == fixture.write(options(form, packing)).0, "{what}: other bytes");
            let names = names(&archive);
            let has = |name: &str| names.iter().any(|known| known == name);
            assert_eq!(has("index.json"), form != LayoutForm::Docker, "{what}");
            assert_eq!(has("manifest.json"), form != LayoutForm::Oci, "{what}");
            let is_packed =
                !matches!(packing, LayerPacking::Kept | LayerPacking::By(Packing::None));
            assert_eq!(archive.len() < 100_000, is_packed, "{what}: {}", archive.len());
            fixture.clear();
            let loaded = fixture.load(fixture.file(&archive)).unwrap();
            assert_eq!(loaded[0].id.digest(), &id, "{what}");
            assert_eq!(loaded[0].names, ["app:1"], "{what}");
            // What came compressed is saved so, unless the user wants something else.
            let kept = fixture.write(options(form, LayerPacking::Kept)).0;
            assert!(archive == kept, "{what}: not as it came");
            let plain = fixture.write(options(form, LayerPacking::By(Packing::None))).0;
            assert!(plain.len() > 100_000, "{what}");
            fixture.clear();
        }
    }
}

#[test]
fn a_manifest_stays_what_it_was() {
    let fixture = Fixture::new("vfs");
    let name = json!({ "io.containerd.image.name": "docker.io/library/app:1" });
    let entries = layout(gzip, &name);
    let manifests: Vec<&String> = entries
        .iter()
        .filter(|(_, content)| {
            content.starts_with(b"{\"config\"")
                || content.starts_with(b"{\"schemaVersion\":2,\"config\"")
        })
        .map(|(name, _)| name)
        .collect();
    assert_eq!(manifests.len(), 1);
    fixture.load(fixture.file(&pack(&entries))).unwrap();
    let (_, written) = fixture.write(LayoutOptions::default());
    assert_eq!(format!("blobs/sha256/{}", written[0].manifest.hex()), *manifests[0]);
    // With another compression it is another manifest.
    let zstd = options(LayoutForm::Both, LayerPacking::By(Packing::ZSTD));
    assert_ne!(fixture.write(zstd).1[0].manifest, written[0].manifest);
}

#[test]
fn docker_words_have_no_zstd() {
    let fixture = Fixture::new("vfs");
    fixture.load(fixture.file(&pack(&old_docker()))).unwrap();
    let docker =
        |packing| LayoutOptions { types: MediaTypes::Docker, packing, ..LayoutOptions::default() };
    let (_, written) = fixture.write(docker(LayerPacking::By(Packing::GZIP)));
    assert_eq!(written[0].media_type, "application/vnd.docker.distribution.manifest.v2+json");
    let names = ["app:1".to_owned()];
    let zstd = docker(LayerPacking::By(Packing::ZSTD));
    let refused = fixture.images().plan_save(&names, None, zstd).unwrap_err();
    assert_eq!(refused.to_string(), "zstd layers need OCI media types; take gzip");
}

#[test]
fn a_directory_is_made_and_added_to() {
    let fixture = Fixture::new("vfs");
    fixture.load(fixture.file(&pack(&old_docker()))).unwrap();
    let path = fixture.folder().join("layout");
    fixture.write_directory(&path, LayerPacking::By(Packing::GZIP)).unwrap();
    let index = || -> Value {
        serde_json::from_slice(&std::fs::read(path.join("index.json")).unwrap()).unwrap()
    };
    let first = index();
    assert_eq!(first["manifests"].as_array().unwrap().len(), 1);
    // The same name again takes the place of the old one; somebody else's stays.
    let mut other = first.clone();
    let stranger = json!({ "digest": of_bytes(b"x"), "size": 1, "annotations":
        { "org.opencontainers.image.ref.name": "other" }, "unknown": true });
    other["manifests"].as_array_mut().unwrap().push(stranger.clone());
    std::fs::write(path.join("index.json"), other.to_string()).unwrap();
    // A blob that is damaged is written anew.
    let blobs = path.join("blobs/sha256");
    let largest = blobs.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let largest = largest.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let good = std::fs::read(&largest).unwrap();
    std::fs::write(&largest, vec![0; good.len()]).unwrap();
    fixture.write_directory(&path, LayerPacking::By(Packing::GZIP)).unwrap();
    assert!(std::fs::read(&largest).unwrap() == good);
    let second = index();
    assert_eq!(second["manifests"], json!([stranger, first["manifests"][0]]));
    let leftovers = blobs.read_dir().unwrap().map(|entry| entry.unwrap().file_name());
    assert!(leftovers.into_iter().all(|name| !name.to_string_lossy().starts_with('.')));
    // Only a layout or nothing is written into.
    let full = fixture.folder().join("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("mine"), "precious").unwrap();
    let refused = fixture.write_directory(&full, LayerPacking::Kept).unwrap_err();
    let want =
        format!("`{}` is neither empty nor an OCI layout; name another directory", full.display());
    assert_eq!(refused.to_string(), want);
    assert_eq!(full.read_dir().unwrap().count(), 1);
}

#[test]
fn directories_as_skopeo_writes_them_are_read() {
    let fixture = Fixture::new("vfs");
    let mut entries: Entries = Vec::new();
    for (name, content) in layout(gzip, &json!({})) {
        let is_manifest = content.starts_with(b"{\"schemaVersion\":2,\"config\"");
        let hex = name.rsplit('/').next().unwrap().to_owned();
        entries.push((if is_manifest { "manifest.json".to_owned() } else { hex }, content));
    }
    entries.retain(|(name, _)| name != "index.json" && name != "oci-layout");
    let id = of_bytes(config(&layers()).as_bytes());
    assert_eq!(fixture.load_directory("dir", &entries).unwrap(), id.as_str());
}

#[test]
fn hostile_directories_are_refused_and_leave_nothing() {
    let fixture = Fixture::new("vfs");
    let good = layout(gzip, &json!({}));
    let config_blob = blob(config(&layers()).as_bytes());
    let with = |name: &str, content: &[u8]| -> Entries {
        let mut entries = good.clone();
        entries.retain(|(known, _)| known != name);
        entries.push((name.to_owned(), content.to_vec()));
        entries
    };
    let layer = blob(&gzip(&layers()[0]));
    // Each index holds the next: the last one is too deep.
    let mut nested = good.clone();
    let mut inner = json!({ "digest": of_bytes(b"gone"), "size": 4 });
    for _ in 0..7 {
        let index = json!({ "schemaVersion": 2, "manifests": [inner] }).to_string().into_bytes();
        inner = json!({ "digest": of_bytes(&index), "size": index.len() });
        nested.push((blob(&index), index));
    }
    nested.retain(|(name, _)| name != "index.json");
    let index = json!({ "schemaVersion": 2, "manifests": [inner] }).to_string().into_bytes();
    nested.push(("index.json".to_owned(), index));
    let secret = fixture.folder().join("secret");
    std::fs::write(&secret, config(&layers())).unwrap();
    let outside = format!("-> {}", secret.display());
    let huge = vec![b' '; 9 << 20];
    let cases: [(&str, Entries, &str); 8] = [
        (
            "a link that leads outside",
            with(&config_blob, outside.as_bytes()),
            "there is no such entry",
        ),
        ("a link up and out", with(&config_blob, b"-> ../../../secret"), "there is no such entry"),
        (
            "a link to itself",
            with(
                &config_blob,
                format!("-> {}", config_blob.rsplit('/').next().unwrap()).as_bytes(),
            ),
            "symbolic link",
        ),
        ("a huge index", with("index.json", &huge), "it is longer than 8388608 bytes"),
        ("indexes in indexes", nested, "more than 4 of its kind"),
        ("a short layer", with(&layer, b"x"), "bytes long, not"),
        ("a layer that is a directory", with(&format!("{layer}/x"), b""), "is a directory"),
        (
            "another configuration",
            with(&config_blob, config(&layers()).replace("linux", "Linux").as_bytes()),
            "its digest is",
        ),
    ];
    for (number, (what, mut entries, problem)) in cases.into_iter().enumerate() {
        if what == "a layer that is a directory" {
            entries.retain(|(name, _)| *name != layer);
        }
        let error = fixture.load_directory(&format!("hostile{number}"), &entries).unwrap_err();
        let text = chain(&error);
        assert!(text.to_lowercase().contains(problem), "{what}: {text}");
        fixture.is_empty();
    }
    // A layer that lies elsewhere.
    let gone = of_bytes(&gzip(&layers()[0]));
    let mut foreign: Entries = Vec::new();
    for (name, content) in &good {
        let is_manifest = content.starts_with(b"{\"schemaVersion\":2,\"config\"");
        let text = String::from_utf8_lossy(content);
        match is_manifest {
            true => {
                let text = text.replacen("{\"mediaType\":\"x\"", "{\"urls\":[\"https://x\"]", 1);
                foreign.push(("manifest.json".to_owned(), text.into_bytes()));
            }
            false if *name == blob(&gzip(&layers()[0])) => {}
            false => foreign.push((name.rsplit('/').next().unwrap().to_owned(), content.clone())),
        }
    }
    foreign.retain(|(name, _)| name != "index.json" && name != "oci-layout");
    let error = fixture.load_directory("foreign", &foreign).unwrap_err();
    let want = format!(
        "cannot load `blobs/sha256/{}` of the archive: it is a foreign layer, which the archive does not \
         hold; pull the image instead",
        gone.hex()
    );
    assert_eq!(error.to_string(), want);
    fixture.is_empty();
    // A pipe in place of a blob does not stop anybody.
    let directory = fixture.folder().join("pipe");
    unpack(&directory, &good);
    let path = directory.join(&layer);
    std::fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let error = fixture.load(LoadSource::Directory(directory)).unwrap_err();
    assert!(chain(&error).contains("Invalid argument"), "{}", chain(&error));
    fixture.is_empty();
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

#[test]
fn endless_zeros_are_no_archive() {
    let fixture = Fixture::new("vfs");
    let zeros = || LoadSource::Stream(Box::new(std::io::repeat(0)));
    let error = fixture.load(zeros()).unwrap_err();
    assert_eq!(error.to_string(), "invalid archive: does not contain a manifest.json");
    // An archive that never ends, either.
    let archive = std::io::Cursor::new(pack(&old_docker()));
    let endless = std::io::Read::chain(archive, std::io::repeat(0));
    let error = fixture.load(LoadSource::Stream(Box::new(endless))).unwrap_err();
    assert!(error.to_string().contains("longer than the limit of 67108864 bytes"), "{error}");
    fixture.is_empty();
}
