//! All architectures of a space, their number, and uniform samples of them.
//!
//! An architecture chooses, for every node, two different inputs and on each of the two edges an operation
//! other than `none`. So node j with n_e operations on its incoming edges e has sum over pairs e < f of
//! n_e n_f choices, and a space has the product of these over the nodes of both cell types. In the paper's
//! space of 81 architectures (`tiny`) the one node has one pair of inputs: (3 * 3)^2 = 81.
//!
//! Where nodes keep all edges, each edge has one of all its operations, `none` too: 5^6 = 15,625 in NAS-Bench-201.
//!
//! Architectures are numbered like digits of a number: the last node of the reduction cell changes fastest;
//! within a node first the second operation, then the first, then the pair of inputs. The two entries of a
//! node are in the order of their inputs. In NAS-Bench-201 that is the order of its edges, the last one changing fastest.

use rdarts_rng::Stream;

use crate::genotype::Genotype;
use crate::op::Op;
use crate::select::{Mismatch, selection};
use crate::space::{CellType, Space};

/// The number of architectures, or `None` beyond 128 bits.
pub fn count(space: &Space) -> Option<u128> {
    places(space).try_fold(1u128, |product, (cell, node)| product.checked_mul(n_choices(space, cell, node) as u128))
}

/// All architectures, in the order of their numbers.
pub fn enumerate(space: &Space) -> Architectures<'_> {
    Architectures { space, next: 0 }
}

/// The architectures of a space one after the other.
#[derive(Clone, Debug)]
pub struct Architectures<'a> {
    space: &'a Space,
    next: u128,
}

impl Iterator for Architectures<'_> {
    type Item = Genotype;

    fn next(&mut self) -> Option<Genotype> {
        let genotype = nth(self.space, self.next)?;
        self.next += 1;
        Some(genotype)
    }
}

/// The architecture with number `index`, or `None` where the space has no more than `index`.
pub fn nth(space: &Space, index: u128) -> Option<Genotype> {
    let mut rest = index;
    let mut choices: Vec<usize> = Vec::with_capacity(2 * space.nodes);
    for (cell, node) in places(space).rev() {
        // A space that fails its check may have a node without any choice, and then no architecture.
        let n = n_choices(space, cell, node) as u128;
        choices.push(rest.checked_rem(n)? as usize);
        rest /= n;
    }
    choices.reverse();
    (rest == 0).then(|| build(space, &choices))
}

/// The number of an architecture: the reverse of [`nth`], whatever the order of the entries within a node.
pub fn index_of(space: &Space, genotype: &Genotype) -> Result<u128, Mismatch> {
    selection(space, genotype)?;
    let mut index = 0u128;
    for (cell, node) in places(space) {
        let mut entries = genotype.node(cell, node).to_vec();
        entries.sort_by_key(|entry| entry.1);
        if !space.topology.may_choose_none() && entries.iter().any(|entry| entry.0 == Op::None) {
            return Err(Mismatch::ChosenNone { cell, node });
        }
        let choice = choice_of(space, cell, node, &entries);
        index = index
            .checked_mul(n_choices(space, cell, node) as u128)
            .and_then(|index| index.checked_add(choice as u128))
            .ok_or_else(|| Mismatch::TooMany { space: space.name.clone() })?;
    }
    Ok(index)
}

/// A uniform sample of the architectures.
///
/// # Panics
/// If a node has no choice at all, in a space that fails [`Space::check`].
pub fn sample(space: &Space, stream: &mut Stream) -> Genotype {
    // The number of choices of a node does not depend on the other nodes, so uniform nodes make a uniform whole.
    let choices: Vec<usize> = places(space).map(|(cell, node)| stream.below(n_choices(space, cell, node))).collect();
    build(space, &choices)
}

/// The nodes of all cell types, the slowest to change first.
fn places(space: &Space) -> impl DoubleEndedIterator<Item = (CellType, usize)> {
    let nodes = space.nodes;
    space.cell_types().iter().flat_map(move |cell| (0..nodes).map(move |node| (*cell, node)))
}

/// The operations from `input` to `node` that may be chosen.
fn real_ops(space: &Space, cell: CellType, node: usize, input: usize) -> impl Iterator<Item = Op> {
    let topology = space.topology;
    let edge = topology.edge_index(node, input);
    space.cell(cell)[edge].iter().copied().filter(move |&op| topology.may_choose_none() || op != Op::None)
}

/// The inputs that a node may keep, each with the number of operations on its edge.
fn kept(space: &Space, cell: CellType, node: usize) -> impl Iterator<Item = Vec<(usize, usize)>> {
    let n = move |input| (input, real_ops(space, cell, node, input).count());
    let inputs = node + space.topology.n_inputs();
    let all: Vec<Vec<usize>> = match space.topology.kept(node) < inputs {
        true => (0..inputs).flat_map(|a| (a + 1..inputs).map(move |b| vec![a, b])).collect(),
        false => vec![(0..inputs).collect()],
    };
    all.into_iter().map(move |inputs| inputs.into_iter().map(n).collect())
}

fn product(inputs: &[(usize, usize)]) -> usize {
    inputs.iter().map(|(_, n)| n).product()
}

fn n_choices(space: &Space, cell: CellType, node: usize) -> usize {
    kept(space, cell, node).map(|inputs| product(&inputs)).sum()
}

/// The entries of a node for a choice below [`n_choices`].
fn entries_of(space: &Space, cell: CellType, node: usize, choice: usize) -> Vec<(Op, usize)> {
    let mut rest = choice;
    for inputs in kept(space, cell, node) {
        let n = product(&inputs);
        if rest < n {
            let mut entries: Vec<(Op, usize)> = Vec::new();
            // The last input changes fastest.
            for &(input, n) in inputs.iter().rev() {
                let op = real_ops(space, cell, node, input).nth(rest % n);
                entries.push((op.expect("it is below the number of operations"), input));
                rest /= n;
            }
            entries.reverse();
            return entries;
        }
        rest -= n;
    }
    panic!("choice {choice} of node {node} of the {cell} cell is out of bounds");
}

/// The choice that [`entries_of`] turns into `entries`, which are sorted by input and lie in the space.
fn choice_of(space: &Space, cell: CellType, node: usize, entries: &[(Op, usize)]) -> usize {
    let position = |(op, input)| {
        real_ops(space, cell, node, input).position(|o| o == op).expect("the selection has found the operation")
    };
    let mut before = 0;
    for inputs in kept(space, cell, node) {
        if inputs.iter().map(|(input, _)| input).eq(entries.iter().map(|(_, input)| input)) {
            let digits = inputs.iter().zip(entries);
            return before + digits.fold(0, |choice, ((_, n), entry)| choice * n + position(*entry));
        }
        before += product(&inputs);
    }
    panic!("node {node} of the {cell} cell has no such inputs");
}

fn build(space: &Space, choices: &[usize]) -> Genotype {
    let [mut normal, mut reduce] = [Vec::new(), Vec::new()];
    for ((cell, node), choice) in places(space).zip(choices) {
        let entries = entries_of(space, cell, node, *choice);
        if cell == CellType::Normal { normal.extend(entries) } else { reduce.extend(entries) }
    }
    space.genotype(normal, reduce)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::derive;

    fn uniform(nodes: usize, ops: &[Op]) -> Space {
        let cell = vec![ops.to_vec(); crate::Topology::Darts.n_edges(nodes)];
        Space::new("test", nodes, cell.clone(), cell).unwrap()
    }

    /// k operations on every edge: the product over nodes of (pairs of inputs) k^2, squared for two cells.
    fn closed_form(nodes: usize, k: u128) -> u128 {
        (0..nodes as u128).map(|j| (j + 2) * (j + 1) / 2 * k * k).product::<u128>().pow(2)
    }

    #[test]
    fn counts_agree_with_the_closed_form() {
        let builtin = |name| count(&Space::builtin(name).unwrap());
        assert_eq!(builtin("tiny"), Some(81));
        assert_eq!(builtin("nasbench201"), Some(15_625));
        assert_eq!(builtin("s2"), Some(closed_form(4, 2)));
        assert_eq!(builtin("s2"), Some(2_123_366_400));
        assert_eq!(builtin("s3"), builtin("s2"));
        assert_eq!(builtin("s4"), builtin("s2"));
        assert_eq!(builtin("s1"), builtin("s2"));
        assert_eq!(builtin("darts"), Some(closed_form(4, 7)));
        assert_eq!(builtin("darts"), builtin("darts-no-none"));
        assert_eq!(count(&uniform(12, &[Op::Noise, Op::SkipConnect, Op::MaxPool3x3])), None);
    }

    #[test]
    fn enumeration_gives_every_architecture_once() {
        let ragged = Space::new(
            "ragged",
            2,
            vec![
                vec![Op::Noise],
                vec![Op::Noise, Op::None],
                vec![Op::None, Op::SkipConnect],
                vec![Op::Noise, Op::SepConv3x3],
                vec![Op::SkipConnect, Op::None, Op::Noise, Op::SepConv3x3],
            ],
            vec![vec![Op::Noise, Op::SkipConnect]; 5],
        )
        .unwrap();
        // Normal: 1 * (1*2 + 1*3 + 2*3); reduce: 4 * 3 * 4.
        let rows = [
            (Space::builtin("tiny").unwrap(), 81),
            (uniform(2, &[Op::Noise, Op::None, Op::SkipConnect]), closed_form(2, 2)),
            (ragged, 11 * 48),
            (Space::builtin("nasbench201").unwrap(), 15_625),
        ];
        for (space, expected) in rows {
            assert_eq!(count(&space), Some(expected));
            let all: HashSet<Genotype> = enumerate(&space).collect();
            assert_eq!(all.len() as u128, expected);
            for (i, genotype) in enumerate(&space).enumerate() {
                assert_eq!(genotype.check(), Ok(()));
                assert!(selection(&space, &genotype).is_ok());
                assert_eq!(genotype.clone().canonical(), genotype);
                let may_be_none = space.topology.may_choose_none();
                let mut entries = genotype.normal.iter().chain(&genotype.reduce);
                assert!(may_be_none || entries.all(|entry| entry.0 != Op::None));
                assert_eq!(index_of(&space, &genotype), Ok(i as u128));
            }
            assert_eq!(nth(&space, expected), None);
        }
    }

    #[test]
    fn cells_of_nas_bench_201_count_through_their_edges() {
        let space = Space::builtin("nasbench201").unwrap();
        let texts = [0, 1, 15_624].map(|index| nth(&space, index).unwrap().to_string());
        assert_eq!(texts[0], "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|");
        assert_eq!(texts[1], "|none~0|+|none~0|none~1|+|none~0|none~1|skip_connect~2|");
        assert_eq!(texts[2].matches("avg_pool_3x3").count(), 6);
        let mut stream = Stream::new(1, "sample", 0);
        assert!((0..100).all(|_| index_of(&space, &sample(&space, &mut stream)).is_ok()));
    }

    #[test]
    fn what_has_no_number_is_refused() {
        let space = uniform(1, &[Op::Noise, Op::None]);
        let genotype =
            Genotype::new(vec![(Op::Noise, 0), (Op::None, 1)], vec![(Op::Noise, 0), (Op::Noise, 1)]).unwrap();
        let message = "node 0 of the normal cell uses `none`, which is not counted among the architectures of a space";
        assert_eq!(index_of(&space, &genotype).unwrap_err().to_string(), message);
        let huge = uniform(12, &[Op::SepConv3x3, Op::SkipConnect, Op::MaxPool3x3]);
        assert_eq!(enumerate(&huge).take(2).count(), 2);
        let last = derive(&huge, &vec![0.0; 270], &vec![0.0; 270]);
        assert_eq!(index_of(&huge, &last), Ok(0));
        let mut stream = Stream::new(1, "huge", 0);
        let message = "the space `test` has more than 2^128 architectures, too many to number them";
        assert_eq!(index_of(&huge, &sample(&huge, &mut stream)).unwrap_err().to_string(), message);
    }

    #[test]
    fn samples_of_the_space_of_81_are_uniform() {
        let space = Space::builtin("tiny").unwrap();
        let mut stream = Stream::new(7, "sample", 0);
        let (n, mut seen) = (40_500, [0u32; 81]);
        for _ in 0..n {
            seen[index_of(&space, &sample(&space, &mut stream)).unwrap() as usize] += 1;
        }
        let expected = f64::from(n) / 81.0;
        let chi_square: f64 = seen.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum();
        // 80 degrees of freedom: the quantiles at 0.0005 and 0.9995 are 44.8 and 129.
        assert!((44.8..129.0).contains(&chi_square), "chi-square {chi_square}");
    }

    proptest! {
        #[test]
        fn numbers_and_architectures_of_darts_match(index in 0..closed_form(4, 7)) {
            let space = Space::builtin("darts").unwrap();
            let genotype = nth(&space, index).unwrap();
            prop_assert_eq!(index_of(&space, &genotype), Ok(index));
        }

        #[test]
        fn a_derived_genotype_is_one_of_its_space(alphas in prop::collection::vec(-3f32..3.0, 84)) {
            let space = Space::builtin("s3").unwrap();
            let genotype = derive(&space, &alphas[..42], &alphas[42..]);
            let index = index_of(&space, &genotype).unwrap();
            prop_assert_eq!(nth(&space, index).unwrap(), genotype.canonical());
        }
    }
}
