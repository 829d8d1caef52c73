//! Asking the daemon: HTTP and JSON over its control socket, as `docs/control.md` says.

mod error;

use std::future::Future;
use std::path::PathBuf;

use clap::Args;
pub(crate) use error::DaemonError;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use ippriv::control::Refused;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

/// The largest answer that is read, in octets: hundred thousand circuits.
const LARGEST: usize = 256 << 20;

/// Which daemon to ask.
#[derive(Args, Clone)]
pub(crate) struct Daemon {
    /// The daemon's control socket
    #[arg(long, global = true, default_value = "/run/ippriv/control.sock")]
    socket: PathBuf,
}

impl Daemon {
    /// What is at `path`.
    ///
    /// # Errors
    /// [`DaemonError`] when it cannot be reached or refuses; so in all methods below.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, DaemonError> {
        self.ask(Method::GET, path, Bytes::new())
    }

    /// Asks for something to be done that `body` describes.
    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, DaemonError> {
        let body = serde_json::to_vec(body).map_err(|error| DaemonError::Foreign(error.to_string()))?;
        self.ask(Method::POST, path, body.into())
    }

    /// Removes what is at `path`.
    pub(crate) fn delete(&self, path: &str) -> Result<(), DaemonError> {
        self.ask(Method::DELETE, path, Bytes::new())
    }

    /// Hands each line of what is at `path` to `line`, until it ends.
    pub(crate) fn lines<E: From<DaemonError>>(
        &self,
        path: &str,
        mut line: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        run(async {
            let response = self.send(Method::GET, path, Bytes::new()).await?;
            if response.status() != StatusCode::OK {
                let status = response.status();
                return Err(refusal(status, &collect(response).await?).into());
            }
            let mut body = response.into_body();
            let mut waiting = Vec::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(DaemonError::from)?;
                waiting.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                while let Some(end) = waiting.iter().position(|octet| *octet == b'\n') {
                    let rest = waiting.split_off(end + 1);
                    line(waiting.trim_ascii_end())?;
                    waiting = rest;
                }
            }
            Ok(())
        })?
    }

    fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<T, DaemonError> {
        run(async {
            let response = self.send(method, path, body).await?;
            let status = response.status();
            let body = collect(response).await?;
            let foreign = |error: serde_json::Error| DaemonError::Foreign(error.to_string());
            match status {
                StatusCode::NO_CONTENT => serde_json::from_str("null").map_err(foreign),
                status if status.is_success() => serde_json::from_slice(&body).map_err(foreign),
                status => Err(refusal(status, &body)),
            }
        })?
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, DaemonError> {
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|error| DaemonError::unreachable(&self.socket, error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the answer; what goes wrong, the answer's reader sees.
        drop(tokio::spawn(connection));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "ipprivd")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| DaemonError::Foreign(error.to_string()))?;
        Ok(sender.send_request(request).await?)
    }
}

fn run<T>(task: impl Future<Output = T>) -> Result<T, DaemonError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    Ok(runtime.map_err(DaemonError::System)?.block_on(task))
}

async fn collect(response: Response<Incoming>) -> Result<Bytes, DaemonError> {
    let body = http_body_util::Limited::new(response.into_body(), LARGEST).collect().await;
    Ok(body.map_err(|error| DaemonError::Foreign(error.to_string()))?.to_bytes())
}

fn refusal(status: StatusCode, body: &[u8]) -> DaemonError {
    match serde_json::from_slice::<Refused>(body) {
        Ok(refused) => DaemonError::Refused(refused.error),
        Err(_) => DaemonError::Foreign(format!("HTTP status {status}")),
    }
}
