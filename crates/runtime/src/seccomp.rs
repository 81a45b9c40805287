//! System call filters: Docker's default policy and policies that a user hands in.
//!
//! The default policy denies (`EPERM`) what is not in [`table`]; what it lets through depends on the
//! container's capabilities. A user's policy is a JSON document of Docker's format, which adds
//! conditions (`includes`, `excludes`, `archMap`) to the runtime specification's.

pub(crate) mod program;
mod table;

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};
use serde::Deserialize;

use crate::capabilities::CapabilitySet;

/// Longest policy document that is read; Docker's own has 13 KiB.
pub const MAX_PROFILE_BYTES: u64 = 1 << 20;

/// A policy that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// The document is not a policy.
    #[error("decoding seccomp profile failed: {0}")]
    Decode(#[from] serde_json::Error),
    /// A rule has no name.
    #[error("use either 'name' or 'names' in seccomp profile")]
    Names,
    /// `architectures` and `archMap` exclude each other.
    #[error("use either 'architectures' or 'archMap' in seccomp profile")]
    Architectures,
}

/// Docker's default policy for a container with these capabilities.
#[must_use]
pub fn docker_default(capabilities: CapabilitySet) -> LinuxSeccomp {
    let mut names: Vec<&str> =
        table::ALWAYS.iter().flat_map(|group| group.iter().copied()).collect();
    names.extend(table::TRACING);
    names.extend(table::MACHINE);
    for (capability, gated) in table::WITH_CAPABILITY {
        if capabilities.contains(capability) {
            names.extend(gated.iter().copied());
        }
    }
    names.sort_unstable();
    names.dedup();

    let mut rules = vec![allow(&names, Vec::new())];
    rules.push(allow(
        &["socket"],
        vec![argument(LinuxSeccompOperator::ScmpCmpNe, table::VSOCK_FAMILY)],
    ));
    for value in table::PERSONALITIES {
        rules.push(allow(&["personality"], vec![argument(LinuxSeccompOperator::ScmpCmpEq, value)]));
    }
    if !capabilities.contains("SYS_ADMIN") {
        // None of the namespace flags: the masked value is compared with `value_two`, which is 0.
        let masked = argument(LinuxSeccompOperator::ScmpCmpMaskedEq, table::NAMESPACE_FLAGS);
        rules.push(allow(&["clone"], vec![masked]));
        // The flags of clone3 are in memory, out of a filter's reach; ENOSYS makes libraries use clone.
        let mut refused = rule(&["clone3"], LinuxSeccompAction::ScmpActErrno, Vec::new());
        refused.set_errno_ret(Some(libc::ENOSYS.cast_unsigned()));
        rules.push(refused);
    }
    policy(
        LinuxSeccompAction::ScmpActErrno,
        Some(libc::EPERM.cast_unsigned()),
        native_architectures(),
        rules,
    )
}

/// A policy of Docker's JSON format, with its conditions resolved for these capabilities.
pub fn parse(document: &[u8], capabilities: CapabilitySet) -> Result<LinuxSeccomp, SeccompError> {
    let profile: Profile = serde_json::from_slice(document)?;
    if !profile.architectures.is_empty() && !profile.arch_map.is_empty() {
        return Err(SeccompError::Architectures);
    }
    let mapped = profile
        .arch_map
        .into_iter()
        .find(|entry| native_architectures().first() == Some(&entry.architecture));
    let architectures = match mapped {
        Some(entry) => std::iter::once(entry.architecture)
            .chain(entry.sub_architectures.unwrap_or_default())
            .collect(),
        None => profile.architectures,
    };
    let mut rules = Vec::new();
    for entry in profile.syscalls {
        let names = match (entry.name, entry.names) {
            (None, Some(names)) if !names.is_empty() => names,
            (Some(name), None) => vec![name],
            _ => return Err(SeccompError::Names),
        };
        if !entry.includes.hold(capabilities) || entry.excludes.exclude(capabilities) {
            continue;
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut made = rule(&names, entry.action, entry.args.unwrap_or_default());
        made.set_errno_ret(entry.errno_ret);
        rules.push(made);
    }
    Ok(policy(profile.default_action, profile.default_errno_ret, architectures, rules))
}

/// This machine's architecture, followed by those whose programs it also runs.
fn native_architectures() -> Vec<Arch> {
    if cfg!(target_arch = "x86_64") {
        vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32]
    } else {
        vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm]
    }
}

/// The name of this machine in Docker's conditions.
const MACHINE_NAME: &str = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };

fn policy(
    default_action: LinuxSeccompAction,
    default_errno: Option<u32>,
    architectures: Vec<Arch>,
    rules: Vec<LinuxSyscall>,
) -> LinuxSeccomp {
    let mut made = LinuxSeccomp::default();
    made.set_default_action(default_action)
        .set_default_errno_ret(default_errno)
        .set_architectures(Some(architectures))
        .set_flags(None)
        .set_syscalls(Some(rules));
    made
}

fn allow(names: &[&str], arguments: Vec<LinuxSeccompArg>) -> LinuxSyscall {
    rule(names, LinuxSeccompAction::ScmpActAllow, arguments)
}

fn rule(
    names: &[&str],
    action: LinuxSeccompAction,
    arguments: Vec<LinuxSeccompArg>,
) -> LinuxSyscall {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut builder = LinuxSyscallBuilder::default().names(names).action(action);
    if !arguments.is_empty() {
        builder = builder.args(arguments);
    }
    builder.build().expect("names and action are all that a rule needs")
}

/// A condition on the first argument; for masks the result is compared with 0.
fn argument(operator: LinuxSeccompOperator, value: u64) -> LinuxSeccompArg {
    LinuxSeccompArgBuilder::default()
        .index(0_usize)
        .value(value)
        .value_two(0_u64)
        .op(operator)
        .build()
        .expect("index, value and operator are all that a condition needs")
}

/// Docker's policy document.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: LinuxSeccompAction,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Vec<Arch>,
    #[serde(default)]
    arch_map: Vec<ArchitectureMap>,
    #[serde(default)]
    syscalls: Vec<ProfileRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchitectureMap {
    architecture: Arch,
    #[serde(default)]
    sub_architectures: Option<Vec<Arch>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProfileRule {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: LinuxSeccompAction,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<LinuxSeccompArg>>,
    #[serde(default)]
    includes: Condition,
    #[serde(default)]
    excludes: Condition,
}

/// What a rule depends on. `minKernel` is not looked at: every kernel that we run on is newer than
/// any that Docker's documents name (4.8).
#[derive(Default, Deserialize)]
#[serde(default)]
struct Condition {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
}

impl Condition {
    /// As `includes`: the machine is named and every capability is there.
    fn hold(&self, capabilities: CapabilitySet) -> bool {
        let machine = self
            .arches
            .as_ref()
            .is_none_or(|names| names.is_empty() || names.iter().any(|name| name == MACHINE_NAME));
        machine && self.caps.iter().flatten().all(|name| has(capabilities, name))
    }

    /// As `excludes`: the machine is named or any capability is there.
    fn exclude(&self, capabilities: CapabilitySet) -> bool {
        self.arches.iter().flatten().any(|name| name == MACHINE_NAME)
            || self.caps.iter().flatten().any(|name| has(capabilities, name))
    }
}

fn has(capabilities: CapabilitySet, name: &str) -> bool {
    capabilities.contains(name.strip_prefix("CAP_").unwrap_or(name))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::capabilities::CapabilityRequest;

    fn allowed(policy: &LinuxSeccomp, name: &str) -> bool {
        policy.syscalls().as_ref().unwrap().iter().any(|rule| {
            rule.action() == LinuxSeccompAction::ScmpActAllow
                && rule.args().is_none()
                && rule.names().iter().any(|known| known == name)
        })
    }

    fn rules<'a>(policy: &'a LinuxSeccomp, name: &str) -> Vec<&'a LinuxSyscall> {
        policy
            .syscalls()
            .as_ref()
            .unwrap()
            .iter()
            .filter(|rule| rule.names().iter().any(|known| known == name))
            .collect()
    }

    #[test]
    fn the_default_lets_ordinary_programs_run_and_little_else() {
        let policy = docker_default(CapabilitySet::docker_default());
        assert_eq!(policy.default_action(), LinuxSeccompAction::ScmpActErrno);
        assert_eq!(policy.default_errno_ret(), Some(1));
        for name in [
            "read",
            "execve",
            "openat",
            "futex",
            "fsync",
            "chroot",
            "ptrace",
            "statx",
            "accept4",
            "shmget",
            "arch_prctl",
        ] {
            assert!(allowed(&policy, name), "{name}");
        }
        for name in [
            "mount",
            "umount2",
            "unshare",
            "setns",
            "clone3",
            "clone",
            "bpf",
            "reboot",
            "init_module",
            "kexec_load",
            "io_uring_setup",
            "keyctl",
            "add_key",
            "userfaultfd",
            "open_by_handle_at",
            "settimeofday",
            "swapon",
            "socket",
            "personality",
            "syslog",
            "perf_event_open",
            "fsopen",
            "move_mount",
            "acct",
            "iopl",
            "mbind",
            "pivot_root",
        ] {
            assert!(!allowed(&policy, name), "{name}");
        }
    }

    #[test]
    fn arguments_of_clone_socket_and_personality() {
        let policy = docker_default(CapabilitySet::docker_default());
        let clone = rules(&policy, "clone");
        assert_eq!(clone.len(), 1);
        let condition = &clone[0].args().as_ref().unwrap()[0];
        assert_eq!(
            (condition.index(), condition.value(), condition.value_two()),
            (0, 0x7e02_0000, Some(0))
        );
        assert_eq!(condition.op(), LinuxSeccompOperator::ScmpCmpMaskedEq);
        let clone3 = rules(&policy, "clone3");
        assert_eq!(clone3.len(), 1);
        assert_eq!(
            (clone3[0].action(), clone3[0].errno_ret()),
            (LinuxSeccompAction::ScmpActErrno, Some(38))
        );
        let socket = rules(&policy, "socket");
        assert_eq!(socket[0].args().as_ref().unwrap()[0].value(), 40);
        assert_eq!(socket[0].args().as_ref().unwrap()[0].op(), LinuxSeccompOperator::ScmpCmpNe);
        let values: Vec<u64> = rules(&policy, "personality")
            .iter()
            .map(|rule| rule.args().as_ref().unwrap()[0].value())
            .collect();
        assert_eq!(values, [0, 8, 0x20000, 0x20008, 0xffff_ffff]);
    }

    #[test]
    fn capabilities_open_calls() {
        let add = vec!["SYS_ADMIN".to_owned(), "SYS_TIME".to_owned()];
        let set = CapabilitySet::requested(CapabilityRequest {
            privileged: false,
            add: &add,
            drop: &["SYS_CHROOT".to_owned()],
        });
        let policy = docker_default(set.unwrap());
        for name in ["mount", "unshare", "clone", "clone3", "settimeofday"] {
            assert!(allowed(&policy, name), "{name}");
        }
        assert!(!allowed(&policy, "chroot"));
        assert_eq!(rules(&policy, "clone").len(), 1);
        assert_eq!(rules(&policy, "clone3").len(), 1);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_machine_and_its_sub_architectures() {
        let policy = docker_default(CapabilitySet::docker_default());
        let expected = vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32];
        assert_eq!(policy.architectures(), &Some(expected));
    }

    #[test]
    fn a_document_of_dockers_format() {
        let document = br#"{"defaultAction":"SCMP_ACT_ALLOW","archMap":[
            {"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]},
            {"architecture":"SCMP_ARCH_AARCH64","subArchitectures":null}],
            "syscalls":[
            {"names":["chmod","fchmod"],"action":"SCMP_ACT_ERRNO","errnoRet":13},
            {"name":"mkdir","action":"SCMP_ACT_ERRNO","args":null,"includes":{"caps":["CAP_SYS_ADMIN"]}},
            {"names":["rmdir"],"action":"SCMP_ACT_ERRNO","args":[{"index":1,"value":3,"op":"SCMP_CMP_GE"}],
             "excludes":{"caps":["CAP_CHOWN"]}},
            {"names":["s390_runtime_instr"],"action":"SCMP_ACT_ERRNO","includes":{"arches":["s390x"]}}]}"#;
        let policy = parse(document, CapabilitySet::docker_default()).unwrap();
        assert_eq!(policy.default_action(), LinuxSeccompAction::ScmpActAllow);
        let made = policy.syscalls().as_ref().unwrap();
        assert_eq!(made.len(), 1);
        assert_eq!(made[0].names(), &["chmod".to_owned(), "fchmod".to_owned()]);
        assert_eq!(made[0].errno_ret(), Some(13));
        let policy =
            parse(document, CapabilitySet::all().difference(CapabilitySet::docker_default()))
                .unwrap();
        assert_eq!(policy.syscalls().as_ref().unwrap().len(), 3);
    }

    #[test]
    fn bad_documents() {
        let cases: [(&[u8], &str); 3] = [
            (b"nonsense", "decoding seccomp profile failed: expected ident at line 1 column 2"),
            (br#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"action":"SCMP_ACT_ALLOW"}]}"#, "use either 'name' or 'names' in seccomp profile"),
            (
                br#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86_64"}]}"#,
                "use either 'architectures' or 'archMap' in seccomp profile",
            ),
        ];
        for (document, expected) in cases {
            assert_eq!(
                parse(document, CapabilitySet::default()).unwrap_err().to_string(),
                expected
            );
        }
    }
}
