//! Spans: what a program has instrumented with `tracing` already is listed.
//!
//! A span that is picked is a task while it is open; those below it know its handle. What is ours is kept in a map
//! of our own and not in the extensions of the span: other layers hold their lock while they format values, which may
//! open spans. No lock of ours is held while a value is formatted or a task ends.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use crate::current;
use crate::list::ProcList;
use crate::task::{Handle, Task};

/// The field that picks a span, and names its task.
const ID: &str = "pm.id";

/// Between the names of a span and of one below it, in a status.
const BELOW: &str = " > ";

/// So that threads seldom meet at one lock.
const SHARDS: usize = 32;

/// Makes spans of `tracing` tasks of the [global](crate::global) list: a layer for a subscriber.
///
/// ```
/// use tracing_subscriber::prelude::*;
///
/// tracing_subscriber::registry().with(pm::tracing_layer()).init();
///
/// let span = tracing::info_span!("import", pm.id = "import7", file = "orders.csv");
/// span.in_scope(|| {
///     assert_eq!(pm::global().get("import7").unwrap().status, "import");
///     let _query = tracing::info_span!("query").entered();
///     assert_eq!(pm::global().get("import7").unwrap().status, "import > query");
/// });
/// drop(span);
/// assert!(pm::global().is_empty());
/// ```
///
/// # What is listed
///
/// A span with a field `pm.id`, whose value when the span is made is the id; with [`roots`](TracingLayer::roots) each root span, too, under
/// its name and a number; with [`spans`](TracingLayer::spans) those that are chosen. It is listed while it
/// is open, that is, until its last handle is dropped. Its fields are columns as they are recorded. Its status
/// is its name, and behind that those of the spans below it that are open, down to the last, or to one that is listed
/// itself: `import > query`.
///
/// Spans of the targets `pm` and `pm::..` are never listed.
///
/// # What a kill can do
///
/// While the span, or one below it, is entered, [`current`](crate::current) is its task. So the task can be killed by
/// [`check`](Handle::check), [`try_status`](Handle::try_status) and [`killed`](Handle::killed) of that, or by a
/// [`run`](Handle::run) around the work. Its [`status(..)()`](Handle::status) never unwinds: spans are entered by
/// guards, which people hold across awaits, and then the code that runs meanwhile is not that of the task. A task that
/// has no kill point goes on, and the operator is told so after 5 s.
///
/// # Cost
///
/// Every span that is enabled is looked at. A filter on this layer keeps spans of libraries away:
///
/// ```
/// # use tracing_subscriber::{filter::LevelFilter, prelude::*};
/// let layer = pm::tracing_layer().roots().with_filter(LevelFilter::INFO);
/// # tracing_subscriber::registry().with(layer);
/// ```
///
/// A request that `pm::layer()` lists already is listed twice if its span is picked as well. Then what is done in the
/// span is the span's: its statuses, and its kill points. The same holds for a listed span below another.
pub fn tracing_layer() -> TracingLayer {
    TracingLayer { list: None, has_roots: false, spans: None, events: None, known: Arc::default() }
}

type Choice = Arc<dyn Fn(&Metadata<'_>) -> bool + Send + Sync>;

/// The layer that [`tracing_layer`] returns, and its settings.
#[derive(Clone)]
#[must_use = "a layer does nothing until it is added to a subscriber"]
pub struct TracingLayer {
    list: Option<ProcList>,
    has_roots: bool,
    spans: Option<Choice>,
    events: Option<Choice>,
    known: Arc<Spans>,
}

/// The spans that are tasks, and those below them.
struct Spans {
    /// Tells them from those of other layers.
    layer: u64,
    shards: [Mutex<HashMap<u64, Known>>; SHARDS],
}

impl Default for Spans {
    fn default() -> Self {
        static LAYERS: AtomicU64 = AtomicU64::new(0);
        Spans { layer: LAYERS.fetch_add(1, Ordering::Relaxed), shards: Default::default() }
    }
}

impl Spans {
    fn shard(&self, span: u64) -> MutexGuard<'_, HashMap<u64, Known>> {
        self.shards[span as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, span: &Id) -> Option<Handle> {
        self.shard(span.into_u64()).get(&span.into_u64()).map(Known::handle)
    }

    fn insert(&self, span: &Id, known: Known) {
        let before = self.shard(span.into_u64()).insert(span.into_u64(), known);
        drop(before);
    }

    fn remove(&self, span: &Id) -> Option<Known> {
        self.shard(span.into_u64()).remove(&span.into_u64())
    }

    fn with_listed<T>(&self, span: &Id, f: impl FnOnce(&mut Listed) -> T) -> Option<T> {
        match self.shard(span.into_u64()).get_mut(&span.into_u64()) {
            Some(Known::Task(listed)) => Some(f(listed)),
            Some(Known::Below { .. }) | None => None,
        }
    }

    /// The nearest span above this one that is a task.
    fn listed_above<'a, R: LookupSpan<'a>>(&self, span: &SpanRef<'a, R>) -> Option<SpanRef<'a, R>> {
        span.scope().skip(1).find(|span| self.with_listed(&span.id(), |_| ()).is_some())
    }
}

/// What is known of a span.
enum Known {
    /// It is a task.
    Task(Listed),
    /// One above it is: its task, and its number among those that are open.
    Below { task: Handle, number: u64 },
}

struct Listed {
    /// The guard.
    task: Task,
    /// The status of each span below it that is open, in the order in which they were opened.
    open: BTreeMap<u64, String>,
    last_number: u64,
}

impl Known {
    fn handle(&self) -> Handle {
        match self {
            Known::Task(listed) => listed.task.handle(),
            Known::Below { task, .. } => task.clone(),
        }
    }
}

impl TracingLayer {
    /// Lists the spans in `list` instead of the global one.
    pub fn list(mut self, list: &ProcList) -> Self {
        self.list = Some(list.clone());
        self
    }

    /// Lists each root span too, as `import1`, `import2`, .. by its name.
    pub fn roots(mut self) -> Self {
        self.has_roots = true;
        self
    }

    /// Lists the spans for which `spans` returns true, too.
    ///
    /// ```
    /// let layer = pm::tracing_layer().spans(|metadata| metadata.name() == "job");
    /// ```
    pub fn spans(mut self, spans: impl Fn(&Metadata<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.spans = Some(Arc::new(spans));
        self
    }

    /// Makes the messages of the events for which `events` returns true the status of their task.
    ///
    /// ```
    /// let layer = pm::tracing_layer().events(|metadata| *metadata.level() <= tracing::Level::INFO);
    /// ```
    pub fn events(mut self, events: impl Fn(&Metadata<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.events = Some(Arc::new(events));
        self
    }

    fn is_task(&self, metadata: &Metadata<'_>, is_root: bool) -> bool {
        metadata.fields().field(ID).is_some()
            || self.has_roots && is_root
            || self.spans.as_ref().is_some_and(|spans| spans(metadata))
    }

    fn start(&self, attributes: &Attributes<'_>) -> Task {
        let list = self.list.as_ref().unwrap_or_else(|| crate::global());
        let name = attributes.metadata().name();
        let mut id = TaskId(None);
        attributes.record(&mut id);
        let task = match id.0 {
            Some(id) => list.start(id),
            None => list.start_numbered(if is_plain(name) { name } else { "span" }),
        };
        task.entry.never_unwinds();
        set_status(&task, name);
        attributes.record(&mut Columns(&task));
        task
    }
}

/// Whether spans and events of this kind may be ours: none of this crate itself.
fn is_foreign(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    target != "pm" && !target.starts_with("pm::")
}

/// Whether ids may begin with `name`.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte))
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for TracingLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id).filter(|_| is_foreign(attributes.metadata())) else { return };
        if self.is_task(attributes.metadata(), span.parent().is_none()) {
            let task = self.start(attributes);
            self.known.insert(id, Known::Task(Listed { task, open: BTreeMap::new(), last_number: 0 }));
            return;
        }
        let Some(above) = self.known.listed_above(&span) else { return };
        let names: Vec<_> =
            span.scope().take_while(|other| other.id() != above.id()).map(|other| other.name()).collect();
        let status = names.iter().rev().fold(above.name().to_string(), |status, name| status + BELOW + name);
        let below = self.known.with_listed(&above.id(), |listed| {
            listed.last_number += 1;
            listed.open.insert(listed.last_number, status.clone());
            (listed.task.handle(), listed.last_number)
        });
        if let Some((task, number)) = below {
            set_status(&task, status);
            self.known.insert(id, Known::Below { task, number });
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        if let Some(task) = self.known.with_listed(id, |listed| listed.task.handle()) {
            values.record(&mut Columns(&task));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        if !self.events.as_ref().is_some_and(|events| is_foreign(metadata) && events(metadata)) {
            return;
        }
        let mut message = Message(None);
        event.record(&mut message);
        if let Some(span) = context.event_span(event)
            && let Some(task) = span.scope().find_map(|span| self.known.handle(&span.id()))
            && let Message(Some(message)) = message
        {
            set_status(&task, message);
        }
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        if let Some(task) = self.known.handle(id) {
            current::enter_span((self.known.layer, id.into_u64()), task);
        }
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        // Who caught the panic may close the span only then.
        if thread::panicking()
            && let Some(task) = self.known.with_listed(id, |listed| listed.task.handle())
        {
            task.entry.panics();
        }
        current::leave_span((self.known.layer, id.into_u64()));
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let known = self.known.remove(&id);
        if let Some(Known::Below { task, number }) = &known
            && let Some(span) = context.span(&id)
            && let Some(above) = self.known.listed_above(&span)
        {
            let status = self.known.with_listed(&above.id(), |listed| {
                let is_last = listed.open.last_key_value().is_some_and(|(last, _)| last == number);
                listed.open.remove(number);
                is_last.then(|| listed.open.last_key_value().map_or(above.name().to_string(), |(_, last)| last.clone()))
            });
            if let Some(Some(status)) = status {
                set_status(task, status);
            }
        }
        // With no lock held: it may be the end of the task.
        drop(known);
    }
}

/// Without the place, which would be one of this file.
fn set_status(task: &Handle, status: impl Into<Cow<'static, str>>) {
    task.entry.set_status(status.into(), None);
}

/// The value of [`ID`].
struct TaskId(Option<String>);

impl Visit for TaskId {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == ID {
            self.0 = Some(value.to_string());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == ID {
            self.0 = Some(format!("{value:?}"));
        }
    }
}

/// All other fields.
struct Columns<'a>(&'a Handle);

impl Columns<'_> {
    fn set(&self, field: &Field, value: impl fmt::Display) {
        if field.name() != ID {
            self.0.set_col(field.name(), value);
        }
    }
}

impl Visit for Columns<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.set(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format_args!("{value:?}"));
    }
}

/// The message of an event.
struct Message(Option<String>);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = Some(format!("{value:?}"));
        }
    }
}

impl fmt::Debug for TracingLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TracingLayer").field("has_roots", &self.has_roots).finish_non_exhaustive()
    }
}
