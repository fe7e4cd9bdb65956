//! `nakcast demo`: what this project does, in a few seconds, for somebody who has never seen it.

mod listener;
mod screen;

use crate::clock;
use crate::exit::{Exit, Failure};
use crate::pace::Pace;
use crate::plan::DemoPlan;
use crate::stop::{SLICE, Stop};
use listener::{Listener, Report};
use nakcast::{Error, Publisher, SendError, Subscriber};
use screen::Screen;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many subscribers.
const SUBSCRIBERS: usize = 3;
/// The loopback interface, by the address it has on every platform.
const LOOPBACK: &str = "127.0.0.1";
/// Bytes of a message: its number, and the alphabet.
const SIZE: usize = 256;
/// Messages between two looks at the clock.
const LOOK_EVERY: u64 = 256;
/// How long subscribers may take to be heard from, and to have everything in the end.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the live lines show of the publisher.
#[derive(Debug, Default)]
struct Sent {
    messages: AtomicU64,
    repairs: AtomicU64,
}

pub(crate) fn run(plan: DemoPlan) -> Result<Exit, Failure> {
    let stop = Stop::install()?;
    let DemoPlan { group, time, rate, drop, seed } = plan;
    screen::introduce(group, SUBSCRIBERS, drop, time)?;

    let loopback = |error: Error| match error {
        Error::Interface(error) => Failure::at_run_time(format_args!(
            "the demo runs on the loopback interface, which has to be up with the address {LOOPBACK}: {error}"
        )),
        error => error.into(),
    };
    let mut listeners = Vec::new();
    for number in 1..=SUBSCRIBERS {
        let builder = Subscriber::builder(group).topic("demo").interface(LOOPBACK);
        let subscriber =
            builder.drop_datagrams(drop, seed.wrapping_add(number as u64)).open().map_err(loopback)?;
        listeners.push(Listener::start(subscriber)?);
    }
    let mut publisher =
        Publisher::builder(group).topic("demo").interface(LOOPBACK).open().map_err(loopback)?;
    if !wait_for_all(&mut publisher, &stop)? {
        return Ok(Exit::Done);
    }

    let sent = Arc::new(Sent::default());
    let seen = listeners.iter().map(|listener| Arc::clone(&listener.seen)).collect();
    let screen = Screen::start(Arc::clone(&sent), seen)?;
    let messages = publish(&mut publisher, &sent, Pace::new(clock::now(), rate), time, &stop);
    let endpoint = publisher.endpoint().clone();
    // Everybody is to have everything; told twice to end, they need not.
    let until = clock::now() + PATIENCE;
    publisher.end();
    while !publisher.is_complete(SLICE) && clock::now() < until && !stop.is_urged() {
        sent.repairs.store(endpoint.stats().repairs, Ordering::Relaxed);
    }
    sent.repairs.store(endpoint.stats().repairs, Ordering::Relaxed);
    let unconfirmed = publisher.close(Duration::ZERO);
    let reports: Vec<Report> = listeners.into_iter().map(Listener::finish).collect::<Result<_, _>>()?;
    screen.end();

    let messages = messages?;
    let shown = screen::table(messages, &reports);
    let whole = reports.iter().all(|report| report.received == messages && report.misplaced == 0);
    match (whole, unconfirmed) {
        (true, _) => shown.map(|()| Exit::Done),
        (false, Err(unconfirmed)) => Err(Failure::at_run_time(unconfirmed)),
        (false, Ok(())) => Err(Failure::at_run_time("messages were lost, or came out of order")),
    }
}

/// Waits until all subscribers were heard from; false when told to end first.
fn wait_for_all(publisher: &mut Publisher, stop: &Stop) -> Result<bool, Failure> {
    let until = clock::now() + PATIENCE;
    loop {
        let outcome = publisher.wait_for(SUBSCRIBERS, Some(SLICE));
        if stop.is_asked() {
            return Ok(false);
        }
        match outcome {
            Ok(()) => return Ok(true),
            Err(_) if clock::now() < until => {}
            Err(few) => {
                return Err(Failure::at_run_time(format_args!(
                    "{} of {SUBSCRIBERS} subscribers were heard from: does a firewall stop UDP on the loopback interface?",
                    few.receivers
                )));
            }
        }
    }
}

/// Publishes for as long as the demo takes; tells how many messages that was.
fn publish(
    publisher: &mut Publisher,
    sent: &Sent,
    pace: Pace,
    time: Duration,
    stop: &Stop,
) -> Result<u64, Failure> {
    let begun = pace.moment(0);
    let mut message: Vec<u8> = (0..SIZE).map(|place| b'a' + (place % 26) as u8).collect();
    let mut number = 0;
    while stop.wait_until(pace.moment(number)) {
        let now = clock::now();
        if now.duration_since(begun) >= time {
            break;
        }
        // What is due is looked at anew now and then: at a rate that is not reached it would be ever more.
        let due = pace.due(now).min(number + LOOK_EVERY);
        while number < due {
            message[..8].copy_from_slice(&number.to_be_bytes());
            match publisher.send_timeout(&message, SLICE) {
                Ok(()) => number += 1,
                Err(SendError::BackPressured { .. }) if !stop.is_asked() => {}
                Err(SendError::BackPressured { .. }) => return Ok(number),
                Err(error) => return Err(Failure::at_run_time(error)),
            }
        }
        publisher.flush().map_err(Failure::at_run_time)?;
        sent.messages.store(number, Ordering::Relaxed);
        if number.is_multiple_of(64) {
            sent.repairs.store(publisher.endpoint().stats().repairs, Ordering::Relaxed);
        }
    }
    Ok(number)
}
