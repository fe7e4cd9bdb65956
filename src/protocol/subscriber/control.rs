//! What a source says of itself: announces, heartbeats, NCFs, ends of streams.

use super::source::{Known, Unnamed};
use super::stream::{Start, Stream};
use super::{StartAt, Subscriber};
use crate::protocol::event::{EndReason, GapReason};
use crate::protocol::time::Time;
use crate::wire::{Announce, Datagram, End, Heartbeat, Invalid, MAX_DATAGRAM, MAX_SEQUENCE, Ncf, flag};
use std::cmp::Reverse;

/// So often the name of a stream is asked for that is over and gone.
const MOST_ASKED: u32 = 8;

impl Subscriber {
    pub(super) fn handle_announce(
        &mut self,
        now: Time,
        source: usize,
        datagram: &Datagram<'_>,
    ) -> Result<(), Invalid> {
        let announce = Announce::parse(datagram.payload)?;
        let header = &datagram.header;
        let (lead, next_message) = (header.sequence, header.message);
        let sound = header.stream != 0
            && lead < MAX_SEQUENCE
            && announce.trail <= lead + 1
            && lead + 1 - announce.trail <= u64::from(announce.window)
            && announce.trail_message <= next_message
            && next_message <= MAX_SEQUENCE
            && usize::from(announce.datagram) <= MAX_DATAGRAM;
        if !sound {
            return Err(Invalid::Number);
        }
        self.stats.announces += 1;
        let opened = self.opened;
        let wanted = self.wants(announce.topic);
        let is_new = self.source(source).is_some_and(|source| source.known(header.stream).is_none());
        if is_new && !self.has_room() {
            self.stats.streams_refused += 1;
            return Ok(());
        }
        let Some(known) = self.source(source) else { return Ok(()) };
        known.set_idle(announce.idle_interval);
        let first = match known.known(header.stream) {
            Some(&Known::Subscribed(stream)) => {
                if let Some(state) = self.streams[stream].as_mut() {
                    state.ask_state = Time::NEVER;
                }
                self.see_lead(now, stream, lead, next_message, false);
                self.see_trail(stream, announce.trail, Some(announce.trail_message));
                return Ok(());
            }
            Some(Known::Ignored | Known::Over) => return Ok(()),
            Some(&Known::Unnamed(Unnamed { first, .. })) => {
                known.unnamed -= 1;
                first
            }
            None => None,
        };
        let Some(known) = self.source(source) else { return Ok(()) };
        if !wanted {
            known.streams.insert(header.stream, Known::Ignored);
            return Ok(());
        }
        // Opened after this subscription began to listen; or it listened for longer than the source may be silent before
        // it heard the source at all. Either way nothing of the stream is to be missed.
        let listened = now.since(opened);
        let is_new =
            u128::from(announce.age) <= listened.as_nanos() || known.first_heard.since(opened) > known.idle();
        let start = if known.returned {
            // What it sent before may have been delivered: nothing comes twice.
            Start { sequence: lead + 1, message: next_message, catch_up_to: 0 }
        } else if is_new {
            Start { sequence: 1, message: 1, catch_up_to: 0 }
        } else if self.config.start == StartAt::Window {
            Start { sequence: announce.trail, message: announce.trail_message, catch_up_to: lead }
        } else {
            match first.filter(|&(first, _)| first >= announce.trail && first <= lead) {
                Some((sequence, message)) => Start { sequence, message, catch_up_to: 0 },
                None => Start { sequence: lead + 1, message: next_message, catch_up_to: 0 },
            }
        };
        let stream = Stream::new(
            source,
            header.source,
            header.stream,
            announce.topic,
            usize::from(announce.datagram),
            u64::from(announce.window),
            self.pool.chunk_size(),
            start,
        );
        let index = self.streams.iter().position(Option::is_none).unwrap_or_else(|| {
            self.streams.push(None);
            self.streams.len() - 1
        });
        self.streams[index] = Some(stream);
        self.resting += 1;
        if let Some(known) = self.source(source) {
            known.streams.insert(header.stream, Known::Subscribed(index));
        }
        self.enqueue(index);
        self.greet(now, index);
        // First what was sent, then what of it is gone: only what is missing can be given up.
        self.see_lead(now, index, lead, next_message, false);
        self.see_trail(index, announce.trail, Some(announce.trail_message));
        Ok(())
    }

    /// A stream's lead is told: what is not here of it is missing.
    fn see_lead(&mut self, now: Time, index: usize, lead: u64, next_message: u64, is_end: bool) {
        let given_up = self.not_asked();
        let Some(stream) = self.streams[index].as_mut() else { return };
        if lead <= stream.highest || stream.over {
            return;
        }
        if next_message < stream.highest_after {
            self.stats.contradictions += 1;
            return;
        }
        // Where as many ranges are missing as may be, it is told again when there is room for another; but for its end, once.
        if !is_end && !stream.gaps.has_room_behind(stream.highest, given_up) {
            return;
        }
        self.lost(now, index, lead, next_message, false);
        if let Some(stream) = self.streams[index].as_mut() {
            stream.highest = lead;
            stream.highest_after = next_message;
        }
    }

    /// A stream's trail is told: what is missing before it will not come. Where in the messages the trail lies is only known
    /// from an announce; without it, what is missing on both sides of the trail is asked for, and the answer says.
    fn see_trail(&mut self, index: usize, trail: u64, trail_message: Option<u64>) {
        let Some(stream) = self.streams[index].as_mut() else { return };
        let given_up = match trail_message {
            Some(message) => stream.gaps.give_up_to(trail - 1, message, GapReason::AgedOut),
            None => stream.gaps.give_up_whole_before(trail, GapReason::AgedOut),
        };
        if given_up {
            self.gave_up(index);
        }
    }

    pub(super) fn handle_heartbeat(
        &mut self,
        now: Time,
        source: usize,
        datagram: &Datagram<'_>,
    ) -> Result<(), Invalid> {
        let heartbeat = Heartbeat::parse(datagram.payload)?;
        self.stats.heartbeats += 1;
        if let Some(known) = self.source(source) {
            known.set_idle(heartbeat.idle_interval);
            known.set_group(heartbeat.group_size, heartbeat.round_trip);
        }
        self.size_up(source);
        let limiting = heartbeat.limiting == self.config.receiver;
        let quiet = self.source(source).is_some_and(|source| source.quiet);
        let asks = datagram.header.has(flag::HELD_BACK);
        let mut outcome = Ok(());
        for state in heartbeat.streams() {
            let state = match state {
                Ok(state) if state.next_message <= MAX_SEQUENCE => state,
                Ok(_) => {
                    outcome = Err(Invalid::Number);
                    continue;
                }
                Err(invalid) => {
                    outcome = Err(invalid);
                    continue;
                }
            };
            let Some(known) = self.source(source) else { break };
            match known.known(state.stream) {
                Some(&Known::Subscribed(index)) => {
                    let Some(stream) = self.streams[index].as_mut() else { continue };
                    if state.lead + 1 - state.trail > stream.reach {
                        self.stats.jumps += 1;
                        continue;
                    }
                    // The publisher has come near the limit it was told last, or is held back by an earlier one: what it was
                    // told may be lost.
                    let left = stream.told.limit.saturating_sub(state.lead);
                    let room = stream.told.limit.saturating_sub(stream.told.position);
                    let near = (limiting && state.limit < stream.told.limit)
                        || ((limiting || !quiet) && left.saturating_mul(4) < room);
                    let waited_for = asks
                        && (limiting || !quiet || stream.told.behind)
                        && stream.position() > stream.told.position;
                    // The same again less and less often: the way may be too narrow for it.
                    let near = near && stream.may_repeat(now);
                    stream.limiting = limiting;
                    stream.others_limit = if limiting { MAX_SEQUENCE } else { state.limit };
                    self.see_lead(now, index, state.lead, state.next_message, false);
                    self.see_trail(index, state.trail, None);
                    if near || waited_for {
                        self.tell(index);
                    }
                }
                Some(Known::Ignored | Known::Unnamed(_) | Known::Over) => {}
                None => self.meet_stream(now, source, state.stream, None),
            }
        }
        outcome
    }

    pub(super) fn handle_ncf(
        &mut self,
        now: Time,
        source: usize,
        datagram: &Datagram<'_>,
    ) -> Result<(), Invalid> {
        let ncf = Ncf::parse(datagram.payload)?;
        self.stats.ncfs += 1;
        let Some(known) = self.source(source) else { return Ok(()) };
        let Some(&Known::Subscribed(index)) = known.streams.get(&datagram.header.stream) else {
            return Ok(());
        };
        let gone = datagram.header.has(flag::GONE);
        let retry = self.retry(now, index);
        for confirmation in ncf.confirmations() {
            let Some(stream) = self.streams[index].as_mut() else { break };
            // It may reach beyond what was heard of the stream: others may have asked for that, and the answer overtakes what still
            // waits in the other socket. Nothing of it is missing yet.
            if !gone {
                stream.gaps.confirmed(confirmation.first, confirmation.last, now, retry.after(0));
            } else if stream.gaps.give_up_to(confirmation.last, confirmation.next_message, GapReason::AgedOut)
            {
                self.gave_up(index);
            }
        }
        Ok(())
    }

    pub(super) fn handle_end(
        &mut self,
        now: Time,
        source: usize,
        datagram: &Datagram<'_>,
    ) -> Result<(), Invalid> {
        let end = End::parse(datagram.payload)?;
        let header = &datagram.header;
        let lead = header.sequence;
        let possible = 1..=MAX_SEQUENCE;
        if header.stream == 0
            || lead >= MAX_SEQUENCE
            || end.trail > lead + 1
            || !possible.contains(&header.message)
        {
            return Err(Invalid::Number);
        }
        let Some(known) = self.source(source) else { return Ok(()) };
        let index = match known.known(header.stream) {
            Some(&Known::Subscribed(index)) => index,
            Some(Known::Over) => {
                self.say_ended(source, header.stream, lead);
                return Ok(());
            }
            // A name that was asked for often, of a stream of which nothing can be had any more, is not told any more.
            Some(known) => {
                let asked = |unnamed: &Unnamed| unnamed.tries > MOST_ASKED && end.trail > lead;
                if matches!(known, Known::Ignored) || matches!(known, Known::Unnamed(name) if asked(name)) {
                    self.source(source).into_iter().for_each(|known| known.ignored_is_over(header.stream));
                }
                return Ok(());
            }
            // Over before its name was known: there may be something in its window all the same.
            None if lead > 0 => {
                self.meet_stream(now, source, header.stream, None);
                return Ok(());
            }
            None => return Ok(()),
        };
        let Some(stream) = self.streams[index].as_mut() else { return Ok(()) };
        if lead < stream.highest || header.message < stream.highest_after {
            self.stats.contradictions += 1;
            return Ok(());
        }
        let is_first = stream.ending.is_none();
        self.see_lead(now, index, lead, header.message, is_first);
        self.see_trail(index, end.trail, None);
        if let Some(stream) = self.streams[index].as_mut() {
            stream.ending.get_or_insert(EndReason::Closed);
        }
        self.enqueue(index);
        self.tell_end(now, index);
        Ok(())
    }

    /// Something of a stream was given up: its messages go on, or its gaps are told.
    pub(super) fn gave_up(&mut self, index: usize) {
        self.enqueue(index);
    }

    /// A source is over: what is missing of its streams will not come.
    fn end_source(&mut self, source: usize, reason: EndReason) {
        let Some(known) = self.source(source) else { return };
        known.gone = true;
        let streams = known.subscribed();
        for index in streams {
            if let Some(stream) = self.streams[index].as_mut() {
                stream.gaps.give_up_all(GapReason::SourceGone);
                stream.ending.get_or_insert(reason);
                self.gave_up(index);
            }
        }
        self.recent = None;
    }

    /// Nothing was heard of a source for too long.
    pub(super) fn silence(&mut self, source: usize) {
        self.end_source(source, EndReason::Silent);
    }

    /// Another source sends from this one's address: its publisher started anew.
    pub(super) fn replace(&mut self, source: usize) {
        if let Some(known) = self.source(source) {
            known.replaced = true;
        }
        self.end_source(source, EndReason::Replaced);
        // Kept while there is room, so that datagrams of its that come late are known for old.
        if self.by_id.len() > self.config.max_sources / 2 {
            self.remove_source(source);
        }
    }

    /// A source that had fallen silent, or seemed to be replaced, is heard again: its streams go on where they were.
    pub(super) fn revive(&mut self, now: Time, source: usize) {
        self.tick = self.tick.min(now);
        let Some(known) = self.sources[source].as_mut() else { return };
        known.gone = false;
        for (&stream, state) in &mut known.streams {
            if let Known::Unnamed(unnamed) = state {
                unnamed.ask = now;
                self.asking.push(Reverse((now, source, stream)));
            }
        }
        let streams = known.subscribed();
        for index in streams {
            let Some(stream) = self.streams[index].as_mut() else { continue };
            if !matches!(stream.ending, Some(EndReason::Silent | EndReason::Replaced)) {
                continue;
            }
            (stream.ending, stream.hurried) = (None, false);
            if stream.over {
                stream.over = false;
                stream.up = true;
            }
            self.enqueue(index);
            self.greet(now, index);
        }
    }
}
