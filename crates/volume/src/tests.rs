//! Tests of volumes coming and going, on stores in temporary directories.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use orlop_meta::{ContainerRecord, ContainerState, Durability, EventFilter, Store, TrashKind};
use orlop_sys::mount_filesystem::{FilesystemRecipe, SharedFilesystem};
use orlop_types::config::{Config, HostConfig};
use orlop_types::filter::Filters;
use orlop_types::{ContainerId, ErrorKind, ImageId, VolumeName};

use crate::{ANONYMOUS_LABEL, Error, Force, NewVolume, VolumeSource, Volumes};

pub(crate) struct Fixture {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) store: Store,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path());
        Self { directory, store }
    }

    pub(crate) fn volumes(&self) -> Volumes<'_> {
        Volumes::new(&self.store)
    }

    fn data(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join("root/volumes").join(name).join("_data")
    }

    /// Events as `action actor attribute=value…`.
    fn events(&self) -> Vec<String> {
        let events = self.store.read(|query| query.events(EventFilter::default())).unwrap();
        let attributes = |map: BTreeMap<String, String>| {
            map.into_iter().map(|(name, value)| format!(" {name}={value}")).collect::<String>()
        };
        events
            .into_iter()
            .map(|event| {
                assert_eq!(event.kind, "volume");
                format!("{} {}{}", event.action, event.actor, attributes(event.attributes))
            })
            .collect()
    }

    /// A container that refers to a volume; its id is one digit, repeated.
    fn user(&self, digit: u8, volume: &str) -> ContainerId {
        let id = ContainerId::of_bytes(&[digit * 0x11; 32]);
        let image: ImageId = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        let container = ContainerRecord {
            id: id.clone(),
            name: format!("user-{digit}").parse().unwrap(),
            image: None,
            image_id: image,
            top_layer: None,
            config: Config::default(),
            host_config: HostConfig::default(),
            mounts: serde_json::Value::Null,
            state: ContainerState::default(),
            created_at: "2026-01-01T00:00:00Z".to_owned(),
            purpose: orlop_meta::Purpose::Container,
        };
        self.store
            .write(Durability::Lazy, |query| {
                query.container_insert(&container)?;
                query.volume_reference(&id, &volume.parse().unwrap())
            })
            .unwrap();
        id
    }
}

pub(crate) fn open(directory: &Path) -> Store {
    Store::open(&directory.join("root"), &directory.join("run")).unwrap()
}

pub(crate) fn named(name: &str) -> NewVolume {
    NewVolume { name: Some(name.to_owned()), ..NewVolume::default() }
}

fn map(pairs: &[(&str, &str)]) -> Option<BTreeMap<String, String>> {
    Some(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

fn names(volumes: &[crate::VolumeInfo]) -> Vec<&str> {
    volumes.iter().map(|volume| volume.name.as_str()).collect()
}

#[test]
fn a_named_volume_is_a_directory_a_row_and_an_event() {
    let fixture = Fixture::new();
    let volumes = fixture.volumes();
    let (volume, created) =
        volumes.create(NewVolume { labels: map(&[("a", "b")]), ..named("db") }).unwrap();
    assert!(created);
    assert!(!volume.anonymous);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&fixture.data("db")), 0o755);
    assert_eq!(mode(fixture.data("db").parent().unwrap()), 0o701);
    assert_eq!(mode(&fixture.data("db").with_file_name("volume.json")), 0o600);
    assert_eq!(fixture.events(), ["create db driver=local"]);
    assert_eq!(volumes.source(&volume).unwrap(), VolumeSource::Directory(fixture.data("db")));
    assert_eq!(fixture.store.paths.staging().read_dir().unwrap().count(), 0);
}

#[test]
fn inspect_has_dockers_fields_in_dockers_order() {
    let fixture = Fixture::new();
    let volumes = fixture.volumes();
    let (volume, _) = volumes.create(named("db")).unwrap();
    assert_eq!(
        serde_json::to_string(&volumes.inspect("db").unwrap()).unwrap(),
        format!(
            "{{\"CreatedAt\":\"{}\",\"Driver\":\"local\",\"Labels\":null,\"Mountpoint\":\"{}\",\
             \"Name\":\"db\",\"Options\":null,\"Scope\":\"local\"}}",
            volume.created_at,
            fixture.data("db").display()
        )
    );
    assert_eq!(volume.created_at.len(), "2026-11-21T02:10:37Z".len());
}

#[test]
fn a_volume_without_a_name_is_anonymous() {
    let fixture = Fixture::new();
    for name in [None, Some(String::new())] {
        let new = NewVolume { name, labels: map(&[("a", "b")]), ..NewVolume::default() };
        let (volume, created) = fixture.volumes().create(new).unwrap();
        assert!(created && volume.anonymous);
        assert_eq!(volume.name.as_str().len(), 64);
        assert_eq!(volume.labels, map(&[("a", "b"), (ANONYMOUS_LABEL, "")]));
    }
}

#[test]
fn creating_twice_gives_the_first_and_ignores_labels_and_options() {
    let fixture = Fixture::new();
    let volumes = fixture.volumes();
    let (first, _) = volumes.create(named("db")).unwrap();
    let again = NewVolume {
        labels: map(&[("late", "")]),
        options: map(&[("no-such-option", "")]),
        driver: "local".to_owned(),
        ..named("db")
    };
    assert_eq!(volumes.create(again).unwrap(), (first, false));
    assert_eq!(fixture.events(), ["create db driver=local"]);
}

#[test]
fn refusals_have_dockers_texts() {
    let fixture = Fixture::new();
    let volumes = fixture.volumes();
    let create = |new| volumes.create(new).unwrap_err();
    let with = |options| NewVolume { options: map(options), ..named("db") };
    volumes.create(named("there")).unwrap();
    let user = fixture.user(1, "there");
    let other = fixture.user(2, "there");
    let table = [
        (
            create(named("x")),
            "create x: volume name is too short, names should be at least two alphanumeric characters".to_owned(),
            ErrorKind::InvalidInput,
        ),
        (
            create(named("a b")),
            "create a b: \"a b\" includes invalid characters for a local volume name, only \
             \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
                .to_owned(),
            ErrorKind::InvalidInput,
        ),
        (
            create(NewVolume { driver: "nfs".to_owned(), ..named("there") }),
            "create there: error looking up volume plugin nfs: plugin \"nfs\" not found".to_owned(),
            ErrorKind::NotFound,
        ),
        (create(with(&[("foo", "")])), "create db: invalid option: \"foo\"".to_owned(), ErrorKind::InvalidInput),
        (
            create(with(&[("size", "1g")])),
            "create db: quota size requested but no quota support".to_owned(),
            ErrorKind::InvalidInput,
        ),
        (
            volumes.remove("there", Force::Yes).unwrap_err(),
            format!("remove there: volume is in use - [{user}, {other}]"),
            ErrorKind::InUse,
        ),
        (
            volumes.remove("missing", Force::No).unwrap_err(),
            "get missing: no such volume".to_owned(),
            ErrorKind::NotFound,
        ),
        (volumes.inspect("a/../b").unwrap_err(), "get a/../b: no such volume".to_owned(), ErrorKind::NotFound),
        (
            volumes.list(&Filters::parse(&["x=1"]).unwrap()).unwrap_err(),
            "invalid filter 'x'".to_owned(),
            ErrorKind::InvalidInput,
        ),
        (
            volumes.list(&Filters::parse(&["dangling=x"]).unwrap()).unwrap_err(),
            "invalid filter 'dangling=[x]'".to_owned(),
            ErrorKind::InvalidInput,
        ),
        (
            volumes.prune(&Filters::parse(&["all=true", "all=1"]).unwrap()).unwrap_err(),
            "invalid filter 'all=[1 true]': only one value is expected".to_owned(),
            ErrorKind::InvalidInput,
        ),
    ];
    for (error, text, kind) in table {
        assert_eq!(error.to_string(), text);
        assert_eq!(error.kind(), kind, "{text}");
    }
    assert!(!volumes.remove("missing", Force::Yes).unwrap());
    assert!(!fixture.data("db").exists());
}

#[test]
fn a_name_has_one_driver_and_a_used_one_must_have_its_data() {
    let fixture = Fixture::new();
    let volumes = fixture.volumes();
    let (mut volume, _) = volumes.create(named("db")).unwrap();
    fixture.user(1, "db");
    std::fs::remove_dir_all(fixture.data("db").parent().unwrap()).unwrap();
    let error = volumes.create(named("db")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "create db: found references to volume 'db' in driver 'local' but the volume was not found in the driver -- \
         you may need to remove containers referencing this volume or force remove the volume to re-create it: \
         volume name must be unique"
    );
    volume.name = "other".parse().unwrap();
    volume.driver = "plugin".to_owned();
    fixture.store.write(Durability::Lazy, |query| query.volume_insert(&volume)).unwrap();
    let error =
        volumes.create(NewVolume { driver: "local".to_owned(), ..named("other") }).unwrap_err();
    assert_eq!(
        error.to_string(),
        "create other: driver 'plugin' already has volume 'other': volume name must be unique"
    );
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[test]
fn an_unused_row_without_data_is_made_anew() {
    let fixture = Fixture::new();
    let volumes = fixture.volumes();
    volumes.create(NewVolume { labels: map(&[("old", "")]), ..named("db") }).unwrap();
    std::fs::remove_dir_all(fixture.data("db").parent().unwrap()).unwrap();
    let (volume, created) = volumes.create(named("db")).unwrap();
    assert!(created && volume.labels.is_none() && fixture.data("db").is_dir());
}

#[test]
fn removal_is_a_row_an_event_and_a_rename() {
    let fixture = Fixture::new();
    let volumes = fixture.volumes();
    volumes.create(named("db")).unwrap();
    std::fs::write(fixture.data("db").join("table"), "rows").unwrap();
    assert!(volumes.remove("db", Force::No).unwrap());
    assert_eq!(fixture.events(), ["create db driver=local", "destroy db driver=local"]);
    assert!(!fixture.data("db").parent().unwrap().exists());
    let trash = fixture.store.read::<_, crate::Error>(|query| Ok(query.trash()?)).unwrap();
    assert_eq!((trash[0].kind, trash[0].name.as_str()), (TrashKind::Volume, "db"));
    let rows = fixture.store.paths.trash().join(&trash[0].id).join("_data/table");
    assert_eq!(std::fs::read_to_string(rows).unwrap(), "rows");
    // The name is free again, and the new volume is empty.
    assert!(volumes.create(named("db")).unwrap().1);
    assert_eq!(fixture.data("db").read_dir().unwrap().count(), 0);
}

#[test]
fn lists_are_filtered() {
    let fixture = Fixture::new();
    let volumes = fixture.volumes();
    volumes
        .create(NewVolume { labels: map(&[("env", "prod"), ("x", "")]), ..named("db-1") })
        .unwrap();
    volumes.create(NewVolume { labels: map(&[("env", "test")]), ..named("db-2") }).unwrap();
    volumes.create(named("web")).unwrap();
    fixture.user(1, "web");
    let table: [(&[&str], &[&str]); 12] = [
        (&[], &["db-1", "db-2", "web"]),
        (&["dangling=true"], &["db-1", "db-2"]),
        (&["dangling=0"], &["web"]),
        (&["driver=local"], &["db-1", "db-2", "web"]),
        (&["driver=nfs"], &[]),
        (&["label=env"], &["db-1", "db-2"]),
        (&["label=env=prod", "label=x"], &["db-1"]),
        (&["label!=env=prod"], &["db-2", "web"]),
        (&["name=web", "name=db-2"], &["db-2", "web"]),
        (&["name=b-"], &["db-1", "db-2"]),
        (&["name=^[dw].*[2b]$"], &["db-2", "web"]),
        (&["name=("], &[]),
    ];
    for (filters, expected) in table {
        let list = volumes.list(&Filters::parse(filters).unwrap()).unwrap();
        assert_eq!(names(&list), expected, "{filters:?}");
    }
}

#[test]
fn prune_takes_unused_anonymous_volumes_and_named_ones_only_on_request() {
    let fixture = Fixture::new();
    let volumes = fixture.volumes();
    let anonymous = |labels: Option<_>| {
        let (volume, _) = volumes.create(NewVolume { labels, ..NewVolume::default() }).unwrap();
        volume.name
    };
    let used = anonymous(None);
    let kept = anonymous(map(&[("keep", "")]));
    let unused = anonymous(None);
    fixture.user(1, used.as_str());
    volumes.create(named("db")).unwrap();
    let options = map(&[("type", "none"), ("o", "bind"), ("device", "/nowhere")]);
    volumes.create(NewVolume { options, ..named("with-options") }).unwrap();
    std::fs::write(fixture.data(unused.as_str()).join("a"), "12345").unwrap();
    std::fs::hard_link(
        fixture.data(unused.as_str()).join("a"),
        fixture.data(unused.as_str()).join("b"),
    )
    .unwrap();

    let pruned = volumes.prune(&Filters::parse(&["label!=keep"]).unwrap()).unwrap();
    assert_eq!((pruned.volumes_deleted, pruned.space_reclaimed), (vec![unused.clone()], 5));
    let events = fixture.events();
    assert_eq!(
        events[events.len() - 2..],
        [format!("destroy {unused} driver=local"), "prune  reclaimed=5".to_owned()]
    );
    let pruned = volumes.prune(&Filters::parse(&["all=true"]).unwrap()).unwrap();
    let mut expected = vec!["db".parse::<VolumeName>().unwrap(), kept];
    expected.sort();
    let mut deleted = pruned.volumes_deleted;
    deleted.sort();
    assert_eq!(deleted, expected);
    let mut rest = vec![used.as_str(), "with-options"];
    rest.sort_unstable();
    assert_eq!(names(&volumes.list(&Filters::default()).unwrap()), rest);
}

#[test]
fn a_second_prune_is_refused_while_one_works() {
    let fixture = Fixture::new();
    let path = fixture.store.paths.run_root.join("volume-prune.lock");
    let held = crate::lock::try_file(&path).unwrap();
    assert!(held.is_some());
    let error = fixture.volumes().prune(&Filters::default()).unwrap_err();
    assert_eq!(error.to_string(), "a prune operation is already running");
    drop(held);
    fixture.volumes().prune(&Filters::default()).unwrap();
}

#[test]
fn anonymous_volumes_go_with_their_last_container() {
    let fixture = Fixture::new();
    let volumes = fixture.volumes();
    let make = || volumes.create(NewVolume::default()).unwrap().0.name;
    let (own, shared) = (make(), make());
    fixture.user(1, shared.as_str());
    let gone =
        volumes.remove_anonymous_of(&[own.clone(), shared.clone(), "missing".parse().unwrap()]);
    assert_eq!(gone.unwrap(), [own]);
    assert!(fixture.data(shared.as_str()).is_dir());
}

#[test]
fn directories_without_a_row_become_volumes() {
    let fixture = Fixture::new();
    let volumes = fixture.volumes();
    std::fs::create_dir_all(fixture.data("by-hand")).unwrap();
    std::fs::write(fixture.data("by-hand").join("file"), "precious").unwrap();
    std::fs::create_dir_all(fixture.data("lost+found")).unwrap();
    std::fs::create_dir_all(fixture.directory.path().join("root/volumes/no-data")).unwrap();
    assert_eq!(volumes.find("by-hand").unwrap().labels, None);
    // A copy of a volume's directory keeps what the volume was.
    volumes.create(NewVolume { labels: map(&[("a", "b")]), ..named("db") }).unwrap();
    std::fs::create_dir_all(fixture.data("restored")).unwrap();
    std::fs::copy(
        fixture.data("db").with_file_name("volume.json"),
        fixture.data("restored").with_file_name("volume.json"),
    )
    .unwrap();
    let adopted = volumes.adopt_unowned().unwrap();
    assert_eq!(adopted.len(), 1);
    assert_eq!((adopted[0].name.as_str(), &adopted[0].labels), ("restored", &map(&[("a", "b")])));
    assert_eq!(names(&volumes.list(&Filters::default()).unwrap()), ["by-hand", "db", "restored"]);
    // A create with labels on a directory that was there first records them and keeps the data.
    let hand = NewVolume { labels: map(&[("c", "d")]), ..named("no-data") };
    assert_eq!(volumes.create(hand).unwrap().0.labels, map(&[("c", "d")]));
    assert!(fixture.data("no-data").is_dir());
    assert_eq!(std::fs::read_to_string(fixture.data("by-hand").join("file")).unwrap(), "precious");
}

#[test]
fn a_damaged_description_counts_as_absent() {
    let fixture = Fixture::new();
    let volumes = fixture.volumes();
    for (name, text) in [("empty", ""), ("newer", "{\"version\":2}"), ("broken", "{\"version\":1}")]
    {
        std::fs::create_dir_all(fixture.data(name)).unwrap();
        std::fs::write(fixture.data(name).with_file_name("volume.json"), text).unwrap();
        assert_eq!(volumes.find(name).unwrap().labels, None);
    }
}

#[test]
fn what_is_in_the_way_is_named_and_stays() {
    let fixture = Fixture::new();
    let path = fixture.directory.path().canonicalize().unwrap().join("root/volumes/db");
    std::fs::write(&path, "a file").unwrap();
    let error = fixture.volumes().create(named("db")).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("create db: `{}` is in the way; move it elsewhere", path.display())
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a file");
}

#[test]
fn options_make_a_file_system() {
    let fixture = Fixture::new();
    let options = map(&[("type", "none"), ("o", "bind"), ("device", "/nowhere")]);
    let (volume, _) = fixture.volumes().create(NewVolume { options, ..named("db") }).unwrap();
    assert_eq!(
        fixture.volumes().source(&volume).unwrap(),
        VolumeSource::Filesystem(SharedFilesystem {
            recipe: FilesystemRecipe {
                fstype: "none".to_owned(),
                options: "bind".to_owned(),
                device: "/nowhere".to_owned()
            },
            mountpoint: fixture.data("db"),
            users: fixture.store.paths.run_root.join("volumes/db"),
        })
    );
    assert_eq!(fixture.volumes().usage(&volume).unwrap(), None);
}

#[test]
fn eight_creators_make_one_volume() {
    let fixture = Fixture::new();
    let stores: Vec<Store> = (0..8).map(|_| open(fixture.directory.path())).collect();
    let barrier = std::sync::Barrier::new(stores.len());
    let create = |store| {
        barrier.wait();
        Volumes::new(store).create(named("db")).unwrap()
    };
    let create = &create;
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            stores.iter().map(|store| scope.spawn(move || create(store))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|(_, created)| *created).count(), 1);
    assert!(results.iter().all(|(volume, _)| *volume == results[0].0));
    assert_eq!(fixture.events(), ["create db driver=local"]);
    assert_eq!(fixture.store.paths.staging().read_dir().unwrap().count(), 0);
}

#[test]
fn creating_and_removing_at_once_never_loses_track() {
    let fixture = Fixture::new();
    let stores: Vec<Store> = (0..4).map(|_| open(fixture.directory.path())).collect();
    std::thread::scope(|scope| {
        for (at, store) in stores.iter().enumerate() {
            scope.spawn(move || {
                for _ in 0..15 {
                    if at % 2 == 0 {
                        Volumes::new(store).create(named("db")).unwrap();
                    } else {
                        match Volumes::new(store).remove("db", Force::No) {
                            Ok(true) | Err(Error::NotFound { .. }) => {}
                            other => panic!("{other:?}"),
                        }
                    }
                }
            });
        }
    });
    let rows = fixture.store.read::<_, crate::Error>(|query| Ok(query.volumes()?)).unwrap();
    assert_eq!(rows.len(), usize::from(fixture.data("db").is_dir()));
    let created = fixture.events().iter().filter(|event| event.starts_with("create")).count();
    let destroyed = fixture.events().iter().filter(|event| event.starts_with("destroy")).count();
    assert_eq!(created, destroyed + rows.len());
    let trash = fixture.store.read::<_, crate::Error>(|query| Ok(query.trash()?)).unwrap();
    assert_eq!(trash.len(), destroyed);
    assert!(trash.iter().all(|record| fixture.store.paths.trash().join(&record.id).is_dir()));
}
