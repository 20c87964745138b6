//! The little of HTTP that one page needs: the head of a request, an answer, and a limit on everything that somebody
//! else decides.
//!
//! Every connection carries one request. Its head may be [`MOST_HEAD`] bytes long and take [`TIME_FOR_HEAD`]; an answer
//! may stand still for [`TIME_WITHOUT_PROGRESS`]. Waiting is done in steps of [`STEP`], after each of which the server
//! may be told to end.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// Bytes of the head of a request: browsers send some hundred.
pub const MOST_HEAD: usize = 16 << 10;

/// Headers of a request.
const MOST_HEADERS: usize = 64;

/// How long the head of a request may take. On one machine it arrives at once.
pub const TIME_FOR_HEAD: Duration = Duration::from_secs(3);

/// How long nothing of an answer may be taken.
pub const TIME_WITHOUT_PROGRESS: Duration = Duration::from_secs(10);

/// How long an answer may take in all.
const TIME_FOR_ANSWER: Duration = Duration::from_secs(60);

/// How long a server that ends waits for a connection.
pub const STEP: Duration = Duration::from_millis(100);

/// What matters of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method, as it was written.
    pub method: String,
    /// The target, as it was written.
    pub target: String,
    /// Name and value of each header; values that are no text are left out.
    pub headers: Vec<(String, String)>,
}

/// An answer without a body that goes on.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status line without the version, such as `200 OK`.
    pub status: &'static str,
    /// Media type of the body.
    pub media: &'static str,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

/// What is wrong with a request before anyone looks at what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Nobody waits for an answer: the connection ended or took too long.
    Gone,
    /// It is no request.
    Bad,
    /// Its head is too long.
    TooLong,
}

impl Request {
    /// The values of a header.
    pub fn header(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Whether it is for a server of this name: a page of another site whose name leads here must get nothing, and asks
    /// by that name.
    pub fn is_for(&self, port: u16) -> bool {
        let mut hosts = self.header("host");
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
        names(port).iter().any(|name| host.eq_ignore_ascii_case(name))
    }

    /// Whether a page of another site makes the browser ask, other than by a link that the user follows.
    pub fn is_from_elsewhere(&self, port: u16) -> bool {
        let is_own = |origin: &str| {
            origin.strip_prefix("http://").is_some_and(|o| names(port).iter().any(|name| o.eq_ignore_ascii_case(name)))
        };
        let site = self.header("sec-fetch-site").any(|site| site != "same-origin" && site != "none");
        let is_link = self.header("sec-fetch-mode").any(|mode| mode == "navigate");
        self.header("origin").any(|origin| !is_own(origin)) || (site && !is_link)
    }
}

/// What a server on this machine may be called.
fn names(port: u16) -> Vec<String> {
    let hosts = ["127.0.0.1", "localhost", "[::1]"];
    let mut names: Vec<String> = hosts.iter().map(|host| format!("{host}:{port}")).collect();
    // Browsers leave out the port that HTTP has anyway.
    if port == 80 {
        names.extend(hosts.map(str::to_string));
    }
    names
}

/// The request at the beginning of some bytes; `None` if its head goes on.
///
/// # Errors
/// If no bytes that follow can make it one.
pub fn parse(bytes: &[u8]) -> Result<Option<Request>, Malformed> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if bytes.len() < MOST_HEAD => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => return Err(Malformed::TooLong),
        Err(_) => return Err(Malformed::Bad),
    }
    let text = |value: &[u8]| std::str::from_utf8(value).ok().map(str::to_string);
    Ok(Some(Request {
        method: request.method.unwrap_or_default().to_string(),
        target: request.path.unwrap_or_default().to_string(),
        headers: request.headers.iter().filter_map(|h| Some((h.name.to_string(), text(h.value)?))).collect(),
    }))
}

/// Reads the head of a request, until `ended` says that nobody is there to answer.
///
/// # Errors
/// If there is no request to answer.
pub fn receive(stream: &mut TcpStream, ended: impl Fn() -> bool) -> Result<Request, Malformed> {
    let begin = Instant::now();
    let mut bytes = Vec::new();
    let mut buffer = [0; 2048];
    stream.set_read_timeout(Some(STEP)).map_err(|_| Malformed::Gone)?;
    while begin.elapsed() < TIME_FOR_HEAD && !ended() {
        match stream.read(&mut buffer) {
            Ok(0) => return Err(Malformed::Gone),
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            Err(err) if is_wait(err.kind()) => continue,
            Err(_) => return Err(Malformed::Gone),
        }
        if let Some(request) = parse(&bytes)? {
            return Ok(request);
        }
    }
    Err(Malformed::Gone)
}

impl Answer {
    /// An answer of one sentence.
    pub fn sentence(status: &'static str, sentence: &str) -> Answer {
        Answer { status, media: "text/plain; charset=utf-8", headers: Vec::new(), body: format!("{sentence}\n") }
    }

    /// Its head: nothing of it is kept, taken for something else, shown within other pages, or told to them.
    pub fn head(&self) -> String {
        let Answer { status, media, headers, body } = self;
        let mut head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {media}\r\nCache-Control: no-store\r\nX-Content-Type-Options: \
             nosniff\r\nX-Frame-Options: DENY\r\nReferrer-Policy: no-referrer\r\nCross-Origin-Resource-Policy: \
             same-origin\r\nCross-Origin-Opener-Policy: same-origin\r\nConnection: close\r\n"
        );
        if !headers.iter().any(|(name, _)| *name == POLICY) {
            head += &format!("{POLICY}: default-src 'none'; frame-ancestors 'none'\r\n");
        }
        headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        // A stream of messages has no length.
        if *media != STREAM {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        head + "\r\n"
    }
}

/// The header of the content security policy.
pub const POLICY: &str = "Content-Security-Policy";

/// The media type of a stream of messages.
pub const STREAM: &str = "text/event-stream";

/// Sends bytes; false if the other side does not take them.
pub fn send(stream: &mut TcpStream, bytes: &[u8], ended: impl Fn() -> bool) -> bool {
    let begin = Instant::now();
    let (mut left, mut moved) = (bytes, begin);
    if stream.set_write_timeout(Some(STEP)).is_err() {
        return false;
    }
    while !left.is_empty() {
        match stream.write(left) {
            Ok(0) => return false,
            Ok(n) => (left, moved) = (&left[n..], Instant::now()),
            Err(err) if is_wait(err.kind()) => {}
            Err(_) => return false,
        }
        if ended() || moved.elapsed() > TIME_WITHOUT_PROGRESS || begin.elapsed() > TIME_FOR_ANSWER {
            return left.is_empty();
        }
    }
    true
}

/// Ends a connection so that its answer arrives: a system throws away what it has sent where bytes were left unread.
pub fn close(mut stream: TcpStream) {
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.set_read_timeout(Some(STEP));
    let mut buffer = [0; 4096];
    for _ in 0..16 {
        if !matches!(stream.read(&mut buffer), Ok(n) if n > 0) {
            break;
        }
    }
}

/// Whether the other side still listens to a stream that does not block.
pub fn is_there(stream: &TcpStream) -> bool {
    match stream.peek(&mut [0]) {
        Ok(n) => n > 0,
        Err(err) => is_wait(err.kind()),
    }
}

fn is_wait(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(head: &str) -> Request {
        parse(head.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn a_request_is_read_as_it_was_written_or_refused() {
        let asked = request("GET /..%2f?x HTTP/1.1\r\nHost: localhost:1\r\nX: \r\n\r\nbody");
        assert_eq!((asked.method.as_str(), asked.target.as_str()), ("GET", "/..%2f?x"));
        assert_eq!(asked.header("HOST").collect::<Vec<_>>(), ["localhost:1"]);
        assert_eq!(parse(b"GET / HTTP/1.1\r\nHost: x\r\n"), Ok(None));
        for bad in ["\x16\x03\x01\x02", "GET / HTTP/9.9\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/1.1\r\nA\x00: b\r\n\r\n"] {
            assert_eq!(parse(bad.as_bytes()), Err(Malformed::Bad), "{bad:?}");
        }
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(65));
        assert_eq!(parse(many.as_bytes()), Err(Malformed::TooLong));
        let long = format!("GET /{}", "x".repeat(MOST_HEAD));
        assert_eq!(parse(long.as_bytes()), Err(Malformed::TooLong));
    }

    #[test]
    fn only_names_of_this_machine_are_answered() {
        let is_for = |hosts: &[&str], port| {
            let lines: String = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
            request(&format!("GET / HTTP/1.1\r\n{lines}\r\n")).is_for(port)
        };
        for good in ["127.0.0.1:81", "localhost:81", "LocalHost:81", "[::1]:81"] {
            assert!(is_for(&[good], 81), "{good}");
        }
        for bad in
            ["evil.example:81", "localhost", "localhost:82", "localhost.:81", "127.0.0.1:81.evil.example", "", "0:81"]
        {
            assert!(!is_for(&[bad], 81), "{bad}");
        }
        assert!(!is_for(&[], 81) && !is_for(&["localhost:81", "evil.example:81"], 81));
        assert!(is_for(&["localhost"], 80) && is_for(&["localhost:80"], 80) && !is_for(&["evil.example"], 80));
    }

    #[test]
    fn other_sites_may_link_here_and_nothing_more() {
        let is_refused = |lines: &str| request(&format!("GET / HTTP/1.1\r\n{lines}\r\n")).is_from_elsewhere(81);
        assert!(!is_refused(""));
        assert!(!is_refused("Origin: http://localhost:81\r\nSec-Fetch-Site: same-origin\r\n"));
        assert!(!is_refused("Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\n"));
        assert!(!is_refused("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n"));
        assert!(is_refused("Origin: http://evil.example\r\n"));
        assert!(is_refused("Origin: null\r\n"));
        assert!(is_refused("Origin: http://localhost:82\r\n"));
        assert!(is_refused("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n"));
        // Another port of this machine is the same site and no less strange.
        assert!(is_refused("Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: cors\r\n"));
    }
}
