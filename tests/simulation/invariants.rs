//! What must hold at every step of every run, whatever the network does. Each invariant stands here once, in words, above its
//! check; the checks see the datagrams, time-outs and events of the simulated network and the state machines' public
//! counters, and know nothing of their insides.

use super::draw::REASSEMBLY;
use super::published::{Lengths, Sent, StreamOf, Wire, payload};
use super::punctual::Sending;
use nakcast::protocol::publisher::{BackPressure, Publisher, Refused, START_GRACE};
use nakcast::protocol::subscriber::{Contract, Reason, Subscriber};
use nakcast::protocol::{EndReason, Event, Gap, GapReason, Message, Stream, Time};
use nakcast::sim::{Core, Observer, PublisherId, SubscriberId, Trace, Wake};
use nakcast::wire::{Body, Datagram, Kind, Nak};
use nakcast::{ReceiverId, SourceId};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// Bytes of a chunk of a publisher's window, at least; of a subscriber's buffer. A pool has four at least.
const PUBLISHER_CHUNK: usize = 32 << 10;
const SUBSCRIBER_CHUNK: usize = 64 << 10;
const LEAST_CHUNKS: usize = 4;
/// No NAK is repeated sooner.
const LEAST_RETRY: Duration = Duration::from_micros(200);
/// The idle interval of all publishers here, and the intervals of silence after which a source is gone.
const IDLE: Duration = Duration::from_millis(500);
const SILENT_INTERVALS: u32 = 5;
/// What a node may do at one instant: one that was stopped reads all that its receive buffer held.
const MOST_AT_ONCE: u32 = 10_000;

/// One stream as one subscriber is told of it.
#[derive(Debug, Default)]
pub struct Seen {
    /// The number of the first message that is wanted.
    pub start: u64,
    /// In order: the number of the next one.
    next: u64,
    /// By arrival: those that came.
    came: BTreeSet<u64>,
    pub lost: BTreeMap<&'static str, u64>,
    pub up: bool,
    pub ended: Option<EndReason>,
}

impl Seen {
    pub fn lost(&self) -> u64 {
        self.lost.values().sum()
    }
}

/// One datagram as one subscriber knows of it.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    here: bool,
    came: Time,
    asked: u32,
    asked_first: Time,
    asked_at: Time,
}

/// Watches one subscriber.
#[derive(Debug)]
pub struct Listener {
    pub contract: Contract,
    /// It has memory for one of the longest messages at a time.
    pub short: bool,
    pub seen: BTreeMap<StreamOf, Seen>,
    /// By sequence number less one.
    known: BTreeMap<StreamOf, Vec<Known>>,
    /// When what came of a source last.
    heard: BTreeMap<SourceId, Time>,
    /// Why it was woken last, and when, if nothing came since.
    woken: Option<(Time, Wake)>,
    naks: InTurn,
    deadlines: InTurn,
    /// Its counters, as of the last datagram.
    datagrams: u64,
    overruns: u64,
    still: Still,
}

/// Watches one publisher.
#[derive(Debug, Default)]
struct Speaker {
    sending: Sending,
    still: Still,
}

/// How much a node did at one instant.
#[derive(Debug, Default)]
struct Still {
    at: Time,
    count: u32,
    woken: Option<Wake>,
    again: u32,
}

/// Everything that is watched.
#[derive(Default)]
pub struct Watch {
    pub wire: Wire,
    pub listeners: BTreeMap<SubscriberId, Listener>,
    lengths: BTreeMap<SourceId, Lengths>,
    speakers: BTreeMap<PublisherId, Speaker>,
    /// When the first datagram of each stream was sent, and when its publisher first heard where each receiver is.
    begun: BTreeMap<StreamOf, Time>,
    placed: BTreeMap<(StreamOf, ReceiverId), Time>,
    /// Subscribers that were stopped or slowed, and keep no time.
    pub excused: BTreeSet<SubscriberId>,
    pub messages: u64,
    /// How often what was seen.
    pub refused_by_receiver: u64,
    pub gaps: BTreeMap<&'static str, u64>,
    trace: Option<Trace<fn(&str)>>,
}

/// The observer that checks.
#[derive(Clone)]
pub struct Judge(pub Rc<RefCell<Watch>>);

impl Judge {
    pub fn new(traced: bool) -> Judge {
        let trace = traced.then(|| Trace::new((|line: &str| eprintln!("{line}")) as fn(&str)));
        Judge(Rc::new(RefCell::new(Watch { trace, ..Watch::default() })))
    }
}

impl Observer for Judge {
    fn sent(&mut self, now: Time, by: Core<'_>, to: Option<SocketAddr>, bytes: &[u8]) {
        let mut watch = self.0.borrow_mut();
        if let Some(trace) = &mut watch.trace {
            trace.sent(now, by, to, bytes);
        }
        let datagram = Datagram::parse(bytes).expect("what is sent is sound");
        match by {
            Core::Publisher(id, core) => {
                watch.wire.see(&datagram);
                if datagram.header.kind == Kind::Data {
                    watch.begun.entry((datagram.header.source, datagram.header.stream)).or_insert(now);
                }
                if let Some(speaker) = watch.speakers.get_mut(&id) {
                    speaker.sending.sent(now, id, core, &datagram, bytes.len());
                }
            }
            Core::Subscriber(id, _) => {
                let stream = (datagram.header.source, datagram.header.stream);
                if let Body::Nak(nak) = datagram.body().expect("what is sent is sound") {
                    watch.naks_ask_for_what_is_missing(now, id, stream, nak);
                }
            }
        }
    }

    fn received(&mut self, now: Time, by: Core<'_>, _: SocketAddr, bytes: &[u8]) {
        let mut watch = self.0.borrow_mut();
        match by {
            Core::Subscriber(id, core) => watch.take_in(now, id, core, bytes),
            Core::Publisher(_, core) => watch.hear_from(now, core.config().source, bytes),
        }
    }

    fn woken(&mut self, now: Time, who: Core<'_>, reason: Wake) {
        let mut watch = self.0.borrow_mut();
        if let Some(trace) = &mut watch.trace {
            trace.woken(now, who, reason);
        }
        watch.time_outs_have_a_reason(now, who, reason);
    }

    fn told(&mut self, now: Time, who: SubscriberId, event: &Event<'_>) {
        let mut watch = self.0.borrow_mut();
        if let Some(trace) = &mut watch.trace {
            trace.told(now, who, event);
        }
        watch.told(now, who, event);
    }

    fn refused(&mut self, _: Time, _: PublisherId, core: &Publisher, why: Refused) {
        if let Refused::BackPressured { by } = why {
            self.0.borrow_mut().nobody_waits_for_the_quarantined(core, by);
        }
    }

    fn settled(&mut self, now: Time, who: Core<'_>, next: Option<(Time, Wake)>) {
        let mut watch = self.0.borrow_mut();
        match who {
            Core::Publisher(id, core) => {
                watch.lengths.entry(core.config().source).or_insert_with(|| Lengths::of(core.config()));
                let speaker = watch.speakers.entry(id).or_default();
                speaker.sending.the_last_is_shown_in_time(now, id, core);
            }
            Core::Subscriber(id, core) => {
                watch.listeners.entry(id).or_insert_with(|| Listener {
                    contract: core.config().contract,
                    short: core.config().reassembly < REASSEMBLY,
                    seen: BTreeMap::new(),
                    known: BTreeMap::new(),
                    heard: BTreeMap::new(),
                    woken: None,
                    naks: InTurn::default(),
                    deadlines: InTurn::default(),
                    datagrams: 0,
                    overruns: 0,
                    still: Still::default(),
                });
            }
        }
        memory_is_within_its_bound(who);
        watch.time_goes_on(now, who, next);
    }
}

impl Watch {
    /// A publisher's socket will refuse some of what is sent.
    pub fn expect_refusals(&mut self, id: PublisherId) {
        self.speakers.entry(id).or_default().sending.refused = true;
    }

    /// Has the checks believe that everything has come, to see them fail.
    pub fn lie_that_all_is_here(&mut self) {
        for listener in self.listeners.values_mut() {
            for (&stream, sent) in &self.wire.0 {
                for sequence in 1..=sent.lead() {
                    known(listener, stream, sequence).here = true;
                }
            }
        }
    }

    /// Has the checks believe in another contract, to see them fail.
    pub fn lie_of_contract(&mut self, contract: Contract) {
        self.listeners.values_mut().for_each(|listener| listener.contract = contract);
    }

    fn told(&mut self, now: Time, who: SubscriberId, event: &Event<'_>) {
        let listener = self.listeners.get_mut(&who).expect("a subscriber settles before it is told anything");
        let contract = listener.contract;
        let stream = match event {
            Event::Message(message) => (message.source(), message.stream_id()),
            Event::Gap(gap) => (gap.source(), gap.stream_id()),
            Event::StreamUp(stream) | Event::StreamEnd(stream) => (stream.source(), stream.stream_id()),
            _ => unreachable!("an event nobody thought of"),
        };
        let is_new = !listener.seen.contains_key(&stream);
        let seen = listener.seen.entry(stream).or_default();
        let sent = self.wire.0.get(&stream).expect("nobody is told of a stream that sent nothing");
        match event {
            Event::StreamUp(up) => streams_come_up_where_they_were(contract, seen, is_new, sent, up),
            Event::Message(message) => {
                self.messages += 1;
                messages_come_in_order_and_once(contract, seen, sent, message);
                bytes_are_those_published(stream, self.lengths[&stream.0], message);
                let known =
                    listener.known.get(&stream).and_then(|known| known.get(message.sequence() as usize - 1));
                if let Some(known) = known.filter(|known| known.here && !self.excused.contains(&who))
                    && listener.overruns == 0
                {
                    deadlines_are_kept(contract, now.since(known.came), message);
                }
            }
            Event::Gap(gap) => {
                *self.gaps.entry(gap.reason().as_str()).or_default() += 1;
                let known = listener.known.get(&stream).map_or(&[][..], |known| known);
                gaps_are_real(contract, seen, sent, known, gap);
                if gap.reason() == GapReason::Deadline && !self.excused.contains(&who) {
                    // NAKs may well fall on the same instants, all through a run.
                    let reasons = [Reason::Deadline, Reason::Nak];
                    listener.deadlines.check(now, who, listener.woken, &reasons);
                }
            }
            Event::StreamEnd(end) => {
                no_gap_is_silent(contract, seen, sent, end);
                if end.end_reason() == Some(EndReason::Silent) {
                    let silence = now.since(listener.heard.get(&stream.0).copied().unwrap_or(Time(0)));
                    silence_is_found_in_time(silence, listener.short, self.excused.contains(&who));
                }
            }
            _ => unreachable!("an event nobody thought of"),
        }
    }

    /// Keeps account of whose place in which stream a publisher knows.
    fn hear_from(&mut self, now: Time, source: SourceId, bytes: &[u8]) {
        let Ok(datagram) = Datagram::parse(bytes) else { return };
        if let Ok(Body::Status(status)) = datagram.body() {
            for position in status.positions() {
                self.placed.entry(((source, position.stream), status.receiver)).or_insert(now);
            }
        }
    }

    /// Whether a publisher knew a receiver's place before it gave up anything for want of knowing.
    pub fn was_placed_in_time(&self, stream: StreamOf, receiver: ReceiverId) -> bool {
        let placed = self.placed.get(&(stream, receiver)).zip(self.begun.get(&stream));
        placed.is_some_and(|(&placed, &begun)| placed < begun + START_GRACE)
    }

    /// Keeps account of which datagrams a subscriber has taken.
    fn take_in(&mut self, now: Time, who: SubscriberId, core: &Subscriber, bytes: &[u8]) {
        let Some(listener) = self.listeners.get_mut(&who) else { return };
        listener.woken = None;
        let Ok(datagram) = Datagram::parse(bytes) else { return };
        listener.heard.insert(datagram.header.source, now);
        if !matches!(datagram.header.kind, Kind::Data | Kind::Repair) {
            return;
        }
        let stats = core.stats();
        if stats.overruns > listener.overruns {
            // It had no memory for some of it, and says so: it may ask again, for whichever that was.
            listener.overruns = stats.overruns;
            listener.known.clear();
        }
        if stats.datagrams > listener.datagrams {
            listener.datagrams = stats.datagrams;
            let stream = (datagram.header.source, datagram.header.stream);
            let known = known(listener, stream, datagram.header.sequence);
            (known.here, known.came) = (true, now);
        }
    }

    /// No NAK for what was received: a subscriber never asks for a datagram that it has taken, unless it says that it had to
    /// drop some for want of memory.
    ///
    /// At most so many NAKs for a loss: one receiver asks for the same datagram no sooner than 200 us after it did, and, as the
    /// wait is doubled twice, no more often than eight times and once more for every 800 us since the first; a best-effort one
    /// never asks. (How often on average is checked when a run is over.)
    fn naks_ask_for_what_is_missing(&mut self, now: Time, who: SubscriberId, stream: StreamOf, nak: Nak<'_>) {
        let lead = self.wire.0.get(&stream).map_or(0, Sent::lead);
        let Some(listener) = self.listeners.get_mut(&who) else { return };
        if nak.ranges().next().is_some() && !self.excused.contains(&who) {
            // A deadline or a name that passes lets others be asked for.
            let reasons = [Reason::Nak, Reason::Transmit, Reason::Deadline, Reason::Name];
            listener.naks.check(now, who, listener.woken, &reasons);
        }
        for sequence in nak.ranges().flat_map(|range| range.first..=range.last()) {
            assert!(listener.contract != Contract::BestEffort, "{who} asks, though best effort");
            assert!(sequence <= lead, "{who} asks for {stream:?} {sequence}, which was never sent");
            let known = known(listener, stream, sequence);
            assert!(!known.here, "{who} asks for {stream:?} {sequence}, which it has");
            let since = now.since(known.asked_at);
            assert!(
                known.asked == 0 || since >= LEAST_RETRY,
                "{who} asks for {stream:?} {sequence} again after {since:?}"
            );
            if known.asked == 0 {
                known.asked_first = now;
            }
            (known.asked, known.asked_at) = (known.asked + 1, now);
            let long = now.since(known.asked_first);
            let most = 8 + long.as_nanos() / (LEAST_RETRY * 4).as_nanos();
            let asked = u128::from(known.asked);
            assert!(asked <= most, "{who} asks for {stream:?} {sequence} {asked} times in {long:?}");
        }
    }

    /// A quarantined receiver never slows another: no message is held back for one.
    fn nobody_waits_for_the_quarantined(&mut self, core: &Publisher, by: BackPressure) {
        let BackPressure::Receiver(receiver) = by else { return };
        self.refused_by_receiver += 1;
        let state = core.receivers().into_iter().find(|state| state.id == receiver);
        let state = state.expect("only a receiver that is known is waited for");
        assert!(!state.quarantined, "{receiver} is quarantined, and waited for");
    }

    /// Every time-out names its reason, and handling it is an answer: the node does not ask for the same at the same instant
    /// more than twice.
    fn time_outs_have_a_reason(&mut self, now: Time, who: Core<'_>, reason: Wake) {
        let fits = matches!(
            (who, reason),
            (Core::Publisher(..), Wake::Publisher(_)) | (Core::Subscriber(..), Wake::Subscriber(_))
        );
        assert!(fits, "{} is woken for {reason:?}", who.name());
        let still = self.still(now, who);
        still.again = if still.woken == Some(reason) { still.again + 1 } else { 1 };
        still.woken = Some(reason);
        assert!(still.again <= 2, "{} is woken {} times for {reason:?}", who.name(), still.again);
        if let Core::Subscriber(id, _) = who
            && let Some(listener) = self.listeners.get_mut(&id)
        {
            listener.woken = Some((now, reason));
        }
    }

    /// Virtual time never stands still with work to do: a node acts a bounded number of times at one instant; what it waits
    /// for is not past; a publisher always has a time-out, within its idle interval; and a subscriber that has a stream has
    /// one within the time after which the stream's source would be silent.
    fn time_goes_on(&mut self, now: Time, who: Core<'_>, next: Option<(Time, Wake)>) {
        let still = self.still(now, who);
        still.count += 1;
        assert!(still.count <= MOST_AT_ONCE, "{} acts {} times at one instant", who.name(), still.count);
        assert!(next.is_none_or(|(at, _)| at >= now), "{} has a time-out that is past", who.name());
        let latest = match who {
            Core::Publisher(_, core) => Some(core.config().idle_interval),
            Core::Subscriber(id, _) => {
                let listening = self.listeners[&id].seen.values().any(|seen| seen.up);
                listening.then_some(IDLE * SILENT_INTERVALS)
            }
        };
        if let Some(latest) = latest {
            let soon = next.is_some_and(|(at, _)| at <= now + latest);
            assert!(soon, "{} waits for {next:?}, and no sooner", who.name());
        }
    }

    fn still(&mut self, now: Time, who: Core<'_>) -> &mut Still {
        let still = match who {
            Core::Publisher(id, _) => self.speakers.get_mut(&id).map(|speaker| &mut speaker.still),
            Core::Subscriber(id, _) => self.listeners.get_mut(&id).map(|listener| &mut listener.still),
        };
        let still = still.expect("a node settles first of all");
        if still.at != now {
            *still = Still { at: now, ..Still::default() };
        }
        still
    }
}

fn known(listener: &mut Listener, stream: StreamOf, sequence: u64) -> &mut Known {
    let known = listener.known.entry(stream).or_default();
    let index = sequence as usize - 1;
    if known.len() <= index {
        known.resize(index + 1, Known::default());
    }
    &mut known[index]
}

fn in_order(contract: Contract) -> bool {
    contract != Contract::Arrival
}

/// A stream comes up once, at the start of a message; only one that was silent, or seemed to be replaced, comes up again, and
/// goes on where it was.
fn streams_come_up_where_they_were(
    contract: Contract,
    seen: &mut Seen,
    is_new: bool,
    sent: &Sent,
    up: &Stream<'_>,
) {
    assert!(!seen.up, "a stream comes up once");
    seen.up = true;
    let starts = sent.starts(up.sequence());
    if is_new {
        (seen.start, seen.next) = (starts, starts);
    } else {
        let taken_back = matches!(seen.ended, Some(EndReason::Silent | EndReason::Replaced));
        assert!(taken_back, "{:?} is not taken back", seen.ended);
        assert!(!in_order(contract) || seen.next == starts, "a stream goes on where it was");
    }
}

/// In order: the number of each message is one more than that of the one before, or than what a gap named since; so none is
/// left out in silence. By arrival the order is free.
///
/// Once: no message comes twice; in order that follows from the numbers, by arrival each is remembered.
fn messages_come_in_order_and_once(contract: Contract, seen: &mut Seen, sent: &Sent, message: &Message<'_>) {
    let number = message.number();
    assert!(seen.up, "a message of a stream that is up");
    assert!(number < sent.behind(message.sequence()), "a message was in the datagram it names");
    if in_order(contract) {
        assert_eq!(number, seen.next, "messages come in order, and none is left out in silence");
    } else {
        assert!(number >= seen.start, "nothing from before the start");
        assert!(seen.came.insert(number), "message {number} came twice");
    }
    seen.next = number + 1;
}

/// Delivered bytes equal published bytes.
fn bytes_are_those_published(stream: StreamOf, lengths: Lengths, message: &Message<'_>) {
    let published = payload(stream, message.number(), lengths);
    assert!(
        message.payload() == published,
        "message {} of {stream:?} is what was published",
        message.number()
    );
}

/// Deadlines are kept: under the contract with a deadline no message is told later than that after all of it was here, unless
/// the subscriber was stopped or had to drop something for want of memory.
fn deadlines_are_kept(contract: Contract, held: Duration, message: &Message<'_>) {
    let Contract::Deadline(deadline) = contract else { return };
    assert!(held <= deadline, "message {} was held for {held:?}, not {deadline:?}", message.number());
}

/// No event without a real gap: of every message that a gap names, a datagram is missing that the subscriber never took (in
/// order; by arrival a gap names datagrams, and of one message in them at least), or that was never sent, for the source was
/// gone; unless it was dropped for want of memory.
/// The gap counts exactly what is missing up to its last datagram. Its reason is one the contract has: a deadline only where
/// there is one, not asked only where nothing is asked for; and aged out only if the publisher has said so.
fn gaps_are_real(contract: Contract, seen: &mut Seen, sent: &Sent, known: &[Known], gap: &Gap<'_>) {
    assert!(seen.up, "a gap of a stream that is up");
    assert!(gap.messages() > 0 && gap.first() <= gap.last(), "a gap is never empty");
    let reason = gap.reason();
    match reason {
        GapReason::Deadline => assert!(matches!(contract, Contract::Deadline(_)), "{gap}"),
        GapReason::NotAsked => assert_eq!(contract, Contract::BestEffort, "{gap}"),
        GapReason::AgedOut => {
            let gone = sent.gone_to;
            assert!(gap.first() <= gone, "{gap}: only what is before {gone} is gone");
        }
        GapReason::Contradiction => panic!("no publisher contradicts itself: {gap}"),
        _ => {}
    }
    *seen.lost.entry(reason.as_str()).or_default() += gap.messages();
    let here = |sequence: u64| known.get(sequence as usize - 1).is_some_and(|known| known.here);
    if in_order(contract) {
        let lost = seen.next..seen.next + gap.messages();
        seen.next = lost.end;
        assert_eq!(seen.next, sent.behind(gap.last()), "a gap counts what is missing, and is no guess");
        if reason != GapReason::Overrun {
            for message in lost {
                assert!(!sent.is_whole(message, here), "all of message {message} is here, and yet: {gap}");
            }
        }
    } else if reason != GapReason::Overrun {
        let (first, last) = (gap.first() as usize - 1, gap.last() as usize - 1);
        let mut messages = sent.datagrams[first].first..sent.datagrams[last].after;
        let partly = messages.any(|message| !sent.is_whole(message, here));
        assert!(partly, "all of it is here, and yet: {gap}");
    }
}

/// No gap without its event: when a stream ends, everything from where the subscription began to where the stream ended was
/// delivered or told as a gap; and a closed stream ends behind its last datagram.
fn no_gap_is_silent(contract: Contract, seen: &mut Seen, sent: &Sent, end: &Stream<'_>) {
    assert!(seen.up, "a stream that is up ends");
    seen.up = false;
    seen.ended = end.end_reason();
    let next = sent.starts(end.sequence());
    if in_order(contract) {
        assert_eq!(seen.next, next, "everything up to the end was told");
    } else {
        let told = seen.came.len() as u64 + seen.lost();
        assert_eq!(told, next - seen.start, "everything up to the end was told: {seen:?}");
    }
    if end.end_reason() == Some(EndReason::Closed) {
        assert_eq!(end.sequence(), sent.lead() + 1, "a closed stream ends behind its last datagram");
    }
}

/// What is done because something came or its own time-out has; and how often it was not.
#[derive(Debug, Default)]
struct InTurn {
    done: u64,
    out_of_turn: u64,
    /// The last instant at which it was.
    at: Time,
}

impl InTurn {
    /// Every time-out names its reason: what a subscriber does in its time (a NAK, a gap for a deadline) it does when something
    /// came or at a time-out that named it, and not merely because it was awake for something else. Two that fall together
    /// have one name: that may be so three times, and once in ten. What is done at one instant counts once.
    fn check(&mut self, now: Time, who: SubscriberId, woken: Option<(Time, Wake)>, reasons: &[Reason]) {
        if self.at == now {
            return;
        }
        self.at = now;
        self.done += 1;
        let Some((at, Wake::Subscriber(reason))) = woken else { return };
        if at == now && !reasons.contains(&reason) {
            self.out_of_turn += 1;
            let InTurn { done, out_of_turn, .. } = *self;
            let what =
                format!("{who} did {out_of_turn} of {done} at time-outs for {reason:?}, not {reasons:?}");
            assert!(out_of_turn <= 3 + done / 10, "{what}");
        }
    }
}

/// Every time-out names its reason, silence: a source is told as silent when nothing was heard of it for five of its idle
/// intervals, and neither before nor later, unless the subscriber was stopped meanwhile. What is here of it is delivered first, for which one
/// that is `short` of memory may wait for half a second.
fn silence_is_found_in_time(silence: Duration, short: bool, excused: bool) {
    let least = IDLE * SILENT_INTERVALS;
    let most = least + Duration::from_millis(if short { 501 } else { 1 });
    assert!(silence >= least, "a source is told as silent after {silence:?}");
    assert!(excused || silence <= most, "silence is told after {silence:?}");
}

/// Memory is within the configured bound on both sides: the transmit window, the reorder buffer and the memory for messages
/// in parts use no more than they were given, or the four chunks that are the least.
fn memory_is_within_its_bound(who: Core<'_>) {
    match who {
        Core::Publisher(id, core) => {
            let chunk = PUBLISHER_CHUNK.max(core.config().datagram);
            let most = core.config().window.max(LEAST_CHUNKS * chunk);
            assert!(core.memory_in_use() <= most, "{id} uses {} of {most} bytes", core.memory_in_use());
        }
        Core::Subscriber(id, core) => {
            let (kept, parts) = core.memory_in_use();
            let most = core.config().reorder.max(LEAST_CHUNKS * SUBSCRIBER_CHUNK);
            assert!(kept <= most, "{id} keeps {kept} bytes, of {most}");
            let most = core.config().reassembly;
            assert!(parts <= most, "{id} has {parts} bytes of messages in parts, of {most}");
        }
    }
}
