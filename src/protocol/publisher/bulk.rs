//! Messages that come in a tight loop, many at a time.
//!
//! The window is larger than the caches, so each of its lines is met cold, and to write there costs more than everything else
//! that is done with a message. What comes in bulk was packed in other memory, which stays in the caches: it is sent from there,
//! and goes into the window afterwards, past the caches. See [`Publisher::stage`].

use super::room::Room;
use super::window::Place;
use super::{BACKLOG, Flow, Publisher};
use crate::protocol::pool::{LINE, Pool};
use crate::protocol::time::Time;
use crate::wire::{HEADER_LENGTH, RECORD_LENGTH, data};

/// The datagrams whose bytes lie in the staging area: a row of one stream's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Staged {
    /// 0 when there is none.
    stream: u32,
    first: u64,
    end: u64,
    /// Bytes from one to the next.
    pub(super) stride: usize,
}

impl Staged {
    /// Where a datagram is, if it is one of them.
    pub(super) fn place(&self, stream: u32, sequence: u64, pool: &Pool) -> Option<Place> {
        let here = self.stream == stream && (self.first..self.end).contains(&sequence);
        here.then(|| Place { chunk: pool.staging(), offset: self.offset(sequence) })
    }

    fn offset(&self, sequence: u64) -> usize {
        (sequence - self.first) as usize * self.stride
    }
}

impl Publisher {
    pub(super) fn begin(&mut self, id: u32, now: Time) {
        let flush_at = now + self.config.max_delay;
        if let Some(stream) = self.stream(id) {
            stream.begin(flush_at);
            if !std::mem::replace(&mut stream.listed, true) {
                self.begun.push(id);
            }
            self.packing += 1;
        }
        self.timers.flush_by(flush_at);
    }

    /// How many datagrams may follow on a stream, as far as its receivers are concerned.
    pub fn leave(&self, id: u32) -> u64 {
        let Some(stream) = self.streams.get((id as usize).wrapping_sub(1)) else { return 0 };
        let limit = stream.places.limit().filter(|_| self.config.flow == Flow::Slowest);
        limit.map_or(u64::MAX, |(_, limit)| limit.saturating_sub(stream.window.next()))
    }

    /// Whether so many datagrams may follow on a stream, and makes sure of their memory: as many [`put`](Self::put) can then
    /// begin. Their memory is the stream's alone until it is written to or [given back](Self::forgo).
    pub fn headroom(&mut self, id: u32, datagrams: u64, now: Time) -> bool {
        loop {
            let Some(stream) = self.streams.get((id as usize).wrapping_sub(1)) else { return false };
            let last = stream.window.next() + datagrams;
            if stream.closed || !stream.staged.is_empty() || stream.backlog() + datagrams > BACKLOG {
                return false;
            }
            if datagrams > self.leave(id) {
                return false;
            }
            if stream.window.has_room_up_to(last) {
                self.streams[id as usize - 1].promised = last;
                return true;
            }
            // What may not come is worth no more than half of what the stream can still repair.
            let (needed, has) = (stream.window.chunks_up_to(last), stream.window.chunks());
            match self.more(id, now) {
                Ok(room) if room != Room::OldestOf(id) || needed * 2 <= has => self.take_room(id, room),
                _ => return false,
            }
        }
    }

    /// No more than one datagram is going to follow by what [`headroom`](Self::headroom) gave last: another stream that has no
    /// memory may have the rest of it.
    pub fn forgo(&mut self, id: u32) {
        if let Some(stream) = self.stream(id) {
            stream.promised = 0;
        }
    }

    /// Takes the messages of whole records, for as many of which [`headroom`](Self::headroom) has made sure, and none of which
    /// is longer than [`max_record`](Self::max_record). Gives the bytes they took; behind them is a part of one at the most, or
    /// what there was no headroom for.
    pub fn put(&mut self, id: u32, records: &[u8], now: Time) -> usize {
        let datagram = self.config.datagram;
        let mut at = 0;
        loop {
            let Some(stream) = self.streams.get((id as usize).wrapping_sub(1)) else { return at };
            let room = stream.room(datagram);
            let (mut end, mut messages, mut fits) = (at, 0, true);
            while let Some((_, next)) = data::next_message(records, end) {
                fits = next - at <= room;
                if !fits {
                    break;
                }
                end = next;
                messages += 1;
            }
            if messages > 0 {
                self.streams[id as usize - 1].append(&mut self.pool, &records[at..end], messages);
                self.stats.messages += messages;
                self.stats.bytes += (end - at) as u64 - messages * RECORD_LENGTH as u64;
                at = end;
            }
            if fits {
                if self.streams[id as usize - 1].room(datagram) <= RECORD_LENGTH {
                    self.seal(id);
                }
                return at;
            }
            if messages == 0 && room == self.max_records() {
                debug_assert!(false, "a record longer than a datagram");
                return at;
            }
            self.seal(id);
            let Ok(room) = self.room_here(id, now) else { return at };
            self.take_room(id, room);
            self.begin(id, now);
        }
    }

    /// Memory as long as what `stage` takes, for it to be put in its place: a run of datagrams as long as they can be.
    pub fn staging(&mut self) -> &mut Box<[u8]> {
        self.pool.staging_mut()
    }

    /// Takes datagrams of whole records, for as many of which [`headroom`](Self::headroom) has made sure, and which lie in
    /// [`staging`](Self::staging): `stride` bytes apart, each with room for its header before its records. Of each, in order,
    /// how long it is with its header, and how many messages are in it. They stay there until [`settle`](Self::settle), and
    /// meanwhile nothing is written to the stream.
    ///
    /// Datagrams of one length that follow each other without a gap cost the system least: it copies them as one.
    pub fn stage(&mut self, id: u32, stride: usize, datagrams: impl IntoIterator<Item = (u16, u16)>) {
        debug_assert!(self.staged.stream == 0, "something is staged");
        self.seal(id);
        let Some(stream) = self.streams.get_mut((id as usize).wrapping_sub(1)) else { return };
        let first = stream.window.next();
        for (length, messages) in datagrams {
            let heads = HEADER_LENGTH + usize::from(messages) * RECORD_LENGTH;
            self.stats.messages += u64::from(messages);
            self.stats.bytes += usize::from(length).saturating_sub(heads) as u64;
            stream.packed(length, messages);
        }
        self.staged = Staged { stream: id, first, end: stream.window.next(), stride };
        self.enqueue(id);
    }

    /// Copies what was staged to where it stays: to be called when it was transmitted, as far as it could be, and
    /// before anything else is asked for.
    pub fn settle(&mut self, mut copy: impl FnMut(&mut [u8], &[u8])) {
        let staged = std::mem::take(&mut self.staged);
        if staged.stream == 0 {
            return;
        }
        let window = &self.streams[staged.stream as usize - 1].window;
        for sequence in staged.first..staged.end {
            // What the window gave up meanwhile, for another stream, is no more.
            let (Some(slot), Some(place)) = (window.slot(sequence), window.place(sequence)) else { continue };
            // Whole lines: what lies behind the datagram in its slot is nobody's.
            let length = usize::from(slot.length).next_multiple_of(LINE).min(self.config.datagram);
            let (to, from) = self.pool.staged(staged.offset(sequence), place.chunk, place.offset, length);
            copy(to, from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, To, Transmit};
    use super::*;
    use crate::wire::{HEADER_LENGTH, SourceId, record_head};

    fn publisher() -> Publisher {
        let mut publisher = Publisher::new(Config::new(SourceId(7)), Time(0));
        assert_eq!(publisher.open_stream("t", Time(0)), Some(1));
        while publisher.poll_transmit(Time(0)).is_some() {}
        publisher
    }

    fn transmitted(publisher: &mut Publisher) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        while let Some(transmit) = publisher.poll_transmit(Time(0)) {
            assert_eq!(transmit.to, To::Group);
            // But for what they are filled up with to be of a length: that depends on who shares a run.
            sent.extend(publisher.datagrams().map(|bytes| {
                let length = usize::from(u16::from_be_bytes([bytes[8], bytes[9]]));
                bytes[..HEADER_LENGTH + length].to_vec()
            }));
        }
        sent
    }

    fn in_window(publisher: &Publisher, sequence: u64) -> &[u8] {
        let window = &publisher.streams[0].window;
        let (place, slot) = (window.place(sequence).unwrap(), window.slot(sequence).unwrap());
        publisher.pool.bytes(place.chunk, place.offset, usize::from(slot.length))
    }

    /// Packs records in the staging area, as many as it takes, in datagrams that begin every `datagram` bytes; gives these, and
    /// the bytes they took.
    fn pack(publisher: &mut Publisher, records: &[u8], datagram: usize) -> (Vec<(u16, u16)>, usize) {
        let most = (publisher.staging().len() / datagram).min(64);
        let (mut datagrams, mut at): (Vec<(u16, u16)>, _) = (Vec::new(), 0);
        while let Some((_, next)) = data::next_message(records, at) {
            let fits = datagrams.last().is_some_and(|&(end, _)| usize::from(end) + next - at <= datagram);
            if !fits {
                if datagrams.len() == most {
                    break;
                }
                datagrams.push((HEADER_LENGTH as u16, 0));
            }
            let slot = (datagrams.len() - 1) * datagram;
            let (end, messages) = datagrams.last_mut().unwrap();
            let from = slot + usize::from(*end);
            publisher.staging()[from..from + next - at].copy_from_slice(&records[at..next]);
            (*end, *messages) = (*end + (next - at) as u16, *messages + 1);
            at = next;
        }
        (datagrams, at)
    }

    /// Some runs of messages of any length, one by one and in bulk: the same datagrams leave, and the same lie in the window.
    #[test]
    fn what_is_put_is_what_send_makes_of_it() {
        let mut random = fastrand::Rng::with_seed(3);
        let (mut one, mut bulk) = (publisher(), publisher());
        let mut sequence = 1;
        for round in 0..60 {
            let most = [10, 100, 600, 1_340][random.usize(..4)];
            let messages: Vec<Vec<u8>> =
                (0..random.usize(..100)).map(|n| vec![n as u8; random.usize(..=most)]).collect();
            let mut records = Vec::new();
            for message in &messages {
                one.send(1, message, Time(0)).unwrap();
                records.extend(record_head(message.len() as u16));
                records.extend(message);
            }
            one.prepare(1);
            one.flush(1);
            one.prepare(1);
            assert!(bulk.headroom(1, 100, Time(0)));
            let mut at = 0;
            let mut sent_in_bulk = Vec::new();
            if round % 3 > 0 {
                let (datagrams, taken) = pack(&mut bulk, &records, 1_408);
                bulk.stage(1, 1_408, datagrams);
                at = taken;
                sent_in_bulk = transmitted(&mut bulk);
                bulk.settle(|to, from| to.copy_from_slice(from));
            }
            // More than a run may come, of which the rest is not staged.
            let mut end = at;
            while at < records.len() {
                end = (end + random.usize(1..3_000)).min(records.len());
                at += bulk.put(1, &records[at..end], Time(0));
            }
            bulk.flush(1);
            let sent = transmitted(&mut one);
            sent_in_bulk.extend(transmitted(&mut bulk));
            if random.bool() && !sent_in_bulk.is_empty() {
                // The socket did not take the end of the last run: it leaves again, from the window.
                let rest = random.usize(..bulk.outbox_run());
                let kept = sent_in_bulk.len() - rest;
                bulk.retract(bulk.outbox_run() - rest);
                sent_in_bulk.truncate(kept);
                sent_in_bulk.extend(transmitted(&mut bulk));
            }
            assert!(sent == sent_in_bulk, "round {round}");
            for _ in &sent {
                assert!(in_window(&one, sequence) == in_window(&bulk, sequence), "{sequence}");
                sequence += 1;
            }
        }
        assert_eq!(one.stats().messages, bulk.stats().messages);
        assert_eq!(one.stats().bytes, bulk.stats().bytes);
        assert!(sequence > 500);
    }

    /// Whatever the distance, the messages are those that were packed, the window has what was sent, and what has the length of
    /// the distance lies without a gap.
    #[test]
    fn datagrams_may_be_packed_closer_and_more_of_them_share_a_run() {
        let mut publisher = publisher();
        let mut sequence = 1;
        for length in (1..=1_340).step_by(13).chain([955, 956, 957, 1_340]) {
            let each = (1_408 - HEADER_LENGTH) / (length + RECORD_LENGTH);
            for short in [false, true] {
                let datagram = HEADER_LENGTH + each * (length + RECORD_LENGTH) + 7 * usize::from(short);
                if datagram > 1_408 {
                    continue;
                }
                let record = [&record_head(length as u16)[..], &vec![length as u8; length]].concat();
                let (datagrams, _) = pack(&mut publisher, &record.repeat(64 * each), datagram);
                let most = (46 * 1_408 / datagram).min(64);
                assert_eq!(datagrams.len(), most, "{datagram}");
                assert!(publisher.headroom(1, most as u64, Time(0)));
                publisher.stage(1, datagram, datagrams);
                let transmit = publisher.poll_transmit(Time(0)).unwrap();
                assert_eq!(transmit, Transmit { to: To::Group, segment: datagram, count: most });
                let run: Vec<&[u8]> = publisher.datagrams().collect();
                let is_without_gaps = run.windows(2).all(|two| two[0].as_ptr_range().end == two[1].as_ptr());
                assert!(is_without_gaps, "{datagram}");
                let sent: Vec<Vec<u8>> = run.iter().map(|bytes| bytes.to_vec()).collect();
                assert!(publisher.poll_transmit(Time(0)).is_none());
                publisher.settle(|to, from| to.copy_from_slice(from));
                for bytes in sent {
                    let kept = in_window(&publisher, sequence);
                    assert!(bytes.starts_with(kept) && kept[HEADER_LENGTH..] == record.repeat(each));
                    sequence += 1;
                }
            }
        }
    }

    #[test]
    fn what_is_staged_is_of_one_stream_alone() {
        let mut publisher = publisher();
        assert_eq!(publisher.open_stream("u", Time(0)), Some(2));
        transmitted(&mut publisher);
        publisher.send(2, &[2; 100], Time(0)).unwrap();
        publisher.flush(2);
        assert!(publisher.headroom(1, 1, Time(0)));
        let records = [&record_head(100)[..], &[1; 100]].concat();
        let (datagrams, _) = pack(&mut publisher, &records, 1_408);
        publisher.stage(1, 1_408, datagrams);
        // Both are the first of their streams.
        let mut sent: Vec<u8> =
            transmitted(&mut publisher).iter().map(|bytes| bytes[bytes.len() - 1]).collect();
        sent.sort_unstable();
        assert_eq!(sent, [1, 2]);
    }

    #[test]
    fn without_headroom_memory_is_taken_as_it_is_needed_and_no_more() {
        let (mut one, mut bulk) = (publisher(), publisher());
        let record = [&record_head(1_000)[..], &[1; 1_000]].concat();
        for _ in 0..100 {
            one.send(1, &[1; 1_000], Time(0)).unwrap();
        }
        assert_eq!(bulk.put(1, &record.repeat(100), Time(0)), 100 * record.len());
        assert_eq!(one.pool.left(), bulk.pool.left());
        one.flush(1);
        bulk.flush(1);
        assert!(transmitted(&mut one) == transmitted(&mut bulk));
    }

    #[test]
    fn what_the_window_gave_up_before_it_was_copied_keeps_nothing_else_from_being_copied() {
        let config = Config { window: 4 * (32 << 10), flow: Flow::None, ..Config::new(SourceId(7)) };
        let mut publisher = Publisher::new(config, Time(0));
        assert_eq!(
            (publisher.open_stream("a", Time(0)), publisher.open_stream("b", Time(0))),
            (Some(1), Some(2))
        );
        transmitted(&mut publisher);
        let most = publisher.max_run();
        assert!(publisher.headroom(1, most, Time(0)));
        publisher.stage(1, 1_408, (0..most).map(|_| (1_408, 1)));
        transmitted(&mut publisher);
        let two_chunks = vec![1; 50_000];
        publisher.send(2, &two_chunks, Time(0)).unwrap();
        let trail = publisher.streams[0].window.trail();
        assert!(trail > 1 && trail <= most, "some are gone, and some are not: {trail}");
        let mut copied = 0;
        publisher.settle(|_, _| copied += 1);
        assert_eq!(copied, most + 1 - trail);
    }

    #[test]
    fn there_is_no_headroom_where_a_message_would_be_refused() {
        let mut publisher = publisher();
        assert!(publisher.headroom(1, BACKLOG, Time(0)));
        assert!(!publisher.headroom(1, BACKLOG + 1, Time(0)), "so many may not wait");
        for _ in 0..BACKLOG - 10 {
            publisher.send(1, &[0; 1_340], Time(0)).unwrap();
        }
        publisher.flush(1);
        assert!(publisher.headroom(1, 10, Time(0)) && !publisher.headroom(1, 11, Time(0)));
        publisher.close_stream(1, Time(0));
        assert!(!publisher.headroom(1, 1, Time(0)), "closed");
        assert!(!publisher.headroom(2, 1, Time(0)), "never opened");
    }
}
