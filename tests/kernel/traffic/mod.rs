//! Real packets through a real gateway: what its kernel tracks, and what this library says of it.
//!
//! Each test has a world of its own: a client, a gateway that translates both ways, and a server.
//! What the library lists is held against `/proc/net/nf_conntrack` field by field, and against
//! what was sent.

mod ftp;
mod icmp;
mod loss;
mod offload;
mod packet;
mod proc;
mod raw;
mod rules;
mod sctp;
mod tcp;
mod udp;
mod world;
