//! Three network namespaces in a row: a client, a gateway, and a server.
//!
//! The gateway is the test's own thread, so that everything that tests do elsewhere works there.
//! Client and server are threads. A socket belongs to the namespace of the thread that made it, and
//! may be used by any other: only making it is a matter of the place. The namespaces have no names,
//! and end with the threads and the sockets.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ctnetlink::{Conntrack, Entry, Event, EventGroups, Events, Filter, Tuple};

use super::rules::{UNTRACKED, rules};
use crate::support::{listed, own_namespace, run};

/// For what is on its way: long enough for a machine with other things to do.
pub(super) const SOON: Duration = Duration::from_secs(20);

/// The addresses of a family, from the client's to the server's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side {
    pub(super) client: IpAddr,
    /// The gateway's, as the client sees it: ports of it lead to the server.
    pub(super) front: IpAddr,
    /// The gateway's, as the server sees it: sources are translated to it.
    pub(super) back: IpAddr,
    pub(super) server: IpAddr,
    /// The server's too; what goes there is not translated.
    pub(super) plain: IpAddr,
    /// Of the header of a packet.
    pub(super) header: u64,
}

const fn v6(net: u16, host: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, net, 0, 0, 0, 0, host))
}

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

pub(super) const V4: Side = Side {
    client: v4(192, 168, 100, 100),
    front: v4(192, 168, 100, 1),
    back: v4(10, 2, 0, 1),
    server: v4(10, 2, 0, 2),
    plain: v4(10, 2, 0, 3),
    header: 20,
};

pub(super) const V6: Side = Side {
    client: v6(1, 0x100),
    front: v6(1, 1),
    back: v6(2, 1),
    server: v6(2, 2),
    plain: v6(2, 3),
    header: 40,
};

pub(super) const SIDES: [Side; 2] = [V4, V6];

/// Time-outs of seconds.
const SHORT_LIVED: [&str; 10] = [
    "udp_timeout",
    "icmp_timeout",
    "icmpv6_timeout",
    "gre_timeout",
    "sctp_timeout_closed",
    "sctp_timeout_cookie_wait",
    "sctp_timeout_cookie_echoed",
    "sctp_timeout_shutdown_sent",
    "sctp_timeout_shutdown_ack_sent",
    "tcp_timeout_last_ack",
];

type Job = Box<dyn FnOnce() + Send>;

/// A thread in a network namespace of its own, which does what it is given.
pub(super) struct Place {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// Its namespace, as a path.
    namespace: String,
}

impl Place {
    fn new(name: &str) -> Self {
        let (jobs, queue) = channel::<Job>();
        let (tell, told) = channel();
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                own_namespace();
                let own = fs::read_link("/proc/thread-self").unwrap();
                tell.send(format!("/proc/{}/ns/net", own.display()))
                    .unwrap();
                for job in queue {
                    job();
                }
            })
            .unwrap();
        Self {
            namespace: told.recv().expect("a thread with a network namespace"),
            jobs: Some(jobs),
            thread: Some(thread),
        }
    }

    /// What the job gives there; its panic is the caller's.
    pub(super) fn run<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> R {
        let (tell, told) = channel();
        let job = move || {
            let done = catch_unwind(AssertUnwindSafe(job));
            tell.send(done).expect("the caller waits");
        };
        let jobs = self.jobs.as_ref().expect("taken only at the end");
        jobs.send(Box::new(job)).unwrap();
        match told.recv().unwrap() {
            Ok(done) => done,
            Err(panic) => resume_unwind(panic),
        }
    }

    /// A UDP socket there, with patience.
    pub(super) fn udp(&self, address: IpAddr, port: u16) -> UdpSocket {
        let socket = self.run(move || UdpSocket::bind((address, port)).unwrap());
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // Its jobs do not panic: `run` takes their panics to the caller.
            drop(thread.join());
        }
    }
}

pub(super) struct World {
    pub(super) client: Place,
    pub(super) server: Place,
    /// The gateway's table.
    pub(super) ct: Conntrack,
}

/// A setting of this thread's namespace.
pub(super) fn sysctl(name: &str, value: &str) {
    let path = format!("/proc/sys/net/{name}");
    fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
}

/// Addresses are there at once, nobody is asked whether they are taken.
fn at_once() {
    for conf in ["all", "default"] {
        sysctl(&format!("ipv6/conf/{conf}/accept_dad"), "0");
    }
}

fn ip(batch: &str) {
    run("sh", &["-c", &format!("ip -batch - <<'END'\n{batch}\nEND")]);
}

impl World {
    pub(super) fn new() -> Self {
        own_namespace();
        let (client, server) = (Place::new("client"), Place::new("server"));
        for place in [&client, &server] {
            place.run(at_once);
        }
        at_once();
        ip(&format!(
            "link set lo up\n\
             link add front type veth peer name eth0 netns {}\n\
             link add back type veth peer name eth0 netns {}\n\
             address add {}/24 dev front\n\
             address add {}/64 dev front nodad\n\
             address add {}/24 dev back\n\
             address add {}/64 dev back nodad\n\
             link set front up\n\
             link set back up",
            client.namespace, server.namespace, V4.front, V6.front, V4.back, V6.back
        ));
        let ends = [
            (&client, vec![V4.client, V6.client], [V4.front, V6.front]),
            (
                &server,
                vec![V4.server, V6.server, V4.plain, V6.plain],
                [V4.back, V6.back],
            ),
        ];
        for (place, own, routers) in ends {
            let mut batch = vec!["link set lo up".to_owned(), "link set eth0 up".to_owned()];
            for address in own {
                // Else an address is the kernel's workers' to confirm before it can be bound to,
                // though nobody is asked whether it is taken.
                let (length, flags) = if address.is_ipv4() {
                    (24, "")
                } else {
                    (64, "nodad")
                };
                // Not a source that the server would choose.
                let never = [V4.plain, V6.plain].contains(&address);
                let preferred = if never { "preferred_lft 0" } else { "" };
                batch.push(format!(
                    "address add {address}/{length} dev eth0 {preferred} {flags}"
                ));
            }
            for router in routers {
                // Acknowledgements that wait for a timer, or for an emulated machine, would have the
                // other end send again, which trackers and helpers take for a step of their own.
                batch.push(format!(
                    "route add default via {router} quickack 1 rto_min 20s"
                ));
            }
            place.run(move || {
                ip(&batch.join("\n"));
                // Nor is a probe sent for what may be lost, which older kernels do at 200 ms.
                sysctl("ipv4/tcp_early_retrans", "0");
                // What is made by hand has no end in the kernel, which would answer where it has the
                // module: only taps hear it.
                let mute = "type filter hook input priority 0; meta l4proto { 33, 132 } drop;";
                run(
                    "nft",
                    &[&format!("table inet mute {{ chain i {{ {mute} }}; }}")],
                );
            });
        }
        sysctl("ipv4/ip_forward", "1");
        sysctl("ipv6/conf/all/forwarding", "1");
        sysctl("netfilter/nf_conntrack_acct", "1");
        sysctl("netfilter/nf_conntrack_timestamp", "1");
        // By default, flows that begin while nobody on the machine listens have no events, ever.
        sysctl("netfilter/nf_conntrack_events", "1");
        // Nothing ends because the machine is busy with something else.
        for state in SHORT_LIVED {
            sysctl(&format!("netfilter/nf_conntrack_{state}"), "600");
        }
        run("nft", &[&rules()]);
        let world = Self {
            client,
            server,
            ct: Conntrack::open().unwrap(),
        };
        world.warm_up();
        world
    }

    /// A link that was just made drops packets until the kernel's workers have seen to it. So ask
    /// until there is an answer, on a port that leaves nothing behind in the table.
    fn warm_up(&self) {
        let brief = Some(Duration::from_millis(20));
        for side in SIDES {
            let asking = self.client.udp(side.client, 0);
            let answering = self.server.udp(side.plain, UNTRACKED);
            let to = answering.local_addr().unwrap();
            asking.set_read_timeout(brief).unwrap();
            answering.set_read_timeout(brief).unwrap();
            let answered = (0..1000).any(|_| {
                asking.send_to(b"?", to).unwrap();
                let Ok((_, from)) = answering.recv_from(&mut [0; 4]) else {
                    return false;
                };
                answering.send_to(b"!", from).unwrap();
                asking.recv_from(&mut [0; 4]).is_ok()
            });
            assert!(answered, "no way from {} to {to}", side.client);
        }
        assert_eq!(listed(&self.ct, &Filter::new()), []);
    }

    /// What happens to entries.
    pub(super) fn events(&self) -> Events {
        let entries = EventGroups::NEW | EventGroups::UPDATE | EventGroups::DESTROY;
        self.ct.events().groups(entries).open().unwrap()
    }

    /// A flow that nobody means: one packet to a port of its own, not answered.
    pub(super) fn bystander(&self) -> Entry {
        let (asking, answering) = (
            self.client.udp(V4.client, 0),
            self.server.udp(V4.plain, 4444),
        );
        let to = answering.local_addr().unwrap();
        asking.send_to(b"bystander", to).unwrap();
        answering.recv_from(&mut [0; 20]).unwrap();
        self.flow(&Tuple::udp(asking.local_addr().unwrap(), to).unwrap())
    }

    /// The entry of this original tuple, in whatever zone.
    pub(super) fn flow(&self, orig: &Tuple) -> Entry {
        let all = listed(&self.ct, &Filter::new());
        let found: Vec<_> = all.iter().filter(|entry| entry.orig() == orig).collect();
        assert_eq!(found.len(), 1, "{orig:?} in {all:?}");
        found[0].clone()
    }

    /// That the entry is still there, the same and no other.
    #[track_caller]
    pub(super) fn assert_spared(&self, bystander: &Entry) {
        let now = self.flow(bystander.orig());
        assert_eq!(now.id(), bystander.id());
        assert_eq!(now.status(), bystander.status());
        assert_eq!(now.orig_counters(), bystander.orig_counters());
    }
}

/// What is heard next, which must be of this flow.
#[track_caller]
pub(super) fn heard(events: &mut Events, orig: &Tuple) -> Event {
    let event = events
        .next_within(SOON)
        .unwrap()
        .unwrap_or_else(|| panic!("no event of {orig:?}"));
    match event.entry() {
        Some(entry) => assert_eq!(entry.orig(), orig, "{event:?}"),
        None => panic!("{event:?}"),
    }
    event
}

#[track_caller]
pub(super) fn new(events: &mut Events, orig: &Tuple) -> Entry {
    match heard(events, orig) {
        Event::New(entry) => entry,
        other => panic!("{other:?} in place of a new entry"),
    }
}

#[track_caller]
pub(super) fn update(events: &mut Events, orig: &Tuple) -> Entry {
    match heard(events, orig) {
        Event::Update(entry) => entry,
        other => panic!("{other:?} in place of a change"),
    }
}

#[track_caller]
pub(super) fn destroy(events: &mut Events, orig: &Tuple) -> Entry {
    match heard(events, orig) {
        Event::Destroy(entry) => entry,
        other => panic!("{other:?} in place of an end"),
    }
}

/// That nothing more is to be heard.
#[track_caller]
pub(super) fn silence(events: &mut Events) {
    assert_eq!(events.try_next().unwrap(), None);
    assert_eq!(events.malformed(), 0);
}

pub(super) fn counters(entry: &Entry) -> [Option<(u64, u64)>; 2] {
    [entry.orig_counters(), entry.reply_counters()]
        .map(|counters| counters.map(|counters| (counters.packets, counters.bytes)))
}

pub(super) fn at(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}
