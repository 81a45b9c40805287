//! The same container through an external OCI runtime.

use orlop_testkit::fixture;

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN; runc"]
fn runc_runs_a_container_as_the_linked_in_runtime_does() {
    let fixture = fixture!(busybox);
    let output = fixture.orlop(&[
        "run",
        "--rm",
        "--runtime",
        "runc",
        "busybox",
        "sh",
        "-c",
        "echo via; exit 3",
    ]);
    assert_eq!((output.code, output.stdout.as_str()), (3, "via\n"), "{output}");
    fixture.ok(&[
        "run",
        "-d",
        "--name",
        "with-runc",
        "--runtime",
        "runc",
        "-v",
        "kept:/v",
        "busybox",
        "sh",
        "-c",
        "echo z >/v/z; exec sleep 300",
    ]);
    assert_eq!(
        fixture.ok(&["inspect", "--format", "{{.HostConfig.Runtime}}", "with-runc"]),
        "runc"
    );
    assert_eq!(
        fixture.ok(&[
            "exec",
            "with-runc",
            "sh",
            "-c",
            "while [ ! -s /v/z ]; do sleep 0.1; done; cat /v/z"
        ]),
        "z"
    );
    assert_eq!(fixture.ok(&["exec", "-t", "with-runc", "tty"]).trim(), "/dev/pts/0");
    fixture.ok(&["rm", "-f", "with-runc"]);
    assert_eq!(fixture.ok(&["run", "--rm", "-v", "kept:/v", "busybox", "cat", "/v/z"]), "z");
    let line = fixture.fails(125, &["run", "--runtime", "no-such-runtime", "busybox", "true"]);
    assert!(line.contains("unknown or invalid runtime name: no-such-runtime"), "{line}");
}
