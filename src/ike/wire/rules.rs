//! Which payloads a message may and must have, per exchange and direction (RFC 7296 appendix C, RFC 6023,
//! RFC 9242, RFC 9370). EAP is not part of it: we offer none and take none.

use super::{Direction, Exchange, MOST_PAYLOADS, Notify, NotifyType, Payload, PayloadType};

use Direction::{Request, Response};

/// A message that is well formed but not what its exchange allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Illegal {
    /// A payload we do not know but must (RFC 7296 §2.5).
    #[error("critical payload of unknown type {0}: expected one we know")]
    Critical(PayloadType),
    /// An exchange we do not know.
    #[error("exchange {0}: expected one we know")]
    Exchange(Exchange),
    /// In clear where it must be encrypted, or the other way round.
    #[error("{exchange} {direction} {}: expected the opposite", if *.encrypted { "encrypted" } else { "in clear" })]
    Protection {
        /// The exchange.
        exchange: Exchange,
        /// Question or answer.
        direction: Direction,
        /// Whether it came encrypted.
        encrypted: bool,
    },
    /// Too few or too many payloads of one type.
    #[error("{exchange} {direction}: found {found} {kind} payloads, expected {min} to {max}")]
    Payloads {
        /// The exchange.
        exchange: Exchange,
        /// Question or answer.
        direction: Direction,
        /// The payload's type.
        kind: PayloadType,
        /// How many there are.
        found: usize,
        /// The fewest allowed.
        min: usize,
        /// The most allowed.
        max: usize,
    },
    /// Too few or too many notifications of one kind.
    #[error("{exchange} {direction}: found {found} {kind} notifications, expected {min} to {max}")]
    Notifications {
        /// The exchange.
        exchange: Exchange,
        /// Question or answer.
        direction: Direction,
        /// The notification's kind.
        kind: NotifyType,
        /// How many there are.
        found: usize,
        /// The fewest allowed.
        min: usize,
        /// The most allowed.
        max: usize,
    },
}

impl Illegal {
    /// What to tell the peer, if anything.
    #[must_use]
    pub const fn notify(&self) -> Option<NotifyType> {
        match self {
            Self::Critical(_) => Some(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD),
            // A peer that sends no proof asks for EAP (RFC 7296 §2.16).
            Self::Payloads { kind: PayloadType::AUTH, found: 0, .. } => {
                Some(NotifyType::AUTHENTICATION_FAILED)
            }
            Self::Exchange(_) | Self::Payloads { .. } | Self::Notifications { .. } => {
                Some(NotifyType::INVALID_SYNTAX)
            }
            Self::Protection { .. } => None,
        }
    }

    /// The same as a payload: the type of a critical one goes with it (RFC 7296 §3.10.1).
    #[must_use]
    pub fn notification(&self) -> Option<Notify> {
        let data = if let Self::Critical(kind) = self { vec![kind.0] } else { Vec::new() };
        self.notify().map(|kind| Notify::with_data(kind, data))
    }
}

/// How often something may occur.
#[derive(Debug, Clone, Copy)]
struct Row<Kind> {
    kind: Kind,
    min: usize,
    max: usize,
}

const fn one<Kind: Copy>(kind: Kind) -> Row<Kind> {
    Row { kind, min: 1, max: 1 }
}

const fn optional<Kind: Copy>(kind: Kind) -> Row<Kind> {
    Row { kind, min: 0, max: 1 }
}

const fn any<Kind: Copy>(kind: Kind) -> Row<Kind> {
    Row { kind, min: 0, max: MOST_PAYLOADS }
}

const fn none<Kind: Copy>(kind: Kind) -> Row<Kind> {
    Row { kind, min: 0, max: 0 }
}

const fn some<Kind: Copy>(kind: Kind) -> Row<Kind> {
    Row { kind, min: 1, max: MOST_PAYLOADS }
}

/// What tells the forms of one exchange and direction apart.
#[derive(Debug, Clone, Copy)]
enum When {
    Always,
    /// Not one of these payloads is there.
    Lacks(&'static [PayloadType]),
    /// This notification is there.
    Says(NotifyType),
}

/// One form of a message. The first whose `when` holds is the one a message must have.
struct Form {
    exchange: Exchange,
    direction: Direction,
    when: When,
    /// Types that are not listed may not occur, but for Notify and vendor ids, of which there may be any
    /// number.
    payloads: &'static [Row<PayloadType>],
    /// Kinds that are not listed may occur.
    notifications: &'static [Row<NotifyType>],
}

/// An answer that is nothing but notifications.
const REFUSAL: &[Row<PayloadType>] = &[some(PayloadType::NOTIFY)];

const CHILD: &[PayloadType] = &[PayloadType::SA, PayloadType::TSI, PayloadType::TSR];
const SELECTORS: &[PayloadType] = &[PayloadType::TSI, PayloadType::TSR];

const CREATE_CHILD: &[Row<PayloadType>] = &[
    one(PayloadType::SA),
    one(PayloadType::NONCE),
    optional(PayloadType::KE),
    one(PayloadType::TSI),
    one(PayloadType::TSR),
    optional(PayloadType::CP),
];

const REKEY_IKE: &[Row<PayloadType>] = &[one(PayloadType::SA), one(PayloadType::NONCE), one(PayloadType::KE)];

const FORMS: &[Form] = &[
    Form {
        exchange: Exchange::SA_INIT,
        direction: Request,
        when: When::Always,
        payloads: &[one(PayloadType::SA), one(PayloadType::KE), one(PayloadType::NONCE)],
        notifications: &[optional(NotifyType::COOKIE)],
    },
    // A cookie, another key exchange, or a refusal.
    Form {
        exchange: Exchange::SA_INIT,
        direction: Response,
        when: When::Lacks(&[PayloadType::SA, PayloadType::KE, PayloadType::NONCE]),
        payloads: REFUSAL,
        notifications: &[optional(NotifyType::COOKIE), optional(NotifyType::INVALID_KE_PAYLOAD)],
    },
    Form {
        exchange: Exchange::SA_INIT,
        direction: Response,
        when: When::Always,
        payloads: &[
            one(PayloadType::SA),
            one(PayloadType::KE),
            one(PayloadType::NONCE),
            any(PayloadType::CERTREQ),
        ],
        notifications: &[none(NotifyType::COOKIE), none(NotifyType::INVALID_KE_PAYLOAD)],
    },
    // No child yet (RFC 6023).
    Form {
        exchange: Exchange::AUTH,
        direction: Request,
        when: When::Lacks(CHILD),
        payloads: &[
            one(PayloadType::IDI),
            any(PayloadType::CERT),
            any(PayloadType::CERTREQ),
            optional(PayloadType::IDR),
            one(PayloadType::AUTH),
            optional(PayloadType::CP),
        ],
        notifications: &[],
    },
    Form {
        exchange: Exchange::AUTH,
        direction: Request,
        when: When::Always,
        payloads: &[
            one(PayloadType::IDI),
            any(PayloadType::CERT),
            any(PayloadType::CERTREQ),
            optional(PayloadType::IDR),
            one(PayloadType::AUTH),
            optional(PayloadType::CP),
            one(PayloadType::SA),
            one(PayloadType::TSI),
            one(PayloadType::TSR),
        ],
        notifications: &[],
    },
    Form {
        exchange: Exchange::AUTH,
        direction: Response,
        when: When::Lacks(&[PayloadType::IDR, PayloadType::AUTH, PayloadType::SA]),
        payloads: REFUSAL,
        notifications: &[],
    },
    // No child wanted, or none granted.
    Form {
        exchange: Exchange::AUTH,
        direction: Response,
        when: When::Lacks(CHILD),
        payloads: &[
            one(PayloadType::IDR),
            any(PayloadType::CERT),
            one(PayloadType::AUTH),
            optional(PayloadType::CP),
        ],
        notifications: &[],
    },
    Form {
        exchange: Exchange::AUTH,
        direction: Response,
        when: When::Always,
        payloads: &[
            one(PayloadType::IDR),
            any(PayloadType::CERT),
            one(PayloadType::AUTH),
            optional(PayloadType::CP),
            one(PayloadType::SA),
            one(PayloadType::TSI),
            one(PayloadType::TSR),
        ],
        notifications: &[],
    },
    // A child in place of another one.
    Form {
        exchange: Exchange::CREATE_CHILD_SA,
        direction: Request,
        when: When::Says(NotifyType::REKEY_SA),
        payloads: CREATE_CHILD,
        notifications: &[one(NotifyType::REKEY_SA)],
    },
    // The IKE SA itself anew.
    Form {
        exchange: Exchange::CREATE_CHILD_SA,
        direction: Request,
        when: When::Lacks(SELECTORS),
        payloads: REKEY_IKE,
        notifications: &[],
    },
    // One more child.
    Form {
        exchange: Exchange::CREATE_CHILD_SA,
        direction: Request,
        when: When::Always,
        payloads: CREATE_CHILD,
        notifications: &[],
    },
    Form {
        exchange: Exchange::CREATE_CHILD_SA,
        direction: Response,
        when: When::Lacks(&[PayloadType::SA, PayloadType::NONCE, PayloadType::TSI, PayloadType::TSR]),
        payloads: REFUSAL,
        notifications: &[optional(NotifyType::INVALID_KE_PAYLOAD)],
    },
    Form {
        exchange: Exchange::CREATE_CHILD_SA,
        direction: Response,
        when: When::Lacks(SELECTORS),
        payloads: REKEY_IKE,
        notifications: &[optional(NotifyType::ADDITIONAL_KEY_EXCHANGE)],
    },
    Form {
        exchange: Exchange::CREATE_CHILD_SA,
        direction: Response,
        when: When::Always,
        payloads: CREATE_CHILD,
        notifications: &[optional(NotifyType::ADDITIONAL_KEY_EXCHANGE)],
    },
    Form {
        exchange: Exchange::INFORMATIONAL,
        direction: Request,
        when: When::Always,
        payloads: &[any(PayloadType::DELETE), optional(PayloadType::CP)],
        notifications: &[],
    },
    Form {
        exchange: Exchange::INFORMATIONAL,
        direction: Response,
        when: When::Always,
        payloads: &[any(PayloadType::DELETE), optional(PayloadType::CP)],
        notifications: &[],
    },
    // Each carries one additional key exchange, or something else that both have announced.
    Form {
        exchange: Exchange::INTERMEDIATE,
        direction: Request,
        when: When::Always,
        payloads: &[optional(PayloadType::KE)],
        notifications: &[],
    },
    Form {
        exchange: Exchange::INTERMEDIATE,
        direction: Response,
        when: When::Always,
        payloads: &[optional(PayloadType::KE)],
        notifications: &[],
    },
    Form {
        exchange: Exchange::FOLLOWUP_KE,
        direction: Request,
        when: When::Always,
        payloads: &[one(PayloadType::KE)],
        notifications: &[one(NotifyType::ADDITIONAL_KEY_EXCHANGE)],
    },
    Form {
        exchange: Exchange::FOLLOWUP_KE,
        direction: Response,
        when: When::Lacks(&[PayloadType::KE]),
        payloads: REFUSAL,
        notifications: &[none(NotifyType::ADDITIONAL_KEY_EXCHANGE)],
    },
    // The last answer needs no more link to a next request.
    Form {
        exchange: Exchange::FOLLOWUP_KE,
        direction: Response,
        when: When::Always,
        payloads: &[one(PayloadType::KE)],
        notifications: &[optional(NotifyType::ADDITIONAL_KEY_EXCHANGE)],
    },
];

/// Says whether a message may look like this. Vendor ids, payloads of unknown types that are not critical,
/// and notifications of unknown kinds may be in every message.
///
/// Answers in clear to encrypted requests (RFC 7296 §1.5) are refused too: whoever wants them as a hint has to
/// look before asking here.
///
/// # Errors
/// [`Illegal`], by the form that the message resembles most.
pub fn check(
    exchange: Exchange,
    direction: Direction,
    encrypted: bool,
    payloads: &[Payload],
) -> Result<(), Illegal> {
    let mut forms =
        FORMS.iter().filter(|form| form.exchange == exchange && form.direction == direction).peekable();
    if forms.peek().is_none() {
        return Err(Illegal::Exchange(exchange));
    }
    if encrypted == (exchange == Exchange::SA_INIT) {
        return Err(Illegal::Protection { exchange, direction, encrypted });
    }
    for payload in payloads {
        if let Payload::Unknown { kind, critical: true } = payload {
            return Err(Illegal::Critical(*kind));
        }
    }
    match forms.find(|form| form.when.holds(payloads)) {
        Some(form) => form.check(payloads),
        None => Err(Illegal::Exchange(exchange)),
    }
}

impl When {
    fn holds(self, payloads: &[Payload]) -> bool {
        match self {
            Self::Always => true,
            Self::Lacks(kinds) => !payloads.iter().any(|payload| kinds.contains(&payload.kind())),
            Self::Says(kind) => notifications(payloads).any(|found| found == kind),
        }
    }
}

impl Form {
    fn check(&self, payloads: &[Payload]) -> Result<(), Illegal> {
        let Self { exchange, direction, .. } = *self;
        for &Row { kind, min, max } in self.payloads {
            let found = payloads.iter().filter(|payload| payload.kind() == kind).count();
            if !(min..=max).contains(&found) {
                return Err(Illegal::Payloads { exchange, direction, kind, found, min, max });
            }
        }
        for payload in payloads {
            let kind = payload.kind();
            if !is_welcome_anywhere(payload) && !self.payloads.iter().any(|row| row.kind == kind) {
                let found = payloads.iter().filter(|payload| payload.kind() == kind).count();
                return Err(Illegal::Payloads { exchange, direction, kind, found, min: 0, max: 0 });
            }
        }
        for &Row { kind, min, max } in self.notifications {
            let found = notifications(payloads).filter(|found| *found == kind).count();
            if !(min..=max).contains(&found) {
                return Err(Illegal::Notifications { exchange, direction, kind, found, min, max });
            }
        }
        Ok(())
    }
}

const fn is_welcome_anywhere(payload: &Payload) -> bool {
    matches!(payload, Payload::Notify(_) | Payload::VendorId(_) | Payload::Unknown { .. })
}

fn notifications(payloads: &[Payload]) -> impl Iterator<Item = NotifyType> + '_ {
    payloads.iter().filter_map(|payload| match payload {
        Payload::Notify(notify) => Some(notify.kind),
        _ => None,
    })
}
