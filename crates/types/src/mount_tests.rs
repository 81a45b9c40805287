//! Tests of the mount grammar.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::config::{BindOptions, DriverConfig, ImageOptions, TmpfsOptions, VolumeOptions};

fn bind(path: &str) -> VolumeSource {
    VolumeSource::Bind(path.to_owned())
}

fn volume(name: &str) -> VolumeSource {
    VolumeSource::Volume(name.to_owned())
}

#[test]
fn volume_flags_are_understood() {
    for (raw, source, target, read_only) in [
        ("/data", VolumeSource::Anonymous, "/data", false),
        ("/data/", VolumeSource::Anonymous, "/data", false),
        ("db:/var/lib/db", volume("db"), "/var/lib/db", false),
        ("db:/x:ro", volume("db"), "/x", true),
        ("db:/x:", volume("db"), "/x", false),
        ("/srv/:/x/../y:rw,z", bind("/srv"), "/y", false),
        ("/a:/b:ro,Z,rslave,cached", bind("/a"), "/b", true),
        ("db:/x:nocopy,ro", volume("db"), "/x", true),
        ("~/b:/x", volume("~/b"), "/x", false),
    ] {
        let flag = VolumeFlag::parse(raw).unwrap();
        assert_eq!(
            (flag.source, flag.target.as_str(), flag.read_only),
            (source, target, read_only),
            "{raw}"
        );
    }
    let flag = VolumeFlag::parse("/a:/b:ro,rslave").unwrap();
    assert_eq!(
        (flag.mode.as_str(), flag.propagation.as_deref(), flag.no_copy),
        ("ro,rslave", Some("rslave"), false)
    );
    assert!(VolumeFlag::parse("db:/b:nocopy").unwrap().no_copy);
}

#[test]
fn volume_flag_errors_are_docker_s() {
    for (raw, want) in [
        ("", "invalid volume specification: ''"),
        (":/x", "invalid volume specification: ':/x'"),
        ("a:b:c:d", "invalid volume specification: 'a:b:c:d'"),
        ("/foo:ro", "invalid volume specification: '/foo:ro'"),
        ("a:/x:bogus", "invalid mode: bogus"),
        ("a:/x:ro,rw", "invalid mode: ro,rw"),
        ("a:/x:copy", "invalid mode: copy"),
        ("a:/x:default", "invalid mode: default"),
        ("a:/x:ro,", "invalid mode: ro,"),
        (
            "a:/x:shared",
            "invalid volume specification: 'a:/x:shared': invalid mount config for type \"volume\": field BindOptions \
             must not be specified",
        ),
        (
            "/h:/x:nocopy",
            "invalid volume specification: '/h:/x:nocopy': invalid mount config for type \"bind\": field VolumeOptions \
             must not be specified",
        ),
        (
            "db:/",
            "invalid volume specification: 'db:/': invalid mount config for type \"volume\": invalid specification: \
             destination can't be '/'",
        ),
        (
            "/h:\\",
            "invalid volume specification: '/h:\\': invalid mount config for type \"bind\": invalid specification: \
             destination can't be '/'",
        ),
        (
            "db:x",
            "invalid volume specification: 'db:x': invalid mount config for type \"volume\": invalid mount path: 'x' \
             mount path must be absolute",
        ),
        (
            "db:",
            "invalid volume specification: 'db:': invalid mount config for type \"volume\": field Target must not be empty",
        ),
    ] {
        assert_eq!(VolumeFlag::parse(raw).unwrap_err().to_string(), want, "{raw}");
    }
}

#[test]
fn the_command_line_makes_dotted_sources_absolute() {
    for (raw, want) in [
        ("/a", ClientVolume::Anonymous("/a".into())),
        ("db:/x", ClientVolume::Bind("db:/x".into())),
        (".:/x", ClientVolume::Bind("/home/me:/x".into())),
        ("./b:/x:ro", ClientVolume::Bind("/home/me/b:/x:ro".into())),
        ("../b:/x", ClientVolume::Bind("/home/b:/x".into())),
        ("rel/b:/x", ClientVolume::Bind("rel/b:/x".into())),
        ("~/b:/x", ClientVolume::Bind("~/b:/x".into())),
        ("vol:/b:bogus", ClientVolume::Bind("vol:/b:bogus".into())),
    ] {
        assert_eq!(ClientVolume::parse(raw, "/home/me").unwrap(), want, "{raw}");
    }
    for (raw, want) in [
        ("", "invalid empty volume spec"),
        ("aa:bb:cc:dd", "invalid spec: aa:bb:cc:dd: too many colons"),
        ("aa:/x:", "invalid spec: aa:/x:: empty section between colons"),
        (":/x", "invalid spec: :/x: empty section between colons"),
        (
            "a:/x",
            "invalid spec: a:/x: volume name is too short, names should be at least two alphanumeric characters",
        ),
    ] {
        assert_eq!(ClientVolume::parse(raw, "/").unwrap_err().to_string(), want, "{raw}");
    }
}

fn flag(raw: &str) -> Mount {
    parse_mount_flag(raw, "/home/me").unwrap_or_else(|error| panic!("{raw}: {error}"))
}

fn mount(kind: &str, source: &str, target: &str) -> Mount {
    Mount { kind: kind.into(), source: source.into(), target: target.into(), ..Mount::default() }
}

#[test]
fn mount_flags_fill_docker_s_fields() {
    assert_eq!(flag("dst=/b"), mount("volume", "", "/b"));
    assert_eq!(flag("type=bind,src=/a,dst=/b"), mount("bind", "/a", "/b"));
    assert_eq!(flag("TYPE=BIND,SRC=./a,DST=/b"), mount("bind", "/home/me/a", "/b"));
    assert_eq!(flag("type=bind,src=rfs,dst=/b"), mount("bind", "rfs", "/b"));
    assert_eq!(flag("src=a,target=/b,ro"), Mount { read_only: true, ..mount("volume", "a", "/b") });
    assert_eq!(flag("src=a,destination=/b,readonly=0"), mount("volume", "a", "/b"));
    assert_eq!(flag("type=bind,src=/a,dst=/b,bind-recursive=enabled"), mount("bind", "/a", "/b"));
    let with_bind = |read_only, options| Mount {
        read_only,
        bind_options: Some(options),
        ..mount("bind", "/a", "/b")
    };
    assert_eq!(
        flag("type=bind,src=/a,dst=/b,bind-recursive=disabled"),
        with_bind(false, BindOptions { non_recursive: true, ..BindOptions::default() })
    );
    assert_eq!(
        flag("type=bind,src=/a,dst=/b,bind-recursive=writable,ro"),
        with_bind(true, BindOptions { read_only_non_recursive: true, ..BindOptions::default() })
    );
    assert_eq!(
        flag("type=bind,src=/a,dst=/b,bind-recursive=readonly,ro,bind-propagation=rprivate"),
        with_bind(
            true,
            BindOptions {
                propagation: "rprivate".into(),
                read_only_force_recursive: true,
                ..BindOptions::default()
            }
        )
    );
    assert_eq!(
        flag("type=bind,src=/a,dst=/b,bind-create-src"),
        with_bind(false, BindOptions { create_mountpoint: true, ..BindOptions::default() })
    );
}

#[test]
fn mount_flags_fill_the_options_of_their_type() {
    assert_eq!(
        flag(
            "src=a,dst=/b,volume-label=k=v,volume-label=x,\"volume-opt=o=addr=1.2.3.4,rw\",volume-driver=local,\
             volume-subpath=s/t,volume-nocopy"
        ),
        Mount {
            volume_options: Some(VolumeOptions {
                no_copy: true,
                labels: Some([("k".into(), "v".into()), ("x".into(), String::new())].into()),
                subpath: "s/t".into(),
                driver_config: Some(DriverConfig {
                    name: "local".into(),
                    options: Some([("o".into(), "addr=1.2.3.4,rw".into())].into()),
                }),
            }),
            ..mount("volume", "a", "/b")
        }
    );
    assert_eq!(
        flag("type=tmpfs,dst=/b,tmpfs-size=1m,tmpfs-mode=1777"),
        Mount {
            tmpfs_options: Some(TmpfsOptions { size_bytes: 1 << 20, mode: 0o1777, options: None }),
            ..mount("tmpfs", "", "/b")
        }
    );
    assert_eq!(
        flag("type=image,src=a,dst=/b,image-subpath=x"),
        Mount {
            image_options: Some(ImageOptions { subpath: "x".into() }),
            ..mount("image", "a", "/b")
        }
    );
}

#[test]
fn mount_flag_errors_are_docker_s() {
    for (raw, want) in [
        ("", "value is empty"),
        ("type=volume,src=a", "target is required"),
        ("src,dst=/b", "invalid field 'src' must be a key=value pair"),
        ("dst=/b,", "invalid field '' must be a key=value pair"),
        ("src=,dst=/b", "invalid value for 'src': value is empty"),
        (" src=a,dst=/b", "invalid option ' src' in ' src=a': option should not have whitespace"),
        ("foo=1,dst=/b", "unknown option 'foo' in 'foo=1'"),
        ("dst=/b,nocopy", "invalid field 'nocopy' must be a key=value pair"),
        ("type=tmpfs,dst=/b,tmpfs-size=foo", "invalid value for tmpfs-size: foo"),
        ("type=tmpfs,dst=/b,tmpfs-mode=9", "invalid value for tmpfs-mode: 9"),
        (
            "type=volume,bind-propagation=rprivate,dst=/b",
            "cannot mix 'bind-*' options with mount type 'volume'",
        ),
        (
            "type=bind,src=/a,dst=/b,volume-nocopy",
            "cannot mix 'volume-*' options with mount type 'bind'",
        ),
        ("dst=/b,tmpfs-size=1", "cannot mix 'tmpfs-*' options with mount type 'volume'"),
        (
            "type=bind,src=/a,dst=/b,bind-nonrecursive=1",
            "bind-nonrecursive is deprecated, use bind-recursive=disabled instead",
        ),
        (
            "type=bind,src=/a,dst=/b,bind-recursive=x",
            "invalid value for bind-recursive: x (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")",
        ),
        (
            "type=bind,src=/a,dst=/b,bind-recursive=writable",
            "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction",
        ),
        (
            "type=bind,src=/a,dst=/b,bind-recursive=readonly,ro",
            "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction",
        ),
        (
            "src=a,dst=/b,\"x",
            "parse error on line 1, column 16: extraneous or missing \" in quoted-field",
        ),
        ("src=a\"b,dst=/b", "parse error on line 1, column 6: bare \" in non-quoted-field"),
    ] {
        assert_eq!(parse_mount_flag(raw, "/").unwrap_err().to_string(), want, "{raw}");
    }
}

#[test]
fn structured_mounts_are_checked_as_the_engine_does() {
    let fault = |mount: &Mount| check_mount(mount).unwrap_err().to_string();
    for (raw, want) in [
        ("type=foo,dst=/x", "invalid mount config for type \"foo\": mount type unknown"),
        (
            "dst=x",
            "invalid mount config for type \"volume\": invalid mount path: 'x' mount path must be absolute",
        ),
        (
            "dst=/a/..",
            "invalid mount config for type \"volume\": invalid specification: destination can't be '/'",
        ),
        (
            "type=bind,dst=/x",
            "invalid mount config for type \"bind\": field Source must not be empty",
        ),
        (
            "type=bind,src=rfs,dst=/x",
            "invalid mount config for type \"bind\": invalid mount path: 'rfs' mount path must be absolute",
        ),
        (
            "type=bind,src=/a,dst=/x,bind-propagation=foo",
            "invalid mount config for type \"bind\": invalid propagation mode: foo",
        ),
        (
            "type=tmpfs,src=/a,dst=/x",
            "invalid mount config for type \"tmpfs\": field Source must not be specified",
        ),
        (
            "dst=/x,volume-subpath=a",
            "invalid mount config for type \"volume\": must not set Subpath when using anonymous volumes",
        ),
        (
            "src=a,dst=/x,volume-subpath=a/../../b",
            "invalid mount config for type \"volume\": subpath must be a relative path within the volume",
        ),
        (
            "dst=/x,ro",
            "invalid mount config for type \"volume\": must not set ReadOnly mode when using anonymous volumes",
        ),
    ] {
        assert_eq!(fault(&flag(raw)), want, "{raw}");
    }
    let mut mixed = mount("bind", "/a", "/b");
    mixed.volume_options = Some(VolumeOptions::default());
    assert_eq!(
        fault(&mixed),
        "invalid mount config for type \"bind\": field VolumeOptions must not be specified"
    );
    for good in ["dst=/x", "type=bind,src=/,dst=/x", "type=tmpfs,dst=/x", "type=image,src=a,dst=/x"]
    {
        assert_eq!(check_mount(&flag(good)), Ok(()), "{good}");
    }
}

#[test]
fn tmpfs_options_merge_and_the_last_of_a_group_wins() {
    assert_eq!(split_tmpfs_flag("/x:size=1m,exec"), ("/x".into(), "size=1m,exec".into()));
    assert_eq!(split_tmpfs_flag("/x"), ("/x".into(), String::new()));
    for (options, want) in [
        ("", "noexec,nosuid,nodev,rprivate"),
        ("exec", "nosuid,nodev,rprivate,exec"),
        ("size=1m,mode=700,size=2m", "noexec,nosuid,nodev,rprivate,mode=700,size=2m"),
        ("exec,noexec,ro", "nosuid,nodev,rprivate,noexec,ro"),
    ] {
        assert_eq!(merge_tmpfs_options(options).unwrap().join(","), want, "{options}");
    }
    assert_eq!(merge_tmpfs_options("foo").unwrap_err().to_string(), "invalid tmpfs option \"foo\"");
    assert_eq!(
        check_tmpfs_target("/").unwrap_err().to_string(),
        "invalid specification: destination can't be '/'"
    );
    assert_eq!(
        check_tmpfs_target("x").unwrap_err().to_string(),
        "invalid mount path: 'x' mount path must be absolute"
    );
}

#[test]
fn volumes_from_takes_a_mode() {
    let parsed = |raw: &str| VolumesFrom::parse(raw).map(|from| (from.container, from.read_only));
    assert_eq!(parsed("a"), Ok(("a".into(), false)));
    assert_eq!(parsed("a:ro"), Ok(("a".into(), true)));
    assert_eq!(parsed("a:z,rw"), Ok(("a".into(), false)));
    for (raw, want) in [
        ("", "volumes-from specification cannot be an empty string"),
        ("a:nocopy", "invalid mode: nocopy"),
        ("a:rslave", "invalid mode: rslave"),
        ("a:foo", "invalid mode: foo"),
    ] {
        assert_eq!(VolumesFrom::parse(raw).unwrap_err().to_string(), want, "{raw}");
    }
}

#[test]
fn paths_are_cleaned_by_text() {
    for (path, want) in [
        ("", "."),
        ("/", "/"),
        ("//a//b/", "/a/b"),
        ("/a/./b/../c", "/a/c"),
        ("/../a", "/a"),
        ("a/..", "."),
        ("../a", "../a"),
        ("a/../../b", "../b"),
    ] {
        assert_eq!(clean_path(path), want, "{path}");
    }
    for (path, want) in [
        ("a", true),
        ("a/../b", true),
        ("..", false),
        ("a/../..", false),
        ("/a", false),
        ("", false),
    ] {
        assert_eq!(is_local_path(path), want, "{path}");
    }
}

proptest! {
    #[test]
    fn never_panics(raw in "\\PC{0,60}", keyed in "(type|src|dst|ro|\"|,|=|/|x|bind-recursive|volume-opt){0,14}") {
        let _ = VolumeFlag::parse(&raw);
        let _ = ClientVolume::parse(&raw, "/cwd");
        let _ = VolumesFrom::parse(&raw);
        let _ = merge_tmpfs_options(&raw);
        for text in [&raw, &keyed] {
            if let Ok(mount) = parse_mount_flag(text, "/cwd") {
                let _ = check_mount(&mount);
            }
        }
    }

    #[test]
    fn a_parsed_target_is_absolute_and_never_the_root(raw in "(/|a|b|\\.|:|ro){0,12}") {
        if let Ok(flag) = VolumeFlag::parse(&raw) {
            prop_assert!(flag.target.starts_with('/') && flag.target != "/", "{raw}");
            prop_assert_eq!(clean_path(&flag.target), flag.target);
        }
    }

    #[test]
    fn cleaning_is_idempotent(path in "(/|a|\\.\\.|\\.|b){0,12}") {
        let once = clean_path(&path);
        prop_assert_eq!(clean_path(&once), once);
    }

    #[test]
    fn quoted_fields_round_trip(fields in prop::collection::vec("[ -~]{0,8}", 1..5)) {
        let line = fields.iter().map(|field| format!("\"{}\"", field.replace('"', "\"\""))).collect::<Vec<_>>().join(",");
        prop_assert_eq!(crate::mount_flag::split_csv(&line), Ok(fields));
    }
}
