//! The inlet of `src/driver/inlet.rs`, with its flag that nothing more is to be pushed, in every order in which the steps of two
//! threads can come and their stores be seen. The state machine behind it is a stub that keeps what it was given.
#![cfg(test)]

#[cfg(not(nakcast_model))]
compile_error!("it is run by scripts/model, which says that there is a model");

#[allow(dead_code)]
#[path = "../../src/driver/inlet.rs"]
mod inlet;
#[allow(dead_code)]
#[path = "../../src/net/lane.rs"]
mod lane;

#[allow(dead_code)]
#[path = "../../src/protocol/time.rs"]
mod time;

use inlet::{Inlet, Inlets, Pushed};
use loom::sync::{Arc, Mutex};
use loom::thread;
use protocol::Time;
use protocol::publisher::Publisher;

/// What the inlet uses of the crate.
mod net {
    pub(crate) use super::lane::{Filled, Reader, Writer, lane};

    pub(crate) const MAX_DATAGRAMS: usize = 2;
}

mod protocol {
    pub(crate) use super::time::Time;

    pub(crate) mod publisher {
        use crate::wire::HEADER_LENGTH;

        pub(crate) struct Config {
            pub(crate) datagram: usize,
        }

        /// Keeps the records it was given, each a number behind its length.
        pub(crate) struct Publisher {
            config: Config,
            pub(crate) records: Vec<u8>,
            staging: Box<[u8]>,
        }

        impl Publisher {
            /// Two messages to a datagram, two datagrams to a run.
            pub(crate) fn new() -> Publisher {
                let config = Config { datagram: HEADER_LENGTH + 4 };
                let staging = vec![0; 2 * config.datagram].into();
                Publisher { config, records: Vec::new(), staging }
            }

            pub(crate) fn config(&self) -> &Config {
                &self.config
            }

            pub(crate) fn max_run(&self) -> u64 {
                2
            }

            pub(crate) fn max_record(&self) -> usize {
                1
            }

            pub(crate) fn put(&mut self, _: u32, records: &[u8], _: super::Time) -> usize {
                self.records.extend(records);
                records.len()
            }

            pub(crate) fn staging(&mut self) -> &mut Box<[u8]> {
                &mut self.staging
            }

            pub(crate) fn stage(
                &mut self,
                _: u32,
                stride: usize,
                datagrams: impl IntoIterator<Item = (u16, u16)>,
            ) {
                for (slot, (end, pieces)) in self.staging.chunks(stride).zip(datagrams) {
                    let records = &slot[HEADER_LENGTH..usize::from(end)];
                    assert_eq!(records.len(), 2 * usize::from(pieces));
                    self.records.extend(records);
                }
            }

            pub(crate) fn flush(&mut self, _: u32) {}

            pub(crate) fn forgo(&mut self, _: u32) {}
        }
    }
}

mod wire {
    pub(crate) const HEADER_LENGTH: usize = 1;

    pub(crate) fn record_head(length: u16) -> [u8; 1] {
        [length as u8]
    }
}

const STREAM: u32 = 1;
const NOW: Time = Time(0);
/// When what was stored by then has long been seen.
const LONG_AFTER: Time = Time(NOW.0 + 1_000_000_000);

/// What the lock guards.
struct Working {
    publisher: Publisher,
    inlets: Inlets,
}

impl Working {
    /// An endpoint, and the inlet of its publisher, open for a run.
    fn new() -> (Arc<Mutex<Working>>, Inlet) {
        let publisher = Publisher::new();
        let mut inlets = Inlets::default();
        let mut inlet = inlets.connect(&publisher, STREAM);
        inlets.open(&mut inlet, STREAM, 2, Time::NEVER);
        (Arc::new(Mutex::new(Working { publisher, inlets })), inlet)
    }

    /// What the service thread does when something has waited long enough: for the first time, or when it looks once more.
    fn close(&mut self, again: bool) {
        self.inlets.flush_all(&mut self.publisher, if again { LONG_AFTER } else { NOW });
    }

    /// All that was pushed came, each once and in order.
    fn has(&self, numbers: u8) {
        let came: Vec<u8> = (0..numbers).flat_map(|number| [1, number]).collect();
        assert_eq!(self.publisher.records, came);
    }
}

/// A publisher that pushes so many, until it knows that it is to take the lock: gives after how many that was.
fn push(inlet: &mut Inlet, numbers: u8) -> Option<u8> {
    (0..numbers).find(|&number| match inlet.push(&[number]) {
        Pushed::Alone => true,
        pushed => {
            assert!(pushed.is_taken());
            false
        }
    })
}

#[test]
fn what_is_pushed_while_it_is_closed_is_taken_in_by_who_knows_of_it_or_when_it_is_looked_after_again() {
    loom::model(|| {
        let (shared, mut inlet) = Working::new();
        let pushes = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let alone = push(&mut inlet, 3);
                if alone.is_some() {
                    // It knows, and comes by itself.
                    let working = &mut *shared.lock().unwrap();
                    working.inlets.enter(&mut working.publisher, &mut inlet, STREAM, NOW);
                    assert!(!working.inlets.is_open(), "it is not looked after any more");
                }
                (inlet, alone)
            }
        });
        shared.lock().unwrap().close(false);
        let (mut inlet, alone) = pushes.join().unwrap();
        let working = &mut *shared.lock().unwrap();
        match alone {
            Some(last) => working.has(last + 1),
            None => {
                // Long after.
                working.close(true);
                working.has(3);
                assert!(!working.inlets.is_open());
                assert_eq!(inlet.push(&[3]), Pushed::Alone, "who pushes after it was closed knows");
                working.inlets.enter(&mut working.publisher, &mut inlet, STREAM, NOW);
                working.has(4);
            }
        }
    });
}

#[test]
fn a_run_departs_whole_whoever_looks_into_it_meanwhile() {
    loom::model(|| {
        let (shared, mut inlet) = Working::new();
        let closes = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let working = &mut *shared.lock().unwrap();
                working.inlets.take_in_all(&mut working.publisher, NOW);
            }
        });
        let pushed = push(&mut inlet, 4).map_or(4, |last| last + 1);
        {
            let working = &mut *shared.lock().unwrap();
            working.inlets.depart(&mut working.publisher, &mut inlet, STREAM, NOW);
            working.has(pushed);
            working.inlets.open(&mut inlet, STREAM, 2, Time::NEVER);
        }
        let last = inlet.push(&[pushed]);
        assert!(last.is_taken());
        closes.join().unwrap();
        let working = &mut *shared.lock().unwrap();
        working.inlets.enter(&mut working.publisher, &mut inlet, STREAM, NOW);
        working.has(pushed + 1);
    });
}
