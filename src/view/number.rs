//! Number: what columns hold that are numbers, compared exactly.
//!
//! Byte counts and nanosecond stamps have 16 to 20 digits, more than an `f64` can tell apart, and
//! programs print floats with 17 (`0.30000000000000004`). So integers of any length are compared
//! digit by digit, and all others as the `f64` that they are.

use std::cmp::Ordering;

/// A number as people and programs write it: no `inf`, no `NaN`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Number {
    Integer(i128),
    /// An integer that is longer than that. Its digits do not begin with a zero.
    Long {
        is_negative: bool,
        digits: String,
    },
    /// Not an integer: so it is less than 2^53 away from zero.
    Fraction(f64),
}

impl Number {
    pub(crate) fn parse(text: &str) -> Option<Number> {
        let (is_negative, digits) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return None;
        }
        if digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some(integer(is_negative, digits));
        }
        let float: f64 = text.parse().ok().filter(|float: &f64| float.is_finite())?;
        // The largest are printed with all their digits, which are exact.
        let is_integer = float.fract() == 0.0;
        Some(if is_integer { integer(float < 0.0, &format!("{:.0}", float.abs())) } else { Number::Fraction(float) })
    }

    fn is_negative(&self) -> bool {
        match self {
            Number::Integer(integer) => *integer < 0,
            Number::Long { is_negative, .. } => *is_negative,
            Number::Fraction(float) => *float < 0.0,
        }
    }
}

fn integer(is_negative: bool, digits: &str) -> Number {
    let digits = digits.trim_start_matches('0');
    match digits.len() {
        0 => Number::Integer(0),
        // Short ones are parsed sooner.
        1..=18 => {
            let integer = digits.bytes().fold(0_i64, |sum, digit| 10 * sum + i64::from(digit - b'0'));
            Number::Integer(i128::from(if is_negative { -integer } else { integer }))
        }
        _ => match digits.parse::<i128>() {
            Ok(integer) => Number::Integer(if is_negative { -integer } else { integer }),
            Err(_too_long) => Number::Long { is_negative, digits: digits.to_string() },
        },
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        use Number::{Fraction, Integer, Long};
        match (self, other) {
            (Integer(a), Integer(b)) => a.cmp(b),
            (Fraction(a), Fraction(b)) => a.total_cmp(b),
            (Integer(integer), Fraction(float)) => against_fraction(*integer, *float),
            (Fraction(float), Integer(integer)) => against_fraction(*integer, *float).reverse(),
            _ if self.is_negative() != other.is_negative() => other.is_negative().cmp(&self.is_negative()),
            (Long { digits: a, .. }, Long { digits: b, .. }) => {
                let order = (a.len(), a).cmp(&(b.len(), b));
                if self.is_negative() { order.reverse() } else { order }
            }
            (Long { is_negative, .. }, _) => {
                if *is_negative {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
            (_, Long { is_negative, .. }) => {
                if *is_negative {
                    Ordering::Greater
                } else {
                    Ordering::Less
                }
            }
        }
    }
}

/// A fraction lies between two integers, and equals none.
fn against_fraction(integer: i128, float: f64) -> Ordering {
    if integer <= float.floor() as i128 { Ordering::Less } else { Ordering::Greater }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Number {
        Number::parse(text).unwrap_or_else(|| panic!("{text} is a number"))
    }

    #[test]
    fn numbers_are_in_their_order_whatever_their_length() {
        let sorted = [
            "-1e300",
            "-170141183460469231731687303715884105729",
            "-170141183460469231731687303715884105728",
            "-9007199254740993",
            "-9007199254740992",
            "-2.5",
            "-2",
            "-0.1",
            "0",
            "0.1",
            "0.30000000000000004",
            "0.5",
            "1",
            "9",
            "999",
            "999999999999999",
            "1000000000000000",
            "1000000000000001",
            "2e15",
            "9007199254740992",
            "9007199254740993",
            "1e16",
            "18446744073709551615",
            "18446744073709551616",
            "170141183460469231731687303715884105727",
            "170141183460469231731687303715884105728",
            "999999999999999999999999999999999999999999",
            "1e42",
            "1e300",
        ];
        for (n, a) in sorted.iter().enumerate() {
            for (m, b) in sorted.iter().enumerate() {
                assert_eq!(number(a).cmp(&number(b)), n.cmp(&m), "{a} {b}");
            }
        }
    }

    #[test]
    fn the_same_number_is_written_in_many_ways() {
        for (a, b) in [("10", "1e1"), ("10.0", "+10"), ("007", "7"), ("-0", "0.0"), (".5", "0.5"), ("1e3", "1000.")] {
            assert_eq!(number(a), number(b), "{a} {b}");
        }
        for text in
            ["", "-", "+", ".", "e5", "NaN", "inf", "-inf", "n/a", "1x", "0x10", "1e999", "1 2", "１", "--1", "1-"]
        {
            assert_eq!(Number::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_three_are_in_one_order(texts in proptest::array::uniform3("[-+]?[0-9]{1,45}(\\.[0-9]{0,20})?(e-?[0-9]{1,2})?")) {
            let [a, b, c] = texts.map(|text| number(&text));
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
        }

        #[test]
        fn integers_are_as_integers_are(a in any::<i64>(), b in any::<i64>()) {
            prop_assert_eq!(number(&a.to_string()).cmp(&number(&b.to_string())), a.cmp(&b));
        }
    }
}
