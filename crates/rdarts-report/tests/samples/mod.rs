//! Run directories for tests, written as programs write them, with numbers made up by a formula.

#![allow(dead_code, reason = "each test uses some of them")]

use std::path::Path;

use rdarts_monitor::{AdaRule, Decision as Says, Measurement, Rule, decide};
use rdarts_run::{
    BaselineTrained, Checkpoint, CheckpointName, Chosen, DataSets, Decision, DecisionKind, EVENT_FORMAT, Environment,
    EpochRecord, Event, Finished, Landscape, LandscapeLine, MemberFound, MemberTrained, Method, ROBUST_EVENT_FORMAT,
    RobustFinished, RobustSpec, RobustStarted, RunDir, SearchSpec, Selected, Spec, Started, TRAIN_EVENT_FORMAT, Tensor,
    Timing, TrainEpoch, TrainFinished, TrainSpec, TrainStarted,
};
use rdarts_space::{CellType, Op, Space, derive, nth};
use rdarts_table::{Appender, Entry, Table};

pub mod disparity;

/// For specs that ask nothing of their data set.
pub struct NoSets;

impl DataSets for NoSets {
    fn preset(&self, _: &str) -> Option<&'static str> {
        None
    }
    fn side(&self, _: &str) -> Option<usize> {
        None
    }
    fn has_free_channels(&self, _: &str) -> bool {
        true
    }
}

/// A search to be made up.
#[derive(Clone)]
pub struct Search<'a> {
    pub space: &'a str,
    pub method: &'a str,
    pub seed: u64,
    pub l2: f64,
    pub drop_path: f64,
    /// Epochs of the spec, and how many of them are done.
    pub epochs: usize,
    pub done: usize,
    /// How fast skip connections and the eigenvalue grow.
    pub decay: f64,
    /// Spectra after so many epochs; 0: none.
    pub spectra: usize,
    /// Landscapes after so many epochs; 0: none.
    pub landscapes: usize,
    pub data: &'a str,
    /// Keys of the spec besides.
    pub set: &'a [&'a str],
}

pub const SEARCH: Search<'static> = Search {
    space: "s2",
    method: "darts",
    seed: 1,
    l2: 3e-4,
    drop_path: 0.0,
    epochs: 12,
    done: 12,
    decay: 0.2,
    spectra: 0,
    landscapes: 0,
    data: "fashion-mini",
    set: &[],
};

/// A number from -1 to 1 that depends on its key alone.
pub fn noise(key: u64) -> f64 {
    let mut x = key.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for shift in [30, 27, 31] {
        x = (x ^ (x >> shift)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    (x >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

fn environment() -> Environment {
    Environment {
        rdarts: "0.1.0".into(),
        os: "linux".into(),
        arch: "x86_64".into(),
        cpu: "Example <CPU> & Sons".into(),
        threads: 2,
        isa: "avx2".into(),
        device: "cpu".into(),
    }
}

/// Makes the directory of a search; it is held open, so that it seems at work until that is dropped.
pub fn search(path: &Path, of: &Search<'_>) -> RunDir {
    let mut overrides = vec![
        format!("space.name='{}'", of.space),
        format!("search.method='{}'", of.method),
        format!("seed={}", of.seed),
        format!("weights.l2={:?}", of.l2),
        format!("search.drop_path={:?}", of.drop_path),
        format!("search.epochs={}", of.epochs),
        format!("data.name='{}'", of.data),
        "eval.keep_checkpoints=true".to_string(),
    ];
    overrides.extend(of.set.iter().map(ToString::to_string));
    let spec = SearchSpec::resolve_text(Some("demo"), None, &overrides, &NoSets).unwrap();
    let space = Space::builtin(of.space).unwrap();
    let mut run = RunDir::create(path, &spec).unwrap();
    run.write_environment(&environment()).unwrap();
    run.write_space(&space.to_toml()).unwrap();
    let n: usize = CellType::ALL.iter().map(|cell| space.n_alphas(*cell)).sum();
    run.append_event(&Event::Started(Started {
        format: EVENT_FORMAT,
        rdarts: "0.1.0".into(),
        space: of.space.into(),
        data: of.data.into(),
        seed: of.seed,
        n_alphas: n,
        n_weights: 124_962,
        n_train: 2500,
        n_valid: 2500,
        steps_per_epoch: 40,
    }))
    .unwrap();
    let rule = Rule { window: 3, lag: 3, threshold: 0.75, ..Rule::paper() };
    let ada = AdaRule { l2_factor: spec.monitor.l2_factor, l2_max: spec.monitor.l2_max };
    let method = match spec.search.method {
        Method::DartsEs => rdarts_monitor::Method::Es,
        Method::DartsAda => rdarts_monitor::Method::Ada,
        _ => rdarts_monitor::Method::Darts,
    };
    let (mut attempt, mut epoch, mut l2) = (0, 0, of.l2);
    let mut history: Vec<Measurement> = Vec::new();
    let mut records: Vec<EpochRecord> = Vec::new();
    let mut result = None;
    while epoch < of.done && result.is_none() {
        let record = record(of, &space, attempt, epoch, l2);
        if let Some(eigenvalue) = record.eigenvalue {
            history.push(Measurement { epoch, eigenvalue });
        }
        run.append_event(&Event::Epoch(Box::new(record.clone()))).unwrap();
        let seconds = [("eigenvalue", 0.7), ("supernet accuracy", 0.2), ("train", 30.0), ("waiting for data", 0.5)];
        let seconds =
            seconds.map(|(part, s)| (part.to_string(), s * (1.0 + 0.1 * noise(epoch as u64 + of.seed)))).into();
        run.append_timing(&Timing { attempt, epoch, device: "cpu".into(), seconds, peak_memory: Some(700 << 20) })
            .unwrap();
        records.retain(|old| old.epoch < epoch);
        records.push(record);
        let says = decide(method, &rule, &ada, &history, epoch, of.epochs, l2);
        let (kind, return_to, l2_new, growth) = match says {
            Says::Continue(_) => {
                epoch += 1;
                continue;
            }
            Says::Stop { return_to, growth } => (DecisionKind::Stop, return_to, l2, growth),
            Says::Rollback { return_to, new_l2, growth } => (DecisionKind::Rollback, return_to, new_l2, growth),
        };
        run.append_event(&Event::Decision(Decision {
            attempt,
            epoch,
            kind,
            return_to,
            smoothed_now: growth.now,
            smoothed_before: growth.before,
            ratio: growth.ratio,
            l2_old: l2,
            l2_new,
            reason: says.to_string(),
        }))
        .unwrap();
        if kind == DecisionKind::Stop {
            result = Some(return_to);
        } else {
            history.retain(|measured| measured.epoch <= return_to);
            (attempt, epoch, l2) = (attempt + 1, return_to + 1, l2_new);
        }
    }
    for epoch in (0..of.done).step_by(of.spectra.max(1)).filter(|_| of.spectra > 0) {
        let top = records[epoch.min(records.len() - 1)].eigenvalue.unwrap();
        let value = |i: usize| top * (0.8f64.powi(i as i32) - 0.1 * (i as f64 / n as f64));
        let line = serde_json::json!({
            "attempt": records[epoch.min(records.len() - 1)].attempt, "epoch": epoch, "mode": "reference", "batches": 4,
            "images": "fixed", "eigenvalues": (0..n).map(value).collect::<Vec<f64>>(),
        });
        use std::io::Write as _;
        let mut file = std::fs::File::options().append(true).create(true).open(path.join("spectra.jsonl")).unwrap();
        writeln!(file, "{line}").unwrap();
    }
    for epoch in (0..of.done).step_by(of.landscapes.max(1)).filter(|_| of.landscapes > 0) {
        let record = &records[epoch.min(records.len() - 1)];
        let (top, distances) = (record.eigenvalue.unwrap(), (-10..=10).map(|i| f64::from(i) / 2.0).collect::<Vec<_>>());
        // It bends as the eigenvalue says at 0, and runs straight far from there.
        let line = |name: &str, i: u64| {
            let curvature = top * if i == 0 { 1.0 } else { 0.1 + 0.05 * noise(i + of.seed) };
            let slope = 0.02 * noise(i + 10 * epoch as u64);
            let loss =
                |t: &f64| record.valid_loss.unwrap() + slope * t + curvature * 4.0 * ((1.0 + t * t / 4.0).sqrt() - 1.0);
            LandscapeLine { name: name.into(), slope, curvature, losses: distances.iter().map(loss).collect() }
        };
        let lines = ["dominant eigenvector", "random 1", "random 2", "random 3"];
        let lines = lines.iter().zip(0..).map(|(name, i)| line(name, i)).collect();
        let (attempt, images) = (record.attempt, "fixed".to_string());
        let landscape = Landscape { attempt, epoch, batches: 4, images, distances: distances.clone(), lines };
        run.view().add_landscape(&landscape).unwrap();
    }
    if spec.search.method.selects() && of.done == of.epochs {
        select(&mut run, of, &space, spec.method.selection_epochs, &mut records);
    }
    if result.is_some() || of.done == of.epochs {
        let found = &records[result.unwrap_or(records.len() - 1)];
        let reason = match result {
            Some(epoch) => format!("The monitor stopped the search; the result is of epoch {epoch}."),
            None => format!("All {} epochs are done.", of.epochs),
        };
        let (attempt, epoch, mut genotype) = (found.attempt, found.epoch, found.genotype.clone());
        if of.method == "rs-ws" {
            // What is chosen is none of what the steps have drawn.
            let other = Search { seed: of.seed + 500, method: "darts", ..of.clone() };
            genotype = self::record(&other, &space, 0, epoch, l2).genotype;
            choose(&mut run, spec.search.samples, epoch);
        }
        run.append_event(&Event::Finished(Finished { reason: reason.clone(), attempt, epoch, genotype })).unwrap();
        run.mark_done(&reason).unwrap();
    }
    run
}

/// Decides on every edge in turn, always for the second operation, and then for the last two inputs of every node.
fn select(run: &mut RunDir, of: &Search<'_>, space: &Space, each: usize, records: &mut Vec<EpochRecord>) {
    let edges: Vec<(usize, usize, usize)> = space.edges().collect();
    let of_edges = edges.iter().map(|(edge, node, input)| {
        let ops: Vec<String> = space.normal[*edge].iter().map(ToString::to_string).collect();
        (*node, Some(*input), ops, vec![1])
    });
    let of_nodes = (1..space.nodes).map(|node| {
        let inputs: Vec<String> = (0..node + 2).map(|input| input.to_string()).collect();
        (node, None, inputs, vec![node, node + 1])
    });
    for (i, (node, input, candidates, kept)) in of_edges.chain(of_nodes).enumerate() {
        let after = of.epochs - 1 + i * each;
        for epoch in of.epochs.max((after + 1).saturating_sub(each))..=after {
            let mut record = record(of, space, 0, epoch, of.l2);
            (record.eigenvalue, record.eigenvalue_bound, record.eigenvalue_error) = (None, None, None);
            run.append_event(&Event::Epoch(Box::new(record.clone()))).unwrap();
            records.push(record);
        }
        for cell in CellType::ALL {
            let accuracy = (0..candidates.len()).map(|k| 0.8 - 0.1 * f64::from(u8::from(kept.contains(&k)))).collect();
            run.append_event(&Event::Selected(Selected {
                attempt: 0,
                epoch: after,
                cell: cell.to_string(),
                node,
                input,
                candidates: candidates.clone(),
                loss: vec![1.0; candidates.len()],
                accuracy,
                kept: kept.clone(),
                reason: "A decision.".into(),
            }))
            .unwrap();
        }
    }
}

/// What random search chooses by: the right share of its best sample is [`CHOSEN`], of few images more.
fn choose(run: &mut RunDir, samples: usize, epoch: usize) {
    let few = (0..samples).map(|i| 0.7 + 0.05 * noise(i as u64) as f32);
    let all = (0..10).map(|i| if i == 3 { CHOSEN } else { 0.3 + 0.01 * i as f32 });
    let accuracy: Vec<f32> = few.chain(all).collect();
    let tensors = [("sample_accuracy".to_string(), Tensor::f32([accuracy.len()], accuracy))].into();
    let (events_bytes, events_lines, state) = (0, String::new(), serde_json::Value::Null);
    let name = CheckpointName { sequence: 480, epoch, step: None };
    run.save_checkpoint(&name, Checkpoint { events_bytes, events_lines, state, tensors }).unwrap();
}

/// What the architecture that random search chooses gets right.
pub const CHOSEN: f32 = 0.625;

fn record(of: &Search<'_>, space: &Space, attempt: usize, epoch: usize, l2: f64) -> EpochRecord {
    let key = |what: u64| what * 1_000_003 + of.seed * 7919 + (attempt * 1009 + epoch) as u64;
    let t = epoch as f64 / of.epochs as f64;
    // A larger L2 keeps the curvature small.
    let decay = of.decay * (3e-4 / l2).powf(0.4);
    let alphas = |cell: CellType| -> Vec<f32> {
        let mut alphas = Vec::new();
        for (edge, ops) in space.cell(cell).iter().enumerate() {
            for (i, op) in ops.iter().enumerate() {
                let own = noise(of.seed * 131 + (edge * 17 + i) as u64);
                let drift = if *op == Op::SkipConnect { 4.0 * decay * t * t } else { 0.5 * t };
                alphas.push((own * 0.6 * t + drift + 0.01 * noise(key(edge as u64))) as f32);
            }
        }
        alphas
    };
    let (alphas_normal, alphas_reduce) = (alphas(CellType::Normal), alphas(CellType::Reduce));
    let genotype = derive(space, &alphas_normal, &alphas_reduce);
    let accuracy = 0.45 + 0.4 * (1.0 - (-3.0 * t).exp()) + 0.01 * noise(key(1));
    let child = accuracy - 0.05 - 0.5 * decay * t + 0.02 * noise(key(2));
    let mut record = EpochRecord {
        attempt,
        epoch,
        lr: 0.001 + 0.012 * (1.0 + (std::f64::consts::PI * t).cos()),
        l2,
        drop_path: of.drop_path * t,
        cutout_prob: if of.drop_path > 0.0 { t } else { 0.0 },
        train_loss: 2.0 - 1.4 * accuracy,
        train_accuracy: accuracy + 0.01,
        alpha_loss: 2.1 - 1.4 * accuracy,
        valid_loss: Some(2.05 - 1.4 * accuracy),
        valid_accuracy: Some(accuracy),
        child_loss: Some(2.05 - 1.4 * child),
        child_accuracy: Some(child),
        eigenvalue: Some(0.12 * (decay * epoch as f64).exp() * (1.0 + 0.1 * noise(key(3)))),
        eigenvalue_bound: Some(1e-4),
        eigenvalue_error: Some(0.008 * (1.0 + noise(key(4)).abs())),
        skip_connects_normal: genotype.n_uses(CellType::Normal, Op::SkipConnect),
        skip_connects_reduce: Some(genotype.n_uses(CellType::Reduce, Op::SkipConnect)),
        parameterless_normal: Some(genotype.n_parameterless(CellType::Normal)),
        parameterless_reduce: Some(genotype.n_parameterless(CellType::Reduce)),
        genotype: genotype.to_string(),
        alphas_normal,
        alphas_reduce,
        betas_normal: Vec::new(),
        betas_reduce: Vec::new(),
    };
    if of.method == "rs-ws" {
        // No alphas, so that there is neither a curvature nor a child, and mixing weights in place of alphas.
        (record.eigenvalue, record.eigenvalue_bound, record.eigenvalue_error) = (None, None, None);
        (record.child_loss, record.child_accuracy, record.alpha_loss) = (None, None, f64::NAN);
        for (cell, alphas) in CellType::ALL.into_iter().zip([&mut record.alphas_normal, &mut record.alphas_reduce]) {
            for edge in 0..space.n_edges() {
                let (offset, n) = (space.offset(cell, edge), space.cell(cell)[edge].len());
                let drawn = ((noise(key(50 + edge as u64)) + 1.0) / 2.0 * n as f64) as usize;
                (0..n).for_each(|i| alphas[offset + i] = if i == drawn { 1.0 } else { 0.0 });
            }
        }
    }
    record
}

/// Makes the directory of a finished training of a genotype, with classes of these names.
pub fn training(path: &Path, genotype: &str, data: &str, classes: &[&str], error: f64) {
    let overrides =
        [format!("network.genotype=\"{genotype}\""), format!("data.name='{data}'"), "train.epochs=20".into()];
    let spec = TrainSpec::resolve_text(Some("train-demo"), None, &overrides, &NoSets).unwrap();
    let mut run = RunDir::create(path, &spec).unwrap();
    run.write_environment(&environment()).unwrap();
    let n = classes.len();
    run.append_event(&Event::TrainStarted(TrainStarted {
        format: TRAIN_EVENT_FORMAT,
        rdarts: "0.1.0".into(),
        data: data.into(),
        seed: 1,
        genotype: rdarts_space::named(genotype).map_or(genotype.into(), |genotype| genotype.to_string()),
        n_weights: 300_000,
        n_weights_without_auxiliary: 254_321,
        macs: 41_000_000,
        n_train: 5400,
        n_valid: 600,
        n_test: 100 * n,
        steps_per_epoch: 57,
        classes: classes.iter().map(|name| name.to_string()).collect(),
    }))
    .unwrap();
    let accuracy = |epoch: usize| 1.0 - error - 0.4 * (-0.3 * epoch as f64).exp() + 0.01 * noise(epoch as u64);
    let best = (0..20).max_by(|&a, &b| accuracy(a).total_cmp(&accuracy(b))).unwrap();
    for epoch in 0..20 {
        run.append_event(&Event::TrainEpoch(TrainEpoch {
            attempt: 0,
            epoch,
            lr: 0.0125 * (1.0 + (std::f64::consts::PI * epoch as f64 / 20.0).cos()),
            drop_path: 0.01 * epoch as f64,
            cutout_prob: 1.0,
            train_loss: 2.2 - 1.5 * accuracy(epoch),
            train_accuracy: accuracy(epoch) - 0.03,
            valid_loss: Some(2.0 - 1.5 * accuracy(epoch)),
            valid_accuracy: Some(accuracy(epoch)),
            is_best: epoch == best,
        }))
        .unwrap();
        let seconds = [("train".to_string(), 12.0), ("held-out accuracy".to_string(), 0.8)].into();
        run.append_timing(&Timing { attempt: 0, epoch, device: "cpu".into(), seconds, peak_memory: Some(700 << 20) })
            .unwrap();
    }
    let wrong = (100.0 * error) as usize;
    let confusion: Vec<Vec<usize>> = (0..n)
        .map(|truth| {
            let mut row = vec![0; n];
            row[(truth + 1) % n] += wrong - wrong / 3;
            row[(truth + if n > 2 { 2 } else { 1 }) % n] += wrong / 3;
            row[truth] += 100 - wrong;
            row
        })
        .collect();
    let per_class = confusion.iter().enumerate().map(|(label, row)| Some(row[label] as f64 / 100.0)).collect();
    run.append_event(&Event::TrainFinished(TrainFinished {
        reason: format!("All 20 epochs are done; the result is the best on the held-out images, epoch {best}."),
        epoch: best,
        valid_accuracy: Some(accuracy(best)),
        n_test: 100 * n,
        test_loss: 0.5,
        test_accuracy: 1.0 - error,
        test_top5: Some(1.0),
        per_class,
        confusion,
    }))
    .unwrap();
    let mistakes = path.join("mistakes");
    std::fs::create_dir(&mistakes).unwrap();
    let mut list = String::new();
    for i in 0..24 {
        let (truth, given) = (i % n, (i + 1) % n);
        list += &format!("{{\"image\":{},\"truth\":{truth},\"given\":{given},\"probability\":0.9}}\n", 17 * i);
        let value = |x: u32, y: u32| (((x * (i as u32 + 1)) ^ (y * 3)) * 8 % 256) as u8;
        let picture = image::GrayImage::from_fn(28, 28, |x, y| image::Luma([value(x, y)]));
        picture.save(mistakes.join(format!("{i:02}.png"))).unwrap();
    }
    std::fs::write(mistakes.join("mistakes.jsonl"), list).unwrap();
    run.mark_done("All 20 epochs are done.").unwrap();
}

/// Makes a table of the space `tiny` with these seeds, of which `done` trainings are done: skip connections and pools cost
/// what they cost in the paper's section 3, and every seed deviates a little.
pub fn table(path: &Path, seeds: &[u64], done: usize) {
    let space = Space::builtin("tiny").unwrap();
    let overrides = ["network.genotype=DARTS_V2", "data.name='fashion-mini'", "train.epochs=20"].map(str::to_string);
    let spec = TrainSpec::resolve_text(Some("train-demo"), None, &overrides, &NoSets).unwrap();
    let images = "0123".to_string();
    let table = Table::begin(space.clone(), &spec, images, seeds.to_vec(), "0.1.0".into()).unwrap();
    table.write(path).unwrap();
    let mut appender = Appender::open(path).unwrap();
    for (architecture, seed) in table.missing().into_iter().take(done) {
        let genotype = nth(&space, architecture.into()).unwrap();
        let uses = |op| CellType::ALL.map(|cell| genotype.n_uses(cell, op) as f64);
        let ([skips, skips_reduce], [pools, pools_reduce]) = (uses(Op::SkipConnect), uses(Op::MaxPool3x3));
        let cost = 0.02 * skips.powi(2) + 0.012 * skips_reduce + 0.03 * pools + 0.01 * pools_reduce;
        let error = 0.082 + cost + 0.008 * noise(architecture) + 0.004 * noise(1000 * seed + architecture);
        appender
            .append(&Entry {
                architecture,
                n_params: 60_000 - 9000 * (skips + skips_reduce + pools + pools_reduce) as usize,
                macs: 5_000_000,
                genotype: genotype.to_string(),
                seed,
                epoch: 19,
                train_loss: Some(0.2),
                train_accuracy: Some(0.93),
                valid_accuracy: None,
                test_accuracy: 1.0 - error,
                test_loss: Some(0.4),
                seconds: 12.0,
                by: "0.1.0, avx2, cpu".into(),
            })
            .unwrap();
    }
}

/// Searches of the space `tiny` by three methods with four seeds each.
pub fn of_tiny(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut paths = Vec::new();
    for (method, decay) in [("darts", 0.5), ("darts-es", 0.5), ("rs-ws", 0.3)] {
        for seed in 1..=4 {
            let path = dir.join(format!("tiny-{method}-{seed}"));
            drop(search(&path, &Search { space: "tiny", method, seed, decay, epochs: 16, done: 16, ..SEARCH }));
            paths.push(path);
        }
    }
    paths
}

/// Makes the directory of a finished portfolio of three searches that differ in their L2 factor.
pub fn portfolio(path: &Path) {
    let values = [3e-4, 9e-4, 27e-4];
    let overrides = ["portfolio.values=[0.0003, 0.0009, 0.0027]".to_string(), "portfolio.vary='l2'".to_string()];
    let spec = RobustSpec::resolve_text(Some("demo"), None, &overrides, &NoSets).unwrap();
    let labels: Vec<String> = (0..3).map(|i| spec.label(i)).collect();
    let mut run = RunDir::create(path, &spec).unwrap();
    run.write_environment(&environment()).unwrap();
    let mut write = |event: Event| run.append_event(&event).unwrap();
    write(Event::RobustStarted(RobustStarted {
        format: ROBUST_EVENT_FORMAT,
        rdarts: "0.1.0".into(),
        data: "fashion-mini".into(),
        images: "0123".into(),
        spec: "4567".into(),
        seed: 1,
        space: "s2".into(),
        vary: rdarts_run::Vary::L2,
        members: labels.clone(),
    }));
    let mut genotypes = Vec::new();
    for (member, l2) in values.into_iter().enumerate() {
        let dir = path.join("members").join(format!("search-{member}"));
        let done = search(&dir, &Search { l2, seed: 3 + member as u64, decay: 0.25, ..SEARCH });
        let genotype = done.view().events().unwrap().iter().rev().find_map(|event| match event {
            Event::Finished(finished) => Some(finished.genotype.clone()),
            _ => None,
        });
        let genotype = genotype.unwrap();
        let (n_params, macs) = (100_000 + 9000 * member, 20_000_000 + 1_000_000 * member as u64);
        let reason = "All 12 epochs are done.".to_string();
        let (label, epoch) = (labels[member].clone(), 11);
        write(Event::MemberFound(MemberFound {
            member,
            label,
            genotype: genotype.clone(),
            epoch,
            reason,
            n_params,
            macs,
        }));
        genotypes.push(genotype);
    }
    for (member, valid_accuracy) in [0.781, 0.823, 0.802].into_iter().enumerate() {
        write(Event::MemberTrained(MemberTrained { member, valid_accuracy, epoch: 7 }));
    }
    let reason = format!("Chosen: {}, the best of 3 on the held-out images (82.30 %).", labels[1]);
    write(Event::Chosen(Chosen { member: 1, reason }));
    for (name, test) in [("random", 0.842), ("all-skip", 0.713), ("all-sep-conv", 0.861)] {
        write(Event::BaselineTrained(BaselineTrained {
            name: name.into(),
            genotype: genotypes[0].clone(),
            n_params: 98_000,
            valid_accuracy: Some(test - 0.01),
            test_accuracy: Some(test),
        }));
    }
    write(Event::RobustFinished(RobustFinished {
        member: 1,
        genotype: genotypes[1].clone(),
        n_params: 109_000,
        macs: 21_000_000,
        valid_accuracy: 0.871,
        test_accuracy: 0.868,
        reason: "All 20 epochs are done.".into(),
    }));
    training(&path.join("members/chosen"), &genotypes[1], "fashion-mini", &["boot", "coat", "bag"], 0.13);
    run.mark_done("done").unwrap();
}

/// Sixty searches of five methods in three spaces, and trainings of what some of them found.
pub fn many(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut paths = Vec::new();
    let kinds = [
        ("darts", 3e-4, 0.3),
        ("darts-es", 3e-4, 0.3),
        ("darts-ada", 3e-4, 0.3),
        ("darts", 27e-4, 0.3),
        ("darts", 243e-4, 0.3),
        ("rs-ws", 3e-4, 0.3),
    ];
    for (s, space) in ["s1", "s2", "s3"].into_iter().enumerate() {
        for (k, (method, l2, decay)) in kinds.into_iter().enumerate() {
            for seed in 1..=4 {
                let path = dir.join(format!("{space}-{method}-{k}-{seed}"));
                let seed = seed + 10 * (k + 6 * s) as u64;
                let done = search(&path, &Search { space, method, seed, l2, decay, ..SEARCH });
                let genotype = done.view().events().unwrap().iter().rev().find_map(|event| match event {
                    Event::Finished(finished) => Some(finished.genotype.clone()),
                    _ => None,
                });
                if let Some(genotype) = genotype.filter(|_| space == "s2") {
                    let trained = dir.join(format!("train-{method}-{k}-{seed}"));
                    let skips = genotype.split(", reduce=").next().unwrap().matches("skip").count();
                    let error = 0.05 + 0.01 * skips as f64 + 0.004 * noise(seed);
                    training(&trained, &genotype, "fashion-mini", &["boot", "coat"], error);
                    paths.push(trained);
                }
                paths.push(path);
            }
        }
    }
    paths
}
