//! Genotypes that have a name: cells that were published, and the plainest ones that a space has, to compare with.

use rdarts_text::{did_you_mean, nearest, quote};

use rdarts_rng::Stream;

use crate::enumerate::sample;
use crate::genotype::Genotype;
use crate::op::Op;
use crate::space::Space;

/// A genotype with its name and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The name that the program takes.
    pub name: &'static str,
    /// Where it was published.
    pub origin: &'static str,
    /// The cells, in the notation of the DARTS code.
    pub text: &'static str,
}

/// The published genotypes.
pub const PUBLISHED: &[Published] = &[
    Published {
        name: "DARTS_V1",
        origin: "Liu et al. 2019, first order, cnn/genotypes.py of the DARTS code",
        text: "Genotype(normal=[('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 0), ('sep_conv_3x3', 1), \
               ('skip_connect', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 2)], \
               normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), \
               ('max_pool_3x3', 0), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), \
               ('avg_pool_3x3', 0)], reduce_concat=[2, 3, 4, 5])",
    },
    Published {
        name: "DARTS_V2",
        origin: "Liu et al. 2019, second order, cnn/genotypes.py of the DARTS code",
        text: "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), \
               ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], \
               normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), \
               ('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), \
               ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])",
    },
];

/// The genotype whose nodes all apply one operation to the cell's two inputs, such as the all-skip cell.
///
/// # Panics
/// If there is no node.
pub fn uniform(op: Op, nodes: usize) -> Genotype {
    let cell = || (0..nodes).flat_map(|_| [(op, 0), (op, 1)]).collect();
    Genotype::new(cell(), cell()).expect("every node reads two inputs that exist")
}

/// The names of [`named`] that are not [`PUBLISHED`].
pub const PLAIN: [&str; 3] = ["all-skip", "all-sep-conv", "random-SPACE-SEED"];

/// The genotype of a name: a published one, `all-skip` or `all-sep-conv` with four nodes, or a uniformly random one of a
/// space with all three in its name, such as `random-s2-7`. `all-sep-conv` of 3x3 is the cell that is published for
/// space S4 too (Zela et al. 2020, appendix).
///
/// # Errors
/// One sentence with the known names.
pub fn named(name: &str) -> Result<Genotype, String> {
    match name {
        "all-skip" => return Ok(uniform(Op::SkipConnect, 4)),
        "all-sep-conv" => return Ok(uniform(Op::SepConv3x3, 4)),
        _ => {}
    }
    let Some((space, seed)) = name.strip_prefix("random-").and_then(|rest| rest.rsplit_once('-')) else {
        return published(name);
    };
    let space = Space::builtin(space).map_err(|e| format!("{name}: {e}"))?;
    let seed = seed
        .parse::<u64>()
        .map_err(|_| format!("{} should end in a seed, a whole number, as in random-{}-7", quote(name), space.name))?;
    Ok(sample(&space, &mut Stream::new(seed, "random genotype", 0)))
}

/// The published genotype of a name.
///
/// # Errors
/// One sentence with the known names.
pub fn published(name: &str) -> Result<Genotype, String> {
    let names: Vec<&str> = PUBLISHED.iter().map(|cell| cell.name).collect();
    match PUBLISHED.iter().find(|cell| cell.name == name) {
        Some(cell) => Ok(cell.text.parse().expect("a test reads every published genotype")),
        None => Err(format!(
            "there is no published genotype {}{}; known are {}",
            quote(name),
            did_you_mean(nearest(name, &names)),
            names.iter().chain(&PLAIN).copied().collect::<Vec<_>>().join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_published_genotype_is_read_and_lies_in_the_darts_space() {
        let space = crate::Space::builtin("darts").unwrap();
        for cell in PUBLISHED {
            let genotype = published(cell.name).unwrap();
            crate::selection(&space, &genotype).unwrap();
            assert_eq!(genotype.to_string().replace("range(2, 6)", "[2, 3, 4, 5]"), cell.text);
        }
        let error = published("DARTS_V3").unwrap_err();
        assert!(error.contains("DARTS_V3") && error.contains("DARTS_V2"), "{error}");
    }

    #[test]
    fn plain_genotypes_have_names_too() {
        assert_eq!(named("all-sep-conv").unwrap().n_uses(crate::CellType::Reduce, Op::SepConv3x3), 8);
        assert_eq!(named("random-s2-7").unwrap(), named("random-s2-7").unwrap());
        assert_ne!(named("random-s2-7").unwrap(), named("random-s2-8").unwrap());
        for (name, part) in [("random-s9-1", "s9"), ("random-s2-x", "seed"), ("DARTS_V3", "all-skip")] {
            let error = named(name).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_uniform_genotype_has_one_operation() {
        let genotype = uniform(Op::SkipConnect, 4);
        assert_eq!(genotype.n_uses(crate::CellType::Normal, Op::SkipConnect), 8);
        assert_eq!(genotype.normal, genotype.reduce);
    }
}
