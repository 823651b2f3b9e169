//! Numbers in text.

/// A number without a sign. The standard library's parsers take a plus.
pub(crate) fn digits<N: TryFrom<u64>>(text: &str, radix: u32) -> Option<N> {
    if text.starts_with('+') {
        return None;
    }
    u64::from_str_radix(text, radix).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::digits;
    use crate::model::{DccpState, Protocol, SctpState, Status, TcpState};

    #[test]
    fn digits_and_nothing_else() {
        assert_eq!(digits::<u8>("255", 10), Some(255));
        assert_eq!(digits::<u64>("ffffffffffffffff", 16), Some(u64::MAX));
        for bad in ["", "+1", "-1", " 1", "1 ", "256", "0x1", "a"] {
            assert_eq!(digits::<u8>(bad, 10), None, "{bad}");
        }
    }

    #[test]
    fn no_number_has_a_sign() {
        assert!("+6".parse::<Protocol>().is_err());
        assert!("0x+1".parse::<Status>().is_err());
        assert!("STATE_+5".parse::<TcpState>().is_err());
        assert!("STATE_+5".parse::<SctpState>().is_err());
        assert!("STATE_+5".parse::<DccpState>().is_err());
    }
}
