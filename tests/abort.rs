//! A program built with `panic = "abort"` cannot unwind, and says so.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

#[test]
fn without_unwinding_the_other_kill_points_work_and_the_reply_says_so() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--locked", "--manifest-path"])
        .arg(root.join("tests/abort/Cargo.toml"))
        .arg("--target-dir")
        .arg(root.join("target/abort"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
