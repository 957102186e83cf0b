//! Any bytes in any pieces to a session.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some((piece, input)) = data.split_first() {
        pm::properties::session(input, usize::from(*piece));
    }
});
