//! Request: the names of requests, `req1`, `req2`, ..: what the layer for web servers lists.

use compact_str::CompactString;

/// What their ids begin with.
pub(crate) const PREFIX: &str = "req";

/// The id of the one with this number.
#[cold]
pub(crate) fn id(number: u64) -> CompactString {
    let mut id = CompactString::new(PREFIX);
    id.push_str(itoa::Buffer::new().format(number));
    id
}

/// The number of the one with this id, if it can be that of a request.
#[inline]
pub(crate) fn number(id: &str) -> Option<u64> {
    let number = id.strip_prefix(PREFIX)?;
    // One number has one id.
    let is_plain = number.bytes().all(|byte| byte.is_ascii_digit()) && !number.starts_with('0');
    if is_plain { number.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_id_and_an_id_one_number() {
        for n in [1, 10, u64::MAX] {
            assert_eq!(number(&id(n)), Some(n));
        }
        for other in
            ["req", "req0", "req01", "req+1", "req-1", "req 1", "req1+2", "Req1", "1", "req18446744073709551616"]
        {
            assert_eq!(number(other), None, "{other}");
        }
    }
}
