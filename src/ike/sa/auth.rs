//! Who is who (RFC 7296 §2.15, RFC 7427, RFC 7619).

use super::generation::Generation;
use super::init::Transcript;
use crate::ike::crypto::auth::IntermediateAuth;
use crate::ike::crypto::{
    AuthOctets, KeySchedule, Role, null_auth, psk_auth, sign_auth, verify_auth, verify_null_auth,
    verify_psk_auth,
};
use crate::ike::event::How;
use crate::ike::reason::CloseReason;
use crate::ike::settings::{Connect, Credentials, OwnAuth, PeerTable};
use crate::ike::wire::{AuthMethod, Id, MessageId, Payload};
use crate::secret::KeyMaterial;

/// What authentication covers besides the identity.
pub(super) struct Covered<'a> {
    pub(super) transcript: &'a Transcript,
    pub(super) intermediate: Option<&'a IntermediateAuth>,
    /// The ID of the IKE_AUTH request.
    pub(super) message_id: MessageId,
    pub(super) sa: &'a Generation,
}

impl Covered<'_> {
    fn octets(&self, signer: Role, id: &Id) -> Vec<u8> {
        let (message, nonce) = match signer {
            Role::Initiator => (&self.transcript.request, &self.transcript.nonce_r),
            Role::Responder => (&self.transcript.response, &self.transcript.nonce_i),
        };
        let intermediate = self.intermediate.map(|auth| (auth, self.message_id));
        AuthOctets { message, nonce, id, intermediate }.build(&self.sa.keys, signer)
    }
}

/// The AUTH payload of an initiator.
pub(super) fn prove(covered: &Covered<'_>, own: &OwnAuth, id: &Id) -> Payload {
    let octets = covered.octets(Role::Initiator, id);
    let keys = &covered.sa.keys;
    match own {
        OwnAuth::Null => {
            Payload::Auth { method: AuthMethod::NULL, data: null_auth(keys, Role::Initiator, &octets) }
        }
        OwnAuth::PublishedSecret(secret) | OwnAuth::SharedSecret { secret, .. } => {
            shared(&covered.sa.keys, secret, &octets)
        }
        OwnAuth::Signature(credentials) => sign(credentials, &octets),
    }
}

/// The AUTH payload of a responder: a signature, or to who has shown a secret of the two, that secret.
pub(super) fn prove_responder(
    covered: &Covered<'_>,
    credentials: &Credentials,
    secret: Option<&KeyMaterial>,
) -> Payload {
    let octets = covered.octets(Role::Responder, &credentials.identity);
    secret.map_or_else(|| sign(credentials, &octets), |secret| shared(&covered.sa.keys, secret, &octets))
}

fn shared(keys: &KeySchedule, secret: &KeyMaterial, octets: &[u8]) -> Payload {
    Payload::Auth { method: AuthMethod::SHARED_KEY, data: psk_auth(keys.prf(), secret.expose(), octets) }
}

fn sign(credentials: &Credentials, octets: &[u8]) -> Payload {
    Payload::Auth { method: AuthMethod::DIGITAL_SIGNATURE, data: sign_auth(&credentials.key, octets) }
}

/// Checks that the responder is the one we expect. Nothing but a signature under its key will do, or the secret
/// of the two if that is how we proved ourselves: otherwise anyone on the path could be the relay.
pub(super) fn check_responder(
    covered: &Covered<'_>,
    connect: &Connect,
    found: &Id,
    (method, data): (AuthMethod, &[u8]),
) -> Result<(), CloseReason> {
    if *found != connect.peer {
        return Err(CloseReason::WrongIdentity { found: found.clone(), expected: connect.peer.clone() });
    }
    let octets = covered.octets(Role::Responder, found);
    if let OwnAuth::SharedSecret { secret, .. } = &connect.own {
        if method != AuthMethod::SHARED_KEY {
            return Err(CloseReason::Unsigned);
        }
        return verify_psk_auth(covered.sa.keys.prf(), secret.expose(), data, &octets)
            .map_err(CloseReason::Unauthenticated);
    }
    if method == AuthMethod::NULL || method == AuthMethod::SHARED_KEY {
        return Err(CloseReason::Unsigned);
    }
    verify_auth(&connect.peer_key, method, data, &octets).map_err(CloseReason::Unauthenticated)
}

/// Checks who an initiator is, and that we serve it.
pub(super) fn check_initiator(
    covered: &Covered<'_>,
    peers: &PeerTable,
    id: &Id,
    (method, data): (AuthMethod, &[u8]),
) -> Result<How, CloseReason> {
    let octets = covered.octets(Role::Initiator, id);
    let keys = &covered.sa.keys;
    let unknown = || CloseReason::UnknownPeer(id.clone());
    match method {
        AuthMethod::NULL if peers.anonymous.null => {
            verify_null_auth(keys, Role::Initiator, data, &octets).map_err(CloseReason::Unauthenticated)?;
            Ok(How::Null)
        }
        AuthMethod::SHARED_KEY => {
            // What everyone knows proves nothing of who has a secret with us.
            let (secret, how) = match peers.secrets.get(id) {
                Some(secret) => (secret, How::SharedSecret),
                None => {
                    (peers.anonymous.published_secret.as_ref().ok_or_else(unknown)?, How::PublishedSecret)
                }
            };
            verify_psk_auth(keys.prf(), secret.expose(), data, &octets)
                .map_err(CloseReason::Unauthenticated)?;
            Ok(how)
        }
        AuthMethod::NULL => Err(unknown()),
        _ => {
            let key = peers.keys.get(id).ok_or_else(unknown)?;
            verify_auth(key, method, data, &octets).map_err(CloseReason::Unauthenticated)?;
            Ok(How::Signature)
        }
    }
}
