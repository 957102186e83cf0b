//! Frames: whose code the functions on a stack are, and what they are called.

use super::names;
use crate::escape;

/// Where the code of this crate lies.
pub(super) const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/");

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    /// With its path; without it where it is inlined and the program has line tables only.
    pub(super) function: String,
    /// As it is printed: that of a dependency begins with its name and version. Empty if it is not known.
    pub(super) file: String,
    pub(super) line: u32,
    pub(super) origin: Origin,
    /// The crate that it is of; empty if that is not known.
    pub(super) krate: String,
}

/// What is said of a leaf.
pub(super) const RUNNABLE: &str = " (runnable, not parked: it has let others have a turn)";
pub(super) const UNSEEN: &str = " (where the futures in it are parked cannot be seen)";
pub(super) const ELSEWHERE: &str = " (of what was spawned: where that is parked cannot be seen from here)";

/// Whose code a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Std,
    Ours,
    Dependency,
    Program,
}

impl Frame {
    pub(super) fn new(raw_name: &str, path: &str, line: u32) -> Self {
        let function = names::demangle(raw_name);
        let registered = path.split_once("/registry/src/").and_then(|(_, path)| path.split_once('/'));
        let file = registered.map_or_else(|| within_package(path), |(_, file)| file);
        let krate = match registered {
            Some((_, file)) => name_of_package(file.split('/').next().unwrap_or_default()).to_string(),
            None if path.starts_with(pm_probe_waker::SOURCE) => "pm-probe-waker".to_string(),
            None if path.starts_with(SOURCE) => "pm".to_string(),
            // The paths may be others than at the build of this crate, or none.
            None => match function.trim_start_matches(['<', '&']).split([':', '<', ' ']).next().unwrap_or_default() {
                "pm_probe_waker" => "pm-probe-waker".to_string(),
                name if name == "pm" || path.is_empty() => name.to_string(),
                _ => String::new(),
            },
        };
        let origin = match krate.as_str() {
            "pm" | "pm-probe-waker" | "backtrace" => Origin::Ours,
            "core" | "std" | "alloc" | "__rust_try" => Origin::Std,
            _ if path.contains("/rustc/") || path.contains("/library/std/src/") => Origin::Std,
            name if path.is_empty() && (name == "tokio" || name.starts_with("futures")) => Origin::Dependency,
            _ if registered.is_some() => Origin::Dependency,
            _ => Origin::Program,
        };
        Frame { function, file: file.to_string(), line, origin, krate }
    }
}

impl Frame {
    pub(super) fn line(&self) -> String {
        let name = self.name();
        let function = escape::plain(&name);
        match self.file.as_str() {
            "" => format!("    {function}"),
            file => format!("    {function} at {}:{}", escape::plain(file), self.line),
        }
    }

    pub(super) fn name(&self) -> String {
        match self.function.starts_with('<') {
            true => self.type_name(),
            false => without_generics(&self.function),
        }
    }

    pub(super) fn has_path(&self) -> bool {
        self.function.starts_with('<') || without_generics(&self.function).contains("::")
    }

    /// The function of the probe that a leaf has called.
    pub(super) fn is_the_clone(&self) -> bool {
        self.function == "pm_probe_waker::clone"
    }

    /// It is of one of these modules of tokio or futures.
    fn is_of(&self, modules: &[&str]) -> bool {
        if self.origin != Origin::Dependency || !(self.krate == "tokio" || self.krate.starts_with("futures")) {
            return false;
        }
        let module = match self.file.split_once("/src/") {
            Some((_, file)) => file.trim_end_matches(".rs").replace('/', "::"),
            None => self.path().split_once("::").map_or(String::new(), |(_, path)| path.to_string()),
        };
        let is_of = |of: &str| module.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        modules.iter().any(|of| is_of(of))
    }

    /// This crate itself waits, for a kill or an end.
    pub(super) fn is_own_wait(&self) -> bool {
        let path = self.function.trim_start_matches('<');
        ["pm::entry::", "pm::waiters::", "pm::wait::"].iter().any(|module| path.starts_with(module))
    }

    /// It is of a future of this crate's that the program awaits, for the kill or the end of a task.
    pub(super) fn is_awaited(&self) -> bool {
        let modules = ["wait", "pending_kill"];
        let is_file = |module: &&str| self.file.strip_suffix(".rs").is_some_and(|file| file == format!("src/{module}"));
        let path = self.function.trim_start_matches('<');
        modules.iter().any(|module| is_file(module) || path.starts_with(&format!("pm::{module}::")))
    }

    /// It says nothing of what is parked: of the standard library, or of tokio's turns.
    pub(super) fn is_transparent(&self) -> bool {
        self.origin == Origin::Std || self.is_of(&["task::coop"])
    }

    /// It keeps a waker for another one, which is the leaf.
    pub(super) fn is_cell(&self) -> bool {
        self.is_of(&["sync::task::atomic_waker", "task::__internal::atomic_waker"])
    }

    /// It polls another future or reader, which is the leaf.
    pub(super) fn is_combinator(&self) -> bool {
        self.is_of(&[
            "macros",
            "future",
            "stream",
            "sink",
            "time::timeout",
            "io::util",
            "io::async_read",
            "io::async_buf_read",
            "io::async_write",
        ])
    }

    /// It keeps no waker itself.
    pub(super) fn only_polls(&self) -> bool {
        self.is_of(&["macros", "future", "stream::stream", "time::timeout"])
    }

    /// What must be said of a leaf where this is.
    pub(super) fn remark(&self) -> &'static str {
        match () {
            () if self.is_of(&["runtime::scheduler::defer"]) => RUNNABLE,
            () if self.is_of(&["stream::futures_unordered", "stream::futures_ordered", "future::future::shared"]) => {
                UNSEEN
            }
            () if self.is_of(&["runtime::task::join", "runtime::task::raw", "task::join_set"]) => ELSEWHERE,
            () => "",
        }
    }

    /// What only combines futures: `join!`, `select!`, streams.
    pub(super) fn is_glue(&self) -> bool {
        let crates = ["tokio", "tokio-util", "tokio-stream", "tokio_util", "tokio_stream", "futures"];
        let is_one = crates.contains(&self.krate.as_str()) || self.krate.starts_with("futures-");
        self.origin == Origin::Dependency && (is_one || self.krate.starts_with("futures_"))
    }

    /// The type that is polled; its module, if that is all that is known.
    pub(super) fn type_name(&self) -> String {
        if !self.has_path() {
            let (_, file) = self.file.split_once("/src/").unwrap_or(("", &self.file));
            let module = file.trim_end_matches(".rs").trim_end_matches("/mod").trim_end_matches("lib");
            let krate = self.krate.replace('-', "_");
            return format!("{krate}::{}", module.replace('/', "::")).trim_end_matches(':').to_string();
        }
        let path = self.path();
        match self.function.starts_with('<') {
            true => path,
            false => path.rsplit_once("::").map_or(path.clone(), |(before, _)| before.to_string()),
        }
    }

    /// The path of the function; of a method of a trait that of its type, or of the trait if the type is a parameter.
    fn path(&self) -> String {
        let Some(method) = self.function.strip_prefix('<') else { return without_generics(&self.function) };
        let (of, is_for) = method.split_once(" as ").unwrap_or((method, ""));
        let path = without_generics(of.trim_end_matches('>'));
        if path.contains("::") { path } else { without_generics(is_for.split('>').next().unwrap_or(is_for)) }
    }
}

/// A path without what stands between angle brackets.
fn without_generics(path: &str) -> String {
    let mut depth = 0_u32;
    path.chars()
        .filter(|c| {
            match c {
                '<' => depth += 1,
                '>' => {
                    depth = depth.saturating_sub(1);
                    return false;
                }
                _ => {}
            }
            depth == 0
        })
        .collect()
}

/// `tokio` of `tokio-1.48.0`.
fn name_of_package(folder: &str) -> &str {
    let version = folder.match_indices('-').find(|(at, _)| folder[at + 1..].starts_with(|c: char| c.is_ascii_digit()));
    version.map_or(folder, |(at, _)| &folder[..at])
}

/// The path of a file within its package: where that was built means nothing here.
fn within_package(path: &str) -> &str {
    let folders = ["/src/", "/tests/", "/examples/", "/benches/"];
    let at = folders.iter().filter_map(|folder| path.rfind(folder)).max();
    at.filter(|_| path.starts_with('/') && !path.starts_with("/rustc/")).map_or(path, |at| &path[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_is_named_by_its_type() {
        let frame = |function: &str| Frame::new(function, "", 0);
        assert_eq!(
            frame("<tokio::sync::oneshot::Receiver<T> as core::future::future::Future>::poll").type_name(),
            "tokio::sync::oneshot::Receiver"
        );
        assert_eq!(frame("tokio::time::sleep::Sleep::poll_elapsed").type_name(), "tokio::time::sleep::Sleep");
        assert_eq!(frame("app::orders::load::{{closure}}::h0123456789abcdef").function, "app::orders::load::{closure}");
        let inlined =
            Frame::new("poll<x>", "/home/amy/.cargo/registry/src/index-0123/tokio-1.48.0/src/time/sleep.rs", 7);
        assert_eq!((inlined.type_name().as_str(), inlined.krate.as_str()), ("tokio::time::sleep", "tokio"));
        assert_eq!(name_of_package("futures-util-0.3.31"), "futures-util");
    }

    #[test]
    fn a_dependency_is_told_by_its_version_and_not_by_where_it_lies() {
        let frame =
            Frame::new("tokio::x", "/home/amy/.cargo/registry/src/index-0123/tokio-1.48.0/src/time/sleep.rs", 7);
        assert_eq!((frame.file.as_str(), frame.origin), ("tokio-1.48.0/src/time/sleep.rs", Origin::Dependency));
        let own = Frame::new("app::x", "/home/amy/app/src/orders.rs", 7);
        assert_eq!((own.file.as_str(), own.origin), ("src/orders.rs", Origin::Program));
        assert_eq!(Frame::new("x", "/rustc/0123/library/core/src/x.rs", 7).origin, Origin::Std);
        assert_eq!(Frame::new("x", &format!("{SOURCE}run.rs"), 7).origin, Origin::Ours);
        assert_eq!(Frame::new("<tokio::time::Sleep as core::future::Future>::poll", "", 0).origin, Origin::Dependency);
    }
}
