//! Table tests of the mount plan.
#![allow(clippy::unwrap_used)]

use super::*;
use orlop_types::config::{Empty, VolumeOptions};

fn set(paths: &[&str]) -> Set {
    paths.iter().map(|&path| (path.to_owned(), Empty {})).collect()
}

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|&value| value.to_owned()).collect()
}

fn mount(kind: &str, source: &str, target: &str) -> Mount {
    Mount {
        kind: kind.to_owned(),
        source: source.to_owned(),
        target: target.to_owned(),
        ..Mount::default()
    }
}

#[test]
fn parents_come_before_what_lies_below_them() {
    let binds = strings(&["b:/data/deep/er", "a:/data", "/h:/x:ro"]);
    let plan = plan(&Requests { binds: &binds, ..Requests::default() }).unwrap();
    let targets: Vec<&str> = plan.iter().map(|entry| entry.target.as_str()).collect();
    assert_eq!(targets, ["/data", "/x", "/data/deep/er"]);
    assert_eq!(plan[1].kind, MountKind::Bind);
    assert!(plan[1].read_only && plan[1].create_source);
    assert_eq!(plan[1].propagation, "rprivate");
    assert_eq!(plan[0].mode, "z");
}

#[test]
fn the_user_wins_over_the_image_and_over_other_containers() {
    let other = vec![MountEntry::new(MountKind::Volume, Origin::User, "theirs", "/data")];
    let binds = strings(&["mine:/data/"]);
    let volumes = set(&["/data", "/more/../more"]);
    let from = [(other, false)];
    let requests = Requests {
        volumes_from: &from,
        binds: &binds,
        volumes: Some(&volumes),
        ..Requests::default()
    };
    let plan = plan(&requests).unwrap();
    assert_eq!(plan.len(), 2);
    assert_eq!((plan[0].source.as_str(), plan[0].target.as_str()), ("mine", "/data"));
    assert_eq!(plan[1].target, "/more");
    assert!(plan[1].is_anonymous_volume());
}

#[test]
fn volumes_from_keeps_the_stricter_mode_and_skips_memory() {
    let mut read_only = MountEntry::new(MountKind::Volume, Origin::Anonymous, "", "/a");
    read_only.source = "0123".to_owned();
    read_only.read_only = true;
    let writable = MountEntry::new(MountKind::Bind, Origin::User, "/h", "/b");
    let memory = MountEntry::new(MountKind::Tmpfs, Origin::User, "", "/c");
    let from = [(vec![read_only, writable, memory], false)];
    let plan = plan(&Requests { volumes_from: &from, ..Requests::default() }).unwrap();
    assert_eq!(plan.len(), 2);
    assert!(plan[0].read_only && plan[0].no_copy && plan[0].is_anonymous_volume());
    assert!(!plan[1].read_only);
}

#[test]
fn a_later_container_wins_over_an_earlier_one() {
    let of = |name: &str| vec![MountEntry::new(MountKind::Volume, Origin::User, name, "/d")];
    let from = [(of("first"), false), (of("second"), true)];
    let plan = plan(&Requests { volumes_from: &from, ..Requests::default() }).unwrap();
    assert_eq!(plan[0].source, "second");
    assert!(plan[0].read_only);
}

#[test]
fn two_requests_for_one_target_are_refused() {
    let tmpfs = BTreeMap::from([("/x".to_owned(), String::new())]);
    let one = strings(&["a1:/x", "b1:/x/"]);
    let two = strings(&["a1:/x"]);
    let mounts = [mount("volume", "c1", "/x")];
    for requests in [
        Requests { binds: &one, ..Requests::default() },
        Requests { binds: &two, mounts: &mounts, ..Requests::default() },
        Requests { binds: &two, tmpfs: Some(&tmpfs), ..Requests::default() },
        Requests { mounts: &mounts, tmpfs: Some(&tmpfs), ..Requests::default() },
    ] {
        assert_eq!(plan(&requests).unwrap_err().to_string(), "Duplicate mount point: /x");
    }
}

#[test]
fn tmpfs_takes_the_place_of_an_image_volume() {
    let tmpfs = BTreeMap::from([("/cache".to_owned(), "size=1m,exec".to_owned())]);
    let volumes = set(&["/cache"]);
    let requests = Requests { tmpfs: Some(&tmpfs), volumes: Some(&volumes), ..Requests::default() };
    let plan = plan(&requests).unwrap();
    assert_eq!(plan.len(), 1);
    assert_eq!(plan[0].kind, MountKind::Tmpfs);
    assert!(plan[0].tmpfs_options.contains(&"size=1m".to_owned()));
    assert!(plan[0].tmpfs_options.contains(&"exec".to_owned()));
    assert!(!plan[0].tmpfs_options.contains(&"noexec".to_owned()));
}

#[test]
fn mount_options_reach_the_entry() {
    let mut volume = mount("volume", "db", "/v");
    volume.volume_options = Some(VolumeOptions {
        no_copy: true,
        subpath: "a/b".to_owned(),
        ..VolumeOptions::default()
    });
    let image = mount("image", "busybox", "/i");
    let mut tmpfs = mount("tmpfs", "", "/t");
    tmpfs.tmpfs_options =
        Some(orlop_types::config::TmpfsOptions { size_bytes: 4096, mode: 0o700, options: None });
    let mounts = [volume, image, tmpfs];
    let plan = plan(&Requests { mounts: &mounts, ..Requests::default() }).unwrap();
    assert_eq!(plan[0].target, "/i");
    assert!(plan[0].read_only);
    assert!(plan[1].tmpfs_options.contains(&"size=4096".to_owned()));
    assert!(plan[1].tmpfs_options.contains(&"mode=700".to_owned()));
    assert_eq!(plan[2].subpath, "a/b");
    assert!(plan[2].no_copy);
}

#[test]
fn image_volumes_must_be_absolute_and_not_the_root() {
    for (path, text) in [
        ("/", "invalid specification: destination can't be '/'"),
        ("data", "invalid mount path: 'data' mount path must be absolute"),
    ] {
        let volumes = set(&[path]);
        let requests = Requests { volumes: Some(&volumes), ..Requests::default() };
        assert_eq!(plan(&requests).unwrap_err().to_string(), text);
    }
}

#[test]
fn a_volume_driver_that_is_not_heeded_is_told() {
    let host = |driver: &str, mounts: Vec<Mount>| HostConfig {
        volume_driver: driver.to_owned(),
        mounts: Some(mounts),
        ..HostConfig::default()
    };
    let mut named = mount("volume", "v", "/v");
    named.volume_options = Some(VolumeOptions {
        driver_config: Some(orlop_types::config::DriverConfig {
            name: "local".to_owned(),
            ..Default::default()
        }),
        ..VolumeOptions::default()
    });
    let told = warning(&host("local", vec![mount("volume", "v", "/v")])).unwrap();
    assert!(
        told.starts_with("the container-wide volume-driver configuration is ignored"),
        "{told}"
    );
    for quiet in [
        host("", vec![mount("volume", "v", "/v")]),
        host("local", vec![mount("bind", "/h", "/v")]),
        host("local", vec![named]),
    ] {
        assert_eq!(warning(&quiet), None);
    }
}
