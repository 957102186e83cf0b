//! Frames: instruction pointers, and what they are called. The only file that names addr2line.

use std::collections::HashMap;
use std::fs;
use std::io::Read;

use addr2line::Loader;

use crate::escape;

/// The path of this program.
const PROGRAM: &str = "/proc/self/exe";

/// Where the code of this crate lies.
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/");

/// How many frames of a place are printed.
const SHOWN: usize = 16;

/// Where a task is parked.
pub(super) struct Places {
    pub(super) all: Vec<Place>,
    /// So many have no name that says anything.
    pub(super) unnamed: usize,
    /// There are names, and files.
    has_names: bool,
    has_files: bool,
}

/// One place.
#[derive(PartialEq, Eq)]
pub(super) struct Place {
    /// What is parked.
    leaf: String,
    remark: &'static str,
    /// What waits for it, innermost first.
    frames: Vec<Frame>,
    times: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Frame {
    /// With its path; without it where it is inlined and the program has line tables only.
    function: String,
    /// As it is printed: that of a dependency begins with its name and version. Empty if it is not known.
    file: String,
    line: u32,
    origin: Origin,
    /// The crate that it is of; empty if that is not known.
    krate: String,
}

/// What is said of a leaf.
const RUNNABLE: &str = " (runnable, not parked: it has let others have a turn)";
const UNSEEN: &str = " (where the futures in it are parked cannot be seen)";
const ELSEWHERE: &str = " (of what was spawned: where that is parked cannot be seen from here)";

/// Whose code a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Std,
    Ours,
    Dependency,
    Program,
}

impl Places {
    /// Looks up what these stacks are, each innermost first. Equal ones are one place.
    pub(super) fn of(stacks: Vec<Vec<usize>>) -> Self {
        let mut places = Places { all: Vec::new(), unnamed: 0, has_names: false, has_files: false };
        let names = Names::load();
        let mut known: HashMap<usize, Vec<Frame>> = HashMap::new();
        for stack in stacks {
            let mut frames: Vec<Frame> = Vec::new();
            for ip in stack {
                let of_ip = || names.as_ref().map_or_else(Vec::new, |names| names.frames(ip));
                frames.extend_from_slice(known.entry(ip).or_insert_with(of_ip));
            }
            let has_files = frames.iter().any(|frame| !frame.file.is_empty());
            places.has_names |= !frames.is_empty();
            places.has_files |= has_files;
            let Some(place) = Place::of(frames) else {
                // With files it is known that this crate itself waits there, for a kill.
                places.unnamed += usize::from(!has_files);
                continue;
            };
            match places.all.iter_mut().find(|known| known.leaf == place.leaf && known.frames == place.frames) {
                Some(known) => known.times += 1,
                None => places.all.push(place),
            }
        }
        places
    }

    /// How to have more.
    pub(super) fn remark(&self) -> Option<&'static str> {
        match (self.has_names, self.has_files) {
            _ if self.all.is_empty() && self.unnamed == 0 => None,
            (false, _) => Some("the names cannot be read: the program is stripped, or is no Linux program"),
            (true, false) => Some("for files and lines, build with debug = \"line-tables-only\" in its profile"),
            (true, true) => None,
        }
    }
}

impl Place {
    /// `None` if no frame is further in than this crate.
    fn of(mut frames: Vec<Frame>) -> Option<Self> {
        // What is further in is how the clone was seen.
        if let Some(clone) = frames.iter().rposition(Frame::is_the_clone) {
            frames.drain(..=clone);
        }
        let mut frames = frames.into_iter().filter(|frame| frame.origin != Origin::Std).peekable();
        let mut leaf = frames.find(|frame| !frame.is_cell()).filter(|leaf| leaf.origin != Origin::Ours)?;
        let mut remark = leaf.remark();
        while leaf.origin == Origin::Dependency
            && frames.peek().is_some_and(|frame| frame.krate == leaf.krate && !frame.is_combinator())
        {
            leaf = frames.next()?;
            remark = if remark.is_empty() { leaf.remark() } else { remark };
        }
        let outer = frames.filter(|frame| frame.origin != Origin::Ours && !frame.is_glue());
        let (leaf, frames) = match leaf.origin {
            Origin::Dependency => (leaf.type_name(), outer.collect()),
            _ => (leaf.name(), std::iter::once(leaf).chain(outer).collect()),
        };
        Some(Place { leaf, remark, frames, times: 1 })
    }

    /// What is parked, and the line that awaits it.
    pub(super) fn top(&self) -> String {
        let awaits = self.frames.iter().find(|frame| !frame.file.is_empty());
        let at = awaits.map_or(String::new(), |frame| format!(" at {}:{}", escape::plain(&frame.file), frame.line));
        format!("{}{at}", escape::plain(&self.leaf))
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let times = if self.times > 1 { format!(", {} times", self.times) } else { String::new() };
        let mut lines = vec![format!("  {}{times}{}", escape::plain(&self.leaf), self.remark)];
        // Further out is what has called the program: a framework.
        let own = self.frames.iter().rposition(|frame| frame.origin == Origin::Program).map_or(SHOWN, |last| last + 1);
        let shown = own.min(SHOWN).min(self.frames.len());
        lines.extend(self.frames[..shown].iter().map(Frame::line));
        if self.frames.len() > shown {
            lines.push(format!("    .. {} more", self.frames.len() - shown));
        }
        lines
    }
}

impl Frame {
    fn line(&self) -> String {
        let name = self.name();
        let function = escape::plain(&name);
        match self.file.as_str() {
            "" => format!("    {function}"),
            file => format!("    {function} at {}:{}", escape::plain(file), self.line),
        }
    }

    fn name(&self) -> String {
        match self.function.starts_with('<') {
            true => self.type_name(),
            false => without_generics(&self.function),
        }
    }

    fn has_path(&self) -> bool {
        self.function.starts_with('<') || without_generics(&self.function).contains("::")
    }

    /// The function of the probe that a leaf has called.
    fn is_the_clone(&self) -> bool {
        self.krate == "pm-probe-waker" && self.function.rsplit("::").next() == Some("clone")
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

    /// It keeps a waker for another one, which is the leaf.
    fn is_cell(&self) -> bool {
        self.is_of(&["sync::task::atomic_waker", "task::__internal::atomic_waker"])
    }

    /// It polls another future or reader, which is the leaf.
    fn is_combinator(&self) -> bool {
        self.is_of(&[
            "macros",
            "future",
            "stream",
            "sink",
            "time::timeout",
            "task::coop",
            "io::util",
            "io::async_read",
            "io::async_buf_read",
            "io::async_write",
        ])
    }

    /// What must be said of a leaf where this is.
    fn remark(&self) -> &'static str {
        match () {
            () if self.is_of(&["runtime::scheduler::defer"]) => RUNNABLE,
            () if self.is_of(&["stream::futures_unordered"]) => UNSEEN,
            () if self.is_of(&["runtime::task::join"]) => ELSEWHERE,
            () => "",
        }
    }

    /// What only combines futures: `join!`, `select!`, streams.
    fn is_glue(&self) -> bool {
        self.krate.starts_with("tokio") || self.krate.starts_with("futures")
    }

    /// The type that is polled; its module, if that is all that is known.
    fn type_name(&self) -> String {
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

/// The names in this program.
struct Names {
    loader: Loader,
    /// Where the program is, beyond the addresses in its file.
    bias: u64,
}

impl Names {
    /// `None` where they cannot be read.
    fn load() -> Option<Self> {
        let loader = Loader::new(PROGRAM).ok()?;
        Some(Names { loader, bias: bias()? })
    }

    /// The functions at an instruction pointer: with those that are inlined there, innermost first.
    fn frames(&self, ip: usize) -> Vec<Frame> {
        // The pointer is where the call returns to.
        let Some(address) = (ip as u64).checked_sub(self.bias + 1) else { return Vec::new() };
        let mut frames = Vec::new();
        if let Ok(mut found) = self.loader.find_frames(address) {
            while let Ok(Some(frame)) = found.next() {
                let location = frame.location.as_ref();
                let file = location.and_then(|location| location.file).unwrap_or_default();
                let line = location.and_then(|location| location.line).unwrap_or_default();
                if let Some(name) = frame.function.as_ref().and_then(|name| name.raw_name().ok()) {
                    frames.push(Frame::new(&name, file, line));
                } else if let Some(name) = self.loader.find_symbol(address) {
                    frames.push(Frame::new(name, file, line));
                }
            }
        }
        if let Some(name) = self.loader.find_symbol(address) {
            match frames.last_mut() {
                // That of the function itself has its path.
                Some(outermost) if !outermost.has_path() => outermost.function = function_name(name),
                Some(_) => {}
                None => frames.push(Frame::new(name, "", 0)),
            }
        }
        frames
    }
}

impl Frame {
    fn new(raw_name: &str, path: &str, line: u32) -> Self {
        let function = function_name(raw_name);
        let registered = path.split_once("/registry/src/").and_then(|(_, path)| path.split_once('/'));
        let file = registered.map_or_else(|| within_package(path), |(_, file)| file);
        let krate = match registered {
            Some((_, file)) => name_of_package(file.split('/').next().unwrap_or_default()).to_string(),
            None if path.starts_with(pm_probe_waker::SOURCE) => "pm-probe-waker".to_string(),
            None if path.starts_with(SOURCE) => "pm".to_string(),
            // All that is known is the name.
            None if path.is_empty() => {
                let name = function.trim_start_matches(['<', '&']).split([':', '<', ' ']).next().unwrap_or_default();
                name.replace("pm_probe_waker", "pm-probe-waker")
            }
            None => String::new(),
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

/// `tokio` of `tokio-1.48.0`.
fn name_of_package(folder: &str) -> &str {
    let version = folder.match_indices('-').find(|(at, _)| folder[at + 1..].starts_with(|c: char| c.is_ascii_digit()));
    version.map_or(folder, |(at, _)| &folder[..at])
}

fn function_name(raw_name: &str) -> String {
    let name = addr2line::demangle_auto(raw_name.into(), None).into_owned();
    // The hash of a name that is mangled in the older way.
    let name = match name.rsplit_once("::h") {
        Some((path, hash)) if hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => path.to_string(),
        _ => name,
    };
    // `{async_fn#0}`, where only the name itself is known.
    let name = name.replace("{{closure}}", "{closure}").replace("{async_", "{async ");
    match name.strip_suffix('}').and_then(|name| name.rsplit_once('#')) {
        Some((name, number)) if number.bytes().all(|b| b.is_ascii_digit()) => format!("{name}}}"),
        _ => name,
    }
}

/// The path of a file within its package: where that was built means nothing here.
fn within_package(path: &str) -> &str {
    let folders = ["/src/", "/tests/", "/examples/", "/benches/"];
    let at = folders.iter().filter_map(|folder| path.rfind(folder)).max();
    at.filter(|_| path.starts_with('/') && !path.starts_with("/rustc/")).map_or(path, |at| &path[at + 1..])
}

/// How far the program has been moved in memory when it was loaded.
fn bias() -> Option<u64> {
    const EXECUTABLE: u16 = 2;
    let mut head = [0; 18];
    fs::File::open(PROGRAM).ok()?.read_exact(&mut head).ok()?;
    if u16::from_ne_bytes([head[16], head[17]]) == EXECUTABLE {
        return Some(0);
    }
    let program = fs::read_link(PROGRAM).ok()?;
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let first = maps.lines().find(|line| {
        let mut words = line.split_whitespace();
        let (offset, path) = (words.nth(2), words.nth(2));
        offset.is_some_and(|offset| offset.bytes().all(|b| b == b'0')) && path.is_some_and(|path| program == *path)
    })?;
    u64::from_str_radix(first.split('-').next()?, 16).ok()
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

    const REGISTRY: &str = "/home/amy/.cargo/registry/src/index-0123/";

    /// Frames as a release build with line tables only has them: a path where a function is not inlined, else a name.
    fn place(frames: &[(&str, &str)]) -> Option<Place> {
        let clone = Frame::new(
            "pm_probe_waker::clone",
            concat!(env!("CARGO_MANIFEST_DIR"), "/crates/probe-waker/src/lib.rs"),
            53,
        );
        let own = ("poll_into<app::report::{async_fn_env#0}>", format!("{SOURCE}run.rs"));
        let frame = |(name, file): (&str, &str)| match file.strip_prefix("app/") {
            Some(file) => Frame::new(name, &format!("/home/amy/app/{file}"), 7),
            None if file.is_empty() => Frame::new(name, "", 0),
            None => Frame::new(name, &format!("{REGISTRY}{file}"), 7),
        };
        let frames = frames.iter().map(|frame_of| frame(*frame_of));
        Place::of(std::iter::once(clone).chain(frames).chain([Frame::new(own.0, &own.1, 7)]).collect())
    }

    fn lines(frames: &[(&str, &str)]) -> Vec<String> {
        place(frames).expect("a place").lines()
    }

    #[test]
    fn what_only_polls_others_is_not_what_is_parked() {
        let sleep = [
            (
                "tokio::sync::task::atomic_waker::AtomicWaker::register_by_ref",
                "tokio-1.48.0/src/sync/task/atomic_waker.rs",
            ),
            ("poll_elapsed", "tokio-1.48.0/src/runtime/time/entry.rs"),
            ("<tokio::time::sleep::Sleep as core::future::future::Future>::poll", "tokio-1.48.0/src/time/sleep.rs"),
        ];
        let report = ("{async_fn#0}", "app/src/report.rs");
        let below = |combinators: &[(&'static str, &'static str)]| lines(&[&sleep, combinators, &[report]].concat());
        let expected = ["  tokio::time::sleep::Sleep", "    {async fn} at src/report.rs:7"];
        assert_eq!(below(&[]), expected);
        assert_eq!(below(&[("poll<()>", "tokio-1.48.0/src/time/timeout.rs")]), expected);
        assert_eq!(
            below(&[
                ("poll<x::y>", "tokio-1.48.0/src/future/maybe_done.rs"),
                ("{closure#0}", "tokio-1.48.0/src/macros/join.rs")
            ]),
            expected
        );
        assert_eq!(below(&[("poll", "futures-util-0.3.31/src/future/join_all.rs")]), expected);
        let read = [
            ("poll_read_ready", "tokio-1.48.0/src/runtime/io/registration.rs"),
            ("poll_read", "tokio-1.48.0/src/net/tcp/stream.rs"),
            ("poll_read<tokio::net::tcp::stream::TcpStream>", "tokio-1.48.0/src/io/async_read.rs"),
            ("poll<x>", "tokio-1.48.0/src/io/util/read.rs"),
            report,
        ];
        assert_eq!(lines(&read)[0], "  tokio::net::tcp::stream");
    }

    #[test]
    fn what_a_leaf_hides_is_said() {
        let report = ("app::report::{{closure}}", "");
        let unordered = [
            ("futures_core::task::__internal::atomic_waker::AtomicWaker::register", ""),
            (
                "<futures_util::stream::futures_unordered::FuturesUnordered<F> as futures_core::stream::Stream>::poll_next",
                "",
            ),
            ("futures_util::stream::stream::StreamExt::poll_next_unpin", ""),
            report,
        ];
        let expected = [
            "  futures_util::stream::futures_unordered::FuturesUnordered (where the futures in it are parked cannot be seen)",
            "    app::report::{closure}",
        ];
        assert_eq!(lines(&unordered), expected);
        let joined =
            [("<tokio::runtime::task::join::JoinHandle<T> as core::future::future::Future>::poll", ""), report];
        assert_eq!(lines(&joined)[0], format!("  tokio::runtime::task::join::JoinHandle{ELSEWHERE}"));
        let yields = [
            ("tokio::runtime::scheduler::defer::Defer::defer", "tokio-1.48.0/src/runtime/scheduler/defer.rs"),
            ("{async_fn#0}", "tokio-1.48.0/src/task/yield_now.rs"),
            report,
        ];
        assert_eq!(lines(&yields)[0], format!("  tokio::task::yield_now{RUNNABLE}"));
    }

    #[test]
    fn what_calls_the_program_is_counted_only_and_a_parameter_is_named_by_its_trait() {
        let handler = "<F as axum::handler::Handler<(M, T1), S>>::call::{{closure}}";
        let frames = [
            ("tokio::sync::oneshot::Receiver<T>::poll", "tokio-1.48.0/src/sync/oneshot.rs"),
            ("app::report", "app/src/report.rs"),
            (handler, "axum-0.8.9/src/handler/mod.rs"),
            ("poll", "axum-0.8.9/src/routing/route.rs"),
        ];
        assert_eq!(
            lines(&frames),
            ["  tokio::sync::oneshot::Receiver", "    app::report at src/report.rs:7", "    .. 2 more"]
        );
        assert_eq!(Frame::new(handler, "", 0).name(), "axum::handler::Handler");
        assert!(place(&[]).is_none(), "this crate waits for a kill");
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
