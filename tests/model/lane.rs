//! The lane of `src/net/lane.rs`, in every order in which the steps of two threads can come and their stores be seen: loom runs
//! each test once for each. Where a byte is read that was not surely written before, or written that may yet be read, it fails.
#![cfg(test)]

#[cfg(not(nakcast_model))]
compile_error!("it is run by scripts/model, which says that there is a model");

#[allow(dead_code)]
#[path = "../../src/net/lane.rs"]
mod lane;

use lane::{Filled, Reader, Writer, lane};
use loom::sync::{Arc, Mutex};
use loom::thread;
use std::ops::Range;

/// A slot has room for two pieces, each a number and its complement.
const STRIDE: usize = 5;
const HEAD: usize = 1;

fn append(writer: &mut Writer, numbers: Range<u8>) {
    for number in numbers {
        if !writer.append([number], &[!number]) {
            assert!(writer.next() && writer.append([number], &[!number]), "{number}");
        }
    }
}

/// Reads what is there: numbers, one after the other.
struct Numbers {
    reader: Reader,
    next: u8,
}

impl Numbers {
    fn read(&mut self) {
        self.reader.read(|bytes| {
            assert!(bytes.len().is_multiple_of(2), "{bytes:?} are no whole pieces");
            for piece in bytes.chunks(2) {
                assert_eq!(piece, [self.next, !self.next]);
                self.next += 1;
            }
        });
    }
}

#[test]
fn another_thread_may_read_meanwhile() {
    loom::model(|| {
        let (mut writer, reader) = lane(3, STRIDE, HEAD, 3);
        let appends = thread::spawn(move || {
            append(&mut writer, 0..5);
            writer
        });
        let mut numbers = Numbers { reader, next: 0 };
        numbers.read();
        numbers.read();
        let mut writer = appends.join().unwrap();
        numbers.read();
        assert_eq!(numbers.next, 5);
        let filled = |end, pieces| Filled { end, pieces };
        assert_eq!(writer.finish(), [filled(5, 2), filled(5, 2), filled(3, 1)]);
    });
}

/// As a publisher does, that has both ends when it has the lock, and a service thread, that has the one.
#[test]
fn who_has_the_lock_exchanges_and_restarts() {
    loom::model(|| {
        let (mut writer, reader) = lane(2, STRIDE, HEAD, 2);
        let shared = Arc::new(Mutex::new(Numbers { reader, next: 0 }));
        let reads = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for _ in 0..2 {
                    shared.lock().unwrap().read();
                }
            }
        });
        let mut other = vec![0; 2 * STRIDE].into_boxed_slice();
        for round in 0..2 {
            append(&mut writer, 3 * round..3 * (round + 1));
            let mut both = shared.lock().unwrap();
            both.read();
            assert_eq!(both.next, 3 * (round + 1));
            both.reader.exchange(&mut writer, &mut other);
            both.reader.restart(&mut writer, STRIDE);
        }
        append(&mut writer, 6..7);
        reads.join().unwrap();
        let mut both = shared.lock().unwrap();
        both.read();
        assert_eq!(both.next, 7);
    });
}
