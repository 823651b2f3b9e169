//! Walking attributes.

use super::Malformed;
use super::path::Path;
use crate::model::Unknown;

/// Header of an attribute: length, type (`struct nlattr`).
pub(crate) const HEADER: usize = 4;
/// `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER` say nothing that the number does not.
const TYPE_MASK: u16 = netlink_packet_core::NLA_TYPE_MASK;

/// Length and number of a header, by one load: byte by byte the compiler would do it.
#[inline]
pub(super) fn split(header: [u8; HEADER]) -> (usize, u16) {
    let word = u32::from_ne_bytes(header);
    let (first, second) = (word & 0xffff, word >> 16);
    let (length, kind) = if cfg!(target_endian = "little") {
        (first, second)
    } else {
        (second, first)
    };
    #[allow(clippy::cast_possible_truncation, reason = "16 bits each")]
    let kind = kind as u16 & TYPE_MASK;
    (length as usize, kind)
}

/// An attribute's header as it lies in memory.
pub(super) const fn header(length: u16, kind: u16) -> u32 {
    let (length, kind) = (length.to_ne_bytes(), kind.to_ne_bytes());
    u32::from_ne_bytes([length[0], length[1], kind[0], kind[1]])
}

#[inline]
pub(super) fn word<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Two headers, one after the other: that of a nest and that of what it begins with.
pub(super) const fn pair(first: u32, second: u32) -> u64 {
    let (a, b) = (first.to_ne_bytes(), second.to_ne_bytes());
    u64::from_ne_bytes([a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]])
}

#[inline]
pub(super) fn words<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    match bytes.get(at..at + 8).and_then(<[u8]>::first_chunk) {
        Some(eight) => u64::from_ne_bytes(*eight),
        // `at` is a place in a layout of `N` bytes.
        None => 0,
    }
}

/// An attribute: its number, its bytes, and where it stood.
#[derive(Clone, Copy)]
pub(crate) struct Attr<'a> {
    pub(crate) kind: u16,
    /// Offset of the value in the message.
    pub(crate) at: u32,
    pub(crate) value: &'a [u8],
}

/// The attributes of a region of a message, one after the other.
///
/// ```text
/// while let Some(attr) = attrs.next() { .. }
/// attrs.finish()?;   // whether the walk ended because of damage
/// ```
/// Damage is kept aside, so that a step of the walk passes no more than an attribute: this loop is
/// the hottest of the crate.
#[derive(Clone, Copy)]
pub(crate) struct Attrs<'a> {
    region: &'a [u8],
    /// How far the walk has come in the region.
    next: usize,
    /// Where the region stands in its message.
    at: u32,
    path: Path,
    damage: Option<&'static str>,
}

impl<'a> Attrs<'a> {
    /// `at`: where `region` stands in its message.
    #[inline]
    pub(crate) fn new(region: &'a [u8], at: u32, path: Path) -> Self {
        Self {
            region,
            next: 0,
            at,
            path,
            damage: None,
        }
    }

    /// The attributes inside of `outer`.
    #[inline]
    pub(crate) fn nested(&self, outer: Attr<'a>) -> Self {
        Self::new(outer.value, outer.at, self.path.join(outer.kind))
    }

    /// A netlink message is at most 4 GiB long; an offset that does not fit is only shown wrong.
    #[inline]
    fn offset(&self, within: usize) -> u32 {
        #[allow(clippy::cast_possible_truncation, reason = "see above")]
        let within = within as u32;
        self.at.wrapping_add(within)
    }

    /// The error of an attribute that this walk gave.
    #[inline]
    pub(crate) fn wrong(&self, attr: Attr<'_>, problem: &'static str) -> Malformed {
        malformed(self.path.join(attr.kind), attr.at, problem)
    }

    /// The error of a region that lacks something.
    #[inline]
    pub(crate) fn lacks(&self, problem: &'static str) -> Malformed {
        let within = self.next.min(self.region.len());
        malformed(self.path, self.offset(within), problem)
    }

    /// The next attribute; `None` at the end, or where the region is damaged.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Attr<'a>> {
        let rest = self.region.get(self.next..)?;
        let Some((header, body)) = rest.split_first_chunk::<HEADER>() else {
            if !rest.is_empty() {
                self.damage = Some("an attribute's header is cut off");
            }
            return None;
        };
        let (length, kind) = split(*header);
        let Some(value) = length.checked_sub(HEADER).and_then(|size| body.get(..size)) else {
            self.damage = Some(if length < HEADER {
                "an attribute is shorter than its header"
            } else {
                "an attribute is longer than what holds it"
            });
            return None;
        };
        let at = self.offset(self.next + HEADER);
        // Padding to four bytes; the last attribute of a region may do without.
        self.next += (length + 3) & !3;
        Some(Attr { kind, at, value })
    }

    /// Puts aside an attribute that the walk gave and nobody knows.
    #[inline]
    pub(crate) fn unknown(&self, attr: Attr<'_>, unknowns: &mut Unknowns) {
        unknowns.put(self.path.join(attr.kind), attr.value);
    }

    /// Whether the walk came to the region's end.
    #[inline]
    pub(crate) fn finish(&self) -> Result<(), Malformed> {
        match self.damage {
            None => Ok(()),
            Some(problem) => Err(self.lacks(problem)),
        }
    }
}

/// Out of line, and by values: a walk whose address is taken would be kept in memory.
#[cold]
#[inline(never)]
fn malformed(path: Path, offset: u32, problem: &'static str) -> Malformed {
    Malformed {
        path,
        offset,
        problem,
    }
}

/// Where attributes go that are not known here, at whatever depth.
pub(crate) struct Unknowns(Option<Vec<Unknown>>);

impl Default for Unknowns {
    /// They are kept.
    #[inline]
    fn default() -> Self {
        Self(Some(Vec::new()))
    }
}

impl Unknowns {
    /// They are passed over: nothing is allocated for what a visitor does not ask for.
    #[inline]
    pub(crate) const fn ignored() -> Self {
        Self(None)
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn put(&mut self, path: Path, value: &[u8]) {
        if let Some(kept) = &mut self.0 {
            kept.push(Unknown {
                path: path.parts().collect(),
                value: value.to_vec(),
            });
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(Vec::is_empty)
    }

    pub(crate) fn take(&mut self) -> Vec<Unknown> {
        self.0.take().unwrap_or_default()
    }
}

macro_rules! fixed {
    ($($name:ident: $int:ty, $problem:literal;)*) => {
        impl Attrs<'_> {$(
            #[inline]
            pub(crate) fn $name(&self, attr: Attr<'_>) -> Result<$int, Malformed> {
                match attr.value.try_into() {
                    Ok(bytes) => Ok(<$int>::from_be_bytes(bytes)),
                    Err(_) => Err(self.wrong(attr, $problem)),
                }
            }
        )*}
    };
}
fixed! {
    u8: u8, "not 1 byte long";
    be16: u16, "not 2 bytes long";
    be32: u32, "not 4 bytes long";
    be64: u64, "not 8 bytes long";
}

impl Attrs<'_> {
    /// A text without the zero that closes it, or the zeros that fill it up.
    pub(crate) fn text<'b>(&self, attr: Attr<'b>) -> Result<&'b str, Malformed> {
        let end = attr.value.iter().rposition(|byte| *byte != 0);
        let text = &attr.value[..end.map_or(0, |last| last + 1)];
        if text.contains(&0) {
            return Err(self.wrong(attr, "bytes behind its zero"));
        }
        std::str::from_utf8(text).map_err(|_| self.wrong(attr, "not UTF-8"))
    }

    #[inline]
    pub(crate) fn bytes<const N: usize>(
        &self,
        attr: Attr<'_>,
        problem: &'static str,
    ) -> Result<[u8; N], Malformed> {
        match attr.value.try_into() {
            Ok(bytes) => Ok(bytes),
            Err(_) => Err(self.wrong(attr, problem)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(length: u16, kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes
    }

    fn problems(bytes: &[u8]) -> (usize, Option<(u32, &'static str)>) {
        let mut attrs = Attrs::new(bytes, 20, Path::default());
        let mut seen = 0;
        while attrs.next().is_some() {
            seen += 1;
        }
        let damage = attrs.finish().err();
        (
            seen,
            damage.map(|malformed| (malformed.offset, malformed.problem)),
        )
    }

    #[test]
    fn walks_padded_attributes() {
        let mut bytes = attribute(5, 1, &[7, 0, 0, 0]);
        bytes.extend(attribute(8, 0x8002, &[1, 2, 3, 4]));
        let mut attrs = Attrs::new(&bytes, 20, Path::default());
        let first = attrs.next().unwrap();
        assert_eq!((first.kind, first.value, first.at), (1, &[7][..], 24));
        let second = attrs.next().unwrap();
        assert_eq!((second.kind, second.at), (2, 32));
        assert_eq!(attrs.be32(second).unwrap(), 0x0102_0304);
        assert!(attrs.next().is_none());
        assert!(attrs.finish().is_ok());
        // The last one may lack its padding.
        assert_eq!(problems(&attribute(5, 1, &[7])), (1, None));
    }

    #[test]
    fn texts_end_with_zeros_or_without() {
        for (value, want) in [
            (&b"ftp\0"[..], Ok("ftp")),
            (b"ftp", Ok("ftp")),
            (b"ftp\0\0\0", Ok("ftp")),
            (b"\0", Ok("")),
            (b"", Ok("")),
            (b"ftp\0garbage", Err("bytes behind its zero")),
            (b"\0ftp\0", Err("bytes behind its zero")),
            (b"\xff\0", Err("not UTF-8")),
        ] {
            let attrs = Attrs::new(&[], 20, Path::default());
            let (kind, at) = (1, 24);
            let text = attrs.text(Attr { kind, at, value });
            assert_eq!(text.map_err(|malformed| malformed.problem), want);
        }
    }

    #[test]
    fn damage_is_located() {
        let mut bytes = attribute(8, 1, &[0; 4]);
        bytes.extend([9, 0]);
        assert_eq!(
            problems(&bytes),
            (1, Some((28, "an attribute's header is cut off")))
        );
        assert_eq!(
            problems(&attribute(3, 1, &[])),
            (0, Some((20, "an attribute is shorter than its header")))
        );
        assert_eq!(
            problems(&attribute(9, 1, &[0; 4])),
            (0, Some((20, "an attribute is longer than what holds it")))
        );
    }
}
