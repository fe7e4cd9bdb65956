//! Who says how far it is: every receiver, in a small group; in a crowd a few, and whoever falls behind.
//!
//! A publisher that waits for the slowest must hear of each receiver within every window, which thousands cannot tell it. So
//! in a group beyond [`CROWD`] some speak for all, chosen by their ids, as in a small group; a receiver that falls behind
//! what the publisher was told speaks for itself (RTCP samples large groups in the same way: RFC 3550, 6.2 and 6.3); and
//! the others are silent but for a rare sign of life.

use crate::wire::ReceiverId;
use std::time::Duration;

/// Up to this many receivers all of them speak.
pub const CROWD: u32 = 32;
/// So many speak for a crowd, about.
const REPRESENTATIVES: u32 = 12;
/// All receivers together send so much less than 200 status messages a second, where nothing holds the publisher back.
const STATUS_INTERVAL: Duration = Duration::from_millis(200);
const STATUS_PER_RECEIVER: Duration = Duration::from_millis(10);

/// Whether a receiver speaks as if the group were small.
pub fn speaks(receiver: ReceiverId, group: u32) -> bool {
    group <= CROWD || is_among(receiver, group, REPRESENTATIVES)
}

/// Whether a publisher waits for a receiver that does not say that it is behind. Half of those who speak: the others may not
/// know yet by how much the group grew or shrank.
pub fn is_waited_for(receiver: ReceiverId, group: u32) -> bool {
    group <= CROWD || is_among(receiver, group, REPRESENTATIVES / 2)
}

/// The least time between two status messages of a receiver to one source, where nothing else calls for one.
pub fn status_interval(receiver: ReceiverId, group: u32) -> Duration {
    if speaks(receiver, group) { STATUS_INTERVAL } else { silence(group) }
}

/// How long a receiver of a group may be silent.
pub fn silence(group: u32) -> Duration {
    if group <= CROWD { STATUS_INTERVAL } else { STATUS_PER_RECEIVER * group }
}

/// Whether a position is behind: more than a quarter of the room between it and its limit lies before the lead.
pub fn is_behind(position: u64, limit: u64, lead: u64) -> bool {
    let room = limit.saturating_add(1).saturating_sub(position);
    let lag = lead.saturating_add(1).saturating_sub(position);
    lag > room / 4
}

/// Ids are random, so the lowest of them are about as many as they should be.
fn is_among(receiver: ReceiverId, group: u32, chosen: u32) -> bool {
    u128::from(receiver.0) * u128::from(group) < u128::from(chosen) << 64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_speak_for_a_crowd_and_the_publisher_waits_for_some_of_those() {
        let mut random = fastrand::Rng::with_seed(3);
        for group in [33, 100, 1_000, 10_000] {
            let ids: Vec<_> = (0..group).map(|_| ReceiverId(random.u64(1..))).collect();
            let speak = ids.iter().filter(|&&id| speaks(id, group)).count();
            let waited_for = ids.iter().filter(|&&id| is_waited_for(id, group)).count();
            assert!((4..24).contains(&speak), "{speak} of {group}");
            assert!(waited_for > 0 && waited_for < speak, "{waited_for} of {speak}");
            // Who is waited for speaks, also where it believes the group to be half as large again, or half as large.
            for wrong in [group / 2, group, group + group / 2] {
                assert!(ids.iter().all(|&id| !is_waited_for(id, group) || speaks(id, wrong)));
            }
        }
        assert!((1..=CROWD).all(|group| speaks(ReceiverId(u64::MAX), group)));
        // Twelve of 48 are a quarter of all ids, from the lowest.
        assert!(speaks(ReceiverId((1 << 62) - 1), 48) && !speaks(ReceiverId(1 << 62), 48));
    }

    #[test]
    fn all_together_send_less_than_200_a_second() {
        let mut random = fastrand::Rng::with_seed(3);
        for group in [1, 32, 33, 100, 10_000] {
            let intervals = (0..group).map(|_| status_interval(ReceiverId(random.u64(1..)), group));
            let a_second: f64 = intervals.map(|interval| 1.0 / interval.as_secs_f64()).sum();
            assert!(a_second <= 200.0, "{a_second} from {group}");
        }
    }

    #[test]
    fn behind_is_a_quarter_of_the_room() {
        assert!(!is_behind(101, 200, 100), "has everything");
        assert!(!is_behind(101, 200, 125));
        assert!(is_behind(101, 200, 126));
        assert!(is_behind(5, 4, 5), "no room at all");
        assert!(!is_behind(1, u64::MAX, 1 << 40));
    }
}
