//! What the collector is to do, whoever said it.

use super::original::{self, Original};
use super::own;
use crate::line::Dialect;
use crate::output::console::Form;
use crate::output::graphite::{Names, Protocol};
use crate::shard::{Idle, Limits};
use crate::timer::Plan;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// All of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where metrics are heard.
    pub listeners: Vec<Listen>,
    /// What the kernel is asked for as receive buffer of each listener, in bytes.
    pub receive_buffer: usize,
    /// From one flush to the next.
    pub flush_interval: Duration,
    /// What is told of timers.
    pub plan: Plan,
    /// What becomes of idle series.
    pub idle: Idle,
    /// What bounds the memory.
    pub limits: Limits,
    /// How flushes are shown on standard output; `None` leaves it to [`Settings::form`].
    pub console: Option<Console>,
    /// Where Graphite is, and how it is written to.
    pub graphite: Option<Graphite>,
    /// Where Prometheus asks.
    pub prometheus: Option<Place>,
    /// Whether the file is read again when it was changed, without being told to.
    pub watch: bool,
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Where.
    pub at: At,
    /// What a sign before a gauge's value means there.
    pub dialect: Dialect,
    /// Who asked for it: a flag, or a file and a key.
    pub by: String,
}

/// An address to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The address.
    pub address: SocketAddr,
    /// Who asked for it: a flag, or a file and a key.
    pub by: String,
}

/// Where a listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// Datagrams to an address of this machine.
    Udp(SocketAddr),
    /// Datagrams to a multicast group, on an interface by name or address, or on the only one there is.
    Group(SocketAddr, Option<String>),
}

/// How flushes are shown on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Console {
    /// For people.
    Pretty,
    /// A JSON object on each line.
    Json,
    /// Not at all.
    None,
}

/// How Graphite is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graphite {
    /// `HOST:PORT`.
    pub server: String,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// What series are called there.
    pub names: Names,
}

impl Default for Settings {
    /// What is done without file and flags: 127.0.0.1:8125, and a flush on standard output every ten seconds.
    fn default() -> Settings {
        let at = At::Udp((Ipv4Addr::LOCALHOST, 8125).into());
        Settings {
            listeners: vec![Listen { at, dialect: Dialect::Statsd, by: "--listen".into() }],
            receive_buffer: 4 << 20,
            flush_interval: Duration::from_secs(10),
            plan: Plan::default(),
            idle: Idle::default(),
            limits: Limits::default(),
            console: None,
            graphite: None,
            prometheus: None,
            watch: false,
        }
    }
}

impl Settings {
    /// Reads a file: the collector's own if its name ends in `.toml`, the original's if in `.js` or `.json`. What is not done
    /// of what it asks for comes beside the settings, one line each.
    ///
    /// # Errors
    ///
    /// One line that names the file, and if they are known the line and the key, what is wrong and what would be right.
    pub fn read(file: &Path) -> Result<(Settings, Vec<String>), String> {
        let (mut settings, warnings) = match file.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => (own::read(file)?, Vec::new()),
            Some("js" | "json") => {
                let original = Original::read(file)?;
                let named = |line: &String| format!("{}: {line}", file.display());
                let warnings = original.warnings.iter().map(named).collect();
                let settings = Settings::try_from(original);
                (settings.map_err(|problem| format!("{}: {problem}", file.display()))?, warnings)
            }
            _ => {
                return Err(format!(
                    "{}: its name must end in .toml, or in .js or .json if it is the original's configuration",
                    file.display()
                ));
            }
        };
        for by in settings.asked() {
            *by = format!("{}: {by}", file.display());
        }
        Ok((settings, warnings))
    }

    /// Who asked for each address.
    fn asked(&mut self) -> impl Iterator<Item = &mut String> {
        let listeners = self.listeners.iter_mut().map(|listener| &mut listener.by);
        listeners.chain(self.prometheus.iter_mut().map(|place| &mut place.by))
    }

    /// How flushes are shown on standard output, if at all: for people, unless another output is there.
    #[must_use]
    pub fn form(&self) -> Option<Form> {
        match self.console {
            Some(Console::Pretty) => Some(Form::Pretty),
            Some(Console::Json) => Some(Form::Json),
            Some(Console::None) => None,
            None if self.graphite.is_some() || self.prometheus.is_some() => None,
            None => Some(Form::Pretty),
        }
    }
}

impl TryFrom<Original> for Settings {
    type Error = String;

    fn try_from(original: Original) -> Result<Settings, String> {
        let listen = |listener| {
            let at = match listener {
                original::Listener::Udp(address) => At::Udp(address),
                original::Listener::Tcp(_) | original::Listener::Unix(..) => {
                    return Err("server: './servers/tcp' is not listened to yet".to_owned());
                }
            };
            Ok(Listen { at, dialect: Dialect::Statsd, by: "address, port".into() })
        };
        let console = match original.console {
            Some(original::Console { pretty: true }) => Console::Pretty,
            Some(original::Console { pretty: false }) => Console::Json,
            None => Console::None,
        };
        let graphite = |graphite: original::Graphite| Graphite {
            server: graphite.remote.to_string(),
            protocol: graphite.protocol,
            names: graphite.names,
        };
        Ok(Settings {
            listeners: original.listeners.into_iter().map(listen).collect::<Result<_, _>>()?,
            flush_interval: original.flush_interval,
            plan: original.plan,
            idle: original.idle,
            console: Some(console),
            graphite: original.graphite.map(graphite),
            watch: original.reload,
            ..Settings::default()
        })
    }
}
