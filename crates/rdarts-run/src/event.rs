//! What happened in a run: one JSON object a line in `events.jsonl`.
//!
//! Each object has the key `event`, which is `started`, `epoch`, `decision`, `selected` or `finished` in a search, `train_started`,
//! `train_epoch` or `train_finished` in a training from scratch, and `robust_started`, `member_found`, `member_trained`,
//! `chosen`, `baseline_trained` or `robust_finished` in a portfolio, `disparity_started` or `disparity_epoch` in a search for
//! disparity, which has the decisions and the end of any search, `disparity_train_started`, `disparity_train_epoch` or
//! `disparity_train_finished` in a training for disparity, and in a portfolio for disparity `disparity_member_trained`,
//! `disparity_baseline_trained` and `disparity_robust_finished` beside those of any portfolio. Only deterministic facts are here, no clock and no
//! machine, so a run that was killed and resumed writes the same bytes as one that ran through. Durations go to
//! `timings.jsonl` ([`Timing`]), which nothing compares.
//!
//! Numbers round-trip exactly. JSON has no word for what a diverging loss becomes, so numbers that are not finite
//! are the strings `"nan"`, `"inf"` and `"-inf"`. The alphas are single precision and written with the digits of
//! their exact value in double precision, so that no reader can round them twice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use rdarts_text::shown;

use crate::text::is_system;

mod train;

mod robust;

mod selected;

mod disparity;

mod disparity_train;

mod disparity_robust;

pub use disparity::{DisparityEpoch, DisparityStarted};
pub use disparity_robust::{DisparityBaselineTrained, DisparityMemberTrained, DisparityRobustFinished};
pub use disparity_train::{DisparityErrors, DisparityTrainEpoch, DisparityTrainFinished, DisparityTrainStarted};
pub use robust::{BaselineTrained, Chosen, MemberFound, MemberRefused, MemberTrained, RobustFinished, RobustStarted};
pub use selected::Selected;
pub use train::{TrainEpoch, TrainFinished, TrainStarted};

/// Version of the lines that a search writes. Lines of format 1 are read too; they lack what an [`EpochRecord`] says.
pub const EVENT_FORMAT: u32 = 2;

/// Version of the lines that a training writes: more than that of a search, so that a program that knew searches only says
/// that it is too old; and searches keep theirs, so that such a program goes on reading them.
pub const TRAIN_EVENT_FORMAT: u32 = 3;

/// Version of the lines that a portfolio writes: more than that of a training, for the same reason.
pub const ROBUST_EVENT_FORMAT: u32 = 4;

/// Version of the lines that a search for disparity writes.
pub const DISPARITY_EVENT_FORMAT: u32 = 5;

/// Version of the lines that a training for disparity writes.
pub const DISPARITY_TRAIN_EVENT_FORMAT: u32 = 6;

/// Version of the lines that a search writes with a selection after it, or with parameters of edges; all others keep theirs.
pub const EXTENDED_EVENT_FORMAT: u32 = 7;

/// Version of the lines that a portfolio for disparity writes.
pub const DISPARITY_ROBUST_EVENT_FORMAT: u32 = 8;

/// The newest version that is read.
const NEWEST_FORMAT: u32 = DISPARITY_ROBUST_EVENT_FORMAT;

const _: () = assert!(EVENT_FORMAT <= NEWEST_FORMAT && TRAIN_EVENT_FORMAT <= NEWEST_FORMAT);
const _: () = assert!(ROBUST_EVENT_FORMAT <= NEWEST_FORMAT);

/// One line of `events.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first line: what is searched.
    Started(Started),
    /// An epoch was trained and measured.
    Epoch(Box<EpochRecord>),
    /// The monitor stopped the search or went back.
    Decision(Decision),
    /// A selection after a search has decided on an edge or on the inputs of a node.
    Selected(Selected),
    /// The last line: what was found.
    Finished(Finished),
    /// The first line of a search for disparity: what is searched.
    DisparityStarted(DisparityStarted),
    /// An epoch of such a search was trained and measured; it decides and ends as any search.
    DisparityEpoch(Box<DisparityEpoch>),
    /// The first line of a training for disparity: what is trained.
    DisparityTrainStarted(DisparityTrainStarted),
    /// An epoch of such a training was done and, if pairs are held out, measured.
    DisparityTrainEpoch(DisparityTrainEpoch),
    /// The last line of such a training: how good the network is.
    DisparityTrainFinished(DisparityTrainFinished),
    /// The first line of a training: what is trained.
    TrainStarted(TrainStarted),
    /// An epoch of a training was done and, if images are held out, measured.
    TrainEpoch(TrainEpoch),
    /// The last line of a training: how good the network is.
    TrainFinished(TrainFinished),
    /// The first line of a portfolio: what is searched.
    RobustStarted(RobustStarted),
    /// The search of a member has ended.
    MemberFound(MemberFound),
    /// The short training of what a member found has ended.
    MemberTrained(MemberTrained),
    /// What a member found may not be chosen, or it found nothing.
    MemberRefused(MemberRefused),
    /// A member was chosen.
    Chosen(Chosen),
    /// The whole training of a cell that no search found has ended.
    BaselineTrained(BaselineTrained),
    /// The last line of a portfolio: how good the chosen network is.
    RobustFinished(RobustFinished),
    /// The short training of what a member of a portfolio for disparity found has ended.
    DisparityMemberTrained(DisparityMemberTrained),
    /// The whole training of cells for disparity that no search found has ended.
    DisparityBaselineTrained(DisparityBaselineTrained),
    /// The last line of a portfolio for disparity: how good the chosen network is.
    DisparityRobustFinished(DisparityRobustFinished),
}

/// What a portfolio hands on becomes the event of its name.
macro_rules! into_event {
    ($($name:ident),+) => {
        $(impl From<$name> for Event {
            fn from(record: $name) -> Self {
                Self::$name(record)
            }
        })+
    };
}

into_event!(MemberTrained, BaselineTrained, RobustFinished);
into_event!(DisparityMemberTrained, DisparityBaselineTrained, DisparityRobustFinished);

/// What is searched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Started {
    /// [`EVENT_FORMAT`] of the writer, or [`EXTENDED_EVENT_FORMAT`].
    pub format: u32,
    /// Version of the program that started the search.
    pub rdarts: String,
    /// Name of the search space.
    pub space: String,
    /// Name of the data set.
    pub data: String,
    /// Seed of all random streams.
    pub seed: u64,
    /// Number of architecture parameters.
    pub n_alphas: usize,
    /// Number of network weights.
    pub n_weights: usize,
    /// Number of images that train the weights.
    pub n_train: usize,
    /// Number of images that train the alphas.
    pub n_valid: usize,
    /// Weight steps in an epoch.
    pub steps_per_epoch: usize,
}

/// An epoch, after its last step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochRecord {
    /// How often the search has gone back before this epoch.
    pub attempt: usize,
    /// The epoch, counted from 0.
    pub epoch: usize,
    /// Learning rate of the weights.
    #[serde(with = "number")]
    pub lr: f64,
    /// L2 factor of the weights.
    #[serde(with = "number")]
    pub l2: f64,
    /// Drop path probability.
    #[serde(with = "number")]
    pub drop_path: f64,
    /// Probability of Cutout.
    #[serde(with = "number")]
    pub cutout_prob: f64,
    /// Mean loss of the weight steps.
    #[serde(with = "number")]
    pub train_loss: f64,
    /// Fraction of the images of the weight steps that were classified correctly.
    #[serde(with = "number")]
    pub train_accuracy: f64,
    /// Mean loss of the batches of the alpha steps; no number with method `rs-ws`, which has none.
    #[serde(with = "number")]
    pub alpha_loss: f64,
    /// Mean loss of the supernet on the split of the alphas; with method `rs-ws` of the architecture of the last step.
    #[serde(with = "maybe_number", default)]
    pub valid_loss: Option<f64>,
    /// Fraction of that split that is classified correctly.
    #[serde(with = "maybe_number", default)]
    pub valid_accuracy: Option<f64>,
    /// Mean loss of the discretised child on that split.
    #[serde(with = "maybe_number", default)]
    pub child_loss: Option<f64>,
    /// Fraction of that split that the child classifies correctly.
    #[serde(with = "maybe_number", default)]
    pub child_accuracy: Option<f64>,
    /// Dominant eigenvalue of the Hessian of the validation loss with respect to the alphas.
    #[serde(with = "maybe_number", default)]
    pub eigenvalue: Option<f64>,
    /// Bound of the absolute error of the eigenvalue.
    #[serde(with = "maybe_number", default)]
    pub eigenvalue_bound: Option<f64>,
    /// Standard error of the eigenvalue over the batches it was measured on; absent if there was only one.
    #[serde(with = "maybe_number", default)]
    pub eigenvalue_error: Option<f64>,
    /// Number of skip connections in the normal cell of the genotype.
    pub skip_connects_normal: usize,
    /// Number of skip connections in the reduction cell; absent in lines of format 1.
    #[serde(default)]
    pub skip_connects_reduce: Option<usize>,
    /// Number of operations in the normal cell that are no convolutions; absent in lines of format 1.
    #[serde(default)]
    pub parameterless_normal: Option<usize>,
    /// Number of operations in the reduction cell that are no convolutions; absent in lines of format 1.
    #[serde(default)]
    pub parameterless_reduce: Option<usize>,
    /// The genotype that the alphas stand for now; with method `rs-ws` the architecture of the last step.
    pub genotype: String,
    /// The alphas of the normal cell, edge after edge; with method `rs-ws` the mixing weights of that architecture.
    #[serde(with = "numbers")]
    pub alphas_normal: Vec<f32>,
    /// The alphas of the reduction cell, edge after edge.
    #[serde(with = "numbers")]
    pub alphas_reduce: Vec<f32>,
    /// With method `pc-darts` the parameters of the edges of the normal cell, node after node.
    #[serde(with = "numbers", default, skip_serializing_if = "Vec::is_empty")]
    pub betas_normal: Vec<f32>,
    /// With method `pc-darts` those of the reduction cell.
    #[serde(with = "numbers", default, skip_serializing_if = "Vec::is_empty")]
    pub betas_reduce: Vec<f32>,
}

/// What the monitor can decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionKind {
    /// End the search and return the architecture of an earlier epoch.
    Stop,
    /// Go back to an earlier epoch and go on with a larger L2 factor.
    Rollback,
}

/// The monitor stopped the search or went back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// How often the search had gone back before.
    pub attempt: usize,
    /// The epoch after which it was decided.
    pub epoch: usize,
    /// Stop or rollback.
    pub kind: DecisionKind,
    /// The epoch whose state or architecture is taken.
    pub return_to: usize,
    /// Mean eigenvalue of the present window.
    #[serde(with = "number")]
    pub smoothed_now: f64,
    /// Mean eigenvalue of the earlier window.
    #[serde(with = "number")]
    pub smoothed_before: f64,
    /// The ratio that the rule compares with its limit.
    #[serde(with = "number")]
    pub ratio: f64,
    /// L2 factor of the weights up to now.
    #[serde(with = "number")]
    pub l2_old: f64,
    /// L2 factor from now on; the same as before at a stop.
    #[serde(with = "number")]
    pub l2_new: f64,
    /// The rule with its numbers, in one sentence.
    pub reason: String,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finished {
    /// Why the search ended, in one sentence.
    pub reason: String,
    /// How often the search went back.
    pub attempt: usize,
    /// The epoch that the genotype is from.
    pub epoch: usize,
    /// The genotype that was found.
    pub genotype: String,
}

/// One line of `timings.jsonl`: how long the parts of an epoch took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// How often the search had gone back before.
    pub attempt: usize,
    /// The epoch, counted from 0.
    pub epoch: usize,
    /// What computed it, or its end if it was resumed: `cpu`, or `gpu:0`.
    #[serde(default = "crate::environment::cpu")]
    pub device: String,
    /// Wall-clock seconds of each part, by name.
    pub seconds: BTreeMap<String, f64>,
    /// The most bytes of memory that the process had held by the end of the epoch, if the system tells; with those of runs
    /// beside it in the same process, and without a card's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
}

/// What a reader does with a last line that has no line end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastLine {
    /// Refuse it: the file must be whole.
    MustBeWhole,
    /// Leave it out: the writer was killed, or is still writing.
    MayBeHalf,
}

/// Why a file of lines was refused.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// The file cannot be read.
    #[error("cannot read `{}`: {source}", shown(path))]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A line is not what it should be.
    #[error("`{}`, line {line}: {problem}", shown(path))]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
}

impl EventError {
    /// Whether the system refuses, and not the content of the file.
    pub fn is_system(&self) -> bool {
        matches!(self, EventError::Read { source, .. } if is_system(source))
    }
}

/// Reads `events.jsonl`.
pub fn read_events(path: &Path, last_line: LastLine) -> Result<Vec<Event>, EventError> {
    let bytes = read(path)?;
    refuse_newer(path, &bytes)?;
    parse_lines(path, &bytes, last_line)
}

/// Reads as much of `events.jsonl` as is right: all events before the first bad line, and what is wrong with that.
///
/// For those who show a damaged run; whoever goes on with one needs [`read_events`].
///
/// # Errors
/// If the file cannot be read, or a newer program wrote it.
pub fn read_good_events(path: &Path) -> Result<(Vec<Event>, Option<EventError>), EventError> {
    let bytes = read(path)?;
    refuse_newer(path, &bytes)?;
    Ok(parse_good_lines(path, &bytes, LastLine::MayBeHalf))
}

/// Refuses the events of a newer program.
pub(crate) fn refuse_newer(path: &Path, bytes: &[u8]) -> Result<(), EventError> {
    // A later format may have other fields, so its number is looked at before anything else is.
    let first = bytes.split(|&b| b == b'\n').next().and_then(|line| serde_json::from_slice::<Value>(line).ok());
    let format = first.as_ref().and_then(|event| event.get("format")).and_then(Value::as_u64);
    if let Some(format) = format.filter(|&format| format > u64::from(NEWEST_FORMAT)) {
        let problem =
            format!("events of format {format}, and this program knows up to {NEWEST_FORMAT}; use a newer rdarts");
        return Err(EventError::Line { path: path.to_path_buf(), line: 1, problem });
    }
    Ok(())
}

/// Reads `timings.jsonl`.
pub fn read_timings(path: &Path, last_line: LastLine) -> Result<Vec<Timing>, EventError> {
    parse_lines(path, &read(path)?, last_line)
}

/// The line of an event or a timing, with its line end.
pub(crate) fn to_line(record: &impl Serialize) -> String {
    let mut line = serde_json::to_string(record).expect("records have text keys and no failing serialisers");
    line.push('\n');
    line
}

fn read(path: &Path) -> Result<Vec<u8>, EventError> {
    std::fs::read(path).map_err(|source| EventError::Read { path: path.to_path_buf(), source })
}

pub(crate) fn parse_lines<T: DeserializeOwned>(
    path: &Path,
    bytes: &[u8],
    last_line: LastLine,
) -> Result<Vec<T>, EventError> {
    match parse_good_lines(path, bytes, last_line) {
        (records, None) => Ok(records),
        (_, Some(err)) => Err(err),
    }
}

/// The records before the first bad line, and what is wrong with that.
fn parse_good_lines<T: DeserializeOwned>(
    path: &Path,
    bytes: &[u8],
    last_line: LastLine,
) -> (Vec<T>, Option<EventError>) {
    let bad = |line: usize, problem: String| EventError::Line { path: path.to_path_buf(), line, problem };
    let mut records = Vec::new();
    for (index, line) in bytes.split_inclusive(|&b| b == b'\n').enumerate() {
        let Some(line) = line.strip_suffix(b"\n") else {
            let problem = "the last line was not written to its end".to_string();
            return (records, (last_line == LastLine::MustBeWhole).then(|| bad(index + 1, problem)));
        };
        match serde_json::from_slice(line) {
            Ok(record) => records.push(record),
            Err(err) => {
                // The parser counts lines within this one line, so only its column means something.
                let column =
                    if err.column() > 0 { format!(", from column {} on", err.column()) } else { String::new() };
                return (records, Some(bad(index + 1, format!("this is not a record of this program{column}"))));
            }
        }
    }
    (records, None)
}

/// A number that may be infinite or not a number.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Wire {
    Number(f64),
    Word(String),
}

impl Wire {
    fn new(value: f64) -> Wire {
        if value.is_finite() {
            return Wire::Number(value);
        }
        let word = if value.is_nan() {
            "nan"
        } else if value > 0.0 {
            "inf"
        } else {
            "-inf"
        };
        Wire::Word(word.to_string())
    }

    fn value<E: serde::de::Error>(self) -> Result<f64, E> {
        match self {
            Wire::Number(value) => Ok(value),
            Wire::Word(word) => match word.as_str() {
                "nan" => Ok(f64::NAN),
                "inf" => Ok(f64::INFINITY),
                "-inf" => Ok(f64::NEG_INFINITY),
                _ => Err(E::custom(format!("\"{word}\" is not a number, \"nan\", \"inf\" or \"-inf\""))),
            },
        }
    }
}

mod number {
    use super::Wire;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        Wire::new(*value).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Wire::deserialize(deserializer)?.value()
    }
}

mod maybe_number {
    use super::Wire;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(Wire::new).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
        Option::<Wire>::deserialize(deserializer)?.map(Wire::value).transpose()
    }
}

mod numbers {
    use super::Wire;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(values: &[f32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(|&value| Wire::new(f64::from(value))))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
        let wires = Vec::<Wire>::deserialize(deserializer)?;
        wires.into_iter().map(|wire| wire.value().map(|value| value as f32)).collect()
    }
}

mod doubles {
    use super::Wire;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(values: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(|&value| Wire::new(value)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
        Vec::<Wire>::deserialize(deserializer)?.into_iter().map(Wire::value).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) use super::robust::tests::found;

    pub(crate) fn epoch(epoch: usize) -> Event {
        Event::Epoch(Box::new(EpochRecord {
            attempt: 0,
            epoch,
            lr: 0.025,
            l2: 3e-4,
            drop_path: 0.0,
            cutout_prob: 0.0,
            train_loss: 1.5,
            train_accuracy: 0.5,
            alpha_loss: 1.25,
            valid_loss: Some(1.0),
            valid_accuracy: Some(0.625),
            child_loss: None,
            child_accuracy: None,
            eigenvalue: Some(0.125),
            eigenvalue_bound: Some(1e-4),
            eigenvalue_error: None,
            skip_connects_normal: 3,
            skip_connects_reduce: Some(2),
            parameterless_normal: Some(4),
            parameterless_reduce: Some(5),
            genotype: "g".to_string(),
            alphas_normal: vec![0.5, -0.25],
            alphas_reduce: vec![1.0],
            betas_normal: Vec::new(),
            betas_reduce: Vec::new(),
        }))
    }

    fn started(format: u32) -> Event {
        Event::Started(Started {
            format,
            rdarts: "0.1.0".to_string(),
            space: "s2".to_string(),
            data: "fashion-mini".to_string(),
            seed: 1,
            n_alphas: 56,
            n_weights: 1000,
            n_train: 30,
            n_valid: 20,
            steps_per_epoch: 3,
        })
    }

    fn decision(ratio: f64) -> Event {
        Event::Decision(Decision {
            attempt: 1,
            epoch: 12,
            kind: DecisionKind::Rollback,
            return_to: 7,
            smoothed_now: 0.5,
            smoothed_before: 0.25,
            ratio,
            l2_old: 3e-4,
            l2_new: 3e-3,
            reason: "0.5 < 0.75".to_string(),
        })
    }

    pub(super) fn file(text: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn the_good_lines_of_a_damaged_file_are_told_with_its_fault() {
        let lines: Vec<String> = [started(EVENT_FORMAT), epoch(0), epoch(1)].iter().map(to_line).collect();
        let (_dir, path) = file(format!("{}{}{{\"event\":3}}\n{}", lines[0], lines[1], lines[2]).as_bytes());
        let (events, fault) = read_good_events(&path).unwrap();
        assert_eq!(events, [started(EVENT_FORMAT), epoch(0)]);
        assert!(fault.unwrap().to_string().contains("line 3: this is not a record"), "the third line is bad");
        let (_dir, path) = file(&lines.concat().as_bytes()[..lines.concat().len() - 1]);
        assert!(matches!(read_good_events(&path).unwrap(), (events, None) if events.len() == 2));
    }

    #[test]
    fn the_lines_look_as_documented() {
        assert_eq!(
            to_line(&epoch(2)),
            "{\"event\":\"epoch\",\"attempt\":0,\"epoch\":2,\"lr\":0.025,\"l2\":0.0003,\"drop_path\":0.0,\
             \"cutout_prob\":0.0,\"train_loss\":1.5,\"train_accuracy\":0.5,\"alpha_loss\":1.25,\"valid_loss\":1.0,\
             \"valid_accuracy\":0.625,\"child_loss\":null,\"child_accuracy\":null,\"eigenvalue\":0.125,\
             \"eigenvalue_bound\":0.0001,\"eigenvalue_error\":null,\"skip_connects_normal\":3,\"skip_connects_reduce\":2,\
             \"parameterless_normal\":4,\"parameterless_reduce\":5,\"genotype\":\"g\",\
             \"alphas_normal\":[0.5,-0.25],\"alphas_reduce\":[1.0]}\n"
        );
        assert!(
            to_line(&decision(0.5))
                .starts_with("{\"event\":\"decision\",\"attempt\":1,\"epoch\":12,\"kind\":\"rollback\"")
        );
        assert!(to_line(&started(1)).starts_with("{\"event\":\"started\",\"format\":1,"));
    }

    #[test]
    fn events_read_back_in_order() {
        let finished = Event::Finished(Finished {
            reason: "all epochs done".to_string(),
            attempt: 0,
            epoch: 1,
            genotype: "g".to_string(),
        });
        let events = vec![started(1), epoch(0), epoch(1), decision(0.5), finished];
        let text: String = events.iter().map(to_line).collect();
        let (_dir, path) = file(text.as_bytes());
        assert_eq!(read_events(&path, LastLine::MustBeWhole).unwrap(), events);
    }

    #[test]
    fn a_bad_line_is_named_with_its_file() {
        let text = to_line(&epoch(0)) + "{\"event\":\"epoch\",\"attempt\":0 \n" + &to_line(&epoch(1));
        let (_dir, path) = file(text.as_bytes());
        let err = read_events(&path, LastLine::MayBeHalf).unwrap_err().to_string();
        let start = format!("`{}`, line 2: this is not a record of this program, from column ", path.display());
        assert!(err.starts_with(&start), "{err}");
        assert!(!err.contains("line 1"), "{err}");
    }

    #[test]
    fn lines_of_other_kinds_and_bytes_that_are_no_text_are_refused() {
        let unknown_field = to_line(&epoch(0)).replace("\"lr\"", "\"rate\"");
        for line in ["{\"event\":\"paused\"}\n".as_bytes(), b"\n", b"\xff\xfe\n", unknown_field.as_bytes()] {
            let (_dir, path) = file(line);
            let err = read_events(&path, LastLine::MayBeHalf).unwrap_err().to_string();
            assert!(err.contains("line 1: this is not a record of this program"), "{err}");
        }
    }

    #[test]
    fn a_half_written_last_line_is_tolerated_only_when_asked() {
        let whole = to_line(&epoch(0));
        let half = to_line(&epoch(1));
        for cut in [1, 10, half.len() - 1] {
            let (_dir, path) = file((whole.clone() + &half[..cut]).as_bytes());
            assert_eq!(read_events(&path, LastLine::MayBeHalf).unwrap(), [epoch(0)]);
            let err = read_events(&path, LastLine::MustBeWhole).unwrap_err().to_string();
            assert_eq!(err, format!("`{}`, line 2: the last line was not written to its end", path.display()));
        }
    }

    #[test]
    fn lines_of_format_1_are_read() {
        let newer = [",\"eigenvalue_error\":null", ",\"skip_connects_reduce\":2", ",\"parameterless_normal\":4"];
        let line = newer.iter().fold(to_line(&epoch(0)), |line, field| line.replace(field, ""));
        let line = line.replace(",\"parameterless_reduce\":5", "");
        let (_dir, path) = file((to_line(&started(1)) + &line).as_bytes());
        let events = read_events(&path, LastLine::MustBeWhole).unwrap();
        let Event::Epoch(record) = &events[1] else { unreachable!() };
        assert_eq!((record.skip_connects_normal, record.skip_connects_reduce), (3, None));
        assert_eq!((record.parameterless_reduce, record.eigenvalue_error), (None, None));
    }

    #[test]
    fn events_of_a_newer_format_are_refused() {
        // With a field that this program does not know.
        let line = to_line(&started(NEWEST_FORMAT + 1)).replace("\"seed\"", "\"seeds\"");
        let (_dir, path) = file(line.as_bytes());
        let err = read_events(&path, LastLine::MustBeWhole).unwrap_err().to_string();
        let tail = "line 1: events of format 9, and this program knows up to 8; use a newer rdarts";
        assert!(err.ends_with(tail), "{err}");
    }

    #[test]
    fn losses_that_diverged_are_written_as_words() {
        for (value, word) in [(f64::NAN, "\"nan\""), (f64::INFINITY, "\"inf\""), (f64::NEG_INFINITY, "\"-inf\"")] {
            let line = to_line(&decision(value));
            assert!(line.contains(&format!("\"ratio\":{word}")), "{line}");
            let event: Event = serde_json::from_str(&line).unwrap();
            assert_eq!(to_line(&event), line);
        }
        let line = to_line(&decision(0.5)).replace("\"ratio\":0.5", "\"ratio\":\"much\"");
        let err = serde_json::from_str::<Event>(&line).unwrap_err().to_string();
        assert!(err.starts_with("\"much\" is not a number, \"nan\", \"inf\" or \"-inf\""), "{err}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let err = read_events(Path::new("/no/such/events.jsonl"), LastLine::MayBeHalf).unwrap_err().to_string();
        assert!(err.starts_with("cannot read `/no/such/events.jsonl`: "), "{err}");
    }

    proptest! {
        #[test]
        fn numbers_round_trip_to_the_bit(
            doubles in proptest::array::uniform3(any::<u64>().prop_map(f64::from_bits)),
            singles in proptest::collection::vec(any::<u32>().prop_map(f32::from_bits), 0..8),
        ) {
            let mut event = epoch(0);
            let Event::Epoch(record) = &mut event else { unreachable!() };
            record.train_loss = doubles[0];
            record.eigenvalue = Some(doubles[1]);
            record.valid_loss = Some(doubles[2]);
            record.alphas_normal = singles.clone();
            let line = to_line(&event);
            let Event::Epoch(back) = serde_json::from_str(&line).unwrap() else { unreachable!() };
            // All values that are not a number count as one, since JSON does not carry their bits.
            let same64 = |a: f64, b: f64| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
            prop_assert!(same64(back.train_loss, doubles[0]));
            prop_assert!(same64(back.eigenvalue.unwrap(), doubles[1]));
            prop_assert!(same64(back.valid_loss.unwrap(), doubles[2]));
            prop_assert_eq!(back.alphas_normal.len(), singles.len());
            for (a, b) in back.alphas_normal.iter().zip(&singles) {
                prop_assert!(a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()));
            }
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (_dir, path) = file(&bytes);
            for last_line in [LastLine::MayBeHalf, LastLine::MustBeWhole] {
                if let Err(err) = read_events(&path, last_line) {
                    prop_assert!(err.to_string().contains("events.jsonl"));
                }
            }
        }
    }
}
