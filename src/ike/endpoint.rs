//! All IKE SAs of a host: finds the connection a datagram belongs to, and keeps strangers within bounds.

mod commands;
mod half_open;
mod inspect;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use half_open::HalfOpenSet;
pub use inspect::Summary;

use super::crypto::CookieJar;
use super::event::{Output, Path, SaHandle};
use super::sa::{Cx, Sa, Spis};
use super::settings::Settings;
use super::wire::{Exchange, Header, MessageId, Notify, Payload, decode, decode_header, encode_clear};
use crate::entropy::Seeded;
use crate::time::Instant;

/// Every IKE SA of a host, in both roles.
///
/// Call a method, then drain [`Self::poll_output`] until it is `None`, then ask [`Self::poll_timeout`].
pub struct Endpoint {
    settings: Settings,
    entropy: Seeded,
    spis: Spis,
    sas: BTreeMap<SaHandle, Entry>,
    timers: BTreeSet<(Instant, SaHandle)>,
    /// Connections that have not answered our request yet.
    unanswered: BTreeSet<SaHandle>,
    half_open: HalfOpenSet,
    cookies: CookieJar,
    cookies_until: Instant,
    output: VecDeque<Output>,
    next: u64,
    now: Instant,
}

struct Entry {
    sa: Sa,
    deadline: Option<Instant>,
}

/// How long a cookie secret is used; cookies stay good for one more such time (RFC 7296 §2.6).
const COOKIE_LIFE: std::time::Duration = std::time::Duration::from_secs(30);

impl Endpoint {
    /// An endpoint without connections. The seed of `entropy` has to be unpredictable outside of tests.
    #[must_use]
    pub fn new(settings: Settings, mut entropy: Seeded) -> Self {
        Self {
            settings,
            cookies: CookieJar::new(&mut entropy),
            entropy,
            spis: Spis::default(),
            sas: BTreeMap::new(),
            timers: BTreeSet::new(),
            unanswered: BTreeSet::new(),
            half_open: HalfOpenSet::default(),
            cookies_until: Instant::ZERO,
            output: VecDeque::new(),
            next: 1,
            now: Instant::ZERO,
        }
    }

    /// Takes a datagram that came in on `path`, without the non-ESP marker.
    pub fn handle_datagram(&mut self, now: Instant, path: Path, datagram: &[u8]) {
        self.now = self.now.max(now);
        let header = match decode_header(datagram) {
            Ok(header) => header,
            Err(error) => return self.refuse_version(path, datagram, &error),
        };
        if header.exchange == Exchange::SA_INIT && !header.flags.response {
            return self.init_request(path, header, datagram);
        }
        let own = if header.flags.initiator { header.responder_spi } else { header.initiator_spi };
        // RFC 7296 §2.21.4: a message for an IKE SA we do not have is dropped. An answer would tell scanners
        // that we are here, and would have to be believed by nobody.
        let Some(handle) = self.spis.find(own) else { return };
        let Ok(packet) = decode(datagram) else { return };
        self.with(handle, |sa, cx| sa.datagram(cx, path, datagram, &packet));
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        while let Some(&(at, handle)) = self.timers.first() {
            if at > self.now {
                break;
            }
            self.with(handle, Sa::timeout);
            // Whatever a connection answers, time goes on.
            if self.timers.remove(&(at, handle)) {
                let later = self.now + std::time::Duration::from_millis(1);
                self.timers.insert((later, handle));
                if let Some(entry) = self.sas.get_mut(&handle) {
                    entry.deadline = Some(later);
                }
            }
        }
    }

    /// When to call [`Self::handle_timeout`] next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// What to do next; ask until it is `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// Lets a connection do something and follows what it has become.
    fn with(&mut self, handle: SaHandle, step: impl FnOnce(Sa, &mut Cx<'_>) -> Sa) {
        let Some(entry) = self.sas.get_mut(&handle) else { return };
        let before = std::mem::replace(&mut entry.sa, Sa::Closed);
        let accepting = matches!(before, Sa::Accepting(_));
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
        let after = step(before, &mut cx);
        let changed = cx.changed;
        self.finish(handle, after, accepting, changed, out);
    }

    /// Keeps what a connection has become, and passes on what it said.
    fn finish(&mut self, handle: SaHandle, after: Sa, was_accepting: bool, changed: bool, out: Vec<Output>) {
        if was_accepting && !matches!(after, Sa::Accepting(_)) {
            self.half_open.remove(handle);
        }
        let lasting = matches!(after, Sa::Established(_));
        if changed && lasting {
            self.output.push_back(Output::Changed(handle));
        }
        self.output.extend(out);
        let asked = matches!(&after, Sa::Established(sa) if sa.awaits_answer());
        if asked {
            self.unanswered.insert(handle);
        } else {
            self.unanswered.remove(&handle);
        }
        let Some(entry) = self.sas.get_mut(&handle) else { return };
        let old = entry.deadline;
        if matches!(after, Sa::Closed) {
            self.sas.remove(&handle);
            self.timers.extend(None::<(Instant, SaHandle)>);
            if let Some(at) = old {
                self.timers.remove(&(at, handle));
            }
            return;
        }
        entry.deadline = after.deadline();
        let new = entry.deadline;
        entry.sa = after;
        if old != new {
            if let Some(at) = old {
                self.timers.remove(&(at, handle));
            }
            self.timers.extend(new.map(|at| (at, handle)));
        }
    }

    /// RFC 7296 §2.5: a message of a later version is answered in clear with ours.
    fn refuse_version(&mut self, path: Path, datagram: &[u8], error: &super::wire::Malformed) {
        let (Some(kind), Some(request)) = (error.notify(), datagram.first_chunk::<{ Header::LENGTH }>())
        else {
            return;
        };
        let (mut spi_i, mut spi_r, mut id) = ([0; 8], [0; 8], [0; 4]);
        spi_i.copy_from_slice(&request[..8]);
        spi_r.copy_from_slice(&request[8..16]);
        id.copy_from_slice(&request[20..24]);
        let flags = request[19];
        if flags & 0x20 != 0 {
            return;
        }
        let header = Header {
            initiator_spi: super::wire::IkeSpi(u64::from_be_bytes(spi_i)),
            responder_spi: super::wire::IkeSpi(u64::from_be_bytes(spi_r)),
            exchange: Exchange(request[18]),
            flags: super::wire::Flags { initiator: flags & 0x08 != 0, response: false },
            message_id: MessageId(u32::from_be_bytes(id)),
        };
        self.reply_clear(path, &header, Notify::new(kind));
    }

    /// Answers in clear, and keeps nothing.
    fn reply_clear(&mut self, path: Path, header: &Header, notify: Notify) {
        let datagram = encode_clear(&header.reply(), &[Payload::Notify(notify)]);
        self.output.push_back(Output::Transmit { path, datagram });
    }
}
