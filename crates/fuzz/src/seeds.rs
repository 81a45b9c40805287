//! Inputs to begin with, and the words that inputs are made of.

use std::io::Write as _;

use orlop_testkit::corpus;
use orlop_testkit::tar::{Entry, HARD_LINK, SYMLINK, Tar};

pub(crate) const DOCKERFILE_WORDS: &[&str] = &[
    "FROM ",
    "RUN ",
    "COPY ",
    "ADD ",
    "ENV ",
    "ARG ",
    "LABEL ",
    "CMD ",
    "ENTRYPOINT ",
    "ONBUILD ",
    "SHELL ",
    "HEALTHCHECK ",
    "VOLUME ",
    "WORKDIR ",
    "USER ",
    "EXPOSE ",
    "STOPSIGNAL ",
    " AS ",
    "--from=",
    "--mount=",
    "--chown=",
    "--chmod=",
    "--link",
    "--parents",
    "--exclude=",
    "--checksum=",
    "--interval=",
    "type=bind,",
    "type=cache,",
    "target=",
    "# escape=`\n",
    "# syntax=",
    "# check=skip=",
    "<<EOF\n",
    "<<-\"E\"\n",
    "EOF\n",
    "\\\n",
    "\r\n",
    "[\"",
    "\"]",
    "${",
    "}",
    ":-",
    "\u{feff}",
    "#",
    "'",
    "\"",
    "\t",
    "scratch",
    "é",
    "NONE",
    "CMD",
];

pub(crate) const SUBSTITUTION_WORDS: &[&str] = &[
    "$", "${", "}", ":-", ":+", ":?", "-", "+", "?", "#", "##", "%", "%%", "/", "//", "A", "EMPTY",
    "PATH", "NONE", "'", "\"", "\\", "`", "*", "@", "1", " ", "é", "[", "]", "(", ".",
];

pub(crate) const IGNORE_WORDS: &[&str] = &[
    "*", "**", "**/", "/**", "!", "?", "[a-z]", "[^", "]", "\\", "/", "..", "./", "#", "\n", "\0",
    "a", "b", "é",
];

pub(crate) const ARCHIVE_WORDS: &[&str] = &[
    "ustar\u{0}00",
    "ustar  \u{0}",
    "../",
    "/",
    ".wh.",
    ".wh..wh..opq",
    "SCHILY.xattr.",
    "GNU.sparse.major=1\n",
    "GNU.sparse.map=",
    "path=",
    "linkpath=",
    "size=",
    "security.capability",
    "00000000777",
    "77777777777",
    "\u{0}\u{0}\u{0}\u{0}",
];

pub(crate) const MANIFEST_WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "null",
    "-1",
    "1e400",
    "18446744073709551616",
    "\"mediaType\":",
    "\"schemaVersion\":2",
    "\"manifests\":",
    "\"config\":",
    "\"layers\":",
    "\"digest\":",
    "\"size\":",
    "\"platform\":",
    "\"annotations\":",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "manifest.json\n",
    "index.json\n",
    "oci-layout\n",
    "blobs/sha256/",
    "\u{0}",
    "../",
    "\\u0000",
];

pub(crate) const CONFIG_WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "null",
    "true",
    "-1",
    "1e400",
    "\"config\":",
    "\"Env\":",
    "\"Cmd\":",
    "\"ExposedPorts\":",
    "\"Volumes\":",
    "\"Healthcheck\":",
    "\"Interval\":",
    "\"history\":",
    "\"empty_layer\":",
    "\"rootfs\":",
    "\"diff_ids\":",
    "\"OnBuild\":",
];

pub(crate) const HEADER_WORDS: &[&str] = &[
    "Bearer ",
    "Basic ",
    "realm=",
    "service=",
    "scope=",
    "error=",
    "\"",
    "\\\"",
    ",",
    "=",
    " ",
    "repository:a/b:pull,push",
    "https://",
    "identitytoken",
    "{",
    "}",
    ":",
    "dXNlcjpwYXNz",
    "é",
];

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Content of all files of the corpus whose name ends so.
fn of_corpus(ending: &str) -> Vec<Vec<u8>> {
    let topics = corpus::topics();
    let cases = topics.iter().flat_map(|topic| corpus::cases(topic).unwrap_or_default());
    let entries = cases.flat_map(|case| case.entries);
    entries
        .filter(|entry| entry.path.ends_with(ending))
        .filter_map(|entry| match entry.kind {
            corpus::case::EntryKind::File(content) => Some(content.into_bytes()),
            _ => None,
        })
        .collect()
}

/// Every Dockerfile of the corpus.
pub(crate) fn dockerfiles() -> Vec<Vec<u8>> {
    of_corpus("ockerfile")
}

/// Words with variables.
pub(crate) fn substitutions() -> Vec<Vec<u8>> {
    texts(&[
        "$A-${A}x",
        "${NONE:-${A:+b}}",
        "'$A' \"$A\" \\$A",
        "${PATH##*/} ${PATH%.*}",
        "${PATH//l/x} ${PATH/u?r/}",
        "${A:?why}",
        "${",
        "${A",
        "${A^}",
        "$1 $@ ${*}",
        "a\"b'c\"d",
        "`$A",
    ])
}

/// Every ignore file of the corpus, and some with paths to ask about.
pub(crate) fn ignores() -> Vec<Vec<u8>> {
    let mut seeds = of_corpus(".dockerignore");
    seeds.extend(texts(&[
        "*\n!a/b\n\0a/b\0a/c\0a",
        "**/*.o\n!**/keep.o\nd\0d/x.o\0x/keep.o\0keep.o",
        "a[b-d]*\n\\!x\n/rooted\0abx\0!x\0rooted\0d/rooted",
        "d/**\n!d/*/y\0d/x/y\0d/x\0d",
    ]));
    seeds
}

/// Archives; the first byte is not theirs.
pub(crate) fn archives() -> Vec<Vec<u8>> {
    let entry = |name, kind, link| Entry { name, kind, link, ..Entry::default() };
    let archives = [
        Tar::new().directory("d/").file("d/f", b"hello").symlink("l", "d/f").hard_link("h", "d/f"),
        Tar::new()
            .pax(&[("path", "a/long/name"), ("SCHILY.xattr.user.k", "v"), ("mtime", "1.5")])
            .file("short", b"x"),
        Tar::new().file("d/.wh.gone", b"").file("d/.wh..wh..opq", b"").file("d/x", b"y"),
        Tar::new()
            .file("../../up", b"x")
            .file("/abs", b"y")
            .symlink("l", "/")
            .file("l/through", b"z"),
        Tar::new()
            .entry(entry("one", SYMLINK, "two"))
            .entry(entry("two", SYMLINK, "one"))
            .entry(entry("one/f", b'0', ""))
            .entry(entry("h", HARD_LINK, "../../../etc/passwd")),
        Tar::new()
            .entry(entry("fifo", b'6', ""))
            .entry(entry("null", b'3', ""))
            .entry(entry("odd", b'Z', ""))
            .entry(Entry { mode: 0o6777, uid: 7, gid: 8, ..entry("owned", b'0', "") }),
        Tar::new()
            .entry(Entry {
                name: "@LongLink",
                kind: b'L',
                content: &[b'n'; 300],
                ..Entry::default()
            })
            .file("n", b"x"),
        Tar::new()
            .pax(&[
                ("GNU.sparse.major", "1"),
                ("GNU.sparse.minor", "0"),
                ("GNU.sparse.name", "s"),
                ("GNU.sparse.realsize", "4096"),
            ])
            .file("s", b"1\n0\n5\nhello"),
        Tar::new().entry(Entry { claimed_size: Some(1 << 33), ..entry("liar", b'0', "") }),
    ];
    archives
        .into_iter()
        .flat_map(|tar| {
            let bytes = tar.finish();
            [0, 1].map(|flag| [&[flag][..], &bytes].concat())
        })
        .collect()
}

/// Streams of each compression whose writer is at hand, and the beginnings of the others.
pub(crate) fn compressed() -> Vec<Vec<u8>> {
    let tar = Tar::new().file("f", &b"hello ".repeat(100)).finish();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // Writing to memory does not fail.
    let _ = gzip.write_all(&tar);
    let mut seeds = vec![tar.clone()];
    seeds.extend(gzip.finish());
    seeds.extend(zstd::encode_all(tar.as_slice(), 1));
    seeds.push(b"BZh91AY&SY\x94$|\x0e\x00\x00\x00\x81\x00\x03@\x00 \x00!\x9ah3M\x13<]\xc9\x14\xe1BBP\x91\xf08".to_vec());
    seeds
        .push(b"\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4F\x02\x00!\x01\x16\x00\x00\x00t/\xe5\xa3".to_vec());
    seeds
}

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn manifest() -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{DIGEST}","size":2}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{DIGEST}","size":7,"urls":["http://x/y"],"annotations":{{"a":"b"}}}}]}}"#
    )
}

fn index() -> String {
    format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{DIGEST}","size":7,"platform":{{"architecture":"arm64","os":"linux","variant":"v8"}}}},{{"digest":"{DIGEST}","size":7,"annotations":{{"org.opencontainers.image.ref.name":"a:b"}}}}]}}"#
    )
}

/// Manifests and indexes.
pub(crate) fn manifests() -> Vec<Vec<u8>> {
    let old = r#"{"schemaVersion":1,"name":"a","fsLayers":[{"blobSum":"x"}]}"#.to_owned();
    [manifest(), index(), old].map(String::into_bytes).to_vec()
}

const CONFIG: &str = r#"{"architecture":"amd64","os":"linux","author":"a","created":"2020-02-02T02:02:02.5Z","config":{"User":"u","ExposedPorts":{"80/tcp":{}},"Env":["A=1"],"Entrypoint":["e"],"Cmd":null,"Volumes":{"/v":{}},"WorkingDir":"/w","Labels":{"l":"1"},"StopSignal":"INT","StopTimeout":3,"Healthcheck":{"Test":["CMD-SHELL","x"],"Interval":5000000000,"Retries":3},"OnBuild":["RUN x"],"Shell":["/bin/sh","-c"],"ArgsEscaped":true},"rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]},"history":[{"created":"2020-02-02T02:02:02Z","created_by":"RUN x","comment":"c","author":"a"},{"empty_layer":true}]}"#;

/// Configurations of images.
pub(crate) fn configs() -> Vec<Vec<u8>> {
    texts(&[
        CONFIG,
        r#"{"architecture":"","os":"linux","rootfs":{"type":"layers","diff_ids":null}}"#,
    ])
}

/// Archives of images, member by member.
pub(crate) fn image_archives() -> Vec<Vec<u8>> {
    // The digest of the empty configuration `{}`.
    const EMPTY: &str = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    let docker = format!(
        "manifest.json\n[{{\"Config\":\"c.json\",\"RepoTags\":[\"a:b\"],\"Layers\":[\"l/layer.tar\"]}}]\0c.json\n{CONFIG}\0l/layer.tar\nx"
    );
    let layout = format!(
        "oci-layout\n{{\"imageLayoutVersion\":\"1.0.0\"}}\0index.json\n{}\0blobs/sha256/{EMPTY}\n{{}}\0docker.io/library/x:y\n",
        index()
    );
    vec![docker.into_bytes(), layout.into_bytes()]
}

/// Headers, tokens and lists.
pub(crate) fn headers() -> Vec<Vec<u8>> {
    texts(&[
        r#"Bearer realm="https://auth.example.org/token",service="registry",scope="repository:a/b:pull,push""#,
        r#"Basic realm="a \"quoted\" place", Bearer realm=x"#,
        "dXNlcjpwYXNz",
        "eyJ1c2VybmFtZSI6InUiLCJwYXNzd29yZCI6InAifQ==",
        "localhost,.example.org,10.0.0.0/8,[::1]:5000,*",
        "</v2/_catalog?last=a&n=1>; rel=\"next\"",
        "bytes 5-9/10",
        "Wed, 21 Oct 2015 07:28:00 GMT",
        r#"{"errors":[{"code":"DENIED","message":"no \u001b[1m","detail":null}]}"#,
        r#"{"details":"wrong password"}"#,
        r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dXNlcjpwYXNz"}},"credHelpers":{"x":"y"}}"#,
    ])
}
