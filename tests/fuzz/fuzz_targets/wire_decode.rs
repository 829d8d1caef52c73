//! Any octets, through the IKEv2 decoder and back.

#![no_main]

#[path = "../properties.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|datagram: &[u8]| {
    // Being refused is as good as being read.
    let _ = properties::decoding_holds(datagram);
});
