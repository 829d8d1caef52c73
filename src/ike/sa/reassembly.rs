//! Putting fragments together (RFC 7383 §2.6). Only fragments that authenticate get here.

use crate::ike::wire::{MessageId, PayloadType};

/// The most fragments of one message. Ours never need more than five; certificates of foreign peers do.
const MOST_FRAGMENTS: u16 = 32;
/// The most octets of one message.
const MOST_OCTETS: usize = 32 * 1024;

/// The fragments of one message so far.
#[derive(Debug)]
pub(super) struct Reassembly {
    id: MessageId,
    first: PayloadType,
    pieces: Vec<Option<Vec<u8>>>,
    octets: usize,
}

/// A fragment, opened.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) id: MessageId,
    pub(super) number: u16,
    pub(super) total: u16,
    pub(super) first: PayloadType,
    pub(super) plain: Vec<u8>,
}

/// Adds a fragment to those in `slot`; the whole message when it was the last that lacked.
pub(super) fn add(slot: &mut Option<Box<Reassembly>>, piece: Piece) -> Option<(PayloadType, Vec<u8>)> {
    let Piece { id, number, total, first, plain } = piece;
    if number == 0 || number > total || total > MOST_FRAGMENTS {
        return None;
    }
    let known = slot.as_ref().map(|known| (known.id, known.pieces.len()));
    let count = usize::from(total);
    // RFC 7383 §2.6: more fragments than so far mean the sender has made them smaller: start again.
    if known.is_none_or(|(known, pieces)| known != id || pieces < count) {
        let pieces = (0..count).map(|_| None).collect();
        *slot = Some(Box::new(Reassembly { id, first: PayloadType::NONE, pieces, octets: 0 }));
    } else if known.is_some_and(|(_, pieces)| pieces > count) {
        return None;
    }
    let reassembly = slot.as_mut()?;
    let place = reassembly.pieces.get_mut(usize::from(number - 1))?;
    if place.is_some() {
        return None;
    }
    reassembly.octets += plain.len();
    if reassembly.octets > MOST_OCTETS {
        *slot = None;
        return None;
    }
    *place = Some(plain);
    if number == 1 {
        reassembly.first = first;
    }
    if reassembly.pieces.iter().any(Option::is_none) {
        return None;
    }
    let whole = slot.take()?;
    Some((whole.first, whole.pieces.into_iter().flatten().flatten().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(number: u16, total: u16, octet: u8) -> Piece {
        let first = if number == 1 { PayloadType::SA } else { PayloadType::NONE };
        Piece { id: MessageId(3), number, total, first, plain: vec![octet; 2] }
    }

    #[test]
    fn any_order_and_repetitions_give_the_message() {
        let mut slot = None;
        assert!(add(&mut slot, piece(3, 3, 3)).is_none());
        assert!(add(&mut slot, piece(3, 3, 9)).is_none());
        assert!(add(&mut slot, piece(1, 3, 1)).is_none());
        let whole = add(&mut slot, piece(2, 3, 2)).unwrap();
        assert_eq!(whole, (PayloadType::SA, vec![1, 1, 2, 2, 3, 3]));
        assert!(slot.is_none());
    }

    #[test]
    fn smaller_fragments_start_again_and_larger_ones_are_old() {
        let mut slot = None;
        assert!(add(&mut slot, piece(1, 2, 1)).is_none());
        assert!(add(&mut slot, piece(1, 3, 1)).is_none());
        assert!(add(&mut slot, piece(2, 2, 2)).is_none());
        assert!(add(&mut slot, piece(2, 3, 2)).is_none());
        assert!(add(&mut slot, piece(3, 3, 3)).is_some());
    }

    #[test]
    fn bounds_hold() {
        let mut slot = None;
        assert!(add(&mut slot, piece(1, MOST_FRAGMENTS + 1, 1)).is_none());
        assert!(slot.is_none());
        for number in 1..=2 {
            let large = Piece { plain: vec![0; MOST_OCTETS / 2 + 1], ..piece(number, 3, 1) };
            assert!(add(&mut slot, large).is_none());
        }
        assert!(slot.is_none());
    }
}
