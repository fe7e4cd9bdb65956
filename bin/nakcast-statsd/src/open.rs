//! Opens what settings name: sockets and outputs, at the beginning and when the settings change. What there is to say of it is
//! kept until all of them are open.

use crate::exit::Failure;
use nakcast::DATAGRAM;
use nakcast::net::{InterfaceError, Options, Socket, SocketError, resolve};
use nakcast_statsd::admin::Admin;
use nakcast_statsd::config::settings::Settings;
use nakcast_statsd::config::settings::{At, Listen, Place};
use nakcast_statsd::intake::Intake;
use nakcast_statsd::listen::Listener;
use nakcast_statsd::output::prometheus::Server;
use nakcast_statsd::stream::{Bounds, Streams};
use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::net::TcpListener;
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
    Port(TcpListener),
    /// What is opened only when it listens.
    Later,
}

/// Where connections are taken by TCP, kept beside whoever takes them: a port that is wanted for something else passes from the
/// one to the other, and at no moment is it closed. Port 0 is another one each time, and none of them is kept.
#[derive(Default)]
pub(crate) struct Ports(Vec<(SocketAddr, TcpListener)>);

impl Ports {
    /// Listens there, unless it is listened to already.
    pub(crate) fn open(
        &mut self,
        address: SocketAddr,
        by: &str,
        what: &dyn Display,
    ) -> Result<TcpListener, Failure> {
        self.get(address).map_err(|error| {
            let is_taken = error.kind() == ErrorKind::AddrInUse;
            let own = self.0.iter().find(|(known, _)| is_taken && is_one(*known, address));
            let own = own.map(|(own, _)| {
                format!(
                    "; the collector has {own} itself: to have both takes another port, to change from it a restart"
                )
            });
            Failure::usage(format_args!(
                "{by}: {what} cannot be listened to: {error}{}",
                own.unwrap_or_default()
            ))
        })
    }

    fn get(&mut self, address: SocketAddr) -> io::Result<TcpListener> {
        if let Some((_, known)) = self.0.iter().find(|(known, _)| *known == address) {
            return known.try_clone();
        }
        let listener = TcpListener::bind(address)?;
        if address.port() != 0 {
            self.0.push((address, listener.try_clone()?));
        }
        Ok(listener)
    }

    /// Lets go of those that are not asked for.
    pub(crate) fn retain(&mut self, settings: &Settings) {
        self.0.retain(|(known, _)| settings.ports().any(|(asked, _)| asked == *known));
    }
}

/// Whether listening at the one may keep others from listening at the other.
fn is_one(one: SocketAddr, other: SocketAddr) -> bool {
    let is_any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && (is_any || one.ip().to_canonical() == other.ip().to_canonical())
}

/// Whether each of what asks for a port, or for a socket of the file system, has one of its own.
pub(crate) fn check(settings: &Settings) -> Result<(), Failure> {
    let ports = settings.ports().filter(|(address, _)| address.port() != 0);
    let ports = ports.map(|(address, by)| (address.to_string(), by));
    let files = settings.listeners.iter().filter_map(|asked| {
        let (path, _) = asked.at.file()?;
        Some((path.display().to_string(), &*asked.by))
    });
    let asked = ports.chain(files).collect::<Vec<_>>();
    for (at, (place, by)) in asked.iter().enumerate() {
        if let Some((_, first)) = asked[..at].iter().find(|(known, _)| known == place) {
            return Err(Failure::usage(format_args!(
                "{by}: {place} is asked for by {first}, too: each takes one of its own"
            )));
        }
    }
    Ok(())
}

/// Opens a listener's socket.
pub(crate) fn socket(
    asked: &Listen,
    receive_buffer: usize,
    threads: usize,
    ports: &mut Ports,
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
        At::Tcp(address) => return ports.open(*address, &asked.by, &asked.at).map(Opened::Port),
        At::Unix(..) | At::UnixStream(..) => return Ok(Opened::Later),
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

/// The largest datagram that is published to a group, in bytes: nakcast's default, or less where the interface's MTU has no
/// room for it, as that of a tunnel.
pub(crate) fn datagram(group: SocketAddr, interface: Option<&str>) -> Result<usize, InterfaceError> {
    let room = resolve(interface, group.ip())?.longest_datagram();
    Ok(room.map_or(DATAGRAM, |room| room.min(DATAGRAM)))
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
        (_, Opened::Port(port)) => Listener::tcp(port, dialect, bounds, intake),
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

/// Is to answer Prometheus, from the first text on.
pub(crate) fn prometheus(
    Place { address, by }: &Place,
    up: &Arc<AtomicBool>,
    ports: &mut Ports,
    said: &mut Vec<String>,
) -> Result<Server, Failure> {
    let port = ports.open(*address, by, address)?;
    let server = Server::start(port, Arc::clone(up))
        .map_err(|error| Failure::usage(format_args!("{by}: {address} cannot be listened to: {error}")))?;
    said.push(format!("metrics at http://{}/metrics", server.address()));
    Ok(server)
}

/// Is to answer commands, once it begins.
pub(crate) fn admin(
    admin: &Arc<Admin>,
    Place { address, by }: &Place,
    ports: &mut Ports,
    said: &mut Vec<String>,
) -> Result<Streams, Failure> {
    let port = ports.open(*address, by, address)?;
    let failed = |error| Failure::usage(format_args!("{by}: {address} cannot be listened to: {error}"));
    let at = port.local_addr().map_err(failed)?;
    let streams = admin.answer_at(port).map_err(failed)?;
    said.push(format!("admin port at {at}"));
    Ok(streams)
}
