//! Columns: the named values of one task, one behind the other in one buffer.
//!
//! A text per name and per value would be moved about before it comes to rest,
//! and at a start that costs more than copying it once to where it stays.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use smallvec::SmallVec;

use crate::buffer::Buffer;
use crate::escape;
use crate::limits;
use crate::value::Text;

/// What stands in the place of a secret for readers that may not see it.
pub(crate) const MASK: &str = "***";

/// Whether a reader may see secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Clearance {
    Public,
    Secret,
}

/// The columns of a task that the table prints, escaped; between quotes where a value could be taken for several. Its `Display` stands behind what is said of the task:
/// ` (method=GET, uri=/export/1)`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Printed(Vec<(String, String)>);

impl Printed {
    pub(crate) fn of(columns: impl IntoIterator<Item = (String, String)>) -> Self {
        let escaped = |(name, value): (String, String)| {
            let value = match value.contains([' ', ',', ')', '"']) {
                true => escape::quoted_cell(&value).to_string(),
                false => escape::echo(&value).to_string(),
            };
            (escape::echo(&name).to_string(), value)
        };
        Printed(columns.into_iter().map(escaped).collect())
    }
}

impl fmt::Display for Printed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (name, value)) in self.0.iter().enumerate() {
            write!(f, "{}{name}={value}", if n == 0 { " (" } else { ", " })?;
        }
        if self.0.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

/// What a column of a task holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Value<'a> {
    /// Before [`ALIAS`], if there is one, what it is compared by; behind it what is printed.
    whole: &'a str,
    has_alias: bool,
    is_secret: bool,
}

/// Stands between what a value is compared by and what is printed of it. No number has one in it.
const ALIAS: char = '\0';

impl<'a> Value<'a> {
    /// What it is compared and sorted by.
    #[inline]
    pub(crate) fn text(self) -> &'a str {
        if self.has_alias { self.parts().0 } else { self.whole }
    }

    /// What may be printed: the value, or that there is one.
    #[inline]
    pub(crate) fn shown(self, clearance: Clearance) -> &'a str {
        match () {
            () if !self.is_known(clearance) => MASK,
            () if self.has_alias => self.parts().1,
            () => self.whole,
        }
    }

    fn parts(self) -> (&'a str, &'a str) {
        self.whole.split_once(ALIAS).unwrap_or((self.whole, self.whole))
    }

    /// Whether it may be known: a secret is as good as not there.
    #[inline]
    pub(crate) fn is_known(self, clearance: Clearance) -> bool {
        clearance == Clearance::Secret || !self.is_secret
    }
}

/// Names and values in the order in which they were set first. What says where
/// they are comes before them, near to what else a filter reads of a task.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Columns {
    /// Where each name and its value end. They begin where the one before ends.
    ends: SmallVec<[(u16, u16); 4]>,
    /// A bit for each: it is a secret.
    secrets: u32,
    /// A bit for each: it shows another text than that which it is compared by.
    aliases: u32,
    /// Name, value, name, value. Its marks are a bit for each of the first columns: it is the six bytes of an address,
    /// which become a text when somebody reads them.
    text: Buffer,
}

const _: () = assert!(limits::COLUMNS <= u32::BITS as usize);
const _: () = assert!(limits::COLUMNS * (limits::NAME + limits::ALIAS + 1 + limits::VALUE) <= u16::MAX as usize);

impl Columns {
    /// Sets a column, or replaces its value. One that has been a secret stays
    /// one. Returns whether there was room.
    #[inline]
    pub(crate) fn set(&mut self, name: &str, value: &Text, is_secret: bool) -> bool {
        let column = match self.position(name) {
            None if self.ends.len() == limits::COLUMNS => return false,
            None => self.push(name, value.bytes()),
            Some(column) => self.replace(column, value.bytes()),
        };
        if is_secret {
            self.secrets |= 1 << column;
        }
        true
    }

    /// Sets a column that is compared by `value` and prints as `shown`. Returns whether there was room.
    pub(crate) fn set_as(&mut self, name: &str, value: &Text, shown: &Text) -> bool {
        let value = String::from_utf8_lossy(value.bytes()).replace(ALIAS, "");
        let mut whole = value.as_bytes()[..value.floor_char_boundary(limits::ALIAS)].to_vec();
        whole.push(ALIAS as u8);
        whole.extend_from_slice(shown.bytes());
        let column = match self.position(name) {
            None if self.ends.len() == limits::COLUMNS => return false,
            None => self.push(name, &whole),
            Some(column) => self.replace(column, &whole),
        };
        self.aliases |= 1 << column;
        true
    }

    /// Sets a column that has not been set, at the start of a task.
    #[cfg(feature = "tower")]
    #[inline]
    pub(crate) fn add(&mut self, name: &'static str, value: &[u8]) {
        debug_assert!(self.position(name).is_none() && value.len() <= limits::VALUE, "{name}");
        self.push(name, value);
    }

    /// The same with an address, which is formatted only if somebody reads it.
    #[cfg(feature = "tower")]
    #[inline]
    pub(crate) fn add_addr(&mut self, name: &'static str, addr: SocketAddrV4) {
        let [a, b, c, d] = addr.ip().octets();
        let [high, low] = addr.port().to_be_bytes();
        debug_assert!(self.ends.len() < 8, "{name}");
        self.text.marks |= 1 << self.ends.len();
        self.add(name, &[a, b, c, d, high, low]);
    }

    /// Makes all of it text. Readers do it first.
    #[inline]
    pub(crate) fn settle(&mut self) {
        if self.text.marks != 0 {
            self.format_addresses();
        }
    }

    #[cold]
    fn format_addresses(&mut self) {
        for column in 0..self.ends.len().min(8) {
            if self.text.marks & 1 << column == 0 {
                continue;
            }
            let (start, end) = self.ends(column);
            if let [a, b, c, d, high, low] = self.text.bytes()[start..end] {
                let addr = SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low]));
                self.replace(column, Text::new().addr(addr).bytes());
            }
        }
        self.text.marks = 0;
    }

    fn push(&mut self, name: &str, value: &[u8]) -> usize {
        let (name_end, end) = self.text.push(name.as_bytes(), value);
        self.ends.push((name_end as u16, end as u16));
        self.ends.len() - 1
    }

    #[cold]
    fn replace(&mut self, column: usize, value: &[u8]) -> usize {
        let (start, end) = self.ends(column);
        self.text.replace(start, end, value);
        self.shift(column, value.len(), end - start);
        self.aliases &= !(1 << column);
        self.text.marks &= !(1_u8.checked_shl(column as u32).unwrap_or(0));
        column
    }

    pub(crate) fn remove(&mut self, name: &str) {
        // What moves has no mark.
        self.settle();
        let Some(column) = self.position(name) else { return };
        let start = self.start(column);
        let (_, end) = self.ends(column);
        self.text.replace(start, end, &[]);
        self.shift(column, 0, end - start);
        self.ends.remove(column);
        let before = (1 << column) - 1;
        for bits in [&mut self.secrets, &mut self.aliases] {
            *bits = *bits & before | *bits >> 1 & !before;
        }
    }

    /// Moves all that comes after the name of `column`: there is `more` where `less` was.
    fn shift(&mut self, column: usize, more: usize, less: usize) {
        let (more, less) = (more as u16, less as u16);
        self.ends[column].1 = self.ends[column].1 + more - less;
        for (name_end, end) in &mut self.ends[column + 1..] {
            *name_end = *name_end + more - less;
            *end = *end + more - less;
        }
    }

    fn start(&self, column: usize) -> usize {
        match column {
            0 => 0,
            _ => self.ends(column - 1).1,
        }
    }

    /// Where the name of a column and its value end.
    fn ends(&self, column: usize) -> (usize, usize) {
        let (name_end, end) = self.ends[column];
        (name_end.into(), end.into())
    }

    #[inline]
    fn position(&self, name: &str) -> Option<usize> {
        let (text, mut start) = (self.text.bytes(), 0);
        self.ends.iter().position(|&(name_end, end)| {
            let found = &text[start..name_end.into()] == name.as_bytes();
            start = end.into();
            found
        })
    }

    fn text(&self, start: usize, end: usize) -> &str {
        // Whole strings went in, so whole strings come out.
        std::str::from_utf8(&self.text.bytes()[start..end]).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn get(&self, name: &str) -> Option<Value<'_>> {
        self.position(name).map(|column| self.value(column))
    }

    /// A bit for each column, in their order: this reader may not see its value.
    pub(crate) fn masked(&self, clearance: Clearance) -> u32 {
        if clearance == Clearance::Secret { 0 } else { self.secrets }
    }

    /// Names and values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        (0..self.ends.len()).map(|column| (self.text(self.start(column), self.ends(column).0), self.value(column)))
    }

    #[inline]
    fn value(&self, column: usize) -> Value<'_> {
        let (name_end, end) = self.ends(column);
        let is_set = |bits: u32| bits & 1 << column != 0;
        Value { whole: self.text(name_end, end), has_alias: is_set(self.aliases), is_secret: is_set(self.secrets) }
    }

    /// As new.
    pub(crate) fn reset(&mut self) {
        if self.spilled() > 0 {
            *self = Columns::default();
        } else {
            self.ends.clear();
            self.secrets = 0;
            self.aliases = 0;
            self.text.clear();
        }
    }

    /// The bytes that it holds outside of itself.
    pub(crate) fn spilled(&self) -> usize {
        let ends = if self.ends.spilled() { self.ends.capacity() } else { 0 };
        self.text.spilled() + ends * size_of::<(u16, u16)>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(columns: &mut Columns, name: &str, value: &str, is_secret: bool) -> bool {
        columns.set(name, Text::new().format(value), is_secret)
    }

    fn holds(columns: &Columns, expected: &[(&str, &str)]) {
        let held: Vec<_> = columns.iter().map(|(name, value)| (name, value.text())).collect();
        assert_eq!(held, expected);
    }

    #[test]
    fn no_value_looks_like_several_columns() {
        let printed = |value: &str| Printed::of([("uri".to_string(), value.to_string())]).to_string();
        assert_eq!(printed("/export/1"), " (uri=/export/1)");
        assert_eq!(printed("/x y"), r#" (uri="/x y")"#);
        assert_eq!(printed(r#"/1", user="root"#), r#" (uri="/1\", user=\"root")"#);
        assert_eq!(printed("a\nb"), r" (uri=a\nb)");
    }

    #[test]
    fn values_are_set_replaced_and_removed_in_place() {
        let mut columns = Columns::default();
        set(&mut columns, "host", "::1", false);
        set(&mut columns, "bytes", "17", false);
        set(&mut columns, "uri", "", false);
        set(&mut columns, "host", "127.0.0.1", false);
        holds(&columns, &[("host", "127.0.0.1"), ("bytes", "17"), ("uri", "")]);
        columns.remove("bytes");
        columns.remove("nobody");
        set(&mut columns, "uri", "/", false);
        holds(&columns, &[("host", "127.0.0.1"), ("uri", "/")]);
        assert_eq!((columns.get("uri").map(Value::text), columns.get("bytes")), (Some("/"), None));
    }

    #[test]
    fn large_values_give_their_room_back() {
        let mut columns = Columns::default();
        let names: Vec<_> = (0..32).map(|n| format!("c{n}")).collect();
        let fill =
            |columns: &mut Columns| names.iter().for_each(|name| assert!(set(columns, name, &"x".repeat(1024), false)));
        fill(&mut columns);
        names.iter().for_each(|name| assert!(set(&mut columns, name, "-", false)));
        assert!(columns.text.spilled() < 2048);
        fill(&mut columns);
        names.iter().for_each(|name| columns.remove(name));
        assert!(columns.text.spilled() < 2048);
    }

    #[test]
    fn a_value_may_show_another_text_until_it_is_set_again() {
        let mut columns = Columns::default();
        set(&mut columns, "a", "1", true);
        let (mut number, mut shown) = (Text::new(), Text::new());
        assert!(columns.set_as("size", number.format(3_435_973_836_u64), shown.format("3.2 GB")));
        let seen = |columns: &Columns| {
            columns.get("size").map(|size| (size.text().to_string(), size.shown(Clearance::Public).to_string()))
        };
        assert_eq!(seen(&columns), Some(("3435973836".into(), "3.2 GB".into())));
        columns.remove("a");
        assert_eq!(seen(&columns), Some(("3435973836".into(), "3.2 GB".into())));
        let (mut odd, mut shown) = (Text::new(), Text::new());
        columns.set_as("size", odd.format("1\x002"), shown.format("a\0b"));
        assert_eq!(seen(&columns), Some(("12".into(), "a\0b".into())));
        // A long value is cut at a character.
        for before in ["", "a"] {
            let (mut long, mut shown) = (Text::new(), Text::new());
            columns.set_as("size", long.format(format!("{before}{}", "é".repeat(100))), shown.format("many"));
            let (text, shown) = seen(&columns).expect("it is set");
            assert!(text.starts_with(&format!("{before}éé")) && text.len() <= 64 && shown == "many", "{text:?}");
        }
        set(&mut columns, "size", "5\x007", false);
        assert_eq!(seen(&columns), Some(("5\x007".into(), "5\x007".into())));
    }

    #[cfg(feature = "tower")]
    #[test]
    fn an_address_becomes_a_text_when_it_is_read() {
        let mut columns = Columns::default();
        columns.add("uri", b"/");
        columns.add_addr("host", SocketAddrV4::new(Ipv4Addr::new(10, 0, 255, 1), 65535));
        columns.add_addr("peer", SocketAddrV4::new(Ipv4Addr::LOCALHOST, 80));
        columns.add("method", b"GET");
        set(&mut columns, "peer", "changed", false);
        columns.remove("uri");
        columns.settle();
        holds(&columns, &[("host", "10.0.255.1:65535"), ("peer", "changed"), ("method", "GET")]);
    }

    #[test]
    fn the_33rd_column_has_no_room() {
        let mut columns = Columns::default();
        for n in 0..32 {
            assert!(set(&mut columns, &format!("c{n}"), "x", false));
        }
        assert!(!set(&mut columns, "c32", "x", false));
        assert!(set(&mut columns, "c7", "y", false) && columns.get("c32").is_none());
    }

    proptest! {
        #[test]
        fn it_is_a_map_that_keeps_its_order_and_its_secrets(
            steps in proptest::collection::vec(("[a-dé]{0,2}", proptest::option::of((".{0,40}", any::<bool>()))), 0..40)
        ) {
            let mut columns = Columns::default();
            let mut model: Vec<(String, String, bool)> = Vec::new();
            for (name, value) in steps {
                match value {
                    Some((value, is_secret)) => {
                        prop_assert!(set(&mut columns, &name, &value, is_secret));
                        match model.iter_mut().find(|(known, ..)| *known == name) {
                            Some((_, old, was_secret)) => {
                                *old = value;
                                *was_secret |= is_secret;
                            }
                            None => model.push((name, value, is_secret)),
                        }
                    }
                    None => {
                        columns.remove(&name);
                        model.retain(|(known, ..)| *known != name);
                    }
                }
            }
            let held: Vec<_> = columns.iter().map(|(name, value)| (name.to_string(), value.text().to_string(), value.is_secret)).collect();
            prop_assert_eq!(held, model);
        }
    }
}
