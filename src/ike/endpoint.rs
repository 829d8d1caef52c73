//! Stub.
use super::*;
use crate::entropy::Seeded;
use crate::time::Instant;
/// Stub.
#[derive(Debug)]
pub struct Endpoint;
#[allow(missing_docs, unused_variables, clippy::all)]
impl Endpoint {
    pub fn new(settings: Settings, entropy: Seeded) -> Self {
        Self
    }
    pub fn handle_datagram(&mut self, now: Instant, path: Path, datagram: &[u8]) {}
    pub fn handle_timeout(&mut self, now: Instant) {}
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }
    pub fn connect(&mut self, now: Instant, connect: Connect) -> SaHandle {
        SaHandle(0)
    }
    pub fn rekey_child(&mut self, now: Instant, sa: SaHandle, child: ChildId) {}
    pub fn rekey_ike(&mut self, now: Instant, sa: SaHandle) {}
    pub fn close(&mut self, now: Instant, sa: SaHandle) {}
    pub fn forget(&mut self, sa: SaHandle) {}
    pub fn answer_child(&mut self, now: Instant, sa: SaHandle, answer: Result<ChildAnswer, ChildRefusal>) {}
    pub fn child_installed(
        &mut self,
        now: Instant,
        sa: SaHandle,
        child: ChildId,
        result: Result<(), ChildRefusal>,
    ) {
    }
    pub fn snapshot(&self, sa: SaHandle) -> Option<Snapshot> {
        None
    }
    pub fn restore(&mut self, now: Instant, snapshot: Snapshot) -> Result<SaHandle, ()> {
        Err(())
    }
    pub fn set_settings(&mut self, settings: Settings) {}
    pub fn half_open(&self) -> usize {
        0
    }
    pub fn summary(&self, sa: SaHandle) -> Option<Summary> {
        None
    }
}
/// Stub.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Snapshot;
/// Stub.
pub struct Summary {
    pub initiator_spi: super::wire::IkeSpi,
    pub responder_spi: super::wire::IkeSpi,
    pub suite: String,
}
