//! What best-effort delivery loses where a reader is too slow, and what reliable delivery does not: the same datagrams both
//! ways, in one process.

use crate::blast;
use crate::exit::{Exit, Failure, printed};
use crate::open;
use clap::Args;
use nakcast::net::{Options, Sender, Socket};
use nakcast::{Event, Publisher, Subscriber};
use nakcast_statsd::config::units;
use nakcast_statsd::intake::Intake;
use nakcast_statsd::line::Dialect;
use nakcast_statsd::listen::Listener;
use nakcast_statsd::shard::{Idle, Limits, Tally};
use std::fmt::{Display, Write as _};
use std::io::{self, ErrorKind, IoSlice, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Show on this machine alone what UDP loses with a small receive buffer, and that reliable multicast does not.
///
/// A collector with a receive buffer of a few KiB is sent metrics as fast as it goes; then the same datagrams go to another
/// as messages of nakcast. Exit code 1 if anything is unexplained, or lost by the second.
#[derive(Args, Clone, Debug)]
pub(crate) struct Demo {
    /// How many metrics, ten in each datagram.
    #[arg(short, long, value_name = "N", default_value = "1000000", value_parser = blast::count, allow_hyphen_values = true)]
    metrics: u64,

    /// The interface of the reliable part.
    #[arg(short, long, value_name = "NAME|IP", default_value = "lo", value_parser = units::interface)]
    interface: String,
}

/// Where the reliable part is: a topic of its own keeps others' apart.
const GROUP: SocketAddr = SocketAddr::V4(std::net::SocketAddrV4::new(Ipv4Addr::new(239, 255, 77, 3), 7703));

/// Metrics in a datagram.
const EACH: u64 = 10;

/// What the first collector asks the kernel for, in bytes: it rounds up to its least.
const BUFFER: usize = 4096;

/// How long the reliable part waits for its subscriber, or for a message.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(demo: &Demo) -> Result<Exit, Failure> {
    // At first: what cannot be is said before anything is done.
    let datagram = open::datagram(GROUP, Some(&demo.interface))
        .map_err(|error| Failure::usage(format_args!("--interface: {error}")))?;
    let datagrams = blast::load(demo.metrics, EACH);
    let sent = datagrams.len() as u64 * EACH;
    let failed = |error: &dyn Display| Failure::at_run_time(error);
    let (tally, drops) = best_effort(&datagrams).map_err(|error| failed(&error))?;
    let dropped = drops * EACH;
    let unexplained = sent as i64 - tally.metrics as i64 - dropped as i64;
    let share = 100.0 * dropped as f64 / sent as f64;
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(text, "best effort, with a receive buffer of {BUFFER} bytes:");
    let _ = writeln!(
        text,
        "  sent {sent}, counted {}, kernel drops {dropped} ({share:.2}%), unexplained {unexplained}",
        tally.metrics
    );
    print(&text)?;
    let (tally, gaps) = reliable(&datagrams, &demo.interface, datagram)?;
    let lost = sent as i64 - tally.metrics as i64;
    print(&format!(
        "reliable multicast, the same datagrams:\n  sent {sent}, counted {}, lost {lost}, gaps {gaps}\n",
        tally.metrics
    ))?;
    Ok(if unexplained == 0 && lost == 0 { Exit::Done } else { Exit::Failed })
}

fn print(text: &str) -> Result<(), Failure> {
    printed(io::stdout().lock().write_all(text.as_bytes()))
}

fn intake() -> Intake {
    Intake::new(1, Limits::default(), Idle::default(), Arc::default())
}

fn tally(intake: &Intake) -> Tally {
    let mut sum = Tally::default();
    intake.take().into_iter().for_each(|interval| sum.add(interval.tally));
    sum
}

/// What was counted, and how many datagrams the kernel dropped.
fn best_effort(datagrams: &[Vec<u8>]) -> io::Result<(Tally, u64)> {
    let options = Options { receive_buffer: Some(BUFFER), coalesce: false, ..Options::default() };
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let socket = Socket::listen(local, &options).map_err(io::Error::other)?;
    let to = socket.local_addr();
    let intake = intake();
    let mut listener = Listener::start(vec![socket], Dialect::Statsd, intake.clone(), || ())?;
    listener.begin();
    let from = Socket::listen(local, &Options::default()).map_err(io::Error::other)?;
    let mut sender = Sender::new();
    sender.set_segmentation(false);
    for batch in datagrams.chunks(64) {
        let batch = batch.iter().map(|bytes| IoSlice::new(bytes)).collect::<Vec<_>>();
        let mut rest = &batch[..];
        while let Some(first) = rest.first() {
            match sender.send(&from, to, first.len(), rest) {
                Ok(went) if went.failed > 0 => {
                    return Err(went.last_error.unwrap_or_else(|| ErrorKind::Other.into()));
                }
                Ok(went) => rest = &rest[went.done()..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    thread::park_timeout(Duration::from_micros(50));
                }
                Err(error) => return Err(error),
            }
        }
    }
    // On `lo` all is there, or dropped, once it was sent.
    listener.end();
    listener.join()?;
    let drops = listener.heard().kernel_drops;
    let drops = drops.ok_or_else(|| io::Error::other("nothing here tells what the kernel drops"))?;
    Ok((tally(&intake), drops))
}

/// What was counted, and how many gaps there were.
fn reliable(datagrams: &[Vec<u8>], interface: &str, datagram: usize) -> Result<(Tally, u64), Failure> {
    let failed = |error: nakcast::Error| Failure::usage(format_args!("--interface: {error}"));
    let topic = format!("demo.{}", std::process::id());
    let subscriber = Subscriber::builder(GROUP).topic(&topic).interface(interface);
    let mut subscriber = subscriber.open().map_err(failed)?;
    let publisher = Publisher::builder(GROUP).topic(&topic).interface(interface).datagram(datagram);
    let mut publisher = publisher.open().map_err(failed)?;
    let intake = intake();
    let its = intake.clone();
    let counting = thread::spawn(move || {
        let (mut feed, mut gaps) = (its.feed(), 0);
        loop {
            match subscriber.recv_timeout(PATIENCE) {
                Ok(Some(Event::Message(message))) => {
                    feed.begin(Dialect::Statsd).datagram(message.payload(), false);
                }
                Ok(Some(Event::Gap(_))) => gaps += 1,
                Ok(Some(Event::StreamEnd(_)) | None) => return Ok(gaps),
                Ok(Some(_)) => {}
                Err(error) => return Err(error),
            }
        }
    });
    let sent = publisher.wait_for(1, Some(PATIENCE)).map_err(|few| few.to_string()).and_then(|()| {
        let mut datagrams = datagrams.iter();
        datagrams.try_for_each(|datagram| publisher.send(datagram)).map_err(|error| error.to_string())
    });
    let closed = publisher.close(PATIENCE).map_err(|unconfirmed| unconfirmed.to_string());
    let gaps = counting.join().map_err(|_| Failure::at_run_time("the subscriber's thread panicked"))?;
    sent.and(closed).map_err(|why| Failure::at_run_time(format_args!("reliable multicast: {why}")))?;
    let gaps = gaps.map_err(|error| Failure::at_run_time(format_args!("reliable multicast: {error}")))?;
    Ok((tally(&intake), gaps))
}
