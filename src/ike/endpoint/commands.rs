//! What the owner tells the endpoint to do. Commands about a connection that is gone do nothing.

use std::net::SocketAddr;

use zeroize::Zeroizing;

use super::{Endpoint, Entry};
use crate::id::Spi;
use crate::ike::event::{ChildAnswer, ChildId, ChildKeys, ChildRefusal, Path, PeerAuthenticated, SaHandle};
use crate::ike::sa::{Connecting, Cx, Established, Sa};
use crate::ike::settings::{Connect, PeerTable, Settings};
use crate::ike::snapshot::{BadSnapshot, Snapshot};
use crate::ike::wire::TrafficSelector;
use crate::time::Instant;

impl Endpoint {
    /// Starts a connection as initiator.
    pub fn connect(&mut self, now: Instant, connect: Connect) -> SaHandle {
        self.new_entry(now, |cx| Connecting::start(cx, connect))
    }

    /// Asks the peer for a further child SA; [`crate::ike::Event::ChildKeys`] or
    /// [`crate::ike::Event::ChildFailed`] follows. `None` when the connection is not established.
    pub fn create_child(
        &mut self,
        now: Instant,
        handle: SaHandle,
        local: Vec<TrafficSelector>,
        remote: Vec<TrafficSelector>,
    ) -> Option<ChildId> {
        let mut id = None;
        self.established(now, handle, |sa, cx| {
            let (sa, created) = sa.create_child(cx, local, remote);
            id = Some(created);
            sa
        });
        id
    }

    /// Replaces a child SA now.
    pub fn rekey_child(&mut self, now: Instant, handle: SaHandle, child: ChildId) {
        self.established(now, handle, |sa, cx| sa.rekey_child(cx, child));
    }

    /// Deletes a child SA.
    pub fn close_child(&mut self, now: Instant, handle: SaHandle, child: ChildId) {
        self.established(now, handle, |sa, cx| sa.close_child(cx, child));
    }

    /// Replaces the IKE SA now; the handle stays.
    pub fn rekey_ike(&mut self, now: Instant, handle: SaHandle) {
        self.established(now, handle, Established::rekey_ike);
    }

    /// Asks whether the peer is alive; [`crate::ike::Event::Closed`] follows when it does not answer.
    pub fn probe(&mut self, now: Instant, handle: SaHandle) {
        self.established(now, handle, Established::probe);
    }

    /// Says that packets of the peer came through a child SA: no probe is needed for a while, and a request that it
    /// does not answer goes on for as long again ([`Settings::established`]) before the peer counts as dead.
    pub fn traffic_seen(&mut self, now: Instant, handle: SaHandle) {
        self.established(now, handle, |mut sa, cx| {
            sa.traffic_seen(cx);
            Sa::Established(sa)
        });
    }

    /// Says that the kernel has let in a packet through the child SA that we receive through by `spi`, and that it
    /// came from `remote`: a NAT may have changed its mind (RFC 7296 §2.23).
    /// [`crate::ike::Event::PathChanged`] follows when the peer is one that is followed.
    pub fn packet_from(&mut self, now: Instant, spi: Spi, remote: SocketAddr) {
        if let Some(handle) = self.spis.find_child(spi) {
            self.established(now, handle, |sa, cx| sa.packet_from(cx, spi, remote));
        }
    }

    /// Ends a connection. Its children are gone at once; [`crate::ike::Event::Closed`] follows when the peer
    /// has heard of it, or after ten seconds.
    pub fn close(&mut self, now: Instant, handle: SaHandle) {
        self.now = self.now.max(now);
        self.with(handle, Sa::close);
    }

    /// The answer to [`crate::ike::Event::ChildWanted`].
    pub fn answer_child(
        &mut self,
        now: Instant,
        handle: SaHandle,
        answer: Result<ChildAnswer, ChildRefusal>,
    ) {
        self.established(now, handle, |sa, cx| sa.answer_child(cx, answer));
    }

    /// The answer to [`crate::ike::Event::ChildKeys`].
    pub fn child_installed(
        &mut self,
        now: Instant,
        handle: SaHandle,
        child: ChildId,
        result: Result<(), ChildRefusal>,
    ) {
        self.established(now, handle, |sa, cx| sa.child_installed(cx, child, result));
    }

    /// The socket or address of our side has changed.
    pub fn migrate_path(&mut self, handle: SaHandle, path: Path) {
        self.established(self.now, handle, |mut sa, cx| {
            sa.migrate(cx, path);
            Sa::Established(sa)
        });
    }

    /// Takes other settings into use; they hold for what is negotiated from now on.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Replaces the list of whom we serve; connections that stand are not touched.
    pub fn set_peers(&mut self, peers: PeerTable) {
        self.settings.peers = peers;
    }

    /// The settings in use.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Every connection, in the order they came to be, half-open ones of strangers too.
    pub fn handles(&self) -> impl Iterator<Item = SaHandle> + '_ {
        self.sas.keys().copied()
    }

    /// How many connections there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sas.len()
    }

    /// Whether there is no connection.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sas.is_empty()
    }

    /// How many connections of strangers are not authenticated yet.
    #[must_use]
    pub fn half_open(&self) -> usize {
        self.half_open.len()
    }

    /// Who is at the other end, once that is known.
    #[must_use]
    pub fn peer(&self, handle: SaHandle) -> Option<&PeerAuthenticated> {
        self.get(handle).map(Established::peer)
    }

    /// Where the other end is.
    #[must_use]
    pub fn path(&self, handle: SaHandle) -> Option<Path> {
        self.get(handle).map(Established::path)
    }

    /// The child SAs of a connection that are installed, with their keys: what the owner has to know again
    /// after [`Self::restore`].
    pub fn children(&self, handle: SaHandle) -> impl Iterator<Item = ChildKeys> + '_ {
        self.get(handle).into_iter().flat_map(Established::installed)
    }

    /// The current IKE SA's keys as a line of Wireshark's `ikev2_decryption_table`; `None` before it is
    /// established and for ciphers that Wireshark has no name for. Whoever has the line reads everything.
    #[must_use]
    pub fn danger_key_log(&self, handle: SaHandle) -> Option<Zeroizing<String>> {
        self.get(handle).and_then(Established::current_sa).and_then(crate::ike::key_log::ike)
    }

    /// What [`Self::restore`] needs to go on with this connection; `None` before it is established. Whoever
    /// has it reads everything.
    #[must_use]
    pub fn snapshot(&self, handle: SaHandle) -> Option<Snapshot> {
        self.get(handle).map(|sa| Snapshot::of(sa, handle, self.now))
    }

    /// Goes on with a connection after a restart, under a handle of its own. Time since the snapshot is not
    /// counted. [`Self::children`] tells what should be installed; a child SA that was being installed comes
    /// once more as [`crate::ike::Event::ChildKeys`], so installing has to bear repetition.
    ///
    /// # Errors
    /// [`BadSnapshot`] when the snapshot is damaged or its SPIs are in use.
    pub fn restore(&mut self, now: Instant, snapshot: Snapshot) -> Result<SaHandle, BadSnapshot> {
        let mut result = Ok(());
        let handle = self.new_entry(now, |cx| match snapshot.revive(cx) {
            Ok(sa) => Sa::Established(sa),
            Err(error) => {
                result = Err(error);
                Sa::Closed
            }
        });
        result.map(|()| handle)
    }

    fn new_entry(&mut self, now: Instant, make: impl FnOnce(&mut Cx<'_>) -> Sa) -> SaHandle {
        self.now = self.now.max(now);
        let handle = SaHandle(self.next);
        self.next += 1;
        self.sas.insert(handle, Entry { sa: Sa::Closed, deadline: None });
        self.with(handle, |_, cx| make(cx));
        handle
    }

    fn established(
        &mut self,
        now: Instant,
        handle: SaHandle,
        step: impl FnOnce(Box<Established>, &mut Cx<'_>) -> Sa,
    ) {
        self.now = self.now.max(now);
        self.with(handle, |sa, cx| match sa {
            Sa::Established(sa) => step(sa, cx),
            other => other,
        });
    }

    fn get(&self, handle: SaHandle) -> Option<&Established> {
        match &self.sas.get(&handle)?.sa {
            Sa::Established(sa) => Some(sa),
            Sa::Connecting(_) | Sa::Accepting(_) | Sa::Gone(_) | Sa::Closed => None,
        }
    }
}
