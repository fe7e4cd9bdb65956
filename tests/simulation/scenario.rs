//! A scenario drawn from a seed: who is there, what the network does, and what must come of it.

use super::draw::{self, TOPICS, micros};
use super::invariants::Judge;
use super::published::{Lengths, payload};
use super::punctual::MOST_STREAMS;
use fastrand::Rng;
use nakcast::protocol::publisher::{self, Flow, PublisherEvent};
use nakcast::protocol::subscriber::Contract;
use nakcast::protocol::{EndReason, Time};
use nakcast::sim::{BranchId, Link, Network, Place, PublisherId, SubscriberId};
use nakcast::wire::topic;
use nakcast::{GapReason, ReceiverId, SourceId};
use std::collections::BTreeMap;
use std::time::Duration;

struct Publishing {
    id: PublisherId,
    source: SourceId,
    lengths: Lengths,
    /// By stream less one: topic, and messages given to it.
    streams: Vec<(&'static str, u64)>,
    alive: bool,
    /// What it told, as of the end.
    events: Vec<PublisherEvent>,
}

impl Publishing {
    /// Whether it never said that it does not wait for a receiver.
    fn was_in_good_standing(&self, id: ReceiverId) -> bool {
        self.events.iter().all(|event| match *event {
            PublisherEvent::Left { receiver, .. }
            | PublisherEvent::FellBehind { receiver, .. }
            | PublisherEvent::CaughtUp { receiver, .. }
            | PublisherEvent::Quarantined { receiver } => receiver != id,
            _ => true,
        })
    }
}

struct Subscribing {
    id: SubscriberId,
    pattern: &'static str,
    branch: Option<BranchId>,
    /// Listening before any publisher was there.
    from_the_start: bool,
    alive: bool,
    /// Stopped, or cut off: a source may have seemed silent to it.
    stalled: bool,
}

struct Run {
    network: Network,
    judge: Judge,
    random: Rng,
    publishers: Vec<Publishing>,
    subscribers: Vec<Subscribing>,
    branches: Vec<BranchId>,
    /// Sources have ids that no other run has.
    sources: u64,
    config: publisher::Config,
    weather: Link,
    /// How often messages are sent in bulk.
    bulk: f64,
    /// The last fault that was ordered for later ends then.
    faults_until: Time,
    counts: Counts,
}

/// How often what happened.
pub type Counts = BTreeMap<&'static str, u64>;

/// What came of a run.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// A number that tells runs apart.
    pub fingerprint: u64,
    pub counts: Counts,
}

/// One seed in so many has a publisher with a long history, and a receiver that asks for more than its budget.
const GLUTTON_EVERY: u64 = 64;

/// One in so many has publishers that send in bulk at times.
const BULK_EVERY: u8 = 3;

/// Runs the scenario of a seed. Panics when an invariant does not hold.
pub fn run(seed: u64, traced: bool) -> Outcome {
    let mut run = Run::new(seed, traced);
    run.populate();
    if seed % GLUTTON_EVERY == GLUTTON_EVERY - 1 {
        run.glutton();
    } else {
        run.live();
    }
    run.finish();
    run.outcome()
}

impl Run {
    fn new(seed: u64, traced: bool) -> Run {
        let mut random = Rng::with_seed(seed ^ 0x6e61_6b63_6173_7421);
        let mut network = Network::new(seed);
        let judge = Judge::new(traced);
        network.observe(judge.clone());
        let config = if seed % GLUTTON_EVERY == GLUTTON_EVERY - 1 {
            draw::publisher_with_history(&mut random)
        } else {
            draw::publisher(&mut random)
        };
        let weather = draw::weather(&mut random, config.datagram);
        if traced {
            eprintln!("{config:?}\n{weather:?}");
        }
        // Drawn apart, so that seeds without it give the runs that they gave before there was any.
        let mut apart = Rng::with_seed(!seed);
        let bulk = if apart.u8(..BULK_EVERY) == 0 { [0.05, 0.3, 1.0][apart.usize(..3)] } else { 0.0 };
        Run {
            network,
            judge,
            random,
            publishers: Vec::new(),
            subscribers: Vec::new(),
            branches: Vec::new(),
            sources: seed << 8,
            config,
            weather,
            bulk,
            faults_until: Time(0),
            counts: Counts::new(),
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn sound_link(&mut self) -> Link {
        draw::link(&mut self.random, Link::default())
    }

    fn link(&mut self) -> Link {
        draw::link(&mut self.random, self.weather)
    }

    fn populate(&mut self) {
        for _ in 0..[0, 0, 1, 2, 3][self.random.usize(..5)] {
            let weather = draw::branch_weather(&mut self.random);
            let (up, down) = (draw::link(&mut self.random, weather), draw::link(&mut self.random, weather));
            self.branches.push(self.network.add_branch(up, down));
        }
        let count = [1, 1, 2, 3, 3, 6, 20][self.random.usize(..7)];
        for _ in 0..count {
            let weather = self.weather;
            self.subscribe(true, weather);
        }
        self.network.run_for(Duration::from_millis(1));
        for _ in 0..=self.random.usize(..2) {
            let (up, down) =
                (if self.random.u8(..4) == 0 { self.link() } else { self.sound_link() }, self.link());
            let config = self.publisher_config();
            let id = self.network.add_publisher(config.clone(), up, down);
            self.publishing(id, &config);
        }
    }

    fn publisher_config(&mut self) -> publisher::Config {
        self.sources += 1;
        let source = SourceId(self.sources.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        publisher::Config { source, ..self.config.clone() }
    }

    fn publishing(&mut self, id: PublisherId, config: &publisher::Config) {
        let streams = self.random.usize(1..=MOST_STREAMS as usize);
        let mut names = TOPICS.to_vec();
        self.random.shuffle(&mut names);
        names.truncate(streams);
        for name in &names {
            self.network.open_stream(id, name).expect("a stream opens");
        }
        let batching = self.random.bool();
        self.network.set_batching(id, batching);
        self.network.set_bulk(id, self.bulk);
        if self.random.u8(..4) == 0 {
            self.network.set_refusals(id, 0.2);
            self.judge.0.borrow_mut().expect_refusals(id);
        }
        self.publishers.push(Publishing {
            id,
            source: config.source,
            lengths: Lengths::of(config),
            streams: names.into_iter().map(|name| (name, 0)).collect(),
            alive: true,
            events: Vec::new(),
        });
    }

    fn subscribe(&mut self, from_the_start: bool, weather: Link) {
        let number = 1 + self.subscribers.len() as u64 * 77;
        let wanted = draw::subscriber(&mut self.random, number);
        let up = draw::link(&mut self.random, weather);
        let down = draw::link(&mut self.random, weather);
        let branch = (!self.branches.is_empty() && self.random.bool())
            .then(|| self.branches[self.random.usize(..self.branches.len())]);
        let id = match branch {
            Some(branch) => self.network.add_subscriber_at(branch, wanted.config, up, down),
            None => self.network.add_subscriber(wanted.config, up, down),
        };
        // The judge sees all that is told.
        self.network.keep_told(id, false);
        self.subscribers.push(Subscribing {
            id,
            pattern: wanted.pattern,
            branch,
            from_the_start,
            alive: true,
            stalled: false,
        });
    }

    /// Messages are published while the network does its worst.
    fn live(&mut self) {
        let rounds = self.random.usize(20..100);
        let burst = self.random.u64(1..=25);
        let disasters = if self.random.bool() { self.random.u8(1..=5) } else { 0 };
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
            self.network.run_for(Duration::from_micros(pause));
            if disasters > 0 && round > 3 && self.random.usize(..rounds) < usize::from(disasters) {
                self.disaster();
            }
        }
    }

    /// A publisher with a long history, and a late receiver that asks for all of it over a link that loses most.
    fn glutton(&mut self) {
        for _ in 0..60 {
            self.publish(0, 40);
            self.network.run_for(Duration::from_millis(1));
        }
        let weather = Link { loss: 0.6, ..Link::default() };
        self.subscribe(false, weather);
        self.subscribe(false, weather);
        self.with_traffic(Duration::from_millis(400));
        // Their ways are mended, and their budgets fill.
        for place in self.subscribers.iter().map(|subscriber| subscriber.id).collect::<Vec<_>>() {
            let (up, down) = self.network.links(place);
            (*up, *down) = (up.healed(), down.healed());
        }
        self.with_traffic(Duration::from_secs(4));
    }

    fn publish(&mut self, at: usize, count: u64) {
        let publisher = &mut self.publishers[at];
        let room = 50_u64.saturating_sub(self.network.waiting(publisher.id) as u64);
        for _ in 0..count.min(room) {
            let stream = self.random.usize(..publisher.streams.len());
            let (_, number) = &mut publisher.streams[stream];
            *number += 1;
            let of = (publisher.source, stream as u32 + 1);
            self.network.publish(publisher.id, of.1, payload(of, *number, publisher.lengths));
        }
    }

    fn with_traffic(&mut self, time: Duration) {
        for _ in 0..10 {
            for at in 0..self.publishers.len() {
                if self.publishers[at].alive {
                    let count = self.random.u64(..15);
                    self.publish(at, count);
                }
            }
            self.network.run_for(time / 10);
        }
    }

    fn disaster(&mut self) {
        let alive: Vec<usize> =
            (0..self.subscribers.len()).filter(|&at| self.subscribers[at].alive).collect();
        let one = alive[self.random.usize(..alive.len())];
        let id = self.subscribers[one].id;
        match self.random.u8(..13) {
            0 => self.restart(),
            1 | 2 => {
                self.count("late joins");
                let weather = self.weather;
                self.subscribe(false, weather);
            }
            3 if alive.len() > 1 => {
                self.count("leaves");
                let leave = self.random.bool();
                self.subscribers[one].alive = false;
                self.network.remove_subscriber(id, leave);
            }
            // One stalls; longer than the patience, or not.
            4 | 5 => {
                self.count("stalls");
                self.subscribers[one].stalled = true;
                self.judge.0.borrow_mut().excused.insert(id);
                self.network.pause(id);
                let stall = micros(&mut self.random, 1_000, 1_500_000);
                self.with_traffic(stall);
                self.network.resume(id);
            }
            // An application takes its time.
            6 | 7 => {
                self.count("slow consumers");
                let pace = micros(&mut self.random, 5, 2_000);
                self.judge.0.borrow_mut().excused.insert(id);
                self.network.set_pace(id, pace);
                let time = micros(&mut self.random, 1_000, 500_000);
                let until = self.network.now() + time;
                self.later(until, move |network| network.set_pace(id, Duration::ZERO));
            }
            8 => self.cut(Place::from(id), &[one]),
            9 if !self.branches.is_empty() => {
                let branch = self.branches[self.random.usize(..self.branches.len())];
                let on_it: Vec<usize> = (0..self.subscribers.len())
                    .filter(|&at| self.subscribers[at].branch == Some(branch))
                    .collect();
                self.cut(Place::from(branch), &on_it);
            }
            10 => {
                let at = self.random.usize(..self.publishers.len());
                let all: Vec<usize> = (0..self.subscribers.len()).collect();
                self.cut(Place::from(self.publishers[at].id), &all);
            }
            // A way is too narrow for full datagrams, for a while.
            11 => {
                self.count("narrow ways");
                let mtu = self.random.usize(100..self.config.datagram);
                self.network.links(id).1.mtu = Some(mtu);
                let until = self.network.now() + micros(&mut self.random, 1_000, 300_000);
                self.later(until, move |network| network.links(id).1.mtu = None);
            }
            // The weather changes, at once or in a while.
            _ => {
                self.count("changes of weather");
                let weather = draw::weather(&mut self.random, self.config.datagram);
                let at = self.network.now() + micros(&mut self.random, 0, 20_000);
                self.later(at, move |network| {
                    let (up, down) = network.links(id);
                    *up = Link { delay: up.delay, cut: up.cut, mtu: up.mtu, ..weather };
                    *down = Link { delay: down.delay, cut: down.cut, mtu: down.mtu, ..weather };
                });
            }
        }
    }

    fn later(&mut self, at: Time, act: impl FnOnce(&mut Network) + 'static) {
        self.faults_until = self.faults_until.max(at);
        self.network.at(at, act);
    }

    /// A publisher dies and starts anew, at the same address or another.
    fn restart(&mut self) {
        let at = self.random.usize(..self.publishers.len());
        if !self.publishers[at].alive {
            return;
        }
        self.count("restarts");
        self.publishers[at].alive = false;
        let killed = self.publishers[at].id;
        let config = self.publisher_config();
        let id = if self.random.bool() {
            self.network.restart_publisher(killed, config.clone())
        } else {
            self.network.kill_publisher(killed);
            let (up, down) = (self.sound_link(), self.link());
            self.network.add_publisher(config.clone(), up, down)
        };
        self.publishing(id, &config);
    }

    /// A partition: a place is cut off, and heals by itself.
    fn cut(&mut self, place: Place, who: &[usize]) {
        self.count("partitions");
        for &at in who {
            self.subscribers[at].stalled = true;
        }
        let set = move |network: &mut Network, cut| {
            let (up, down) = network.links(place);
            (up.cut, down.cut) = (cut, cut);
        };
        let longest = if self.random.bool() { 400_000 } else { 4_000_000 };
        let time = micros(&mut self.random, 1_000, longest);
        set(&mut self.network, true);
        let until = self.network.now() + time;
        self.later(until, move |network| set(network, false));
        self.with_traffic(time);
    }

    /// The faults stop, the streams are closed: everything that is in a window arrives, and every stream ends.
    fn finish(&mut self) {
        self.network.run_until(self.faults_until);
        self.network.heal();
        // What was not taken yet is: a blocking `send` would still wait.
        for _ in 0..3_000 {
            if self.publishers.iter().all(|publisher| self.network.waiting(publisher.id) == 0) {
                break;
            }
            self.network.run_for(Duration::from_millis(10));
        }
        let living: Vec<usize> = (0..self.publishers.len()).filter(|&at| self.publishers[at].alive).collect();
        for &at in &living {
            let id = self.publishers[at].id;
            assert_eq!(self.network.waiting(id), 0, "a publisher takes its messages in the end");
            for stream in 1..=self.publishers[at].streams.len() as u32 {
                self.network.with_publisher(id, |core, now| core.close_stream(stream, now));
            }
        }
        // At a hundred datagrams a second, repairs take their time.
        let rounds = if self.config.max_rate.is_some() { 20_000 } else { 2_000 };
        for _ in 0..rounds {
            self.network.run_for(Duration::from_millis(10));
            if self.unfinished().is_none() {
                break;
            }
        }
        if let Some(what) = self.unfinished() {
            panic!("not finished when it should be: {what}");
        }
        for publisher in &mut self.publishers {
            let events =
                |core: &mut publisher::Publisher, _| std::iter::from_fn(|| core.poll_event()).collect();
            publisher.events = self.network.with_publisher(publisher.id, events);
        }
        self.nothing_was_lost_that_could_be_repaired();
        self.what_is_missing_is_asked_for_a_few_times();
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

    /// Completeness: what is left to happen once the faults have stopped, if anything is.
    fn unfinished(&self) -> Option<String> {
        let watch = self.judge.0.borrow();
        for publisher in self.publishers.iter().filter(|publisher| publisher.alive) {
            let core = self.network.publisher(publisher.id);
            for stream in 1..=publisher.streams.len() as u32 {
                if !core.is_complete(stream) {
                    let laggards = core.laggards(stream);
                    return Some(format!("source {} stream {stream}: {laggards:?}", publisher.source));
                }
            }
        }
        for subscriber in self.subscribers.iter().filter(|subscriber| subscriber.alive) {
            let (id, seen) = (subscriber.id, &watch.listeners[&subscriber.id].seen);
            let dead = |source| self.publishers.iter().any(|p| !p.alive && p.source == source);
            if let Some((up, _)) = seen.iter().find(|((source, _), seen)| seen.up && dead(*source)) {
                return Some(format!("{id} waits for the end of dead {up:?}"));
            }
            for publisher in self.publishers.iter().filter(|publisher| publisher.alive) {
                for (stream, (name, messages)) in publisher.streams.iter().enumerate() {
                    let of = (publisher.source, stream as u32 + 1);
                    let seen = seen.get(&of);
                    if !topic::matches(subscriber.pattern, name) {
                        assert!(seen.is_none(), "nobody is told of what was not asked for");
                    } else if *messages > 0
                        && !seen.is_some_and(|seen| !seen.up && seen.ended == Some(EndReason::Closed))
                    {
                        return Some(format!("{id} waits for the end of {of:?} ({name})"));
                    }
                }
            }
        }
        None
    }

    /// All that a publisher took was sent. Who was there first gets everything from the first message on. Where the window
    /// was never full nothing is told as aged out, and who asks for what is missing, and was neither stopped nor cut off, lost
    /// nothing at all. And where the slowest is waited for, the window gives nothing up that a receiver in good standing needs.
    fn nothing_was_lost_that_could_be_repaired(&self) {
        let watch = self.judge.0.borrow();
        for publisher in &self.publishers {
            let per_chunk = ((32 << 10) / self.config.datagram).max(1) as u64;
            let chunks = (self.config.window / (per_chunk as usize * self.config.datagram)).max(4) as u64;
            let sent = |stream: usize| watch.wire.0.get(&(publisher.source, stream as u32 + 1));
            // Headroom, which may be left over.
            let ahead = match self.bulk > 0.0 {
                true => (64_u64 + 4).div_ceil(per_chunk),
                false => 0,
            };
            let used: u64 = (0..publisher.streams.len())
                .filter_map(|stream| sent(stream).map(|sent| sent.lead() / per_chunk + 1 + ahead))
                .sum();
            // Of one that died, what it had not sent yet is not known.
            let fits = publisher.alive && used <= chunks;
            for (stream, (_, messages)) in publisher.streams.iter().enumerate() {
                let Some(sent) = sent(stream) else { continue };
                assert!(!publisher.alive || sent.messages() == *messages, "all that was taken was sent");
                for subscriber in &self.subscribers {
                    let listener = &watch.listeners[&subscriber.id];
                    let of = (publisher.source, stream as u32 + 1);
                    let Some(seen) = listener.seen.get(&of) else { continue };
                    let id = subscriber.id;
                    let aged_out = seen.lost.get(GapReason::AgedOut.as_str());
                    assert!(!fits || aged_out.is_none(), "{id} lost {aged_out:?} of {of:?}, which was there");
                    if seen.up || seen.ended != Some(EndReason::Closed) || !subscriber.from_the_start {
                        continue;
                    }
                    assert_eq!(seen.start, 1, "who was there first gets everything");
                    let receiver = self.network.subscriber(id).config().receiver;
                    let waited_for = self.config.flow == Flow::Slowest
                        && subscriber.alive
                        && !subscriber.stalled
                        && watch.was_placed_in_time(of, receiver)
                        && publisher.was_in_good_standing(receiver);
                    assert!(
                        !waited_for || aged_out.is_none(),
                        "{id} was waited for, and lost {aged_out:?} of {of:?}"
                    );
                    let asks = matches!(listener.contract, Contract::Ordered | Contract::Arrival);
                    let strict = fits && asks && !subscriber.stalled && subscriber.alive;
                    // Who has memory for one large message at a time waits for that, but not for ever.
                    let overrun = seen.lost.get(GapReason::Overrun.as_str()).filter(|_| listener.short);
                    let lost = seen.lost() - overrun.copied().unwrap_or_default();
                    assert!(!strict || lost == 0, "{id} lost {:?} of {of:?}", seen.lost);
                }
            }
        }
    }

    /// At most so many NAKs for a loss, on average: as often as a loss both ways may need, unless repairs wait for the rate; or
    /// can never come, on a way that is too narrow for them.
    fn what_is_missing_is_asked_for_a_few_times(&self) {
        if self.counts.contains_key("narrow ways") {
            return;
        }
        let (mut asked, mut missed) = (0, 0);
        for subscriber in &self.subscribers {
            let stats = self.network.subscriber(subscriber.id).stats();
            asked += stats.nak_datagrams;
            missed += stats.missed + stats.overruns;
        }
        let most = match self.config.max_rate {
            // Where a link's own queue is full, what was asked for is dropped there again and again.
            None => 40,
            Some(rate) if rate > 100 * self.config.datagram as u64 * 8 => 60,
            Some(_) => 200,
        };
        assert!(asked <= most * (missed + 20), "{asked} datagrams asked for, {missed} were missed");
    }

    fn outcome(mut self) -> Outcome {
        let mut counts = std::mem::take(&mut self.counts);
        let mut add = |what, count| *counts.entry(what).or_default() += count;
        for publisher in &self.publishers {
            let stats = self.network.publisher(publisher.id).stats();
            add("datagrams", stats.datagrams);
            add("runs in bulk", self.network.bulk_runs(publisher.id));
            add("repairs", stats.repairs);
            add("gone", stats.nak_gone);
            add("fallen behind", stats.fell_behind);
            add("quarantined", stats.quarantined);
            for event in &publisher.events {
                match event {
                    PublisherEvent::CaughtUp { .. } => add("caught up", 1),
                    PublisherEvent::Released { .. } => add("released", 1),
                    _ => {}
                }
            }
        }
        for subscriber in &self.subscribers {
            let stats = self.network.subscriber(subscriber.id).stats();
            add("missed", stats.missed);
            add("NAKs", stats.naks);
            add("overruns", stats.overruns);
            add("kernel drops", stats.kernel_drops);
            add("reordered", stats.reordered);
            add("damaged", stats.rejected.iter().sum());
            let watch = self.judge.0.borrow();
            for seen in watch.listeners[&subscriber.id].seen.values() {
                match seen.ended {
                    Some(EndReason::Closed) => add("closed", 1),
                    Some(EndReason::Silent) => add("silent", 1),
                    Some(EndReason::Replaced) => add("replaced", 1),
                    _ => {}
                }
            }
        }
        let watch = self.judge.0.borrow();
        add("messages told", watch.messages);
        add("held back by a receiver", watch.refused_by_receiver);
        for (&reason, &count) in &watch.gaps {
            add(reason, count);
        }
        drop(watch);
        Outcome { fingerprint: self.network.fingerprint(), counts }
    }
}
