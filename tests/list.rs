//! What a reader sees of the list.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fmt;
use std::thread;
use std::time::{Duration, SystemTime};

use pm::{Outcome, ProcList};

fn ids(list: &ProcList) -> Vec<String> {
    list.procs().into_iter().map(|proc| proc.id).collect()
}

#[test]
fn a_clone_is_the_same_list_and_a_new_one_another() {
    let list = ProcList::new();
    let _a = list.clone().start("a");
    assert_eq!((list.len(), ProcList::default().len()), (1, 0));
    assert!(format!("{list:?}").contains("len: 1"));
}

#[test]
fn rows_come_longest_running_first() {
    let list = ProcList::new();
    let _tasks: Vec<_> = ["z", "a", "m"].map(|id| list.start(id)).into();
    assert_eq!(ids(&list), ["z", "a", "m"]);
}

#[test]
fn a_snapshot_tells_all_of_a_task() {
    let list = ProcList::new();
    let before = SystemTime::now();
    let name = String::from("host");
    let task = list.start("a").col(&name, "::1").col("bytes", 17);
    task.set_status("one");
    task.set_status(String::from("two"));
    task.set_col("host", "::2");
    task.set_col("user", "x");
    task.remove_col("bytes");
    let proc = list.get("a").unwrap();
    assert_eq!((proc.id.as_str(), proc.status.as_str()), ("a", "two"));
    assert_eq!(proc.cols, [("host".to_string(), "::2".to_string()), ("user".to_string(), "x".to_string())]);
    let steps: Vec<_> = proc.history.iter().map(|step| step.status.as_str()).collect();
    assert_eq!(steps, ["init", "one", "two"]);
    assert!(proc.history.is_sorted_by_key(|step| step.at) && proc.history[2].at <= proc.elapsed);
    assert_eq!(proc.profile.iter().map(|(_, time)| *time).sum::<Duration>(), proc.elapsed);
    assert_eq!(proc.in_status, proc.elapsed - proc.history[2].at);
    assert!(proc.started >= before - Duration::from_millis(1) && proc.started <= SystemTime::now());
    assert_eq!((proc.killing, proc.outcome), (None, None));

    let end = task.done();
    assert_eq!((end.started, end.outcome), (proc.started, Some(Outcome::Ended)));
    assert!(list.get("a").is_none() && list.is_empty());
}

#[test]
fn a_detached_task_runs_until_it_is_done_by_id() {
    let list = ProcList::new();
    let taken = list.start("a");
    let id = list.start("a").detach();
    assert_eq!((id.as_str(), list.len()), ("a+2", 2));
    list.set_status(&id, "waiting for a callback");
    let end = list.done(&id).unwrap();
    assert_eq!((end.status.as_str(), end.outcome), ("waiting for a callback", Some(Outcome::Ended)));
    assert!(list.done(&id).is_none());
    drop(taken);
}

#[test]
fn the_end_by_id_stands_for_the_guard_too() {
    let list = ProcList::new();
    let task = list.start("a");
    let end = list.done("a").unwrap();
    task.set_status("late");
    task.set_col("late", 1);
    assert_eq!(task.done(), end);
}

#[test]
fn ending_a_task_leaves_alone_who_took_its_id_later() {
    let list = ProcList::new();
    let first = list.start("a");
    list.done("a").unwrap();
    let second = list.start("a");
    assert_eq!(second.id(), "a");
    drop(first);
    assert_eq!(ids(&list), ["a"]);
}

#[test]
fn an_unknown_id_is_no_error() {
    let list = ProcList::new();
    list.set_status("nobody", "x");
    list.status("nobody", "x")();
    assert!(list.get("nobody").is_none() && list.done("nobody").is_none());
}

#[test]
fn a_display_may_use_the_list_and_may_panic() {
    struct Counts<'a>(&'a ProcList);
    impl fmt::Display for Counts<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.set_status("a", "counting");
            write!(f, "{} of {}", self.0.len(), self.0.contents().lines().count())
        }
    }
    struct Bug;
    impl fmt::Display for Bug {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            std::panic::resume_unwind(Box::new("a bug"))
        }
    }
    let list = ProcList::new();
    let task = list.start("a");
    task.set_col("n", Counts(&list));
    assert_eq!(list.get("a").unwrap().cols, [("n".to_string(), "1 of 2".to_string())]);
    thread::scope(|scope| scope.spawn(|| task.set_col("n", Bug)).join().unwrap_err());
    task.set_status("fine");
    assert_eq!(list.get("a").unwrap().status, "fine");
}

#[test]
fn a_task_may_end_on_another_thread_and_outlive_its_list() {
    let task = ProcList::new().start("a");
    let end = thread::spawn(move || task.done()).join().unwrap();
    assert_eq!(end.id, "a");
}

#[test]
fn columns_can_be_named_at_any_time() {
    let list = ProcList::new();
    let _task = list.start("a").col("user", "root").col("uri", "/");
    let columns = |list: &ProcList| list.contents().lines().next().unwrap().to_string();
    assert_eq!(columns(&list), "id  status    time");
    list.set_cols(vec![String::from("uri")]);
    assert_eq!(columns(&list), "id  status    time  uri");
    list.set_cols(&["user", "uri"]);
    assert!(list.contents().ends_with("  root  /\n"));
}

#[test]
fn a_thousand_rows_are_shown_and_the_rest_is_counted() {
    let list = ProcList::new();
    let _tasks: Vec<_> = (0..1002).map(|n| list.start(format!("t{n}"))).collect();
    assert_eq!(list.contents().lines().count(), 1 + 1000 + 1);
    assert!(list.contents().ends_with("\n... 2 more (limit 1000)\n"));
    assert_eq!(list.table(usize::MAX).lines().count(), 1 + 1002);
}

#[test]
fn what_is_too_long_is_cut_at_a_character_and_a_33rd_column_is_left_out() {
    let list = ProcList::new();
    let long = "é".repeat(1000);
    let task = list.start(&*long).col("value", &long);
    task.set_status(long.clone());
    list.kill(task.id(), long.clone()).unwrap();
    for n in 0..40 {
        task.set_col(format!("c{n}"), n);
    }
    let proc = list.get(task.id()).unwrap();
    let cut = |bytes: usize| "é".repeat((bytes - 3) / 2) + "…";
    assert_eq!((proc.id, proc.status), (cut(256), cut(256)));
    assert_eq!(proc.killing.unwrap().message, cut(512));
    assert_eq!((proc.cols.len(), &proc.cols[0].1), (32, &cut(1024)));
    task.set_col("c3", "replaced");
    task.remove_col("c4");
    task.set_col("c39", "has room now");
    let proc = list.get(task.id()).unwrap();
    assert!(proc.cols.contains(&("c3".into(), "replaced".into())) && proc.cols.len() == 32);
    assert_eq!(proc.cols[31], ("c39".to_string(), "has room now".to_string()));
    assert_eq!(task.check().unwrap_err().message(), cut(512));
}

#[test]
fn a_snapshot_says_where_the_status_was_set_and_masks_secrets() {
    let list = ProcList::new();
    let task = list.start("a").secret_col("token", "8e2b");
    assert!(list.get("a").unwrap().site.is_none());
    let sets: [&dyn Fn(); 5] = [
        &|| task.set_status("one"),
        &|| task.status("two")(),
        &|| task.try_status("three").unwrap(),
        &|| list.set_status("a", "four"),
        &|| list.status("a", "five")(),
    ];
    let mut lines = Vec::new();
    for set in sets {
        set();
        let site = list.get("a").unwrap().site.unwrap();
        assert!(site.file.ends_with("list.rs"), "{site}");
        lines.push(site.line);
    }
    assert!(lines.is_sorted_by(|a, b| b - a == 1), "{lines:?}");
    task.set_col("token", "77");
    assert_eq!(task.done().cols, [("token".to_string(), "***".to_string())]);
}
