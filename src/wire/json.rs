//! JSON that cannot act on a terminal.

use std::io::{self, Write};
use std::time::SystemTime;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use crate::escape::{self, Form};

/// `value` as JSON, in which what would act on a terminal is written as `\u....`: the same JSON, for `curl` too.
pub(crate) fn to_json(value: &impl Serialize) -> Vec<u8> {
    let mut json = Vec::new();
    let written = value.serialize(&mut Serializer::with_formatter(&mut json, Harmless));
    debug_assert!(written.is_ok(), "a vector takes whatever is written to it, and all keys are texts");
    json
}

/// An object with an array, written item by item, because there may be many.
pub(crate) struct JsonList {
    json: Vec<u8>,
    is_empty: bool,
    is_open: bool,
}

impl JsonList {
    /// Begins with the array, which is called so, and room for so many bytes.
    pub(crate) fn begin(name: &str, room: usize) -> Self {
        let mut json = Vec::with_capacity(room + 128);
        json.extend_from_slice(b"{");
        json.extend_from_slice(&to_json(&name));
        json.extend_from_slice(b":[");
        JsonList { json, is_empty: true, is_open: true }
    }

    pub(crate) fn push(&mut self, item: &impl Serialize) {
        self.push_json(&to_json(item));
    }

    /// An item that is written already.
    pub(crate) fn push_json(&mut self, item: &[u8]) {
        if !std::mem::replace(&mut self.is_empty, false) {
            self.json.push(b',');
        }
        self.json.extend_from_slice(item);
    }

    /// Ends the array, if it has not ended, and adds a field behind it.
    pub(crate) fn field(&mut self, name: &str, value: &impl Serialize) {
        let end: &[u8] = if std::mem::replace(&mut self.is_open, false) { b"]," } else { b"," };
        self.json.extend_from_slice(end);
        self.json.extend_from_slice(&to_json(&name));
        self.json.push(b':');
        self.json.extend_from_slice(&to_json(value));
    }

    /// Ends with the time of the server.
    pub(crate) fn end(mut self, server_time: SystemTime) -> Vec<u8> {
        self.field("serverTime", &humantime::format_rfc3339_nanos(server_time).to_string());
        self.json.push(b'}');
        self.json
    }
}

struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: Write + ?Sized>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if fragment.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut harmless = String::with_capacity(fragment.len());
        escape::push(&mut harmless, fragment, Form::Json, usize::MAX);
        writer.write_all(harmless.as_bytes())
    }
}
