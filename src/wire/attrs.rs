//! The columns on the wire: an object, in the order of the columns.

use serde::ser::Serializer;

type Attrs = Vec<(String, String)>;

pub(super) fn serialize<S: Serializer>(attrs: &Attrs, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(attrs.iter().map(|(name, value)| (name, value)))
}

#[cfg(feature = "client")]
pub(super) use reading::deserialize;

#[cfg(feature = "client")]
mod reading {
    use std::fmt;

    use serde::de::{Deserializer, MapAccess, Visitor};
    use serde_json::Value;

    use super::Attrs;

    /// The values of other servers may be of any kind: what is no text is kept as its JSON.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Attrs, D::Error> {
        deserializer.deserialize_option(Object)
    }

    struct Object;

    impl<'de> Visitor<'de> for Object {
        type Value = Attrs;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of columns")
        }

        fn visit_none<E>(self) -> Result<Attrs, E> {
            Ok(Vec::new())
        }

        fn visit_unit<E>(self) -> Result<Attrs, E> {
            Ok(Vec::new())
        }

        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Attrs, D::Error> {
            deserializer.deserialize_map(self)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Attrs, A::Error> {
            let mut attrs = Attrs::new();
            while let Some((name, value)) = map.next_entry::<String, Value>()? {
                let text = if let Value::String(text) = value { text } else { value.to_string() };
                attrs.push((name, text));
            }
            Ok(attrs)
        }
    }
}
