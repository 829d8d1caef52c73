//! Reads capture files in the format of libpcap, as described by the manual page pcap-savefile(5).

use std::time::Duration;

const MAGIC_MICROS: u32 = 0xa1b2_c3d4;
const MAGIC_NANOS: u32 = 0xa1b2_3c4d;
const HEADER: usize = 24;
const LINKTYPE_ETHERNET: u32 = 1;

/// One captured frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Since 1970.
    pub time: Duration,
    /// Bytes the frame had on the link.
    pub length: u32,
    /// The bytes that were kept.
    pub bytes: &'a [u8],
}

/// A file that is no capture of Ethernet frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PcapError {
    /// Too short for the file header.
    #[error("found {found} bytes, expected a file header of {HEADER}")]
    NoHeader {
        /// The file's size.
        found: usize,
    },
    /// Not a capture file.
    #[error("found the number {found:08x} in front, expected that of a capture file")]
    Magic {
        /// The first four bytes.
        found: u32,
    },
    /// Not a capture of Ethernet frames.
    #[error("found link type {found}, expected {LINKTYPE_ETHERNET} (Ethernet)")]
    LinkType {
        /// What it is a capture of.
        found: u32,
    },
    /// A record that goes on behind the end of the file.
    #[error("found the end of the file in the record at byte {at}, expected all of it")]
    CutShort {
        /// Where the record starts.
        at: usize,
    },
}

/// All records of a capture file.
///
/// # Errors
///
/// The bytes are no capture file, or an incomplete one.
pub fn read(file: &[u8]) -> Result<Vec<Record<'_>>, PcapError> {
    let word = |at: usize| file.get(at..)?.first_chunk::<4>().copied();
    let (Some(magic), Some(link_type)) = (word(0), word(HEADER - 4)) else {
        return Err(PcapError::NoHeader { found: file.len() });
    };
    let (decode, nanos): (fn([u8; 4]) -> u32, bool) =
        match (u32::from_le_bytes(magic), u32::from_be_bytes(magic)) {
            (MAGIC_MICROS, _) => (u32::from_le_bytes, false),
            (MAGIC_NANOS, _) => (u32::from_le_bytes, true),
            (_, MAGIC_MICROS) => (u32::from_be_bytes, false),
            (_, MAGIC_NANOS) => (u32::from_be_bytes, true),
            (_, found) => return Err(PcapError::Magic { found }),
        };
    // The upper half of the field is about frame check sequences.
    match decode(link_type) & 0xffff {
        LINKTYPE_ETHERNET => {}
        found => return Err(PcapError::LinkType { found }),
    }

    let mut records = Vec::new();
    let mut at = HEADER;
    while at < file.len() {
        let field = |n: usize| word(at + 4 * n).map(decode).ok_or(PcapError::CutShort { at });
        let (seconds, fraction, kept, length) = (field(0)?, field(1)?, field(2)? as usize, field(3)?);
        let start = at + 16;
        let bytes =
            start.checked_add(kept).and_then(|end| file.get(start..end)).ok_or(PcapError::CutShort { at })?;
        let fraction = u64::from(fraction) * if nanos { 1 } else { 1000 };
        let time = Duration::from_secs(seconds.into()) + Duration::from_nanos(fraction);
        records.push(Record { time, length, bytes });
        at = start + kept;
    }
    Ok(records)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A file as tcpdump writes it on a little-endian machine; times are 1 s, 2 s and so on.
    pub(crate) fn write(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut file = Vec::new();
        for word in [MAGIC_MICROS, 0x0004_0002, 0, 0, 200, LINKTYPE_ETHERNET] {
            file.extend(word.to_le_bytes());
        }
        for (index, frame) in frames.iter().enumerate() {
            for word in [index as u32 + 1, 250_000, frame.len() as u32, frame.len() as u32] {
                file.extend(word.to_le_bytes());
            }
            file.extend(frame);
        }
        file
    }

    #[test]
    fn records_come_back_in_either_byte_order_and_resolution() {
        let frames = [vec![1, 2, 3], vec![], vec![4; 60]];
        let file = write(&frames);
        let records = read(&file).unwrap();
        assert_eq!(records.iter().map(|record| record.bytes.to_vec()).collect::<Vec<_>>(), frames);
        assert_eq!(records[0].time, Duration::from_millis(1250));

        let mut big: Vec<u8> = Vec::new();
        for word in [MAGIC_NANOS, 0x0002_0004, 0, 0, 200, LINKTYPE_ETHERNET, 1, 250_000, 2, 99] {
            big.extend(word.to_be_bytes());
        }
        big.extend([7, 8]);
        let records = read(&big).unwrap();
        assert_eq!(records, [Record { time: Duration::new(1, 250_000), length: 99, bytes: &[7, 8] }]);
    }

    #[test]
    fn what_is_no_capture_is_refused() {
        assert_eq!(read(&[]), Err(PcapError::NoHeader { found: 0 }));
        assert_eq!(read(&[0; 24]), Err(PcapError::Magic { found: 0 }));
        let mut wifi = write(&[]);
        wifi[20] = 105;
        assert_eq!(read(&wifi), Err(PcapError::LinkType { found: 105 }));
    }

    #[test]
    fn a_file_cut_anywhere_is_refused_or_shorter() {
        let file = write(&[vec![1; 5], vec![2; 7]]);
        let whole = [HEADER, HEADER + 21, file.len()];
        for length in 0..=file.len() {
            assert_eq!(read(&file[..length]).is_ok(), whole.contains(&length), "{length}");
        }
    }
}
