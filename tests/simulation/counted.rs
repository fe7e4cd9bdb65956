//! The counters, against what is seen to be sent, received and told: by every node of a lossy run, and by one subscriber and
//! one publisher that are handed each datagram that can be counted.

use super::peers::{data, emit, heartbeat};
use nakcast::protocol::publisher::{self, Flow, Publisher, PublisherStats};
use nakcast::protocol::subscriber::{self, Contract, Subscriber, SubscriberStats};
use nakcast::protocol::{Event, Time};
use nakcast::sim::{Core, Link, Network, Observer, PublisherId, SubscriberId};
use nakcast::wire::{
    Announce, Confirmation, Datagram, End, Header, Heartbeat, Invalid, Kind, Nak, Ncf, Position, Range,
    ReceiverId, SourceId, Status, data::emit_record, flag,
};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

const MILLISECOND: Duration = Duration::from_millis(1);

/// What one subscriber knows of one stream.
#[derive(Default)]
struct Known {
    /// The highest sequence number it was told of, and what of those up to it came.
    highest: u64,
    here: BTreeSet<u64>,
}

/// Counts, from what is seen alone.
#[derive(Default)]
struct Tally {
    publishers: BTreeMap<PublisherId, PublisherStats>,
    subscribers: BTreeMap<SubscriberId, (SubscriberStats, BTreeMap<u32, Known>)>,
}

fn asked(nak: &Nak<'_>) -> u64 {
    nak.ranges().map(|range| u64::from(range.count)).sum()
}

#[derive(Clone, Default)]
struct Watch(Rc<RefCell<Tally>>);

impl Observer for Watch {
    fn sent(&mut self, _: Time, by: Core<'_>, to: Option<SocketAddr>, bytes: &[u8]) {
        let datagram = Datagram::parse(bytes).unwrap();
        let tally = &mut *self.0.borrow_mut();
        match by {
            Core::Publisher(id, _) => {
                let stats = tally.publishers.entry(id).or_default();
                match datagram.header.kind {
                    Kind::Data => {
                        stats.datagrams += 1;
                        stats.datagram_bytes += bytes.len() as u64;
                    }
                    Kind::Repair => {
                        stats.repairs += 1;
                        stats.repairs_unicast += u64::from(to.is_some());
                        stats.repair_bytes += bytes.len() as u64;
                    }
                    Kind::Heartbeat => stats.heartbeats += 1,
                    Kind::Announce => stats.announces += 1,
                    Kind::Ncf => stats.ncfs += 1,
                    Kind::End => stats.ends += 1,
                    other => panic!("a publisher sends {other:?}"),
                }
            }
            Core::Subscriber(id, _) => {
                let (stats, _) = tally.subscribers.entry(id).or_default();
                match datagram.header.kind {
                    Kind::Nak if datagram.header.has(flag::NAME_WANTED) => stats.names_asked += 1,
                    Kind::Nak => {
                        stats.naks += 1;
                        stats.nak_datagrams += asked(&Nak::parse(datagram.payload).unwrap());
                    }
                    Kind::Status => stats.statuses += 1,
                    other => panic!("a subscriber sends {other:?}"),
                }
            }
        }
    }

    fn received(&mut self, _: Time, by: Core<'_>, _: SocketAddr, bytes: &[u8]) {
        let datagram = Datagram::parse(bytes).unwrap();
        let header = &datagram.header;
        let tally = &mut *self.0.borrow_mut();
        match by {
            Core::Publisher(id, _) => {
                let stats = tally.publishers.entry(id).or_default();
                if header.kind == Kind::Nak {
                    stats.naks += 1;
                    stats.nak_datagrams += asked(&Nak::parse(datagram.payload).unwrap());
                } else {
                    stats.statuses += 1;
                }
            }
            Core::Subscriber(id, _) => {
                let (stats, streams) = tally.subscribers.entry(id).or_default();
                let mut lead = |stream, lead| {
                    let known: &mut Known = streams.entry(stream).or_default();
                    stats.missed += u64::saturating_sub(lead, known.highest);
                    known.highest = known.highest.max(lead);
                };
                match header.kind {
                    Kind::Data | Kind::Repair => {
                        lead(header.stream, header.sequence.saturating_sub(1));
                        let known = streams.entry(header.stream).or_default();
                        let late = header.sequence <= known.highest;
                        known.highest = known.highest.max(header.sequence);
                        if !known.here.insert(header.sequence) {
                            stats.duplicates += 1;
                            return;
                        }
                        stats.datagrams += 1;
                        if header.kind == Kind::Repair {
                            stats.repairs += 1;
                        } else if late {
                            stats.reordered += 1;
                        }
                    }
                    Kind::Announce => {
                        stats.announces += 1;
                        lead(header.stream, header.sequence);
                    }
                    Kind::End => lead(header.stream, header.sequence),
                    Kind::Ncf => stats.ncfs += 1,
                    _ => {
                        stats.heartbeats += 1;
                        for state in Heartbeat::parse(datagram.payload).unwrap().streams() {
                            let state = state.unwrap();
                            lead(state.stream, state.lead);
                        }
                    }
                }
            }
        }
    }

    fn told(&mut self, _: Time, who: SubscriberId, event: &Event<'_>) {
        let tally = &mut *self.0.borrow_mut();
        let (stats, _) = tally.subscribers.entry(who).or_default();
        match event {
            Event::Message(message) => {
                stats.messages += 1;
                stats.bytes += message.payload().len() as u64;
            }
            Event::Gap(gap) => {
                stats.gaps += 1;
                stats.lost += gap.messages();
            }
            _ => {}
        }
    }
}

/// Runs a publisher with two streams and its subscribers, whose names they know before the first message, and holds their
/// counters against what was seen.
fn counted(seed: u64, contract: Contract, flow: Flow, rate: Option<u64>, subscribers: u64) -> PublisherStats {
    let wire = Link::with_delay(Duration::from_micros(20));
    let mut network = Network::new(seed);
    let watch = Watch::default();
    network.observe(watch.clone());
    let ids: Vec<_> = (1..=subscribers)
        .map(|id| {
            let config = subscriber::Config { contract, ..subscriber::Config::new(ReceiverId(id)) };
            network.add_subscriber(config, wire, wire)
        })
        .collect();
    let window = if flow == Flow::None { 1 } else { 1 << 20 };
    let config = publisher::Config { flow, window, max_rate: rate, ..publisher::Config::new(SourceId(7)) };
    let from = network.add_publisher(config, wire, wire);
    let streams = ["a", "b"].map(|topic| network.open_stream(from, topic).unwrap());
    network.run_for(300 * MILLISECOND);
    for &id in &ids {
        let (up, down) = network.links(id);
        up.loss = 0.05;
        (down.loss, down.duplicate) = (0.1, 0.05);
        if contract != Contract::BestEffort && flow == Flow::Slowest {
            // Otherwise what comes late may have been told as lost already.
            (down.reorder, down.held_up) = (0.05, MILLISECOND);
        }
    }
    let (mut messages, mut bytes) = (0, 0);
    for step in 0..300_usize {
        let length = if step % 50 == 7 { 20_000 } else { step * 4 };
        network.publish(from, streams[step % 2], vec![1; length]);
        (messages, bytes) = (messages + 1, bytes + length as u64);
        if step % 3 == 0 {
            network.run_for(MILLISECOND / 4);
        }
        if step == 150 && flow == Flow::None {
            // One of them misses more than the window holds.
            network.links(ids[0]).1.cut = true;
        }
    }
    network.run_for(MILLISECOND);
    network.heal();
    network.run_for(Duration::from_secs(3));
    for stream in streams {
        network.with_publisher(from, |core, now| core.close_stream(stream, now));
    }
    network.run_for(Duration::from_secs(2));

    let tally = watch.0.borrow();
    let seen = &tally.publishers[&from];
    let stats = network.publisher(from).stats();
    assert_eq!((stats.messages, stats.bytes), (messages, bytes));
    let of = |stats: &PublisherStats| {
        [
            ("datagrams", stats.datagrams),
            ("datagram_bytes", stats.datagram_bytes),
            ("repairs", stats.repairs),
            ("repairs_unicast", stats.repairs_unicast),
            ("repair_bytes", stats.repair_bytes),
            ("heartbeats", stats.heartbeats),
            ("announces", stats.announces),
            ("ncfs", stats.ncfs),
            ("ends", stats.ends),
            ("naks", stats.naks),
            ("nak_datagrams", stats.nak_datagrams),
            ("statuses", stats.statuses),
        ]
    };
    assert_eq!(of(&stats), of(seen), "{contract:?} {flow:?}");
    for id in ids {
        let (seen, _) = &tally.subscribers[&id];
        let of = |stats: &SubscriberStats| {
            [
                ("messages", stats.messages),
                ("bytes", stats.bytes),
                ("gaps", stats.gaps),
                ("lost", stats.lost),
                ("datagrams", stats.datagrams),
                ("repairs", stats.repairs),
                ("duplicates", stats.duplicates),
                ("reordered", stats.reordered),
                ("missed", stats.missed),
                ("naks", stats.naks),
                ("nak_datagrams", stats.nak_datagrams),
                ("names_asked", stats.names_asked),
                ("ncfs", stats.ncfs),
                ("heartbeats", stats.heartbeats),
                ("announces", stats.announces),
                ("statuses", stats.statuses),
            ]
        };
        assert_eq!(of(&network.subscriber(id).stats()), of(seen), "{contract:?} {flow:?}");
    }
    stats
}

#[test]
fn what_is_counted_is_what_was_seen() {
    for seed in 0..4 {
        let lone = counted(seed, Contract::Ordered, Flow::Slowest, None, 1);
        assert!(lone.repairs_unicast > 0 && lone.ends > 0 && lone.back_pressured == 0);
        let some = counted(seed, Contract::Arrival, Flow::Slowest, Some(20_000_000), 3);
        assert!(some.repairs > some.repairs_unicast && some.ncfs > 0);
        let gone = counted(seed, Contract::Ordered, Flow::None, None, 2);
        assert!(gone.nak_gone > 0 && gone.ncfs > 0);
        counted(seed, Contract::BestEffort, Flow::Slowest, None, 2);
    }
}

fn address(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 9, 9, host], 9))
}

fn of(kind: Kind, source: u64, stream: u32, (sequence, message): (u64, u64), payload: &[u8]) -> Vec<u8> {
    emit(Header { sequence, message, ..Header::new(kind, SourceId(source), stream) }, payload)
}

/// A list that is written by `write`, which gives its length.
fn list(kind: Kind, source: u64, stream: u32, write: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
    let mut payload = [0; 400];
    let length = write(&mut payload);
    emit(Header { stamp: NOW.0, ..Header::new(kind, SourceId(source), stream) }, &payload[..length])
}

const NOW: Time = Time(1_000_000_000);

fn announced(stream: u32, topic: &str) -> Vec<u8> {
    let (idle_interval, datagram) = (500_000, 100);
    let announce =
        Announce { age: 0, trail: 1, trail_message: 1, idle_interval, window: 100, datagram, topic };
    let mut payload = [0; 100];
    let length = announce.emit(&mut payload);
    of(Kind::Announce, 99, stream, (0, 1), &payload[..length])
}

#[test]
fn a_subscriber_counts_whatever_comes() {
    let patterns = vec!["t".into()];
    let config = subscriber::Config {
        patterns,
        max_sources: 1,
        max_streams: 3,
        ..subscriber::Config::new(ReceiverId(1))
    };
    let mut core = Subscriber::new(config, NOW);
    let mut expected = core.stats();
    let mut feed = |host: u8, bytes: &[u8], count: &dyn Fn(&mut SubscriberStats)| {
        core.handle_datagram(NOW, address(host), bytes);
        while core.advance(bytes).is_some() {}
        count(&mut expected);
        expected.nak_timeout_ns = core.stats().nak_timeout_ns;
        assert_eq!(core.stats(), expected, "{bytes:02x?}");
    };
    let mut record = [0; 5];
    emit_record(&mut record, 1);
    let mut long = [0; 200];
    emit_record(&mut long, 196);
    let mut two = [0; 10];
    emit_record(&mut two, 1);
    emit_record(&mut two[5..], 1);
    let mut end = [0; 16];
    let length = End { trail: 1 }.emit(&mut end);
    let end = &end[..length];
    // Each of them twice: whether a counter counts on shows the second time.
    for first in [1, 4] {
        feed(9, &[1; 4], &|stats| stats.rejected[Invalid::Short { length: 4 }.index()] += 1);
        feed(9, &of(Kind::Status, 99, 1, (1, 1), &[]), &|stats| stats.unexpected += 1);
        feed(9, &of(Kind::Data, 0, 1, (1, 1), &record), &|stats| stats.unexpected += 1);
        // Its stream has no name yet.
        feed(9, &of(Kind::Data, 99, 2, (1, 1), &record), &|stats| {
            (stats.unnamed, stats.sources) = (stats.unnamed + 1, 1);
        });
        feed(9, &heartbeat(1, 0, 1), &|stats| stats.heartbeats += 1);
        feed(9, &announced(3, "other"), &|stats| stats.announces += 1);
        feed(9, &of(Kind::Data, 99, 3, (1, 1), &record), &|stats| stats.ignored += 1);
        feed(9, &announced(1, "t"), &|stats| (stats.announces, stats.streams) = (stats.announces + 1, 1));
        // The heartbeat told of stream 1: with it there are as many as may be.
        feed(9, &announced(4, "t"), &|stats| {
            (stats.announces, stats.streams_refused) = (stats.announces + 1, stats.streams_refused + 1);
        });
        feed(9, &of(Kind::Data, 99, 5, (1, 1), &record), &|stats| {
            (stats.unnamed, stats.streams_refused) = (stats.unnamed + 1, stats.streams_refused + 1);
        });
        feed(8, &data(Kind::Data, first, first), &|stats| stats.impostors += 1);
        feed(7, &of(Kind::Data, 98, 1, (1, 1), &record), &|stats| stats.sources_refused += 1);
        feed(9, &data(Kind::Data, first, first), &|stats| {
            stats.datagrams += 1;
            (stats.messages, stats.bytes) = (stats.messages + 1, stats.bytes + 1);
        });
        feed(9, &data(Kind::Data, first, first), &|stats| stats.duplicates += 1);
        feed(9, &data(Kind::Data, first + 101, first + 101), &|stats| stats.jumps += 1);
        feed(9, &heartbeat(first, first + 100, first + 101), &|stats| {
            (stats.heartbeats, stats.jumps) = (stats.heartbeats + 1, stats.jumps + 1);
        });
        feed(9, &of(Kind::Data, 99, 1, (first + 1, first + 1), &[1; 20]), &|stats| {
            stats.rejected[Invalid::Records.index()] += 1;
        });
        feed(9, &of(Kind::Data, 99, 1, (first + 1, first + 1), &long), &|stats| stats.oversized += 1);
        feed(9, &data(Kind::Data, first + 1, first + 5), &|stats| stats.contradictions += 1);
        feed(9, &heartbeat(first, first + 1, first), &|stats| {
            (stats.heartbeats, stats.contradictions) = (stats.heartbeats + 1, stats.contradictions + 1);
        });
        feed(9, &data(Kind::Data, first + 2, first + 2), &|stats| {
            (stats.datagrams, stats.missed) = (stats.datagrams + 1, stats.missed + 1);
        });
        // Two messages where there is room for one.
        feed(9, &of(Kind::Repair, 99, 1, (first + 1, first + 1), &two), &|stats| stats.contradictions += 1);
        let kind = if first == 1 { Kind::Repair } else { Kind::Data };
        feed(9, &data(kind, first + 1, first + 1), &|stats| {
            stats.datagrams += 1;
            *(if first == 1 { &mut stats.repairs } else { &mut stats.reordered }) += 1;
            (stats.messages, stats.bytes) = (stats.messages + 2, stats.bytes + 2);
        });
        let confirmed = list(Kind::Ncf, 99, 1, |payload| {
            let mut ncf = Ncf::emit(payload);
            ncf.push_confirmation(&Confirmation { first: 1, last: 1, next_message: 0 });
            ncf.length()
        });
        feed(9, &confirmed, &|stats| stats.ncfs += 1);
        // Behind what came.
        feed(9, &of(Kind::End, 99, 1, (1, 1), end), &|stats| stats.contradictions += 1);
    }
    feed(9, &of(Kind::End, 99, 1, (6, 7), end), &|stats| stats.streams = 0);
    for _ in 0..2 {
        // By way of the source, and by the short way of the stream that was the last.
        feed(9, &data(Kind::Data, 1, 1), &|stats| stats.duplicates += 1);
        feed(9, &announced(1, "t"), &|stats| stats.announces += 1);
        feed(9, &data(Kind::Data, 6, 6), &|stats| stats.duplicates += 1);
    }
}

fn status(source: u64, receiver: u64, stream: u32, position: u64) -> Vec<u8> {
    list(Kind::Status, source, 0, |payload| {
        let mut status = Status::emit(payload, ReceiverId(receiver), 0);
        status.push_position(&Position { stream, ended: false, missed: 0, position, limit: u64::MAX });
        status.length()
    })
}

fn nak(receiver: u64, stream: u32, range: Range) -> Vec<u8> {
    list(Kind::Nak, 7, stream, |payload| {
        let mut nak = Nak::emit(payload, ReceiverId(receiver), 0);
        nak.push_range(range);
        nak.length()
    })
}

#[test]
fn a_publisher_counts_whatever_comes() {
    let config = publisher::Config {
        flow: Flow::None,
        window: 1,
        datagram: 512,
        max_receivers: 2,
        ..publisher::Config::new(SourceId(7))
    };
    let mut core = Publisher::new(config, NOW);
    let stream = core.open_stream("t", NOW).unwrap();
    for count in 1..=1_000 {
        core.send(stream, &[1; 400], NOW).unwrap();
        core.flush(stream);
        while core.poll_transmit(NOW).is_some() {}
        assert_eq!((core.stats().messages, core.stats().bytes), (count, count * 400));
    }
    let mut expected = core.stats();
    let mut feed = |host: u8, bytes: &[u8], count: &dyn Fn(&mut PublisherStats)| {
        core.handle_datagram(NOW, address(host), bytes);
        count(&mut expected);
        expected.round_trip_ns = core.stats().round_trip_ns;
        assert_eq!(core.stats(), expected, "{bytes:02x?}");
    };
    let rejected = |stats: &mut PublisherStats| {
        (stats.naks, stats.naks_rejected) = (stats.naks + 1, stats.naks_rejected + 1)
    };
    let no_status = |stats: &mut PublisherStats| {
        (stats.statuses, stats.statuses_rejected) = (stats.statuses + 1, stats.statuses_rejected + 1);
    };
    let one = Range { first: 1_000, count: 1 };
    for time in 0..2 {
        feed(1, &[1; 4], &|stats| stats.rejected[Invalid::Short { length: 4 }.index()] += 1);
        feed(1, &of(Kind::Nak, 7, 1, (0, 0), &[]), &|stats| stats.rejected[Invalid::Layout.index()] += 1);
        feed(1, &status(8, 1, 1, 1), &|stats| stats.foreign += 1);
        feed(1, &of(Kind::Data, 7, 1, (1, 1), &[]), &|stats| stats.unexpected += 1);
        feed(1, &status(7, 1, 1, 1_001), &|stats| {
            (stats.statuses, stats.receivers) = (stats.statuses + 1, stats.receivers.max(1))
        });
        feed(2, &status(7, 2, 1, 1_001), &|stats| {
            (stats.statuses, stats.receivers) = (stats.statuses + 1, 2)
        });
        feed(3, &status(7, 3, 1, 1_001), &|stats| {
            (stats.statuses, stats.receivers_refused) = (stats.statuses + 1, stats.receivers_refused + 1);
        });
        feed(3, &status(7, 0, 1, 1_001), &|stats| stats.rejected[Invalid::Number.index()] += 1);
        // From another's address, of no stream, beyond what was sent.
        feed(3, &status(7, 1, 1, 1_001), &no_status);
        feed(1, &status(7, 1, 2, 1), &no_status);
        feed(1, &status(7, 1, 1, 1_002), &no_status);
        feed(3, &nak(1, 1, one), &rejected);
        feed(1, &nak(1, 2, one), &rejected);
        feed(1, &nak(1, 1, Range { first: 1_000, count: 2 }), &rejected);
        // The second asks for what is queued, and the first does the second time.
        feed(1, &nak(1, 1, one), &|stats| {
            (stats.naks, stats.nak_datagrams) = (stats.naks + 1, stats.nak_datagrams + 1);
            stats.nak_crossed += time;
        });
        feed(2, &nak(2, 1, one), &|stats| {
            (stats.naks, stats.nak_datagrams) = (stats.naks + 1, stats.nak_datagrams + 1);
            stats.nak_crossed += 1;
        });
        feed(2, &nak(2, 1, Range { first: 3, count: 7 }), &|stats| {
            (stats.naks, stats.nak_datagrams, stats.nak_gone) =
                (stats.naks + 1, stats.nak_datagrams + 7, stats.nak_gone + 7);
        });
    }
}

#[test]
fn all_that_was_refused_is_added_up() {
    let mut stats = SubscriberStats::default();
    stats.rejected[0] = 1;
    stats.rejected[Invalid::COUNT - 1] = 2;
    (stats.impostors, stats.jumps, stats.contradictions, stats.oversized) = (4, 8, 16, 32);
    (stats.unexpected, stats.sources_refused, stats.streams_refused, stats.truncated) = (64, 128, 256, 512);
    assert_eq!(stats.rejected_total(), 1_023);
    let mut stats = PublisherStats::default();
    stats.rejected[0] = 1;
    stats.rejected[Invalid::COUNT - 1] = 2;
    (stats.naks_rejected, stats.statuses_rejected, stats.foreign, stats.unexpected) = (4, 8, 16, 32);
    assert_eq!(stats.rejected_total(), 63);
}

#[test]
fn what_the_socket_did_not_take_is_sent_later_or_failed() {
    let mut core = Publisher::new(publisher::Config::new(SourceId(7)), Time(0));
    let id = core.open_stream("t", Time(0)).unwrap();
    let counted = |core: &mut Publisher, taken| {
        assert_eq!(core.poll_transmit(Time(0)).unwrap().count, 1);
        core.retract(taken);
        let PublisherStats { announces, datagrams, send_failures, .. } = core.stats();
        (announces, datagrams, send_failures)
    };
    core.send(id, b"message", Time(0)).unwrap();
    core.flush(id);
    assert_eq!(counted(&mut core, 0), (0, 0, 0), "the announce is sent again, before the data");
    assert_eq!(counted(&mut core, 1), (1, 0, 0));
    assert_eq!(counted(&mut core, 0), (1, 0, 0), "and so is that");
    assert_eq!(counted(&mut core, 1), (1, 1, 0));
    let (beat, _) = core.poll_timeout(Time(0));
    core.handle_timeout(beat);
    while core.stats().heartbeats == 0 {
        assert_eq!(core.poll_transmit(beat).unwrap().count, 1);
    }
    core.retract(0);
    assert_eq!((core.stats().heartbeats, core.stats().send_failures), (1, 1), "a heartbeat is not");
    assert!(core.poll_transmit(beat).is_none());
}
