//! Tests of images on stores in temporary directories, with the storage driver `vfs`.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use orlop_layer::LayerStore;
use orlop_meta::{
    ContainerRecord, ContainerState, ContainerStatus, Durability, EventFilter, Store,
};
use orlop_types::config::{Config, HostConfig};
use orlop_types::filter::Filters;
use orlop_types::{ContainerId, ErrorKind, ImageId};
use serde_json::json;

use crate::{Error, Images, ImportOptions, Removal, RemoveOptions};

pub(crate) struct Fixture {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) store: Arc<Store>,
    pub(crate) layers: LayerStore,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (store, layers) = open(directory.path());
        Self { directory, store, layers }
    }

    pub(crate) fn images(&self) -> Images<'_> {
        Images::new(&self.store, &self.layers)
    }

    /// Imports a tar of one file; the same content gives the same layer.
    fn import(&self, content: &str, reference: &str, changes: &[&str]) -> ImageId {
        let options = ImportOptions {
            reference: Some(reference.to_owned()),
            changes: changes.iter().map(|change| (*change).to_owned()).collect(),
            ..ImportOptions::default()
        };
        let tar = tar(self.directory.path(), content);
        self.images().import(&*tar, &options, |_| {}).unwrap()
    }

    fn events(&self) -> Vec<(String, String, String)> {
        let events = self.store.read(|query| query.events(EventFilter::default())).unwrap();
        events
            .into_iter()
            .map(|event| {
                assert_eq!(event.kind, "image");
                let name = event.attributes.get("name").or(event.attributes.get("reclaimed"));
                (event.action, event.actor, name.cloned().unwrap_or_default())
            })
            .collect()
    }

    fn container(&self, digit: u8, image: &ImageId, status: ContainerStatus) -> ContainerId {
        let id = ContainerId::of_bytes(&[digit * 0x11; 32]);
        let record = self.images().resolve(image.as_str()).unwrap();
        let container = ContainerRecord {
            id: id.clone(),
            name: format!("user-{digit}").parse().unwrap(),
            image: Some(image.clone()),
            image_id: image.clone(),
            top_layer: record.top_layer,
            config: Config::default(),
            host_config: HostConfig::default(),
            mounts: serde_json::Value::Null,
            state: ContainerState { status, ..ContainerState::default() },
            created_at: "2026-01-01T00:00:00Z".to_owned(),
            purpose: orlop_meta::Purpose::Container,
        };
        self.store.write(Durability::Lazy, |query| query.container_insert(&container)).unwrap();
        id
    }

    fn layer_directories(&self) -> usize {
        self.directory.path().join("root/layers/vfs").read_dir().unwrap().count()
    }

    fn chain(&self, id: &ImageId) -> String {
        self.images().resolve(id.as_str()).unwrap().top_layer.unwrap().to_string()
    }
}

pub(crate) fn open(directory: &Path) -> (Arc<Store>, LayerStore) {
    let store = Arc::new(Store::open(&directory.join("root"), &directory.join("run")).unwrap());
    let layers = LayerStore::open(Arc::clone(&store), Some("vfs")).unwrap();
    (store, layers)
}

/// A tar of one file that belongs to whoever runs the test.
pub(crate) fn tar(directory: &Path, content: &str) -> Vec<u8> {
    let owner = directory.metadata().unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_uid(u64::from(owner.uid()));
    header.set_gid(u64::from(owner.gid()));
    header.set_mtime(1_000_000_000);
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_data(&mut header, "file", content.as_bytes()).unwrap();
    builder.into_inner().unwrap()
}

fn untagged(name: &str) -> Removal {
    Removal::Untagged(name.to_owned())
}

fn deleted(id: &impl ToString) -> Removal {
    Removal::Deleted(id.to_string())
}

const FORCE: RemoveOptions = RemoveOptions { force: true };

#[test]
fn an_import_is_one_layer_and_its_configuration() {
    let fixture = Fixture::new();
    let options = ImportOptions {
        reference: Some("db".to_owned()),
        changes: vec!["ENV A=b".to_owned(), "VOLUME /data".to_owned(), "LABEL l=m".to_owned()],
        message: Some("by hand".to_owned()),
        platform: Some("linux/arm64/v8".to_owned()),
    };
    let tar = tar(fixture.directory.path(), "12345");
    let read = AtomicU64::new(0);
    let id = fixture
        .images()
        .import(&*tar, &options, |bytes| read.store(bytes, Ordering::Relaxed))
        .unwrap();
    assert_eq!(read.into_inner(), tar.len() as u64);
    let record = fixture.images().resolve("db").unwrap();
    assert_eq!((&record.id, record.size_bytes), (&id, 5));
    assert_eq!(orlop_archive::digest::of_bytes(record.config.as_bytes()), *id.digest());
    let config = fixture.images().config(&record).unwrap();
    assert_eq!(
        (config.os.as_str(), config.architecture.as_str(), config.variant.as_str()),
        ("linux", "arm64", "v8")
    );
    assert_eq!(config.history.len(), 1);
    assert_eq!(config.history[0].comment, "by hand");
    assert_eq!(config.rootfs.diff_ids.len(), 1);
    assert_eq!(config.rootfs.diff_ids[0].digest(), &orlop_archive::digest::of_bytes(&tar));
    let id = id.to_string();
    assert_eq!(
        fixture.events(),
        [
            ("import".to_owned(), id.clone(), id.clone()),
            ("tag".to_owned(), id, "db:latest".to_owned())
        ]
    );
    assert_eq!(fixture.store.paths.staging().read_dir().unwrap().count(), 0);
}

#[test]
fn equal_tars_share_their_layer_and_a_tag_moves() {
    let fixture = Fixture::new();
    let first = fixture.import("same", "db", &[]);
    let second = fixture.import("same", "db", &["ENV A=b"]);
    assert_ne!(first, second);
    assert_eq!(fixture.chain(&first), fixture.chain(&second));
    assert_eq!(fixture.layer_directories(), 1);
    assert_eq!(fixture.images().resolve("db").unwrap().id, second);
    let list = fixture.images().list(&Filters::parse(&["dangling=true"]).unwrap()).unwrap();
    assert_eq!(list.iter().map(|image| &image.id).collect::<Vec<_>>(), [&first]);
}

#[test]
fn bad_input_is_refused_before_a_byte_is_read() {
    struct Unread;
    impl std::io::Read for Unread {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            panic!("read")
        }
    }
    let fixture = Fixture::new();
    let with = |reference: &str, change: &str, platform: &str| ImportOptions {
        reference: Some(reference.to_owned()),
        changes: vec![change.to_owned()],
        platform: Some(platform.to_owned()),
        ..ImportOptions::default()
    };
    let digest = format!("db@sha256:{}", "0".repeat(64));
    for (options, text) in [
        (
            with("DB", "", ""),
            "invalid reference format: repository name (library/DB) must be lowercase",
        ),
        (
            with("sha256:x", "", ""),
            "refusing to create an ambiguous tag using digest algorithm as name",
        ),
        (with(&digest, "", ""), "cannot import digest reference"),
        (with("db", "RUN x", ""), "RUN is not a valid change command"),
        (with("db", "", "plan9"), "operating system is not supported: `plan9`; only linux is"),
    ] {
        let error = fixture.images().import(Unread, &options, |_| {}).unwrap_err();
        assert_eq!(error.to_string(), text);
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn a_broken_tar_leaves_nothing() {
    let fixture = Fixture::new();
    let mut tar = tar(fixture.directory.path(), "12345");
    tar.truncate(700);
    tar[600..].fill(0xff);
    let error = fixture.images().import(&*tar, &ImportOptions::default(), |_| {}).unwrap_err();
    assert!(matches!(error, Error::Layer(_)), "{error}");
    assert!(fixture.images().list(&Filters::default()).unwrap().is_empty());
    assert_eq!(fixture.layer_directories(), 0);
    assert_eq!(fixture.store.paths.staging().read_dir().unwrap().count(), 0);
    assert!(fixture.events().is_empty());
}

#[test]
fn names_are_looked_up_in_dockers_order() {
    let fixture = Fixture::new();
    let id = fixture.import("one", "user/db:16", &[]);
    let images = fixture.images();
    let prefix = &id.hex()[..7];
    for name in [
        id.as_str(),
        id.hex(),
        prefix,
        &format!("sha256:{prefix}"),
        "user/db:16",
        "docker.io/user/db:16",
    ] {
        assert_eq!(images.resolve(name).unwrap().id, id, "{name}");
    }
    // A name that is also the beginning of an id is a name.
    let other = fixture.import("two", prefix, &[]);
    assert_eq!(images.resolve(prefix).unwrap().id, other);
    let missing = "1".repeat(64);
    for (name, text, kind) in [
        ("user/db", "No such image: user/db:latest".to_owned(), ErrorKind::NotFound),
        ("nothing:1", "No such image: nothing:1".to_owned(), ErrorKind::NotFound),
        (&missing, format!("No such image: sha256:{missing}"), ErrorKind::NotFound),
        ("a b", "invalid reference format".to_owned(), ErrorKind::InvalidInput),
    ] {
        let error = images.resolve(name).unwrap_err();
        assert_eq!((error.to_string(), error.kind()), (text, kind));
    }
}

#[test]
fn tags_are_names_of_one_image() {
    let fixture = Fixture::new();
    let one = fixture.import("one", "db:1", &[]);
    let two = fixture.import("two", "db:2", &[]);
    let images = fixture.images();
    images.tag("db:1", "localhost:5000/team/db").unwrap();
    assert_eq!(images.resolve("localhost:5000/team/db:latest").unwrap().id, one);
    images.tag(two.short(), "db:1").unwrap();
    assert_eq!(images.resolve("db:1").unwrap().id, two);
    for (source, target, text) in [
        ("db:9", "x", "No such image: db:9"),
        ("db:1", "sha256:1", "refusing to create an ambiguous tag using digest algorithm as name"),
        (
            "db:1",
            "X",
            "Error parsing reference: \"X\" is not a valid repository/tag: invalid reference format: \
             repository name (library/X) must be lowercase",
        ),
    ] {
        assert_eq!(images.tag(source, target).unwrap_err().to_string(), text);
    }
}

#[test]
fn inspect_has_dockers_shape() {
    let fixture = Fixture::new();
    let id = fixture.import(
        "12345",
        "db",
        &["CMD [\"postgres\"]", "EXPOSE 5432", "VOLUME /data", "USER 70"],
    );
    let value = fixture.images().inspect("db").unwrap();
    let record = fixture.images().resolve("db").unwrap();
    let config = fixture.images().config(&record).unwrap();
    let tagged = fixture.store.read(|query| query.tags_of(&id)).unwrap()[0].updated_at.clone();
    let expected = json!({
        "Id": id,
        "RepoTags": ["db:latest"],
        "RepoDigests": [],
        "Parent": "",
        "Comment": "Imported from -",
        "Created": config.created,
        "DockerVersion": "",
        "Author": "",
        "Architecture": config.architecture,
        "Os": "linux",
        "Size": 5,
        "GraphDriver": {"Data": value["GraphDriver"]["Data"], "Name": "vfs"},
        "RootFS": {"Type": "layers", "Layers": config.rootfs.diff_ids},
        "Metadata": {"LastTagTime": tagged},
        "Config": {
            "Cmd": ["postgres"],
            "Entrypoint": null,
            "Env": null,
            "ExposedPorts": {"5432/tcp": {}},
            "Labels": null,
            "OnBuild": null,
            "User": "70",
            "Volumes": {"/data": {}},
            "WorkingDir": "",
        },
    });
    assert_eq!(
        serde_json::to_string_pretty(&value).unwrap(),
        serde_json::to_string_pretty(&expected).unwrap()
    );
    let content = value["GraphDriver"]["Data"]["Dir"].as_str().unwrap();
    assert_eq!(std::fs::read_to_string(Path::new(content).join("file")).unwrap(), "12345");
    let history = fixture.images().history("db", None).unwrap();
    assert_eq!(history.len(), 1);
    assert_eq!((history[0].id.as_str(), history[0].size), (id.as_str(), 5));
    assert_eq!(history[0].tags, Some(vec!["db:latest".to_owned()]));
}

#[test]
fn lists_are_filtered_and_newest_first() {
    let fixture = Fixture::new();
    let one = fixture.import("one", "db:1", &["LABEL env=prod"]);
    let two = fixture.import("two", "db:2", &["LABEL env=test"]);
    let three = fixture.import("three!", "ghcr.io/team/web:1", &[]);
    fixture.images().tag("db:2", "copy").unwrap();
    fixture.container(1, &one, ContainerStatus::Exited);
    let all = fixture.images().list(&Filters::default()).unwrap();
    assert_eq!(all.iter().map(|image| &image.id).collect::<Vec<_>>(), [&three, &two, &one]);
    assert_eq!(all[1].repo_tags, ["copy:latest", "db:2"]);
    assert_eq!((all[0].size, all[0].shared_size, all[0].containers), (6, -1, 0));
    assert_eq!(all[2].containers, 1);
    let tags = |filters: &[&str]| -> Vec<String> {
        let list = fixture.images().list(&Filters::parse(filters).unwrap()).unwrap();
        list.into_iter().flat_map(|image| image.repo_tags).collect()
    };
    let table: [(&[&str], &[&str]); 12] = [
        (&["reference=db"], &["db:2", "db:1"]),
        (&["reference=db:1"], &["db:1"]),
        (&["reference=*:2"], &["db:2"]),
        (&["reference=ghcr.io/*/*"], &["ghcr.io/team/web:1"]),
        (&["reference=docker.io/library/co*"], &["copy:latest"]),
        (&["label=env"], &["copy:latest", "db:2", "db:1"]),
        (&["label=env=prod"], &["db:1"]),
        (&["before=db:2"], &["db:1"]),
        (&["since=db:2"], &["ghcr.io/team/web:1"]),
        (&["until=1h"], &[]),
        (&["dangling=true"], &[]),
        (&["dangling=false", "label!=env"], &["ghcr.io/team/web:1"]),
    ];
    for (filters, expected) in table {
        assert_eq!(tags(filters), expected, "{filters:?}");
    }
    let error = fixture.images().list(&Filters::parse(&["x=1"]).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "invalid filter 'x'");
    let error = fixture.images().list(&Filters::parse(&["before=x"]).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "No such image: x:latest");
}

#[test]
fn the_last_name_takes_the_image_and_its_layer_along() {
    let fixture = Fixture::new();
    let id = fixture.import("one", "db:1", &[]);
    let chain = fixture.chain(&id);
    fixture.images().tag("db:1", "db:2").unwrap();
    let remove = |name| fixture.images().remove(name, RemoveOptions::default()).unwrap();
    assert_eq!(remove("db:1"), [untagged("db:1")]);
    assert_eq!(remove("db:2"), [untagged("db:2"), deleted(&id), deleted(&chain)]);
    assert_eq!(fixture.layer_directories(), 0);
    assert_eq!(fixture.images().unreferenced_layers().unwrap(), []);
    let actions: Vec<String> = fixture.events().into_iter().map(|event| event.0).collect();
    assert_eq!(actions, ["import", "tag", "tag", "untag", "untag", "delete"]);
    let error = fixture.images().remove("db:2", FORCE).unwrap_err();
    assert_eq!(error.to_string(), "No such image: db:2");
}

#[test]
fn a_shared_layer_stays_until_its_last_image_goes() {
    let fixture = Fixture::new();
    let one = fixture.import("same", "db:1", &[]);
    let two = fixture.import("same", "db:2", &["ENV A=b"]);
    let chain = fixture.chain(&one);
    let remove = |name| fixture.images().remove(name, RemoveOptions::default()).unwrap();
    assert_eq!(remove(one.short()), [untagged("db:1"), deleted(&one)]);
    assert_eq!(remove("db:2"), [untagged("db:2"), deleted(&two), deleted(&chain)]);
}

#[test]
fn conflicts_have_dockers_texts() {
    let fixture = Fixture::new();
    let used = fixture.import("one", "used", &[]);
    let running = fixture.import("two", "running", &[]);
    let many = fixture.import("three", "many:1", &[]);
    fixture.images().tag("many:1", "many:2").unwrap();
    let stopped_by = fixture.container(1, &used, ContainerStatus::Exited);
    let run_by = fixture.container(2, &running, ContainerStatus::Running);
    let (short, used_short, running_short) = (many.short(), used.short(), running.short());
    for (name, options, text) in [
        (
            "used",
            RemoveOptions::default(),
            format!(
                "conflict: unable to remove repository reference \"used\" (must force) - container {} is using its \
                 referenced image {used_short}",
                stopped_by.short()
            ),
        ),
        (
            used_short,
            RemoveOptions::default(),
            format!(
                "conflict: unable to delete {used_short} (must be forced) - image is being used by stopped container {}",
                stopped_by.short()
            ),
        ),
        (
            running_short,
            FORCE,
            format!(
                "conflict: unable to delete {running_short} (cannot be forced) - image is being used by running \
                 container {}",
                run_by.short()
            ),
        ),
        (
            short,
            RemoveOptions::default(),
            format!(
                "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
            ),
        ),
    ] {
        assert_eq!(fixture.images().remove(name, options).unwrap_err().to_string(), text);
    }
    // By force: several names go at once; a stopped container keeps its layer, a running one the image.
    let chain = fixture.chain(&many);
    assert_eq!(
        fixture.images().remove(short, FORCE).unwrap(),
        [untagged("many:1"), untagged("many:2"), deleted(&many), deleted(&chain)]
    );
    assert_eq!(
        fixture.images().remove("used", FORCE).unwrap(),
        [untagged("used:latest"), deleted(&used)]
    );
    assert_eq!(fixture.images().remove("running", FORCE).unwrap(), [untagged("running:latest")]);
    assert_eq!(fixture.images().inspect(running.as_str()).unwrap()["RepoTags"], json!([]));
    assert_eq!(fixture.layer_directories(), 2);
    assert_eq!(fixture.images().unreferenced_layers().unwrap(), []);
}

#[test]
fn prune_takes_images_without_containers() {
    let fixture = Fixture::new();
    let dangling = fixture.import("12345", "db", &[]);
    let chain = fixture.chain(&dangling);
    let tagged = fixture.import("other", "db", &["LABEL keep=1"]);
    let used = fixture.import("used", "used", &[]);
    fixture.container(1, &used, ContainerStatus::Exited);
    let prune = |filters: &[&str]| fixture.images().prune(&Filters::parse(filters).unwrap());
    assert_eq!(prune(&["until=1h"]).unwrap().images_deleted, []);
    let pruned = prune(&[]).unwrap();
    assert_eq!(pruned.images_deleted, [deleted(&dangling), deleted(&chain)]);
    assert_eq!(pruned.space_reclaimed, 5);
    assert_eq!(
        fixture.events().last().unwrap(),
        &("prune".to_owned(), String::new(), "5".to_owned())
    );
    assert_eq!(prune(&["dangling=false", "label!=keep"]).unwrap().images_deleted, []);
    let chain = fixture.chain(&tagged);
    assert_eq!(
        prune(&["dangling=false"]).unwrap().images_deleted,
        [untagged("db:latest"), deleted(&tagged), deleted(&chain)]
    );
    assert_eq!(prune(&["x=y"]).unwrap_err().to_string(), "invalid filter 'x'");
    assert_eq!(
        serde_json::to_string(&pruned).unwrap(),
        format!(
            "{{\"ImagesDeleted\":[{{\"Deleted\":\"{dangling}\"}},{}],\"SpaceReclaimed\":5}}",
            serde_json::to_string(&pruned.images_deleted[1]).unwrap()
        )
    );
}

#[test]
fn layers_stay_while_something_is_being_made() {
    let fixture = Fixture::new();
    let id = fixture.import("one", "db", &[]);
    let making = fixture.store.stage().unwrap();
    let removed = fixture.images().remove("db", RemoveOptions::default()).unwrap();
    assert_eq!(removed, [untagged("db:latest"), deleted(&id)]);
    assert_eq!(fixture.images().remove_unreferenced_layers().unwrap(), []);
    drop(making);
    assert_eq!(fixture.images().unreferenced_layers().unwrap().len(), 1);
    assert_eq!(fixture.images().remove_unreferenced_layers().unwrap().len(), 1);
    assert_eq!(fixture.layer_directories(), 0);
}

#[test]
fn importing_and_removing_at_once_never_breaks_an_image() {
    let fixture = Fixture::new();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let directory = fixture.directory.path();
            scope.spawn(move || {
                let (store, layers) = open(directory);
                let images = Images::new(&store, &layers);
                let tar = tar(directory, "same");
                for _ in 0..6 {
                    let options = ImportOptions {
                        reference: Some(format!("db:{thread}")),
                        ..ImportOptions::default()
                    };
                    let id = images.import(&*tar, &options, |_| {}).unwrap();
                    images.inspect(id.as_str()).unwrap();
                    images.remove(&format!("db:{thread}"), RemoveOptions::default()).unwrap();
                }
            });
        }
    });
    fixture.images().remove_unreferenced_layers().unwrap();
    assert!(fixture.images().list(&Filters::default()).unwrap().is_empty());
    assert_eq!(fixture.layer_directories(), 0);
}
