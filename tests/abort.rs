//! A program built with `panic = "abort"` cannot unwind, and says so.
#![allow(missing_docs, clippy::unwrap_used)]

use std::process::Command;

#[test]
fn without_unwinding_the_other_kill_points_work_and_the_reply_says_so() {
    let output = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["run", "--quiet", "--example", "panic_abort", "--profile", "abort"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
