//! Local time, out of the system's database of time zones.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

/// How many seconds local time is ahead of UTC at a moment. Where the zone is not known it is UTC.
pub(crate) fn utc_offset(moment: SystemTime) -> i32 {
    static ZONE: OnceLock<Option<Zone>> = OnceLock::new();
    let zone = ZONE.get_or_init(|| {
        let path = path(std::env::var("TZ").ok().as_deref())?;
        Zone::read(&std::fs::read(path).ok()?)
    });
    let seconds = moment
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        });
    zone.as_ref().map_or(0, |zone| zone.at(seconds))
}

/// The file of the zone, as tzset(3) finds it; rules that are spelt out in `TZ` are not read.
fn path(tz: Option<&str>) -> Option<PathBuf> {
    match tz.map(|tz| tz.strip_prefix(':').unwrap_or(tz)) {
        None => Some(PathBuf::from("/etc/localtime")),
        Some("") => None,
        Some(name) if name.contains("..") => None,
        Some(name) => Some(Path::new("/usr/share/zoneinfo").join(name)),
    }
}

/// What a file in the form of RFC 9636 says.
struct Zone {
    /// When the offset changes, in order, and what to.
    changes: Vec<(i64, i32)>,
    first: i32,
}

impl Zone {
    /// The second part, whose times have 64 bits.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (counts, rest) = header(bytes)?;
        let [isut, isstd, leaps, times, types, chars] = counts;
        let skipped = times * 5 + types * 6 + chars + leaps * 8 + isstd + isut;
        let (counts, rest) = header(rest.get(skipped..)?)?;
        let [_, _, _, times, types, _] = counts;
        let (moments, rest) = rest.split_at_checked(times * 8)?;
        let (indices, rest) = rest.split_at_checked(times)?;
        let kinds = rest.get(..types * 6)?;
        let offset = |index: usize| -> Option<i32> {
            let kind = kinds.get(index * 6..index * 6 + 4)?;
            Some(i32::from_be_bytes(kind.try_into().ok()?))
        };
        let changes = moments
            .chunks_exact(8)
            .zip(indices)
            .map(|(moment, index)| {
                let moment = i64::from_be_bytes(moment.try_into().ok()?);
                Some((moment, offset(usize::from(*index))?))
            })
            .collect::<Option<Vec<_>>>()?;
        Some(Self {
            changes,
            first: offset(0)?,
        })
    }

    fn at(&self, seconds: i64) -> i32 {
        let after = self
            .changes
            .partition_point(|(moment, _)| *moment <= seconds);
        match after.checked_sub(1).and_then(|last| self.changes.get(last)) {
            Some((_, offset)) => *offset,
            None => self.first,
        }
    }
}

/// The six counts of a header, and what follows it.
fn header(bytes: &[u8]) -> Option<([usize; 6], &[u8])> {
    if !bytes.starts_with(b"TZif") || *bytes.get(4)? < b'2' {
        return None;
    }
    let mut counts = [0; 6];
    for (count, bytes) in counts.iter_mut().zip(bytes.get(20..44)?.chunks_exact(4)) {
        *count = usize::try_from(u32::from_be_bytes(bytes.try_into().ok()?)).ok()?;
    }
    Some((counts, bytes.get(44..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two headers, the first without anything, and two changes.
    fn file() -> Vec<u8> {
        let mut bytes = Vec::new();
        for (times, types) in [(0_u32, 0_u32), (2, 2)] {
            bytes.extend(b"TZif2");
            bytes.extend([0; 15]);
            for count in [0, 0, 0, times, types, 0] {
                bytes.extend(count.to_be_bytes());
            }
        }
        bytes.extend(100_i64.to_be_bytes());
        bytes.extend(200_i64.to_be_bytes());
        bytes.extend([1, 0]);
        for offset in [3600_i32, 7200] {
            bytes.extend(offset.to_be_bytes());
            bytes.extend([0, 0]);
        }
        bytes
    }

    #[test]
    fn the_offset_is_that_of_the_moment() {
        let zone = Zone::read(&file()).unwrap();
        for (seconds, want) in [
            (0, 3600),
            (99, 3600),
            (100, 7200),
            (199, 7200),
            (200, 3600),
            (i64::MAX, 3600),
        ] {
            assert_eq!(zone.at(seconds), want);
        }
    }

    #[test]
    fn damage_is_no_zone_and_no_panic() {
        let whole = file();
        for length in 0..whole.len() {
            assert!(Zone::read(&whole[..length]).is_none(), "{length}");
        }
        assert_eq!(
            path(Some(":Europe/Berlin")),
            Some("/usr/share/zoneinfo/Europe/Berlin".into())
        );
        assert_eq!(path(Some("../../etc/passwd")), None);
        assert_eq!(path(Some("")), None);
    }
}
