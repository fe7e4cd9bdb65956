//! What came back, by pong.

use super::stamp::Stamp;
use crate::exit::Failure;
use crate::latency::{self, Split};
use hdrhistogram::Histogram;
use nakcast::SourceId;
use std::net::SocketAddr;

/// The pongs that have answered, and what.
#[derive(Debug)]
pub(super) struct Answers {
    /// The source id of the ping.
    pub(super) ping: u64,
    pub(super) pongs: Vec<Pong>,
    /// The number of the last message that was sent.
    pub(super) sent: u64,
    /// The number of the first message that counts, once it was sent.
    pub(super) counted: Option<u64>,
    /// When the last answer came that counts, nanoseconds since the ping began.
    pub(super) last_at: u64,
    /// The kernel tells when it had each answer.
    kernel_times: bool,
}

/// A pong.
#[derive(Debug)]
pub(super) struct Pong {
    pub(super) source: SourceId,
    /// Where it publishes from, once that was asked.
    pub(super) address: Option<SocketAddr>,
    /// Its stream has not ended.
    pub(super) here: bool,
    /// It was not heard to answer others.
    alone: bool,
    /// The first message it is to answer: the first of all, unless it was met in the midst of them.
    first: u64,
    /// The last message it has answered.
    last: u64,
    /// How many it has answered, those of the warm-up too.
    answered: u64,
    /// Answers told as lost on their way back, to whichever ping, since messages count.
    pub(super) gaps: u64,
    /// Nanoseconds from when a message that counts was due to when it was back.
    pub(super) latency: Histogram<u64>,
    /// The same in two parts, where the kernel was asked.
    pub(super) split: Option<Split>,
}

impl Answers {
    pub(super) fn new(ping: SourceId, kernel_times: bool) -> Answers {
        Answers { ping: ping.0, pongs: Vec::new(), sent: 0, counted: None, last_at: 0, kernel_times }
    }

    /// Takes what a pong has published; `now` in nanoseconds since the ping began, `kernel` since 1970. What is another ping's,
    /// or none's, is passed over.
    pub(super) fn take(
        &mut self,
        source: SourceId,
        payload: &[u8],
        now: u64,
        kernel: Option<u64>,
    ) -> Result<(), Failure> {
        let Some(stamp) = Stamp::read(payload).filter(|stamp| stamp.ping == self.ping) else {
            if let Some(pong) = self.of(source) {
                pong.alone = false;
            }
            return Ok(());
        };
        if stamp.number > self.sent || stamp.due > now {
            return Ok(());
        }
        let at = match self.pongs.iter().position(|pong| pong.source == source) {
            Some(at) => at,
            None => {
                // One that answers a hello has heard the stream: it gets whatever is sent after, and that is all of it.
                self.pongs.push(Pong::new(source, stamp.number.max(1), self.kernel_times)?);
                self.pongs.len() - 1
            }
        };
        let pong = &mut self.pongs[at];
        pong.here = true;
        // Those before it may come later.
        pong.first = pong.first.min(stamp.number.max(1));
        if stamp.number != Stamp::HELLO {
            pong.last = pong.last.max(stamp.number);
            pong.answered += 1;
            if self.counted.is_some_and(|counted| stamp.number >= counted) {
                latency::record(&mut pong.latency, now - stamp.due);
                if let Some(split) = &mut pong.split {
                    split.record(now - stamp.due, kernel);
                }
                self.last_at = now;
            }
        }
        Ok(())
    }

    /// Answers that will not come: the last message's among them, where one at a time is under way.
    pub(super) fn gap(&mut self, source: SourceId, messages: u64) {
        let (counts, sent) = (self.counted.is_some(), self.sent);
        if let Some(pong) = self.of(source) {
            pong.gaps += if counts { messages } else { 0 };
            if pong.alone {
                pong.last = sent;
            }
        }
    }

    /// A pong's stream was found again, or is over.
    pub(super) fn stream(&mut self, source: SourceId, here: bool) {
        if let Some(pong) = self.of(source) {
            pong.here = here;
        }
    }

    fn of(&mut self, source: SourceId) -> Option<&mut Pong> {
        self.pongs.iter_mut().find(|pong| pong.source == source)
    }

    /// How many pongs are here.
    pub(super) fn here(&self) -> usize {
        self.pongs.iter().filter(|pong| pong.here).count()
    }

    /// Whether the last message is back from everyone who is here. From nobody nothing is.
    pub(super) fn last_is_back(&self) -> bool {
        self.here() > 0 && self.pongs.iter().all(|pong| !pong.here || pong.last >= self.sent)
    }

    /// Whether every message is back from everyone who is here.
    pub(super) fn all_are_back(&self) -> bool {
        self.pongs
            .iter()
            .all(|pong| !pong.here || pong.answered >= (self.sent + 1).saturating_sub(pong.first))
    }

    /// How many messages that count were sent.
    pub(super) fn counted(&self) -> u64 {
        self.counted.map_or(0, |counted| self.sent - counted + 1)
    }

    /// How many of them a pong was to answer: all since it was met.
    pub(super) fn asked(&self, pong: &Pong) -> u64 {
        let first = self.counted.unwrap_or(u64::MAX).max(pong.first);
        (self.sent + 1).saturating_sub(first)
    }

    /// How many of those it has not answered.
    pub(super) fn lost(&self, pong: &Pong) -> u64 {
        self.asked(pong).saturating_sub(pong.latency.len())
    }

    /// The same of all pongs together.
    pub(super) fn lost_by_all(&self) -> u64 {
        self.pongs.iter().map(|pong| self.lost(pong)).sum()
    }
}

impl Pong {
    fn new(source: SourceId, first: u64, kernel_times: bool) -> Result<Pong, Failure> {
        let latency = latency::histogram()?;
        let split = kernel_times.then(Split::new).transpose()?;
        Ok(Pong {
            source,
            address: None,
            here: true,
            alone: true,
            first,
            last: 0,
            answered: 0,
            gaps: 0,
            latency,
            split,
        })
    }

    /// Its name in tables and files.
    pub(super) fn name(&self) -> String {
        self.source.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: SourceId = SourceId(1);

    fn answers() -> Answers {
        Answers::new(ME, false)
    }

    fn take(answers: &mut Answers, source: u64, number: u64, due: u64, now: u64) {
        let mut payload = [0; Stamp::LENGTH];
        Stamp { ping: ME.0, number, due }.write(&mut payload);
        answers.take(SourceId(source), &payload, now, None).unwrap();
    }

    #[test]
    fn what_did_not_come_back_is_lost() {
        let mut answers = answers();
        take(&mut answers, 7, Stamp::HELLO, 0, 5);
        // Two of the warm-up, and three that count.
        for number in 1..=5 {
            answers.sent = number;
            if number == 3 {
                answers.counted = Some(3);
            }
            assert!(!answers.last_is_back());
            if number != 4 {
                take(&mut answers, 7, number, number * 100, number * 100 + 40);
                assert!(answers.last_is_back());
            }
        }
        let pong = &answers.pongs[0];
        assert_eq!((answers.counted(), pong.latency.len(), answers.lost(pong)), (3, 2, 1));
        assert_eq!((pong.latency.min(), pong.latency.max()), (40, 40));
        assert!(!answers.all_are_back());
        take(&mut answers, 7, 4, 400, 1_000);
        assert!(answers.all_are_back());
        let pong = &answers.pongs[0];
        assert_eq!((answers.lost(pong), pong.latency.max()), (0, 600));
    }

    #[test]
    fn one_that_comes_later_is_to_answer_what_is_sent_from_then_on() {
        let mut answers = answers();
        take(&mut answers, 7, Stamp::HELLO, 0, 5);
        answers.counted = Some(1);
        for number in 1..=4 {
            answers.sent = number;
            take(&mut answers, 7, number, 0, 10);
            if number == 3 {
                take(&mut answers, 8, number, 0, 10);
            }
        }
        let lost: Vec<u64> = answers.pongs.iter().map(|pong| answers.lost(pong)).collect();
        assert_eq!((lost, answers.lost_by_all()), (vec![0, 1], 1));
        assert!(!answers.last_is_back());
        answers.stream(SourceId(8), false);
        assert!(answers.last_is_back() && answers.all_are_back(), "who has left is not waited for");
        assert_eq!(answers.here(), 1);
        answers.stream(SourceId(7), false);
        assert!(!answers.last_is_back(), "and when nobody is left, nothing more is sent");
        answers.stream(SourceId(7), true);
        assert_eq!(answers.lost(&answers.pongs[1]), 1, "but what it did not answer is told");
        answers.gap(SourceId(8), 3);
        assert_eq!(answers.pongs[1].gaps, 3);
    }

    #[test]
    fn one_that_is_met_by_an_answer_that_overtook_others_is_to_answer_those_too() {
        let mut answers = answers();
        (answers.sent, answers.counted) = (5, Some(1));
        take(&mut answers, 7, 5, 0, 10);
        assert_eq!((answers.asked(&answers.pongs[0]), answers.all_are_back()), (1, true));
        take(&mut answers, 7, 3, 0, 20);
        assert_eq!((answers.asked(&answers.pongs[0]), answers.lost_by_all()), (3, 1));
        assert!(!answers.all_are_back());
    }

    #[test]
    fn what_is_not_its_own_is_passed_over() {
        let mut answers = answers();
        answers.sent = 1;
        answers.counted = Some(1);
        let mut payload = [0; Stamp::LENGTH];
        Stamp { ping: 2, number: 1, due: 0 }.write(&mut payload);
        answers.take(SourceId(7), &payload, 10, None).unwrap();
        answers.take(SourceId(7), b"no stamp", 10, None).unwrap();
        // Never sent, and due later than it is back.
        take(&mut answers, 7, 2, 0, 10);
        take(&mut answers, 7, 1, 11, 10);
        assert!(answers.pongs.is_empty());
    }
}
