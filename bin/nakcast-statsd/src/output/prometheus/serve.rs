//! The HTTP server: `/metrics`, and `/health`.

use super::CONTENT_TYPE;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE as TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::ready;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutWriter;

/// Connections at one time; for one more the oldest is closed.
const CONNECTIONS: usize = 64;

/// After how long a connection is closed, so that one that says nothing, or reads slowly, has no place and no text for ever.
const LIFE: Duration = Duration::from_secs(120);

/// How long an answer may take that is on its way by then.
const LAST: Duration = Duration::from_secs(10);

/// How long a connection that does not read what it asked for is waited for: it keeps the text of a flush that is over.
const STALL: Duration = Duration::from_secs(10);

/// How long it waits before it tries again to take connections.
const SHORT: Duration = Duration::from_millis(100);

/// Tells the last text to whoever asks, on a thread of its own, from the first text on and until it is dropped. Who asks before
/// waits in the kernel.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    /// `None` once it is over.
    text: Option<Texts>,
    thread: Option<thread::JoinHandle<()>>,
}

type Texts = watch::Sender<Option<Bytes>>;
type Text = watch::Receiver<Option<Bytes>>;

impl Server {
    /// Is to answer who connects. `/health` answers 503 while `up` is false.
    ///
    /// # Errors
    ///
    /// The operating system's, when it has no thread or nothing to wait with.
    pub fn start(listener: TcpListener, up: Arc<AtomicBool>) -> io::Result<Server> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        drop(entered);
        let (texts, text) = watch::channel(None);
        // What is still on its way at the end is dropped with the runtime.
        let serve = move || runtime.block_on(serve(listener, text, up));
        let thread = thread::Builder::new().name("prometheus".into()).spawn(serve)?;
        Ok(Server { address, text: Some(texts), thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What is told from now on.
    pub fn set(&self, text: String) {
        if let Some(texts) = &self.text {
            texts.send_replace(Some(text.into()));
        }
    }
}

impl Drop for Server {
    /// Ends it, and all connections.
    fn drop(&mut self) {
        self.text = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been told already.
            let _ = thread.join();
        }
    }
}

/// Takes connections until there are no more texts to come.
async fn serve(listener: tokio::net::TcpListener, mut text: Text, up: Arc<AtomicBool>) {
    if text.wait_for(Option::is_some).await.is_err() {
        return;
    }
    let told = text.clone();
    let mut over = pin!(async move { while text.changed().await.is_ok() {} });
    let mut connections = VecDeque::new();
    loop {
        let taken = tokio::select! {
            () = &mut over => return,
            taken = listener.accept() => taken,
        };
        // One that is gone already, or no descriptor to be had.
        let Ok((stream, _)) = taken else {
            sleep(SHORT).await;
            continue;
        };
        if connections.len() >= CONNECTIONS {
            connections.retain(|connection: &JoinHandle<()>| !connection.is_finished());
        }
        if connections.len() >= CONNECTIONS
            && let Some(oldest) = connections.pop_front()
        {
            oldest.abort();
        }
        connections.push_back(tokio::spawn(converse(stream, told.clone(), Arc::clone(&up))));
    }
}

async fn converse(stream: TcpStream, text: Text, up: Arc<AtomicBool>) {
    let answer = service_fn(|request| ready(Ok::<_, Infallible>(answer(&request, &text, &up))));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(LIFE);
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(STALL));
    let mut connection = pin!(http.serve_connection(TokioIo::new(Box::pin(stream)), answer));
    // Whoever asked may go away, or ask for what is no HTTP: that is told to them alone.
    if timeout(LIFE, &mut connection).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(LAST, connection).await;
    }
}

fn answer(request: &Request<Incoming>, text: &Text, up: &AtomicBool) -> Response<Full<Bytes>> {
    let is_get = matches!(*request.method(), Method::GET | Method::HEAD);
    let (status, body) = match request.uri().path() {
        _ if !is_get => (StatusCode::METHOD_NOT_ALLOWED, Bytes::from("only GET and HEAD\n")),
        "/metrics" => (StatusCode::OK, text.borrow().clone().unwrap_or_default()),
        "/health" if up.load(Ordering::Relaxed) => (StatusCode::OK, "up\n".into()),
        "/health" => (StatusCode::SERVICE_UNAVAILABLE, "down\n".into()),
        _ => (StatusCode::NOT_FOUND, "there are /metrics and /health\n".into()),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    if !is_get {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response.headers_mut().insert(TYPE, HeaderValue::from_static(CONTENT_TYPE));
    response
}
