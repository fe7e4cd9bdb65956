//! Opens what settings name: sockets and outputs, at the beginning and when the settings change. What there is to say of it is
//! kept until all of them are open.

use crate::exit::Failure;
use nakcast::net::{Options, Socket, SocketError, resolve};
use nakcast_statsd::admin::Admin;
use nakcast_statsd::config::settings::{At, Listen, Place};
use nakcast_statsd::intake::Intake;
use nakcast_statsd::listen::Listener;
use nakcast_statsd::output::prometheus::Server;
use nakcast_statsd::stream::{Bounds, Streams};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::Thread;

/// A listener that was asked for.
pub(crate) struct Heard {
    pub(crate) asked: Listen,
    pub(crate) listener: Listener,
}

/// What is opened before all else.
pub(crate) enum Opened {
    Sockets(Vec<Socket>),
    /// What is opened only when it listens.
    Later,
}

/// Opens a listener's socket.
pub(crate) fn socket(
    asked: &Listen,
    receive_buffer: usize,
    threads: usize,
    said: &mut Vec<String>,
) -> Result<Opened, Failure> {
    // Drops are to be counted by the datagram.
    let options = Options { receive_buffer: Some(receive_buffer), coalesce: false, ..Options::default() };
    let sockets = match &asked.at {
        At::Udp(address) => unicast(*address, &options, threads, said),
        At::Group(group, interface) => {
            let local = resolve(interface.as_deref(), group.ip())
                .map_err(|error| Failure::usage(format_args!("{}: {error}", asked.by)))?;
            // Each socket would hear all of it.
            Socket::group(*group, &local, None, &options).map(|socket| vec![socket])
        }
        At::Tcp(_) | At::Unix(..) | At::UnixStream(..) => return Ok(Opened::Later),
    };
    sockets.map(Opened::Sockets).map_err(|error| match &error {
        SocketError::Open { .. } | SocketError::Option { .. } => Failure::at_run_time(error),
        _ => Failure::usage(format_args!("{}: {error}", asked.by)),
    })
}

/// Sockets among which the kernel spreads what comes, by its sender.
fn unicast(
    address: SocketAddr,
    options: &Options,
    threads: usize,
    said: &mut Vec<String>,
) -> Result<Vec<Socket>, SocketError> {
    let first = Socket::listen(address, options)?;
    #[cfg(target_os = "linux")]
    if threads > 1 {
        // Alone it could be had: nobody else has the port, who would be given a part.
        let address = first.local_addr();
        drop(first);
        return (0..threads).map(|_| Socket::listen_shared(address, options)).collect();
    }
    if threads > 1 {
        said.push("warning: threads: there is one for each listener: nothing here spreads datagrams".into());
    }
    Ok(vec![first])
}

/// Is to listen once it begins, and wakes `main` should it end.
pub(crate) fn listener(
    asked: Listen,
    opened: Opened,
    bounds: Bounds,
    intake: &Intake,
    main: Thread,
    said: &mut Vec<String>,
) -> Result<Heard, Failure> {
    let (dialect, intake) = (asked.dialect, intake.clone());
    let ended = move || main.unpark();
    let mut warning = None;
    let listener = match (&asked.at, opened) {
        (_, Opened::Sockets(sockets)) => {
            warning = sockets.first().and_then(Socket::buffer_warning);
            Listener::start(sockets, dialect, intake, ended)
        }
        (At::Tcp(address), Opened::Later) => Listener::tcp(*address, dialect, bounds, intake),
        #[cfg(unix)]
        (At::Unix(path, mode), Opened::Later) => Listener::unix(path, *mode, dialect, intake, ended),
        #[cfg(unix)]
        (At::UnixStream(path, mode), Opened::Later) => {
            Listener::unix_stream(path, *mode, dialect, bounds, intake)
        }
        (_, Opened::Later) => Err(ErrorKind::Unsupported.into()),
    };
    let listener = listener.map_err(|error| {
        Failure::usage(format_args!("{}: {} cannot be listened to: {error}", asked.by, asked.at))
    })?;
    said.push(format!("listening on {}", listener.name()));
    said.extend(warning.map(|warning| format!("warning: {warning}")));
    Ok(Heard { asked, listener })
}

/// Starts to answer Prometheus.
pub(crate) fn prometheus(
    place: &Place,
    up: &Arc<AtomicBool>,
    said: &mut Vec<String>,
) -> Result<Server, Failure> {
    let Place { address, by } = place;
    let server = Server::start(*address, Arc::clone(up))
        .map_err(|error| Failure::usage(format_args!("{by}: {address} cannot be listened to: {error}")))?;
    said.push(format!("metrics at http://{}/metrics", server.address()));
    Ok(server)
}

/// Starts to answer commands.
pub(crate) fn admin(admin: &Arc<Admin>, place: &Place, said: &mut Vec<String>) -> Result<Streams, Failure> {
    let Place { address, by } = place;
    let streams = admin.listen(*address);
    let (streams, address) = streams
        .map_err(|error| Failure::usage(format_args!("{by}: {address} cannot be listened to: {error}")))?;
    said.push(format!("admin port at {address}"));
    Ok(streams)
}
