//! Logs: what one program has printed, kept and passed on.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::lines::{Cut, Splitter};
use crate::output::Output;
use crate::program::Program;
use crate::sink::{Batch, Sink};
use crate::status::{LogLine, OutputStream};
use crate::watch::{Board, LogLines};
use crate::world::Id;

/// What is kept of each output.
const LINES: usize = 256;
const BYTES: usize = 64 << 10;
/// What is read at once.
const CHUNK: usize = 64 << 10;

/// What a pipe holds at most, unless root has made it larger.
const LARGEST_PIPE: usize = 1 << 20;

/// A file that is being opened, and then its sink.
type Opened = watch::Receiver<Option<Arc<Sink>>>;

/// What one program has printed, through all its runs.
pub(crate) struct Logs {
    id: Id,
    max_line: usize,
    /// Of stdout and stderr.
    outputs: [(Output, OnceLock<Opened>); 2],
    kept: Mutex<Kept>,
    pub(crate) dropped: Arc<AtomicU64>,
    /// Asked for by somebody who wants all of it.
    is_captured: bool,
}

#[derive(Default)]
struct Kept {
    rings: [Ring; 2],
    /// The number of the next line.
    next: u64,
    captured: [Vec<u8>; 2],
}

#[derive(Default)]
struct Ring {
    lines: VecDeque<(u64, Vec<u8>)>,
    bytes: usize,
}

impl Ring {
    fn push(&mut self, number: u64, text: &[u8]) {
        // The memory of the line that goes serves the one that comes.
        let mut spare = Vec::new();
        while self.lines.len() >= LINES || (self.bytes + text.len() > BYTES && !self.lines.is_empty()) {
            if let Some((_, oldest)) = self.lines.pop_front() {
                self.bytes -= oldest.len();
                spare = oldest;
            }
        }
        spare.clear();
        spare.shrink_to(text.len().saturating_mul(2).max(64));
        spare.extend_from_slice(text);
        self.bytes += text.len();
        self.lines.push_back((number, spare));
    }
}

impl Logs {
    pub(crate) fn new(id: &Id, program: &Program, is_captured: bool) -> Self {
        Logs {
            id: Arc::clone(id),
            max_line: program.max_line,
            outputs: [&program.stdout, &program.stderr].map(|output| (output.clone(), OnceLock::new())),
            kept: Mutex::default(),
            dropped: Arc::default(),
            is_captured,
        }
    }

    pub(crate) fn lines_dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The last lines, oldest first.
    pub(crate) fn last(&self, n: usize) -> Vec<String> {
        Logs::merged(&self.kept.lock().unwrap_or_else(PoisonError::into_inner), n)
    }

    /// The last lines, and those that come after them.
    pub(crate) fn follow(&self, n: usize, board: &Board<LogLine>) -> (Vec<String>, LogLines) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (Logs::merged(&kept, n), LogLines::of(board))
    }

    fn merged(kept: &Kept, n: usize) -> Vec<String> {
        let mut all: Vec<&(u64, Vec<u8>)> = kept.rings.iter().flat_map(|ring| &ring.lines).collect();
        all.sort_unstable_by_key(|(number, _)| *number);
        let last = &all[all.len().saturating_sub(n)..];
        last.iter().map(|(_, text)| String::from_utf8_lossy(text).into_owned()).collect()
    }

    /// All of both outputs, once.
    pub(crate) fn take_captured(&self) -> [Vec<u8>; 2] {
        std::mem::take(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner).captured)
    }

    pub(crate) fn reopen(&self) {
        for (_, sink) in &self.outputs {
            if let Some(sink) = sink.get().and_then(|opened| opened.borrow().clone()) {
                sink.reopen();
            }
        }
    }

    async fn sink(&self, stream: OutputStream) -> Option<Arc<Sink>> {
        let (output, sink) = &self.outputs[stream as usize];
        match output {
            Output::Stdout(_) => return Some(Sink::own(OutputStream::Stdout)),
            Output::Stderr(_) => return Some(Sink::own(OutputStream::Stderr)),
            _ => {}
        }
        let (path, rotation) = output.file()?;
        let path = path.to_path_buf();
        // Opened when it is first needed, and on a thread that may block: the file may be on a disk that is gone, or a
        // FIFO that nobody reads. Once: whoever gives up to wait leaves it to the next one.
        let open = || {
            let (tell, opened) = watch::channel(None);
            tokio::task::spawn_blocking(move || tell.send(Some(Sink::open(&path, rotation))));
            opened
        };
        let mut opened = sink.get_or_init(open).clone();
        opened.wait_for(Option::is_some).await.ok()?.clone()
    }

    fn keep(&self, generation: u64, stream: OutputStream, chunk: &Chunk, board: &Board<LogLine>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_captured {
            kept.captured[stream as usize].extend_from_slice(&chunk.raw);
        }
        // The ring has no room for more than its last lines anyway.
        let skip = chunk.lines.len().saturating_sub(LINES);
        for (text, _) in &chunk.lines[skip..] {
            let number = kept.next;
            kept.next += 1;
            kept.rings[stream as usize].push(number, &chunk.raw[text.clone()]);
        }
        if board.is_watched() {
            for (text, complete) in &chunk.lines {
                let (id, text) = (Arc::clone(&self.id), chunk.raw[text.clone()].to_vec());
                board.send(&LogLine { id, generation, stream, text, complete: *complete });
            }
        }
    }
}

/// Lines that were read at once.
#[derive(Default)]
struct Chunk {
    raw: Vec<u8>,
    /// Where the text of each is, and whether it is a whole line.
    lines: Vec<(std::ops::Range<usize>, bool)>,
}

impl Chunk {
    fn push(&mut self, cut: Cut<'_>) {
        let from = self.raw.len();
        self.raw.extend_from_slice(cut.raw);
        self.lines.push((from..from + cut.text.len(), cut.complete));
    }
}

impl Chunk {
    /// Each line with this before it.
    fn with(&self, prefix: &str) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.raw.len() + self.lines.len() * (prefix.len() + 1));
        for (text, _) in &self.lines {
            let text = &self.raw[text.clone()];
            bytes.extend_from_slice(prefix.as_bytes());
            bytes.extend_from_slice(text);
            // A program may leave its colour on. Where the prefix has one, it may be taken back.
            if prefix.contains('\x1b') && text.contains(&b'\x1b') {
                bytes.extend_from_slice(b"\x1b[0m");
            }
            bytes.push(b'\n');
        }
        bytes
    }
}

/// What says that a program is ready.
#[derive(Clone)]
pub(crate) struct Awaited {
    text: String,
    notify: Arc<Notify>,
    /// The end of what was printed before: the text may lie across two pieces of a long line.
    before: Vec<u8>,
}

impl Awaited {
    pub(crate) fn new(text: String, notify: Arc<Notify>) -> Self {
        Awaited { text, notify, before: Vec::new() }
    }

    /// Tells if it has come.
    fn look(&mut self, printed: &[u8]) -> bool {
        self.before.extend_from_slice(printed);
        let is_there = memchr::memmem::find(&self.before, self.text.as_bytes()).is_some();
        if is_there {
            self.notify.notify_one();
        }
        self.before.drain(..(self.before.len() + 1).saturating_sub(self.text.len().max(1)));
        is_there
    }
}

/// One output of one run.
pub(crate) struct Reader {
    pub(crate) logs: Arc<Logs>,
    pub(crate) board: Arc<Board<LogLine>>,
    pub(crate) generation: u64,
    pub(crate) stream: OutputStream,
    pub(crate) awaited: Option<Awaited>,
    /// Its program is over, and somebody else still holds the pipe: what is in it is all there will be.
    pub(crate) leave: Arc<Notify>,
    /// That was told.
    pub(crate) is_left: bool,
}

impl Reader {
    pub(crate) async fn read(mut self, mut pipe: Receiver) {
        let logs = Arc::clone(&self.logs);
        let mut sink = self.patiently(logs.sink(self.stream)).await;
        let mut splitter = Splitter::new(self.logs.max_line);
        let mut buffer = vec![0; 4096];
        // What the pipe may hold when its program is over. One that others fill on and on is not read for ever.
        let mut left = LARGEST_PIPE;
        loop {
            let n = if self.is_left {
                let n = pipe.try_read(&mut buffer).unwrap_or(0).min(left);
                left -= n;
                n
            } else {
                tokio::select! {
                    biased;
                    () = self.leave.notified() => {
                        self.is_left = true;
                        continue;
                    }
                    read = pipe.read(&mut buffer) => read.unwrap_or(0),
                }
            };
            let mut chunk = Chunk::default();
            if n == 0 {
                splitter.finish(|cut| chunk.push(cut));
            } else {
                splitter.push(&buffer[..n], |cut| chunk.push(cut));
            }
            self.pass_on(chunk, &mut sink).await;
            if n == 0 {
                // So that it is there when its program is said to be over.
                if let Some(Some(file)) = sink {
                    let _ = self.patiently(file.flush()).await;
                }
                return;
            }
            // A program that prints much is read in large pieces, one that prints little costs little memory.
            if n == buffer.len() && n < CHUNK {
                buffer = vec![0; n * 4];
            }
            // Others have their turn, also beside a program that never stops printing.
            tokio::task::yield_now().await;
        }
    }

    /// Waits for a file: as long as it takes while the program runs, and for a while when it is over. Else a program
    /// that fails again and again, beside a disk that is gone, would leave a reader behind each time.
    async fn patiently<T>(&mut self, waiting: impl Future<Output = T>) -> Option<T> {
        let mut waiting = std::pin::pin!(waiting);
        if !self.is_left {
            tokio::select! {
                biased;
                done = &mut waiting => return Some(done),
                () = self.leave.notified() => self.is_left = true,
            }
        }
        timeout(LINGER, waiting).await.ok()
    }

    /// `sink`: the file, if there is one; the outer `None` is one that was waited for in vain.
    async fn pass_on(&mut self, chunk: Chunk, sink: &mut Option<Option<Arc<Sink>>>) {
        if chunk.lines.is_empty() {
            return;
        }
        self.logs.keep(self.generation, self.stream, &chunk, &self.board);
        if self.awaited.as_mut().is_some_and(|awaited| awaited.look(&chunk.raw)) {
            self.awaited = None;
        }
        let lines = chunk.lines.len() as u64;
        match sink {
            Some(None) => {}
            Some(Some(file)) => {
                let (output, _) = &self.logs.outputs[self.stream as usize];
                let bytes = output.prefix().map(|prefix| chunk.with(prefix));
                let batch = Batch::new(bytes.unwrap_or(chunk.raw), &self.logs.dropped);
                let file = Arc::clone(file);
                if self.patiently(file.write(batch)).await.is_none() {
                    *sink = None;
                    self.logs.dropped.fetch_add(lines, Ordering::Relaxed);
                }
            }
            None => {
                self.logs.dropped.fetch_add(lines, Ordering::Relaxed);
            }
        }
    }
}

/// How long the end of an output is awaited when its program is over.
pub(crate) const OUTPUT: Duration = Duration::from_secs(1);

/// How long a file is waited for after that.
const LINGER: Duration = Duration::from_secs(30);
