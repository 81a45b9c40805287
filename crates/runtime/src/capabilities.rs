//! Capability sets: names, Docker's default fourteen, and what `--cap-add` and `--cap-drop` make of them.
//!
//! Source: Linux `capabilities(7)`, `include/uapi/linux/capability.h`; Docker's documented defaults.

use std::collections::HashSet;
use std::str::FromStr;

use oci_spec::runtime::Capability;

/// Names by number, without `CAP_`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What a container gets unless it says otherwise.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// A set of capabilities, one bit each, as the kernel writes them in `/proc/<pid>/status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapabilitySet(u64);

/// A capability that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid {option}: unknown capability: \"{name}\"")]
pub struct UnknownCapability {
    /// `CapAdd` or `CapDrop`.
    option: &'static str,
    /// The name with `CAP_`.
    name: String,
}

/// What the user asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct CapabilityRequest<'a> {
    /// Everything.
    pub privileged: bool,
    /// Names to add, or `ALL`.
    pub add: &'a [String],
    /// Names to take away, or `ALL`.
    pub drop: &'a [String],
}

impl CapabilitySet {
    /// Every capability that this program knows.
    #[must_use]
    pub fn all() -> Self {
        Self((1 << NAMES.len()) - 1)
    }

    /// Docker's default set.
    #[must_use]
    pub fn docker_default() -> Self {
        DEFAULT.iter().filter_map(|name| Self::single(name)).fold(Self::default(), Self::union)
    }

    /// What the calling process may hand on, from the text of `/proc/self/status`.
    ///
    /// A host may itself be confined (a virtual machine or container without some capabilities);
    /// asking the kernel for more than this fails the start.
    #[must_use]
    pub fn permitted(status: &str) -> Self {
        let mask = |field: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(field))
                .and_then(|value| u64::from_str_radix(value.trim(), 16).ok())
                .unwrap_or(0)
        };
        Self(mask("CapPrm:") & mask("CapBnd:")).intersection(Self::all())
    }

    /// The set that a request makes of the default (the rules of Docker: adding `ALL` leaves what is
    /// dropped by name, dropping `ALL` leaves what is added by name).
    pub fn requested(request: CapabilityRequest<'_>) -> Result<Self, UnknownCapability> {
        if request.privileged {
            return Ok(Self::all());
        }
        let (add_all, add) = Self::parse("CapAdd", request.add)?;
        let (drop_all, drop) = Self::parse("CapDrop", request.drop)?;
        Ok(if add_all {
            Self::all().difference(drop)
        } else if drop_all {
            add
        } else {
            Self::docker_default().difference(drop).union(add)
        })
    }

    /// Reads names; the flag says whether `ALL` is among them.
    fn parse(option: &'static str, names: &[String]) -> Result<(bool, Self), UnknownCapability> {
        let mut all = false;
        let mut set = Self::default();
        for name in names {
            let upper = name.trim().to_ascii_uppercase();
            if upper == "ALL" {
                all = true;
                continue;
            }
            let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
            let single = Self::single(bare)
                .ok_or_else(|| UnknownCapability { option, name: format!("CAP_{bare}") })?;
            set = set.union(single);
        }
        Ok((all, set))
    }

    /// The set of one capability, by its name without `CAP_`.
    fn single(name: &str) -> Option<Self> {
        NAMES.iter().position(|known| *known == name).map(|index| Self(1 << index))
    }

    /// Whether it contains a capability, by its name without `CAP_`.
    #[must_use]
    pub fn contains(self, name: &str) -> bool {
        Self::single(name).is_some_and(|single| self.0 & single.0 != 0)
    }

    /// What is in either.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in this one only.
    #[must_use]
    pub fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The bits as the kernel prints them.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0
    }

    /// The form of the runtime specification.
    #[must_use]
    pub fn to_oci(self) -> HashSet<Capability> {
        NAMES
            .iter()
            .enumerate()
            .filter(|(index, _)| self.0 & (1 << index) != 0)
            .filter_map(|(_, name)| Capability::from_str(name).ok())
            .collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn requested(add: &[&str], drop: &[&str]) -> Result<u64, String> {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let (add, drop) = (owned(add), owned(drop));
        CapabilitySet::requested(CapabilityRequest { privileged: false, add: &add, drop: &drop })
            .map(CapabilitySet::bits)
            .map_err(|error| error.to_string())
    }

    #[test]
    #[allow(clippy::type_complexity)] // A table of cases.
    fn adding_and_dropping() {
        const DEFAULT_BITS: u64 = 0xa804_25fb;
        const ALL_BITS: u64 = 0x1ff_ffff_ffff;
        let cases: [(&[&str], &[&str], Result<u64, &str>); 10] = [
            (&[], &[], Ok(DEFAULT_BITS)),
            (&["NET_ADMIN"], &[], Ok(DEFAULT_BITS | 1 << 12)),
            (&["cap_net_admin"], &[], Ok(DEFAULT_BITS | 1 << 12)),
            (&[], &["CHOWN"], Ok(DEFAULT_BITS & !1)),
            (&[], &["ALL"], Ok(0)),
            (&["SYS_TIME"], &["all"], Ok(1 << 25)),
            (&["ALL"], &[], Ok(ALL_BITS)),
            (&["ALL"], &["SYS_ADMIN"], Ok(ALL_BITS & !(1 << 21))),
            (&["CHOWN"], &["CHOWN"], Ok(DEFAULT_BITS)),
            (&["FLY"], &[], Err("invalid CapAdd: unknown capability: \"CAP_FLY\"")),
        ];
        for (add, drop, expected) in cases {
            assert_eq!(requested(add, drop), expected.map_err(str::to_owned), "{add:?} {drop:?}");
        }
    }

    #[test]
    fn privileged_is_everything() {
        let request = CapabilityRequest { privileged: true, add: &[], drop: &["ALL".to_owned()] };
        assert_eq!(CapabilitySet::requested(request).unwrap(), CapabilitySet::all());
    }

    #[test]
    fn every_name_is_known_to_the_specification() {
        assert_eq!(CapabilitySet::all().to_oci().len(), NAMES.len());
        assert_eq!(CapabilitySet::docker_default().to_oci().len(), 14);
        assert!(CapabilitySet::docker_default().contains("MKNOD"));
        assert!(!CapabilitySet::docker_default().contains("SYS_ADMIN"));
    }

    #[test]
    fn what_the_host_permits_is_read_from_status() {
        let status = "Name:\tx\nCapInh:\t0000000000000000\nCapPrm:\t000001fffeffffff\nCapBnd:\t000001ffffffffff\n";
        let permitted = CapabilitySet::permitted(status);
        assert!(!permitted.contains("SYS_RESOURCE"));
        assert_eq!(permitted.bits(), 0x1ff_feff_ffff);
        assert_eq!(CapabilitySet::permitted("").bits(), 0);
    }
}
