//! Records as octets: length, checksum, then kind, key and value.

use ippriv::node::Record;
use zeroize::Zeroizing;

use super::JournalError;

/// What a journal of this version begins with.
pub(super) const HEADER: &[u8] = b"ippriv journal 1\n";
/// The most octets of a record. A longer length in a file is damage.
pub(super) const LARGEST: usize = 1 << 24;

/// Length and checksum.
const PREFIX: usize = 8;
const FORGET: u8 = 0;
const REMEMBER: u8 = 1;

/// A record in the file.
pub(super) struct Frame<'a> {
    pub(super) key: &'a str,
    /// `None` when the key is forgotten.
    pub(super) value: Option<&'a [u8]>,
    /// Octets in the file.
    pub(super) length: usize,
}

/// The octets of a record, in one piece that is wiped.
pub(super) fn write(record: &Record) -> Result<Zeroizing<Vec<u8>>, JournalError> {
    let value = record.value.as_ref().map(|value| value.as_slice());
    let length = 3 + record.key.len() + value.map_or(0, <[u8]>::len);
    let too_large = JournalError::TooLarge { octets: length };
    let Ok(key_length) = u16::try_from(record.key.len()) else { return Err(too_large) };
    let Some(body_length) = u32::try_from(length).ok().filter(|_| length <= LARGEST) else {
        return Err(too_large);
    };
    let mut frame = Zeroizing::new(Vec::with_capacity(PREFIX + length));
    frame.extend_from_slice(&body_length.to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.push(if value.is_some() { REMEMBER } else { FORGET });
    frame.extend_from_slice(&key_length.to_be_bytes());
    frame.extend_from_slice(record.key.as_bytes());
    frame.extend_from_slice(value.unwrap_or_default());
    let sum = checksum(frame.get(PREFIX..).unwrap_or_default());
    if let Some(place) = frame.get_mut(4..PREFIX) {
        place.copy_from_slice(&sum.to_be_bytes());
    }
    Ok(frame)
}

/// The record at the start of `octets`, unless it is torn or damaged.
pub(super) fn read(octets: &[u8]) -> Option<Frame<'_>> {
    let (length, rest) = octets.split_first_chunk()?;
    let (sum, rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok().filter(|length| *length <= LARGEST)?;
    let body = rest.get(..length)?;
    if checksum(body) != u32::from_be_bytes(*sum) {
        return None;
    }
    let (kind, rest) = body.split_first()?;
    let (key_length, rest) = rest.split_first_chunk()?;
    let (key, value) = rest.split_at_checked(u16::from_be_bytes(*key_length).into())?;
    let value = match *kind {
        FORGET => None,
        REMEMBER => Some(value),
        _ => return None,
    };
    Some(Frame { key: std::str::from_utf8(key).ok()?, value, length: PREFIX + length })
}

/// The record at `start` of a file whose octets are given.
pub(super) fn record(octets: &[u8], start: u64) -> Option<Record> {
    let frame = read(octets.get(usize::try_from(start).ok()?..)?)?;
    let value = Zeroizing::new(frame.value?.to_vec());
    Some(Record { key: frame.key.to_owned(), value: Some(value) })
}

/// CRC-32 of IEEE 802.3: it tells torn from whole, not honest from forged; only root writes here.
fn checksum(octets: &[u8]) -> u32 {
    let step = |sum: u32, octet: &u8| {
        let mut sum = sum ^ u32::from(*octet);
        for _ in 0..8 {
            let carry = sum & 1;
            sum >>= 1;
            sum ^= carry * 0xedb8_8320;
        }
        sum
    };
    !octets.iter().fold(u32::MAX, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_ieee_802_3() {
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn no_octets_make_a_record_panic() {
        let record = Record { key: "ike/1".to_owned(), value: Some(Zeroizing::new(vec![7; 20])) };
        let frame = write(&record).unwrap();
        for end in 0..frame.len() {
            assert!(read(&frame[..end]).is_none(), "{end}");
        }
        for at in 0..frame.len() {
            let mut damaged = frame.clone();
            damaged[at] ^= 1;
            assert!(read(&damaged).is_none(), "{at}");
        }
    }

    #[test]
    fn a_record_too_large_is_refused() {
        let record = Record { key: "k".repeat(1 << 16), value: None };
        assert!(matches!(write(&record), Err(JournalError::TooLarge { .. })));
    }
}
