//! A web server whose pages are as long as their name says, and a client that checks them byte by byte.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::TrafficError;
use super::socket::{Tried, connect_tcp, listen, mbit_per_second, millis, now};

/// More than that is no request or response header of ours.
const HEADER_MAX: u64 = 8192;
const BLOCK: usize = 32 * 1024;
/// Octets of a request of a browser.
const REQUEST: usize = 400;
/// The content repeats after that many bytes; a prime, so that no block or packet size hides a shift.
const PERIOD: u64 = 251;

/// How a download went.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GetReport {
    /// The server.
    pub peer: SocketAddr,
    /// Whom the server thinks it is talking to.
    pub seen_as: Option<SocketAddr>,
    /// HTTP's status code.
    pub status: u16,
    /// Bytes of content received.
    pub bytes: u64,
    /// Whether these are all bytes announced and each is what it should be.
    pub intact: bool,
    /// From before the connection to the first byte back.
    pub ttfb_ms: f64,
    /// From before the connection to the last byte.
    pub seconds: f64,
    /// Content over all that time.
    pub mbit_s: f64,
}

/// Serves for good.
pub(super) fn serve(address: SocketAddr) -> Result<(), TrafficError> {
    serve_on(&listen(address)?)
}

fn serve_on(listener: &TcpListener) -> Result<(), TrafficError> {
    loop {
        let (stream, peer) = listener.accept().tried(|| "accept a connection".to_owned())?;
        thread::spawn(move || {
            if let Err(error) = respond(stream, peer) {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

/// Answers one request after the other until the client has no more, or wants no more.
fn respond(mut stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
    // The end of a response must not wait until what is before it has been acknowledged.
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    while !reader.fill_buf()?.is_empty() {
        let request = header(&mut reader)?;
        let closes = field::<String>(&request, "Connection").is_some_and(|value| value == "close");
        let length = request.first().and_then(|line| length_asked_for(line));
        let (status, length) = length.map_or(("404 Not Found", 0), |length| ("200 OK", length));
        let connection = if closes { "close" } else { "keep-alive" };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\n\
             Seen-As: {peer}\r\nConnection: {connection}\r\n\r\n"
        );
        let mut block = head.into_bytes();
        let mut sent = 0;
        while sent < length || !block.is_empty() {
            let count = (length - sent).min(BLOCK as u64);
            block.extend((sent..sent + count).map(content));
            stream.write_all(&block)?;
            block.clear();
            sent += count;
        }
        if closes {
            break;
        }
    }
    Ok(())
}

fn length_asked_for(request_line: &str) -> Option<u64> {
    let path = request_line.strip_prefix("GET /")?;
    let (length, version) = path.split_once(' ')?;
    version.starts_with("HTTP/1.").then(|| length.parse().ok()).flatten()
}

/// The byte at a position of the content.
fn content(position: u64) -> u8 {
    (position % PERIOD) as u8
}

/// Downloads once.
pub(super) fn get(from: Option<IpAddr>, timeout: Duration, url: &str) -> Result<GetReport, TrafficError> {
    let (peer, path) = split(url)?;
    let asking = || format!("ask {peer} for {path}");
    let start = now();
    let mut stream = connect_tcp(from, peer, None)?;
    stream.set_read_timeout(Some(timeout)).tried(asking)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {peer}\r\nConnection: close\r\n\r\n").tried(asking)?;

    let mut reader = BufReader::with_capacity(BLOCK, stream);
    let response = response(&mut reader).tried(asking)?;
    let span = start.elapsed();
    Ok(GetReport {
        peer,
        seen_as: response.seen_as,
        status: response.status,
        bytes: response.bytes,
        intact: response.intact,
        ttfb_ms: millis(response.first - start),
        seconds: millis(span) / 1e3,
        mbit_s: mbit_per_second(response.bytes, span),
    })
}

/// A client's end of a connection that is used for one request after the other.
pub(super) struct Connection {
    reader: BufReader<TcpStream>,
    peer: SocketAddr,
}

impl Connection {
    /// On a connection that is there.
    pub(super) fn new(stream: TcpStream, peer: SocketAddr) -> Self {
        Self { reader: BufReader::with_capacity(BLOCK, stream), peer }
    }

    /// Asks for that many bytes, with as many octets as a browser uses for it, and reads them.
    pub(super) fn fetch(&mut self, length: u64) -> Result<Response, TrafficError> {
        let asking = || format!("ask {} for {length} bytes", self.peer);
        let request = format!("GET /{length} HTTP/1.1\r\nHost: {}\r\nUser-Agent: ", self.peer);
        let request = format!("{request:x<width$}\r\n\r\n", width = REQUEST - 4);
        self.reader.get_mut().write_all(request.as_bytes()).tried(asking)?;
        let response = response(&mut self.reader).tried(asking)?;
        if !response.intact || response.bytes != length {
            let found = format!("{} bytes, intact: {}", response.bytes, response.intact);
            return Err(TrafficError::Protocol { found, expected: "all bytes that were asked for" });
        }
        Ok(response)
    }
}

/// What a server answered.
pub(super) struct Response {
    /// When its first byte came.
    pub(super) first: Instant,
    pub(super) status: u16,
    pub(super) seen_as: Option<SocketAddr>,
    pub(super) bytes: u64,
    /// Whether these are all bytes announced and each is what it should be.
    pub(super) intact: bool,
}

fn response(reader: &mut impl BufRead) -> io::Result<Response> {
    reader.fill_buf()?;
    let first = now();
    let lines = header(reader)?;
    let status = lines.first().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let (Some(status), Some(length)) = (status, field::<u64>(&lines, "Content-Length")) else {
        let found = lines.first().map_or("nothing", String::as_str);
        let error = format!("found {found}, expected an HTTP status and Content-Length");
        return Err(io::Error::new(io::ErrorKind::InvalidData, error));
    };
    let (bytes, intact) = check(&mut reader.take(length))?;
    Ok(Response {
        first,
        status,
        seen_as: field(&lines, "Seen-As"),
        bytes,
        intact: intact && bytes == length,
    })
}

fn split(url: &str) -> Result<(SocketAddr, &str), TrafficError> {
    let bad = || TrafficError::Argument {
        name: "URL",
        found: format!("`{url}`"),
        expected: "http://ADDRESS[:PORT]/PATH with an IP address, IPv6 in brackets",
    };
    let rest = url.strip_prefix("http://").ok_or_else(bad)?;
    let (host, path) = rest.split_at(rest.find('/').ok_or_else(bad)?);
    let address = host.parse().or_else(|_| format!("{host}:80").parse()).map_err(|_| bad())?;
    Ok((address, path))
}

/// The lines up to the empty one.
fn header(reader: &mut impl BufRead) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut reader = reader.take(HEADER_MAX);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "found no end of the header"));
        }
        match line.trim_end() {
            "" => return Ok(lines),
            line => lines.push(line.to_owned()),
        }
    }
}

fn field<T: std::str::FromStr>(lines: &[String], name: &str) -> Option<T> {
    let fields = lines.iter().filter_map(|line| line.split_once(':'));
    fields
        .filter(|(field, _)| field.eq_ignore_ascii_case(name))
        .find_map(|(_, value)| value.trim().parse().ok())
}

/// Reads to the end: how many bytes, and whether all of them are the content's.
fn check(reader: &mut impl BufRead) -> io::Result<(u64, bool)> {
    let (mut bytes, mut intact) = (0, true);
    loop {
        let block = reader.fill_buf()?;
        if block.is_empty() {
            return Ok((bytes, intact));
        }
        intact &= (bytes..).zip(block).all(|(position, byte)| content(position) == *byte);
        let length = block.len();
        bytes += length as u64;
        reader.consume(length);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::traffic) fn server() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || serve_on(&listener));
        address
    }

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn a_download_is_whole_and_from_where_it_was_bound() {
        let from = "127.0.0.9".parse().unwrap();
        for length in [0, 1, 100_000] {
            let report = get(Some(from), LIMIT, &format!("http://{}/{length}", server())).unwrap();
            assert_eq!((report.status, report.bytes, report.intact), (200, length, true));
            assert_eq!(report.seen_as.unwrap().ip(), from);
            assert!(report.ttfb_ms <= report.seconds * 1e3);
        }
    }

    #[test]
    fn a_connection_is_used_again() {
        let address = server();
        let mut connection = Connection::new(TcpStream::connect(address).unwrap(), address);
        for length in [0, 70_000, 1] {
            let response = connection.fetch(length).unwrap();
            assert_eq!((response.status, response.bytes), (200, length));
            assert_eq!(response.seen_as, connection.reader.get_ref().local_addr().ok(), "the same one");
        }
    }

    #[test]
    fn what_is_no_number_is_not_found() {
        assert_eq!(get(None, LIMIT, &format!("http://{}/x", server())).unwrap().status, 404);
    }

    #[test]
    fn changed_and_missing_bytes_are_noticed() {
        let good: Vec<u8> = (0..1000).map(content).collect();
        assert_eq!(check(&mut good.as_slice()).unwrap(), (1000, true));
        let mut bad = good;
        bad[999] ^= 1;
        assert_eq!(check(&mut bad.as_slice()).unwrap(), (1000, false));

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            header(&mut BufReader::new(&stream)).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n\0\x01").unwrap();
        });
        let report = get(None, LIMIT, &format!("http://{address}/9")).unwrap();
        assert_eq!((report.bytes, report.intact), (2, false));
    }

    #[test]
    fn urls_have_addresses() {
        assert_eq!(split("http://192.0.2.1/7").unwrap(), ("192.0.2.1:80".parse().unwrap(), "/7"));
        assert_eq!(split("http://[2001:db8::1]:81/7").unwrap(), ("[2001:db8::1]:81".parse().unwrap(), "/7"));
        assert_eq!(split("http://[2001:db8::1]/7").unwrap(), ("[2001:db8::1]:80".parse().unwrap(), "/7"));
        for url in ["192.0.2.1/7", "http://192.0.2.1", "http://example.org/7", "https://192.0.2.1/7"] {
            assert!(split(url).is_err(), "{url}");
        }
    }
}
