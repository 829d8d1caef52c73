//! Writing and reading the parts of netlink messages: integers, addresses, attributes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use zeroize::Zeroizing;

/// `AF_INET`.
pub(super) const INET: u8 = 2;
/// `AF_INET6`.
pub(super) const INET6: u8 = 10;

const ALIGN: usize = 4;
const ATTRIBUTE_HEADER: usize = 4;
/// Without `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
const KIND_MASK: u16 = 0x3fff;

/// Octets that are no netlink message, structure or attribute.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: found {found} octets, expected {expected}")]
pub struct Malformed {
    /// What was being read.
    pub what: &'static str,
    /// How many octets there were.
    pub found: usize,
    /// How many were needed.
    pub expected: usize,
}

/// The address family of `address`.
pub(super) const fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => INET,
        IpAddr::V6(_) => INET6,
    }
}

/// A growing buffer that never leaves a copy of its content behind.
#[derive(Clone)]
pub struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    /// An empty one with room for `capacity` octets.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(capacity)))
    }

    /// What was written.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Appends octets. When they do not fit, the old buffer is wiped, which `Vec` would not do.
    pub fn bytes(&mut self, octets: &[u8]) {
        let needed = self.0.len() + octets.len();
        if needed > self.0.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(needed.next_power_of_two()));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(octets);
    }

    /// Appends zeros.
    pub fn zeros(&mut self, count: usize) {
        for _ in 0..count {
            self.u8(0);
        }
    }

    /// Appends one octet.
    pub fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    /// Appends an integer in host byte order.
    pub fn u16(&mut self, value: u16) {
        self.bytes(&value.to_ne_bytes());
    }

    /// Appends an integer in host byte order.
    pub fn u32(&mut self, value: u32) {
        self.bytes(&value.to_ne_bytes());
    }

    /// Appends an integer in host byte order.
    pub fn u64(&mut self, value: u64) {
        self.bytes(&value.to_ne_bytes());
    }

    /// Appends the 4 or 16 octets of an address.
    pub fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.bytes(&address.octets()),
            IpAddr::V6(address) => self.bytes(&address.octets()),
        }
    }

    /// Appends an address in the 16 octets of an `xfrm_address_t`.
    pub fn wide_address(&mut self, address: IpAddr) {
        self.address(address);
        if address.is_ipv4() {
            self.zeros(12);
        }
    }

    /// Appends an attribute whose content `write` appends, and its padding.
    pub fn nested(&mut self, kind: u16, write: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.u16(0);
        self.u16(kind);
        write(self);
        let length = self.0.len() - start;
        self.patch(start, &saturated(length).to_ne_bytes());
        self.zeros(length.next_multiple_of(ALIGN) - length);
    }

    /// Appends an attribute.
    pub fn attribute(&mut self, kind: u16, content: &[u8]) {
        self.nested(kind, |writer| writer.bytes(content));
    }

    /// Appends an attribute holding one integer in host byte order.
    pub fn attribute_u32(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_ne_bytes());
    }

    /// Appends an attribute holding an address.
    pub fn attribute_address(&mut self, kind: u16, address: IpAddr) {
        self.nested(kind, |writer| writer.address(address));
    }

    /// Appends an attribute holding text with a NUL at its end.
    pub fn attribute_text(&mut self, kind: u16, text: &str) {
        self.nested(kind, |writer| {
            writer.bytes(text.as_bytes());
            writer.u8(0);
        });
    }

    /// Overwrites octets written before; those beyond the end are left out.
    pub(super) fn patch(&mut self, at: usize, octets: &[u8]) {
        for (old, new) in self.0.iter_mut().skip(at).zip(octets) {
            *old = *new;
        }
    }
}

/// The length field of an attribute. Everything variable in our messages is short (keys, names, at most six
/// templates); were it not, the kernel would refuse an attribute longer than its message.
fn saturated(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

/// Reads integers and addresses from octets that may end at any point.
#[derive(Clone)]
pub struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `octets`, which are called `what` in errors.
    #[must_use]
    pub const fn new(what: &'static str, octets: &'a [u8]) -> Self {
        Self { what, rest: octets }
    }

    /// The octets not read yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `count` octets.
    ///
    /// # Errors
    /// [`Malformed`] when there are fewer; so in all methods below.
    pub fn slice(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(Malformed { what: self.what, found: self.rest.len(), expected: count });
        };
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` octets.
    ///
    /// # Errors
    /// [`Malformed`] when there are fewer.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.slice(N)?);
        Ok(array)
    }

    /// An octet.
    ///
    /// # Errors
    /// [`Malformed`] at the end.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_ne_bytes)
    }

    /// An integer in host byte order.
    ///
    /// # Errors
    /// [`Malformed`] at the end.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_ne_bytes)
    }

    /// An integer in host byte order.
    ///
    /// # Errors
    /// [`Malformed`] at the end.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_ne_bytes)
    }

    /// An integer in host byte order.
    ///
    /// # Errors
    /// [`Malformed`] at the end.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_ne_bytes)
    }
}

/// The address of `family` at the start of `octets`, if there is one.
pub(super) fn address(family: u8, octets: &[u8]) -> Option<IpAddr> {
    match family {
        INET => octets.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets).into()),
        INET6 => octets.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets).into()),
        _ => None,
    }
}

/// One attribute.
#[derive(Clone, Copy)]
pub struct Attribute<'a> {
    /// Its type, without flags.
    pub kind: u16,
    /// Its content, without padding.
    pub content: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// The content as an octet.
    ///
    /// # Errors
    /// [`Malformed`] when it is empty.
    pub fn u8(self) -> Result<u8, Malformed> {
        Reader::new("attribute", self.content).u8()
    }

    /// The content as an integer in host byte order.
    ///
    /// # Errors
    /// [`Malformed`] when it is shorter.
    pub fn u32(self) -> Result<u32, Malformed> {
        Reader::new("attribute", self.content).u32()
    }

    /// The content as text, up to the first NUL; `None` when it is not UTF-8.
    #[must_use]
    pub fn text(self) -> Option<&'a str> {
        text(self.content)
    }

    /// The attributes in it.
    #[must_use]
    pub const fn attributes(self) -> Attributes<'a> {
        Attributes::new(self.content)
    }
}

/// Text up to the first NUL; `None` when it is not UTF-8.
pub(super) fn text(octets: &[u8]) -> Option<&str> {
    std::str::from_utf8(octets.split(|octet| *octet == 0).next()?).ok()
}

/// The attributes in some octets; after an error there are no more.
#[derive(Clone)]
pub struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// The attributes in `octets`.
    #[must_use]
    pub const fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    fn read(&mut self) -> Result<Attribute<'a>, Malformed> {
        let mut reader = Reader::new("attribute", std::mem::take(&mut self.0));
        let length = usize::from(reader.u16()?);
        let kind = reader.u16()? & KIND_MASK;
        let Some(content) = length.checked_sub(ATTRIBUTE_HEADER) else {
            return Err(Malformed { what: "attribute length", found: length, expected: ATTRIBUTE_HEADER });
        };
        let content = reader.slice(content)?;
        let padding = length.next_multiple_of(ALIGN) - length;
        self.0 = reader.rest().get(padding..).unwrap_or_default();
        Ok(Attribute { kind, content })
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.0.is_empty()).then(|| self.read())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_back_as_written() {
        let mut writer = Writer::new(1);
        writer.attribute_text(3, "abcd");
        writer.nested(18 | 0x8000, |inner| inner.attribute_u32(2, 7));
        assert_eq!(writer.as_bytes().len(), 12 + 12);
        let read: Vec<_> = Attributes::new(writer.as_bytes()).map(Result::unwrap).collect();
        assert_eq!((read[0].kind, read[0].text()), (3, Some("abcd")));
        let inner = read[1].attributes().next().unwrap().unwrap();
        assert_eq!((read[1].kind, inner.kind, inner.u32()), (18, 2, Ok(7)));
    }

    #[test]
    fn reading_stops_at_the_first_contradiction() {
        for bad in [&[8, 0, 1, 0, 9][..], &[3, 0, 1, 0], &[1, 0], &[0, 0, 0, 0, 4, 0, 1, 0]] {
            let mut attributes = Attributes::new(bad);
            assert!(attributes.next().unwrap().is_err(), "{bad:?}");
            assert!(attributes.next().is_none());
        }
    }
}
