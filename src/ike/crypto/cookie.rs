//! Cookies that make a flood of first messages cost its sender a round trip (RFC 7296 §2.6).

use std::fmt;
use std::net::IpAddr;

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use crate::entropy::Entropy;
use crate::ike::wire::IkeSpi;

/// Secrets that cookies are made with: the current one and the one before it.
pub struct CookieJar {
    current: Secret,
    previous: Option<Secret>,
}

/// Whether an initiator has shown that it receives what is sent to its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CookieCheck {
    /// The cookie is one of ours, for this initiator.
    Good,
    /// It is not, or too old.
    Bad,
}

struct Secret {
    version: u8,
    key: hmac::Key,
}

/// Octets of a cookie: the version of the secret and the hash.
pub const COOKIE: usize = 1 + HASH;
const HASH: usize = 32;

impl CookieJar {
    /// Starts with one secret.
    #[must_use]
    pub fn new(entropy: &mut dyn Entropy) -> Self {
        Self { current: Secret::new(0, entropy), previous: None }
    }

    /// Takes a new secret; cookies of the current one are good until the next rotation.
    pub fn rotate(&mut self, entropy: &mut dyn Entropy) {
        let next = Secret::new(self.current.version.wrapping_add(1), entropy);
        self.previous = Some(std::mem::replace(&mut self.current, next));
    }

    /// The cookie that the sender of a first message with this nonce, source address and SPI has to return.
    #[must_use]
    pub fn issue(&self, nonce: &[u8], source: IpAddr, initiator_spi: IkeSpi) -> [u8; COOKIE] {
        self.current.cookie(nonce, source, initiator_spi)
    }

    /// Checks the cookie that came with a first message, in constant time.
    #[must_use]
    pub fn check(&self, cookie: &[u8], nonce: &[u8], source: IpAddr, initiator_spi: IkeSpi) -> CookieCheck {
        let secret = match cookie.first() {
            Some(version) if *version == self.current.version => &self.current,
            Some(version) => match &self.previous {
                Some(previous) if *version == previous.version => previous,
                _ => return CookieCheck::Bad,
            },
            None => return CookieCheck::Bad,
        };
        let expected = secret.cookie(nonce, source, initiator_spi);
        match aws_lc_rs::constant_time::verify_slices_are_equal(&expected, cookie) {
            Ok(()) => CookieCheck::Good,
            Err(_) => CookieCheck::Bad,
        }
    }
}

impl Secret {
    fn new(version: u8, entropy: &mut dyn Entropy) -> Self {
        let mut octets = Zeroizing::new([0; HASH]);
        entropy.secret_fill(octets.as_mut_slice());
        Self { version, key: hmac::Key::new(hmac::HMAC_SHA256, octets.as_slice()) }
    }

    /// `version | HMAC(secret, IPi | SPIi | Ni)`: what is of variable length comes last, and addresses say
    /// which family they are by a first octet.
    fn cookie(&self, nonce: &[u8], source: IpAddr, initiator_spi: IkeSpi) -> [u8; COOKIE] {
        let mut context = hmac::Context::with_key(&self.key);
        match source {
            IpAddr::V4(ip) => {
                context.update(&[4]);
                context.update(&ip.octets());
            }
            IpAddr::V6(ip) => {
                context.update(&[6]);
                context.update(&ip.octets());
            }
        }
        context.update(&initiator_spi.0.to_be_bytes());
        context.update(nonce);
        let mut cookie = [self.version; COOKIE];
        cookie[1..].copy_from_slice(context.sign().as_ref());
        cookie
    }
}

impl fmt::Debug for CookieJar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CookieJar(version {})", self.current.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Seeded;

    const SPI: IkeSpi = IkeSpi(7);
    const NONCE: &[u8] = &[1; 32];

    fn source() -> IpAddr {
        IpAddr::from([192, 0, 2, 1])
    }

    #[test]
    fn a_cookie_is_good_for_one_initiator_only() {
        let jar = CookieJar::new(&mut Seeded::new([1; 32]));
        let cookie = jar.issue(NONCE, source(), SPI);
        assert_eq!(jar.check(&cookie, NONCE, source(), SPI), CookieCheck::Good);
        assert_eq!(jar.check(&cookie, &[2; 32], source(), SPI), CookieCheck::Bad);
        assert_eq!(jar.check(&cookie, NONCE, IpAddr::from([192, 0, 2, 2]), SPI), CookieCheck::Bad);
        assert_eq!(jar.check(&cookie, NONCE, source(), IkeSpi(8)), CookieCheck::Bad);
        assert_eq!(jar.check(&[], NONCE, source(), SPI), CookieCheck::Bad);
        assert_eq!(jar.check(&cookie[..COOKIE - 1], NONCE, source(), SPI), CookieCheck::Bad);
        for at in 0..COOKIE {
            let mut bad = cookie;
            bad[at] ^= 1;
            assert_eq!(jar.check(&bad, NONCE, source(), SPI), CookieCheck::Bad, "{at}");
        }
    }

    #[test]
    fn a_cookie_outlives_one_rotation() {
        let mut entropy = Seeded::new([2; 32]);
        let mut jar = CookieJar::new(&mut entropy);
        let cookie = jar.issue(NONCE, source(), SPI);
        jar.rotate(&mut entropy);
        assert_ne!(jar.issue(NONCE, source(), SPI), cookie);
        assert_eq!(jar.check(&cookie, NONCE, source(), SPI), CookieCheck::Good);
        jar.rotate(&mut entropy);
        assert_eq!(jar.check(&cookie, NONCE, source(), SPI), CookieCheck::Bad);
    }
}
