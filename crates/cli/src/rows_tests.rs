//! Tests of tables, against what Docker's command line prints for the same objects.
#![allow(clippy::unwrap_used)]

use super::*;

fn now() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

fn web() -> ContainerSummary {
    ContainerSummary {
        id: "0123456789abcdef".repeat(4).parse().unwrap(),
        names: vec!["web".into()],
        image: "nginx:1.27".into(),
        image_id: String::new(),
        command: "nginx -g 'daemon off;' and more".into(),
        created_at: "2026-11-18T11:06:40Z".into(),
        status_text: "Up 3 minutes".into(),
        state: "running".into(),
        ports: "0.0.0.0:8080->80/tcp".into(),
        mounts: vec![
            "0123456789abcdef0123456789abcdef".into(),
            "/srv/a/very/long/path/indeed".into(),
        ],
        networks: vec!["bridge".into()],
        labels: [("a".into(), "1".into()), ("b".into(), String::new())].into(),
    }
}

fn images() -> Vec<Value> {
    let image = |id: &str, tags: &[&str], digests: &[String], created: i64, size| ImageSummary {
        id: format!("sha256:{}", id.repeat(4)).parse().unwrap(),
        parent_id: String::new(),
        repo_tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
        repo_digests: digests.to_vec(),
        created,
        size,
        shared_size: -1,
        labels: None,
        containers: 0,
    };
    let digest = format!("nginx@sha256:{}", "aa".repeat(32));
    [
        image(
            "0123456789abcdef",
            &["nginx:1.27", "reg.io/a/b:x"],
            &[digest],
            1_795_000_000,
            72_818_688,
        ),
        image("ff23456789abcdef", &[], &[], 1_790_000_000, 999),
    ]
    .iter()
    .flat_map(|image| self::image(image, Width::Short, now()))
    .collect()
}

#[test]
fn ps_is_docker_s_table() {
    let rows = [container(&web(), Width::Short, now())];
    assert_eq!(
        CONTAINERS.render(None, false, &rows).unwrap(),
        "CONTAINER ID   IMAGE        COMMAND                  CREATED      STATUS         PORTS                  NAMES\n\
         0123456789ab   nginx:1.27   \"nginx -g 'daemon of…\"   2 days ago   Up 3 minutes   0.0.0.0:8080->80/tcp   web\n"
    );
    assert_eq!(
        CONTAINERS.render(Some("table"), false, &[]).unwrap(),
        "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES\n"
    );
    assert_eq!(CONTAINERS.render(None, true, &rows).unwrap(), "0123456789ab\n");
    let full = [container(&web(), Width::Full, now())];
    assert_eq!(
        CONTAINERS.render(None, true, &full).unwrap(),
        format!("{}\n", "0123456789abcdef".repeat(4))
    );
    assert_eq!(
        CONTAINERS.render(Some("{{.Names}}: {{.Command}}"), false, &full).unwrap(),
        "web: \"nginx -g 'daemon off;' and more\"\n"
    );
    assert_eq!(
        CONTAINERS.render(Some("{{.Nope}}"), false, &full).unwrap_err().why,
        "failed to execute template: template: :1:2: executing \"\" at <.Nope>: can't evaluate field Nope in type *formatter.ContainerContext"
    );
}

#[test]
fn ps_as_json_has_docker_s_fields() {
    let rows = [container(&web(), Width::Short, now())];
    assert_eq!(
        CONTAINERS.render(Some("json"), false, &rows).unwrap(),
        "{\"Command\":\"\\\"nginx -g 'daemon of…\\\"\",\"CreatedAt\":\"2026-11-18 11:06:40 +0000 UTC\",\
         \"ID\":\"0123456789ab\",\"Image\":\"nginx:1.27\",\"Labels\":\"a=1,b=\",\"LocalVolumes\":\"1\",\
         \"Mounts\":\"0123456789abcd…,/srv/a/very/lo…\",\"Names\":\"web\",\"Networks\":\"bridge\",\
         \"Platform\":null,\"Ports\":\"0.0.0.0:8080-\\u003e80/tcp\",\"RunningFor\":\"2 days ago\",\"Size\":\"0B\",\"State\":\"running\",\
         \"Status\":\"Up 3 minutes\"}\n"
    );
}

#[test]
fn images_is_docker_s_table() {
    assert_eq!(
        IMAGES.render(None, false, &images()).unwrap(),
        "REPOSITORY   TAG       IMAGE ID       CREATED        SIZE\n\
         nginx        1.27      0123456789ab   2 days ago     72.8MB\n\
         reg.io/a/b   x         0123456789ab   2 days ago     72.8MB\n\
         <none>       <none>    ff23456789ab   2 months ago   999B\n"
    );
    let digest = format!("sha256:{}", "aa".repeat(32));
    assert_eq!(
        IMAGES_WITH_DIGESTS.render(Some("{{.Repository}} {{.Digest}}"), false, &images()).unwrap(),
        format!("nginx {digest}\nreg.io/a/b <none>\n<none> <none>\n")
    );
    assert_eq!(
        IMAGES.render(None, true, &images()).unwrap(),
        "0123456789ab\n0123456789ab\nff23456789ab\n"
    );
    assert_eq!(
        IMAGES.render(Some("json"), false, &images()[2..]).unwrap(),
        "{\"Containers\":\"N/A\",\"CreatedAt\":\"2026-09-21 14:13:20 +0000 UTC\",\"CreatedSince\":\"2 months ago\",\
         \"Digest\":\"\\u003cnone\\u003e\",\"ID\":\"ff23456789ab\",\"Repository\":\"\\u003cnone\\u003e\",\"SharedSize\":\"N/A\",\
         \"Size\":\"999B\",\"Tag\":\"\\u003cnone\\u003e\",\"UniqueSize\":\"N/A\",\"VirtualSize\":\"999B\"}\n"
    );
}

#[test]
fn raw_lists_fields_line_by_line() {
    let rows = [container(&web(), Width::Short, now())];
    assert_eq!(
        CONTAINERS.render(Some("raw"), false, &rows).unwrap(),
        "container_id: 0123456789ab\nimage: nginx:1.27\ncommand: \"nginx -g 'daemon of…\"\n\
         created_at: 2026-11-18 11:06:40 +0000 UTC\nstate: running\nstatus: Up 3 minutes\nnames: web\n\
         labels: a=1,b=\nports: 0.0.0.0:8080->80/tcp\n\n"
    );
    assert_eq!(
        IMAGES.render(Some("raw"), false, &images()[2..]).unwrap(),
        "repository: <none>\ntag: <none>\nimage_id: ff23456789ab\ncreated_at: 2026-09-21 14:13:20 +0000 UTC\n\
         virtual_size: 999B\n\n"
    );
}

#[test]
fn volume_ls_is_docker_s_table() {
    let row = |name: &str| json!({"Driver": "local", "Name": name, "Labels": "x=1"});
    assert_eq!(
        VOLUMES.render(None, false, &[row("db"), row("www")]).unwrap(),
        "DRIVER    VOLUME NAME\nlocal     db\nlocal     www\n"
    );
    assert_eq!(VOLUMES.render(None, true, &[row("db")]).unwrap(), "db\n");
    assert_eq!(
        VOLUMES.render(Some("table {{.Name}}\\t{{.Labels}}"), false, &[row("db")]).unwrap(),
        "VOLUME NAME   LABELS\ndb            x=1\n"
    );
}
