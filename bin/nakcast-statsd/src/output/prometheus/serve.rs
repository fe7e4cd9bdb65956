//! The HTTP server: `/metrics`, and `/health`.

use super::CONTENT_TYPE;
use crate::clock;
use parking_lot::Mutex;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tiny_http::{Header, Method, Request, Response};

/// How long an address may still be in use.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long it waits before it looks again.
const SHORT: Duration = Duration::from_millis(1);

/// Tells the last text to whoever asks, on a thread of its own, until it is dropped.
pub struct Server {
    /// `None` once it is over.
    http: Option<Arc<tiny_http::Server>>,
    address: SocketAddr,
    text: Arc<Mutex<Arc<str>>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens for TCP at an address; port 0 is any that is free. Until the first text is set, it is empty. `/health` answers
    /// 503 while `up` is false.
    ///
    /// # Errors
    ///
    /// The operating system's: the address is not this machine's, or the port is in use; or there is no thread to be had.
    pub fn start(address: SocketAddr, up: Arc<AtomicBool>) -> io::Result<Server> {
        let http = tiny_http::Server::http(address).map_err(into_io)?;
        let address = http.server_addr().to_ip().unwrap_or(address);
        let (http, text) = (Arc::new(http), Arc::new(Mutex::new(Arc::from(""))));
        let (its, texts) = (Arc::clone(&http), Arc::clone(&text));
        let thread = thread::Builder::new().name("prometheus".into()).spawn(move || {
            // An error, too, is how it is told to end.
            while let Ok(request) = its.recv() {
                answer(request, &texts, &up);
            }
        })?;
        Ok(Server { http: Some(http), address, text, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What is told from now on.
    pub fn set(&self, text: String) {
        *self.text.lock() = text.into();
    }
}

impl Drop for Server {
    /// Ends it, and waits until its address can be had again, for a second at most.
    fn drop(&mut self) {
        if let Some(http) = self.http.take() {
            http.unblock();
        }
        if let Some(thread) = self.thread.take() {
            // A panic there has been told already.
            let _ = thread.join();
        }
        // Who takes connections there ends by and by, and nothing tells when.
        let until = clock::now() + PATIENCE;
        while TcpListener::bind(self.address).is_err() && clock::now() < until {
            thread::park_timeout(SHORT);
        }
    }
}

fn into_io(error: Box<dyn std::error::Error + Send + Sync>) -> io::Error {
    match error.downcast::<io::Error>() {
        Ok(error) => *error,
        Err(error) => io::Error::other(error),
    }
}

fn answer(request: Request, text: &Mutex<Arc<str>>, up: &AtomicBool) {
    let path = request.url().split('?').next().unwrap_or_default();
    let is_get = matches!(request.method(), Method::Get | Method::Head);
    let (status, body) = match path {
        _ if !is_get => (405, Arc::from("only GET and HEAD\n")),
        "/metrics" => (200, Arc::clone(&text.lock())),
        "/health" if up.load(Ordering::Relaxed) => (200, Arc::from("up\n")),
        "/health" => (503, Arc::from("down\n")),
        _ => (404, Arc::from("there are /metrics and /health\n")),
    };
    let mut response = Response::from_string(&*body).with_status_code(status);
    if let Ok(header) = Header::from_bytes("Content-Type", CONTENT_TYPE) {
        response = response.with_header(header);
    }
    // Whoever asked went away.
    let _ = request.respond(response);
}
