//! The state of a run in one file: named tensors, a JSON value, and a checksum over everything.
//!
//! The file is a safetensors file, so Python opens it too:
//!
//! ```text
//! 8 bytes       length n of the header, little endian
//! n bytes       header: JSON, padded with spaces so that the data start at a multiple of 8
//!               "__metadata__": format, rdarts (version), events_bytes, events_lines, state (JSON), checksum: all
//!               texts; format 1 had no events_lines
//!               then one entry a tensor: dtype, shape, data_offsets
//! the rest      the tensors' values, little endian, wide types first, then by name
//! ```
//!
//! Invariants: equal contents give equal bytes; a file is written under a temporary name and renamed, so it is whole
//! or absent; reading verifies the length, the checksum, and that the header is byte for byte the one that the
//! writer would have made, so no single changed byte and no truncation goes unnoticed.
//!
//! Names are `00000012-epoch-3.safetensors`: the first number only grows, also when a run goes back to an earlier
//! epoch, and is the order of the files. Numbers that may be infinite belong in tensors, since JSON has none.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bytemuck::Pod;
use serde_json::Value;

use rdarts_text::{escaped, shown};

use crate::atomic;
use crate::text::is_system;

/// Version of the layout of a checkpoint.
pub const CHECKPOINT_FORMAT: u32 = 2;

/// The state of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Length, in bytes, of the part of `events.jsonl` that belongs to this state.
    pub events_bytes: u64,
    /// Eight hexadecimal digits of BLAKE3 for each line of that part; empty if they were not recorded (format 1).
    pub events_lines: String,
    /// All that is not a tensor; a caller's struct as JSON.
    pub state: Value,
    /// Weights, optimiser buffers, alphas and generators, by name.
    pub tensors: BTreeMap<String, Tensor>,
}

/// An array of numbers with a shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: TensorData,
}

/// The values of a tensor, row by row.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// Single precision.
    F32(Vec<f32>),
    /// Double precision.
    F64(Vec<f64>),
    /// Whole numbers, such as the state of a generator.
    U64(Vec<u64>),
    /// Bytes.
    U8(Vec<u8>),
}

impl Tensor {
    /// A tensor of these values; panics when the shape asks for another number of them.
    pub fn new(shape: impl Into<Vec<usize>>, data: TensorData) -> Tensor {
        let shape = shape.into();
        let wanted = n_elements(&shape);
        assert!(wanted == Some(data.len()), "shape {shape:?} does not hold {} values", data.len());
        Tensor { shape, data }
    }

    /// A tensor of single precision.
    pub fn f32(shape: impl Into<Vec<usize>>, data: Vec<f32>) -> Tensor {
        Tensor::new(shape, TensorData::F32(data))
    }

    /// A tensor of double precision.
    pub fn f64(shape: impl Into<Vec<usize>>, data: Vec<f64>) -> Tensor {
        Tensor::new(shape, TensorData::F64(data))
    }

    /// A tensor of whole numbers.
    pub fn u64(shape: impl Into<Vec<usize>>, data: Vec<u64>) -> Tensor {
        Tensor::new(shape, TensorData::U64(data))
    }

    /// A tensor of bytes.
    pub fn u8(shape: impl Into<Vec<usize>>, data: Vec<u8>) -> Tensor {
        Tensor::new(shape, TensorData::U8(data))
    }

    /// The shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values.
    pub fn data(&self) -> &TensorData {
        &self.data
    }

    /// Takes the values out.
    pub fn into_data(self) -> TensorData {
        self.data
    }

    /// The values, if they are of single precision.
    pub fn as_f32(&self) -> Option<&[f32]> {
        if let TensorData::F32(values) = &self.data { Some(values) } else { None }
    }

    /// The values, if they are of double precision.
    pub fn as_f64(&self) -> Option<&[f64]> {
        if let TensorData::F64(values) = &self.data { Some(values) } else { None }
    }

    /// The values, if they are whole numbers.
    pub fn as_u64(&self) -> Option<&[u64]> {
        if let TensorData::U64(values) = &self.data { Some(values) } else { None }
    }

    /// The values, if they are bytes.
    pub fn as_u8(&self) -> Option<&[u8]> {
        if let TensorData::U8(values) = &self.data { Some(values) } else { None }
    }
}

impl TensorData {
    /// The number of values.
    pub fn len(&self) -> usize {
        match self {
            TensorData::F32(values) => values.len(),
            TensorData::F64(values) => values.len(),
            TensorData::U64(values) => values.len(),
            TensorData::U8(values) => values.len(),
        }
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn dtype(&self) -> DType {
        match self {
            TensorData::F32(_) => DType::F32,
            TensorData::F64(_) => DType::F64,
            TensorData::U64(_) => DType::U64,
            TensorData::U8(_) => DType::U8,
        }
    }

    fn to_bytes(&self) -> Cow<'_, [u8]> {
        match self {
            TensorData::F32(values) => to_bytes(values, f32::to_le_bytes),
            TensorData::F64(values) => to_bytes(values, f64::to_le_bytes),
            TensorData::U64(values) => to_bytes(values, u64::to_le_bytes),
            TensorData::U8(values) => Cow::Borrowed(values),
        }
    }

    /// The inverse of `to_bytes`; the length must be a multiple of the type's size.
    fn from_bytes(dtype: DType, bytes: &[u8]) -> TensorData {
        match dtype {
            DType::F32 => TensorData::F32(from_bytes(bytes, f32::from_le_bytes)),
            DType::F64 => TensorData::F64(from_bytes(bytes, f64::from_le_bytes)),
            DType::U64 => TensorData::U64(from_bytes(bytes, u64::from_le_bytes)),
            DType::U8 => TensorData::U8(bytes.to_vec()),
        }
    }
}

/// Whether numbers lie in memory as they lie in a file, and need no copy.
const AS_IN_FILES: bool = cfg!(target_endian = "little");

fn to_bytes<T: Pod, const N: usize>(values: &[T], convert: fn(T) -> [u8; N]) -> Cow<'_, [u8]> {
    match AS_IN_FILES {
        true => Cow::Borrowed(bytemuck::cast_slice(values)),
        false => Cow::Owned(values.iter().flat_map(|value| convert(*value)).collect()),
    }
}

fn from_bytes<T: Pod, const N: usize>(bytes: &[u8], convert: fn([u8; N]) -> T) -> Vec<T> {
    match AS_IN_FILES {
        true => bytemuck::pod_collect_to_vec(bytes),
        false => bytes.as_chunks::<N>().0.iter().map(|word| convert(*word)).collect(),
    }
}

/// The name of a checkpoint file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckpointName {
    /// Only grows during a run; best the number of weight steps made so far, those that were rolled back included,
    /// so that a resumed run uses the same numbers as one that ran through.
    pub sequence: u64,
    /// The epoch, counted from 0: finished, or begun if `step` is there.
    pub epoch: usize,
    /// Steps of the epoch that were made, when the run was stopped within it.
    pub step: Option<usize>,
}

impl CheckpointName {
    /// The file name.
    pub fn file_name(&self) -> String {
        format!("{self}{EXTENSION}")
    }

    /// Reads a file name; `None` if it is not the name of a checkpoint.
    pub fn parse(file_name: &str) -> Option<CheckpointName> {
        let (sequence, rest) = file_name.strip_suffix(EXTENSION)?.split_once("-epoch-")?;
        let (epoch, step) = match rest.split_once("-step-") {
            Some((epoch, step)) => (epoch, Some(step.parse().ok()?)),
            None => (rest, None),
        };
        let name = CheckpointName { sequence: sequence.parse().ok()?, epoch: epoch.parse().ok()?, step };
        // One spelling a name: a file with other zeros is not ours, and would be counted twice.
        (name.file_name() == file_name).then_some(name)
    }
}

impl fmt::Display for CheckpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08}-epoch-{}", self.sequence, self.epoch)?;
        match self.step {
            Some(step) => write!(f, "-step-{step}"),
            None => Ok(()),
        }
    }
}

/// Why a checkpoint was refused or not written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The system cannot do it.
    #[error("cannot {action} `{}`: {source}", shown(path))]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is not a checkpoint at all.
    #[error("`{}` is not a checkpoint of rdarts: {problem}", shown(path))]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What shows it.
        problem: String,
    },
    /// The file was a checkpoint and is damaged.
    #[error("the checkpoint `{}` is damaged: {problem}", shown(path))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What shows it.
        problem: String,
    },
    /// The file was written by a newer program.
    #[error(
        "the checkpoint `{}` has format {found}, and this program knows up to {CHECKPOINT_FORMAT}; use a newer rdarts",
        shown(path)
    )]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
}

impl CheckpointError {
    /// Whether the system refuses, and not the content of a file.
    pub fn is_system(&self) -> bool {
        matches!(self, CheckpointError::Io { source, .. } if is_system(source))
    }
}

impl Checkpoint {
    /// Writes the checkpoint: whole, or not at all.
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        assert!(!self.tensors.contains_key(METADATA), "a tensor cannot be named {METADATA}");
        let header = self.header();
        atomic::write_with(path, |writer| {
            writer.write_all(&(header.len() as u64).to_le_bytes())?;
            writer.write_all(header.as_bytes())?;
            in_file_order(&self.tensors).try_for_each(|(_, tensor)| writer.write_all(&tensor.data.to_bytes()))
        })
        .map_err(|source| CheckpointError::Io { action: "write", path: path.to_path_buf(), source })
    }

    /// Reads a checkpoint and verifies all of it.
    pub fn load(path: &Path) -> Result<Checkpoint, CheckpointError> {
        let bytes = std::fs::read(path).map_err(|source| CheckpointError::Io {
            action: "read",
            path: path.to_path_buf(),
            source,
        })?;
        decode(&bytes).map_err(|fault| {
            let path = path.to_path_buf();
            match fault {
                Fault::Foreign(problem) => CheckpointError::Foreign { path, problem },
                Fault::Damaged(problem) => CheckpointError::Damaged { path, problem },
                Fault::TooNew(found) => CheckpointError::TooNew { path, found },
            }
        })
    }

    fn header(&self) -> String {
        let state = self.state.to_string();
        let (rdarts, events_bytes) = (env!("CARGO_PKG_VERSION"), self.events_bytes.to_string());
        let mut metadata = Metadata {
            format: CHECKPOINT_FORMAT,
            rdarts,
            events_bytes: &events_bytes,
            events_lines: &self.events_lines,
            state: &state,
            checksum: "",
        };
        let checksum = checksum(&metadata, self.events_bytes, &self.tensors);
        metadata.checksum = &checksum;
        encode_header(&metadata, &self.tensors)
    }
}

/// The checkpoints of a directory, newest first.
pub fn list(dir: &Path) -> Result<Vec<CheckpointName>, CheckpointError> {
    let io = |source| CheckpointError::Io { action: "list", path: dir.to_path_buf(), source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        names.extend(entry.map_err(io)?.file_name().to_str().and_then(CheckpointName::parse));
    }
    names.sort_by(|a, b| b.cmp(a));
    Ok(names)
}

/// The newest checkpoint that could be used, and what was passed over.
#[derive(Debug)]
pub struct Newest {
    /// The checkpoint; `None` if there is no usable one.
    pub found: Option<(CheckpointName, Checkpoint)>,
    /// Newer checkpoints that could not be used, newest first.
    pub passed_over: Vec<CheckpointName>,
    /// One sentence for each of those.
    pub warnings: Vec<String>,
}

/// Reads the newest good checkpoint of a directory.
///
/// Damaged ones are passed over with a warning. One that cannot be read, or that a newer program wrote, is an error:
/// it may well be good, and going back further than needed would lose work.
pub fn load_newest_valid(dir: &Path) -> Result<Newest, CheckpointError> {
    let mut newest = Newest { found: None, passed_over: Vec::new(), warnings: Vec::new() };
    for name in list(dir)? {
        match Checkpoint::load(&dir.join(name.file_name())) {
            Ok(checkpoint) => {
                newest.found = Some((name, checkpoint));
                break;
            }
            Err(err @ (CheckpointError::Damaged { .. } | CheckpointError::Foreign { .. })) => {
                newest.passed_over.push(name);
                newest.warnings.push(err.to_string());
            }
            Err(err) => return Err(err),
        }
    }
    Ok(newest)
}

/// Deletes the checkpoints that `keep` does not want; the newest one always stays. Returns the deleted ones.
pub fn prune(dir: &Path, keep: impl Fn(&CheckpointName) -> bool) -> Result<Vec<CheckpointName>, CheckpointError> {
    let mut deleted = Vec::new();
    for name in list(dir)?.into_iter().skip(1).filter(|name| !keep(name)) {
        let path = dir.join(name.file_name());
        std::fs::remove_file(&path).map_err(|source| CheckpointError::Io { action: "delete", path, source })?;
        deleted.push(name);
    }
    Ok(deleted)
}

const EXTENSION: &str = ".safetensors";
const METADATA: &str = "__metadata__";

#[derive(Clone, Copy, PartialEq, Eq)]
enum DType {
    F32,
    F64,
    U64,
    U8,
}

impl DType {
    fn name(self) -> &'static str {
        match self {
            DType::F32 => "F32",
            DType::F64 => "F64",
            DType::U64 => "U64",
            DType::U8 => "U8",
        }
    }

    fn parse(name: &str) -> Option<DType> {
        [DType::F32, DType::F64, DType::U64, DType::U8].into_iter().find(|dtype| dtype.name() == name)
    }

    fn size(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::F64 | DType::U64 => 8,
            DType::U8 => 1,
        }
    }
}

/// What stands in `__metadata__`.
struct Metadata<'a> {
    format: u32,
    rdarts: &'a str,
    events_bytes: &'a str,
    /// From format 2 on.
    events_lines: &'a str,
    state: &'a str,
    checksum: &'a str,
}

/// Why bytes are not a good checkpoint.
#[derive(Debug)]
enum Fault {
    Foreign(String),
    Damaged(String),
    TooNew(u32),
}

/// The tensors as they lie in the file: wide types first, so that every one is aligned; then by name.
fn in_file_order(tensors: &BTreeMap<String, Tensor>) -> impl Iterator<Item = (&String, &Tensor)> {
    [8, 4, 1].into_iter().flat_map(|size| tensors.iter().filter(move |(_, tensor)| tensor.data.dtype().size() == size))
}

fn encode_header(metadata: &Metadata<'_>, tensors: &BTreeMap<String, Tensor>) -> String {
    let text = |text: &str| Value::from(text).to_string();
    let lines = match metadata.format {
        1 => String::new(),
        _ => format!(",\"events_lines\":{}", text(metadata.events_lines)),
    };
    let mut header = format!(
        "{{{}:{{\"format\":\"{}\",\"rdarts\":{},\"events_bytes\":{}{lines},\"state\":{},\"checksum\":{}}}",
        text(METADATA),
        metadata.format,
        text(metadata.rdarts),
        text(metadata.events_bytes),
        text(metadata.state),
        text(metadata.checksum)
    );
    let mut start = 0;
    for (name, tensor) in in_file_order(tensors) {
        let dtype = tensor.data.dtype();
        let end = start + tensor.data.len() * dtype.size();
        let shape = tensor.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        header.push_str(&format!(
            ",{}:{{\"dtype\":\"{}\",\"shape\":[{shape}],\"data_offsets\":[{start},{end}]}}",
            text(name),
            dtype.name()
        ));
        start = end;
    }
    header.push('}');
    // The length field has 8 bytes itself, so a multiple of 8 here aligns the data.
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    header
}

/// BLAKE3 over everything that the file says, each part with its length in front.
fn checksum(metadata: &Metadata<'_>, events_bytes: u64, tensors: &BTreeMap<String, Tensor>) -> String {
    fn part(hasher: &mut blake3::Hasher, bytes: &[u8]) {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
    let mut hasher = blake3::Hasher::new();
    part(&mut hasher, &metadata.format.to_le_bytes());
    part(&mut hasher, metadata.rdarts.as_bytes());
    part(&mut hasher, &events_bytes.to_le_bytes());
    if metadata.format > 1 {
        part(&mut hasher, metadata.events_lines.as_bytes());
    }
    part(&mut hasher, metadata.state.as_bytes());
    for (name, tensor) in tensors {
        part(&mut hasher, name.as_bytes());
        part(&mut hasher, tensor.data.dtype().name().as_bytes());
        let shape: Vec<u8> = tensor.shape.iter().flat_map(|&n| (n as u64).to_le_bytes()).collect();
        part(&mut hasher, &shape);
        part(&mut hasher, &tensor.data.to_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

fn n_elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n))
}

fn decode(bytes: &[u8]) -> Result<Checkpoint, Fault> {
    let foreign = |problem: &str| Fault::Foreign(problem.to_string());
    let damaged = |problem: &str| Fault::Damaged(problem.to_string());

    let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(|| damaged("it is shorter than any checkpoint"))?;
    let length = u64::from_le_bytes(*length);
    // A long header with a short file is what truncation and foreign files both look like; the brace tells them apart.
    if !rest.is_empty() && rest[0] != b'{' {
        return Err(foreign("it is not a safetensors file"));
    }
    if length > rest.len() as u64 {
        return Err(Fault::Damaged(format!("it ends within its header of {length} bytes")));
    }
    let (header_bytes, data) = rest.split_at(length as usize);
    let header: serde_json::Map<String, Value> =
        serde_json::from_slice(header_bytes).map_err(|_| damaged("its header is not JSON"))?;

    let metadata = header.get(METADATA).ok_or_else(|| foreign("a safetensors file without metadata"))?;
    let field = |name: &str| {
        let value = metadata.get(name).and_then(Value::as_str);
        value.ok_or_else(|| Fault::Foreign(format!("its metadata lack `{name}`")))
    };
    let rdarts = field("rdarts")?;
    let format: u32 = field("format")?.parse().map_err(|_| damaged("its format is not a number"))?;
    if format > CHECKPOINT_FORMAT {
        return Err(Fault::TooNew(format));
    }
    let state_text = field("state")?;
    let state: Value = serde_json::from_str(state_text).map_err(|_| damaged("its state is not JSON"))?;
    let events_bytes: u64 =
        field("events_bytes")?.parse().map_err(|_| damaged("its length of the events is not a number"))?;
    let events_lines = if format > 1 { field("events_lines")? } else { "" };

    let mut tensors = BTreeMap::new();
    let mut total = 0;
    for (name, entry) in header.iter().filter(|(name, _)| *name != METADATA) {
        let entry = parse_entry(entry)
            .ok_or_else(|| Fault::Damaged(format!("its entry of `{}` is not valid", escaped(name))))?;
        total = total.max(entry.end);
        let bytes = data.get(entry.start..entry.end).ok_or_else(|| {
            let (name, end) = (escaped(name), entry.end);
            Fault::Damaged(format!("it is truncated: `{name}` ends at byte {end} of {} data bytes", data.len()))
        })?;
        let values = TensorData::from_bytes(entry.dtype, bytes);
        tensors.insert(name.clone(), Tensor::new(entry.shape, values));
    }
    if total != data.len() {
        return Err(Fault::Damaged(format!("it has {} data bytes where its header announces {total}", data.len())));
    }
    // One header for one content: this catches what JSON would forgive, such as spaces, escapes and repeated keys.
    let stored = field("checksum")?;
    let bytes_text = events_bytes.to_string();
    let again =
        Metadata { format, rdarts, events_bytes: &bytes_text, events_lines, state: state_text, checksum: stored };
    if encode_header(&again, &tensors).as_bytes() != header_bytes {
        return Err(damaged("its header is not as it was written"));
    }
    if checksum(&again, events_bytes, &tensors) != stored {
        return Err(damaged("its checksum does not fit its contents"));
    }
    Ok(Checkpoint { events_bytes, events_lines: events_lines.to_string(), state, tensors })
}

/// What the header says of one tensor.
struct Entry {
    dtype: DType,
    shape: Vec<usize>,
    start: usize,
    end: usize,
}

/// `None` if anything is missing or the shape does not fit the bytes.
fn parse_entry(entry: &Value) -> Option<Entry> {
    let whole = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
    let dtype = DType::parse(entry.get("dtype")?.as_str()?)?;
    let shape: Vec<usize> = entry.get("shape")?.as_array()?.iter().map(whole).collect::<Option<_>>()?;
    let [start, end] = entry.get("data_offsets")?.as_array()?.as_slice() else { return None };
    let (start, end) = (whole(start)?, whole(end)?);
    let n_bytes = n_elements(&shape)?.checked_mul(dtype.size())?;
    (end.checked_sub(start)? == n_bytes).then_some(Entry { dtype, shape, start, end })
}

#[cfg(test)]
pub(crate) mod tests;
