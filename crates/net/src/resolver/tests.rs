//! The resolver against real sockets, and what comes over them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use orlop_types::network::{NameRecord, NameServer, NamedNetwork, ResolverPlan};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, RCODE, TYPE, rdata::RData};

use super::*;

fn question(id: u16, name: &str, kind: TYPE) -> Vec<u8> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(name).unwrap().into_owned();
    packet.questions.push(simple_dns::Question::new(
        name,
        QTYPE::TYPE(kind),
        QCLASS::CLASS(CLASS::IN),
        false,
    ));
    packet.build_bytes_vec().unwrap()
}

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new(servers: &[IpAddr]) -> Self {
        let place = Self { directory: tempfile::tempdir().unwrap() };
        std::fs::create_dir(place.records()).unwrap();
        let servers =
            servers.iter().map(|one| NameServer { address: *one, from_host: false }).collect();
        let links = BTreeMap::from([("dblink".to_owned(), "db".to_owned())]);
        let network = NamedNetwork { name: "Shop".to_owned(), records: place.records() };
        let resolver = Some(ResolverPlan { networks: vec![network], links, servers });
        let state = NetworkState { endpoints: Vec::new(), resolver };
        std::fs::write(place.state(), serde_json::to_vec(&state).unwrap()).unwrap();
        place
    }

    fn records(&self) -> PathBuf {
        self.directory.path().join("shop")
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("network.json")
    }

    fn put(&self, file: &str, address: [u8; 4], names: &[&str]) {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        let record = NameRecord { address: address.into(), names };
        let temporary = self.directory.path().join("new");
        std::fs::write(&temporary, serde_json::to_vec(&record).unwrap()).unwrap();
        std::fs::rename(temporary, self.records().join(file)).unwrap();
    }

    fn resolver(&self) -> Resolver {
        Resolver::open(&self.state(), File::open("/proc/thread-self/ns/net").unwrap()).unwrap()
    }
}

/// Works until an answer is there.
fn ask_udp(resolver: &mut Resolver, question: &[u8]) -> Vec<u8> {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect((ADDRESS, resolver.port().unwrap())).unwrap();
    client.send(question).unwrap();
    client.set_nonblocking(true).unwrap();
    let mut buffer = [0; 65_535];
    for _ in 0..5000 {
        resolver.work();
        if let Ok(length) = client.recv(&mut buffer) {
            return buffer[..length].to_vec();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("no answer");
}

fn ask_tcp(resolver: &mut Resolver, question: &[u8]) -> Vec<u8> {
    let mut client = TcpStream::connect((ADDRESS, resolver.port().unwrap())).unwrap();
    let length = u16::try_from(question.len()).unwrap().to_be_bytes();
    // In two parts, as a slow network would bring it.
    client.write_all(&length[..1]).unwrap();
    resolver.work();
    client.write_all(&[&length[1..], question].concat()).unwrap();
    client.set_nonblocking(true).unwrap();
    let mut input = Vec::new();
    for _ in 0..5000 {
        resolver.work();
        let mut buffer = [0; 4096];
        if let Ok(length) = client.read(&mut buffer) {
            input.extend_from_slice(&buffer[..length]);
        }
        if let [high, low, rest @ ..] = input.as_slice()
            && rest.len() == usize::from(u16::from_be_bytes([*high, *low]))
        {
            return rest.to_vec();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("no answer");
}

fn addresses(answer: &[u8]) -> Vec<String> {
    let packet = Packet::parse(answer).unwrap();
    let mut all: Vec<String> = packet
        .answers
        .iter()
        .filter_map(|record| match &record.rdata {
            RData::A(a) => Some(Ipv4Addr::from(a.address).to_string()),
            _ => None,
        })
        .collect();
    all.sort();
    all
}

fn code(answer: &[u8]) -> RCODE {
    Packet::parse(answer).unwrap().rcode()
}

#[test]
fn names_aliases_links_and_addresses_are_answered() {
    let place = Place::new(&[]);
    place.put("one", [10, 0, 0, 2], &["db", "0123456789ab", "Store"]);
    place.put("two", [10, 0, 0, 3], &["web", "store"]);
    place.put(".gone", [10, 0, 0, 4], &["old"]);
    let mut resolver = place.resolver();
    for (name, want) in [
        ("db", &["10.0.0.2"][..]),
        ("DB", &["10.0.0.2"]),
        ("db.shop", &["10.0.0.2"]),
        ("dblink", &["10.0.0.2"]),
        ("0123456789ab", &["10.0.0.2"]),
        ("store", &["10.0.0.2", "10.0.0.3"]),
    ] {
        let asked = question(7, name, TYPE::A);
        let answer = ask_udp(&mut resolver, &asked);
        assert_eq!(addresses(&answer), want, "{name}");
        assert_eq!(&answer[..2], &[0, 7]);
        assert_eq!(addresses(&ask_tcp(&mut resolver, &asked)), want, "{name}");
    }
    let empty = ask_udp(&mut resolver, &question(1, "db", TYPE::AAAA));
    assert_eq!((code(&empty), addresses(&empty).len()), (RCODE::NoError, 0));
    // Nobody else can be asked.
    for name in ["old", "nothing", "web.other"] {
        let answer = ask_udp(&mut resolver, &question(1, name, TYPE::A));
        assert_eq!(code(&answer), RCODE::ServerFailure, "{name}");
    }
    let answer = ask_udp(&mut resolver, &question(1, "3.0.0.10.in-addr.arpa", TYPE::PTR));
    let packet = Packet::parse(&answer).unwrap();
    let RData::PTR(name) = &packet.answers[0].rdata else { panic!("{packet:?}") };
    assert_eq!(name.0.to_string(), "web.Shop");
}

#[test]
fn a_container_that_starts_later_is_known_at_once() {
    let place = Place::new(&[]);
    let mut resolver = place.resolver();
    for number in 2..40 {
        let name = format!("c{number}");
        place.put(&name, [10, 0, 0, number], &[&name]);
        let answer = ask_udp(&mut resolver, &question(1, &name, TYPE::A));
        assert_eq!(addresses(&answer), [format!("10.0.0.{number}")]);
        std::fs::rename(place.records().join(&name), place.records().join(format!(".{name}")))
            .unwrap();
        let answer = ask_udp(&mut resolver, &question(1, &name, TYPE::A));
        assert_eq!(code(&answer), RCODE::ServerFailure, "{name}");
    }
}

#[test]
fn many_addresses_are_cut_off_in_a_datagram_and_whole_over_a_connection() {
    let place = Place::new(&[]);
    for number in 1..=200 {
        place.put(&format!("c{number}"), [10, 0, 0, number], &["all"]);
    }
    let mut resolver = place.resolver();
    let asked = question(1, "all", TYPE::A);
    let answer = ask_udp(&mut resolver, &asked);
    assert!(
        answer.len() <= 512 && Packet::parse(&answer).unwrap().has_flags(PacketFlag::TRUNCATION)
    );
    assert_eq!(addresses(&ask_tcp(&mut resolver, &asked)).len(), 200);
}

#[test]
fn what_is_no_question_is_refused_or_ignored() {
    let place = Place::new(&[]);
    let mut resolver = place.resolver();
    let mut odd = question(3, "db", TYPE::A);
    odd.truncate(14);
    assert_eq!(ask_udp(&mut resolver, &odd)[..4], [0, 3, 0x81, 0x81]);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect((ADDRESS, resolver.port().unwrap())).unwrap();
    // An answer, and too few bytes: nobody is to be answered.
    let mut answer = question(3, "db", TYPE::A);
    answer[2] |= 0x80;
    client.send(&answer).unwrap();
    client.send(&[1, 2, 3]).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    resolver.work();
    assert!(client.recv(&mut [0; 512]).is_err());
}

#[test]
fn answers_of_others_must_fit_the_question() {
    let asked = question(9, "example.org", TYPE::A);
    let mut answer = asked.clone();
    answer[2] |= 0x80;
    assert!(wire::answers(&answer, &asked));
    let mut other_id = answer.clone();
    other_id[1] = 8;
    assert!(!wire::answers(&other_id, &asked));
    assert!(!wire::answers(&asked, &asked));
    let mut other = question(9, "example.net", TYPE::A);
    other[2] |= 0x80;
    assert!(!wire::answers(&other, &asked));
    answer[3] |= 2;
    assert!(wire::is_failure(&answer));
}

proptest::proptest! {
    #[test]
    fn foreign_bytes_never_panic(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600),
        place in 0usize..40,
        change in proptest::prelude::any::<u8>(),
    ) {
        let mut near = question(9, "example.org", TYPE::A);
        if let Some(byte) = near.get_mut(place) {
            *byte = change;
        }
        for text in [&bytes, &near] {
            if let Ok(question) = wire::Question::parse(text) {
                for answer in [Answer::Empty, Answer::Name("a b..c".to_owned())] {
                    let _ = question.reply(&answer, question.datagram_max_bytes());
                }
                let _ = (question.fail(), question.refuse(), wire::pointed_address(&question.name));
            }
            let _ = wire::answers(text, &near);
            let _ = wire::answers(&near, text);
            let _ = (wire::is_failure(text), wire::with_id_of(text.clone(), &near));
        }
    }
}
