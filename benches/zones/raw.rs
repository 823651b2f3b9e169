//! The floor of renewals, by the documented form of claims.

use std::time::Duration;

use ctnetlink::Lease;

use crate::common::raw::{CTA_TIMEOUT, CTA_TUPLE_REPLY, CTA_ZONE, Datagrams, NEW, nest, put};

const AF_INET6: u8 = 10;
/// `CTA_TUPLE_IP` with `CTA_IP_V6_SRC` and `_DST`, `CTA_TUPLE_PROTO` with `CTA_PROTO_NUM`.
const IP: u16 = 1;
const V6_SRC: u16 = 3;
const V6_DST: u16 = 4;
const PROTO: u16 = 2;
const PROTO_NUM: u16 = 1;
/// The protocol of claims.
const EXPERIMENT: u8 = 253;

/// Longer than a lease lasts.
pub(crate) const RENEWED_FOR: Duration = Duration::from_secs(7200);

impl Datagrams {
    /// Renews the claims of these leases.
    pub(crate) fn renewals(leases: &[Lease]) -> Self {
        let mut datagrams = Self::default();
        let lasts = u32::try_from(RENEWED_FOR.as_secs()).unwrap_or(u32::MAX);
        for lease in leases {
            let mut token = [0; 16];
            token[0] = 0x01; // 100::/64
            token[8..].copy_from_slice(&lease.instance().get().to_be_bytes());
            datagrams.message_of(AF_INET6, NEW, 0, |bytes| {
                nest(bytes, CTA_TUPLE_REPLY, |bytes| {
                    nest(bytes, IP, |bytes| {
                        put(bytes, V6_SRC, &lease.owner().to_bytes());
                        put(bytes, V6_DST, &token);
                    });
                    nest(bytes, PROTO, |bytes| put(bytes, PROTO_NUM, &[EXPERIMENT]));
                });
                put(bytes, CTA_ZONE, &lease.zone().get().to_be_bytes());
                put(bytes, CTA_TIMEOUT, &lasts.to_be_bytes());
            });
        }
        datagrams.finish();
        datagrams
    }
}
