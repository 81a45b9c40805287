//! Tests of `RUN --mount`: every key, every default and every rule.

use super::*;

fn resolve(text: &str) -> Result<Mount, String> {
    let plain = |value: &str| Ok(value.replace("$V", "put-in"));
    MountFlag::parse(text)
        .and_then(|flag| flag.resolve(&mut { plain }))
        .map_err(|error| error.to_string())
}

#[test]
fn keys_and_defaults() {
    let bind = Mount { read_only: true, ..Mount::default() };
    for (text, expected) in [
        ("target=/x", Mount { target: "/x".into(), ..bind.clone() }),
        (
            "type=BIND,src=/a,dst=/b,from=c,rw",
            Mount {
                source: "/a".into(),
                target: "/b".into(),
                from: "c".into(),
                read_only: false,
                ..bind.clone()
            },
        ),
        (
            "type=cache,id=i,destination=/c,sharing=locked,mode=0700,uid=1,gid=2,ro=1",
            Mount {
                kind: MountType::Cache,
                id: "i".into(),
                target: "/c".into(),
                sharing: Some(Sharing::Locked),
                mode: Some(0o700),
                uid: Some(1),
                gid: Some(2),
                read_only: true,
                ..Mount::default()
            },
        ),
        (
            "type=cache,target=/c",
            Mount { kind: MountType::Cache, target: "/c".into(), ..Mount::default() },
        ),
        (
            "type=tmpfs,target=/t,size=2m",
            Mount {
                kind: MountType::Tmpfs,
                target: "/t".into(),
                size_bytes: 2 << 20,
                ..Mount::default()
            },
        ),
        (
            "type=secret,id=s,env=E,required",
            Mount {
                kind: MountType::Secret,
                id: "s".into(),
                env: Some("E".into()),
                required: true,
                read_only: true,
                ..Mount::default()
            },
        ),
        (
            "type=ssh,required=false",
            Mount { kind: MountType::Ssh, read_only: true, ..Mount::default() },
        ),
        (
            "\"target=/a,b\",source=$V",
            Mount { target: "/a,b".into(), source: "put-in".into(), ..bind.clone() },
        ),
        ("target=/x,readwrite=false", Mount { target: "/x".into(), ..bind }),
    ] {
        assert_eq!(resolve(text), Ok(expected), "{text}");
    }
}

#[test]
fn rules_have_buildkits_texts() {
    for (text, message) in [
        ("type=bnd,target=/x", "unsupported mount type \"bnd\" (did you mean bind?)"),
        ("type=volume,target=/x", "unsupported mount type \"volume\""),
        ("targt=/x", "unexpected key 'targt' in 'targt=/x' (did you mean target?)"),
        ("foobar=/x", "unexpected key 'foobar' in 'foobar=/x'"),
        ("foobar", "invalid field 'foobar' must be a key=value pair"),
        (
            "from=$A,target=/x",
            "'from' doesn't support variable expansion, define alias stage instead",
        ),
        ("target=/x,mode=0755", "mode not allowed for \"bind\" type mounts"),
        ("type=tmpfs,target=/x,uid=1", "uid not allowed for \"tmpfs\" type mounts"),
        ("target=/x,gid=1", "gid not allowed for \"bind\" type mounts"),
        ("target=/x,size=1m", "unexpected key 'size' for mount type 'bind'"),
        ("target=/x,required", "unexpected key 'required' for mount type 'bind'"),
        ("type=cache,required=true,target=/x", "unexpected key 'required' for mount type 'cache'"),
        ("type=tmpfs,target=/x,size=big", "invalid value for size: big"),
        ("type=secret,id=a,required=maybe", "invalid value for required: maybe"),
        ("type=cache,target=/x,mode=9", "invalid value 9 for mode"),
        ("type=cache,target=/x,uid=-1", "invalid value -1 for uid"),
        (
            "type=cache,target=/x,sharing=share",
            "unsupported sharing value \"share\" (did you mean shared?)",
        ),
        ("target=/x,sharing=shared", "invalid cache sharing set for bind mount"),
        ("type=secret", "invalid secret mount. one of source, target required"),
        ("type=secret,id=a,source=b", "both source and id can't be set"),
        ("type=secret,id=a,from=b", "secret mount should not have a from"),
        ("type=secret,id=a,sharing=shared", "secret mount should not define sharing"),
        ("target=/x,ro=maybe", "invalid value for ro: maybe"),
        (
            "target=\"a",
            "failed to parse csv mounts: parse error on line 1, column 8: bare \" in non-quoted field",
        ),
        (
            "\"a",
            "failed to parse csv mounts: parse error on line 1, column 2: extraneous or missing \" in quoted-field",
        ),
        ("", "failed to parse csv mounts: EOF"),
    ] {
        assert_eq!(resolve(text), Err(message.to_owned()), "{text}");
    }
}

#[test]
fn the_stage_of_a_mount_is_known_before_expansion() {
    let from = |text: &str| MountFlag::parse(text).unwrap().from;
    assert_eq!(from("from=build,target=$x").as_deref(), Some("build"));
    assert_eq!(from("FROM=cost$,target=/x").as_deref(), Some("cost$"));
    assert_eq!(from("type=$t,target=/x"), None);
    assert_eq!(from("from="), None);
}

#[test]
fn quoted_fields() {
    assert_eq!(fields("a,\"b,\"\"c\"\"\",d\n", "x").unwrap(), ["a", "b,\"c\"", "d"]);
    assert_eq!(fields("a,", "x").unwrap(), ["a", ""]);
}
