//! Fetching a data set from its official source: with resume, checked by SHA-256, and whole or not at all.
//!
//! ```text
//! TO/cifar-10-binary.tar.gz.part      what came so far; a later fetch asks for the rest of it
//! TO/.unfinished-NAME-XXXXXX/         an archive being unpacked
//! TO/cifar-10-batches-bin/            the data set, and SHA256SUMS of its files for `sha256sum -c`
//! TO/svhn/train_32x32.mat             a file that is published as it is
//! ```
//!
//! A file gets its name only after its sum was found right. `download` speaks with the server, `unpack` reads archives.

mod download;
mod unpack;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

#[cfg(test)]
pub(crate) use self::download::{Reply, Verdict, judge};
pub use self::unpack::{Limits, unpack};
use crate::catalog::{self, FOLDER, check_files};
use crate::error::DataError;
use crate::formats::read::hex_of;
use crate::locate;
use crate::sets::Origin;

/// A file that a source publishes.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// Its name, at the source and here.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256 in lower-case hexadecimal.
    pub sha256: String,
}

/// Where a data set comes from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The data set.
    pub name: String,
    /// The address that the names of the files are appended to.
    pub base: String,
    /// The directory that its files are in when all is done, below the target.
    pub directory: String,
    /// The files to fetch.
    pub files: Vec<SourceFile>,
    /// Whether they are archives that hold the directory.
    pub packed: bool,
    /// The files of that directory that the data set is read from; none if the files are no archives.
    pub contents: Vec<String>,
}

/// How to fetch.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory below which the data set's own is made.
    pub to: PathBuf,
    /// Another address of the same files.
    pub from: Option<String>,
    /// How long a server may be silent.
    pub timeout: Duration,
    /// How long to wait before a broken transfer is tried again; twice as long the second time, and so on.
    pub pause: Duration,
}

impl Options {
    /// The source's own address, half a minute of silence.
    pub fn new(to: PathBuf) -> Self {
        Self { to, from: None, timeout: Duration::from_secs(30), pause: Duration::from_secs(2) }
    }
}

/// What happens while a data set is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A transfer begins at this byte of a file of this size.
    Begin {
        /// The file.
        file: &'a str,
        /// The first byte that is asked for.
        at: u64,
        /// The size of the file.
        size: u64,
    },
    /// So many bytes of the file are here.
    Bytes(u64),
    /// The sum of what is here is taken.
    Summing,
    /// An archive is unpacked.
    Unpacking,
    /// Something a reader may want to know, in a sentence.
    Note(&'a str),
}

/// Who is told, and may say that it is enough.
pub trait Observer {
    /// Something happens.
    fn step(&mut self, step: Step);
    /// Whether to stop soon.
    fn stopped(&self) -> bool {
        false
    }
}

/// How a file came to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Fetched now, its sum is right.
    Fetched,
    /// It was there, and its sum is right.
    Verified,
    /// It was there without sums to compare with, and it is read without an error.
    Readable,
}

/// A data set that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The directory of its files.
    pub dir: PathBuf,
    /// The files, or the directory that was made of an archive.
    pub files: Vec<(String, Arrival)>,
}

/// Why a data set is not there.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FetchError {
    /// No such data set, or files that are there and bad.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A data set that nothing has to be fetched for.
    #[error("{0} is part of the program, there is nothing to fetch")]
    BuiltIn(String),
    /// A data set that is published in a form that is not unpacked here.
    #[error("{name} is not fetched by this program: {how} into emnist below the directory of your data sets")]
    ByHand {
        /// The data set.
        name: String,
        /// What to do.
        how: &'static str,
    },
    /// A folder of the user's.
    #[error("a folder of images is your own, there is nothing to fetch")]
    Own,
    /// An address that is none.
    #[error("`{0}` is no address to fetch from, it should be like http://HOST/PATH or https://HOST/PATH")]
    Address(String),
    /// No directory to put it in.
    #[error("this account has no directory for data, name one with --to")]
    NoDirectory,
    /// Something is where the data set should be.
    #[error("{} is there already and is not as published ({why}): move it away to fetch it", path.display())]
    Occupied {
        /// The file or directory.
        path: PathBuf,
        /// How it differs.
        why: String,
    },
    /// The server has no such file, or something else.
    #[error("{url} cannot be fetched: {why}")]
    Refused {
        /// The address.
        url: String,
        /// What the server said.
        why: String,
    },
    /// The transfer broke too often.
    #[error(
        "{url} broke off after {have} of {size} bytes: {why}; what came is kept in {}, the same command goes on from \
         there", part.display()
    )]
    Broken {
        /// The address.
        url: String,
        /// Bytes that are here.
        have: u64,
        /// Bytes there should be.
        size: u64,
        /// The last failure.
        why: String,
        /// Where they are.
        part: PathBuf,
    },
    /// Other bytes than the published ones.
    #[error(
        "{url} is not the published file: it is {looks}, its SHA-256 is {found} and should be {expected}; what came was \
         removed"
    )]
    Sum {
        /// The address.
        url: String,
        /// What the file looks like.
        looks: String,
        /// Its sum.
        found: String,
        /// The published one.
        expected: String,
    },
    /// An archive that is not safe, or damaged.
    #[error("{archive} was not unpacked: {why}")]
    Archive {
        /// The archive.
        archive: String,
        /// What is wrong with it.
        why: String,
    },
    /// The disk is full.
    #[error("there is no space left to write {}: free some and say the same again, what is there stays", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// Another failure of the file system.
    #[error("cannot write {}: {reason}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// Another process fetches the same.
    #[error("another process is fetching {}, wait for it or stop it", path.display())]
    Busy {
        /// The unfinished file.
        path: PathBuf,
    },
    /// The observer said so.
    #[error("stopped: what came is kept, the same command goes on from there")]
    Stopped,
}

impl FetchError {
    /// Whether the request was wrong, rather than the network, the server or the disk.
    pub fn is_input(&self) -> bool {
        use FetchError::{Address, BuiltIn, ByHand, Data, NoDirectory, Occupied, Own};

        matches!(self, Data(_) | BuiltIn(_) | ByHand { .. } | Own | Address(_) | NoDirectory | Occupied { .. })
    }

    fn write(path: &Path, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path: path.to_owned() },
            _ => Self::Write { path: path.to_owned(), reason: error.to_string() },
        }
    }
}

/// The list of sums in a directory that was unpacked, in the format of `sha256sum`.
const SUMS: &str = "SHA256SUMS";

/// Where a data set of this name comes from.
pub fn source(name: &str) -> Result<Source, FetchError> {
    if name == FOLDER {
        return Err(FetchError::Own);
    }
    match catalog::entry(name)?.origin() {
        Origin::Program => Err(FetchError::BuiltIn(name.to_owned())),
        Origin::ByHand(how) => Err(FetchError::ByHand { name: name.to_owned(), how }),
        Origin::Address { base, directory, files, contents } => Ok(Source {
            name: name.to_owned(),
            base: base.to_owned(),
            directory: directory.to_owned(),
            files: files
                .into_iter()
                .map(|(name, size, sha256)| SourceFile { name: name.to_owned(), size, sha256: sha256.to_owned() })
                .collect(),
            packed: !contents.is_empty(),
            contents: contents.into_iter().map(str::to_owned).collect(),
        }),
    }
}

/// The names of all data sets that can be fetched.
pub fn names() -> Vec<&'static str> {
    catalog::catalog().iter().map(|entry| entry.name).filter(|name| source(name).is_ok()).collect()
}

/// The directory that data sets are put in and looked for in: `$RDARTS_DATA`, else the user's own.
pub fn usual_target() -> Result<PathBuf, FetchError> {
    locate::from_env().or_else(locate::of_user).ok_or(FetchError::NoDirectory)
}

/// Fetches what is not there yet and verifies what is.
///
/// # Errors
/// One sentence; nothing unfinished has a finished file's name.
pub fn fetch(source: &Source, options: &Options, observer: &mut dyn Observer) -> Result<Fetched, FetchError> {
    let base = options.from.as_ref().unwrap_or(&source.base);
    let is_address = |uri: &ureq::http::Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
    if !base.parse().is_ok_and(|uri| is_address(&uri)) {
        return Err(FetchError::Address(base.clone()));
    }
    let dir = options.to.join(&source.directory);
    let beside = if source.packed { &options.to } else { &dir };
    fs::create_dir_all(beside).map_err(|e| FetchError::write(beside, &e))?;
    if source.packed
        && let Some(arrival) = verify_unpacked(source, &dir, observer)?
    {
        return Ok(Fetched { dir, files: vec![(source.directory.clone(), arrival)] });
    }
    let mut files = Vec::new();
    for file in &source.files {
        let path = beside.join(&file.name);
        let is_there = is_published(file, &path, observer)?;
        if !is_there {
            let url = format!("{}/{}", base.trim_end_matches('/'), file.name);
            download::download(&url, file, &path, options, observer)?;
        }
        if source.packed {
            observer.step(Step::Unpacking);
            let arrival = place(source, &path, &options.to)?;
            // The archive can be had again; the space it takes cannot.
            let _ = fs::remove_file(&path);
            files.push((source.directory.clone(), arrival));
        } else {
            files.push((file.name.clone(), if is_there { Arrival::Verified } else { Arrival::Fetched }));
        }
    }
    Ok(Fetched { dir, files })
}

/// Whether the file is there; another one in its place is an error.
fn is_published(file: &SourceFile, path: &Path, observer: &mut dyn Observer) -> Result<bool, FetchError> {
    if !path.exists() {
        return Ok(false);
    }
    observer.step(Step::Summing);
    match sum_of(path, observer)? {
        sum if sum == file.sha256 => Ok(true),
        sum => Err(FetchError::Occupied {
            path: path.to_owned(),
            why: format!("its SHA-256 is {sum} and should be {}", file.sha256),
        }),
    }
}

/// Verifies a directory that was made of an archive, if it is there.
fn verify_unpacked(source: &Source, dir: &Path, observer: &mut dyn Observer) -> Result<Option<Arrival>, FetchError> {
    let is_empty = || fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none());
    if !dir.exists() || is_empty() {
        return Ok(None);
    }
    let occupied = |path: PathBuf, why: String| FetchError::Occupied { path, why };
    let Ok(sums) = fs::read_to_string(dir.join(SUMS)) else {
        // Unpacked by hand: reading it is what can be done.
        let bad = check_files(&source.name, Some(dir))?.into_iter().find_map(|file| file.images.err());
        return match bad {
            None => Ok(Some(Arrival::Readable)),
            Some(error) => Err(occupied(dir.to_owned(), error.to_string())),
        };
    };
    observer.step(Step::Summing);
    let mut listed = Vec::new();
    for line in sums.lines() {
        let named = line.split_once("  ").filter(|(_, name)| unpack::safe_components(Path::new(name)).is_ok());
        let Some((expected, name)) = named else {
            return Err(occupied(dir.join(SUMS), format!("its line `{line}` is no sum and name")));
        };
        let path = dir.join(name);
        if !path.is_file() {
            return Err(occupied(dir.to_owned(), format!("it lacks {name}")));
        }
        let sum = sum_of(&path, observer)?;
        if sum != expected {
            return Err(occupied(path, format!("its SHA-256 is {sum}, {SUMS} says {expected}")));
        }
        listed.push(name);
    }
    // A list that was cut short says nothing about the files it lacks.
    if let Some(name) = source.contents.iter().find(|name| !listed.contains(&name.as_str())) {
        return Err(occupied(dir.join(SUMS), format!("it has no sum of {name}")));
    }
    if listed.is_empty() {
        return Err(occupied(dir.join(SUMS), "it is empty".to_owned()));
    }
    Ok(Some(Arrival::Verified))
}

/// Unpacks an archive beside its place and moves it there as a whole, holding a lock on the archive all the while.
fn place(source: &Source, archive: &Path, to: &Path) -> Result<Arrival, FetchError> {
    let name = archive.display().to_string();
    let write = |e: io::Error| FetchError::write(to, &e);
    let stream = File::open(archive).map_err(|e| FetchError::write(archive, &e))?;
    if let Err(fs::TryLockError::WouldBlock) = stream.try_lock() {
        return Err(FetchError::Busy { path: archive.to_owned() });
    }
    // Another process may have placed it before this one had the lock.
    let place = to.join(&source.directory);
    if let Some(arrival) = verify_unpacked(source, &place, &mut Unobserved)? {
        return Ok(arrival);
    }
    let prefix = format!(".unfinished-{}-", source.directory);
    remove_unfinished(to, &prefix).map_err(write)?;
    let room = tempfile::Builder::new().prefix(&prefix).tempdir_in(to).map_err(write)?;
    unpack(io::BufReader::with_capacity(1 << 16, &stream), &name, room.path(), Limits::default())?;
    let made = room.path().join(&source.directory);
    if !made.is_dir() {
        return Err(FetchError::Archive { archive: name, why: format!("it holds no directory {}", source.directory) });
    }
    write_sums(&made)?;
    fs::rename(&made, &place).map_err(|e| FetchError::write(&place, &e))?;
    // A directory that cannot be synced is in place all the same.
    let _ = File::open(to).and_then(|dir| dir.sync_all());
    Ok(Arrival::Fetched)
}

/// Removes what a killed process left; the lock on the archive tells that it is not at work.
fn remove_unfinished(to: &Path, prefix: &str) -> io::Result<()> {
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// The sums of the files right in a directory.
fn write_sums(dir: &Path) -> Result<(), FetchError> {
    let write = |e: io::Error| FetchError::write(dir, &e);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(write)? {
        let entry = entry.map_err(write)?;
        names.extend(entry.path().is_file().then(|| entry.file_name()));
    }
    names.sort();
    let mut text = String::new();
    for name in names.iter().filter_map(|name| name.to_str()) {
        text += &format!("{}  {name}\n", sum_of(&dir.join(name), &mut Unobserved)?);
    }
    let path = dir.join(SUMS);
    File::create(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .map_err(|e| FetchError::write(&path, &e))
}

struct Unobserved;

impl Observer for Unobserved {
    fn step(&mut self, _: Step) {}
}

/// The SHA-256 of a file in hexadecimal.
fn sum_of(path: &Path, observer: &mut dyn Observer) -> Result<String, FetchError> {
    let unreadable = |e: io::Error| DataError::unreadable(path.display().to_string(), &e);
    let mut file = File::open(path).map_err(unreadable)?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        if observer.stopped() {
            return Err(FetchError::Stopped);
        }
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hex_of(hasher)),
            Ok(n) => hasher.update(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(unreadable(e).into()),
        }
    }
}

#[cfg(test)]
mod tests;
