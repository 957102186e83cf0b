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
    /// There are names, and files.
    has_names: bool,
    has_files: bool,
}

/// One place.
#[derive(PartialEq, Eq)]
pub(super) struct Place {
    /// What is parked.
    leaf: String,
    is_runnable: bool,
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
        let mut places = Places { all: Vec::new(), has_names: false, has_files: false };
        let Some(names) = Names::load() else { return places };
        let mut known: HashMap<usize, Vec<Frame>> = HashMap::new();
        for stack in stacks {
            let mut frames: Vec<Frame> = Vec::new();
            for ip in stack {
                frames.extend_from_slice(known.entry(ip).or_insert_with(|| names.frames(ip)));
            }
            places.has_names |= !frames.is_empty();
            places.has_files |= frames.iter().any(|frame| !frame.file.is_empty());
            let Some(place) = Place::of(frames) else { continue };
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
            (false, _) => Some("the names cannot be read: the program is stripped, or is no Linux program"),
            (true, false) => Some("for files and lines, build with debug = \"line-tables-only\" in its profile"),
            (true, true) => None,
        }
    }
}

impl Place {
    /// `None` if this crate itself waits there, for a kill.
    fn of(mut frames: Vec<Frame>) -> Option<Self> {
        // What is further in is how the clone was seen.
        if let Some(clone) = frames.iter().rposition(Frame::is_the_clone) {
            frames.drain(..=clone);
        }
        let is_of_budget = |frame: &&Frame| frame.function.contains("::coop::") || frame.file.contains("/task/coop/");
        let inner = frames.iter().take_while(|frame| frame.origin != Origin::Program);
        let is_runnable = inner.filter(is_of_budget).count() > 0;
        let mut frames = frames.into_iter().filter(|frame| frame.origin != Origin::Std).peekable();
        let mut leaf = frames.next().filter(|leaf| leaf.origin != Origin::Ours)?;
        while leaf.origin == Origin::Dependency && frames.peek().is_some_and(|frame| frame.krate == leaf.krate) {
            leaf = frames.next()?;
        }
        let outer = frames.filter(|frame| frame.origin != Origin::Ours && !frame.is_glue());
        let (leaf, frames) = match leaf.origin {
            Origin::Dependency => (leaf.type_name(), outer.collect()),
            _ => (leaf.function.clone(), std::iter::once(leaf).chain(outer).collect()),
        };
        Some(Place { leaf, is_runnable, frames, times: 1 })
    }

    /// What is parked, and the line that awaits it.
    pub(super) fn top(&self) -> String {
        let awaits = self.frames.iter().find(|frame| !frame.file.is_empty());
        let at = awaits.map_or(String::new(), |frame| format!(" at {}:{}", escape::plain(&frame.file), frame.line));
        format!("{}{at}", escape::plain(&self.leaf))
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let times = if self.times > 1 { format!(", {} times", self.times) } else { String::new() };
        let runnable = if self.is_runnable { " (runnable, not parked: it has used up its turn)" } else { "" };
        let mut lines = vec![format!("  {}{times}{runnable}", escape::plain(&self.leaf))];
        lines.extend(self.frames.iter().take(SHOWN).map(Frame::line));
        if self.frames.len() > SHOWN {
            lines.push(format!("    .. {} more", self.frames.len() - SHOWN));
        }
        lines
    }
}

impl Frame {
    fn line(&self) -> String {
        let function = match self.function.starts_with('<') {
            true => self.type_name(),
            false => without_generics(&self.function),
        };
        let function = escape::plain(&function);
        match self.file.as_str() {
            "" => format!("    {function}"),
            file => format!("    {function} at {}:{}", escape::plain(file), self.line),
        }
    }

    /// The function of the probe that a leaf has called.
    fn is_the_clone(&self) -> bool {
        self.krate == "pm-probe-waker" && self.function.rsplit("::").next() == Some("clone")
    }

    /// What only combines futures: `join!`, `select!`, streams.
    fn is_glue(&self) -> bool {
        self.file.starts_with("tokio-") || self.file.starts_with("futures-") || self.krate == "tokio"
    }

    /// The type that is polled; its module, if that is all that is known.
    fn type_name(&self) -> String {
        let path = self.function.as_str();
        if !path.contains("::") {
            let (_, file) = self.file.split_once("/src/").unwrap_or(("", &self.file));
            let module = file.trim_end_matches(".rs").trim_end_matches("/mod").trim_end_matches("lib");
            let krate = self.krate.replace('-', "_");
            return format!("{krate}::{}", module.replace('/', "::")).trim_end_matches(':').to_string();
        }
        let inner = match path.strip_prefix('<') {
            Some(rest) => rest.split(" as ").next().unwrap_or(rest).trim_end_matches('>'),
            None => path.rsplit_once("::").map_or(path, |(before, _)| before),
        };
        without_generics(inner)
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
                Some(outermost) if !outermost.function.contains("::") => outermost.function = function_name(name),
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
            "tokio" | "futures" | "futures_util" if path.is_empty() => Origin::Dependency,
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
    name.replace("{{closure}}", "{closure}")
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
