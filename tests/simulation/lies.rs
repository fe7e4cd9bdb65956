//! The checks are checked: each invariant is broken on purpose, in what the judge is shown of a run that is sound, and must be
//! found broken. What a lie is about is said in the words of the check that finds it.

use super::invariants::{Judge, Watch};
use super::published::payload;
use nakcast::protocol::Time;
use nakcast::protocol::publisher::{self, BackPressure, Publisher, Refused};
use nakcast::protocol::subscriber::{self, Contract};
use nakcast::sim::{Core, Link, Network, Observer, PublisherId, SubscriberId, Wake};
use nakcast::wire::{Datagram, Kind};
use nakcast::{Event, ReceiverId, SourceId};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// What is said that is not so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    /// A message is left out.
    LeaveOut,
    /// A message is told twice.
    Twice,
    /// A subscriber by arrival is one in order.
    InOrder,
    /// A gap is left out.
    Silence,
    /// A gap is told twice.
    TwoGaps,
    /// Everything that was sent has come, and yet there is a gap.
    NoRealGap,
    /// Everything that was sent has come, and yet it is asked for.
    NothingToAsk,
    /// A NAK is sent twice.
    NakTwice,
    /// A best-effort subscriber asks.
    Asks,
    /// A repair is sent fifteen hundred times, as fast as the rate allows.
    Repairs,
    /// The same, all at once.
    Rate,
    /// A datagram is left out.
    Unsent,
    /// Heartbeats and the end are left out.
    Unshown,
    /// A message is told later than it was.
    Late,
    /// Somebody waits for the receiver that is quarantined.
    Quarantined,
    /// A node is woken for the same again.
    Again,
    /// A node is woken for another's reason.
    OthersReason,
    /// A subscriber waits for nothing.
    Asleep,
    /// A time-out is past.
    Past,
    /// A node acts on and on.
    Busy,
    /// Messages are other than they were published.
    Bytes,
}

struct Liar {
    judge: Judge,
    lie: Lie,
    /// It is told once, after so many things happened.
    after: u32,
}

impl Liar {
    fn lies(&mut self, lie: Lie) -> bool {
        if self.lie != lie || self.after == 0 {
            return false;
        }
        self.after -= 1;
        self.after == 0
    }

    fn watch(&mut self, change: impl FnOnce(&mut Watch)) {
        change(&mut self.judge.0.borrow_mut());
    }
}

impl Observer for Liar {
    fn sent(&mut self, now: Time, by: Core<'_>, to: Option<SocketAddr>, bytes: &[u8]) {
        let kind = Datagram::parse(bytes).unwrap().header.kind;
        let times = match kind {
            Kind::Data if self.lies(Lie::Unsent) => 0,
            Kind::Nak if self.lies(Lie::NakTwice) => 2,
            Kind::Repair if self.lies(Lie::Repairs) || self.lies(Lie::Rate) => 1_500,
            Kind::Heartbeat | Kind::End if self.lie == Lie::Unshown => 0,
            _ => 1,
        };
        if kind == Kind::Nak && self.lies(Lie::NothingToAsk) {
            self.watch(Watch::lie_that_all_is_here);
        }
        if kind == Kind::Nak && self.lies(Lie::Asks) {
            self.watch(|watch| watch.lie_of_contract(Contract::BestEffort));
        }
        // No faster than the rate, but all of it.
        let apart = if self.lie == Lie::Repairs {
            Duration::from_secs(1) / 1_000 * bytes.len() as u32 / 512
        } else {
            Duration::ZERO
        };
        for time in 0..times {
            self.judge.sent(now + apart * time, by, to, bytes);
        }
    }

    fn received(&mut self, now: Time, by: Core<'_>, from: SocketAddr, bytes: &[u8]) {
        self.judge.received(now, by, from, bytes);
    }

    fn woken(&mut self, now: Time, who: Core<'_>, reason: Wake) {
        let again = if self.lies(Lie::Again) { 3 } else { 1 };
        let reason = if matches!(who, Core::Subscriber(..)) && self.lies(Lie::OthersReason) {
            Wake::Publisher(publisher::Reason::Flush)
        } else {
            reason
        };
        for _ in 0..again {
            self.judge.woken(now, who, reason);
        }
    }

    fn told(&mut self, now: Time, who: SubscriberId, event: &Event<'_>) {
        let times = match event {
            Event::Message(_) if self.lies(Lie::LeaveOut) => 0,
            Event::Message(_) if self.lies(Lie::Twice) => 2,
            Event::Gap(_) if self.lies(Lie::Silence) => 0,
            Event::Gap(_) if self.lies(Lie::TwoGaps) => 2,
            _ => 1,
        };
        let late = matches!(event, Event::Message(_)) && self.lies(Lie::Late);
        let now = if late { now + Duration::from_micros(101) } else { now };
        if matches!(event, Event::Gap(_)) && self.lies(Lie::NoRealGap) {
            self.watch(Watch::lie_that_all_is_here);
        }
        if matches!(event, Event::Message(_)) && self.lies(Lie::InOrder) {
            self.watch(|watch| watch.lie_of_contract(Contract::Ordered));
        }
        for _ in 0..times {
            self.judge.told(now, who, event);
        }
    }

    fn refused(&mut self, now: Time, by: PublisherId, core: &Publisher, why: Refused) {
        self.judge.refused(now, by, core, why);
    }

    fn settled(&mut self, now: Time, who: Core<'_>, next: Option<(Time, Wake)>) {
        let mut next = next;
        let mut times = 1;
        match who {
            Core::Subscriber(..) if self.lies(Lie::Asleep) => next = None,
            Core::Publisher(..) if self.lies(Lie::Past) => {
                next = next.map(|(_, reason)| (Time(now.0 - 1), reason));
            }
            Core::Publisher(..) if self.lies(Lie::Busy) => times = 10_001,
            Core::Publisher(id, core) if self.lie == Lie::Quarantined => {
                if let Some(state) = core.receivers().into_iter().find(|state| state.quarantined) {
                    let why = Refused::BackPressured { by: BackPressure::Receiver(state.id) };
                    self.judge.refused(now, id, core, why);
                }
            }
            _ => {}
        }
        for _ in 0..times {
            self.judge.settled(now, who, next);
        }
    }
}

/// A run of one publisher and one subscriber that is sound, but for what the judge is told of it. Gives what it found.
fn run(contract: Contract, lie: Lie) -> Result<(), String> {
    let mut network = Network::new(3);
    let judge = Judge::new(false);
    network.observe(Liar { judge: judge.clone(), lie, after: 3 });
    let wire = Link::with_delay(Duration::from_micros(50));
    let lossy = Link { loss: 0.2, ..wire };
    let config = subscriber::Config { contract, ..subscriber::Config::new(ReceiverId(1)) };
    let run = AssertUnwindSafe(|| {
        let to = network.add_subscriber(config, wire, lossy);
        let source = SourceId(7);
        let config = publisher::Config {
            datagram: 512,
            window: 512 * 5_000,
            max_message: 4_096,
            max_rate: matches!(lie, Lie::Repairs | Lie::Rate).then_some(512 * 8 * 1_000),
            ..publisher::Config::new(source)
        };
        let lengths = super::published::Lengths::of(&config);
        let id = network.add_publisher(config, wire, wire);
        let stream = network.open_stream(id, "t").unwrap();
        network.run_for(Duration::from_millis(20));
        for number in 1..=300 {
            let mut message = payload((source, stream), number, lengths);
            if lie == Lie::Bytes && number == 200 {
                message.push(1);
            }
            network.publish(id, stream, message);
            network.run_for(Duration::from_micros(500));
        }
        network.run_for(Duration::from_secs(1));
        if lie == Lie::Quarantined {
            // All of the window, over a link that loses most: again and again, until that is too often.
            for number in 301..=2_500 {
                network.publish(id, stream, payload((source, stream), number, lengths));
                network.run_for(Duration::from_micros(200));
            }
            let start = subscriber::StartAt::Window;
            let config = subscriber::Config { start, ..subscriber::Config::new(ReceiverId(2)) };
            network.add_subscriber(config, wire, Link { loss: 0.7, ..wire });
            network.run_for(Duration::from_secs(1));
        }
        network.heal();
        network.with_publisher(id, |core, now| core.close_stream(stream, now));
        network.run_for(Duration::from_secs(2));
        assert!(network.publisher(id).is_complete(stream));
        assert!(!judge.0.borrow().listeners[&to].seen[&(source, stream)].up);
    });
    catch_unwind(run).map_err(|panic| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast::<&str>().map_or_else(|_| "?".into(), |text| (*text).to_string()),
    })
}

#[test]
fn what_is_sound_is_found_sound() {
    for contract in [Contract::Ordered, Contract::Arrival, Contract::BestEffort] {
        assert_eq!(run(contract, Lie::None), Ok(()), "{contract:?}");
    }
}

#[test]
fn every_invariant_is_found_broken_when_it_is() {
    let deadline = Contract::Deadline(Duration::from_micros(100));
    for (contract, lie, found) in [
        (Contract::Arrival, Lie::InOrder, "messages come in order"),
        (Contract::Ordered, Lie::Twice, "messages come in order"),
        (Contract::Arrival, Lie::Twice, "came twice"),
        (Contract::Ordered, Lie::LeaveOut, "none is left out in silence"),
        (Contract::Arrival, Lie::LeaveOut, "everything up to the end was told"),
        (Contract::BestEffort, Lie::Silence, "none is left out in silence"),
        (Contract::BestEffort, Lie::TwoGaps, "a gap counts what is missing"),
        (deadline, Lie::NoRealGap, "is here, and yet"),
        (Contract::BestEffort, Lie::NoRealGap, "is here, and yet"),
        (Contract::Ordered, Lie::Bytes, "is what was published"),
        (Contract::Ordered, Lie::NothingToAsk, "which it has"),
        (Contract::Ordered, Lie::NakTwice, "again after 0ns"),
        (Contract::Ordered, Lie::Asks, "though best effort"),
        (Contract::Ordered, Lie::Unsent, "nobody can know of what was not sent"),
        (Contract::Ordered, Lie::Repairs, "bytes of repairs in"),
        (Contract::Ordered, Lie::Rate, "bytes ahead of its rate"),
        (Contract::Ordered, Lie::Unshown, "has not shown what stream 1 sent last"),
        (deadline, Lie::Late, "was held for 101µs, not 100µs"),
        (Contract::Ordered, Lie::Quarantined, "is quarantined, and waited for"),
        (Contract::Ordered, Lie::Again, "is woken 3 times"),
        (Contract::Ordered, Lie::OthersReason, "is woken for"),
        (Contract::Ordered, Lie::Asleep, "waits for None"),
        (Contract::Ordered, Lie::Past, "a time-out that is past"),
        (Contract::Ordered, Lie::Busy, "times at one instant"),
    ] {
        match run(contract, lie) {
            Ok(()) => panic!("{lie:?} under {contract:?} was not found"),
            Err(what) => assert!(what.contains(found), "{lie:?} under {contract:?}: {what}"),
        }
    }
}
