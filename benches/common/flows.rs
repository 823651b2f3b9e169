//! The flows that the table is filled with.

/// The zone of all of them, where nothing else is said.
pub(crate) const ZONE: u16 = 4097;
/// Seconds; longer than any run.
pub(crate) const TIMEOUT: u32 = 7200;

/// One flow: what both the raw floor and this crate make an entry of.
#[derive(Clone, Copy)]
pub(crate) struct Flow {
    /// TCP, established; else UDP.
    pub(crate) tcp: bool,
    pub(crate) src: ([u8; 4], u16),
    pub(crate) dst: ([u8; 4], u16),
    pub(crate) mark: u32,
    pub(crate) zone: u16,
}

/// This many flows, no two alike: each has a client address of its own in 10.0.0.0/8.
pub(crate) fn flows(count: usize) -> impl Iterator<Item = Flow> {
    (0_u32..).take(count).map(|n| {
        let [_, high, middle, low] = n.to_be_bytes();
        let tcp = n % 2 == 1;
        let [.., port_high, port_low] = (1024 + n % 60_000).to_be_bytes();
        Flow {
            tcp,
            src: (
                [10, high, middle, low],
                u16::from_be_bytes([port_high, port_low]),
            ),
            dst: ([172, 16, 0, low], if tcp { 443 } else { 53 }),
            mark: n,
            zone: ZONE,
        }
    })
}
