//! Sink: a file that output is appended to, shared by all who name it; or what this program itself prints to.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::hub::hub;
use crate::output::Rotation;
use crate::status::OutputStream;

/// Batches that wait for a file. Then its writers wait, and with them the children, through their pipes.
const BATCHES: usize = 4;

/// What may wait for the reader of our own output, where that is no regular file.
const UNREAD: usize = 4 << 20;

/// Whole lines, as far as they are not too long, and where to count those that get lost.
pub(crate) struct Batch {
    bytes: Vec<u8>,
    dropped: Arc<AtomicU64>,
    /// Tells, when it goes, that all before it is written.
    _written: Option<oneshot::Sender<()>>,
}

impl Batch {
    pub(crate) fn new(bytes: Vec<u8>, dropped: &Arc<AtomicU64>) -> Self {
        Batch { bytes, dropped: Arc::clone(dropped), _written: None }
    }
}

pub(crate) struct Sink {
    way: Way,
    /// Our own outputs are not ours to open.
    reopen: Option<Arc<AtomicBool>>,
}

/// To the writer.
enum Way {
    /// Whoever writes waits for room.
    Patient(mpsc::Sender<Batch>),
    /// Nobody waits, and the oldest are lost.
    Lossy(Arc<Queue>),
}

#[derive(Default)]
struct Queue {
    /// With the number of their bytes.
    waiting: Mutex<(VecDeque<Batch>, usize)>,
    wake: Notify,
}

impl Queue {
    fn push(&self, batch: Batch) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (batches, bytes) = &mut *waiting;
        *bytes += batch.bytes.len();
        batches.push_back(batch);
        while *bytes > UNREAD && batches.len() > 1 {
            if let Some(oldest) = batches.pop_front() {
                *bytes -= oldest.bytes.len();
                oldest.dropped.fetch_add(lines(&oldest.bytes), Ordering::Relaxed);
            }
        }
        drop(waiting);
        self.wake.notify_one();
    }

    fn take(&self) -> Vec<Batch> {
        let (batches, _) = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        batches.into()
    }
}

/// Where the writer has its batches from.
enum Source {
    Patient(mpsc::Receiver<Batch>),
    Lossy(Arc<Queue>),
}

impl Source {
    /// All that wait, one at least. `None`: no more will come.
    async fn next(&mut self) -> Option<Vec<Batch>> {
        match self {
            Source::Patient(waiting) => {
                let mut batches = vec![waiting.recv().await?];
                while let Ok(more) = waiting.try_recv() {
                    batches.push(more);
                }
                Some(batches)
            }
            Source::Lossy(queue) => loop {
                let batches = queue.take();
                if !batches.is_empty() {
                    return Some(batches);
                }
                queue.wake.notified().await;
            },
        }
    }
}

/// Waits until all that was copied to the standard output and the standard error of this program
/// ([`Output::Stdout`](crate::Output::Stdout), [`Stderr`](crate::Output::Stderr)) is written, or lost. For the end of a
/// program: what is not written then is lost. If nobody reads it, that is never.
///
/// # Cancel safety
///
/// Dropping the future changes nothing.
pub async fn copied() {
    for sink in &*OWN {
        sink.flush().await;
    }
}

/// The standard output and the standard error of this program.
static OWN: LazyLock<[Arc<Sink>; 2]> = LazyLock::new(|| {
    [
        Sink::of_own(io::stdout().as_fd().try_clone_to_owned(), "/dev/stdout"),
        Sink::of_own(io::stderr().as_fd().try_clone_to_owned(), "/dev/stderr"),
    ]
});

/// The sinks of this process, by the file that each has open.
static SINKS: LazyLock<Mutex<HashMap<Key, Weak<Sink>>>> = LazyLock::new(Mutex::default);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    /// Device and inode.
    File(u64, u64),
    /// A file that could not be opened yet.
    Path(PathBuf),
}

impl Sink {
    /// The sink of this file. May block for as long as the file takes to be opened.
    ///
    /// A file that cannot be opened has a sink as well: it tries again with each batch.
    pub(crate) fn open(path: &Path, rotation: Option<Rotation>) -> Arc<Sink> {
        let file = open(path);
        let mut sinks = SINKS.lock().unwrap_or_else(PoisonError::into_inner);
        sinks.retain(|_, sink| sink.strong_count() > 0);
        let key = key(file.as_ref().ok(), path);
        if let Some(sink) = sinks.get(&key).and_then(Weak::upgrade) {
            return sink;
        }
        let (batches, waiting) = mpsc::channel(BATCHES);
        let reopen = Arc::new(AtomicBool::new(false));
        let sink = Arc::new(Sink { way: Way::Patient(batches), reopen: Some(Arc::clone(&reopen)) });
        sinks.insert(key.clone(), Arc::downgrade(&sink));
        let writer =
            Writer { path: path.to_path_buf(), rotation, file: file.ok(), key, is_torn: false, reopen, other: None };
        hub().runtime.spawn(write(writer, Source::Patient(waiting)));
        sink
    }

    /// What this program itself prints to.
    pub(crate) fn own(stream: OutputStream) -> Arc<Sink> {
        Arc::clone(&OWN[stream as usize])
    }

    fn of_own(fd: io::Result<OwnedFd>, path: &str) -> Arc<Sink> {
        let file = fd.ok().map(File::from);
        let is_regular = file.as_ref().and_then(|file| file.metadata().ok()).is_some_and(|metadata| metadata.is_file());
        let (way, source) = if is_regular {
            let (batches, waiting) = mpsc::channel(BATCHES);
            (Way::Patient(batches), Source::Patient(waiting))
        } else {
            let queue = Arc::new(Queue::default());
            (Way::Lossy(Arc::clone(&queue)), Source::Lossy(queue))
        };
        let (path, key) = (PathBuf::from(path), Key::Path(path.into()));
        let writer = Writer { path, rotation: None, file, key, is_torn: false, reopen: Arc::default(), other: None };
        hub().runtime.spawn(write(writer, source));
        Arc::new(Sink { way, reopen: None })
    }

    /// Waits until there is room.
    pub(crate) async fn write(&self, batch: Batch) {
        match &self.way {
            Way::Patient(batches) => _ = batches.send(batch).await,
            Way::Lossy(queue) => queue.push(batch),
        }
    }

    /// Waits until all that was given to it is written, or lost.
    pub(crate) async fn flush(&self) {
        let (written, is_written) = oneshot::channel();
        self.write(Batch { bytes: Vec::new(), dropped: Arc::default(), _written: Some(written) }).await;
        let _ = is_written.await;
    }

    /// Opens the file anew before it writes the next line: somebody has moved it.
    pub(crate) fn reopen(&self) {
        if let (Way::Patient(batches), Some(reopen)) = (&self.way, &self.reopen) {
            reopen.store(true, Ordering::SeqCst);
            // So that it does so now, when it has nothing to write.
            let _ = batches.try_send(Batch::new(Vec::new(), &Arc::default()));
        }
    }
}

async fn write(mut writer: Writer, mut source: Source) {
    while let Some(batches) = source.next().await {
        if let Some(other) = &writer.other {
            if writer.reopen.swap(false, Ordering::SeqCst) {
                other.reopen();
            }
            for batch in batches {
                other.write(batch).await;
            }
            continue;
        }
        let written = tokio::task::spawn_blocking(move || {
            let rest: Vec<Batch> = batches.into_iter().filter_map(|batch| writer.write(batch)).collect();
            (writer, rest)
        });
        let Ok((back, rest)) = written.await else { return };
        writer = back;
        if let Some(other) = &writer.other {
            for batch in rest {
                other.write(batch).await;
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

fn key(file: Option<&File>, path: &Path) -> Key {
    let metadata = file.and_then(|file| file.metadata().ok());
    metadata.map_or_else(|| Key::Path(path.to_path_buf()), |metadata| Key::File(metadata.dev(), metadata.ino()))
}

struct Writer {
    path: PathBuf,
    rotation: Option<Rotation>,
    file: Option<File>,
    key: Key,
    /// The last line in the file is a piece of one, the rest of which is lost.
    is_torn: bool,
    reopen: Arc<AtomicBool>,
    /// Has the file that we have found by opening ours anew. It writes all from then on.
    other: Option<Arc<Sink>>,
}

impl Writer {
    /// What is left for the other sink.
    fn write(&mut self, batch: Batch) -> Option<Batch> {
        if (self.reopen.swap(false, Ordering::SeqCst) || self.file.is_none()) && !self.open() {
            // Again with the next lines. Until then the old file takes them, if it is still to be found.
            self.reopen.store(true, Ordering::SeqCst);
        }
        let mut bytes = &batch.bytes[..];
        while !bytes.is_empty() {
            let room = self.make_room(bytes);
            if self.other.is_some() {
                return Some(Batch { bytes: bytes.to_vec(), ..batch });
            }
            let (now, later) = bytes.split_at(room);
            bytes = later;
            let lost = self.append(now);
            batch.dropped.fetch_add(lost, Ordering::Relaxed);
        }
        None
    }

    /// Whether it is open anew.
    fn open(&mut self) -> bool {
        let file = open(&self.path);
        let is_open = file.is_ok();
        // What is written to a file without a name is lost, and is to be counted.
        let is_lost = |file: &File| file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.nlink() == 0);
        if !is_open && self.file.as_ref().is_some_and(is_lost) {
            self.file = None;
            // Its inode may become another file's.
            self.is_known_as(Key::Path(self.path.clone()));
        }
        if let Ok(file) = file {
            self.is_known_as(key(Some(&file), &self.path));
            self.file = self.other.is_none().then_some(file);
            self.is_torn = false;
        }
        is_open
    }

    /// If another sink is known as this, that one writes from now on.
    fn is_known_as(&mut self, key: Key) {
        let mut sinks = SINKS.lock().unwrap_or_else(PoisonError::into_inner);
        let own = sinks.remove(&self.key);
        match (sinks.get(&key).and_then(Weak::upgrade), own) {
            (Some(other), _) => self.other = Some(other),
            (None, Some(own)) => _ = sinks.insert(key.clone(), own),
            (None, None) => {}
        }
        self.key = key;
    }

    /// How much of these bytes is to be written before the file is looked at again: all, or the lines that it has room
    /// for. Rotates it if it has room for none.
    fn make_room(&mut self, bytes: &[u8]) -> usize {
        let Some(Rotation { bytes: full, keep }) = self.rotation else { return bytes.len() };
        // Not what was counted: others may have cut the file.
        let metadata = self.file.as_ref().and_then(|file| file.metadata().ok());
        let Some(size) = metadata.filter(std::fs::Metadata::is_file).map(|metadata| metadata.len()) else {
            return bytes.len();
        };
        let room = usize::try_from(full.saturating_sub(size)).unwrap_or(usize::MAX);
        if bytes.len() <= room {
            return bytes.len();
        }
        let line = |bytes: &[u8]| memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
        match memchr::memrchr(b'\n', &bytes[..room]) {
            Some(at) => at + 1,
            None if size == 0 => line(bytes),
            None => {
                // A line more than fits, where it cannot be rotated or opened anew.
                if self.rotate(keep).is_ok() && self.open() { 0 } else { line(bytes) }
            }
        }
    }

    fn rotate(&mut self, keep: u32) -> io::Result<()> {
        // Not the link, where it is one.
        let path = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let numbered = |n: u32| {
            let mut name = path.clone().into_os_string();
            name.push(format!(".{n}"));
            PathBuf::from(name)
        };
        // Somebody has moved or removed it: there is nothing to rotate, and a new one is opened.
        let is_there = std::fs::metadata(&self.path).is_ok_and(|there| Key::File(there.dev(), there.ino()) == self.key);
        if !is_there {
            return Ok(());
        }
        if keep == 0 {
            return std::fs::remove_file(&path);
        }
        for n in (1..keep).rev() {
            match std::fs::rename(numbered(n), numbered(n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&path, numbered(1))
    }

    /// Appends these lines. How many of them are lost.
    fn append(&mut self, bytes: &[u8]) -> u64 {
        let Some(file) = &mut self.file else { return lines(bytes) };
        if self.is_torn && !bytes.is_empty() {
            // Others may have cut it since.
            let is_empty = file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0);
            if !is_empty && file.write_all(b"\n").is_err() {
                return lines(bytes);
            }
            self.is_torn = false;
        }
        let mut written = 0;
        while written < bytes.len() {
            match file.write(&bytes[written..]) {
                Ok(n) if n > 0 => written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Somebody who has it as well does not want to wait. We do.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let _ = poll(&mut [PollFd::new(file, PollFlags::OUT)], None);
                }
                _ => {
                    self.is_torn = written > 0 && bytes[written - 1] != b'\n';
                    return lines(bytes) - complete(&bytes[..written]);
                }
            }
        }
        0
    }
}

fn complete(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// Lines, the last of which may have no end.
fn lines(bytes: &[u8]) -> u64 {
    complete(bytes) + u64::from(!bytes.is_empty() && !bytes.ends_with(b"\n"))
}
