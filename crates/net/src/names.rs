//! Names of the interfaces and of the table that belong to one root directory.
//!
//! Several roots on a machine never disturb each other: each has its own bridge and its own table.
//! An interface's name has at most 15 bytes, so a root other than the default one is known by a
//! hash of its path; callers pass the canonical path.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Root directory that gets the names without a hash.
pub const DEFAULT_ROOT: &str = "/var/lib/orlop";
/// Longest name of an interface, without the terminating zero.
pub const MAX_INTERFACE_BYTES: usize = 15;

/// Digits of a network's id in the names of what belongs to it.
const SHORT_ID_CHARS: usize = 12;

/// Name of a root's bridge: `orlop0`, or `orl-` and eight hexadecimal digits.
#[must_use]
pub fn bridge_name(root: &Path) -> String {
    if root == Path::new(DEFAULT_ROOT) { "orlop0".to_owned() } else { hashed(root) }
}

/// Name of a root's nftables table: `orlop`, or `orl-` and eight hexadecimal digits.
#[must_use]
pub fn table_name(root: &Path) -> String {
    if root == Path::new(DEFAULT_ROOT) { "orlop".to_owned() } else { hashed(root) }
}

/// Name of the bridge of a network that somebody created: `br-` and the first digits of its id.
#[must_use]
pub fn network_bridge_name(network_id: &str) -> String {
    format!("br-{}", network_id.chars().take(SHORT_ID_CHARS).collect::<String>())
}

/// Name of the table of such a network: its root's table's, and the first digits of its id.
#[must_use]
pub fn network_table_name(root: &Path, network_id: &str) -> String {
    let digits: String = network_id.chars().take(SHORT_ID_CHARS).collect();
    format!("{}-{digits}", table_name(root))
}

/// Name of the host's end of a pair: `orlv` and the first digits of the end point's id.
#[must_use]
pub fn interface_name(endpoint_id: &str) -> String {
    const PREFIX: &str = "orlv";
    let digits = endpoint_id.chars().take(MAX_INTERFACE_BYTES - PREFIX.len());
    PREFIX.chars().chain(digits).collect()
}

/// Whether the kernel takes this as an interface's name.
#[must_use]
pub fn is_interface(name: &str) -> bool {
    (1..=MAX_INTERFACE_BYTES).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':')
}

fn hashed(root: &Path) -> String {
    // FNV-1a: the standard library's hashers promise no stable result between versions.
    let hash = root.as_os_str().as_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("orl-{:08x}", (hash >> 32) ^ (hash & 0xffff_ffff))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_root_has_plain_names() {
        assert_eq!(bridge_name(Path::new("/var/lib/orlop")), "orlop0");
        assert_eq!(table_name(Path::new("/var/lib/orlop")), "orlop");
    }

    #[test]
    fn other_roots_have_stable_names_of_their_own() {
        let name = bridge_name(Path::new("/srv/orlop"));
        assert_eq!(name, table_name(Path::new("/srv/orlop")));
        assert_eq!(name.len(), 12);
        assert_ne!(name, bridge_name(Path::new("/srv/orlop2")));
        // FNV-1a of the empty string is its offset basis: cbf29ce4 xor 84222325.
        assert_eq!(hashed(Path::new("")), "orl-4fd0bfc1");
    }

    #[test]
    fn interfaces_take_as_much_of_the_id_as_fits() {
        assert_eq!(interface_name("0123456789abcdef0123"), "orlv0123456789a");
        for (name, valid) in [
            ("eth0", true),
            ("", false),
            ("a/b", false),
            ("0123456789abcdef", false),
            ("..", false),
            ("a b", false),
        ] {
            assert_eq!(is_interface(name), valid, "{name}");
        }
    }
}
