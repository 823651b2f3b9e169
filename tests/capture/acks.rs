//! Acknowledgements and refusals.

use crate::bytes::{
    ACK, AF_INET, AF_UNSPEC, CREATE, ENTRIES, EXPECTATIONS, attr, be32, nest, request, text, tuple,
};
use crate::entries::address;
use crate::store::Store;
use crate::talk::Talk;

pub(crate) fn all(store: &mut Store) {
    let talk = Talk::open();
    let (src, dst) = (address("10.0.0.1"), address("10.0.0.2"));
    let orig = || tuple(1, 17, (src, 1000), (dst, 53));
    let reply = || tuple(2, 17, (dst, 53), (src, 1000));
    let long = || be32(7, 100_000);
    let entry = |kind, flags, attributes: &[Vec<u8>]| {
        request(ENTRIES, kind, flags | ACK, AF_INET, attributes)
    };
    let create = |attributes: &[Vec<u8>]| entry(0, CREATE, attributes);
    let made = create(&[orig(), reply(), long()]);
    let unended = attr(6, b"ftp");
    // In this order: the second finds what the first made.
    for (name, what, said, message) in [
        (
            "success",
            "an acknowledgement",
            "IPCTNL_MSG_CT_NEW",
            made.clone(),
        ),
        (
            "eexist",
            "the refusal EEXIST",
            "IPCTNL_MSG_CT_NEW, NLM_F_EXCL, of an entry that is there",
            made,
        ),
        (
            "enoent",
            "the refusal ENOENT",
            "IPCTNL_MSG_CT_DELETE of an entry that is not there",
            entry(2, 0, &[tuple(1, 17, (src, 1), (dst, 1))]),
        ),
        (
            "einval",
            "the refusal EINVAL without a text",
            "IPCTNL_MSG_CT_NEW without a reply tuple",
            create(&[tuple(1, 17, (src, 3), (dst, 3)), long()]),
        ),
        (
            "einval-text",
            "the refusal EINVAL with text and offset",
            "IPCTNL_MSG_EXP_GET with a CTA_EXPECT_HELP_NAME that does not end in zero",
            request(EXPECTATIONS, 1, ACK, AF_INET, &[orig(), unended]),
        ),
        (
            "erange-text",
            "the refusal ERANGE with text and offset",
            "IPCTNL_MSG_CT_NEW with a CTA_TIMEOUT of two bytes",
            create(&[orig(), reply(), attr(7, &[0, 1])]),
        ),
        (
            "eopnotsupp",
            "the refusal EOPNOTSUPP",
            "IPCTNL_MSG_CT_NEW with a helper that there is not",
            create(&[
                tuple(1, 17, (src, 2), (dst, 2)),
                tuple(2, 17, (dst, 2), (src, 2)),
                long(),
                nest(5, &[text(1, "no-such")]),
            ]),
        ),
        (
            "ebusy",
            "the refusal EBUSY",
            "IPCTNL_MSG_CT_NEW that clears CONFIRMED and sets DYING",
            entry(0, 0, &[orig(), be32(3, 1 << 9)]),
        ),
        (
            "unknown-message",
            "the refusal of a message that there is not",
            "message 99 of NFNL_SUBSYS_CTNETLINK",
            request(ENTRIES, 99, ACK, AF_UNSPEC, &[]),
        ),
    ] {
        for (capped, extended, suffix, options) in [
            (true, true, "", "NETLINK_CAP_ACK and NETLINK_EXT_ACK"),
            (false, true, "-whole", "NETLINK_EXT_ACK"),
            (false, false, "-plain", "no option"),
        ] {
            let twice = ["success", "einval-text", "erange-text"].contains(&name);
            if !(capped || twice) {
                continue;
            }
            talk.socket.set_cap_ack(capped).unwrap();
            talk.socket.set_ext_ack(extended).unwrap();
            // Success once more: the same entry is only changed.
            let mut message = message.clone();
            if name == "success" && !capped {
                message[6..8].copy_from_slice(&(ACK | 1).to_ne_bytes());
            }
            let answer = talk.ask(&message);
            assert_eq!(answer.len(), 1);
            store.keep(
                &format!("ack-{name}{suffix}"),
                what,
                &format!("{said}; the socket has {options}"),
                &answer[0],
            );
        }
    }
}
