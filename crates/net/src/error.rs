//! What can go wrong with the network, and what kind of failure each is.

use std::io;
use std::net::Ipv4Addr;

use orlop_types::ErrorKind;
use rustix::io::Errno;

use crate::channel::Refusal;

/// Why something about the network could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller lacks a privilege.
    #[error("cannot {action}: not permitted (needs root, or CAP_NET_ADMIN and CAP_SYS_ADMIN)")]
    Denied {
        /// What was attempted.
        action: String,
    },
    /// The kernel was built without something, or its module cannot be loaded.
    #[error("cannot {action}: the kernel has no support for {feature}")]
    Missing {
        /// What was attempted.
        action: String,
        /// What the kernel lacks.
        feature: String,
    },
    /// The port of the host belongs to another program or container.
    #[error("Bind for {ip}:{port} failed: port is already allocated")]
    PortTaken {
        /// Address on the host.
        ip: Ipv4Addr,
        /// Port on the host.
        port: u16,
    },
    /// The port of the host cannot be used for another reason.
    #[error("cannot bind host port {ip}:{port}/{protocol}")]
    Bind {
        /// Address on the host.
        ip: Ipv4Addr,
        /// Port on the host.
        port: u16,
        /// Transport.
        protocol: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The name of the bridge belongs to an interface of another type.
    #[error("interface `{name}` exists and is not a bridge")]
    NotABridge {
        /// Name of the interface.
        name: String,
    },
    /// The bridge is not there.
    #[error("bridge `{name}` does not exist")]
    NoBridge {
        /// Name of the bridge.
        name: String,
    },
    /// A name that the kernel would not take.
    #[error("`{name}` is not a valid interface name (1 to 15 bytes, no `/`, `:` or space)")]
    Name {
        /// The name.
        name: String,
    },
    /// A network that cannot hold a gateway and a container.
    #[error("{address}/{prefix_len} is not a usable network")]
    Network {
        /// Address in it.
        address: Ipv4Addr,
        /// Length of the prefix.
        prefix_len: u8,
    },
    /// Every private network overlaps a route of the host.
    #[error("all predefined address pools have been fully subnetted")]
    NoFreeNetwork,
    /// Every address of the network is taken.
    #[error("no available IPv4 addresses on this network's address pools: {network}/{prefix_len}")]
    NoFreeAddress {
        /// The network.
        network: Ipv4Addr,
        /// Length of its prefix.
        prefix_len: u8,
    },
    /// A kernel setting could not be read or written.
    #[error("cannot set `{path}`")]
    Setting {
        /// File below `/proc/sys`.
        path: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Any other refusal by the kernel.
    #[error("cannot {action}{detail}")]
    Kernel {
        /// What was attempted.
        action: String,
        /// The kernel's own explanation, after a colon, or nothing.
        detail: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Several steps of a teardown failed; all were tried.
    #[error("{}", .failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Teardown {
        /// The failures, in order.
        failures: Vec<Error>,
    },
}

impl Error {
    /// The sort of failure, for exit codes and HTTP statuses.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Denied { .. } => ErrorKind::Denied,
            Self::Missing { .. } | Self::NoFreeNetwork | Self::NoFreeAddress { .. } => {
                ErrorKind::Unavailable
            }
            Self::PortTaken { .. } | Self::NotABridge { .. } => ErrorKind::Conflict,
            Self::NoBridge { .. } => ErrorKind::NotFound,
            Self::Name { .. } | Self::Network { .. } => ErrorKind::InvalidInput,
            // The address was named by the user; it is not one of this machine's.
            Self::Bind { source, .. } if source.kind() == io::ErrorKind::AddrNotAvailable => {
                ErrorKind::InvalidInput
            }
            Self::Bind { source, .. }
            | Self::Setting { source, .. }
            | Self::Kernel { source, .. } => ErrorKind::of_io(source),
            Self::Teardown { failures } => failures.first().map_or(ErrorKind::Internal, Self::kind),
        }
    }

    /// Sorts a refusal by the kernel into the variant that says most.
    pub(crate) fn refused(action: impl Into<String>, feature: &str, refusal: Refusal) -> Self {
        let action = action.into();
        match refusal.errno {
            Errno::PERM | Errno::ACCESS => Self::Denied { action },
            Errno::OPNOTSUPP | Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT | Errno::NOSYS => {
                Self::Missing { action, feature: feature.to_owned() }
            }
            errno => Self::Kernel {
                action,
                detail: refusal.detail.map_or_else(String::new, |text| format!(": {text}")),
                source: errno.into(),
            },
        }
    }

    /// The same for a failed system call.
    pub(crate) fn system(action: impl Into<String>, feature: &str, source: io::Error) -> Self {
        match Errno::from_io_error(&source) {
            Some(errno) => {
                Self::refused(action, feature, Refusal { message: 0, errno, detail: None })
            }
            None => Self::Kernel { action: action.into(), detail: String::new(), source },
        }
    }

    /// Nothing, the one failure, or all of them.
    pub(crate) fn collect(mut failures: Vec<Self>) -> Result<(), Self> {
        match failures.len() {
            0 => Ok(()),
            1 => Err(failures.remove(0)),
            _ => Err(Self::Teardown { failures }),
        }
    }
}
