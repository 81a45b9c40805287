//! One row for each rule of the specification's table.
#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn words_name_a_container_only_before_a_plain_colon() {
    let argument = |container: Option<&str>, path: &str| Argument {
        container: container.map(str::to_owned),
        path: path.to_owned(),
    };
    for (word, want) in [
        ("web:/x", argument(Some("web"), "/x")),
        ("web:x", argument(Some("web"), "x")),
        ("web:", argument(Some("web"), "")),
        ("web:/a:b", argument(Some("web"), "/a:b")),
        ("/a:b", argument(None, "/a:b")),
        ("./a:b", argument(None, "./a:b")),
        ("..:b", argument(None, "..:b")),
        ("-", argument(None, "-")),
        (":x", argument(None, "x")),
        ("a b:/x", argument(Some("a b"), "/x")),
    ] {
        assert_eq!(Argument::parse(word), want, "{word}");
    }
}

#[test]
fn a_copy_has_one_container() {
    let refused =
        |source, destination| Direction::parse(source, destination).unwrap_err().to_string();
    assert_eq!(refused("a:/x", "b:/x"), "copying between containers is not supported");
    assert_eq!(refused("/x", "/y"), "must specify at least one container source");
    assert_eq!(refused("", "b:/x"), "source can not be empty");
    assert_eq!(refused("a:/x", ""), "destination can not be empty");
    assert_eq!(
        Direction::parse("-", "c:/x").unwrap(),
        Direction::In {
            container: "c".to_owned(),
            source: "-".to_owned(),
            destination: "/x".to_owned()
        }
    );
}

#[test]
fn paths_are_cleaned_as_go_does() {
    for (path, cleaned, last, parts) in [
        ("/a/b", "/a/b", "b", ("/a", "b")),
        ("/a/b/", "/a/b", "b", ("/a", "b")),
        ("/a/b/.", "/a/b", ".", ("/a/b", ".")),
        ("/a/../b", "/b", "b", ("/", "b")),
        ("/../..", "/", "..", ("/", "/")),
        ("../../x", "../../x", "x", ("../..", "x")),
        ("/", "/", "/", ("/", "/")),
        ("", ".", ".", (".", ".")),
        (".", ".", ".", (".", ".")),
        ("a//b", "a/b", "b", ("a", "b")),
    ] {
        assert_eq!(clean(path), cleaned, "clean {path}");
        assert_eq!(base(path), last, "base {path}");
        assert_eq!(split(path), (parts.0.to_owned(), parts.1.to_owned()), "split {path}");
    }
    for (path, want) in [
        ("data", "/data"),
        ("/data/", "/data/"),
        ("data/.", "/data/."),
        ("../../etc", "/etc"),
        ("/", "/"),
        (".", "/."),
        ("a/..", "/"),
    ] {
        assert_eq!(inside(path), want, "{path}");
    }
}

#[test]
fn every_row_of_the_table() {
    let nothing = There::Nothing;
    let ok = |directory: &str, name: Option<&str>| {
        Ok(Placement { directory: directory.to_owned(), name: name.map(str::to_owned) })
    };
    let error = |text: &str| Err(ParseError::new(text));
    let rows = [
        // Source, is it a directory, destination, what is there, what happens.
        ("/src/f", false, "/dst/new", nothing, ok("/dst", Some("new"))),
        ("/src/f", false, "/dst/new/", nothing, error("no such directory")),
        ("/src/f", false, "/dst/new/.", nothing, error("no such directory")),
        ("/src/f", false, "/dst/old", There::File, ok("/dst", Some("old"))),
        ("/src/f", false, "/dst", There::Directory, ok("/dst", None)),
        ("/src/f", false, "/dst/", There::Directory, ok("/dst/", None)),
        ("/src/d", true, "/dst/new", nothing, ok("/dst", Some("new"))),
        ("/src/d", true, "/dst/new/", nothing, ok("/dst", Some("new"))),
        ("/src/d", true, "/dst/old", There::File, error("cannot copy directory")),
        ("/src/d", true, "/dst", There::Directory, ok("/dst", None)),
        ("/src/d/.", true, "/dst", There::Directory, ok("/dst", None)),
        ("/src/d/.", true, "/dst/new", nothing, ok("/dst", Some("new"))),
        ("/src/d/.", true, "/dst/old", There::File, error("cannot copy directory")),
        ("/src/d/", true, "/dst", There::Directory, ok("/dst", None)),
        ("/src/link", false, "/dst", There::Directory, ok("/dst", None)),
        ("/src/link", false, "/dst/new", nothing, ok("/dst", Some("new"))),
        ("/", true, "/dst/new", nothing, ok("/dst", Some("new"))),
    ];
    for (path, is_directory, destination, there, want) in rows {
        let source = Source { path: path.to_owned(), is_directory, name: None };
        let place = place(&source, &Destination { path: destination.to_owned(), there });
        assert_eq!(
            place.map_err(|error| error.to_string()),
            want.map_err(|error: ParseError| error.to_string()),
            "{path} to {destination}, {there:?}"
        );
    }
}

#[test]
fn names_in_archives() {
    let name = |path: &str, name: Option<&str>| {
        Source { path: path.to_owned(), is_directory: true, name: name.map(str::to_owned) }
            .archive_name()
    };
    assert_eq!(name("/a/d", None), "d");
    assert_eq!(name("/a/d/", None), "d");
    assert_eq!(name("/a/d/.", None), ".");
    assert_eq!(name("/", None), "/");
    assert_eq!(name("/a/target/", Some("link")), "link");
    assert_eq!(followed("/a/link", "/b/t"), ("/b/t".to_owned(), Some("link".to_owned())));
    assert_eq!(followed("/a/link/", "/b/t"), ("/b/t/".to_owned(), Some("link".to_owned())));
    assert_eq!(followed("/a/link/.", "/b/t"), ("/b/t/.".to_owned(), None));
    assert_eq!(followed("/a/t", "/b/t"), ("/b/t".to_owned(), None));
}
