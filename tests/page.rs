//! The page in a real browser: headless Chromium, driven by chromedriver.
//!
//! Ignored unless asked for, because not every machine has them: `cargo test --all-features --test page -- --ignored`.

mod browser;

use std::time::Duration;

use browser::{Browser, eventually};
use pm::{Invocation, PortCommand, ProcList, Role};
use serde_json::{Value, json};

fn shop() -> ProcList {
    let list = ProcList::new();
    list.set_cols(["method", "uri"]);
    list
}

#[tokio::test]
#[ignore = "needs chromium and chromedriver"]
async fn rows_appear_change_and_go() {
    let list = shop();
    let first = list.start("req1").col("method", "GET").col("uri", "/report");
    let addr = list.spawn_http(":0").expect("a free port");
    let browser = Browser::open(addr).await;
    browser.shows_rows(&["req1"]).await;
    let second = list.start("req2").col("uri", "/<b>\u{202e}x");
    browser.shows_rows(&["req1", "req2"]).await;
    first.set_status("merging");
    browser.shows(".rows .row:not([hidden]) .c-status", "merging").await;
    browser.shows(".rows", "/<b>\\u{202e}x").await;
    browser.shows(".counts", "2 running").await;
    drop(second);
    browser.shows_rows(&["req1"]).await;
    drop(first);
    browser.shows(".empty:not([hidden])", "Nothing is running.").await;
}

#[tokio::test]
#[ignore = "needs chromium and chromedriver"]
async fn it_sorts_by_any_column_numbers_as_numbers() {
    let list = ProcList::new();
    list.set_cols(["bytes"]);
    let tasks = [("a", "9"), ("b", "10"), ("c", "x"), ("d", "")].map(|(id, bytes)| list.start(id).col("bytes", bytes));
    let browser = Browser::open(list.spawn_http(":0").expect("a free port")).await;
    browser.shows_rows(&["a", "b", "c", "d"]).await;
    browser.click_text(".head .sort", "bytes").await;
    browser.shows_rows(&["a", "b", "c", "d"]).await;
    browser.click_text(".head .sort", "bytes").await;
    browser.shows_rows(&["c", "b", "a", "d"]).await;
    browser.click_text(".head .sort", "id").await;
    browser.click_text(".head .sort", "id").await;
    browser.shows_rows(&["d", "c", "b", "a"]).await;
    browser.shows_attribute("[role=columnheader]", "aria-sort", "descending").await;
    drop(tasks);
}

#[tokio::test]
#[ignore = "needs chromium and chromedriver"]
async fn an_expression_filters_and_a_wrong_one_says_what_is_wrong_and_keeps_the_rows() {
    let list = shop();
    let export = list.start("req1").col("uri", "/export/1");
    let user = list.start("req2").col("uri", "/users/1");
    let browser = Browser::open(list.spawn_http(":0").expect("a free port")).await;
    browser.shows_rows(&["req1", "req2"]).await;
    browser.types(".filter", "uri~/export\n").await;
    browser.shows_rows(&["req1"]).await;
    browser.shows(".counts", "1 match ").await;
    browser.types(".filter", "tme>3\n").await;
    browser.shows(".wrong", "invalid expression at 'tme'").await;
    browser.shows_rows(&["req1"]).await;
    // What was shown before goes on.
    let another = list.start("req3").col("uri", "/export/2");
    browser.shows_rows(&["req1", "req3"]).await;
    browser.types(".filter", "\n").await;
    browser.shows_rows(&["req1", "req2", "req3"]).await;
    drop((export, user, another));
}

#[tokio::test]
#[ignore = "needs chromium and chromedriver"]
async fn a_kill_carries_the_message_and_shows_the_outcome() {
    let list = shop();
    let task = list.start("a/b c%2F").col("uri", "/report");
    task.set_status("merging");
    let working = tokio::spawn(task.scope(std::future::pending::<()>()));
    let browser = Browser::open(list.spawn_http(":0").expect("a free port")).await;
    browser.shows_rows(&["a/b c%2F"]).await;
    browser.click(".rows .row").await;
    browser.shows("dialog .now", "merging").await;
    browser.types("dialog .kill input", "houston, we have a problem").await;
    browser.click("dialog .kill button").await;
    browser.shows("dialog .outcome", "killed after").await;
    let killed = working.await.expect("no panic").expect_err("it was killed");
    assert_eq!(killed.message(), "houston, we have a problem");
    browser.shows("dialog .now", "killed after").await;
}

#[tokio::test]
#[ignore = "needs chromium and chromedriver"]
async fn a_kill_that_is_refused_or_takes_long_says_so() {
    let list = shop();
    let stubborn = list.start("stubborn").forbid_kill();
    let deaf = list.start("deaf");
    let browser = Browser::open(list.spawn_http(":0").expect("a free port")).await;
    browser.shows_rows(&["stubborn", "deaf"]).await;
    browser.types(".grid", "jj\u{e007}").await; // the second one, with Enter
    browser.shows("dialog h2", "deaf").await;
    browser.types("dialog .kill input", "now\n").await;
    browser.shows("dialog .outcome", "still running 5 s after the kill, in \"init\"").await;
    browser.shows(".chip:not(:empty)", "killing").await;
    drop(deaf);
    browser.shows("dialog .outcome", "ended by itself before the kill reached it").await;
    browser.press("\u{e00c}").await; // Escape
    browser.shows_rows(&["stubborn"]).await;
    browser.click(".rows .row").await;
    browser.types("dialog .kill input", "now\n").await;
    browser.shows("dialog .outcome", "forbidden: stubborn may not be killed").await;
    drop(stubborn);
}

#[tokio::test]
#[ignore = "needs chromium and chromedriver"]
async fn a_sheet_is_of_one_task_and_not_of_another_one_with_its_id() {
    let list = shop();
    let first = list.start("job");
    let browser = Browser::open(list.spawn_http(":0").expect("a free port")).await;
    browser.shows_rows(&["job"]).await;
    browser.click(".rows .row").await;
    browser.shows(".sheet .steps", "init").await;
    first.set_status("done soon");
    drop(first);
    let second = list.start("job");
    browser.shows(".sheet .now", "ended after").await;
    browser.click(".sheet .kill button").await;
    // A press inside is not one beside it.
    browser.click(".sheet .steps").await;
    assert_eq!(browser.count(".sheet").await, 1);
    assert!(!second.is_being_killed());
    browser.press("\u{e00c}").await;
    browser.click(".rows .row").await;
    browser.types(".sheet .kill input", "this one\n").await;
    eventually("the kill", async || second.is_being_killed().then_some(())).await;
    drop(second);
}

#[tokio::test]
#[ignore = "needs chromium and chromedriver"]
async fn the_place_of_a_row_that_ends_is_kept_for_the_keyboard() {
    let list = shop();
    let mut tasks: Vec<_> = (0..5).map(|n| list.start(format!("req{n}"))).collect();
    let browser = Browser::open(list.spawn_http(":0").expect("a free port")).await;
    browser.types(".grid", "jjj").await;
    browser.shows(".row[aria-selected=true]", "req2").await;
    drop(tasks.remove(2));
    browser.shows_rows(&["req0", "req1", "req3", "req4"]).await;
    assert_eq!(browser.count(".row[aria-selected=true]:not([hidden])").await, 0);
    // What has ended cannot be opened, nor what stands in its place.
    browser.press("x").await;
    assert_eq!(browser.count(".sheet").await, 0);
    browser.press("j").await;
    browser.shows(".row[aria-selected=true]", "req3").await;
}

#[tokio::test]
#[ignore = "needs chromium and chromedriver"]
async fn the_history_is_a_timeline() {
    let list = shop();
    let task = list.start("req1").col("uri", "/report");
    for n in 1..=40 {
        task.set_status(format!("step {n}"));
    }
    let browser = Browser::open(list.spawn_http(":0").expect("a free port")).await;
    browser.click(".rows .row").await;
    browser.shows(".steps li:last-child", "step 40").await;
    assert_eq!(browser.count(".steps li").await, 32);
    assert_eq!(browser.count(".strip span").await, 32);
    browser.shows("dialog", "9 before these").await;
    browser.shows("dialog .facts", "/report").await;
    browser.shows("dialog .now", "set at tests/page.rs:").await;
    drop(task);
    browser.shows("dialog .now", "ended after").await;
}

#[tokio::test]
#[ignore = "needs chromium and chromedriver"]
async fn the_finished_are_listed_with_their_outcome() {
    let list = shop();
    drop(list.start("req1").col("uri", "/a"));
    let task = list.start("req2");
    list.kill("req2", "too slow").expect("is running");
    task.check().expect_err("was killed");
    drop(task);
    let browser = Browser::open(list.spawn_http(":0").expect("a free port")).await;
    browser.shows(".empty:not([hidden])", "Nothing is running.").await;
    browser.types("body", "f").await;
    browser.shows(".table:not([hidden]) .rows .row", "req2").await;
    browser.shows("[data-outcome=killed]", "killed").await;
    browser.shows(".table:not([hidden]) .rows", "too slow").await;
    let running = list.start("req3");
    drop(running);
    browser.shows(".table:not([hidden]) .rows", "req3").await;
}

#[tokio::test]
#[ignore = "needs chromium and chromedriver"]
async fn the_keyboard_is_enough() {
    let list = shop();
    let tasks = ["a", "b", "c"].map(|id| list.start(id));
    let browser = Browser::open(list.spawn_http(":0").expect("a free port")).await;
    browser.shows_rows(&["a", "b", "c"]).await;
    browser.types("body", "?").await;
    browser.shows("dialog[open] h2", "Keys").await;
    browser.press("\u{e00c}").await;
    browser.types("body", "/").await;
    assert_eq!(browser.script("return document.activeElement.type").await, "search");
    browser.types(".filter", "id!=a\n\u{e00c}").await;
    browser.shows_rows(&["b", "c"]).await;
    browser.types(".grid", "jj").await;
    browser.shows(".row[aria-selected=true]", "c").await;
    let active = browser.script("return document.querySelector('.grid').getAttribute('aria-activedescendant')").await;
    assert_eq!(browser.script("return document.querySelector('.row[aria-selected=true]').id").await, active);
    browser.types(".grid", "x").await;
    assert_eq!(browser.script("return document.activeElement.closest('.kill') !== null").await, true);
    browser.types("dialog .kill input", "by keys\n").await;
    eventually("the kill", async || {
        list.get("c").and_then(|task| task.killing).filter(|kill| kill.message == "by keys")
    })
    .await;
    browser.press("\u{e00c}").await;
    assert_eq!(browser.script("return document.activeElement.className").await, "grid");
    drop(tasks);
}

#[tokio::test]
#[ignore = "needs chromium and chromedriver"]
async fn a_token_is_asked_for_once_and_kept_out_of_storage() {
    let list = shop();
    let task = list.start("req1").secret_col("user", "amy").col("uri", "/a");
    list.set_cols(["uri", "user"]);
    let addr = list.server().see_token("look").kill_token("strike").spawn_http(":0").expect("a free port");
    let browser = Browser::open(addr).await;
    browser.shows(".lock label", "wants a token").await;
    browser.types(".lock input", "guess\n").await;
    browser.shows(".lock .wrong", "wrong token").await;
    browser.types(".lock input", "look\n").await;
    browser.shows_rows(&["req1"]).await;
    let text = browser.script("return document.body.innerText").await.to_string();
    assert!(!text.contains("amy") && !text.contains("user"), "{text}");
    let stored =
        browser.script("return JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])").await;
    assert!(!stored.to_string().contains("look"), "{stored}");
    browser.click(".rows .row").await;
    browser.types("dialog .kill input", "x\n").await;
    browser.shows("dialog .outcome", "forbidden: you may see, not kill").await;
    assert!(!task.is_being_killed());
}

#[tokio::test]
#[ignore = "needs chromium and chromedriver"]
async fn a_server_that_goes_away_and_comes_back_is_shown_again() {
    let list = shop();
    let task = list.start("req1");
    let bound = list.server().bind_http(":0").await.expect("a free port");
    let addr = bound.local_addr();
    let serving = tokio::spawn(bound.serve());
    let browser = Browser::open(addr).await;
    browser.shows_rows(&["req1"]).await;
    serving.abort();
    browser.shows(".state.away", "trying again").await;
    // What was known stays to be read.
    browser.shows_rows(&["req1"]).await;
    let second = list.start("req2");
    let bound = eventually("the port", async || list.server().bind_http(addr).await.ok()).await;
    let serving = tokio::spawn(bound.serve());
    browser.shows(".state.live", "live").await;
    browser.shows_rows(&["req1", "req2"]).await;
    serving.abort();
    drop((task, second));
}

#[tokio::test]
#[ignore = "needs chromium and chromedriver"]
async fn several_hosts_stand_side_by_side_each_with_its_own_token() {
    let (here, there) = (shop(), shop());
    let (a, b) = (here.start("here1"), there.start("there1"));
    let bound = there.server().see_token("look").bind_http(":0").await.expect("a free port");
    let peer = bound.local_addr();
    let own = here.server().peers([peer.to_string()]).spawn_http(":0").expect("a free port");
    // Its port is known only now, and the other one lets no page of an unknown origin in.
    drop(bound);
    let serving = there.server().see_token("look").allow_origin(format!("http://{own}")).bind_http(peer).await;
    let serving = tokio::spawn(serving.expect("the port is free again").serve());
    let browser = Browser::open(own).await;
    browser.shows(".host:nth-child(1) .rows", "here1").await;
    browser.shows(".host:nth-child(2) .lock label", "wants a token").await;
    browser.types(".host:nth-child(2) .lock input", "look\n").await;
    browser.shows(".host:nth-child(2) .rows", "there1").await;
    browser.shows(".host:nth-child(1) .rows", "here1").await;
    serving.abort();
    drop((a, b));
}

#[tokio::test]
#[ignore = "needs chromium and chromedriver"]
async fn commands_of_the_program_are_offered_and_answer() {
    let list = shop();
    let task = list.start("re q1");
    let level = PortCommand::new("loglevel", |call: Invocation| async move { Ok(format!("log level {}", call.args)) });
    let hurry = PortCommand::new("hurry", |call: Invocation| async move {
        Ok(call.task.map_or_else(String::new, |task| format!("hurrying {}", task.id)))
    });
    let server = list.server().command(level.usage("loglevel <level>").role(Role::Kill)).command(hurry.on_rows());
    let browser = Browser::open(server.spawn_http(":0").expect("a free port")).await;
    browser.click_text(".host-top button:not([hidden])", "Commands").await;
    browser.types("dialog .call input", "debug\n").await;
    browser.shows("dialog .output", "log level debug").await;
    browser.press("\u{e00c}").await;
    browser.click(".rows .row").await;
    browser.click_text("dialog .call button", "hurry").await;
    browser.shows("dialog .output", "hurrying re q1").await;
    drop(task);
}

#[tokio::test]
#[ignore = "needs chromium and chromedriver"]
#[cfg(feature = "stack")]
async fn a_click_shows_where_a_task_is_parked() {
    let list = shop();
    let (never, parked) = tokio::sync::oneshot::channel::<()>();
    let working = tokio::spawn(list.start("a/b").scope(async { parked.await.is_ok() }));
    let browser = Browser::open(list.spawn_http(":0").expect("a free port")).await;
    browser.click(".rows .row").await;
    browser.click_text("dialog .call button", "stack").await;
    browser.shows("dialog .output", "tokio::sync::oneshot::Receiver").await;
    browser.shows("dialog .output", "at tests/page.rs:").await;
    drop(never);
    assert_eq!(working.await.expect("no panic"), Ok(false));
}

#[tokio::test]
#[ignore = "needs chromium and chromedriver"]
async fn a_page_of_another_origin_gets_nothing() {
    let list = shop();
    let task = list.start("victim").col("uri", "/secret");
    let addr = list.spawn_http(":0").expect("a free port");
    let hostile = browser::hostile_page(addr).await;
    let browser = Browser::open(hostile).await;
    let got = eventually("all attempts", async || {
        let got = browser.script("return document.title === 'done' ? window.got : null").await;
        (got != Value::Null).then_some(got)
    })
    .await;
    let nothing = json!({
        "fetch": "failed", "fetch no-cors": "failed", "fetch kill": "failed", "fetch kill by text": "failed", "events": "failed",
        "image": "failed", "script": "failed", "frame": "blocked",
    });
    assert_eq!(got, nothing);
    // The form was sent from a frame, which shows what came of it.
    assert!(!task.is_being_killed() && list.len() == 1);
    let form = browser.script("return window.formAnswered").await;
    assert_eq!(form, true, "the form was not sent");
}

#[tokio::test]
#[ignore = "needs chromium and chromedriver"]
async fn a_host_name_that_is_rebound_to_this_machine_gets_nothing() {
    let list = shop();
    let task = list.start("victim");
    let addr = list.spawn_http(":0").expect("a free port");
    let browser = Browser::open_as(&format!("http://evil.example:{}/", addr.port()), 1440).await;
    browser.shows("body", "forbidden: this processlist does not answer to the host 'evil.example").await;
    let script = "return fetch('/procs/').then((answer) => answer.text())";
    let text = browser.script(script).await;
    assert!(text.to_string().contains("forbidden") && !text.to_string().contains("victim"), "{text}");
    let kill = "return fetch('/procs/victim', { method: 'DELETE' }).then((answer) => answer.status)";
    assert_eq!(browser.script(kill).await, 403);
    assert!(!task.is_being_killed());
}

#[tokio::test]
#[ignore = "needs chromium and chromedriver"]
async fn ten_thousand_rows_are_a_few_elements() {
    let list = shop();
    let tasks: Vec<_> =
        (0..10_000).map(|n| list.start(format!("req{n:05}")).col("uri", format!("/users/{n}"))).collect();
    let browser = Browser::open(list.spawn_http(":0").expect("a free port")).await;
    browser.shows(".counts", "10,000 running").await;
    assert!(browser.count(".rows .row").await < 60);
    browser.types(".grid", "\u{e010}").await; // End
    browser.shows(".row[aria-selected=true]", "req09999").await;
    assert!(browser.count(".rows .row").await < 80);
    drop(tasks);
}

#[tokio::test]
#[ignore = "needs chromium, chromedriver and axe-core"]
async fn axe_has_no_finding() {
    let list = shop();
    let tasks: Vec<_> = (0..50).map(|n| list.start(format!("req{n}")).col("uri", "/report")).collect();
    drop(list.start("over"));
    let addr = list.spawn_http(":0").expect("a free port");
    for width in [1440, 400] {
        let browser = Browser::open_as(&format!("http://{addr}/"), width).await;
        browser.shows(".rows .row", "req0").await;
        for theme in ["light", "dark"] {
            browser.script(&format!("document.documentElement.dataset.theme = '{theme}'")).await;
            browser.is_accessible(&format!("{width} {theme}")).await;
        }
        browser.types("body", "f").await;
        browser.shows(".table:not([hidden]) .rows .row", "over").await;
        browser.is_accessible(&format!("{width} finished")).await;
        browser.types("body", "r").await;
        browser.types(".grid", "j\u{e007}").await;
        browser.shows("dialog .steps", "init").await;
        browser.is_accessible(&format!("{width} sheet")).await;
    }
    drop(tasks);
}

#[tokio::test]
#[ignore = "needs chromium and chromedriver"]
async fn nested_below_a_path_it_asks_by_relative_addresses() {
    use axum::Router;
    let list = shop();
    let task = list.start("req1");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("is bound");
    let app = Router::new().nest_service("/deep/pm", list.server().kill_token("strike").http());
    let app = app.into_make_service_with_connect_info::<std::net::SocketAddr>();
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let browser = Browser::open_as(&format!("http://{addr}/deep/pm"), 1440).await;
    browser.types(".lock input", "strike\n").await;
    browser.shows_rows(&["req1"]).await;
    tokio::time::timeout(Duration::from_secs(20), browser.close()).await.expect("it closes");
    serving.abort();
    drop(task);
}
