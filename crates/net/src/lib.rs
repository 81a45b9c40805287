//! Container networking: the bridge of a root, its nftables table, end points and published ports.
//!
//! Everything here is synchronous and talks to the kernel over netlink; no program is executed.
//! * [`Bridge::ensure`] makes the host's side (once per network, checked on every start),
//! * [`Sandbox::enter`] runs in the monitor and gives the calling thread its own network,
//! * [`connect`] and [`disconnect`] change the networks of a container that runs,
//! * [`Resolver`] answers the container's questions about names,
//! * [`unpublish`] and [`remove_interface`] clean up after a monitor that was killed,
//! * [`subnet`] and [`names`] are pure choices that the engine stores.
//!
//! A published port is one element of a map in the network's table, never a rule of its own, and a
//! bound socket in the host's namespace, so that no two programs share a port.

mod bridge;
mod channel;
mod conntrack;
mod endpoint;
mod error;
mod foreign;
mod link;
pub mod names;
mod nft;
mod port;
mod resolver;
pub mod subnet;
mod table;
mod wire;

pub use bridge::{Bridge, interface_exists, remove_leftover};
pub use endpoint::{
    Sandbox, connect, disconnect, enter_existing, enter_none, publish, remove_interface,
    set_default_route, withdraw,
};
pub use error::Error;
pub use port::{free_port, probe_port};
pub use resolver::{Resolver, answer_here, intercept};
pub use subnet::{Subnet, next_address};
pub use table::{Reach, tables, unpublish};
