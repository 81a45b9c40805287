//! The nf_tables requests that we need, as the kernel reads them (`linux/netfilter/nf_tables.h`).
//!
//! A change is a *batch*: begin, requests, end, in one `send`; the kernel does all of it or nothing.
//! Values are loaded into 32-bit registers, numbered from 8; register 1 is the first four of them,
//! and a concatenated key fills one register after the other, each field padded to four bytes.

use crate::channel::{ACK, CREATE};
use crate::wire::{Attributes, Message};

const SUBSYSTEM: u16 = 10;
const FAMILY_IPV4: u8 = 2;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NEW_TABLE: u16 = 0;
const GET_TABLE: u16 = 1;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const GET_CHAIN: u16 = 4;
const NEW_RULE: u16 = 6;
const GET_RULE: u16 = 7;
const DELETE_RULE: u16 = 8;
const NEW_SET: u16 = 9;
const NEW_ELEMENT: u16 = 12;
const DELETE_ELEMENT: u16 = 14;
/// Adds at the end instead of at the beginning.
const APPEND: u16 = 0x800;

/// First 32-bit register.
pub(crate) const REGISTER: u32 = 8;
/// A list's element.
const ELEMENT: u16 = 1;

/// Types of data, as `nft` numbers them to print keys; concatenated by shifting six bits.
pub(crate) const TYPE_IPV4: u32 = 7;
pub(crate) const TYPE_PROTOCOL: u32 = 12;
pub(crate) const TYPE_SERVICE: u32 = 13;

/// Concatenates types of data.
pub(crate) fn concatenation(types: &[u32]) -> u32 {
    types.iter().fold(0, |all, one| (all << 6) | one)
}

fn request(kind: u16, flags: u16, attributes: &Attributes) -> Message {
    let mut body = vec![FAMILY_IPV4, 0, 0, 0];
    body.extend_from_slice(&attributes.0);
    Message { kind: (SUBSYSTEM << 8) | kind, flags, body }
}

/// Wraps requests into a batch; request `n` becomes message `n + 1`, and the last is acknowledged.
pub(crate) fn batch(requests: Vec<Message>) -> Vec<Message> {
    let [high, low] = SUBSYSTEM.to_be_bytes();
    let edge = |kind| Message { kind, flags: 0, body: vec![0, 0, high, low] };
    let mut messages = Vec::with_capacity(requests.len() + 2);
    messages.push(edge(BATCH_BEGIN));
    messages.extend(requests);
    if let Some(last) = messages.last_mut() {
        last.flags |= ACK;
    }
    messages.push(edge(BATCH_END));
    messages
}

/// Asks for every table.
pub(crate) fn get_tables() -> Message {
    request(GET_TABLE, crate::channel::DUMP, &Attributes::new())
}

/// The name of a table in an answer to [`get_tables`].
pub(crate) fn read_table_name(body: &[u8]) -> Option<String> {
    crate::wire::attribute(body.get(4..)?, 1).map(crate::wire::string)
}

/// Creates a table, or leaves it as it is.
pub(crate) fn new_table(table: &str) -> Message {
    request(NEW_TABLE, CREATE, &Attributes::new().text(1, table).number(2, 0))
}

/// Removes a table with all that is in it.
pub(crate) fn delete_table(table: &str) -> Message {
    request(DELETE_TABLE, 0, &Attributes::new().text(1, table))
}

/// Where in the kernel a chain is called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hook {
    /// `nat` or `filter`.
    pub(crate) kind: &'static str,
    /// Number of the hook.
    pub(crate) hook: u32,
    /// Lower ones come first.
    pub(crate) priority: i32,
}

/// Creates a chain that accepts by default, or leaves it as it is.
pub(crate) fn new_chain(table: &str, chain: &str, hook: Hook) -> Message {
    const ACCEPT: u32 = 1;
    let place = Attributes::new().number(1, hook.hook).number(2, hook.priority.cast_unsigned());
    let attributes = Attributes::new()
        .text(1, table)
        .text(3, chain)
        .nest(4, &place)
        .number(5, ACCEPT)
        .text(7, hook.kind);
    request(NEW_CHAIN, CREATE, &attributes)
}

/// Appends a rule to a chain; `comment` is what `nft list` shows behind it.
pub(crate) fn new_rule(
    table: &str,
    chain: &str,
    expressions: &[Attributes],
    comment: &str,
) -> Message {
    let list = expressions.iter().fold(Attributes::new(), |list, one| list.nest(ELEMENT, one));
    let mut attributes = Attributes::new().text(1, table).text(2, chain).nest(4, &list);
    if !comment.is_empty() {
        attributes = attributes.bytes(7, &comment_bytes(comment));
    }
    request(NEW_RULE, CREATE | APPEND, &attributes)
}

/// A comment as user data of a rule: type 0, length with the terminating zero, text.
pub(crate) fn comment_bytes(comment: &str) -> Vec<u8> {
    let mut bytes = vec![0, u8::try_from(comment.len() + 1).expect("comments are short")];
    bytes.extend_from_slice(comment.as_bytes());
    bytes.push(0);
    bytes
}

/// Puts a rule before all others of a chain.
pub(crate) fn insert_rule(
    table: &str,
    chain: &str,
    expressions: &[Attributes],
    comment: &str,
) -> Message {
    let rule = new_rule(table, chain, expressions, comment);
    Message { flags: rule.flags & !APPEND, ..rule }
}

/// Removes one rule.
pub(crate) fn delete_rule(table: &str, chain: &str, handle: u64) -> Message {
    let attributes =
        Attributes::new().text(1, table).text(2, chain).bytes(3, &handle.to_be_bytes());
    request(DELETE_RULE, 0, &attributes)
}

/// The number of a rule in an answer to [`get_rules`].
pub(crate) fn read_rule_handle(body: &[u8]) -> Option<u64> {
    let value = crate::wire::attribute(body.get(4..)?, 3)?;
    Some(u64::from_be_bytes(value.try_into().ok()?))
}

/// Asks for one chain.
pub(crate) fn get_chain(table: &str, chain: &str) -> Message {
    request(GET_CHAIN, 0, &Attributes::new().text(1, table).text(3, chain))
}

/// What a chain in an answer to [`get_chain`] does with what no rule decides.
pub(crate) fn read_chain_policy(body: &[u8]) -> Option<u32> {
    let value = crate::wire::attribute(body.get(4..)?, 5)?;
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

/// Asks for the rules of a chain.
pub(crate) fn get_rules(table: &str, chain: &str) -> Message {
    request(GET_RULE, crate::channel::DUMP, &Attributes::new().text(1, table).text(2, chain))
}

/// The user data of a rule in an answer to [`get_rules`].
pub(crate) fn read_rule_data(body: &[u8]) -> Option<&[u8]> {
    crate::wire::attribute(body.get(4..)?, 7)
}

/// Removes every rule of a table.
pub(crate) fn flush_rules(table: &str) -> Message {
    request(DELETE_RULE, 0, &Attributes::new().text(1, table))
}

/// Types of a map's keys and values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MapTypes {
    /// Types of the fields of a key.
    pub(crate) key: &'static [u32],
    /// Types of the fields of a value.
    pub(crate) value: &'static [u32],
}

/// Creates a map, or leaves it as it is when its types are these; `id` is unique in the batch.
pub(crate) fn new_map(table: &str, map: &str, types: MapTypes, id: u32) -> Message {
    const IS_MAP: u32 = 8;
    let bytes = |fields: &[u32]| u32::try_from(fields.len() * 4).expect("a few fields");
    let attributes = Attributes::new()
        .text(1, table)
        .text(2, map)
        .number(3, IS_MAP)
        .number(4, concatenation(types.key))
        .number(5, bytes(types.key))
        .number(6, concatenation(types.value))
        .number(7, bytes(types.value))
        .number(10, id);
    request(NEW_SET, CREATE, &attributes)
}

/// Adds elements to a map; an element with this key and another value is an error.
pub(crate) fn new_elements(table: &str, map: &str, elements: &[(Vec<u8>, Vec<u8>)]) -> Message {
    let list = elements.iter().fold(Attributes::new(), |list, (key, value)| {
        let element = Attributes::new().nest(1, &value_of(key)).nest(2, &value_of(value));
        list.nest(ELEMENT, &element)
    });
    request(NEW_ELEMENT, CREATE, &Attributes::new().text(1, table).text(2, map).nest(3, &list))
}

/// Removes elements from a map; a key that is not there is an error.
pub(crate) fn delete_elements(table: &str, map: &str, keys: &[Vec<u8>]) -> Message {
    let list = keys.iter().fold(Attributes::new(), |list, key| {
        list.nest(ELEMENT, &Attributes::new().nest(1, &value_of(key)))
    });
    request(DELETE_ELEMENT, 0, &Attributes::new().text(1, table).text(2, map).nest(3, &list))
}

fn value_of(bytes: &[u8]) -> Attributes {
    Attributes::new().bytes(1, bytes)
}

fn expression(name: &str, attributes: &Attributes) -> Attributes {
    Attributes::new().text(1, name).nest(2, attributes)
}

/// What `meta` can load.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Meta {
    /// Name of the interface that the packet came by, 16 bytes.
    InterfaceIn = 6,
    /// Name of the interface that it leaves by, 16 bytes.
    InterfaceOut = 7,
    /// Transport protocol, one byte.
    Transport = 16,
}

/// Loads a property of the packet.
pub(crate) fn meta(key: Meta, register: u32) -> Attributes {
    expression("meta", &Attributes::new().number(1, register).number(2, key as u32))
}

/// Header that an offset counts from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Header {
    /// IPv4.
    Network = 1,
    /// TCP, UDP, SCTP.
    Transport = 2,
}

/// Loads bytes of the packet.
pub(crate) fn payload(header: Header, offset: u32, length: u32, register: u32) -> Attributes {
    let attributes = Attributes::new()
        .number(1, register)
        .number(2, header as u32)
        .number(3, offset)
        .number(4, length);
    expression("payload", &attributes)
}

/// Goes on if the first register is (`equal`) or is not this value.
fn compare(operator: u32, value: &[u8]) -> Attributes {
    let attributes =
        Attributes::new().number(1, REGISTER).number(2, operator).nest(3, &value_of(value));
    expression("cmp", &attributes)
}

/// Goes on if the first register is this value.
pub(crate) fn equal(value: &[u8]) -> Attributes {
    compare(0, value)
}

/// Goes on if the first register is not this value.
pub(crate) fn unequal(value: &[u8]) -> Attributes {
    compare(1, value)
}

/// Masks the first register.
pub(crate) fn and(mask: [u8; 4]) -> Attributes {
    let attributes = Attributes::new()
        .number(1, REGISTER)
        .number(2, REGISTER)
        .number(3, 4)
        .nest(4, &value_of(&mask))
        .nest(5, &value_of(&[0; 4]));
    expression("bitwise", &attributes)
}

/// What `ct` can load; both are bit sets in the machine's byte order.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Conntrack {
    /// Place of the packet in its connection.
    State = 0,
    /// Properties of the connection.
    Status = 2,
}

/// Goes on if the packet's connection has one of the bits.
pub(crate) fn conntrack_has(key: Conntrack, bits: u32) -> Vec<Attributes> {
    let load = expression("ct", &Attributes::new().number(1, REGISTER).number(2, key as u32));
    vec![load, and(bits.to_ne_bytes()), unequal(&[0; 4])]
}

/// Goes on if the packet's destination is an address of this machine.
pub(crate) fn destination_is_local() -> Vec<Attributes> {
    const ADDRESS_TYPE: u32 = 3;
    const BY_DESTINATION: u32 = 2;
    const LOCAL: u32 = 2;
    let load =
        Attributes::new().number(1, REGISTER).number(2, ADDRESS_TYPE).number(3, BY_DESTINATION);
    vec![expression("fib", &load), equal(&LOCAL.to_ne_bytes())]
}

/// Looks the key in the first registers up in a map; the value replaces it, or the rule ends.
pub(crate) fn lookup(map: &str) -> Attributes {
    expression("lookup", &Attributes::new().text(1, map).number(2, REGISTER).number(3, REGISTER))
}

/// Loads a value.
pub(crate) fn load(register: u32, value: &[u8]) -> Attributes {
    expression("immediate", &Attributes::new().number(1, register).nest(2, &value_of(value)))
}

/// Redirects the connection to the address in the first and the port in the second register.
pub(crate) fn destination_nat() -> Attributes {
    const DESTINATION: u32 = 1;
    let attributes = Attributes::new()
        .number(1, DESTINATION)
        .number(2, u32::from(FAMILY_IPV4))
        .number(3, REGISTER)
        .number(5, REGISTER + 1);
    expression("nat", &attributes)
}

/// Gives the connection the address of the interface that it leaves by.
pub(crate) fn masquerade() -> Attributes {
    expression("masq", &Attributes::new())
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verdict {
    /// It ends here.
    Drop = 0,
    /// It passes this chain.
    Accept = 1,
    /// The rest of the chain is left out.
    Return = -5,
}

/// Ends the rule with a verdict.
pub(crate) fn verdict(verdict: Verdict) -> Attributes {
    const VERDICT_REGISTER: u32 = 0;
    let code = Attributes::new().number(1, (verdict as i32).cast_unsigned());
    let data = Attributes::new().nest(2, &code);
    expression("immediate", &Attributes::new().number(1, VERDICT_REGISTER).nest(2, &data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_framed_and_its_last_request_acknowledged() {
        let messages = batch(vec![new_table("t"), flush_rules("t")]);
        let kinds: Vec<_> = messages.iter().map(|message| (message.kind, message.flags)).collect();
        assert_eq!(kinds, [(16, 0), (0x0a00, 0x400), (0x0a08, ACK), (17, 0)]);
        assert_eq!(messages[0].body, [0, 0, 0, 10]);
        // nfgenmsg; name "t"; flags 0.
        let table = [2, 0, 0, 0, 6, 0, 1, 0, b't', 0, 0, 0, 8, 0, 2, 0, 0, 0, 0, 0];
        assert_eq!(messages[1].body, table);
    }

    #[test]
    fn a_verdict_is_an_immediate_in_the_verdict_register() {
        let mut expected = vec![14, 0, 1, 0];
        expected.extend(b"immediate\0\0\0");
        expected.extend([28, 0, 2, 0x80, 8, 0, 1, 0, 0, 0, 0, 0]);
        expected.extend([16, 0, 2, 0x80, 12, 0, 2, 0x80, 8, 0, 1, 0, 0xff, 0xff, 0xff, 0xfb]);
        assert_eq!(verdict(Verdict::Return).0, expected);
    }

    #[test]
    fn a_load_from_the_transport_header_names_register_and_place() {
        let mut expected = vec![12, 0, 1, 0];
        expected.extend(b"payload\0");
        expected.extend([36, 0, 2, 0x80]);
        for (kind, value) in [(1, 10), (2, 2), (3, 2), (4, 2)] {
            expected.extend([8, 0, kind, 0, 0, 0, 0, value]);
        }
        assert_eq!(payload(Header::Transport, 2, 2, REGISTER + 2).0, expected);
    }

    #[test]
    fn an_element_is_a_key_and_a_value() {
        let message = new_elements("t", "m", &[(vec![1, 2, 3, 4], vec![5, 6, 7, 8])]);
        assert_eq!((message.kind, message.flags), (0x0a0c, CREATE));
        let mut expected = vec![2, 0, 0, 0, 6, 0, 1, 0, b't', 0, 0, 0, 6, 0, 2, 0, b'm', 0, 0, 0];
        expected.extend([32, 0, 3, 0x80, 28, 0, 1, 0x80]);
        expected.extend([12, 0, 1, 0x80, 8, 0, 1, 0, 1, 2, 3, 4]);
        expected.extend([12, 0, 2, 0x80, 8, 0, 1, 0, 5, 6, 7, 8]);
        assert_eq!(message.body, expected);
    }

    #[test]
    fn types_are_concatenated_six_bits_each() {
        assert_eq!(
            concatenation(&[TYPE_IPV4, TYPE_PROTOCOL, TYPE_SERVICE]),
            (7 << 12) | (12 << 6) | 13
        );
    }
}
