//! Moments in time as ctime(3) and conntrack(8)'s XML have them.

use std::fmt;
use std::time::{Duration, SystemTime};

const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Since 1970. What is before counts as 1970: the kernel counts from there.
pub(super) fn since_epoch(moment: SystemTime) -> Duration {
    moment
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

/// A moment on the calendar and the clock, of the proleptic Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) year: i64,
    /// 1 to 12
    pub(super) month: usize,
    /// 1 to 31
    pub(super) day: i64,
    /// From Sunday, 0 to 6
    pub(super) weekday: usize,
    pub(super) hour: i64,
    pub(super) minute: i64,
    pub(super) second: i64,
}

impl Moment {
    pub(super) fn new(moment: SystemTime, utc_offset: fn(SystemTime) -> i32) -> Self {
        let seconds = i64::try_from(since_epoch(moment).as_secs()).unwrap_or(i64::MAX);
        Self::at(seconds.saturating_add(utc_offset(moment).into()))
    }

    fn at(seconds: i64) -> Self {
        const FOUR_CENTURIES: i64 = 146_097;
        let (days, time) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Years are counted from March, so that the leap day is a year's last, and four centuries
        // from one whose last year is a leap year: 2000-03-01, which is day 11,017.
        let since = days - 11_017;
        let mut year = 2000 + 400 * since.div_euclid(FOUR_CENTURIES);
        let mut left = since.rem_euclid(FOUR_CENTURIES);
        // The last of four centuries, and the last of four years, has a day more than the others.
        let centuries = (left / 36_524).min(3);
        left -= centuries * 36_524;
        let fours = left / 1_461;
        left -= fours * 1_461;
        let years = (left / 365).min(3);
        left -= years * 365;
        year += centuries * 100 + fours * 4 + years;
        let mut month = 2;
        for length in [31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31] {
            if left < length {
                break;
            }
            left -= length;
            month += 1;
        }
        if month >= 12 {
            month -= 12;
            year += 1;
        }
        Self {
            year,
            month: month + 1,
            day: left + 1,
            // Day 0 was a Thursday.
            weekday: usize::try_from((days + 4).rem_euclid(7)).unwrap_or_default(),
            hour: time / 3_600,
            minute: time / 60 % 60,
            second: time % 60,
        }
    }
}

/// As ctime(3): `Sun Nov 22 22:53:43 2026`.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {:>2} {:02}:{:02}:{:02} {}",
            DAYS[self.weekday],
            MONTHS[self.month - 1],
            self.day,
            self.hour,
            self.minute,
            self.second,
            self.year
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_ctime() {
        for (seconds, want) in [
            (0, "Thu Jan  1 00:00:00 1970"),
            (-1, "Wed Dec 31 23:59:59 1969"),
            (951_782_399, "Mon Feb 28 23:59:59 2000"),
            (951_782_400, "Tue Feb 29 00:00:00 2000"),
            (951_868_800, "Wed Mar  1 00:00:00 2000"),
            (1_709_164_800, "Thu Feb 29 00:00:00 2024"),
            (1_735_689_599, "Tue Dec 31 23:59:59 2024"),
            (1_795_392_175, "Mon Nov 23 00:02:55 2026"),
            (4_107_542_400, "Mon Mar  1 00:00:00 2100"),
            // The last that 64 bits of nanoseconds hold.
            (18_446_744_073, "Sun Jul 21 23:34:33 2554"),
        ] {
            assert_eq!(Moment::at(seconds).to_string(), want);
        }
    }

    /// Day for day through 1,000 years, against counting.
    #[test]
    fn no_day_is_left_out() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..365_243 {
            let moment = Moment::at(days * 86_400 + 86_399);
            assert_eq!((moment.year, moment.month, moment.day), (year, month, day));
            assert_eq!(moment.weekday, usize::try_from((days + 4) % 7).unwrap());
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + i64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn local_time_is_ahead_by_the_offset() {
        let moment = |offset| Moment::new(SystemTime::UNIX_EPOCH, offset).to_string();
        assert_eq!(moment(|_| 19_800), "Thu Jan  1 05:30:00 1970");
        assert_eq!(moment(|_| -3_600), "Wed Dec 31 23:00:00 1969");
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(9);
        assert_eq!(since_epoch(before), Duration::ZERO);
    }
}
