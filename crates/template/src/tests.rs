//! Tests of templates over documents and rows. The expectations are what Docker 28.5 prints for the
//! same documents.
#![allow(clippy::unwrap_used)]

use serde_json::{Value as Json, json};

use super::*;

/// A running container with a health check, and one that never ran.
fn containers() -> [Json; 2] {
    let running = json!({
        "Id": "02392060c6d0955a", "Created": "2026-11-21T15:12:37.277148519Z", "Path": "sleep", "Args": ["3000"],
        "State": {
            "Status": "running", "Running": true, "Paused": false, "Restarting": false, "OOMKilled": false,
            "Dead": false, "Pid": 19415, "ExitCode": 0, "Error": "", "StartedAt": "2026-11-21T15:12:37.291282979Z",
            "FinishedAt": "0001-01-01T00:00:00Z",
            "Health": {"Status": "healthy", "FailingStreak": 0, "Log": []}
        },
        "Name": "/outpa", "ExecIDs": null,
        "HostConfig": {
            "Binds": ["outpvol:/data", "/tmp/outp:/host:ro"], "LogConfig": {"Type": "json-file", "Config": {}},
            "NetworkMode": "bridge", "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8099"}]},
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}, "CapAdd": null, "Memory": 0, "NanoCpus": 5,
            "PidsLimit": null, "Ulimits": null, "Devices": [], "Tmpfs": {"/t": ""}
        },
        "GraphDriver": {"Data": {"ID": "0239"}, "Name": "overlay2"},
        "Mounts": [
            {"Type": "volume", "Name": "outpvol", "Source": "/volumes/outpvol/_data", "Destination": "/data",
             "Driver": "local", "Mode": "z", "RW": true, "Propagation": ""},
            {"Type": "bind", "Source": "/tmp/outp", "Destination": "/host", "Mode": "ro", "RW": false,
             "Propagation": "rprivate"}
        ],
        "Config": {
            "Env": ["A=1"], "Cmd": ["sleep", "3000"], "Entrypoint": null, "Image": "busybox", "Volumes": null,
            "ExposedPorts": {"80/tcp": {}, "81/tcp": {}}, "Labels": {"a": "1", "b": "x y"}, "Tty": false,
            "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 1_000_000_000}
        },
        "NetworkSettings": {
            "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8099"}, {"HostIp": "::", "HostPort": "8099"}],
                      "81/tcp": null},
            "Gateway": "172.17.0.1", "IPAddress": "172.17.0.2", "Networks": {"bridge": {"IPAddress": "172.17.0.2"}}
        }
    });
    let created = json!({
        "Id": "07d6b647a0c1ac55", "Name": "/outpb", "Args": ["-c", "echo hi there"], "ExecIDs": null,
        "State": {"Status": "created", "Running": false, "Pid": 0, "ExitCode": 0, "Error": ""},
        "HostConfig": {"Binds": null, "NetworkMode": "bridge", "PortBindings": {}, "Memory": 0},
        "Mounts": [], "Config": {"Env": null, "Labels": {}, "Cmd": ["sh"], "Volumes": {"/anon": {}}},
        "NetworkSettings": {"Ports": {}, "Networks": {"bridge": {"IPAddress": ""}}}
    });
    [running, created]
}

fn render(template: &str, document: &Json) -> String {
    Template::parse(template)
        .and_then(|parsed| parsed.render(document))
        .unwrap_or_else(|error| format!("E {error}"))
}

#[test]
fn inspect_prints_what_docker_prints() {
    let [running, created] = containers();
    for (template, want, of_created) in [
        (
            "{{.Mounts}}",
            "[{volume outpvol /volumes/outpvol/_data /data local z true } {bind  /tmp/outp /host  ro false rprivate}]",
            "[]",
        ),
        ("{{range .Mounts}}{{.Destination}} {{.Name}};{{end}}", "/data outpvol;/host ;", ""),
        (
            "{{.State.Health.Status}}",
            "healthy",
            "E template: :1:8: executing \"\" at <.State.Health.Status>: map has no entry for key \"Health\"",
        ),
        ("{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}", "healthy", "none"),
        ("{{with .State.Health}}{{.Status}}{{else}}no{{end}}", "healthy", "no"),
        ("{{.HostConfig.RestartPolicy}}", "{no 0}", "{ 0}"),
        ("{{.HostConfig.PortBindings}}", "map[80/tcp:[{ 8099}]]", "map[]"),
        ("{{.HostConfig.Binds}}", "[outpvol:/data /tmp/outp:/host:ro]", "[]"),
        (
            "{{.HostConfig.Tmpfs}} {{.HostConfig.LogConfig}}",
            "map[/t:] {json-file map[]}",
            "map[] { map[]}",
        ),
        ("{{.NetworkSettings.Ports}}", "map[80/tcp:[{0.0.0.0 8099} {:: 8099}] 81/tcp:[]]", "map[]"),
        (
            "{{range $k, $v := .NetworkSettings.Networks}}{{$k}} {{$v.IPAddress}}{{end}}",
            "bridge 172.17.0.2",
            "bridge ",
        ),
        ("{{.NetworkSettings.Networks.bridge.IPAddress}}", "172.17.0.2", ""),
        (
            "{{index .NetworkSettings.Ports \"80/tcp\"}}",
            "[map[HostIp:0.0.0.0 HostPort:8099] map[HostIp::: HostPort:8099]]",
            "<no value>",
        ),
        (
            "{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}",
            "8099",
            "E template: :1:3: executing \"\" at <index (index .NetworkSettings.Ports \"80/tcp\") 0>: error calling index: index of untyped nil",
        ),
        (
            "{{.Config.Labels}} {{index .Config.Labels \"a\"}}|{{index .Config.Labels \"zz\"}}",
            "map[a:1 b:x y] 1|",
            "map[] |",
        ),
        (
            "{{.Config.Env}} {{.Config.Cmd}} {{.Config.Entrypoint}}",
            "[A=1] [sleep 3000] []",
            "[] [sh] []",
        ),
        (
            "{{json .Config.Entrypoint}} {{json .Config.Labels}}",
            "null {\"a\":\"1\",\"b\":\"x y\"}",
            "null {}",
        ),
        ("{{.Config.Healthcheck}}", "{[CMD-SHELL true] 1s 0s 0s 0s 0}", "<nil>"),
        (
            "{{.Config.Volumes}} {{.Config.ExposedPorts}}",
            "map[] map[80/tcp:{} 81/tcp:{}]",
            "map[/anon:{}] map[]",
        ),
        ("{{.GraphDriver}}", "{map[ID:0239] overlay2}", "{map[] }"),
        (
            "{{len .Mounts}} {{printf \"%q %5d|%-8s|%v\" .Name .State.Pid .State.Status .State.Running}}",
            "2 \"/outpa\" 19415|running |true",
            "0 \"/outpb\"     0|created |false",
        ),
        (
            "{{.SizeRw}} {{.HostConfig.PidsLimit}} {{.HostConfig.Init}}",
            "<nil> <nil> <nil>",
            "<nil> <nil> <nil>",
        ),
        ("{{.ID}}", "02392060c6d0955a", "07d6b647a0c1ac55"),
        ("{{.Id}}", "02392060c6d0955a", "07d6b647a0c1ac55"),
        ("{{slice .Id 0 4}}", "0239", "07d6"),
        // What only JSON knows makes the whole template one over JSON: its lists hold anything.
        (
            "{{.Id}} {{join .Args \",\"}}",
            "E template: :1:15: executing \"\" at <.Args>: wrong type for value; expected []string; got []interface {}",
            "E template: :1:15: executing \"\" at <.Args>: wrong type for value; expected []string; got []interface {}",
        ),
        ("{{join .Args \",\"}} {{.HostConfig.NanoCPUs}}", "3000 5", "-c,echo hi there 0"),
        ("{{println 1 \"a\" \"b\" 2}}{{print 1 2 \"a\" 3}}", "1 a b 2\n1 2a3", "1 a b 2\n1 2a3"),
        (
            "{{eq .State.Status \"running\"}} {{ne 1 2}} {{lt 1 2}} {{and true .Name}} {{or \"\" .Name}} {{not true}}",
            "true true true /outpa /outpa false",
            "false true true /outpb /outpb false",
        ),
        ("{{.ExecIDs}} {{json .ExecIDs}}", "[] null", "[] null"),
        (
            "{{index .Mounts 9}}",
            "E template: :1:2: executing \"\" at <index .Mounts 9>: error calling index: index out of range: 9",
            "E template: :1:2: executing \"\" at <index .Mounts 9>: error calling index: index out of range: 9",
        ),
        ("{{range .State}}x{{end}}", "xxxxxxxxxxxx", "xxxxx"),
        ("{{range $i := 3}}{{$i}}{{end}}", "012", "012"),
        ("{{range .Mounts}}{{break}}{{end}}ok", "ok", "ok"),
        (
            "{{range $i, $m := .Mounts}}{{$i}}={{$m.Type}} {{else}}none{{end}}",
            "0=volume 1=bind ",
            "none",
        ),
        ("{{define \"x\"}}d{{.}}{{end}}{{template \"x\" .Name}}", "d/outpa", "d/outpb"),
        ("{{.State.ExitCode | printf \"%03d\"}}", "000", "000"),
        ("{{.Config.Tty}}{{\"\\t\"}}x\\ty\\n", "false\tx\\ty\\n", "false\tx\\ty\\n"),
        ("{{.Config.StopTimeout}} {{.Config.StopSignal}}", "<nil> ", "<nil> "),
        ("{{/* c */}}x{{- \" y\" -}} z", "x yz", "x yz"),
        (
            "{{html \"<a>\"}} {{urlquery \"a b\"}} {{js \"a'b\"}}",
            "&lt;a&gt; a+b a\\'b",
            "&lt;a&gt; a+b a\\'b",
        ),
        (
            "{{$x := .Name}}{{if true}}{{$x = \"new\"}}{{end}}{{$x}}{{with $y := 1}}{{$y}}{{end}}",
            "new1",
            "new1",
        ),
    ] {
        assert_eq!(render(template, &running), want, "{template}");
        assert_eq!(render(template, &created), of_created, "{template} of a created one");
    }
}

#[test]
fn json_keeps_the_order_of_fields() {
    let [running, _] = containers();
    for template in
        ["{{json .}}", "{{json .State}}", "{{json .NetworkSettings.Ports}}", "{{json .Mounts}}"]
    {
        let field = template.trim_matches(['{', '}']).trim_start_matches("json .");
        let want = field
            .split('.')
            .fold(&running, |json, name| if name.is_empty() { json } else { &json[name] });
        assert_eq!(render(template, &running), want.to_string(), "{template}");
    }
}

#[test]
fn mistakes_are_told_in_docker_s_words() {
    let [running, _] = containers();
    for (template, want) in [
        ("{{.Foo}}", ":1:2: executing \"\" at <.Foo>: map has no entry for key \"Foo\""),
        (
            "{{.Config.Foo}}",
            ":1:9: executing \"\" at <.Config.Foo>: map has no entry for key \"Foo\"",
        ),
        (
            "{{.State.Foo.Bar}}",
            ":1:8: executing \"\" at <.State.Foo.Bar>: map has no entry for key \"Foo\"",
        ),
        (
            "{{range .Mounts}}{{.Foo}};{{end}}",
            ":1:19: executing \"\" at <.Foo>: map has no entry for key \"Foo\"",
        ),
        (
            "{{.Mounts.Name}}",
            ":1:9: executing \"\" at <.Mounts.Name>: can't evaluate field Name in type interface {}",
        ),
        (
            "{{join .Name \",\"}}",
            ":1:7: executing \"\" at <.Name>: wrong type for value; expected []string; got string",
        ),
        ("{{lower 3}}", ":1:8: executing \"\" at <3>: expected string; found 3"),
        (
            "{{template \"x\"}}",
            ":1:11: executing \"\" at <{{template \"x\"}}>: template \"x\" not defined",
        ),
        ("a\n{{.Foo}}", ":2:2: executing \"\" at <.Foo>: map has no entry for key \"Foo\""),
        ("{{nosuch .}}", ":1: function \"nosuch\" not defined"),
        ("{{table .Name}}", ":1: function \"table\" not defined"),
        ("{{break}}", ":1: {{break}} outside {{range}}"),
        (
            "{{.Name \"x\"}}",
            ":1:2: executing \"\" at <.Name>: Name is not a method but has arguments",
        ),
        ("{{1 2}}", ":1:2: executing \"\" at <1>: can't give argument to non-function 1"),
        (
            "{{eq .Name 1}}",
            ":1:2: executing \"\" at <eq .Name 1>: error calling eq: incompatible types for comparison",
        ),
        (
            "{{upper}}",
            ":1:2: executing \"\" at <upper>: wrong number of args for upper: want 1 got 0",
        ),
    ] {
        assert_eq!(render(template, &running), format!("E template: {want}"), "{template}");
    }
    for broken in [
        "{{.Name",
        "{{if}}",
        "{{end}}",
        "{{range .Mounts}}",
        "{{else}}x",
        "a{{end}}b",
        "{{.Name | }}",
        "{{\"a}}",
    ] {
        let told = render(broken, &running);
        assert!(told.starts_with("E template: :1: "), "{broken}: {told}");
    }
}

#[test]
fn a_template_ends() {
    let document = json!({"Id": "a"});
    let endless =
        "{{range $i := 1000}}{{range $j := 1000}}{{range $k := 1000}}x{{end}}{{end}}{{end}}";
    assert!(render(endless, &document).contains("more than 1000000 steps"));
    let deep = "{{define \"x\"}}{{template \"x\" .}}{{end}}{{template \"x\" .}}";
    assert!(render(deep, &document).contains("exceeded maximum template depth"));
    assert!(render("{{printf \"%999999999d\" 1}}", &document).len() < 10_000);
}

#[test]
fn volumes_and_unknown_documents() {
    let volume = json!({"CreatedAt": "2026", "Driver": "local", "Labels": null, "Mountpoint": "/m",
                        "Name": "db", "Options": null, "Scope": "local"});
    assert_eq!(render("{{.Labels}}{{.Options}}{{.Name}}", &volume), "map[]map[]db");
    let typed = Template::parse("{{.Foo}}").unwrap().render_typed(&volume).unwrap_err();
    assert_eq!(
        typed.to_string(),
        "template: :1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type volume.Volume"
    );
    let info = json!({"ServerVersion": "1", "Driver": "overlay", "DriverStatus": [["a", "b"]], "Labels": null, "Plugins": {"Volume": ["local"]}});
    assert_eq!(
        render("{{.Driver}} {{.DriverStatus}} {{.Plugins}} {{.Labels}}", &info),
        "overlay [[a b]] {[local]} map[]"
    );
}

fn list(format: &str) -> String {
    let headings =
        json!({"ID": "CONTAINER ID", "Names": "NAMES", "Image": "IMAGE", "Ports": "PORTS"});
    let rows = [
        json!({"ID": "0123", "Names": "outpb", "Image": "a-rather-long-image:1", "Ports": "1->2", "Label": {}}),
        json!({"ID": "4567", "Names": "outpa", "Image": "b", "Ports": "", "Label": {"a": "1", "com.x.the-name": "2"}}),
    ];
    ListTemplate::parse(format)
        .and_then(|list| list.render(&headings, &rows, "*formatter.ContainerContext"))
        .unwrap_or_else(|error| format!("E {error}"))
}

#[test]
fn tables_have_headings_and_three_spaces() {
    for (format, want) in [
        (
            "table {{.ID}}\\t{{.Image}}\\t{{.Names}}",
            "CONTAINER ID   IMAGE                   NAMES\n\
             0123           a-rather-long-image:1   outpb\n\
             4567           b                       outpa\n",
        ),
        (
            "table {{upper .Names}}\\t{{truncate .ID 2}}\\t{{pad .Names 1 1}}\\t{{split .Names \"p\"}}\\t{{json .ID}}\\t{{join (split .Names \"p\") \"/\"}}\\t{{printf \"%s!\" .Names}}",
            "NAMES     CONTAINER ID    NAMES    NAMES     CONTAINER ID   NAMES     NAMES!\n\
             OUTPB     01              outpb    [out b]   \"0123\"         out/b     outpb!\n\
             OUTPA     45              outpa    [out a]   \"4567\"         out/a     outpa!\n",
        ),
        (
            "table {{.Names}}\\t{{.Label \"com.x.the-name\"}}\\t{{.ID}}",
            "NAMES     the name   CONTAINER ID\noutpb                0123\noutpa     2          4567\n",
        ),
        ("tableau {{.Names}}", "au NAMES\nau outpb\nau outpa\n"),
        ("{{.Label \"a\"}}|{{.Names | upper}}", "|OUTPB\n1|OUTPA\n"),
        ("{{with .Label \"a\"}}has {{.}}{{end}}", "\nhas 1\n"),
        ("{{json .Ports}}", "\"1->2\"\n\"\"\n"),
        (
            "{{json .}}",
            "{\"ID\":\"0123\",\"Names\":\"outpb\",\"Image\":\"a-rather-long-image:1\",\"Ports\":\"1-\\u003e2\"}\n\
          {\"ID\":\"4567\",\"Names\":\"outpa\",\"Image\":\"b\",\"Ports\":\"\"}\n",
        ),
        ("pretty", "pretty\npretty\n"),
        ("{{.Names}}\\n", "outpb\n\noutpa\n\n"),
        (
            "{{.Nope}}",
            "E template: :1:2: executing \"\" at <.Nope>: can't evaluate field Nope in type *formatter.ContainerContext",
        ),
        (
            "table   {{.Nope}}",
            "E template: :1:10: executing \"\" at <.Nope>: can't evaluate field Nope in type *formatter.ContainerContext",
        ),
        (
            "{{.Names.Foo}}",
            "E template: :1:8: executing \"\" at <.Names.Foo>: can't evaluate field Foo in type string",
        ),
        (
            "{{.Label}}",
            "E template: :1:2: executing \"\" at <.Label>: wrong number of args for Label: want 1 got 0",
        ),
    ] {
        assert_eq!(list(format), want, "{format}");
    }
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
