//! Time-out policies (`nfnetlink_cttimeout`).

use crate::bytes::{ACK, AF_UNSPEC, CREATE, DUMP, POLICIES, attr, be16, be32, nest, request, text};
use crate::store::Store;
use crate::talk::{Talk, errno, kind};

const CTA_TIMEOUT_NAME: u16 = 1;
const CTA_TIMEOUT_L3PROTO: u16 = 2;
const CTA_TIMEOUT_L4PROTO: u16 = 3;
const CTA_TIMEOUT_DATA: u16 = 4;
const NLMSG_ERROR: u16 = 2;

const NEW: u8 = 0;
const GET: u8 = 1;
const DELETE: u8 = 2;
const DEFAULT_GET: u8 = 4;

pub(crate) fn all(store: &mut Store) {
    let talk = Talk::open();
    // Number, name, and a state's time-out that the policy sets: the others are the defaults.
    for (protocol, name, state) in [
        (6, "tcp", 3),
        (17, "udp", 2),
        (136, "udplite", 2),
        (132, "sctp", 4),
        (33, "dccp", 4),
        (1, "icmp", 1),
        (58, "icmpv6", 1),
        (47, "gre", 2),
        (255, "generic", 1),
    ] {
        for (family, number) in [(4, 2_u16), (6, 10)] {
            // One of IPv6 is as good as another; ICMP has its own.
            if (family == 6) != (name == "icmpv6") && !(family == 6 && name == "tcp") {
                continue;
            }
            let of = format!("{name} over IPv{family}");
            let label = if name == "tcp" {
                format!("tcp{family}")
            } else {
                name.to_owned()
            };
            let fixture = format!("policy-{label}");
            let policy = [
                text(CTA_TIMEOUT_NAME, &fixture),
                be16(CTA_TIMEOUT_L3PROTO, number),
                attr(CTA_TIMEOUT_L4PROTO, &[protocol]),
                nest(CTA_TIMEOUT_DATA, &[be32(state, 4711)]),
            ];
            let named = &policy[..1];
            let message = request(POLICIES, NEW, CREATE | ACK, AF_UNSPEC, &policy);
            match talk.acknowledged(&message) {
                0 => {
                    let made = format!(
                        "IPCTNL_MSG_TIMEOUT_NEW \"{fixture}\", attribute {state} of its data 4711"
                    );
                    let list = talk.dump(&request(POLICIES, GET, DUMP, AF_UNSPEC, &[]));
                    assert_eq!(list.len(), 1);
                    store.keep(
                        &fixture,
                        &format!("a time-out policy for {of}"),
                        &format!("{made}; IPCTNL_MSG_TIMEOUT_GET, NLM_F_DUMP"),
                        &list[0],
                    );
                    if label == "udp" {
                        let got = talk.ask(&request(POLICIES, GET, 0, AF_UNSPEC, named));
                        store.keep(
                            "policy-get",
                            "the answer to a look-up of a time-out policy",
                            &format!("{made}; IPCTNL_MSG_TIMEOUT_GET of its name"),
                            &got[0],
                        );
                    }
                    let delete = request(POLICIES, DELETE, ACK, AF_UNSPEC, named);
                    assert_eq!(talk.acknowledged(&delete), 0);
                }
                errno => store.lacks(&fixture, std::io::Error::from_raw_os_error(errno)),
            }
            let defaults = request(POLICIES, DEFAULT_GET, 0, AF_UNSPEC, &policy[1..3]);
            let got = talk.ask(&defaults).remove(0);
            let fixture = format!("policy-default-{label}");
            if kind(&got) == NLMSG_ERROR {
                let error = std::io::Error::from_raw_os_error(errno(&got));
                store.lacks(&fixture, error);
            } else {
                store.keep(
                    &fixture,
                    &format!("the namespace's default time-outs of {of}"),
                    "IPCTNL_MSG_TIMEOUT_DEFAULT_GET",
                    &got,
                );
            }
        }
    }
}
