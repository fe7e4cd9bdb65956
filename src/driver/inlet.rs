//! The way of small messages that come in a tight loop: from the application's thread into the state machine without a lock and
//! a look at the clock for each, which would cost more than the message.
//!
//! A publisher has the [`Inlet`] for itself, and packs records into the datagrams of a run, in memory that is its own (a
//! [`lane`](crate::net)); what the lock guards has the other end in its [`Inlets`]. The publisher pushes only while it was told
//! that it may, so many times; then it takes the lock again, looks at the clock, and hands the run over as it lies there.
//! Whoever else holds the lock may look into it meanwhile, takes copies, and closes the inlet: who transmits, and the service thread where
//! what is in there has waited long enough; the publisher is back to the lock with its next message.
//!
//! The flag by which it is closed is read after each push: a publisher that reads it in time comes by itself, and for one that
//! did not it is looked once more, long after, by whoever has the lock then. `scripts/model` tries this in every order in which two threads' steps can come, and
//! their stores be seen.

use crate::net::{self, Filled, Reader, Writer};
use crate::protocol::Time;
use crate::protocol::publisher::Publisher;
use crate::wire::{HEADER_LENGTH, record_head};
#[cfg(nakcast_model)]
use loom::sync;
#[cfg(not(nakcast_model))]
use std::sync;
use std::time::Duration;
use sync::Arc;
use sync::atomic::{AtomicBool, Ordering};

/// So many full datagrams of a run tell how long those of the next will be.
const ENOUGH: usize = 8;
/// The clock is looked at after so many messages at the latest.
const MOST: u32 = 255;
/// And at each, until so many runs left of a loop: where an application makes up for a pause, the loop is over soon, and its last messages
/// would lie there until some more came.
const SURE_RUNS: u32 = 4;
/// What a processor has written others have long seen after this, and it what they wrote before.
const SEEN_WITHIN: Duration = Duration::from_micros(50);
/// A pause after so many looks without one is not the end of a loop.
const STEADY: u32 = 8;

/// The publisher's end.
#[derive(Debug)]
pub(crate) struct Inlet {
    run: Writer,
    /// The other end wants no more.
    closed: Arc<AtomicBool>,
    /// The longest message that goes this way, in bytes.
    longest: usize,
    /// Datagrams that what is pushed may yet begin. None when it is shut.
    datagrams: usize,
    is_open: bool,
    /// Runs that left since messages come in a tight loop.
    runs: u32,
    /// Messages that follow each other in less than this come in such a loop.
    tight: Duration,
    /// Looks since the last pause.
    steady: u32,
    /// Until when what is pushed may wait.
    due: Time,
    /// After how many messages the clock is looked at, and how many of these are left.
    batch: u32,
    left: u32,
    /// When it was looked at last, and how many messages came since.
    looked: Time,
    since: u32,
    /// What the endpoint had spent on transmits by then.
    spent: Duration,
}

/// What became of a message that was to be pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It is on its way.
    Yes,
    /// It is; look at the clock.
    Look,
    /// It is, but nobody will look after it: take the lock.
    Alone,
    /// It is not: what is in there is a run.
    Full,
    /// It is not: it does not go this way.
    No,
}

impl Pushed {
    /// Whether it is on its way.
    pub(crate) fn is_taken(self) -> bool {
        matches!(self, Pushed::Yes | Pushed::Look | Pushed::Alone)
    }
}

impl Inlet {
    /// Messages that follow each other in less than this come in a tight loop, whatever it takes to send one.
    pub(crate) const TIGHT: Duration = Duration::from_micros(1);
    /// The clock is looked at after about this time.
    pub(crate) const BETWEEN_LOOKS: Duration = Duration::from_micros(4);

    /// Takes a message, where it may.
    #[inline]
    pub(crate) fn push(&mut self, message: &[u8]) -> Pushed {
        if message.len() > self.longest {
            return self.refused();
        }
        let head = record_head(message.len() as u16);
        if !self.run.append(head, message) {
            if self.datagrams == 0 || !self.run.takes(head.len() + message.len()) {
                return self.refused();
            }
            self.datagrams -= 1;
            if !self.run.next() || !self.run.append(head, message) {
                debug_assert!(false, "a datagram has room for the longest, and a run for its datagrams");
                return Pushed::No;
            }
        }
        self.left = self.left.saturating_sub(1);
        // Who closed it just before may have looked just before, too.
        if self.closed.load(Ordering::Acquire) {
            Pushed::Alone
        } else if self.left == 0 {
            Pushed::Look
        } else {
            Pushed::Yes
        }
    }

    fn refused(&self) -> Pushed {
        if self.is_open { Pushed::Full } else { Pushed::No }
    }

    /// The clock was looked at: whether what was pushed may wait for more.
    pub(crate) fn may_wait(&mut self, now: Time) -> bool {
        self.look(now, 0);
        self.left > 0 && !self.due.is_due(now)
    }

    /// The clock was looked at after what was pushed, and so many messages that were not: after how many it is next.
    pub(crate) fn look(&mut self, now: Time, besides: u32) {
        self.since += self.batch - self.left + besides;
        let each = now.since(self.looked) / self.since.max(1);
        self.batch = if each < self.tight {
            self.steady = self.steady.saturating_add(1);
            let few = Self::BETWEEN_LOOKS.as_nanos() / each.as_nanos().max(1);
            let most = if self.is_sure() { few.max(1) } else { 1 };
            (self.batch * 2 + 1).min(most as u32).min(MOST)
        } else {
            // A thread that was put aside for a moment is in its loop yet, unless that just began: short bursts are none.
            let goes_on = self.batch > 0 && self.steady >= STEADY;
            (self.steady, self.runs) = (0, 0);
            u32::from(goes_on)
        };
        self.go_on(now);
    }

    /// Takes note of what the endpoint has spent on transmits by now. Where it is `no_pause`, because the application sends message
    /// after message on several topics, what was spent since the last time was not between messages.
    pub(crate) fn passes(&mut self, spent: Duration, no_pause: bool) {
        let since = spent.saturating_sub(std::mem::replace(&mut self.spent, spent));
        if no_pause {
            self.looked = self.looked + since;
        }
    }

    /// Reckons from now on: what was sent left, and the time that took is not between messages.
    pub(crate) fn go_on(&mut self, now: Time) {
        self.looked = now;
        self.since = 0;
        self.left = self.batch;
    }

    /// The next message takes the lock.
    pub(crate) fn shut(&mut self) {
        self.is_open = false;
        self.datagrams = 0;
        self.run.shut();
    }

    /// The loop goes on for so long that it is no burst.
    pub(crate) fn is_sure(&self) -> bool {
        self.runs >= SURE_RUNS
    }

    /// The last message came without a pause.
    #[cfg(test)]
    pub(crate) fn is_steady(&self) -> bool {
        self.steady > 0
    }

    /// To send takes so long: where messages come in less than half of it, it is worth the wait to send some together.
    pub(crate) fn costs(&mut self, cost: Duration) {
        self.tight = (cost / 2).max(Self::TIGHT);
    }

    /// How many datagrams are in a run.
    pub(crate) fn run(&self) -> u64 {
        self.run.slots() as u64
    }

    /// Messages come in a tight loop.
    pub(crate) fn is_tight(&self) -> bool {
        self.batch > 0
    }
}

/// The other end of one.
#[derive(Debug)]
struct Outlet {
    run: Reader,
    /// The publisher is to push no more.
    closed: Arc<AtomicBool>,
    /// Since when, once it is.
    since: Time,
}

impl Outlet {
    /// Hands copies of the records that are in it to the state machine.
    fn take(&mut self, publisher: &mut Publisher, stream: u32, now: Time) {
        self.run.read(|records| {
            if publisher.put(stream, records, now) != records.len() {
                debug_assert!(false, "there was headroom");
                tracing::error!(stream, "messages were lost in the publisher: a fault of nakcast");
            }
        });
    }

    /// The same, and nothing more is to be pushed: what was taken may be sealed before more comes, and that took a datagram more
    /// than the publisher reckons with. Whether it was closed so long ago that nothing more can come by itself.
    fn close(&mut self, publisher: &mut Publisher, stream: u32, now: Time) -> bool {
        if !self.closed.swap(true, Ordering::AcqRel) {
            self.since = now;
        }
        self.take(publisher, stream, now);
        now.since(self.since) >= SEEN_WITHIN
    }
}

/// The other ends of all inlets of an endpoint.
#[derive(Debug, Default)]
pub(crate) struct Inlets {
    outlets: Vec<Option<Outlet>>,
    /// The streams whose publishers may push, or may just have.
    open: Vec<u32>,
}

impl Inlets {
    /// Datagrams that may be sealed besides those that a publisher begins: what it pushed may be taken in and sealed by others, when
    /// they close it, when they look at what it pushed just then, and when it waits for the lock with the message it learned it
    /// by; and one that was being packed before.
    pub(crate) const SPLITS: u64 = 4;

    /// The inlet of a stream that was just opened. All it will ever need is allocated here; memory that it does not come to use
    /// is never touched.
    pub(crate) fn connect(&mut self, publisher: &Publisher, stream: u32) -> Inlet {
        let slots = publisher.max_run() as usize;
        let (run, reader) = net::lane(slots, publisher.config().datagram, HEADER_LENGTH, net::MAX_DATAGRAMS);
        let closed = Arc::new(AtomicBool::new(false));
        let at = stream as usize;
        if self.outlets.len() <= at {
            self.outlets.resize_with(at + 1, || None);
        }
        self.outlets[at] = Some(Outlet { run: reader, closed: Arc::clone(&closed), since: Time(0) });
        self.open.reserve(self.outlets.len());
        Inlet {
            run,
            closed,
            longest: publisher.max_record(),
            datagrams: 0,
            is_open: false,
            runs: 0,
            tight: Inlet::TIGHT,
            steady: 0,
            due: Time(0),
            batch: 0,
            left: 0,
            looked: Time(0),
            since: 0,
            spent: Duration::ZERO,
        }
    }

    /// A publisher may push as many messages as begin `datagrams` datagrams at the most, and until `due` or shortly after. There is
    /// headroom for [`SPLITS`](Self::SPLITS) more.
    pub(crate) fn open(&mut self, inlet: &mut Inlet, stream: u32, datagrams: usize, due: Time) {
        inlet.left = inlet.batch;
        inlet.datagrams = datagrams;
        inlet.is_open = true;
        inlet.due = due;
        inlet.closed.store(false, Ordering::Release);
        if !self.open.contains(&stream) {
            self.open.push(stream);
        }
    }

    /// Takes in what a publisher pushed. It does not push while this is called, for it calls it itself.
    pub(crate) fn take_in(&mut self, publisher: &mut Publisher, stream: u32, now: Time) {
        if let Some(Some(outlet)) = self.outlets.get_mut(stream as usize) {
            outlet.close(publisher, stream, now);
        }
    }

    /// The same; and it takes the lock for its next message.
    pub(crate) fn enter(&mut self, publisher: &mut Publisher, inlet: &mut Inlet, stream: u32, now: Time) {
        if let Some(outlet) = self.shut(inlet, stream) {
            outlet.take(publisher, stream, now);
            let stride = inlet.run.stride();
            outlet.run.restart(&mut inlet.run, stride);
            publisher.forgo(stream);
        }
    }

    /// The same, to be sent at once, from where it lies.
    pub(crate) fn depart(&mut self, publisher: &mut Publisher, inlet: &mut Inlet, stream: u32, now: Time) {
        let Some(outlet) = self.shut(inlet, stream) else { return };
        inlet.runs = inlet.runs.saturating_add(1);
        let mut stride = inlet.run.stride();
        if outlet.run.is_untouched() {
            outlet.run.exchange(&mut inlet.run, publisher.staging());
            let datagrams = inlet.run.finish();
            publisher.stage(stream, stride, datagrams.iter().map(|slot| (slot.end, slot.pieces)));
            if let Some(full) = as_long_as_needed(datagrams) {
                stride = full;
            }
        } else {
            outlet.take(publisher, stream, now);
            publisher.flush(stream);
        }
        if inlet.run.is_short() {
            stride = publisher.config().datagram;
        }
        outlet.run.restart(&mut inlet.run, stride);
        publisher.forgo(stream);
    }

    /// Nothing is pushed any more.
    fn shut(&mut self, inlet: &mut Inlet, stream: u32) -> Option<&mut Outlet> {
        inlet.shut();
        if let Some(at) = self.open.iter().position(|&open| open == stream) {
            self.open.swap_remove(at);
        }
        self.outlets.get_mut(stream as usize)?.as_mut()
    }

    /// Takes in what all publishers pushed; they push no more. One that pushes at this moment may not have seen that it is not to, and
    /// what it pushed may not be seen here yet: it is looked after again, until that has long come to pass.
    /// Whether any was let go, and others may have the memory it was promised.
    pub(crate) fn take_in_all(&mut self, publisher: &mut Publisher, now: Time) -> bool {
        self.close_all(publisher, now, |_, _| {})
    }

    /// The same, to be sent now.
    pub(crate) fn flush_all(&mut self, publisher: &mut Publisher, now: Time) -> bool {
        self.close_all(publisher, now, Publisher::flush)
    }

    fn close_all(
        &mut self,
        publisher: &mut Publisher,
        now: Time,
        then: impl Fn(&mut Publisher, u32),
    ) -> bool {
        let before = self.open.len();
        let outlets = &mut self.outlets;
        self.open.retain(|&stream| {
            let outlet = outlets.get_mut(stream as usize).and_then(Option::as_mut);
            let is_over = outlet.is_none_or(|outlet| outlet.close(publisher, stream, now));
            then(publisher, stream);
            if is_over {
                // The message by which it learns that begins a datagram at the most, where none is being packed.
                publisher.flush(stream);
                publisher.forgo(stream);
            }
            !is_over
        });
        self.open.len() < before
    }

    /// The publisher is gone.
    pub(crate) fn forget(&mut self, stream: u32) {
        self.open.retain(|&open| open != stream);
        if let Some(outlet) = self.outlets.get_mut(stream as usize) {
            *outlet = None;
        }
    }

    /// Whether anything must be looked after.
    pub(crate) fn is_open(&self) -> bool {
        !self.open.is_empty()
    }
}

/// How far apart datagrams are to begin so that as many messages go into each as did into these, and those of one length follow
/// each other without a gap. Not told by a few.
fn as_long_as_needed(datagrams: &[Filled]) -> Option<usize> {
    // The last may not be full.
    let (_, full) = datagrams.split_last()?;
    full.iter().map(|slot| usize::from(slot.end)).max().filter(|_| full.len() >= ENOUGH)
}

#[cfg(all(test, not(nakcast_model)))]
mod looks;

#[cfg(all(test, not(nakcast_model)))]
mod tests {
    use super::*;
    use crate::protocol::publisher::Config;
    use crate::wire::{Datagram, RECORD_LENGTH, SourceId};

    pub(super) fn publisher() -> Publisher {
        let mut publisher = Publisher::new(Config::new(SourceId(7)), Time(0));
        assert_eq!(publisher.open_stream("t", Time(0)), Some(1));
        publisher
    }

    /// One that sends in a tight loop, as far as it knows.
    fn tight(publisher: &Publisher, inlets: &mut Inlets) -> Inlet {
        let mut inlet = inlets.connect(publisher, 1);
        inlet.batch = 8;
        inlet
    }

    /// For a run.
    fn open(publisher: &mut Publisher, inlets: &mut Inlets, inlet: &mut Inlet) {
        assert!(publisher.headroom(1, inlet.run() + Inlets::SPLITS, Time(0)));
        inlets.open(inlet, 1, inlet.run() as usize, Time::NEVER);
    }

    /// The messages that leave now.
    fn transmitted(publisher: &mut Publisher) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        publisher.flush(1);
        while publisher.poll_transmit(Time(0)).is_some() {
            for bytes in publisher.datagrams() {
                let datagram = Datagram::parse(bytes).unwrap();
                if let Ok(crate::wire::Body::Records(records)) = datagram.body() {
                    messages.extend(records.into_iter().map(<[u8]>::to_vec));
                }
            }
        }
        publisher.settle(|to, from| to.copy_from_slice(from));
        messages
    }

    #[test]
    fn what_is_pushed_comes_out_in_order_whoever_takes_it() {
        let mut random = fastrand::Rng::with_seed(1);
        let (mut publisher, mut inlets) = (publisher(), Inlets::default());
        let mut inlet = tight(&publisher, &mut inlets);
        let mut number = 0_u32;
        for _ in 0..500 {
            open(&mut publisher, &mut inlets, &mut inlet);
            let mut pushed = Vec::new();
            for _ in 0..random.usize(..120) {
                let mut message = number.to_be_bytes().to_vec();
                message.resize(
                    random.usize(4..=if number.is_multiple_of(3) { 1_340 } else { 100 }),
                    number as u8,
                );
                match inlet.push(&message) {
                    Pushed::Yes | Pushed::Look => pushed.push(message),
                    Pushed::Alone => {
                        pushed.push(message);
                        inlets.enter(&mut publisher, &mut inlet, 1, Time(0));
                        open(&mut publisher, &mut inlets, &mut inlet);
                    }
                    other => assert_eq!(other, Pushed::Full, "a run is full"),
                }
                number += 1;
                if random.u8(..100) == 0 {
                    inlets.take_in_all(&mut publisher, Time(0));
                }
            }
            match random.u8(..4) {
                0 => inlets.enter(&mut publisher, &mut inlet, 1, Time(0)),
                _ => inlets.depart(&mut publisher, &mut inlet, 1, Time(0)),
            }
            assert!(!inlets.is_open() && inlet.push(b"shut") == Pushed::No);
            assert!(transmitted(&mut publisher) == pushed);
        }
    }

    #[test]
    fn a_run_is_full_when_its_datagrams_are_and_not_before() {
        let (publisher, mut inlets) = (publisher(), Inlets::default());
        let mut inlet = tight(&publisher, &mut inlets);
        inlets.open(&mut inlet, 1, 2, Time::NEVER);
        // Two in each of two datagrams.
        for pushed in [Pushed::Yes, Pushed::Yes, Pushed::Yes, Pushed::Yes, Pushed::Full] {
            assert_eq!(inlet.push(&[0; 600]), pushed);
        }
        assert_eq!(inlet.push(&[0; 100]), Pushed::Yes, "there is room for a small one still");
        assert_eq!(inlet.push(&[0; 1_341]), Pushed::Full, "it is longer than goes this way");
    }

    /// Messages of a length, run after run, lie in datagrams that are no longer than they need, and so more of these share a run;
    /// what has no room in them makes them longer again.
    #[test]
    fn datagrams_are_as_long_as_messages_need_them() {
        let (mut publisher, mut inlets) = (publisher(), Inlets::default());
        let mut inlet = tight(&publisher, &mut inlets);
        let (mut pushed, mut came) = (Vec::new(), Vec::new());
        let mut run = |lengths: &mut dyn Iterator<Item = usize>| {
            open(&mut publisher, &mut inlets, &mut inlet);
            let stride = inlet.run.stride();
            for length in lengths {
                let message = vec![pushed.len() as u8; length];
                if inlet.push(&message) == Pushed::Full {
                    break;
                }
                pushed.push(message);
            }
            inlets.depart(&mut publisher, &mut inlet, 1, Time(0));
            came.extend(transmitted(&mut publisher));
            assert!(came == pushed);
            stride
        };
        let of = |messages: usize, length: usize| HEADER_LENGTH + messages * (RECORD_LENGTH + length);
        let mut all = |length| run(&mut std::iter::repeat(length));
        assert_eq!([all(1_000), all(1_000), all(1_000)], [1_408, of(1, 1_000), of(1, 1_000)]);
        // 1,002 bytes have no room: the first run is empty.
        assert_eq!([all(1_002), all(1_002), all(1_002)], [of(1, 1_000), 1_408, of(1, 1_002)]);
        // Two of 600 would share a datagram of 1,408 bytes.
        assert_eq!([all(600), all(600), all(600)], [of(1, 1_002), 1_408, of(2, 600)]);
        // A few of another length tell nothing of what follows.
        assert_eq!([run(&mut [10; 70].into_iter()), run(&mut [1_300; 8].into_iter())], [of(2, 600); 2]);
        assert_eq!([run(&mut [600; 9].into_iter()), run(&mut [600; 19].into_iter())], [1_408; 2]);
        assert_eq!(run(&mut [600; 2].into_iter()), of(2, 600));
    }

    /// By `flush`, or by another publisher's transmits, which take in what there is, and see to what is due.
    #[test]
    fn however_often_what_was_pushed_is_taken_in_and_sent_nothing_is_lost() {
        for datagram in [512, 1_408, 8_900, 60_000] {
            let config = Config { datagram, ..Config::new(SourceId(7)) };
            let (mut publisher, mut inlets) = (Publisher::new(config, Time(0)), Inlets::default());
            publisher.open_stream("t", Time(0));
            let mut inlet = tight(&publisher, &mut inlets);
            let (mut came, most) = (Vec::new(), publisher.max_run());
            for number in 0..300_u32 {
                let message = number.to_be_bytes();
                // As a publisher does.
                let pushed = inlet.push(&message);
                assert_eq!(pushed, if number == 0 { Pushed::No } else { Pushed::Alone }, "it is closed");
                inlets.enter(&mut publisher, &mut inlet, 1, Time(0));
                if !pushed.is_taken() {
                    publisher.send(1, &message, Time(0)).unwrap();
                }
                assert!(publisher.headroom(1, most + Inlets::SPLITS, Time(0)));
                inlets.open(&mut inlet, 1, most as usize, Time::NEVER);
                if number.is_multiple_of(3) {
                    inlets.take_in(&mut publisher, 1, Time(0));
                } else {
                    inlets.take_in_all(&mut publisher, Time(0));
                }
                came.extend(transmitted(&mut publisher));
            }
            inlets.enter(&mut publisher, &mut inlet, 1, Time(0));
            came.extend(transmitted(&mut publisher));
            assert!(came.into_iter().eq((0..300_u32).map(|number| number.to_be_bytes().to_vec())));
            assert_eq!(publisher.stats().messages, 300);
        }
    }

    #[test]
    fn a_message_longer_than_is_allowed_does_not_go_this_way_though_there_is_room() {
        let config = Config { max_message: 10, ..Config::new(SourceId(7)) };
        let (mut publisher, mut inlets) = (Publisher::new(config, Time(0)), Inlets::default());
        publisher.open_stream("t", Time(0));
        let mut inlet = tight(&publisher, &mut inlets);
        inlets.open(&mut inlet, 1, 2, Time::NEVER);
        assert_eq!((inlet.push(&[0; 10]), inlet.push(&[0; 11])), (Pushed::Yes, Pushed::Full));
    }

    #[test]
    fn who_pushes_after_it_was_closed_knows_and_who_pushed_just_then_is_looked_after() {
        let (mut publisher, mut inlets) = (publisher(), Inlets::default());
        let mut inlet = tight(&publisher, &mut inlets);
        assert!(publisher.headroom(1, 46, Time(0)));
        inlets.open(&mut inlet, 1, 46, Time::NEVER);
        assert_eq!(inlet.push(b"one"), Pushed::Yes);
        inlets.flush_all(&mut publisher, Time(0));
        assert!(inlets.is_open(), "it is looked after once more");
        assert_eq!(transmitted(&mut publisher), [b"one"]);
        assert_eq!(inlet.push(b"two"), Pushed::Alone);
        let later = Time(0) + SEEN_WITHIN;
        inlets.flush_all(&mut publisher, Time(later.0 - 1));
        assert!(inlets.is_open(), "it is too soon to be sure");
        inlets.flush_all(&mut publisher, later);
        assert!(!inlets.is_open());
        assert_eq!(transmitted(&mut publisher), [b"two"]);
        assert_eq!(inlet.push(b"three"), Pushed::Alone);
        inlets.enter(&mut publisher, &mut inlet, 1, Time(0));
        assert_eq!(transmitted(&mut publisher), [b"three"], "who comes by itself is not looked for");
    }

    #[test]
    fn memory_that_was_made_sure_of_is_there_for_others_however_an_inlet_is_left() {
        for way in 0..3 {
            let config = Config { window: 4 * (32 << 10), ..Config::new(SourceId(7)) };
            let mut publisher = Publisher::new(config, Time(0));
            let streams = ["a", "b"].map(|topic| publisher.open_stream(topic, Time(0)).unwrap());
            let mut inlets = Inlets::default();
            let mut inlet = tight(&publisher, &mut inlets);
            assert!(publisher.headroom(1, 4 * 23 - 1, Time(0)), "all the memory there is");
            inlets.open(&mut inlet, 1, 46, Time::NEVER);
            assert_eq!(inlet.push(b"one"), Pushed::Yes);
            assert!(publisher.send(streams[1], b"one", Time(0)).is_err(), "it is all another's");
            match way {
                0 => inlets.enter(&mut publisher, &mut inlet, 1, Time(0)),
                1 => inlets.depart(&mut publisher, &mut inlet, 1, Time(0)),
                _ => {
                    inlets.take_in_all(&mut publisher, Time(0));
                    assert!(publisher.send(streams[1], b"one", Time(0)).is_err(), "more may come yet");
                    inlets.take_in_all(&mut publisher, Time(0) + SEEN_WITHIN);
                }
            }
            assert!(publisher.send(streams[1], b"one", Time(0)).is_ok(), "{way}");
        }
    }
}
