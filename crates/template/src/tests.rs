//! Tests of templates over documents and rows.
#![allow(clippy::unwrap_used)]

use serde_json::{Value as Json, json};

use super::*;

fn document() -> Json {
    json!({
        "Id": "0123456789abcdef",
        "Name": "/web",
        "State": {"Status": "running", "Running": true, "Pid": 42, "Error": ""},
        "Config": {
            "Env": ["A=1", "B=2"],
            "Cmd": null,
            "Labels": {"z": "26", "a": "1"},
            "Image": "nginx"
        },
        "HostConfig": {"LogConfig": {"Type": "json-file", "Config": {}}, "Binds": null},
        "Mounts": [
            {"Type": "volume", "Name": "vv", "Source": "/v/vv", "Destination": "/data", "RW": true, "Propagation": ""}
        ],
        "NetworkSettings": {"Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "81/tcp": null}},
        "Size": 3_000_000_000_i64
    })
}

fn render(template: &str) -> String {
    Template::parse(template)
        .and_then(|parsed| parsed.render(&document()))
        .unwrap_or_else(|error| format!("E {error}"))
}

#[test]
fn fields_functions_and_control_flow() {
    for (template, want) in [
        ("{{.Name}} {{.State.Pid}} {{.State.Running}} {{.Size}}", "/web 42 true 3000000000"),
        ("{{json .Config.Env}}", "[\"A=1\",\"B=2\"]"),
        ("{{join .Config.Env \", \"}}", "A=1, B=2"),
        ("{{index (split .Name \"/\") 1}}", "web"),
        ("{{upper .Name}} {{lower \"AB\"}} {{title \"ab cd\"}}", "/WEB ab Ab Cd"),
        ("[{{pad .Name 1 2}}] [{{pad \"\" 1 2}}]", "[ /web  ] []"),
        ("{{truncate .Id 4}} {{truncate .Name 99}}", "0123 /web"),
        ("{{range .Config.Env}}{{println .}}{{end}}", "A=1\nB=2\n"),
        ("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}", "a=1;z=26;"),
        ("{{index .Config.Labels \"a\"}}{{if .State.Health}}h{{else}}-{{end}}", "1-"),
        ("{{index .Config.Labels \"none\"}}|{{index .Config.Env 1}}", "|B=2"),
        ("{{index .NetworkSettings.Ports \"9/tcp\"}}", "<no value>"),
        (
            "{{index .Config.Env 9}}",
            "E template: executing \"\": error calling index: index out of range: 9",
        ),
        (
            "{{range $p, $b := .NetworkSettings.Ports}}{{$p}}:{{len $b}} {{end}}",
            "80/tcp:1 81/tcp:0 ",
        ),
        ("{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}", "8080"),
        (
            "{{with .Config}}{{.Image}}{{end}} {{printf \"%.3s\" .Id}} {{len .Mounts}}",
            "nginx 012 1",
        ),
        ("a\\tb\\n", "a\tb\n"),
    ] {
        assert_eq!(render(template), want, "{template}");
    }
}

#[test]
fn structs_print_as_go_prints_them() {
    for (template, want) in [
        ("{{.Mounts}}", "[{volume vv /v/vv /data true }]"),
        ("{{.State}}", "{running true 42 }"),
        ("{{range .Mounts}}{{.}}{{end}}", "{volume vv /v/vv /data true }"),
        ("{{printf \"%v!\" .State}}", "{running true 42 }!"),
        ("{{.Config.Labels}}", "map[a:1 z:26]"),
        ("{{.HostConfig}}", "{{json-file map[]} []}"),
        ("{{.Config.Cmd}} {{.HostConfig.Binds}}", "[] []"),
        ("{{.NetworkSettings}}", "{map[80/tcp:[{0.0.0.0 8080}] 81/tcp:[]]}"),
        ("{{.NetworkSettings.Ports}}", "map[80/tcp:[{0.0.0.0 8080}] 81/tcp:[]]"),
    ] {
        assert_eq!(render(template), want, "{template}");
    }
}

#[test]
fn json_keeps_the_order_of_fields_and_null() {
    assert_eq!(render("{{json .}}"), document().to_string());
    assert_eq!(
        render("{{json .State}}"),
        "{\"Status\":\"running\",\"Running\":true,\"Pid\":42,\"Error\":\"\"}"
    );
    assert_eq!(
        render("{{json .Config.Cmd}} {{json .Config.Labels}}"),
        "null {\"a\":\"1\",\"z\":\"26\"}"
    );
    assert_eq!(
        render("{{json .NetworkSettings.Ports}}"),
        document()["NetworkSettings"]["Ports"].to_string()
    );
    assert_eq!(
        render("{{json .Name}}{{json .State.Pid}}{{json .Config.Healthcheck}}"),
        "\"/web\"42null"
    );
}

#[test]
fn errors_name_the_field() {
    assert_eq!(render("{{.Foo}}"), "E template: executing \"\": map has no entry for key \"Foo\"");
    assert_eq!(
        render("{{.Config.Foo}}"),
        "E template: executing \"\": map has no entry for key \"Foo\""
    );
    assert_eq!(
        render("{{.Name.Foo}}"),
        "E template: executing \"\": can't evaluate field Foo in type string"
    );
    assert_eq!(
        render("{{join .Name \",\"}}"),
        "E template: executing \"\": wrong type for value; expected []string"
    );
    assert_eq!(
        render("{{range .State}}{{.}}{{end}}"),
        "E template: executing \"\": range can't iterate over a struct"
    );
    assert!(
        render("{{.Name").starts_with("E template parsing error: template: "),
        "{}",
        render("{{.Name")
    );
    assert!(render("{{nosuch .}}").contains("nosuch"), "{}", render("{{nosuch .}}"));
}

fn rows() -> (Json, Vec<Json>) {
    (
        json!({"ID": "CONTAINER ID", "Names": "NAMES", "Image": "IMAGE"}),
        vec![
            json!({"ID": "0123", "Names": "web", "Image": "a-rather-long-image:1"}),
            json!({"ID": "4567", "Names": "db", "Image": "b"}),
        ],
    )
}

#[test]
fn tables_have_headings_and_three_spaces() {
    let (headings, rows) = rows();
    let list =
        |format: &str| ListTemplate::parse(format).and_then(|list| list.render(&headings, &rows));
    assert_eq!(
        list("table {{.ID}}\\t{{.Image}}\\t{{.Names}}").unwrap(),
        "CONTAINER ID   IMAGE                   NAMES\n\
         0123           a-rather-long-image:1   web\n\
         4567           b                       db\n"
    );
    assert_eq!(
        list("table {{upper .Names}}\t{{.ID}}").unwrap(),
        "NAMES     CONTAINER ID\nWEB       0123\nDB        4567\n"
    );
    assert_eq!(list("{{.ID}}:{{.Names}}").unwrap(), "0123:web\n4567:db\n");
    assert_eq!(list("{{json .Image}}").unwrap(), "\"a-rather-long-image:1\"\n\"b\"\n");
    assert_eq!(
        list("{{.Nope}}").unwrap_err().to_string(),
        "template: executing \"\": can't evaluate field Nope"
    );
}

#[test]
fn columns_reach_over_neighbouring_lines() {
    assert_eq!(
        align("a\tb\nlong cell here\tc\nplain\nx\ty"),
        "a                b\nlong cell here   c\nplain\nx         y"
    );
    assert_eq!(align(""), "");
    assert_eq!(align("é\tx"), "é         x");
}
