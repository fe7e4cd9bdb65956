//! What the library warns of, counted.

use std::fmt::{Debug, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once};

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Level, Metadata, Subscriber};

/// The warnings of this process that have some words: of the test's own, since tests share the process.
pub(crate) struct Warnings {
    count: Arc<AtomicUsize>,
}

impl Warnings {
    /// Counts from now on.
    pub(crate) fn of(words: &str) -> Warnings {
        static LISTENING: Once = Once::new();
        LISTENING.call_once(|| tracing::subscriber::set_global_default(Listener).expect("there is no other"));
        let count = Arc::new(AtomicUsize::new(0));
        WANTED.lock().push((words.to_owned(), Arc::clone(&count)));
        Warnings { count }
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

static WANTED: Mutex<Vec<(String, Arc<AtomicUsize>)>> = Mutex::new(Vec::new());

struct Listener;

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field}={value:?} ").expect("a String takes it");
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        for (words, count) in &*WANTED.lock() {
            if text.0.contains(words.as_str()) {
                count.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
