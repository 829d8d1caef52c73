use std::path::Path;

use ippriv::control::Event;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::*;
use crate::journal::tests::Directory;

/// Sends one request; the status and body of the answer.
pub(crate) async fn ask(socket: &Path, method: &str, path: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: ipprivd\r\nContent-Length: {length}\r\n\r\n");
    send(socket, &[head.as_bytes(), body.as_bytes()].concat()).await
}

/// Sends octets, and reads an answer that is not chunked.
async fn send(socket: &Path, octets: &[u8]) -> (u16, String) {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    // Who answers before it has read everything may close the connection early.
    drop(stream.write_all(octets).await);
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    (code, body.to_owned())
}

/// A server whose requests a test answers.
fn serve(directory: &Directory) -> (tokio::sync::mpsc::Receiver<Request>, Hub) {
    let listener = Listener::open(&directory.0.join("control"), &Access::Root).unwrap();
    let hub = Hub::default();
    let (serving, requests) = listener.serve(hub.clone());
    tokio::spawn(serving);
    (requests, hub)
}

#[tokio::test(flavor = "current_thread")]
async fn nonsense_is_refused_without_troubling_the_core() {
    let directory = Directory::new("nonsense");
    let (mut requests, _hub) = serve(&directory);
    let socket = directory.0.join("control");
    for (method, path, body, code, words) in [
        ("GET", "/v2/status", "", 404, "no such path"),
        ("PUT", "/v1/status", "", 400, "no such method"),
        ("GET", "/v1/circuits/0", "", 400, "expected 1 to 65535"),
        ("DELETE", "/v1/circuits/all", "", 400, "expected 1 to 65535"),
        ("POST", "/v1/circuits", "{", 400, "EOF while parsing"),
        ("POST", "/v1/circuits", r#"{"hop":1}"#, 400, "unknown field `hop`"),
        ("POST", "/v1/rekey", "{}", 400, "missing field"),
        ("POST", "/v1/stop?now", "", 400, "expected flush=true"),
        ("GET", "/v1/events?follow=maybe", "", 400, "expected follow=true"),
    ] {
        let (found, answer) = ask(&socket, method, path, body).await;
        assert_eq!(found, code, "{method} {path}: {answer}");
        assert!(answer.contains(words) && answer.contains(r#""code":""#), "{method} {path}: {answer}");
    }
    assert!(requests.try_recv().is_err());
}

#[tokio::test(flavor = "current_thread")]
async fn a_body_or_head_too_large_is_refused() {
    let directory = Directory::new("large");
    let (mut requests, _hub) = serve(&directory);
    let socket = directory.0.join("control");
    let (code, answer) = ask(&socket, "POST", "/v1/circuits", &" ".repeat(100_000)).await;
    assert!(code == 0 || (code == 400 && answer.contains("expected at most")), "{code} {answer}");
    let head = format!("GET /v1/status HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    assert_ne!(send(&socket, head.as_bytes()).await.0, 200);
    assert!(requests.try_recv().is_err());
}

#[tokio::test(flavor = "current_thread")]
async fn a_loop_that_has_gone_is_told() {
    let directory = Directory::new("gone");
    let (mut requests, _hub) = serve(&directory);
    let socket = directory.0.join("control");
    let asking = tokio::spawn(async move { ask(&socket, "GET", "/v1/status", "").await });
    drop(requests.recv().await.unwrap());
    let (code, answer) = asking.await.unwrap();
    assert!(code == 503 && answer.contains("stopping"), "{answer}");
}

#[tokio::test(flavor = "current_thread")]
async fn events_are_followed_line_by_line() {
    let directory = Directory::new("follow");
    let (_requests, hub) = serve(&directory);
    let mut stream = UnixStream::connect(directory.0.join("control")).await.unwrap();
    stream.write_all(b"GET /v1/events?follow=true HTTP/1.1\r\nHost: ipprivd\r\n\r\n").await.unwrap();
    let mut seen = String::new();
    let mut buffer = [0; 1024];
    while !seen.contains("\r\n\r\n") {
        let length = stream.read(&mut buffer).await.unwrap();
        seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    assert!(seen.contains("application/x-ndjson"), "{seen}");
    hub.publish(Event::OverlayUp { relay: "b".to_owned() });
    hub.close();
    stream.read_to_end(&mut Vec::new()).await.unwrap();
}

/// Every path that there is, as a request that the core is asked about or that is refused for its content.
#[tokio::test(flavor = "current_thread")]
async fn the_documented_paths_are_those_that_there_are() {
    let document = include_str!("../../../docs/control.md");
    let directory = Directory::new("paths");
    let (mut requests, _hub) = serve(&directory);
    let answering = tokio::spawn(async move {
        while let Some(request) = requests.recv().await {
            match request {
                Request::Command(_, sender) | Request::Stop(_, sender) => drop(sender.send(Reply::Done)),
                Request::Reload(sender) => drop(sender.send(Ok(Reloaded::default()))),
            }
        }
    });
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let paths: Vec<_> = rows.filter_map(|row| row.split_once(" /v1")).collect();
    assert_eq!(paths.len(), 16, "{paths:?}");
    for (method, path) in paths.into_iter().filter(|(_, path)| !path.ends_with("follow=true")) {
        let path = format!("/v1{}", path.replace("/N", "/1"));
        let (code, answer) = ask(&directory.0.join("control"), method, &path, "{}").await;
        let understood = code == 204 || code == 200 || answer.contains("missing field");
        assert!(understood, "{method} {path}: {code} {answer}");
    }
    answering.abort();
}
