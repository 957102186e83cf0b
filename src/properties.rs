//! Properties: what must hold whatever comes in. Checked by proptest here, and by the fuzzers in fuzz/.
//!
//! Each panics when it does not hold.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use unicode_width::UnicodeWidthStr;

use crate::access::{Access, Admitted, PeerLookup, Role};
use crate::clock::Moment;
use crate::columns::Clearance;
use crate::escape;
use crate::list::ProcList;
use crate::pace::Pace;
use crate::peer::Peer;
use crate::service::Service;
use crate::session;
use crate::view::expr::Expr;
use crate::view::field::Fields;
use crate::view::{View, json, table};

/// Nothing that leaves acts on the terminal, an id is found again by its
/// name, and no cell is wider than a cell.
pub fn escaping(text: &str) {
    let is_harmless =
        |shown: &str| shown.bytes().all(|byte| byte >= 0x20 && byte != 0x7f) && !shown.contains(char::is_control);
    for shown in [escape::plain(text), escape::quoted(text), escape::echo(text), escape::id(text)] {
        let shown = shown.to_string();
        assert!(is_harmless(&shown), "{shown:?}");
    }
    assert_eq!(escape::parse_id(&escape::id(text).to_string()).as_deref(), Some(text));
    assert!(escape::echo(text).to_string().width() <= escape::CELL);
    let quoted = escape::quoted(text).to_string();
    assert!(quoted.len() >= 2 && quoted.starts_with('"') && quoted.ends_with('"'));

    let list = ProcList::new();
    list.set_cols([text]);
    let task = list.start(text).col(text, text);
    task.set_status(text.to_string());
    let _ = list.kill(task.id(), text);
    let view = View::new(10, Clearance::Secret);
    let table = Pace::in_one_piece(async |pace| table::render(&list, &view, pace).await);
    let json = Pace::in_one_piece(async |pace| json::render(&list, &view, pace).await);
    for whole in [table, json] {
        assert!(whole.lines().all(is_harmless) && whole.ends_with('\n'), "{whole:?}");
    }
}

/// An expression is understood or answered with one harmless line that says
/// where the mistake is; and what is understood can be asked of any task.
pub fn expression(text: &str) {
    let list = ProcList::new();
    list.set_cols(["host", "uri", "bytes"]);
    let task = list.start("a").col("host", "::1").col("bytes", 17);
    let parsed = Expr::parse(text, Fields::of(&list, Clearance::Public));
    match parsed {
        Ok(expr) => {
            let now = Moment::now();
            let ask = |expr: &Expr| list.entries()[0].with_live(|row| expr.holds(row, now, Clearance::Public));
            let holds = ask(&expr).expect("it is running");
            // What it means does not depend on the reader, and its negation is the opposite.
            assert_eq!(ask(&Expr::Not(Box::new(expr.clone()))), Some(!holds));
            let again = Expr::parse(&format!("({text})"), Fields::of(&list, Clearance::Public));
            assert!(
                again.is_ok_and(|again| again == expr) || text.matches(['(', ')']).count() + text.len() / 4 > 60,
                "one pair of parentheses more says the same"
            );
        }
        Err(invalid) => {
            let reply = invalid.to_string();
            assert!(reply.starts_with("invalid expression at ") && !reply.contains(char::is_control), "{reply:?}");
        }
    }
    drop(task);
}

/// A session that is fed `input`, so many bytes at a time, ends; it sends
/// whole lines of harmless text, and kills no task that is not named.
pub fn session(input: &[u8], piece: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let list = ProcList::new();
        list.set_cols(["uri", "\x1b[2J"]);
        let tasks =
            ["a", "b c", "\u{202e}\n"].map(|id| list.start(id).col("uri", "/\x07").secret_col("\x1b[2J", "\r\n"));
        let kept = list.start("a task whose name is so long that nobody types it by chance");
        let (lookup, delay) = (PeerLookup::open(), Duration::from_secs(3));
        let (service, worker) = Service::new(list.clone(), Access::default(), lookup, delay, 1000, Vec::new());
        tokio::spawn(worker.run());
        let (near, far) = tokio::io::duplex(1 << 16);
        let admitted = Admitted { role: Some(Role::Kill), peer: Arc::new(Peer { user: None, address: None }) };
        let serving = tokio::spawn(session::run(near, service, admitted));
        let (mut reader, mut writer) = tokio::io::split(far);
        let input = input.to_vec();
        let typing = tokio::spawn(async move {
            for piece in input.chunks(piece.max(1)) {
                if writer.write_all(piece).await.is_err() {
                    return; // ten faults, or a browser
                }
                tokio::task::yield_now().await;
            }
            let _ = writer.shutdown().await;
        });
        let mut output = Vec::new();
        reader.read_to_end(&mut output).await.expect("the pipe is whole");
        typing.await.expect("no panic");
        serving.await.expect("no panic").expect("the pipe is whole");
        let output = String::from_utf8(output).expect("only text is sent");
        let text = undrawn(&output);
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{output:?}");
        assert!(kept.check().is_ok(), "nobody has named it");
        drop(tasks);
    });
}

/// `output` without what `top` draws with, and without the line ends of HTTP.
fn undrawn(output: &str) -> String {
    let (own, http) = output.split_at(output.find("HTTP/1.1 400 Bad Request\r\n").unwrap_or(output.len()));
    let mut text = (own.to_string() + &http.replace("\r\n", "\n")).replace("\x1b7", "").replace("\x1b8", "");
    for sequence in ["\x1b[K", "\x1b[2J"] {
        text = text.replace(sequence, "");
    }
    let mut rest = text.as_str();
    let mut left = String::new();
    while let Some(at) = rest.find("\x1b[") {
        left.push_str(&rest[..at]);
        let after = rest[at + 2..].trim_start_matches(|c: char| c.is_ascii_digit());
        rest = after.strip_prefix(";1H").expect("the address of a row");
    }
    left + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn escaping(text in any::<String>()) {
            super::escaping(&text);
        }

        #[test]
        fn expression(text in "([ ()'\"\\\\=~!<>]|and|or|not|id|time|host|bytes|1s|17|\\PC){0,40}") {
            super::expression(&text);
        }

        #[test]
        fn session(
            lines in proptest::collection::vec(prop_oneof![
                "(kill|kill where|kill @|delay|where|sort|limit|cols|by|show|done|slow|top|auth) ?[-a-c=~:()'\"0-9 @\\\\]{0,20}",
                "(list|stats|audit|json|plain|help||top|top 1 20)",
                "\\PC{0,30}",
            ], 0..12),
            noise in proptest::collection::vec(any::<u8>(), 0..40),
            piece in 1_usize..40,
        ) {
            let mut input = lines.join("\n").into_bytes();
            input.extend(noise);
            super::session(&input, piece);
        }
    }
}
