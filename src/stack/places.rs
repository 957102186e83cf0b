//! Places: where a task is parked, made of its stacks.

use std::collections::HashMap;

use super::frames::{Frame, Origin, RUNNABLE};
use super::names::Names;
use crate::escape;

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

impl Places {
    /// Looks up what these stacks are, each innermost first. Equal ones are one place.
    pub(super) fn of(stacks: Vec<Vec<usize>>) -> Self {
        let mut places = Places { all: Vec::new(), unnamed: 0, has_names: false, has_files: false };
        let names = if stacks.is_empty() { None } else { Names::load() };
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
            let is_ours = has_files || frames.iter().any(Frame::is_own_wait);
            let Some(place) = Place::of(frames) else {
                places.unnamed += usize::from(!is_ours);
                continue;
            };
            match places.all.iter_mut().find(|known| known.leaf == place.leaf && known.frames == place.frames) {
                Some(known) => known.times += 1,
                None => places.all.push(place),
            }
        }
        places
    }

    /// It waits for nothing, at any of them.
    pub(super) fn are_runnable(&self) -> bool {
        self.unnamed == 0 && self.all.iter().all(|place| place.remark == RUNNABLE)
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
    /// `None` if no frame is further in than this crate, or it is the wait of a `run` for its kill.
    fn of(mut frames: Vec<Frame>) -> Option<Self> {
        // What is further in is how the clone was seen.
        if let Some(clone) = frames.iter().rposition(Frame::is_the_clone) {
            frames.drain(..=clone);
        }
        frames.retain(|frame| !frame.is_transparent());
        let ours = frames.iter().take_while(|frame| frame.origin == Origin::Ours);
        let is_awaited = ours.clone().any(Frame::is_awaited);
        let ours = ours.count();
        let mut frames = frames.split_off(ours).into_iter().peekable();
        let is_outer = |frame: &Frame| frame.origin != Origin::Ours && !frame.is_glue();
        if is_awaited {
            let (leaf, remark) = ("pm::wait".to_string(), " (for the kill or the end of a task)");
            return Some(Place { leaf, remark, frames: frames.filter(is_outer).collect(), times: 1 });
        }
        let mut leaf = frames.find(|frame| !frame.is_cell()).filter(|_| ours == 0)?;
        let mut remark = leaf.remark();
        while leaf.origin == Origin::Dependency
            && frames.peek().is_some_and(|frame| frame.krate == leaf.krate && !frame.is_combinator())
        {
            leaf = frames.next()?;
            remark = if remark.is_empty() { leaf.remark() } else { remark };
        }
        // What it polls has no name of its own, being inlined.
        let is_unnamed = remark.is_empty() && leaf.file.is_empty() && leaf.only_polls();
        let outer = frames.filter(is_outer);
        let (leaf, frames) = match leaf.origin {
            _ if is_unnamed => ("a future that has no name".to_string(), outer.collect()),
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
        let mut left = self.frames.len();
        // A recursion is one line.
        for same in self.frames[..own.min(left)].chunk_by(|a, b| a == b).take(SHOWN) {
            let times = if same.len() > 1 { format!(", {} times", same.len()) } else { String::new() };
            lines.push(same[0].line() + &times);
            left -= same.len();
        }
        if left > 0 {
            lines.push(format!("    .. {left} more"));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::frames::{ELSEWHERE, SOURCE};

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
        let barrier =
            [("poll<()>", "tokio-1.48.0/src/task/coop/mod.rs"), ("{async_fn#0}", "tokio-1.48.0/src/sync/barrier.rs")];
        assert_eq!(below(&barrier)[0], "  tokio::sync::barrier", "what it is made of says less");
        let deeper = [report, report];
        assert_eq!(below(&deeper)[1], "    {async fn} at src/report.rs:7, 3 times");
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
    fn places_without_names_are_counted() {
        let places = Places::of(vec![vec![usize::MAX / 2], vec![]]);
        assert_eq!((places.all.len(), places.unnamed), (0, 2));
        assert!(places.remark().is_some_and(|remark| remark.starts_with("the names cannot be read")));
        assert!(Places::of(Vec::new()).remark().is_none(), "nothing waits");
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
    fn a_wait_for_the_end_of_a_task_is_a_place() {
        let own = |function, file: &str| Frame::new(function, &format!("{SOURCE}{file}"), 7);
        let report = Frame::new("{async_fn#0}", "/home/amy/app/src/report.rs", 7);
        let inner = [own("poll", "waiters.rs"), own("poll", "entry.rs"), own("poll", "wait.rs")];
        let place =
            Place::of([&inner[..], &[report.clone(), own("poll_into<x>", "run.rs")]].concat()).expect("a place");
        assert_eq!(
            place.lines(),
            ["  pm::wait (for the kill or the end of a task)", "    {async fn} at src/report.rs:7"]
        );
        // Without debug information.
        let named = Frame::new("<pm::wait::WaitEnded as core::future::future::Future>::poll", "", 0);
        assert!(Place::of(vec![named]).is_some());
        // A `run` inside of another one.
        assert!(Place::of([&inner[..2], &[own("poll", "run.rs"), report]].concat()).is_none());
    }

    #[test]
    fn a_combinator_is_not_what_is_parked_where_that_is_inlined() {
        let report = ("app::report::{{closure}}", "");
        let joined = [("<tokio::future::maybe_done::MaybeDone<F> as core::future::future::Future>::poll", ""), report];
        assert_eq!(lines(&joined), ["  a future that has no name", "    app::report::{closure}"]);
        let raw = [("tokio::runtime::task::raw::RawTask::try_read_output", ""), report];
        assert_eq!(lines(&raw)[0], format!("  tokio::runtime::task::raw::RawTask{ELSEWHERE}"));
    }
}
