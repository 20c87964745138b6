//! Unpacking a tar.gz so that nothing leaves the target, whatever the archive says.
//!
//! Only regular files and directories are made, and only at paths of plain names: an absolute path, a `..`, a link or
//! a device refuses the whole archive. Headers are read one by one without the extensions that give longer names, so
//! none can replace a path that was checked, and no size that is declared is believed: files, bytes and depth have
//! limits, and the bytes are counted as they are unpacked.

use std::fs::{self, File};
use std::io::{self, BufRead, Read, Write};
use std::path::{Component, Path, PathBuf};

use flate2::bufread::GzDecoder;
use tar::{Archive, EntryType};

use super::FetchError;

/// The most that an archive may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of all its files and headers together.
    pub bytes: u64,
    /// Files and directories.
    pub entries: usize,
}

impl Default for Limits {
    /// Five times what the largest archive of a source here holds.
    fn default() -> Self {
        Self { bytes: 1 << 30, entries: 10_000 }
    }
}

/// Directories below each other.
const MAX_DEPTH: usize = 16;

/// Unpacks `stream`, a tar.gz called `archive` in messages, into the directory `target`, which should be empty.
///
/// # Errors
/// One sentence; what was unpacked before stays in the target.
pub fn unpack(stream: impl BufRead, archive: &str, target: &Path, limits: Limits) -> Result<(), FetchError> {
    let refused = |why: String| FetchError::Archive { archive: archive.to_owned(), why };
    let damaged = |e: io::Error| refused(format!("it is damaged or no tar.gz file ({e})"));
    // One byte more than allowed may be unpacked, to tell an archive that ends there from one that goes on.
    let mut tar = Archive::new(GzDecoder::new(stream).take(limits.bytes.saturating_add(1)));
    let too_large = || refused(format!("it unpacks to more than {} bytes", limits.bytes));
    let mut unpacked = 0u64;
    for (n, entry) in tar.entries().map_err(damaged)?.raw(true).enumerate() {
        let mut entry = entry.map_err(damaged)?;
        if n == limits.entries {
            return Err(refused(format!("it holds more than {} files", limits.entries)));
        }
        unpacked = unpacked.saturating_add(512).saturating_add(entry.size());
        if unpacked > limits.bytes {
            return Err(too_large());
        }
        let path = path_of(&entry.path_bytes());
        let shown = path.display().to_string();
        let kind = entry.header().entry_type();
        // Names and times of other entries; the paths that count stand in the entries themselves.
        if matches!(kind, EntryType::XHeader | EntryType::XGlobalHeader | EntryType::GNULongName) {
            continue;
        }
        let components = safe_components(&path).map_err(|why| refused(format!("its entry `{shown}` {why}")))?;
        let place = components.iter().fold(target.to_owned(), |place, name| place.join(name));
        let write = |e: io::Error| FetchError::write(&place, &e);
        match kind {
            EntryType::Directory => fs::create_dir_all(&place).map_err(write)?,
            EntryType::Regular | EntryType::Continuous if components.is_empty() => {
                return Err(refused("it holds a file without a name".to_owned()));
            }
            EntryType::Regular | EntryType::Continuous => {
                fs::create_dir_all(place.parent().unwrap_or(target)).map_err(write)?;
                let mut file = match File::create_new(&place) {
                    Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                        return Err(refused(format!("it holds `{shown}` twice")));
                    }
                    file => file.map_err(write)?,
                };
                let size = entry.size();
                if copy(&mut entry, &mut file, &damaged, &write)? < size {
                    return Err(refused(format!("it is damaged: it ends within `{shown}`")));
                }
                file.sync_all().map_err(write)?;
            }
            _ => return Err(refused(format!("its entry `{shown}` is {}, only files are unpacked", describe(kind)))),
        }
    }
    // Reading to the end makes the decoder compare the checksum.
    let mut rest = tar.into_inner();
    io::copy(&mut rest, &mut io::sink()).map_err(damaged)?;
    if rest.limit() == 0 { Err(too_large()) } else { Ok(()) }
}

/// Copies an entry and gives its bytes; reading and writing fail in different words.
fn copy(
    entry: &mut (impl Read + ?Sized),
    file: &mut File,
    damaged: &dyn Fn(io::Error) -> FetchError,
    write: &dyn Fn(io::Error) -> FetchError,
) -> Result<u64, FetchError> {
    let (mut buffer, mut copied) = (vec![0; 1 << 16], 0);
    loop {
        match entry.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(n) => {
                file.write_all(&buffer[..n]).map_err(write)?;
                copied += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(damaged(e)),
        }
    }
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(bytes).into_owned())
}

/// The names that a path is made of, if they lead nowhere but down.
pub(super) fn safe_components(path: &Path) -> Result<Vec<&Path>, &'static str> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) if name.to_string_lossy().contains(['\\', '\0']) => {
                return Err("has a name that is none everywhere");
            }
            Component::Normal(name) => names.push(Path::new(name)),
            Component::CurDir => {}
            Component::ParentDir => return Err("leads out of the target with `..`"),
            Component::RootDir | Component::Prefix(_) => return Err("leads out of the target with an absolute path"),
        }
    }
    if names.len() > MAX_DEPTH { Err("lies too deep") } else { Ok(names) }
}

fn describe(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Symlink => "a symbolic link",
        EntryType::Link => "a hard link",
        EntryType::Char | EntryType::Block => "a device",
        EntryType::Fifo => "a pipe",
        EntryType::GNUSparse => "a file with holes",
        EntryType::GNULongLink => "the name of a link",
        _ => "of an unknown kind",
    }
}
