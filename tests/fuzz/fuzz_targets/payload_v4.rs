#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::payload_v4(data));
