//! The page with many rows, in headless Chromium: what keeps its main thread busy, and which frames are late.
//!
//! `cargo bench --bench page --features http [-- ROWS CHANGES_PER_SECOND]`, 10,000 and 1,000 unless told otherwise. Needs
//! chromium and chromedriver. Ten seconds each: rows that change, scrolling while they do, and a click on a header.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]

#[path = "../tests/browser/mod.rs"]
#[allow(dead_code)]
mod browser;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use browser::Browser;
use serde_json::Value;

/// What is measured: long tasks (over 50 ms), and frames that come later than 1.5 times the usual distance.
const BEGIN: &str = "
    window.seen = { long: [], frames: [] };
    window.observer = new PerformanceObserver((list) => seen.long.push(...list.getEntries().map((entry) => entry.duration)));
    observer.observe({ entryTypes: ['longtask'] });
    let last = performance.now();
    window.going = true;
    const frame = (now) => { seen.frames.push(now - last); last = now; if (window.going) requestAnimationFrame(frame); };
    requestAnimationFrame(frame);";
const END: &str = "
    window.going = false;
    observer.disconnect();
    const frames = seen.frames.slice(2).sort((a, b) => a - b);
    const at = (q) => frames[Math.floor((frames.length - 1) * q)];
    const usual = at(0.5);
    return { frames: frames.length, usual, late: frames.filter((took) => took > usual * 1.5).length, p99: at(0.99), worst: at(1),
        long: seen.long.length, longest: Math.max(0, ...seen.long), elements: document.querySelectorAll('*').length,
        heap: performance.memory ? performance.memory.usedJSHeapSize / 1e6 : 0 };";
const SCROLL: &str = "
    const grid = document.querySelector('.grid');
    let step = 900;
    window.scrolling = setInterval(() => {
        if (grid.scrollTop + grid.clientHeight >= grid.scrollHeight - 1) step = -900;
        if (grid.scrollTop === 0) step = 900;
        grid.scrollBy(0, step);
    }, 16);";
const SORT: &str = "
    let n = 0;
    window.sorting = setInterval(() => { document.querySelectorAll('.head .sort')[n++ % 4].click(); }, 500);";

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1).filter_map(|arg| arg.parse::<u64>().ok());
    let (rows, changes) = (args.next().unwrap_or(10_000), args.next().unwrap_or(1_000));
    let list = pm::ProcList::new();
    list.set_cols(["host", "method", "uri"]);
    let start = |n: u64| {
        let method = ["GET", "POST", "PUT"][n as usize % 3];
        list.start(format!("req{n}"))
            .col("host", "127.0.0.1:18364")
            .col("method", method)
            .col("uri", format!("/users/{n}"))
    };
    let mut tasks: Vec<_> = (0..rows).map(start).collect();
    let addr = list.spawn_http(":0").unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let changing = thread::spawn({
        let (is_over, list) = (Arc::clone(&is_over), list.clone());
        move || {
            let mut n = 0_u64;
            while !is_over.load(Ordering::Relaxed) {
                let at = (n * 7919 % rows) as usize;
                match n % 4 {
                    // One in four is replaced.
                    0 => tasks[at] = list.start(format!("new{n}")).col("method", "GET").col("uri", format!("/new/{n}")),
                    _ => tasks[at].set_status(["querying", "merging", "rendering"][n as usize % 3]),
                }
                n += 1;
                thread::sleep(Duration::from_secs(1) / changes.max(1) as u32);
            }
        }
    });
    let browser = Browser::open(addr).await;
    browser.shows(".counts", "running").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    println!("{rows} rows, {changes} changes a second, 10 s each:");
    for (what, begin, end) in [
        ("rows change", "", ""),
        ("scrolling meanwhile", SCROLL, "clearInterval(window.scrolling);"),
        ("sorting meanwhile", SORT, "clearInterval(window.sorting);"),
    ] {
        browser.script(&format!("{BEGIN}{begin}")).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        report(what, &browser.script(&format!("{end}{END}")).await);
    }
    is_over.store(true, Ordering::Relaxed);
    changing.join().unwrap();
}

fn report(what: &str, seen: &Value) {
    let number = |name: &str| seen[name].as_f64().unwrap_or_default();
    println!(
        "{what:<20} {} frames, one every {:.1} ms, {} late (p99 {:.1} ms, worst {:.1} ms); {} long tasks, longest {:.0} ms; \
         {} elements, heap {:.0} MB",
        number("frames"),
        number("usual"),
        number("late"),
        number("p99"),
        number("worst"),
        number("long"),
        number("longest"),
        number("elements"),
        number("heap")
    );
}
