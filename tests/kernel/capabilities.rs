//! What kernels differ in, found by trying, and what each known kernel lacks.
//!
//! No test is left out anywhere. A test that meets a difference asks [`Capability::is_there`] and
//! asserts what happens in either case; what it is told is held against a table by a test, so that
//! no kernel takes the easier way unnoticed.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use ctnetlink::{
    Conntrack, Entry, Event, EventGroups, Family, Helper, NewExpectation, NewTimeoutPolicy,
    TcpState, Tuple, UdpTimeouts, Update,
};

use crate::support::{LONG, command, own_namespace, run, set, setting, udp, v4, v4_peer};

/// The enumeration, and a list of all of it, which no test can be forgotten in.
macro_rules! capabilities {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Something that a test relies on, and some kernel does not have.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Capability {
            $($(#[$doc])* $name,)*
        }
        use Capability::{$($name,)*};
        const ALL: &[Capability] = &[$($name,)*];
    };
}

capabilities! {
    /// DCCP is tracked by its ports.
    Dccp,
    /// UDP-Lite is tracked by its ports.
    UdpLite,
    /// A time-out that is fixed cannot be changed.
    FixedTimeoutHolds,
    /// The end of a TCP connection is told with its last state.
    LastState,
    /// Events can be kept for those entries alone that are made while somebody listens.
    AutoEvents,
    /// Events say when they happened.
    EventTimes,
    /// Helpers can be attached by port alone.
    AutoHelpers,
    /// Entries that were refused because their hash chain was too long are counted.
    ChainsTooLong,
    /// What the SYN proxy remembers is kept.
    Synproxy,
    /// A master without a helper can expect.
    ExpectationsWithoutHelper,
    /// A time-out policy that a rule uses cannot be deleted.
    PoliciesHeldByRules,
    /// nftables can forward flows past its rules.
    FlowTables,
    /// The helper of a flow that is there can be taken off.
    HelpersGo,
    /// Maps of nftables can have an element for every other key.
    DefaultElements,
}

/// Kernels by the first two numbers of their version, and what they lack.
const LACKING: [(&str, &[Capability]); 5] = [
    (
        "5.10",
        &[
            FixedTimeoutHolds,
            LastState,
            AutoEvents,
            EventTimes,
            ChainsTooLong,
            Synproxy,
            ExpectationsWithoutHelper,
            DefaultElements,
        ],
    ),
    (
        "6.1",
        &[
            EventTimes,
            AutoHelpers,
            ExpectationsWithoutHelper,
            PoliciesHeldByRules,
        ],
    ),
    (
        "6.12",
        &[
            EventTimes,
            AutoHelpers,
            ExpectationsWithoutHelper,
            PoliciesHeldByRules,
        ],
    ),
    (
        "6.18",
        &[Dccp, AutoHelpers, ExpectationsWithoutHelper, FlowTables],
    ),
    (
        "7.3",
        &[
            Dccp,
            UdpLite,
            AutoHelpers,
            ExpectationsWithoutHelper,
            PoliciesHeldByRules,
            HelpersGo,
        ],
    ),
];

impl Capability {
    /// Whether the running kernel has it.
    pub(crate) fn is_there(self) -> bool {
        static FOUND: [OnceLock<bool>; ALL.len()] = [const { OnceLock::new() }; ALL.len()];
        *FOUND[self as usize].get_or_init(|| {
            // In a namespace of its own, which ends with the thread.
            let found = thread::spawn(move || {
                own_namespace();
                self.try_out()
            });
            found
                .join()
                .unwrap_or_else(|_| panic!("cannot find out about {self:?}"))
        })
    }

    /// As far as can be without a word of the library's.
    fn try_out(self) -> bool {
        match self {
            Self::Dccp => has_setting("nf_conntrack_dccp_timeout_request"),
            Self::UdpLite => keeps_ports("udplite"),
            Self::FixedTimeoutHolds => holds_fixed_timeouts(),
            Self::LastState => last_event_of_tcp().tcp_state().is_some(),
            // The default is in every new namespace the same.
            Self::AutoEvents => setting("nf_conntrack_events") == "2",
            Self::EventTimes => last_event_of_tcp()
                .timestamps()
                .is_some_and(|stamps| stamps.event().is_some()),
            Self::AutoHelpers => has_setting("nf_conntrack_helper"),
            Self::ChainsTooLong => {
                let text = fs::read_to_string("/proc/thread-self/net/stat/nf_conntrack").unwrap();
                text.lines().next().unwrap().contains("chainlength")
            }
            Self::Synproxy => keeps_the_syn_proxys_state(),
            Self::ExpectationsWithoutHelper => expects_without_helper(),
            Self::PoliciesHeldByRules => holds_used_policies(),
            Self::HelpersGo => {
                let ct = Conntrack::open().unwrap();
                let flow = Entry::tcp(v4(1), v4_peer(21)).helper(Helper::FTP);
                let flow = flow.timeout(LONG).build().unwrap();
                ct.create(&flow).unwrap();
                let update = Update::builder().remove_helper().build().unwrap();
                ct.update(&flow, &update).is_ok()
            }
            Self::DefaultElements => {
                let map =
                    "add table t; add map t m { type ipv4_addr : mark; elements = { * : 1 }; }";
                command("nft", &[map]).status.success()
            }
            Self::FlowTables => {
                let table = "add table t; add flowtable t f { hook ingress priority 0; }";
                command("nft", &[table]).status.success()
            }
        }
    }
}

fn has_setting(name: &str) -> bool {
    Path::new("/proc/sys/net/netfilter").join(name).exists()
}

/// Whether the kernel's file of the table shows the ports that conntrack(8) sent.
fn keeps_ports(protocol: &str) -> bool {
    let words = format!("-I -t 1000 -p {protocol} -s 10.0.0.1 -d 10.0.0.2 --sport 1 --dport 2");
    run("conntrack", &words.split(' ').collect::<Vec<_>>());
    let table = fs::read_to_string("/proc/thread-self/net/nf_conntrack").unwrap();
    // A walk of the file may show an entry twice while other namespaces' entries come and go.
    let ours = |line: &str| line.contains("src=10.0.0.1 dst=10.0.0.2 ");
    assert!(!table.is_empty() && table.lines().all(ours), "{table}");
    table.contains("sport=1 ")
}

fn holds_fixed_timeouts() -> bool {
    let ct = Conntrack::open().unwrap();
    let flow = udp(1).build().unwrap();
    ct.create(&flow).unwrap();
    ct.update(&flow, &Update::builder().fixed_timeout().build().unwrap())
        .unwrap();
    let minute = Update::builder().timeout(Duration::from_secs(60));
    ct.update(&flow, &minute.build().unwrap()).is_err()
}

fn last_event_of_tcp() -> Entry {
    set("nf_conntrack_timestamp", "1");
    set("nf_conntrack_events", "1");
    let ct = Conntrack::open().unwrap();
    let flow = Entry::tcp(v4(1), v4_peer(80)).state(TcpState::Established);
    let flow = flow.timeout(LONG).build().unwrap();
    let mut events = ct.events().groups(EventGroups::DESTROY).open().unwrap();
    ct.create(&flow).unwrap();
    ct.delete(&flow).unwrap();
    match events.next_within(Duration::from_secs(10)).unwrap() {
        Some(Event::Destroy(gone)) => gone,
        other => panic!("{other:?}"),
    }
}

fn keeps_the_syn_proxys_state() -> bool {
    let proxy = ctnetlink::Synproxy {
        isn: 1,
        its: 2,
        tsoff: 3,
    };
    let ct = Conntrack::open().unwrap();
    let flow = Entry::tcp(v4(1), v4_peer(80)).synproxy(proxy).timeout(LONG);
    let flow = flow.build().unwrap();
    ct.create(&flow).unwrap();
    ct.get(&flow).unwrap().synproxy() == Some(proxy)
}

fn expects_without_helper() -> bool {
    let ct = Conntrack::open().unwrap();
    let master = udp(1).build().unwrap();
    ct.create(&master).unwrap();
    let tuple = Tuple::tcp(v4_peer(0), v4(2)).unwrap();
    let new = NewExpectation::builder(&master, tuple).build().unwrap();
    ct.expectations().create(&new).is_ok()
}

fn holds_used_policies() -> bool {
    let ct = Conntrack::open().unwrap();
    let policies = ct.timeout_policies();
    let new = NewTimeoutPolicy::new("used", Family::Ipv4, UdpTimeouts::new()).unwrap();
    policies.create(&new).unwrap();
    let rule = "-t raw -A OUTPUT -p udp -j CT --timeout used";
    run("iptables-nft", &rule.split(' ').collect::<Vec<_>>());
    policies.delete("used").is_err()
}

/// What a table says of the running kernel, by the first two numbers of its version; or those
/// numbers, if it says nothing.
pub(crate) fn known<T: Copy>(table: &[(&str, T)]) -> Result<T, String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().unwrap_or("?").to_owned();
    let kernel = format!("{}.{}", next(), next());
    let found = table.iter().find(|(known, _)| *known == kernel);
    found.map(|(_, said)| *said).ok_or(kernel)
}

/// A kernel that a table does not know may pass, if it is said so. What it lacks is told past the
/// harness, which keeps what a test prints to itself, in lines that `tests/kernels/run.sh` passes on.
#[track_caller]
pub(crate) fn unknown<'a>(
    kernel: &str,
    table: &str,
    found: &str,
    lacking: impl Iterator<Item = &'a str>,
) {
    let pass = std::env::var_os("CTNETLINK_UNKNOWN_KERNEL").is_some_and(|value| value == "1");
    assert!(
        pass,
        "{table} does not know Linux {kernel}; CTNETLINK_UNKNOWN_KERNEL=1 lets it pass without. Found is\n{found}"
    );
    for what in lacking {
        let line = format!("== unknown kernel {kernel}: {what}\n");
        std::io::stdout().write_all(line.as_bytes()).unwrap();
    }
}

/// On a kernel that the table does not know, `CTNETLINK_UNKNOWN_KERNEL=1` lets this pass.
#[test]
fn this_kernel_lacks_what_is_known_of_it() {
    let lacking: Vec<_> = ALL.iter().copied().filter(|one| !one.is_there()).collect();
    match known(&LACKING) {
        Ok(known) => assert_eq!(lacking, known, "what this kernel lacks"),
        Err(kernel) => {
            let lacks = format!("lacks {lacking:?}");
            let told = std::iter::once(&*lacks);
            unknown(&kernel, "tests/kernel/capabilities.rs", &lacks, told);
        }
    }
}
