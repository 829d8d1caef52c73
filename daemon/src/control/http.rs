//! Replies as HTTP.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use ippriv::control::{Refusal, RefusalCode, Refused, Reply};

/// An answer: the view asked for, or why there is none.
pub(super) struct Answer(pub(super) Reply);

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        match self.0 {
            Reply::Status(status) => Json(status).into_response(),
            Reply::Circuit(circuit) => Json(circuit).into_response(),
            Reply::Circuits(circuits) => Json(circuits).into_response(),
            Reply::Relay(relay) => Json(relay).into_response(),
            Reply::Relays(relays) => Json(relays).into_response(),
            Reply::Overlays(overlays) => Json(overlays).into_response(),
            Reply::Done => StatusCode::NO_CONTENT.into_response(),
            Reply::Refused(refusal) => refused(refusal),
        }
    }
}

/// An answer that says why not.
pub(super) fn refused(error: Refusal) -> Response {
    (status(error.code), Json(Refused { error })).into_response()
}

/// An answer that says why not.
pub(super) fn refuse(code: RefusalCode, message: impl Into<String>) -> Response {
    refused(Refusal { code, message: message.into() })
}

const fn status(code: RefusalCode) -> StatusCode {
    match code {
        RefusalCode::Invalid => StatusCode::BAD_REQUEST,
        RefusalCode::NotFound => StatusCode::NOT_FOUND,
        RefusalCode::Conflict => StatusCode::CONFLICT,
        RefusalCode::NotAllowed => StatusCode::FORBIDDEN,
        RefusalCode::NoPath => StatusCode::UNPROCESSABLE_ENTITY,
        RefusalCode::Failed => StatusCode::BAD_GATEWAY,
        RefusalCode::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        RefusalCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}
