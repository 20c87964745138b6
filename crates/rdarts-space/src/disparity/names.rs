//! Architectures for disparity that have a name, and reading what people give for one.

use rdarts_rng::Stream;
use rdarts_text::{did_you_mean, nearest, quote};

use super::{DisparityCell, DisparityGenotype, DisparitySpace, NODES};
use crate::op::Op;

/// The released architecture of AutoDispNet-C.
pub const AUTODISPNET: &str = "AutoDispNet";

/// The names of [`named`], for help texts.
pub const NAMES: [&str; 4] = [AUTODISPNET, "all-skip", "all-sep-conv", "random-SPACE-SEED"];

/// The architecture of a name: the released one, `all-skip` or `all-sep-conv`, whose nodes all apply one operation to the
/// first states of their cell, or a uniformly random one of a space, such as `random-dispnet-7`.
///
/// # Errors
/// One sentence with the known names.
pub fn named(name: &str) -> Result<DisparityGenotype, String> {
    match name {
        AUTODISPNET => return Ok(DisparityGenotype::autodispnet()),
        "all-skip" => return Ok(uniform(Op::SkipConnect)),
        "all-sep-conv" => return Ok(uniform(Op::SepConv3x3)),
        _ => {}
    }
    let Some((space, seed)) = name.strip_prefix("random-").and_then(|rest| rest.rsplit_once('-')) else {
        let near = did_you_mean(nearest(name, &NAMES[..3]));
        return Err(format!(
            "there is no genotype for disparity called {}{near}; known are {}",
            quote(name),
            NAMES.join(", ")
        ));
    };
    let Some(found) = DisparitySpace::builtin(space) else {
        let near = did_you_mean(nearest(space, &DisparitySpace::NAMES));
        let known = DisparitySpace::NAMES.join(" and ");
        return Err(format!("{name}: there is no space {}{near}; the spaces for disparity are {known}", quote(space)));
    };
    let seed = seed
        .parse::<u64>()
        .map_err(|_| format!("{} should end in a seed, a whole number, as in random-{space}-7", quote(name)))?;
    Ok(sample(&found, &mut Stream::new(seed, "random disparity genotype", 0)))
}

/// Whether a name can only be that of an architecture for disparity.
pub fn is_of_disparity(name: &str) -> bool {
    let space = name.strip_prefix("random-").and_then(|rest| rest.rsplit_once('-')).map(|(space, _)| space);
    name == AUTODISPNET || space.is_some_and(|space| DisparitySpace::NAMES.contains(&space))
}

/// Every node applies one operation to the first states of its cell, as many as it keeps.
fn uniform(op: Op) -> DisparityGenotype {
    let [normal, reduce, upsample] = DisparityCell::ALL
        .map(|cell| (0..NODES).flat_map(|node| (0..cell.kept(node)).map(|state| (op, state))).collect());
    DisparityGenotype { normal, reduce, upsample }
}

/// An architecture of a space, all alike likely: the states that a node reads, and an operation other than `none` for each.
pub fn sample(space: &DisparitySpace, stream: &mut Stream) -> DisparityGenotype {
    let ops: Vec<Op> = space.ops.iter().copied().filter(|op| *op != Op::None).collect();
    let [normal, reduce, upsample] = DisparityCell::ALL.map(|cell| {
        let mut entries = Vec::new();
        for node in 0..NODES {
            let mut states: Vec<usize> = (0..cell.n_inputs() + node).collect();
            stream.shuffle(&mut states);
            states.truncate(cell.kept(node));
            states.sort_unstable();
            entries.extend(states.into_iter().map(|state| (ops[stream.below(ops.len())], state)));
        }
        entries
    });
    DisparityGenotype { normal, reduce, upsample }
}

impl DisparityGenotype {
    /// Reads the notation, or the JSON of it.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub fn read(text: &str) -> Result<Self, String> {
        if !text.trim_start().starts_with('{') {
            return text.parse().map_err(|e: super::DisparityGenotypeError| e.to_string());
        }
        let genotype: Self = serde_json::from_str(text).map_err(|e| format!("it is no genotype in JSON ({e})"))?;
        genotype.check().map_err(|e| e.to_string())?;
        Ok(genotype)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_sound_architectures_and_others_are_told() {
        for name in ["AutoDispNet", "all-skip", "all-sep-conv", "random-dispnet-7", "random-autodispnet-7"] {
            named(name).unwrap().check().unwrap();
        }
        assert_eq!(named("random-dispnet-7"), named("random-dispnet-7"));
        assert_ne!(named("random-dispnet-7"), named("random-dispnet-8"));
        assert_eq!(named("all-skip").unwrap().n_uses(DisparityCell::Upsample, Op::SkipConnect), 8);
        for (name, part) in [
            ("AutoDispNets", "nearest known one"),
            ("random-dispnets-1", "nearest known one"),
            ("random-dispnet-x", "a seed"),
        ] {
            let error = named(name).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        assert!(is_of_disparity("random-dispnet-x") && !is_of_disparity("random-s2-1") && !is_of_disparity("all-skip"));
    }

    #[test]
    fn samples_use_every_state_and_operation_alike() {
        let space = DisparitySpace::builtin("autodispnet").unwrap();
        let mut stream = Stream::new(1, "test", 0);
        let all: Vec<DisparityGenotype> = (0..3000).map(|_| sample(&space, &mut stream)).collect();
        let share = |f: &dyn Fn(&DisparityGenotype) -> bool| all.iter().filter(|g| f(g)).count() as f64 / 3000.0;
        for op in &space.ops[1..] {
            let of_op = share(&|genotype| genotype.reduce[3].0 == *op);
            assert!((of_op - 1.0 / 7.0).abs() < 0.03, "{op}: {of_op}");
        }
        for state in 0..6 {
            let reads = share(&|genotype| genotype.upsample[6..].iter().any(|entry| entry.1 == state));
            assert!((reads - 2.0 / 6.0).abs() < 0.04, "{state}: {reads}");
        }
    }

    #[test]
    fn the_json_of_a_run_is_read_too() {
        let genotype = DisparityGenotype::autodispnet();
        let json = serde_json::to_string(&genotype).unwrap();
        assert_eq!(DisparityGenotype::read(&json).as_ref(), Ok(&genotype));
        assert_eq!(DisparityGenotype::read(&genotype.to_string()), Ok(genotype));
        assert!(DisparityGenotype::read("{\"normal\": []}").unwrap_err().contains("JSON"));
        let wrong = json.replacen("0]", "9]", 1);
        assert!(DisparityGenotype::read(&wrong).unwrap_err().contains("state 9"));
    }
}
