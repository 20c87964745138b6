//! What stays on a card, as tensors of the framework: they share its memory.

use std::sync::Arc;

use burn::backend::{Cube, DispatchDevice, TensorMetadata};
use burn::tensor::{DType, Device, Shape, Tensor};
use burn_cubecl::CubeDevice;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use rdarts_gpu::cubecl::client::Client;
use rdarts_gpu::{Flat, Layout, Numbers, Stretch};

/// The framework's name of a card.
fn cube(device: &Device) -> CubeDevice {
    let plain = if device.is_autodiff() { device.clone().inner() } else { device.clone() };
    match plain.as_dispatch() {
        DispatchDevice::Cube(device) => device.clone(),
        other => unreachable!("{other:?} is no graphics card"),
    }
}

/// Who launches kernels on a card.
pub(crate) fn client(device: &Device) -> Client {
    cube(device).client()
}

/// A tensor of what lies on a card.
pub(crate) fn lying<const D: usize>(numbers: Numbers, client: &Client, size: [usize; D], device: &Device) -> Tensor<D> {
    let t = CubeTensor::new_contiguous(client.clone(), cube(device), Shape::from(size), numbers.handle, DType::F32);
    let t = Tensor::<D>::from_primitive::<Cube>(t);
    if device.is_autodiff() { t.autodiff() } else { t }
}

/// The weights of a node.
pub(crate) fn leaf(all: &Flat, node: usize, len: usize, device: &Device) -> Tensor<1> {
    lying(all.part(node), all.client(), [len], device)
}

/// The weights of each node, with a direction behind them or with zeros.
pub(crate) fn dual_leaves(lens: &[usize], w: &Flat, v: Option<&Flat>, device: &Device) -> Vec<Tensor<1>> {
    let layout = Arc::new(Layout::new(lens.iter().map(|len| 2 * len).collect()));
    let mut both = Flat::zeros(w.client(), &layout);
    let stretches = |second: usize| -> Vec<Stretch> {
        let of = |(at, len): (usize, &usize)| (w.layout().start(at), layout.start(at) + second * len, *len);
        lens.iter().enumerate().map(of).collect()
    };
    both.copy_of(w, &stretches(0));
    if let Some(v) = v {
        both.copy_of(v, &stretches(1));
    }
    (0..lens.len()).map(|at| leaf(&both, at, 2 * lens[at], device)).collect()
}

/// The weights that a pruned network has kept, see `Network::stretches`.
pub(crate) fn pruned(all: &Flat, parts: Vec<usize>, stretches: &[[usize; 5]]) -> Flat {
    let layout = Arc::new(Layout::new(parts));
    let mut kept = Flat::zeros(all.client(), &layout);
    let of =
        |&[node, from, there, to, len]: &[usize; 5]| (all.layout().start(node) + from, layout.start(there) + to, len);
    kept.copy_of(all, &stretches.iter().map(of).collect::<Vec<_>>());
    kept
}

/// The gradient of all weights, given that of those that a pruned network has kept.
pub(crate) fn unpruned(all: &Flat, of_kept: &Flat, stretches: &[[usize; 5]]) -> Flat {
    let mut made = Flat::zeros(all.client(), all.layout());
    let of = |&[node, from, there, to, len]: &[usize; 5]| {
        (of_kept.layout().start(there) + to, all.layout().start(node) + from, len)
    };
    made.copy_of(of_kept, &stretches.iter().map(of).collect::<Vec<_>>());
    made
}

/// What a tensor is made of.
pub(crate) fn numbers_of(t: Tensor<1>) -> Numbers {
    let t = into_contiguous(t.try_into_primitive::<Cube>().expect("a gradient is on the card of its weights"));
    Numbers { len: t.shape().num_elements(), handle: t.handle }
}
