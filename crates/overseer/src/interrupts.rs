//! Interrupts: SIGINT and SIGTERM, while all programs of an Overseer are supervised.
//!
//! A handler that was registered is never taken away: to unregister does not give back what the signal did before. So it
//! is there once for the process, and does what the default does while nobody supervises.

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::io::AsyncReadExt;

use crate::exec::dispositions;
use crate::hub::hub;
use crate::shared::Shared;

struct Registered {
    /// Nobody takes them now, so that they do what they did before.
    is_default: Arc<AtomicBool>,
    /// Who takes them, and when it has had the first one.
    takers: Mutex<Vec<(Weak<Shared>, Option<Instant>)>>,
}

static REGISTERED: LazyLock<Registered> = LazyLock::new(Registered::new);

impl Registered {
    fn new() -> Self {
        let is_default = Arc::new(AtomicBool::new(true));
        // Where it cannot be told, they are left to others.
        let (ignored, caught) = dispositions().unwrap_or((u64::MAX, u64::MAX));
        if let Ok((reader, writer)) = UnixStream::pair() {
            for signal in [SIGINT, SIGTERM] {
                let is_of_others = (ignored | caught) & (1 << (signal - 1)) != 0;
                if !is_of_others {
                    let _ = signal_hook::flag::register_conditional_default(signal, Arc::clone(&is_default));
                }
                let _ = writer.try_clone().map(|writer| signal_hook::low_level::pipe::register(signal, writer));
            }
            hub().runtime.spawn(listen_to(reader));
        }
        Registered { is_default, takers: Mutex::default() }
    }
}

/// A second signal that comes sooner is part of the first: `timeout` signals its child, and then its group.
const APART: Duration = Duration::from_millis(50);

/// On the thread of the actors: so the children are stopped whatever else is going on in the program.
async fn listen_to(signals: UnixStream) {
    let Ok(mut signals) = signals.set_nonblocking(true).and_then(|()| tokio::net::UnixStream::from_std(signals)) else {
        return;
    };
    while let Ok(_signal) = signals.read_u8().await {
        let mut takers = REGISTERED.takers.lock().unwrap_or_else(PoisonError::into_inner);
        let due: Vec<_> = takers
            .iter_mut()
            .filter_map(|(taker, first)| Some((taker.upgrade()?, first.get_or_insert_with(Instant::now).elapsed())))
            .collect();
        drop(takers);
        for (taker, since_first) in due {
            taker.with(|core| core.interrupt(since_first >= APART));
        }
    }
}

/// An Overseer that takes them, until this is dropped.
pub(crate) struct Interrupts(Weak<Shared>);

impl Interrupts {
    pub(crate) fn take(shared: &Arc<Shared>) -> Self {
        let registered = &*REGISTERED;
        let mut takers = registered.takers.lock().unwrap_or_else(PoisonError::into_inner);
        takers.push((Arc::downgrade(shared), None));
        registered.is_default.store(false, Ordering::SeqCst);
        Interrupts(Arc::downgrade(shared))
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        let mut takers = REGISTERED.takers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = takers.iter().position(|(taker, _)| taker.ptr_eq(&self.0)) {
            takers.remove(at);
        }
        REGISTERED.is_default.store(takers.is_empty(), Ordering::SeqCst);
    }
}
