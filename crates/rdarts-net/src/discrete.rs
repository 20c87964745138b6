//! The discrete network of a genotype, which is trained from scratch: its wiring, and the gradient of a step.
//!
//! It is the supernet with the genotype's operations alone, each with mixing weight 1: batch norms have scale and shift
//! and running statistics, pools have no norm, and a second head behind the cell at two thirds of the depth helps the
//! training (DARTS paper, section 3.1.2; `NetworkCIFAR` of its code). Weights and statistics of that head come last in
//! their flat buffers, so that the network without it begins with the same values.

use std::sync::Arc;

use rdarts_kernels::dense::Layer;
use rdarts_kernels::spec::{AuxiliarySpec, BN_EPS, CellSpec, Discrete, HeadSpec, StemSpec};
use rdarts_space::{CellType, Genotype, Op, Topology, can_reduce_at, reductions_or_default};

use crate::calls::{OfBatch, Slot, Statistics};
use crate::chain::NEVER;
use crate::engine::Engine;
use crate::flow::{Asked, flow};
use crate::graph::{CellModule, List, Module, Network, Source};
use crate::held::{Held, Made, Values, View};
use crate::nasbench201::{Edges, NasBench201Spec};
use crate::point::{Batch, Evaluation};
use crate::tape::{Collected, Forward, Inputs, Tracked, evaluate, seeded, upload_images};
use crate::values::{Alphas, Real};

/// The sizes of a discrete network.
#[derive(Clone, Debug)]
pub struct DiscreteSpec {
    /// The operations of its cells.
    pub genotype: Genotype,
    /// Number of cells.
    pub cells: usize,
    /// The cells that reduce, if the genotype has a reduction cell; none named: those of [`rdarts_space::default_reductions`].
    pub reductions: Vec<usize>,
    /// Channels of the first cell.
    pub c: usize,
    /// Channels of the images.
    pub c_image: usize,
    /// Number of classes.
    pub classes: usize,
    /// Whether there is an auxiliary head.
    pub auxiliary: bool,
}

impl Network {
    /// Wires the discrete network of a genotype, with a stem of 3 `c` channels; one of NAS-Bench-201 is that of
    /// [`Network::nas_bench_201`].
    ///
    /// # Panics
    /// If there is no cell or no channel, the reductions are none that [`rdarts_space::can_reduce_at`] allows, or a network of
    /// NAS-Bench-201 has an auxiliary head.
    pub fn discrete(spec: &DiscreteSpec) -> Self {
        assert!(spec.cells > 0 && spec.c > 0, "a network has at least one cell and one channel");
        let reductions = reductions_or_default(&spec.reductions, spec.cells);
        assert!(can_reduce_at(&reductions, spec.cells), "no network of {} cells reduces at {reductions:?}", spec.cells);
        if spec.genotype.topology == Topology::NasBench201 {
            assert!(!spec.auxiliary, "a network of NAS-Bench-201 has no auxiliary head");
            let (edges, &DiscreteSpec { cells, c, c_image, classes, .. }) = (Edges::Chosen(&spec.genotype), spec);
            return Self::nas_bench_201(&NasBench201Spec {
                edges,
                cells,
                reductions: &reductions,
                c,
                c_image,
                classes,
            });
        }
        let types = CellType::ALL.map(|cell_type| Wiring::new(&spec.genotype, cell_type));
        let has_reduction = spec.genotype.n_nodes(CellType::Reduce) > 0;
        let stem = StemSpec { c_in: spec.c_image, c_out: 3 * spec.c };
        let mut list = vec![(Module::Stem(stem), vec![Source::Images], "stem.".to_string())];
        let (mut c, mut c_prev_prev, mut c_prev, mut reduction_prev) = (spec.c, stem.c_out, stem.c_out, false);
        let auxiliary_at = 2 * spec.cells / 3;
        let mut c_auxiliary = 0;
        for index in 0..spec.cells {
            let reduction = has_reduction && reductions.contains(&index);
            if reduction {
                c *= 2;
            }
            let cell_type = if reduction { CellType::Reduce } else { CellType::Normal };
            let Wiring { nodes, edges, discrete } = types[cell_type as usize].clone();
            let cell =
                CellSpec { nodes, c, c_prev_prev, c_prev, reduction, reduction_prev, edges, discrete: Some(discrete) };
            (c_prev_prev, c_prev, reduction_prev) = (c_prev, cell.c_out(), reduction);
            if index == auxiliary_at {
                c_auxiliary = c_prev;
            }
            let cell = CellModule { spec: Arc::new(cell), cell_type: cell_type as usize, index };
            let inputs = [index.saturating_sub(1), index].map(Source::Node).to_vec();
            list.push((Module::Cell(cell), inputs, format!("cells.{index}.")));
        }
        let head = HeadSpec { c_in: c_prev, classes: spec.classes };
        list.push((Module::Head(head), vec![Source::Node(spec.cells)], "classifier.".to_string()));
        if spec.auxiliary {
            let head = AuxiliarySpec { c_in: c_auxiliary, classes: spec.classes };
            // Node k + 1 is the output of cell k.
            let inputs = vec![Source::Node(auxiliary_at + 1)];
            list.push((Module::Auxiliary(head), inputs, "auxiliary_head.".to_string()));
        }
        Self::new(list, spec.cells + 1, types.map(|wiring| wiring.edges).to_vec(), spec.c_image)
    }

    /// A discrete network of layers with given means and variances in place of those of a batch: each norm is a scale and a
    /// shift, which come from them. With its weights.
    pub(crate) fn with_given_norms<R: Real>(&self, weights: &[R], running: &[f64]) -> (Self, Vec<R>) {
        assert_eq!(running.len(), self.n_running(), "the running statistics do not fit the network");
        let (mut list, mut all) = (List::new(), Vec::new());
        for node in self.nodes() {
            let mut module = node.module.clone();
            all.extend_from_slice(node.part(weights));
            let (means, variances) = node.running_part(running).split_at(node.running.1 / 2);
            if !means.is_empty() {
                module = Module::Layer(Layer::Scale(means.len()));
                let rates: Vec<f64> = variances.iter().map(|variance| 1.0 / (variance + BN_EPS).sqrt()).collect();
                all.extend(rates.iter().map(|rate| R::of(*rate)));
                all.extend(means.iter().zip(&rates).map(|(mean, rate)| R::of(-mean * rate)));
            }
            list.push((module, node.inputs.clone(), node.prefix.clone()));
        }
        let cell_types = vec![Vec::new(); self.n_cell_types()];
        (Self::new(list, self.output_node(), cell_types, self.c_image()), all)
    }

    /// Mixing weights of a discrete network: 1 for every operation.
    pub fn ones(&self) -> Alphas {
        self.n_alphas().into_iter().map(|n| vec![1.0; n]).collect()
    }
}

/// The operations of a type of cell, edge by edge.
#[derive(Clone, Debug)]
struct Wiring {
    nodes: usize,
    edges: Vec<Vec<Op>>,
    discrete: Discrete,
}

impl Wiring {
    fn new(genotype: &Genotype, cell_type: CellType) -> Self {
        let (ops, nodes) = (genotype.cell(cell_type), genotype.n_nodes(cell_type));
        let (mut edges, mut order) = (Vec::new(), Vec::new());
        for node in 0..nodes {
            for state in 0..2 + node {
                let own = (2 * node..2 * node + 2).filter(|at| ops[*at].1 == state);
                order.extend(own.clone());
                edges.push(own.map(|at| ops[at].0).collect());
            }
        }
        let concat = genotype.concat(cell_type).iter().map(|state| state - 2).collect();
        Self { nodes, edges, discrete: Discrete { order, concat } }
    }
}

/// What a step of a training learns from its batch.
#[derive(Clone, Debug)]
pub struct TrainingGradient<R> {
    /// Of the network's own head.
    pub evaluation: Evaluation,
    /// The loss of the auxiliary head, if there is one.
    pub auxiliary_loss: Option<f64>,
    /// d(L + auxiliary weight times that loss)/dw, flat. Who is done with it may hand it to [`Real::give_back`].
    pub weights: Vec<R>,
    /// Means and unbiased variances of the batch, in the order of [`Network::norms`].
    pub statistics: Vec<f64>,
}

/// The same where weights and running statistics lie.
#[derive(Debug)]
pub struct HeldGradient {
    /// Of the network's own head.
    pub evaluation: Evaluation,
    /// The loss of the auxiliary head, if there is one.
    pub auxiliary_loss: Option<f64>,
    /// As in [`TrainingGradient`].
    pub weights: Held,
    /// Of the batch.
    pub statistics: BatchStatistics,
}

/// Means and unbiased variances of a batch, as each node has left them.
#[derive(Debug)]
pub struct BatchStatistics(Vec<Option<Arc<OfBatch>>>);

impl BatchStatistics {
    /// In the order of [`Network::norms`].
    pub fn read(&self) -> Vec<f64> {
        self.0.iter().flatten().flat_map(|of| of.read()).collect()
    }

    /// Running statistics follow them, r = kept r + (1 - kept) s, where they lie.
    ///
    /// # Panics
    /// If a batch norm has left none.
    pub fn lead(&self, running: &mut Held, kept: f64) {
        #[cfg(feature = "gpu")]
        if let Some(running) = running.card_mut() {
            for (at, of) in self.0.iter().enumerate() {
                if let Some(of) = of {
                    crate::card::follow(running, at, of, kept);
                }
            }
            return;
        }
        let statistics = self.read();
        assert_eq!(statistics.len(), running.len(), "every batch norm has left its statistics");
        for (running, of_batch) in running.iter_mut().zip(statistics) {
            *running = (kept * f64::from(*running) + (1.0 - kept) * of_batch) as f32;
        }
    }
}

/// The gradient of the loss of a discrete network, with the statistics of the batch, which running ones follow.
///
/// # Panics
/// If the network is a supernet, or weights or images do not fit.
pub fn training_gradient<R: Real, V: Values<R> + ?Sized>(
    net: &Network,
    engine: &Engine,
    weights: &V,
    batch: Batch<R>,
    auxiliary_weight: f64,
) -> TrainingGradient<R> {
    let (evaluation, auxiliary_loss, gradient, left) = gradient(net, engine, weights.view(), batch, auxiliary_weight);
    let statistics = left.read();
    assert_eq!(statistics.len(), net.n_running(), "every batch norm has left its statistics");
    TrainingGradient { evaluation, auxiliary_loss, weights: gradient.into_vec(), statistics }
}

/// The same where the weights lie.
///
/// # Panics
/// As [`training_gradient`].
pub fn held_training_gradient(
    net: &Network,
    engine: &Engine,
    weights: &Held,
    batch: Batch<f32>,
    auxiliary_weight: f64,
) -> HeldGradient {
    let (evaluation, auxiliary_loss, gradient, statistics) =
        gradient(net, engine, weights.view(), batch, auxiliary_weight);
    HeldGradient { evaluation, auxiliary_loss, weights: gradient.into_held(), statistics }
}

fn gradient<R: Real>(
    net: &Network,
    engine: &Engine,
    weights: View<R>,
    batch: Batch<R>,
    auxiliary_weight: f64,
) -> (Evaluation, Option<f64>, Made<R>, BatchStatistics) {
    assert!(!net.norms().is_empty(), "a discrete network has running statistics");
    if net.is_dense() {
        let asked = Asked { alphas: false, weights: true, keep: false };
        let mut flow = flow(net, engine, weights, &net.ones(), batch, asked, &NEVER);
        let of_batch = |of: Option<Vec<f64>>| of.map(|values| Arc::new(OfBatch::of(values)));
        let statistics = BatchStatistics(flow.statistics().into_iter().map(of_batch).collect());
        return (flow.evaluation().clone(), None, flow.take_w_bar(), statistics);
    }
    let (engine, workspace) = (engine.tracked(), engine.kernels.workspace());
    let inputs = Inputs::of(net, &net.ones(), weights, &engine, Tracked::Weights);
    let images = upload_images(net, batch, &engine);
    let left: Vec<Arc<Slot>> = net.nodes().iter().map(|_| Slot::open()).collect();
    let collected = Collected::of(net, weights, true);
    let mut forward = Forward::plain(&engine.kernels, net, batch.noise, true);
    forward.statistics = left.iter().cloned().map(Statistics::OfBatch).collect();
    forward.gradients.clone_from(&collected.slots);
    let (logits, auxiliary) = forward.run_both(images, &inputs);
    let (evaluation, loss) = evaluate(&logits, batch.targets);
    let mut total = seeded(logits, loss.gradient());
    let auxiliary_loss = auxiliary.map(|logits| {
        let (evaluation, loss) = evaluate(&logits, batch.targets);
        let cotangent: Vec<f64> = loss.gradient().iter().map(|g| auxiliary_weight * g).collect();
        total = total.clone() + seeded(logits, &cotangent);
        evaluation.loss
    });
    let mut grads = total.backward();
    let gradient = collected.take(net, &inputs, &mut grads, workspace);
    inputs.recycle::<R>(&engine);
    let left = left.iter().map(|slot| slot.take::<OfBatch>()).collect();
    (evaluation, auxiliary_loss, gradient, BatchStatistics(left))
}
