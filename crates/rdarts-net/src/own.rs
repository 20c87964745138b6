//! Operations that come from outside: a state in, a state of the same shape out, written in Burn's tensors.
//!
//! Who adds one says its value and its tangent; its ways back are the tape's, also that of a dual pass, whose way back is
//! the exact second derivative. No fused kernel knows it, so second derivatives of a network that has one run on the
//! tape, in any float type: exact, and slower than the kernels' chain. What it computes and keeps is counted neither in
//! the cost nor in the estimate of memory.

use std::fmt;
use std::sync::Arc;

use burn::tensor::Tensor;
use rdarts_kernels::spec::{Weight, WeightKind, weights_len};

/// A differentiable map of a state (n, h, w, c) to one of the same shape.
///
/// It is a function of its arguments alone: it is called once or more for each pass, on the CPU or another device, with
/// and without a tape, in single and in double precision.
pub trait Operation: fmt::Debug + Send + Sync {
    /// Name and layout of each of its weights, in the order in which they lie in `w`; none if it has none.
    fn weights(&self) -> Vec<(String, WeightKind)>;

    /// f(x, w), of differentiable operations.
    fn value(&self, x: Tensor<4>, w: Tensor<1>) -> Tensor<4>;

    /// The derivative of f at (x, w) along (x', w'), of differentiable operations of all four: the tape differentiates
    /// it once more. What is constant almost everywhere, such as the mask of a relu, is a constant here.
    fn tangent(&self, x: Tensor<4>, x_dot: Tensor<4>, w: Tensor<1>, w_dot: Tensor<1>) -> Tensor<4>;
}

/// An operation as a module of a network. Two are equal if they are the same one.
#[derive(Clone, Debug)]
pub struct OwnModule(pub Arc<dyn Operation>);

impl PartialEq for OwnModule {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for OwnModule {}

impl OwnModule {
    /// Its weights, one after another.
    pub fn weights(&self) -> Vec<Weight> {
        let mut list: Vec<Weight> = Vec::new();
        for (name, kind) in self.0.weights() {
            let offset = weights_len(&list);
            list.push(Weight { name, offset, kind });
        }
        list
    }

    /// The operation, or in a dual call the operation and its tangent, stacked as in [`crate::ops`].
    pub(crate) fn call(&self, x: Tensor<4>, w: Tensor<1>, dual: bool) -> Tensor<4> {
        let size = x.dims();
        let y = match dual {
            false => self.0.value(x, w),
            true => {
                let (n, m) = (size[0] / 2, w.dims()[0] / 2);
                let [x, x_dot] = [0, n].map(|from| x.clone().narrow(0, from, n));
                // There are no slices of nothing.
                let [w, w_dot] = [0, m].map(|from| if m == 0 { w.clone() } else { w.clone().narrow(0, from, m) });
                let y = self.0.value(x.clone(), w.clone());
                Tensor::cat(vec![y, self.0.tangent(x, x_dot, w, w_dot)], 0)
            }
        };
        assert_eq!(y.dims(), size, "{:?} has changed the shape of a state", self.0);
        y
    }
}
