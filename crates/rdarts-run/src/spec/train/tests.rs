use proptest::prelude::*;
use toml::Table;

use super::*;
use crate::spec::layer::{Layer, leaf_keys};
use crate::spec::tests::{Sets, first_and_last};
use crate::spec::{SearchSpec, SpecError, kind_of};

const GENOTYPE: &str = "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1)], normal_concat=range(2, 3), \
                        reduce=[('max_pool_3x3', 0), ('dil_conv_5x5', 1)], reduce_concat=range(2, 3))";

fn with(sets: &[&str]) -> Result<TrainSpec, SpecError> {
    let sets: Vec<String> = ["network.genotype=DARTS_V2"].iter().chain(sets).map(|set| set.to_string()).collect();
    TrainSpec::resolve(None, None, &sets, &Sets)
}

fn from_file(text: &str) -> Result<TrainSpec, SpecError> {
    TrainSpec::resolve_text(None, Some(("spec.toml", text)), &[], &Sets)
}

fn preset(name: &str) -> TrainSpec {
    with(&[&format!("preset={name}")]).unwrap()
}

#[track_caller]
fn check_sentence<T: std::fmt::Debug>(result: Result<T, SpecError>, sentence: &str) {
    assert_eq!(result.unwrap_err().to_string(), sentence);
}

#[test]
fn without_other_arguments_a_training_is_the_paper_in_its_large_size() {
    let spec = with(&[]).unwrap();
    assert_eq!((spec.kind.as_str(), spec.preset.as_str(), spec.seed), ("train", "train-paper", 1));
    assert_eq!((spec.data.images.name.as_str(), spec.data.valid_fraction), ("cifar10", 0.0));
    let AugmentSpec { crop_padding, flip, cutout_length, cutout_prob, cutout_schedule } = spec.augment;
    assert_eq!((crop_padding, flip, cutout_length, cutout_prob), (4, true, 16, 1.0));
    assert_eq!(cutout_schedule, CutoutSchedule::Constant);
    assert_eq!((spec.network.channels, spec.network.cells, spec.network.auxiliary), (36, 20, true));
    assert_eq!((spec.train.epochs, spec.train.batch), (600, 96));
    assert_eq!((spec.train.auxiliary_weight, spec.train.drop_path), (0.4, 0.2));
    let WeightsSpec { lr, lr_min, momentum, l2, clip } = spec.weights;
    assert_eq!((lr, lr_min, momentum, l2, clip), (0.025, 0.0, 0.9, 3e-4, 5.0));
    // All that the paper does not have is off.
    let TrainLoopSpec { label_smoothing, ema, class_weights, balanced, patience, .. } = spec.train;
    assert_eq!((label_smoothing, ema, class_weights, balanced, patience), (0.0, 0.0, 0.0, false, 0));
}

#[test]
fn the_small_size_differs_from_the_large_one_in_the_size_alone() {
    let (large, mut small) = (preset("train-paper"), preset("train-paper-small"));
    assert_eq!((small.network.channels, small.network.cells), (16, 8));
    (small.network, small.preset) = (large.network.clone(), large.preset.clone());
    assert_eq!(small, large);
}

#[test]
fn the_demo_is_small_and_chooses_its_epoch_on_the_set_of_the_demo_search() {
    let spec = preset("train-demo");
    let search = SearchSpec::resolve(Some("demo"), None, &[], &Sets).unwrap();
    assert_eq!(spec.data.images, search.data.images);
    assert_eq!((spec.network.channels, spec.network.cells), (search.network.channels, search.network.cells));
    assert_eq!(spec.augment.crop_padding, search.augment.crop_padding);
    assert_eq!((spec.train.epochs, spec.train.batch, spec.data.valid_fraction), (12, 64, 0.1));
    assert_eq!((spec.network.auxiliary, spec.train.drop_path, spec.augment.cutout_length), (false, 0.0, 0));
}

#[test]
fn the_first_preset_names_every_key_of_the_struct() {
    let mut spec = with(&[]).unwrap();
    spec.network.genotype.clear();
    let written: Table = spec.to_toml().parse().unwrap();
    assert_eq!(leaf_keys(&written), leaf_keys(&Layer::base::<TrainSpec>().table));
    assert_eq!(written, Layer::base::<TrainSpec>().table);
}

#[test]
fn every_preset_needs_a_genotype_only_records_its_name_and_explains_every_value() {
    for preset in TrainSpec::PRESETS {
        check_sentence(
            TrainSpec::resolve(Some(preset.name), None, &[], &Sets),
            "preset train-paper: `network.genotype` is \"\", but must be a genotype in the notation of DARTS or the name of \
             one, such as DARTS_V2, and no preset has one",
        );
        let sets = ["network.genotype=DARTS_V2".to_string()];
        assert_eq!(TrainSpec::resolve(Some(preset.name), None, &sets, &Sets).unwrap().preset, preset.name);
        for line in preset.text.lines().filter(|line| line.contains('=') && !line.starts_with('#')) {
            assert!(line.starts_with("preset =") || line.contains(" # "), "{}: {line}", preset.name);
        }
    }
}

#[test]
fn a_genotype_is_kept_as_it_is_written() {
    let sets = [format!("network.genotype={GENOTYPE}")];
    let spec = TrainSpec::resolve(None, None, &sets, &Sets).unwrap();
    assert_eq!(spec.network.genotype, GENOTYPE);
    assert_eq!(from_file(&format!("[network]\ngenotype = \"{GENOTYPE}\"\n")).unwrap(), spec);
    assert_eq!(TrainSpec::from_complete("spec.toml", &spec.to_toml()).unwrap(), spec);
}

#[test]
fn a_data_set_with_a_preset_and_smaller_images_change_the_augmentation_as_in_a_search() {
    let augment = |sets: &[&str]| {
        let spec = with(sets).unwrap();
        (spec.augment.crop_padding, spec.augment.flip, spec.augment.cutout_length)
    };
    assert_eq!(augment(&["data.name=svhn"]), (4, false, 16));
    assert_eq!(augment(&["data.name=svhn", "data.size=16"]), (2, false, 8));
    assert_eq!(augment(&["data.size=16", "augment.cutout_length=5"]), (2, true, 5));
    assert_eq!(augment(&["preset=train-demo"]), (2, true, 0));
}

#[test]
fn values_out_of_range_are_refused_in_one_sentence() {
    for (set, tail) in [
        ("data.valid_fraction=1", "`data.valid_fraction` is 1.0, but must be a number at least 0 and below 1"),
        ("data.valid_fraction=-0.1", "`data.valid_fraction` is -0.1, but must be a number at least 0 and below 1"),
        ("data.name=", "`data.name` is \"\", but must be a name"),
        (
            "data.size=33",
            "`data.size` is 33, but must be a whole number from 8 to 32, the side of the images of cifar10, or 0 for that",
        ),
        ("augment.cutout_prob=1.5", "`augment.cutout_prob` is 1.5, but must be a number at least 0 and at most 1"),
        (
            "augment.cutout_schedule=cosine",
            "`augment.cutout_schedule` is \"cosine\", but must be one of \"linear\", \"constant\"",
        ),
        (
            "network.genotype= ",
            "`network.genotype` is \"\", but must be a genotype in the notation of DARTS or the name of one, such as \
             DARTS_V2, and no preset has one",
        ),
        ("network.channels=0", "`network.channels` is 0, but must be a whole number from 1 to 4096"),
        ("network.cells=1001", "`network.cells` is 1001, but must be a whole number from 1 to 1000"),
        (
            "network.reductions=[20]",
            "`network.reductions` is [20], but must be at most 10 different cells in their order, counted from 0 to 19, or [] \
             for those at a third and two thirds",
        ),
        ("network.auxiliary=1", "`network.auxiliary` is 1, but must be true or false"),
        ("train.epochs=0", "`train.epochs` is 0, but must be a whole number from 1 to 1000000"),
        ("train.batch=1", "`train.batch` is 1, but must be a whole number from 2 to 65536"),
        ("train.auxiliary_weight=-1", "`train.auxiliary_weight` is -1.0, but must be a number at least 0"),
        ("train.drop_path=1", "`train.drop_path` is 1.0, but must be a number at least 0 and below 1"),
        ("train.label_smoothing=1", "`train.label_smoothing` is 1.0, but must be a number at least 0 and below 1"),
        ("train.ema=1", "`train.ema` is 1.0, but must be a number at least 0 and below 1"),
        ("train.class_weights=-0.5", "`train.class_weights` is -0.5, but must be a number at least 0 and at most 4"),
        ("train.class_weights=nan", "`train.class_weights` is NaN, but must be a number at least 0 and at most 4"),
        ("train.balanced=yes", "`train.balanced` is \"yes\", but must be true or false"),
        (
            "train.patience=5",
            "`train.patience` is 5, but must be 0 while `data.valid_fraction` is 0.0, since it waits for the accuracy on \
             held-out images",
        ),
        ("weights.lr=0.0", "`weights.lr` is 0.0, but must be a number above 0"),
        (
            "preset=paper",
            "`preset` is \"paper\", but must be one of \"train-paper\", \"train-paper-small\", \"train-demo\"",
        ),
        ("kind=search", "`kind` is \"search\", but must be one of \"train\""),
        (
            "search.epochs=5",
            "unknown key `search`; the keys of a spec are augment, data, kind, network, preset, seed, train, weights",
        ),
    ] {
        check_sentence(with(&[set]), &format!("--set {set}: {tail}"));
    }
    check_sentence(with(&["seed"]), "--set seed: write an override as key=value, such as train.epochs=20");
    check_sentence(
        from_file("network.genotype = 3"),
        "spec.toml, line 1: `network.genotype` is 3, but must be a text in quotes",
    );
}

#[test]
fn what_belongs_together_is_taken_together() {
    let spec = with(&["train.patience=5", "data.valid_fraction=0.1"]).unwrap();
    assert_eq!((spec.train.patience, spec.data.valid_fraction), (5, 0.1));
    // Classes that are drawn equally often need no weights: rare ones would count more than all others.
    let sentence = with(&["train.balanced=true", "train.class_weights=0.5"]).unwrap_err().to_string();
    assert_eq!(
        sentence,
        "--set train.class_weights=0.5: `train.class_weights` is 0.5, but must be 0 while `train.balanced` is true, which \
         makes all classes count alike already"
    );
    // The demo holds images out, and taking them away takes its patience too.
    let sentence = with(&["preset=train-demo", "train.patience=3", "data.valid_fraction=0"]).unwrap_err().to_string();
    assert!(sentence.starts_with("--set train.patience=3: `train.patience` is 3, but must be 0 while "), "{sentence}");
}

#[test]
fn a_recorded_spec_must_be_complete() {
    let text = with(&[]).unwrap().to_toml();
    for key in ["genotype", "valid_fraction", "ema", "kind"] {
        let less: String =
            text.lines().filter(|l| !l.starts_with(&format!("{key} ="))).map(|l| format!("{l}\n")).collect();
        let err = TrainSpec::from_complete("run/spec.toml", &less).unwrap_err().to_string();
        assert!(err.starts_with("run/spec.toml: the key `") && err.contains(key), "{err}");
    }
}

#[test]
fn a_spec_of_another_kind_is_refused_for_its_kind_and_not_for_a_key() {
    let train = with(&[]).unwrap().to_toml();
    let search = SearchSpec::resolve(None, None, &[], &Sets).unwrap().to_toml();
    assert_eq!(kind_of("spec.toml", &train).unwrap(), "train");
    let line = |kind: &str, other: &str| format!("run, line 3: `kind` is \"{kind}\", but must be one of \"{other}\"");
    check_sentence(SearchSpec::from_complete("run", &train), &line("train", "search"));
    check_sentence(TrainSpec::from_complete("run", &search), &line("search", "train"));
    check_sentence(TrainSpec::resolve_text(None, Some(("run", &search)), &[], &Sets), &line("search", "train"));
}

prop_compose! {
    fn any_spec()(
        texts in ("(?s).{1,20}", ".{1,20}", "(?s).{0,20}", "[A-Z('), 0-9\n\"]{0,40}"),
        seed in 0..=i64::MAX as u64,
        counts in (any::<u32>(), 0usize..=1024, 0usize..=1024, 1usize..=4096, 1usize..=1000, 1usize..=1_000_000,
                   2usize..=65_536, 0usize..=1_000_000),
        flags in proptest::array::uniform3(any::<bool>()),
        unit in proptest::array::uniform8(1e-12f64..0.999_999),
        positive in proptest::array::uniform4(1e-300f64..1e300),
        picks in (0usize..2, 0usize..2),
    ) -> TrainSpec {
        TrainSpec {
            kind: TrainSpec::KIND.to_string(),
            preset: texts.0,
            seed,
            data: TrainDataSpec {
                images: DataSpec {
                    name: texts.1,
                    dir: texts.2,
                    size: 0,
                    channels: 3,
                    test_fraction: unit[7],
                    split_seed: u64::from(counts.0),
                    cache: "auto".to_string(),
                    statistics: Statistics::ALL[picks.0],
                    limit: counts.0 as usize,
                },
                valid_fraction: unit[0],
            },
            augment: AugmentSpec {
                crop_padding: counts.1,
                flip: flags[0],
                cutout_length: counts.2,
                cutout_prob: unit[1],
                cutout_schedule: CutoutSchedule::ALL[picks.1],
            },
            network: TrainNetworkSpec {
                genotype: format!("g{}", texts.3),
                channels: counts.3,
                cells: counts.4,
                auxiliary: flags[1],
                reductions: first_and_last(counts.4),
            },
            train: TrainLoopSpec {
                epochs: counts.5,
                batch: counts.6,
                auxiliary_weight: positive[0],
                drop_path: unit[2],
                label_smoothing: unit[3],
                ema: unit[4],
                class_weights: if flags[2] { 0.0 } else { 4.0 * unit[5] },
                balanced: flags[2],
                patience: counts.7,
            },
            weights: WeightsSpec {
                lr: positive[1],
                lr_min: positive[1] * unit[6],
                momentum: unit[7],
                l2: positive[2],
                clip: positive[3],
            },
        }
    }
}

proptest! {
    #[test]
    fn a_written_spec_reads_back_equal(spec in any_spec()) {
        spec.validate().unwrap();
        prop_assert_eq!(TrainSpec::from_complete("spec.toml", &spec.to_toml()).unwrap(), spec);
    }

    #[test]
    fn no_text_makes_the_parser_panic_and_every_error_is_escaped(text in "(?s).{0,200}", set in "(?s).{0,40}") {
        for result in [from_file(&text), with(&[&set]), TrainSpec::from_complete("spec.toml", &text)] {
            if let Err(err) = result {
                prop_assert!(!err.to_string().contains(char::is_control), "{:?}", err);
            }
        }
    }
}
