//! Any text as an id, a status, a column, a value and a message.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| pm::properties::escaping(text));
