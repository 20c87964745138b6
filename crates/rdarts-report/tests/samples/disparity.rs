//! Runs for disparity, written as programs write them, with numbers and pictures made up by a formula.

use std::path::Path;

use rdarts_run::{
    Chosen, DISPARITY_EVENT_FORMAT, DISPARITY_ROBUST_EVENT_FORMAT, DISPARITY_TRAIN_EVENT_FORMAT,
    DisparityBaselineTrained, DisparityEpoch, DisparityErrors, DisparityMemberTrained, DisparityRobustFinished,
    DisparityRobustSpec, DisparitySearchSpec, DisparityStarted, DisparityTrainEpoch, DisparityTrainFinished,
    DisparityTrainSpec, DisparityTrainStarted, Event, Finished, MemberFound, PairMap, PairPictures, RobustStarted,
    RunDir, Spec, Timing, Vary,
};
use rdarts_space::{DisparityCell, DisparityGenotype, DisparitySpace, Op};

use super::{NoSets, environment, noise};

/// A search for disparity to be made up.
#[derive(Clone)]
pub struct DisparitySearch<'a> {
    pub space: &'a str,
    pub seed: u64,
    pub l2: f64,
    pub strength: f64,
    /// Epochs of the spec, and how many of them are done.
    pub epochs: usize,
    pub done: usize,
    /// How fast skip connections and the eigenvalue grow.
    pub decay: f64,
}

pub const DISPARITY: DisparitySearch<'static> =
    DisparitySearch { space: "dispnet", seed: 1, l2: 3e-4, strength: 1.0, epochs: 12, done: 12, decay: 0.05 };

/// Makes the directory of a search for disparity; it is held open, so that it seems at work until that is dropped.
pub fn search(path: &Path, of: &DisparitySearch<'_>) -> RunDir {
    let overrides = [
        format!("space.name='{}'", of.space),
        format!("seed={}", of.seed),
        format!("weights.l2={:?}", of.l2),
        format!("augment.strength={:?}", of.strength),
        format!("search.epochs={}", of.epochs),
    ];
    let spec = DisparitySearchSpec::resolve_text(Some("disparity-demo"), None, &overrides, &NoSets).unwrap();
    let space = DisparitySpace::builtin(of.space).unwrap();
    let mut run = RunDir::create(path, &spec).unwrap();
    run.write_environment(&environment()).unwrap();
    run.append_event(&Event::DisparityStarted(DisparityStarted {
        format: DISPARITY_EVENT_FORMAT,
        rdarts: "0.1.0".into(),
        space: of.space.into(),
        data: "stereo-scenes".into(),
        seed: of.seed,
        n_alphas: DisparityCell::ALL.iter().map(|cell| cell.n_edges() * space.ops.len()).sum(),
        n_weights: 813_844,
        n_train: 256,
        n_valid: 256,
        steps_per_epoch: 64,
    }))
    .unwrap();
    let mut last = None;
    for epoch in 0..of.done {
        let record = epoch_of(of, &space, epoch);
        run.append_event(&Event::DisparityEpoch(Box::new(record.clone()))).unwrap();
        let seconds = [("eigenvalue", 2.1), ("supernet error", 0.8), ("child error", 0.7), ("train", 30.0)];
        let seconds = seconds.map(|(part, s)| (part.to_string(), s * (1.0 + 0.1 * noise(epoch as u64)))).into();
        let timing = Timing { attempt: 0, epoch, device: "cpu".into(), seconds, peak_memory: Some(900 << 20) };
        run.append_timing(&timing).unwrap();
        last = Some(record);
    }
    if let Some(found) = last.filter(|_| of.done == of.epochs) {
        run.write_maps(&maps()).unwrap();
        let reason = format!("All {} epochs are done.", of.epochs);
        let finished = Finished { reason: reason.clone(), attempt: 0, epoch: found.epoch, genotype: found.genotype };
        run.append_event(&Event::Finished(finished)).unwrap();
        run.mark_done(&reason).unwrap();
    }
    run
}

fn epoch_of(of: &DisparitySearch<'_>, space: &DisparitySpace, epoch: usize) -> DisparityEpoch {
    let key = |what: u64| what * 1_000_003 + of.seed * 7919 + epoch as u64;
    let t = epoch as f64 / of.epochs as f64;
    let alphas = DisparityCell::ALL.map(|cell| -> Vec<f32> {
        let one = |edge: usize, i: usize, op: Op| {
            let own = noise(of.seed * 131 + (1000 * cell as usize + edge * 17 + i) as u64);
            let drift = if op == Op::SkipConnect { 6.0 * of.decay * t } else { 0.4 * t };
            (own * 0.6 * t + drift + 0.01 * noise(key((edge * 7 + i) as u64))) as f32
        };
        (0..cell.n_edges())
            .flat_map(|edge| space.ops.iter().enumerate().map(move |(i, op)| one(edge, i, *op)))
            .collect()
    });
    let genotype = space.derive([&alphas[0], &alphas[1], &alphas[2]]);
    let error = 2.2 + 3.0 * (-3.0 * t).exp() + 0.05 * noise(key(1)) + 0.2 * of.strength;
    let count = |of: &dyn Fn(Op) -> bool| {
        DisparityCell::ALL.map(|cell| genotype.cell(cell).iter().filter(|entry| of(entry.0)).count())
    };
    let [alphas_normal, alphas_reduce, alphas_upsample] = alphas;
    DisparityEpoch {
        attempt: 0,
        epoch,
        lr: 0.001 + 0.012 * (1.0 + (std::f64::consts::PI * t).cos()),
        l2: of.l2,
        train_loss: 1.3 * error,
        train_error: error + 0.4,
        alpha_loss: (epoch > 0).then_some(1.35 * error),
        valid_loss: Some(1.25 * error),
        valid_error: Some(error),
        child_loss: Some(1.25 * error + 0.6),
        child_error: Some(error + 0.5 + t + 0.1 * noise(key(5))),
        eigenvalue: Some(0.12 * (of.decay * epoch as f64).exp() * (1.0 + 0.1 * noise(key(3)))),
        eigenvalue_bound: Some(1e-4),
        eigenvalue_error: Some(0.008),
        skip_connects: count(&|op| op == Op::SkipConnect),
        parameterless: count(&Op::is_parameterless),
        genotype: genotype.to_string(),
        alphas_normal,
        alphas_reduce,
        alphas_upsample,
    }
}

/// Makes the directory of a finished training for disparity; `error` is that of its test.
pub fn training(path: &Path, genotype: &DisparityGenotype, strength: f64, error: f64) {
    let overrides = [
        format!("network.genotype=\"{genotype}\""),
        format!("augment.strength={strength:?}"),
        "train.epochs=20".to_string(),
    ];
    let spec = DisparityTrainSpec::resolve_text(Some("disparity-train-demo"), None, &overrides, &NoSets).unwrap();
    let mut run = RunDir::create(path, &spec).unwrap();
    run.write_environment(&environment()).unwrap();
    run.append_event(&Event::DisparityTrainStarted(DisparityTrainStarted {
        format: DISPARITY_TRAIN_EVENT_FORMAT,
        rdarts: "0.1.0".into(),
        data: "stereo-scenes".into(),
        seed: 1,
        genotype: genotype.to_string(),
        n_weights: 1_402_117,
        macs: 310_000_000,
        n_train: 960,
        n_valid: 64,
        n_test: 128,
        steps_per_epoch: 240,
    }))
    .unwrap();
    for epoch in 0..20 {
        let of_epoch = error + 2.0 * (-0.3 * epoch as f64).exp();
        run.append_event(&Event::DisparityTrainEpoch(DisparityTrainEpoch {
            attempt: 0,
            epoch,
            lr: 5e-4 * (1.0 + (std::f64::consts::PI * epoch as f64 / 20.0).cos()),
            train_loss: 1.4 * of_epoch,
            train_error: of_epoch + 0.3,
            valid_error: Some(of_epoch - 0.05),
            is_best: true,
        }))
        .unwrap();
        let seconds = [("train".to_string(), 22.0), ("held-out error".to_string(), 1.2)].into();
        run.append_timing(&Timing { attempt: 0, epoch, device: "cpu".into(), seconds, peak_memory: Some(1 << 30) })
            .unwrap();
    }
    let errors = |pixels: u64, error: f64| DisparityErrors {
        pixels,
        error,
        bad1: 0.2 * error,
        bad3: 0.05 * error,
        d1: 0.045 * error,
    };
    run.write_maps(&maps()).unwrap();
    let reason = "All 20 epochs are done; the result is the best on the held-out pairs, epoch 19.".to_string();
    run.append_event(&Event::DisparityTrainFinished(DisparityTrainFinished {
        reason: reason.clone(),
        epoch: 19,
        valid_error: Some(error - 0.05),
        n_test: 128,
        test: Some(errors(1_048_576, error)),
        test_visible: Some(errors(981_220, 0.8 * error)),
    }))
    .unwrap();
    run.mark_done(&reason).unwrap();
}

/// Makes the directory of a finished portfolio for disparity of two searches that differ in their augmentation.
pub fn portfolio(path: &Path) {
    let strengths = [0.5, 2.0];
    let overrides = ["portfolio.values=[0.5, 2.0]".to_string(), "portfolio.vary='augment'".to_string()];
    let spec = DisparityRobustSpec::resolve_text(Some("disparity-demo"), None, &overrides, &NoSets).unwrap();
    let mut run = RunDir::create(path, &spec).unwrap();
    run.write_environment(&environment()).unwrap();
    let mut write = |event: Event| run.append_event(&event).unwrap();
    write(Event::RobustStarted(RobustStarted {
        format: DISPARITY_ROBUST_EVENT_FORMAT,
        rdarts: "0.1.0".into(),
        data: "stereo-scenes".into(),
        images: "0123".into(),
        spec: "4567".into(),
        seed: 1,
        space: "dispnet".into(),
        vary: Vary::Augment,
        members: (0..2).map(|member| spec.label(member)).collect(),
    }));
    let mut genotypes = Vec::new();
    for (member, strength) in strengths.into_iter().enumerate() {
        let dir = path.join("members").join(format!("search-{member}"));
        let done = search(&dir, &DisparitySearch { strength, seed: 3 + member as u64, ..DISPARITY });
        let genotype = done.view().events().unwrap().iter().rev().find_map(|event| match event {
            Event::Finished(finished) => Some(finished.genotype.clone()),
            _ => None,
        });
        genotypes.push(genotype.unwrap());
        write(Event::MemberFound(MemberFound {
            member,
            label: spec.label(member),
            genotype: genotypes[member].clone(),
            epoch: 11,
            reason: "All 12 epochs are done.".into(),
            n_params: 700_000 + 9000 * member,
            macs: 300_000_000,
        }));
    }
    for (member, valid_error) in [4.125, 3.875].into_iter().enumerate() {
        write(DisparityMemberTrained { member, valid_error, epoch: 1 }.into());
    }
    let reason =
        "Chosen: augmentation 2.0, the best of 2 on the held-out pairs (end-point error 3.875 px).".to_string();
    write(Event::Chosen(Chosen { member: 1, reason }));
    let errors = |error: f64| DisparityErrors { pixels: 1_048_576, error, bad1: 0.5, bad3: 0.06 * error, d1: 0.2 };
    for (name, error) in [("random", 3.5), ("all-skip", 5.25)] {
        let (name, genotype) = (name.to_string(), genotypes[0].clone());
        let (valid_error, test) = (Some(error - 0.25), Some(errors(error)));
        write(DisparityBaselineTrained { name, genotype, n_params: 690_000, valid_error, test }.into());
    }
    let diverged = DisparityBaselineTrained {
        name: "all-sep-conv".into(),
        genotype: genotypes[0].clone(),
        n_params: 710_000,
        valid_error: None,
        test: None,
    };
    write(diverged.into());
    let finished = DisparityRobustFinished {
        member: 1,
        genotype: genotypes[1].clone(),
        n_params: 709_000,
        macs: 300_000_000,
        valid_error: 3.0,
        test: Some(errors(3.25)),
        reason: "All 20 epochs are done.".into(),
    };
    write(finished.into());
    training(&path.join("members/chosen"), &genotypes[1].parse().unwrap(), 0.0, 3.25);
    run.mark_done("done").unwrap();
}

/// Pairs as a network may see them.
pub fn maps() -> Vec<PairPictures> {
    let picture = |value: &dyn Fn(u32, u32) -> [u8; 3]| {
        let mut png = std::io::Cursor::new(Vec::new());
        let picture = image::RgbImage::from_fn(128, 64, |x, y| image::Rgb(value(x, y)));
        picture.write_to(&mut png, image::ImageFormat::Png).unwrap();
        png.into_inner()
    };
    let pair = |i: u32| {
        let ramp = move |x: u32, y: u32| ((x + y * i) * 3 / 2 % 256) as u8;
        let about = PairMap {
            pair: 256 + 40 * i as usize,
            name: format!("scene {}", 256 + 40 * i),
            error: 1.2 + 0.3 * f64::from(i),
            range: (2.0, 23.5),
            most_error: 5.0,
        };
        let png = [
            picture(&|x, y| [ramp(x, y), ramp(y, x), 128]),
            picture(&|x, _| [68, (x * 2) as u8, 100]),
            picture(&|x, _| [72, (x * 2).min(250) as u8, 90]),
            picture(&|x, y| if (x / 16 + y / 16) % 2 == 0 { [68, 1, 84] } else { [33, 145, 140] }),
        ];
        PairPictures { about, png }
    };
    (0..4).map(pair).collect()
}

/// Searches with two L2 factors and two strengths of augmentation, two seeds each, and a training of what each found.
pub fn many(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut paths = Vec::new();
    for (i, (l2, strength)) in [(3e-4, 0.5), (3e-4, 2.0), (81e-4, 0.5), (81e-4, 2.0)].into_iter().enumerate() {
        for seed in 1..=2 {
            let at = |what: &str| dir.join(format!("{what}-{l2}-{strength}-{seed}"));
            let of = DisparitySearch {
                l2,
                strength,
                seed: seed + 10 * i as u64,
                decay: 0.1 / (1.0 + i as f64),
                ..DISPARITY
            };
            drop(search(&at("search"), &of));
            paths.push(at("search"));
            let found = std::fs::read_to_string(at("search").join("events.jsonl")).unwrap();
            let last: serde_json::Value = serde_json::from_str(found.lines().last().unwrap()).unwrap();
            let genotype: DisparityGenotype = last["genotype"].as_str().unwrap().parse().unwrap();
            training(&at("train"), &genotype, strength, 3.0 - 0.4 * i as f64 + 0.1 * seed as f64);
            paths.push(at("train"));
        }
    }
    paths
}
