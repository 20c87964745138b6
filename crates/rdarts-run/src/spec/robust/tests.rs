use proptest::prelude::*;
use toml::Table;

use super::*;
use crate::spec::layer::{Layer, leaf_keys};
use crate::spec::tests::{Sets, first_and_last};
use crate::spec::{SpecError, kind_of};

const GENOTYPE: &str = "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1)], normal_concat=range(2, 3), \
                        reduce=[('max_pool_3x3', 0), ('dil_conv_5x5', 1)], reduce_concat=range(2, 3))";

fn with(sets: &[&str]) -> Result<RobustSpec, SpecError> {
    let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
    RobustSpec::resolve(None, None, &sets, &Sets)
}

fn from_file(text: &str) -> Result<RobustSpec, SpecError> {
    RobustSpec::resolve_text(None, Some(("spec.toml", text)), &[], &Sets)
}

fn preset(name: &str) -> RobustSpec {
    RobustSpec::resolve(Some(name), None, &[], &Sets).unwrap()
}

#[track_caller]
fn check_sentence<T: std::fmt::Debug>(result: Result<T, SpecError>, sentence: &str) {
    assert_eq!(result.unwrap_err().to_string(), sentence);
}

#[test]
fn without_arguments_a_portfolio_is_that_of_the_paper_with_l2_factors() {
    let spec = with(&[]).unwrap();
    assert_eq!((spec.kind.as_str(), spec.preset.as_str(), spec.seed), ("robust", "paper", 1));
    let PortfolioSpec { vary, ref values, cutout_length, valid_fraction, baselines, max_params, max_macs } =
        spec.portfolio;
    assert_eq!((vary, values.as_slice()), (Vary::L2, [3e-4, 9e-4, 27e-4, 81e-4].as_slice()));
    assert_eq!((cutout_length, valid_fraction, baselines, max_params, max_macs), (16, 0.1, false, 0, 0));
    // Its searches are those of the paper, but none of them raises its L2 factor by itself.
    let mut search = SearchSpec::resolve(None, None, &[], &Sets).unwrap();
    assert_eq!((search.search.method, spec.search.method), (Method::DartsAda, Method::Darts));
    search.search.method = Method::Darts;
    assert_eq!(spec.unvaried(), search);
    // Its trainings are those of the paper in the small size.
    let sets = ["network.genotype=g".to_string()];
    let mut train = TrainSpec::resolve(Some("train-paper-small"), None, &sets, &Sets).unwrap();
    train.preset = "train-paper".to_string();
    train.data = TrainDataSpec { images: search.data.images, valid_fraction: 0.1 };
    assert_eq!(spec.train_spec("g", false), train);
    train.train.epochs = 100;
    assert_eq!(spec.train_spec("g", true), train);
}

#[test]
fn the_portfolio_with_drop_path_differs_in_what_is_varied_alone() {
    let (l2, mut dp) = (preset("paper"), preset("paper-dp"));
    assert_eq!((dp.portfolio.vary, dp.portfolio.values.as_slice()), (Vary::DropPath, [0.0, 0.2, 0.4, 0.6].as_slice()));
    (dp.preset, dp.portfolio) = (l2.preset.clone(), l2.portfolio.clone());
    assert_eq!(dp, l2);
}

#[test]
fn the_demo_is_small_and_on_the_images_of_the_other_demos() {
    let spec = preset("demo");
    let search = SearchSpec::resolve(Some("demo"), None, &[], &Sets).unwrap();
    let sets = ["network.genotype=g".to_string()];
    let train = TrainSpec::resolve(Some("train-demo"), None, &sets, &Sets).unwrap();
    assert_eq!((spec.members(), spec.portfolio.vary, spec.portfolio.baselines), (3, Vary::L2, true));
    assert_eq!((&spec.data, &spec.augment), (&search.data, &search.augment));
    assert_eq!((&spec.train_augment, &spec.train_weights), (&train.augment, &train.weights));
    assert_eq!(spec.portfolio.valid_fraction, train.data.valid_fraction);
    assert!(spec.search.epochs < search.search.epochs && spec.train.whole.epochs < train.train.epochs);
    assert_eq!((spec.network.channels, spec.network.cells), (spec.train_network.channels, spec.train_network.cells));
    // A folder too small for this batch would be refused.
    assert_eq!(spec.search.batch, search.search.batch);
}

#[test]
fn the_first_preset_names_every_key_of_the_struct() {
    let written: Table = with(&[]).unwrap().to_toml().parse().unwrap();
    assert_eq!(leaf_keys(&written), leaf_keys(&Layer::base::<RobustSpec>().table));
    assert_eq!(written, Layer::base::<RobustSpec>().table);
}

#[test]
fn the_sections_of_a_search_have_the_very_keys_of_a_search() {
    let robust = leaf_keys(&Layer::base::<RobustSpec>().table);
    for key in leaf_keys(&Layer::base::<SearchSpec>().table) {
        assert!(robust.contains(&key), "{key}");
    }
}

#[test]
fn every_method_goes_with_every_preset_but_for_drop_path() {
    for preset in RobustSpec::PRESETS {
        for method in Method::NAMES {
            let keys = [format!("search.method={method}"), "hessian.batches=2".into(), "search.order=first".into()];
            let spec = RobustSpec::resolve(Some(preset.name), None, &keys, &Sets);
            match spec.map_err(|e| e.to_string()) {
                Ok(_) => assert!((preset.name, *method) != ("paper-dp", "pc-darts")),
                Err(why) => assert!(why.contains("whose network has no drop path"), "{} {method}: {why}", preset.name),
            }
        }
    }
}

#[test]
fn every_preset_is_a_valid_spec_that_records_its_name_and_explains_every_value() {
    for preset in RobustSpec::PRESETS {
        let spec = RobustSpec::resolve(Some(preset.name), None, &[], &Sets).unwrap();
        assert_eq!(spec.preset, preset.name);
        for line in preset.text.lines().filter(|line| line.contains('=') && !line.starts_with('#')) {
            let is_name = line.starts_with("preset =") || line.starts_with("kind =");
            assert!(is_name || line.contains(" # "), "{}: {line}", preset.name);
        }
    }
}

#[test]
fn members_differ_in_what_is_varied_alone() {
    let spec = with(&[]).unwrap();
    let mut first = spec.search_spec(0);
    assert_eq!((spec.label(0).as_str(), spec.label(3).as_str()), ("L2 0.0003", "L2 0.0081"));
    assert_eq!((first.preset.as_str(), first.weights.l2), ("paper", 3e-4));
    first.weights.l2 = 81e-4;
    assert_eq!(spec.search_spec(3), first);

    let spec = with(&["portfolio.vary=seed", "portfolio.values=[7, 0, 9007199254740991]"]).unwrap();
    assert_eq!((spec.members(), spec.label(2)), (3, "seed 9007199254740991".to_string()));
    let seeds: Vec<u64> = (0..3).map(|member| spec.search_spec(member).seed).collect();
    assert_eq!(seeds, [7, 0, 9_007_199_254_740_991]);
    assert_eq!(SearchSpec { seed: 1, ..spec.search_spec(0) }, spec.unvaried());
    // What chooses is the same for all.
    assert_eq!(spec.train_spec("g", true).seed, 1);
}

#[test]
fn members_with_drop_path_use_cutout_with_the_schedule_of_drop_path() {
    let spec = preset("paper-dp");
    let labels: Vec<String> = (0..spec.members()).map(|member| spec.label(member)).collect();
    assert_eq!(labels, ["drop path 0.0", "drop path 0.2", "drop path 0.4", "drop path 0.6"]);
    assert_eq!(spec.search_spec(0), spec.unvaried());
    for member in 1..4 {
        let mut search = spec.search_spec(member);
        assert_eq!(search.search.drop_path, spec.portfolio.values[member]);
        let AugmentSpec { cutout_length, cutout_prob, cutout_schedule, .. } = search.augment;
        assert_eq!((cutout_length, cutout_prob, cutout_schedule), (16, 1.0, CutoutSchedule::Linear));
        (search.search.drop_path, search.augment) = (0.0, spec.augment.clone());
        assert_eq!(search, spec.unvaried());
    }
    let spec = with(&["preset=paper-dp", "portfolio.cutout_length=0"]).unwrap();
    assert_eq!(spec.search_spec(2).augment.cutout_length, 0);
}

#[test]
fn the_verbs_of_searches_and_trainings_take_what_members_are_given() {
    for preset in RobustSpec::PRESETS {
        let spec = RobustSpec::resolve(Some(preset.name), None, &[], &Sets).unwrap();
        for search in (0..spec.members()).map(|member| spec.search_spec(member)) {
            assert_eq!(SearchSpec::from_complete("run", &search.to_toml()).unwrap(), search);
            let again = SearchSpec::resolve_text(None, Some(("run", &search.to_toml())), &[], &Sets);
            assert_eq!(again.unwrap(), search);
        }
        for train in [true, false].map(|short| spec.train_spec(GENOTYPE, short)) {
            assert_eq!(TrainSpec::from_complete("run", &train.to_toml()).unwrap(), train);
            let again = TrainSpec::resolve_text(None, Some(("run", &train.to_toml())), &[], &Sets);
            assert_eq!(again.unwrap(), train);
        }
    }
}

#[test]
fn values_are_read_from_a_file_and_from_an_override() {
    let text = "[portfolio]\nvalues = [\n  1e-3, # small\n  1,\n]\n";
    assert_eq!(from_file(text).unwrap().portfolio.values, [1e-3, 1.0]);
    let spec = with(&["portfolio.values=[0.0003,0.0009]"]).unwrap();
    assert_eq!(spec.portfolio.values, [3e-4, 9e-4]);
    assert_eq!(with(&["portfolio.values = [ 0 ]"]).unwrap().portfolio.values, [0.0]);
    // A list replaces the one below as a whole.
    let sets = ["portfolio.values=[0.5]".to_string()];
    let spec = RobustSpec::resolve_text(None, Some(("spec.toml", text)), &sets, &Sets).unwrap();
    assert_eq!(spec.portfolio.values, [0.5]);
    assert!(RobustSpec::is_named("portfolio.values", Some(("spec.toml", text)), &[]).unwrap());
    let such = "but must be a list of numbers, such as [0.0003, 0.0009, 0.0027, 0.0081]";
    for (value, shown) in [
        ("0.0003,0.0009", "\"0.0003,0.0009\""),
        ("0.0003", "0.0003"),
        ("[0.0003", "\"[0.0003\""),
        ("[0.0003, 'x']", "a list with \"x\""),
        ("[[1], 2]", "a list with a list"),
        ("[{a = 1}]", "a list with a section"),
    ] {
        let set = format!("portfolio.values={value}");
        check_sentence(with(&[&set]), &format!("--set {set}: `portfolio.values` is {shown}, {such}"));
    }
    let line = "spec.toml, line 2: `portfolio.values` is";
    check_sentence(from_file("[portfolio]\nvalues = [0.1, true]\n"), &format!("{line} a list with true, {such}"));
    check_sentence(from_file("# none\nportfolio.values = 3\n"), &format!("{line} 3, {such}"));
    check_sentence(
        from_file("# none\n[[portfolio.values]]\na = 1\n"),
        &format!("{line} a list with a section, {such}"),
    );
}

#[test]
fn a_data_set_with_a_preset_and_smaller_images_change_both_augmentations() {
    let lengths = |sets: &[&str]| {
        let spec = with(sets).unwrap();
        assert_eq!((spec.augment.crop_padding, spec.augment.flip), {
            let AugmentSpec { crop_padding, flip, .. } = spec.train_augment;
            (crop_padding, flip)
        });
        (spec.augment.crop_padding, spec.augment.flip, spec.train_augment.cutout_length, spec.portfolio.cutout_length)
    };
    assert_eq!(lengths(&["data.name=svhn"]), (4, false, 16, 16));
    assert_eq!(lengths(&["data.name=svhn", "data.size=16"]), (2, false, 8, 8));
    assert_eq!(lengths(&["preset=demo"]), (2, true, 0, 14));
    assert_eq!(lengths(&["preset=demo", "data.size=14"]), (1, true, 0, 7));
    // The padding of a folder follows the size of its images once that is known.
    assert_eq!(lengths(&["preset=demo", "data.name=folder", "data.size=96"]), (12, true, 0, 48));
    assert_eq!(lengths(&["preset=demo", "data.name=folder"]), (2, true, 0, 14));
    let spec = with(&["data.name=svhn", "train_augment.flip=true", "augment.crop_padding=1"]).unwrap();
    assert_eq!((spec.augment.flip, spec.train_augment.flip), (false, true));
    assert_eq!((spec.augment.crop_padding, spec.train_augment.crop_padding), (1, 4));
    let spec = with(&["data.name=svhn", "data.size=16", "portfolio.cutout_length=5"]).unwrap();
    assert_eq!(spec.portfolio.cutout_length, 5);
}

#[test]
fn cutout_on_a_folder_is_half_of_its_side_where_a_preset_has_any() {
    let lengths = |sets: &[&str]| {
        let spec = with(sets).unwrap();
        [spec.augment.cutout_length, spec.train_augment.cutout_length, spec.portfolio.cutout_length]
    };
    assert_eq!(lengths(&["data.name=folder", "data.size=64"]), [0, 32, 32]);
    assert_eq!(lengths(&["preset=demo", "data.name=folder", "data.size=64"]), [0, 0, 32]);
    assert_eq!(lengths(&["data.name=folder", "data.size=64", "train_augment.cutout_length=8"]), [0, 8, 32]);
    assert_eq!(lengths(&["data.name=folder"]), [0, 16, 16], "while the side is not known");
}

#[test]
fn images_that_may_not_be_flipped_are_not_flipped_by_trainings_either() {
    let flips = |sets: &[&str]| {
        let spec = with(sets).unwrap();
        (spec.augment.flip, spec.train_augment.flip)
    };
    assert_eq!(flips(&[]), (true, true));
    assert_eq!(flips(&["augment.flip=false"]), (false, false));
    assert_eq!(flips(&["data.name=folder", "augment.flip=false"]), (false, false));
    assert_eq!(flips(&["augment.flip=false", "train_augment.flip=true"]), (false, true));
    assert_eq!(flips(&["train_augment.flip=false"]), (true, false));
    let spec = from_file("[augment]\nflip = false\n").unwrap();
    assert_eq!((spec.augment.flip, spec.train_augment.flip), (false, false));
}

#[test]
fn values_out_of_range_are_refused_in_one_sentence() {
    let real = "a number at least 0 and below 1";
    let open = "a number above 0 and below 1";
    let reductions =
        "at most 10 different cells in their order, counted from 0 to 7, or [] for those at a third and two thirds";
    let most = "a whole number from 0 to 9223372036854775807";
    let checks: &[(&str, &str, String)] = &[
        ("portfolio.vary=lr", "\"lr\"", "one of \"l2\", \"drop_path\", \"seed\"".into()),
        ("portfolio.values=[]", "a list of 0", "a list of 1 to 100 numbers".into()),
        ("portfolio.values=[-1]", "a list with -1.0", "a list of which each is a number at least 0".into()),
        ("portfolio.values=[0.5, nan]", "a list with NaN", "a list of which each is a number at least 0".into()),
        (
            "portfolio.values=[0.5, 1, 0.5]",
            "a list with 0.5",
            "a list of different numbers, while `portfolio.vary` is \"l2\"".into(),
        ),
        ("portfolio.cutout_length=2000", "2000", "a whole number from 0 to 1024".into()),
        ("portfolio.valid_fraction=0", "0.0", open.into()),
        ("portfolio.valid_fraction=1", "1.0", open.into()),
        ("portfolio.baselines=1", "1", "true or false".into()),
        ("portfolio.max_params=9223372036854775808", "9223372036854775808", most.into()),
        ("portfolio.max_macs=-1", "-1", "a whole number without a sign, such as 0".into()),
        // Those of a search.
        ("data.name=", "\"\"", "a name".into()),
        ("network.channels=0", "0", "a whole number from 1 to 4096".into()),
        ("search.drop_path=1", "1.0", real.into()),
        ("weights.lr_min=0.5", "0.5", "at most `weights.lr`, which is 0.025".into()),
        ("weights.l2=-1", "-1.0", "a number at least 0".into()),
        ("monitor.window=0", "0", "a whole number from 1 to 1000000".into()),
        // Those of a training, under their keys here.
        ("train_augment.crop_padding=2000", "2000", "a whole number from 0 to 1024".into()),
        ("train_augment.cutout_length=2000", "2000", "a whole number from 0 to 1024".into()),
        ("train_augment.cutout_prob=2", "2.0", "a number at least 0 and at most 1".into()),
        ("train_augment.cutout_schedule=cosine", "\"cosine\"", "one of \"linear\", \"constant\"".into()),
        ("train_network.channels=0", "0", "a whole number from 1 to 4096".into()),
        ("train_network.cells=1001", "1001", "a whole number from 1 to 1000".into()),
        ("train_network.auxiliary=1", "1", "true or false".into()),
        ("train_network.reductions=[8]", "[8]", reductions.into()),
        ("train.short_epochs=0", "0", "a whole number from 1 to 1000000".into()),
        ("train.epochs=0", "0", "a whole number from 1 to 1000000".into()),
        ("train.batch=1", "1", "a whole number from 2 to 65536".into()),
        ("train.auxiliary_weight=-1", "-1.0", "a number at least 0".into()),
        ("train.drop_path=1", "1.0", real.into()),
        ("train.ema=1", "1.0", real.into()),
        ("train.class_weights=5", "5.0", "a number at least 0 and at most 4".into()),
        ("train.patience=2000000", "2000000", "a whole number from 0 to 1000000".into()),
        ("train_weights.lr=0", "0.0", "a number above 0".into()),
        ("train_weights.lr_min=0.5", "0.5", "at most `train_weights.lr`, which is 0.025".into()),
        ("train_weights.momentum=1", "1.0", real.into()),
        ("train_weights.l2=-1", "-1.0", "a number at least 0".into()),
        ("train_weights.clip=0", "0.0", "a number above 0".into()),
        ("preset=train-demo", "\"train-demo\"", "one of \"paper\", \"paper-dp\", \"demo\"".into()),
        ("kind=search", "\"search\"", "one of \"robust\"".into()),
    ];
    for (set, value, wanted) in checks {
        let key = set.split('=').next().unwrap();
        check_sentence(with(&[set]), &format!("--set {set}: `{key}` is {value}, but must be {wanted}"));
    }
    check_sentence(
        with(&["seed"]),
        "--set seed: write an override as key=value, such as portfolio.values=[0.0003,0.0009]",
    );
    check_sentence(
        with(&["train.epoch=3"]),
        "--set train.epoch=3: unknown key `train.epoch`; did you mean `train.epochs`?",
    );
    check_sentence(
        with(&["train_network.genotype=x"]),
        "--set train_network.genotype=x: unknown key `train_network.genotype`; the keys of [train_network] are \
         auxiliary, cells, channels, reductions",
    );
}

#[test]
fn values_that_are_not_of_what_is_varied_are_told_where_they_come_from() {
    let seeds =
        "a list of whole numbers from 0 to 9007199254740991, such as [1, 2, 3], while `portfolio.vary` is \"seed\"";
    let drop_paths = "a list of which each is 0 or a number at least 0.01 and below 1, such as [0.0, 0.2, 0.4, 0.6], while \
                      `portfolio.vary` is \"drop_path\"";
    for (vary, values, shown, wanted) in [
        ("seed", None, "0.0003", seeds),
        ("seed", Some("[1, 1.5]"), "1.5", seeds),
        ("seed", Some("[-1]"), "-1.0", seeds),
        ("seed", Some("[9007199254740993]"), "9007199254740992.0", seeds),
        ("seed", Some("[inf]"), "inf", seeds),
        ("drop_path", None, "0.0003", drop_paths),
        ("drop_path", Some("[0, 1]"), "1.0", drop_paths),
        ("drop_path", Some("[-0.5]"), "-0.5", drop_paths),
        ("drop_path", Some("[nan]"), "NaN", drop_paths),
    ] {
        let values = values.map(|values| format!("portfolio.values={values}"));
        let origin = values.as_ref().map_or("preset paper".to_string(), |set| format!("--set {set}"));
        let sets = [Some(format!("portfolio.vary={vary}")), values];
        let sets: Vec<&str> = sets.iter().flatten().map(String::as_str).collect();
        let sentence = format!("{origin}: `portfolio.values` is a list with {shown}, but must be {wanted}");
        check_sentence(with(&sets), &sentence);
    }
}

#[test]
fn every_key_that_a_training_checks_has_its_place_here() {
    let robust = leaf_keys(&Layer::base::<RobustSpec>().table);
    for key in leaf_keys(&Layer::base::<TrainSpec>().table) {
        let leaf = key.rsplit('.').next().unwrap();
        // No range, or nothing that a user can set here.
        if ["kind", "preset", "flip", "cutout_schedule", "auxiliary", "genotype"].contains(&leaf) {
            continue;
        }
        let bad = Bad { key: String::leak(key.clone()), value: String::new(), wanted: String::new() };
        let here = of_training(bad, true).key;
        assert!(robust.iter().any(|known| known == here), "{key}: {here}");
        // Seed and images are also those of the searches.
        let is_of_trainings = here.starts_with("train") || here.starts_with("portfolio.");
        assert!(is_of_trainings || key == "seed" || key.starts_with("data."), "{key}: {here}");
    }
}

#[test]
fn a_recorded_spec_must_be_complete_and_of_this_kind() {
    let text = with(&[]).unwrap().to_toml();
    for key in ["values", "short_epochs", "valid_fraction", "ema", "kind", "max_macs"] {
        let less: String =
            text.lines().filter(|l| !l.starts_with(&format!("{key} ="))).map(|l| format!("{l}\n")).collect();
        let err = RobustSpec::from_complete("run/spec.toml", &less).unwrap_err().to_string();
        assert!(err.starts_with("run/spec.toml: the key `") && err.contains(key), "{err}");
    }
    assert_eq!(kind_of("spec.toml", &text).unwrap(), "robust");
    let line = |kind: &str, other: &str| format!("run, line 3: `kind` is \"{kind}\", but must be one of \"{other}\"");
    check_sentence(SearchSpec::from_complete("run", &text), &line("robust", "search"));
    check_sentence(TrainSpec::from_complete("run", &text), &line("robust", "train"));
    let search = with(&[]).unwrap().search_spec(0).to_toml();
    check_sentence(RobustSpec::from_complete("run", &search), &line("search", "robust"));
}

prop_compose! {
    fn any_spec()(
        texts in ("(?s).{1,20}", ".{1,20}", "(?s).{0,20}"),
        seed in 0..=i64::MAX as u64,
        vary in 0usize..3,
        l2 in proptest::collection::btree_set(0u64..1_000_000_000, 1..8),
        counts in (any::<u32>(), 0usize..=1024, 1usize..=4096, 1usize..=1000, 1usize..=1_000_000, 2usize..=65_536),
        bounds in (0..=i64::MAX as u64, 0..=i64::MAX as u64),
        flags in proptest::array::uniform3(any::<bool>()),
        unit in proptest::array::uniform8(1e-12f64..0.999_999),
        positive in proptest::array::uniform4(1e-300f64..1e300),
    ) -> RobustSpec {
        let mut spec = preset("paper");
        spec.preset = texts.0;
        spec.seed = seed;
        let vary = [Vary::L2, Vary::DropPath, Vary::Seed][vary];
        spec.portfolio = PortfolioSpec {
            vary,
            values: l2.iter().map(|&value| match vary {
                Vary::L2 => value as f64 * 1e-9,
                Vary::DropPath => 0.01 + value as f64 * 0.98e-9,
                Vary::Augment | Vary::Seed => value as f64,
            }).collect(),
            cutout_length: counts.1,
            valid_fraction: unit[0],
            baselines: flags[0],
            max_params: bounds.0,
            max_macs: bounds.1,
        };
        spec.data.images.name = texts.1;
        spec.data.images.dir = texts.2;
        spec.data.images.limit = counts.0 as usize;
        spec.train_augment = AugmentSpec {
            crop_padding: counts.1,
            flip: flags[1],
            cutout_length: counts.1,
            cutout_prob: unit[1],
            cutout_schedule: CutoutSchedule::Linear,
        };
        spec.train_network = RobustNetworkSpec {
            channels: counts.2,
            cells: counts.3,
            auxiliary: flags[2],
            reductions: first_and_last(counts.3),
        };
        spec.train = RobustTrainSpec {
            short_epochs: counts.4,
            whole: TrainLoopSpec {
                epochs: counts.4,
                batch: counts.5,
                auxiliary_weight: positive[1],
                drop_path: unit[2],
                label_smoothing: unit[3],
                ema: unit[4],
                class_weights: if flags[0] { 0.0 } else { 4.0 * unit[5] },
                balanced: flags[0],
                patience: counts.3,
            },
        };
        spec.train_weights = WeightsSpec {
            lr: positive[2],
            lr_min: positive[2] * unit[6],
            momentum: unit[7],
            l2: positive[3],
            clip: positive[0],
        };
        spec
    }
}

proptest! {
    #[test]
    fn a_written_spec_reads_back_equal_and_all_that_it_is_made_of_is_valid(spec in any_spec()) {
        spec.validate().unwrap();
        prop_assert_eq!(&RobustSpec::from_complete("spec.toml", &spec.to_toml()).unwrap(), &spec);
        for member in 0..spec.members() {
            let search = spec.search_spec(member);
            search.validate().unwrap();
            prop_assert_eq!(SearchSpec::from_complete("spec.toml", &search.to_toml()).unwrap(), search);
            prop_assert!(!spec.label(member).is_empty());
        }
        for short in [true, false] {
            let train = spec.train_spec(GENOTYPE, short);
            train.validate().unwrap();
            prop_assert_eq!(TrainSpec::from_complete("spec.toml", &train.to_toml()).unwrap(), train);
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic_and_every_error_is_escaped(
        text in "(?s).{0,200}", set in "(?s).{0,40}", values in "[\\[\\]{}'0-9.,a-z\n-]{0,20}",
    ) {
        let values = format!("portfolio.values={values}");
        for result in [from_file(&text), with(&[&set]), with(&[&values]), RobustSpec::from_complete("spec.toml", &text)] {
            if let Err(err) = result {
                prop_assert!(!err.to_string().contains(char::is_control), "{:?}", err);
            }
        }
    }
}
