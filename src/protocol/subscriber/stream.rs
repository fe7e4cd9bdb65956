//! A stream that is subscribed to: what is here, what is missing, what was delivered.

use super::assembly::{Assemblies, Memory};
use super::gaps::Gaps;
use super::reorder::{ARRIVAL_LENGTH, Arrival, Reorder};
use crate::protocol::event::{EndReason, Loss};
use crate::protocol::pool::{Pool, Slots};
use crate::protocol::time::Time;
use crate::wire::{Datagram, Fragment, Invalid, MAX_SEQUENCE, Records, SourceId, flag};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// The same is told a third time after this at the soonest, and doubled so often at the most.
const REPEATED: Duration = Duration::from_millis(4);
const MOST_DOUBLINGS: u32 = 5;

/// Where a stream begins for a subscription.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub(super) sequence: u64,
    /// The number of the first message that starts at or behind it.
    pub(super) message: u64,
    /// Up to where asking counts as catching up.
    pub(super) catch_up_to: u64,
}

/// What a data datagram carries, where that can be so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Content {
    /// The number of the first message that starts in it or behind it.
    pub(super) starts: u64,
    /// The number of the first message that starts behind it.
    pub(super) after: u64,
}

impl Content {
    pub(super) fn parse(datagram: &Datagram<'_>) -> Result<Content, Invalid> {
        let header = &datagram.header;
        // What follows has a number, too.
        if header.sequence == MAX_SEQUENCE || header.message == MAX_SEQUENCE {
            return Err(Invalid::Number);
        }
        if header.has(flag::FRAGMENT) {
            let fragment = Fragment::parse(datagram.payload)?;
            let starts = header.message + u64::from(!fragment.is_first());
            Ok(Content { starts, after: header.message + 1 })
        } else {
            let count = Records::parse(datagram.payload)?.count();
            Ok(Content { starts: header.message, after: header.message + u64::from(count) })
        }
    }
}

/// Where the bytes of a datagram or message are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the caller's receive buffer.
    Current,
    /// In the buffer for the one datagram whose delivery was interrupted.
    Parked,
    /// In the stream's window.
    Kept(u64),
    /// Put together from parts: the message with this number.
    Assembled(u64),
}

/// The datagram that is being delivered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    pub(super) place: Place,
    pub(super) sequence: u64,
    /// The number of the next message in it.
    pub(super) number: u64,
    pub(super) fragment: bool,
    /// Where in the datagram its payload lies.
    pub(super) payload: (usize, usize),
    /// Where in the payload the next record begins.
    pub(super) at: usize,
    pub(super) sent: u64,
    pub(super) arrival: Arrival,
}

impl Cursor {
    /// Before the first message of `datagram`, which lies in `bytes`.
    pub(super) fn new(place: Place, bytes: &[u8], datagram: &Datagram<'_>, arrival: Arrival) -> Cursor {
        let begin = datagram.payload.as_ptr() as usize - bytes.as_ptr() as usize;
        let header = &datagram.header;
        Cursor {
            place,
            sequence: header.sequence,
            number: header.message,
            fragment: header.has(flag::FRAGMENT),
            payload: (begin, begin + datagram.payload.len()),
            at: 0,
            sent: header.sent,
            arrival,
        }
    }
}

/// The stream.
#[derive(Debug)]
pub(super) struct Stream {
    /// Its source's number.
    pub(super) source: usize,
    pub(super) source_id: SourceId,
    pub(super) id: u32,
    pub(super) topic: Box<str>,
    /// The largest datagram it announced, and the most its publisher's window holds.
    pub(super) datagram: usize,
    pub(super) reach: u64,
    pub(super) window: Reorder,
    /// The first sequence number that is neither delivered nor given up; by arrival: neither here nor given up.
    pub(super) expected: u64,
    /// The highest one known to have been sent.
    pub(super) highest: u64,
    /// The number of the first message that starts behind that.
    pub(super) highest_after: u64,
    /// In order: the number of the next message to deliver or give up. By arrival: the first one wanted.
    pub(super) next_message: u64,
    pub(super) catch_up_to: u64,
    pub(super) gaps: Gaps,
    pub(super) cursor: Option<Cursor>,
    /// By arrival: what is here, kept, and not delivered.
    pub(super) arrived: VecDeque<u64>,
    /// Gaps to be told at once.
    pub(super) losses: VecDeque<Loss>,
    pub(super) assemblies: Assemblies,
    /// The message put together that the application holds.
    pub(super) lent: Option<u64>,
    /// By arrival: messages that were told lost, and whose parts may still come.
    dead: BTreeSet<u64>,
    /// It is to be told that the stream is there.
    pub(super) up: bool,
    /// What the stream's end will be, once all before it is delivered.
    pub(super) ending: Option<EndReason>,
    /// That was told.
    pub(super) over: bool,
    /// It stands in the row of streams with something to deliver.
    pub(super) queued: bool,
    /// It stands among the streams that miss something.
    pub(super) lossy: bool,
    /// It stands among those whose next message waits for memory; and it has waited for long enough, in vain until now, or for the end.
    pub(super) hungry: bool,
    pub(super) hurried: bool,
    /// When data came last; and whether that was lately.
    pub(super) data: Time,
    pub(super) busy: bool,
    pub(super) missed: u64,
    /// When something of it was asked for last.
    pub(super) asked: Time,
    pub(super) told: Told,
    /// When to say something of it: the first time; in a crowd also that it is behind, or has everything.
    pub(super) speak: Time,
    /// How large the group was when that time was chosen.
    pub(super) sized_up: u32,
    /// In a crowd: the sequence number at which to look whether it is behind.
    pub(super) watch: u64,
    /// When that number was chosen.
    pub(super) watched: Time,
    /// In a crowd: it is this receiver that its publisher waits for.
    pub(super) limiting: bool,
    /// In a crowd: how far the publisher may go for the others.
    pub(super) others_limit: u64,
    /// When its publisher is asked where it stands, and was asked last.
    pub(super) ask_state: Time,
    pub(super) state_asked: Time,
}

/// What a stream's publisher was told of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    pub(super) position: u64,
    pub(super) limit: u64,
    pub(super) at: Time,
    /// How often this was told.
    pub(super) times: u32,
    /// How often anything was told.
    pub(super) greetings: u32,
    /// That it is behind, and waited for in a crowd too.
    pub(super) behind: bool,
    /// That it has everything, its end too.
    pub(super) ended: bool,
    /// It stands among the streams to be told of.
    pub(super) queued: bool,
}

impl Told {
    /// When the same may be said again, because it may be lost: once at once, and then less and less often, for the way may be too
    /// narrow for more.
    fn again_at(&self) -> Time {
        match self.times {
            0 | 1 => Time(0),
            times => self.at + REPEATED * (1 << (times - 2).min(MOST_DOUBLINGS)),
        }
    }
}

impl Stream {
    /// Whether what was told of it may be told once more, or is not the same any more.
    pub(super) fn may_repeat(&self, now: Time) -> bool {
        self.position() > self.told.position || self.told.again_at().is_due(now)
    }

    #[expect(clippy::too_many_arguments, reason = "what an announce says of a stream")]
    pub(super) fn new(
        source: usize,
        source_id: SourceId,
        id: u32,
        topic: &str,
        datagram: usize,
        reach: u64,
        chunk: usize,
        start: Start,
    ) -> Stream {
        Stream {
            source,
            source_id,
            id,
            topic: topic.into(),
            datagram,
            reach,
            window: Reorder::new(Slots::new(datagram + ARRIVAL_LENGTH, chunk)),
            expected: start.sequence,
            highest: start.sequence - 1,
            highest_after: start.message,
            next_message: start.message,
            catch_up_to: start.catch_up_to,
            gaps: Gaps::new(),
            cursor: None,
            arrived: VecDeque::new(),
            losses: VecDeque::new(),
            assemblies: Assemblies::default(),
            lent: None,
            dead: BTreeSet::new(),
            up: true,
            ending: None,
            over: false,
            queued: false,
            lossy: false,
            hungry: false,
            hurried: false,
            data: Time(0),
            busy: false,
            missed: 0,
            asked: Time(0),
            told: Told::default(),
            speak: Time::NEVER,
            sized_up: 0,
            watch: 0,
            watched: Time(0),
            limiting: false,
            others_limit: MAX_SEQUENCE,
            ask_state: Time::NEVER,
            state_asked: Time(0),
        }
    }

    /// Everything that was sent is delivered or given up.
    pub(super) fn is_drained(&self) -> bool {
        self.cursor.is_none() && self.gaps.is_empty() && self.arrived.is_empty() && self.losses.is_empty()
    }

    /// Everything before this is delivered or given up.
    pub(super) fn position(&self) -> u64 {
        // By arrival, what is here and not delivered holds the publisher back like anything else.
        self.window.first().map_or(self.expected, |first| first.min(self.expected))
    }

    /// Its end is known, and nothing before it is outstanding.
    pub(super) fn has_ended(&self) -> bool {
        self.ending == Some(EndReason::Closed) && self.expected > self.highest && self.is_drained()
    }

    /// A message of which a part is lost: other parts that come are of no use. In order what comes next says so.
    pub(super) fn bury(&mut self, message: u64, in_order: bool, memory: &mut Memory) {
        self.assemblies.remove(message, memory);
        if in_order {
            self.next_message = message + 1;
        } else {
            self.dead.insert(message);
        }
    }

    /// A message that is whole: other parts that come are of no use either.
    pub(super) fn forget_parts_of(&mut self, message: u64) {
        self.dead.insert(message);
    }

    pub(super) fn is_dead(&self, message: u64) -> bool {
        self.dead.contains(&message)
    }

    /// By arrival: the first sequence number that is neither here nor given up moves on.
    pub(super) fn move_on(&mut self) {
        self.expected = self.gaps.first().map_or(self.highest + 1, |missing| missing.first);
    }

    /// By arrival: of the messages that began before what is missing, parts of the last one at the most may still come; and of those
    /// that began before what is kept, none.
    pub(super) fn forget_dead(&mut self, pool: &Pool) {
        if self.dead.is_empty() || self.cursor.is_some() {
            return;
        }
        let missing = self.gaps.first().map_or(self.highest_after, |missing| missing.before);
        let kept = self.window.first().and_then(|first| self.window.get(pool, first));
        let kept = kept.map_or(u64::MAX, |(_, bytes)| Datagram::reread(bytes).header.message + 1);
        let before = missing.min(kept);
        while self.dead.first().is_some_and(|&message| message + 1 < before)
            && self.dead.pop_first().is_some()
        {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{HEADER_LENGTH, Header, Kind};

    #[test]
    fn dead_messages_are_forgotten_when_no_part_of_them_can_come() {
        let start = Start { sequence: 1, message: 1, catch_up_to: 0 };
        let mut stream = Stream::new(0, SourceId(1), 1, "t", 100, 100, 1 << 16, start);
        let mut memory = Memory::new(1_000);
        (1..=4).for_each(|message| stream.bury(message, false, &mut memory));
        stream.highest_after = 4;
        let mut pool = Pool::new(1 << 18, 1 << 16, 4, 0);
        let keep = |stream: &mut Stream, pool: &mut Pool, sequence, message| {
            let mut bytes = [0; HEADER_LENGTH];
            let header = Header::new(Kind::Data, SourceId(1), 1);
            Header { sequence, message, ..header }.emit(&mut bytes, 0);
            assert!(stream.window.insert(pool, sequence, Arrival { received: 0, kernel: 0 }, &bytes));
        };
        // What is here may have parts of all but the first.
        keep(&mut stream, &mut pool, 2, 2);
        keep(&mut stream, &mut pool, 5, 4);
        stream.forget_dead(&pool);
        assert_eq!(stream.dead, [2, 3, 4].into());
        stream.window.remove(&mut pool, 2);
        stream.forget_dead(&pool);
        assert_eq!(stream.dead, [3, 4].into(), "the last that was begun, and what is not yet");
        stream.window.remove(&mut pool, 5);
        stream.forget_dead(&pool);
        assert!(stream.is_dead(3) && !stream.is_dead(2));
    }
}
