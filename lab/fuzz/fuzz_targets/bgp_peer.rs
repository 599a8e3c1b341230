#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| molt_lab::fuzz::bgp::bgp_peer(data));
