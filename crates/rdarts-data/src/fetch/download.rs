//! One file from a server, into `NAME.part` until it is whole and its sum is right.
//!
//! A transfer that breaks is asked for again from where it ended (`Range: bytes=N-`), a few times as long as it does
//! not advance. Everything a server says is doubted: [`judge`] decides from status, sizes and type what its answer is
//! worth, no more bytes are written than the file has, and the sum decides at the end.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::Agent;
use ureq::http::{HeaderMap, StatusCode, Uri, header};

use super::{FetchError, Observer, Options, SourceFile, Step, sum_of};
use crate::formats::sniff;

/// How often a transfer may break without advancing.
const TRIES: u32 = 4;

/// A transfer that came this much further may break as often again.
const ADVANCE: u64 = 1 << 20;

/// Fetches `file` from `url` to `path`.
pub(super) fn download(
    url: &str,
    file: &SourceFile,
    path: &Path,
    options: &Options,
    observer: &mut dyn Observer,
) -> Result<(), FetchError> {
    let mut part = Part::open(path)?;
    let mut is_anew = false;
    loop {
        if let Err(e) = transfer(url, file, &mut part, options, observer) {
            if part.length() == Ok(0) {
                let _ = fs::remove_file(&part.path);
            }
            return Err(e);
        }
        part.sync()?;
        observer.step(Step::Summing);
        let found = sum_of(&part.path, observer)?;
        if found == file.sha256 {
            return part.rename(path);
        }
        let looks = part.looks_like()?;
        part.cut(0)?;
        if part.is_pieced && !is_anew {
            // Its pieces may be of other times or other servers: once more from the start.
            observer.step(Step::Note("the sum is wrong after going on in the middle of the file, beginning anew"));
            is_anew = true;
            continue;
        }
        let _ = fs::remove_file(&part.path);
        // Of a gzip file "a gzip file" says nothing.
        let is_kind = url.ends_with("gz") && looks.contains("gzip");
        let looks = if is_kind { "of the right kind but with other content".to_owned() } else { looks };
        return Err(FetchError::Sum { url: url.to_owned(), looks, found, expected: file.sha256.clone() });
    }
}

/// Lets the part grow to the size of the file.
fn transfer(
    url: &str,
    file: &SourceFile,
    part: &mut Part,
    options: &Options,
    observer: &mut dyn Observer,
) -> Result<(), FetchError> {
    let agent = agent(url, options.timeout);
    let (mut failures, mut mark, mut is_anew) = (0, part.length()?, false);
    if mark > file.size {
        part.cut(0)?;
        mark = 0;
    }
    while part.length()? < file.size {
        let have = part.length()?;
        let why = match attempt(&agent, url, file, part, observer)? {
            Attempt::Whole => return Ok(()),
            Attempt::Refused(why) => return Err(FetchError::Refused { url: url.to_owned(), why }),
            Attempt::Anew if have > 0 && !is_anew => {
                observer.step(Step::Note("the server cannot go on in the middle of the file, beginning anew"));
                part.cut(0)?;
                (mark, is_anew) = (0, true);
                continue;
            }
            Attempt::Anew => "the server cannot go on in the middle of the file".to_owned(),
            Attempt::Broken(why) => why,
        };
        let have = part.length()?;
        if have >= mark + ADVANCE {
            (failures, mark) = (0, have);
        }
        failures += 1;
        if failures == TRIES {
            let (url, part) = (url.to_owned(), part.path.clone());
            if have == 0 {
                return Err(FetchError::Refused { url, why: format!("{why} (tried {TRIES} times)") });
            }
            return Err(FetchError::Broken { url, have, size: file.size, why, part });
        }
        let note = match have {
            0 => format!("{url} cannot be fetched: {why}; trying again"),
            _ => format!("{url} broke off after {have} of {} bytes: {why}; trying again", file.size),
        };
        observer.step(Step::Note(&note));
        wait(options.pause * failures, observer)?;
    }
    Ok(())
}

/// Sleeps in short pieces, to stop when told to.
fn wait(pause: Duration, observer: &dyn Observer) -> Result<(), FetchError> {
    const PIECE: Duration = Duration::from_millis(50);
    let mut left = pause;
    while !left.is_zero() && !observer.stopped() {
        std::thread::sleep(left.min(PIECE));
        left = left.saturating_sub(PIECE);
    }
    if observer.stopped() { Err(FetchError::Stopped) } else { Ok(()) }
}

fn agent(url: &str, timeout: Duration) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("rdarts/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(timeout))
        .timeout_connect(Some(timeout))
        .timeout_recv_response(Some(timeout))
        .timeout_per_read(Some(timeout))
        .max_response_header_size(1 << 16);
    // A proxy cannot reach this machine's own servers.
    let host = url.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default();
    let config = if ["localhost", "127.0.0.1", "[::1]"].contains(&&*host) { config.proxy(None) } else { config };
    config.build().into()
}

/// How one request ended.
enum Attempt {
    Whole,
    /// Asking again may help.
    Broken(String),
    /// Asking again for all of it may help.
    Anew,
    /// Asking again does not help.
    Refused(String),
}

/// Asks once for what is missing and writes what comes.
fn attempt(
    agent: &Agent,
    url: &str,
    file: &SourceFile,
    part: &mut Part,
    observer: &mut dyn Observer,
) -> Result<Attempt, FetchError> {
    let have = part.length()?;
    let mut request = agent.get(url);
    if have > 0 {
        request = request.header(header::RANGE, format!("bytes={have}-"));
    }
    let response = match request.call() {
        Ok(response) => response,
        Err(e @ (ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::TooManyRedirects)) => {
            return Ok(Attempt::Refused(e.to_string()));
        }
        Err(e) => return Ok(Attempt::Broken(e.to_string())),
    };
    let reply = Reply::of(response.status(), response.headers());
    let at = match judge(&reply, have, file.size) {
        Verdict::Take { at } => at,
        Verdict::Anew => return Ok(Attempt::Anew),
        Verdict::Later(why) => return Ok(Attempt::Broken(why)),
        Verdict::Never(why) => return Ok(Attempt::Refused(why)),
    };
    part.cut(at)?;
    part.is_pieced = at > 0;
    observer.step(Step::Begin { file: &file.name, at, size: file.size });
    let mut body = response.into_body().into_reader();
    let mut buffer = vec![0; 1 << 16];
    let mut have = at;
    loop {
        if observer.stopped() {
            part.sync()?;
            return Err(FetchError::Stopped);
        }
        // One byte more than there should be, to notice that there is more.
        let wanted = (file.size - have + 1).min(buffer.len() as u64) as usize;
        match body.read(&mut buffer[..wanted]) {
            Ok(0) if have == file.size => return Ok(Attempt::Whole),
            Ok(0) => return Ok(Attempt::Broken("the server ended the transfer".to_owned())),
            Ok(n) if have + n as u64 > file.size => {
                part.cut(0)?;
                return Ok(Attempt::Refused(format!("it goes on after {} bytes, where it should end", file.size)));
            }
            Ok(n) => {
                part.append(&buffer[..n])?;
                have += n as u64;
                observer.step(Step::Bytes(have));
            }
            // All that was asked for is here; how the connection ends is of no interest.
            Err(_) if have == file.size => return Ok(Attempt::Whole),
            Err(e) => return Ok(Attempt::Broken(e.to_string())),
        }
    }
}

/// What a server says before the bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reply {
    pub status: u16,
    pub length: Option<u64>,
    pub range: Option<String>,
    pub is_page: bool,
}

impl Reply {
    fn of(status: StatusCode, headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            status: status.as_u16(),
            length: text(header::CONTENT_LENGTH).and_then(|value| value.trim().parse().ok()),
            range: text(header::CONTENT_RANGE).map(str::to_owned),
            is_page: text(header::CONTENT_TYPE).is_some_and(|kind| kind.trim_start().starts_with("text/html")),
        }
    }
}

/// What an answer is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The bytes from this one on.
    Take { at: u64 },
    /// It does not fit what is here.
    Anew,
    /// Another try may help.
    Later(String),
    /// It may not.
    Never(String),
}

/// What the answer is worth to one who has `have` bytes of `size` and asked for the others.
pub(crate) fn judge(reply: &Reply, have: u64, size: u64) -> Verdict {
    let status = StatusCode::from_u16(reply.status);
    let words = status.map_or_else(|_| reply.status.to_string(), |status| status.to_string());
    let at = match reply.status {
        200 => 0,
        206 if have > 0 => match reply.range.as_deref().and_then(range) {
            Some((start, total)) if start == have && total.is_none_or(|total| total == size) => have,
            _ => return Verdict::Anew,
        },
        416 if have > 0 => return Verdict::Anew,
        408 | 425 | 429 | 500..=599 => return Verdict::Later(format!("the server answered {words}")),
        _ => return Verdict::Never(format!("the server answered {words}")),
    };
    match reply.length {
        Some(length) if length == size - at => Verdict::Take { at },
        _ if reply.is_page => Verdict::Never("the server answered with an HTML page".to_owned()),
        Some(length) => {
            Verdict::Never(format!("the server offers {length} bytes where the published file has {}", size - at))
        }
        None => Verdict::Take { at },
    }
}

/// First byte and, if it is known, size of the whole in `bytes 7-9/10`.
fn range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes")?.trim().split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let (start, end): (u64, u64) = (start.trim().parse().ok()?, end.trim().parse().ok()?);
    let total = match total.trim() {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    (start <= end && total.is_none_or(|total| end < total)).then_some((start, total))
}

/// The unfinished file, locked for this process.
struct Part {
    path: PathBuf,
    file: File,
    /// Whether its bytes did not all come with one answer, or nobody knows.
    is_pieced: bool,
}

impl Part {
    /// `NAME.part` beside `path`, with what is in it.
    fn open(path: &Path) -> Result<Self, FetchError> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let path = path.with_file_name(name);
        let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = open.map_err(|e| FetchError::write(&path, &e))?;
        match file.try_lock() {
            // Where locks do not exist, two at a time are the user's own affair: the sum will tell.
            Ok(()) | Err(fs::TryLockError::Error(_)) => Ok(Self { path, file, is_pieced: true }),
            Err(fs::TryLockError::WouldBlock) => Err(FetchError::Busy { path }),
        }
    }

    fn length(&self) -> Result<u64, FetchError> {
        self.file.metadata().map(|data| data.len()).map_err(|e| FetchError::write(&self.path, &e))
    }

    /// Keeps the first `length` bytes, to append to.
    fn cut(&mut self, length: u64) -> Result<(), FetchError> {
        let cut = if self.length()? == length { Ok(()) } else { self.file.set_len(length) };
        let sought = cut.and_then(|()| self.file.seek(SeekFrom::Start(length)));
        sought.map(|_| ()).map_err(|e| FetchError::write(&self.path, &e))
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        self.file.write_all(bytes).map_err(|e| FetchError::write(&self.path, &e))
    }

    fn sync(&self) -> Result<(), FetchError> {
        self.file.sync_all().map_err(|e| FetchError::write(&self.path, &e))
    }

    fn looks_like(&mut self) -> Result<String, FetchError> {
        let mut head = Vec::new();
        let read = self.file.seek(SeekFrom::Start(0)).and_then(|_| (&self.file).take(128).read_to_end(&mut head));
        read.map(|_| sniff::guess(&head)).map_err(|e| FetchError::write(&self.path, &e))
    }

    /// The finished file's name.
    fn rename(self, path: &Path) -> Result<(), FetchError> {
        fs::rename(&self.path, path).map_err(|e| FetchError::write(path, &e))
    }
}
