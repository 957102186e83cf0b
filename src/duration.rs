//! Duration: a time as people type it, and as the table prints it.

use std::fmt::Write;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::escape;

/// The most digits of a number, and the most numbers: humantime panics near the largest duration,
/// which these are far from.
const DIGITS: usize = 9;
const NUMBERS: usize = 16;

/// How fast frames may come: no faster than an eye, no slower than a shift.
const DELAYS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);

/// Why a text is no duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Invalid {
    Unreadable,
    /// Months and years: humantime takes `M` for a month, people mean a minute.
    Months,
}

/// A bare number is seconds, anything else is for humantime.
pub(crate) fn parse(text: &str) -> Result<Duration, Invalid> {
    let mut numbers = 0;
    for number in text.split(|c: char| !c.is_ascii_digit() && c != '.').filter(|number| !number.is_empty()) {
        numbers += 1;
        if numbers > NUMBERS || number.bytes().filter(u8::is_ascii_digit).count() > DIGITS {
            return Err(Invalid::Unreadable);
        }
    }
    let mut units = text.split(|c: char| !c.is_alphabetic()).filter(|unit| !unit.is_empty());
    if units.any(|unit| matches!(unit, "M" | "month" | "months" | "y" | "yr" | "yrs" | "year" | "years")) {
        return Err(Invalid::Months);
    }
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let seconds = |text: &str| Duration::try_from_secs_f64(text.parse().ok()?).ok();
    let parsed = if is_number { seconds(text) } else { humantime::parse_duration(text).ok() };
    parsed.ok_or(Invalid::Unreadable)
}

/// How often a client wants frames.
///
/// # Errors
///
/// The reply.
pub(crate) fn delay(text: &str) -> Result<Duration, String> {
    let delay = parse(text).ok().filter(|delay| DELAYS.contains(delay));
    delay.ok_or_else(|| format!("invalid duration '{}': use 100ms to 1h", escape::echo(text)))
}

/// Keeps a delay within what a client may ask for.
pub(crate) fn clamp_delay(delay: Duration) -> Duration {
    delay.clamp(*DELAYS.start(), *DELAYS.end())
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
    fn what_is_near_the_largest_duration_is_not_even_read() {
        for text in [
            "18446744073709551615s 1000000000ns",
            "18446744073709551615s",
            "9999999999s",
            "1000000000",
            &"1s ".repeat(17),
            &"999999999w ".repeat(17),
        ] {
            assert_eq!(parse(text), Err(Invalid::Unreadable), "{text}");
        }
        let most = "999999999w ".repeat(16);
        assert!(parse(&most).is_ok() && parse("0.50000000").is_ok() && parse("999999999").is_ok());
    }

    #[test]
    fn months_and_years_are_refused() {
        for text in ["1M", "3month", "2months", "1y", "1year", "2years", "1h 1M"] {
            assert_eq!(parse(text), Err(Invalid::Months), "{text}");
        }
        assert_eq!((parse("1m"), parse("2min")), (Ok(Duration::from_secs(60)), Ok(Duration::from_secs(120))));
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_typed_it_does_not_panic(text in "([0-9.]{0,30} ?(ns|us|ms|s|m|h|d|w|M|y|)? ?){0,20}") {
            let _ = parse(&text);
        }
    }

    #[test]
    fn seconds_are_cut_and_not_rounded() {
        assert_eq!(seconds(Duration::from_nanos(12_345_678_999_999)), "12345.6789");
    }
}
