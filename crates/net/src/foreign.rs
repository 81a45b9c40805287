//! Room in another engine's firewall: `FORWARD` of `iptables` with the policy `DROP`.
//!
//! Docker sets that policy, and an accept in our table cannot overrule a drop in another. So our
//! bridges get two rules at the top of that chain, as Docker's own bridges have them; what may pass
//! is then decided by our table alone. They are known by their comment, looked at on every start (the
//! other engine may have made its chain anew), and go with the bridge. Best effort: a firewall of
//! another kind (`iptables-legacy`, firewalld) is not touched.

use crate::channel::Channel;
use crate::error::Error;
use crate::nft::{self, Meta, Verdict};
use crate::table::interface;
use crate::wire::Message;

/// Where `iptables` (of the nftables kind) has its rules.
const TABLE: &str = "filter";
const CHAIN: &str = "FORWARD";
/// What a chain does with what no rule decides.
const POLICY_DROP: u32 = 0;
/// Rules for one bridge: in and out.
const RULES: usize = 2;

/// Lets what comes from a bridge and goes to it pass, if it would be dropped otherwise.
pub(crate) fn open(channel: &mut Channel, bridge: &str) {
    if let Err(error) = try_open(channel, bridge) {
        tracing::debug!(op = "open", bridge, %error, "the other firewall stays as it is");
    }
}

fn try_open(channel: &mut Channel, bridge: &str) -> Result<(), Error> {
    let failed = |source| Error::system("look at the other firewall", "nf_tables", source);
    let answers = channel.exchange(&[nft::get_chain(TABLE, CHAIN)]).map_err(failed)?;
    let policy = answers.objects.iter().find_map(|chain| nft::read_chain_policy(&chain.body));
    if policy != Some(POLICY_DROP) || handles(channel, bridge)?.len() >= RULES {
        return Ok(());
    }
    let rule = |side| {
        let parts = [
            nft::meta(side, nft::REGISTER),
            nft::equal(&interface(bridge)),
            nft::verdict(Verdict::Accept),
        ];
        nft::insert_rule(TABLE, CHAIN, &parts, &comment(bridge))
    };
    commit(channel, vec![rule(Meta::InterfaceOut), rule(Meta::InterfaceIn)])
}

/// Takes the rules of a bridge back; fine when there are none.
pub(crate) fn close(channel: &mut Channel, bridge: &str) {
    let closed = handles(channel, bridge).and_then(|handles| {
        let requests: Vec<Message> =
            handles.iter().map(|handle| nft::delete_rule(TABLE, CHAIN, *handle)).collect();
        if requests.is_empty() { Ok(()) } else { commit(channel, requests) }
    });
    if let Err(error) = closed {
        tracing::debug!(op = "close", bridge, %error, "rules are left in the other firewall");
    }
}

fn commit(channel: &mut Channel, requests: Vec<Message>) -> Result<(), Error> {
    let action = "change the other firewall";
    let answers = channel
        .exchange(&nft::batch(requests))
        .map_err(|source| Error::system(action, "nf_tables", source))?;
    match answers.refusals.into_iter().next() {
        Some(refusal) => Err(Error::refused(action, "nf_tables", refusal)),
        None => Ok(()),
    }
}

/// The rules that are there for a bridge.
fn handles(channel: &mut Channel, bridge: &str) -> Result<Vec<u64>, Error> {
    let failed = |source| Error::system("look at the other firewall", "nf_tables", source);
    let wanted = nft::comment_bytes(&comment(bridge));
    let answers = channel.exchange(&[nft::get_rules(TABLE, CHAIN)]).map_err(failed)?;
    let ours = answers
        .objects
        .iter()
        .filter(|rule| nft::read_rule_data(&rule.body) == Some(&wanted))
        .filter_map(|rule| nft::read_rule_handle(&rule.body));
    Ok(ours.collect())
}

fn comment(bridge: &str) -> String {
    format!("orlop: decided by the table of {bridge}")
}
