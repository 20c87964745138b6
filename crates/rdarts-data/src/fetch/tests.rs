//! Against servers that these tests start on this machine: what they answer, and what is on the disk afterwards.

mod archives;

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use self::archives::{file_entry, packed, packed_source};
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
        let message = world.error(&source_of("a", &bytes), &server.url);
        assert!(message.contains("timeout"), "{message}");
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
