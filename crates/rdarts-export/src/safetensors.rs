//! The weights of a network as a safetensors file, under the names that PyTorch gives them.
//!
//! ```text
//! 8 bytes     length n of the header, little endian
//! n bytes     JSON: "__metadata__" with texts, then an entry a tensor; padded with spaces to a multiple of 8
//! the rest    values, little endian, by name: counters (I64) first, then single precision
//! ```
//!
//! Each batch norm has its `num_batches_tracked`, which PyTorch expects where it loads strictly: as given, or 0. Equal
//! networks give equal bytes. The metadata are those of the ONNX file.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::plan::COUNTER;
use crate::trained::{ExportError, Tensor, Trained};

/// The bytes of the file.
pub fn safetensors(trained: &Trained) -> Result<Vec<u8>, ExportError> {
    let plan = trained.plan()?;
    let expected = trained.expected(&plan);
    let norms = expected.iter().filter_map(|(name, _)| name.strip_suffix(".running_mean"));
    let counters: BTreeMap<String, i64> = norms
        .map(|norm| {
            let name = format!("{norm}{COUNTER}");
            let given = trained.tensors.get(&name).and_then(|tensor| tensor.values.first());
            (name, given.map_or(0, |count| *count as i64))
        })
        .collect();

    let mut metadata: BTreeMap<String, String> =
        trained.properties().into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    metadata.insert("format".to_owned(), "pt".to_owned());
    Ok(file(metadata, counters, trained.tensors.iter().filter(|(name, _)| !name.ends_with(COUNTER))))
}

/// The bytes of a file with these metadata, counters, and tensors in the order of their names.
pub(crate) fn file<'a>(
    metadata: BTreeMap<String, String>,
    counters: BTreeMap<String, i64>,
    tensors: impl Iterator<Item = (&'a String, &'a Tensor)>,
) -> Vec<u8> {
    let mut header = Map::new();
    let metadata: Map<String, Value> = metadata.into_iter().map(|(key, value)| (key, Value::from(value))).collect();
    header.insert("__metadata__".to_owned(), Value::from(metadata));
    let mut data: Vec<u8> = Vec::new();
    for (name, count) in counters {
        entry(&mut header, &mut data, name, "I64", &[], &count.to_le_bytes());
    }
    for (name, tensor) in tensors {
        let bytes: Vec<u8> = tensor.values.iter().flat_map(|v| v.to_le_bytes()).collect();
        entry(&mut header, &mut data, name.clone(), "F32", &tensor.shape, &bytes);
    }
    let mut header = Value::from(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], &header, &data].concat()
}

/// Puts a tensor behind the others.
fn entry(
    header: &mut Map<String, Value>,
    data: &mut Vec<u8>,
    name: String,
    dtype: &str,
    shape: &[usize],
    bytes: &[u8],
) {
    let begin = data.len();
    data.extend_from_slice(bytes);
    header.insert(name, json!({"dtype": dtype, "shape": shape, "data_offsets": [begin, data.len()]}));
}
