//! Read: the values of the file, by hand. serde stops at the first mistake, and tells cases apart.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::Source;

/// A value, and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) at: Range<usize>,
}

/// A text of the file, before or after its names were replaced.
pub(crate) type Text = At<String>;

/// A table, whose keys are taken out one after the other. What is left is unknown.
pub(crate) struct Table<'t, 'i> {
    /// As in `[[task]]`, for messages.
    name: &'static str,
    entries: Vec<(&'t Spanned<std::borrow::Cow<'i, str>>, &'t Spanned<DeValue<'i>>)>,
    any_case: bool,
}

impl<'t, 'i> Table<'t, 'i> {
    /// Its keys match exactly.
    pub(crate) fn exact(name: &'static str, table: &'t DeTable<'i>) -> Self {
        Table { name, entries: table.iter().collect(), any_case: false }
    }

    /// Its keys match in any case. Two that differ only in that are an error.
    pub(crate) fn of_any_case(name: &'static str, table: &'t DeTable<'i>, source: &mut Source<'_>) -> Self {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (n, (key, _)) in entries.iter().enumerate() {
            let same = |(other, _): &&(&Spanned<_>, _)| lower(other) == lower(key);
            if let Some((first, _)) = entries[..n].iter().find(same) {
                let (line, _) = source.place(first.span().start);
                let what = format!("{} is in line {line} already, as {}", key.get_ref(), first.get_ref());
                source.fault(&key.span(), what);
            }
        }
        Table { name, entries, any_case: true }
    }

    /// Takes the value of this key out.
    pub(crate) fn take(&mut self, key: &str) -> Option<&'t Spanned<DeValue<'i>>> {
        let any_case = self.any_case;
        let is_it = |name: &str| if any_case { name.eq_ignore_ascii_case(key) } else { name == key };
        let at = self.entries.iter().position(|(name, _)| is_it(name.get_ref()))?;
        Some(self.entries.remove(at).1)
    }

    pub(crate) fn text(&mut self, key: &str, source: &mut Source<'_>) -> Option<Text> {
        let value = self.take(key)?;
        text(key, value, source)
    }

    /// All that is left, as texts.
    pub(crate) fn texts(self, source: &mut Source<'_>) -> Vec<(String, Text)> {
        let texts = self.entries.iter().filter_map(|(key, value)| {
            let key = key.get_ref().to_string();
            text(&key, value, source).map(|text| (key, text))
        });
        texts.collect()
    }

    pub(crate) fn list(&mut self, key: &str, source: &mut Source<'_>) -> Vec<Text> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            source
                .fault(&value.span(), format!("{key} is a list of texts, as [\"a\", \"b\"], and not {}", kind(value)));
            return Vec::new();
        };
        array.iter().filter_map(|value| text(key, value, source)).collect()
    }

    /// The table of this key.
    pub(crate) fn table(&mut self, key: &str, source: &mut Source<'_>) -> Option<At<&'t DeTable<'i>>> {
        let value = self.take(key)?;
        match value.get_ref().as_table() {
            Some(table) => Some(At { value: table, at: value.span() }),
            None => {
                source.fault(&value.span(), format!("{key} is a table, as [{key}], and not {}", kind(value)));
                None
            }
        }
    }

    /// The tables of this key, in the order of the file.
    pub(crate) fn tables(&mut self, key: &str, source: &mut Source<'_>) -> Vec<At<&'t DeTable<'i>>> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let mut tables = Vec::new();
        let array = value.get_ref().as_array().map_or(&[][..], |array| array);
        for value in array {
            match value.get_ref().as_table() {
                Some(table) => tables.push(At { value: table, at: value.span() }),
                None => source.fault(&value.span(), format!("{key} holds tables, and not {}", kind(value))),
            }
        }
        if value.get_ref().as_array().is_none() {
            source.fault(&value.span(), format!("{key} is a list of tables: write [[{key}]] in place of [{key}]"));
        }
        tables
    }

    /// Warns of what nobody has taken.
    pub(crate) fn finish(self, source: &mut Source<'_>) {
        for (key, _) in &self.entries {
            source.warn(&key.span(), format!("{} has no key '{}'", self.name, key.get_ref().escape_debug()));
        }
    }
}

fn lower(key: &Spanned<std::borrow::Cow<'_, str>>) -> String {
    key.get_ref().to_ascii_lowercase()
}

fn text(key: &str, value: &Spanned<DeValue<'_>>, source: &mut Source<'_>) -> Option<Text> {
    match value.get_ref().as_str() {
        Some(text) => Some(At { value: text.to_string(), at: value.span() }),
        None => {
            source.fault(&value.span(), format!("{key} is a text, in quotes, and not {}", kind(value)));
            None
        }
    }
}

/// What a value is, with its article.
pub(crate) fn kind(value: &Spanned<DeValue<'_>>) -> &'static str {
    match value.get_ref() {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
