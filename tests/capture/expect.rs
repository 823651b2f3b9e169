//! Expectations that a request made.

use std::io::Error;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ctnetlink::{Conntrack, Entry, Helper, TcpState, Zone};

use crate::bytes::{
    ACK, AF_INET, AF_INET6, AF_UNSPEC, CREATE, DUMP, ENTRIES, EXPECTATIONS, be16, be32, nest,
    request, text, tuple,
};
use crate::entries::{address, ends};
use crate::store::Store;
use crate::talk::{Talk, kind};

/// `NFNLGRP_CONNTRACK_EXP_NEW`, `.._EXP_UPDATE`, `.._EXP_DESTROY`
pub(crate) const EVENTS: &[u32] = &[4, 5, 6];

const TCP: u8 = 6;
const UDP: u8 = 17;
const CTA_EXPECT_MASTER: u16 = 1;
const CTA_EXPECT_TUPLE: u16 = 2;
const CTA_EXPECT_MASK: u16 = 3;
const CTA_EXPECT_TIMEOUT: u16 = 4;
const CTA_EXPECT_HELP_NAME: u16 = 6;
const CTA_EXPECT_ZONE: u16 = 7;
const CTA_EXPECT_FLAGS: u16 = 8;
const CTA_EXPECT_CLASS: u16 = 9;
const CTA_EXPECT_NAT: u16 = 10;
const CTA_EXPECT_FN: u16 = 11;

/// What is asked for beyond master, tuple, mask and time-out.
struct More {
    /// The master's, which also says its protocol and port.
    helper: Helper,
    zone: Option<u16>,
    /// The master lost its helper before the expectation was made.
    unhelped: bool,
    attributes: Vec<Vec<u8>>,
}

impl Default for More {
    fn default() -> Self {
        Self {
            helper: Helper::FTP,
            zone: None,
            unhelped: false,
            attributes: Vec::new(),
        }
    }
}

/// A connection for control, and what it expects.
struct Master {
    ct: Conntrack,
    talk: Talk,
    events: Talk,
    family: u8,
    protocol: u8,
    src: SocketAddr,
    dst: SocketAddr,
    /// What was done so far.
    made: String,
}

impl Master {
    /// Of a kernel that has no such helper: why it refused.
    fn new(family: u8, helper: Helper, zone: Option<u16>) -> Result<Self, ctnetlink::Error> {
        let (protocol, port) = match helper.as_str() {
            "ftp" => (TCP, 21),
            "tftp" => (UDP, 69),
            "sip" => (UDP, 5060),
            other => panic!("{other}: say what it watches"),
        };
        let (ct, (src, dst)) = (Conntrack::open().unwrap(), ends(family, port));
        // Before the master is made: the events of what nobody listened to at its start are not sent.
        let events = Talk::listen(EVENTS);
        let mut master = if protocol == TCP {
            Entry::tcp(src, dst).state(TcpState::Established)
        } else {
            Entry::udp(src, dst)
        }
        .helper(helper)
        .timeout(Duration::from_secs(100_000));
        if let Some(zone) = zone {
            master = master.zone(Zone::new(zone));
        }
        let master = master.build().unwrap();
        ct.create(&master)?;
        Ok(Self {
            ct,
            talk: Talk::open(),
            events,
            family: if family == 4 { AF_INET } else { AF_INET6 },
            protocol,
            src,
            dst,
            made: format!("IPCTNL_MSG_CT_NEW of \"{master}\""),
        })
    }

    fn tuple(&self, kind: u16) -> Vec<u8> {
        let (src, dst) = (self.src, self.dst);
        tuple(
            kind,
            self.protocol,
            (src.ip(), src.port()),
            (dst.ip(), dst.port()),
        )
    }

    /// From anywhere on the other side, to a port of this one.
    fn expected(&self) -> Vec<u8> {
        let to = (self.src.ip(), 5001);
        tuple(CTA_EXPECT_TUPLE, self.protocol, (self.dst.ip(), 0), to)
    }

    /// Asks for a change.
    fn change(
        &self,
        subsystem: u8,
        kind: u8,
        flags: u16,
        attributes: &[Vec<u8>],
    ) -> Result<(), Error> {
        let message = request(subsystem, kind, flags | ACK, self.family, attributes);
        match self.talk.acknowledged(&message) {
            0 => Ok(()),
            errno => Err(Error::from_raw_os_error(errno)),
        }
    }

    fn lose_helper(&mut self) -> Result<(), Error> {
        let nameless = [self.tuple(1), nest(5, &[text(1, "")])];
        self.made += "; IPCTNL_MSG_CT_NEW with an empty CTA_HELP_NAME";
        self.change(ENTRIES, 0, 0, &nameless)
    }

    fn expect(&mut self, more: &More) -> Result<(), Error> {
        let all: IpAddr = address(if self.family == AF_INET {
            "255.255.255.255"
        } else {
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
        });
        let mut attributes = vec![
            self.tuple(CTA_EXPECT_MASTER),
            self.expected(),
            tuple(CTA_EXPECT_MASK, self.protocol, (all, 0), (all, 0xffff)),
            be32(CTA_EXPECT_TIMEOUT, 300),
        ];
        attributes.extend(more.zone.map(|zone| be16(CTA_EXPECT_ZONE, zone)));
        attributes.extend(more.attributes.iter().cloned());
        self.made +=
            "; IPCTNL_MSG_EXP_NEW of a connection from its destination to port 5001 of its source";
        self.change(EXPECTATIONS, 0, CREATE, &attributes)
    }
}

/// Makes an expectation and keeps what the kernel shows of it.
fn expect(store: &mut Store, family: u8, name: &str, what: &str, more: &More) {
    let mut master = match Master::new(family, more.helper, more.zone) {
        Ok(master) => master,
        Err(refusal) => return store.lacks(&format!("expect-{name}"), refusal),
    };
    let unhelped = if more.unhelped {
        master.lose_helper()
    } else {
        Ok(())
    };
    if let Err(refusal) = unhelped.and_then(|()| master.expect(more)) {
        store.lacks(&format!("expect-{name}"), refusal);
        return master.ct.flush_all().unwrap();
    }
    let list = request(EXPECTATIONS, 1, DUMP, AF_UNSPEC, &[]);
    let list = master.talk.dump(&list);
    assert_eq!(list.len(), 1, "{name}");
    store.keep(
        &format!("expect-{name}"),
        what,
        &format!("{}; IPCTNL_MSG_EXP_GET, NLM_F_DUMP", master.made),
        &list[0],
    );
    // An event has the same attributes as the list: three kinds are enough.
    if ["tcp4", "nat6", "sip4"].contains(&name) {
        life(store, name, what, &mut master);
    }
    master.ct.flush_all().unwrap();
}

/// The events of an expectation, and the answer to a look-up of it.
fn life(store: &mut Store, name: &str, what: &str, master: &mut Master) {
    let key = [master.expected()];
    let made = &mut master.made;
    let event = |kind_of: u16| move |message: &[u8]| kind(message) == kind_of;
    store.keep(
        &format!("event-expect-new-{name}"),
        &format!("the event NEW of {what}"),
        made,
        &master.events.wait_for("EXP_NEW", event(0x200)),
    );
    let look_up = request(EXPECTATIONS, 1, 0, master.family, &key);
    store.keep(
        &format!("expect-get-{name}"),
        &format!("the answer to a look-up of {what}"),
        &format!("{made}; IPCTNL_MSG_EXP_GET of its tuple"),
        &master.talk.ask(&look_up)[0],
    );
    *made += "; IPCTNL_MSG_EXP_DELETE of its tuple";
    master.change(EXPECTATIONS, 2, 0, &key).unwrap();
    store.keep(
        &format!("event-expect-destroy-{name}"),
        &format!("the event DESTROY of {what}"),
        &master.made,
        &master.events.wait_for("EXP_DESTROY", event(0x202)),
    );
}

pub(crate) fn requested(store: &mut Store) {
    for family in [4, 6] {
        let over = format!("an expectation over IPv{family}");
        let mut one = |name: &str, what: &str, more: More| {
            let name = format!("{name}{family}");
            expect(store, family, &name, &format!("{over}{what}"), &more);
        };
        let with = |attributes: &[Vec<u8>]| More {
            attributes: attributes.to_vec(),
            ..More::default()
        };
        let helper = || text(CTA_EXPECT_HELP_NAME, "ftp");
        one("tcp", "", More::default());
        one("helper", " that names the helper", with(&[helper()]));
        one(
            "unhelped",
            " of a master without a helper",
            More {
                unhelped: true,
                ..More::default()
            },
        );
        one(
            "zone",
            " in zone 5",
            More {
                zone: Some(5),
                ..More::default()
            },
        );
        // PERMANENT, and USERSPACE, which the kernel takes away again.
        one(
            "flags",
            " with flags and class",
            with(&[
                helper(),
                be32(CTA_EXPECT_FLAGS, 1 | 4),
                be32(CTA_EXPECT_CLASS, 0),
            ]),
        );
        let (src, dst) = ends(family, 21);
        let to = tuple(2, TCP, (src.ip(), 6001), (dst.ip(), 0));
        one(
            "nat",
            " with translation",
            with(&[
                helper(),
                nest(CTA_EXPECT_NAT, &[be32(1, 1), to]),
                text(CTA_EXPECT_FN, "nat-follow-master"),
            ]),
        );
        one(
            "tftp",
            " of UDP, by the helper tftp",
            More {
                helper: Helper::TFTP,
                ..with(&[text(CTA_EXPECT_HELP_NAME, "tftp")])
            },
        );
        // Only with a helper's name does the kernel take a class. INACTIVE, and `SIP_EXPECT_VIDEO`.
        if family == 4 {
            one(
                "sip",
                " of UDP, inactive, in a class of the helper sip",
                More {
                    helper: Helper::SIP,
                    ..with(&[
                        text(CTA_EXPECT_HELP_NAME, "sip"),
                        be32(CTA_EXPECT_FLAGS, 2),
                        be32(CTA_EXPECT_CLASS, 2),
                    ])
                },
            );
        }
    }
}
