//! The queue of a detached subscriber: events that own what they show, and what was dropped of them. It knows no thread.
//!
//! What is dropped of a stream is merged in one place, held beside the queue: its beginning, one gap, its end. It is told
//! before what is next of the stream, together with it, so that an application that is always too slow sees a gap and a
//! message in turn, and not gaps alone.

use crate::protocol::{EndReason, Event, Gap, GapReason, Loss, Message, Stream};
use crate::wire::SourceId;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The queue between a detached subscriber's thread and the application.
///
/// Beside it there is one place for each stream of which something was dropped, where that is merged: the stream's
/// beginning, one gap that counts all its messages, its end. It is told before what is next of the stream. There are at
/// most [`max_streams`](crate::SubscriberBuilder::max_streams) such places; when all of them are taken, delivery waits until
/// one is told, whatever the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Most events in it, at least 1: messages, gaps, beginnings and ends of streams alike. Memory follows the messages:
    /// their bytes, and about 130 for each event; that of up to 1,024 messages, 64 KiB each at the most, is kept and used again.
    pub capacity: usize,
    /// What happens when it is full.
    pub when_full: WhenFull,
}

impl Default for Queue {
    /// 65,536 events; delivery waits when it is full.
    fn default() -> Queue {
        Queue { capacity: 65_536, when_full: WhenFull::Block }
    }
}

/// What happens when a queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenFull {
    /// Delivery waits and recovery goes on, as far as the reorder buffer reaches; then publishers are held back. Nothing is
    /// dropped.
    #[default]
    Block,
    /// The oldest event makes room for the newest.
    DropOldest,
    /// The newest event is dropped.
    DropNewest,
}

/// A stream of a source.
pub(super) type Key = (SourceId, u32);

/// A stream from its beginning to its end: one that comes back after a silence begins anew. They are counted.
pub(super) type Life = u64;

/// An event that owns what it shows. Its memory is used again.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) what: What,
    pub(super) topic: Arc<str>,
    pub(super) key: Key,
    pub(super) life: Life,
    pub(super) payload: Vec<u8>,
    /// What was dropped of its stream right before it.
    pub(super) before: Option<Box<Dropped>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    Message { sequence: u64, number: u64, sent: u64, received: u64, kernel: u64 },
    Gap(Loss),
    Up { sequence: u64 },
    End { sequence: u64, reason: EndReason },
}

impl Slot {
    pub(super) fn event(&self) -> Event<'_> {
        let (topic, (source, stream)) = (&*self.topic, self.key);
        match self.what {
            What::Message { sequence, number, sent, received, kernel } => Event::Message(Message {
                topic,
                payload: &self.payload,
                source,
                stream,
                sequence,
                number,
                sent,
                received,
                kernel,
            }),
            What::Gap(loss) => Event::Gap(Gap { topic, source, stream, loss }),
            What::Up { sequence } => Event::StreamUp(Stream { topic, source, stream, sequence, end: None }),
            What::End { sequence, reason } => {
                Event::StreamEnd(Stream { topic, source, stream, sequence, end: Some(reason) })
            }
        }
    }
}

/// Events of one stream that were dropped, in the order in which they are told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Dropped {
    up: Option<What>,
    loss: Option<Loss>,
    end: Option<What>,
}

impl Dropped {
    fn add(&mut self, what: What) {
        match what {
            What::Up { .. } => self.up = Some(what),
            What::End { .. } => self.end = Some(what),
            What::Gap(loss) => self.lose(loss),
            What::Message { sequence, .. } => {
                self.lose(Loss { first: sequence, last: sequence, messages: 1, reason: GapReason::Overrun });
            }
        }
    }

    fn lose(&mut self, loss: Loss) {
        self.loss = Some(match self.loss {
            None => loss,
            Some(merged) => Loss {
                first: merged.first.min(loss.first),
                last: merged.last.max(loss.last),
                messages: merged.messages.saturating_add(loss.messages),
                // For several reasons at once there is no word but that.
                reason: if merged.reason == loss.reason { loss.reason } else { GapReason::Overrun },
            },
        });
    }

    fn events(self) -> impl Iterator<Item = What> {
        [self.up, self.loss.map(What::Gap), self.end].into_iter().flatten()
    }
}

/// A stream of which something was dropped.
#[derive(Debug)]
struct Held {
    dropped: Dropped,
    topic: Arc<str>,
    key: Key,
    /// The number of the event in the queue before which it is to be told.
    due: u64,
}

/// The queue, and what is held beside it.
#[derive(Debug)]
pub(super) struct Events {
    settings: Queue,
    most_held: usize,
    queue: VecDeque<Slot>,
    /// The number of the first in the queue: all that ever were in it are counted.
    first: u64,
    held: BTreeMap<Life, Held>,
    /// Whose turn it is among those: the first from here on.
    turn: Life,
    /// What leaves the queue together, and is given next.
    leaving: VecDeque<Slot>,
    spare: Vec<Slot>,
    /// Messages that were dropped.
    drops: u64,
}

impl Events {
    /// An empty queue, with places for what is dropped of `most_held` streams.
    pub(super) fn new(settings: Queue, most_held: usize) -> Events {
        Events {
            settings,
            most_held,
            queue: VecDeque::with_capacity(settings.capacity.min(4_096)),
            first: 0,
            held: BTreeMap::new(),
            turn: 0,
            leaving: VecDeque::with_capacity(8),
            spare: Vec::new(),
            drops: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.queue.len() >= self.settings.capacity
    }

    /// Whether another event may be pushed: where nothing may be dropped, or there is no place to hold what is, it must wait.
    pub(super) fn has_room(&self) -> bool {
        !self.is_full() || (self.settings.when_full != WhenFull::Block && self.held.len() < self.most_held)
    }

    /// Adds an event, for which there must be [room](Self::has_room), and drops one where the queue is full.
    pub(super) fn push(&mut self, mut slot: Slot) {
        if self.is_full() {
            match self.settings.when_full {
                WhenFull::Block => {}
                WhenFull::DropOldest => {
                    if let Some(oldest) = self.queue.pop_front() {
                        self.first += 1;
                        // What was dropped is older than all that is left.
                        self.hold(oldest, 0);
                    }
                }
                WhenFull::DropNewest => {
                    // It is newer than all that is there.
                    return self.hold(slot, self.first + self.queue.len() as u64);
                }
            }
        }
        if self.settings.when_full == WhenFull::DropNewest
            && let Some(held) = self.held.remove(&slot.life)
        {
            slot.before = Some(Box::new(held.dropped));
        }
        self.queue.push_back(slot);
    }

    /// Drops an event: what there is to tell of it is kept.
    fn hold(&mut self, slot: Slot, due: u64) {
        let held = self.held.entry(slot.life).or_insert_with(|| Held {
            dropped: Dropped::default(),
            topic: Arc::clone(&slot.topic),
            key: slot.key,
            due,
        });
        held.dropped.add(slot.what);
        self.drops += u64::from(matches!(slot.what, What::Message { .. }));
        self.recycle(slot);
    }

    /// Messages that were dropped.
    pub(super) fn drops(&self) -> u64 {
        self.drops
    }

    /// The next event.
    pub(super) fn pop(&mut self) -> Option<Slot> {
        if self.leaving.is_empty() {
            // One stream that may have nothing more in the queue, in turn, lest it waits for those that always have.
            let turn = self.held.range(self.turn..).next().or_else(|| self.held.first_key_value());
            if let Some((&life, held)) = turn {
                self.turn = life + 1;
                if held.due <= self.first {
                    self.tell(life);
                }
            }
            if let Some(front) = self.queue.pop_front() {
                self.first += 1;
                if self.settings.when_full == WhenFull::DropOldest {
                    self.tell(front.life);
                }
                if let Some(before) = &front.before {
                    self.leave(**before, &front.topic, front.key, front.life);
                }
                self.leaving.push_back(front);
            }
        }
        self.leaving.pop_front()
    }

    /// What is held of a stream leaves.
    fn tell(&mut self, life: Life) {
        if let Some(held) = self.held.remove(&life) {
            self.leave(held.dropped, &held.topic, held.key, life);
        }
    }

    fn leave(&mut self, dropped: Dropped, topic: &Arc<str>, key: Key, life: Life) {
        self.leaving.extend(dropped.events().map(|what| Slot {
            what,
            topic: Arc::clone(topic),
            key,
            life,
            payload: Vec::new(),
            before: None,
        }));
    }

    /// How many wait: those in the queue, and streams of which something was dropped.
    pub(super) fn len(&self) -> usize {
        self.leaving.len() + self.queue.len() + self.held.len()
    }

    /// Memory for an event's bytes that was used before.
    pub(super) fn spare(&mut self) -> Vec<u8> {
        let mut payload = self.spare.pop().map(|slot| slot.payload).unwrap_or_default();
        payload.clear();
        payload
    }

    /// Takes an event back whose memory is not needed any more.
    pub(super) fn recycle(&mut self, slot: Slot) {
        // As many as come and go in a batch; large messages' memory is given back.
        if self.spare.len() < 1_024 && slot.payload.capacity() <= 64 << 10 {
            self.spare.push(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::WhenFull::{Block, DropNewest, DropOldest};
    use super::*;

    fn events(capacity: usize, when_full: WhenFull) -> Events {
        Events::new(Queue { capacity, when_full }, 1_000)
    }

    fn slot(life: Life, what: What) -> Slot {
        Slot {
            what,
            topic: "t".into(),
            key: (SourceId(7), life as u32),
            life,
            payload: Vec::new(),
            before: None,
        }
    }

    fn up(life: Life) -> Slot {
        slot(life, What::Up { sequence: 1 })
    }

    fn message(life: Life, number: u64) -> Slot {
        slot(life, What::Message { sequence: number, number, sent: 0, received: 0, kernel: 0 })
    }

    fn end(life: Life) -> Slot {
        slot(life, What::End { sequence: 1, reason: EndReason::Closed })
    }

    fn shown(slot: &Slot) -> String {
        let life = slot.life;
        match slot.event() {
            Event::Message(message) => format!("{life}: {}", message.number()),
            Event::Gap(gap) => {
                assert_eq!(gap.reason(), GapReason::Overrun);
                format!("{life}: lost {} in {}-{}", gap.messages(), slot_range(slot).0, slot_range(slot).1)
            }
            Event::StreamUp(_) => format!("{life}: up"),
            _ => format!("{life}: end"),
        }
    }

    fn slot_range(slot: &Slot) -> (u64, u64) {
        match slot.what {
            What::Gap(loss) => (loss.first, loss.last),
            _ => (0, 0),
        }
    }

    fn next(events: &mut Events) -> String {
        events.pop().map_or_else(|| "nothing".into(), |slot| shown(&slot))
    }

    fn all(events: &mut Events) -> Vec<String> {
        std::iter::from_fn(|| events.pop().map(|slot| shown(&slot))).collect()
    }

    #[test]
    fn where_nothing_is_dropped_what_comes_must_wait() {
        for capacity in [1, 3] {
            let mut events = events(capacity, Block);
            events.push(up(1));
            for number in 1..capacity as u64 {
                assert!(events.has_room());
                events.push(message(1, number));
            }
            assert!(!events.has_room());
            assert_eq!(events.len(), capacity);
            assert_eq!(next(&mut events), "1: up");
            assert!(events.has_room());
            events.push(end(1));
            assert_eq!(all(&mut events).last().unwrap(), "1: end");
            assert_eq!(events.len(), 0);
        }
    }

    #[test]
    fn the_oldest_make_room_and_are_told_after_the_streams_beginning() {
        let mut events = events(1, DropOldest);
        for slot in [up(1), message(1, 1), message(1, 2), message(1, 3)] {
            events.push(slot);
            assert!(events.queue.len() <= 1);
        }
        assert_eq!(events.len(), 2);
        assert_eq!(all(&mut events), ["1: up", "1: lost 2 in 1-2", "1: 3"]);

        // A stream that is over before anything of it was taken.
        for slot in [up(2), message(2, 1), end(2), up(3)] {
            events.push(slot);
        }
        assert_eq!(all(&mut events), ["2: up", "2: lost 1 in 1-1", "2: end", "3: up"]);
    }

    #[test]
    fn the_newest_are_told_behind_what_is_there() {
        let mut events = events(1, DropNewest);
        events.push(up(1));
        events.push(message(1, 1));
        events.push(message(1, 2));
        events.push(up(2));
        assert_eq!(next(&mut events), "1: up");
        events.push(message(1, 3));
        events.push(message(1, 4));
        events.push(end(1));
        assert_eq!(next(&mut events), "2: up");
        assert_eq!(next(&mut events), "1: lost 2 in 1-2");
        assert_eq!(next(&mut events), "1: 3");
        assert_eq!(all(&mut events), ["1: lost 1 in 4-4", "1: end"]);
        assert_eq!(events.len(), 0);
    }

    #[test]
    fn an_event_is_as_large_as_its_documentation_says() {
        assert!(size_of::<Slot>() <= 130, "{}", size_of::<Slot>());
    }

    #[test]
    fn gaps_of_one_reason_keep_it() {
        let mut events = events(1, DropOldest);
        let lost = |first, reason| slot(1, What::Gap(Loss { first, last: first + 1, messages: 5, reason }));
        events.push(lost(1, GapReason::AgedOut));
        events.push(lost(3, GapReason::AgedOut));
        events.push(message(1, 20));
        let Some(What::Gap(loss)) = events.pop().map(|slot| slot.what) else { panic!("a gap") };
        assert_eq!(loss, Loss { first: 1, last: 4, messages: 10, reason: GapReason::AgedOut });
        events.push(lost(21, GapReason::AgedOut));
        events.push(message(1, 30));
        assert_eq!(next(&mut events), "1: 20");
        events.push(message(1, 31));
        assert_eq!(next(&mut events), "1: lost 6 in 21-30");
    }

    #[test]
    fn who_is_always_too_slow_sees_messages_too() {
        for when_full in [DropOldest, DropNewest] {
            for capacity in [1, 5] {
                let mut events = events(capacity, when_full);
                let mut messages = 0;
                for round in 0..300 {
                    for number in 1..=3 {
                        events.push(message(1, round * 3 + number));
                    }
                    messages += usize::from(matches!(events.pop().unwrap().what, What::Message { .. }));
                }
                assert!(messages >= 140, "{messages} of 300 with {when_full:?} and {capacity}");
            }
        }
    }

    #[test]
    fn a_stream_that_fell_silent_is_told_though_others_never_do() {
        for when_full in [DropOldest, DropNewest] {
            let mut events = events(2, when_full);
            for number in 1..=5 {
                events.push(message(1, number));
            }
            let mut told = Vec::new();
            for number in 1..100 {
                events.push(message(2, number));
                events.push(message(2, number + 100));
                told.push(next(&mut events));
            }
            let lost = told.iter().position(|told| told.starts_with("1: lost")).expect("it is told");
            assert!(lost < 6, "{told:?}");
        }
    }

    #[test]
    fn what_is_held_is_bounded_too() {
        for when_full in [DropOldest, DropNewest] {
            let mut events = Events::new(Queue { capacity: 1, when_full }, 2);
            let mut pushed = 0;
            while events.has_room() {
                pushed += 1;
                events.push(message(pushed, 1));
            }
            assert_eq!((pushed, events.held.len(), events.queue.len()), (3, 2, 1));
            events.pop();
            assert!(events.has_room());
        }
    }

    #[test]
    fn whatever_comes_each_stream_is_told_whole_and_in_order() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..300 {
            let when_full = [Block, DropOldest, DropNewest][random.usize(..3)];
            let capacity = [1, 2, 7][random.usize(..3)];
            let most_held = random.usize(1..6);
            let mut events = Events::new(Queue { capacity, when_full }, most_held);
            // By life: what was pushed, and what was told, up to which number; 0 before its beginning.
            let mut pushed = BTreeMap::<Life, u64>::new();
            let mut told = BTreeMap::<Life, u64>::new();
            let mut ended = 0;
            let (mut lives, mut open) = (0, Vec::new());
            for _ in 0..400 {
                if random.bool() && events.has_room() {
                    match random.u8(..10) {
                        0 if open.len() < 5 => {
                            lives += 1;
                            open.push(lives);
                            pushed.insert(lives, 1);
                            events.push(up(lives));
                        }
                        1 if !open.is_empty() => {
                            events.push(end(open.swap_remove(random.usize(..open.len()))));
                        }
                        _ if !open.is_empty() => {
                            let life = open[random.usize(..open.len())];
                            *pushed.get_mut(&life).unwrap() += 1;
                            events.push(message(life, pushed[&life]));
                        }
                        _ => {}
                    }
                } else if let Some(slot) = events.pop() {
                    ended += usize::from(take(&mut told, &slot));
                }
                assert!(events.queue.len() <= capacity && events.held.len() <= most_held);
            }
            while let Some(slot) = events.pop() {
                ended += usize::from(take(&mut told, &slot));
            }
            assert_eq!(told, pushed);
            assert_eq!((ended, events.len()), (lives as usize - open.len(), 0));
        }
    }

    /// Checks an event against what was told of its stream before; true for an end.
    fn take(told: &mut BTreeMap<Life, u64>, slot: &Slot) -> bool {
        let before = told.get(&slot.life).copied();
        let after = match slot.what {
            What::Up { .. } => {
                assert_eq!(before, None);
                1
            }
            What::Message { number, .. } => {
                assert_eq!(before, Some(number - 1));
                number
            }
            What::Gap(loss) => {
                assert_eq!(before, Some(loss.first - 1), "after the beginning, with nothing between");
                assert_eq!(loss.messages, loss.last - loss.first + 1);
                loss.last
            }
            What::End { .. } => return before.is_some(),
        };
        told.insert(slot.life, after);
        false
    }
}
