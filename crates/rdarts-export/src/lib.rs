//! Trained networks for other programs, and checkpoints of other programs.
//!
//! A [`Trained`] network is the evaluation network of DARTS (Liu et al. 2019) or that of NAS-Bench-201 (Dong and Yang 2020)
//! as data: a genotype, a few sizes, and tensors under the names that the published PyTorch code gives them. Out of it come
//!
//! - [`onnx()`]: one file that any runtime of ONNX carries out, batch norms folded into the convolutions before them
//! - [`safetensors()`] and [`model_py()`]: the weights, and a page of Python that needs PyTorch alone
//!
//! A [`Dense`] network, which estimates disparity, is a list of layers; out of it come the same ([`dense_onnx`], [`dense_py`],
//! [`dense_safetensors`]).
//!
//! [`run_onnx`] and [`run_dense_onnx`] carry such a file out, for whoever wants to compare before it is handed on.
//!
//! And [`import`] reads what the published code of DARTS, RobustDARTS and SmoothDARTS saved, and says what it is.
//!
//! What an operation is made of stands once, in `module`, and how cells are wired once, in `plan`; all of the above
//! walk through them. Nothing here writes a file, trains, or knows how a network was trained.

mod trained;

mod module;

mod plan;

mod proto;

mod graph;

mod onnx;

mod runtime;

mod safetensors;

mod model_py;

mod dense;

pub mod import;

pub use dense::{Dense, DenseNode, dense_onnx, dense_py, dense_safetensors, run_dense_onnx};
pub use model_py::model_py;
pub use onnx::{OnnxOptions, onnx};
pub use runtime::run_onnx;
pub use safetensors::safetensors;
pub use trained::{ExportError, Tensor, Trained};
