//! Target: which task a path names. Ids may hold any character, a slash too.

use percent_encoding::percent_decode_str;

/// What is asked of which task.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) id: String,
    pub(super) part: Part,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The task itself.
    Task,
    History,
    Stack,
}

/// What a path below `/procs/` names.
///
/// Old clients do not encode slashes, so the id is all that stands before a final bare `/history` or `/stack`, and
/// one slash at the end does not count. An encoded slash never separates: the path is read before it is decoded.
///
/// # Errors
///
/// The id is no text.
pub(super) fn parse(path: &str) -> Result<Target, String> {
    let below = path.strip_prefix("/procs/").unwrap_or(path);
    let below = below.strip_suffix('/').unwrap_or(below);
    let (id, part) = if let Some(id) = below.strip_suffix("/history") {
        (id, Part::History)
    } else if let Some(id) = below.strip_suffix("/stack") {
        (id, Part::Stack)
    } else {
        (below, Part::Task)
    };
    let id = percent_decode_str(id).decode_utf8().map_err(|_| "invalid path: the id is not UTF-8".to_string())?;
    Ok(Target { id: id.into_owned(), part })
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    fn means(path: &str, id: &str, part: Part) {
        assert_eq!(parse(path), Ok(Target { id: id.to_string(), part }), "{path}");
    }

    #[test]
    fn the_id_is_all_between_the_prefix_and_a_final_bare_word() {
        means("/procs/req1", "req1", Part::Task);
        means("/procs/req1/", "req1", Part::Task);
        means("/procs/req1/history", "req1", Part::History);
        means("/procs/req1/history/", "req1", Part::History);
        means("/procs/a/b/stack", "a/b", Part::Stack);
        means("/procs/req1/fetch", "req1/fetch", Part::Task);
        means("/procs/req1%2Fhistory", "req1/history", Part::Task);
        means("/procs/a%2fhistory/history", "a/history", Part::History);
        means("/procs/history", "history", Part::Task);
        means("/procs/a//", "a/", Part::Task);
        means("/procs//history", "", Part::History);
        means("/procs/%E6%BC%A2%20x+y", "漢 x+y", Part::Task);
        assert!(parse("/procs/%ff").is_err());
    }

    proptest! {
        #[test]
        fn every_id_can_be_named(id in "(?s).{1,40}") {
            let path = format!("/procs/{}", utf8_percent_encode(&id, NON_ALPHANUMERIC));
            means(&path, &id, Part::Task);
            means(&format!("{path}/history"), &id, Part::History);
        }
    }
}
