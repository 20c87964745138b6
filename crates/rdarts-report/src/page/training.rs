//! The page of a training from scratch.

use super::{Body, Picture, Readout, Row, Section, Table, begin, chosen, data, end, number, time, words};
use crate::figure::Figure;
use crate::number::{count, percent, short};
use crate::table::{Head, TrainTable};

pub(super) fn body(head: &Head, table: &TrainTable, figures: &[Figure]) -> Body {
    let curves = Section {
        id: "curves",
        title: "Over the epochs",
        figures: chosen(figures, &["training-accuracy", "training-loss", "training-regularisation"]),
        ..Section::default()
    };
    let mut sections = vec![result(table), curves, mistakes(table, figures), time(head, figures)];
    sections.extend(end(head));
    sections.retain(|section| !section.is_empty());
    let title = match &table.started {
        Some(started) => format!("Training on {}, seed {}", started.data, started.seed),
        None => "Training".to_string(),
    };
    Body {
        title: title.into(),
        readouts: readouts(table),
        sections,
        missing: table.missing.iter().map(|line| line.as_str().into()).collect(),
        data: data::of_training(table),
        ..begin(head)
    }
}

/// What is trained and how good it is.
pub(super) fn result(table: &TrainTable) -> Section {
    let mut section = Section { id: "result", title: "The network", ..Section::default() };
    let mut rows = Vec::new();
    let mut fact = |name: &str, value: Option<String>| {
        if value.is_some() {
            rows.push(Row { is_marked: false, cells: vec![words(name), number(value)] });
        }
    };
    if let Some(result) = &table.result {
        section.paragraphs.push(result.reason.as_str().into());
        fact("Test accuracy", Some(percent(result.test_accuracy)));
        fact("Among the five likeliest", result.test_top5.map(percent));
        fact("Test loss", Some(short(result.test_loss)));
        fact("Held-out accuracy", result.valid_accuracy.map(percent));
        fact("Epoch of the weights", Some(result.epoch.to_string()));
    }
    if let Some(started) = &table.started {
        fact("Weights", Some(count(started.n_weights_without_auxiliary as u64)));
        fact("Weights with the auxiliary head", Some(count(started.n_weights as u64)));
        fact("Multiply-adds of one image", Some(count(started.macs)));
        fact("Training images", Some(count(started.n_train as u64)));
        fact("Held-out images", Some(count(started.n_valid as u64)));
        fact("Test images", Some(count(started.n_test as u64)));
        section.codes.push(("Genotype".into(), started.genotype.as_str().into()));
    }
    if !rows.is_empty() {
        let headers = vec!["What".into(), "Value".into()];
        section.tables.push(Table { caption: "The network and how good it is".into(), headers, rows });
    }
    section
}

/// What the network takes for what.
pub(super) fn mistakes(table: &TrainTable, figures: &[Figure]) -> Section {
    let row = |confusion: &crate::table::training::Confusion| Row {
        is_marked: false,
        cells: vec![
            words(table.class(confusion.truth)),
            words(table.class(confusion.given)),
            number(Some(confusion.n.to_string())),
            number(Some(percent(confusion.n as f64 / confusion.of as f64))),
        ],
    };
    let confusions = Table {
        caption: "What is taken for something else most often".into(),
        headers: ["True class", "Taken for", "Images", "Of the class"].map(Into::into).to_vec(),
        rows: table.confusions.iter().map(row).collect(),
    };
    let picture = |mistake: &crate::table::training::MistakeRow| Picture {
        url: mistake.url.clone(),
        truth: mistake.truth.as_str().into(),
        given: mistake.given.as_str().into(),
        probability: format!("{:.0} %", 100.0 * mistake.probability).into(),
    };
    Section {
        id: "mistakes",
        title: "What it is wrong about",
        figures: chosen(figures, &["confusion", "classes"]),
        tables: if table.confusions.is_empty() { Vec::new() } else { vec![confusions] },
        pictures: table.mistakes.iter().map(picture).collect(),
        ..Section::default()
    }
}

fn readouts(table: &TrainTable) -> Vec<Readout> {
    if table.epochs.len() < 2 {
        return Vec::new();
    }
    let mut readouts = vec![
        Readout { label: "training", column: "train_accuracy", format: "percent" },
        Readout { label: "loss", column: "train_loss", format: "short" },
    ];
    if table.epochs.iter().any(|epoch| epoch.valid_accuracy.is_some()) {
        readouts.insert(1, Readout { label: "held out", column: "valid_accuracy", format: "percent" });
    }
    readouts
}
