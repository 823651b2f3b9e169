//! Claims: entries by which the kernel arbitrates who holds a zone. docs/zones.md has their form.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;
use std::time::Duration;

use uuid::Uuid;

use super::tuple::Addresses;
use super::{Entry, EntryZone, Key, Layer4, NewEntry, Protocol, Status, Tuple, Zone, digits};
use crate::error::{Error, Result};

/// For experiments (RFC 3692), and without ports.
const PROTOCOL: Protocol = Protocol::new(253);
/// `100::/64`, to which nothing is ever delivered (RFC 6666).
const DISCARD: u128 = 0x0100 << 112;
/// `ctnlzone`
const SOURCE: Ipv6Addr = discard(0x6374_6e6c_7a6f_6e65);

const fn discard(low: u64) -> Ipv6Addr {
    // No cast loses anything; `From` is not const.
    Ipv6Addr::from_bits(DISCARD | low as u128)
}

/// Who owns a zone: 128 bits, written as a UUID.
///
/// A name stands for the UUID of version 5 (RFC 9562) that it has in [`OwnerKey::NAMESPACE`], so that
/// whoever knows the name finds the zone. A UUID stands for itself; so does text in the form of one.
///
/// ```
/// use ctnetlink::OwnerKey;
///
/// let port: OwnerKey = "6f2a9c1e-58f0-4c0e-9df4-0a4f6b1f7d11".parse()?;
/// assert_eq!(port.to_string(), "6f2a9c1e-58f0-4c0e-9df4-0a4f6b1f7d11");
/// let tap: OwnerKey = "tap7f3a".parse()?;
/// assert_eq!(tap, OwnerKey::named("tap7f3a")?);
/// # Ok::<(), ctnetlink::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerKey(Uuid);

impl OwnerKey {
    /// The namespace of names, for other programs that take part.
    pub const NAMESPACE: [u8; 16] = [
        0x3b, 0x0e, 0x9d, 0x57, 0x5c, 0x8c, 0x4f, 0x5d, 0x9a, 0x21, 0x9c, 0x52, 0x6b, 0xd0, 0x3c,
        0x7e,
    ];

    /// The key of a name.
    ///
    /// # Errors
    /// For an empty name, which is no name that a second owner would not have as well.
    pub fn named(name: &str) -> Result<Self> {
        if name.is_empty() {
            return Err(Error::invalid(
                "owner key",
                name,
                "empty",
                "a name or a UUID",
            ));
        }
        let namespace = Uuid::from_bytes(Self::NAMESPACE);
        Ok(Self(Uuid::new_v5(&namespace, name.as_bytes())))
    }

    /// The key with these bytes: those of a UUID, the most significant first.
    ///
    /// # Errors
    /// For zeros only: that is nobody's key.
    pub fn from_bytes(bytes: [u8; 16]) -> Result<Self> {
        let key = Uuid::from_bytes(bytes);
        if key.is_nil() {
            return Err(Error::invalid(
                "owner key",
                key.to_string(),
                "the nil UUID",
                "a UUID of an owner",
            ));
        }
        Ok(Self(key))
    }

    /// A key that nobody else has.
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// The bytes of the UUID, the most significant first.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }

    const fn address(self) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.0.as_u128())
    }
}

/// A UUID, else a name.
impl FromStr for OwnerKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match Uuid::parse_str(text) {
            Ok(key) => Self::from_bytes(key.into_bytes()),
            Err(_) => Self::named(text),
        }
    }
}

impl TryFrom<&str> for OwnerKey {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        text.parse()
    }
}

impl TryFrom<&String> for OwnerKey {
    type Error = Error;

    fn try_from(text: &String) -> Result<Self> {
        text.parse()
    }
}

impl TryFrom<String> for OwnerKey {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<&OwnerKey> for OwnerKey {
    fn from(key: &OwnerKey) -> Self {
        *key
    }
}

impl fmt::Display for OwnerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for OwnerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnerKey({})", self.0)
    }
}

/// Which run of an owner holds a claim: 64 random bits, written as 16 hexadecimal digits. It fences
/// off a former self that does not know that it has been replaced.
///
/// ```
/// use ctnetlink::Instance;
///
/// let instance: Instance = "00c0ffee00c0ffee".parse()?;
/// assert_eq!(instance.get(), 0xc0_ffee_00c0_ffee);
/// assert!("c0ffee".parse::<Instance>().is_err());
/// # Ok::<(), ctnetlink::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instance(u64);

impl Instance {
    /// An instance that nobody else is.
    #[must_use]
    pub fn random() -> Self {
        // Each half has bits that say what kind of UUID it is, not at the same places.
        let (high, low) = Uuid::new_v4().as_u64_pair();
        Self(high ^ low)
    }

    /// The instance with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// 16 hexadecimal digits, as it is written.
impl FromStr for Instance {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // A piece of one is another instance, which nobody means.
        let number = (text.len() == 16).then(|| digits(text, 16)).flatten();
        number.map(Self).ok_or_else(|| {
            let expected = "16 hexadecimal digits";
            Error::invalid("instance", text, "not the form of one", expected)
        })
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Instance({self})")
    }
}

/// What a claim is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClaimKind {
    /// Its owner holds the zone.
    Lease,
    /// Its owner looks whether the zone can be had: it is not `ASSURED` yet.
    Trial,
    /// A claim of the zone is being replaced, and the zone is not free meanwhile.
    Marker,
}

impl ClaimKind {
    const fn destination(self) -> Ipv6Addr {
        match self {
            Self::Lease | Self::Trial => discard(1),
            Self::Marker => discard(2),
        }
    }
}

/// `lease`, `trial`, `marker`
impl fmt::Display for ClaimKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Lease => "lease",
            Self::Trial => "trial",
            Self::Marker => "marker",
        })
    }
}

/// A claim of a zone, as it is in the kernel's table.
///
/// ```
/// use ctnetlink::{Claim, Entry};
///
/// let line = "unknown  253 295 src=100::6374:6e6c:7a6f:6e65 dst=100::1 \
///             src=fd00::7 dst=100::2a [ASSURED] mark=0 zone=4097 use=1";
/// let claim = Claim::of(&line.parse::<Entry>()?).unwrap();
/// assert_eq!(claim.zone().get(), 4097);
/// assert_eq!(claim.instance().get(), 0x2a);
/// assert_eq!(claim.to_string(), "lease of fd000000-0000-0000-0000-000000000007, instance \
///                                000000000000002a, ends in 295s");
/// # Ok::<(), ctnetlink::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Claim {
    pub(super) zone: Zone,
    pub(super) kind: ClaimKind,
    pub(super) owner: OwnerKey,
    pub(super) instance: Instance,
    pub(super) ends_in: Option<Duration>,
}

impl Claim {
    /// The claim that an entry is, if it is one.
    #[must_use]
    pub fn of(entry: &Entry) -> Option<Self> {
        let EntryZone::Both(zone) = entry.zone else {
            return None;
        };
        let kind = match kind(&entry.orig)? {
            ClaimKind::Lease if !entry.status?.contains(Status::ASSURED) => ClaimKind::Trial,
            kind => kind,
        };
        let (owner, instance) = holder(&entry.reply)?;
        (!zone.is_default()).then_some(Self {
            zone,
            kind,
            owner,
            instance,
            ends_in: entry.timeout(),
        })
    }

    /// The zone that is claimed.
    #[must_use]
    pub const fn zone(&self) -> Zone {
        self.zone
    }

    /// What the claim is there for.
    #[must_use]
    pub const fn kind(&self) -> ClaimKind {
        self.kind
    }

    /// Who owns the zone.
    #[must_use]
    pub const fn owner(&self) -> OwnerKey {
        self.owner
    }

    /// Which run of the owner.
    #[must_use]
    pub const fn instance(&self) -> Instance {
        self.instance
    }

    /// Whether it is the same claim, looked at another time.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.hold() == other.hold()
    }

    /// The hold that it is.
    pub(crate) fn hold(&self) -> Hold {
        Hold::claim(self.kind, self.zone, self.owner, self.instance)
    }

    /// When it ends if it is not renewed, counted from when it was looked at.
    #[must_use]
    pub const fn ends_in(&self) -> Option<Duration> {
        self.ends_in
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {}, instance {}",
            self.kind, self.owner, self.instance
        )?;
        match self.ends_in {
            Some(ends_in) => write!(f, ", ends in {ends_in:?}"),
            None => Ok(()),
        }
    }
}

fn addresses(tuple: &Tuple) -> Option<(Ipv6Addr, Ipv6Addr)> {
    match (tuple.layer4, tuple.addresses) {
        (Layer4::Other(PROTOCOL), Addresses::V6 { src, dst }) => Some((src, dst)),
        _ => None,
    }
}

fn kind(orig: &Tuple) -> Option<ClaimKind> {
    let (src, dst) = addresses(orig)?;
    if src != SOURCE {
        return None;
    }
    [ClaimKind::Lease, ClaimKind::Marker]
        .into_iter()
        .find(|kind| dst == kind.destination())
}

fn holder(reply: &Tuple) -> Option<(OwnerKey, Instance)> {
    let (src, dst) = addresses(reply)?;
    let token = u64::try_from(dst.to_bits() ^ DISCARD).ok()?;
    let owner = OwnerKey::from_bytes(src.octets()).ok()?;
    Some((owner, Instance(token)))
}

const fn tuple(src: Ipv6Addr, dst: Ipv6Addr) -> Tuple {
    Tuple {
        addresses: Addresses::V6 { src, dst },
        layer4: Layer4::Other(PROTOCOL),
    }
}

/// A hold on something that the kernel arbitrates: it has the one who holds it as its reply tuple,
/// by which it can be renewed and released by that one alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Hold {
    zone: Zone,
    orig: Tuple,
    reply: Tuple,
}

impl Hold {
    fn new(zone: Zone, orig: Tuple, owner: OwnerKey, instance: Instance) -> Self {
        Self {
            zone,
            orig,
            reply: tuple(owner.address(), discard(instance.0)),
        }
    }

    /// A claim of a zone.
    pub(crate) fn claim(kind: ClaimKind, zone: Zone, owner: OwnerKey, instance: Instance) -> Self {
        Self::new(zone, tuple(SOURCE, kind.destination()), owner, instance)
    }

    /// The right to look for a zone for this owner, which one alone has at a time. It is in zone 0,
    /// where no claim is.
    pub(crate) fn turn(owner: OwnerKey, instance: Instance) -> Self {
        let orig = tuple(owner.address(), discard(3));
        Self::new(Zone::DEFAULT, orig, owner, instance)
    }

    /// What it has once nobody has to look any more. `ASSURED` keeps it from being dropped early when
    /// the table is full (`early_drop_list`).
    pub(crate) const STATUS: Status = Self::TRIAL.union(Status::ASSURED);
    const TRIAL: Status = Status::SEEN_REPLY.union(Status::CONFIRMED);

    /// Taken by this entry.
    pub(crate) fn entry(&self, trial: bool, lasts: Duration) -> Result<NewEntry> {
        Entry::with_tuple(self.orig)
            .reply(self.reply)
            .zone(self.zone)
            .status(if trial { Self::TRIAL } else { Self::STATUS })
            .timeout(lasts)
            .build()
    }

    /// Whoever holds it.
    pub(crate) fn place(&self) -> Key {
        Key::orig(self.orig).zone(self.zone)
    }

    /// This very hold.
    pub(crate) fn own(&self) -> Key {
        Key::reply(self.reply).zone(self.zone)
    }
}

/// Which entries to look at for claims.
pub(crate) const CLAIM_PROTOCOL: Protocol = PROTOCOL;

/// The keys by which claims of a zone are found.
pub(crate) fn claim_places(zone: Zone) -> [Key; 2] {
    [ClaimKind::Lease, ClaimKind::Marker]
        .map(|kind| Key::orig(tuple(SOURCE, kind.destination())).zone(zone))
}
