//! Identifiers that must not be mixed: digests, container ids, names.
//!
//! Each is parsed once at the edge; a value of the type is always valid.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::ParseError;

/// Characters of a short id, as `docker ps` shows them.
pub const SHORT_ID_CHARS: usize = 12;
/// Characters of a full id: 32 bytes in hexadecimal.
pub const FULL_ID_CHARS: usize = 64;
/// A volume name becomes a directory name, so it is limited by NAME_MAX of the file system.
pub const NAME_MAX_CHARS: usize = 255;

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A SHA-256 digest in its text form `sha256:` + 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// The algorithm prefix of every digest that the engine makes.
    pub const PREFIX: &'static str = "sha256:";

    /// Makes the digest of 32 hash bytes.
    #[must_use]
    pub fn of_sha256(bytes: &[u8; 32]) -> Self {
        Self(format!("{}{}", Self::PREFIX, hex(bytes)))
    }

    /// The 64 hexadecimal digits without the algorithm.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.0[Self::PREFIX.len()..]
    }

    /// The first twelve hexadecimal digits, as tables show them.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.hex()[..SHORT_ID_CHARS]
    }

    /// The whole text, algorithm included.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Digest {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text.strip_prefix(Self::PREFIX) {
            Some(digits) if digits.len() == FULL_ID_CHARS && is_lower_hex(digits) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(ParseError::new(format!(
                "invalid digest `{text}`: want sha256:<64 hex digits>"
            ))),
        }
    }
}

macro_rules! text_newtype {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(self.as_str())
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.as_str().to_owned()
            }
        }
        impl TryFrom<String> for $name {
            type Error = ParseError;
            fn try_from(text: String) -> Result<Self, ParseError> {
                text.parse()
            }
        }
    };
}
text_newtype!(Digest);

macro_rules! digest_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Digest);

        impl $name {
            /// Gives the digest its role.
            #[must_use]
            pub fn new(digest: Digest) -> Self {
                Self(digest)
            }
            /// The digest itself.
            #[must_use]
            pub fn digest(&self) -> &Digest {
                &self.0
            }
            /// The whole text, algorithm included.
            #[must_use]
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
            /// The 64 hexadecimal digits.
            #[must_use]
            pub fn hex(&self) -> &str {
                self.0.hex()
            }
            /// The first twelve hexadecimal digits.
            #[must_use]
            pub fn short(&self) -> &str {
                self.0.short()
            }
        }
        impl FromStr for $name {
            type Err = ParseError;
            fn from_str(text: &str) -> Result<Self, ParseError> {
                text.parse().map(Self)
            }
        }
        text_newtype!($name);
    };
}

digest_newtype!(
    /// An image: the digest of its configuration's bytes.
    ImageId
);
digest_newtype!(
    /// A layer's content: the digest of its uncompressed tar.
    DiffId
);
digest_newtype!(
    /// A layer on top of its parents: its digest is that of [`crate::image::chain_text`].
    ChainId
);

/// A container's id: 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

impl ContainerId {
    /// Makes an id of 32 random bytes (the caller brings the randomness, so tests can fix it).
    #[must_use]
    pub fn of_bytes(bytes: &[u8; 32]) -> Self {
        Self(hex(bytes))
    }

    /// All 64 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits; also the container's default host name.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..SHORT_ID_CHARS]
    }
}

impl FromStr for ContainerId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.len() == FULL_ID_CHARS && is_lower_hex(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseError::new(format!("invalid container id `{text}`: want 64 hex digits")))
        }
    }
}
text_newtype!(ContainerId);

/// Whether `text` is `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, the pattern of names in Docker.
fn is_restricted_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && text.len() >= 2
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// A container's name, without the leading slash that Docker's JSON shows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerName(String);

impl ContainerName {
    /// The name without a slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let name = text.strip_prefix('/').unwrap_or(text);
        if is_restricted_name(name) && name.len() <= NAME_MAX_CHARS {
            Ok(Self(name.to_owned()))
        } else {
            Err(ParseError::new(format!(
                "Invalid container name ({text}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
            )))
        }
    }
}
text_newtype!(ContainerName);

/// A volume's name as the `local` driver allows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VolumeName(String);

impl VolumeName {
    /// Makes the name of an anonymous volume from 32 random bytes.
    #[must_use]
    pub fn anonymous(bytes: &[u8; 32]) -> Self {
        Self(hex(bytes))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VolumeName {
    type Err = ParseError;

    /// Texts as Docker's `local` driver gives them (specification of volumes, §1).
    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.chars().count() == 1 {
            return Err(ParseError::new(
                "volume name is too short, names should be at least two alphanumeric characters",
            ));
        }
        if !is_restricted_name(text) {
            return Err(ParseError::new(format!(
                "\"{text}\" includes invalid characters for a local volume name, only \
                 \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host \
                 directory, use absolute path"
            )));
        }
        if text.len() > NAME_MAX_CHARS {
            return Err(ParseError::new(format!(
                "volume name of {} characters is too long, at most {NAME_MAX_CHARS} are allowed",
                text.len()
            )));
        }
        Ok(Self(text.to_owned()))
    }
}
text_newtype!(VolumeName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_sha256_and_lower_case() {
        let text = format!("sha256:{}", "0a".repeat(32));
        let digest: Digest = text.parse().expect("valid");
        assert_eq!(digest.as_str(), text);
        assert_eq!(digest.short(), "0a0a0a0a0a0a");
        for bad in [
            "",
            "sha256:",
            "sha256:ab",
            &"0a".repeat(32),
            &text.to_uppercase(),
            &format!("{text}0"),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn volume_names_follow_the_local_driver() {
        for good in ["db", "a_b.c-d", "0x", &"a".repeat(255)] {
            assert!(good.parse::<VolumeName>().is_ok(), "{good}");
        }
        for bad in ["", "x", "-a", ".a", "a b", "a/b", "é1", &"a".repeat(256)] {
            assert!(bad.parse::<VolumeName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn container_names_lose_one_leading_slash() {
        assert_eq!("/web".parse::<ContainerName>().map(String::from), Ok("web".to_owned()));
        assert!("//web".parse::<ContainerName>().is_err());
        assert!("w".parse::<ContainerName>().is_err());
    }
}
