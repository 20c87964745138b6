//! Networks of layers as they are wired: a list of layers, each with the states that it reads.

use rdarts_kernels::dense::{ConvSpec, Layer};
use rdarts_kernels::spec::HeadSpec;

use crate::graph::{List, Module, Source};

/// A state on its way: where it comes from, and its channels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    pub(crate) at: Source,
    pub(crate) c: usize,
}

/// A network as far as it is wired.
#[derive(Debug, Default)]
pub(crate) struct Wiring {
    pub(crate) list: List,
}

impl Wiring {
    /// A layer that reads `inputs` and gives `c` channels; names of its weights begin with `prefix`.
    pub(crate) fn add(&mut self, layer: Layer, inputs: &[State], c: usize, prefix: &str) -> State {
        let at = Source::Node(self.list.len());
        self.list.push((Module::Layer(layer), inputs.iter().map(|state| state.at).collect(), prefix.to_string()));
        State { at, c }
    }

    /// A dense convolution without bias.
    pub(crate) fn convolution(&mut self, x: State, c: usize, k: usize, stride: usize, prefix: &str) -> State {
        let spec = ConvSpec { c_in: x.c, c_out: c, k, stride, dilation: 1, bias: false };
        self.add(Layer::Conv(spec), &[x], c, prefix)
    }

    /// Batch norm with scale and shift.
    pub(crate) fn scaled_norm(&mut self, x: State, prefix: &str) -> State {
        let x = self.add(Layer::Norm, &[x], x.c, prefix);
        self.add(Layer::Scale(x.c), &[x], x.c, prefix)
    }

    /// The head of a classification: the mean over an image, and a linear layer. Gives the place of the output.
    pub(crate) fn classifier(&mut self, x: State, classes: usize) -> usize {
        let mean = self.add(Layer::Mean, &[x], x.c, "mean.");
        let linear = Layer::Linear(HeadSpec { c_in: mean.c, classes });
        let logits = self.add(linear, &[mean], classes, "classifier.");
        self.add(Layer::Outputs, &[logits], classes, "outputs.");
        self.list.len() - 1
    }
}

/// The nodes that the output reads: of an architecture whose cell leaves a state alone not all are.
pub(crate) fn read_ones(list: List, output: usize) -> (List, usize) {
    let mut read = vec![false; list.len()];
    read[output] = true;
    for at in (0..list.len()).rev() {
        if read[at] {
            list[at].1.iter().for_each(|source| {
                if let Source::Node(from) = source {
                    read[*from] = true;
                }
            });
        }
    }
    let moved: Vec<usize> = read
        .iter()
        .scan(0, |next, is_read| {
            let at = *next;
            *next += usize::from(*is_read);
            Some(at)
        })
        .collect();
    let kept = list.into_iter().zip(&read).filter(|(_, is_read)| **is_read).map(|((module, mut inputs, prefix), _)| {
        inputs.iter_mut().for_each(|source| {
            if let Source::Node(from) = source {
                *from = moved[*from];
            }
        });
        (module, inputs, prefix)
    });
    (kept.collect(), moved[output])
}
