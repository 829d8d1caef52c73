//! Questions and answers in the manner of DNS: a small datagram there, a larger one back.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use serde::Serialize;

use super::TrafficError;
use super::socket::{Tried, connect_udp, millis, now, serve_udp};

/// Bytes of a question, about those of a DNS query: its number, the length of the answer, padding.
const QUESTION: usize = 40;
/// The number and the length, in front of questions and answers.
const HEAD: usize = 6;

/// How the questions fared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AskReport {
    /// Questions.
    pub asked: u32,
    /// Those that were answered in time.
    pub answered: u32,
    /// The quickest answer.
    pub rtt_ms_min: Option<f64>,
    /// The one in the middle.
    pub rtt_ms_median: Option<f64>,
    /// The slowest.
    pub rtt_ms_max: Option<f64>,
}

/// Answers for good.
pub(super) fn answer(address: SocketAddr) -> Result<(), TrafficError> {
    answer_on(&serve_udp(address)?)
}

fn answer_on(socket: &UdpSocket) -> Result<(), TrafficError> {
    let mut buffer = [0; QUESTION];
    loop {
        // An ICMP error about an earlier answer is none about this socket.
        let Ok((length, peer)) = socket.recv_from(&mut buffer) else { continue };
        let Some((head, _)) = buffer[..length].split_first_chunk::<HEAD>() else { continue };
        let mut answer = vec![0; usize::from(u16::from_be_bytes([head[4], head[5]])).max(HEAD)];
        answer[..HEAD].copy_from_slice(head);
        if let Err(error) = socket.send_to(&answer, peer) {
            eprintln!("answer {peer}: {error}");
        }
    }
}

/// Asks `count` questions, each after the answer to the one before, or after waiting for it in vain.
pub(super) fn ask(
    from: Option<IpAddr>,
    to: SocketAddr,
    count: u32,
    answer_length: u16,
    timeout: Duration,
) -> Result<AskReport, TrafficError> {
    let socket = connect_udp(from, to)?;
    let mut round_trips = Vec::new();
    for number in 0..count {
        round_trips.extend(ask_once(&socket, number, answer_length, timeout).tried(|| format!("ask {to}"))?);
    }
    round_trips.sort();
    let at = |index: usize| round_trips.get(index).copied().map(millis);
    Ok(AskReport {
        asked: count,
        answered: round_trips.len() as u32,
        rtt_ms_min: at(0),
        rtt_ms_median: at(round_trips.len() / 2),
        rtt_ms_max: round_trips.last().copied().map(millis),
    })
}

/// The time an answer took; `None` if it did not come, came late or not as long as asked for.
fn ask_once(
    socket: &UdpSocket,
    number: u32,
    answer_length: u16,
    timeout: Duration,
) -> io::Result<Option<Duration>> {
    let mut question = [0; QUESTION];
    question[..4].copy_from_slice(&number.to_be_bytes());
    question[4..HEAD].copy_from_slice(&answer_length.to_be_bytes());
    let start = now();
    // A path that is closed right now is a question unanswered, and takes as long as one.
    let sent = socket.send(&question);
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let left = timeout.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Ok(None);
        }
        if sent.is_err() {
            std::thread::sleep(left);
            continue;
        }
        socket.set_read_timeout(Some(left))?;
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        let wanted = usize::from(answer_length).max(HEAD);
        if length == wanted && buffer[..HEAD] == question[..HEAD] {
            return Ok(Some(start.elapsed()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn every_question_has_its_answer() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        thread::spawn(move || answer_on(&server));
        let report =
            ask(Some("127.0.0.9".parse().unwrap()), address, 20, 500, Duration::from_secs(5)).unwrap();
        assert_eq!((report.asked, report.answered), (20, 20));
        assert!(report.rtt_ms_min <= report.rtt_ms_median && report.rtt_ms_median <= report.rtt_ms_max);
    }

    #[test]
    fn wrong_late_and_missing_answers_do_not_count() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        thread::spawn(move || {
            let mut buffer = [0; QUESTION];
            while let Ok((_, peer)) = server.recv_from(&mut buffer) {
                buffer[3] ^= 0x80;
                server.send_to(&[&buffer[..], &[0; 60]].concat(), peer).unwrap();
                buffer[3] ^= 0x80;
                server.send_to(&buffer, peer).unwrap();
            }
        });
        let report = ask(None, address, 2, 100, Duration::from_millis(50)).unwrap();
        assert_eq!((report.asked, report.answered, report.rtt_ms_max), (2, 0, None));
    }

    #[test]
    fn nobody_there_is_no_answer() {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let start = now();
        let report = ask(None, free, 2, 100, Duration::from_millis(20)).unwrap();
        assert_eq!(report.answered, 0);
        assert!(start.elapsed() >= Duration::from_millis(40), "refused at once, but paced all the same");
    }
}
