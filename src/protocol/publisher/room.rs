//! Where a stream's next datagram has its memory, and who stands between the two: the receivers that are waited for, the rate, or other
//! streams, which share the window.

use super::{BACKLOG, BackPressure, Flow, Onward, Publisher, Refused, START_GRACE, Stream};
use crate::protocol::time::Time;

/// No more than this part of the window is kept for streams that have nothing in it yet, a chunk for each while it lasts.
const KEPT_PART: usize = 16;

/// What stands between a stream and its next datagram, and the stream in which it stands: the memory a stream needs may be
/// another's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    pub(super) by: BackPressure,
    pub(super) stream: u32,
}

/// The memory for a stream's next datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// The stream has it.
    Here,
    /// The pool has it.
    Free,
    /// The oldest chunk of this stream.
    OldestOf(u32),
    /// The newest chunk of this stream, in which there is nothing.
    NewestOf(u32),
}

impl Publisher {
    /// Makes sure of a slot for the next datagram of a stream, and of leave to send it.
    pub(super) fn reserve(&mut self, id: u32, now: Time) -> Result<(), Refused> {
        let room = self.room(id, now).map(|room| self.take_room(id, room));
        let stream = &mut self.streams[id as usize - 1];
        let Err(Hold { by, stream: culprit }) = room else {
            stream.held = None;
            return Ok(());
        };
        // By a receiver: the rate is kept, whoever waits.
        let (before, next) = (stream.held, stream.window.next());
        self.stats.back_pressured += u64::from(std::mem::replace(&mut stream.refused, next) != next);
        stream.held = matches!(by, BackPressure::Receiver(_)).then(|| before.unwrap_or(now));
        if stream.held.is_some() && before.is_none() {
            self.held_back(id, now);
        }
        match by {
            BackPressure::Receiver(_) => self.timers.patience_by(now + self.patience()),
            BackPressure::Start => {
                if let Some(over) = self.start_over(culprit) {
                    self.timers.start_by(over);
                }
            }
            _ => {}
        }
        Err(Refused::BackPressured { by })
    }

    /// When a stream has been sent on for so long that receivers that were listening have had the time to be heard from. `None` while
    /// nothing has left.
    pub fn start_over(&self, id: u32) -> Option<Time> {
        let stream = self.streams.get((id as usize).wrapping_sub(1))?;
        stream.first_sent.map(|first| first + START_GRACE)
    }

    /// Where the next datagram of a stream has its memory, or what stands between the two.
    pub(super) fn room(&self, id: u32, now: Time) -> Result<Room, Hold> {
        let stream = &self.streams[id as usize - 1];
        let next = stream.window.next();
        if self.config.flow == Flow::Slowest
            && let Some((receiver, limit)) = stream.places.limit()
            && next > limit
        {
            return Err(Hold { by: BackPressure::Receiver(receiver), stream: id });
        }
        if stream.backlog() >= BACKLOG {
            return Err(Hold { by: BackPressure::Rate, stream: id });
        }
        self.room_here(id, now)
    }

    /// The same, but for the leave to send it.
    pub(super) fn room_here(&self, id: u32, now: Time) -> Result<Room, Hold> {
        if self.streams[id as usize - 1].window.has_room() { Ok(Room::Here) } else { self.more(id, now) }
    }

    /// Where memory for one more chunk of a stream's is.
    pub(super) fn more(&self, id: u32, now: Time) -> Result<Room, Hold> {
        if self.has_free(id) { Ok(Room::Free) } else { self.spare(id, now) }
    }

    /// Whether the pool has memory for a stream: beside what is kept for those that have none yet, where it has some. Were it all with
    /// streams whose receivers are slow, these would have to wait for them.
    fn has_free(&self, id: u32) -> bool {
        let is_bare = self.streams[id as usize - 1].window.chunks() == 0;
        let kept = if is_bare { 0 } else { self.bare.min(self.pool.capacity() / KEPT_PART) };
        self.pool.left() > kept
    }

    /// How far one can go on whose message was refused on a stream. Where receivers differ each status of the slowest gives
    /// leave for what little the next one is ahead of it.
    pub fn onward(&self, id: u32, now: Time) -> Onward {
        let Some(stream) = self.streams.get((id as usize).wrapping_sub(1)) else { return Onward::Well };
        if stream.closed {
            return Onward::Well;
        }
        if !stream.staged.is_empty() {
            return Onward::No;
        }
        match self.room(id, now) {
            Ok(_) => {}
            // It was refused for something else: the patience with this one begins when it is tried again.
            Err(Hold { by: BackPressure::Receiver(_), .. }) if stream.held.is_none() => return Onward::Well,
            Err(_) => return Onward::No,
        }
        let limiting = stream.places.limiting().filter(|_| self.config.flow == Flow::Slowest);
        let pays = limiting.is_none_or(|place| {
            let room_from = |sequence| place.limit.saturating_add(1).saturating_sub(sequence);
            // It tells of every quarter of its room: when it has what is on its way, more than that is free, however little it is.
            room_from(stream.window.next()) >= self.max_run().min(room_from(place.position) / 4)
        });
        if pays { Onward::Well } else { Onward::Barely }
    }

    pub(super) fn take_room(&mut self, id: u32, room: Room) {
        let chunk = match room {
            Room::Here => None,
            Room::Free => self.pool.take(),
            Room::OldestOf(other) | Room::NewestOf(other) => {
                let Stream { window, promised, .. } = &mut self.streams[other as usize - 1];
                let oldest = matches!(room, Room::OldestOf(_));
                let chunk = if oldest { window.shrink() } else { window.give_back(*promised) };
                self.bare += usize::from(chunk.is_some() && window.chunks() == 0);
                chunk
            }
        };
        if let Some(chunk) = chunk {
            let window = &mut self.streams[id as usize - 1].window;
            self.bare -= usize::from(window.chunks() == 0);
            window.grow(chunk);
        }
    }

    /// The stream that gives up its oldest chunk for one that needs memory: one that has more than its share. Where none can, one
    /// that had made sure of more than it came to use gives that back.
    fn spare(&self, id: u32, now: Time) -> Result<Room, Hold> {
        let mine = self.streams[id as usize - 1].window.chunks();
        let holding = self.streams.iter().filter(|stream| stream.window.chunks() > 0).count();
        let share = self.pool.capacity() / holding.max(1);
        // A stream above its share gives up its own oldest; another takes from the richest.
        let richest = self.streams.iter().max_by_key(|stream| stream.window.chunks());
        let richest =
            richest.filter(|stream| mine <= share && stream.window.chunks() > mine).map_or(id, |s| s.id);
        let mut refusal = Hold { by: BackPressure::Window, stream: id };
        for candidate in [richest, id] {
            match self.may_lose(candidate, now) {
                Ok(()) => return Ok(Room::OldestOf(candidate)),
                // A stream that has nothing to give says nothing of what must come first.
                Err(BackPressure::Window) => {}
                Err(by) => refusal = Hold { by, stream: candidate },
            }
        }
        if mine <= share {
            // What the richest has receivers still need; others may have more to lose than this one has, too.
            let richer = self.streams.iter().filter(|stream| stream.window.chunks() > mine + 1);
            let willing = richer.filter(|stream| self.may_lose(stream.id, now).is_ok());
            if let Some(stream) = willing.max_by_key(|stream| stream.window.chunks()) {
                return Ok(Room::OldestOf(stream.id));
            }
        }
        let unused = self.streams.iter().find(|s| s.id != id && s.window.is_above(s.promised));
        unused.map_or(Err(refusal), |stream| Ok(Room::NewestOf(stream.id)))
    }

    /// Whether a stream may lose the oldest chunk of its window.
    fn may_lose(&self, id: u32, now: Time) -> Result<(), BackPressure> {
        let stream = &self.streams[id as usize - 1];
        let Some(last) = stream.window.oldest_last() else { return Err(BackPressure::Window) };
        if last >= stream.unsent {
            return Err(BackPressure::Rate);
        }
        if self.config.flow == Flow::None {
            return Ok(());
        }
        match stream.places.floor() {
            Some((receiver, position)) if position <= last => return Err(BackPressure::Receiver(receiver)),
            _ => {}
        }
        match self.start_over(id) {
            Some(over) if !over.is_due(now) => Err(BackPressure::Start),
            _ => Ok(()),
        }
    }
}
