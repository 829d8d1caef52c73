//! Strangers: the first message of an initiator, cookies, and bounds on what is half-open (RFC 7296 §2.6).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::{COOKIE_LIFE, Endpoint, Entry};
use crate::ike::crypto::cookie::CookieCheck;
use crate::ike::event::{Path, SaHandle};
use crate::ike::sa::{Accepting, Contents, Cx, Refused, Sa};
use crate::ike::wire::{Body, Direction, Exchange, Header, IkeSpi, MessageId, Notify, NotifyType, decode};

/// The connections whose initiator is not authenticated.
#[derive(Debug, Default)]
pub(super) struct HalfOpenSet {
    /// RFC 7296 §2.1: by these a repeated first message is known.
    by_origin: BTreeMap<(IkeSpi, SocketAddr), SaHandle>,
    origins: BTreeMap<SaHandle, (IkeSpi, SocketAddr)>,
    by_prefix: BTreeMap<u64, usize>,
}

/// The /24 or /56 of an address, made distinct between families by bits that no prefix has.
fn prefix(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(v4) => u64::from(v4.to_bits() >> 8),
        IpAddr::V6(v6) => u64::try_from(v6.to_bits() >> 72).unwrap_or(u64::MAX) | 1 << 63,
    }
}

impl HalfOpenSet {
    fn insert(&mut self, handle: SaHandle, spi: IkeSpi, remote: SocketAddr) {
        self.by_origin.insert((spi, remote), handle);
        self.origins.insert(handle, (spi, remote));
        *self.by_prefix.entry(prefix(remote.ip())).or_default() += 1;
    }

    pub(super) fn remove(&mut self, handle: SaHandle) {
        let Some(origin) = self.origins.remove(&handle) else { return };
        if self.by_origin.get(&origin) == Some(&handle) {
            self.by_origin.remove(&origin);
        }
        let prefix = prefix(origin.1.ip());
        if let Some(count) = self.by_prefix.get_mut(&prefix) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_prefix.remove(&prefix);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.origins.len()
    }

    fn of_prefix(&self, address: IpAddr) -> usize {
        self.by_prefix.get(&prefix(address)).copied().unwrap_or_default()
    }
}

impl Endpoint {
    /// The first message of an initiator.
    pub(super) fn init_request(&mut self, path: Path, header: Header, datagram: &[u8]) {
        let first = header.flags.initiator
            && header.initiator_spi != IkeSpi::ZERO
            && header.responder_spi == IkeSpi::ZERO
            && header.message_id == MessageId::ZERO;
        if !first || self.repeated(path, header.initiator_spi, datagram) {
            return;
        }
        let bounds = self.settings.half_open;
        if self.half_open.len() >= bounds.total
            || self.half_open.of_prefix(path.remote.ip()) >= bounds.per_prefix
        {
            return;
        }
        let Ok(packet) = decode(datagram) else { return };
        let Body::Clear(payloads) = packet.body else { return };
        let contents = match Contents::of(Exchange::SA_INIT, Direction::Request, false, payloads) {
            Ok(contents) => contents,
            Err(illegal) => {
                if let Some(kind) = illegal.notify() {
                    self.reply_clear(path, &header, Notify::new(kind));
                }
                return;
            }
        };
        if self.half_open.len() >= bounds.cookies_from && !self.has_cookie(path, header, &contents) {
            return;
        }
        self.accept(path, header, contents, datagram);
    }

    /// Whether the initiator has shown that it receives what is sent to its address; else it is asked to.
    fn has_cookie(&mut self, path: Path, header: Header, contents: &Contents) -> bool {
        if self.now >= self.cookies_until {
            self.cookies.rotate(&mut self.entropy);
            self.cookies_until = self.now + COOKIE_LIFE;
        }
        let nonce = contents.nonce.as_deref().unwrap_or_default();
        let (source, spi) = (path.remote.ip(), header.initiator_spi);
        let shown = contents.notify(NotifyType::COOKIE);
        let good = shown
            .is_some_and(|notify| self.cookies.check(&notify.data, nonce, source, spi) == CookieCheck::Good);
        if !good {
            let cookie = self.cookies.issue(nonce, source, spi).to_vec();
            self.reply_clear(path, &header, Notify::with_data(NotifyType::COOKIE, cookie));
        }
        good
    }

    fn repeated(&mut self, path: Path, spi: IkeSpi, datagram: &[u8]) -> bool {
        let Some(&handle) = self.half_open.by_origin.get(&(spi, path.remote)) else { return false };
        let mut same = false;
        self.with(handle, |sa, cx| {
            if let Sa::Accepting(accepting) = &sa {
                same = accepting.repeat(cx, path, datagram);
            }
            sa
        });
        same
    }

    fn accept(&mut self, path: Path, header: Header, contents: Contents, datagram: &[u8]) {
        let handle = SaHandle(self.next);
        let mut out = Vec::new();
        let mut cx = Cx {
            now: self.now,
            handle,
            settings: &self.settings,
            entropy: &mut self.entropy,
            spis: &mut self.spis,
            out: &mut out,
            changed: false,
            repeated: false,
        };
        match Accepting::start(&mut cx, path, header, contents, datagram) {
            Ok(accepting) => {
                self.next += 1;
                self.half_open.insert(handle, header.initiator_spi, path.remote);
                self.sas.insert(handle, Entry { sa: Sa::Closed, deadline: None });
                self.finish(handle, Sa::Accepting(accepting), true, false, out);
            }
            Err(Refused(notify)) => self.reply_clear(path, &header, notify),
        }
    }
}
