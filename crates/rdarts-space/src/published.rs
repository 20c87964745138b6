//! Genotypes that have a name: cells that were published, and the plainest ones that a space has, to compare with.

use rdarts_text::{did_you_mean, nearest, quote};

use crate::genotype::Genotype;
use crate::op::Op;

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
            names.join(", ")
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
    fn a_uniform_genotype_has_one_operation() {
        let genotype = uniform(Op::SkipConnect, 4);
        assert_eq!(genotype.n_uses(crate::CellType::Normal, Op::SkipConnect), 8);
        assert_eq!(genotype.normal, genotype.reduce);
    }
}
