//! What flushes are written to.

use crate::exit::{Failure, say};
use crate::open::{self, Ports};
use nakcast::Publisher;
use nakcast_statsd::clock;
use nakcast_statsd::config::settings::{Place, Publish, Settings, ToFile};
use nakcast_statsd::flush::{Own, Snapshot};
use nakcast_statsd::output::console::{self, Form};
use nakcast_statsd::output::prometheus::{Exposition, Server};
use nakcast_statsd::output::queue::{Queue, Sent};
use nakcast_statsd::output::repeater::{Repeated, Repeater, Taps};
use nakcast_statsd::output::{graphite, influx};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Flushes that wait while a server is away.
const WAITING: usize = 60;

/// How long what waits for a server is still tried at the end.
const LINGER: Duration = Duration::from_secs(5);

/// How long datagrams that wait to be sent on are still tried when they have no server any more.
const LAST: Duration = Duration::from_secs(1);

/// How long a flush waits for slow subscribers.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a flush was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    Told,
    /// Nobody reads standard output any more.
    Unread,
}

/// All outputs that last from flush to flush.
#[derive(Default)]
pub(crate) struct Outputs {
    graphite: Option<Queue>,
    influx: Option<Queue>,
    prometheus: Option<(Exposition, Server)>,
    publisher: Option<Publisher>,
    repeater: Option<Repeater>,
    /// Repeaters that send what waits for servers that are not asked for any more; they give back how that went.
    ending: Vec<JoinHandle<Vec<Repeated>>>,
    /// How that went.
    gone: Vec<Repeated>,
    /// Flushes that could not be written to the file, and are not told of yet.
    unwritten: u64,
}

/// What new settings need that was not there.
pub(crate) struct New {
    graphite: Option<Queue>,
    influx: Option<Queue>,
    prometheus: Option<Server>,
    publisher: Option<Publisher>,
    repeater: Option<Repeater>,
}

impl New {
    /// Opens what `next` asks for and `now` did not. This can fail; then nothing has changed.
    pub(crate) fn open(
        now: &Settings,
        next: &Settings,
        up: &Arc<AtomicBool>,
        ports: &mut Ports,
        said: &mut Vec<String>,
    ) -> Result<New, Failure> {
        let no_thread = |error: io::Error| Failure::at_run_time(format_args!("no thread to be had: {error}"));
        let server = |settings: &Settings| settings.graphite.as_ref().map(|graphite| graphite.server.clone());
        let graphite = server(next).filter(|_| server(now) != server(next));
        let graphite =
            graphite.map(|server| graphite::start(server, WAITING)).transpose().map_err(no_thread)?;
        let influx = next.influx.as_ref().filter(|_| now.influx != next.influx);
        let influx = influx.map(|influx| Queue::start(influx.url.clone(), WAITING, influx.deliver()));
        let influx = influx.transpose().map_err(no_thread)?;
        let prometheus = anew(now.prometheus.as_ref(), next.prometheus.as_ref());
        let prometheus = prometheus.map(|place| open::prometheus(place, up, ports, said)).transpose()?;
        let publisher = next.publish.as_ref().filter(|_| now.publish != next.publish);
        let publisher = publisher.map(publisher_of).transpose()?;
        let is_other = now.repeat != next.repeat && !next.repeat.is_empty();
        let repeater = is_other.then(|| Repeater::start(&next.repeat)).transpose();
        let repeater = repeater.map_err(Failure::usage)?;
        Ok(New { graphite, influx, prometheus, publisher, repeater })
    }
}

/// Looks whether the file can be written that `next` asks for and `now` did not. If it is not there, it is made.
pub(crate) fn try_file(now: &Settings, next: &Settings) -> Result<(), Failure> {
    let path = |settings: &Settings| settings.file.as_ref().map(|file| file.path.clone());
    let Some(file) = next.file.as_ref().filter(|_| path(now) != path(next)) else { return Ok(()) };
    appendable(file).map(drop).map_err(|error| {
        let (by, path) = (&file.by, file.path.display());
        Failure::usage(format_args!(
            "{by}: {path} cannot be opened: {error}; it takes a file that can be written, a new one in a folder that is there, or a pipe that somebody reads"
        ))
    })
}

/// What is asked for next, unless it is there already.
pub(crate) fn anew<'a>(now: Option<&Place>, next: Option<&'a Place>) -> Option<&'a Place> {
    next.filter(|next| now.is_none_or(|now| now.address != next.address))
}

fn publisher_of(publish: &Publish) -> Result<Publisher, Failure> {
    let interface = publish.interface.as_deref();
    let datagram = open::datagram(publish.group, interface)
        .map_err(|error| Failure::usage(format_args!("{}: {error}", publish.by)))?;
    let mut builder = Publisher::builder(publish.group).topic(&publish.topic).datagram(datagram);
    if let Some(interface) = interface {
        builder = builder.interface(interface);
    }
    builder.open().map_err(|error| Failure::usage(format_args!("{}: {error}", publish.by)))
}

impl Outputs {
    /// Takes what was opened, and ends what is asked for no more.
    pub(crate) fn adopt(&mut self, next: &Settings, new: New, taps: &Arc<Taps>) {
        for (old, new, is_asked) in [
            (&mut self.graphite, new.graphite, next.graphite.is_some()),
            (&mut self.influx, new.influx, next.influx.is_some()),
        ] {
            if (new.is_some() || !is_asked)
                && let Some(old) = mem::replace(old, new)
            {
                // What waits for it is tried meanwhile.
                let _ = thread::Builder::new().name("sender".into()).spawn(move || old.end(LINGER));
            }
        }
        let old = self.prometheus.take().filter(|_| next.prometheus.is_some());
        // The old server ends before the new one begins, which may have its port.
        self.prometheus = match (new.prometheus, old) {
            (Some(new), Some((exposition, _))) => Some((exposition, new)),
            (Some(new), None) => Some((Exposition::new(next.limits.series), new)),
            (None, old) => old,
        };
        if let Some((exposition, server)) = &mut self.prometheus {
            exposition.map(next.limits.series, next.rules());
            server.set(exposition.text());
        }
        if new.publisher.is_some() || next.publish.is_none() {
            self.publisher = new.publisher;
        }
        if new.repeater.is_some() || next.repeat.is_empty() {
            let old = mem::replace(&mut self.repeater, new.repeater);
            if let Some(repeater) = &mut self.repeater {
                repeater.tap(taps);
            }
            self.ending.extend(old.and_then(last));
        }
    }

    /// How the sending to Graphite went until now.
    pub(crate) fn graphite(&self) -> Option<Sent> {
        self.graphite.as_ref().map(Queue::sent)
    }

    /// How it went with them until now.
    pub(crate) fn tell(&mut self, own: &mut Own) {
        own.graphite = self.graphite();
        own.repeated = self.repeater.as_ref().map(Repeater::told).unwrap_or_default();
        self.gather(JoinHandle::is_finished);
        self.gone.drain(..).for_each(|gone| gone.add_to(&mut own.repeated));
        own.unwritten = mem::take(&mut self.unwritten);
    }

    /// Writes a flush to all of them.
    pub(crate) fn write(&mut self, snapshot: &Snapshot, settings: &Settings) -> Result<Flushed, Failure> {
        for queue in self.graphite.iter().chain(&self.influx) {
            if let Some(failure) = queue.failure() {
                say(format_args!("warning: {failure}; up to {WAITING} flushes wait for it"));
            }
        }
        self.repeater.iter().for_each(warn);
        if let (Some(queue), Some(asked)) = (&self.graphite, &settings.graphite) {
            let begun = clock::now();
            let payload = asked.names.payload(snapshot, asked.protocol);
            queue.send(payload, clock::now() - begun);
        }
        if let Some(queue) = &self.influx {
            let begun = clock::now();
            let payload = influx::lines(snapshot, &settings.stats_prefix());
            queue.send(payload, clock::now() - begun);
        }
        if let Some((exposition, server)) = &mut self.prometheus {
            exposition.add(snapshot);
            for refused in exposition.refused() {
                say(format_args!("warning: not told to Prometheus: {refused}"));
            }
            server.set(exposition.text());
        }
        if let Some(publisher) = &mut self.publisher {
            let message = console::text(snapshot, Form::Json);
            let sent = publisher.send_timeout(message.trim_end().as_bytes(), PATIENCE);
            if let Err(error) = sent.and_then(|()| publisher.flush()) {
                say(format_args!("warning: a flush was not published: {error}"));
            }
        }
        if let Some(file) = &settings.file
            && let Err(error) = append(file, snapshot)
        {
            self.unwritten += 1;
            say(format_args!("warning: a flush was not written to {}: {error}", file.path.display()));
        }
        let Some(form) = settings.form() else { return Ok(Flushed::Told) };
        match io::stdout().lock().write_all(console::text(snapshot, form).as_bytes()) {
            Ok(()) => Ok(Flushed::Told),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Flushed::Unread),
            Err(error) => Err(Failure::at_run_time(format_args!("standard output: {error}"))),
        }
    }

    /// Ends the sending on, so that the last flush tells of all of it.
    pub(crate) fn end_repeater(&mut self) {
        self.ending.extend(self.repeater.take().and_then(last));
        self.gather(|_| true);
    }

    /// Waits for repeaters that are ending, and takes what they tell.
    fn gather(&mut self, is_due: impl Fn(&JoinHandle<Vec<Repeated>>) -> bool) {
        for ended in self.ending.extract_if(.., |ending| is_due(ending)) {
            // A panic there has been told already.
            self.gone.extend(ended.join().unwrap_or_default());
        }
    }

    /// Ends them all, once what waits has gone or had its time.
    pub(crate) fn end(self) -> Result<(), Failure> {
        let mut failures = Vec::new();
        for (queue, who) in [(self.graphite, "Graphite"), (self.influx, "InfluxDB")] {
            let waiting = queue.map_or(0, |queue| queue.end(LINGER));
            if waiting > 0 {
                failures.push(format!("{who} did not take {waiting} of the flushes that waited for it"));
            }
        }
        if let Some(Err(error)) = self.publisher.map(|publisher| publisher.close(LINGER)) {
            failures.push(format!("publishing: {error}"));
        }
        if failures.is_empty() { Ok(()) } else { Err(Failure::at_run_time(failures.join("; "))) }
    }
}

/// Has a repeater send what waits, on a thread of its own, and end; `None` if there is no thread to be had: then it ends at once.
fn last(mut repeater: Repeater) -> Option<JoinHandle<Vec<Repeated>>> {
    let end = move || {
        repeater.end(LAST);
        warn(&repeater);
        repeater.told()
    };
    thread::Builder::new().name("repeater".into()).spawn(end).ok()
}

fn warn(repeater: &Repeater) {
    for failure in repeater.failures() {
        say(format_args!("warning: sending on: {failure}; what comes meanwhile is dropped there"));
    }
}

fn appendable(file: &ToFile) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    return open_without_waiting(&mut options, &file.path);
    #[cfg(not(unix))]
    options.open(&file.path)
}

/// Opens a file. A pipe that nobody reads is an error: it would be waited for until somebody does.
#[cfg(unix)]
fn open_without_waiting(options: &mut OpenOptions, path: &std::path::Path) -> io::Result<File> {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
    let file = options.custom_flags(OFlags::NONBLOCK.bits() as i32).open(path).map_err(|error| {
        let is_pipe = std::fs::metadata(path).is_ok_and(|file| file.file_type().is_fifo());
        let is_unread = is_pipe && error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error());
        if is_unread { io::Error::new(error.kind(), "it is a pipe that nobody reads") } else { error }
    })?;
    // Once it is open it is written to as any other.
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

fn append(file: &ToFile, snapshot: &Snapshot) -> io::Result<()> {
    let text = console::text(snapshot, file.form);
    let mut into = appendable(file)?;
    let before = into.metadata()?.len();
    into.write_all(text.as_bytes()).inspect_err(|_| {
        // A part of a flush would spoil the next one. What is no file of bytes keeps it.
        let _ = into.set_len(before);
    })
}
