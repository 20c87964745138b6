//! One step of each method from one state, beside the same step in PyTorch in double precision (`tests/methods.py`, carried out by
//! the Python that RDARTS_PYTHON names), and what the methods do over a whole small search.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use rdarts_data::Batch;
use rdarts_net::Engine;
use rdarts_rng::Stream;
use rdarts_run::{DecisionKind, Event, Method, RunDir, SearchSpec, Spec};
use rdarts_search::methods::{darts_minus, drnas, gdas, sdarts};
use rdarts_search::{Search, State, open_space};
use rdarts_space::{CellType, Op};
use rdarts_train::{Job, KnownSets, Outcome, resume, start};
use serde_json::{Map, Value, json};

use crate::skip;

const SMALL: &str = r#"
preset = "demo"
[data]
limit = 96
valid_limit = 32
size = 16
[network]
channels = 4
cells = 3
[search]
epochs = 4
batch = 8
[hessian]
every = 0
batches = 1
"#;

fn search(space: &str, method: &str, overrides: &[&str]) -> Search {
    let mut keys = vec![format!("search.method=\"{method}\""), format!("space.name=\"{space}\"")];
    keys.extend(overrides.iter().map(|key| key.to_string()));
    let spec = SearchSpec::resolve_text(None, Some(("test", SMALL)), &keys, &KnownSets).unwrap();
    Search::new(spec, open_space(space).unwrap(), Engine::cpu()).unwrap()
}

/// A state in the middle of a search, with moments that make the size of a gradient count.
fn state(search: &Search) -> State {
    let mut state = search.begin().1;
    let mut stream = Stream::new(7, "test", 0);
    (state.at.epoch, state.at.step) = (2, 3);
    state.extra.alphas.iter_mut().for_each(|alpha| *alpha = 0.5 * stream.normal() as f32);
    state.extra.adam.t = 20;
    state.extra.adam.m.iter_mut().for_each(|m| *m = 1e-3 * stream.normal() as f32);
    state.extra.adam.v.iter_mut().for_each(|v| *v = 1e-4 * (0.5 + stream.uniform()) as f32);
    state.sgd.buffer.iter_mut().for_each(|b| *b = 1e-2 * stream.normal() as f32);
    state
}

/// The mixing weights that DrNAS draws in a step for the alphas and, with the alphas after that, for the weights; of each one list for
/// each type of cell.
fn draws(search: &Search, state: &State, position: u64, batches: (Batch, Option<Batch>)) -> Vec<Vec<f64>> {
    if search.spec.search.method != Method::Drnas {
        return Vec::new();
    }
    let mut stream = search.streams(0).stream("dirichlet", position);
    let first = drnas::draw(search, &state.extra.for_network(), &mut stream);
    let mut after = state.clone();
    search.step(&mut after, batches).unwrap();
    let second = drnas::draw(search, &after.extra.for_network(), &mut stream);
    [first.each(), second.each()].concat()
}

/// With some edges of each cell decided, in the middle of a selection, for a method that has one: of each edge -1 if it is open,
/// -2 if its node does without it, or its operation.
fn half_selected(search: &Search, state: &mut State) -> [Vec<i64>; 2] {
    let Some(projection) = &mut state.extra.projection else { return Default::default() };
    let n = search.space.n_edges();
    // Of node 1 two inputs are left, and two edges of the last node are open.
    let edges = [0, 1].map(|cell: usize| -> Vec<i64> {
        (0..n)
            .map(|edge| {
                if edge == 3 {
                    -2
                } else if edge + 2 >= n {
                    -1
                } else {
                    ((edge + cell) % 2) as i64
                }
            })
            .collect()
    });
    *projection = projection.unpacked(&edges.concat());
    state.at.epoch = search.spec.search.epochs + 1;
    edges
}

fn by_name(search: &Search, flat: &[f32]) -> Map<String, Value> {
    let of = |name: &String| json!(search.net.read(flat, name).unwrap().0);
    search.net.weights().iter().map(|weight| (weight.name.clone(), of(&weight.name))).collect()
}

fn batch(batch: &Batch) -> Value {
    json!({
        "n": batch.n, "height": batch.height, "width": batch.width, "channels": batch.channels,
        "images": batch.images, "labels": batch.labels,
    })
}

#[test]
fn one_step_is_that_of_pytorch() {
    let Some(python) = std::env::var_os("RDARTS_PYTHON") else {
        return skip::skip("RDARTS_PYTHON unset", "no Python with torch is named");
    };
    let dir = tempfile::tempdir().unwrap();
    let mut cases = Vec::new();
    for (space, method) in [
        ("s2", "darts"),
        ("s1", "sdarts-rs"),
        ("s2", "sdarts-adv"),
        ("darts", "sdarts-adv"),
        ("s1", "darts-minus"),
        ("s2", "darts-minus"),
        ("darts", "darts-minus"),
        ("s3", "gdas"),
        ("darts", "gdas"),
        ("s1", "a2m"),
        ("s2", "a2m"),
        ("s1", "darts-pt"),
        ("s3", "darts-pt"),
        ("darts", "darts-pt"),
        ("s2", "darts-pt-fixed"),
        ("s1", "pc-darts"),
        ("s2", "pc-darts"),
        ("darts", "pc-darts"),
        ("darts", "drnas"),
    ] {
        // Steps of the alphas that single precision does not hide.
        let search = search(
            space,
            method,
            &[
                "alphas.lr=0.05",
                "method.warm_up=1",
                "method.anchor=0.02",
                "method.channel_share=2",
                "method.selection_lr=1.0",
            ],
        );
        let mut state = state(&search);
        let selected = half_selected(&search, &mut state);
        let (train, valid) = search.batches(&state.at).next().unwrap().unwrap();
        let position = (state.at.epoch * search.steps_per_epoch() + state.at.step) as u64;
        let n = state.extra.alphas.len();
        let mut uniform = search.streams(0).stream("mixing-weights", position);
        let mut gumbel = search.streams(0).stream("gumbel", position);
        let mut gumbels = || (0..n).map(|_| -(-gumbel.uniform().ln()).ln()).collect::<Vec<f64>>();
        let names = |cell: CellType| -> Vec<Vec<&str>> {
            let names = |ops: &Vec<Op>| ops.iter().map(|op| op.as_str()).collect();
            search.space.cell(cell).iter().map(names).collect()
        };
        let before = json!({
            "method": method, "edges": CellType::ALL.map(names), "nodes": search.space.nodes,
            "channels": search.spec.network.channels, "cells": search.spec.network.cells,
            "settings": {
                "lr": search.lr(state.at.epoch), "l2": state.sgd.l2, "clip": search.spec.weights.clip,
                "alpha_lr": search.spec.alphas.lr, "alpha_l2": search.spec.alphas.l2,
                "epsilon": sdarts::epsilon(&search, 2), "attack_steps": 7,
                "auxiliary": darts_minus::auxiliary(&search, 2), "temperature": gdas::temperature(&search, 2), "rho": search.spec.method.rho, "anchor": search.spec.method.anchor,
            },
            "alphas": state.extra.alphas, "adam_t": state.extra.adam.t, "adam_m": &state.extra.adam.m[..],
            "adam_v": &state.extra.adam.v[..], "weights": by_name(&search, &state.weights),
            "momentum": by_name(&search, &state.sgd.buffer), "train": batch(&train),
            "valid": batch(valid.as_ref().unwrap_or(&train)), "selected": selected, "share": 2,
            "draws": draws(&search, &state, position, (train.clone(), valid.clone())),
            "uniform": (0..n).map(|_| 2.0 * uniform.uniform() - 1.0).collect::<Vec<f64>>(),
            "gumbel": [gumbels(), gumbels()],
        });
        let path = dir.path().join(format!("{}.json", cases.len()));
        std::fs::write(&path, before.to_string()).unwrap();
        cases.push((space, method, path, search, state, (train, valid)));
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/methods.py");
    let out = Command::new(&python).arg(script).args(cases.iter().map(|case| &case.2)).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let theirs = String::from_utf8(out.stdout).unwrap();
    assert_eq!(theirs.lines().count(), cases.len());

    for ((space, method, _, search, mut state, batches), theirs) in cases.into_iter().zip(theirs.lines()) {
        let theirs: Value = serde_json::from_str(theirs).unwrap();
        let old = state.clone();
        search.step(&mut state, batches).unwrap();
        let numbers = |value: &Value| -> Vec<f64> { serde_json::from_value(value.clone()).unwrap() };
        let wide = |values: &[f32]| values.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>();
        // A max pool that single precision decides otherwise turns one gradient; most draws are a hundred times closer.
        // Partial channels leave batch norms of a few values each.
        let allowed = match (space, method) {
            ("darts", _) => 2e-3,
            (_, "pc-darts") => 1e-3,
            _ => 2e-4,
        };
        // What changed, so that the state before does not hide it.
        let error = match search.spec.search.method.learns_alphas() {
            true => differ(&wide(&old.extra.alphas), &wide(&state.extra.alphas), &numbers(&theirs["alphas"])),
            false => f64::from(u8::from(old.extra.alphas != state.extra.alphas)),
        };
        let (ours, theirs) = (by_name(&search, &state.weights), &theirs["weights"]);
        let (before, mut of_weights) = (by_name(&search, &old.weights), 0f64);
        for (name, ours) in &ours {
            let error = differ(&numbers(&before[name]), &numbers(ours), &numbers(&theirs[name]));
            assert!(error < allowed, "{method} in {space}: {name} is {error:.1e} off");
            of_weights = of_weights.max(error);
        }
        println!("{method} in {space}: alphas {error:.1e}, weights {of_weights:.1e} of the largest change");
        assert!(error < allowed, "{method} in {space}: the alphas are {error:.1e} off");
    }
}

/// The largest difference of two changes, as a part of the largest change.
fn differ(before: &[f64], ours: &[f64], theirs: &[f64]) -> f64 {
    assert_eq!((before.len(), ours.len()), (theirs.len(), theirs.len()));
    let changes = || before.iter().zip(ours).zip(theirs).map(|((b, o), t)| (o - b, t - b));
    let largest = changes().map(|(_, theirs)| theirs.abs()).fold(0.0, f64::max);
    assert!(largest > 0.0, "nothing has changed");
    changes().map(|(ours, theirs)| (ours - theirs).abs()).fold(0.0, f64::max) / largest
}

#[test]
fn every_method_finds_an_architecture_and_is_resumed_to_the_bit() {
    let keys = [
        "data.limit=64",
        "search.epochs=2",
        "hessian.every=1",
        "hessian.batches=2",
        "search.samples=5",
        "method.selection_epochs=1",
        "method.warm_up=1",
    ];
    for method in Method::NAMES {
        let tmp = tempfile::tempdir().unwrap();
        let search = search("s2", method, &keys);
        let run = |path: &Path, stop_at: Option<usize>| {
            let mut dir = RunDir::create(path, &search.spec).unwrap();
            let flag = AtomicBool::new(false);
            let mut stopper = common::Stopper { at: stop_at, flag: &flag };
            let outcome = start(&search, &mut dir, &mut stopper, &flag).unwrap();
            match (stop_at, outcome) {
                (None, outcome) => outcome,
                (Some(_), Outcome::Interrupted { .. }) => {
                    let mut dir = {
                        drop(dir);
                        RunDir::open::<SearchSpec>(path).unwrap()
                    };
                    resume(&search, &mut dir, &mut (), &AtomicBool::new(false), &mut |_| {}).unwrap()
                }
                (Some(_), outcome) => panic!("{method} was not interrupted: {outcome:?}"),
            }
        };
        let (whole, broken) = (tmp.path().join("whole"), tmp.path().join("broken"));
        let Outcome::Finished(found) = run(&whole, None) else { panic!("{method} did not finish") };
        rdarts_space::selection(&search.space, &found.genotype).unwrap();
        assert!(matches!(run(&broken, Some(3)), Outcome::Finished(_)), "{method}");
        let events = |path: &Path| std::fs::read(path.join("events.jsonl")).unwrap();
        assert!(events(&whole) == events(&broken), "{method} was not resumed to the bit");
    }
}

mod common {
    use std::sync::atomic::{AtomicBool, Ordering};

    use rdarts_train::{Observer, Progress};

    /// Stops a run after so many steps.
    pub struct Stopper<'a> {
        pub at: Option<usize>,
        pub flag: &'a AtomicBool,
    }

    impl Observer for Stopper<'_> {
        fn step(&mut self, progress: &Progress) {
            if self.at.is_some_and(|at| progress.step >= at) {
                self.flag.store(true, Ordering::Relaxed);
            }
        }
    }
}

#[test]
fn darts_plus_ends_at_the_first_epoch_with_so_many_skip_connections() {
    // Large steps of the alphas, so that the cell changes.
    let keys = ["alphas.lr=0.3", "search.epochs=12"];
    let genotypes = |method: &str, keys: &[&str]| {
        let tmp = tempfile::tempdir().unwrap();
        let search = search("s3", method, keys);
        let mut dir = RunDir::create(&tmp.path().join("run"), &search.spec).unwrap();
        let Outcome::Finished(found) = start(&search, &mut dir, &mut (), &AtomicBool::new(false)).unwrap() else {
            panic!("nothing stops it")
        };
        (dir.view().events().unwrap(), found)
    };
    let (plain, _) = genotypes("darts", &keys);
    let skips: Vec<usize> = plain
        .iter()
        .filter_map(|event| match event {
            Event::Epoch(record) => Some(record.skip_connects_normal),
            _ => None,
        })
        .collect();
    // The first number of skips that a later epoch has, and none before.
    let (epoch, limit) = skips
        .iter()
        .enumerate()
        .skip(1)
        .map(|(e, n)| (e, *n))
        .find(|(e, n)| skips[..*e].iter().all(|s| s < n))
        .unwrap_or_else(|| panic!("{skips:?}"));
    let key = format!("method.max_skips={limit}");
    let (events, found) = genotypes("darts-plus", &[keys[0], keys[1], &key]);
    assert_eq!((found.epoch, found.genotype.n_uses(CellType::Normal, Op::SkipConnect)), (epoch, limit), "{skips:?}");
    let decisions: Vec<_> =
        events.iter().filter(|event| matches!(event, Event::Decision(d) if d.kind == DecisionKind::Stop)).collect();
    assert_eq!(decisions.len(), 1);
    // Until then the same bits.
    let of = |events: &[Event]| {
        events.iter().filter(|e| matches!(e, Event::Epoch(_))).take(epoch + 1).cloned().collect::<Vec<_>>()
    };
    assert_eq!(of(&plain), of(&events));
}

/// The events of a search, run through or stopped in an epoch and gone on with.
fn events_of(search: &Search, path: &Path, stop_at: Option<usize>) -> Vec<Event> {
    let mut dir = RunDir::create(path, &search.spec).unwrap();
    let flag = AtomicBool::new(false);
    let mut outcome = start(search, &mut dir, &mut StopIn { epoch: stop_at, flag: &flag }, &flag).unwrap();
    if stop_at.is_some() {
        assert!(matches!(outcome, Outcome::Interrupted { .. }));
        drop(dir);
        dir = RunDir::open::<SearchSpec>(path).unwrap();
        outcome = resume(search, &mut dir, &mut (), &AtomicBool::new(false), &mut |_| {}).unwrap();
    }
    let Outcome::Finished(found) = outcome else { panic!("nothing stops it") };
    let events = dir.view().events().unwrap();
    let Some(Event::Finished(finished)) = events.last() else { panic!("no end") };
    assert_eq!(finished.genotype, found.genotype.to_string());
    events
}

struct StopIn<'a> {
    epoch: Option<usize>,
    flag: &'a AtomicBool,
}

impl rdarts_train::Observer for StopIn<'_> {
    fn step(&mut self, progress: &rdarts_train::Progress) {
        if self.epoch == Some(progress.epoch) && progress.step == 2 {
            self.flag.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }

    fn event(&mut self, event: &Event) {
        // Between two decisions of one turn is between two phases: the flag is looked at within the second.
        if let Event::Selected(selected) = event {
            assert!(selected.accuracy.iter().all(|accuracy| (0.0..=1.0).contains(accuracy)));
        }
    }
}

#[test]
fn darts_pt_selects_what_its_decisions_say_and_goes_on_from_a_search_of_darts() {
    let keys = ["search.epochs=3", "method.selection_epochs=2", "eval.keep_checkpoints=true"];
    let tmp = tempfile::tempdir().unwrap();
    let of = |method: &str| search("s3", method, &keys);
    let (darts, pt) = (of("darts"), of("darts-pt"));
    assert_eq!(pt.n_epochs(), 3 + 16 * 2, "14 edges and 3 nodes, the last without epochs after it");
    let plain = events_of(&darts, &tmp.path().join("darts"), None);
    let whole = events_of(&pt, &tmp.path().join("pt"), None);
    let epochs = |events: &[Event]| events.iter().filter(|e| matches!(e, Event::Epoch(_))).cloned().collect::<Vec<_>>();
    assert_eq!(epochs(&plain), epochs(&whole)[..3], "the same bits until it acts");
    assert_eq!(epochs(&whole).len(), pt.n_epochs());

    // The genotype is what the decisions say.
    let selected = |events: &[Event]| {
        let of = |event: &Event| if let Event::Selected(s) = event { Some(s.clone()) } else { None };
        events.iter().filter_map(of).collect::<Vec<_>>()
    };
    let Some(Event::Finished(finished)) = whole.last() else { panic!() };
    let genotype: rdarts_space::Genotype = finished.genotype.parse().unwrap();
    for cell in CellType::ALL {
        let decisions: Vec<_> = selected(&whole).into_iter().filter(|s| s.cell == cell.as_str()).collect();
        assert_eq!(decisions.len(), pt.space.n_decisions());
        let when: Vec<usize> = decisions.iter().map(|s| s.epoch).collect();
        assert_eq!(when, (0..17).map(|i| 2 + 2 * i).collect::<Vec<_>>());
        for s in &decisions {
            let worst = s.accuracy.iter().copied().fold(f64::INFINITY, f64::min);
            assert_eq!(s.accuracy[s.kept[0]].min(s.accuracy[*s.kept.last().unwrap()]), worst, "{}", s.reason);
        }
        for node in 0..4 {
            let inputs =
                decisions.iter().find(|s| s.node == node && s.input.is_none()).map_or(vec![0, 1], |s| s.kept.clone());
            let pair = &genotype.cell(cell)[2 * node..2 * node + 2];
            for (op, input) in pair {
                let on_edge = decisions.iter().find(|s| s.node == node && s.input == Some(*input)).unwrap();
                let kept = &on_edge.candidates[on_edge.kept[0]];
                // `none` is no operation of a genotype.
                assert!(kept == "none" || (inputs.contains(input) && *kept == op.to_string()), "{genotype}");
            }
        }
    }

    // Stopped between two decisions, and taken over from DARTS.
    let broken = tmp.path().join("broken");
    events_of(&pt, &broken, Some(10));
    let from = rdarts_run::RunView::open(&tmp.path().join("darts")).unwrap();
    let common = rdarts_search::branch::common(&from, &darts, &pt, &mut |_, _| {}).unwrap();
    assert_eq!((common.last, common.acts), (1, Some(2)));
    let taken = tmp.path().join("taken");
    let mut dir = RunDir::create(&taken, &pt.spec).unwrap();
    common.take_over(&from, &pt, &mut dir).unwrap();
    resume(&pt, &mut dir, &mut (), &AtomicBool::new(false), &mut |_| {}).unwrap();
    let bytes = |name: &str| std::fs::read(tmp.path().join(name).join("events.jsonl")).unwrap();
    assert!(bytes("pt") == bytes("broken") && bytes("pt") == bytes("taken"));

    // And back: DARTS takes over what the selection has not touched.
    let from = rdarts_run::RunView::open(&tmp.path().join("pt")).unwrap();
    let common = rdarts_search::branch::common(&from, &pt, &darts, &mut |_, _| {}).unwrap();
    assert_eq!(common.last, 1);
    let back = tmp.path().join("back");
    let mut dir = RunDir::create(&back, &darts.spec).unwrap();
    common.take_over(&from, &darts, &mut dir).unwrap();
    resume(&darts, &mut dir, &mut (), &AtomicBool::new(false), &mut |_| {}).unwrap();
    assert!(bytes("darts") == bytes("back"));
}
