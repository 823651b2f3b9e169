//! Flows that a flow table of nftables forwards past the rules.

use std::io::{Read, Write};

use ctnetlink::{Conntrack, Entry, Filter, KernelSupport, Status, TcpState, Tuple, Zone};

use super::rules::ZONED;
use super::tcp::connect;
use super::world::{SIDES, V4, World};
use crate::capabilities::Capability;
use crate::support::{command, listed, run};

const TABLE: &str = "table inet fast {
    flowtable both { hook ingress priority 0; devices = { front, back }; }
    chain pass { type filter hook forward priority 10; ct state established flow add @both; }
}";

/// A flow in the zone that has seen both ways, so that the table takes it.
fn offloaded(world: &World) -> Entry {
    let (port, zone) = ZONED;
    let asking = world.client.udp(V4.client, 0);
    let answering = world.server.udp(V4.plain, port);
    let to = answering.local_addr().unwrap();
    for _ in 0..2 {
        asking.send_to(b"?", to).unwrap();
        let (_, from) = answering.recv_from(&mut [0; 4]).unwrap();
        answering.send_to(b"!", from).unwrap();
        asking.recv_from(&mut [0; 4]).unwrap();
    }
    let entry = world.flow(&Tuple::udp(asking.local_addr().unwrap(), to).unwrap());
    assert_eq!(entry.zone().zone(), Zone::new(zone));
    assert!(entry.status().unwrap().contains(Status::OFFLOAD), "{entry}");
    entry
}

/// Whether the kernel refuses to delete the flow, as another program finds it.
fn is_held(entry: &Entry) -> bool {
    let (port, zone) = (entry.orig().src_port().unwrap(), ZONED.1);
    let words = format!("-D -w {zone} -p udp --sport {port}");
    let output = command("conntrack", &words.split(' ').collect::<Vec<_>>());
    let said = String::from_utf8_lossy(&output.stderr);
    let held = said.contains("Device or resource busy");
    assert!(held || output.status.success(), "{said}");
    held
}

#[test]
fn offloaded_flows_are_deleted_or_told_to_be_busy() {
    let world = World::new();
    if !Capability::FlowTables.is_there() {
        assert!(!command("nft", &[TABLE]).status.success());
        return;
    }
    run("nft", &[TABLE]);
    let bystander = world.bystander();
    let held = is_held(&offloaded(&world));
    let in_zone = Filter::new().zone(Zone::new(ZONED.1));
    let unproven = KernelSupport::unproven();
    let unproven = Conntrack::builder()
        .kernel_support(unproven)
        .open()
        .unwrap();
    for ct in [&world.ct, &unproven] {
        let flow = offloaded(&world);
        let before = listed(ct, &in_zone);
        let deleted = ct.delete_matching(&in_zone).unwrap();
        let left = listed(ct, &in_zone);
        if held {
            assert_eq!(left.len(), before.len());
            assert!(left.iter().any(|entry| entry.id() == flow.id()));
        } else {
            assert_eq!(left, []);
        }
        if !deleted.by_kernel() {
            let (busy, gone) = if held {
                (before.len(), 0)
            } else {
                (0, before.len())
            };
            assert_eq!(deleted.busy, busy as u64);
            assert_eq!(deleted.deleted, Some(gone as u64));
            assert_eq!(deleted.is_clean(), !held);
        }
        world.assert_spared(&bystander);
    }
}

/// The kernel leaves the tracker's state out, as it does the time-out (`ctnetlink_dump_info`).
#[test]
fn offloaded_connections_have_no_state() {
    let world = World::new();
    if !Capability::FlowTables.is_there() {
        return;
    }
    run("nft", &[TABLE]);
    let mut connection = connect(&world, SIDES[0]);
    for _ in 0..2 {
        connection.client.write_all(b"?").unwrap();
        connection.server.read_exact(&mut [0]).unwrap();
        connection.server.write_all(b"!").unwrap();
        connection.client.read_exact(&mut [0]).unwrap();
    }
    let entry = world.flow(&connection.orig);
    assert!(entry.status().unwrap().contains(Status::OFFLOAD), "{entry}");
    assert_eq!((entry.tcp_state(), entry.timeout()), (None, None));
    let established = Filter::new().tcp_state(TcpState::Established);
    assert_eq!(listed(&world.ct, &established), []);
}
