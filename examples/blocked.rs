//! A program that hangs: every worker of its runtime is blocked, and the list still answers.
//!
//! ```text
//! cargo run --example blocked                # [PM_ADDR]
//!
//! nc localhost 8081                          # who waits for what, and for how long
//! ```
//!
//! Two requests take the same two locks, each the other one first. `pm::spawn` serves from a
//! thread and a runtime of its own, so it does not hang with them. A kill cannot help here, as the code that waits
//! has no kill point: it says so after five seconds.
#![allow(clippy::print_stdout, dead_code)]

use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use tokio::runtime::{Builder, Runtime};

fn main() -> std::io::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8081".to_string());
    pm::set_cols(["uri"]);
    let addr = pm::spawn(addr)?;
    let runtime = hang(pm::global())?;
    println!("the program hangs. processlist: nc {} {}", addr.ip(), addr.port());
    // Nothing that is spawned from now on is ever run.
    runtime.spawn(async { println!("this is never printed") });
    loop {
        thread::park();
    }
}

/// A runtime of two workers, both of which wait for ever.
pub fn hang(list: &pm::ProcList) -> std::io::Result<Runtime> {
    let runtime = Builder::new_multi_thread().worker_threads(2).build()?;
    let locks = Arc::new([Mutex::new("orders"), Mutex::new("stock")]);
    let both_have_one = Arc::new(Barrier::new(2));
    for (id, first, second) in [("buy", 0, 1), ("return", 1, 0)] {
        let (list, locks, both_have_one) = (list.clone(), Arc::clone(&locks), Arc::clone(&both_have_one));
        runtime.spawn(async move {
            let task = list.start(id).col("uri", format!("/{id}"));
            let has = locks[first].lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            both_have_one.wait();
            let wants = if *has == "orders" { "stock" } else { "orders" };
            task.set_status(format!("has {has}, waits for {wants}"));
            let _never = locks[second].lock();
        });
    }
    Ok(runtime)
}
