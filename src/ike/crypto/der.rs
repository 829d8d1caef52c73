//! As much of DER (X.690) as public keys and algorithm identifiers take.

/// `SEQUENCE`.
pub(super) const SEQUENCE: u8 = 0x30;
/// `INTEGER`.
pub(super) const INTEGER: u8 = 2;
/// `BIT STRING`.
pub(super) const BIT_STRING: u8 = 3;
/// `NULL`.
pub(super) const NULL: u8 = 5;
/// `OBJECT IDENTIFIER`.
pub(super) const OID: u8 = 6;

/// The elements of a constructed one, in order.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// The contents of the next element, if it has this tag and a length in its shortest form of at most two
    /// octets.
    pub(super) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, rest) = self.0.split_first()?;
        let (length, rest) = read_length(rest)?;
        let (contents, rest) = rest.split_at_checked(length)?;
        if *found != tag {
            return None;
        }
        self.0 = rest;
        Some(contents)
    }

    /// As [`Self::take`], for an element that has elements.
    pub(super) fn enter(&mut self, tag: u8) -> Option<Self> {
        self.take(tag).map(Self)
    }

    /// `Some` at the end.
    pub(super) const fn end(self) -> Option<()> {
        if self.0.is_empty() { Some(()) } else { None }
    }
}

fn read_length(octets: &[u8]) -> Option<(usize, &[u8])> {
    match *octets {
        [short @ 0..=0x7f, ref rest @ ..] => Some((short.into(), rest)),
        [0x81, length @ 0x80..=0xff, ref rest @ ..] => Some((length.into(), rest)),
        [0x82, high @ 1..=0xff, low, ref rest @ ..] => {
            Some((usize::from(u16::from_be_bytes([high, low])), rest))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_in_order_and_with_their_tag() {
        let mut reader = Reader(&[6, 2, 1, 2, 5, 0]);
        assert!(reader.take(NULL).is_none());
        assert_eq!(reader.take(OID), Some(&[1, 2][..]));
        assert!(reader.end().is_none());
        assert_eq!(reader.take(NULL), Some(&[][..]));
        assert!(reader.end().is_some());
        assert!(reader.take(NULL).is_none());
    }

    #[test]
    fn lengths_have_their_shortest_form_and_end_inside() {
        let long = [&[4, 0x82, 1, 0][..], &[7; 256]].concat();
        assert_eq!(Reader(&long).take(4).map(<[u8]>::len), Some(256));
        for bad in
            [&[4, 2, 0][..], &[4], &[4, 0x81, 1, 0], &[4, 0x82, 0, 1, 0], &[4, 0x80], &[4, 0x84, 0, 0, 0, 0]]
        {
            assert!(Reader(bad).take(4).is_none(), "{bad:?}");
        }
    }
}
