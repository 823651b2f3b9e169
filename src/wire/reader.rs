//! Walking attributes.

use super::Malformed;
use super::attr::Path;

/// Header of an attribute: length, type (`struct nlattr`).
pub(crate) const HEADER: usize = 4;
/// `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER` say nothing that the number does not.
const TYPE_MASK: u16 = netlink_packet_core::NLA_TYPE_MASK;

/// An attribute: its number, its bytes, and where it stood.
#[derive(Clone, Copy)]
pub(crate) struct Attr<'a> {
    pub(crate) kind: u16,
    pub(crate) value: &'a [u8],
    /// Offset of the value in the message.
    pub(crate) at: u32,
}

/// The attributes of a region of a message, one after the other.
#[derive(Clone, Copy)]
pub(crate) struct Attrs<'a> {
    rest: &'a [u8],
    /// Offset in the message of the region's end, so that only errors compute offsets.
    end: u32,
    path: Path,
}

impl<'a> Attrs<'a> {
    /// `at`: where `region` stands in its message.
    #[inline]
    pub(crate) fn new(region: &'a [u8], at: u32, path: Path) -> Self {
        // A netlink message is at most 4 GiB long; an offset that does not fit is only shown wrong.
        let end = at.saturating_add(u32::try_from(region.len()).unwrap_or(u32::MAX));
        Self {
            rest: region,
            end,
            path,
        }
    }

    /// The attributes inside of `outer`.
    #[inline]
    pub(crate) fn nested(&self, outer: Attr<'a>) -> Self {
        Self::new(outer.value, outer.at, self.path.join(outer.kind))
    }

    #[inline]
    fn offset(&self) -> u32 {
        self.end
            .saturating_sub(u32::try_from(self.rest.len()).unwrap_or(u32::MAX))
    }

    #[cold]
    fn malformed(&self, problem: &'static str) -> Malformed {
        Malformed {
            path: self.path,
            offset: self.offset(),
            problem,
        }
    }

    /// The error of an attribute that this walk gave.
    #[cold]
    pub(crate) fn wrong(&self, attr: Attr<'_>, problem: &'static str) -> Malformed {
        Malformed {
            path: self.path.join(attr.kind),
            offset: attr.at,
            problem,
        }
    }

    /// The error of a region that lacks something.
    #[cold]
    pub(crate) fn lacks(&self, problem: &'static str) -> Malformed {
        self.malformed(problem)
    }

    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Attr<'a>>, Malformed> {
        let Some((header, body)) = self.rest.split_first_chunk::<HEADER>() else {
            if self.rest.is_empty() {
                return Ok(None);
            }
            return Err(self.malformed("an attribute's header is cut off"));
        };
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & TYPE_MASK;
        let Some(size) = length.checked_sub(HEADER) else {
            return Err(self.malformed("an attribute is shorter than its header"));
        };
        let Some(value) = body.get(..size) else {
            return Err(self.malformed("an attribute is longer than what holds it"));
        };
        let at = self.offset().saturating_add(4);
        // Padding to four bytes; the last attribute of a region may do without.
        self.rest = body.get((size + 3) & !3..).unwrap_or_default();
        Ok(Some(Attr { kind, value, at }))
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
    #[inline]
    pub(crate) fn bytes<const N: usize>(
        &self,
        attr: Attr<'_>,
        problem: &'static str,
    ) -> Result<[u8; N], Malformed> {
        attr.value.try_into().map_err(|_| self.wrong(attr, problem))
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
        loop {
            match attrs.next() {
                Ok(Some(_)) => seen += 1,
                Ok(None) => return (seen, None),
                Err(malformed) => return (seen, Some((malformed.offset, malformed.problem))),
            }
        }
    }

    #[test]
    fn walks_padded_attributes() {
        let mut bytes = attribute(5, 1, &[7, 0, 0, 0]);
        bytes.extend(attribute(8, 0x8002, &[1, 2, 3, 4]));
        let mut attrs = Attrs::new(&bytes, 20, Path::default());
        let first = attrs.next().unwrap().unwrap();
        assert_eq!((first.kind, first.value, first.at), (1, &[7][..], 24));
        let second = attrs.next().unwrap().unwrap();
        assert_eq!((second.kind, second.at), (2, 32));
        assert_eq!(attrs.be32(second).unwrap(), 0x0102_0304);
        assert!(attrs.next().unwrap().is_none());
        // The last one may lack its padding.
        assert_eq!(problems(&attribute(5, 1, &[7])), (1, None));
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
