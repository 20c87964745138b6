use std::path::Path;

use proptest::prelude::*;
use serde::Deserialize;

use super::layer::{Layer, leaf_keys};
use super::*;

/// Four data sets and a folder.
pub(super) struct Sets;

impl DataSets for Sets {
    fn preset(&self, name: &str) -> Option<&'static str> {
        match name {
            "svhn" => Some("[augment]\ncrop_padding = 4\nflip = false\n"),
            "cifar10" => Some("[augment]\ncrop_padding = 4\nflip = true\n"),
            "folder" => Some(
                "[augment]\ncrop_padding = \"data.size / 8\"\ncutout_length = \"data.size / 2 where on\"\nflip = true\n\
                 [portfolio]\ncutout_length = \"data.size / 2 where on\"\n",
            ),
            _ => None,
        }
    }

    fn side(&self, name: &str) -> Option<usize> {
        match name {
            "svhn" | "cifar10" => Some(32),
            "fashion-mnist" | "fashion-mini" => Some(28),
            _ => None,
        }
    }

    fn has_free_channels(&self, name: &str) -> bool {
        name == "folder"
    }
}

/// Reductions of a network of so many cells: the first and the last.
pub(super) fn first_and_last(cells: usize) -> Vec<usize> {
    if cells == 1 { Vec::new() } else { vec![0, cells - 1] }
}

fn paper() -> SearchSpec {
    SearchSpec::resolve(None, None, &[], &Sets).unwrap()
}

fn from_file(text: &str) -> Result<SearchSpec, SpecError> {
    SearchSpec::resolve_text(None, Some(("spec.toml", text)), &[], &Sets)
}

fn with(set: &str) -> Result<SearchSpec, SpecError> {
    SearchSpec::resolve(None, None, &[set.to_string()], &Sets)
}

#[track_caller]
fn check_sentence(result: Result<SearchSpec, SpecError>, sentence: &str) {
    assert_eq!(result.unwrap_err().to_string(), sentence);
}

#[test]
fn without_arguments_a_spec_is_the_paper() {
    let spec = paper();
    assert_eq!(spec.preset, "paper");
    assert_eq!(spec.space.name, "s2");
    assert_eq!((spec.search.method, spec.search.order), (Method::DartsAda, Order::Second));
    assert_eq!((spec.search.epochs, spec.search.batch), (50, 64));
    assert_eq!((spec.weights.lr, spec.weights.lr_min, spec.weights.l2), (0.025, 0.001, 3e-4));
    assert_eq!((spec.alphas.lr, spec.alphas.beta1, spec.alphas.l2), (3e-4, 0.5, 1e-3));
    assert_eq!((spec.monitor.window, spec.monitor.threshold, spec.monitor.l2_max), (5, 0.75, 0.03));
}

#[test]
fn the_preset_paper_names_every_key_of_the_struct() {
    let written: Table = paper().to_toml().parse().unwrap();
    assert_eq!(leaf_keys(&written), leaf_keys(&Layer::base::<SearchSpec>().table));
    assert_eq!(written, Layer::base::<SearchSpec>().table);
}

#[test]
fn a_recorded_spec_without_the_keys_that_came_later_is_read_as_what_was_done_then() {
    let spec = paper();
    let text = spec.to_toml();
    let old: String = text
        .lines()
        .filter(|l| {
            !["batches =", "images =", "samples =", "sample_batches =", "reductions ="]
                .iter()
                .any(|key| l.starts_with(key))
        })
        .fold(String::new(), |t, l| t + l + "\n");
    assert!(old.len() < text.len());
    assert_eq!(SearchSpec::from_complete("spec.toml", &old).unwrap(), spec);
    let other = old.replace("mode = \"reference\"\n", "");
    let sentence = "spec.toml: the key `hessian.mode` is missing; a recorded spec must be complete";
    check_sentence(SearchSpec::from_complete("spec.toml", &other), sentence);
}

#[test]
fn overrides_beat_the_file_and_the_file_beats_the_preset() {
    let text = "preset = 'demo'\n[search]\nepochs = 7\nbatch = 32\n";
    let sets = ["search.batch=16".to_string()];
    let spec = SearchSpec::resolve_text(None, Some(("spec.toml", text)), &sets, &Sets).unwrap();
    assert_eq!((spec.preset.as_str(), spec.network.channels), ("demo", 8));
    assert_eq!((spec.search.epochs, spec.search.batch), (7, 16));
    // The argument beats the file's preset, and an override beats both.
    let spec = SearchSpec::resolve_text(Some("paper"), Some(("spec.toml", text)), &sets, &Sets).unwrap();
    assert_eq!((spec.preset.as_str(), spec.network.channels), ("paper", 16));
    assert_eq!(spec.search.epochs, 7);
    let sets = ["preset=demo".to_string()];
    let spec = SearchSpec::resolve_text(Some("paper"), None, &sets, &Sets).unwrap();
    assert_eq!((spec.preset.as_str(), spec.network.channels), ("demo", 8));
}

#[test]
fn a_data_set_with_a_preset_lies_between_the_preset_and_the_user() {
    let spec = |sets: &[&str]| {
        let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
        let spec = SearchSpec::resolve(None, None, &sets, &Sets).unwrap();
        (spec.augment.crop_padding, spec.augment.flip)
    };
    assert_eq!(spec(&["data.name=svhn"]), (4, false));
    assert_eq!(spec(&["data.name=svhn", "augment.flip=true"]), (4, true));
    assert_eq!(spec(&["augment.flip=false", "data.name=cifar10"]), (4, false));
    // The preset demo halves the padding for its own data set, not for others.
    assert_eq!(spec(&["preset=demo"]), (2, true));
    assert_eq!(spec(&["preset=demo", "data.name=cifar10"]), (4, true));
    // The padding of a folder follows the size of its images once that is known.
    assert_eq!(spec(&["data.name=folder", "data.size=96"]), (12, true));
    assert_eq!(spec(&["data.name=folder", "data.size=96", "augment.crop_padding=3"]), (3, true));
    assert_eq!(spec(&["data.name=folder"]), (4, true));
    // A search has no Cutout, so a folder brings none.
    let folder = ["data.name=folder".to_string(), "data.size=96".to_string()];
    assert_eq!(SearchSpec::resolve(None, None, &folder, &Sets).unwrap().augment.cutout_length, 0);
    // So does that of a named set, from what the presets say of its own size, but not what the user says.
    assert_eq!(spec(&["data.name=svhn", "data.size=16"]), (2, false));
    assert_eq!(spec(&["data.name=svhn", "data.size=20"]), (2, false));
    assert_eq!(spec(&["data.name=svhn", "data.size=32"]), (4, false));
    assert_eq!(spec(&["preset=demo", "data.size=14"]), (1, true));
    assert_eq!(spec(&["data.size=14"]), (2, true));
    assert_eq!(spec(&["data.size=14", "augment.crop_padding=4"]), (4, true));
    let file = Some(("spec.toml", "[data]\nname = 'svhn'\n"));
    assert!(!SearchSpec::resolve_text(Some("demo"), file, &[], &Sets).unwrap().augment.flip);
    // A recorded spec says it all, whatever the presets have become.
    let text =
        SearchSpec::resolve_text(None, file, &[], &Sets).unwrap().to_toml().replace("flip = false", "flip = true");
    assert!(SearchSpec::from_complete("run/spec.toml", &text).unwrap().augment.flip);
}

#[test]
fn overrides_need_no_quotes_and_take_them() {
    for (set, name) in [
        ("data.name=cifar10", "cifar10"),
        ("data.name = \"cifar10\"", "cifar10"),
        ("data.name=10", "10"),
        ("data.name=true", "true"),
        ("data.name=a=b", "a=b"),
        ("data.name=/x y/[z]", "/x y/[z]"),
        ("data.name=1\nlimit = 3", "1\nlimit = 3"),
    ] {
        let spec = with(set).unwrap();
        assert_eq!((spec.data.images.name.as_str(), spec.data.images.limit), (name, 0), "{set}");
    }
    assert_eq!(with("weights.l2=1").unwrap().weights.l2, 1.0);
    assert!(!with("augment.flip=false").unwrap().augment.flip);
}

#[test]
fn a_number_that_is_too_large_for_toml_is_told_the_largest() {
    let most = "must be a whole number from 0 to 9223372036854775807";
    for number in ["9223372036854775808", "18446744073709551615", "99999999999999999999"] {
        check_sentence(
            with(&format!("seed={number}")),
            &format!("--set seed={number}: `seed` is {number}, but {most}"),
        );
        check_sentence(
            from_file(&format!("# a comment\nseed = {number}\n")),
            &format!("spec.toml, line 2: `seed` is {number}, but {most}"),
        );
        check_sentence(
            from_file(&format!("seed = 1\n[ search ] # of it\nepochs = 3\nbatch = {number} # many\n")),
            &format!("spec.toml, line 4: `search.batch` is {number}, but {most}"),
        );
    }
    assert_eq!(with("seed=9223372036854775807").unwrap().seed, i64::MAX as u64);
}

#[test]
fn unknown_keys_name_the_line_and_the_nearest_key() {
    for (text, sentence) in [
        ("sed = 3", "spec.toml, line 1: unknown key `sed`; did you mean `seed`?"),
        (
            "seed = 3\n\n[weights]\n# comment\nlrr = 0.1\n",
            "spec.toml, line 5: unknown key `weights.lrr`; did you mean `weights.lr`?",
        ),
        ("[wieghts]\nlr = 0.1", "spec.toml, line 1: unknown key `wieghts`; did you mean `weights`?"),
        ("epochs = 5", "spec.toml, line 1: unknown key `epochs`; did you mean `search.epochs`?"),
        (
            "weights.lrate = 5",
            "spec.toml, line 1: unknown key `weights.lrate`; the keys of [weights] are clip, l2, lr, lr_min, momentum",
        ),
        (
            "[eval]\nzzz = 5",
            "spec.toml, line 2: unknown key `eval.zzz`; the keys of [eval] are child, keep_checkpoints, oneshot",
        ),
    ] {
        check_sentence(from_file(text), sentence);
    }
    check_sentence(
        with("search.epoch=3"),
        "--set search.epoch=3: unknown key `search.epoch`; did you mean `search.epochs`?",
    );
    check_sentence(
        with("search.epochs.x=3"),
        "--set search.epochs.x=3: `search.epochs` is a section, but must be a whole number without a sign, such as 50",
    );
}

#[test]
fn wrong_types_name_the_key_the_value_and_what_would_be_right() {
    for (text, sentence) in [
        (
            "[search]\nepochs = 'fifty'",
            "spec.toml, line 2: `search.epochs` is \"fifty\", but must be a whole number without a sign, such as 50",
        ),
        (
            "[search]\nepochs = 2.5",
            "spec.toml, line 2: `search.epochs` is 2.5, but must be a whole number without a sign, such as 50",
        ),
        (
            "[search]\nbatch = -3",
            "spec.toml, line 2: `search.batch` is -3, but must be a whole number without a sign, such as 64",
        ),
        ("weights.lr = true", "spec.toml, line 1: `weights.lr` is true, but must be a number, such as 0.025"),
        ("eval.child = 1", "spec.toml, line 1: `eval.child` is 1, but must be true or false"),
        (
            "data.name = ['a']",
            "spec.toml, line 1: `data.name` is a list, but must be a text in quotes, such as \"fashion-mnist\"",
        ),
        ("data = 'x'", "spec.toml, line 1: `data` is \"x\", but must be a section [data]"),
        ("[[data]]\nname = 'x'", "spec.toml, line 1: `data` is a list, but must be a section [data]"),
        (
            "seed = 1979-05-27",
            "spec.toml, line 1: `seed` is 1979-05-27, but must be a whole number without a sign, such as 1",
        ),
    ] {
        check_sentence(from_file(text), sentence);
    }
    check_sentence(
        with("search.epochs=many"),
        "--set search.epochs=many: `search.epochs` is \"many\", but must be a whole number without a sign, such as 50",
    );
    check_sentence(with("seed"), "--set seed: write an override as key=value, such as search.epochs=20");
    check_sentence(with(".=1"), "--set .=1: write an override as key=value, such as search.epochs=20");
}

#[test]
fn values_out_of_range_are_refused_in_one_sentence() {
    for (set, tail) in [
        ("data.name=", "`data.name` is \"\", but must be a name"),
        (
            "data.size=32",
            "`data.size` is 32, but must be a whole number from 8 to 28, the side of the images of fashion-mnist, or \
             0 for that",
        ),
        (
            "data.size=7",
            "`data.size` is 7, but must be a whole number from 8 to 28, the side of the images of fashion-mnist, or \
             0 for that",
        ),
        (
            "data.channels=3",
            "`data.channels` is 3, but must be 0, since only the images of a folder are made gray or coloured",
        ),
        ("data.test_fraction=1", "`data.test_fraction` is 1.0, but must be a number above 0 and below 1"),
        ("data.train_fraction=0.0", "`data.train_fraction` is 0.0, but must be a number above 0 and below 1"),
        ("data.train_fraction=1", "`data.train_fraction` is 1.0, but must be a number above 0 and below 1"),
        ("augment.crop_padding=2000", "`augment.crop_padding` is 2000, but must be a whole number from 0 to 1024"),
        ("augment.cutout_prob=1.5", "`augment.cutout_prob` is 1.5, but must be a number at least 0 and at most 1"),
        ("augment.cutout_length=2000", "`augment.cutout_length` is 2000, but must be a whole number from 0 to 1024"),
        (
            "augment.cutout_schedule=cosine",
            "`augment.cutout_schedule` is \"cosine\", but must be one of \"linear\", \"constant\"",
        ),
        ("space.name=''", "`space.name` is \"\", but must be a name"),
        ("network.channels=0", "`network.channels` is 0, but must be a whole number from 1 to 4096"),
        ("network.cells=0", "`network.cells` is 0, but must be a whole number from 1 to 1000"),
        (
            "network.reductions=[5,2]",
            "`network.reductions` is [5, 2], but must be at most 10 different cells in their order, counted from 0 to 7, or [] \
             for those at a third and two thirds",
        ),
        (
            "network.reductions=[2,2]",
            "`network.reductions` is [2, 2], but must be at most 10 different cells in their order, counted from 0 to 7, or [] \
             for those at a third and two thirds",
        ),
        (
            "network.reductions=[8]",
            "`network.reductions` is [8], but must be at most 10 different cells in their order, counted from 0 to 7, or [] \
             for those at a third and two thirds",
        ),
        (
            "network.reductions=[1.5]",
            "`network.reductions` is a list with 1.5, but must be a list of whole numbers without a sign, such as [1, 3]",
        ),
        (
            "network.reductions=[-1]",
            "`network.reductions` is a list with -1, but must be a list of whole numbers without a sign, such as [1, 3]",
        ),
        (
            "network.reductions=3",
            "`network.reductions` is 3, but must be a list of whole numbers without a sign, such as [1, 3]",
        ),
        ("network.stem_multiplier=0", "`network.stem_multiplier` is 0, but must be a whole number from 1 to 64"),
        (
            "search.method=enas",
            "`search.method` is \"enas\", but must be one of \"darts\", \"darts-es\", \"darts-ada\", \"darts-es-noise\", \
             \"rs-ws\", \"darts-plus\", \"sdarts-rs\", \"sdarts-adv\", \"darts-minus\", \"gdas\", \"a2m\", \"darts-pt\", \
             \"darts-pt-fixed\", \"pc-darts\", \"drnas\"",
        ),
        ("search.order=third", "`search.order` is \"third\", but must be one of \"first\", \"second\", \"second-fd\""),
        ("search.epochs=0", "`search.epochs` is 0, but must be a whole number from 1 to 1000000"),
        ("search.batch=1", "`search.batch` is 1, but must be a whole number from 2 to 65536"),
        ("search.drop_path=1.0", "`search.drop_path` is 1.0, but must be a number at least 0 and below 1"),
        ("weights.lr=nan", "`weights.lr` is NaN, but must be a number above 0"),
        ("weights.lr=inf", "`weights.lr` is inf, but must be a number above 0"),
        ("weights.lr_min=-1e-3", "`weights.lr_min` is -0.001, but must be a number at least 0"),
        ("weights.lr_min=0.5", "`weights.lr_min` is 0.5, but must be at most `weights.lr`, which is 0.025"),
        ("weights.momentum=1.0", "`weights.momentum` is 1.0, but must be a number at least 0 and below 1"),
        ("weights.l2=-1.0", "`weights.l2` is -1.0, but must be a number at least 0"),
        ("weights.clip=0.0", "`weights.clip` is 0.0, but must be a number above 0"),
        ("alphas.lr=0.0", "`alphas.lr` is 0.0, but must be a number above 0"),
        ("alphas.beta1=1.0", "`alphas.beta1` is 1.0, but must be a number at least 0 and below 1"),
        ("alphas.beta2=-0.1", "`alphas.beta2` is -0.1, but must be a number at least 0 and below 1"),
        ("alphas.l2=nan", "`alphas.l2` is NaN, but must be a number at least 0"),
        ("alphas.init_std=-1.0", "`alphas.init_std` is -1.0, but must be a number at least 0"),
        (
            "hessian.every=0",
            "`hessian.every` is 0, but must be at least 1, since method darts-ada needs the eigenvalue",
        ),
        ("hessian.mode=full", "`hessian.mode` is \"full\", but must be one of \"reference\", \"plain\""),
        ("hessian.tolerance=0.0", "`hessian.tolerance` is 0.0, but must be a number above 0 and below 1"),
        ("monitor.form=code", "`monitor.form` is \"code\", but must be one of \"paper\", \"released\""),
        ("monitor.window=0", "`monitor.window` is 0, but must be a whole number from 1 to 1000000"),
        ("monitor.threshold=0.0", "`monitor.threshold` is 0.0, but must be a number above 0 and at most 1"),
        ("monitor.l2_factor=1.0", "`monitor.l2_factor` is 1.0, but must be a number above 1"),
        ("monitor.l2_max=0.0", "`monitor.l2_max` is 0.0, but must be a number above 0"),
        ("monitor.growth=0.9", "`monitor.growth` is 0.9, but must be a number at least 1"),
        ("monitor.risk=0.0", "`monitor.risk` is 0.0, but must be a number above 0 and at most 0.5"),
        ("method.max_skips=0", "`method.max_skips` is 0, but must be a whole number from 1 to 1000"),
        ("method.epsilon=1.5", "`method.epsilon` is 1.5, but must be a number at least 0 and at most 1"),
        ("method.attack_steps=0", "`method.attack_steps` is 0, but must be a whole number from 1 to 1000"),
        ("method.temperature_last=0.0", "`method.temperature_last` is 0.0, but must be a number above 0"),
        ("method.selection_epochs=0", "`method.selection_epochs` is 0, but must be a whole number from 1 to 1000000"),
        ("method.selection_lr=0.0", "`method.selection_lr` is 0.0, but must be a number above 0"),
        ("method.channel_share=0", "`method.channel_share` is 0, but must be a whole number from 1 to 4096"),
        ("method.anchor=-1.0", "`method.anchor` is -1.0, but must be a number at least 0"),
        ("method.rho=-1.0", "`method.rho` is -1.0, but must be a number at least 0"),
        ("preset=papers", "`preset` is \"papers\", but must be one of \"paper\", \"demo\", \"collapse\""),
    ] {
        check_sentence(with(set), &format!("--set {set}: {tail}"));
    }
    // The preset has what the method cannot do with.
    check_sentence(
        with("search.method=darts-es-noise"),
        "preset paper: `hessian.batches` is 1, but must be at least 2, better 8, since method darts-es-noise needs the noise \
         of the eigenvalue",
    );
    let with_all = |keys: &[&str]| {
        let keys: Vec<String> = keys.iter().map(|key| key.to_string()).collect();
        SearchSpec::resolve(None, None, &keys, &Sets)
    };
    for (keys, tail) in [
        (
            &["search.method=pc-darts", "network.channels=6"][..],
            "--set network.channels=6: `network.channels` is 6, but must be a multiple of method.channel_share, 4",
        ),
        (
            &["search.method=pc-darts", "search.drop_path=0.2"],
            "--set search.drop_path=0.2: `search.drop_path` is 0.2, but must be 0.0 with method pc-darts, whose network has no drop \
             path",
        ),
        (
            &["search.method=drnas", "search.order=first", "method.warm_up=50"],
            "--set method.warm_up=50: `method.warm_up` is 50, but must be less than search.epochs, 50, or the alphas would never learn",
        ),
    ] {
        check_sentence(with_all(keys), tail);
    }
    check_sentence(
        with("search.method=gdas"),
        "preset paper: `search.order` is \"second\", but must be \"first\", the only one of method gdas",
    );
    check_sentence(
        from_file("[search]\nbatch = 1"),
        "spec.toml, line 2: `search.batch` is 1, but must be a whole number from 2 to 65536",
    );
    check_sentence(
        SearchSpec::resolve(Some("papr"), None, &[], &Sets),
        "--preset: `preset` is \"papr\", but must be one of \"paper\", \"demo\", \"collapse\"",
    );
    assert!(SearchSpec::resolve(Some("Paper"), None, &[], &Sets).is_err());
    // A search without a monitor needs no eigenvalue.
    assert!(SearchSpec::resolve(None, None, &["search.method=darts".into(), "hessian.every=0".into()], &Sets).is_ok());
}

#[test]
fn a_spec_made_by_a_program_is_checked_too() {
    let mut spec = paper();
    spec.seed = u64::MAX;
    let sentence = "spec: `seed` is 18446744073709551615, but must be a whole number from 0 to 9223372036854775807";
    assert_eq!(spec.validate().unwrap_err().to_string(), sentence);
}

#[test]
fn broken_toml_names_the_line() {
    let err = from_file("seed = 1\n[data\n").unwrap_err().to_string();
    assert!(err.starts_with("spec.toml, line 2: not valid TOML: "), "{err}");
    assert!(!err.contains('\n'), "{err}");
    let err = from_file("seed = 1\nseed = 2\n").unwrap_err().to_string();
    assert!(err.starts_with("spec.toml, line 2: not valid TOML: "), "{err}");
}

#[test]
fn a_missing_file_is_named() {
    let err = SearchSpec::resolve(None, Some(Path::new("/no/such/spec.toml")), &[], &Sets).unwrap_err().to_string();
    assert!(err.starts_with("cannot read the spec `/no/such/spec.toml`: "), "{err}");
}

#[test]
fn a_recorded_spec_must_be_complete_and_ignores_presets() {
    let text = paper().to_toml().replace("preset = \"paper\"", "preset = \"gone\"");
    assert_eq!(SearchSpec::from_complete("run/spec.toml", &text).unwrap().preset, "gone");
    let text = text.replace("momentum = 0.9\n", "");
    check_sentence(
        SearchSpec::from_complete("run/spec.toml", &text),
        "run/spec.toml: the key `weights.momentum` is missing; a recorded spec must be complete",
    );
}

#[test]
fn every_choice_is_in_the_table_of_choices_and_deserialises() {
    fn check<T: for<'de> Deserialize<'de> + PartialEq + fmt::Debug>(names: &[&str], all: &[T]) {
        assert!(SearchSpec::CHOICES.iter().any(|(_, listed)| *listed == names), "{names:?}");
        for (name, choice) in names.iter().zip(all) {
            assert_eq!(&serde_json::from_value::<T>(serde_json::json!(name)).unwrap(), choice);
        }
    }
    check(Method::NAMES, Method::ALL);
    check(Order::NAMES, Order::ALL);
    check(Statistics::NAMES, Statistics::ALL);
    check(CutoutSchedule::NAMES, CutoutSchedule::ALL);
    check(HessianMode::NAMES, HessianMode::ALL);
    check(MonitorForm::NAMES, MonitorForm::ALL);
}

prop_compose! {
    fn any_spec()(
        texts in ("[a-z0-9\n\\[\\]\"'=.é]{1,20}", ".{1,20}", ".{0,20}", "(?s).{1,20}"),
        seed in 0..=i64::MAX as u64,
        counts in (any::<u32>(), any::<u32>(), 0usize..=1024, 0usize..=1024, 1usize..=4096, 1usize..=1000,
                   1usize..=64, 1usize..=1_000_000, 2usize..=65_536),
        more in (1usize..1000, 1usize..=1_000_000, any::<bool>(), any::<bool>(), any::<bool>()),
        unit in proptest::array::uniform8(1e-12f64..0.999_999),
        positive in proptest::array::uniform8(1e-300f64..1e300),
        picks in (0usize..Method::ALL.len(), 0usize..3, 0usize..2, 0usize..2, 0usize..2),
    ) -> SearchSpec {
        SearchSpec {
            kind: SearchSpec::KIND.to_string(),
            preset: texts.0,
            seed,
            data: SearchDataSpec {
                images: DataSpec {
                    name: texts.1,
                    dir: texts.2,
                    size: 0,
                    channels: 0,
                    test_fraction: 0.25,
                    split_seed: counts.0 as u64,
                    cache: "auto".to_string(),
                    statistics: Statistics::Computed,
                    limit: counts.0 as usize,
                },
                train_fraction: unit[0],
                valid_limit: counts.1 as usize,
            },
            augment: AugmentSpec {
                crop_padding: counts.2,
                flip: more.2,
                cutout_length: counts.3,
                cutout_prob: unit[1],
                cutout_schedule: CutoutSchedule::ALL[picks.2],
            },
            space: SpaceSpec { name: texts.3 },
            network: NetworkSpec {
                channels: counts.4,
                cells: counts.5,
                stem_multiplier: counts.6,
                reductions: first_and_last(counts.5),
            },
            search: LoopSpec {
                method: Method::ALL[picks.0],
                order: if Method::ALL[picks.0].is_first_order() { Order::First } else { Order::ALL[picks.1] },
                epochs: counts.7,
                batch: counts.8,
                drop_path: if Method::ALL[picks.0] == Method::PcDarts { 0.0 } else { unit[2] },
                samples: counts.7,
                sample_batches: more.0,
            },
            method: MethodSpec {
                max_skips: more.0,
                epsilon_first: unit[3],
                epsilon: unit[4],
                attack_steps: more.0,
                auxiliary_skip: positive[5],
                temperature_first: positive[1],
                temperature_last: positive[2],
                rho: positive[3],
                selection_epochs: more.0,
                selection_lr: positive[4],
                channel_share: 1,
                warm_up: 0,
                anchor: unit[4],
            },
            weights: WeightsSpec {
                lr: positive[0],
                lr_min: positive[0] * unit[7],
                momentum: unit[3],
                l2: positive[1],
                clip: positive[2],
            },
            alphas: AlphasSpec {
                lr: positive[3],
                beta1: unit[4],
                beta2: unit[5],
                l2: positive[4],
                init_std: positive[5],
            },
            hessian: HessianSpec {
                every: more.0,
                mode: HessianMode::ALL[picks.3],
                tolerance: unit[6],
                batches: 2 + more.0,
                images: HessianImages::ALL[picks.3],
            },
            monitor: MonitorSpec {
                form: MonitorForm::ALL[picks.4],
                window: more.1,
                threshold: unit[7],
                l2_factor: 1.0 + unit[0],
                l2_max: positive[6],
                growth: 1.0 + unit[1],
                risk: unit[2] / 2.0,
            },
            eval: EvalSpec { oneshot: more.3, child: more.4, keep_checkpoints: more.3 != more.4 },
        }
    }
}

proptest! {
    #[test]
    fn a_written_spec_reads_back_equal(spec in any_spec()) {
        spec.validate().unwrap();
        prop_assert_eq!(SearchSpec::from_complete("spec.toml", &spec.to_toml()).unwrap(), spec);
    }

    #[test]
    fn no_text_makes_the_parser_panic_and_every_error_is_escaped(text in "(?s).{0,200}", set in "(?s).{0,40}") {
        for result in [from_file(&text), with(&set), SearchSpec::from_complete("spec.toml", &text)] {
            if let Err(err) = result {
                prop_assert!(!err.to_string().contains(char::is_control), "{:?}", err);
            }
        }
    }

    #[test]
    fn odd_keys_and_values_are_refused_in_escaped(key in "[a-z\\n\\t.=\u{7}]{1,8}", value in "(?s).{0,8}") {
        let text = format!("{:?} = 1\n", key);
        for result in [from_file(&text), with(&format!("{key}={value}")), with(&format!("seed={value}"))] {
            if let Err(err) = result {
                prop_assert!(!err.to_string().contains(char::is_control), "{:?}", err);
            }
        }
    }

    #[test]
    fn no_damage_to_a_spec_makes_the_parser_panic(at in any::<prop::sample::Index>(), cut in 0usize..30, put in "[\\[\\]=\"'.{}#\n a-z0-9-]{0,6}") {
        let mut text = paper().to_toml();
        let from = at.index(text.len());
        let to = (from + cut).min(text.len());
        text.replace_range(from..to, &put);
        if let Err(err) = from_file(&text) {
            // A value that became wrong beside one that was cut away is told where the other comes from.
            let begins = ["spec.toml", "preset paper"].iter().any(|start| err.to_string().starts_with(start));
            prop_assert!(begins, "{}", err);
        }
    }
}

#[test]
fn every_method_goes_with_every_preset() {
    for preset in SearchSpec::PRESETS {
        for method in Method::NAMES {
            let keys = vec![format!("search.method={method}"), "hessian.batches=2".into(), "search.order=first".into()];
            let spec = SearchSpec::resolve(Some(preset.name), None, &keys, &Sets);
            assert!(
                spec.is_ok(),
                "{} {method}: {}",
                preset.name,
                spec.err().map(|e| e.to_string()).unwrap_or_default()
            );
        }
    }
}

#[test]
fn every_preset_is_a_valid_spec_that_records_its_name_and_explains_every_value() {
    for preset in SearchSpec::PRESETS {
        let spec = SearchSpec::resolve(Some(preset.name), None, &[], &Sets).unwrap();
        assert_eq!(spec.preset, preset.name);
        for line in preset.text.lines().filter(|line| line.contains('=') && !line.starts_with('#')) {
            let is_name = line.starts_with("preset =") || line.starts_with("kind =");
            assert!(is_name || line.contains(" # "), "{}: {line}", preset.name);
        }
    }
}

#[test]
fn the_kind_of_a_recorded_spec_is_known_and_a_spec_of_another_kind_is_refused() {
    let text = paper().to_toml();
    assert_eq!(kind_of("spec.toml", &text).unwrap(), "search");
    let old = text.replace("kind = \"search\"\n", "");
    assert_eq!(kind_of("spec.toml", &old).unwrap(), "search");
    assert_eq!(SearchSpec::from_complete("spec.toml", &old).unwrap(), paper());
    assert_eq!(kind_of("spec.toml", "kind = 'other'\n").unwrap(), "other");
    assert!(kind_of("spec.toml", "kind = ").is_err());
    check_sentence(
        from_file("kind = 'other'"),
        "spec.toml, line 1: `kind` is \"other\", but must be one of \"search\"",
    );
}

#[test]
fn every_key_of_methods_belongs_to_one() {
    let spec = SearchSpec::resolve(Some("paper"), None, &[], &Sets).unwrap();
    let table: toml::Table = spec.to_toml().parse().unwrap();
    let has = |key: &str| {
        let (section, key) = key.split_once('.').unwrap();
        table[section].as_table().unwrap().contains_key(key)
    };
    let named: Vec<&str> = Method::ALL.iter().flat_map(|method| method.keys()).copied().collect();
    assert!(named.iter().all(|key| has(key)), "{named:?}");
    for section in ["method", "monitor"] {
        for key in table[section].as_table().unwrap().keys() {
            assert!(named.contains(&&format!("{section}.{key}")[..]), "{section}.{key} belongs to no method");
        }
    }
}
