//! A search in steps that another program can take too: the state it begins with, the images of every step, and what it makes of them.
//!
//!     cargo run --release -p rdarts-search --example peer -- SPEC DIR EPOCHS [KEY=VALUE]...
//!
//! `bench/peer/search.py DIR` goes the same way in PyTorch and puts the two beside each other. In DIR:
//!
//! ```text
//! start.json        space, settings, alphas and weights by name
//! steps-E.f32       images of epoch E, [n, height, width, channels]: of each step those of the weights, then those of the alphas
//! hessian-E.f32     those that the eigenvalue is measured on
//! eval.f32          those that the accuracy is measured on
//! *.u8              their labels
//! ours.json         losses and numbers of images of every step; after each epoch accuracy, eigenvalue and alphas
//! ```
//!
//! First order, method `darts`, cells of the topology `darts` without noise operations, no drop path.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use rdarts_data::Batch;
use rdarts_net::Engine;
use rdarts_run::{Method, Order, SearchSpec, Spec};
use rdarts_search::hessian::{diagonal, eigenvalue};
use rdarts_search::score::{score_supernet, valid_images};
use rdarts_search::{Search, State, open_space};
use rdarts_space::{CellType, Op, Topology};
use rdarts_train::{Job, KnownSets};
use serde_json::{Map, Value, json};

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [spec, dir, epochs, keys @ ..] = &args[..] else {
        return Err("usage: SPEC DIR EPOCHS [KEY=VALUE]...".into());
    };
    let (dir, epochs) = (Path::new(dir), epochs.parse::<usize>()?);
    let text = std::fs::read_to_string(spec)?;
    let spec = SearchSpec::resolve_text(None, Some((spec, &text)), keys, &KnownSets)?;
    let search = Search::new(spec.clone(), open_space(&spec.space.name)?, Engine::cpu())?;
    if spec.search.method != Method::Darts || spec.search.order != Order::First || spec.search.drop_path > 0.0 {
        return Err("the peer knows the method darts of first order without drop path alone".into());
    }
    let has_noise = CellType::ALL.iter().flat_map(|cell| search.space.cell(*cell)).flatten().any(|op| *op == Op::Noise);
    let side = search.images.side();
    if search.space.topology != Topology::Darts || has_noise || spec.network.stem_multiplier != 3 {
        return Err("the peer knows cells of the topology darts without noise and a stem multiplier of 3 alone".into());
    }
    if !spec.network.reductions.is_empty() {
        return Err("the peer knows networks that reduce at a third and at two thirds alone".into());
    }
    if side.iter().any(|side| side % 4 != 0) {
        return Err(format!("the peer wants images whose sides are multiples of 4, not {side:?}").into());
    }
    std::fs::create_dir_all(dir)?;
    let mut state = search.begin().1;
    std::fs::write(dir.join("start.json"), start(&search, &state, epochs).to_string())?;
    let (images, norm) = (&search.images.data, search.images.data.norm());
    let mut file = Images::create(dir, "eval")?;
    for batch in
        rdarts_data::eval_batches(&images.train, valid_images(&search, spec.data.valid_limit), spec.search.batch, &norm)
    {
        file.add(&batch?)?;
    }
    file.flush()?;

    let (stop, mut steps, mut measured) = (AtomicBool::new(false), Vec::new(), Vec::new());
    for epoch in 0..epochs {
        state.at.begin_epoch(epoch);
        let mut file = Images::create(dir, &format!("steps-{epoch}"))?;
        for batches in search.batches(&state.at) {
            let (train, valid) = batches?;
            let n = [train.n, valid.as_ref().map_or(0, |valid| valid.n)];
            for batch in [Some(&train), valid.as_ref()].into_iter().flatten() {
                file.add(batch)?;
            }
            let step = search.step(&mut state, (train, valid))?;
            steps.push(json!({ "losses": [Some(step.loss), step.side_loss], "n": n }));
            state.at.add(&step);
        }
        file.flush()?;
        let mut file = Images::create(dir, &format!("hessian-{epoch}"))?;
        for (batch, _) in search.hessian_batches(0, epoch)? {
            file.add(&batch)?;
        }
        file.flush()?;
        let score = score_supernet(&search, &state, epoch, &stop)?.ok_or("nothing stops it")?;
        let found = eigenvalue(&search, &state, epoch, spec.hessian.tolerance, &stop)?.ok_or("nothing stops it")?;
        measured.push(json!({
            "loss": score.loss, "accuracy": score.accuracy, "eigenvalue": found.dominant.value,
            "bound": found.dominant.bound, "alphas": state.extra.alphas,
        }));
        let ours = json!({ "steps": steps, "epochs": measured });
        std::fs::write(dir.join("ours.json"), ours.to_string())?;
        eprintln!("epoch {epoch}: accuracy {:.3}, eigenvalue {:.4}", score.accuracy, found.dominant.value);
    }
    Ok(())
}

fn start(search: &Search, state: &State, epochs: usize) -> Value {
    let spec = &search.spec;
    let names = |cell: CellType| -> Vec<Vec<&str>> {
        let names = |ops: &Vec<Op>| ops.iter().map(|op| op.as_str()).collect();
        search.space.cell(cell).iter().map(names).collect()
    };
    let of = |name: &String| json!(search.net.read(&state.weights, name).expect("a weight of its own").0);
    let weights: Map<String, Value> =
        search.net.weights().iter().map(|weight| (weight.name.clone(), of(&weight.name))).collect();
    let train = &search.images.data.train;
    json!({
        "edges": CellType::ALL.map(names), "nodes": search.space.nodes, "channels": spec.network.channels,
        "cells": spec.network.cells, "classes": search.images.data.classes.len(),
        "image": [train.height, train.width, train.channels], "batch": spec.search.batch,
        "lr": (0..epochs).map(|epoch| search.lr(epoch)).collect::<Vec<_>>(), "l2": spec.weights.l2,
        "momentum": spec.weights.momentum, "clip": spec.weights.clip, "alpha_lr": spec.alphas.lr,
        "alpha_l2": spec.alphas.l2, "alpha_betas": [spec.alphas.beta1, spec.alphas.beta2], "diagonal": diagonal(spec), "alphas": state.extra.alphas, "weights": weights,
    })
}

/// Images and labels of batches, one after the other.
struct Images {
    images: BufWriter<File>,
    labels: BufWriter<File>,
}

impl Images {
    fn create(dir: &Path, name: &str) -> Result<Self, Error> {
        let file = |kind: &str| -> Result<BufWriter<File>, Error> {
            let path: PathBuf = dir.join(format!("{name}.{kind}"));
            Ok(BufWriter::new(File::create(path)?))
        };
        Ok(Self { images: file("f32")?, labels: file("u8")? })
    }

    fn add(&mut self, batch: &Batch) -> Result<(), Error> {
        for value in &batch.images {
            self.images.write_all(&value.to_le_bytes())?;
        }
        for label in &batch.labels {
            self.labels.write_all(&[u8::try_from(*label)?])?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.images.flush()?;
        Ok(self.labels.flush()?)
    }
}
