//! Json: one object a task, a line each, for `jq`.
//!
//! The objects are those of the HTTP server, and `time` and `in_status` in seconds. That one writes them with a library,
//! which is not worth its place in a program that has no such server; a test compares the two.

use std::fmt::Write;
use std::time::SystemTime;

use crate::clock::Moment;
use crate::duration::seconds;
use crate::entry::Depth;
use crate::escape::{self, Form};
use crate::list::ProcList;
use crate::pace::Pace;
use crate::probe::Parked;
use crate::proc::Proc;
use crate::stack::Known;
use crate::view::{Selection, View};

/// All tasks that `view` matches, in its order, without its limit.
pub(crate) async fn render(list: &ProcList, view: &View, pace: &mut Pace) -> String {
    let now = Moment::now();
    let known = Known::now();
    let Selection { tasks, .. } = View { limit: usize::MAX, ..view.clone() }.select(list, now);
    let mut text = String::with_capacity(256 * tasks.len());
    for task in tasks {
        pace.breathe().await;
        let proc = task.snapshot(view.clearance, Depth::Row, now).without_secrets();
        if proc.outcome.is_none() {
            push(&mut text, &proc, known.of(&task));
        }
    }
    text
}

fn push(text: &mut String, proc: &Proc, parked: Option<&Parked>) {
    push_text(text, r#"{"id":"#, &proc.id);
    for (n, (name, value)) in proc.cols.iter().enumerate() {
        push_text(text, if n > 0 { "," } else { r#","attrs":{"# }, name);
        push_text(text, ":", value);
    }
    text.push_str(if proc.cols.is_empty() { "" } else { "}" });
    push_time(text, r#","procTime":"#, proc.started);
    push_time(text, r#","statusTime":"#, proc.status_time());
    push_text(text, r#","status":"#, &proc.status);
    if let Some(progress) = &proc.progress {
        let written = write!(text, r#","progress":{{"done":{},"total":{}}}"#, progress.done, progress.total);
        debug_assert!(written.is_ok(), "a String takes whatever is written to it");
    }
    if let Some(killing) = &proc.killing {
        text.push_str(r#","cancelling":true"#);
        push_time(text, r#","killing":{"ts":"#, proc.time_of(killing));
        push_text(text, r#","message":"#, &killing.message);
        if let Some(by) = &killing.by {
            push_text(text, r#","by":"#, &by.to_string());
        }
        text.push('}');
    }
    if let Some(note) = &proc.note {
        push_text(text, r#","note":"#, note);
    }
    if let Some(parent) = &proc.parent {
        push_text(text, r#","parent":"#, parent);
    }
    if let Some(parked) = parked {
        push_time(text, r#","parked":{"ts":"#, SystemTime::now() - parked.ago);
        for (n, place) in parked.places.iter().enumerate() {
            push_text(text, if n > 0 { "," } else { r#","places":["# }, place);
        }
        text.push_str("]}");
    }
    let written = writeln!(text, r#","time":{},"in_status":{}}}"#, seconds(proc.elapsed), seconds(proc.in_status));
    debug_assert!(written.is_ok(), "a String takes whatever is written to it");
}

fn push_time(text: &mut String, before: &str, time: SystemTime) {
    let written = write!(text, "{before}\"{}\"", humantime::format_rfc3339_nanos(time));
    debug_assert!(written.is_ok(), "a String takes whatever is written to it");
}

/// A string, behind what stands before it.
fn push_text(text: &mut String, before: &str, string: &str) {
    text.push_str(before);
    text.push('"');
    escape::push(text, string, Form::Json, usize::MAX);
    text.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::columns::Clearance;

    fn rendered(list: &ProcList, clearance: Clearance) -> String {
        Pace::in_one_piece(async |pace| render(list, &View::new(1, clearance), pace).await)
    }

    fn objects(list: &ProcList, clearance: Clearance) -> Vec<Value> {
        let text = rendered(list, clearance);
        text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect()
    }

    #[test]
    fn every_task_that_matches_is_an_object_whatever_the_limit() {
        let list = ProcList::new();
        let a = list.start("a").col("uri", "/\"x\"").secret_col("token", "8e2b");
        let _b = list.start("b");
        a.set_status("merging");
        list.kill("a", "too slow").expect("is running");
        let shown = objects(&list, Clearance::Secret);
        assert_eq!((&shown[0]["id"], &shown[0]["status"]), (&json!("a"), &json!("merging")));
        assert_eq!(shown[0]["attrs"], json!({"uri": "/\"x\"", "token": "8e2b"}));
        assert_eq!(shown[0]["killing"]["message"], json!("too slow"));
        assert!(shown[0]["time"].as_f64() >= shown[0]["in_status"].as_f64());
        assert_eq!((shown.len(), &shown[1]["id"], &shown[1]["killing"]), (2, &json!("b"), &Value::Null));
        assert_eq!(objects(&list, Clearance::Public)[0]["attrs"], json!({"uri": "/\"x\""}));
    }

    proptest! {
        #[test]
        fn what_went_in_comes_out_and_nothing_acts_on_the_terminal(id in "(?s).{1,20}", value in any::<String>(), status in any::<String>()) {
            let list = ProcList::new();
            let task = list.start(id.clone()).col(&id, &value);
            task.set_status(status.clone());
            let text = rendered(&list, Clearance::Secret);
            let acts = |c: char| c.is_control() || c == '\u{202e}';
            prop_assert!(!text.trim_end_matches('\n').contains(acts));
            let object: Value = serde_json::from_str(&text).expect("an object");
            prop_assert_eq!(&object["id"], &json!(id));
            prop_assert_eq!(&object["status"], &json!(status));
            prop_assert_eq!(&object["attrs"][&id], &json!(value));
        }
    }
}
