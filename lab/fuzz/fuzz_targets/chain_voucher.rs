#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| molt_lab::fuzz::chain::chain_voucher(data));
