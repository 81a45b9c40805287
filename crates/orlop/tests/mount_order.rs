//! Random lists of mounts: a container has them all, parents before what lies in them, and what it
//! sees in `/proc/self/mountinfo` is what the mount plan says.
#![allow(clippy::unwrap_used)]

use orlop_testkit::{Fixture, Random, fixture};

const LISTS: u64 = 24;

/// A path of one to four short names, so that paths meet and nest.
fn path(random: &mut Random) -> String {
    (0..=random.below(4)).map(|_| format!("/{}", random.pick(&["m1", "m2", "deep"]))).collect()
}

/// What a list asks for: target, type of the file system or the volume's name, and whether it is
/// read-only.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    target: String,
    source: String,
    read_only: bool,
}

/// Mount points of a container below `/m…` and `/deep`, in order: path, what is mounted, mode.
fn seen(mountinfo: &str) -> Vec<Wanted> {
    let lines = mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let fields: Vec<&str> = before.split(' ').collect();
        let (root, target) = (fields[3], fields[4]);
        let is_ours = ["/m1", "/m2", "/deep"].iter().any(|top| target.starts_with(top));
        let kind = after.split(' ').next()?;
        let source = match root.rsplit_once("/_data") {
            Some((volume, _)) => volume.rsplit('/').next()?.to_owned(),
            None if kind == "tmpfs" => "tmpfs".to_owned(),
            None => root.rsplit('/').next()?.to_owned(),
        };
        let read_only = fields[5].split(',').any(|word| word == "ro");
        is_ours.then(|| Wanted { target: target.to_owned(), source, read_only })
    });
    lines.collect()
}

/// One list: words for `run`, and what must come of them by target.
fn random_list(random: &mut Random, bind: &str, number: u64) -> (Vec<String>, Vec<Wanted>) {
    let mut words = Vec::new();
    let mut wanted: Vec<Wanted> = Vec::new();
    for entry in 0..2 + random.below(5) {
        let target = path(random);
        if wanted.iter().any(|other| other.target == target) {
            continue;
        }
        // A mount point in a read-only parent could not be made.
        let has_child_later = random.below(3) > 0;
        let below_read_only =
            wanted.iter().any(|other| other.read_only && target.starts_with(&other.target));
        if below_read_only {
            continue;
        }
        let read_only =
            !has_child_later && wanted.iter().all(|other| !other.target.starts_with(&target));
        let mode = if read_only { ":ro" } else { "" };
        let volume = format!("v{number}-{entry}");
        let source = match random.below(4) {
            0 => {
                words.extend(["-v".to_owned(), format!("{volume}:{target}{mode}")]);
                volume
            }
            1 => {
                let ro = if read_only { ",readonly" } else { "" };
                let mount = format!("type=volume,src={volume},dst={target}/{ro}");
                words.extend(["--mount".to_owned(), mount]);
                volume
            }
            2 => {
                words.extend(["-v".to_owned(), format!("{bind}:{target}{mode}")]);
                bind.rsplit('/').next().unwrap().to_owned()
            }
            _ => {
                let option = if read_only { ":ro" } else { "" };
                words.extend(["--tmpfs".to_owned(), format!("{target}{option}")]);
                "tmpfs".to_owned()
            }
        };
        wanted.push(Wanted { target, source, read_only });
    }
    // Children of a read-only parent that was chosen after them cannot be mounted either.
    wanted.sort_by(|one, other| {
        let key = |entry: &Wanted| (entry.target.matches('/').count(), entry.target.clone());
        key(one).cmp(&key(other))
    });
    (words, wanted)
}

#[track_caller]
fn mounted(fixture: &Fixture, words: &[String]) -> Vec<Wanted> {
    let options: Vec<&str> = words.iter().map(String::as_str).collect();
    let command = ["busybox", "cat", "/proc/self/mountinfo"];
    let text = fixture.ok(&[&["run", "--rm"], options.as_slice(), &command].concat());
    seen(&text)
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn random_lists_are_mounted_as_planned() {
    let fixture = fixture!(busybox);
    for number in 1..=LISTS {
        let mut random = Random(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // Each list has its own: mount points are made in it.
        let bind = fixture.directory(&format!("bind{number}"));
        let (words, wanted) = random_list(&mut random, bind.to_str().unwrap(), number);
        assert_eq!(mounted(&fixture, &words), wanted, "list {number}: {words:?}");
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn inherited_and_declared_mounts_find_their_place() {
    let fixture = fixture!();
    let tar = fixture.busybox_tar();
    let changes =
        ["--change", "VOLUME /m1/declared", "--change", "VOLUME /deep", "--change", "CMD [\"sh\"]"];
    fixture.ok(&[&["import"], changes.as_slice(), &[tar.as_str(), "busybox"]].concat());
    fixture.ok(&[
        "create",
        "--name",
        "other",
        "-v",
        "from-other:/m1",
        "-v",
        "lost:/m2/x",
        "busybox",
    ]);
    let words =
        ["--volumes-from", "other", "-v", "mine:/m2/x", "-v", "named:/deep", "--tmpfs", "/m1/m1"];
    let words: Vec<String> = words.map(str::to_owned).to_vec();
    let found = mounted(&fixture, &words);
    let told: Vec<(&str, &str)> =
        found.iter().map(|entry| (entry.target.as_str(), entry.source.as_str())).collect();
    let declared = found.iter().find(|entry| entry.target == "/m1/declared").unwrap();
    let want = [
        ("/deep", "named"),
        ("/m1", "from-other"),
        ("/m1/declared", declared.source.as_str()),
        ("/m1/m1", "tmpfs"),
        ("/m2/x", "mine"),
    ];
    assert_eq!(told, want);
    // The declared volume is the one that `other` has had made.
    let theirs = fixture.ok(&[
        "inspect",
        "--format",
        "{{range .Mounts}}{{.Name}} {{.Destination}}\n{{end}}",
        "other",
    ]);
    assert!(theirs.contains(&format!("{} /m1/declared", declared.source)), "{theirs}");
}

/// What Docker 28.5 made of fifty random lists: the words of `run`, then every mount below `/m…` and
/// `/deep` as `target=source,mode` by depth and name, or the exit code.
const DOCKER: &str = include_str!("goldens/mount_order_docker_28.txt");

/// Lists with a tmpfs and a volume for one target: Docker lets the tmpfs win without a word.
const REFUSED_HERE: &[usize] = &[26];

/// One line as it stands in the goldens.
fn line_of(mounts: &[Wanted]) -> String {
    let told = mounts.iter().map(|entry| {
        let is_random = entry.source.len() == 64;
        let source = if is_random { "anonymous" } else { &entry.source };
        format!("{}={source},{}", entry.target, if entry.read_only { "ro" } else { "rw" })
    });
    told.collect::<Vec<_>>().join(" ")
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn random_lists_give_what_docker_gives() {
    let fixture = fixture!();
    let tar = fixture.busybox_tar();
    fixture.busybox();
    let changes = ["--change", "VOLUME /m1/declared", "--change", "VOLUME /deep"];
    fixture.ok(&[&["import"], changes.as_slice(), &[tar.as_str(), "declares"]].concat());
    let words =
        ["create", "--name", "other", "-v", "oth1:/m1", "-v", "oth2:/m2/m2:ro", "busybox", "sh"];
    fixture.ok(&words);
    let mut different = Vec::new();
    for (number, line) in DOCKER.lines().enumerate() {
        let (words, want) = line.split_once(" => ").unwrap();
        let bind = fixture.directory(&format!("{number}/bind"));
        let words = words.replace("BIND", bind.to_str().unwrap());
        let mut command = vec!["run", "--rm"];
        command.extend(words.split(' '));
        command.extend(["cat", "/proc/self/mountinfo"]);
        let output = fixture.orlop(&command);
        let found = match output.code {
            0 => line_of(&seen(&output.stdout)),
            code => format!("fails {code}"),
        };
        if REFUSED_HERE.contains(&(number + 1)) {
            assert!(
                output.stderr.contains("Duplicate mount point"),
                "list {}: {output}",
                number + 1
            );
        } else if found != want {
            different
                .push(format!("list {}: {words}\n  docker {want}\n  orlop  {found}", number + 1));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}
