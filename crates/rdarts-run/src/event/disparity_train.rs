//! What happened in a training from scratch for disparity: `disparity_train_started`, one `disparity_train_epoch` an epoch,
//! and `disparity_train_finished`.

use serde::{Deserialize, Serialize};

/// What is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DisparityTrainStarted {
    /// [`DISPARITY_TRAIN_EVENT_FORMAT`](super::DISPARITY_TRAIN_EVENT_FORMAT) of the writer.
    pub format: u32,
    /// Version of the program that started the training.
    pub rdarts: String,
    /// Name of the set of pairs.
    pub data: String,
    /// Seed of all random streams.
    pub seed: u64,
    /// The genotype of the network.
    pub genotype: String,
    /// Number of network weights.
    pub n_weights: usize,
    /// Multiply-adds of one pair of the size of the windows that are trained on.
    pub macs: u64,
    /// Number of pairs that are trained on.
    pub n_train: usize,
    /// Number of pairs that are held out to choose an epoch; 0: none.
    pub n_valid: usize,
    /// Number of pairs that the result is tested on.
    pub n_test: usize,
    /// Steps in an epoch.
    pub steps_per_epoch: usize,
}

/// An epoch, after its last step. Errors are mean end-point errors in pixels, over all pixels whose disparity is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DisparityTrainEpoch {
    /// How often the training has gone back before this epoch.
    pub attempt: usize,
    /// The epoch, counted from 0.
    pub epoch: usize,
    /// Learning rate.
    #[serde(with = "super::number")]
    pub lr: f64,
    /// Mean loss of the steps.
    #[serde(with = "super::number")]
    pub train_loss: f64,
    /// End-point error of the steps, on windows that are changed at random.
    #[serde(with = "super::number")]
    pub train_error: f64,
    /// End-point error on the held-out pairs, whole and unchanged; absent if there are none.
    #[serde(with = "super::maybe_number", default)]
    pub valid_error: Option<f64>,
    /// Whether this epoch would be the result if the training ended here: the held-out error is the smallest so far, or no
    /// pair is held out.
    pub is_best: bool,
}

/// How far estimated disparities are off, over some pixels whose disparity is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DisparityErrors {
    /// Number of these pixels.
    pub pixels: u64,
    /// Mean end-point error in pixels.
    #[serde(with = "super::number")]
    pub error: f64,
    /// Fraction that is off by more than 1 pixel.
    #[serde(with = "super::number")]
    pub bad1: f64,
    /// Fraction that is off by more than 3 pixels.
    #[serde(with = "super::number")]
    pub bad3: f64,
    /// Fraction that is off by more than 3 pixels and more than 5 % of the disparity: KITTI's D1.
    #[serde(with = "super::number")]
    pub d1: f64,
}

/// How good the trained network is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DisparityTrainFinished {
    /// Why the training ended, in one sentence.
    pub reason: String,
    /// The epoch whose weights are the result, counted from 0; all that follows is about them.
    pub epoch: usize,
    /// End-point error on the held-out pairs; absent if there are none.
    #[serde(with = "super::maybe_number", default)]
    pub valid_error: Option<f64>,
    /// Number of test pairs.
    pub n_test: usize,
    /// Errors on the test pairs, over all pixels whose disparity is known; absent if there are no test pairs.
    pub test: Option<DisparityErrors>,
    /// Over those of them alone that both views show; absent where that is not known of each test pair.
    pub test_visible: Option<DisparityErrors>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::file;
    use crate::event::{DISPARITY_TRAIN_EVENT_FORMAT, Event, LastLine, read_events, to_line};

    #[test]
    fn the_lines_look_as_documented_and_are_read_back() {
        let started = DisparityTrainStarted {
            format: DISPARITY_TRAIN_EVENT_FORMAT,
            rdarts: "0.1.0".into(),
            data: "stereo-scenes".into(),
            seed: 1,
            genotype: "Genotype(normal=[], reduce=[], upsample=[])".into(),
            n_weights: 1000,
            macs: 5000,
            n_train: 960,
            n_valid: 64,
            n_test: 128,
            steps_per_epoch: 240,
        };
        let epoch = DisparityTrainEpoch {
            attempt: 0,
            epoch: 3,
            lr: 0.5,
            train_loss: f64::INFINITY,
            train_error: 2.5,
            valid_error: Some(1.5),
            is_best: true,
        };
        let errors = DisparityErrors { pixels: 8, error: 1.25, bad1: 0.5, bad3: 0.25, d1: 0.125 };
        let finished = DisparityTrainFinished {
            reason: "All 4 epochs are done.".into(),
            epoch: 3,
            valid_error: Some(1.5),
            n_test: 128,
            test: Some(errors),
            test_visible: None,
        };
        let events = vec![
            Event::DisparityTrainStarted(started),
            Event::DisparityTrainEpoch(epoch),
            Event::DisparityTrainFinished(finished),
        ];
        assert_eq!(
            to_line(&events[1]),
            "{\"event\":\"disparity_train_epoch\",\"attempt\":0,\"epoch\":3,\"lr\":0.5,\"train_loss\":\"inf\",\
             \"train_error\":2.5,\"valid_error\":1.5,\"is_best\":true}\n"
        );
        assert_eq!(
            to_line(&events[2]),
            "{\"event\":\"disparity_train_finished\",\"reason\":\"All 4 epochs are done.\",\"epoch\":3,\"valid_error\":1.5,\
             \"n_test\":128,\"test\":{\"pixels\":8,\"error\":1.25,\"bad1\":0.5,\"bad3\":0.25,\"d1\":0.125},\
             \"test_visible\":null}\n"
        );
        let text: String = events.iter().map(to_line).collect();
        let (_dir, path) = file(text.as_bytes());
        assert_eq!(read_events(&path, LastLine::MustBeWhole).unwrap(), events);
    }
}
