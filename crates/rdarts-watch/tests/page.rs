//! The page over HTTP: what it holds, how it follows runs, and what it refuses.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdarts_report::{Report, page, read};
use rdarts_watch::serve::{MOST_CONNECTIONS, MOST_STREAMS};
use rdarts_watch::{WatchError, serve};

mod samples;

use samples::{LINES, append, lines, search};

/// Whatever takes longer never comes. How soon it comes is no test: machines are slow when they are busy.
const GUARD: Duration = Duration::from_secs(120);

/// A server of some runs, which ends when it is dropped.
struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), WatchError>>>,
}

impl Server {
    fn of(paths: &[PathBuf]) -> Server {
        let (paths, stop, (send, ready)) = (paths.to_vec(), Arc::new(AtomicBool::new(false)), channel());
        let flag = Arc::clone(&stop);
        let thread = std::thread::spawn(move || serve(&paths, 0, &flag, |address| send.send(address).unwrap()));
        Server { address: ready.recv_timeout(GUARD).unwrap(), stop, thread: Some(thread) }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(GUARD)).unwrap();
        stream
    }

    /// Sends a request with these lines and reads its answer to the end: head and body.
    fn ask_with(&self, first: &str, lines: &str) -> (String, String) {
        let mut stream = self.connect();
        stream.write_all(format!("{first} HTTP/1.1\r\n{lines}\r\n").as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{first}: {text:?}"));
        (head.to_string(), body.to_string())
    }

    fn ask(&self, first: &str) -> (String, String) {
        self.ask_with(first, &format!("Host: {}\r\n", self.address))
    }

    fn status(&self, first: &str) -> u16 {
        status(&self.ask(first).0)
    }

    fn page(&self) -> String {
        let (head, body) = self.ask("GET /");
        assert_eq!(status(&head), 200, "{head}");
        body
    }

    /// Opens a stream of messages, up to the end of the head of its answer.
    fn stream(&self) -> (u16, BufReader<TcpStream>) {
        let mut stream = self.connect();
        write!(stream, "GET /events HTTP/1.1\r\nHost: {}\r\n\r\n", self.address).unwrap();
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).unwrap() > 0 {}
        (status(&head), stream)
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.end();
        }
    }
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no answer: {head:?}"))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// The next message of a stream.
fn message(stream: &mut BufReader<TcpStream>) -> String {
    loop {
        let mut line = String::new();
        assert_ne!(stream.read_line(&mut line).unwrap(), 0, "the stream has ended");
        if let Some(data) = line.strip_prefix("data: ") {
            return data.trim_end().to_string();
        }
    }
}

/// The word of a page for what it shows.
fn version(page: &str) -> &str {
    page.split("<meta name=\"rdarts-version\" content=\"").nth(1).unwrap().split('"').next().unwrap()
}

/// What pages for a file and for a server have in common: everything but the policy and what follows the runs.
fn content(page: &str) -> (&str, &str) {
    let data = "<script type=\"application/json\" id=\"data\">";
    let body = page.split("<body>").nth(1).unwrap().split("<footer>").next().unwrap();
    (body, page.split(data).nth(1).map_or("", |rest| rest.split("</script>").next().unwrap()))
}

fn run_dir(n_lines: usize) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    search(&path, n_lines);
    (dir, path)
}

/// Every file below a directory, with its length and time.
fn everything(dir: &Path) -> Vec<(PathBuf, u64, std::time::SystemTime)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let about = entry.metadata().unwrap();
        found.push((entry.path(), about.len(), about.modified().unwrap()));
        if about.is_dir() {
            found.extend(everything(&entry.path()));
        }
    }
    found.sort();
    found
}

#[test]
fn the_page_is_that_of_the_report_and_nothing_is_written() {
    let (dir, path) = run_dir(LINES);
    let before = everything(dir.path());
    let paths = [path, dir.path().join("absent")];
    for paths in [&paths[..1], &paths] {
        let server = Server::of(paths);
        let (head, served) = server.ask("GET /");
        let file = page(&Report::new(&read(paths)));
        assert_eq!(content(&served), content(&file));
        assert!(content(&file).0.len() > 3000 && !file.contains("rdarts-version") && !file.contains("connect-src"));
        assert_eq!(header(&head, "Content-Length"), Some(served.len().to_string().as_str()));
        // The same once more, from what was kept, and by all its names.
        assert_eq!(server.page(), served);
        for host in ["localhost", "LOCALHOST", "[::1]"] {
            let answer = server.ask_with("GET /", &format!("Host: {host}:{}\r\n", server.address.port()));
            assert_eq!(answer, (head.clone(), served.clone()), "{host}");
        }
        let (only_head, nothing) = server.ask("HEAD /");
        assert_eq!((only_head, nothing.as_str()), (head, ""));
    }
    assert_eq!(everything(dir.path()), before);
}

#[test]
fn answers_are_kept_by_nobody_and_may_do_no_more_than_the_page_in_a_file() {
    let (_dir, path) = run_dir(LINES);
    let server = Server::of(std::slice::from_ref(&path));
    let (head, served) = server.ask("GET /");
    let (refused, _) = server.ask("GET /absent");
    for head in [&head, &refused, &server.ask("POST /").0] {
        assert_eq!(header(head, "Cache-Control"), Some("no-store"));
        assert_eq!(header(head, "X-Content-Type-Options"), Some("nosniff"));
        assert_eq!(header(head, "X-Frame-Options"), Some("DENY"));
        assert_eq!(header(head, "Connection"), Some("close"));
    }
    // Directive by directive it allows what the page in a file does, one script more, and to ask this server.
    let of_file = page(&Report::new(&read(&[path])));
    let stated = |page: &str| {
        let policy = page.split("Content-Security-Policy\" content=\"").nth(1).unwrap().split('"').next().unwrap();
        policy.replace("&#39;", "'").replace("&#x27;", "'")
    };
    let policy = header(&head, "Content-Security-Policy").unwrap();
    assert_eq!(policy, format!("{}; frame-ancestors 'none'", stated(&served)));
    let of_file = stated(&of_file);
    let allowed: Vec<&str> = of_file.split("; ").collect();
    let mut more = Vec::new();
    for directive in policy.split("; ").filter(|directive| !allowed.contains(directive)) {
        more.push(directive.split(' ').next().unwrap());
    }
    assert_eq!(more, ["script-src", "connect-src", "frame-ancestors"]);
    assert!(policy.contains("connect-src 'self';"));
    for word in ["*", "-inline", "-eval", "-hashes", "http"] {
        assert!(!policy.contains(word), "{policy}");
    }
    assert_eq!(policy.matches("'sha256-").count(), 3);
    assert_eq!(header(&refused, "Content-Security-Policy"), Some("default-src 'none'; frame-ancestors 'none'"));
}

#[test]
fn an_appended_event_is_told_and_shown_by_the_next_page() {
    let (_dir, path) = run_dir(9);
    let server = Server::of(std::slice::from_ref(&path));
    let (status, mut stream) = server.stream();
    assert_eq!(status, 200);
    let first = server.page();
    assert!(first.contains("a process seems to be at work on it"));
    assert_eq!(message(&mut stream), version(&first));
    for line in &lines("events.jsonl")[9..] {
        append(&path, line);
        let told = message(&mut stream);
        let page = server.page();
        assert_eq!(version(&page), told);
        assert_eq!(content(&page), content(&rdarts_report::page(&Report::new(&read(std::slice::from_ref(&path))))));
        assert_ne!(content(&page), content(&first));
    }
    // A page that is asked for before anything was told is as new.
    std::fs::write(path.join("DONE"), "").unwrap();
    assert!(server.page().contains("The run has finished."));
}

#[test]
fn names_of_other_hosts_and_pages_of_other_sites_get_nothing() {
    let (_dir, path) = run_dir(LINES);
    let server = Server::of(&[path]);
    let port = server.address.port();
    let hosts = [
        format!("Host: evil.example:{port}\r\n"),
        "Host: evil.example\r\n".to_string(),
        "Host: 127.0.0.1\r\n".to_string(),
        format!("Host: 127.0.0.1:{}\r\n", port ^ 1),
        format!("Host: 127.0.0.1.evil.example:{port}\r\n"),
        String::new(),
        format!("Host: {}\r\nHost: evil.example\r\n", server.address),
        format!("Host: {}\r\nOrigin: http://evil.example\r\n", server.address),
        format!("Host: {}\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: cors\r\n", server.address),
    ];
    for lines in hosts {
        for first in ["GET /", "GET /events", "HEAD /", "POST /", "GET /absent"] {
            let (head, body) = server.ask_with(first, &lines);
            assert_eq!(status(&head), 403, "{first}, {lines:?}");
            assert!(!body.contains("search"), "{body}");
        }
    }
    // An address in the request line is no way around the name.
    let target = format!("GET http://evil.example:{port}/");
    assert_eq!(status(&server.ask_with(&target, &format!("Host: evil.example:{port}\r\n")).0), 403);
    assert_eq!(server.status(&target), 404);
}

#[test]
fn there_are_no_other_paths_and_no_other_methods() {
    let (dir, path) = run_dir(LINES);
    std::fs::write(dir.path().join("secret"), "secret").unwrap();
    let server = Server::of(std::slice::from_ref(&path));
    let absolute = format!("GET {}", path.join("events.jsonl").display());
    let targets = [
        "GET /..%2f..%2fsecret",
        "GET /../secret",
        "GET /%2e%2e/secret",
        "GET //etc/passwd",
        "GET /etc/passwd",
        "GET /events/",
        "GET /events/../../secret",
        "GET /events.jsonl",
        "GET /index.html",
        "GET /?",
        "GET /.",
        "GET secret",
        "GET file:///etc/passwd",
        "HEAD /favicon.ico",
        &absolute,
    ];
    for target in targets {
        let (head, body) = server.ask(target);
        assert_eq!(status(&head), 404, "{target}");
        assert!(!body.contains("secret") && !body.contains("root:") && !body.contains("event\""), "{target}: {body}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "TRACE", "PATCH", "get"] {
        for path in ["/", "/events", "/absent"] {
            let (head, _) = server.ask(&format!("{method} {path}"));
            assert_eq!((status(&head), header(&head, "Allow")), (405, Some("GET, HEAD")), "{method} {path}");
        }
    }
    // The refusal arrives although nobody reads what was sent with the request.
    let body = format!("POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: 20000\r\n\r\n", server.address);
    let mut stream = server.connect();
    stream.write_all((body + &"x".repeat(20000)).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(status(&answer), 405);
    // What is no request is refused, or gets no answer at all.
    let mut stream = server.connect();
    stream.write_all(b"\x16\x03\x01\x02\x00").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(status(&answer), 400);
    let long = format!("Host: {}\r\nX: {}\r\n", server.address, "x".repeat(20000));
    assert_eq!(status(&server.ask_with("GET /", &long).0), 431);
}

#[test]
fn many_streams_and_silent_clients_block_no_page() {
    let (_dir, path) = run_dir(9);
    let mut server = Server::of(std::slice::from_ref(&path));
    let mut streams: Vec<_> = (0..40).map(|_| server.stream()).collect();
    let n = |code: u16| streams.iter().filter(|(status, _)| *status == code).count();
    assert_eq!((n(200), n(503)), (MOST_STREAMS, 40 - MOST_STREAMS));
    // Clients that ask and never read, that send half a request, and that say nothing.
    let silent: Vec<TcpStream> = (0..150).map(|_| server.connect()).collect();
    let whole = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    for (i, mut client) in silent.iter().enumerate() {
        client.write_all(["", "GET / HTT", &whole][i % 3].as_bytes()).unwrap();
    }
    assert!(40 + silent.len() < MOST_CONNECTIONS);
    server.page();
    // All streams are told, and one that is closed makes room.
    streams.retain(|(status, _)| *status == 200);
    append(&path, &lines("events.jsonl")[9]);
    for (_, stream) in &mut streams {
        assert_ne!(message(stream), message(stream));
    }
    streams.pop();
    let begin = Instant::now();
    while server.stream().0 != 200 {
        assert!(begin.elapsed() < GUARD, "no room");
        std::thread::sleep(Duration::from_millis(100));
    }
    // Even more than there is room for only have to wait.
    let more: Vec<TcpStream> = (0..MOST_CONNECTIONS).map(|_| server.connect()).collect();
    server.page();
    server.end();
    drop((more, silent));
}

#[test]
fn damaged_and_vanished_runs_are_said_to_be_so() {
    let dir = tempfile::tempdir().unwrap();
    let paths = ["good", "damaged", "vanishing"].map(|name| dir.path().join(name));
    paths.iter().for_each(|path| search(path, 9));
    let server = Server::of(&paths);
    let (_, mut stream) = server.stream();
    let first = message(&mut stream);
    assert!(!server.page().contains("What could not be read"));
    append(&paths[1], "{\"event\":\"epoch\",\"attempt\":0,\n");
    std::fs::remove_dir_all(&paths[2]).unwrap();
    assert_ne!(message(&mut stream), first);
    let page = server.page();
    let faults = page.split("What could not be read").nth(1).unwrap().split("</section>").next().unwrap();
    assert!(faults.contains("damaged/events.jsonl") && faults.contains("line 10"), "{faults}");
    assert!(faults.contains("vanishing"), "{faults}");
    // It may come back as something else.
    std::fs::write(&paths[2], "no directory").unwrap();
    assert!(server.page().contains("vanishing"));
    let nothing = Server::of(&[]);
    assert!(nothing.page().contains("No run was given."));
}

#[test]
fn it_ends_when_it_is_told_to() {
    let (_dir, path) = run_dir(9);
    let mut server = Server::of(std::slice::from_ref(&path));
    let (_, mut stream) = server.stream();
    message(&mut stream);
    server.end();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "\n", "the stream ends with its message");
    // A port that is taken is one sentence.
    let other = Server::of(&[path]);
    let err = serve(&[], other.address.port(), &AtomicBool::new(true), |_| panic!("ready")).unwrap_err().to_string();
    assert!(err.starts_with("cannot serve a page on 127.0.0.1, port ") && !err.contains('\n'), "{err}");
}
