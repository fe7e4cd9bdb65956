//! Delivery to Graphite: a connection for each flush.
//!
//! A flush counts as sent when all of it was written and the other side has closed its end too, as carbon does when it has
//! read to ours. What is not sure to have come is sent again: Graphite keeps one value for each path and time.

use crate::output::queue::Queue;
use crate::output::server::connect;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

/// How long a connection, a write and the other side's closing may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Starts to send to `server`, `HOST:PORT`, which is looked up anew for each connection; up to `most` flushes wait (at least
/// 1), of which the oldest is given up first.
///
/// # Errors
///
/// The operating system's, when it has no thread.
pub fn start(server: String, most: usize) -> io::Result<Queue> {
    let name = server.clone();
    Queue::start(name, most, move |payload| deliver(&server, payload))
}

fn deliver(server: &str, payload: &[u8]) -> io::Result<()> {
    let mut stream = connect(server, PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(payload)?;
    stream.shutdown(Shutdown::Write)?;
    let mut nothing = [0; 512];
    loop {
        match stream.read(&mut nothing) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(io::Error::new(ErrorKind::TimedOut, "it read, and did not close its end"));
            }
            Err(error) => return Err(error),
        }
    }
}
