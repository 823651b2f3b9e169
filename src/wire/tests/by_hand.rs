//! Attributes written by hand, for tests: the writer under test must not be its own witness.

pub(crate) fn attr(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap();
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

pub(crate) fn nest(kind: u16, inside: &[Vec<u8>]) -> Vec<u8> {
    // NLA_F_NESTED
    attr(kind | 0x8000, &inside.concat())
}

pub(crate) fn be32(kind: u16, value: u32) -> Vec<u8> {
    attr(kind, &value.to_be_bytes())
}

/// An expression of a rule: its name and what is in it (`NFTA_EXPR_*`).
pub(crate) fn expression(name: &str, data: &[Vec<u8>]) -> Vec<u8> {
    nest(1, &[attr(1, format!("{name}\0").as_bytes()), nest(2, data)])
}
