//! Bridge, rules and end points in namespaces of their own; `nft` and `ip` cross-check the kernel's view.

#![allow(clippy::unwrap_used, missing_docs)]

mod space;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use orlop_net::{
    Bridge, Error, Reach, Sandbox, Subnet, names, probe_port, remove_interface, subnet, unpublish,
};
use orlop_types::ErrorKind;
use orlop_types::network::{BridgePlan, Protocol, PublishedPort};
use space::Space;

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// The host as its neighbour sees it, and the neighbour.
const HOST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
/// How long a connection is waited for: less than the second after which a lost packet is repeated,
/// so that a first packet that is lost shows.
const PATIENCE: Duration = Duration::from_millis(900);
/// Tells a copy of this program that it is the other process of a test.
const CHILD: &str = "ORLOP_NET_TEST_CHILD";

fn bridge(number: u8) -> Bridge {
    Bridge {
        name: format!("orl-test{number}"),
        table: format!("orl-test{number}"),
        gateway: Ipv4Addr::new(172, 30 + number, 0, 1),
        prefix_len: 16,
        mtu: 1400,
        reach: Reach::Masqueraded,
    }
}

fn address(bridge: &Bridge, last: u8) -> Ipv4Addr {
    let [a, b, c, _] = bridge.gateway.octets();
    Ipv4Addr::new(a, b, c, last)
}

fn port(
    host_ip: Ipv4Addr,
    host_port: u16,
    container_port: u16,
    protocol: Protocol,
) -> PublishedPort {
    PublishedPort { host_ip, host_port, container_port, protocol }
}

fn plan(bridge: &Bridge, last: u8, ports: &[PublishedPort]) -> BridgePlan {
    let address = address(bridge, last);
    BridgePlan {
        bridge: bridge.name.clone(),
        table: bridge.table.clone(),
        host_interface: names::interface_name(&format!("{last}{}", bridge.name.replace('-', ""))),
        mac: subnet::mac_of(address),
        address,
        prefix_len: bridge.prefix_len,
        interface: "eth0".to_owned(),
        gateway: Some(bridge.gateway),
        default_route: true,
        isolated: false,
        names: None,
        mtu: bridge.mtu,
        ports: ports.to_vec(),
    }
}

/// A host with the bridges of these roots.
fn host(bridges: &[&Bridge]) -> Space {
    let host = Space::isolated();
    for bridge in bridges {
        let bridge = (*bridge).clone();
        host.run(move || bridge.ensure().unwrap());
    }
    host
}

fn enter(host: &Space, plan: &BridgePlan) -> Result<(Space, Sandbox), Error> {
    let space = host.neighbour();
    let plan = plan.clone();
    let endpoint = space.run(move || Sandbox::enter(std::slice::from_ref(&plan)))?;
    Ok((space, endpoint))
}

/// Another machine on a wire with the host.
fn neighbour(host: &Space) -> Space {
    let other = Space::isolated();
    host.shell(&format!(
        "ip link add wire type veth peer name wire netns {}
         ip addr add {HOST}/24 dev wire
         ip link set wire up",
        other.id()
    ));
    other.shell(&format!("ip addr add {NEIGHBOUR}/24 dev wire; ip link set wire up"));
    other
}

/// Serves TCP and UDP: answers with a name and the address that the server sees.
fn serve(space: &Space, port: u16, name: &'static str) {
    space.run(move || {
        let listener = TcpListener::bind((ANY, port)).unwrap();
        thread::spawn(move || {
            while let Ok((mut stream, peer)) = listener.accept() {
                drop(write!(stream, "{name} {}", peer.ip()));
            }
        });
        let socket = UdpSocket::bind((ANY, port)).unwrap();
        thread::spawn(move || {
            while let Ok((_, peer)) = socket.recv_from(&mut [0; 16]) {
                drop(socket.send_to(format!("{name} {}", peer.ip()).as_bytes(), peer));
            }
        });
    });
}

fn try_tcp(space: &Space, ip: Ipv4Addr, port: u16) -> std::io::Result<String> {
    space.run(move || {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from((ip, port)), PATIENCE)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    })
}

fn tcp(space: &Space, ip: Ipv4Addr, port: u16) -> String {
    try_tcp(space, ip, port).unwrap_or_else(|error| panic!("tcp {ip}:{port}: {error}"))
}

fn udp(space: &Space, ip: Ipv4Addr, port: u16) -> String {
    space.run(move || {
        let socket = UdpSocket::bind((ANY, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.connect((ip, port)).unwrap();
        socket.send(b"?").unwrap();
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    })
}

fn elements(host: &Space, bridge: &Bridge, map: &str) -> String {
    let listed = host.shell(&format!("nft list map ip {} {map}", bridge.table));
    let Some((_, rest)) = listed.split_once("elements = {") else { return String::new() };
    let inner = rest.split('}').next().unwrap();
    let mut all: Vec<_> =
        inner.split(',').map(|one| one.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    all.sort_unstable();
    all.join(", ")
}

/// A copy of this program that runs one test as its other process, in the host's namespace.
fn child(host: &Space, test: &'static str, configure: fn(&mut Command)) -> std::process::Child {
    host.run(move || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--ignored", "--nocapture"]).env(CHILD, "1");
        configure(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        command.spawn().unwrap()
    })
}

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Hands a line to the other process, past what the test harness prints.
fn tell_parent(text: &str) {
    std::io::stdout().write_all(format!("\nchild: {text}\n").as_bytes()).unwrap();
}

fn told_by(child: &mut std::process::Child) -> String {
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let told = output
        .by_ref()
        .lines()
        .map_while(Result::ok)
        .find_map(|line| Some(line.strip_prefix("child: ")?.to_owned()))
        .expect("the child says something");
    // The harness in the child has more to print.
    child.stdout = Some(output.into_inner());
    told
}

#[test]
#[ignore = "root: CAP_NET_ADMIN"]
fn the_kernel_reads_the_table_as_intended_and_ensure_only_looks_the_second_time() {
    let bridge = bridge(0);
    let host = host(&[&bridge]);
    let expected = include_str!("ruleset.txt");
    assert_eq!(host.shell("nft list ruleset"), expected);
    // Handles would change if anything were written again.
    let before = host.shell("nft -a list ruleset; ip addr show orl-test0");
    let again = bridge.clone();
    host.run(move || again.ensure().unwrap());
    assert_eq!(host.shell("nft -a list ruleset; ip addr show orl-test0"), before);
    assert_eq!(
        host.shell("ip -o -4 addr show orl-test0 | tr -s ' ' | cut -d ' ' -f 2-6"),
        "orl-test0 inet 172.30.0.1/16 brd 172.30.255.255\n"
    );
    let link = host.shell("ip -o link show orl-test0");
    assert!(link.contains("mtu 1400") && link.contains("link/ether 02:42:ac:1e:00:01"), "{link}");
    assert_eq!(host.shell("cat /proc/sys/net/ipv4/ip_forward"), "1\n");
    assert_eq!(host.shell("cat /proc/sys/net/ipv4/conf/orl-test0/route_localnet"), "1\n");
    // What was damaged is mended.
    host.shell("nft flush chain ip orl-test0 guard; ip link set orl-test0 down mtu 1300; ip addr flush dev orl-test0");
    let again = bridge.clone();
    host.run(move || again.ensure().unwrap());
    assert_eq!(host.shell("nft list ruleset"), expected);
    assert_eq!(host.shell("ip -br -4 addr show orl-test0 | awk '{print $3}'"), "172.30.0.1/16\n");
    assert!(host.shell("ip -o link show orl-test0").contains("mtu 1400"));

    host.run(move || {
        bridge.remove().unwrap();
        bridge.remove().unwrap();
    });
    assert_eq!(host.shell("nft list ruleset"), "");
    assert_eq!(host.shell("ip -br link | wc -l"), "1\n");
}

#[test]
#[ignore = "root: CAP_NET_ADMIN"]
fn eight_processes_set_the_bridge_up_at_once() {
    if is_child() {
        // Everybody starts when the parent closes the pipe.
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        return bridge(0).ensure().unwrap();
    }
    let host = Space::isolated();
    let mut children: Vec<_> =
        (0..8).map(|_| child(&host, "eight_processes_set_the_bridge_up_at_once", |_| {})).collect();
    for child in &mut children {
        drop(child.stdin.take());
    }
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    assert_eq!(host.shell("nft list ruleset"), include_str!("ruleset.txt"));
    assert_eq!(host.shell("ip -br -4 addr show orl-test0 | awk '{print $3}'"), "172.30.0.1/16\n");
}

#[test]
#[ignore = "root: CAP_NET_ADMIN"]
fn an_end_point_has_its_address_route_and_settings() {
    let bridge = bridge(0);
    let host = host(&[&bridge]);
    let (container, mut endpoint) = enter(&host, &plan(&bridge, 2, &[])).unwrap();
    // Frames pass at once.
    assert_eq!(host.shell("ip -br link show master orl-test0 | awk '{print $2}'"), "UP\n");
    assert_eq!(host.shell("ip -br link show orl-test0 | awk '{print $2}'"), "UP\n");
    let link = container.shell("ip -o link show eth0");
    assert!(link.contains("mtu 1400") && link.contains("link/ether 02:42:ac:1e:00:02"), "{link}");
    assert_eq!(
        container.shell("ip -o addr show eth0 | tr -s ' ' | cut -d ' ' -f 2-6"),
        "eth0 inet 172.30.0.2/16 brd 172.30.255.255\n"
    );
    assert_eq!(
        container.shell("ip route | sed 's/ *$//'"),
        "default via 172.30.0.1 dev eth0\n172.30.0.0/16 dev eth0 proto kernel scope link src 172.30.0.2\n"
    );
    assert!(container.shell("ip -br addr show lo").contains("127.0.0.1/8"));
    assert_eq!(container.shell("cat /proc/sys/net/ipv4/ip_unprivileged_port_start"), "0\n");
    let used = host.run(|| subnet::in_use("").unwrap());
    assert!(used.contains(&bridge.subnet()), "{used:?}");
    let used = host.run(|| subnet::in_use("orl-test0").unwrap());
    assert_eq!(used.iter().filter(|used| used.overlaps(&bridge.subnet())).count(), 0, "{used:?}");
    assert_eq!(subnet::choose(&used).unwrap(), Subnet::new([172, 17, 0, 0].into(), 16));

    endpoint.leave(&[]).unwrap();
    endpoint.leave(&[]).unwrap();
    assert_eq!(host.shell("ip -br link | grep -c orlv || true"), "0\n");
}

#[test]
#[ignore = "root: CAP_NET_ADMIN"]
fn no_network_is_loopback_only() {
    let space = Space::isolated();
    let addresses = space.shell("ip -br -4 addr");
    assert_eq!(addresses.split_whitespace().collect::<Vec<_>>(), ["lo", "UNKNOWN", "127.0.0.1/8"]);
}

#[test]
#[ignore = "root: CAP_NET_ADMIN"]
fn a_published_port_is_reached_from_everywhere() {
    let bridge = bridge(0);
    let host = host(&[&bridge]);
    let other = neighbour(&host);
    let ports = [port(ANY, 8080, 80, Protocol::Tcp), port(ANY, 8080, 80, Protocol::Udp)];
    let (web, _web) = enter(&host, &plan(&bridge, 2, &ports)).unwrap();
    let (client, _client) = enter(&host, &plan(&bridge, 3, &[])).unwrap();
    serve(&web, 80, "web");
    serve(&other, 9000, "outside");
    assert_eq!(
        elements(&host, &bridge, "ports_any"),
        "tcp . 8080 : 172.30.0.2 . 80, udp . 8080 : 172.30.0.2 . 80"
    );
    for reach in [tcp, udp] {
        // The host by each of its addresses; the container sees the neighbour's own address.
        assert_eq!(reach(&host, LOCALHOST, 8080), "web 172.30.0.1");
        assert_eq!(reach(&host, Ipv4Addr::new(127, 1, 2, 3), 8080), "web 172.30.0.1");
        assert_eq!(reach(&host, HOST, 8080), "web 10.9.0.1");
        assert_eq!(reach(&host, bridge.gateway, 8080), "web 172.30.0.1");
        assert_eq!(reach(&other, HOST, 8080), "web 10.9.0.2");
        // Hairpins: to itself, and from another container.
        assert_eq!(reach(&web, bridge.gateway, 8080), "web 172.30.0.1");
        assert_eq!(reach(&web, HOST, 8080), "web 172.30.0.1");
        assert_eq!(reach(&client, HOST, 8080), "web 172.30.0.1");
        // Without publishing: container to container, and out.
        assert_eq!(reach(&client, address(&bridge, 2), 80), "web 172.30.0.3");
        assert_eq!(reach(&client, NEIGHBOUR, 9000), "outside 10.9.0.1");
    }
}

#[test]
#[ignore = "root: CAP_NET_ADMIN"]
fn a_udp_client_that_keeps_sending_finds_the_next_container() {
    let bridge = bridge(0);
    let host = host(&[&bridge]);
    let other = neighbour(&host);
    let client = other.run(|| {
        let socket = UdpSocket::bind((NEIGHBOUR, 5353)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        socket
    });
    let ask = || {
        client.send_to(b"?", (HOST, 53))?;
        let mut buffer = [0; 64];
        let length = client.recv(&mut buffer)?;
        std::io::Result::Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    };
    assert!(ask().is_err());
    for (last, name) in [(2, "first"), (3, "second")] {
        let ports = [port(ANY, 53, 80, Protocol::Udp)];
        let (dns, mut endpoint) = enter(&host, &plan(&bridge, last, &ports)).unwrap();
        serve(&dns, 80, name);
        assert_eq!(ask().unwrap(), format!("{name} 10.9.0.2"));
        endpoint.leave(&[]).unwrap();
        assert!(ask().is_err());
    }
}

#[test]
#[ignore = "root: CAP_NET_ADMIN"]
fn nothing_else_of_a_container_or_the_host_is_reached() {
    let bridge = bridge(0);
    let host = host(&[&bridge]);
    let other = neighbour(&host);
    let ports = [port(LOCALHOST, 8080, 80, Protocol::Tcp), port(HOST, 8081, 80, Protocol::Tcp)];
    let (web, _web) = enter(&host, &plan(&bridge, 2, &ports)).unwrap();
    serve(&web, 80, "web");
    serve(&host, 7000, "host");
    assert_eq!(
        elements(&host, &bridge, "ports_ip"),
        "10.9.0.1 . tcp . 8081 : 172.30.0.2 . 80, 127.0.0.1 . tcp . 8080 : 172.30.0.2 . 80"
    );
    assert_eq!(tcp(&host, LOCALHOST, 8080), "web 172.30.0.1");
    assert_eq!(tcp(&other, HOST, 8081), "web 10.9.0.2");
    assert!(try_tcp(&other, HOST, 8080).is_err());
    assert!(try_tcp(&host, LOCALHOST, 8081).is_err());

    // A neighbour that routes to the container's own address by way of this host.
    other.shell(&format!("ip route add 172.30.0.0/16 via {HOST}"));
    let error = try_tcp(&other, address(&bridge, 2), 80).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    // A neighbour, or a container, that sends packets for 127.0.0.1 over the wire: they get through
    // only without the rule that is there against it.
    for (space, device, gateway, port, chain) in
        [(&other, "wire", HOST, 8080, "prerouting"), (&web, "eth0", bridge.gateway, 7000, "guard")]
    {
        space.shell(&format!(
            "ip addr flush dev lo
             echo 1 > /proc/sys/net/ipv4/conf/{device}/route_localnet
             ip route add 127.0.0.1/32 via {gateway} dev {device}"
        ));
        let route = space.shell("ip route get 127.0.0.1");
        assert!(route.contains(&format!("via {gateway}")), "{route}");
        assert!(try_tcp(space, LOCALHOST, port).is_err(), "{device}");
        host.shell(&format!(
            "handle=$(nft -a list chain ip orl-test0 {chain} | sed -n 's/.*127.0.0.0.*handle //p')
             nft delete rule ip orl-test0 {chain} handle $handle"
        ));
        assert!(try_tcp(space, LOCALHOST, port).is_ok(), "{device}");
    }
}

#[test]
#[ignore = "root: CAP_NET_ADMIN"]
fn two_roots_do_not_disturb_each_other() {
    let (one, two) = (bridge(0), bridge(1));
    let host = host(&[&one, &two]);
    let (first, mut first_end) =
        enter(&host, &plan(&one, 2, &[port(ANY, 8080, 80, Protocol::Tcp)])).unwrap();
    let (second, mut second_end) =
        enter(&host, &plan(&two, 2, &[port(ANY, 8081, 80, Protocol::Tcp)])).unwrap();
    serve(&first, 80, "first");
    serve(&second, 80, "second");
    assert_eq!(tcp(&host, LOCALHOST, 8080), "first 172.30.0.1");
    assert_eq!(tcp(&host, LOCALHOST, 8081), "second 172.31.0.1");
    // From root to root by the published port only.
    assert_eq!(tcp(&first, two.gateway, 8081), "second 172.31.0.1");
    assert!(try_tcp(&first, address(&two, 2), 80).is_err());

    first_end.leave(&[]).unwrap();
    host.run(move || one.remove().unwrap());
    assert_eq!(tcp(&host, LOCALHOST, 8081), "second 172.31.0.1");
    second_end.leave(&[]).unwrap();
}

#[test]
#[ignore = "root: CAP_NET_ADMIN"]
fn a_port_is_given_once() {
    let bridge = bridge(0);
    let host = host(&[&bridge]);
    let web = port(ANY, 80, 80, Protocol::Tcp);
    let (_first, mut first_end) =
        enter(&host, &plan(&bridge, 2, std::slice::from_ref(&web))).unwrap();
    let clash =
        |ports: &[PublishedPort]| enter(&host, &plan(&bridge, 3, ports)).map(drop).unwrap_err();
    let error = clash(std::slice::from_ref(&web));
    assert_eq!(error.to_string(), "Bind for 0.0.0.0:80 failed: port is already allocated");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let error = clash(&[port(LOCALHOST, 80, 80, Protocol::Tcp)]);
    assert_eq!(error.to_string(), "Bind for 127.0.0.1:80 failed: port is already allocated");
    assert!(!host.run(|| probe_port(ANY, 80, Protocol::Tcp).unwrap()));
    assert!(host.run(|| probe_port(ANY, 80, Protocol::Udp).unwrap()));
    // The host's programs cannot take it either, nor a container what they have.
    assert!(host.run(|| TcpListener::bind((ANY, 80)).is_err()));
    let listener = host.run(|| TcpListener::bind((LOCALHOST, 81)).unwrap());
    let error = clash(&[port(ANY, 82, 80, Protocol::Tcp), port(ANY, 81, 80, Protocol::Tcp)]);
    assert_eq!(error.to_string(), "Bind for 0.0.0.0:81 failed: port is already allocated");
    drop(listener);

    assert_eq!(elements(&host, &bridge, "ports_any"), "tcp . 80 : 172.30.0.2 . 80");
    first_end.leave(&[]).unwrap();
    assert_eq!(elements(&host, &bridge, "ports_any"), "");
    assert!(host.run(|| probe_port(ANY, 80, Protocol::Tcp).unwrap()));
    assert_eq!(host.shell("ip -br link | grep -c orlv || true"), "0\n");
}

#[test]
#[ignore = "root: CAP_NET_ADMIN"]
fn sixteen_containers_come_and_go_at_once() {
    let bridge = bridge(0);
    let host = host(&[&bridge]);
    let monitors: Vec<_> = (2..18u8)
        .map(|last| {
            let space = host.neighbour();
            let plan = plan(&bridge, last, &[port(ANY, 8000 + u16::from(last), 80, Protocol::Tcp)]);
            thread::spawn(move || {
                let endpoint =
                    space.run(move || Sandbox::enter(std::slice::from_ref(&plan)).unwrap());
                serve(&space, 80, "web");
                // A container uses its network from its first moment on.
                assert_eq!(
                    tcp(&space, Ipv4Addr::new(172, 30, 0, 1), 8000 + u16::from(last)),
                    "web 172.30.0.1"
                );
                endpoint
            })
        })
        .collect();
    let endpoints: Vec<_> = monitors.into_iter().map(|monitor| monitor.join().unwrap()).collect();
    for last in 2..18u8 {
        assert_eq!(tcp(&host, LOCALHOST, 8000 + u16::from(last)), "web 172.30.0.1");
    }
    let leaving: Vec<_> = endpoints
        .into_iter()
        .map(|mut endpoint| thread::spawn(move || endpoint.leave(&[]).unwrap()))
        .collect();
    leaving.into_iter().for_each(|one| one.join().unwrap());
    assert_eq!(elements(&host, &bridge, "ports_any"), "");
    assert_eq!(host.shell("ip -br link | grep -c orlv || true"), "0\n");
}

#[test]
#[ignore = "root: CAP_NET_ADMIN"]
fn an_end_point_that_fails_leaves_nothing_on_the_host() {
    let bridge = bridge(0);
    let host = host(&[&bridge]);
    let mut broken = plan(&bridge, 2, &[port(ANY, 80, 80, Protocol::Tcp)]);
    broken.table = "absent".to_owned();
    let error = enter(&host, &broken).map(drop).unwrap_err();
    assert_eq!(error.to_string(), "cannot publish ports in nftables table `absent`");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    broken.bridge = "absent".to_owned();
    let error = enter(&host, &broken).map(drop).unwrap_err();
    assert_eq!(error.to_string(), "bridge `absent` does not exist");
    assert_eq!(host.shell("ip -br link | grep -c orlv || true"), "0\n");
    assert!(host.run(|| probe_port(ANY, 80, Protocol::Tcp).unwrap()));

    host.shell("ip link add taken type veth peer name other");
    let other = Bridge { name: "taken".to_owned(), ..bridge };
    let error = host.run(move || other.ensure().unwrap_err());
    assert_eq!(error.to_string(), "interface `taken` exists and is not a bridge");
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[test]
#[ignore = "root: CAP_NET_ADMIN"]
fn what_a_killed_monitor_left_is_replaced_or_removed() {
    let bridge = bridge(0);
    let ports: Vec<_> = [(ANY, 8080), (ANY, 8082), (LOCALHOST, 8081)]
        .map(|(ip, number)| port(ip, number, 80, Protocol::Tcp))
        .to_vec();
    let dead = plan(&bridge, 2, &ports);
    if is_child() {
        let _endpoint = Sandbox::enter(std::slice::from_ref(&dead)).unwrap();
        tell_parent("entered");
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        return;
    }
    let host = host(&[&bridge]);
    let kill_one = || {
        let mut monitor = child(&host, "what_a_killed_monitor_left_is_replaced_or_removed", |_| {});
        assert_eq!(told_by(&mut monitor), "entered");
        monitor.kill().unwrap();
        monitor.wait().unwrap();
    };
    let left = "tcp . 8080 : 172.30.0.2 . 80, tcp . 8082 : 172.30.0.2 . 80";
    kill_one();
    assert_eq!(elements(&host, &bridge, "ports_any"), left);
    // Started again at once, with another address and one of the ports.
    let mut again = plan(&bridge, 3, &ports[..1]);
    again.host_interface.clone_from(&dead.host_interface);
    let (web, mut endpoint) = enter(&host, &again).unwrap();
    serve(&web, 80, "web");
    assert_eq!(tcp(&host, LOCALHOST, 8080), "web 172.30.0.1");
    // Recovery of the dead one takes nothing from the living one.
    let (table, old) = (bridge.table.clone(), ports.clone());
    host.run(move || unpublish(&table, &old).unwrap());
    assert_eq!(elements(&host, &bridge, "ports_any"), "tcp . 8080 : 172.30.0.3 . 80");
    assert_eq!(elements(&host, &bridge, "ports_ip"), "");
    assert_eq!(tcp(&host, LOCALHOST, 8080), "web 172.30.0.1");
    endpoint.leave(&[]).unwrap();

    kill_one();
    let (table, interface) = (bridge.table.clone(), dead.host_interface.clone());
    host.run(move || {
        for _ in 0..2 {
            unpublish(&table, &ports).unwrap();
            remove_interface(&interface).unwrap();
        }
        unpublish("absent", &ports).unwrap();
    });
    assert_eq!(elements(&host, &bridge, "ports_any"), "");
    assert_eq!(host.shell("ip -br link | grep -c orlv || true"), "0\n");
}

#[test]
#[ignore = "root: CAP_NET_ADMIN"]
fn rules_of_another_version_are_replaced_under_running_containers() {
    let bridge = bridge(0);
    let host = host(&[&bridge]);
    let (web, _end) =
        enter(&host, &plan(&bridge, 2, &[port(ANY, 8080, 80, Protocol::Tcp)])).unwrap();
    serve(&web, 80, "web");
    host.shell(
        "nft flush table ip orl-test0
         nft add rule ip orl-test0 guard drop comment '\"orlop rules 0\"'",
    );
    assert!(try_tcp(&host, LOCALHOST, 8080).is_err());
    let again = bridge.clone();
    host.run(move || again.ensure().unwrap());
    assert_eq!(tcp(&host, LOCALHOST, 8080), "web 172.30.0.1");
}

#[test]
#[ignore = "root: CAP_NET_ADMIN"]
fn without_privileges_the_error_says_so() {
    if is_child() {
        let error = bridge(0).ensure().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        let other = orlop_net::enter_none().unwrap_err();
        assert_eq!(other.kind(), ErrorKind::Denied);
        return tell_parent(&format!("{error}; {other}"));
    }
    let mut child = child(&Space::isolated(), "without_privileges_the_error_says_so", |command| {
        command.uid(65534).gid(65534);
    });
    drop(child.stdin.take());
    assert_eq!(
        told_by(&mut child),
        "cannot look at nftables table `orl-test0`: not permitted (needs root, or CAP_NET_ADMIN and \
         CAP_SYS_ADMIN); cannot create a network namespace: not permitted (needs root, or \
         CAP_NET_ADMIN and CAP_SYS_ADMIN)"
    );
    assert!(child.wait().unwrap().success());
}

#[test]
#[ignore = "root: CAP_NET_ADMIN"]
fn another_engines_policy_of_dropping_lets_our_bridges_pass() {
    let bridge = bridge(0);
    let host = Space::isolated();
    // As `iptables -P FORWARD DROP` leaves it.
    host.shell(
        "nft 'add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }'",
    );
    let made = bridge.clone();
    host.run(move || made.ensure().unwrap());
    let other = neighbour(&host);
    let ports = [port(ANY, 8080, 80, Protocol::Tcp)];
    let (web, _endpoint) = enter(&host, &plan(&bridge, 2, &ports)).unwrap();
    serve(&web, 80, "web");
    serve(&other, 7000, "world");
    assert_eq!(tcp(&other, HOST, 8080), "web 10.9.0.2");
    assert_eq!(tcp(&web, NEIGHBOUR, 7000), "world 10.9.0.1");
    // What is not published stays out of reach, and again changes nothing.
    other.shell(&format!("ip route add 172.30.0.0/16 via {HOST}"));
    assert!(try_tcp(&other, address(&bridge, 2), 80).is_err());
    let before = host.shell("nft -a list chain ip filter FORWARD");
    assert_eq!(before.matches("accept comment \"orlop").count(), 2, "{before}");
    let again = bridge.clone();
    host.run(move || again.ensure().unwrap());
    assert_eq!(host.shell("nft -a list chain ip filter FORWARD"), before);
    host.run(move || bridge.remove().unwrap());
    let after = host.shell("nft list chain ip filter FORWARD");
    assert!(!after.contains("orlop"), "{after}");
}

#[test]
#[ignore = "root: CAP_NET_ADMIN"]
fn a_start_spends_at_most_20_ms_on_two_networks_with_names() {
    let (one, two) = (bridge(0), bridge(1));
    let host = host(&[&one, &two]);
    let directory = std::env::temp_dir().join(format!("orlop-net-{}", std::process::id()));
    let mut times = Vec::new();
    for last in 2..32 {
        let mut first = plan(&one, last, &[port(LOCALHOST, 8080, 80, Protocol::Tcp)]);
        let mut second = plan(&two, last, &[]);
        second.interface = "eth1".to_owned();
        (first.default_route, second.default_route) = (true, false);
        let (look, state) = ([one.clone(), two.clone()], directory.clone());
        let space = host.neighbour();
        let took = space.run(move || {
            let begun = std::time::Instant::now();
            look.iter().for_each(|bridge| bridge.ensure().unwrap());
            let network = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
            let mut sandbox = Sandbox::enter(&[first, second]).unwrap();
            let resolver = orlop_net::Resolver::open(&state, network).unwrap();
            orlop_net::answer_here(resolver.port().unwrap()).unwrap();
            let took = begun.elapsed();
            sandbox.leave(&[]).unwrap();
            took
        });
        times.push(took);
    }
    times.sort_unstable();
    // A machine that is busy with other things is slow, but not every time.
    std::io::stderr()
        .write_all(format!("fastest {:?}, median {:?}\n", times[0], times[15]).as_bytes())
        .unwrap();
    assert!(times[0] < Duration::from_millis(20), "{times:?}");
}
