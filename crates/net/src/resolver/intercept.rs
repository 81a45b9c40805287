//! Leads what a container asks of `127.0.0.11:53` to the resolver's own port.

use std::fs::File;

use super::ADDRESS;
use crate::channel::Channel;
use crate::endpoint::enter_existing;
use crate::error::Error;
use crate::nft::{self, Header, Hook, Meta};
use crate::wire::Message;

/// Name of the table in the container's namespace.
const TABLE: &str = "orlop_resolver";
/// What the kernel must have.
const FEATURE: &str = "nf_tables address translation (nft_chain_nat, nft_nat)";

/// Does it for the namespace of the calling thread.
pub fn answer_here(port: u16) -> Result<(), Error> {
    let failed = |source| Error::system("lead questions to the resolver", FEATURE, source);
    let mut channel = Channel::firewall()?;
    let answers = channel.exchange(&nft::batch(requests(port))).map_err(failed)?;
    match answers.refusals.into_iter().next() {
        None => Ok(()),
        Some(refusal) => Err(Error::refused("lead questions to the resolver", FEATURE, refusal)),
    }
}

/// Does it for a container that runs.
pub fn intercept(namespace: &File, port: u16) -> Result<(), Error> {
    let done = std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            enter_existing(namespace)?;
            answer_here(port)
        });
        work.join()
    });
    done.unwrap_or_else(|_| {
        let source = std::io::Error::other("the thread has ended");
        Err(Error::system("lead questions to the resolver", FEATURE, source))
    })
}

/// Twice is as good as once: the rules are made anew.
fn requests(port: u16) -> Vec<Message> {
    const UDP: u8 = 17;
    const TCP: u8 = 6;
    let hook = Hook { kind: "nat", hook: 3, priority: -100 };
    let mut requests =
        vec![nft::new_table(TABLE), nft::flush_rules(TABLE), nft::new_chain(TABLE, "output", hook)];
    for transport in [UDP, TCP] {
        let rule = [
            nft::payload(Header::Network, 16, 4, nft::REGISTER),
            nft::equal(&ADDRESS.octets()),
            nft::meta(Meta::Transport, nft::REGISTER),
            nft::equal(&[transport]),
            nft::payload(Header::Transport, 2, 2, nft::REGISTER),
            nft::equal(&53_u16.to_be_bytes()),
            nft::load(nft::REGISTER, &ADDRESS.octets()),
            nft::load(nft::REGISTER + 1, &port.to_be_bytes()),
            nft::destination_nat(),
        ];
        requests.push(nft::new_rule(TABLE, "output", &rule, ""));
    }
    requests
}
