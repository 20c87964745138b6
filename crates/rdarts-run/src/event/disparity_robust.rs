//! What happened in a portfolio for disparity, beside what it has in common with one on images: `robust_started`,
//! `member_found`, `member_refused` and `chosen` are those, `disparity_member_trained`, `disparity_baseline_trained` and
//! `disparity_robust_finished` its own.

use serde::{Deserialize, Serialize};

use super::DisparityErrors;

/// The short training of what a member found has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DisparityMemberTrained {
    /// The member, counted from 0.
    pub member: usize,
    /// End-point error on the held-out pairs, in pixels.
    #[serde(with = "super::number")]
    pub valid_error: f64,
    /// The epoch of the training that this is from, counted from 0.
    pub epoch: usize,
}

/// The whole training of cells that no search found has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DisparityBaselineTrained {
    /// What the cells are, such as "random".
    pub name: String,
    /// Their genotype.
    pub genotype: String,
    /// Number of weights.
    pub n_params: usize,
    /// End-point error on the held-out pairs; absent if the training diverged.
    #[serde(with = "super::maybe_number", default)]
    pub valid_error: Option<f64>,
    /// Errors on the test pairs; absent if the training diverged or there are none.
    pub test: Option<DisparityErrors>,
}

/// How good the chosen network is after its whole training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DisparityRobustFinished {
    /// The chosen member, counted from 0.
    pub member: usize,
    /// Its genotype.
    pub genotype: String,
    /// Number of weights.
    pub n_params: usize,
    /// Multiply-adds of one pair of the size of the windows.
    pub macs: u64,
    /// End-point error on the held-out pairs, in pixels.
    #[serde(with = "super::number")]
    pub valid_error: f64,
    /// Errors on the test pairs; absent if there are none.
    pub test: Option<DisparityErrors>,
    /// Why the training ended, in one sentence.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::robust::tests::{found, started};
    use crate::event::tests::file;
    use crate::event::{DISPARITY_ROBUST_EVENT_FORMAT, Event, LastLine, read_events, to_line};

    #[test]
    fn the_lines_look_as_documented_and_are_read_back() {
        let errors = DisparityErrors { pixels: 100, error: 1.5, bad1: 0.5, bad3: 0.25, d1: 0.25 };
        let trained = DisparityMemberTrained { member: 1, valid_error: 2.5, epoch: 3 };
        let baseline = DisparityBaselineTrained {
            name: "random".into(),
            genotype: "h".into(),
            n_params: 900,
            valid_error: None,
            test: None,
        };
        let finished = DisparityRobustFinished {
            member: 1,
            genotype: "g".into(),
            n_params: 1000,
            macs: 5000,
            valid_error: 2.0,
            test: Some(errors),
            reason: "All 6 epochs are done.".into(),
        };
        let events =
            [started(DISPARITY_ROBUST_EVENT_FORMAT), found(1), trained.into(), baseline.into(), finished.into()];
        let lines: Vec<String> = events.iter().map(to_line).collect();
        assert!(lines[0].starts_with("{\"event\":\"robust_started\",\"format\":8,"), "{}", lines[0]);
        assert_eq!(
            lines[2..],
            [
                "{\"event\":\"disparity_member_trained\",\"member\":1,\"valid_error\":2.5,\"epoch\":3}\n",
                "{\"event\":\"disparity_baseline_trained\",\"name\":\"random\",\"genotype\":\"h\",\"n_params\":900,\
                 \"valid_error\":null,\"test\":null}\n",
                "{\"event\":\"disparity_robust_finished\",\"member\":1,\"genotype\":\"g\",\"n_params\":1000,\"macs\":5000,\
                 \"valid_error\":2.0,\"test\":{\"pixels\":100,\"error\":1.5,\"bad1\":0.5,\"bad3\":0.25,\"d1\":0.25},\
                 \"reason\":\"All 6 epochs are done.\"}\n",
            ]
        );
        let (_dir, path) = file(lines.concat().as_bytes());
        assert_eq!(read_events(&path, LastLine::MustBeWhole).unwrap(), events);
        let short = DisparityMemberTrained { member: 0, valid_error: f64::NAN, epoch: 0 };
        let text = to_line(&Event::from(short));
        let Event::DisparityMemberTrained(back) = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
        assert!(back.valid_error.is_nan());
    }
}
