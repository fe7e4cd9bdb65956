//! Who may send how much: live data, repairs, and repairs for those who can wait share what there is.
//!
//! Where a rate is set, all that is sent comes out of one bucket, of which repairs have three quarters at the most and those
//! who catch up a tenth, before live data, which would leave them nothing; what live data leaves any repair may have. Without
//! a rate the same holds in bytes: three of prompt repairs to each of live data that waits, and a tenth for those who catch
//! up, or all there is when no live data goes out.

use crate::protocol::bucket::{self, Bucket};
use crate::protocol::time::Time;
use std::time::Duration;

/// Which repairs go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RepairQueue {
    Prompt,
    CatchingUp,
}

/// What pays for repairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// The part that is kept for them.
    Own,
    /// What live data has left.
    Spare,
}

/// At a rate, no run takes longer than this, but for one datagram.
const RUN_TIME: Duration = Duration::from_millis(10);
/// When no live data went out for this long, those who catch up need not hold back.
const QUIET: Duration = Duration::from_millis(1);
/// Live bytes for each byte of those who catch up: a tenth of all is theirs.
const LIVE_TO_CATCHING_UP: f64 = 9.0;
/// What they have not used they may use later, up to a run's length.
const MOST_CATCHING_UP: f64 = 65_536.0;
/// Bytes of prompt repairs for each live byte that waits: three quarters of all.
const PROMPT_TO_LIVE: f64 = 3.0;
/// So many bytes of them may go in a row while live data waits: eight runs.
const MOST_PROMPT: f64 = 524_288.0;
/// Bytes of a heartbeat that shows one stream, or somewhat more.
const HEARTBEAT: f64 = 136.0;
/// Bytes of an announce or an NCF, or somewhat more.
const ANSWER: f64 = 160.0;

/// The shares.
#[derive(Debug)]
pub(super) struct Shares {
    rate: Option<Rate>,
    /// Without a rate: bytes of prompt repairs that may go before live data.
    prompt: f64,
    /// Without a rate: bytes that those who catch up may be sent besides live data.
    catching_up: f64,
    /// When live data went out last.
    live: Time,
}

/// The bucket, and the parts of it that repairs may have.
#[derive(Debug)]
struct Rate {
    /// Bytes a second.
    bytes: f64,
    all: Bucket,
    prompt: Bucket,
    catching_up: Bucket,
    /// Repairs that wait are confirmed from this: what is said of them must not take what they wait for.
    confirmations: Bucket,
    /// Streams that wait are shown in heartbeats from this.
    heartbeats: Bucket,
    /// NAKs that ask for names, and for what is gone, are answered from this: anybody can send those.
    answers: Bucket,
    /// What signs of life take of the whole: at a rate so low that they would take more, it is exceeded by what they do.
    control: Bucket,
}

impl Rate {
    fn queue(&mut self, queue: RepairQueue) -> &mut Bucket {
        match queue {
            RepairQueue::Prompt => &mut self.prompt,
            RepairQueue::CatchingUp => &mut self.catching_up,
        }
    }
}

impl Shares {
    /// With a rate in bits a second, or none.
    pub(super) fn new(bits: Option<u64>, now: Time) -> Shares {
        let rate = bits.map(|bits| {
            let bytes = bits as f64 / 8.0;
            // A millisecond's worth may leave at once, and one datagram in any case.
            let part = |share: f64| {
                let rate = bytes * share;
                Bucket::new(rate, bucket::depth(rate, Duration::from_millis(1), 1_500.0), now)
            };
            Rate {
                bytes,
                all: part(1.0),
                prompt: part(0.75),
                catching_up: part(0.1),
                confirmations: part(0.05),
                heartbeats: part(0.05),
                answers: part(0.1),
                control: part(0.5),
            }
        });
        Shares { rate, prompt: MOST_PROMPT, catching_up: 0.0, live: now }
    }

    /// Bytes that may go in one run: what is taken beyond what there is others wait for, repairs among them.
    pub(super) fn run_bytes(&self) -> usize {
        let in_time = |rate: &Rate| rate.bytes * RUN_TIME.as_secs_f64();
        self.rate.as_ref().map_or(usize::MAX, |rate| in_time(rate) as usize)
    }

    /// How long the rate takes for so many bytes, a minute at most.
    pub(super) fn time_of(&self, bytes: usize) -> Duration {
        let seconds = self.rate.as_ref().map_or(0.0, |rate| bytes as f64 / rate.bytes);
        Duration::from_secs_f64(seconds.min(60.0))
    }

    /// Whether live data may go now.
    pub(super) fn may_go(&mut self, now: Time) -> bool {
        self.rate.as_mut().is_none_or(|rate| rate.all.has_any(now))
    }

    /// Whether a repair may go now.
    pub(super) fn may_repair(
        &mut self,
        queue: RepairQueue,
        paid: Share,
        live_waits: bool,
        now: Time,
    ) -> bool {
        let Some(rate) = &mut self.rate else {
            if !live_waits {
                self.prompt = MOST_PROMPT;
            }
            return match (queue, paid) {
                (RepairQueue::Prompt, _) => self.prompt > 0.0,
                (RepairQueue::CatchingUp, Share::Own) => false,
                (RepairQueue::CatchingUp, Share::Spare) => self.catching_up > 0.0 || self.is_quiet(now),
            };
        };
        let has_share = match paid {
            Share::Own => rate.queue(queue).has_any(now),
            Share::Spare => !live_waits,
        };
        has_share && rate.all.has_any(now)
    }

    /// Whether repairs that come in now have to wait, and that may be said of them.
    pub(super) fn confirms(&mut self, live_waits: bool, now: Time) -> bool {
        let Some(rate) = &mut self.rate else { return false };
        let share = rate.prompt.has_any(now) || !live_waits;
        !(share && rate.all.has_any(now)) && rate.confirmations.has_any(now)
    }

    /// Whether a stream may be shown in a heartbeat it could do without.
    pub(super) fn shows(&mut self, now: Time) -> bool {
        let Some(rate) = &mut self.rate else { return true };
        let may = rate.heartbeats.has_any(now);
        if may {
            rate.heartbeats.take(HEARTBEAT);
        }
        may
    }

    /// Whether a NAK may be answered that no repair answers.
    pub(super) fn answers(&mut self, now: Time) -> bool {
        let Some(rate) = &mut self.rate else { return true };
        let may = rate.answers.has_any(now);
        if may {
            rate.answers.take(ANSWER);
        }
        may
    }

    /// Live data went out.
    pub(super) fn take_live(&mut self, bytes: usize, now: Time) {
        self.live = now;
        self.prompt = (self.prompt + bytes as f64 * PROMPT_TO_LIVE).min(MOST_PROMPT);
        self.catching_up = (self.catching_up + bytes as f64 / LIVE_TO_CATCHING_UP).min(MOST_CATCHING_UP);
        self.take(bytes);
    }

    /// Repairs went out.
    pub(super) fn take_repair(&mut self, queue: RepairQueue, paid: Share, bytes: usize, now: Time) {
        match queue {
            RepairQueue::Prompt => self.prompt -= bytes as f64,
            RepairQueue::CatchingUp if self.is_quiet(now) => {}
            RepairQueue::CatchingUp => self.catching_up -= bytes as f64,
        }
        if let Some(rate) = &mut self.rate
            && paid == Share::Own
        {
            rate.queue(queue).take(bytes as f64);
        }
        self.take(bytes);
    }

    /// A control datagram went out; a confirmation has a part of its own.
    pub(super) fn take_control(&mut self, bytes: usize, confirmation: bool, now: Time) {
        let Some(rate) = &mut self.rate else { return };
        let part = if confirmation { &mut rate.confirmations } else { &mut rate.control };
        if confirmation || part.has_any(now) {
            part.take(bytes as f64);
            rate.all.take(bytes as f64);
        }
    }

    /// What was taken last did not go out after all.
    pub(super) fn give_back(&mut self, repairs: Option<(RepairQueue, Share)>, bytes: usize) {
        if let Some(rate) = &mut self.rate {
            rate.all.add(bytes as f64);
            if let Some((queue, Share::Own)) = repairs {
                rate.queue(queue).add(bytes as f64);
            }
        }
    }

    /// When to look again, where something waits: for tokens, or `catching_up` for live data to pause.
    pub(super) fn ready_at(&mut self, catching_up: bool, now: Time) -> Time {
        match &mut self.rate {
            // Live data needs nothing else, and repairs need nothing else where there is none.
            Some(rate) => rate.all.ready_at(now),
            None if catching_up => self.live + QUIET,
            None => Time::NEVER,
        }
    }

    fn is_quiet(&self, now: Time) -> bool {
        now.since(self.live) >= QUIET
    }

    fn take(&mut self, bytes: usize) {
        if let Some(rate) = &mut self.rate {
            rate.all.take(bytes as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use RepairQueue::{CatchingUp, Prompt};

    const NOW: Time = Time(10_000_000);

    /// Sends one datagram at a time as the publisher does, each step of it a microsecond, with all three waiting; gives
    /// the bytes of live data, prompt repairs, and repairs for those who catch up.
    fn send(shares: &mut Shares, live: bool, steps: u64) -> [usize; 3] {
        const BYTES: usize = 1_000;
        let mut sent = [0; 3];
        for step in 0..steps {
            let now = Time(10_000_000 + step * 1_000);
            let repair = |shares: &mut Shares, queue, share| {
                shares.may_repair(queue, share, live, now).then_some((queue, share))
            };
            let first = repair(shares, Prompt, Share::Own).or_else(|| repair(shares, CatchingUp, Share::Own));
            if let Some((queue, share)) = first {
                shares.take_repair(queue, share, BYTES, now);
                sent[if queue == Prompt { 1 } else { 2 }] += BYTES;
            } else if live && shares.may_go(now) {
                shares.take_live(BYTES, now);
                sent[0] += BYTES;
                // What follows live data in the same pass.
                if repair(shares, CatchingUp, Share::Spare).is_some() {
                    shares.take_repair(CatchingUp, Share::Spare, BYTES, now);
                    sent[2] += BYTES;
                }
            }
        }
        sent
    }

    #[test]
    fn without_a_rate_live_data_keeps_a_quarter_and_those_who_catch_up_get_a_tenth_beside_it() {
        let mut shares = Shares::new(None, Time(1));
        let [live, prompt, catching_up] = send(&mut shares, true, 100_000);
        let part = |bytes: usize, of: usize| bytes as f64 / of as f64;
        assert!((0.70..0.78).contains(&part(prompt, live + prompt)), "{live} {prompt}");
        assert!((0.05..0.12).contains(&part(catching_up, live + catching_up)), "{live} {catching_up}");
    }

    #[test]
    fn without_live_data_any_repair_may_go() {
        let mut shares = Shares::new(None, Time(1));
        let now = Time(10_000_000);
        for _ in 0..10_000 {
            for queue in [Prompt, CatchingUp] {
                assert!(shares.may_repair(queue, Share::Spare, false, now));
                shares.take_repair(queue, Share::Spare, 60_000, now);
            }
        }
        assert_eq!(shares.ready_at(false, now), Time::NEVER);
        shares.take_live(900, now);
        shares.take_repair(CatchingUp, Share::Spare, 60_000, now);
        assert!(!shares.may_repair(CatchingUp, Share::Spare, false, now), "live data went out a moment ago");
        let quiet = shares.ready_at(true, now);
        assert!(shares.may_repair(CatchingUp, Share::Spare, false, quiet));
    }

    #[test]
    fn with_a_rate_repairs_have_three_quarters_and_those_who_catch_up_a_tenth() {
        // 100 MB/s for 100 ms; a datagram in each microsecond is more than that by ten.
        let mut shares = Shares::new(Some(800_000_000), Time(10_000_000));
        let [live, prompt, catching_up] = send(&mut shares, true, 100_000);
        let all = live + prompt + catching_up;
        let near = |bytes: usize, share: f64| (bytes as f64 / all as f64 - share).abs() < 0.03;
        assert!((9_800_000..10_300_000).contains(&all), "{all}");
        assert!(
            near(prompt, 0.75) && near(catching_up, 0.1) && near(live, 0.15),
            "{live} {prompt} {catching_up}"
        );
    }

    #[test]
    fn what_the_socket_did_not_take_costs_nothing() {
        let now = Time(1);
        let mut shares = Shares::new(Some(8_000_000), now);
        let full = format!("{:?}", shares.rate);
        shares.take_repair(Prompt, Share::Own, 900, now);
        assert_ne!(format!("{:?}", shares.rate), full);
        shares.give_back(Some((Prompt, Share::Own)), 900);
        assert_eq!(format!("{:?}", shares.rate), full);
    }

    #[test]
    fn a_repair_waits_and_is_confirmed_where_its_share_is_used_up_or_all_is() {
        // What is left of all and of the prompt repairs' share, whether live data waits, and whether a repair may not go now.
        for (all, prompt, live_waits, waits) in [
            (true, true, false, false),
            (true, true, true, false),
            (true, false, false, false),
            (true, false, true, true),
            (false, true, false, true),
            (false, false, true, true),
        ] {
            let mut shares = Shares::new(Some(8_000_000), NOW);
            let rate = shares.rate.as_mut().unwrap();
            if !all {
                rate.all.take(1e9);
            }
            if !prompt {
                rate.prompt.take(1e9);
            }
            assert_eq!(shares.confirms(live_waits, NOW), waits, "{all} {prompt} {live_waits}");
            shares.rate.as_mut().unwrap().confirmations.take(1e9);
            assert!(!shares.confirms(live_waits, NOW), "they have a part of their own");
        }
        assert!(!Shares::new(None, NOW).confirms(true, NOW), "nothing waits where there is no rate");
    }

    #[test]
    fn heartbeats_and_answers_one_could_do_without_have_a_part_of_the_rate() {
        // A part so small that it is the one datagram of 1,500 bytes which may go in any case.
        let mut shares = Shares::new(Some(8), NOW);
        assert_eq!((0..100).filter(|_| shares.shows(NOW)).count(), 1_500_usize.div_ceil(136));
        assert_eq!((0..100).filter(|_| shares.answers(NOW)).count(), 1_500_usize.div_ceil(160));
        let mut shares = Shares::new(None, NOW);
        assert!((0..100).all(|_| shares.shows(NOW) && shares.answers(NOW)));
    }

    #[test]
    fn without_a_rate_what_was_used_up_to_the_last_byte_is_used_up() {
        let mut shares = Shares::new(None, NOW);
        shares.prompt = 0.0;
        assert!(!shares.may_repair(Prompt, Share::Own, true, NOW));
        assert!(shares.may_repair(Prompt, Share::Own, false, NOW));
        shares.take_live(900, NOW);
        assert!(shares.may_repair(CatchingUp, Share::Spare, true, NOW));
        shares.take_repair(CatchingUp, Share::Spare, 100, NOW);
        assert!(!shares.may_repair(CatchingUp, Share::Spare, true, NOW));
        // When no live data went out for a while it costs nothing; until then that is waited for.
        let quiet = shares.ready_at(true, NOW);
        assert_eq!((quiet, shares.ready_at(false, NOW)), (NOW + QUIET, Time::NEVER));
        assert!(shares.may_repair(CatchingUp, Share::Spare, true, quiet));
        shares.take_repair(CatchingUp, Share::Spare, 5_000, quiet);
        assert_eq!(shares.catching_up, 0.0);
    }

    #[test]
    fn what_is_said_takes_of_the_rate_until_its_part_is_used_up_and_confirmations_always() {
        let mut shares = Shares::new(Some(8_000_000), NOW);
        let left = |shares: &mut Shares| shares.rate.as_mut().unwrap().all.level(NOW);
        let full = left(&mut shares);
        shares.take_control(500, false, NOW);
        let one = left(&mut shares);
        assert!(one < full);
        shares.rate.as_mut().unwrap().control.take(1e9);
        shares.take_control(500, false, NOW);
        assert_eq!(left(&mut shares), one, "signs of life are said whatever the rate");
        shares.rate.as_mut().unwrap().confirmations.take(1e9);
        shares.take_control(500, true, NOW);
        assert!(left(&mut shares) < one);
    }
}
