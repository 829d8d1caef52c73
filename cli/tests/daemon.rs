//! `ippriv` against a daemon that answers what a test says.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread::{self, JoinHandle};

/// A daemon that takes one request and gives one answer.
struct Daemon {
    socket: PathBuf,
    asked: JoinHandle<String>,
}

impl Daemon {
    fn answering(name: &str, status: &str, body: &str) -> Self {
        let socket = socket(name);
        let listener = UnixListener::bind(&socket).unwrap();
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
        let asked = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !is_whole(&request) {
                let length = stream.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..length]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        Self { socket, asked }
    }

    /// Runs `ippriv`; what it was asked for, and what came of it.
    fn run(self, arguments: &[&str]) -> (String, Output) {
        let output = run(&self.socket, arguments);
        (self.asked.join().unwrap(), output)
    }
}

fn socket(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("ippriv-{name}-{}", std::process::id()));
    drop(std::fs::remove_file(&path));
    path
}

/// Whether a request has its head and all of its body.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

fn run(socket: &std::path::Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ippriv"));
    command.args(arguments).arg("--socket").arg(socket).output().unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

#[test]
fn without_a_daemon_it_says_how_to_start_one() {
    let output = run(&socket("none"), &["status"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("no ipprivd listens at"), "{output:?}");
}

#[test]
fn a_refusal_has_its_words_and_an_exit_code_of_its_own() {
    for (code, status, exit) in
        [("not_found", "404 Not Found", 5), ("no_path", "422 Unprocessable", 6), ("timed_out", "504 Late", 7)]
    {
        let body = format!(r#"{{"error":{{"code":"{code}","message":"relay x: expected y"}}}}"#);
        let (asked, output) = Daemon::answering(code, status, &body).run(&["relay", "show", "x"]);
        assert!(asked.starts_with("GET /v1/relays/x HTTP/1.1\r\n"), "{asked}");
        assert_eq!(output.status.code(), Some(exit));
        assert_eq!(text(&output.stderr), "ippriv: relay x: expected y\n");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_new_circuit_is_asked_for_as_it_was_said() {
    let circuit = concat!(
        r#"{"number":3,"name":"work","state":"open","link":"ippc3","addresses":["10.0.0.1"],"dns":[],"mtu":1280,"#,
        r#""traffic":[],"age_s":0,"hops":[]}"#,
    );
    let arguments =
        ["circuit", "new", "--name", "work", "--hops", "a,b", "--traffic", "192.0.2.0/24", "--json"];
    let (asked, output) = Daemon::answering("new", "200 OK", circuit).run(&arguments);
    assert!(asked.starts_with("POST /v1/circuits HTTP/1.1\r\n"), "{asked}");
    let wanted = r#"{"name":"work","hops":["a","b"],"traffic":["192.0.2.0/24"],"wait":true}"#;
    assert!(asked.ends_with(wanted), "{asked}");
    assert_eq!(text(&output.stdout), format!("{circuit}\n"));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn hops_and_length_exclude_each_other() {
    let output = run(&socket("both"), &["circuit", "new", "--hops", "a", "--length", "2"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn events_are_printed_as_they_come() {
    let lines = concat!(
        r#"{"time":"t","sequence":1,"event":"overlay_up","relay":"b"}"#,
        "\n",
        r#"{"time":"t","sequence":2,"event":"circuit_open","circuit":1,"took_ms":90}"#,
        "\n",
    );
    let (asked, output) = Daemon::answering("events", "200 OK", lines).run(&["events", "--follow"]);
    assert!(asked.starts_with("GET /v1/events?follow=true "), "{asked}");
    assert_eq!(text(&output.stdout), "t overlay_up relay=b\nt circuit_open circuit=1 took_ms=90\n");
}

#[test]
fn stopping_says_whether_to_remove_everything() {
    let (asked, output) = Daemon::answering("flush", "204 No Content", "").run(&["stop", "--flush"]);
    assert!(asked.starts_with("POST /v1/stop?flush=true "), "{asked}");
    assert_eq!(output.status.code(), Some(0));
    let (asked, _) = Daemon::answering("keep", "204 No Content", "").run(&["stop"]);
    assert!(asked.starts_with("POST /v1/stop?flush=false "), "{asked}");
}

#[test]
fn something_else_than_a_daemon_is_told_apart() {
    let (_, output) = Daemon::answering("foreign", "200 OK", "<html>").run(&["overlay", "list"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("expected the same version"), "{output:?}");
}
