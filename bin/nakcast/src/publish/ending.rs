//! How publishing ends: subscribers are stayed for, and what is not known to have arrived is told.

use super::watch::Seen;
use crate::clock;
use crate::exit::Failure;
use crate::stop::{SLICE, Stop};
use nakcast::{Laggard, Publisher, ReceiverId};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The longest linger of a command that was told to end.
const STOPPED_LINGER: Duration = Duration::from_secs(1);

/// At the lowest rate the largest datagram takes most of this. Where nothing leaves for so long it is no rate that holds it back, but a
/// subscriber that stands still, for as long as it is waited for.
const SLOWEST: Duration = Duration::from_secs(60);

/// The most subscribers to name.
const NAMED: usize = 8;

/// The subscribers that lack something, by their ids: one may lack something of many topics.
type Behind = BTreeMap<u64, Lack>;

/// What a subscriber lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lack {
    /// Where it is.
    address: Option<SocketAddr>,
    /// Datagrams it has not confirmed; none, when it is the end of a stream alone.
    datagrams: u64,
}

/// What was lacking when publishing ended.
#[derive(Debug, Default)]
pub(super) struct Lacking {
    /// Who lacked something at the end.
    behind: Behind,
    /// Who was seen to lack something before, as it was seen last.
    before: Behind,
    /// Messages that were taken, and did not leave.
    unsent: u64,
}

/// Ends all streams at once, and lingers.
pub(super) fn close(
    mut publishers: Vec<Publisher>,
    known: Instant,
    linger: Duration,
    stop: &Stop,
) -> Lacking {
    publishers.iter_mut().for_each(Publisher::end);
    let before = stay(&publishers, known, linger, stop);
    let mut lacking = Lacking { before, ..Lacking::default() };
    for unconfirmed in publishers.into_iter().filter_map(|publisher| publisher.close(Duration::ZERO).err()) {
        add(&mut lacking.behind, unconfirmed.laggards);
        lacking.unsent += unconfirmed.unsent;
    }
    lacking
}

/// The same for streams that are not whole, as their input failed: what was published is seen to, but no end of stream is
/// sent, so that no subscriber takes the part it has for all there was. Each finds the source silent soon after.
pub(super) fn abandon(
    mut publishers: Vec<Publisher>,
    known: Instant,
    linger: Duration,
    stop: &Stop,
) -> Lacking {
    for publisher in &mut publishers {
        // What cannot be sent was told already, or will not be complete.
        let _ = publisher.flush();
    }
    let before = stay(&publishers, known, linger, stop);
    let unsent = publishers.iter().map(Publisher::unsent).sum();
    let lacking = Lacking { behind: behind(&publishers), before, unsent };
    // Dropping a publisher ends its stream. These are left as they are: the process ends a moment from now.
    publishers.into_iter().for_each(std::mem::forget);
    lacking
}

/// Waits until all that was taken has left, which takes as long as the rate has it take, unless nothing more leaves; and then lingers
/// until subscribers had time to be `known` and every one that is has everything, at most as long as that may take. Gives who was
/// seen to lack something on the way, as it was seen last.
fn stay(publishers: &[Publisher], known: Instant, linger: Duration, stop: &Stop) -> Behind {
    let most = linger.max(SLOWEST);
    let (mut left, mut give_up) = (0, clock::now() + most);
    'all: for publisher in publishers {
        while publisher.unsent() > 0 && !stop.is_asked() {
            let datagrams = publisher.endpoint().stats().datagrams;
            if datagrams > left {
                (left, give_up) = (datagrams, clock::now() + most);
            } else if clock::now() >= give_up {
                break 'all;
            }
            publisher.is_complete(SLICE);
        }
    }
    let mut until = clock::now() + linger;
    stop.wait_until(known.min(until));
    let mut lacked = Behind::new();
    let mut stopped = false;
    for publisher in publishers {
        loop {
            if stop.is_asked() && !stopped {
                stopped = true;
                until = until.min(clock::now() + STOPPED_LINGER);
            }
            lacked.extend(behind(publishers));
            let left = until.saturating_duration_since(clock::now());
            if publisher.is_complete(left.min(SLICE)) {
                break;
            }
            if left.is_zero() || stop.is_urged() {
                return lacked;
            }
        }
    }
    lacked
}

fn behind(publishers: &[Publisher]) -> Behind {
    let mut behind = Behind::new();
    publishers.iter().for_each(|publisher| add(&mut behind, publisher.laggards()));
    behind
}

fn add(behind: &mut Behind, laggards: Vec<Laggard>) {
    for Laggard { receiver, address, datagrams, .. } in laggards {
        let lack = behind.entry(receiver.0).or_default();
        lack.address = lack.address.or(address);
        lack.datagrams += datagrams;
    }
}

/// What is not known to have arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Doubt {
    /// The subscribers that did not confirm everything, and could have: they were known to the end, or were not heard from
    /// any more while they lacked something.
    unconfirmed: Behind,
    /// Others that were not heard from any more after datagrams had failed to leave.
    cut_off: usize,
    /// Whether any subscriber was ever known.
    anybody: bool,
    /// Messages that were taken, and did not leave: who is told to end does not wait for that, nor any longer than a minute for nothing.
    pub(super) unsent: u64,
}

impl Doubt {
    pub(super) fn new(lacking: Lacking, seen: &Seen) -> Doubt {
        let Lacking { behind: mut at_the_end, before, unsent } = lacking;
        // Who took leave wanted no more; who vanished did not say so.
        at_the_end.extend(before.into_iter().filter(|(id, _)| seen.vanished.contains(id)));
        let cut_off = seen.cut_off.iter().filter(|id| !at_the_end.contains_key(id)).count();
        let anybody = seen.anybody || !at_the_end.is_empty();
        Doubt { unconfirmed: at_the_end, cut_off, anybody, unsent }
    }

    /// How many subscribers have not confirmed everything.
    pub(super) fn unconfirmed(&self) -> usize {
        self.unconfirmed.len() + self.cut_off
    }

    /// Who has not confirmed everything, in words.
    pub(super) fn who(&self) -> Option<String> {
        let cut_off = || {
            let (plural, were) = if self.cut_off == 1 { ("", "was") } else { ("s", "were") };
            format!("{} subscriber{plural} {were} not heard from any more", self.cut_off)
        };
        match (self.unconfirmed.is_empty(), self.cut_off) {
            (true, 0) => None,
            (true, _) => Some(cut_off()),
            (false, 0) => Some(self.named()),
            (false, _) => Some(format!("{}; {}", self.named(), cut_off())),
        }
    }

    fn named(&self) -> String {
        let count = self.unconfirmed.len();
        let plural = if count == 1 { "" } else { "s" };
        let mut text = format!("{count} subscriber{plural} did not confirm everything:");
        for (index, (id, Lack { address, datagrams })) in self.unconfirmed.iter().take(NAMED).enumerate() {
            let separator = if index == 0 { " " } else { ", " };
            let address = address.map(|address| format!(" at {address}")).unwrap_or_default();
            // Writing to memory does not fail.
            let _ = match datagrams {
                0 => write!(text, "{separator}{}{address} (the end of the stream)", ReceiverId(*id)),
                _ => write!(text, "{separator}{}{address} ({datagrams} datagrams)", ReceiverId(*id)),
            };
        }
        if count > NAMED { format!("{text} and {} more", count - NAMED) } else { text }
    }

    /// Datagrams that were not sent are a failure, unless every subscriber is known to have had them again. With nobody
    /// known that is not known either.
    pub(super) fn verdict(&self, send_failures: u64) -> Result<(), Failure> {
        let who = match self.who() {
            _ if send_failures == 0 => return Ok(()),
            Some(who) => who,
            None if self.anybody => return Ok(()),
            None => "no subscriber was ever heard from".into(),
        };
        let (plural, them) = if send_failures == 1 { ("", "it") } else { ("s", "them") };
        Err(Failure::at_run_time(format_args!(
            "{send_failures} datagram{plural} could not be sent, and not all may have had {them} later: {who}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lacking(ids: &[u64]) -> Behind {
        ids.iter().map(|&id| (id, Lack { address: None, datagrams: 3 })).collect()
    }

    fn lacked(behind: &[u64], before: &[u64]) -> Lacking {
        Lacking { behind: lacking(behind), before: lacking(before), unsent: 0 }
    }

    fn seen(anybody: bool, vanished: &[u64], cut_off: &[u64]) -> Seen {
        let set = |ids: &[u64]| ids.iter().copied().collect();
        Seen { anybody, vanished: set(vanished), cut_off: set(cut_off) }
    }

    #[test]
    fn what_failed_to_leave_is_a_failure_unless_all_are_known_to_have_it() {
        let none = Lacking::default;
        for (doubt, unconfirmed, fails) in [
            (Doubt::new(none(), &seen(false, &[], &[])), 0, true),
            (Doubt::new(none(), &seen(true, &[], &[])), 0, false),
            (Doubt::new(lacked(&[1], &[1]), &seen(true, &[], &[])), 1, true),
            // It lacked something, and then had it, or took leave.
            (Doubt::new(lacked(&[], &[1]), &seen(true, &[], &[])), 0, false),
            (Doubt::new(lacked(&[], &[1]), &seen(true, &[1], &[])), 1, true),
            (Doubt::new(lacked(&[], &[1]), &seen(true, &[1], &[1])), 1, true),
            // It was gone before anything failed, and before the end.
            (Doubt::new(none(), &seen(true, &[1], &[])), 0, false),
            (Doubt::new(none(), &seen(true, &[1], &[1])), 1, true),
            (Doubt::new(lacked(&[2], &[2, 3]), &seen(true, &[1, 3], &[1])), 3, true),
        ] {
            assert_eq!(doubt.unconfirmed(), unconfirmed, "{doubt:?}");
            assert_eq!(doubt.verdict(7).is_err(), fails, "{doubt:?}");
            assert!(doubt.verdict(0).is_ok(), "{doubt:?}");
            assert_eq!(doubt.who().is_some(), unconfirmed > 0, "{doubt:?}");
        }
    }
}
