//! The life of a task, as an operator sees it at the port.
#![allow(missing_docs, clippy::unwrap_used)]

use std::net::SocketAddr;

use pm::ProcList;

mod port;
use port::Client;

fn serve(list: &ProcList) -> SocketAddr {
    list.server().spawn(":0").unwrap()
}

/// The words of a line.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[test]
fn progress_stands_behind_the_status_and_can_be_filtered_and_sorted_by() {
    let list = ProcList::new();
    list.set_cols(["kind"]);
    let [a, b, _c] = ["a", "b", "c"].map(|id| list.start(id).col("kind", "export"));
    for (task, done) in [(&a, 16), (&b, 40)] {
        task.set_status("exporting");
        task.progress(done, 50);
    }
    let mut client = Client::connect(serve(&list));
    client.types("where progress<50\n");
    assert_eq!(words(&client.up_to("exporting"))[..3], ["a", "exporting", "16/50"]);
    client.types("where progress>=80%\n");
    assert_eq!(words(&client.up_to("exporting"))[..3], ["b", "exporting", "40/50"]);
    client.types("where\nsort -progress\ncols id,progress\n");
    client.up_to("id  progress");
    assert_eq!([client.line(), client.line(), client.line()], ["b   80%", "a   32%", "c"]);
    assert_eq!(client.asks("where progress~5"), "invalid expression at '5': progress is in percent: progress<50");

    // The status itself is without it.
    client.types("by status\n");
    assert_eq!(words(&client.up_to("exporting"))[..2], ["exporting", "2"]);
    client.types("show a\n");
    assert_eq!(client.up_to("of 50 done"), "16 of 50 done, 32%");
    assert!(client.up_to("0.").ends_with("init") && client.line().ends_with("  exporting"));
    a.progress(32, 50);
    client.types("show a\n");
    let pace = client.up_to("of 50 done");
    assert!(
        pace.starts_with("32 of 50 done, 64%, ") && pace.contains(" a second, ") && pace.ends_with(" s to go"),
        "{pace}"
    );
    client.types("json\n");
    assert!(client.up_to(r#""id":"a""#).contains(r#""status":"exporting","progress":{"done":32,"total":50}"#));
    a.progress(0, 0);
    client.types("json\n");
    assert!(!client.up_to(r#""id":"a""#).contains("progress"));
}

#[test]
fn a_column_of_the_program_that_is_called_progress_is_meant_before_ours() {
    let list = ProcList::new();
    list.set_cols(["progress"]);
    let task = list.start("a").col("progress", "half way");
    task.progress(1, 4);
    let mut client = Client::connect(serve(&list));
    client.types("where progress~half\n");
    assert!(client.up_to("half way").starts_with("a   init 1/4"));
}
