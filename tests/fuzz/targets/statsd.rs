#![no_main]
//! The collector's case stands with its tests, which run it every day.

#[path = "../../../bin/nakcast-statsd/tests/hostile/case.rs"]
mod case;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| case::run(bytes));
