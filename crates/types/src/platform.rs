//! Platforms: `os/architecture[/variant]`, and which of several fits a machine best.

use std::fmt;
use std::str::FromStr;

use crate::error::ParseError;

/// The only operating system whose images run here.
const OS: &str = "linux";

/// Operating system and processor that an image is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform {
    /// In Go's words, for instance `linux`.
    pub os: String,
    /// In Go's words, for instance `amd64`.
    pub architecture: String,
    /// For instance `v7`; empty for the usual one.
    pub variant: String,
}

impl Platform {
    /// This machine's.
    #[must_use]
    pub fn host() -> Self {
        let (architecture, variant) = normal_architecture(std::env::consts::ARCH, "");
        Self { os: OS.to_owned(), architecture, variant }
    }

    /// Makes a platform from the three members of a configuration or descriptor, in normal words.
    #[must_use]
    pub fn normal(os: &str, architecture: &str, variant: &str) -> Self {
        let (architecture, variant) =
            normal_architecture(&architecture.to_lowercase(), &variant.to_lowercase());
        Self { os: normal_os(&os.to_lowercase()).to_owned(), architecture, variant }
    }

    /// What can run on this platform, best first: `arm/v7` also runs `arm/v6` and `arm/v5`.
    #[must_use]
    pub fn acceptable(&self) -> Vec<Self> {
        let other = |architecture: &str, variant: &str| Self {
            os: self.os.clone(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
        };
        let mut list = vec![self.clone()];
        let level = |variant: &str| variant.strip_prefix('v').and_then(|n| n.parse::<u8>().ok());
        match self.architecture.as_str() {
            "amd64" => {
                for lower in (2..level(&self.variant).unwrap_or(1)).rev() {
                    list.push(other("amd64", &format!("v{lower}")));
                }
                if !self.variant.is_empty() {
                    list.push(other("amd64", ""));
                }
            }
            "arm" => {
                for lower in (5..level(&self.variant).unwrap_or(7)).rev() {
                    list.push(other("arm", &format!("v{lower}")));
                }
            }
            "arm64" => {
                if !self.variant.is_empty() {
                    list.push(other("arm64", ""));
                }
                list.extend((5..=8).rev().map(|lower| other("arm", &format!("v{lower}"))));
            }
            _ => {}
        }
        list
    }

    /// How well `other` runs on this platform: 0 is best, `None` means not at all.
    #[must_use]
    pub fn rank(&self, other: &Self) -> Option<usize> {
        let other = Self::normal(&other.os, &other.architecture, &other.variant);
        let wanted = Self::normal(&self.os, &self.architecture, &self.variant);
        wanted.acceptable().iter().position(|fit| *fit == other)
    }
}

impl FromStr for Platform {
    type Err = ParseError;

    /// Parses `os[/architecture[/variant]]`, or an architecture alone.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let parts: Vec<String> = text.split('/').map(str::to_lowercase).collect();
        let is_word = |part: &String| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
        };
        if !parts.iter().all(is_word) {
            return Err(ParseError::new(format!(
                "\"{text}\" is an invalid component of \"{text}\": platform specifier component must match \"^[A-Za-z0-9_.-]+$\": invalid argument"
            )));
        }
        match parts.as_slice() {
            [word] if is_known_os(word) => {
                Ok(Self { os: normal_os(word).to_owned(), ..Self::host() })
            }
            [word] if is_known_architecture(word) => Ok(Self::normal(OS, word, "")),
            [os, architecture] => Ok(Self::normal(os, architecture, "")),
            [os, architecture, variant] => Ok(Self::normal(os, architecture, variant)),
            [_] => Err(ParseError::new(format!(
                "\"{text}\": unknown operating system or architecture: invalid argument"
            ))),
            _ => Err(ParseError::new(format!(
                "\"{text}\": cannot parse platform specifier: invalid argument"
            ))),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(formatter, "/{}", self.variant) }
    }
}

fn normal_os(os: &str) -> &str {
    match os {
        "" => OS,
        "macos" => "darwin",
        other => other,
    }
}

fn is_known_os(word: &str) -> bool {
    let known = "aix android darwin dragonfly freebsd illumos ios js linux macos netbsd openbsd \
                 plan9 solaris wasip1 windows zos";
    known.split_whitespace().any(|os| os == word)
}

fn is_known_architecture(word: &str) -> bool {
    let known = "386 amd64 arm arm64 loong64 mips mips64 mips64le mipsle ppc64 ppc64le riscv64 \
                 s390x wasm x86_64 x86-64 aarch64 armhf armel i386 i686 x86 powerpc64le loongarch64";
    known.split_whitespace().any(|name| name == word)
}

/// Go's words for an architecture that is named as the kernel or Rust name it.
fn normal_architecture(name: &str, variant: &str) -> (String, String) {
    let (name, variant) = match (name, variant) {
        ("i386" | "i686" | "x86", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8") => ("arm64", ""),
        ("aarch64" | "arm64", variant) => ("arm64", variant),
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", _) | ("arm", "6") => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "8") => ("arm", "v8"),
        ("powerpc64le", variant) => ("ppc64le", variant),
        ("loongarch64", variant) => ("loong64", variant),
        (other, variant) => (other, variant),
    };
    (name.to_owned(), variant.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().expect("valid")
    }

    #[test]
    fn words_become_go_words() {
        for (text, want) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("LINUX/ARM64/v8", "linux/arm64"),
            ("arm64", "linux/arm64"),
            ("aarch64", "linux/arm64"),
            ("armhf", "linux/arm/v7"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("windows/amd64", "windows/amd64"),
        ] {
            assert_eq!(platform(text).to_string(), want, "{text}");
        }
        assert_eq!(platform("linux"), Platform::host());
        for bad in ["", "no-such", "linux/", "linux/amd64/v1/x", "a b"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }

    #[test]
    fn variants_fall_back() {
        let texts = |text: &str| -> Vec<String> {
            platform(text).acceptable().iter().map(ToString::to_string).collect()
        };
        assert_eq!(texts("linux/amd64"), ["linux/amd64"]);
        assert_eq!(texts("linux/amd64/v3"), ["linux/amd64/v3", "linux/amd64/v2", "linux/amd64"]);
        assert_eq!(texts("linux/arm/v7"), ["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]);
        assert_eq!(
            texts("linux/arm64"),
            ["linux/arm64", "linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]
        );
        assert_eq!(texts("linux/s390x"), ["linux/s390x"]);
        let arm64_v8 = Platform {
            os: "linux".to_owned(),
            architecture: "arm64".to_owned(),
            variant: "v8".to_owned(),
        };
        assert_eq!(platform("linux/arm64").rank(&arm64_v8), Some(0));
        assert_eq!(platform("linux/arm/v6").rank(&platform("linux/arm/v7")), None);
    }
}
