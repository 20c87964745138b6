//! Against servers that these tests start on this machine: what they answer, and what is on the disk afterwards.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use flate2::{Compression, write::GzEncoder};
use tar::{EntryType, Header};

use super::*;

/// What a server sends before it closes the connection, and how long it is silent before that.
struct Answer(Vec<u8>, Duration);

impl From<Vec<u8>> for Answer {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes, Duration::ZERO)
    }
}

/// What was asked for: the number of the request, the path, the first byte if a range was.
struct Request {
    n: usize,
    path: String,
    start: Option<usize>,
}

/// A server and the requests it got, as `PATH` or `PATH@START`.
struct Server {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn new<A: Into<Answer>>(mut answer: impl FnMut(&Request) -> A + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = requests.clone();
        std::thread::spawn(move || {
            for (n, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let Some((path, start)) = read_request(&stream) else { continue };
                let shown = start.map_or(path.clone(), |start: usize| format!("{path}@{start}"));
                seen.lock().unwrap().push(shown);
                let Answer(bytes, silence) = answer(&Request { n, path, start }).into();
                let _ = stream.write_all(&bytes);
                std::thread::sleep(silence);
            }
        });
        Self { url, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn read_request(stream: &TcpStream) -> Option<(String, Option<usize>)> {
    let lines: Vec<String> =
        BufReader::new(stream).lines().map_while(Result::ok).take_while(|l| !l.is_empty()).collect();
    let path = lines.first()?.split(' ').nth(1)?.to_owned();
    let range = lines.iter().map(|l| l.to_ascii_lowercase()).find(|l| l.starts_with("range: bytes="));
    Some((path, range.map(|l| l["range: bytes=".len()..].trim_end_matches('-').parse().unwrap())))
}

/// An answer with headers, declaring `length`.
fn answer(status: &str, headers: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// A server of one file that behaves.
fn good(bytes: &[u8], request: &Request) -> Vec<u8> {
    match request.start {
        None => answer("200 OK", "", bytes.len(), bytes),
        Some(start) => {
            let n = bytes.len();
            let headers = format!("Content-Range: bytes {start}-{}/{n}\r\n", n - 1);
            answer("206 Partial Content", &headers, n - start, &bytes[start..])
        }
    }
}

/// Bytes that compress badly and differ everywhere.
fn content(n: usize) -> Vec<u8> {
    (0..n as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8).collect()
}

fn hex_sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn source_of(name: &str, bytes: &[u8]) -> Source {
    let file = SourceFile { name: name.into(), size: bytes.len() as u64, sha256: hex_sum(bytes) };
    Source {
        name: "svhn".into(),
        base: String::new(),
        directory: "set".into(),
        files: vec![file],
        packed: false,
        contents: Vec::new(),
    }
}

/// Remembers what happened; stops once so many bytes are there.
#[derive(Default)]
struct Seen {
    notes: Vec<String>,
    begins: Vec<u64>,
    bytes: u64,
    stop_at: Option<u64>,
}

impl Observer for Seen {
    fn step(&mut self, step: Step) {
        match step {
            Step::Note(note) => self.notes.push(note.to_owned()),
            Step::Begin { at, .. } => self.begins.push(at),
            Step::Bytes(n) => self.bytes = n,
            Step::Summing | Step::Unpacking => {}
        }
    }

    fn stopped(&self) -> bool {
        self.stop_at.is_some_and(|at| self.bytes >= at)
    }
}

/// A target directory and a fetch into it.
struct World {
    dir: tempfile::TempDir,
    seen: Seen,
}

impl World {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), seen: Seen::default() }
    }

    fn fetch(&mut self, source: &Source, url: &str) -> Result<Fetched, FetchError> {
        let options = Options {
            to: self.dir.path().to_owned(),
            from: Some(url.to_owned()),
            timeout: Duration::from_millis(300),
            pause: Duration::from_millis(1),
        };
        fetch(source, &options, &mut self.seen)
    }

    fn error(&mut self, source: &Source, url: &str) -> String {
        let error = self.fetch(source, url).unwrap_err();
        assert!(!error.is_input(), "{error}");
        error.to_string()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The paths of all files, with their bytes.
    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        let mut dirs = vec![self.dir.path().to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    dirs.push(path);
                } else {
                    let name = path.strip_prefix(self.dir.path()).unwrap().to_str().unwrap().to_owned();
                    files.push((name, fs::read(path).unwrap()));
                }
            }
        }
        files.sort();
        files
    }
}

#[test]
fn files_are_fetched_once_and_then_verified() {
    let (a, b) = (content(300_000), content(7));
    let mut source = source_of("a.mat", &a);
    source.files.extend(source_of("b.mat", &b).files);
    let (served_a, served_b) = (a.clone(), b.clone());
    let server = Server::new(move |r| good(if r.path == "/at/a.mat" { &served_a } else { &served_b }, r));
    let mut world = World::new();
    let url = format!("{}/at/", server.url);
    let fetched = world.fetch(&source, &url).unwrap();
    assert_eq!(fetched.dir, world.path("set"));
    assert_eq!(fetched.files, [("a.mat".into(), Arrival::Fetched), ("b.mat".into(), Arrival::Fetched)]);
    assert_eq!(world.files(), [("set/a.mat".into(), a.clone()), ("set/b.mat".into(), b)]);
    assert_eq!((world.seen.begins.len(), world.seen.bytes), (2, 7));
    let again = world.fetch(&source, &url).unwrap();
    assert_eq!(again.files[0], ("a.mat".into(), Arrival::Verified));
    assert_eq!(server.requests(), ["/at/a.mat", "/at/b.mat"]);
    // A file that is there and another one is kept and named.
    fs::write(world.path("set/a.mat"), b"mine").unwrap();
    let error = world.fetch(&source, &url).unwrap_err();
    assert!(error.is_input());
    assert_eq!(
        error.to_string(),
        format!(
            "{} is there already and is not as published (its SHA-256 is {} and should be {}): move it away to fetch it",
            world.path("set/a.mat").display(),
            hex_sum(b"mine"),
            hex_sum(&a)
        )
    );
    assert_eq!(fs::read(world.path("set/a.mat")).unwrap(), b"mine");
}

#[test]
fn a_transfer_that_breaks_goes_on_where_it_ended() {
    let bytes = content(100_000);
    let served = bytes.clone();
    let server = Server::new(move |r| match r.n {
        0 => answer("200 OK", "", served.len(), &served[..40_000]),
        _ => good(&served, r),
    });
    let mut world = World::new();
    world.fetch(&source_of("a", &bytes), &server.url).unwrap();
    assert_eq!(server.requests(), ["/a", "/a@40000"]);
    assert_eq!(world.seen.begins, [0, 40_000]);
    assert!(world.seen.notes[0].contains("/a broke off after 40000 of 100000 bytes: "), "{:?}", world.seen.notes);
    assert_eq!(world.files(), [("set/a".into(), bytes)]);
}

#[test]
fn a_part_of_an_earlier_fetch_is_gone_on_with() {
    let bytes = content(100_000);
    for (held, requests) in [(60_000, vec!["/a@60000"]), (100_000, vec![]), (100_001, vec!["/a"])] {
        let served = bytes.clone();
        let server = Server::new(move |r| good(&served, r));
        let mut world = World::new();
        fs::create_dir(world.path("set")).unwrap();
        fs::write(world.path("set/a.part"), &[&bytes[..], b"x"].concat()[..held]).unwrap();
        world.fetch(&source_of("a", &bytes), &server.url).unwrap();
        assert_eq!(server.requests(), requests);
        assert_eq!(world.files(), [("set/a".into(), bytes.clone())]);
    }
}

#[test]
fn a_server_that_cannot_go_on_begins_anew() {
    let bytes = content(50_000);
    let whole = answer("200 OK", "", bytes.len(), &bytes);
    let other_part = answer("206 Partial Content", "Content-Range: bytes 5-49999/50000\r\n", 49_995, &bytes[5..]);
    let other_size =
        answer("206 Partial Content", "Content-Range: bytes 20000-49999/60000\r\n", 30_000, &bytes[20_000..]);
    let no_range = answer("206 Partial Content", "", 30_000, &bytes[20_000..]);
    let beyond = answer("416 Range Not Satisfiable", "", 0, b"");
    for (first, n_requests) in [(whole, 1), (other_part, 2), (other_size, 2), (no_range, 2), (beyond, 2)] {
        let served = bytes.clone();
        let server = Server::new(move |r| if r.start.is_some() { first.clone() } else { good(&served, r) });
        let mut world = World::new();
        fs::create_dir(world.path("set")).unwrap();
        fs::write(world.path("set/a.part"), &bytes[..20_000]).unwrap();
        world.fetch(&source_of("a", &bytes), &server.url).unwrap();
        assert_eq!(server.requests().len(), n_requests);
        assert_eq!(world.files(), [("set/a".into(), bytes.clone())]);
    }
}

#[test]
fn a_part_with_a_wrong_beginning_is_fetched_again_from_the_start() {
    let bytes = content(50_000);
    let served = bytes.clone();
    let server = Server::new(move |r| good(&served, r));
    let mut world = World::new();
    fs::create_dir(world.path("set")).unwrap();
    fs::write(world.path("set/a.part"), vec![7; 20_000]).unwrap();
    world.fetch(&source_of("a", &bytes), &server.url).unwrap();
    assert_eq!(server.requests(), ["/a@20000", "/a"]);
    assert_eq!(world.seen.notes, ["the sum is wrong after going on in the middle of the file, beginning anew"]);
    assert_eq!(world.files(), [("set/a".into(), bytes)]);
}

#[test]
fn pieces_that_do_not_fit_are_fetched_again_from_the_start() {
    let bytes = content(50_000);
    // The first answer breaks off, and was of an older file.
    let served = bytes.clone();
    let server = Server::new(move |r| match r.n {
        0 => answer("200 OK", "", served.len(), &[7; 20_000]),
        _ => good(&served, r),
    });
    let mut world = World::new();
    world.fetch(&source_of("a", &bytes), &server.url).unwrap();
    assert_eq!(server.requests(), ["/a", "/a@20000", "/a"]);
    assert_eq!(world.seen.notes[1..], ["the sum is wrong after going on in the middle of the file, beginning anew"]);
    assert_eq!(world.files(), [("set/a".into(), bytes.clone())]);
    // Only once: a server whose pieces never fit is told.
    let server = Server::new(move |r| match r.start {
        None => answer("200 OK", "", bytes.len(), &[7; 20_000]),
        Some(_) => good(&bytes, r),
    });
    let mut world = World::new();
    let message = world.error(&source_of("a", &content(50_000)), &server.url);
    assert!(message.contains("is not the published file"), "{message}");
    assert_eq!(server.requests(), ["/a", "/a@20000", "/a", "/a@20000"]);
}

#[test]
fn a_file_with_a_wrong_sum_is_refused_and_removed() {
    let mut served = content(5000);
    let source = source_of("a", &served);
    served[4999] ^= 1;
    let found = hex_sum(&served);
    let server = Server::new(move |r| good(&served, r));
    let mut world = World::new();
    let message = world.error(&source, &server.url);
    let (url, expected) = (&server.url, &source.files[0].sha256);
    assert!(
        message.starts_with(&format!("{url}/a is not the published file: it is a file that begins with ")),
        "{message}"
    );
    assert!(message.ends_with(&format!("its SHA-256 is {found} and should be {expected}; what came was removed")));
    assert_eq!(world.files(), []);
}

#[test]
fn answers_that_asking_again_does_not_help_are_told_at_once() {
    let page = b"<!DOCTYPE html><html><body>Not here</body></html>";
    let html = "Content-Type: text/html; charset=utf-8\r\n";
    let mut chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n".to_vec();
    for _ in 0..3 {
        chunked.extend(b"1000\r\n");
        chunked.extend([7; 0x1000]);
        chunked.extend(b"\r\n");
    }
    let rows: [(Vec<u8>, &str); 8] = [
        (answer("404 Not Found", html, page.len(), page), "the server answered 404 Not Found"),
        (answer("403 Forbidden", "", 0, b""), "the server answered 403 Forbidden"),
        (answer("304 Not Modified", "", 0, b""), "the server answered 304 Not Modified"),
        (answer("200 OK", html, page.len(), page), "the server answered with an HTML page"),
        (answer("200 OK", "", page.len(), page), "the server offers 49 bytes where the published file has 10000"),
        (
            answer("200 OK", "", 10_001, &[7; 10_001]),
            "the server offers 10001 bytes where the published file has 10000",
        ),
        (answer("206 Partial Content", "", 10_000, &[7; 10_000]), "the server answered 206 Partial Content"),
        (chunked, "it goes on after 10000 bytes, where it should end"),
    ];
    for (bytes, why) in rows {
        let server = Server::new(move |_| bytes.clone());
        let mut world = World::new();
        let message = world.error(&source_of("a", &content(10_000)), &server.url);
        assert_eq!(message, format!("{}/a cannot be fetched: {why}", server.url));
        assert_eq!(server.requests().len(), 1);
        assert_eq!(world.files(), [], "{why}");
    }
}

#[test]
fn failures_that_may_pass_are_tried_again_and_then_told() {
    let bytes = content(10_000);
    let rows: [(Vec<u8>, u64, &str); 6] = [
        (answer("500 Internal Server Error", "", 0, b""), 0, "the server answered 500 Internal Server Error"),
        (answer("503 Service Unavailable", "", 0, b""), 0, "the server answered 503 Service Unavailable"),
        (Vec::new(), 0, ""),
        (b"garbage\r\n\r\n".to_vec(), 0, ""),
        (answer("200 OK", "", 10_000, &bytes[..9_999]), 9_999, ""),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nshort".to_vec(), 5, "the server ended the transfer"),
    ];
    for (bytes, have, why) in rows {
        let whole = bytes.clone();
        // Nothing more than the beginning ever comes.
        let server = Server::new(move |r| if r.start.is_some() { Vec::new() } else { whole.clone() });
        let mut world = World::new();
        let message = world.error(&source_of("a", &content(10_000)), &server.url);
        let part = world.path("set/a.part");
        let (begin, end) = match have {
            0 => (format!("{}/a cannot be fetched: {why}", server.url), " (tried 4 times)".to_owned()),
            _ => (
                format!("{}/a broke off after {have} of 10000 bytes: ", server.url),
                format!("; what came is kept in {}, the same command goes on from there", part.display()),
            ),
        };
        assert!(message.starts_with(&begin) && message.ends_with(&end), "{message}");
        assert!(why.is_empty() || world.seen.notes[0].contains(why), "{:?}", world.seen.notes);
        assert_eq!((server.requests().len(), fs::metadata(part).map_or(0, |data| data.len())), (4, have));
    }
    // Nobody there at all.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let message = World::new().error(&source_of("a", &bytes), &format!("http://{closed}"));
    assert!(message.contains("refused"), "{message}");
}

#[test]
fn a_server_that_falls_silent_is_given_up_after_the_timeout() {
    let bytes = content(10_000);
    for sent in [0, 4_000] {
        let whole = answer("200 OK", "", bytes.len(), &bytes[..sent]);
        let silent = if sent == 0 { Vec::new() } else { whole };
        let server = Server::new(move |_| Answer(silent.clone(), Duration::from_millis(500)));
        let mut world = World::new();
        let begin = Instant::now();
        let message = world.error(&source_of("a", &bytes), &server.url);
        assert!(message.contains("timeout"), "{message}");
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    }
    // Slow but never silent for so long: it arrives.
    let served = bytes.clone();
    let slow = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", slow.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = slow.accept().unwrap();
        read_request(&stream);
        let whole = answer("200 OK", "", served.len(), &served);
        for piece in whole.chunks(whole.len() / 8) {
            stream.write_all(piece).unwrap();
            std::thread::sleep(Duration::from_millis(60));
        }
    });
    assert!(World::new().fetch(&source_of("a", &bytes), &url).is_ok());
}

#[test]
fn redirections_are_followed_but_not_for_ever() {
    let bytes = content(1000);
    let served = bytes.clone();
    let server = Server::new(move |r| match &*r.path {
        "/a" => answer("302 Found", "Location: /there\r\n", 0, b""),
        "/there" => good(&served, r),
        _ => answer("302 Found", "Location: /loop\r\n", 0, b""),
    });
    let mut world = World::new();
    world.fetch(&source_of("a", &bytes), &server.url).unwrap();
    assert_eq!(world.files(), [("set/a".into(), bytes.clone())]);
    let message = World::new().error(&source_of("loop", &bytes), &server.url);
    assert!(message.contains("redirects"), "{message}");
}

#[test]
fn stopping_keeps_what_came() {
    let bytes = content(2_000_000);
    let served = bytes.clone();
    let server = Server::new(move |r| good(&served, r));
    let mut world = World::new();
    world.seen.stop_at = Some(100_000);
    let error = world.fetch(&source_of("a", &bytes), &server.url).unwrap_err();
    assert_eq!(error, FetchError::Stopped);
    let held = fs::metadata(world.path("set/a.part")).unwrap().len();
    assert!((100_000..2_000_000).contains(&held), "{held}");
    world.seen.stop_at = None;
    world.fetch(&source_of("a", &bytes), &server.url).unwrap();
    assert_eq!(server.requests(), ["/a".to_owned(), format!("/a@{held}")]);
    assert_eq!(world.files(), [("set/a".into(), bytes)]);
}

#[test]
fn two_fetches_of_one_file_do_not_meet() {
    let bytes = content(1000);
    let server = Server::new(|_| Vec::new());
    let mut world = World::new();
    fs::create_dir(world.path("set")).unwrap();
    let other = File::create(world.path("set/a.part")).unwrap();
    other.lock().unwrap();
    let message = world.error(&source_of("a", &bytes), &server.url);
    let part = world.path("set/a.part");
    assert_eq!(message, format!("another process is fetching {}, wait for it or stop it", part.display()));
    assert_eq!(server.requests(), Vec::<String>::new());
    // Nor do two that unpack one archive.
    let archive = packed(&[file_entry("set/a", b"1")]);
    let mut world = World::new();
    fs::write(world.path("set.tar.gz"), &archive).unwrap();
    let other = File::open(world.path("set.tar.gz")).unwrap();
    other.lock().unwrap();
    assert!(world.error(&packed_source(&archive), &server.url).starts_with("another process is fetching "));
    drop(other);
    assert!(world.fetch(&packed_source(&archive), &server.url).is_ok());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_and_a_target_that_is_a_file_are_told() {
    let bytes = content(1000);
    let served = bytes.clone();
    let server = Server::new(move |r| good(&served, r));
    let mut world = World::new();
    fs::create_dir(world.path("set")).unwrap();
    std::os::unix::fs::symlink("/dev/full", world.path("set/a.part")).unwrap();
    let message = world.error(&source_of("a", &bytes), &server.url);
    let part = world.path("set/a.part");
    assert_eq!(
        message,
        format!(
            "there is no space left to write {}: free some and say the same again, what is there stays",
            part.display()
        )
    );
    assert!(!world.path("set/a").exists());
    let mut world = World::new();
    fs::write(world.path("set"), b"a file").unwrap();
    let message = world.error(&source_of("a", &bytes), &server.url);
    assert!(message.starts_with(&format!("cannot write {}: ", world.path("set").display())), "{message}");
}

#[test]
fn names_and_addresses_that_are_wrong_are_the_users_own() {
    let message = |name| source(name).unwrap_err().to_string();
    assert_eq!(message("fashion-mini"), "fashion-mini is part of the program, there is nothing to fetch");
    assert_eq!(message("folder"), "a folder of images is your own, there is nothing to fetch");
    assert!(message("cifar-10").contains("the nearest name is 'cifar10'"));
    for url in
        ["", "ftp://somewhere", "file:///etc", "/etc", "www.cs.toronto.edu", "http://", "http:///a", "http://a b"]
    {
        let error = World::new().fetch(&source_of("a", b"x"), url).unwrap_err();
        assert!(error.is_input(), "{error}");
        let right = "it should be like http://HOST/PATH or https://HOST/PATH";
        assert_eq!(error.to_string(), format!("`{url}` is no address to fetch from, {right}"));
    }
}

#[test]
fn every_named_data_set_has_a_source_below_which_it_is_found() {
    for entry in catalog::catalog().iter().filter(|entry| entry.name != "fashion-mini") {
        if let Err(e) = source(entry.name) {
            // One zip archive for six sets, which is not unpacked here.
            assert!(entry.name.starts_with("emnist-"), "{}: {e}", entry.name);
            let how = "unpack gzip.zip of https://www.nist.gov/itl/products-and-services/emnist-dataset into emnist below \
                       the directory of your data sets";
            assert!(e.is_input());
            assert_eq!(e.to_string(), format!("{} is not fetched by this program: {how}", entry.name));
            continue;
        }
        let source = source(entry.name).unwrap();
        let target = Path::new("target");
        let places = entry.places(Some(target));
        assert!(places.contains(&target.join(&source.directory)), "{}: {places:?}", entry.name);
        assert!(source.files.iter().all(|f| f.sha256.len() == 64 && f.size > 4000));
        assert_eq!(source.packed, !source.contents.is_empty(), "{}", entry.name);
    }
}

/// The published files are Debian's with a gzip header that has a name and a time; with them the sums are right.
#[test]
fn the_published_sums_of_fashion_mnist_are_those_of_the_installed_images() {
    let dir = Path::new("/usr/share/datasets/fashion-mnist");
    if !dir.is_dir() {
        return crate::skip::skip("no dataset-fashion-mnist", "`apt-get install dataset-fashion-mnist` for this test");
    }
    let source = source("fashion-mnist").unwrap();
    for (file, seconds) in source.files.iter().zip([1_504_176_606u32, 1_504_176_606, 1_504_176_627, 1_504_176_627]) {
        let here = fs::read(dir.join(&file.name)).unwrap();
        let name = file.name.trim_end_matches(".gz").as_bytes();
        let head = [&[0x1f, 0x8b, 8, 8][..], &seconds.to_le_bytes(), &[0, 3], name, &[0]].concat();
        let published = [&head, &here[10..]].concat();
        assert_eq!((published.len() as u64, hex_sum(&published)), (file.size, file.sha256.clone()), "{}", file.name);
    }
}

/// An entry whose name is written as it is.
fn entry(name: &str, kind: EntryType, size: u64, content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    if kind.is_symlink() || kind.is_hard_link() {
        header.set_link_name("/etc/passwd").unwrap();
    }
    header.set_cksum();
    let mut bytes = [header.as_bytes(), content].concat();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn file_entry(name: &str, content: &[u8]) -> Vec<u8> {
    entry(name, EntryType::Regular, content.len() as u64, content)
}

fn packed(entries: &[Vec<u8>]) -> Vec<u8> {
    gzip(&[entries.concat(), vec![0; 1024]].concat())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn packed_source(archive: &[u8]) -> Source {
    Source { packed: true, ..source_of("set.tar.gz", archive) }
}

#[test]
fn an_archive_is_placed_as_a_whole_with_its_sums() {
    let long = "a".repeat(120);
    let archive = packed(&[
        // What other programs write before their files.
        entry("pax_global_header", EntryType::XGlobalHeader, 13, b"12 comment=x\n"),
        entry("././@LongLink", EntryType::GNULongName, 121, format!("{long}\0").as_bytes()),
        file_entry(&long[..100], b"long"),
        entry("./", EntryType::Directory, 0, b""),
        entry("set/", EntryType::Directory, 0, b""),
        file_entry("set/one.bin", b"1"),
        file_entry("./set/deep/er/two.bin", b"22"),
    ]);
    let served = archive.clone();
    let server = Server::new(move |r| good(&served, r));
    let mut world = World::new();
    // What a killed process left goes away.
    fs::create_dir_all(world.path(".unfinished-set-abc/set")).unwrap();
    fs::write(world.path(".unfinished-set-abc/set/one.bin"), b"h").unwrap();
    let source = packed_source(&archive);
    let fetched = world.fetch(&source, &server.url).unwrap();
    assert_eq!((fetched.dir, &fetched.files[0].1), (world.path("set"), &Arrival::Fetched));
    let sums = format!("{}  one.bin\n", hex_sum(b"1"));
    let expected: [(String, Vec<u8>); 3] = [
        ("set/SHA256SUMS".into(), sums.into()),
        ("set/deep/er/two.bin".into(), b"22".into()),
        ("set/one.bin".into(), b"1".into()),
    ];
    assert_eq!(world.files(), expected);
    // There already: verified without a request; changed: named.
    assert_eq!(world.fetch(&source, &server.url).unwrap().files, [("set".into(), Arrival::Verified)]);
    assert_eq!(server.requests().len(), 1);
    let mut message = |change: &dyn Fn(&World)| {
        change(&world);
        let error = world.fetch(&source, &server.url).unwrap_err();
        assert!(error.is_input());
        error.to_string()
    };
    assert!(
        message(&|w| fs::write(w.path("set/one.bin"), b"2").unwrap()).contains("one.bin is there already and is not")
    );
    assert!(message(&|w| fs::remove_file(w.path("set/one.bin")).unwrap()).contains("it lacks one.bin"));
    let sums = |text: &'static str| move |w: &World| fs::write(w.path("set/SHA256SUMS"), text).unwrap();
    assert!(message(&sums("00  ../../etc/passwd\n")).contains("its line `00  ../../etc/passwd` is no sum and name"));
    assert!(message(&sums("what")).contains("its line `what` is no sum and name"));
    // A list that lacks files, or all, verifies nothing.
    assert!(message(&sums("")).contains("SHA256SUMS is there already and is not as published (it is empty)"));
    fs::write(world.path("set/one.bin"), b"1").unwrap();
    fs::write(world.path("set/SHA256SUMS"), format!("{}  one.bin\n", hex_sum(b"1"))).unwrap();
    assert_eq!(world.fetch(&source, &server.url).unwrap().files, [("set".into(), Arrival::Verified)]);
    let larger = Source { contents: vec!["one.bin".into(), "two.bin".into()], ..source };
    let error = world.fetch(&larger, &server.url).unwrap_err();
    assert!(error.is_input() && error.to_string().contains("(it has no sum of two.bin)"), "{error}");
}

#[test]
fn an_archive_is_locked_until_its_directory_is_in_place() {
    // Taking the sum of so much is slow enough to be seen from here.
    let archive = packed(&[file_entry("set/one.bin", &content(16 << 20))]);
    let source = packed_source(&archive);
    let dir = tempfile::tempdir().unwrap();
    let (path, to) = (dir.path().join("set.tar.gz"), dir.path());
    fs::write(&path, &archive).unwrap();
    let at_work = || fs::read_dir(to).unwrap().any(|e| e.unwrap().path().to_string_lossy().contains(".unfinished-"));
    std::thread::scope(|scope| {
        let placing = scope.spawn(|| place(&source, &path, to));
        // Its directory is made under the lock, so from then on trying disturbs nobody.
        while !at_work() && !placing.is_finished() {
            std::thread::yield_now();
        }
        let other = File::open(&path).unwrap();
        while other.try_lock().is_err() {
            std::thread::yield_now();
        }
        assert!(to.join("set/SHA256SUMS").is_file());
        assert_eq!(placing.join().unwrap(), Ok(Arrival::Fetched));
    });
    // One that waited for the lock finds the directory, and leaves it as it is.
    fs::write(to.join("set/more"), b"mine").unwrap();
    assert_eq!(place(&source, &path, to), Ok(Arrival::Verified));
    assert_eq!(fs::read(to.join("set/more")).unwrap(), b"mine");
}

#[test]
fn a_directory_unpacked_by_hand_is_read() {
    let server = Server::new(|_| Vec::new());
    let mut world = World::new();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/svhn-a");
    fs::create_dir(world.path("svhn")).unwrap();
    for name in ["train_32x32.mat", "test_32x32.mat"] {
        fs::copy(fixtures.join(name), world.path("svhn").join(name)).unwrap();
    }
    let source = Source { directory: "svhn".into(), ..packed_source(b"x") };
    assert_eq!(world.fetch(&source, &server.url).unwrap().files, [("svhn".into(), Arrival::Readable)]);
    fs::write(world.path("svhn/test_32x32.mat"), b"<html>").unwrap();
    let error = world.fetch(&source, &server.url).unwrap_err();
    assert!(error.is_input() && error.to_string().contains("it is an HTML page"), "{error}");
    assert_eq!(server.requests(), Vec::<String>::new());
}

#[test]
fn archives_that_are_not_safe_are_refused_whole() {
    let file = || file_entry("set/one.bin", b"1");
    let rows = [
        (vec![file(), file_entry("../x", b"out")], "its entry `../x` leads out of the target with `..`"),
        (vec![file(), file_entry("set/../../x", b"out")], "its entry `set/../../x` leads out of the target with `..`"),
        (vec![file_entry("/tmp/x", b"out")], "its entry `/tmp/x` leads out of the target with an absolute path"),
        (
            vec![entry("set/link", EntryType::Symlink, 0, b""), file_entry("set/link/x", b"out")],
            "its entry `set/link` is a symbolic link, only files are unpacked",
        ),
        (
            vec![entry("set/link", EntryType::Link, 0, b"")],
            "its entry `set/link` is a hard link, only files are unpacked",
        ),
        (vec![entry("set/null", EntryType::Char, 0, b"")], "its entry `set/null` is a device, only files are unpacked"),
        (vec![entry("set/pipe", EntryType::Fifo, 0, b"")], "its entry `set/pipe` is a pipe, only files are unpacked"),
        (vec![file_entry("set\\..\\x", b"")], "its entry `set\\..\\x` has a name that is none everywhere"),
        (vec![file_entry(&"d/".repeat(20), b"")], "lies too deep"),
        (vec![file_entry(".", b"x")], "it holds a file without a name"),
        (vec![file(), file()], "it holds `set/one.bin` twice"),
        (vec![file_entry("other/one.bin", b"1")], "it holds no directory set"),
        (vec![entry("set/big", EntryType::Regular, 1 << 40, b"")], "it unpacks to more than 1073741824 bytes"),
    ];
    for (entries, why) in rows {
        let archive = packed(&entries);
        let served = archive.clone();
        let server = Server::new(move |r| good(&served, r));
        let mut world = World::new();
        let message = world.error(&packed_source(&archive), &server.url);
        let at = world.path("set.tar.gz");
        assert!(
            message.starts_with(&format!("{} was not unpacked: ", at.display())) && message.ends_with(why),
            "{message}"
        );
        // Only the archive, whose sum was right, is there.
        assert_eq!(world.files(), [("set.tar.gz".into(), archive)]);
    }
}

#[test]
fn bombs_and_damaged_archives_end_within_their_limits() {
    let unpacked = |bytes: &[u8], limits: Limits| {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        fs::create_dir(&target).unwrap();
        let message = unpack(bytes, "a.tar.gz", &target, limits).unwrap_err().to_string();
        let held: u64 = fs::read_dir(&target).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        (message, held)
    };
    let small = Limits { bytes: 1 << 20, entries: 4 };
    let zeros = vec![0; 3 << 20];
    let too_large = "a.tar.gz was not unpacked: it unpacks to more than 1048576 bytes";
    // A file that is larger, many that are together, zeros without end behind the last, names without end before it.
    let halves: Vec<Vec<u8>> = ["a", "b", "c"].map(|name| file_entry(name, &zeros[..400_000])).into();
    let names = entry("././@LongLink", EntryType::GNULongName, zeros.len() as u64, &zeros);
    for (archive, most) in [
        (packed(&[file_entry("a", &zeros)]), 0),
        (packed(&halves), 800_000),
        (gzip(&[file_entry("a", b"1"), zeros.clone()].concat()), 1),
        (packed(&[names, file_entry("a", b"1")]), 0),
    ] {
        let (message, held) = unpacked(&archive, small);
        assert_eq!(message, too_large);
        assert!(held <= most, "{held} of {most}");
    }
    let many: Vec<Vec<u8>> = (0..5).map(|i| file_entry(&i.to_string(), b"")).collect();
    assert_eq!(unpacked(&packed(&many), small).0, "a.tar.gz was not unpacked: it holds more than 4 files");
    let whole = packed(&[file_entry("a", &content(5000))]);
    for cut in [0, 1, 9, 100, whole.len() / 2, whole.len() - 1] {
        let (message, _) = unpacked(&whole[..cut], small);
        assert!(message.contains("it is damaged or no tar.gz file ("), "{cut}: {message}");
    }
    let short = gzip(&file_entry("a", &content(5000))[..3000]);
    assert_eq!(unpacked(&short, small).0, "a.tar.gz was not unpacked: it is damaged: it ends within `a`");
    let mut wrong_sum = whole;
    let at = wrong_sum.len() - 6;
    wrong_sum[at] ^= 1;
    assert!(unpacked(&wrong_sum, small).0.contains("it is damaged or no tar.gz file"));
    assert!(unpacked(b"<html>", small).0.contains("it is damaged or no tar.gz file"));
    assert!(unpacked(&gzip(&content(2000)), small).0.contains("it is damaged or no tar.gz file"));
}
