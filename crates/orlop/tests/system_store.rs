//! Commands about the whole store: `system df`, `system prune`, and each thing that `system check`
//! finds and heals.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use orlop_testkit::{Fixture, fixture, wait_until};
use rusqlite::Connection;

const LIMIT: Duration = Duration::from_secs(60);
/// An id that no container has.
const STRANGER: &str = "00000000000000000000000000000000000000000000000000000000000000aa";

fn database(fixture: &Fixture) -> Connection {
    Connection::open(fixture.root().join("orlop.db")).unwrap()
}

/// Looks, repairs, looks again: gives the lines of the first look.
#[track_caller]
fn heal(fixture: &Fixture) -> Vec<String> {
    let looked = fixture.orlop(&["system", "check"]);
    let repaired = fixture.orlop(&["system", "check", "--repair"]);
    assert_eq!(repaired.code, 0, "{looked}\n{repaired}");
    let clean = fixture.ok(&["system", "check"]);
    assert!(clean.ends_with(": no problems"), "{clean}");
    let lines: Vec<String> = looked.stdout.lines().map(str::to_owned).collect();
    for line in lines.iter().filter(|line| !line.starts_with("Checked")) {
        assert!(repaired.stdout.contains(&format!("{line} (repaired)")), "{line}\n{repaired}");
    }
    lines
}

#[track_caller]
fn assert_found(lines: &[String], want: &str) {
    assert!(lines.iter().any(|line| line == want), "{want:?} in {lines:#?}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn disk_usage_counts_images_layers_and_volumes_and_measures_what_has_changed() {
    let fixture = fixture!(busybox);
    let row = |kind: &str| {
        let rows = fixture.ok(&[
            "system",
            "df",
            "--format",
            "{{.Type}}|{{.TotalCount}}|{{.Active}}|{{.Size}}|{{.Reclaimable}}",
        ]);
        rows.lines().find(|row| row.starts_with(kind)).unwrap().to_owned()
    };
    assert_eq!(row("Containers"), "Containers|0|0|0B|0B");
    assert_eq!(row("Build Cache"), "Build Cache|0|0|0B|0B");
    let size = fixture.ok(&["image", "inspect", "-f", "{{.Size}}", "busybox"]);
    assert!(row("Images").ends_with("(100%)"), "{}", row("Images"));
    assert!(size.parse::<u64>().unwrap() > 100_000);

    let write = "head -c 3000 /dev/zero > /v/f; head -c 1500 /dev/zero > /root/f";
    fixture.ok(&["run", "--name", "one", "-v", "data:/v", "busybox", "sh", "-c", write]);
    fixture.ok(&["volume", "create", "idle"]);
    std::fs::write(fixture.root().join("volumes/idle/_data/f"), [0; 1000]).unwrap();
    assert_eq!(row("Containers"), "Containers|1|0|1.5kB|1.5kB (100%)");
    assert_eq!(row("Local Volumes"), "Local Volumes|2|1|4kB|1kB (25%)");
    assert!(row("Images").starts_with("Images|1|1|") && row("Images").ends_with("|0B (0%)"));

    // What a container writes counts at once, also while it runs.
    let more = "head -c 2000 /dev/zero > /v/g; head -c 500 /dev/zero > /root/g; sleep 1000";
    fixture.ok(&["run", "-d", "--name", "two", "-v", "data:/v", "busybox", "sh", "-c", more]);
    wait_until("the files", LIMIT, || match row("Containers").as_str() {
        "Containers|2|1|2kB|1.5kB (75%)" => Ok(()),
        other => Err(other.to_owned()),
    });
    assert_eq!(row("Local Volumes"), "Local Volumes|2|1|6kB|1kB (16%)");
    fixture.ok(&["exec", "two", "sh", "-c", "rm /v/f /root/g"]);
    fixture.ok(&["kill", "two"]);
    assert_eq!(row("Local Volumes"), "Local Volumes|2|1|3kB|1kB (33%)");
    assert_eq!(row("Containers"), "Containers|2|0|1.5kB|1.5kB (100%)");

    // So does what is copied in.
    let file = fixture.directory("files").join("copy");
    std::fs::write(&file, [0; 1000]).unwrap();
    for target in ["two:/v/copy", "two:/root/copy"] {
        fixture.ok(&["cp", file.to_str().unwrap(), target]);
    }
    assert_eq!(row("Local Volumes"), "Local Volumes|2|1|4kB|1kB (25%)");
    assert_eq!(row("Containers"), "Containers|2|0|2.5kB|2.5kB (100%)");

    let table = fixture.ok(&["system", "df"]);
    assert!(
        table.starts_with("TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE\nImages "),
        "{table}"
    );
    let table = fixture.ok(&["system", "df", "-v"]);
    for part in [
        "Images space usage:\n\nREPOSITORY   TAG ",
        "Containers space usage:\n\nCONTAINER ID   IMAGE ",
        "Local Volumes space usage:\n\nVOLUME NAME   LINKS     SIZE\ndata          2         3kB\nidle          0         1kB\n",
        "Build cache usage: 0B\n",
    ] {
        assert!(table.contains(part), "{part:?} in {table}");
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn prune_asks_and_removes_what_nothing_uses() {
    let fixture = fixture!(busybox);
    fixture.ok(&["run", "-d", "--name", "kept", "-v", "used:/v", "busybox", "sleep", "1000"]);
    let old = fixture.ok(&["create", "--label", "keep=1", "-v", "/anonymous", "busybox"]);
    let gone = fixture.ok(&["create", "--name", "gone", "busybox", "true"]);
    fixture.ok(&["volume", "create", "named"]);
    let anonymous = fixture.ok(&["volume", "create"]);
    let asked = fixture.orlop_with_input(&["container", "prune"], b"n\n");
    assert_eq!(
        asked.ok(),
        "WARNING! This will remove all stopped containers.\nAre you sure you want to continue? [y/N] "
    );
    let pruned = fixture.ok(&["container", "prune", "-f", "--filter", "label!=keep"]);
    assert_eq!(pruned, format!("Deleted Containers:\n{gone}\n\nTotal reclaimed space: 0B"));
    assert_eq!(
        fixture.ok(&["container", "prune", "-f", "--filter", "until=1h"]),
        "Total reclaimed space: 0B"
    );
    let refused = fixture.fails(1, &["container", "prune", "-f", "--filter", "name=x"]);
    assert!(refused.contains("invalid filter 'name'"), "{refused}");

    let refused = fixture.fails(1, &["system", "prune", "-f", "--volumes", "--filter", "until=1h"]);
    assert!(
        refused.contains("The \"until\" filter is not supported with \"--volumes\""),
        "{refused}"
    );
    let asked = fixture.orlop_with_input(&["system", "prune"], b"\n");
    assert_eq!(
        asked.ok(),
        "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n  \
         - all dangling images\n  - unused build cache\n\nAre you sure you want to continue? [y/N] "
    );
    assert_eq!(fixture.ok(&["ps", "-aq"]).lines().count(), 2);
    let pruned = fixture.orlop_with_input(&["system", "prune", "--volumes"], b"y\n");
    let pruned = pruned.ok();
    assert!(pruned.contains(&format!("Deleted Containers:\n{old}\n\n")), "{pruned}");
    assert!(pruned.contains("Deleted Volumes:\n") && pruned.contains(&anonymous), "{pruned}");
    assert!(!pruned.contains("Deleted Images:"), "{pruned}");
    assert_eq!(fixture.ok(&["volume", "ls", "-q"]), "named\nused");
    fixture.ok(&["rm", "-f", "kept"]);
    let pruned = fixture.ok(&["system", "prune", "-af"]);
    assert!(
        pruned.starts_with("Deleted Images:\nuntagged: busybox:latest\ndeleted: sha256:"),
        "{pruned}"
    );
    assert_eq!(fixture.ok(&["images", "-q"]), "");
    let events =
        fixture.ok(&["events", "--since", "1h", "--until", "0s", "--filter", "event=prune"]);
    for kind in ["container prune", "volume prune", "image prune"] {
        assert!(events.contains(kind), "{events}");
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn directories_without_a_row_and_half_made_layers_are_put_away() {
    let fixture = fixture!(busybox);
    let root = fixture.root();
    let layers = root.join("layers/overlay");
    let dropped = root.join("volumes/dropped/_data");
    for path in [
        root.join("containers").join(STRANGER),
        layers.join(STRANGER),
        root.join("staging/half/diff"),
        dropped.clone(),
    ] {
        std::fs::create_dir_all(path).unwrap();
    }
    std::fs::write(dropped.join("precious"), "kept").unwrap();
    let lines = heal(&fixture);
    let container = root.join("containers").join(STRANGER);
    assert_found(
        &lines,
        &format!("warning: container directory `{}` has no owner", container.display()),
    );
    assert_found(
        &lines,
        &format!("warning: layer directory `{}` has no owner", layers.join(STRANGER).display()),
    );
    assert_found(&lines, "warning: staging directory `half` was abandoned");
    assert_found(&lines, "warning: directory `dropped` is a volume that nobody recorded");
    // Data is never thrown away.
    assert_eq!(fixture.ok(&["volume", "ls", "-q"]), "dropped");
    assert_eq!(std::fs::read_to_string(dropped.join("precious")).unwrap(), "kept");
    assert!(!container.exists() && !layers.join(STRANGER).exists());
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn rows_without_a_directory_are_named_and_those_that_a_power_cut_revived_go() {
    let fixture = fixture!(busybox);
    let lost = fixture.ok(&["create", "--name", "lost", "busybox"]);
    let revived = fixture.ok(&["create", "--name", "revived", "-v", "data:/v", "busybox"]);
    fixture.ok(&["volume", "create", "hollow"]);
    let directory = |id: &str| fixture.root().join("containers").join(id);
    let layer = |id: &str| fixture.root().join("layers/overlay").join(id);
    std::fs::remove_dir_all(layer(&lost)).unwrap();
    std::fs::remove_dir_all(directory(&revived)).unwrap();
    std::fs::remove_dir_all(layer(&revived)).unwrap();
    std::fs::remove_dir_all(fixture.root().join("volumes/hollow")).unwrap();
    let looked = fixture.orlop(&["system", "check", "--repair"]);
    assert_eq!(looked.code, 1, "{looked}");
    for part in [
        format!("error: container lost has lost its writable layer `{}`", layer(&lost).display()),
        "warning: container revived has a row and nothing on the disk: it was removed, and a power cut brought the row \
         back (repaired)"
            .to_owned(),
        "error: volume hollow has lost its directory".to_owned(),
    ] {
        assert!(looked.stdout.contains(&part), "{part:?} in {looked}");
    }
    assert_eq!(fixture.ok(&["ps", "-a", "--format", "{{.Names}}"]), "lost");
    fixture.ok(&["rm", "lost"]);
    fixture.ok(&["volume", "rm", "data", "hollow"]);
    fixture.ok(&["system", "check"]);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn references_that_lead_nowhere_are_cut_and_missing_ones_made() {
    let fixture = fixture!(busybox);
    let id = fixture.ok(&["create", "--name", "one", "-v", "data:/v", "busybox"]);
    let db = database(&fixture);
    db.pragma_update(None, "foreign_keys", false).unwrap();
    db.execute("INSERT INTO container_volumes VALUES (?1, 'nothing')", [&id]).unwrap();
    db.execute("DELETE FROM container_volumes WHERE volume = 'data'", []).unwrap();
    let lines = heal(&fixture);
    assert_found(
        &lines,
        "warning: a row of `container_volumes` refers to `volumes` and leads nowhere",
    );
    assert_found(&lines, "warning: container one mounts volume data without holding it");
    let refused = fixture.fails(1, &["volume", "rm", "data"]);
    assert!(refused.contains(&format!("volume is in use - [{id}]")), "{refused}");

    // What objects stand on cannot be made up.
    db.execute("UPDATE containers SET top_layer = 'sha256:1111111111111111111111111111111111111111111111111111111111111111'", [])
        .unwrap();
    let looked = fixture.orlop(&["system", "check", "--repair"]);
    assert_eq!(looked.code, 1, "{looked}");
    assert!(
        looked
            .stdout
            .contains("error: a row of `containers` refers to `layers` and leads nowhere\n"),
        "{looked}"
    );
    fixture.ok(&["rm", "one"]);
    fixture.ok(&["system", "check"]);
}

/// Number and size of a database's page that begins a table or index.
fn root_page(db: &Connection, name: &str) -> (u64, u64) {
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let page: u64 = db
        .query_row("SELECT rootpage FROM sqlite_master WHERE name = ?1", [name], |row| row.get(0))
        .unwrap();
    let size: u64 = db.query_row("PRAGMA page_size", [], |row| row.get(0)).unwrap();
    ((page - 1) * size, size)
}

fn read_at(path: &Path, (offset, size): (u64, u64)) -> Vec<u8> {
    use std::os::unix::fs::FileExt as _;
    let mut bytes = vec![0; usize::try_from(size).unwrap()];
    std::fs::File::open(path).unwrap().read_exact_at(&mut bytes, offset).unwrap();
    bytes
}

fn write_at(path: &Path, offset: u64, bytes: &[u8]) {
    use std::os::unix::fs::FileExt as _;
    std::fs::File::options().write(true).open(path).unwrap().write_all_at(bytes, offset).unwrap();
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_damaged_index_is_made_anew_and_a_damaged_page_is_told() {
    let fixture = fixture!(busybox);
    let path = fixture.root().join("orlop.db");
    let page = {
        let db = database(&fixture);
        root_page(&db, "containers_by_status")
    };
    let before = read_at(&path, page);
    fixture.ok(&["create", "--name", "one", "busybox"]);
    {
        let db = database(&fixture);
        root_page(&db, "containers_by_status");
    }
    // The index knows nothing of the new row.
    write_at(&path, page.0, &before);
    let lines = heal(&fixture);
    assert!(
        lines.iter().any(|line| line.starts_with("error: the database is damaged: ")
            && line.contains("containers_by_status")),
        "{lines:#?}"
    );
    assert_eq!(fixture.ok(&["ps", "-a", "--format", "{{.Names}}"]), "one");
    fixture.ok(&["rm", "one"]);

    let kept = {
        let db = database(&fixture);
        root_page(&db, "events")
    };
    let whole = read_at(&path, kept);
    write_at(&path, kept.0, &[0xff; 512]);
    let looked = fixture.orlop(&["system", "check", "--repair"]);
    assert_eq!(looked.code, 1, "{looked}");
    assert!(looked.stdout.contains("error: the database is damaged: "), "{looked}");
    assert!(looked.stdout.contains("must come from a backup"), "{looked}");
    // One line that says it once.
    let refused = fixture.fails(1, &["events", "--since", "1h", "--until", "0s"]);
    assert_eq!(refused.matches("malformed").count(), 1, "{refused}");
    write_at(&path, kept.0, &whole);
    fixture.ok(&["system", "check"]);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_blob_or_configuration_that_is_not_what_its_name_says_is_told() {
    let fixture = fixture!(busybox);
    // A packed layer that comes with an archive is kept as it is.
    let archive = fixture.directory("archive").join("packed.tar").display().to_string();
    fixture.ok(&["save", "--compression", "gzip", "-o", &archive, "busybox"]);
    fixture.ok(&["rmi", "busybox"]);
    fixture.ok(&["load", "-i", &archive]);
    fixture.ok(&["system", "check"]);
    let layer = fixture.ok(&["image", "inspect", "-f", "{{index .RootFS.Layers 0}}", "busybox"]);
    let query = "SELECT blob FROM layer_blobs WHERE diff_id = ?1";
    let digest: String = database(&fixture).query_row(query, [&layer], |row| row.get(0)).unwrap();
    let blob = fixture.root().join("content/sha256").join(digest.trim_start_matches("sha256:"));
    let whole = std::fs::read(&blob).unwrap();
    write_at(&blob, 100, b"!?");
    let looked = fixture.orlop(&["system", "check"]);
    assert_eq!(looked.code, 1, "{looked}");
    let text = format!("error: blob `{}` is damaged or gone", blob.display());
    assert!(looked.stdout.contains(&text), "{looked}");
    std::fs::write(&blob, whole).unwrap();
    fixture.ok(&["system", "check"]);

    let id = fixture.ok(&["image", "inspect", "-f", "{{.Id}}", "busybox"]);
    let db = database(&fixture);
    let changed =
        db.execute("UPDATE images SET config = replace(config, 'linux', 'linus')", []).unwrap();
    assert_eq!(changed, 1);
    let looked = fixture.orlop(&["system", "check"]);
    assert_eq!(looked.code, 1, "{looked}");
    assert!(
        looked
            .stdout
            .contains(&format!("error: the configuration of image {id} does not match its id\n")),
        "{looked}"
    );
    db.execute("UPDATE images SET config = replace(config, 'linus', 'linux')", []).unwrap();
    fixture.ok(&["system", "check"]);
}

/// The directory of a container's control group in some hierarchy.
fn group_of(fixture: &Fixture, name: &str, id: &str) -> PathBuf {
    let pid = fixture.ok(&["inspect", "-f", "{{.State.Pid}}", name]);
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = mounts.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        line.contains(" - cgroup").then(|| (PathBuf::from(fields[4]), fields[3].to_owned()))
    });
    for (point, root) in points {
        for line in text.lines() {
            let path = line.splitn(3, ':').nth(2).unwrap();
            let below = path.strip_prefix(root.trim_end_matches('/')).unwrap_or(path);
            let directory = point.join(below.trim_start_matches('/'));
            if below.contains(id) && directory.join("cgroup.procs").exists() {
                return directory;
            }
        }
    }
    panic!("no control group of {id} in {text}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn run_state_and_control_groups_that_nobody_owns_are_removed() {
    let fixture = fixture!(busybox);
    let id = fixture.ok(&["run", "-d", "--name", "one", "busybox", "sleep", "1000"]);
    let group = group_of(&fixture, "one", &id);
    let stale = group.with_file_name(STRANGER);
    std::fs::create_dir(&stale).unwrap();
    // Something still runs in there.
    let mut child = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
    std::fs::write(stale.join("cgroup.procs"), child.id().to_string()).unwrap();
    let run = fixture.run_root();
    std::fs::create_dir_all(run.join("containers").join(STRANGER)).unwrap();
    std::fs::create_dir_all(run.join("volumes/gone")).unwrap();
    fixture.ok(&["volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "mem"]);
    std::fs::create_dir_all(run.join("volumes/mem")).unwrap();
    std::fs::write(run.join("volumes/mem/x-1"), "1 1\n/nowhere").unwrap();
    let lines = heal(&fixture);
    assert_found(&lines, &format!("warning: run state `{STRANGER}` belongs to no container"));
    assert_found(&lines, "warning: the control group of container 000000000000 has no monitor");
    assert_found(&lines, "warning: run state of volume `gone` belongs to no volume");
    assert_found(&lines, "warning: volume mem is noted as mounted by a process that is gone");
    assert!(!stale.exists());
    assert!(!child.wait().unwrap().success(), "it was killed");
    // The living were left alone.
    assert!(group.exists());
    assert_eq!(fixture.ok(&["exec", "one", "echo", "alive"]), "alive");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn info_and_version_have_dockers_layout_and_fields() {
    let fixture = fixture!(busybox);
    fixture.ok(&["create", "busybox"]);
    let text = fixture.ok(&["info"]);
    for part in [
        "Server:\n Containers: 1\n  Running: 0\n  Paused: 0\n  Stopped: 1\n Images: 1\n Server Version: ",
        "\n Storage Driver: overlay\n  Backing Filesystem: ",
        "\n Plugins:\n  Volume: local\n",
        "\n Security Options:\n  seccomp\n   Profile: builtin\n",
        &format!("\n Docker Root Dir: {}\n", fixture.root().display()),
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    assert_eq!(
        fixture.ok(&["info", "-f", "{{.Driver}} {{.ContainersStopped}} {{.OSType}}"]),
        "overlay 1 linux"
    );
    let id = fixture.ok(&["info", "-f", "{{.ID}}"]);
    assert_eq!(id.len(), 36, "{id}");
    assert_eq!(fixture.ok(&["system", "info", "-f", "{{.ID}}"]), id);
    let versions =
        fixture.ok(&["version", "-f", "{{.Client.Version}} {{.Server.Version}} {{.Server.Os}}"]);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(versions, format!("{version} {version} linux"));
}
