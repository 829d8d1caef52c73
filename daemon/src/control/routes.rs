//! Paths and what they mean.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use ippriv::control::{Command, Lend, NewCircuit, Refusal, RefusalCode, Rekey, Stopping};
use ippriv::id::ProcessId;
use ippriv::telescope::CircuitNumber;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};

use super::http::{Answer, refuse, refused};
use super::{Hub, Request};

/// The largest body of a request, in octets.
const LARGEST_BODY: usize = 64 << 10;
/// How long the body of a request may take.
const BODY: Duration = Duration::from_secs(5);
/// How long an answer may take that needs nobody else.
const SOON: Duration = Duration::from_secs(10);
/// How long an answer may take that other hosts take part in.
const LATER: Duration = Duration::from_secs(180);

/// What handlers work with.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) requests: mpsc::Sender<Request>,
    /// Who is at the other end of the connection, if this host sees that process.
    pub(super) peer: Option<ProcessId>,
    pub(super) hub: Hub,
}

/// All paths.
pub(super) fn router(service: Service) -> Router {
    Router::new()
        .route("/v1/status", get(async |State(at): State<Service>| at.ask(Command::Status, SOON).await))
        .route("/v1/circuits", get(circuits).post(new_circuit))
        .route("/v1/circuits/{number}", get(circuit).delete(close_circuit))
        .route("/v1/circuits/{number}/lend", post(lend_circuit).delete(return_circuit))
        .route("/v1/relays", get(async |State(at): State<Service>| at.ask(Command::RelayList, SOON).await))
        .route("/v1/relays/{name}", get(relay))
        .route(
            "/v1/overlays",
            get(async |State(at): State<Service>| at.ask(Command::OverlayList, SOON).await),
        )
        .route("/v1/events", get(events))
        .route("/v1/rekey", post(rekey))
        .route("/v1/reload", post(reload))
        .route("/v1/stop", post(stop))
        .fallback(async || refuse(RefusalCode::NotFound, "no such path: expected one of docs/control.md"))
        .method_not_allowed_fallback(async || {
            refuse(RefusalCode::Invalid, "no such method here: expected one of docs/control.md")
        })
        .with_state(service)
}

impl Service {
    /// The process that asks.
    fn process(&self) -> Result<ProcessId, Refusal> {
        self.peer.ok_or_else(|| {
            let message =
                "you are in a process namespace that the daemon does not see: expected one that it does";
            Refusal { code: RefusalCode::NotAllowed, message: message.to_owned() }
        })
    }

    /// Asks the core and waits for its answer.
    async fn ask(&self, command: Command, patience: Duration) -> Response {
        let (sender, receiver) = oneshot::channel();
        match self.request(Request::Command(command, sender), receiver, patience).await {
            Ok(reply) => Answer(reply).into_response(),
            Err(answer) => answer,
        }
    }

    async fn request<T>(
        &self,
        request: Request,
        receiver: oneshot::Receiver<T>,
        patience: Duration,
    ) -> Result<T, Response> {
        let busy = || refuse(RefusalCode::Unavailable, "too many requests wait: try again");
        self.requests.try_send(request).map_err(|_| busy())?;
        match tokio::time::timeout(patience, receiver).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(refuse(RefusalCode::Unavailable, "the daemon is stopping")),
            Err(_) => Err(refuse(
                RefusalCode::TimedOut,
                format!("no answer within {} s: it may still be done", patience.as_secs()),
            )),
        }
    }
}

async fn circuits(State(at): State<Service>) -> Response {
    at.ask(Command::CircuitList, SOON).await
}

async fn new_circuit(State(at): State<Service>, body: Body) -> Response {
    match read::<NewCircuit>(body).await {
        Ok(new) => {
            let patience = if new.wait { LATER } else { SOON };
            at.ask(Command::CircuitNew(new), patience).await
        }
        Err(refusal) => refusal,
    }
}

async fn circuit(State(at): State<Service>, Path(number): Path<String>) -> Response {
    match circuit_number(&number) {
        Ok(number) => at.ask(Command::CircuitShow(number), SOON).await,
        Err(refusal) => refused(refusal),
    }
}

async fn close_circuit(State(at): State<Service>, Path(number): Path<String>) -> Response {
    match circuit_number(&number) {
        Ok(number) => at.ask(Command::CircuitClose(number), LATER).await,
        Err(refusal) => refused(refusal),
    }
}

/// How a circuit is lent. To whom is not said but seen, so that nobody lends one to somebody else.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct How {
    #[serde(default)]
    close: bool,
}

async fn lend_circuit(State(at): State<Service>, Path(number): Path<String>, body: Body) -> Response {
    let How { close } = match read(body).await {
        Ok(how) => how,
        Err(refusal) => return refusal,
    };
    match circuit_number(&number).and_then(|circuit| Ok((circuit, at.process()?))) {
        Ok((circuit, process)) => at.ask(Command::CircuitLend(Lend { circuit, process, close }), SOON).await,
        Err(refusal) => refused(refusal),
    }
}

async fn return_circuit(State(at): State<Service>, Path(number): Path<String>) -> Response {
    match circuit_number(&number).and_then(|circuit| Ok((circuit, at.process()?))) {
        Ok((circuit, process)) => at.ask(Command::CircuitReturn { circuit, process }, LATER).await,
        Err(refusal) => refused(refusal),
    }
}

async fn relay(State(at): State<Service>, Path(name): Path<String>) -> Response {
    at.ask(Command::RelayShow(name), SOON).await
}

async fn rekey(State(at): State<Service>, body: Body) -> Response {
    match read::<Rekey>(body).await {
        Ok(rekey) => at.ask(Command::Rekey(rekey), LATER).await,
        Err(refusal) => refusal,
    }
}

async fn events(State(at): State<Service>, RawQuery(query): RawQuery) -> Response {
    let ndjson = [(CONTENT_TYPE, "application/x-ndjson")];
    match query.as_deref() {
        None | Some("follow=false") => (ndjson, at.hub.latest()).into_response(),
        Some("follow" | "follow=true") => match at.hub.follow() {
            Some(lines) => (ndjson, Body::new(lines)).into_response(),
            None => refuse(RefusalCode::Unavailable, "too many follow the events: end one of them"),
        },
        Some(other) => {
            refuse(RefusalCode::Invalid, format!("query {other:?}: expected follow=true or follow=false"))
        }
    }
}

async fn reload(State(at): State<Service>) -> Response {
    let (sender, receiver) = oneshot::channel();
    match at.request(Request::Reload(sender), receiver, SOON).await {
        Ok(Ok(reloaded)) => axum::Json(reloaded).into_response(),
        Ok(Err(refusal)) => refused(refusal),
        Err(answer) => answer,
    }
}

async fn stop(State(at): State<Service>, RawQuery(query): RawQuery) -> Response {
    let how = match query.as_deref() {
        None | Some("flush=false") => Stopping::Keep,
        Some("flush" | "flush=true") => Stopping::Flush,
        Some(other) => {
            let message = format!("query {other:?}: expected flush=true or flush=false");
            return refuse(RefusalCode::Invalid, message);
        }
    };
    let (sender, receiver) = oneshot::channel();
    match at.request(Request::Stop(how, sender), receiver, LATER).await {
        Ok(reply) => Answer(reply).into_response(),
        Err(answer) => answer,
    }
}

fn circuit_number(text: &str) -> Result<CircuitNumber, Refusal> {
    let number = text.parse::<u32>().ok().and_then(|number| CircuitNumber::try_from(number).ok());
    number.ok_or_else(|| {
        let message = format!("circuit number {text:?}: expected 1 to {}", CircuitNumber::LAST);
        Refusal { code: RefusalCode::Invalid, message }
    })
}

/// The content of a body, whatever type its sender says it is.
async fn read<T: DeserializeOwned>(body: Body) -> Result<T, Response> {
    let invalid = |message| refuse(RefusalCode::Invalid, message);
    let octets = match tokio::time::timeout(BODY, to_bytes(body, LARGEST_BODY)).await {
        Ok(Ok(octets)) => octets,
        Ok(Err(_)) => return Err(invalid(format!("body: expected at most {LARGEST_BODY} octets"))),
        Err(_) => return Err(invalid(format!("body: expected within {} s", BODY.as_secs()))),
    };
    serde_json::from_slice(&octets).map_err(|error| invalid(format!("body: {error}")))
}
