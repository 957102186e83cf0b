//! Json: one object a task, a line each, for `jq`.

use std::fmt::Write;

use crate::clock::Moment;
use crate::duration;
use crate::entry::{Facts, Note};
use crate::escape::{self, Form};
use crate::list::ProcList;
use crate::view::{Selection, View};

/// All tasks that `view` matches, in its order, without its limit.
pub(crate) fn render(list: &ProcList, view: &View) -> String {
    let now = Moment::now();
    let Selection { tasks, .. } = View { limit: usize::MAX, ..view.clone() }.select(list, now);
    let mut text = String::with_capacity(256 * tasks.len());
    for task in tasks {
        let copied = task.look(|facts| Object::copy(facts, now, view.reveal));
        if let Some(object) = copied {
            object.push(&mut text);
        }
    }
    text
}

/// What an object says, copied: the escaping is not done under the lock.
struct Object {
    id: String,
    status: String,
    times: [std::time::Duration; 2],
    killing: Option<(std::time::Duration, String, Option<String>)>,
    note: Note,
    columns: Vec<(String, String)>,
}

impl Object {
    fn copy(facts: &Facts<'_>, now: Moment, reveal: bool) -> Self {
        let columns = facts
            .columns
            .iter()
            .filter(|(_, value)| value.is_known(reveal))
            .map(|(name, value)| (name, value.shown(true)));
        Object {
            id: facts.id.to_string(),
            status: facts.status().to_string(),
            times: [facts.age(now), facts.in_status(now)],
            killing: facts.kill.map(|kill| {
                let since = now.since(kill.at);
                (since, kill.message.clone(), kill.by.as_deref().map(str::to_string))
            }),
            note: facts.note.clone(),
            columns: columns.map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        }
    }

    fn push(&self, text: &mut String) {
        let [time, in_status] = self.times.map(duration::seconds);
        let written = write!(
            text,
            r#"{{"id":{},"status":{},"time":{time},"in_status":{in_status}"#,
            escape::json(&self.id),
            escape::json(&self.status)
        );
        debug_assert!(written.is_ok(), "a String takes whatever is written to it");
        if let Some((since, message, by)) = &self.killing {
            text.push_str(r#","killing":{"since":"#);
            duration::push_seconds(text, *since);
            text.push_str(r#","message":""#);
            escape::push(text, message, Form::Json, usize::MAX);
            if let Some(by) = by {
                text.push_str(r#"","by":""#);
                escape::push(text, by, Form::Json, usize::MAX);
            }
            text.push_str(r#""}"#);
        }
        if let Some(note) = self.note.text() {
            text.push_str(r#","note":""#);
            escape::push(text, &note, Form::Json, usize::MAX);
            text.push('"');
        }
        text.push_str(r#","cols":{"#);
        for (n, (name, value)) in self.columns.iter().enumerate() {
            text.push_str(if n > 0 { ",\"" } else { "\"" });
            escape::push(text, name, Form::Json, usize::MAX);
            text.push_str("\":\"");
            escape::push(text, value, Form::Json, usize::MAX);
            text.push('"');
        }
        text.push_str("}}\n");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn objects(list: &ProcList, reveal: bool) -> Vec<Value> {
        let text = render(list, &View::of_all(1, reveal));
        text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect()
    }

    #[test]
    fn every_task_that_matches_is_an_object_whatever_the_limit() {
        let list = ProcList::new();
        let a = list.start("a").col("uri", "/\"x\"").secret_col("token", "8e2b");
        let _b = list.start("b");
        a.set_status("merging");
        list.kill("a", "too slow").expect("is running");
        let shown = objects(&list, true);
        assert_eq!((&shown[0]["id"], &shown[0]["status"]), (&json!("a"), &json!("merging")));
        assert_eq!(shown[0]["cols"], json!({"uri": "/\"x\"", "token": "8e2b"}));
        assert_eq!(shown[0]["killing"]["message"], json!("too slow"));
        assert!(shown[0]["time"].as_f64() >= shown[0]["in_status"].as_f64());
        assert_eq!((shown.len(), &shown[1]["id"], &shown[1]["killing"]), (2, &json!("b"), &Value::Null));
        assert_eq!(objects(&list, false)[0]["cols"], json!({"uri": "/\"x\""}));
    }

    proptest! {
        #[test]
        fn what_went_in_comes_out_and_nothing_acts_on_the_terminal(id in "(?s).{1,20}", value in any::<String>(), status in any::<String>()) {
            let list = ProcList::new();
            let task = list.start(id.clone()).col(&id, &value);
            task.set_status(status.clone());
            let text = render(&list, &View::of_all(1, true));
            let acts = |c: char| c.is_control() || c == '\u{202e}';
            prop_assert!(!text.trim_end_matches('\n').contains(acts));
            let object: Value = serde_json::from_str(&text).expect("an object");
            prop_assert_eq!(&object["id"], &json!(id));
            prop_assert_eq!(&object["status"], &json!(status));
            prop_assert_eq!(&object["cols"][&id], &json!(value));
        }
    }
}
