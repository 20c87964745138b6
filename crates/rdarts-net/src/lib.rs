//! Networks: their operations as steps of a tape, their wiring, and exact first and second derivatives.
//!
//! [`graph`] is a network as data, with the one walk over it; [`supernet`] wires that of a search space, [`discrete`] that of
//! a genotype, which is trained from scratch, [`partial`] a supernet of a part of the channels, and [`own`] is what may be put into a supernet from outside;
//! [`derivatives`] and [`curvature`] turn flat buffers into losses, gradients and Hessian products; `memory` says what that
//! takes and `cost` what it costs; [`ops`] is the seam to Burn, with [`composed`] as its portable reference.
//!
//! ```
//! use rdarts_space::Op::{MaxPool3x3, SepConv3x3, SkipConnect};
//! use rdarts_net::{AlphaHessian, Alphas, Batch, Engine, Network, Point, SupernetSpec, Targets, alpha_gradient};
//!
//! let edges = vec![vec![SepConv3x3, SkipConnect, MaxPool3x3]; 2];
//! let net = Network::supernet(SupernetSpec {
//!     cells: 2,
//!     c: 4,
//!     stem_multiplier: 3,
//!     reductions: vec![1],
//!     nodes: 1,
//!     normal: edges.clone(),
//!     reduce: edges,
//!     c_image: 1,
//!     classes: 3,
//! });
//! let (weights, alphas) = (net.init(1), Alphas::zeros(&net));
//! let images: Vec<f32> = (0..2 * 8 * 8).map(|i| (i as f32).sin()).collect();
//! let at = Point { net: &net, engine: &Engine::cpu(), weights: &weights, alphas: &alphas };
//! let batch = Batch { images: (&images).into(), side: [8, 8], targets: Targets::Labels(&[0, 2]), noise: &[] };
//!
//! let (evaluation, gradient) = alpha_gradient(at, batch);
//! let hessian = AlphaHessian::new(at, batch);
//! assert_eq!(hessian.apply(&gradient.flat()).len(), 12);
//! assert!((hessian.evaluation().loss - evaluation.loss).abs() < 1e-6);
//! ```

pub mod values;

pub mod devices;
pub mod engine;

#[cfg(feature = "gpu")]
mod resident;

pub mod held;

pub mod own;

pub mod graph;

pub mod mixing;
pub mod supernet;

pub mod task;

pub mod point;

pub mod calls;
pub mod composed;
pub mod ops;

mod fused;

#[cfg(feature = "gpu")]
mod card;

pub mod contract;

mod tape;

mod chain;
mod place;

#[cfg(feature = "gpu")]
mod place_card;

mod flow;

pub mod curvature;
pub mod derivatives;

mod wiring;

pub mod nasbench201;

pub mod discrete;

pub mod disparity;

pub mod partial;

mod cost;
mod memory;

/// The framework whose tensors an [`Operation`] is written in.
pub use burn;
pub use burn::tensor::Device;
pub use cost::Cost;
pub use curvature::{AlphaHessian, FullHessian, mixed_hvp};
pub use derivatives::{
    Evaluator, InnerStep, PUBLISHED_RADIUS, alpha_gradient, both_gradients, drawn_gradient, forward, forward_mixed,
    held_weight_gradient, held_weight_gradient_mixed, mixing_gradient, unrolled_gradient, unrolled_gradient_difference,
    weight_gradient, weight_gradient_mixed,
};
pub use devices::Gpu;
pub use discrete::{
    BatchStatistics, DiscreteSpec, HeldGradient, TrainingGradient, held_training_gradient, training_gradient,
};
pub use engine::Engine;
pub use flow::unit_variance;
pub use graph::{CellModule, List, Module, Network, Node, Parameter, ParameterError, RunningNorm, Source};
pub use held::{AdamStep, CardImages, Held, SgdStep, Values, View};
pub use memory::Work;
pub use nasbench201::{Edges, NasBench201Spec};
pub use own::{Operation, OwnModule};
pub use partial::PartialSpec;
pub use point::{Batch, Evaluation, Point};
pub use rdarts_kernels::spec::CellNoise;
pub use supernet::SupernetSpec;
pub use task::{ClassLoss, Count, Level, Loss, Targets, Truth};
pub use values::{Alphas, Real};
