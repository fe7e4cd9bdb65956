//! What a link does to what crosses it.

use crate::protocol::Time;
use fastrand::Rng;
use std::rc::Rc;
use std::time::Duration;

/// One direction of one link, and its faults. All of them can stand beside each other; the default is a link that takes no
/// time and does no harm.
///
/// Chances are from 0 (never, the default) to 1 (always); a number outside is taken for the nearer of the two. What is
/// random is decided by comparing, adding, multiplying and dividing alone, so that one seed gives the same run on every
/// machine.
///
/// A datagram meets the faults in this order: `cut`, `mtu`, `rate` (it may find the queue full), `loss` and `bursts`,
/// `duplicate`; then each copy for itself `delay`, `jitter`, `reorder`, `corrupt`, `truncate`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Link {
    /// The time every datagram takes. The way there and the way back are two links: they may differ.
    pub delay: Duration,
    /// The most a datagram takes besides: uniform from 0 to this. Datagrams keep their order, as in a queue that others use
    /// too.
    pub jitter: Duration,
    /// Chance that a datagram is lost, whatever became of those before it.
    pub loss: f64,
    /// Losses that come in bursts, besides `loss`.
    pub bursts: Option<Bursts>,
    /// Chance that a datagram comes twice.
    pub duplicate: f64,
    /// Chance that a datagram is held up, so that others may overtake it.
    pub reorder: f64,
    /// The most a datagram that is held up takes besides: uniform from 0 to this.
    pub held_up: Duration,
    /// Chance that one to three bits of a datagram are flipped: as many as a CRC-32 always finds in datagrams of up to some
    /// 11,000 bytes (P. Koopman, "32-Bit Cyclic Redundancy Codes for Internet Applications", DSN 2002).
    pub corrupt: f64,
    /// Chance that a datagram is cut short, anywhere.
    pub truncate: f64,
    /// Datagrams of more bytes than this are dropped, as a router does that may not fragment. Bytes of UDP payload.
    pub mtu: Option<usize>,
    /// As much passes as this says, and what comes faster waits in a queue.
    pub rate: Option<Rate>,
    /// Nothing passes: the link is down.
    pub cut: bool,
}

impl Link {
    /// A link that takes this time, and does no harm.
    pub fn with_delay(delay: Duration) -> Link {
        Link { delay, ..Link::default() }
    }

    /// The same delay, and no harm.
    pub fn healed(&self) -> Link {
        Link::with_delay(self.delay)
    }
}

/// Losses in bursts: the model of Gilbert and Elliott. The link is in a good state or in a bad one, each with a loss of its
/// own, and may change between them before each datagram.
///
/// Sources: E. N. Gilbert, "Capacity of a Burst-Noise Channel", Bell System Technical Journal 39 (1960), pages 1253 to 1265;
/// E. O. Elliott, "Estimates of Error Rates for Codes on Burst-Noise Channels", Bell System Technical Journal 42 (1963),
/// pages 1977 to 1997. Their letters for the parameters are given at each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bursts {
    /// Chance, before each datagram, to go from the good state to the bad one (p).
    pub begin: f64,
    /// Chance, before each datagram, to go from the bad state to the good one (r): a bad state lasts for 1/r datagrams on
    /// average.
    pub end: f64,
    /// Chance that a datagram is lost in the good state (1 - k).
    pub loss_good: f64,
    /// Chance that a datagram is lost in the bad state (1 - h).
    pub loss_bad: f64,
}

impl Bursts {
    /// Bursts in which everything is lost, and nothing between them (Gilbert's simple model: k = 1, h = 0): `loss` of all
    /// datagrams in the long run, `length` datagrams to a burst on average. The link is in its bad state for p / (p + r)
    /// of the time, so r is 1 / `length` and p is r * `loss` / (1 - `loss`).
    ///
    /// `loss` is brought within 0 to 0.99, `length` to at least one datagram. At a high loss and a short length p would
    /// exceed 1: the loss is then what it is for p = 1.
    pub fn of(loss: f64, length: f64) -> Bursts {
        let loss = loss.clamp(0.0, 0.99);
        let end = 1.0 / length.max(1.0);
        Bursts { begin: (end * loss / (1.0 - loss)).min(1.0), end, loss_good: 0.0, loss_bad: 1.0 }
    }
}

/// A limit of what passes, and the queue before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bits a second, of UDP payload; at least 1.
    pub bits_per_second: u64,
    /// Bytes that may wait. A datagram that finds no room is dropped (tail drop); one that finds the queue empty never is.
    pub queue: usize,
}

/// What became of the datagrams that were given to a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkStats {
    /// Given to it.
    pub datagrams: u64,
    /// Lost by chance: alone or in bursts.
    pub lost: u64,
    /// Dropped because the link was down.
    pub cut: u64,
    /// Dropped because they were longer than the MTU.
    pub too_long: u64,
    /// Dropped because the queue was full.
    pub queue_full: u64,
    /// Came twice.
    pub duplicated: u64,
    /// Copies that were held up.
    pub held_up: u64,
    /// Copies with bits flipped or cut short.
    pub spoilt: u64,
}

/// A link at work: its settings, and what it remembers between datagrams.
#[derive(Clone, Debug, Default)]
pub(super) struct Wire {
    pub(super) link: Link,
    pub(super) stats: LinkStats,
    /// In the bad state of its bursts.
    bad: bool,
    /// When its queue will be empty.
    idle_at: Time,
    /// When the last datagram that kept its place came out.
    last_out: Time,
}

/// A copy of a datagram, and when it comes out of a link.
pub(super) type Copied = (Time, Rc<[u8]>);

impl Wire {
    pub(super) fn new(link: Link) -> Wire {
        Wire { link, ..Wire::default() }
    }

    /// The copies of a datagram that come out: none, one or two.
    pub(super) fn carry(&mut self, now: Time, bytes: &Rc<[u8]>, random: &mut Rng) -> [Option<Copied>; 2] {
        self.stats.datagrams += 1;
        if self.link.cut {
            self.stats.cut += 1;
            return [None, None];
        }
        if self.link.mtu.is_some_and(|mtu| bytes.len() > mtu) {
            self.stats.too_long += 1;
            return [None, None];
        }
        let Some(sent) = self.queue(now, bytes.len()) else {
            self.stats.queue_full += 1;
            return [None, None];
        };
        if self.loses(random) {
            self.stats.lost += 1;
            return [None, None];
        }
        let twice = hits(random, self.link.duplicate);
        self.stats.duplicated += u64::from(twice);
        let first = Some(self.pass(sent, bytes, random));
        [first, twice.then(|| self.pass(sent, bytes, random))]
    }

    /// When the last bit of a datagram has left the queue; `None` when there is no room in it.
    fn queue(&mut self, now: Time, length: usize) -> Option<Time> {
        let Some(rate) = self.link.rate else { return Some(now) };
        let bits = u128::from(rate.bits_per_second.max(1));
        const NANOS_PER_BYTE_BIT: u128 = 8_000_000_000;
        let behind = u128::from(self.idle_at.0.saturating_sub(now.0));
        let waiting = behind * bits / NANOS_PER_BYTE_BIT;
        if behind > 0 && waiting + length as u128 > rate.queue as u128 {
            return None;
        }
        let takes = (length as u128 * NANOS_PER_BYTE_BIT).div_ceil(bits);
        self.idle_at = self.idle_at.max(now) + Duration::from_nanos(u64::try_from(takes).unwrap_or(u64::MAX));
        Some(self.idle_at)
    }

    fn loses(&mut self, random: &mut Rng) -> bool {
        let alone = hits(random, self.link.loss);
        let Some(bursts) = self.link.bursts else { return alone };
        if hits(random, if self.bad { bursts.end } else { bursts.begin }) {
            self.bad = !self.bad;
        }
        hits(random, if self.bad { bursts.loss_bad } else { bursts.loss_good }) || alone
    }

    fn pass(&mut self, sent: Time, bytes: &Rc<[u8]>, random: &mut Rng) -> Copied {
        let link = &self.link;
        let out = sent + link.delay + up_to(random, link.jitter);
        let held = hits(random, link.reorder);
        let at = if held {
            self.stats.held_up += 1;
            out + up_to(random, link.held_up)
        } else {
            self.last_out = self.last_out.max(out);
            self.last_out
        };
        let (corrupt, truncate) = (hits(random, link.corrupt), hits(random, link.truncate));
        if !(corrupt || truncate) || bytes.is_empty() {
            return (at, bytes.clone());
        }
        self.stats.spoilt += 1;
        let mut spoilt = bytes.to_vec();
        if corrupt {
            for _ in 0..random.u8(1..=3) {
                let bit = random.u64(..spoilt.len() as u64 * 8);
                spoilt[(bit / 8) as usize] ^= 1 << (bit % 8);
            }
        }
        if truncate {
            spoilt.truncate(random.u64(..spoilt.len() as u64) as usize);
        }
        (at, spoilt.into())
    }
}

/// Draws only where chance has a part: a link that does no harm does not use up the seed.
pub(super) fn hits(random: &mut Rng, chance: f64) -> bool {
    chance > 0.0 && random.f64() < chance
}

fn up_to(random: &mut Rng, most: Duration) -> Duration {
    match u64::try_from(most.as_nanos()).unwrap_or(u64::MAX) {
        0 => Duration::ZERO,
        most => Duration::from_nanos(random.u64(..=most)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_000);
    const MILLISECOND: Duration = Duration::from_millis(1);

    fn random() -> Rng {
        Rng::with_seed(7)
    }

    fn datagram(length: usize) -> Rc<[u8]> {
        vec![0x55; length].into()
    }

    fn out(wire: &mut Wire, now: Time, length: usize, random: &mut Rng) -> Option<Time> {
        wire.carry(now, &datagram(length), random)[0].as_ref().map(|&(at, _)| at)
    }

    /// Which of so many datagrams were lost.
    fn losses(link: Link, count: usize) -> Vec<bool> {
        let (mut wire, mut random) = (Wire::new(link), random());
        let lost: Vec<bool> = (0..count).map(|_| out(&mut wire, NOW, 10, &mut random).is_none()).collect();
        assert_eq!(wire.stats.lost, lost.iter().filter(|&&lost| lost).count() as u64);
        lost
    }

    fn share(lost: &[bool]) -> f64 {
        lost.iter().filter(|&&lost| lost).count() as f64 / lost.len() as f64
    }

    /// The mean length of runs of losses.
    fn run_length(lost: &[bool]) -> f64 {
        let begins = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count();
        lost.iter().filter(|&&lost| lost).count() as f64 / begins as f64
    }

    #[test]
    fn independent_losses_are_as_many_as_asked_for_and_come_alone() {
        let lost = losses(Link { loss: 0.1, ..Link::default() }, 100_000);
        assert!((share(&lost) - 0.1).abs() < 0.005, "{}", share(&lost));
        assert!((run_length(&lost) - 1.0 / 0.9).abs() < 0.05, "{}", run_length(&lost));
    }

    #[test]
    fn bursts_have_the_loss_and_the_length_asked_for() {
        for (loss, length) in [(0.01, 5.0), (0.1, 3.0), (0.3, 20.0)] {
            let bursts = Some(Bursts::of(loss, length));
            let lost = losses(Link { bursts, ..Link::default() }, 1_000_000);
            assert!((share(&lost) / loss - 1.0).abs() < 0.1, "{loss} {length}: {}", share(&lost));
            assert!((run_length(&lost) / length - 1.0).abs() < 0.1, "{loss} {length}: {}", run_length(&lost));
        }
    }

    #[test]
    fn both_states_of_bursts_have_their_own_loss() {
        let bursts = Bursts { begin: 0.01, end: 0.03, loss_good: 0.02, loss_bad: 0.5 };
        let lost = losses(Link { bursts: Some(bursts), ..Link::default() }, 1_000_000);
        let expected = 0.75 * 0.02 + 0.25 * 0.5;
        assert!((share(&lost) / expected - 1.0).abs() < 0.05, "{}", share(&lost));
    }

    #[test]
    fn jitter_keeps_the_order_and_holding_up_does_not() {
        let passed = |link: Link| {
            let (mut wire, mut random) = (Wire::new(link), random());
            let step = Duration::from_micros(10);
            let mut at = NOW;
            let mut times = Vec::new();
            for _ in 0..1_000 {
                at = at + step;
                times.push(out(&mut wire, at, 10, &mut random).unwrap());
            }
            times
        };
        let delayed = Link { delay: MILLISECOND, ..Link::default() };
        assert!(passed(Link { jitter: MILLISECOND, ..delayed }).is_sorted());
        let held = passed(Link { reorder: 0.2, held_up: MILLISECOND, ..delayed });
        assert!(!held.is_sorted());
        assert!(held.iter().all(|&at| at >= NOW + MILLISECOND));
    }

    #[test]
    fn a_rate_spaces_datagrams_and_a_full_queue_drops_the_last() {
        // A thousand bytes a millisecond.
        let rate = Some(Rate { bits_per_second: 8_000_000, queue: 2_500 });
        let (mut wire, mut random) = (Wire::new(Link { rate, ..Link::default() }), random());
        let mut send = |now| out(&mut wire, now, 1_000, &mut random);
        assert_eq!(send(NOW), Some(NOW + MILLISECOND));
        assert_eq!(send(NOW), Some(NOW + MILLISECOND * 2));
        assert_eq!(send(NOW), None, "two thousand bytes wait, and the third would be too many");
        let later = NOW + MILLISECOND;
        assert_eq!(send(later), Some(NOW + MILLISECOND * 3), "there is room again, behind what waits");
        let idle = NOW + MILLISECOND * 50;
        assert_eq!(send(idle), Some(idle + MILLISECOND), "an idle time is not saved up");
        assert_eq!(wire.stats.queue_full, 1);
        // What is longer than the queue passes when nothing waits.
        assert!(out(&mut wire, idle + MILLISECOND, 9_000, &mut random).is_some());
    }

    #[test]
    fn what_is_too_long_or_finds_the_link_cut_does_not_pass() {
        let (mut wire, mut random) = (Wire::new(Link { mtu: Some(100), ..Link::default() }), random());
        assert!(out(&mut wire, NOW, 100, &mut random).is_some());
        assert!(out(&mut wire, NOW, 101, &mut random).is_none());
        wire.link.cut = true;
        assert!(out(&mut wire, NOW, 1, &mut random).is_none());
        assert_eq!((wire.stats.too_long, wire.stats.cut, wire.stats.datagrams), (1, 1, 3));
    }

    #[test]
    fn copies_are_spoilt_one_by_one_and_the_sound_ones_are_not_copied() {
        let mut random = random();
        let link = Link { duplicate: 1.0, corrupt: 0.5, truncate: 0.2, ..Link::default() };
        let mut wire = Wire::new(link);
        let sent = datagram(200);
        let (mut flipped, mut short, mut sound) = (0, 0, 0);
        for _ in 0..1_000 {
            for (_, bytes) in wire.carry(NOW, &sent, &mut random).into_iter().flatten() {
                assert!(bytes.len() <= sent.len());
                let bits: u32 = bytes.iter().zip(sent.iter()).map(|(a, b)| (a ^ b).count_ones()).sum();
                assert!(bits <= 3);
                short += u32::from(bytes.len() < sent.len());
                flipped += u32::from(bits > 0);
                sound += u32::from(Rc::ptr_eq(&bytes, &sent));
            }
        }
        assert!(flipped > 500 && short > 200 && sound > 500, "{flipped} {short} {sound}");
    }
}
