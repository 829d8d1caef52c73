//! Reading and writing integers and lengths in network byte order.

use std::net::IpAddr;

use super::Malformed;

/// Reads octets from the front; its name appears in errors.
pub(super) struct Reader<'a> {
    what: &'static str,
    octets: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(what: &'static str, octets: &'a [u8]) -> Self {
        Self { what, octets }
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (front, rest) = self.octets.split_at_checked(count).ok_or(Malformed::Short {
            what: self.what,
            found: self.octets.len(),
            expected: count,
        })?;
        self.octets = rest;
        Ok(front)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (front, rest) = self.octets.split_first_chunk().ok_or(Malformed::Short {
            what: self.what,
            found: self.octets.len(),
            expected: N,
        })?;
        self.octets = rest;
        Ok(*front)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// What is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.octets)
    }

    pub(super) const fn len(&self) -> usize {
        self.octets.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// Refuses octets that are left.
    pub(super) const fn end(&self) -> Result<(), Malformed> {
        match self.octets.len() {
            0 => Ok(()),
            found => Err(Malformed::Trailing { what: self.what, found }),
        }
    }

    /// The rest of a part whose own length field counts `read` octets that were read already.
    pub(super) fn part(&mut self, what: &'static str, length: u16, read: usize) -> Result<Self, Malformed> {
        let length = usize::from(length);
        let left =
            length.checked_sub(read).ok_or(Malformed::Short { what, found: length, expected: read })?;
        let found = self.octets.len() + read;
        let short = Malformed::Short { what, found, expected: length };
        Ok(Reader::new(what, self.bytes(left).map_err(|_| short)?))
    }
}

/// A growing message.
#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    pub(super) fn bytes(&mut self, octets: &[u8]) {
        self.0.extend_from_slice(octets);
    }

    pub(super) fn zeros(&mut self, count: usize) {
        self.0.resize(self.0.len() + count, 0);
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    /// The 4 or 16 octets of an address.
    pub(super) fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.bytes(&address.octets()),
            IpAddr::V6(address) => self.bytes(&address.octets()),
        }
    }

    /// Appends what `write` appends, behind its own length in 16 bits, which counts `before` octets in front
    /// of it and the length field too. A part too long for that gets the length 0,
    /// which every decoder refuses.
    pub(super) fn measured(&mut self, before: usize, write: impl FnOnce(&mut Self)) {
        let field = self.0.len();
        self.u16(0);
        write(self);
        let length = u16::try_from(before + self.0.len() - field).unwrap_or(0);
        if let Some(field) = self.0.get_mut(field..field + 2) {
            field.copy_from_slice(&length.to_be_bytes());
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// A length or count in 8 bits; what is more than that saturates.
pub(super) fn small(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}

/// The same in 16 bits.
pub(super) fn medium(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}
