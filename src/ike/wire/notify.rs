//! The Notify and the Delete payload (RFC 7296 §3.10, §3.11).

use super::codec::{Reader, Writer, medium, small};
use super::{Malformed, NotifyType, Protocol};

/// An error or a piece of news.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Notify {
    /// The protocol of the SA it is about, or [`Protocol::NONE`].
    pub protocol: Protocol,
    /// The SPI of the SA it is about, or nothing.
    pub spi: Vec<u8>,
    /// What it says.
    pub kind: NotifyType,
    /// More about it, in a form that depends on the kind.
    pub data: Vec<u8>,
}

/// SAs that the sender has removed; its own inbound SPIs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Delete {
    /// [`Protocol::IKE`] for the SA that carries the message, else the protocol of `spis`.
    pub protocol: Protocol,
    /// The SPIs; empty for IKE.
    pub spis: Vec<u32>,
}

impl Notify {
    /// A notification about no SA but the one that carries it, without data.
    #[must_use]
    pub const fn new(kind: NotifyType) -> Self {
        Self::with_data(kind, Vec::new())
    }

    /// A notification about no SA but the one that carries it.
    #[must_use]
    pub const fn with_data(kind: NotifyType, data: Vec<u8>) -> Self {
        Self { protocol: Protocol::NONE, spi: Vec::new(), kind, data }
    }

    /// A notification about a child SA of ESP: `spi` is the one the sender receives on, but in
    /// `CHILD_SA_NOT_FOUND` the one the peer asked for (RFC 7296 §2.25).
    #[must_use]
    pub fn about_child(kind: NotifyType, spi: u32) -> Self {
        Self { protocol: Protocol::ESP, spi: spi.to_be_bytes().to_vec(), kind, data: Vec::new() }
    }

    /// The SPI of the child SA it is about.
    #[must_use]
    pub fn child_spi(&self) -> Option<u32> {
        let spi = <[u8; 4]>::try_from(self.spi.as_slice()).ok()?;
        matches!(self.protocol, Protocol::AH | Protocol::ESP).then_some(u32::from_be_bytes(spi))
    }
}

impl Delete {
    /// The IKE SA that carries the message.
    #[must_use]
    pub const fn ike() -> Self {
        Self { protocol: Protocol::IKE, spis: Vec::new() }
    }

    /// Child SAs of ESP.
    #[must_use]
    pub const fn children(spis: Vec<u32>) -> Self {
        Self { protocol: Protocol::ESP, spis }
    }
}

impl Notify {
    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.u8(self.protocol.0);
        writer.u8(small(self.spi.len()));
        writer.u16(self.kind.0);
        writer.bytes(&self.spi);
        writer.bytes(&self.data);
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("Notify payload", body);
        let protocol = Protocol(reader.u8()?);
        let spi_size = reader.u8()?;
        let kind = NotifyType(reader.u16()?);
        let spi = reader.bytes(spi_size.into())?.to_vec();
        Ok(Self { protocol, spi, kind, data: reader.rest().to_vec() })
    }
}

impl Delete {
    const SPI: u8 = 4;

    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.u8(self.protocol.0);
        writer.u8(if self.protocol == Protocol::IKE { 0 } else { Self::SPI });
        writer.u16(medium(self.spis.len()));
        for spi in &self.spis {
            writer.u32(*spi);
        }
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("Delete payload", body);
        let protocol = Protocol(reader.u8()?);
        let spi_size = reader.u8()?;
        let count = reader.u16()?;
        // How many SPIs of no octets there are is nothing to disagree about.
        let (size, count) = if protocol == Protocol::IKE { (0, 0) } else { (Self::SPI, count) };
        if spi_size != size {
            let expected = "0 for IKE, 4 for others";
            return Err(Malformed::Field {
                what: "SPI size of a Delete payload",
                found: spi_size.into(),
                expected,
            });
        }
        let mut spis = Vec::with_capacity(usize::from(count).min(reader.len() / usize::from(Self::SPI)));
        for _ in 0..count {
            spis.push(reader.u32()?);
        }
        reader.end()?;
        Ok(Self { protocol, spis })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(encode: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut writer = Writer::default();
        encode(&mut writer);
        writer.finish()
    }

    #[test]
    fn notifications_have_the_octets_of_the_rfc() {
        let rekey = Notify::about_child(NotifyType::REKEY_SA, 0xc001_0203);
        let expected = [3, 4, 0x40, 9, 0xc0, 1, 2, 3];
        assert_eq!(octets(|writer| rekey.encode(writer)), expected);
        assert_eq!(rekey.child_spi(), Some(0xc001_0203));
        assert_eq!(Notify::decode(&expected), Ok(rekey));

        let group = Notify::with_data(NotifyType::INVALID_KE_PAYLOAD, vec![0, 31]);
        let expected = [0, 0, 0, 17, 0, 31];
        assert_eq!(octets(|writer| group.encode(writer)), expected);
        assert_eq!(group.child_spi(), None);
        assert_eq!(Notify::decode(&expected), Ok(group));
    }

    #[test]
    fn an_spi_longer_than_the_notification_is_refused() {
        assert!(Notify::decode(&[3, 5, 0x40, 9, 0xc0, 1, 2, 3]).is_err());
    }

    #[test]
    fn deletions_have_the_octets_of_the_rfc() {
        let children = Delete::children(vec![0x100, 0xffff_ffff]);
        let expected = [3, 4, 0, 2, 0, 0, 1, 0, 255, 255, 255, 255];
        assert_eq!(octets(|writer| children.encode(writer)), expected);
        assert_eq!(Delete::decode(&expected), Ok(children));

        let expected = [1, 0, 0, 0];
        assert_eq!(octets(|writer| Delete::ike().encode(writer)), expected);
        assert_eq!(Delete::decode(&expected), Ok(Delete::ike()));
        assert_eq!(Delete::decode(&[1, 0, 0, 1]), Ok(Delete::ike()));
    }

    #[test]
    fn deletions_whose_sizes_disagree_are_refused() {
        for bad in [
            &[3, 8, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8][..],
            &[1, 8, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8],
            &[3, 4, 0, 2, 1, 2, 3, 4],
            &[3, 4, 0, 1, 1, 2, 3, 4, 5],
            &[1, 0, 0, 0, 9],
            &[3, 4, 255, 255],
        ] {
            assert!(Delete::decode(bad).is_err(), "{bad:?}");
        }
    }
}
