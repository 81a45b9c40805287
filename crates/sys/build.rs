//! Builds the init program that containers get with `--init`: static, without any library.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let mut cargo = std::io::stdout();
    for file in ["init/init.rs", "init/syscall.rs", "build.rs"] {
        writeln!(cargo, "cargo::rerun-if-changed={file}").expect("cargo reads what is written");
    }
    let variable =
        |name: &str| std::env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name}"));
    let output = PathBuf::from(variable("OUT_DIR")).join("init");
    let mut compiler = Command::new(variable("RUSTC"));
    compiler
        .args(["--edition", "2024", "--crate-type", "bin", "--crate-name", "docker_init"])
        .arg("--target")
        .arg(variable("TARGET"))
        .args(["-C", "opt-level=s", "-C", "panic=abort", "-C", "strip=symbols"])
        .args(["-C", "relocation-model=static", "-C", "overflow-checks=off"])
        .args(["-C", "link-arg=-nostartfiles", "-C", "link-arg=-nostdlib"])
        .args(["-C", "link-arg=-static", "-C", "link-arg=-no-pie"])
        .arg("-o")
        .arg(&output)
        .arg(Path::new("init/init.rs"));
    if let Some(linker) = std::env::var_os("RUSTC_LINKER") {
        let mut argument = std::ffi::OsString::from("linker=");
        argument.push(linker);
        compiler.arg("-C").arg(argument);
    }
    let status = compiler.status();
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "the init program was not built: {status:?}"
    );
}
