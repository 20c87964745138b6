//! What happened in a training from scratch.
//!
//! A training writes `train_started`, one `train_epoch` an epoch, and `train_finished`. Its directory holds none of the
//! events of a search, and that of a search none of these.

use serde::{Deserialize, Serialize};

/// What is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainStarted {
    /// [`TRAIN_EVENT_FORMAT`](super::TRAIN_EVENT_FORMAT) of the writer.
    pub format: u32,
    /// Version of the program that started the training.
    pub rdarts: String,
    /// Name of the data set.
    pub data: String,
    /// Seed of all random streams.
    pub seed: u64,
    /// The genotype of the network, in the notation of the DARTS code.
    pub genotype: String,
    /// Number of network weights, with those of the auxiliary head.
    pub n_weights: usize,
    /// Number of the weights that the trained network needs, without those of the auxiliary head.
    pub n_weights_without_auxiliary: usize,
    /// Multiply-adds of one image through the network without its auxiliary head.
    pub macs: u64,
    /// Number of images that are trained on.
    pub n_train: usize,
    /// Number of images that are held out to choose an epoch; 0: none.
    pub n_valid: usize,
    /// Number of images that the result is tested on.
    pub n_test: usize,
    /// Steps in an epoch.
    pub steps_per_epoch: usize,
    /// The name of each class, by label.
    pub classes: Vec<String>,
}

/// An epoch of a training, after its last step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainEpoch {
    /// How often the training has gone back before this epoch.
    pub attempt: usize,
    /// The epoch, counted from 0.
    pub epoch: usize,
    /// Learning rate.
    #[serde(with = "super::number")]
    pub lr: f64,
    /// Drop path probability.
    #[serde(with = "super::number")]
    pub drop_path: f64,
    /// Probability of Cutout.
    #[serde(with = "super::number")]
    pub cutout_prob: f64,
    /// Mean loss of the steps, as it is minimised.
    #[serde(with = "super::number")]
    pub train_loss: f64,
    /// Fraction of the images of the steps that were classified correctly.
    #[serde(with = "super::number")]
    pub train_accuracy: f64,
    /// Mean cross-entropy on the held-out images; absent if there are none.
    #[serde(with = "super::maybe_number", default)]
    pub valid_loss: Option<f64>,
    /// Fraction of the held-out images that are classified correctly; absent if there are none.
    #[serde(with = "super::maybe_number", default)]
    pub valid_accuracy: Option<f64>,
    /// Whether this epoch would be the result if the training ended here: the held-out accuracy is the best so far, or no
    /// image is held out.
    pub is_best: bool,
}

/// How good the trained network is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainFinished {
    /// Why the training ended, in one sentence.
    pub reason: String,
    /// The epoch whose weights are the result, counted from 0; all that follows is about them.
    pub epoch: usize,
    /// Fraction of the held-out images that are classified correctly; absent if there are none.
    #[serde(with = "super::maybe_number", default)]
    pub valid_accuracy: Option<f64>,
    /// Number of test images.
    pub n_test: usize,
    /// Mean cross-entropy on the test images.
    #[serde(with = "super::number")]
    pub test_loss: f64,
    /// Fraction of the test images that are classified correctly.
    #[serde(with = "super::number")]
    pub test_accuracy: f64,
    /// Fraction of the test images whose class is among the five likeliest; absent where five classes are all there are.
    #[serde(with = "super::maybe_number", default)]
    pub test_top5: Option<f64>,
    /// Fraction of the test images of each class that are classified correctly, by label; null for a class without one.
    pub per_class: Vec<Option<f64>>,
    /// Number of test images by true class (the row) and by the class that they were given (the column).
    pub confusion: Vec<Vec<usize>>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::tests::{epoch, file};
    use crate::event::{Event, LastLine, NEWEST_FORMAT, TRAIN_EVENT_FORMAT, read_events, to_line};

    fn started(format: u32) -> Event {
        Event::TrainStarted(TrainStarted {
            format,
            rdarts: "0.1.0".to_string(),
            data: "fashion-mini".to_string(),
            seed: 1,
            genotype: "Genotype(normal=[('skip_connect', 0)])".to_string(),
            n_weights: 1200,
            n_weights_without_auxiliary: 1000,
            macs: 5_000_000_000,
            n_train: 5400,
            n_valid: 600,
            n_test: 1000,
            steps_per_epoch: 85,
            classes: vec!["cat".to_string(), "dog".to_string()],
        })
    }

    fn trained(epoch: usize, valid: Option<f64>) -> TrainEpoch {
        TrainEpoch {
            attempt: 0,
            epoch,
            lr: 0.025,
            drop_path: 0.125,
            cutout_prob: 1.0,
            train_loss: 1.5,
            train_accuracy: 0.5,
            valid_loss: valid,
            valid_accuracy: valid,
            is_best: true,
        }
    }

    fn finished() -> TrainFinished {
        TrainFinished {
            reason: "All 12 epochs are done.".to_string(),
            epoch: 9,
            valid_accuracy: Some(0.75),
            n_test: 4,
            test_loss: 0.5,
            test_accuracy: 0.75,
            test_top5: None,
            per_class: vec![Some(0.75), None],
            confusion: vec![vec![3, 1], vec![0, 0]],
        }
    }

    #[test]
    fn the_lines_look_as_documented() {
        assert_eq!(
            to_line(&started(3)),
            "{\"event\":\"train_started\",\"format\":3,\"rdarts\":\"0.1.0\",\"data\":\"fashion-mini\",\"seed\":1,\
             \"genotype\":\"Genotype(normal=[('skip_connect', 0)])\",\"n_weights\":1200,\
             \"n_weights_without_auxiliary\":1000,\"macs\":5000000000,\"n_train\":5400,\"n_valid\":600,\"n_test\":1000,\
             \"steps_per_epoch\":85,\"classes\":[\"cat\",\"dog\"]}\n"
        );
        assert_eq!(
            to_line(&Event::TrainEpoch(trained(2, None))),
            "{\"event\":\"train_epoch\",\"attempt\":0,\"epoch\":2,\"lr\":0.025,\"drop_path\":0.125,\"cutout_prob\":1.0,\
             \"train_loss\":1.5,\"train_accuracy\":0.5,\"valid_loss\":null,\"valid_accuracy\":null,\"is_best\":true}\n"
        );
        assert_eq!(
            to_line(&Event::TrainFinished(finished())),
            "{\"event\":\"train_finished\",\"reason\":\"All 12 epochs are done.\",\"epoch\":9,\"valid_accuracy\":0.75,\
             \"n_test\":4,\"test_loss\":0.5,\"test_accuracy\":0.75,\"test_top5\":null,\"per_class\":[0.75,null],\
             \"confusion\":[[3,1],[0,0]]}\n"
        );
    }

    #[test]
    fn events_read_back_in_order() {
        let events = vec![
            started(TRAIN_EVENT_FORMAT),
            Event::TrainEpoch(trained(0, None)),
            Event::TrainEpoch(trained(1, Some(0.25))),
            Event::TrainFinished(finished()),
        ];
        let text: String = events.iter().map(to_line).collect();
        let (_dir, path) = file(text.as_bytes());
        assert_eq!(read_events(&path, LastLine::MustBeWhole).unwrap(), events);
        // A half line and a field that is not known are refused as those of a search are.
        let (_dir, path) = file(&text.as_bytes()[..text.len() - 2]);
        assert_eq!(read_events(&path, LastLine::MayBeHalf).unwrap(), events[..3]);
        assert!(read_events(&path, LastLine::MustBeWhole).is_err());
        for event in [&events[0], &events[1], &events[3]] {
            let (_dir, path) = file(to_line(event).replacen(",\"", ",\"x\":1,\"", 1).as_bytes());
            let err = read_events(&path, LastLine::MayBeHalf).unwrap_err().to_string();
            assert!(err.contains("line 1: this is not a record of this program"), "{err}");
        }
    }

    #[test]
    fn losses_that_diverged_are_written_as_words() {
        for (value, word) in [(f64::NAN, "\"nan\""), (f64::INFINITY, "\"inf\"")] {
            let record = TrainEpoch { train_loss: value, ..trained(0, Some(value)) };
            let finished = TrainFinished { test_loss: value, ..finished() };
            for (event, key) in [
                (Event::TrainEpoch(record.clone()), "train_loss"),
                (Event::TrainEpoch(record), "valid_loss"),
                (Event::TrainFinished(finished), "test_loss"),
            ] {
                let line = to_line(&event);
                assert!(line.contains(&format!("\"{key}\":{word}")), "{line}");
                assert_eq!(to_line(&serde_json::from_str::<Event>(&line).unwrap()), line);
            }
        }
    }

    #[test]
    fn a_training_of_a_newer_format_is_refused_and_searches_keep_their_own() {
        let (_dir, path) = file(to_line(&started(NEWEST_FORMAT + 1)).replace("\"seed\"", "\"seeds\"").as_bytes());
        let err = read_events(&path, LastLine::MustBeWhole).unwrap_err().to_string();
        assert!(
            err.ends_with("line 1: events of format 9, and this program knows up to 8; use a newer rdarts"),
            "{err}"
        );
        let (_dir, path) = file(to_line(&epoch(0)).as_bytes());
        assert_eq!(read_events(&path, LastLine::MustBeWhole).unwrap(), [epoch(0)]);
    }

    proptest! {
        #[test]
        fn numbers_round_trip_to_the_bit(
            numbers in proptest::array::uniform4(any::<u64>().prop_map(f64::from_bits)),
            share in 0.0f64..=1.0, counts in proptest::collection::vec(any::<usize>(), 0..5),
        ) {
            let [loss, valid, test, top5] = numbers;
            let record = TrainEpoch { train_loss: loss, ..trained(3, Some(valid)) };
            let result = TrainFinished {
                test_loss: test,
                test_top5: Some(top5),
                per_class: vec![None, Some(share)],
                confusion: vec![counts.clone(), Vec::new()],
                ..finished()
            };
            let again = |event: Event| serde_json::from_str::<Event>(&to_line(&event)).unwrap();
            // All values that are not a number count as one, since JSON does not carry their bits.
            let same = |a: f64, b: f64| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
            let Event::TrainEpoch(back) = again(Event::TrainEpoch(record)) else { unreachable!() };
            prop_assert!(same(back.train_loss, loss) && same(back.valid_loss.unwrap(), valid));
            let Event::TrainFinished(back) = again(Event::TrainFinished(result)) else { unreachable!() };
            prop_assert!(same(back.test_loss, test) && same(back.test_top5.unwrap(), top5));
            prop_assert_eq!(back.per_class, [None, Some(share)]);
            prop_assert_eq!(&back.confusion[0], &counts);
        }
    }
}
