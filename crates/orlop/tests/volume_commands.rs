//! `volume create|ls|inspect|rm|prune`: every flag, filter, format and refusal, with Docker's texts and
//! exit codes. No container is needed.
#![allow(clippy::unwrap_used)]

use orlop_testkit::{Fixture, fixture};

/// A store with `lab` (labels), `opts` (options), `v1`, `v2`, `v10` and one anonymous volume.
fn store() -> (Fixture, String) {
    let fixture = fixture!();
    for words in [
        &["--label", "a=1", "--label", "b", "lab"][..],
        &["-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m,password=x", "opts"],
        &["v10"],
        &["v2"],
        &["--name", "v1"],
    ] {
        let name = fixture.ok(&[&["volume", "create"][..], words].concat());
        assert_eq!(&name, words.last().unwrap());
    }
    let anonymous = fixture.ok(&["volume", "create"]);
    assert!(anonymous.len() == 64 && anonymous.bytes().all(|byte| byte.is_ascii_hexdigit()));
    (fixture, anonymous)
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn lists_are_filtered_sorted_and_formatted_as_docker_does() {
    let (fixture, anonymous) = store();
    let list = |words: &[&str]| fixture.ok(&[&["volume", "ls"][..], words].concat());
    // Numbers by their value; a random name begins with a digit or one of a to f.
    let names = list(&["-q"]);
    let named: Vec<&str> = names.lines().filter(|name| *name != anonymous).collect();
    assert_eq!(named, ["lab", "opts", "v1", "v2", "v10"]);
    for (filters, want) in [
        (&["label=a"][..], "lab"),
        (&["label=a=1", "label=b"], "lab"),
        (&["label=a=2"], ""),
        (&["name=v1"], "v1\nv10"),
        (&["name=^v1$"], "v1"),
        (&["name=v2", "name=lab"], "lab\nv2"),
        (&["driver=local", "name=opts"], "opts"),
        (&["driver=other"], ""),
        (&["dangling=true", "name=la"], "lab"),
        (&["dangling=0"], ""),
        (&["label=com.docker.volume.anonymous"], &*anonymous),
    ] {
        let words: Vec<&str> = filters.iter().flat_map(|filter| ["--filter", filter]).collect();
        assert_eq!(list(&[&["-q"][..], &words].concat()), want, "{filters:?}");
    }
    assert_eq!(list(&["--filter", "name=lab"]), "DRIVER    VOLUME NAME\nlocal     lab");
    let place = fixture.root().join("volumes/lab/_data");
    assert_eq!(
        list(&["--filter", "name=lab", "--format", "json"]),
        format!(
            "{{\"Availability\":\"N/A\",\"Driver\":\"local\",\"Group\":\"N/A\",\"Labels\":\"a=1,b=\",\"Links\":\"N/A\",\
             \"Mountpoint\":\"{}\",\"Name\":\"lab\",\"Scope\":\"local\",\"Size\":\"N/A\",\"Status\":\"N/A\"}}",
            place.display()
        )
    );
    let template = "table {{.Name}}\t{{.Label \"a\"}}\t{{.Scope}}";
    assert_eq!(
        list(&["--filter", "name=lab", "--format", template]),
        "VOLUME NAME   a         SCOPE\nlab           1         local"
    );
    for (filter, code, text) in [
        ("dangling=maybe", 1, "invalid filter 'dangling=[maybe]'"),
        ("colour=red", 1, "invalid filter 'colour'"),
        ("bare", 125, "bad format of filter (expected name=value)"),
    ] {
        let refused = fixture.fails(code, &["volume", "ls", "--filter", filter]);
        assert!(refused.contains(text), "{filter}: {refused}");
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn documents_tell_what_was_given_from_what_was_not() {
    let (fixture, anonymous) = store();
    let inspect = |words: &[&str]| fixture.ok(&[&["volume", "inspect", "-f"][..], words].concat());
    assert_eq!(inspect(&["{{json .Labels}} {{json .Options}}", "v1"]), "null null");
    assert_eq!(
        inspect(&["{{json .Labels}}", "lab", &anonymous]),
        "{\"a\":\"1\",\"b\":\"\"}\n{\"com.docker.volume.anonymous\":\"\"}"
    );
    assert_eq!(
        inspect(&["{{json .Options}}", "opts"]),
        "{\"device\":\"tmpfs\",\"o\":\"size=1m,password=x\",\"type\":\"tmpfs\"}"
    );
    let output = fixture.orlop(&["volume", "inspect", "v2", "nothing"]);
    assert_eq!(output.code, 1, "{output}");
    assert!(output.stdout.starts_with("[\n    {\n        \"CreatedAt\": \"20"), "{output}");
    assert!(output.stderr.contains("get nothing: no such volume"), "{output}");
    assert_eq!(fixture.orlop(&["volume", "inspect", "nothing"]).stdout, "[]\n");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_creation_that_cannot_be_says_why_and_makes_nothing() {
    let (fixture, _) = store();
    let before = fixture.ok(&["volume", "ls", "-q"]);
    let long = "a".repeat(300);
    for (words, text) in [
        (
            &["-d", "nope", "lab"][..],
            "create lab: error looking up volume plugin nope: plugin \"nope\" not found",
        ),
        (
            &["-d", "nope", "new"],
            "create new: error looking up volume plugin nope: plugin \"nope\" not found",
        ),
        (
            &["x"],
            "create x: volume name is too short, names should be at least two alphanumeric characters",
        ),
        (
            &["a b"],
            "create a b: \"a b\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are \
             allowed. If you intended to pass a host directory, use absolute path",
        ),
        (&[&long], "is too long"),
        (&["-o", "colour=red", "new"], "create new: invalid option: \"colour\""),
        (&["-o", "type=tmpfs", "new"], "create new: missing required option: \"device\""),
        (&["-o", "device=/x", "new"], "create new: missing required option: \"type\""),
        (&["-o", "o=bind", "new"], "create new: missing required option: \"device\""),
        (&["-o", "size=1g", "new"], "create new: quota size requested but no quota support"),
        (
            &["-o", "type=cifs", "-o", "device=//host:445/s", "new"],
            "create new: port not allowed in CIFS device URL, include 'port' in 'o='",
        ),
        (
            &["--name", "one", "two"],
            "conflicting options: cannot specify a volume-name through both --name and as a positional arg",
        ),
    ] {
        let refused = fixture.fails(1, &[&["volume", "create"][..], words].concat());
        assert!(refused.contains(text), "{words:?}: {refused}");
    }
    // What is there already is given back as it is, whatever is asked for now.
    let again = ["volume", "create", "--label", "a=2", "-o", "type=none", "-o", "device=/x", "lab"];
    assert_eq!(fixture.ok(&again), "lab");
    let kept =
        fixture.ok(&["volume", "inspect", "-f", "{{json .Labels}} {{json .Options}}", "lab"]);
    assert_eq!(kept, "{\"a\":\"1\",\"b\":\"\"} null");
    assert_eq!(fixture.ok(&["volume", "ls", "-q"]), before);
    let template = "{{.Action}} {{.Actor.ID}} {{.Actor.Attributes.driver}}";
    let events = fixture.events(&[], template);
    assert_eq!(events.lines().count(), 6, "one for each real creation: {events}");
    assert!(events.starts_with("create lab local\ncreate opts local\n"), "{events}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn removals_go_on_after_a_failure_and_prunes_leave_what_has_options() {
    let (fixture, anonymous) = store();
    let output = fixture.orlop(&["volume", "rm", "nothing", "v10"]);
    assert_eq!((output.code, &*output.stdout), (1, "v10\n"), "{output}");
    assert!(output.stderr.contains("get nothing: no such volume"), "{output}");
    assert_eq!(fixture.ok(&["volume", "rm", "--force", "nothing"]), "nothing");
    for (words, text) in [
        (
            &["--all", "--filter", "all=1"][..],
            "conflicting options: cannot specify both --all and --filter all=1",
        ),
        (&["--filter", "all=x"], "invalid filter 'all'"),
        (
            &["--filter", "all=1", "--filter", "all=0"],
            "invalid filter 'all=[0 1]': only one value is expected",
        ),
        (&["--filter", "until=1h"], "invalid filter 'until'"),
    ] {
        let refused = fixture.fails(1, &[&["volume", "prune", "-f"][..], words].concat());
        assert!(refused.contains(text), "{words:?}: {refused}");
    }
    let asked = fixture.orlop_with_input(&["volume", "prune"], b"no\n");
    assert_eq!(
        asked.ok(),
        "WARNING! This will remove anonymous local volumes not used by at least one container.\nAre you sure you want to \
         continue? [y/N] "
    );
    std::fs::write(fixture.root().join("volumes").join(&anonymous).join("_data/f"), [0; 1234])
        .unwrap();
    assert_eq!(
        fixture.ok(&["volume", "prune", "-f"]),
        format!("Deleted Volumes:\n{anonymous}\n\nTotal reclaimed space: 1.234kB")
    );
    assert_eq!(
        fixture.ok(&["volume", "prune", "-f", "--filter", "all=true", "--filter", "label!=a"]),
        "Deleted Volumes:\nv1\nv2\n\nTotal reclaimed space: 0B"
    );
    assert_eq!(
        fixture.ok(&["volume", "prune", "-af"]),
        "Deleted Volumes:\nlab\n\nTotal reclaimed space: 0B"
    );
    assert_eq!(fixture.ok(&["volume", "ls", "-q"]), "opts");
    let template = "{{.Action}} {{.Actor.ID}} {{.Actor.Attributes.reclaimed}}";
    let words = [
        "events",
        "--since",
        "1h",
        "--until",
        "0s",
        "--filter",
        "event=prune",
        "--format",
        template,
    ];
    assert_eq!(fixture.ok(&words), "prune  1234\nprune  0\nprune  0");
}
