//! Examples: a kill that ends a query in the database, and leaves the connection fit for the next one.
//!
//! docs/what-a-kill-reaches.md explains them. `cargo run -p pm-databases --example sqlite` shows one at work.

pub mod postgres;
pub mod sqlite;
