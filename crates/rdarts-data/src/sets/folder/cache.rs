//! The cache: a folder's decoded images in one file, in the order of their paths.
//!
//! ```text
//! offset 0     "rdarts images 2\n"
//! offset 16    digest of the files' names, sizes and times, and of size and channels      32 bytes
//! offset 48    number of images 8 bytes, size 4 bytes, channels 4 bytes, little endian
//! offset 64    checksum of everything before, and of the table                            32 bytes
//! offset 96    the table, a row an image: sum of its bytes 8 bytes, then for each channel
//!              the sum of its values 4 bytes and of their squares 8 bytes; the facts of its picture 8 bytes
//! then         the images, (size, size, channels) each
//! ```
//!
//! A file that is not exactly this, of exactly these files, is not used but made again. The images are held to their
//! sums whenever one is read. It is written to a sibling and renamed.

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rdarts_text::shown;

use super::list::Listing;
use crate::dataset::Shape;
use crate::error::DataError;
use crate::formats::facts::Facts;
use crate::images::image_sum;
use crate::positioned::read_exact_at;
use crate::statistics::{Moments, add_moments};

/// What is known of one image without its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The sum that tells it from others.
    pub sum: u64,
    /// For each channel, the sum of the values and of their squares.
    pub moments: [Moments; 3],
    /// What was noticed about the picture.
    pub facts: Facts,
}

impl Row {
    /// Of an image.
    pub fn of(image: &[u8], facts: Facts, channels: usize) -> Self {
        let mut row = Self { sum: image_sum(image), facts, ..Self::default() };
        add_moments(&mut row.moments[..channels], image);
        row
    }
}

/// A cache that is whole and of these files.
#[derive(Debug)]
pub struct CacheFile {
    /// The open file.
    pub file: Arc<File>,
    /// Where the first image begins.
    pub offset: u64,
    /// What is known of each image.
    pub rows: Vec<Row>,
}

const MAGIC: &[u8; 16] = b"rdarts images 2\n";
const TABLE: usize = 96;

/// Where the cache of a folder lies if nobody says: in the user's directory of caches.
pub fn usual_path(root: &Path, shape: Shape) -> Option<PathBuf> {
    let from = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let dir = from("XDG_CACHE_HOME").or_else(|| from("HOME").map(|home| home.join(".cache")))?;
    let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let mut hasher = blake3::Hasher::new();
    hasher.update(root.as_os_str().as_encoded_bytes());
    let name = &hasher.finalize().to_hex()[..16];
    Some(dir.join("rdarts").join(format!("{name}-{}x{}.images", shape.size, shape.channels)))
}

/// What the cache of a folder must be of.
pub fn digest(listing: &Listing, shape: Shape) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let numbers = |numbers: &[u64]| numbers.iter().map(|n| n.to_le_bytes()).collect::<Vec<_>>().concat();
    hasher.update(&numbers(&[shape.size as u64, shape.channels as u64, listing.entries.len() as u64]));
    for entry in &listing.entries {
        let name = entry.path.as_os_str().as_encoded_bytes();
        let (size, seconds, nanoseconds) = entry.stamp;
        hasher.update(&numbers(&[name.len() as u64, size, seconds as u64, nanoseconds as u64]));
        hasher.update(name);
    }
    *hasher.finalize().as_bytes()
}

/// Whether there may be a cache: an error if somebody else's file is there, which must not be written over, or a
/// directory, which cannot be.
pub fn check_place(path: &Path) -> Result<(), DataError> {
    if path.is_dir() {
        return Err(DataError::CacheDirectory { dir: path.to_owned() });
    }
    let mut head = Vec::new();
    let taken = File::open(path).and_then(|file| file.take(16).read_to_end(&mut head));
    let reason = "it is another kind of file".to_owned();
    match taken {
        // One of another version is made again.
        Ok(1..) if !head.starts_with(&MAGIC[..14]) => Err(DataError::Cache { file: shown(path), reason }),
        _ => Ok(()),
    }
}

/// Opens a cache; `None` if there is none, and an error says why it is of no use.
pub fn open(path: &Path, digest: &[u8; 32], n: usize, shape: Shape) -> Result<Option<CacheFile>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(e) => return Err(e.to_string()),
    };
    let length = file.metadata().map_err(|e| e.to_string())?.len();
    let mut head = vec![0; TABLE];
    let is_short = |e: std::io::Error| match e.kind() {
        ErrorKind::UnexpectedEof => "it is cut short".to_owned(),
        _ => e.to_string(),
    };
    read_exact_at(&file, &mut head, 0).map_err(is_short)?;
    if head[..64] != fixed_part(digest, n, shape) {
        return Err("the folder has changed, or it is of another size".to_owned());
    }
    let offset = table_end(n, shape);
    if length != offset + n as u64 * shape.image_size() as u64 {
        return Err("it is cut short or too long".to_owned());
    }
    let mut table = vec![0; n * row_size(shape)];
    read_exact_at(&file, &mut table, TABLE as u64).map_err(is_short)?;
    if checksum(&head[..64], &table) != head[64..] {
        return Err("its header is damaged".to_owned());
    }
    let rows = table.chunks_exact(row_size(shape)).map(|bytes| row_from(bytes, shape.channels)).collect();
    Ok(Some(CacheFile { file: Arc::new(file), offset, rows }))
}

/// A cache in the making.
pub struct Writer {
    path: PathBuf,
    file: BufWriter<tempfile::NamedTempFile>,
    rows: Vec<Row>,
    shape: Shape,
}

impl Writer {
    /// Begins a cache of `n` images at `path`.
    pub fn new(path: &Path, n: usize, shape: Shape) -> Result<Self, DataError> {
        let failed = |e| cannot(path, &e);
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir).map_err(failed)?;
        clear_remains(dir);
        let mut file = tempfile::Builder::new().prefix(REMAINS).tempfile_in(dir).map_err(failed)?;
        file.as_file_mut().seek(SeekFrom::Start(table_end(n, shape))).map_err(failed)?;
        Ok(Self { path: path.to_owned(), file: BufWriter::with_capacity(1 << 20, file), rows: Vec::new(), shape })
    }

    /// Adds the next image.
    pub fn push(&mut self, image: &[u8], facts: Facts) -> Result<(), DataError> {
        self.rows.push(Row::of(image, facts, self.shape.channels));
        self.file.write_all(image).map_err(|e| cannot(&self.path, &e))
    }

    /// Puts the cache in its place.
    pub fn finish(self, digest: &[u8; 32]) -> Result<CacheFile, DataError> {
        let Self { path, file, rows, shape } = self;
        let failed = |e: std::io::Error| cannot(&path, &e);
        let file = file.into_inner().map_err(|e| failed(e.into_error()))?;
        let table: Vec<u8> = rows.iter().flat_map(|row| row_bytes(row, shape.channels)).collect();
        let mut head = fixed_part(digest, rows.len(), shape);
        let sum = checksum(&head, &table);
        head.extend(sum);
        head.extend(table);
        file.as_file().seek(SeekFrom::Start(0)).and_then(|_| file.as_file().write_all(&head)).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        let file = file.persist(&path).map_err(|e| failed(e.error))?;
        Ok(CacheFile { file: Arc::new(file), offset: table_end(rows.len(), shape), rows })
    }
}

const REMAINS: &str = ".rdarts-images-";

/// Takes away what writers that were killed have left: their files are large.
fn clear_remains(dir: &Path) {
    const OLD: Duration = Duration::from_secs(24 * 3600);
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let changed = entry.metadata().and_then(|data| data.modified()).unwrap_or_else(|_| SystemTime::now());
        let is_old = changed.elapsed().is_ok_and(|age| age > OLD);
        if is_old && entry.file_name().as_encoded_bytes().starts_with(REMAINS.as_bytes()) {
            // Another process may have done it already.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn cannot(path: &Path, error: &std::io::Error) -> DataError {
    DataError::Cache { file: shown(path), reason: error.to_string() }
}

fn fixed_part(digest: &[u8; 32], n: usize, shape: Shape) -> Vec<u8> {
    let (size, channels) = (shape.size as u32, shape.channels as u32);
    let n = (n as u64).to_le_bytes();
    [&MAGIC[..], digest, &n, &size.to_le_bytes(), &channels.to_le_bytes()].concat()
}

fn checksum(fixed: &[u8], table: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(fixed);
    hasher.update(table);
    *hasher.finalize().as_bytes()
}

fn row_size(shape: Shape) -> usize {
    8 + 12 * shape.channels + 8
}

fn table_end(n: usize, shape: Shape) -> u64 {
    (TABLE + n * row_size(shape)) as u64
}

fn row_bytes(row: &Row, channels: usize) -> Vec<u8> {
    let mut bytes = row.sum.to_le_bytes().to_vec();
    for (sum, squares) in &row.moments[..channels] {
        // An image of the largest size has sums below 2^28 and 2^36.
        bytes.extend((*sum as u32).to_le_bytes());
        bytes.extend((*squares as u64).to_le_bytes());
    }
    bytes.extend(row.facts.to_bytes());
    bytes
}

fn row_from(bytes: &[u8], channels: usize) -> Row {
    let (sum, moments) = bytes.split_at(8);
    let facts = moments.last_chunk().map_or_else(Facts::default, |bytes| Facts::from_bytes(*bytes));
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |word, &byte| word << 8 | u64::from(byte));
    let mut row = Row { sum: word(sum), facts, ..Row::default() };
    for (moment, bytes) in row.moments[..channels].iter_mut().zip(moments.chunks_exact(12)) {
        *moment = (word(&bytes[..4]), u128::from(word(&bytes[4..])));
    }
    row
}
