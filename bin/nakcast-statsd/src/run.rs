//! Flushes until told to end.

use crate::args::{Args, Command};
use crate::exit::{Exit, Failure, say};
use crate::open::{self, Heard, Ports};
use crate::outputs::{self, Flushed, New, Outputs, anew};
use crate::signals::Signals;
use crate::{blast, demo};
use nakcast_statsd::admin::{Admin, Told};
use nakcast_statsd::clock;
use nakcast_statsd::config::settings::{Listen, Settings};
use nakcast_statsd::config::{circle, own};
use nakcast_statsd::flush::{self, Snapshot};
use nakcast_statsd::intake::Intake;
use nakcast_statsd::output::repeater::Taps;
use nakcast_statsd::shard::Interval;
use nakcast_statsd::stream::Streams;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

struct Collector {
    args: Args,
    settings: Settings,
    plan: Arc<nakcast_statsd::timer::Plan>,
    listeners: Vec<Heard>,
    /// What was heard at last by listeners that are not there any more.
    gone: Vec<nakcast_statsd::flush::Heard>,
    intake: Intake,
    /// For each UDP listener, and as many shards: as it was at the beginning.
    threads: usize,
    taps: Arc<Taps>,
    ports: Ports,
    outputs: Outputs,
    admin: Arc<Admin>,
    /// Answers commands, if it is asked for.
    commands: Option<Streams>,
    /// What `health` says.
    up: Arc<AtomicBool>,
    last_flush: Option<u64>,
    signals: Arc<Signals>,
    /// What the configuration's file was when it was read.
    file: Option<Version>,
}

/// How long a file that is watched is left alone after a change.
const SETTLED: Duration = Duration::from_secs(1);

/// When a file was changed, and how long it is.
type Version = (SystemTime, u64);

/// What there is to do.
enum Woken {
    Due,
    Again,
    End,
}

pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    match &args.command {
        Some(Command::Blast(blast)) => return blast::run(blast),
        Some(Command::Demo(demo)) => return demo::run(demo),
        None => {}
    }
    if args.example_config {
        return match io::stdout().lock().write_all(own::example().as_bytes()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Failure::at_run_time(format_args!("standard output: {error}")))
            }
            _ => Ok(Exit::Done),
        };
    }
    let file = version(&args);
    let settings = read(&args)?;
    let signals = Signals::catch()?;
    let up = Arc::new(AtomicBool::new(settings.is_up));
    let told = Told {
        start: clock::wall_seconds(),
        bad_lines: 0,
        metrics: 0,
        packets: 0,
        console: None,
        graphite: None,
        timestamp_lag: None,
        prefix: String::new(),
        config: Vec::new(),
        probes: Vec::new(),
    };
    let taps = Arc::default();
    let intake = Intake::new(settings.threads, settings.limits, settings.idle, Arc::clone(&taps));
    let mut collector = Collector {
        admin: Admin::new(intake.clone(), told, Arc::clone(&up)),
        commands: None,
        up,
        plan: Arc::new(settings.plan.clone()),
        threads: settings.threads,
        intake,
        taps,
        listeners: Vec::new(),
        gone: Vec::new(),
        ports: Ports::default(),
        outputs: Outputs::default(),
        last_flush: None,
        signals,
        file,
        settings: nothing_yet(&settings),
        args,
    };
    let opened = collector.open(&settings)?;
    collector.adopt(settings, opened);
    collector.serve()
}

/// What is configured, and typed over it.
fn read(args: &Args) -> Result<Settings, Failure> {
    let (mut settings, mut warnings) = match &args.config {
        Some(file) => Settings::read(file).map_err(Failure::usage)?,
        None => (Settings::default(), Vec::new()),
    };
    args.over(&mut settings).map_err(Failure::usage)?;
    circle::check(&settings).map_err(Failure::usage)?;
    warnings.append(&mut settings.read_mapping().map_err(Failure::usage)?);
    for warning in warnings {
        say(format_args!("warning: {warning}"));
    }
    Ok(settings)
}

fn version(args: &Args) -> Option<Version> {
    let file = fs::metadata(args.config.as_ref()?).ok()?;
    Some((file.modified().ok()?, file.len()))
}

/// Whether a file was left alone for a while. One that was not may be read when the half of it is written, or nothing, which is a
/// configuration, too; it is looked at again at the next flush.
fn is_whole((changed, _): Version) -> bool {
    clock::since(changed).is_none_or(|since| since >= SETTLED)
}

/// What new settings need that was not there.
struct Opened {
    /// For each listener the place of one that stays, or one that is new.
    listeners: Vec<Result<usize, Heard>>,
    outputs: New,
    commands: Option<Streams>,
    /// What there is to say of it, a line each.
    said: Vec<String>,
}

impl Collector {
    /// Of each listener that is asked for the place of the one that is there already.
    fn there(&self, settings: &Settings) -> Vec<Option<usize>> {
        let mut stays = vec![false; self.listeners.len()];
        let mut find = |asked: &Listen| {
            let same = |(at, known): &(usize, &Heard)| !stays[*at] && known.asked.at.is_same(&asked.at);
            let found = self.listeners.iter().enumerate().find(same).map(|(at, _)| at)?;
            stays[found] = true;
            Some(found)
        };
        settings.listeners.iter().map(&mut find).collect()
    }

    /// Opens what settings ask for and is not there. This can fail; then nothing has changed.
    fn open(&mut self, settings: &Settings) -> Result<Opened, Failure> {
        let opened = self.try_open(settings);
        if opened.is_err() {
            self.ports.retain(&self.settings);
        }
        opened
    }

    fn try_open(&mut self, settings: &Settings) -> Result<Opened, Failure> {
        open::check(settings)?;
        let (mut sockets, mut said) = (Vec::new(), Vec::new());
        for (asked, there) in settings.listeners.iter().zip(self.there(settings)) {
            let path = asked.at.file().map(|(path, _)| path);
            let file = |heard: &&Heard| heard.asked.at.file().is_some_and(|(own, _)| Some(own) == path);
            sockets.push(match (there, self.listeners.iter().find(file)) {
                (Some(at), _) => Ok(at),
                (None, Some(own)) => {
                    let (by, at, own) = (&asked.by, &asked.at, &own.asked.at);
                    return Err(Failure::usage(format_args!(
                        "{by}: {at} cannot be listened to: the collector has {own}, and changing from that takes a restart"
                    )));
                }
                (None, None) => {
                    let (buffer, ports) = (settings.receive_buffer, &mut self.ports);
                    Err((asked.clone(), open::socket(asked, buffer, self.threads, ports, &mut said)?))
                }
            });
        }
        let outputs = New::open(&self.settings, settings, &self.up, &mut self.ports, &mut said)?;
        let listeners = sockets.into_iter().map(|socket| match socket {
            Ok(at) => Ok(Ok(at)),
            Err((asked, socket)) => {
                let main = thread::current();
                open::listener(asked, socket, settings.streams, &self.intake, main, &mut said).map(Err)
            }
        });
        let listeners = listeners.collect::<Result<_, Failure>>()?;
        let commands = anew(self.settings.admin.as_ref(), settings.admin.as_ref());
        let ports = &mut self.ports;
        let commands = commands.map(|place| open::admin(&self.admin, place, ports, &mut said)).transpose()?;
        // Last: what it makes would be left behind.
        outputs::try_file(&self.settings, settings)?;
        Ok(Opened { listeners, outputs, commands, said })
    }

    /// Does as the settings say from now on, with what was opened for them.
    fn adopt(&mut self, settings: Settings, opened: Opened) {
        // At first: nobody is to connect where nobody will listen.
        self.ports.retain(&settings);
        let mut known = mem::take(&mut self.listeners).into_iter().map(Some).collect::<Vec<_>>();
        for (listener, asked) in opened.listeners.into_iter().zip(&settings.listeners) {
            let heard = listener.map_or_else(Some, |at| known[at].take());
            let Some(Heard { asked: before, listener }) = heard else { continue };
            listener.speak(asked.dialect);
            let mut asked = asked.clone();
            if before.at != asked.at && !set_mode(&asked) {
                // It is tried again when the configuration is read again.
                asked.at = before.at;
            }
            self.listeners.push(Heard { asked, listener });
        }
        // What ends does so before what begins, which may have its port.
        known.into_iter().flatten().for_each(|heard| self.end_listener(heard));
        if settings.admin.is_none() || opened.commands.is_some() {
            self.commands = None;
        }
        self.outputs.adopt(&settings, opened.outputs, &self.taps);
        self.commands = opened.commands.or(self.commands.take());
        self.intake.set(settings.limits, settings.idle);
        self.plan = Arc::new(settings.plan.clone());
        self.settings = settings;
        // All that what they take goes to is there.
        self.listeners.iter().for_each(|heard| heard.listener.begin());
        self.tell();
        self.commands.iter().for_each(Streams::begin);
        // Last: who reads it and asks is answered.
        opened.said.iter().for_each(say);
    }

    /// Ends a listener, once it has taken what came.
    fn end_listener(&mut self, Heard { mut listener, .. }: Heard) {
        listener.end();
        if let Err(error) = listener.join() {
            say(format_args!("warning: listening on {}: {error}", listener.name()));
        }
        self.gone.push(listener.heard());
    }

    /// What the admin port tells of.
    fn tell(&self) {
        self.admin.tell(|told| {
            told.config = self.settings.lines();
            told.prefix = self.settings.stats_prefix();
            told.probes = self.listeners.iter().map(|heard| heard.listener.probe()).collect();
            told.graphite = self.outputs.graphite();
            told.console = self.settings.form().map(|_| self.last_flush.unwrap_or(told.start));
        });
    }

    /// Reads the configuration, and opens what it asks for.
    fn prepare(&mut self) -> Result<(Settings, Opened), Failure> {
        let settings = read(&self.args)?;
        let opened = self.open(&settings)?;
        Ok((settings, opened))
    }

    /// Reads the configuration again. If it is wrong, or what it asks for is not to be had, all stays as it is. Tells whether
    /// flushes are at other times from now on.
    fn read_again(&mut self) -> Result<bool, Failure> {
        self.file = version(&self.args);
        let (settings, opened) = match self.prepare() {
            Ok(anew) => anew,
            Err(failure) => {
                failure.warn("the old configuration stays");
                return Ok(false);
            }
        };
        let other = settings.flush_interval != self.settings.flush_interval;
        if other {
            // What came until now belongs to the old interval.
            self.flush()?;
        }
        for (what, is_other) in [
            ("threads: another number", settings.threads != self.threads),
            ("receive_buffer: another size", settings.receive_buffer != self.settings.receive_buffer),
        ] {
            if is_other {
                say(format_args!("warning: {what} takes a restart"));
            }
        }
        self.adopt(settings, opened);
        say("the configuration was read again");
        Ok(other)
    }

    /// Flushes at every interval from the beginning on, and once more at the end.
    fn serve(&mut self) -> Result<Exit, Failure> {
        let mut next = clock::now() + self.settings.flush_interval;
        loop {
            match self.wait_until(next) {
                Woken::End => break,
                Woken::Again => {}
                Woken::Due => {
                    if self.flush()? == Flushed::Unread {
                        return Ok(Exit::Done);
                    }
                    // What a slow standard output made it miss is not made up for.
                    let interval = self.settings.flush_interval;
                    let late = clock::now().saturating_duration_since(next);
                    let missed = (late.as_secs_f64() / interval.as_secs_f64()) as u32;
                    next += interval * (missed + 1);
                    let now = self.settings.watch.then(|| version(&self.args)).flatten();
                    if now == self.file || !now.is_some_and(is_whole) {
                        continue;
                    }
                }
            }
            if self.read_again()? {
                next = clock::now() + self.settings.flush_interval;
            }
        }
        self.end()
    }

    fn end(&mut self) -> Result<Exit, Failure> {
        self.listeners.iter().for_each(|heard| heard.listener.end());
        let mut result = Ok(Exit::Done);
        for Heard { listener, .. } in &mut self.listeners {
            if let Err(error) = listener.join() {
                result = Err(Failure::at_run_time(format_args!("listening on {}: {error}", listener.name())));
            }
        }
        self.outputs.end_repeater();
        let flushed = self.flush();
        mem::take(&mut self.outputs).end()?;
        flushed?;
        result
    }

    /// Waits until the moment has come, or until there is something else to do.
    fn wait_until(&self, moment: Instant) -> Woken {
        loop {
            if self.signals.end() || self.listeners.iter().any(|heard| heard.listener.has_ended()) {
                return Woken::End;
            }
            if self.signals.take_again() {
                return Woken::Again;
            }
            let left = moment.saturating_duration_since(clock::now());
            if left.is_zero() {
                return Woken::Due;
            }
            thread::park_timeout(left);
        }
    }

    /// Takes what was added up, and writes it.
    fn flush(&mut self) -> Result<Flushed, Failure> {
        let begun = clock::now();
        let (time, seconds) = (clock::wall_seconds(), self.settings.flush_interval.as_secs_f64());
        let mut intervals = Vec::new();
        self.admin.tell(|told| {
            intervals = self.intake.take();
            for Interval { tally, .. } in &intervals {
                told.bad_lines += tally.bad;
                told.metrics += tally.metrics;
                told.packets += tally.packets;
            }
        });
        let keep = self.settings.rules().is_some_and(|rules| rules.needs_samples());
        let mut snapshot = Snapshot::keeping(intervals, &self.plan, time, seconds, keep);
        let own = &mut snapshot.own;
        own.heard = self.listeners.iter_mut().map(|heard| heard.listener.heard()).collect();
        self.gone.drain(..).for_each(|gone| gone.add_to(&mut own.heard));
        own.loss = self.settings.estimate.then(|| flush::loss(&own.heard)).flatten();
        own.timestamp_lag = self.last_flush.map(|last| time as f64 - last as f64 - seconds);
        self.outputs.tell(own);
        own.processing_ms = millis(clock::now() - begun);
        self.last_flush = Some(time);
        self.admin.tell(|told| {
            (told.graphite, told.timestamp_lag) = (own.graphite, own.timestamp_lag);
            told.console = self.settings.form().map(|_| time);
        });
        if let Some((line, why)) = &snapshot.tally.a_bad_line {
            let (bad, line) = (snapshot.tally.bad, line.escape_ascii());
            say(format_args!("warning: {bad} bad lines, such as \"{line}\": {why}"));
        }
        self.outputs.write(&snapshot, &self.settings)
    }
}

/// The settings of a collector that has nothing opened yet.
fn nothing_yet(settings: &Settings) -> Settings {
    Settings {
        graphite: None,
        influx: None,
        prometheus: None,
        publish: None,
        file: None,
        admin: None,
        repeat: Vec::new(),
        ..settings.clone()
    }
}

/// Gives a socket that stays another mode; false if that failed.
fn set_mode(asked: &Listen) -> bool {
    let by = &asked.by;
    match asked.at.file() {
        #[cfg(unix)]
        Some((path, Some(mode))) => {
            use std::os::unix::fs::PermissionsExt;
            if let Err(error) = fs::set_permissions(path, fs::Permissions::from_mode(mode)) {
                say(format_args!("warning: {by}: {} keeps its mode: {error}", path.display()));
                return false;
            }
        }
        Some((path, _)) => {
            say(format_args!("warning: {by}: {}: to leave its mode out takes a restart", path.display()));
        }
        None => {}
    }
    true
}

fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}
