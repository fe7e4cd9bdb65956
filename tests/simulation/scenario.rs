//! A scenario drawn from a seed: who is there, what the network does, and what must come of it.

use super::invariants::{Lengths, Watcher, Wire, payload, watch};
use fastrand::Rng;
use nakcast::protocol::EndReason;
use nakcast::protocol::publisher::{self, Flow};
use nakcast::protocol::subscriber::{self, Contract, StartAt};
use nakcast::sim::{Link, Network, PublisherId, SubscriberId};
use nakcast::wire::{ReceiverId, SourceId, topic};
use std::collections::BTreeMap;
use std::time::Duration;

struct Publishing {
    id: PublisherId,
    source: SourceId,
    /// By stream less one: topic, and messages given to it.
    streams: Vec<(String, u64)>,
    alive: bool,
}

struct Subscribing {
    id: SubscriberId,
    pattern: &'static str,
    watcher: Watcher,
    /// Listening before any publisher was there.
    from_the_start: bool,
    alive: bool,
    stalled: bool,
}

struct Run {
    network: Network,
    wire: Wire,
    random: Rng,
    lengths: BTreeMap<SourceId, Lengths>,
    publishers: Vec<Publishing>,
    subscribers: Vec<Subscribing>,
    /// Nothing may be lost to those who were there from the start.
    lossless: bool,
    sources: u64,
    config: publisher::Config,
    lossy: Link,
}

const TOPICS: [&str; 4] = ["a", "a.b", "a.c", "d.e"];
const PATTERNS: [&str; 5] = [">", "a.>", "*.b", "a", "a.*"];

/// Runs the scenario of a seed. Gives a number that tells runs apart.
pub(super) fn run(seed: u64) -> u64 {
    let mut run = Run::new(seed);
    run.populate();
    run.live();
    run.finish();
    run.network.fingerprint()
}

fn micros(random: &mut Rng, from: u64, to: u64) -> Duration {
    Duration::from_micros(random.u64(from..=to))
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut random = Rng::with_seed(seed ^ 0x6e61_6b63_6173_7421);
        let mut network = Network::new(seed);
        let wire = watch(&mut network);
        let calm = random.u8(..4) == 0;
        let chance = |random: &mut Rng, most: f64| if random.bool() { random.f64() * most } else { 0.0 };
        let lossy = if calm {
            Link::default()
        } else {
            Link {
                loss: chance(&mut random, 0.3),
                duplicate: chance(&mut random, 0.2),
                reorder: chance(&mut random, 0.3),
                held_up: micros(&mut random, 1, 2_000),
                corrupt: chance(&mut random, 0.05),
                ..Link::default()
            }
        };
        let datagram = [512, 512, 512, 1_408, 1_408, 8_192, 65_507][random.usize(..7)];
        let small = random.u8(..3) == 0;
        let window = if small { datagram * random.usize(4..200) } else { 16 << 20 };
        let flow = if random.u8(..3) == 0 { Flow::None } else { Flow::Slowest };
        let config = publisher::Config {
            datagram,
            window,
            max_message: (window / 2).max(datagram * 2).min(1 << 20),
            flow,
            patience: Duration::from_secs(if random.bool() { 10 } else { 1 }),
            max_rate: (random.u8(..3) == 0 || flow == Flow::None)
                .then(|| [100, 1_000, 20_000][random.usize(..3)] * datagram as u64 * 8),
            max_delay: micros(&mut random, 10, 500),
            ..publisher::Config::new(SourceId(0))
        };
        if std::env::var("NAKCAST_TRACE").is_ok() {
            eprintln!("{config:?}\n{lossy:?}");
        }
        Run {
            network,
            wire,
            random,
            lengths: BTreeMap::new(),
            publishers: Vec::new(),
            subscribers: Vec::new(),
            // Where the window is never exceeded.
            lossless: !small && datagram <= 8_192,
            sources: seed << 8,
            config,
            lossy,
        }
    }

    fn link(&mut self, lossy: bool) -> Link {
        let delay = micros(&mut self.random, 5, 300);
        if lossy { Link { delay, ..self.lossy } } else { Link::with_delay(delay) }
    }

    fn populate(&mut self) {
        let count = [1, 1, 2, 3, 3, 6, 20][self.random.usize(..7)];
        for _ in 0..count {
            self.subscribe(true);
        }
        self.network.run_for(Duration::from_millis(1));
        for _ in 0..=self.random.usize(..2) {
            let (config, lengths) = self.publisher_config();
            let shared = self.random.u8(..4) == 0;
            let (up, down) = (self.link(shared), self.link(true));
            let source = config.source;
            let id = self.network.add_publisher(config, up, down);
            self.publishing(id, source, lengths);
        }
    }

    fn publisher_config(&mut self) -> (publisher::Config, Lengths) {
        self.sources += 1;
        let source = SourceId(self.sources.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let config = publisher::Config { source, ..self.config.clone() };
        let max_record = config.datagram - 68;
        let datagrams = (config.max_message / max_record).clamp(1, 40).min((400 << 10) / max_record);
        (config, Lengths { max_record, datagrams })
    }

    fn publishing(&mut self, id: PublisherId, source: SourceId, lengths: Lengths) {
        self.lengths.insert(source, lengths);
        let streams = self.random.usize(1..=TOPICS.len());
        let mut names = TOPICS.to_vec();
        self.random.shuffle(&mut names);
        let streams = names[..streams].iter().map(|name| ((*name).to_string(), 0)).collect::<Vec<_>>();
        for (name, _) in &streams {
            self.network.with_publisher(id, |core, now| core.open_stream(name, now)).expect("a stream opens");
        }
        let batching = self.random.bool();
        self.network.set_batching(id, batching);
        if self.random.u8(..4) == 0 {
            self.network.set_refusals(id, 0.2);
        }
        self.publishers.push(Publishing { id, source, streams, alive: true });
    }

    fn subscribe(&mut self, from_the_start: bool) {
        let random = &mut self.random;
        let receiver = ReceiverId(1 + self.subscribers.len() as u64 * 77);
        let contract = match random.u8(..8) {
            0..4 => Contract::Ordered,
            4 => Contract::Deadline(micros(random, 100, 20_000)),
            5 | 6 => Contract::Arrival,
            _ => Contract::BestEffort,
        };
        let pattern = if random.bool() { ">" } else { PATTERNS[random.usize(..PATTERNS.len())] };
        let start = if random.bool() { StartAt::Live } else { StartAt::Window };
        let config = subscriber::Config {
            patterns: vec![pattern.into()],
            contract,
            start,
            reorder: [300 << 10, 1 << 20, 8 << 20][random.usize(..3)],
            receive_buffer: [64 << 10, 208 << 10, 4 << 20][random.usize(..3)],
            max_message: 16 << 20,
            reassembly: 32 << 20,
            ..subscriber::Config::new(receiver)
        };
        let (up, down) = (self.link(true), self.link(true));
        let id = self.network.add_subscriber(config, up, down);
        self.subscribers.push(Subscribing {
            id,
            pattern,
            watcher: Watcher::new(contract),
            from_the_start,
            alive: true,
            stalled: false,
        });
    }

    /// Messages are published while the network does its worst.
    fn live(&mut self) {
        let rounds = self.random.usize(20..120);
        let burst = self.random.u64(1..=30);
        let disasters = if self.random.bool() { self.random.u8(1..=4) } else { 0 };
        for round in 0..rounds {
            for at in 0..self.publishers.len() {
                if self.publishers[at].alive && self.random.u8(..3) > 0 {
                    let count = self.random.u64(..=burst);
                    self.publish(at, count);
                }
            }
            let pause = match self.random.u8(..30) {
                0 => self.random.u64(20_000..300_000),
                1..5 => self.random.u64(1_000..20_000),
                _ => self.random.u64(..1_000),
            };
            self.run_for(Duration::from_micros(pause));
            if disasters > 0 && round > 3 && self.random.usize(..rounds) < usize::from(disasters) {
                self.disaster();
            }
        }
    }

    fn publish(&mut self, at: usize, count: u64) {
        let publisher = &mut self.publishers[at];
        let (id, source) = (publisher.id, publisher.source);
        let lengths = self.lengths[&source];
        let room = 50_u64.saturating_sub(self.network.waiting(id) as u64);
        for _ in 0..count.min(room) {
            let stream = self.random.usize(..publisher.streams.len());
            let (_, number) = &mut publisher.streams[stream];
            *number += 1;
            let message = payload(source, stream as u32 + 1, *number, lengths);
            self.network.publish(id, stream as u32 + 1, message);
        }
    }

    fn run_for(&mut self, time: Duration) {
        self.network.run_for(time);
        self.listen();
    }

    fn listen(&mut self) {
        for subscriber in &mut self.subscribers {
            while let Some(told) = self.network.poll_told(subscriber.id) {
                if std::env::var("NAKCAST_TRACE").is_ok() {
                    let mut short = told.clone();
                    if let nakcast::sim::Told::Message { payload, .. } = &mut short {
                        payload.truncate(0);
                    }
                    eprintln!("{:?} {:?} told {short:?}", subscriber.id, subscriber.watcher.contract);
                }
                subscriber.watcher.told(&told, &self.wire, &self.lengths);
            }
        }
    }

    fn disaster(&mut self) {
        let alive: Vec<usize> =
            (0..self.subscribers.len()).filter(|&at| self.subscribers[at].alive).collect();
        match self.random.u8(..7) {
            // A publisher dies and starts anew, at the same address or another.
            0 => {
                let at = self.random.usize(..self.publishers.len());
                if !self.publishers[at].alive {
                    return;
                }
                self.publishers[at].alive = false;
                let killed = self.publishers[at].id;
                let (config, lengths) = self.publisher_config();
                let source = config.source;
                let id = if self.random.bool() {
                    self.network.restart_publisher(killed, config)
                } else {
                    self.network.kill_publisher(killed);
                    let (up, down) = (self.link(false), self.link(true));
                    self.network.add_publisher(config, up, down)
                };
                self.publishing(id, source, lengths);
            }
            // A subscriber comes late.
            1 | 2 => self.subscribe(false),
            // One leaves.
            3 if alive.len() > 1 => {
                let at = alive[self.random.usize(..alive.len())];
                let leave = self.random.bool();
                self.subscribers[at].alive = false;
                self.network.remove_subscriber(self.subscribers[at].id, leave);
            }
            // One stalls; longer than the patience, or not.
            4 | 5 => {
                let at = alive[self.random.usize(..alive.len())];
                self.subscribers[at].stalled = true;
                let id = self.subscribers[at].id;
                self.network.pause(id);
                let stall = micros(&mut self.random, 1_000, 1_500_000);
                self.with_traffic(stall);
                self.network.resume(id);
                self.listen();
            }
            // One is cut off.
            _ => {
                let at = alive[self.random.usize(..alive.len())];
                self.subscribers[at].stalled = true;
                let id = self.subscribers[at].id;
                let longest = if self.random.bool() { 400_000 } else { 4_000_000 };
                let time = micros(&mut self.random, 1_000, longest);
                let set = |run: &mut Run, cut| {
                    let (up, down) = run.network.links(id);
                    (up.cut, down.cut) = (cut, cut);
                };
                set(self, true);
                self.with_traffic(time);
                set(self, false);
            }
        }
    }

    fn with_traffic(&mut self, time: Duration) {
        for _ in 0..10 {
            for at in 0..self.publishers.len() {
                if self.publishers[at].alive {
                    let count = self.random.u64(..20);
                    self.publish(at, count);
                }
            }
            self.run_for(time / 10);
        }
    }

    /// The faults stop, the streams are closed: everything that is in a window arrives, and every stream ends.
    fn finish(&mut self) {
        self.network.heal();
        // What was not taken yet is: a blocking `send` would still wait.
        for _ in 0..3_000 {
            if self.publishers.iter().all(|publisher| self.network.waiting(publisher.id) == 0) {
                break;
            }
            self.run_for(Duration::from_millis(10));
        }
        let living: Vec<usize> = (0..self.publishers.len()).filter(|&at| self.publishers[at].alive).collect();
        for &at in &living {
            let id = self.publishers[at].id;
            assert_eq!(self.network.waiting(id), 0, "a publisher takes its messages in the end");
            for stream in 1..=self.publishers[at].streams.len() as u32 {
                self.network.with_publisher(id, |core, now| core.close_stream(stream, now));
            }
        }
        let all_ended = |run: &Run| run.unfinished().is_none();
        // At a hundred datagrams a second, repairs take their time.
        let rounds = if self.config.max_rate.is_some() { 20_000 } else { 2_000 };
        for _ in 0..rounds {
            self.run_for(Duration::from_millis(10));
            if all_ended(self) {
                break;
            }
        }
        if let Some(what) = self.unfinished() {
            panic!("not finished when it should be: {what}");
        }
        self.judge();
        // All memory comes back: from subscribers whose streams are over, from publishers that release theirs.
        for subscriber in self.subscribers.iter().filter(|subscriber| subscriber.alive) {
            assert_eq!(self.network.subscriber(subscriber.id).memory_in_use(), (0, 0));
        }
        for at in living {
            let Publishing { id, ref streams, .. } = self.publishers[at];
            for stream in 1..=streams.len() as u32 {
                self.network.with_publisher(id, |core, _| core.release_stream(stream));
            }
            assert_eq!(self.network.publisher(id).memory_in_use(), 0);
        }
    }

    /// What is left to happen, if anything is.
    fn unfinished(&self) -> Option<String> {
        for publisher in self.publishers.iter().filter(|publisher| publisher.alive) {
            let core = self.network.publisher(publisher.id);
            for stream in 1..=publisher.streams.len() as u32 {
                if !core.is_complete(stream) {
                    let laggards = core.laggards(stream);
                    return Some(format!("source {} stream {stream}: {laggards:?}", publisher.source));
                }
            }
        }
        for (at, subscriber) in self.subscribers.iter().enumerate().filter(|(_, s)| s.alive) {
            let dead = |source| self.publishers.iter().any(|p| !p.alive && p.source == source);
            if let Some(up) = subscriber.watcher.up().iter().find(|(source, _)| dead(*source)) {
                return Some(format!("subscriber {at} waits for the end of dead {up:?}"));
            }
            for publisher in self.publishers.iter().filter(|publisher| publisher.alive) {
                for (stream, (name, messages)) in publisher.streams.iter().enumerate() {
                    let id = (publisher.source, stream as u32 + 1);
                    if !topic::matches(subscriber.pattern, name) {
                        assert!(!subscriber.watcher.knows(id), "nobody is told of what was not asked for");
                    } else if *messages > 0 && subscriber.watcher.ended(id) != Some(EndReason::Closed) {
                        return Some(format!("subscriber {at} waits for the end of {id:?} ({name})"));
                    }
                }
            }
        }
        None
    }

    fn judge(&self) {
        let wire = self.wire.borrow();
        // What is missing is asked for a few times, not for ever: as often as a loss both ways may need, unless its repair
        // waits for the rate.
        let (mut asked, mut missed) = (0, 0);
        for subscriber in &self.subscribers {
            let stats = self.network.subscriber(subscriber.id).stats();
            asked += stats.nak_datagrams;
            missed += stats.missed + stats.overruns;
        }
        let most = if self.config.max_rate.is_some() { 60 } else { 12 };
        assert!(asked <= most * (missed + 20), "{asked} datagrams asked for, {missed} were missed");
        for publisher in &self.publishers {
            for (stream, (_, messages)) in publisher.streams.iter().enumerate() {
                let id = (publisher.source, stream as u32 + 1);
                let Some(sent) = wire.get(&id) else { continue };
                assert!(!publisher.alive || sent.messages() == *messages, "all that was taken was sent");
                for (at, subscriber) in self.subscribers.iter().enumerate() {
                    let watcher = &subscriber.watcher;
                    if watcher.ended(id) == Some(EndReason::Closed) && subscriber.from_the_start {
                        assert_eq!(watcher.start(id), Some(1), "who was there first gets everything");
                        let asks = matches!(watcher.contract, Contract::Ordered | Contract::Arrival);
                        let strict = self.lossless && asks && !subscriber.stalled && subscriber.alive;
                        assert!(!strict || watcher.lost_of(id) == 0, "subscriber {at} lost of {id:?}");
                    }
                }
            }
        }
    }
}
