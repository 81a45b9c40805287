//! Where a build goes: names in the store, folders, archives, metadata.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use orlop_testkit::{Fixture, fixture};

const TEXT: &str = "FROM busybox AS made\nRUN mkdir /d && mkdir -m 750 /d/s && echo x > /d/f\nFROM scratch\nCOPY --from=made /d /d\n";

fn context(fixture: &Fixture, dockerfile: &str) -> PathBuf {
    let directory = fixture.directory("context");
    std::fs::write(directory.join("Dockerfile"), dockerfile).unwrap();
    directory
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn files_go_to_a_folder_and_to_archives_that_load_again() {
    let fixture = fixture!(busybox);
    let directory = context(&fixture, TEXT);
    let directory = directory.to_str().unwrap();
    let path = |name: &str| fixture.folder().join(name).display().to_string();
    let (folder, tar, docker, oci) =
        (path("folder"), path("files.tar"), path("docker.tar"), path("oci"));
    fixture.ok(&["build", "-o", &folder, directory]);
    assert_eq!(std::fs::read_to_string(format!("{folder}/d/f")).unwrap(), "x\n");
    let mode = std::fs::metadata(format!("{folder}/d/s")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o750);
    fixture.ok(&["build", "-o", &format!("type=tar,dest={tar}"), directory]);
    assert!(std::fs::metadata(&tar).unwrap().len() > 1024);
    fixture.ok(&["build", "-t", "out:1", "-o", &format!("type=docker,dest={docker}"), directory]);
    assert_eq!(
        fixture.orlop(&["image", "inspect", "out:1"]).code,
        1,
        "the store has no such image"
    );
    assert_eq!(fixture.ok(&["load", "-i", &docker]), "Loaded image: out:1");
    fixture.ok(&["build", "-o", &format!("type=oci,dest={oci},tar=false"), directory]);
    assert!(PathBuf::from(&oci).join("index.json").exists());
    fixture.ok(&["system", "check"]);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn an_image_gets_all_its_names_and_its_metadata_is_written() {
    let fixture = fixture!(busybox);
    let directory = context(&fixture, "FROM busybox\nLABEL v=1\n");
    let metadata = fixture.folder().join("metadata.json");
    let id_file = fixture.folder().join("id");
    fixture.ok(&[
        "build",
        "-t",
        "one:1",
        "-t",
        "two",
        "--metadata-file",
        metadata.to_str().unwrap(),
        "--iidfile",
        id_file.to_str().unwrap(),
        directory.to_str().unwrap(),
    ]);
    let id = fixture.inspect("one:1", "{{.Id}}");
    assert_eq!(fixture.inspect("two", "{{.Id}}"), id);
    assert_eq!(std::fs::read_to_string(id_file).unwrap(), id.trim());
    let text = std::fs::read_to_string(metadata).unwrap();
    assert!(text.contains(id.trim()), "{text}");
    assert!(text.contains("docker.io/library/one:1,docker.io/library/two:latest"), "{text}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn an_epoch_makes_the_image_the_same_everywhere() {
    let ids: Vec<String> = (0..2)
        .map(|_| {
            let fixture = fixture!(busybox);
            let directory = context(&fixture, "FROM scratch\nCOPY Dockerfile /d\nENV A=1\n");
            let path = directory.join("Dockerfile");
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
            std::fs::File::open(path).unwrap().set_modified(time).unwrap();
            let epoch = "SOURCE_DATE_EPOCH=1700000000";
            let directory = directory.to_str().unwrap();
            fixture.ok(&["build", "-t", "e", "--build-arg", epoch, directory]);
            assert_eq!(fixture.inspect("e", "{{.Created}}"), "2023-11-14T22:13:20Z");
            fixture.inspect("e", "{{.Id}}")
        })
        .collect();
    assert_eq!(ids.first(), ids.last());
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn another_platform_works_as_long_as_nothing_runs() {
    let fixture = fixture!(busybox);
    let directory = context(&fixture, "FROM scratch\nCOPY Dockerfile /d\n");
    let directory = directory.to_str().unwrap();
    fixture.ok(&["build", "-t", "p", "--platform", "linux/s390x", directory]);
    assert_eq!(fixture.inspect("p", "{{.Os}}/{{.Architecture}}"), "linux/s390x");
    let both = "linux/amd64,linux/s390x";
    let output = fixture.orlop(&["build", "--platform", both, directory]);
    assert_eq!(output.code, 1, "{output}");
    assert!(output.stderr.contains("one platform after the other"), "{output}");
}
