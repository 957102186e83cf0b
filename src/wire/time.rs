//! Times on the wire: RFC 3339.

use std::time::SystemTime;

use serde::Serializer;

pub(super) fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_nanos(*time))
}

/// Other servers write any offset and fraction.
#[cfg(feature = "client")]
pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
    use serde::Deserialize;
    use serde::de::Error;
    let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
    let parsed = match text.parse::<jiff::Timestamp>() {
        // The last day that can be written is beyond the last one that can be counted.
        Err(_) if text.starts_with("9999-12-31T") => Ok(jiff::Timestamp::MAX),
        parsed => parsed,
    };
    parsed.and_then(SystemTime::try_from).map_err(D::Error::custom)
}
