#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nakcast_fuzz::publisher::run(bytes));
