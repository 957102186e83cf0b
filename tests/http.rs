//! The list over HTTP, asked over real sockets.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use axum::Router;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use pm::{Invocation, PortCommand, ProcList, Reply, Role, Server};
use serde_json::{Value, json};

/// How long something may take that is awaited, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        assert_eq!((self.status, self.header("content-type")), (StatusCode::OK, "application/json"), "{}", self.text);
        serde_json::from_str(&self.text).expect("JSON")
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }
}

/// A request, with headers and a body.
#[derive(Clone)]
struct Ask {
    addr: SocketAddr,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Ask {
    fn at(addr: SocketAddr) -> Ask {
        Ask { addr, headers: Vec::new(), body: String::new() }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Ask {
        self.headers.push((name, value.into()));
        self
    }

    fn token(self, token: &str) -> Ask {
        self.with("authorization", format!("Bearer {token}"))
    }

    fn body(self, body: impl Into<String>) -> Ask {
        Ask { body: body.into(), ..self }
    }

    async fn send(&self, method: &str, path: &str) -> http::Response<Incoming> {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.addr));
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(Bytes::from(self.body.clone()))).expect("a request");
        Client::builder(TokioExecutor::new()).build_http().request(request).await.expect("an answer")
    }

    async fn ask(&self, method: &str, path: &str) -> Answer {
        let (head, body) = self.send(method, path).await.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        let text = String::from_utf8(body.to_vec()).expect("text");
        Answer { status: head.status, headers: head.headers, text }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path).await
    }
}

fn serve(list: &ProcList) -> Ask {
    served(list.server())
}

fn served(server: Server) -> Ask {
    Ask::at(server.spawn_http(":0").expect("a free port"))
}

fn names(object: &Value) -> Vec<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

/// Reads server-sent events.
struct Events {
    body: Incoming,
    text: String,
}

impl Events {
    async fn open(ask: &Ask, path: &str) -> Events {
        let response = ask.send("GET", path).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Events { body: response.into_body(), text: String::new() }
    }

    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name).map(str::to_string));
                let (kind, data) = (field("event: "), field("data: "));
                self.text = rest.to_string();
                if let (Some(kind), Some(data)) = (kind, data) {
                    return Some((kind, serde_json::from_str(&data).expect("JSON")));
                }
                continue;
            }
            let frame = tokio::time::timeout(SOON, self.body.frame()).await.expect("it says something now and then");
            let piece = frame?.ok()?.into_data().unwrap_or_default();
            self.text += std::str::from_utf8(&piece).expect("text");
        }
    }
}

#[tokio::test]
async fn the_list_has_the_objects_of_the_go_package() {
    let list = ProcList::new();
    let first = list.start("req1").col("method", "GET").col("uri", "/\u{202e}\u{9b}\"x\"");
    let second = list.start("req2");
    first.set_status("merging");
    let ask = serve(&list);
    let answer = ask.get("/procs/").await;
    let shown = answer.json();
    assert_eq!(names(&shown), ["procs", "serverTime"]);
    let [a, b] = &shown["procs"].as_array().expect("a list")[..] else { panic!("{shown}") };
    assert_eq!(names(a), ["attrs", "id", "procTime", "status", "statusTime"]);
    assert_eq!(names(b), ["id", "procTime", "status", "statusTime"]);
    assert_eq!((&a["id"], &a["status"]), (&json!("req1"), &json!("merging")));
    assert_eq!(a["attrs"], json!({"method": "GET", "uri": "/\u{202e}\u{9b}\"x\""}));
    let is_time = |value: &Value| value.as_str().is_some_and(|text| text.len() == 30 && text.ends_with('Z'));
    assert!(is_time(&a["procTime"]) && is_time(&a["statusTime"]) && is_time(&shown["serverTime"]), "{shown}");
    // What would act on a terminal is spelled out.
    assert!(!answer.text.contains(['\u{202e}', '\u{9b}']) && answer.text.contains("\\u202e\\u009b"), "{}", answer.text);
    drop((first, second));
    assert_eq!(ask.get("/procs/").await.json()["procs"], json!([]));
}

#[tokio::test]
async fn a_task_that_is_being_killed_says_so_as_in_the_original() {
    let list = ProcList::new();
    let task = list.start("req1");
    let quiet = list.start("req2");
    task.set_status("merging");
    let ask = serve(&list);
    let before = ask.get("/procs/").await.json();
    assert_eq!(ask.clone().body(r#"{"message":"too slow"}"#).delete("/procs/req1").await.status, StatusCode::OK);
    assert_eq!(ask.delete("/procs/req2").await.text, "");
    let shown = ask.get("/procs/").await.json();
    let [a, b] = &shown["procs"].as_array().expect("a list")[..] else { panic!("{shown}") };
    assert_eq!((&a["status"], &a["cancelling"]), (&json!("[cancel request: too slow]"), &json!(true)));
    assert_eq!(b["status"], "[cancel request]");
    assert!(a["statusTime"].as_str() > before["procs"][0]["statusTime"].as_str());
    let history = ask.get("/procs/req1/history").await.json();
    let statuses = |history: &Value| -> Vec<String> {
        history["history"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|step| step["status"].as_str().expect("text").to_string())
            .collect()
    };
    assert_eq!(statuses(&history), ["init", "merging", "[cancel request: too slow]"]);
    // The task itself is shown with both.
    let whole = ask.get("/procs/req1").await.json();
    assert_eq!((&whole["status"], &whole["killing"]["message"]), (&json!("merging"), &json!("too slow")));
    assert!(whole["killing"]["by"].as_str().is_some_and(|by| by.contains("127.0.0.1")));
    task.set_status("rolling back");
    let shown = ask.get("/procs/").await.json();
    assert_eq!(
        (&shown["procs"][0]["status"], &shown["procs"][0]["cancelling"]),
        (&json!("rolling back"), &json!(true))
    );
    let history = ask.get("/procs/req1/history").await.json();
    assert_eq!(statuses(&history), ["init", "merging", "[cancel request: too slow]", "rolling back"]);
    drop((task, quiet));
}

#[tokio::test]
async fn a_long_history_is_the_last_32_and_how_many_there_were() {
    let list = ProcList::new();
    let task = list.start("req1");
    let ask = serve(&list);
    let short = ask.get("/procs/req1/history").await.json();
    assert_eq!(names(&short), ["history", "serverTime"]);
    (1..=40).for_each(|n| task.set_status(format!("step {n}")));
    let long = ask.get("/procs/req1/history").await.json();
    let steps = long["history"].as_array().expect("a list");
    assert_eq!((steps.len(), &steps[0]["status"], &long["folded"]), (32, &json!("step 9"), &json!(9)));
    assert!(steps.is_sorted_by_key(|step| step["ts"].as_str().map(str::to_string)));
    assert_eq!(ask.get("/procs/req2/history").await.status, StatusCode::NOT_FOUND);
    drop(task);
}

#[tokio::test]
async fn a_kill_that_cannot_be_says_why_and_kills_nothing() {
    let list = ProcList::new();
    let (task, stubborn) = (list.start("req1"), list.start("stubborn").forbid_kill());
    let ask = serve(&list);
    for body in ["too slow", "null", "[\"x\"]", r#"{"message":1}"#, "{"] {
        let answer = ask.clone().body(body).delete("/procs/req1").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(answer.text.starts_with("invalid body: send {\"message\":\"..\"}"), "{}", answer.text);
    }
    assert_eq!(ask.delete("/procs/req1?wait=61s").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(ask.delete("/procs/req1?wait=soon").await.text, "invalid duration 'soon': use 60s at most\n");
    let long = ask.clone().body(format!("{{\"message\":\"{}\"}}", "x".repeat(70_000))).delete("/procs/req1").await;
    assert_eq!(long.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(ask.delete("/procs/req1/history").await.header("allow"), "GET,HEAD");
    assert!(!task.is_being_killed());
    let unknown = ask.delete("/procs/req9").await;
    assert_eq!((unknown.status, unknown.text.as_str()), (StatusCode::NOT_FOUND, "no such process 'req9'\n"));
    let refused = ask.delete("/procs/stubborn").await;
    assert_eq!(
        (refused.status, refused.text.as_str()),
        (StatusCode::FORBIDDEN, "forbidden: stubborn may not be killed\n")
    );
    drop((task, stubborn));
}

#[tokio::test]
async fn a_kill_is_read_as_json_whatever_its_type_and_the_first_message_stays() {
    let list = ProcList::new();
    let task = list.start("req1");
    let ask = serve(&list);
    let by_page = ask.clone().with("content-type", "text/plain;charset=UTF-8").body(r#"{"message":"first"}"#);
    assert_eq!(by_page.delete("/procs/req1").await.status, StatusCode::OK);
    assert_eq!(ask.clone().body(r#"{"message":"second"}"#).delete("/procs/req1").await.status, StatusCode::OK);
    assert_eq!(task.check().expect_err("was killed").message(), "first");
    drop(task);
}

#[tokio::test]
async fn an_outcome_can_be_waited_for() {
    let list = ProcList::new();
    let task = list.start("req1");
    let ask = serve(&list);
    let still = ask.delete("/procs/req1?wait=10ms").await.json();
    assert_eq!(
        (&still["outcome"], &still["status"], &still["seen"]),
        (&json!("running"), &json!("init"), &json!(false))
    );
    drop(task);
    let task = list.start("req1");
    let waiting = tokio::spawn({
        let ask = ask.clone();
        async move { ask.delete("/procs/req1?wait=60s").await }
    });
    let until = Instant::now() + SOON;
    while !task.is_being_killed() {
        assert!(Instant::now() < until, "the kill came");
        tokio::task::yield_now().await;
    }
    task.set_status("merging");
    task.check().expect_err("was killed");
    drop(task);
    let ended = waiting.await.expect("no panic").json();
    assert_eq!((&ended["outcome"], &ended["status"]), (&json!("killed"), &json!("merging")));
    assert!(ended["seconds"].as_f64().is_some() && ended.get("seen").is_none());
    assert_eq!(ended.get("below"), None);

    let parent = list.start("req3");
    let children = ["fetch", "save"].map(|name| parent.child(name));
    let still = ask.delete("/procs/req3?wait=10ms").await.json();
    assert_eq!((&still["outcome"], &still["below"]), (&json!("running"), &json!(2)));
    drop((children, parent));

    let blind = list.start("req2");
    list.kill("req2", "").expect("is running");
    drop(blind.done_with("its day was over"));
    assert_eq!(ask.delete("/procs/req2?wait=1s").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_kill_may_name_the_task_by_its_start_too() {
    let list = ProcList::new();
    let first = list.start("job");
    let ask = serve(&list);
    let started = ask.get("/procs/job").await.json()["procTime"].as_str().expect("a time").to_string();
    drop(first);
    let second = list.start("job");
    let other = ask.delete(&format!("/procs/job?started={started}")).await;
    assert_eq!(other.status, StatusCode::NOT_FOUND);
    assert_eq!(other.text, "no such process 'job': another task has this id now\n");
    assert!(!second.is_being_killed());
    let started = ask.get("/procs/").await.json()["procs"][0]["procTime"].as_str().expect("a time").to_string();
    assert_eq!(ask.delete(&format!("/procs/job?started={started}")).await.status, StatusCode::OK);
    assert!(second.is_being_killed());
}

#[tokio::test]
async fn every_id_can_be_addressed_encoded_or_with_bare_slashes() {
    let list = ProcList::new();
    let ids = ["a/b", "a/history", "x y", "100%", "漢?#", "end/"];
    let tasks = ids.map(|id| list.start(id));
    let ask = serve(&list);
    for (path, id) in [
        ("a/b", "a/b"),
        ("a%2Fb", "a/b"),
        ("a/b/", "a/b"),
        ("a%2fhistory", "a/history"),
        ("x%20y", "x y"),
        ("100%25", "100%"),
        ("%E6%BC%A2%3F%23", "漢?#"),
        ("end%2F", "end/"),
        ("end//", "end/"),
    ] {
        assert_eq!(ask.get(&format!("/procs/{path}")).await.json()["id"], id, "{path}");
    }
    assert_eq!(ask.get("/procs/a%2Fhistory/history").await.json()["history"][0]["status"], "init");
    // An encoded slash never separates.
    assert_eq!(ask.get("/procs/a%2Fb%2Fhistory").await.status, StatusCode::NOT_FOUND);
    assert_eq!(ask.get("/procs/%ff").await.status, StatusCode::BAD_REQUEST);
    drop(tasks);
}

#[tokio::test]
async fn the_list_is_filtered_sorted_and_limited_by_the_grammar_of_the_session() {
    let list = ProcList::new();
    let tasks: Vec<_> = (0..5).map(|n| list.start(format!("req{n}")).col("bytes", n * 7 % 5)).collect();
    let ask = serve(&list);
    let ids = async |query: &str| -> Vec<String> {
        let shown = ask.get(&format!("/procs/?{query}")).await.json();
        shown["procs"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|row| row["id"].as_str().expect("text").to_string())
            .collect()
    };
    assert_eq!(ids("sort=-bytes&limit=2").await, ["req2", "req4"]);
    assert_eq!(ids("where=bytes%3E2+or+id%3Dreq0").await, ["req0", "req2", "req4"]);
    assert_eq!(ids("limit=all").await.len(), 5);
    let fault = ask.get("/procs/?where=tme%3E3").await;
    assert_eq!(fault.status, StatusCode::BAD_REQUEST);
    assert!(fault.text.starts_with("invalid expression at 'tme': no column of that name"), "{}", fault.text);
    assert_eq!(fault.header("content-type"), "text/plain; charset=utf-8");
    for (query, text) in [
        ("sort=nope", "invalid column 'nope'"),
        ("limit=-1", "invalid limit '-1': a number, or all"),
        ("where=a&where=b", "invalid query: 'where' is there twice"),
        ("whre=a", "invalid query: there is no parameter 'whre' (where, sort, limit)"),
    ] {
        let answer = ask.get(&format!("/procs/?{query}")).await;
        assert!(answer.text.starts_with(text), "{}", answer.text);
    }
    drop(tasks);
}

#[tokio::test]
async fn a_method_or_a_path_that_is_none_says_so_and_the_bare_list_is_redirected() {
    let ask = serve(&ProcList::new());
    let bare = ask.get("/procs?limit=1").await;
    assert_eq!((bare.status, bare.header("location")), (StatusCode::MOVED_PERMANENTLY, "/procs/?limit=1"));
    for (method, path, allow) in [
        ("POST", "/procs/", "GET,HEAD"),
        ("PUT", "/procs/x", "GET,HEAD,DELETE"),
        ("DELETE", "/events", "GET,HEAD"),
        ("GET", "/commands/x", "POST"),
        ("POST", "/", "GET,HEAD"),
    ] {
        let answer = ask.ask(method, path).await;
        assert_eq!((answer.status, answer.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, allow), "{method} {path}");
    }
    for path in ["/nope", "/procs/x/stack", "/page/nope.js", "/page/..%2findex.html"] {
        assert_eq!(ask.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    let options = ask.ask("OPTIONS", "/whatever").await;
    assert_eq!((options.status, options.header("access-control-allow-origin")), (StatusCode::NO_CONTENT, ""));
    for answer in [ask.get("/procs/").await, ask.get("/nope").await, options] {
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin");
        assert_eq!(answer.header("vary"), "Origin");
    }
}

#[tokio::test]
async fn strangers_are_refused_and_named_origins_are_not() {
    let list = ProcList::new();
    let task = list.start("victim");
    let ask = served(list.server().allow_host("pm.example").allow_origin("http://dash.example:3000"));
    for host in ["evil.example", "127.0.0.1.evil.example", ""] {
        assert_eq!(ask.clone().with("host", host).get("/procs/").await.status, StatusCode::FORBIDDEN, "{host}");
        assert_eq!(ask.clone().with("host", host).get("/").await.status, StatusCode::FORBIDDEN, "{host}");
    }
    assert_eq!(ask.clone().with("host", "pm.example").get("/procs/").await.status, StatusCode::OK);
    for (name, value) in [
        ("origin", "null"),
        ("origin", "http://evil.example"),
        ("origin", "http://localhost:1"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let stranger = ask.clone().with(name, value);
        for path in ["/procs/", "/procs/victim", "/events", "/stats", "/metrics", "/done", "/commands", "/page/app.js"]
        {
            let answer = stranger.get(path).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} {value}");
            assert!(answer.headers.get("access-control-allow-origin").is_none());
        }
        assert_eq!(stranger.delete("/procs/victim").await.status, StatusCode::FORBIDDEN);
    }
    let own = ask.clone().with("origin", format!("http://{}", ask.addr)).with("sec-fetch-site", "same-origin");
    assert_eq!(own.get("/procs/").await.status, StatusCode::OK);
    let link = ask.clone().with("sec-fetch-site", "cross-site").with("sec-fetch-mode", "navigate");
    assert_eq!(link.clone().with("sec-fetch-dest", "document").get("/").await.status, StatusCode::OK);
    assert_eq!(link.with("sec-fetch-dest", "document").get("/procs/").await.status, StatusCode::FORBIDDEN);
    assert!(!task.is_being_killed());

    let dash = ask.clone().with("origin", "http://dash.example:3000").with("sec-fetch-site", "cross-site");
    let preflight = dash.clone().with("access-control-request-method", "DELETE").ask("OPTIONS", "/procs/victim").await;
    assert_eq!(preflight.status, StatusCode::NO_CONTENT);
    assert_eq!(preflight.header("access-control-allow-methods"), "GET, POST, DELETE");
    assert_eq!(preflight.header("access-control-allow-headers"), "authorization, content-type");
    for answer in [preflight, dash.get("/procs/").await, dash.get("/procs/nobody").await, dash.get("/nope").await] {
        assert_eq!(answer.header("access-control-allow-origin"), "http://dash.example:3000", "{}", answer.status);
        assert_eq!(answer.header("vary"), "Origin");
    }
    assert_eq!(dash.delete("/procs/victim").await.status, StatusCode::OK);
    assert!(task.is_being_killed());
    let page = ask.get("/").await;
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    drop(task);
}

#[tokio::test]
async fn a_token_gives_its_role_and_a_secret_is_told_to_nobody_else() {
    let list = ProcList::new();
    list.set_cols(["uri", "user"]);
    let task = list.start("req1").col("uri", "/a").secret_col("user", "amy").secret_col("card", "ace-of-spades");
    let ended = list.start("req0").secret_col("user", "amy");
    list.kill("req0", "").expect("is running");
    drop(ended);
    let command = PortCommand::new("reload", |_: Invocation| async { Ok("done") }).role(Role::Kill);
    let ask = served(list.server().see_token("look").kill_token("strike").command(command));
    let none = ask.get("/procs/").await;
    assert_eq!((none.status, none.header("www-authenticate")), (StatusCode::UNAUTHORIZED, "Bearer"));
    let began = Instant::now();
    assert_eq!(ask.clone().token("guess").get("/procs/").await.text, "wrong token\n");
    assert!(began.elapsed() >= Duration::from_secs(1), "a guess costs time");
    // The page holds nothing, and asks for it.
    assert_eq!(ask.get("/").await.status, StatusCode::OK);
    assert_eq!(ask.ask("OPTIONS", "/procs/").await.status, StatusCode::NO_CONTENT);

    let (see, kill) = (ask.clone().token("look"), ask.clone().token("strike"));
    for path in [
        "/procs/",
        "/procs/req1",
        "/procs/req1/history",
        "/done",
        "/stats",
        "/metrics",
        "/commands",
        "/procs/?sort=uri",
    ] {
        let text = see.get(path).await.text;
        for secret in ["amy", "ace-of-spades", "user", "card"] {
            assert!(!text.contains(secret), "{path}: {text}");
        }
    }
    for query in ["where=user%3Damy", "sort=user", "where=card~4", "sort=-card"] {
        let (known, unknown) =
            (see.get(&format!("/procs/?{query}")).await, query.replace("user", "nope").replace("card", "nope"));
        let unknown = see.get(&format!("/procs/?{unknown}")).await;
        assert_eq!(known.status, StatusCode::BAD_REQUEST);
        assert_eq!(known.text.replace("user", "nope").replace("card", "nope"), unknown.text);
        assert_eq!(kill.get(&format!("/procs/?{query}")).await.status, StatusCode::OK);
    }
    assert_eq!(see.get("/events?where=user%3Damy").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        kill.get("/procs/req1").await.json()["attrs"],
        json!({"uri": "/a", "user": "amy", "card": "ace-of-spades"})
    );
    assert_eq!(see.delete("/procs/req1").await.text, "forbidden: you may see, not kill\n");
    assert_eq!(see.ask("POST", "/commands/reload").await.status, StatusCode::FORBIDDEN);
    assert!(!task.is_being_killed());
    assert_eq!(kill.ask("POST", "/commands/reload").await.text, "done\n");
    assert_eq!(kill.delete("/procs/req1").await.status, StatusCode::OK);
    let read_only = served(list.server().kill_token("strike").read_only()).token("strike");
    assert_eq!(read_only.delete("/procs/req1").await.status, StatusCode::FORBIDDEN);
    assert!(!read_only.get("/procs/req1").await.text.contains("amy"));
    drop(task);
}

#[tokio::test]
async fn events_begin_with_the_list_and_tell_what_changes() {
    let list = ProcList::new();
    list.set_cols(["uri"]);
    let first = list.start("req1").col("uri", "/a");
    let ask = serve(&list);
    let mut events = Events::open(&ask, "/events?delay=100ms").await;
    let (kind, shown) = events.next().await.expect("a list");
    assert_eq!((kind.as_str(), &shown["columns"]), ("list", &json!(["uri"])));
    assert_eq!((shown["procs"].as_array().map(Vec::len), &shown["procs"][0]["id"]), (Some(1), &json!("req1")));
    let second = list.start("req2");
    let (kind, change) = events.next().await.expect("a change");
    assert_eq!((kind.as_str(), &change["procs"][0]["id"], &change["ended"]), ("change", &json!("req2"), &json!([])));
    assert_eq!(change["procs"].as_array().map(Vec::len), Some(1), "what has not changed is not told again: {change}");
    first.set_status("merging");
    list.kill("req1", "too slow").expect("is running");
    let mut row = Value::Null;
    while row["killing"] == Value::Null || row["status"] != "merging" {
        row = events.next().await.expect("a change").1["procs"][0].take();
    }
    assert_eq!((&row["status"], &row["killing"]["message"]), (&json!("merging"), &json!("too slow")));
    drop((first, second));
    let mut gone = Vec::new();
    while gone.len() < 2 {
        let change = events.next().await.expect("a change").1;
        gone.extend(change["ended"].as_array().expect("a list").iter().map(|id| id.as_str().map(str::to_string)));
    }
    gone.sort();
    assert_eq!(gone, [Some("req1".to_string()), Some("req2".to_string())]);
    list.set_cols(["host"]);
    assert_eq!(events.next().await.expect("a change").1["columns"], json!(["host"]));
    for wrong in ["delay=1ms", "delay=x", "where=tme"] {
        assert_eq!(ask.get(&format!("/events?{wrong}")).await.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
}

#[tokio::test]
async fn a_change_of_what_is_hidden_is_none() {
    let list = ProcList::new();
    let task = list.start("req1").secret_col("user", "amy");
    let other = list.start("req2");
    let ask = served(list.server().see_token("look").kill_token("strike"));
    let mut seen = Events::open(&ask.clone().token("look"), "/events?delay=100ms").await;
    let mut known = Events::open(&ask.clone().token("strike"), "/events?delay=100ms").await;
    let shown = seen.next().await.expect("a list").1.to_string();
    assert!(!shown.contains("user") && !shown.contains("***"), "not even that there is one: {shown}");
    assert!(known.next().await.is_some());
    task.set_secret_col("user", "bob");
    let change = known.next().await.expect("a change").1;
    assert_eq!(change["procs"][0]["attrs"]["user"], "bob");
    // The next change that the other one hears of is another one.
    other.set_status("merging");
    let change = seen.next().await.expect("a change").1;
    assert_eq!(change["procs"].as_array().map(Vec::len), Some(1), "{change}");
    assert_eq!(change["procs"][0]["id"], "req2");
    drop((task, other));
}

#[tokio::test]
async fn events_of_an_expression_tell_of_what_matches() {
    let list = ProcList::new();
    let task = list.start("req1");
    let ask = serve(&list);
    let mut events = Events::open(&ask, "/events?delay=100ms&where=status%3Dmerging").await;
    assert_eq!(events.next().await.expect("a list").1["procs"], json!([]));
    task.set_status("merging");
    assert_eq!(events.next().await.expect("a change").1["procs"][0]["id"], "req1");
    task.set_status("rendering");
    assert_eq!(events.next().await.expect("a change").1["ended"], json!(["req1"]));
    drop(task);
}

#[tokio::test]
async fn sixteen_views_are_followed_at_a_time_by_any_number_of_readers() {
    let ask = served(ProcList::new().server().max_connections(40));
    let mut followed = Vec::new();
    for n in 0..16 {
        followed.push(Events::open(&ask, &format!("/events?where=id%3D{n}")).await);
    }
    assert_eq!(ask.get("/events?where=id%3D16").await.status, StatusCode::SERVICE_UNAVAILABLE);
    followed.push(Events::open(&ask, "/events?where=id%3D7").await);
    assert!(followed.pop().expect("is open").next().await.is_some());
    // What the page follows is never refused.
    for usual in ["/events", "/events?delay=1s"] {
        assert!(Events::open(&ask, usual).await.next().await.is_some());
    }
    drop(followed);
    let until = Instant::now() + SOON;
    while ask.clone().with("accept", "text/event-stream").send("GET", "/events?where=id%3D16").await.status()
        != StatusCode::OK
    {
        assert!(Instant::now() < until, "their places are free again");
    }
}

#[tokio::test]
async fn an_id_that_is_used_again_is_another_task() {
    let list = ProcList::new();
    let task = list.start("job");
    let ask = serve(&list);
    let mut events = Events::open(&ask, "/events?delay=100ms").await;
    let first = events.next().await.expect("a list").1["procs"][0]["procTime"].clone();
    drop(task);
    let again = list.start("job");
    let mut second = first.clone();
    while second == first {
        second = events.next().await.expect("a change").1["procs"][0]["procTime"].take();
        if second == Value::Null {
            second = first.clone(); // it was seen to be gone
        }
    }
    assert!(second.as_str() > first.as_str());
    drop(again);
}

#[tokio::test]
async fn a_token_that_is_replaced_ends_its_streams() {
    let dir = std::env::temp_dir().join(format!("pm-http-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a folder");
    let path = dir.join("token");
    std::fs::write(&path, "one\n").expect("it is ours");
    let logs = PortCommand::new("logs", |_: Invocation| async {
        let pause = async |n: u64| {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Some((n.to_string(), n + 1))
        };
        Ok(Reply::lines(futures_util::stream::unfold(1, pause)))
    });
    let ask = served(ProcList::new().server().see_token_file(&path).command(logs)).token("one");
    let mut lines = ask.send("POST", "/commands/logs").await.into_body();
    assert!(lines.frame().await.is_some());
    let mut events = Events::open(&ask, "/events?delay=100ms").await;
    assert!(events.next().await.is_some());
    std::fs::write(&path, "two\n").expect("it is ours");
    assert!(events.next().await.is_none());
    while lines.frame().await.is_some_and(|frame| frame.is_ok()) {}
    assert_eq!(ask.get("/procs/").await.status, StatusCode::UNAUTHORIZED);
    std::fs::remove_dir_all(&dir).expect("it is ours");
}

#[tokio::test]
async fn commands_of_the_program_answer_and_follow() {
    let list = ProcList::new();
    let task = list.start("re q1");
    let level = PortCommand::new("loglevel", |call: Invocation| async move {
        match call.args.as_str() {
            "debug" => Ok(format!("log \x1b level {}", call.args)),
            other => Err(format!("no such level '{other}'").into()),
        }
    });
    let broken = PortCommand::new("broken", |_: Invocation| async { if true { panic!("a bug") } else { Ok("") } });
    let logs = PortCommand::new("logs", |call: Invocation| async move {
        let id = call.task.map_or_else(String::new, |task| task.id);
        Ok(Reply::lines(futures_util::stream::iter([format!("{id} {}", call.args), "\x07".to_string()])))
    });
    let server = list.server().command(level.usage("loglevel <level>").help("how much is logged").role(Role::Kill));
    let ask = served(server.command(broken).command(logs.on_rows()));
    let commands = ask.get("/commands").await.json();
    assert_eq!(
        commands["commands"][0],
        json!({"name": "loglevel", "usage": "loglevel <level>", "help": "how much is logged", "role": "kill", "onRows": false})
    );
    assert_eq!((&commands["commands"][2]["name"], &commands["commands"][2]["onRows"]), (&json!("logs"), &json!(true)));
    let post = async |name: &str, body: &str| ask.clone().body(body).ask("POST", &format!("/commands/{name}")).await;
    let good = post("LogLevel", " debug \n").await;
    assert_eq!((good.status, good.text.as_str()), (StatusCode::OK, "log \\x1b level debug\n"));
    assert_eq!(good.header("content-type"), "text/plain; charset=utf-8");
    let bad = post("loglevel", "loud").await;
    assert_eq!((bad.status, bad.text.as_str()), (StatusCode::BAD_REQUEST, "no such level 'loud'\n"));
    assert_eq!(post("broken", "").await.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(post("nope", "").await.status, StatusCode::NOT_FOUND);
    assert_eq!(post("logs", "re\\x20q1 all").await.text, "re q1 all\n\\x07\n");
    assert_eq!(post("logs", "req9").await.status, StatusCode::NOT_FOUND);
    for body in ["", "where id~r", "@7f3a", "a\nb"] {
        assert_eq!(post("logs", body).await.status, StatusCode::BAD_REQUEST, "{body}");
    }
    drop(task);
}

#[tokio::test]
async fn a_command_that_takes_long_says_so_after_5_s_and_is_stopped_with_its_client() {
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    let tell = std::sync::Mutex::new(Some(tell));
    let slow = PortCommand::new("sluggish", move |_: Invocation| {
        let tell = tell.lock().expect("no panic").take();
        async move {
            let _told_when_dropped = tell;
            tokio::time::sleep(Duration::from_secs(600)).await;
            Ok("done")
        }
    });
    let ask = served(ProcList::new().server().command(slow));
    let mut body = ask.send("POST", "/commands/sluggish").await.into_body();
    let frame = body.frame().await.expect("a line").expect("is whole").into_data().expect("text");
    assert_eq!(frame, "sluggish is still running after 5s\n");
    drop(body);
    tokio::time::timeout(SOON, told).await.expect("it is stopped").expect_err("it never answers");
}

#[tokio::test]
async fn metrics_are_open_metrics_and_counted_once() {
    let list = ProcList::new();
    let (running, killed, ended) = (list.start("a"), list.start("b"), list.start("c"));
    list.kill("b", "").expect("is running");
    killed.check().expect_err("was killed");
    list.kill("a", "").expect("is running");
    drop((killed, ended));
    let ask = serve(&list);
    let metrics = ask.get("/metrics").await;
    assert!(metrics.header("content-type").starts_with("application/openmetrics-text; version=1.0.0"));
    assert!(metrics.text.ends_with("# EOF\n"));
    for line in [
        "# TYPE pm_tasks_running gauge",
        "pm_tasks_running 1",
        "pm_tasks_being_killed 1",
        "# TYPE pm_tasks_started counter",
        "pm_tasks_started_total 3",
        "pm_tasks_ended_total{outcome=\"ended\"} 1",
        "pm_tasks_ended_total{outcome=\"killed\"} 1",
        "pm_tasks_ended_total{outcome=\"panicked\"} 0",
        "# UNIT pm_oldest_task_seconds seconds",
        "pm_clients 1",
    ] {
        assert!(
            metrics.text.lines().any(|shown| shown.strip_suffix(".0").unwrap_or(shown) == line),
            "{line} is not in\n{}",
            metrics.text
        );
    }
    let stats = ask.get("/stats").await.json();
    assert_eq!((&stats["running"], &stats["killed"], &stats["oldest"]["id"]), (&json!(1), &json!(1), &json!("a")));
    let done = ask.get("/done?limit=1").await.json();
    assert_eq!((done["done"].as_array().map(Vec::len), &done["done"][0]["outcome"]), (Some(1), &json!("ended")));
    drop(running);
}

#[tokio::test]
async fn nested_it_wants_a_token_and_the_peer() {
    let list = ProcList::new();
    let task = list.start("req1");
    let nest = async |pm: pm::http::HttpService, with_peer: bool| {
        let app = Router::new().nest_service("/deep/pm", pm);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("is bound");
        tokio::spawn(async move {
            match with_peer {
                true => axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await,
                false => axum::serve(listener, app).await,
            }
        });
        Ask::at(addr)
    };
    let bare = nest(list.server().http(), true).await;
    for path in ["/deep/pm", "/deep/pm/procs/", "/deep/pm/nope"] {
        let answer = bare.get(path).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
        assert!(answer.text.contains("wants a token"), "{}", answer.text);
    }
    let nameless = nest(list.server().kill_token("strike").http(), false).await.token("strike");
    assert!(nameless.get("/deep/pm/procs/").await.text.contains("into_make_service_with_connect_info"));
    let nested = nest(list.server().kill_token("strike").http(), true).await.token("strike");
    assert_eq!(nested.get("/deep/pm/procs/").await.json()["procs"][0]["id"], "req1");
    assert_eq!(nested.get("/deep/pm").await.header("location"), "/deep/pm/");
    assert_eq!(nested.get("/deep/pm/procs").await.header("location"), "/deep/pm/procs/");
    assert!(nested.get("/deep/pm/").await.text.contains("page/app.js"));
    let mut events = Events::open(&nested, "/deep/pm/events").await;
    assert_eq!(events.next().await.expect("a list").1["procs"][0]["id"], "req1");
    let killed = nested.clone().body(r#"{"message":"x"}"#).delete("/deep/pm/procs/req1").await;
    assert_eq!(killed.status, StatusCode::OK);
    let killing = list.get("req1").and_then(|task| task.killing).expect("is being killed");
    assert!(killing.by.is_some_and(|by| by.address.is_some()), "the audit knows the peer");
    drop(task);
}

#[test]
fn nested_it_outlives_the_runtime_of_its_first_request() {
    let list = ProcList::new();
    let task = list.start("req1");
    let mut nested = list.server().kill_token("strike").http();
    for _ in 0..2 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            for path in ["/procs/", "/stats", "/events"] {
                let request =
                    Request::builder().uri(path).header("host", "localhost").header("authorization", "Bearer strike");
                let mut request = request.body(Full::new(Bytes::new())).expect("a request");
                let peer = axum::extract::ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 1)));
                request.extensions_mut().insert(peer);
                let answer = tower::Service::call(&mut nested, request).await.expect("it never fails");
                assert_eq!(answer.status(), StatusCode::OK, "{path}");
                let frame = answer.into_body().frame().await.expect("a body").expect("is whole");
                assert!(frame.into_data().is_ok_and(|data| !data.is_empty()), "{path}");
            }
        });
    }
    drop(task);
}

#[tokio::test]
async fn without_a_token_a_connection_is_closed_after_10_s() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let ask = served(ProcList::new().server().see_token("look"));
    let mut silent = tokio::net::TcpStream::connect(ask.addr).await.expect("it listens");
    let mut guessing = tokio::net::TcpStream::connect(ask.addr).await.expect("it listens");
    guessing.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("it listens");
    let mut text = String::new();
    tokio::time::timeout(SOON, guessing.read_to_string(&mut text)).await.expect("it is closed").expect("text");
    assert!(text.starts_with("HTTP/1.1 200 "), "the page is for all: {text}");
    let silence = tokio::time::timeout(SOON, silent.read(&mut [0; 100])).await.expect("it is closed");
    assert!(matches!(silence, Ok(0) | Err(_)), "{silence:?}");
    // One that is known stays.
    let mut events = Events::open(&ask.clone().token("look"), "/events?delay=1s").await;
    assert!(events.next().await.is_some());
    let until = Instant::now() + Duration::from_secs(12);
    while Instant::now() < until {
        let frame = events.body.frame().await.expect("it goes on").expect("is whole");
        assert!(frame.into_data().is_ok());
    }
}

#[tokio::test]
async fn what_cannot_be_served_says_so() {
    let list = ProcList::new();
    let taken = || PortCommand::new("kill", |_: Invocation| async { Ok("") });
    let faults = [
        list.server().allow_host("a b"),
        list.server().allow_origin("pm.example"),
        list.server().peers(["b; script-src *"]),
        list.server().see_token(" x"),
        list.server().command(taken()),
    ];
    for server in faults {
        let error = server.clone().bind_http(":0").await.expect_err("it cannot be served");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{error}");
        let mut nested = server.http();
        let request =
            Request::builder().uri("/").header("host", "localhost").body(Full::new(Bytes::new())).expect("a request");
        let answer = tower::Service::call(&mut nested, request).await.expect("it never fails");
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
    let open = list.server().bind_http("0.0.0.0:0").await.expect_err("whoever reaches it could kill");
    assert_eq!(open.kind(), std::io::ErrorKind::PermissionDenied);
    assert!(list.server().kill_token("strike").bind_http("0.0.0.0:0").await.is_ok());
}

#[tokio::test]
async fn one_client_too_many_is_told_so() {
    let list = ProcList::new();
    let ask = served(list.server().max_connections(1));
    let mut events = Events::open(&ask, "/events").await;
    assert!(events.next().await.is_some());
    let refused = ask.get("/procs/").await;
    assert_eq!((refused.status, refused.text.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "too many connections\n"));
    drop(events);
    let until = Instant::now() + SOON;
    while ask.get("/procs/").await.status != StatusCode::OK {
        assert!(Instant::now() < until, "the place is free again");
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_dropped() {
    let list = ProcList::new();
    let tasks: Vec<_> = (0..40_000).map(|n| list.start(format!("t{n}")).col("x", "x".repeat(200))).collect();
    let ask = served(list.server().max_connections(1));
    let mut deaf = TcpStream::connect(ask.addr).expect("it listens");
    deaf.write_all(b"GET /procs/ HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it listens");
    let until = Instant::now() + Duration::from_secs(60);
    while ask.get("/stats").await.status != StatusCode::OK {
        assert!(Instant::now() < until, "its place is free again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop((deaf, tasks));
}

#[tokio::test]
async fn the_objects_are_those_of_the_command_json() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let list = ProcList::new();
    let plain = list.start("a").col("uri", "/\u{202e}\"\\\t漢");
    let killed = list.start("b");
    plain.set_status("merging\n");
    plain.progress(16, 50);
    let child = plain.child("part1");
    list.kill("b", "too \u{1b} slow").expect("is running");
    let ask = serve(&list);
    let port = list.spawn(":0").expect("a free port");
    let mut stream = tokio::net::TcpStream::connect(port).await.expect("it listens");
    stream.write_all(b"json\nquit\n").await.expect("it listens");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("text");
    let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(lines.iter().map(|line| &line["progress"]["done"]).filter(|done| **done == 16).count(), 1, "{text}");
    assert_eq!(ask.get("/procs/a").await.json()["children"], json!(["a/part1"]));
    assert_eq!(ask.get("/procs/a/part1").await.json()["parent"], json!("a"));
    for line in lines {
        let whole = ask.get(&format!("/procs/{}", line["id"].as_str().expect("text"))).await.json();
        for (name, value) in line.as_object().expect("an object") {
            match name.as_str() {
                // They go on, and a time of a status is computed anew each time.
                "time" | "in_status" | "statusTime" => assert!(whole.get(name).is_some(), "{name}"),
                "killing" => assert_eq!(whole[name]["message"], value["message"]),
                _ => assert_eq!(&whole[name], value, "{name}"),
            }
        }
        let more = ["children", "folded", "history", "profile", "serverTime", "site"];
        let row: Vec<&str> = names(&whole).into_iter().filter(|name| !more.contains(name)).collect();
        assert_eq!(row, names(&line));
    }
    drop((plain, killed, child));
}

#[tokio::test]
async fn what_ended_is_found_by_an_expression_and_rates_are_told() {
    let list = ProcList::new();
    for id in ["a", "b", "c"] {
        let task = list.start(id).col("uri", format!("/{id}"));
        if id == "b" {
            list.kill(id, "too slow").expect("is running");
            task.check().expect_err("was killed");
        }
        drop(task);
    }
    let ask = serve(&list);
    let killed = ask.get("/done?where=outcome=killed%20and%20uri~b").await.json();
    assert_eq!((killed["done"].as_array().map(Vec::len), &killed["done"][0]["id"]), (Some(1), &json!("b")));
    let wrong = ask.get("/done?where=tme=1").await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert!(wrong.text.starts_with("invalid expression at 'tme'"), "{}", wrong.text);
    let stats = ask.get("/stats").await.json();
    for window in ["last10s", "lastMinute"] {
        let counts = ["started", "ended", "killed"].map(|name| stats[window][name].as_u64());
        assert_eq!(counts, [Some(3), Some(2), Some(1)], "{stats}");
    }
}

#[tokio::test]
async fn methods_other_than_those_of_http_1_do_no_harm() {
    let ask = serve(&ProcList::new());
    for method in ["HEAD", "TRACE", "CONNECT", "PROPFIND"] {
        let Ok(method) = method.parse::<Method>() else { continue };
        if method == Method::CONNECT {
            continue; // a client of hyper's makes a tunnel of it
        }
        let status = ask.ask(method.as_str(), "/procs/").await.status;
        assert!(status == StatusCode::OK || status == StatusCode::METHOD_NOT_ALLOWED, "{method} {status}");
    }
}

#[test]
#[ignore = "needs root, setpriv, and nc (netcat-openbsd)"]
fn another_user_of_the_machine_is_told_why_and_turned_away() {
    use std::process::{Command, Stdio};
    let list = ProcList::new();
    let task = list.start("req1");
    let addr = list.server().see_users(["65534"]).spawn_http(":0").expect("a free port");
    let ask_as = |uid: &str, method: &str| {
        let port = addr.port().to_string();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", uid, "--clear-groups", "nc", "-w", "20", "127.0.0.1", &port]);
        let mut nc =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("setpriv and nc are installed");
        let request = format!("{method} /procs/req1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        nc.stdin.as_mut().expect("is piped").write_all(request.as_bytes()).expect("nc reads");
        String::from_utf8(nc.wait_with_output().expect("nc ends").stdout).expect("text")
    };
    let stranger = ask_as("54321", "DELETE");
    assert!(stranger.starts_with("HTTP/1.1 403 "), "{stranger}");
    assert!(stranger.contains("forbidden: uid 54321 may not see this processlist"), "{stranger}");
    assert!(ask_as("65534", "GET").starts_with("HTTP/1.1 200 "));
    assert!(ask_as("65534", "DELETE").contains("forbidden: you may see, not kill"));
    assert!(!task.is_being_killed());
    assert!(ask_as("0", "DELETE").starts_with("HTTP/1.1 200 "));
    assert!(task.is_being_killed());
}
