//! A tunnel of TCP between two TUN devices: every packet goes as it is, after its length.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use rustix::net::sockopt;
use tappers::{Interface, Tun};

use super::TrafficError;
use super::socket::{Tried, connect_tcp, listen};

/// Octets of a packet's length.
const HEAD: usize = 2;
/// The longest packet, with its length.
const ROOM: usize = HEAD + u16::MAX as usize;

/// Takes one connection and passes packets until it is gone.
pub(super) fn serve(device: &str, address: SocketAddr, cc: Option<&str>) -> Result<(), TrafficError> {
    let tun = open(device)?;
    let listener = listen(address)?;
    let (stream, peer) = listener.accept().tried(|| format!("accept a connection on {address}"))?;
    drop(listener);
    if let Some(name) = cc {
        sockopt::set_tcp_congestion(&stream, name).tried(|| format!("use congestion control {name}"))?;
    }
    println!("connection from {peer}");
    pass(&tun, &stream)
}

/// Connects and passes packets until the connection is gone.
pub(super) fn connect(device: &str, address: SocketAddr, cc: Option<&str>) -> Result<(), TrafficError> {
    let tun = open(device)?;
    let stream = connect_tcp(None, address, cc)?;
    println!("connected to {address}");
    pass(&tun, &stream)
}

fn open(device: &str) -> Result<Tun, TrafficError> {
    let name = Interface::new(device).tried(|| format!("use {device} as an interface's name"))?;
    Tun::new_named(name).tried(|| format!("open the TUN device {device}"))
}

/// Passes packets both ways, each on a thread that blocks; returns when one has failed.
fn pass(tun: &Tun, stream: &TcpStream) -> Result<(), TrafficError> {
    stream.set_nodelay(true).tried(|| "send packets at once".to_owned())?;
    thread::scope(|scope| {
        scope.spawn(|| {
            let error = send(tun, stream);
            eprintln!("towards the tunnel: {error}");
            // Nothing ends a read of the device but the end of the process.
            std::process::exit(1);
        });
        receive(tun, stream)
    })
}

fn send(tun: &Tun, mut stream: &TcpStream) -> std::io::Error {
    let mut buffer = vec![0; ROOM];
    loop {
        let sent = tun.recv(&mut buffer[HEAD..]).and_then(|length| {
            buffer[..HEAD].copy_from_slice(&(length as u16).to_be_bytes());
            stream.write_all(&buffer[..HEAD + length])
        });
        if let Err(error) = sent {
            return error;
        }
    }
}

fn receive(tun: &Tun, stream: &TcpStream) -> Result<(), TrafficError> {
    let mut reader = BufReader::with_capacity(ROOM, stream);
    let (mut head, mut packet) = ([0; HEAD], vec![0; ROOM]);
    loop {
        reader.read_exact(&mut head).tried(|| "read from the tunnel".to_owned())?;
        let length = usize::from(u16::from_be_bytes(head));
        reader.read_exact(&mut packet[..length]).tried(|| "read from the tunnel".to_owned())?;
        tun.send(&packet[..length]).tried(|| "hand over a packet".to_owned())?;
    }
}
