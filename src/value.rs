//! Value: the text of a column, formatted before any lock is taken.

use std::fmt::{self, Display, Write};
use std::net::{SocketAddr, SocketAddrV4};

use try_specialize::TrySpecialize;

use crate::escape;
use crate::limits;

/// What fits on the stack. Longer values are few.
const SHORT: usize = 64;

/// The text of a value, cut at [`limits::VALUE`] bytes.
pub(crate) struct Text {
    short: [u8; SHORT],
    len: usize,
    /// All of it, once it is longer.
    long: String,
    is_cut: bool,
}

impl Text {
    #[inline]
    pub(crate) fn new() -> Self {
        Text { short: [0; SHORT], len: 0, long: String::new(), is_cut: false }
    }

    /// Formats `value` here, where it stays: to move what was just written costs as much as to
    /// write it. A value that is longer than there is room for is told to stop.
    #[inline]
    pub(crate) fn format(&mut self, value: impl Display) -> &Self {
        if !self.push_known(&value) {
            // A `Display` that gives up leaves what it has written.
            let _ = fmt::write(self, format_args!("{value}"));
            if !self.long.is_empty() {
                self.cut();
            }
        }
        self
    }

    /// Formats an address.
    pub(crate) fn addr(&mut self, addr: SocketAddrV4) -> &Self {
        self.push_addr(addr);
        self
    }

    /// Takes a text as it is.
    #[cfg(feature = "tower")]
    #[inline]
    pub(crate) fn copy(&mut self, text: &str) -> &Self {
        if self.write_str(text).is_err() || !self.long.is_empty() {
            self.cut();
        }
        self
    }

    /// What was formatted: whole strings, one behind the other.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        if self.long.is_empty() { &self.short[..self.len] } else { self.long.as_bytes() }
    }

    /// Whether it was longer.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Formats what the machinery of `Display` would take long for, compared with the rest of a start.
    #[inline]
    fn push_known<T: Display>(&mut self, value: &T) -> bool {
        macro_rules! integers {
            ($($integer:ty),*) => {
                $(if let Some(integer) = value.try_specialize_ref::<$integer>() {
                    self.push(itoa::Buffer::new().format(*integer));
                    return true;
                })*
            };
        }
        integers!(u64, usize, i64, u32, i32, isize, u16, i16, u8, i8);
        if let Some(SocketAddr::V4(addr)) = value.try_specialize_ref::<SocketAddr>() {
            self.push_addr(*addr);
            return true;
        }
        false
    }

    fn push_addr(&mut self, addr: SocketAddrV4) {
        for (at, octet) in addr.ip().octets().into_iter().enumerate() {
            if at > 0 {
                self.push(".");
            }
            self.push(itoa::Buffer::new().format(octet));
        }
        self.push(":");
        self.push(itoa::Buffer::new().format(addr.port()));
    }

    #[inline]
    fn push(&mut self, piece: &str) {
        let written = self.write_str(piece);
        debug_assert!(written.is_ok(), "numbers and addresses are short");
    }

    #[cold]
    fn spill(&mut self, piece: &str) -> fmt::Result {
        if self.long.is_empty() {
            // Whole strings went in, so whole strings come out.
            self.long = String::from_utf8_lossy(&self.short[..self.len]).into_owned();
        }
        // A little more than there is room for, so that it is seen to be cut.
        let room = (limits::VALUE + 4).saturating_sub(self.long.len());
        let fits = piece.floor_char_boundary(room);
        self.long.push_str(&piece[..fits]);
        if fits < piece.len() || self.long.len() > limits::VALUE { Err(fmt::Error) } else { Ok(()) }
    }

    #[cold]
    fn cut(&mut self) {
        self.is_cut = self.long.len() > limits::VALUE;
        escape::shorten(&mut self.long, limits::VALUE);
    }
}

impl Write for Text {
    #[inline]
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let end = self.len + piece.len();
        if self.long.is_empty() && end <= SHORT {
            self.short[self.len..end].copy_from_slice(piece.as_bytes());
            self.len = end;
            return Ok(());
        }
        self.spill(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: impl Display) -> String {
        String::from_utf8(Text::new().format(value).bytes().to_vec()).expect("whole strings")
    }

    /// What has a way of its own reads as its `Display` says.
    fn is_as_displayed(value: impl Display + Copy) {
        assert_eq!(text(value), value.to_string());
    }

    #[test]
    fn numbers_and_addresses_read_as_ever() {
        is_as_displayed(0u8);
        is_as_displayed(i64::MIN);
        is_as_displayed(u64::MAX);
        is_as_displayed(usize::MAX);
        is_as_displayed(-1.5f64);
        is_as_displayed(u128::MAX);
        for addr in ["127.0.0.1:80", "255.0.10.200:65535", "[::1]:8081", "[fe80::1%7]:1"] {
            is_as_displayed(addr.parse::<SocketAddr>().expect("an address"));
        }
        assert_eq!((text("x"), text(String::from("z"))), ("x".into(), "z".into()));
    }

    #[test]
    fn a_long_value_is_cut_and_its_display_is_told_to_stop() {
        struct Endless<'a>(&'a std::cell::Cell<usize>);
        impl Display for Endless<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for n in 0.. {
                    self.0.set(n);
                    f.write_str("xé")?;
                }
                Ok(())
            }
        }
        let calls = std::cell::Cell::new(0);
        let mut endless = Text::new();
        endless.format(Endless(&calls));
        assert!(endless.is_cut() && calls.get() < 400, "{calls:?}");
        assert!(endless.bytes().len() <= limits::VALUE && endless.bytes().ends_with("…".as_bytes()));
        let whole = "x".repeat(limits::VALUE);
        let (mut longest, mut over) = (Text::new(), Text::new());
        longest.format(&whole);
        assert_eq!((longest.bytes(), longest.is_cut()), (whole.as_bytes(), false));
        over.format(format!("{whole}y"));
        assert_eq!((over.bytes().len(), over.is_cut()), (limits::VALUE, true));
        let (short, more) = ("é".repeat(32), "é".repeat(10));
        assert_eq!(text(format_args!("{short}{more}")), format!("{short}{more}"));
    }
}
