//! What is here goes to the application, under the subscription's contract.

use super::assembly::Assembled;
use super::data::askable;
use super::gaps::Missing;
use super::stream::{Cursor, Place, Stream};
use super::{Contract, Subscriber};
use crate::protocol::event::{self, EndReason, Event, Gap, GapReason, Loss, Message};
use crate::wire::{Datagram, Fragment, data};

/// Datagrams of a stream that are delivered before it is the next one's turn, if there is one.
const TURN: u32 = 64;

/// Something that happened; [`Subscriber::event`] shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    stream: usize,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Message { place: Place, begin: usize, end: usize, sequence: u64, number: u64, sent: u64, received: u64 },
    Gap(Loss),
    Up,
    End(EndReason),
}

impl Ready {
    /// Whether it is the end of a stream.
    pub fn is_end(&self) -> bool {
        matches!(self.what, What::End(_))
    }
}

impl Subscriber {
    /// The next thing that happened. `current` is the datagram that was handled last.
    pub fn advance(&mut self, current: &[u8]) -> Option<Ready> {
        while !self.ready.is_empty() || self.feed() {
            let Some(&index) = self.ready.front() else { break };
            let fed = self.take_back(index) && self.feed();
            // Who waited for the memory is before who had it; and who has had its turn is behind the others.
            if fed || self.ends_turn(index) {
                self.turn = 0;
                self.ready.rotate_left(1);
                continue;
            }
            if let Some(what) = self.advance_stream(index, current) {
                match what {
                    What::Message { begin, end, .. } => {
                        self.stats.messages += 1;
                        self.stats.bytes += (end - begin) as u64;
                    }
                    What::Gap(loss) => {
                        self.stats.gaps += 1;
                        // A forged source can claim to have lost any number.
                        self.stats.lost = self.stats.lost.saturating_add(loss.messages);
                    }
                    What::Up | What::End(_) => {}
                }
                return Some(Ready { stream: index, what });
            }
            self.ready.pop_front();
            self.turn = 0;
            if let Some(stream) = self.streams[index].as_mut() {
                stream.queued = false;
            }
            self.had_nothing(index);
        }
        None
    }

    /// Ends the turn of the first stream that is ready, if it has had one while others are ready: one of which there is more than the
    /// application takes would be in their way for ever. A datagram that was begun is delivered first, and in order a message in parts,
    /// lest each of them has one half done.
    fn ends_turn(&mut self, first: usize) -> bool {
        if self.turn < TURN || self.ready.len() == 1 {
            return false;
        }
        let by_arrival = self.config.contract == Contract::Arrival;
        let done = self.streams[first].as_ref().is_none_or(|stream| {
            let whole = by_arrival || stream.assemblies.oldest().is_none();
            whole && stream.cursor.is_none_or(|cursor| cursor.at >= cursor.payload.1 - cursor.payload.0)
        });
        if done {
            self.consume(first);
        }
        done
    }

    /// Shows what `advance` gave last, until the next call that changes the subscriber.
    ///
    /// # Panics
    /// When it is not what `advance` gave last, or `current` not the datagram it was given with.
    pub fn event<'a>(&'a self, ready: &Ready, current: &'a [u8]) -> Event<'a> {
        let Some(stream) = self.streams[ready.stream].as_ref() else {
            unreachable!("a stream with an event is kept")
        };
        let (topic, source) = (&*stream.topic, stream.source_id);
        let shown =
            |end| event::Stream { topic, source, stream: stream.id, sequence: stream.position(), end };
        match ready.what {
            What::Up => Event::StreamUp(shown(None)),
            What::End(reason) => Event::StreamEnd(shown(Some(reason))),
            What::Gap(loss) => Event::Gap(Gap { topic, source, stream: stream.id, loss }),
            What::Message { place, begin, end, sequence, number, sent, received } => {
                // The datagram is not done with before the next call.
                let kernel = stream.cursor.map_or(0, |cursor| cursor.arrival.kernel);
                let payload = &self.bytes(stream, place, current)[begin..end];
                Event::Message(Message {
                    topic,
                    payload,
                    source,
                    stream: stream.id,
                    sequence,
                    number,
                    sent,
                    received,
                    kernel,
                })
            }
        }
    }

    /// Hands on messages that nothing comes before, and that lie in one datagram: at most `limit`, with no more ado for each than it
    /// takes; gives how many. What else happened [`advance`](Self::advance) gives; `current` is as there.
    pub fn rest(&mut self, current: &[u8], limit: usize, mut handle: impl FnMut(Event<'_>)) -> usize {
        let in_order = self.config.contract != Contract::Arrival;
        let Subscriber { ready, streams, parked, pool, stats, .. } = self;
        let Some(&index) = ready.front() else { return 0 };
        let Some(stream) = streams[index].as_mut() else { return 0 };
        let Stream { topic, source_id, id, window, cursor, next_message, .. } = stream;
        // What else is to be told of a stream was, before a datagram is delivered; but for a message that was left out.
        let follows =
            |cursor: &&mut Cursor| !cursor.fragment && (!in_order || cursor.number <= *next_message);
        let Some(cursor) = cursor.as_mut().filter(follows) else { return 0 };
        let bytes = match cursor.place {
            Place::Current => current,
            Place::Parked => parked,
            Place::Kept(sequence) => window.get(pool, sequence).map_or(&[][..], |(_, bytes)| bytes),
            Place::Assembled(_) => &[],
        };
        let payload = bytes.get(cursor.payload.0..cursor.payload.1).unwrap_or_default();
        let mut count = 0;
        while count < limit
            && let Some((begin, end)) = data::next_message(payload, cursor.at)
        {
            cursor.at = end;
            let number = cursor.number;
            cursor.number += 1;
            if number < *next_message {
                continue;
            }
            if in_order {
                *next_message = number + 1;
            }
            count += 1;
            stats.messages += 1;
            stats.bytes += (end - begin) as u64;
            handle(Event::Message(Message {
                topic,
                payload: &payload[begin..end],
                source: *source_id,
                stream: *id,
                sequence: cursor.sequence,
                number,
                sent: cursor.sent,
                received: cursor.arrival.received,
                kernel: cursor.arrival.kernel,
            }));
        }
        if cursor.at == cursor.payload.1 - cursor.payload.0 {
            self.consume(index);
            self.dequeue_idle(index);
        }
        count
    }

    /// A stream that was looked at for something to deliver is not again, if that would be in vain.
    fn dequeue_idle(&mut self, index: usize) {
        if let Some(stream) = self.streams[index].as_mut()
            && stream.is_drained()
            && stream.expected > stream.highest
            && stream.ending.is_none()
        {
            stream.queued = false;
            self.ready.pop_front();
            self.turn = 0;
        }
    }

    /// Keeps what is left to deliver of the datagram that was handled last, so that another may be handled.
    pub fn park(&mut self, current: &[u8]) {
        if let Some(index) = self.at_hand.take()
            && let Some(Some(stream)) = self.streams.get_mut(index)
            && let Some(cursor) = &mut stream.cursor
            && cursor.place == Place::Current
        {
            cursor.place = Place::Parked;
            self.parked.clear();
            self.parked.extend_from_slice(current);
        }
    }

    fn bytes<'a>(&'a self, stream: &'a Stream, place: Place, current: &'a [u8]) -> &'a [u8] {
        match place {
            Place::Current => current,
            Place::Parked => &self.parked,
            Place::Kept(sequence) => stream.window.get(&self.pool, sequence).map_or(&[], |(_, bytes)| bytes),
            Place::Assembled(number) => stream.assemblies.get(number).map_or(&[], |assembly| &assembly.bytes),
        }
    }

    /// Whether there is memory for the message that a datagram which is kept begins, if it begins one; or it stands in line for that.
    fn is_fed(&mut self, index: usize, sequence: u64) -> bool {
        let stood = self.leave_line(index);
        let waits = self.streams[index].as_ref().and_then(|stream| {
            let (_, bytes) = stream.window.get(&self.pool, sequence)?;
            self.waits(stream, &Datagram::reread(bytes), stood.map(|(at, _)| at))
        });
        if let Some(total) = waits {
            self.stand_in_line(index, total, stood);
        } else if stood.is_some() {
            self.line_moves();
            // The next may be there, too.
            self.feed();
        }
        waits.is_none()
    }

    /// Takes back the message that was put together for the application; whether there was one.
    fn take_back(&mut self, index: usize) -> bool {
        let Some(stream) = self.streams[index].as_mut() else { return false };
        stream.lent.take().is_some_and(|lent| stream.assemblies.remove(lent, &mut self.reassembly))
    }

    fn advance_stream(&mut self, index: usize, current: &[u8]) -> Option<What> {
        let by_arrival = self.config.contract == Contract::Arrival;
        let stream = self.streams[index].as_mut()?;
        if stream.over {
            return None;
        }
        if stream.up {
            stream.up = false;
            return Some(What::Up);
        }
        loop {
            let stream = self.streams[index].as_mut()?;
            if let Some(loss) = stream.losses.pop_front() {
                return Some(What::Gap(loss));
            }
            if stream.cursor.is_some() {
                if let Some(message) = self.step(index, current) {
                    return Some(message);
                }
                let stream = self.streams[index].as_mut()?;
                if stream.losses.is_empty() && stream.cursor.is_some() {
                    self.consume(index);
                }
            } else if let Some(&missing) = stream.gaps.first()
                && let Some(reason) = missing.given_up
                && missing.first == stream.position()
            {
                stream.gaps.pop_first();
                if by_arrival {
                    self.settle(index, missing, reason);
                    continue;
                }
                stream.expected = missing.last + 1;
                let messages = missing.next.saturating_sub(stream.next_message);
                if messages > 0 {
                    // The one of which parts were here is among them.
                    stream.assemblies.remove(stream.next_message, &mut self.reassembly);
                    stream.next_message = missing.next;
                    let loss = Loss { first: missing.first, last: missing.last, messages, reason };
                    stream.losses.push_back(loss);
                }
                self.moved(index);
            } else if let Some(sequence) = if by_arrival {
                stream.arrived.pop_front()
            } else {
                stream.window.contains(stream.expected).then_some(stream.expected)
            } {
                let (arrival, bytes) = stream.window.get(&self.pool, sequence)?;
                let datagram = Datagram::reread(bytes);
                let cursor = Cursor::new(Place::Kept(sequence), bytes, &datagram, arrival);
                if cursor.fragment && !self.is_fed(index, sequence) {
                    return None;
                }
                self.streams[index].as_mut()?.cursor = Some(cursor);
            } else {
                break;
            }
        }
        let stream = self.streams[index].as_mut()?;
        let reason = stream.ending?;
        if stream.is_drained() {
            // A message whose last parts were never sent.
            if let Some(number) = stream.assemblies.oldest() {
                let first = stream.assemblies.get(number).map_or(stream.highest, |assembly| assembly.first);
                stream.bury(number, !by_arrival, &mut self.reassembly);
                let loss = Loss { first, last: stream.highest, messages: 1, reason: GapReason::SourceGone };
                return Some(What::Gap(loss));
            }
            stream.over = true;
            // Its publisher may know already: it was told when all was delivered, and this is taken later.
            let told = stream.told.ended;
            self.ends_told |= told;
            stream.window.clear(&mut self.pool);
            stream.assemblies.clear(&mut self.reassembly);
            if told {
                return Some(What::End(reason));
            }
            if self.sources[stream.source].as_ref().is_some_and(|source| source.quiet) {
                self.moved(index);
            } else {
                self.tell(index);
            }
            return Some(What::End(reason));
        }
        None
    }

    /// The next message of the datagram that is being delivered; `None` at its end, or when it told of a loss instead.
    fn step(&mut self, index: usize, current: &[u8]) -> Option<What> {
        let in_order = self.config.contract != Contract::Arrival;
        let max_message = self.config.max_message;
        let stream = self.streams[index].as_mut()?;
        let mut cursor = stream.cursor?;
        let bytes = match cursor.place {
            Place::Current => current,
            Place::Parked => &self.parked,
            Place::Kept(sequence) => stream.window.get(&self.pool, sequence)?.1,
            Place::Assembled(_) => return None,
        };
        let payload = bytes.get(cursor.payload.0..cursor.payload.1)?;
        if cursor.at == 0 && in_order {
            let starts = cursor.number;
            if starts > stream.next_message {
                // Nothing was missing in between, so the publisher left out a message it had counted.
                let messages = starts - stream.next_message;
                stream.assemblies.remove(stream.next_message, &mut self.reassembly);
                stream.next_message = starts;
                let (first, last) = (cursor.sequence, cursor.sequence);
                stream.losses.push_back(Loss { first, last, messages, reason: GapReason::Contradiction });
                return None;
            }
        }
        if cursor.fragment {
            if cursor.at > 0 {
                return None;
            }
            cursor.at = payload.len();
            stream.cursor = Some(cursor);
            let number = cursor.number;
            if number < stream.next_message || stream.is_dead(number) {
                return None;
            }
            let fragment = Fragment::parse(payload).ok()?;
            let total = fragment.total as usize;
            let begun = fragment.is_first() || !in_order || stream.assemblies.get(number).is_some();
            let assembled = if !begun {
                Assembled::Contradicts
            } else if total > max_message {
                Assembled::Refused
            } else {
                stream.assemblies.put(
                    number,
                    cursor.sequence,
                    fragment.offset as usize,
                    total,
                    fragment.bytes,
                    &mut self.reassembly,
                )
            };
            // Who waited in vain waits no more until it gets some; and at the end there is one wait for all that is left.
            if assembled != Assembled::Refused {
                stream.hurried &= stream.ending.is_some();
            }
            match assembled {
                Assembled::Partly => return None,
                Assembled::Refused | Assembled::Contradicts => {
                    let first =
                        stream.assemblies.get(number).map_or(cursor.sequence, |assembly| assembly.first);
                    stream.bury(number, in_order, &mut self.reassembly);
                    let reason = if assembled == Assembled::Refused {
                        self.stats.assemblies_refused += 1;
                        GapReason::Overrun
                    } else {
                        self.stats.contradictions += 1;
                        GapReason::Contradiction
                    };
                    let last = cursor.sequence;
                    stream.losses.push_back(Loss { first: first.min(last), last, messages: 1, reason });
                    return None;
                }
                Assembled::Whole => {}
            }
            if in_order {
                stream.next_message = number + 1;
            } else {
                // A part too many does not begin it anew.
                stream.forget_parts_of(number);
            }
            stream.lent = Some(number);
            let Cursor { sequence, sent, arrival, .. } = cursor;
            let received = arrival.received;
            let place = Place::Assembled(number);
            return Some(What::Message { place, begin: 0, end: total, sequence, number, sent, received });
        }
        loop {
            let (begin, end) = data::next_message(payload, cursor.at)?;
            cursor.at = end;
            let number = cursor.number;
            cursor.number += 1;
            stream.cursor = Some(cursor);
            // What lies before the place where the subscription starts, or was given up with its stream.
            if number < stream.next_message {
                continue;
            }
            if in_order {
                stream.next_message = number + 1;
            }
            let Cursor { place, sequence, sent, arrival, payload: (base, _), .. } = cursor;
            return Some(What::Message {
                place,
                begin: base + begin,
                end: base + end,
                sequence,
                number,
                sent,
                received: arrival.received,
            });
        }
    }

    /// The datagram that was being delivered is done with.
    fn consume(&mut self, index: usize) {
        let in_order = self.config.contract != Contract::Arrival;
        let sharing = self.sharing();
        let Some(stream) = self.streams[index].as_mut() else { return };
        let Some(cursor) = stream.cursor.take() else { return };
        self.turn = self.turn.saturating_add(1);
        if let Place::Kept(sequence) = cursor.place {
            stream.window.remove(&mut self.pool, sequence);
        }
        if in_order {
            stream.expected = cursor.sequence + 1;
        } else {
            stream.forget_dead(&self.pool);
        }
        if !stream.gaps.is_empty() {
            let until = askable(stream, &self.pool, sharing, !in_order);
            stream.gaps.reached(until);
        }
        self.moved(index);
    }

    /// By arrival: tells of what was given up. Everything before it is here and delivered, or was given up before.
    fn settle(&mut self, index: usize, missing: Missing, reason: GapReason) {
        let Some(stream) = self.streams[index].as_mut() else { return };
        // Those that start in it. Of the last one parts may yet come.
        let mut messages = missing.next.saturating_sub(missing.before.max(stream.next_message));
        // The one that started before, if it reaches into it.
        let before = missing.before.saturating_sub(1);
        if stream.assemblies.get(before).is_some_and(|assembly| assembly.end >= missing.first) {
            stream.bury(before, false, &mut self.reassembly);
            messages += 1;
        }
        if missing.next > missing.before {
            stream.bury(missing.next - 1, false, &mut self.reassembly);
        }
        if messages > 0 {
            stream.losses.push_back(Loss { first: missing.first, last: missing.last, messages, reason });
        }
        stream.move_on();
        stream.forget_dead(&self.pool);
        self.moved(index);
    }
}
