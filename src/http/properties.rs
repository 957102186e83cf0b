//! Properties: what must hold whatever is requested. Checked by proptest here, and by a fuzzer in fuzz/.
//!
//! It panics when it does not hold.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use tower_service::Service as _;

use crate::access::Role;
use crate::list::ProcList;
use crate::port_command::{Invocation, PortCommand};

/// A request is answered with a status of ours and harmless text, whatever it is; a client that may only see kills
/// nobody and learns no secret. `input` is a request as it would be sent, with bare line feeds.
pub fn request(input: &[u8]) {
    let (head, body) = match input.windows(2).position(|pair| pair == b"\n\n") {
        Some(at) => (&input[..at], &input[at + 2..]),
        None => (input, &b""[..]),
    };
    let Ok(head) = std::str::from_utf8(head) else { return };
    let mut lines = head.lines();
    let (method, uri) = lines.next().unwrap_or_default().split_once(' ').unwrap_or(("GET", "/"));
    let mut request = Request::builder().method(method).uri(uri).header("host", "localhost");
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        request = request.header(name, value);
    }
    let Ok(request) = request.body(Full::new(Bytes::copy_from_slice(body))) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let list = ProcList::new();
        list.set_cols(["uri", "\x1b[2J"]);
        let tasks = ["a", "b/c", "\u{202e}\n"].map(|id| list.start(id).col("uri", "/\u{9b}").secret_col("s", "8e2b4f"));
        let command = PortCommand::new("echo", |call: Invocation| async move { Ok(call.args) });
        let mut http = list.server().command(command).http();
        let request = http.as_if_from(request, Role::See);
        let response = http.call(request).await.expect("it never fails");
        let status = response.status().as_u16();
        assert!(matches!(status, 200 | 204 | 301 | 400 | 403 | 404 | 405 | 413), "{status}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        let mut body = response.into_body();
        let mut text = Vec::new();
        let reading = async {
            // A stream of events goes on.
            while let Some(frame) = body.frame().await {
                text.extend_from_slice(&frame.expect("is whole").into_data().unwrap_or_default());
            }
        };
        _ = tokio::time::timeout(Duration::from_millis(20), reading).await;
        let text = String::from_utf8(text).expect("only text is sent");
        assert!(text.chars().all(|c| c == '\n' || !(c.is_control() || c == '\u{202e}')), "{text:?}");
        // An expression may have it, and is said back.
        assert!(!text.contains("8e2b4f") || input.windows(6).any(|word| word == b"8e2b4f"), "{text}");
        assert!(tasks.iter().all(|task| !task.is_being_killed()));
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn request(
            method in "(GET|GET|GET|HEAD|POST|DELETE|OPTIONS|[A-Z]{1,8})",
            path in "/(procs|procs/|procs/a|procs/b%2Fc|procs/b/c/history|done|stats|metrics|events|commands|commands/echo|page/app.js||[!-~]{0,20})/?",
            query in "(\\?((where|sort|limit|wait|delay)=[!-~]{0,12}&?){0,3})?",
            headers in proptest::collection::vec(
                "((origin|host|sec-fetch-site|sec-fetch-mode|authorization|content-type): ?(null|localhost|none|navigate|http://localhost|\\PC{0,12}))", 0..3),
            body in "(\\{\"message\":\"\\PC{0,8}\"\\}|\\PC{0,20})?",
        ) {
            super::request(format!("{method} {path}{query}\n{}\n\n{body}", headers.join("\n")).as_bytes());
        }
    }
}
