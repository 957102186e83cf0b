//! Sink: a file that output is appended to, shared by all who name it.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use tokio::sync::mpsc;

use crate::hub::hub;
use crate::output::Rotation;

/// Batches that wait for a file. Then its writers wait, and with them the children, through their pipes.
const BATCHES: usize = 4;

/// Whole lines, as far as they are not too long, and where to count those that get lost.
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) dropped: Arc<AtomicU64>,
}

pub(crate) struct Sink {
    batches: mpsc::Sender<Batch>,
    reopen: Arc<AtomicBool>,
}

/// The sinks of this process, by the file that each has open.
static SINKS: LazyLock<Mutex<HashMap<FileId, Weak<Sink>>>> = LazyLock::new(Mutex::default);

/// Device and inode.
type FileId = (u64, u64);

impl Sink {
    /// The sink of this file. May block for as long as the file takes to be opened.
    ///
    /// A file that cannot be opened has a sink as well: it tries again with each batch.
    pub(crate) fn open(path: &Path, rotation: Option<Rotation>) -> Arc<Sink> {
        let file = open(path);
        let mut sinks = SINKS.lock().unwrap_or_else(PoisonError::into_inner);
        sinks.retain(|_, sink| sink.strong_count() > 0);
        let id = file.as_ref().ok().and_then(id);
        if let Some(sink) = id.and_then(|id| sinks.get(&id)).and_then(Weak::upgrade) {
            return sink;
        }
        let (batches, waiting) = mpsc::channel(BATCHES);
        let reopen = Arc::new(AtomicBool::new(false));
        let sink = Arc::new(Sink { batches, reopen: Arc::clone(&reopen) });
        if let Some(id) = id {
            sinks.insert(id, Arc::downgrade(&sink));
        }
        let writer = Writer { path: path.to_path_buf(), rotation, file: file.ok(), id, is_torn: false, reopen };
        hub().runtime.spawn(write(writer, waiting));
        sink
    }

    /// Waits until there is room.
    pub(crate) async fn write(&self, batch: Batch) {
        let _ = self.batches.send(batch).await;
    }

    /// Opens the file anew before it writes the next line: somebody has moved it.
    pub(crate) fn reopen(&self) {
        self.reopen.store(true, Ordering::SeqCst);
        // So that it does so now, when it has nothing to write.
        let _ = self.batches.try_send(Batch { bytes: Vec::new(), dropped: Arc::default() });
    }
}

async fn write(mut writer: Writer, mut waiting: mpsc::Receiver<Batch>) {
    while let Some(batch) = waiting.recv().await {
        let mut batches = vec![batch];
        while let Ok(more) = waiting.try_recv() {
            batches.push(more);
        }
        let written = tokio::task::spawn_blocking(move || {
            batches.iter().for_each(|batch| writer.write(batch));
            writer
        });
        match written.await {
            Ok(back) => writer = back,
            Err(_panic) => return,
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

fn id(file: &File) -> Option<FileId> {
    file.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

struct Writer {
    path: PathBuf,
    rotation: Option<Rotation>,
    file: Option<File>,
    id: Option<FileId>,
    /// The last line in the file is a piece of one, the rest of which is lost.
    is_torn: bool,
    reopen: Arc<AtomicBool>,
}

impl Writer {
    fn write(&mut self, batch: &Batch) {
        if self.reopen.swap(false, Ordering::SeqCst) || self.file.is_none() {
            self.open();
        }
        let mut bytes = &batch.bytes[..];
        while !bytes.is_empty() {
            let room = self.make_room(bytes);
            let (now, later) = bytes.split_at(room);
            bytes = later;
            let lost = self.append(now);
            batch.dropped.fetch_add(lost, Ordering::Relaxed);
        }
    }

    /// Whether it is open anew.
    fn open(&mut self) -> bool {
        let file = open(&self.path);
        let is_open = file.is_ok();
        if let Ok(file) = file {
            let id = id(&file);
            let mut sinks = SINKS.lock().unwrap_or_else(PoisonError::into_inner);
            let own = self.id.and_then(|id| sinks.remove(&id));
            if let (Some(id), Some(own)) = (id, own) {
                sinks.insert(id, own);
            }
            self.id = id;
            self.file = Some(file);
            self.is_torn = false;
        }
        is_open
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
        let numbered = |n: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{n}"));
            PathBuf::from(name)
        };
        // Somebody has moved or removed it: there is nothing to rotate, and a new one is opened.
        let is_there = std::fs::metadata(&self.path).is_ok_and(|there| Some((there.dev(), there.ino())) == self.id);
        if !is_there {
            return Ok(());
        }
        if keep == 0 {
            return std::fs::remove_file(&self.path);
        }
        for n in (1..keep).rev() {
            match std::fs::rename(numbered(n), numbered(n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&self.path, numbered(1))
    }

    /// Appends these lines. How many of them are lost.
    fn append(&mut self, bytes: &[u8]) -> u64 {
        let Some(file) = &mut self.file else { return lines(bytes) };
        if self.is_torn && !bytes.is_empty() {
            if file.write_all(b"\n").is_err() {
                return lines(bytes);
            }
            self.is_torn = false;
        }
        let mut written = 0;
        while written < bytes.len() {
            match file.write(&bytes[written..]) {
                Ok(n) if n > 0 => written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
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
