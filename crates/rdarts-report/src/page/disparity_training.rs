//! The page of a training from scratch for disparity.

use rdarts_run::DisparityErrors;

use super::{Body, Readout, Row, Section, Table, begin, chosen, data, end, maps, number, time, words};
use crate::figure::Figure;
use crate::number::{count, percent, pixels};
use crate::table::{DisparityTrainTable, Head};

pub(super) fn body(head: &Head, table: &DisparityTrainTable, figures: &[Figure]) -> Body {
    let curves = Section {
        id: "curves",
        title: "Over the epochs",
        figures: chosen(figures, &["training-error", "training-loss", "training-rate"]),
        ..Section::default()
    };
    let pairs = maps::section(&table.maps, "As the trained network sees test pairs.");
    let mut sections = vec![result(table), curves, pairs, time(head, figures)];
    sections.extend(end(head));
    sections.retain(|section| !section.is_empty());
    let title = match &table.started {
        Some(started) => format!("Training for disparity on {}, seed {}", started.data, started.seed),
        None => "Training for disparity".to_string(),
    };
    Body {
        title: title.into(),
        readouts: readouts(table),
        sections,
        missing: table.missing.iter().map(|line| line.as_str().into()).collect(),
        data: data::of_disparity_training(table),
        ..begin(head)
    }
}

/// What is trained and how good it is.
pub(super) fn result(table: &DisparityTrainTable) -> Section {
    let mut section = Section { id: "result", title: "The network", ..Section::default() };
    let mut rows = Vec::new();
    let mut fact = |name: &str, value: Option<String>| {
        if value.is_some() {
            rows.push(Row { is_marked: false, cells: vec![words(name), number(value)] });
        }
    };
    if let Some(result) = &table.result {
        section.paragraphs.push(result.reason.as_str().into());
        fact("Held-out end-point error", result.valid_error.map(pixels));
        fact("Epoch of the weights", Some(result.epoch.to_string()));
        let tests = [("All known pixels", &result.test), ("Seen by both views", &result.test_visible)];
        let rows: Vec<Row> =
            tests.iter().filter_map(|(name, errors)| Some(row_of_errors(name, errors.as_ref()?))).collect();
        if !rows.is_empty() {
            let headers = ["Pixels", "End-point error", "Off by > 1 px", "Off by > 3 px", "D1", "How many"];
            section
                .paragraphs
                .push("D1 counts pixels that are off by more than 3 px and more than 5 % of the truth.".into());
            let caption = format!("Errors on {} test pairs", count(result.n_test as u64));
            let headers = headers.map(Into::into).to_vec();
            section.tables.push(Table { caption: caption.into(), headers, rows });
        }
    }
    if let Some(started) = &table.started {
        fact("Weights", Some(count(started.n_weights as u64)));
        fact("Multiply-adds of one pair of windows", Some(count(started.macs)));
        fact("Training pairs", Some(count(started.n_train as u64)));
        fact("Held-out pairs", Some(count(started.n_valid as u64)));
        fact("Test pairs", Some(count(started.n_test as u64)));
        section.codes.push(("Genotype".into(), started.genotype.as_str().into()));
    }
    if !rows.is_empty() {
        let headers = vec!["What".into(), "Value".into()];
        section.tables.push(Table { caption: "The network and how it was trained".into(), headers, rows });
    }
    section
}

fn row_of_errors(name: &str, errors: &DisparityErrors) -> Row {
    Row {
        is_marked: false,
        cells: vec![
            words(name),
            number(Some(pixels(errors.error))),
            number(Some(percent(errors.bad1))),
            number(Some(percent(errors.bad3))),
            number(Some(percent(errors.d1))),
            number(Some(count(errors.pixels))),
        ],
    }
}

fn readouts(table: &DisparityTrainTable) -> Vec<Readout> {
    if table.epochs.len() < 2 {
        return Vec::new();
    }
    let mut readouts = vec![
        Readout { label: "training", column: "train_error", format: "pixels" },
        Readout { label: "loss", column: "train_loss", format: "short" },
    ];
    if table.epochs.iter().any(|epoch| epoch.valid_error.is_some()) {
        readouts.insert(1, Readout { label: "held out", column: "valid_error", format: "pixels" });
    }
    readouts
}
