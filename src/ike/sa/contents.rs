//! The payloads of a message, sorted by what they are.

use crate::ike::wire::{
    AuthMethod, Configuration, Delete, Direction, Exchange, Id, Illegal, KeMethod, Notify, NotifyType,
    Payload, Proposal, TrafficSelector, rules,
};

/// The payloads of a message that [`rules::check`] allows. What has no field here is ignored.
#[derive(Debug, Default)]
pub(in crate::ike) struct Contents {
    pub(in crate::ike) sa: Option<Vec<Proposal>>,
    pub(in crate::ike) ke: Option<(KeMethod, Vec<u8>)>,
    pub(in crate::ike) nonce: Option<Vec<u8>>,
    pub(in crate::ike) id_i: Option<Id>,
    pub(in crate::ike) id_r: Option<Id>,
    pub(in crate::ike) auth: Option<(AuthMethod, Vec<u8>)>,
    pub(in crate::ike) ts_i: Option<Vec<TrafficSelector>>,
    pub(in crate::ike) ts_r: Option<Vec<TrafficSelector>>,
    pub(in crate::ike) cp: Option<Configuration>,
    pub(in crate::ike) notifies: Vec<Notify>,
    pub(in crate::ike) deletes: Vec<Delete>,
}

impl Contents {
    /// Sorts `payloads`.
    ///
    /// # Errors
    /// [`Illegal`] when the exchange does not allow them.
    pub(in crate::ike) fn of(
        exchange: Exchange,
        direction: Direction,
        encrypted: bool,
        payloads: Vec<Payload>,
    ) -> Result<Self, Illegal> {
        rules::check(exchange, direction, encrypted, &payloads)?;
        let mut contents = Self::default();
        for payload in payloads {
            match payload {
                Payload::Sa(proposals) => contents.sa = Some(proposals),
                Payload::Ke { method, data } => contents.ke = Some((method, data)),
                Payload::Nonce(nonce) => contents.nonce = Some(nonce),
                Payload::IdI(id) => contents.id_i = Some(id),
                Payload::IdR(id) => contents.id_r = Some(id),
                Payload::Auth { method, data } => contents.auth = Some((method, data)),
                Payload::TsI(selectors) => contents.ts_i = Some(selectors),
                Payload::TsR(selectors) => contents.ts_r = Some(selectors),
                Payload::Cp(configuration) => contents.cp = Some(configuration),
                Payload::Notify(notify) => contents.notifies.push(notify),
                Payload::Delete(delete) => contents.deletes.push(delete),
                Payload::Cert { .. }
                | Payload::CertReq { .. }
                | Payload::VendorId(_)
                | Payload::Eap(_)
                | Payload::Unknown { .. } => {}
            }
        }
        Ok(contents)
    }

    /// The first notification of a kind.
    pub(in crate::ike) fn notify(&self, kind: NotifyType) -> Option<&Notify> {
        self.notifies.iter().find(|notify| notify.kind == kind)
    }

    /// Whether there is a notification of a kind.
    pub(in crate::ike) fn has(&self, kind: NotifyType) -> bool {
        self.notify(kind).is_some()
    }

    /// The first error, which in a response means that the request failed (RFC 7296 §2.21).
    pub(in crate::ike) fn error(&self) -> Option<&Notify> {
        self.notifies.iter().find(|notify| notify.kind.is_error())
    }
}
