//! Checkpoints of the published PyTorch code (DARTS, RobustDARTS, SmoothDARTS): [`read`] makes tensors of a file,
//! [`describe`] says from their names and shapes what network they belong to, and [`Evaluation::fits`] whether a
//! genotype is that network's.
//!
//! ```text
//! torch.save(model.state_dict(), "weights.pt")             stem.0.weight, cells.0.preprocess0.op.1.weight, ...
//! torch.save({"epoch": 50, "state_dict": ...}, ...)        the same names below a key
//! torch.nn.DataParallel(model).state_dict()                the same names behind "module."
//! ```
//!
//! An evaluation network has its layers at `cells.K._ops.I.op.N`, a search network its candidates at
//! `cells.K._ops.E._ops.O`. Nothing that is pickled in a file is run: only tensors are read, whatever else is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use pytorch_reader::{DType, PytorchError, PytorchReader};
use rdarts_space::{Genotype, Topology};
use rdarts_text::{escaped, quote, shown};

use crate::plan::{COUNTER, Plan};
use crate::trained::{ExportError, Tensor};

/// What tensors say of the network they belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Imported {
    /// A discrete network, as trained from a genotype.
    Evaluation(Evaluation),
    /// A supernet, as trained by a search.
    Search(Supernet),
}

/// A discrete network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// Number of cells.
    pub cells: usize,
    /// Channels of an operation in the first cell that does not reduce.
    pub channels: usize,
    /// Channels of an image.
    pub c_image: usize,
    /// Number of classes.
    pub classes: usize,
    /// Whether it has an auxiliary head.
    pub auxiliary: bool,
    /// The cells that reduce.
    pub reductions: Vec<usize>,
}

/// A supernet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supernet {
    /// Number of cells.
    pub cells: usize,
    /// Channels of an operation in the first cell that does not reduce.
    pub channels: usize,
    /// Channels of an image.
    pub c_image: usize,
    /// Number of classes.
    pub classes: usize,
    /// Nodes of a cell, all of which its output has.
    pub nodes: usize,
    /// The cells that reduce.
    pub reductions: Vec<usize>,
    /// Whether the architecture parameters are in the file; the published code keeps them elsewhere.
    pub has_alphas: bool,
}

/// Why a checkpoint cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ImportError {
    /// A file that is not there, is damaged, or is something else.
    #[error("{path} cannot be read as a checkpoint of PyTorch: {cause}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the reader met.
        cause: String,
    },
    /// A file without the tensors of such a network.
    #[error(
        "no tensor is called `stem.0.weight`, with which every DARTS network for small images begins{}",
        example.as_ref().map_or(String::new(), |name| format!("; the first of {found} is called {}", quote(name)))
    )]
    NoNetwork {
        /// How many tensors there are.
        found: usize,
        /// The name of the first one.
        example: Option<String>,
    },
    /// Tensors that are larger than the file can hold: views of the same few numbers.
    #[error(
        "{path} has tensors of {needed} bytes in a file of {length}, which is more than can be in it: it was not made by \
         saving a network"
    )]
    Hollow {
        /// The file.
        path: String,
        /// Bytes that its tensors would take.
        needed: u64,
        /// Bytes of the file.
        length: u64,
    },
    /// A network with cells of NAS-Bench-201.
    #[error(
        "the tensor `{LASTACT}` is that of a network of NAS-Bench-201, but only those with cells of DARTS are read"
    )]
    OtherTopology,
    /// Tensors that do not fit the memory.
    #[error("the tensors of {path} take {needed} bytes of memory, but only {free} are left for them")]
    Memory {
        /// The file.
        path: String,
        /// Bytes that its tensors would take.
        needed: u64,
        /// Bytes that they may take.
        free: u64,
    },
    /// Numbers that no weights are stored in.
    #[error("the tensor {} has the type {dtype}, but weights are read from F32, F64 and whole numbers", quote(name))]
    Type {
        /// Its name.
        name: String,
        /// Its type.
        dtype: String,
    },
    /// A tensor without which it cannot be told what the network is.
    #[error("the tensor `{name}` {fault}, so it cannot be told what network this is")]
    Unclear {
        /// Its name.
        name: String,
        /// `is missing`, or what its shape is and should be.
        fault: String,
    },
    /// Sizes or a genotype that make no network.
    #[error(transparent)]
    Network(#[from] ExportError),
    /// A genotype of another network.
    #[error("the genotype is not that of these weights: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Misfit(Vec<Misfit>),
}

/// In what way tensors do not belong to a genotype.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// A genotype of cells that are wired otherwise.
    #[error("its cells are those of the topology {given}, where the network has those of {}", Topology::Darts)]
    Topology {
        /// How its cells are wired.
        given: Topology,
    },
    /// Tensors that the genotype needs.
    #[error("it needs {}, which the file does not have", listed(.0))]
    Missing(Vec<String>),
    /// Tensors that the genotype has no use for.
    #[error("it has no use for {}", listed(.0))]
    Unexpected(Vec<String>),
    /// A tensor of another shape.
    #[error("`{name}` has the shape {given:?}, where it needs {wanted:?}")]
    Shape {
        /// Its name.
        name: String,
        /// The shape in the file.
        given: Vec<usize>,
        /// The shape that the genotype needs.
        wanted: Vec<usize>,
    },
}

/// The first tensor of every DARTS network for images of about 32x32 pixels.
const STEM: &str = "stem.0.weight";

/// A tensor of every network of NAS-Bench-201.
const LASTACT: &str = "lastact.0.weight";

/// What a byte of a file can become at most, where its parts are deflated.
const MAX_INFLATION: u64 = 1032;

/// The tensors of a file by the names that the network itself gives them. Where the file has several networks, it is the
/// one with the shortest key. Architecture parameters that lie beside a supernet (`alphas_normal`, `alphas_reduce`) come
/// along. They may take `free` bytes of memory, if that is known.
pub fn read(path: &Path, free: Option<u64>) -> Result<BTreeMap<String, Tensor>, ImportError> {
    let unreadable = |cause: String| ImportError::Unreadable { path: shown(path), cause: escaped(&cause) };
    let file = PytorchReader::new(path).map_err(|error| {
        let cause = match error {
            PytorchError::Io(error) => error.to_string(),
            error => error.to_string(),
        };
        unreadable(cause)
    })?;
    let found: BTreeMap<String, pytorch_reader::Tensor> = file.into_tensors().into_iter().collect();
    let prefix = prefix(found.keys())
        .ok_or_else(|| ImportError::NoNetwork { found: found.len(), example: found.keys().next().cloned() })?
        .to_owned();
    let is_search = found.keys().any(|name| is_candidate(name));
    let wanted = found.iter().filter_map(|(full, tensor)| {
        let last = full.rsplit('.').next().unwrap_or(full);
        let name = full.strip_prefix(&prefix).or((is_search && last.starts_with("alphas_")).then_some(last))?;
        Some((full, name, tensor))
    });
    // A tensor can be a view with strides of 0, so a few bytes may stand for any number of values.
    let bytes = |tensor: &pytorch_reader::Tensor| tensor.byte_len() as u64;
    let sum = wanted.clone().fold(0u64, |sum, (.., tensor)| sum.saturating_add(bytes(tensor)));
    let length = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    if sum > length.saturating_mul(MAX_INFLATION) {
        return Err(ImportError::Hollow { path: shown(path), needed: sum, length });
    }
    // All values in single precision, and the bytes of one tensor as they are in the file.
    let values_of = |tensor: &pytorch_reader::Tensor| (tensor.num_elements() as u64).saturating_mul(4);
    let needed = wanted.clone().fold(0u64, |sum, (.., tensor)| sum.saturating_add(values_of(tensor)));
    let needed = needed.saturating_add(wanted.clone().map(|(.., tensor)| bytes(tensor)).max().unwrap_or(0));
    if let Some(free) = free.filter(|free| needed > *free) {
        return Err(ImportError::Memory { path: shown(path), needed, free });
    }
    let mut tensors = BTreeMap::new();
    for (full, name, tensor) in wanted {
        let bytes = tensor.read().map_err(|error| unreadable(error.to_string()))?;
        let values = values(&bytes, tensor.dtype())
            .ok_or_else(|| ImportError::Type { name: full.clone(), dtype: format!("{:?}", tensor.dtype()) })?;
        tensors.insert(name.to_owned(), Tensor { shape: tensor.shape().to_vec(), values });
    }
    Ok(tensors)
}

/// What network these tensors belong to.
pub fn describe(tensors: &BTreeMap<String, Tensor>) -> Result<Imported, ImportError> {
    if !tensors.contains_key(STEM) {
        return Err(ImportError::NoNetwork { found: tensors.len(), example: tensors.keys().next().cloned() });
    }
    if tensors.contains_key(LASTACT) {
        return Err(ImportError::OtherTopology);
    }
    let [c_stem, c_image, _, _] = extents(tensors, STEM)?;
    let [classes, c_head] = extents(tensors, "classifier.weight")?;
    let numbers =
        tensors.keys().filter_map(|name| name.strip_prefix("cells.")?.split('.').next()?.parse::<usize>().ok());
    // A number far beyond all cells would make a list of that length.
    let last = numbers.max().filter(|last| *last < tensors.len());
    let missing =
        || ImportError::Unclear { name: "cells.0.preprocess1.op.1.weight".to_owned(), fault: "is missing".to_owned() };
    let cells = last.ok_or_else(missing)? + 1;
    // Channels that each cell makes of its inputs, and those of the output before it.
    let widths: Vec<[usize; 4]> = (0..cells)
        .map(|k| extents(tensors, &format!("cells.{k}.preprocess1.op.1.weight")))
        .collect::<Result<_, _>>()?;
    let before = |k: usize| if k == 0 { c_stem / 3 } else { widths[k - 1][0] };
    let reductions: Vec<usize> = (0..cells).filter(|&k| widths[k][0] > before(k)).collect();
    let channels = c_stem / 3;
    if tensors.keys().any(|name| is_candidate(name)) {
        let nodes = c_head / widths[cells - 1][0].max(1);
        let has_alphas = tensors.keys().any(|name| name.starts_with("alphas_"));
        return Ok(Imported::Search(Supernet { cells, channels, c_image, classes, nodes, reductions, has_alphas }));
    }
    let auxiliary = tensors.keys().any(|name| name.starts_with("auxiliary_head."));
    Ok(Imported::Evaluation(Evaluation { cells, channels, c_image, classes, auxiliary, reductions }))
}

impl Evaluation {
    /// Whether these tensors are those of this genotype's network, each with its shape; if not, all that differs.
    pub fn fits(&self, genotype: &Genotype, tensors: &BTreeMap<String, Tensor>) -> Result<(), ImportError> {
        if genotype.topology != Topology::Darts {
            return Err(ImportError::Misfit(vec![Misfit::Topology { given: genotype.topology }]));
        }
        let plan = Plan::new(genotype, self.cells, &self.reductions, self.channels, self.c_image)?;
        let mut wanted: BTreeMap<String, Vec<usize>> = plan.tensors(self.classes).into_iter().collect();
        if self.auxiliary {
            let linear = tensors.get("auxiliary_head.classifier.weight").and_then(|tensor| tensor.shape.get(1));
            wanted.extend(plan.auxiliary_tensors(linear.copied().unwrap_or(768), self.classes));
        }
        let given: BTreeSet<&String> = tensors.keys().filter(|name| !name.ends_with(COUNTER)).collect();
        let missing: Vec<String> = wanted.keys().filter(|name| !given.contains(name)).cloned().collect();
        let unexpected: Vec<String> =
            given.iter().filter(|name| !wanted.contains_key(name.as_str())).map(|name| name.to_string()).collect();
        let shapes = wanted.iter().filter_map(|(name, wanted)| {
            let given = &tensors.get(name)?.shape;
            let misfit = || Misfit::Shape { name: name.clone(), given: given.clone(), wanted: wanted.clone() };
            (given != wanted).then(misfit)
        });
        let mut misfits = Vec::new();
        misfits.extend((!missing.is_empty()).then_some(Misfit::Missing(missing)));
        misfits.extend((!unexpected.is_empty()).then_some(Misfit::Unexpected(unexpected)));
        misfits.extend(shapes);
        if misfits.is_empty() { Ok(()) } else { Err(ImportError::Misfit(misfits)) }
    }
}

/// What stands before the names of the network with the shortest key.
fn prefix<'a>(names: impl Iterator<Item = &'a String>) -> Option<&'a str> {
    let prefixes = names.filter_map(|name| name.strip_suffix(STEM));
    prefixes.filter(|prefix| prefix.is_empty() || prefix.ends_with('.')).min_by_key(|prefix| prefix.len())
}

/// Whether a tensor, or one below a key, is that of a candidate of a search: `cells.K._ops.E._ops.O`.
fn is_candidate(name: &str) -> bool {
    let parts: Vec<&str> = name.split('.').collect();
    parts.windows(5).any(|parts| (parts[0], parts[2], parts[4]) == ("cells", "_ops", "_ops"))
}

/// Numbers as the reader gives them, in the order of bytes of this machine.
fn values(bytes: &[u8], dtype: DType) -> Option<Vec<f32>> {
    fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks().0.iter().map(|word| number(*word)).collect()
    }
    Some(match dtype {
        DType::F32 => each(bytes, f32::from_ne_bytes),
        DType::F64 => each(bytes, |word| f64::from_ne_bytes(word) as f32),
        DType::I64 => each(bytes, |word| i64::from_ne_bytes(word) as f32),
        DType::I32 => each(bytes, |word| i32::from_ne_bytes(word) as f32),
        _ => return None,
    })
}

/// The extents of a tensor that must have so many of them, none of which is 0.
fn extents<const N: usize>(tensors: &BTreeMap<String, Tensor>, name: &str) -> Result<[usize; N], ImportError> {
    let unclear = |fault: String| ImportError::Unclear { name: name.to_owned(), fault };
    let tensor = tensors.get(name).ok_or_else(|| unclear("is missing".to_owned()))?;
    let shape = &tensor.shape;
    match <[usize; N]>::try_from(&shape[..]) {
        Ok(extents) if extents.contains(&0) => Err(unclear(format!("has the shape {shape:?} with nothing in it"))),
        Ok(extents) => Ok(extents),
        Err(_) => Err(unclear(format!("has the shape {shape:?} and not {N} extents"))),
    }
}

/// The first three names, and how many there are beyond them.
fn listed(names: &[String]) -> String {
    let first: Vec<String> = names.iter().take(3).map(|name| quote(name)).collect();
    let more = if names.len() > 3 { format!(" and {} more", names.len() - 3) } else { String::new() };
    format!("{}{more}", first.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors(shapes: &[(&str, &[usize])]) -> BTreeMap<String, Tensor> {
        let tensor = |shape: &[usize]| Tensor { shape: shape.to_vec(), values: vec![0.0; shape.iter().product()] };
        shapes.iter().map(|(name, shape)| (name.to_string(), tensor(shape))).collect()
    }

    const SUPERNET: [(&str, &[usize]); 6] = [
        ("stem.0.weight", &[12, 3, 3, 3]),
        ("cells.0.preprocess1.op.1.weight", &[4, 12, 1, 1]),
        ("cells.0._ops.1._ops.1.op.1.weight", &[4, 1, 3, 3]),
        ("cells.1.preprocess1.op.1.weight", &[8, 16, 1, 1]),
        ("classifier.weight", &[10, 32]),
        ("alphas_normal", &[14, 8]),
    ];

    #[test]
    fn a_search_network_is_told_by_its_candidates() {
        let wanted = Supernet {
            cells: 2,
            channels: 4,
            c_image: 3,
            classes: 10,
            nodes: 4,
            reductions: vec![1],
            has_alphas: true,
        };
        assert_eq!(describe(&tensors(&SUPERNET)), Ok(Imported::Search(wanted)));
    }

    #[test]
    fn what_is_no_network_is_refused_in_a_sentence() {
        let refused = |shapes: &[(&str, &[usize])]| describe(&tensors(shapes)).unwrap_err().to_string();
        assert_eq!(
            refused(&[]),
            "no tensor is called `stem.0.weight`, with which every DARTS network for small images begins"
        );
        assert_eq!(
            refused(&[("stem0.0.weight", &[1]), ("stem1.1.weight", &[1])]),
            "no tensor is called `stem.0.weight`, with which every DARTS network for small images begins; the first of 2 \
             is called `stem0.0.weight`"
        );
        assert_eq!(
            refused(&SUPERNET[..1]),
            "the tensor `classifier.weight` is missing, so it cannot be told what network this is"
        );
        assert_eq!(
            refused(&[SUPERNET[0], SUPERNET[4]]),
            "the tensor `cells.0.preprocess1.op.1.weight` is missing, so it cannot be told what network this is"
        );
        assert_eq!(
            refused(&[SUPERNET[0], SUPERNET[4], ("cells.1.preprocess1.op.1.weight", &[2, 2])]),
            "the tensor `cells.0.preprocess1.op.1.weight` is missing, so it cannot be told what network this is"
        );
        assert_eq!(
            refused(&[("stem.0.weight", &[3]), SUPERNET[4]]),
            "the tensor `stem.0.weight` has the shape [3] and not 4 extents, so it cannot be told what network this is"
        );
        assert_eq!(
            refused(&[SUPERNET[0], SUPERNET[1], SUPERNET[3], ("classifier.weight", &[0, 32])]),
            "the tensor `classifier.weight` has the shape [0, 32] with nothing in it, so it cannot be told what network \
             this is"
        );
    }

    #[test]
    fn the_network_with_the_shortest_key_is_taken() {
        let prefix_of = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
            prefix(names.iter()).map(str::to_owned)
        };
        assert_eq!(prefix_of(&["a.stem.0.weight", "stem.0.weight"]).as_deref(), Some(""));
        assert_eq!(prefix_of(&["ema.module.stem.0.weight", "net.stem.0.weight"]).as_deref(), Some("net."));
        assert_eq!(prefix_of(&["mystem.0.weight"]), None);
    }
}
