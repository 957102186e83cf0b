//! Duration: as Go writes it, `300ms`, `1.5h`, `1h30m`, `0`.

use std::time::Duration;

const UNITS: [(&str, f64); 8] =
    [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("μs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];

/// What Go has room for.
const LONGEST: Duration = Duration::from_nanos(i64::MAX as u64);

/// # Errors
///
/// What is wrong, and what to write.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{}' is no duration: use one like 300ms, 5s or 1h30m", text.escape_debug());
    if text.starts_with('-') {
        return Err(format!("'{}' is less than nothing: use one like 300ms, 5s or 1h30m", text.escape_debug()));
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(wrong)?;
        let (number, behind) = rest.split_at(end);
        let end = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(end);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        seconds += number.parse::<f64>().map_err(|_| wrong())? * factor;
        rest = behind;
    }
    let longest = || format!("'{}' is too long: the longest is 292 years, as in Go", text.escape_debug());
    Duration::try_from_secs_f64(seconds).ok().filter(|duration| *duration <= LONGEST).ok_or_else(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, millis) in [
            ("0", 0),
            ("300ms", 300),
            ("1.5h", 5_400_000),
            ("1h30m", 5_400_000),
            ("1m0.5s", 60_500),
            (".5s", 500),
            ("5.s", 5_000),
            ("+2s", 2_000),
            ("1500us", 1),
            ("2000µs", 2),
            ("3000000ns", 3),
        ] {
            assert_eq!(parse(text).map(|duration| duration.as_millis()), Ok(millis), "{text}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "1d",
            "5 s",
            "1h 30m",
            "-1s",
            ".s",
            "1..5s",
            "1e3s",
            "5S",
            "9999999999999999999999h",
            "2562048h",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
