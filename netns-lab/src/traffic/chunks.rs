//! Payload as chunks of one length, each with the time it was written in front.

/// Octets of a stamp.
pub(super) const STAMP: usize = 8;

/// Finds the stamps in what a connection carries.
#[derive(Debug)]
pub(super) struct Chunks {
    length: usize,
    position: usize,
    stamp: [u8; STAMP],
}

impl Chunks {
    /// Of chunks of this length, which has to hold a stamp.
    pub(super) fn new(length: usize) -> Self {
        Self { length: length.max(STAMP), position: 0, stamp: [0; STAMP] }
    }

    /// Takes the next bytes; gives the stamps of the chunks that end with them.
    pub(super) fn take<'bytes>(
        &'bytes mut self,
        mut bytes: &'bytes [u8],
    ) -> impl Iterator<Item = u64> + 'bytes {
        std::iter::from_fn(move || {
            let count = bytes.len().min(self.length - self.position);
            let (now, rest) = bytes.split_at(count);
            let room = self.stamp.iter_mut().skip(self.position);
            for (to, from) in room.zip(now) {
                *to = *from;
            }
            bytes = rest;
            self.position += count;
            (self.position == self.length).then(|| {
                self.position = 0;
                u64::from_be_bytes(self.stamp)
            })
        })
    }
}

/// Puts a stamp in front of a chunk.
pub(super) fn stamp(chunk: &mut [u8], nanos: u64) {
    for (to, from) in chunk.iter_mut().zip(nanos.to_be_bytes()) {
        *to = from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_found_however_the_bytes_are_cut() {
        let stamps = [1, u64::MAX, 0x0102_0304_0506_0708];
        let mut bytes = Vec::new();
        for nanos in stamps {
            let mut chunk = [0x5a; 21];
            stamp(&mut chunk, nanos);
            bytes.extend(chunk);
        }
        for cut in 1..=bytes.len() {
            let mut chunks = Chunks::new(21);
            let mut found = Vec::new();
            for part in bytes.chunks(cut) {
                found.extend(chunks.take(part));
            }
            assert_eq!(found, stamps, "cut after {cut}");
        }
    }

    #[test]
    fn a_chunk_counts_when_it_is_whole() {
        let mut chunks = Chunks::new(8);
        assert_eq!(chunks.take(&[0; 7]).count(), 0);
        assert_eq!(chunks.take(&[9]).next(), Some(9));
    }
}
