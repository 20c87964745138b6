//! MATLAB level 5 MAT-files, as much of them as numeric arrays need ("MAT-File Format", MathWorks, chapter 1).
//!
//! ```text
//! offset 0     text, 116 bytes; 8 bytes of no use here; version 00 01; "IM" for little endian
//! offset 128   elements: type 4 bytes, size 4 bytes, content, padded to a multiple of 8 unless compressed
//! ```
//!
//! An element of up to 4 bytes may hold them in place of its size, which then is the upper half of the type.
//! A top element is a matrix or a zlib stream of one; a matrix holds its flags (with its class), dimensions,
//! name and values, the first dimension fastest, in any element type that can hold them.
//!
//! Arrays are handed to a visitor as they come, and it reads their values piece by piece: nothing declared is
//! believed, and no memory but the caller's and a few bytes is used. Not here: big endian, sparse, cell and
//! complex values, and the HDF5 files of MATLAB 7.3; the first and the last are named.

use std::io::{self, BufRead, Read};

use flate2::bufread::ZlibDecoder;

use super::read::{is_damage, read_up_to};
use super::sniff;
use crate::error::DataError;

/// What stands before an array's values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Array {
    /// Its name.
    pub name: String,
    /// Its class, such as "double" or "cell".
    pub class: &'static str,
    /// Its dimensions, the fastest first.
    pub dims: Vec<u32>,
    /// Whether it has an imaginary part.
    pub is_complex: bool,
}

impl Array {
    /// Dimensions and class in words.
    pub fn describe(&self) -> String {
        let dims = self.dims.iter().map(u32::to_string).collect::<Vec<_>>().join(" x ");
        let complex = if self.is_complex { "complex " } else { "" };
        format!("{dims} of class {complex}{}", self.class)
    }
}

/// The values of an array, to be read in their order; none if its class is not numeric.
pub struct Values<'s, 'r> {
    source: &'s mut Source<'r>,
    kind: u32,
    n_bytes: u64,
    /// Values that stand in the tag itself.
    inline: Option<[u8; 4]>,
}

impl Values<'_, '_> {
    /// Whether values are stored as unsigned bytes.
    pub fn are_bytes(&self) -> bool {
        self.kind == UINT8
    }

    /// Fills `buffer` with the next bytes as they are stored.
    pub fn read_bytes(&mut self, buffer: &mut [u8]) -> Result<(), DataError> {
        let n = buffer.len() as u64;
        if n > self.n_bytes {
            return Err(self.source.damaged("an array has fewer values than its dimensions say"));
        }
        self.n_bytes -= n;
        match &mut self.inline {
            None => self.source.fill(buffer, "the values of an array"),
            Some(bytes) => {
                buffer.copy_from_slice(&bytes[..buffer.len()]);
                bytes.rotate_left(buffer.len());
                Ok(())
            }
        }
    }

    /// The next value as a number, whatever its element type.
    pub fn read_number(&mut self) -> Result<f64, DataError> {
        let mut bytes = [0; 8];
        let size = size_of(self.kind).unwrap_or(1);
        self.read_bytes(&mut bytes[..size])?;
        let [b0, b1, b2, b3, ..] = bytes;
        Ok(match self.kind {
            INT8 => f64::from(b0 as i8),
            INT16 => f64::from(i16::from_le_bytes([b0, b1])),
            UINT16 => f64::from(u16::from_le_bytes([b0, b1])),
            INT32 => f64::from(i32::from_le_bytes([b0, b1, b2, b3])),
            UINT32 => f64::from(u32::from_le_bytes([b0, b1, b2, b3])),
            SINGLE => f64::from(f32::from_le_bytes([b0, b1, b2, b3])),
            DOUBLE => f64::from_le_bytes(bytes),
            INT64 => i64::from_le_bytes(bytes) as f64,
            UINT64 => u64::from_le_bytes(bytes) as f64,
            _ => f64::from(b0),
        })
    }
}

/// What is done with each array.
pub type Visit<'v> = &'v mut dyn FnMut(&Array, &mut Values) -> Result<(), DataError>;

/// Hands the arrays of a whole stream to `visit`, which need not read their values. `file` is the name in messages.
pub fn read_arrays(reader: &mut dyn BufRead, file: &str, visit: Visit) -> Result<(), DataError> {
    let mut at = take_header(reader, file)?;
    loop {
        let mut tag = [0; 8];
        let mut top = Source { reader: &mut *reader, file, place: "the file", left: u64::MAX };
        match top.read(&mut tag)? {
            0 => return Ok(()),
            8 => (),
            _ => return Err(top.damaged(&format!("the file ends within the tag at offset {at}"))),
        }
        let (kind, size) = (word(&tag[..4]), u64::from(word(&tag[4..])));
        let mut content = (&mut *reader).take(size);
        match kind {
            MATRIX => {
                let place = format!("the variable at offset {at}");
                let mut source = Source { reader: &mut content, file, place: &place, left: size };
                take_matrix(&mut source, visit)?;
                source.skip_rest()?;
            }
            COMPRESSED => {
                let place = format!("the packed variable at offset {at}");
                let mut unpacked = ZlibDecoder::new(content);
                take_packed(Source { reader: &mut unpacked, file, place: &place, left: u64::MAX }, visit)?;
                // Behind a stream that ends before its declared size stands nothing of use.
                let mut content = unpacked.into_inner();
                let left = content.limit();
                Source { reader: &mut content, file, place: &place, left }.skip_rest()?;
            }
            _ => return Err(damaged(file, &format!("the element at offset {at} has the unknown type {kind}"))),
        }
        at += 8 + size;
    }
}

const INT8: u32 = 1;
const UINT8: u32 = 2;
const INT16: u32 = 3;
const UINT16: u32 = 4;
const INT32: u32 = 5;
const UINT32: u32 = 6;
const SINGLE: u32 = 7;
const DOUBLE: u32 = 9;
const INT64: u32 = 12;
const UINT64: u32 = 13;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;

/// The classes by their number, and which of them hold numbers.
const CLASSES: [&str; 18] = [
    "unknown", "cell", "struct", "object", "char", "sparse", "double", "single", "int8", "uint8", "int16", "uint16",
    "int32", "uint32", "int64", "uint64", "function", "opaque",
];
const NUMERIC: std::ops::RangeInclusive<usize> = 6..=15;

fn size_of(kind: u32) -> Option<usize> {
    match kind {
        INT8 | UINT8 => Some(1),
        INT16 | UINT16 => Some(2),
        INT32 | UINT32 | SINGLE => Some(4),
        DOUBLE | INT64 | UINT64 => Some(8),
        _ => None,
    }
}

fn word(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte))
}

fn damaged(file: &str, problem: &str) -> DataError {
    DataError::Mat { file: file.to_owned(), problem: problem.to_owned() }
}

/// Checks the header and gives its length.
fn take_header(reader: &mut dyn BufRead, file: &str) -> Result<u64, DataError> {
    let mut header = [0; 128];
    let held = Source { reader, file, place: "the header", left: u64::MAX }.read(&mut header)?;
    let not_this = |found: String| {
        let expected = "a MAT-file of MATLAB 5 in little endian order";
        Err(DataError::NotA { file: file.to_owned(), expected, found })
    };
    let head = &header[..held];
    let is_mat = head.starts_with(b"MATLAB 5.0");
    match (sniff::known(head), head.get(124..)) {
        (Some(kind), _) if !is_mat => not_this(kind.to_owned()),
        (_, Some([0, 2, b'I', b'M'])) => not_this("a MATLAB 7.3 file (HDF5), to be saved again with -v7".to_owned()),
        (_, Some([_, _, b'M', b'I'])) => not_this("a MAT-file in big endian order".to_owned()),
        (_, Some([0, 1, b'I', b'M'])) => Ok(128),
        (_, Some(_)) => not_this(sniff::guess(head)),
        (_, None) if is_mat => Err(damaged(file, "the file ends within its header of 128 bytes")),
        (_, None) => not_this(sniff::guess(head)),
    }
}

/// A matrix in a zlib stream of its own.
fn take_packed(mut source: Source, visit: Visit) -> Result<(), DataError> {
    let mut tag = [0; 8];
    source.fill(&mut tag, "its tag")?;
    let kind = word(&tag[..4]);
    if kind != MATRIX {
        return Err(source.damaged(&format!("{} holds an element of type {kind} instead of a matrix", source.place)));
    }
    source.left = word(&tag[4..]).into();
    take_matrix(&mut source, visit)?;
    source.skip_rest()?;
    // One more read makes the decoder compare the checksum.
    match source.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(source.damaged(&format!("{} goes on after its declared size", source.place))),
    }
}

/// The content of a matrix up to its values, which `visit` may read.
fn take_matrix(source: &mut Source, visit: Visit) -> Result<(), DataError> {
    // An empty array may be written without any content.
    if source.left == 0 {
        return Ok(());
    }
    let flags = source.small_element("its flags", 16)?;
    let [class, bits, ..] = flags[..] else { return Err(source.damaged("the flags of a variable are missing")) };
    let class = usize::from(class);
    // Classes beyond those documented do not go on like the others.
    if class >= CLASSES.len() - 2 {
        return Ok(());
    }
    let dims = source.small_element("its dimensions", 128)?.chunks_exact(4).map(word).collect();
    let name = source.small_element("its name", 256)?.escape_ascii().to_string();
    let array = Array { name, class: CLASSES[class], dims, is_complex: bits & 8 != 0 };
    if !NUMERIC.contains(&class) {
        return visit(&array, &mut Values { source, kind: UINT8, n_bytes: 0, inline: None });
    }
    let (kind, n_bytes, inline) = source.take_tag("the tag of its values")?;
    let n_values = array.dims.iter().try_fold(1u64, |n, &dim| n.checked_mul(dim.into()));
    let needed = size_of(kind).and_then(|size| n_values?.checked_mul(size as u64));
    if needed != Some(n_bytes) {
        let problem = format!("{} is {} and declares {n_bytes} bytes of type {kind}", array.name, array.describe());
        return Err(source.damaged(&problem));
    }
    visit(&array, &mut Values { source, kind, n_bytes, inline })
}

/// The bytes of a file or of one variable.
struct Source<'r> {
    reader: &'r mut dyn Read,
    file: &'r str,
    /// What is read, for messages.
    place: &'r str,
    /// Bytes that it should still have.
    left: u64,
}

impl Source<'_> {
    /// Reads until the buffer is full or the stream ends.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, DataError> {
        read_up_to(self.reader, buffer).map_err(|e| self.failed(&e))
    }

    /// Fills the buffer from what the variable has left.
    fn fill(&mut self, buffer: &mut [u8], what: &str) -> Result<(), DataError> {
        let n = buffer.len() as u64;
        if n > self.left {
            return Err(self.damaged(&format!("{} is shorter than {what}", self.place)));
        }
        if self.read(buffer)? < buffer.len() {
            return Err(self.damaged(&format!("{} is cut short within {what}", self.place)));
        }
        self.left -= n;
        Ok(())
    }

    fn skip(&mut self, n: u64) -> Result<(), DataError> {
        let n = n.min(self.left);
        let skipped = io::copy(&mut (&mut *self.reader).take(n), &mut io::sink()).map_err(|e| self.failed(&e))?;
        self.left -= skipped;
        match skipped == n {
            true => Ok(()),
            false => Err(self.damaged(&format!("{} is cut short", self.place))),
        }
    }

    fn skip_rest(&mut self) -> Result<(), DataError> {
        self.skip(self.left)
    }

    /// Type, size and, if they are in the tag, the content of the next element.
    fn take_tag(&mut self, what: &str) -> Result<(u32, u64, Option<[u8; 4]>), DataError> {
        let mut tag = [0; 8];
        self.fill(&mut tag, what)?;
        let [_, _, _, _, b4, b5, b6, b7] = tag;
        let (kind, n_bytes) = (word(&tag[..4]), u64::from(word(&tag[4..])));
        match kind >> 16 {
            0 => Ok((kind, n_bytes, None)),
            n @ 1..=4 => Ok((kind & 0xffff, n.into(), Some([b4, b5, b6, b7]))),
            n => Err(self.damaged(&format!("{} has an element of {n} bytes in a tag, which holds 4", self.place))),
        }
    }

    /// The content of an element that should have at most `limit` bytes, and its padding.
    fn small_element(&mut self, what: &str, limit: u64) -> Result<Vec<u8>, DataError> {
        let (_, n_bytes, inline) = self.take_tag(what)?;
        if let Some(bytes) = inline {
            return Ok(bytes[..n_bytes as usize].to_vec());
        }
        if n_bytes > limit {
            return Err(self.damaged(&format!("{} declares {n_bytes} bytes for {what}", self.place)));
        }
        let mut content = vec![0; n_bytes as usize];
        self.fill(&mut content, what)?;
        self.skip(n_bytes.next_multiple_of(8) - n_bytes)?;
        Ok(content)
    }

    fn damaged(&self, problem: &str) -> DataError {
        damaged(self.file, problem)
    }

    fn failed(&self, error: &io::Error) -> DataError {
        match is_damage(error) {
            true => self.damaged(&format!("{} cannot be unpacked ({error})", self.place)),
            false => DataError::unreadable(self.file, error),
        }
    }
}
