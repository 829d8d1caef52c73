//! Randomness as the core sees it: a generator that the shell seeds.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A source of unpredictable octets. What others may see and what must stay secret come from different
/// streams, so that the one tells nothing about the other.
pub trait Entropy {
    /// Fills `octets` with what will be sent or shown: SPIs, nonces, cookies, jitter.
    fn public_fill(&mut self, octets: &mut [u8]);

    /// Fills `octets` with what nobody else may ever see: private keys.
    fn secret_fill(&mut self, octets: &mut [u8]);

    /// A public random number.
    fn u32(&mut self) -> u32 {
        let mut octets = [0; 4];
        self.public_fill(&mut octets);
        u32::from_be_bytes(octets)
    }

    /// A public random number.
    fn u64(&mut self) -> u64 {
        let mut octets = [0; 8];
        self.public_fill(&mut octets);
        u64::from_be_bytes(octets)
    }

    /// A public random number below `bound`, or 0 when that is 0. The bias is below 2^-32 for bounds that
    /// fit 32 bits.
    fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.u64()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or_default()
    }
}

/// ChaCha20 generators from one seed: the same seed gives the same octets.
pub struct Seeded {
    public: ChaCha20Rng,
    secret: ChaCha20Rng,
}

impl Seeded {
    /// Starts from `seed`, which has to be unpredictable outside of tests.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        let mut public = ChaCha20Rng::from_seed(seed);
        let mut secret = public.clone();
        public.set_stream(1);
        secret.set_stream(2);
        Self { public, secret }
    }
}

impl Entropy for Seeded {
    fn public_fill(&mut self, octets: &mut [u8]) {
        self.public.fill_bytes(octets);
    }

    fn secret_fill(&mut self, octets: &mut [u8]) {
        self.secret.fill_bytes(octets);
    }
}

impl std::fmt::Debug for Seeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seeded(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_octets_and_two_streams() {
        let draw = |seed: u8| {
            let mut generator = Seeded::new([seed; 32]);
            (generator.u64(), {
                let mut secret = [0; 8];
                generator.secret_fill(&mut secret);
                u64::from_be_bytes(secret)
            })
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let (public, secret) = draw(1);
        assert_ne!(public, secret);
    }

    #[test]
    fn below_stays_below() {
        let mut generator = Seeded::new([7; 32]);
        assert!((0..1000).all(|_| generator.below(10) < 10));
        assert_eq!(generator.below(0), 0);
    }
}
