//! Text gathered on the stack, because a call of the formatter for every word and number of a line
//! takes longer than all else that is done for it.

use std::fmt::{self, Write};
use std::net::IpAddr;

use super::Address;

/// Lines of usual entries fit.
const ROOM: usize = 320;

/// Passes text on in large pieces. [`Gather::end`] must be called last.
pub(super) struct Gather<'a, 'f> {
    into: &'a mut fmt::Formatter<'f>,
    bytes: [u8; ROOM],
    length: usize,
}

impl<'a, 'f> Gather<'a, 'f> {
    pub(super) fn new(into: &'a mut fmt::Formatter<'f>) -> Self {
        Self {
            into,
            bytes: [0; ROOM],
            length: 0,
        }
    }

    #[inline]
    pub(super) fn text(&mut self, text: &str) -> fmt::Result {
        if let Some(room) = self.bytes.get_mut(self.length..self.length + text.len()) {
            room.copy_from_slice(text.as_bytes());
            self.length += text.len();
            return Ok(());
        }
        self.long(text)
    }

    #[cold]
    fn long(&mut self, text: &str) -> fmt::Result {
        self.pass_on()?;
        self.into.write_str(text)
    }

    /// A word before a number.
    #[inline]
    pub(super) fn field(&mut self, name: &str, number: impl Into<u64>) -> fmt::Result {
        self.text(name)?;
        self.number(number)
    }

    #[inline]
    pub(super) fn number(&mut self, number: impl Into<u64>) -> fmt::Result {
        const PAIRS: &[u8; 200] = b"0001020304050607080910111213141516171819\
            2021222324252627282930313233343536373839\
            4041424344454647484950515253545556575859\
            6061626364656667686970717273747576777879\
            8081828384858687888990919293949596979899";
        let mut rest: u64 = number.into();
        let mut digits = [0; 20];
        let mut at = digits.len();
        while rest >= 10 {
            let pair = usize::try_from(rest % 100).unwrap_or_default() * 2;
            rest /= 100;
            at -= 2;
            digits[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
        }
        // What is left is one digit, or none.
        if rest > 0 || at == digits.len() {
            at -= 1;
            digits[at] = b'0' + u8::try_from(rest).unwrap_or_default();
        }
        self.ascii(&digits[at..])
    }

    #[inline]
    fn ascii(&mut self, digits: &[u8]) -> fmt::Result {
        if let Some(room) = self.bytes.get_mut(self.length..self.length + digits.len()) {
            room.copy_from_slice(digits);
            self.length += digits.len();
            return Ok(());
        }
        self.pass_on()?;
        self.bytes[..digits.len()].copy_from_slice(digits);
        self.length = digits.len();
        Ok(())
    }

    #[inline]
    pub(super) fn address(&mut self, address: IpAddr) -> fmt::Result {
        match address {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                self.number(a)?;
                self.field(".", b)?;
                self.field(".", c)?;
                self.field(".", d)
            }
            IpAddr::V6(_) => write!(self, "{}", Address(address)),
        }
    }

    /// A word, and spaces up to eight columns.
    pub(super) fn column(&mut self, word: &str) -> fmt::Result {
        self.text(word)?;
        self.text("        ".get(word.len()..).unwrap_or_default())
    }

    fn pass_on(&mut self) -> fmt::Result {
        let gathered = self.bytes.get(..self.length).unwrap_or_default();
        self.length = 0;
        // Of whole strings alone.
        self.into
            .write_str(std::str::from_utf8(gathered).unwrap_or_default())
    }

    pub(super) fn end(mut self) -> fmt::Result {
        self.pass_on()
    }
}

impl Write for Gather<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Gathered<F>(F);

    impl<F: Fn(&mut Gather<'_, '_>) -> fmt::Result> fmt::Display for Gathered<F> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let mut gather = Gather::new(f);
            (self.0)(&mut gather)?;
            gather.end()
        }
    }

    #[test]
    fn numbers_are_those_of_the_standard_library() {
        let mut numbers: Vec<u64> = (0..=1100).collect();
        let powers = (0..20).map(|power| 10_u64.pow(power));
        numbers.extend(powers.flat_map(|power| [power - 1, power, power + 1]));
        numbers.extend([u64::MAX, u64::from(u32::MAX), 65535]);
        for number in numbers {
            let text = Gathered(|g: &mut Gather<'_, '_>| g.number(number)).to_string();
            assert_eq!(text, number.to_string());
        }
    }

    #[test]
    fn text_of_any_length_arrives_in_order() {
        for length in [0, 1, ROOM - 1, ROOM, ROOM + 1, 3 * ROOM] {
            let word = "é".repeat(length);
            let text = Gathered(|g: &mut Gather<'_, '_>| {
                g.text("<")?;
                g.text(&word)?;
                g.field(">", u64::MAX)
            });
            assert_eq!(text.to_string(), format!("<{word}>{}", u64::MAX));
            let filled = "x".repeat(length);
            let text = Gathered(|g: &mut Gather<'_, '_>| {
                g.text(&filled)?;
                g.number(u64::MAX)
            });
            assert_eq!(text.to_string(), format!("{filled}{}", u64::MAX));
        }
    }

    #[test]
    fn columns_and_addresses() {
        let text = Gathered(|g: &mut Gather<'_, '_>| {
            g.column("tcp")?;
            g.column("longer than eight")?;
            g.address("10.0.200.255".parse().unwrap())?;
            g.address("::1:2".parse().unwrap())
        });
        assert_eq!(
            text.to_string(),
            "tcp     longer than eight10.0.200.255::0.1.0.2"
        );
    }
}
