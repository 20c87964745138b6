//! The numbers of a page as JSON: those of `events.jsonl`, as they stand there.
//!
//! A column is one list over the epochs. Of long runs of large spaces, alphas, spectra and landscapes are kept for every so
//! many epochs only, with the epochs that they are of, so that the page stays small; a column never lacks an epoch.

use rdarts_run::{DisparityTrainEpoch, Spectrum, TrainEpoch};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::cells::Moving;
use crate::figure::{every, landscape};
use crate::table::search::EpochRow;
use crate::table::{DisparityTrainTable, ManyTable, SearchTable, TrainTable};
use crate::task::Task;

/// More alphas than these, 300 kB, are thinned.
const MOST_ALPHAS: usize = 30_000;

/// More eigenvalues than these, 300 kB, are thinned.
const MOST_EIGENVALUES: usize = 15_000;

/// More losses of landscapes than these, 200 kB with what is drawn and said of them, are thinned.
const MOST_LOSSES: usize = 6000;

/// The alphas of a cell after some epochs.
#[derive(Serialize)]
struct Alphas<'a> {
    /// The places of these epochs in the columns.
    steps: Vec<usize>,
    normal: Vec<&'a [f32]>,
    reduce: Vec<&'a [f32]>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    upsample: Vec<&'a [f32]>,
}

/// The data of a search and of its cells, each with its place among the pictures of cells.
pub(super) fn of_search(table: &SearchTable, cells: &[Option<Moving>; 3]) -> String {
    let rows = &table.epochs;
    let mut columns = Map::new();
    let mut column = |name: &str, value: &dyn Fn(&EpochRow) -> Value| {
        columns.insert(name.to_string(), rows.iter().map(value).collect());
    };
    column("attempt", &|row| json!(row.attempt));
    column("epoch", &|row| json!(row.epoch));
    column("is_kept", &|row| json!(u8::from(row.is_kept)));
    column("lr", &|row| json!(row.lr));
    column("l2", &|row| json!(row.l2));
    column("drop_path", &|row| json!(row.drop_path));
    column("cutout_prob", &|row| json!(row.cutout_prob));
    column("train_loss", &|row| json!(row.train_loss));
    column("train_accuracy", &|row| json!(row.train_accuracy));
    column("alpha_loss", &|row| json!(row.alpha_loss));
    column("valid_loss", &|row| json!(row.valid_loss));
    column("valid_accuracy", &|row| json!(row.valid_accuracy));
    column("child_loss", &|row| json!(row.child_loss));
    column("child_accuracy", &|row| json!(row.child_accuracy));
    column("eigenvalue", &|row| json!(row.eigenvalue));
    column("eigenvalue_bound", &|row| json!(row.eigenvalue_bound));
    column("eigenvalue_error", &|row| json!(row.eigenvalue_error));
    column("smoothed", &|row| json!(row.smoothed));
    column("limit", &|row| json!(row.limit));
    column("skip_connects_normal", &|row| json!(row.skip_connects_normal));
    column("skip_connects_reduce", &|row| json!(row.skip_connects_reduce));
    column("parameterless_normal", &|row| json!(row.parameterless_normal));
    column("parameterless_reduce", &|row| json!(row.parameterless_reduce));
    column("genotype", &|row| json!(row.genotype));
    if table.task == Task::Disparity {
        column("train_error", &|row| json!(row.train_error));
        column("valid_error", &|row| json!(row.valid_error));
        column("child_error", &|row| json!(row.child_error));
        column("skip_connects_upsample", &|row| json!(row.skip_connects_upsample));
        column("parameterless_upsample", &|row| json!(row.parameterless_upsample));
        // What such a search does not have.
        let of_classification = ["drop_path", "cutout_prob", "train_accuracy", "valid_accuracy", "child_accuracy"];
        columns.retain(|name, _| !of_classification.contains(&name.as_str()));
    }
    let all = [&table.alphas_normal, &table.alphas_reduce, &table.alphas_upsample];
    let n_alphas: usize = all.into_iter().flatten().map(Vec::len).sum();
    let steps = every(rows.len(), rows.len() * MOST_ALPHAS / n_alphas.max(MOST_ALPHAS));
    let of =
        |alphas: &'_ [Vec<f32>]| -> Vec<Vec<f32>> { steps.iter().filter_map(|&i| alphas.get(i).cloned()).collect() };
    let (normal, reduce, upsample) = (of(all[0]), of(all[1]), of(all[2]));
    let alphas = Alphas {
        normal: normal.iter().map(Vec::as_slice).collect(),
        reduce: reduce.iter().map(Vec::as_slice).collect(),
        upsample: upsample.iter().map(Vec::as_slice).collect(),
        steps,
    };
    let n_eigenvalues: usize = table.spectra.iter().map(|spectrum| spectrum.eigenvalues.len()).sum();
    let n = table.spectra.len();
    let spectra: Vec<&Spectrum> = every(n, n * MOST_EIGENVALUES / n_eigenvalues.max(MOST_EIGENVALUES))
        .iter()
        .map(|&i| &table.spectra[i])
        .collect();
    let (n_losses, n) = (table.landscapes.iter().map(landscape::n_losses).sum(), table.landscapes.len());
    let landscapes = landscape::moving(table, &every(n, n * MOST_LOSSES / MOST_LOSSES.max(n_losses)));
    let start = table.last().and_then(|row| rows.iter().position(|other| std::ptr::eq(row, other)));
    let moving = |side: usize| {
        let cell: Option<&Moving> = cells[side].as_ref();
        let picture = cells[..side].iter().flatten().count();
        cell.map(|cell| json!({ "picture": picture, "says": cell.says, "shown": cell.shown }))
    };
    let value = json!({
        "kind": "search",
        "task": table.task,
        "start": start,
        "columns": columns,
        "genotypes": table.genotypes.iter().map(|genotype| &genotype.text).collect::<Vec<_>>(),
        "alphas": raw(&alphas),
        "spectra": spectra,
        "landscapes": landscapes,
        "cells": json!({ "normal": moving(0), "reduce": moving(1), "upsample": moving(2) }),
    });
    inside_of_html(&value)
}

/// The data of a training.
pub(super) fn of_training(table: &TrainTable) -> String {
    let mut columns = Map::new();
    let mut column = |name: &str, value: &dyn Fn(&TrainEpoch) -> Value| {
        columns.insert(name.to_string(), table.epochs.iter().map(value).collect());
    };
    column("attempt", &|epoch| json!(epoch.attempt));
    column("epoch", &|epoch| json!(epoch.epoch));
    column("is_kept", &|_| json!(1));
    column("lr", &|epoch| json!(epoch.lr));
    column("drop_path", &|epoch| json!(epoch.drop_path));
    column("cutout_prob", &|epoch| json!(epoch.cutout_prob));
    column("train_loss", &|epoch| json!(epoch.train_loss));
    column("train_accuracy", &|epoch| json!(epoch.train_accuracy));
    column("valid_loss", &|epoch| json!(epoch.valid_loss));
    column("valid_accuracy", &|epoch| json!(epoch.valid_accuracy));
    column("is_best", &|epoch| json!(epoch.is_best));
    let result = table.result.as_ref();
    let start = result.and_then(|result| table.epochs.iter().position(|epoch| epoch.epoch == result.epoch));
    inside_of_html(&json!({ "kind": "train", "start": start, "columns": columns, "result": result }))
}

/// The data of a training for disparity.
pub(super) fn of_disparity_training(table: &DisparityTrainTable) -> String {
    let mut columns = Map::new();
    let mut column = |name: &str, value: &dyn Fn(&DisparityTrainEpoch) -> Value| {
        columns.insert(name.to_string(), table.epochs.iter().map(value).collect());
    };
    column("attempt", &|epoch| json!(epoch.attempt));
    column("epoch", &|epoch| json!(epoch.epoch));
    column("is_kept", &|_| json!(1));
    column("lr", &|epoch| json!(epoch.lr));
    column("train_loss", &|epoch| json!(epoch.train_loss));
    column("train_error", &|epoch| json!(epoch.train_error));
    column("valid_error", &|epoch| json!(epoch.valid_error));
    column("is_best", &|epoch| json!(epoch.is_best));
    let result = table.result.as_ref();
    let start = result.and_then(|result| table.epochs.iter().position(|epoch| epoch.epoch == result.epoch));
    inside_of_html(&json!({ "kind": "disparity_train", "start": start, "columns": columns, "result": result }))
}

/// The data of many runs: the tables themselves.
pub(super) fn of_many(many: &ManyTable) -> String {
    inside_of_html(&json!({ "kind": "many", "rows": many.rows, "groups": many.groups }))
}

/// Single precision keeps its few digits.
fn raw(alphas: &Alphas<'_>) -> Value {
    let text = serde_json::to_string(alphas).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// JSON in an element of HTML: nothing in it can look like a tag.
fn inside_of_html(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}
