//! What happened in a portfolio.
//!
//! A portfolio writes `robust_started`, one `member_found` and one `member_trained` a member, `chosen`, one
//! `baseline_trained` a baseline, and `robust_finished`. What happened within a search or a training stands in the
//! directory of that run. Numbers of weights and of multiply-adds are without the auxiliary head.

use serde::{Deserialize, Serialize};

use crate::spec::Vary;

/// What is searched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RobustStarted {
    /// [`ROBUST_EVENT_FORMAT`](super::ROBUST_EVENT_FORMAT) of the writer.
    pub format: u32,
    /// Version of the program that started the portfolio.
    pub rdarts: String,
    /// Name of the data set.
    pub data: String,
    /// Fingerprint of all images and the names of the classes.
    pub images: String,
    /// Checksum of the spec without the places of files.
    pub spec: String,
    /// Seed of all random streams, unless the members vary it.
    pub seed: u64,
    /// Name of the search space.
    pub space: String,
    /// What the members differ in.
    pub vary: Vary,
    /// The label of each member, such as "L2 0.0009".
    pub members: Vec<String>,
}

/// The search of a member has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberFound {
    /// The member, counted from 0.
    pub member: usize,
    /// Its label.
    pub label: String,
    /// What it found, in the notation of the DARTS code.
    pub genotype: String,
    /// The epoch of the search that the genotype is from, counted from 0.
    pub epoch: usize,
    /// Why the search ended, in one sentence.
    pub reason: String,
    /// Number of weights of the network that is trained of it.
    pub n_params: usize,
    /// Multiply-adds of one image through that network.
    pub macs: u64,
}

/// The short training of what a member found has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberTrained {
    /// The member, counted from 0.
    pub member: usize,
    /// Fraction of the held-out images that are classified correctly.
    #[serde(with = "super::number")]
    pub valid_accuracy: f64,
    /// The epoch of the training that this is from, counted from 0.
    pub epoch: usize,
}

/// What a member found may not be chosen, or it found nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberRefused {
    /// The member, counted from 0.
    pub member: usize,
    /// Its label.
    pub label: String,
    /// Why, in words that follow the label.
    pub reason: String,
}

/// A member was chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chosen {
    /// The member, counted from 0.
    pub member: usize,
    /// Why it and no other, in one sentence.
    pub reason: String,
}

/// The whole training of a cell that no search found has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaselineTrained {
    /// What the cell is, such as "random".
    pub name: String,
    /// Its genotype, in the notation of the DARTS code.
    pub genotype: String,
    /// Number of weights.
    pub n_params: usize,
    /// Fraction of the held-out images that are classified correctly.
    #[serde(with = "super::maybe_number", default)]
    pub valid_accuracy: Option<f64>,
    /// Fraction of the test images that are classified correctly; none of the two if the training diverged.
    #[serde(with = "super::maybe_number", default)]
    pub test_accuracy: Option<f64>,
}

/// How good the chosen network is after its whole training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RobustFinished {
    /// The chosen member, counted from 0.
    pub member: usize,
    /// Its genotype, in the notation of the DARTS code.
    pub genotype: String,
    /// Number of weights.
    pub n_params: usize,
    /// Multiply-adds of one image.
    pub macs: u64,
    /// Fraction of the held-out images that are classified correctly.
    #[serde(with = "super::number")]
    pub valid_accuracy: f64,
    /// Fraction of the test images that are classified correctly.
    #[serde(with = "super::number")]
    pub test_accuracy: f64,
    /// Why the training ended, in one sentence.
    pub reason: String,
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::tests::file;
    use crate::event::{Event, LastLine, NEWEST_FORMAT, ROBUST_EVENT_FORMAT, read_events, to_line};

    pub(crate) fn started(format: u32) -> Event {
        Event::RobustStarted(RobustStarted {
            format,
            rdarts: "0.1.0".to_string(),
            data: "fashion-mini".to_string(),
            images: "0123456789abcdef".to_string(),
            spec: "fedcba9876543210".to_string(),
            seed: 1,
            space: "s2".to_string(),
            vary: Vary::L2,
            members: vec!["L2 0.0003".to_string(), "L2 0.0009".to_string()],
        })
    }

    pub(crate) fn found(member: usize) -> Event {
        Event::MemberFound(MemberFound {
            member,
            label: "L2 0.0009".to_string(),
            genotype: "g".to_string(),
            epoch: 4,
            reason: "All 5 epochs are done.".to_string(),
            n_params: 1000,
            macs: 5_000_000_000,
        })
    }

    fn trained(member: usize, valid_accuracy: f64) -> Event {
        Event::MemberTrained(MemberTrained { member, valid_accuracy, epoch: 1 })
    }

    fn refused() -> Event {
        let (label, reason) = ("L2 0.0003".to_string(), "its search has diverged".to_string());
        Event::MemberRefused(MemberRefused { member: 0, label, reason })
    }

    fn baseline(valid_accuracy: f64, test_accuracy: f64) -> Event {
        let (valid_accuracy, test_accuracy) = (Some(valid_accuracy), Some(test_accuracy));
        let (name, genotype) = ("random".to_string(), "h".to_string());
        Event::BaselineTrained(BaselineTrained { name, genotype, n_params: 900, valid_accuracy, test_accuracy })
    }

    fn finished(valid_accuracy: f64, test_accuracy: f64) -> Event {
        Event::RobustFinished(RobustFinished {
            member: 1,
            genotype: "g".to_string(),
            n_params: 1000,
            macs: 5_000_000_000,
            valid_accuracy,
            test_accuracy,
            reason: "All 6 epochs are done.".to_string(),
        })
    }

    fn all() -> Vec<Event> {
        let chosen = Chosen { member: 1, reason: "0.75 is the best.".to_string() };
        vec![
            started(ROBUST_EVENT_FORMAT),
            refused(),
            found(1),
            trained(1, 0.75),
            Event::Chosen(chosen),
            baseline(0.5, 0.25),
            finished(0.75, 0.625),
        ]
    }

    #[test]
    fn the_lines_look_as_documented() {
        let lines: Vec<String> = all().iter().map(to_line).collect();
        assert_eq!(
            lines,
            [
                "{\"event\":\"robust_started\",\"format\":4,\"rdarts\":\"0.1.0\",\"data\":\"fashion-mini\",\
                 \"images\":\"0123456789abcdef\",\"spec\":\"fedcba9876543210\",\"seed\":1,\"space\":\"s2\",\"vary\":\"l2\",\"members\":[\"L2 0.0003\",\"L2 0.0009\"]}\n",
                "{\"event\":\"member_refused\",\"member\":0,\"label\":\"L2 0.0003\",\"reason\":\"its search has diverged\"}\n",
                "{\"event\":\"member_found\",\"member\":1,\"label\":\"L2 0.0009\",\"genotype\":\"g\",\"epoch\":4,\
                 \"reason\":\"All 5 epochs are done.\",\"n_params\":1000,\"macs\":5000000000}\n",
                "{\"event\":\"member_trained\",\"member\":1,\"valid_accuracy\":0.75,\"epoch\":1}\n",
                "{\"event\":\"chosen\",\"member\":1,\"reason\":\"0.75 is the best.\"}\n",
                "{\"event\":\"baseline_trained\",\"name\":\"random\",\"genotype\":\"h\",\"n_params\":900,\
                 \"valid_accuracy\":0.5,\"test_accuracy\":0.25}\n",
                "{\"event\":\"robust_finished\",\"member\":1,\"genotype\":\"g\",\"n_params\":1000,\"macs\":5000000000,\
                 \"valid_accuracy\":0.75,\"test_accuracy\":0.625,\"reason\":\"All 6 epochs are done.\"}\n",
            ]
        );
    }

    #[test]
    fn events_read_back_in_order() {
        let events = all();
        let text: String = events.iter().map(to_line).collect();
        let (_dir, path) = file(text.as_bytes());
        assert_eq!(read_events(&path, LastLine::MustBeWhole).unwrap(), events);
        // A half line and a field that is not known are refused as those of a search are.
        let (_dir, path) = file(&text.as_bytes()[..text.len() - 2]);
        assert_eq!(read_events(&path, LastLine::MayBeHalf).unwrap(), events[..6]);
        assert!(read_events(&path, LastLine::MustBeWhole).is_err());
        for event in &events {
            let (_dir, path) = file(to_line(event).replacen(",\"", ",\"x\":1,\"", 1).as_bytes());
            let err = read_events(&path, LastLine::MayBeHalf).unwrap_err().to_string();
            assert!(err.contains("line 1: this is not a record of this program"), "{err}");
        }
    }

    #[test]
    fn a_portfolio_of_a_newer_format_is_refused() {
        let line = to_line(&started(NEWEST_FORMAT + 1)).replace("\"seed\"", "\"seeds\"");
        let (_dir, path) = file(line.as_bytes());
        let err = read_events(&path, LastLine::MustBeWhole).unwrap_err().to_string();
        let tail = "line 1: events of format 9, and this program knows up to 8; use a newer rdarts";
        assert!(err.ends_with(tail), "{err}");
    }

    proptest! {
        #[test]
        fn numbers_round_trip_to_the_bit(numbers in proptest::array::uniform2(any::<u64>().prop_map(f64::from_bits))) {
            let [valid, test] = numbers;
            for event in [trained(0, valid), baseline(valid, test), finished(valid, test)] {
                let line = to_line(&event);
                let back = serde_json::from_str::<Event>(&line).unwrap();
                prop_assert_eq!(to_line(&back), line);
                let (valid_back, test_back) = match back {
                    Event::MemberTrained(record) => (record.valid_accuracy, test),
                    Event::BaselineTrained(record) => (record.valid_accuracy.unwrap(), record.test_accuracy.unwrap()),
                    Event::RobustFinished(record) => (record.valid_accuracy, record.test_accuracy),
                    _ => unreachable!(),
                };
                // All values that are not a number count as one, since JSON does not carry their bits.
                let same = |a: f64, b: f64| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
                prop_assert!(same(valid_back, valid) && same(test_back, test));
            }
        }
    }
}
