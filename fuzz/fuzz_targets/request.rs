//! Any request to the list over HTTP: path, query, headers, body.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pm::http::properties::request(data));
