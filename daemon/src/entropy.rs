//! The only place that draws randomness: once, at the start, as the seed of the core's generator.

use std::io;

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use zeroize::Zeroizing;

/// Octets nobody can guess, from the kernel's generator (`man 2 getrandom`); waits until that is seeded.
///
/// # Errors
/// When the kernel has no such generator.
pub fn seed() -> io::Result<Zeroizing<[u8; 32]>> {
    let mut seed = Zeroizing::new([0; 32]);
    let mut filled = 0;
    while let Some(rest) = seed.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match getrandom(rest, GetRandomFlags::empty()) {
            Ok(more) => filled += more,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(seed)
}

/// The seed that a number stands for. Whoever knows the number knows every key: for the lab only.
#[must_use]
pub fn known_seed(number: u64) -> Zeroizing<[u8; 32]> {
    let mut seed = Zeroizing::new([0; 32]);
    seed[..8].copy_from_slice(&number.to_be_bytes());
    seed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_seeds_differ() {
        assert_ne!(*seed().unwrap(), *seed().unwrap());
    }

    #[test]
    fn a_known_seed_is_known() {
        assert_eq!(*known_seed(7), *known_seed(7));
        assert_ne!(*known_seed(7), *known_seed(8));
    }
}
