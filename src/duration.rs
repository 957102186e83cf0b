//! Duration: a time as people type it, and as the table prints it.

use std::fmt::Write;
use std::time::Duration;

/// A bare number is seconds, anything else is for humantime.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if is_number { Duration::try_from_secs_f64(text.parse().ok()?).ok() } else { humantime::parse_duration(text).ok() }
}

/// Seconds with four decimals, cut and not rounded: a clock shows what has passed.
pub(crate) fn push_seconds(text: &mut String, time: Duration) {
    let written = write!(text, "{}.{:04}", time.as_secs(), time.subsec_micros() / 100);
    debug_assert!(written.is_ok(), "a String takes whatever is written to it");
}

/// The same by itself.
pub(crate) fn seconds(time: Duration) -> String {
    let mut text = String::new();
    push_seconds(&mut text, time);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_cut_and_not_rounded() {
        assert_eq!(seconds(Duration::from_nanos(12_345_678_999_999)), "12345.6789");
    }
}
