//! The page on 127.0.0.1, and a stream of messages that there is a new one.
//!
//! `/` is the page, made of the run directories when it is asked for, unless nothing has changed since the last time.
//! `/events` tells a word for what is there, at once and whenever it has changed; the page holds the word of what it
//! shows. There is nothing else, no name in a request leads to a file, and nothing is written.
//!
//! A connection has a thread, and there are [`MOST_CONNECTIONS`] of them: more have to wait for their turn, which comes
//! soon, since all but [`MOST_STREAMS`] of them have little time.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdarts_report::{LivePage, Report, live_page};

use crate::error::WatchError;
use crate::http::{self, Answer, Malformed, POLICY, Request, STREAM};
use crate::runs::{Looks, Runs};

/// Streams of messages at the same time; who asks for more is refused.
pub const MOST_STREAMS: usize = 32;

/// Connections at the same time.
pub const MOST_CONNECTIONS: usize = 256;

/// How often the runs are looked at: an epoch takes seconds at least.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often a connection is asked for. Waiting for one without end could not be ended.
const ACCEPT_EVERY: Duration = Duration::from_millis(20);

/// How long connections may take to end.
const TIME_TO_END: Duration = Duration::from_millis(500);

/// After how long without a message a stream sends an empty one, so that nothing in between takes it for dead.
const QUIET: Duration = Duration::from_secs(15);

/// Making pages takes at most this part of the time while readers wait for new ones: a page of hundreds of runs takes
/// seconds, which the runs need more.
const SHARE: u32 = 4;

/// Serves the page of some runs on 127.0.0.1 until `stop` is set; port 0 is any free one. Which one it is `on_ready`
/// learns once the page can be asked for.
///
/// # Errors
/// If the port cannot be used, or the system has no thread for the looks at the runs.
pub fn serve(
    paths: &[PathBuf],
    port: u16,
    stop: &AtomicBool,
    on_ready: impl FnOnce(SocketAddr),
) -> Result<(), WatchError> {
    let bind_error = |source| WatchError::Bind { port, source };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(bind_error)?;
    listener.set_nonblocking(true).map_err(bind_error)?;
    let address = listener.local_addr().map_err(bind_error)?;
    let mut looks = Looks::new(paths);
    let server = Arc::new(Server {
        port: address.port(),
        ended: AtomicBool::new(false),
        connections: AtomicUsize::new(0),
        streams: AtomicUsize::new(0),
        pages: Mutex::new(Pages { runs: Runs::new(paths), page: None }),
        took: Mutex::new(Duration::ZERO),
        version: Mutex::new(looks.version()),
        is_new: Condvar::new(),
    });
    let watcher = Arc::clone(&server);
    // Threads outlive this function where they read a slow disk; they hold nothing that anybody waits for.
    spawn("looks", move || watcher.watch(looks)).map_err(|source| WatchError::Thread { source })?;
    on_ready(address);
    while !stop.load(Ordering::SeqCst) {
        let has_room = server.connections.load(Ordering::SeqCst) < MOST_CONNECTIONS;
        match has_room.then(|| listener.accept()) {
            Some(Ok((stream, _))) => server.take(stream),
            // No one is there, no more fit, or the system has no room for more: all of it passes.
            Some(Err(_)) | None => thread::sleep(ACCEPT_EVERY),
        }
    }
    server.end();
    Ok(())
}

/// What the threads of a server share.
struct Server {
    port: u16,
    ended: AtomicBool,
    connections: AtomicUsize,
    streams: AtomicUsize,
    pages: Mutex<Pages>,
    /// How long the last page took to make.
    took: Mutex<Duration>,
    /// What the streams have told last.
    version: Mutex<String>,
    is_new: Condvar,
}

/// The newest page and the runs that it is made of.
struct Pages {
    runs: Runs,
    page: Option<Arc<LivePage>>,
}

/// A place among a limited number, free again when it is dropped.
struct Place<'a>(&'a AtomicUsize);

impl Place<'_> {
    fn take(of: &AtomicUsize, most: usize) -> Option<Place<'_>> {
        of.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| (n < most).then_some(n + 1)).ok().map(|_| Place(of))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Server {
    fn is_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Looks at the runs and tells the streams, until the server ends.
    fn watch(&self, mut looks: Looks) {
        let mut told = Instant::now();
        while !self.is_ended() {
            let begin = Instant::now();
            let now = looks.version();
            let mut version = lock(&self.version);
            if *version != now && SHARE * *lock(&self.took) <= told.elapsed() {
                (*version, told) = (now, Instant::now());
                self.is_new.notify_all();
            }
            // A disk that takes long to answer is asked less often.
            let pause = LOOK_EVERY.max(begin.elapsed());
            let deadline = Instant::now() + pause;
            while !self.is_ended() && Instant::now() < deadline {
                version = wait(&self.is_new, version, deadline.saturating_duration_since(Instant::now()));
            }
        }
    }

    /// Answers a connection in a thread of its own.
    fn take(self: &Arc<Server>, stream: TcpStream) {
        self.connections.fetch_add(1, Ordering::SeqCst);
        let server = Arc::clone(self);
        let begun = spawn("connection", move || {
            let _place = Place(&server.connections);
            server.answer(stream);
        });
        if begun.is_err() {
            // What the thread would have held is gone, with the connection.
            self.connections.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn answer(&self, mut stream: TcpStream) {
        // A listener that does not wait hands this on to its connections on some systems.
        if stream.set_nonblocking(false).is_err() {
            return;
        }
        let ended = || self.is_ended();
        let request = match http::receive(&mut stream, ended) {
            Ok(request) => request,
            Err(Malformed::Gone) => return,
            Err(malformed) => {
                let answer = match malformed {
                    Malformed::TooLong => {
                        Answer::sentence("431 Request Header Fields Too Large", "the request is too long")
                    }
                    _ => Answer::sentence("400 Bad Request", "this is no request of HTTP"),
                };
                http::send(&mut stream, (answer.head() + &answer.body).as_bytes(), ended);
                return http::close(stream);
            }
        };
        let is_head = request.method == "HEAD";
        let place = (request.target == "/events").then(|| Place::take(&self.streams, MOST_STREAMS)).flatten();
        let answer = match refusal(&request, self.port) {
            Some(refusal) => refusal,
            None if request.target == "/" => self.page(),
            None if place.is_none() => {
                let sentence = format!("{MOST_STREAMS} pages follow the runs already: close some, or reload this one");
                Answer::sentence("503 Service Unavailable", &sentence)
            }
            None => Answer { status: "200 OK", media: STREAM, headers: Vec::new(), body: String::new() },
        };
        let text = if is_head { answer.head() } else { answer.head() + &answer.body };
        let is_sent = http::send(&mut stream, text.as_bytes(), ended);
        if is_sent && answer.media == STREAM && !is_head {
            self.tell(&mut stream);
        }
        drop(place);
        http::close(stream);
    }

    /// The page of what is there now.
    fn page(&self) -> Answer {
        let mut pages = lock(&self.pages);
        let begin = Instant::now();
        let is_changed = !pages.runs.refresh().is_empty();
        let page = match pages.page.take().filter(|_| !is_changed) {
            Some(page) => page,
            None => {
                let report = Report::new(pages.runs.runs());
                let page = Arc::new(live_page(&report, include_str!("live.js"), &pages.runs.version()));
                *lock(&self.took) = begin.elapsed();
                page
            }
        };
        pages.page = Some(Arc::clone(&page));
        drop(pages);
        // No page can say by itself that none may show it.
        let policy = format!("{}; frame-ancestors 'none'", page.policy);
        Answer {
            status: "200 OK",
            media: "text/html; charset=utf-8",
            headers: vec![(POLICY, policy)],
            body: page.html.clone(),
        }
    }

    /// Tells a stream what is there, as long as the server and the other side are.
    fn tell(&self, stream: &mut TcpStream) {
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        let mut told = String::new();
        let mut last = Instant::now();
        while !self.is_ended() && http::is_there(stream) {
            let now = lock(&self.version).clone();
            let message = match now != told {
                true => format!("data: {now}\n\n"),
                false if QUIET < last.elapsed() => ":\n\n".to_string(),
                false => String::new(),
            };
            if !message.is_empty() {
                // Whoever has left so many messages unread that a short one finds no room does not follow any more.
                if !matches!(std::io::Write::write(stream, message.as_bytes()), Ok(n) if n == message.len()) {
                    return;
                }
                (told, last) = (now, Instant::now());
            }
            let version = lock(&self.version);
            if *version == told && !self.is_ended() {
                drop(wait(&self.is_new, version, LOOK_EVERY));
            }
        }
    }

    /// Lets go of all connections, as far as they go soon.
    fn end(&self) {
        {
            // Within the lock, so that whoever is about to wait sees it or is woken.
            let _version = lock(&self.version);
            self.ended.store(true, Ordering::SeqCst);
            self.is_new.notify_all();
        }
        let begin = Instant::now();
        while 0 < self.connections.load(Ordering::SeqCst) && begin.elapsed() < TIME_TO_END {
            thread::sleep(ACCEPT_EVERY);
        }
    }
}

/// Why a request gets nothing, whatever is there.
fn refusal(request: &Request, port: u16) -> Option<Answer> {
    if !request.is_for(port) || request.is_from_elsewhere(port) {
        let sentence = format!("this page is at http://127.0.0.1:{port}/ and only there");
        return Some(Answer::sentence("403 Forbidden", &sentence));
    }
    if !matches!(request.method.as_str(), "GET" | "HEAD") {
        let mut answer = Answer::sentence("405 Method Not Allowed", "this page is only read");
        answer.headers.push(("Allow", "GET, HEAD".to_string()));
        return Some(answer);
    }
    let is_known = matches!(request.target.as_str(), "/" | "/events");
    (!is_known).then(|| Answer::sentence("404 Not Found", "there is only the page at /"))
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    thread::Builder::new().name(name.to_string()).spawn(body).map(drop)
}

/// What a thread that panicked has left is whole: every change within these locks is one assignment, or is made again.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait<'a, T>(condition: &Condvar, guard: MutexGuard<'a, T>, limit: Duration) -> MutexGuard<'a, T> {
    condition.wait_timeout(guard, limit).unwrap_or_else(PoisonError::into_inner).0
}
