//! Opens what settings name: sockets and outputs, at the beginning and when the settings change.

use crate::exit::{Failure, say};
use nakcast::net::{Options, Socket, SocketError, resolve};
use nakcast_statsd::admin::Admin;
use nakcast_statsd::config::settings::{At, Listen, Place, Settings};
use nakcast_statsd::listen::Listener;
use nakcast_statsd::output::graphite::Graphite;
use nakcast_statsd::output::prometheus::Server;
use nakcast_statsd::shard::Shard;
use nakcast_statsd::stream::{Bounds, Streams};
use parking_lot::Mutex;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::Thread;

/// Flushes that wait while Graphite is away.
pub(crate) const WAITING: usize = 60;

/// A listener that was asked for.
pub(crate) struct Heard {
    pub(crate) asked: Listen,
    pub(crate) listener: Listener,
}

/// What is opened, and does not listen yet.
pub(crate) enum Opened {
    Socket(Socket),
    /// What is opened only when it listens.
    Later,
}

/// Opens a listener's socket.
pub(crate) fn socket(asked: &Listen, receive_buffer: usize) -> Result<Opened, Failure> {
    // Drops are to be counted by the datagram.
    let options = Options { receive_buffer: Some(receive_buffer), coalesce: false, ..Options::default() };
    let socket = match &asked.at {
        At::Udp(address) => Socket::listen(*address, &options),
        At::Group(group, interface) => {
            let local = resolve(interface.as_deref(), group.ip())
                .map_err(|error| Failure::usage(format_args!("{}: {error}", asked.by)))?;
            Socket::group(*group, &local, None, &options)
        }
        At::Tcp(_) | At::Unix(..) | At::UnixStream(..) => return Ok(Opened::Later),
    };
    socket.map(Opened::Socket).map_err(|error| match &error {
        SocketError::Open { .. } | SocketError::Option { .. } => Failure::at_run_time(error),
        _ => Failure::usage(format_args!("{}: {error}", asked.by)),
    })
}

/// Starts to listen, and wakes `main` should it end.
pub(crate) fn listener(
    asked: Listen,
    opened: Opened,
    bounds: Bounds,
    shard: &Arc<Mutex<Shard>>,
    main: Thread,
) -> Result<Heard, Failure> {
    let (dialect, shard) = (asked.dialect, Arc::clone(shard));
    let ended = move || main.unpark();
    let mut warning = None;
    let listener = match (&asked.at, opened) {
        (_, Opened::Socket(socket)) => {
            warning = socket.buffer_warning();
            Listener::start(socket, dialect, shard, ended)
        }
        (At::Tcp(address), Opened::Later) => Listener::tcp(*address, dialect, bounds, shard),
        #[cfg(unix)]
        (At::Unix(path, mode), Opened::Later) => Listener::unix(path, *mode, dialect, shard, ended),
        #[cfg(unix)]
        (At::UnixStream(path, mode), Opened::Later) => {
            Listener::unix_stream(path, *mode, dialect, bounds, shard)
        }
        (_, Opened::Later) => Err(ErrorKind::Unsupported.into()),
    };
    let listener = listener.map_err(|error| {
        Failure::usage(format_args!("{}: {} cannot be listened to: {error}", asked.by, asked.at))
    })?;
    say(format_args!("listening on {}", listener.name()));
    if let Some(warning) = warning {
        say(format_args!("warning: {warning}"));
    }
    Ok(Heard { asked, listener })
}

/// Starts what sends to Graphite, if it is asked for.
pub(crate) fn graphite(settings: &Settings) -> Result<Option<Graphite>, Failure> {
    let graphite = settings.graphite.as_ref();
    let graphite = graphite.map(|graphite| Graphite::start(graphite.server.clone(), WAITING)).transpose();
    graphite.map_err(|error| Failure::at_run_time(format_args!("no thread to be had: {error}")))
}

/// Starts to answer Prometheus.
pub(crate) fn prometheus(place: &Place, up: &Arc<AtomicBool>) -> Result<Server, Failure> {
    let Place { address, by } = place;
    let server = Server::start(*address, Arc::clone(up))
        .map_err(|error| Failure::usage(format_args!("{by}: {address} cannot be listened to: {error}")))?;
    say(format_args!("metrics at http://{}/metrics", server.address()));
    Ok(server)
}

/// Starts to answer commands.
pub(crate) fn admin(admin: &Arc<Admin>, place: &Place) -> Result<Streams, Failure> {
    let Place { address, by } = place;
    let streams = admin.listen(*address);
    let (streams, address) = streams
        .map_err(|error| Failure::usage(format_args!("{by}: {address} cannot be listened to: {error}")))?;
    say(format_args!("admin port at {}", address));
    Ok(streams)
}
