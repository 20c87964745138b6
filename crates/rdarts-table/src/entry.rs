//! The lines of a table.

use rdarts_run::TrainSpec;
use rdarts_space::{Space, count};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::MOST;

/// What all entries have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`crate::FORMAT`].
    pub table: u32,
    /// Version of the program that began it.
    pub rdarts: String,
    /// The space, as TOML.
    pub space: String,
    /// How every architecture is trained, as TOML.
    pub spec: String,
    /// Fingerprint of the images.
    pub images: String,
    /// The seeds that each is to be trained with.
    pub seeds: Vec<u64>,
}

/// The training of one architecture with one seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its number in the space.
    pub architecture: u64,
    /// Itself.
    pub genotype: String,
    /// The seed of the training.
    pub seed: u64,
    /// Weights, without the auxiliary head.
    pub n_params: usize,
    /// Multiply-adds of an image.
    pub macs: u64,
    /// The epoch that was kept, counted from 0.
    pub epoch: usize,
    /// Loss and accuracy of the training images in that epoch; none if the training diverged.
    pub train_loss: Option<f64>,
    /// See `train_loss`.
    pub train_accuracy: Option<f64>,
    /// Accuracy on held-out images, if some were.
    pub valid_accuracy: Option<f64>,
    /// Accuracy on the test images; of a training that diverged that of a guess.
    pub test_accuracy: f64,
    /// Loss on the test images; none if the training diverged.
    pub test_loss: Option<f64>,
    /// Seconds of the training.
    pub seconds: f64,
    /// What computed it: the version of the program, the instruction set, the device.
    pub by: String,
}

impl Entry {
    /// Share of the test images that are classified wrong.
    pub fn test_error(&self) -> f64 {
        1.0 - self.test_accuracy
    }

    /// Whether the training diverged.
    pub fn has_diverged(&self) -> bool {
        self.test_loss.is_none()
    }
}

/// What the spec of a table has in place of a genotype.
pub const EACH: &str = "each of the space";

/// What of a training's spec counts for a table: neither the architecture nor the seed, nor where files are.
pub fn common(spec: &TrainSpec) -> TrainSpec {
    let mut spec = spec.clone();
    spec.seed = 0;
    spec.network.genotype = EACH.into();
    spec.data.images.clear_places();
    spec
}

/// How many architectures a table of a space has.
///
/// # Errors
/// If they are more than [`MOST`].
pub fn n_architectures(space: &Space) -> Result<u64, String> {
    match count(space) {
        Some(n) if n <= MOST => Ok(n as u64),
        n => Err(format!(
            "the space `{}` has {} architectures, and a table holds at most {MOST}",
            space.name,
            n.map_or_else(|| "more than 2^128".to_string(), |n| n.to_string())
        )),
    }
}

/// The key that closes a line.
const CHECK: &str = ",\"check\":\"";

/// A line of a table, without its end.
pub(crate) fn line(entry: &impl Serialize) -> String {
    let mut text = serde_json::to_string(entry).expect("an entry is numbers and text");
    text.pop();
    let check = hash(&text);
    format!("{text}{CHECK}{check}\"}}")
}

/// Reads a line.
///
/// # Errors
/// What is wrong with it, in a few words.
pub(crate) fn read<T: DeserializeOwned>(line: &str) -> Result<T, String> {
    let line = line.trim_end();
    let at = line.rfind(CHECK).ok_or_else(|| "is cut short".to_string())?;
    let (text, check) = (&line[..at], &line[at + CHECK.len()..]);
    if check.strip_suffix("\"}") != Some(hash(text).as_str()) {
        return Err("was changed or damaged: its checksum does not fit".into());
    }
    serde_json::from_str(&format!("{text}}}")).map_err(|e| format!("is no line of a table ({e})"))
}

fn hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..16].to_string()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn entry(architecture: u64, seed: u64, test_accuracy: f64) -> Entry {
        Entry {
            architecture,
            genotype: String::new(),
            seed,
            n_params: 100,
            macs: 1000,
            epoch: 3,
            train_loss: Some(0.1 + 0.2),
            train_accuracy: Some(1.0 / 3.0),
            valid_accuracy: None,
            test_accuracy,
            test_loss: Some(0.7),
            seconds: 1.5,
            by: String::new(),
        }
    }

    #[test]
    fn a_line_is_read_as_it_was_written_and_known_when_it_was_damaged() {
        let one = entry(17, 1, 0.8125);
        let line = line(&one);
        assert_eq!(read(&line), Ok(one.clone()));
        assert_eq!(read(&format!("{line}\r")), Ok(one));
        for at in 0..line.len() - 1 {
            assert!(read::<Entry>(&line[..at]).is_err(), "cut at {at}");
            let mut bytes = line.clone().into_bytes();
            bytes[at] ^= 1;
            assert!(String::from_utf8(bytes).is_ok_and(|text| read::<Entry>(&text).is_err()), "changed at {at}");
        }
    }
}
