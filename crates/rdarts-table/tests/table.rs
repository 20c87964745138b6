//! A table of the space of 81 architectures, as a file and as an answer.

use rdarts_run::{Spec, TrainSpec};
use rdarts_space::{Genotype, Space, nth};
use rdarts_table::{Appender, Entry, Table, Unmeasured};

fn spec(overrides: &[&str]) -> TrainSpec {
    let all = ["network.genotype=DARTS_V2"].iter().chain(overrides).map(|o| (*o).to_string()).collect::<Vec<_>>();
    TrainSpec::resolve(Some("train-demo"), None, &all, &NoSets).unwrap()
}

struct NoSets;

impl rdarts_run::DataSets for NoSets {
    fn preset(&self, _: &str) -> Option<&'static str> {
        None
    }

    fn side(&self, _: &str) -> Option<usize> {
        None
    }

    fn has_free_channels(&self, _: &str) -> bool {
        false
    }
}

fn empty(seeds: &[u64]) -> Table {
    Table::begin(Space::builtin("tiny").unwrap(), &spec(&[]), "f".into(), seeds.to_vec(), "0.0.0".into()).unwrap()
}

/// An error that grows with the number, and a little with the seed.
fn entry(architecture: u64, seed: u64) -> Entry {
    let genotype = nth(&Space::builtin("tiny").unwrap(), architecture.into()).unwrap().to_string();
    Entry {
        architecture,
        genotype,
        seed,
        n_params: 1000,
        macs: 5000,
        epoch: 9,
        train_loss: Some(0.5),
        train_accuracy: Some(0.8),
        valid_accuracy: None,
        test_accuracy: 0.9 - 0.001 * architecture as f64 - 0.0001 * seed as f64,
        test_loss: Some(0.4),
        seconds: 2.0,
        by: "0.1.0, avx2, cpu".into(),
    }
}

#[test]
fn what_was_appended_is_read_and_what_was_damaged_is_named_and_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.table");
    empty(&[1, 2]).write(&path).unwrap();
    assert_eq!(Table::read(&path).unwrap().0.missing().len(), 162);
    let mut appender = Appender::open(&path).unwrap();
    for (architecture, seed) in [(3, 1), (80, 2), (0, 1)] {
        appender.append(&entry(architecture, seed)).unwrap();
    }
    let (table, faults) = Table::read(&path).unwrap();
    assert_eq!((table.entries().len(), faults.len(), table.missing().len()), (3, 0, 159));
    assert_eq!(table.entries()[0], entry(0, 1));
    assert_eq!(table.missing()[0], (1, 1));

    // A digit of the third line, and a line cut short, as by a full disk.
    let text = std::fs::read_to_string(&path).unwrap();
    let mut lines: Vec<String> = text.lines().map(Into::into).collect();
    lines[2] = lines[2].replacen("\"seed\":2", "\"seed\":3", 1);
    let cut = lines[3].len() / 2;
    lines[3].truncate(cut);
    std::fs::write(&path, lines.join("\n")).unwrap();
    let (table, faults) = Table::read(&path).unwrap();
    assert_eq!(faults.iter().map(|f| f.line).collect::<Vec<_>>(), [3, 4]);
    assert!(table.missing().contains(&(80, 2)) && table.missing().contains(&(0, 1)));
    // Behind the half line the next one begins a new line.
    Appender::open(&path).unwrap().append(&entry(80, 2)).unwrap();
    let (table, faults) = Table::read(&path).unwrap();
    assert_eq!((table.entries().len(), faults.len()), (2, 2));
}

#[test]
fn entries_of_another_space_and_second_ones_are_named() {
    let mut text = empty(&[1]).to_text();
    let mut wrong = entry(5, 1);
    wrong.architecture = 6;
    for one in [entry(5, 1), entry(5, 1), wrong] {
        let mut table = empty(&[1]);
        table.merge(&Table::parse(&text).unwrap().0).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t");
        std::fs::write(&path, &text).unwrap();
        Appender::open(&path).unwrap().append(&one).unwrap();
        text = std::fs::read_to_string(&path).unwrap();
    }
    let (table, faults) = Table::parse(&text).unwrap();
    assert_eq!(table.entries().len(), 1);
    let problems: Vec<&str> = faults.iter().map(|f| f.problem.as_str()).collect();
    assert_eq!(
        problems,
        ["is the second of architecture 5 with seed 1", "is not of this space: architecture 6 is another"]
    );
}

#[test]
fn a_genotype_is_found_however_its_entries_are_ordered() {
    let mut table = empty(&[1, 2]);
    let mut other = table.to_text();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    std::fs::write(&path, &other).unwrap();
    let mut appender = Appender::open(&path).unwrap();
    for architecture in 0..81 {
        for seed in [1, 2] {
            appender.append(&entry(architecture, seed)).unwrap();
        }
    }
    other = std::fs::read_to_string(&path).unwrap();
    assert_eq!(table.merge(&Table::parse(&other).unwrap().0).unwrap(), 162);
    let space = Space::builtin("tiny").unwrap();
    for architecture in 0..81u64 {
        let genotype = nth(&space, architecture.into()).unwrap();
        let mut turned: Genotype = genotype.clone();
        turned.normal.reverse();
        for one in [&genotype, &turned] {
            let row = table.query(one).unwrap().unwrap();
            assert_eq!(row.architecture(), architecture);
            let expected = 0.1 + 0.001 * architecture as f64 + 0.00015;
            assert!((row.mean - expected).abs() < 1e-12, "{} {expected}", row.mean);
        }
    }
    let ranked = table.ranked();
    assert_eq!((ranked.len(), ranked[0].architecture(), ranked[80].architecture()), (81, 0, 80));
    let spread = table.spread().unwrap();
    assert_eq!((spread.n, spread.best, spread.worst), (81, ranked[0].mean, ranked[80].mean));
    assert_eq!(spread.median, ranked[40].mean);
    // Two seeds that are 0.0001 apart.
    assert!((spread.between_seeds.unwrap() - 0.0001 / 2f64.sqrt()).abs() < 1e-9);
    // The second is 0.001 worse, a standard error of 0.00007: t = 14, where 3.4 is allowed.
    assert_eq!(spread.not_worse, Some(1));
    assert!(table.missing().is_empty());
    let csv = table.to_csv();
    assert_eq!((csv.lines().count(), csv.lines().next().unwrap().split(',').count()), (163, 13));
    assert!(table.query(&rdarts_space::published("DARTS_V2").unwrap()).is_err());
    let optimum = table.optimum().unwrap();
    let worst = optimum.standing(&nth(&space, 80).unwrap()).unwrap();
    assert_eq!((optimum.best.architecture(), worst.architecture), (0, 80));
    assert_eq!((worst.test_error, worst.regret), (ranked[80].mean, ranked[80].mean - ranked[0].mean));
    let elsewhere = optimum.standing(&rdarts_space::published("DARTS_V2").unwrap());
    assert!(matches!(elsewhere, Err(Unmeasured::Elsewhere(_))));
    let half = Table::parse(&other.lines().take(4).map(|line| format!("{line}\n")).collect::<String>()).unwrap().0;
    let optimum = half.optimum().unwrap();
    assert_eq!(optimum.standing(&nth(&space, 1).unwrap()), Err(Unmeasured::Untrained));
}

/// The table in the repository is from before `network.reductions` was there.
#[test]
fn a_table_from_before_a_key_was_there_is_of_the_same_training() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments/fashion-mini.table");
    let (mut table, faults) = Table::read(&path).unwrap();
    assert!(faults.is_empty() && !std::fs::read_to_string(&path).unwrap().contains("reductions"));
    let mut spec = table.spec().clone();
    assert_eq!(table.differs_in(&spec), None);
    assert_eq!(table.merge(&table.clone()).unwrap(), 0);
    spec.network.reductions = vec![1, 3];
    let differs = ["network.reductions", "[]", "[1, 3]"].map(String::from);
    assert_eq!(table.differs_in(&spec).map(|(key, a, b)| [key, a, b]), Some(differs));
}

#[test]
fn tables_of_other_trainings_or_spaces_are_not_merged() {
    let mut table = empty(&[1]);
    let other = Table::begin(
        Space::builtin("tiny").unwrap(),
        &spec(&["train.epochs=7", "seed=5", "network.genotype=DARTS_V1"]),
        "f".into(),
        vec![1],
        "0.0.0".into(),
    );
    let why = table.merge(&other.unwrap()).unwrap_err().to_string();
    assert!(why.starts_with("the tables do not belong together: their trainings differ in train.epochs: "), "{why}");
    // Seed, genotype and places of files do not count.
    let same = Table::begin(
        Space::builtin("tiny").unwrap(),
        &spec(&["seed=5", "network.genotype=DARTS_V1"]),
        "f".into(),
        vec![9],
        "0.0.1".into(),
    );
    table.merge(&same.unwrap()).unwrap();
    assert_eq!(table.header().seeds, [1, 9]);
    let large =
        Table::begin(Space::builtin("s2").unwrap(), &spec(&[]), "f".into(), vec![1], "0.0.0".into()).unwrap_err();
    assert!(large.contains("and a table holds at most 10000"), "{large}");
}

#[test]
fn what_is_no_table_is_refused_in_a_sentence() {
    for (text, problem) in [
        ("", "is no table: its first line is not the header of one"),
        ("{\"event\":1}\n", "is no table: its first line is not the header of one"),
        ("{\"table\":9}\n", "is a table of format 9, and this program reads format 1"),
    ] {
        assert_eq!(Table::parse(text).unwrap_err(), problem);
    }
    let header = empty(&[1]).to_text().replace("max_pool_3x3", "max_pool_4x4");
    let why = Table::parse(&header).unwrap_err();
    assert_eq!(why, "is no table any more: its first line was changed or damaged: its checksum does not fit");
}
