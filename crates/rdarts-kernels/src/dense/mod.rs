//! Layers: what networks are made of that the fused cell does not know, the encoder-decoder for disparity (AutoDispNet, Saikia et
//! al., ICCV 2019) and the supernet of partial channels (PC-DARTS, Xu et al., ICLR 2020).
//!
//! A [`Layer`] is a function of states (n, h, w, c), of mixing weights p and of weights w, with its four derivatives:
//!
//! ```text
//! y = f(x, p, w)                                         forward
//! x-bar, p-bar, w-bar of <y, g>                          vjp
//! y-dot = J (x-dot, p-dot, w-dot)                        jvp
//! x-bar, p-bar, w-bar of <J (x-dot, p-dot, w-dot), d>    cross: with vjp of g, the vjp of the jvp
//! ```
//!
//! Each kind is a file of its own, and its loops are written once for both float types: [`Scalar`]. Where a rectifier is open
//! and where a maximum lies are constants of the second derivatives, as in the classification's kernels, with which these
//! share the loops that multiply. Sums over images are made in groups of the sizes alone, whose order is fixed: results do
//! not depend on the number of threads.

/// [`rdarts_simd::compiled_for`] for a type of float.
macro_rules! compiled {
    ($float:ty, $isa:expr, $work:expr) => {
        if <$float as Scalar>::IS_FAST { rdarts_simd::compiled_for!($isa, $work) } else { $work }
    };
}

mod scalar;

mod rows;

mod conv;
mod correlation;
mod depthwise;
mod maps;
mod mix;
mod norm;
mod pool;
mod rectifier;
mod resample;
mod scale;
mod transposed;
mod views;

#[cfg(test)]
mod tests;

pub use conv::ConvSpec;
pub use correlation::CorrelationSpec;
pub use depthwise::DepthwiseSpec;
pub use pool::PoolSpec;
pub use scalar::Scalar;
pub use transposed::TransposedSpec;

use crate::Kernels;
use crate::spec::{BN_EPS, HeadSpec, Weight};

/// Sizes of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Images.
    pub n: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
    /// Channels.
    pub c: usize,
}

impl Shape {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.n * self.of_image()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Values of an image.
    pub fn of_image(&self) -> usize {
        self.px() * self.c
    }

    /// Pixels of an image.
    pub fn px(&self) -> usize {
        self.h * self.w
    }
}

/// A layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Pairs (n, h, w, 2 c) to single views (2 n, h, w, c), all left ones first: both go through the same layers.
    Views,
    /// The left (false) or the right views (true) of (2 n, h, w, c).
    View(bool),
    /// A dense convolution.
    Conv(ConvSpec),
    /// The linear layer of a classification, of images of one pixel.
    Linear(HeadSpec),
    /// A convolution of each channel alone, without bias.
    Depthwise(DepthwiseSpec),
    /// The transpose of a convolution of 4 x 4 at stride 2, with bias: twice the rows and columns.
    Transposed(TransposedSpec),
    /// x where it is positive, 0.1 x elsewhere.
    LeakyRelu,
    /// x where it is positive, 0 elsewhere.
    Relu,
    /// Batch norm without scale and shift, by the statistics of the batch.
    Norm,
    /// A scale and a shift of each of so many channels.
    Scale(usize),
    /// The largest or the mean of a window of values; the border does not count.
    Pool(PoolSpec),
    /// The one-dimensional correlation of two views, (n, h, w, 2 d + 1).
    Correlation(CorrelationSpec),
    /// Bilinear, to twice the rows and columns; pixels are squares (PyTorch's `align_corners=False`).
    Upsample,
    /// The channels of all its states, one after another.
    Concat,
    /// The channels from `first` on, `len` of them.
    Channels {
        /// The first.
        first: usize,
        /// How many.
        len: usize,
    },
    /// Channels in another order: those of so many groups in turn.
    Shuffle(usize),
    /// Each pixel is the one below it to the right, zero at the far borders: a stride of 2 behind it sees the odd pixels.
    Shift,
    /// The mean over the pixels of an image: (n, 1, 1, c).
    Mean,
    /// The sum of its states, of which there may be none but one.
    Sum,
    /// The sum of its states, each times a mixing weight: those at these positions among the ones of this type of cell.
    Mix {
        /// Type of the cell.
        cell_type: usize,
        /// For each state the position of its mixing weight.
        alphas: Vec<usize>,
    },
    /// Zeros of the shape of its state.
    Zero,
    /// All values of an image of all its states in a row: (n, 1, 1, sum of h w c).
    Outputs,
}

/// What a layer is applied to.
#[derive(Clone, Debug)]
pub struct At<'a, T> {
    /// What computes.
    pub kernels: &'a Kernels,
    /// Of the states.
    pub shapes: Vec<Shape>,
    /// The states.
    pub xs: Vec<&'a [T]>,
    /// Mixing weights of the layer's type of cell; empty for layers that do not mix.
    pub p: &'a [f64],
    /// The layer's weights.
    pub w: &'a [T],
}

/// A direction: what does not move is none.
#[derive(Clone, Debug, Default)]
pub struct Direction<'a, T> {
    /// Of the states.
    pub xs: Vec<Option<&'a [T]>>,
    /// Of the mixing weights.
    pub p: Option<&'a [f64]>,
    /// Of the weights.
    pub w: Option<&'a [T]>,
}

/// Where gradients are added: what is not wanted is none.
#[derive(Debug)]
pub struct Bars<'a, T> {
    /// Of the states.
    pub xs: Vec<Option<&'a mut [T]>>,
    /// Of the mixing weights of the layer's type of cell.
    pub p: Option<&'a mut [f64]>,
    /// Of the weights.
    pub w: Option<&'a mut [T]>,
}

/// What a forward pass leaves for the derivatives.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    /// Of a norm: the mean of each channel.
    mean: Vec<f64>,
    /// Of a norm: one over the deviation of each channel.
    rate: Vec<f64>,
    /// Of a maximum: which tap of its window each output is.
    place: Vec<u8>,
}

impl Saved {
    /// Of a norm over so many pixels: the means of the channels, then their unbiased variances, which running statistics
    /// follow; empty of other layers.
    pub fn statistics(&self, pixels: usize) -> Vec<f64> {
        let unbiased = pixels as f64 / (pixels as f64 - 1.0);
        let variances = self.rate.iter().map(|rate| (rate.powi(-2) - BN_EPS).max(0.0) * unbiased);
        self.mean.iter().copied().chain(variances).collect()
    }
}

/// One kind of layer.
trait Kind<T: Scalar> {
    fn forward(&self, at: &At<T>, out: &mut [T]) -> Saved;
    fn vjp(&self, at: &At<T>, saved: &Saved, out: &[T], g: &[T], bars: &mut Bars<T>);
    fn jvp(&self, at: &At<T>, saved: &Saved, out: &[T], dot: &Direction<T>, out_dot: &mut [T]);
    /// Nothing for what is linear in all that may move at once.
    fn cross(&self, _: &At<T>, _: &Saved, _: &[T], _: &Direction<T>, _: &[T], _: &mut Bars<T>) {}
}

impl Layer {
    /// How many states it reads; none for any number but zero.
    pub fn n_inputs(&self) -> Option<usize> {
        match self {
            Self::Concat | Self::Sum | Self::Outputs => None,
            Self::Mix { alphas, .. } => Some(alphas.len()),
            Self::Correlation(_) => Some(2),
            _ => Some(1),
        }
    }

    /// Its weights, in the order in which they lie.
    pub fn weights(&self) -> Vec<Weight> {
        match self {
            Self::Conv(spec) => spec.weights(),
            Self::Linear(spec) => spec.weights(),
            Self::Depthwise(spec) => spec.weights(),
            Self::Transposed(spec) => spec.weights(),
            Self::Scale(c) => scale::weights(*c),
            _ => Vec::new(),
        }
    }

    /// The type of cell whose mixing weights it reads.
    pub fn cell_type(&self) -> Option<usize> {
        if let Self::Mix { cell_type, .. } = self { Some(*cell_type) } else { None }
    }

    /// The shape of its output, or why it cannot be applied to these states.
    pub fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        if self.n_inputs().map_or(inputs.is_empty(), |n| n != inputs.len()) {
            return Err(format!("{self:?} does not read {} states", inputs.len()));
        }
        let first = inputs[0];
        match self {
            Self::Views => views::pair_shape(first),
            Self::View(_) => views::view_shape(first),
            Self::Conv(spec) => spec.shape(first),
            Self::Linear(_) if first.px() != 1 => Err(format!("a linear layer got images of {} pixels", first.px())),
            Self::Linear(spec) => ConvSpec::linear(spec).shape(first),
            Self::Depthwise(spec) => spec.shape(first),
            Self::Transposed(spec) => spec.shape(first),
            Self::Scale(c) if *c != first.c => Err(format!("a scale of {c} channels got {}", first.c)),
            Self::LeakyRelu | Self::Relu | Self::Norm | Self::Scale(_) | Self::Zero | Self::Shift => Ok(first),
            Self::Channels { first: from, len } => maps::channels_shape(first, *from, *len),
            Self::Shuffle(groups) => maps::shuffle_shape(first, *groups),
            Self::Mean => Ok(Shape { h: 1, w: 1, ..first }),
            Self::Pool(spec) => Ok(spec.shape(first)),
            Self::Correlation(spec) => spec.shape(inputs),
            Self::Upsample => Ok(Shape { h: 2 * first.h, w: 2 * first.w, ..first }),
            Self::Concat => mix::concat_shape(inputs),
            Self::Sum | Self::Mix { .. } => mix::sum_shape(inputs),
            Self::Outputs => mix::outputs_shape(inputs),
        }
    }

    /// Multiply-adds of its products, for states of these shapes.
    pub fn macs(&self, inputs: &[Shape]) -> u64 {
        let out = self.shape(inputs).map_or(0, |shape| shape.n * shape.px());
        let each = match self {
            Self::Conv(spec) => spec.k * spec.k * spec.c_in * spec.c_out,
            Self::Linear(spec) => spec.c_in * spec.classes,
            Self::Depthwise(spec) => spec.k * spec.k * spec.c,
            // Of an output one in four taps along each axis meets a pixel.
            Self::Transposed(spec) => 4 * spec.c_in * spec.c_out,
            Self::Correlation(spec) => (2 * spec.displacement + 1) * inputs[0].c,
            _ => 0,
        };
        (out * each) as u64
    }

    /// Value into `out`.
    ///
    /// # Panics
    /// If a slice has not the length its shape says; so do the others.
    pub fn forward<T: Scalar>(&self, at: &At<T>, out: &mut [T]) -> Saved {
        self.check(at, out.len());
        T::forward(self, at, out)
    }

    /// Adds the gradients of <y, g>, given the output.
    pub fn vjp<T: Scalar>(&self, at: &At<T>, saved: &Saved, out: &[T], g: &[T], bars: &mut Bars<T>) {
        self.check(at, g.len());
        T::vjp(self, at, saved, out, g, bars);
    }

    /// The tangent of the output into `out_dot`.
    pub fn jvp<T: Scalar>(&self, at: &At<T>, saved: &Saved, out: &[T], dot: &Direction<T>, out_dot: &mut [T]) {
        self.check(at, out_dot.len());
        T::jvp(self, at, saved, out, dot, out_dot);
    }

    /// Adds the gradients of <J dot, d> with respect to the point: with [`Layer::vjp`] of the gradient of the value it is the
    /// vjp of the jvp.
    pub fn cross<T: Scalar>(
        &self,
        at: &At<T>,
        saved: &Saved,
        out: &[T],
        dot: &Direction<T>,
        d: &[T],
        bars: &mut Bars<T>,
    ) {
        self.check(at, d.len());
        T::cross(self, at, saved, out, dot, d, bars);
    }

    fn check<T: Scalar>(&self, at: &At<T>, out: usize) {
        let shape = self.shape(&at.shapes).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(shape.len(), out, "{self:?}: the output is {shape:?}");
        assert_eq!(at.xs.len(), at.shapes.len(), "a state has a shape");
        for (x, shape) in at.xs.iter().zip(&at.shapes) {
            assert_eq!(x.len(), shape.len(), "{self:?}: a state is {shape:?}");
        }
        assert_eq!(at.w.len(), crate::spec::weights_len(&self.weights()), "{self:?}: its weights");
    }

    fn kind<T: Scalar, R>(&self, f: impl FnOnce(&dyn Kind<T>) -> R) -> R {
        match self {
            Self::Views => f(&views::Views),
            Self::View(right) => f(&views::View(*right)),
            Self::Conv(spec) => f(spec),
            Self::Linear(spec) => f(&ConvSpec::linear(spec)),
            Self::Depthwise(spec) => f(spec),
            Self::Transposed(spec) => f(spec),
            Self::LeakyRelu => f(&rectifier::Rectifier { slope: 0.1 }),
            Self::Relu => f(&rectifier::Rectifier { slope: 0.0 }),
            Self::Norm => f(&norm::Norm),
            Self::Scale(c) => f(&scale::Scale(*c)),
            Self::Channels { first, len } => f(&maps::Channels { first: *first, len: *len }),
            Self::Shuffle(groups) => f(&maps::Shuffle { groups: *groups }),
            Self::Shift => f(&maps::Shift),
            Self::Mean => f(&maps::Mean),
            Self::Pool(spec) => f(spec),
            Self::Correlation(spec) => f(spec),
            Self::Upsample => f(&resample::Upsample),
            Self::Concat => f(&mix::Concat),
            Self::Sum => f(&mix::Mix { alphas: None }),
            Self::Mix { alphas, .. } => f(&mix::Mix { alphas: Some(alphas) }),
            Self::Zero => f(&mix::Zero),
            Self::Outputs => f(&mix::Outputs),
        }
    }
}
