//! Questions and answers as bytes, by `simple-dns`.

use std::net::Ipv4Addr;

use simple_dns::rdata::{A, PTR, RData};
use simple_dns::{
    CLASS, Name, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, RCODE, ResourceRecord, TYPE,
};

/// Time to live that Docker gives, in seconds.
const TTL: u32 = 600;
/// Bytes of a message's header.
const HEADER_BYTES: usize = 12;
/// Bytes of a datagram that everybody takes.
const DATAGRAM_BYTES: usize = 512;

/// What is known about a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing: somebody else may know.
    Unknown,
    /// The name exists, but has nothing of this kind.
    Empty,
    /// Addresses.
    Addresses(Vec<Ipv4Addr>),
    /// A name.
    Name(String),
}

/// What a question asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// IPv4 addresses.
    Address,
    /// The name of an address.
    Pointer,
    /// Anything else.
    Other,
}

/// A question that was understood.
#[derive(Debug)]
pub(super) struct Question<'a> {
    packet: Packet<'a>,
    /// Lower case, without a dot at the end.
    pub(super) name: String,
    /// What it asks for.
    pub(super) kind: Kind,
}

impl<'a> Question<'a> {
    /// Reads a message; what is no question comes back as the refusal to be sent, if any.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Option<Vec<u8>>> {
        // An answer is never answered: that could go on for ever.
        let is_answer = bytes.get(2).is_none_or(|flags| flags & 0x80 != 0);
        if bytes.len() < HEADER_BYTES || is_answer {
            return Err(None);
        }
        let refused = |code: u8| {
            let mut head = bytes.get(..HEADER_BYTES).unwrap_or_default().to_vec();
            // An answer without any section: flags of the question, our code.
            if let Some([first, second]) = head.get_mut(2..4) {
                *first = (*first & 0x79) | 0x80;
                *second = 0x80 | code;
            }
            head.iter_mut().skip(4).for_each(|count| *count = 0);
            Err(Some(head))
        };
        let Ok(packet) = Packet::parse(bytes) else { return refused(1) };
        if packet.opcode() != OPCODE::StandardQuery {
            return refused(4);
        }
        let [question] = packet.questions.as_slice() else { return refused(1) };
        let labels: Vec<String> = question
            .qname
            .as_bytes()
            .map(|label| String::from_utf8_lossy(label).to_ascii_lowercase())
            .collect();
        let is_internet = question.qclass == QCLASS::CLASS(CLASS::IN);
        let kind = match question.qtype {
            QTYPE::TYPE(TYPE::A) if is_internet => Kind::Address,
            QTYPE::TYPE(TYPE::PTR) if is_internet => Kind::Pointer,
            _ => Kind::Other,
        };
        let name = labels.join(".");
        Ok(Self { packet, name, kind })
    }

    /// The largest answer that the asker takes in one datagram.
    pub(super) fn datagram_max_bytes(&self) -> usize {
        let offered = self.packet.opt().map_or(0, |opt| usize::from(opt.udp_packet_size));
        offered.clamp(DATAGRAM_BYTES, super::QUESTION_MAX_BYTES)
    }

    /// An answer of at most `limit` bytes; more is cut off and marked so.
    pub(super) fn reply(&self, answer: &Answer, limit: usize) -> Option<Vec<u8>> {
        let name = self.packet.questions.first()?.qname.clone();
        let record = |data| ResourceRecord::new(name.clone(), CLASS::IN, TTL, data);
        let mut reply = self.empty_reply(RCODE::NoError);
        let pointed;
        match answer {
            Answer::Addresses(addresses) => {
                reply.answers =
                    addresses.iter().map(|one| record(RData::A(A::from(*one)))).collect();
            }
            Answer::Name(text) => {
                pointed = Name::new(text).ok()?;
                reply.answers.push(record(RData::PTR(PTR(pointed))));
            }
            Answer::Unknown | Answer::Empty => {}
        }
        let bytes = reply.build_bytes_vec_compressed().ok()?;
        if bytes.len() <= limit {
            return Some(bytes);
        }
        reply.answers.clear();
        reply.set_flags(PacketFlag::TRUNCATION);
        reply.build_bytes_vec_compressed().ok()
    }

    /// `SERVFAIL`: nobody could be asked.
    pub(super) fn fail(&self) -> Option<Vec<u8>> {
        self.empty_reply(RCODE::ServerFailure).build_bytes_vec_compressed().ok()
    }

    /// `REFUSED`.
    pub(super) fn refuse(&self) -> Option<Vec<u8>> {
        self.empty_reply(RCODE::Refused).build_bytes_vec_compressed().ok()
    }

    fn empty_reply(&self, code: RCODE) -> Packet<'a> {
        let mut reply = Packet::new_reply(self.packet.id());
        reply.questions.clone_from(&self.packet.questions);
        reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
        if self.packet.has_flags(PacketFlag::RECURSION_DESIRED) {
            reply.set_flags(PacketFlag::RECURSION_DESIRED);
        }
        *reply.rcode_mut() = code;
        reply
    }
}

/// The address that `4.3.2.1.in-addr.arpa` asks for.
pub(super) fn pointed_address(name: &str) -> Option<Ipv4Addr> {
    let reversed: Ipv4Addr = name.strip_suffix(".in-addr.arpa")?.parse().ok()?;
    let [d, c, b, a] = reversed.octets();
    Some(Ipv4Addr::new(a, b, c, d))
}

/// A question with another id.
pub(super) fn with_id(mut bytes: Vec<u8>, id: u16) -> Vec<u8> {
    if let Some(place) = bytes.get_mut(..2) {
        place.copy_from_slice(&id.to_be_bytes());
    }
    bytes
}

/// An answer with the id of the question as it came.
pub(super) fn with_id_of(answer: Vec<u8>, question: &[u8]) -> Vec<u8> {
    let id = question.first_chunk::<2>().map_or(0, |id| u16::from_be_bytes(*id));
    with_id(answer, id)
}

/// Whether a message is the answer to a question: its id, and the same question in it.
pub(super) fn answers(answer: &[u8], question: &[u8]) -> bool {
    let same_id = answer.len() >= HEADER_BYTES && answer.get(..2) == question.get(..2);
    let is_answer = answer.get(2).is_some_and(|flags| flags & 0x80 != 0);
    let counts = |bytes: &[u8]| bytes.get(4..6).map(<[u8]>::to_vec);
    if !same_id || !is_answer {
        return false;
    }
    // Servers that refuse may leave the question out.
    if counts(answer) != counts(question) {
        return counts(answer).is_some_and(|count| count == [0, 0]) && is_failure(answer);
    }
    let asked = |bytes| {
        let packet = Packet::parse(bytes).ok()?;
        let question = packet.questions.first()?;
        let name: Vec<Vec<u8>> =
            question.qname.as_bytes().map(<[u8]>::to_ascii_lowercase).collect();
        Some((name, u16::from(question.qtype)))
    };
    match (asked(answer), asked(question)) {
        (Some(answered), Some(wanted)) => answered == wanted,
        // What we cannot read the container may: the id and the connected socket vouch for it.
        (None, _) => true,
        _ => false,
    }
}

/// Whether the server says that it failed, or refuses.
pub(super) fn is_failure(answer: &[u8]) -> bool {
    matches!(answer.get(3).map(|flags| flags & 0x0f), Some(2 | 5))
}
