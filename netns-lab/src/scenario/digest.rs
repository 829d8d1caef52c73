//! The same seed gives the same bytes on the wire: what every link of a lossy network carried, as one number.

use std::error::Error;
use std::fs;
use std::time::Duration;

use crate::capture::Captures;
use crate::deal::Wish;
use crate::program;
use crate::scenario::Lab;
use crate::topology::Topology;

const LOSSY: &str = include_str!("../../topologies/lossy.yaml");

/// Downloads over a lossy network through a circuit and gives a digest of all captures, byte by byte.
///
/// # Errors
/// When the lab cannot be built or a program in it fails.
pub fn run() -> Result<String, Box<dyn Error>> {
    let topology = Topology::parse("lossy.yaml", LOSSY)?;
    let lab = Lab::new(&topology, &[Wish::new("client", &["entry", "middle", "exit"])])?;
    lab.apply()?;
    let program = program::path()?.to_string_lossy().into_owned();
    let server = lab.net.node("server")?;
    let mut http = server.spawn(&[&program, "traffic", "http-serve", "0.0.0.0:80"])?;
    http.wait_for("listening", Duration::from_secs(10))?;
    let captures = Captures::start_all(&lab.net)?;
    let url = format!("http://{}/300000", lab.address4("server")?);
    lab.on("client", &[&program, "traffic", "http-get", &url])?;
    let mut digest = FNV_START;
    let mut packets = 0;
    for capture in captures.stop()? {
        packets += capture.packets.len();
        digest = fs::read(&capture.path)?.iter().fold(digest, |hash, octet| step(hash, *octet));
    }
    Ok(format!("{digest:016x} of {packets} packets"))
}

/// FNV-1a, 64 bits.
const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

const fn step(hash: u64, octet: u8) -> u64 {
    (hash ^ octet as u64).wrapping_mul(0x0100_0000_01b3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_fnv_1a() {
        assert_eq!(b"foobar".iter().fold(FNV_START, |hash, octet| step(hash, *octet)), 0x8594_4171_f739_67e8);
    }
}
