//! Numbers on a card, and the launches of kernels on them.

use cubecl::client::Client;
use cubecl::prelude::*;
use cubecl::server::Handle;
use rdarts_kernels::spec::BN_EPS;

use crate::counted::{came_down, went_up};
use crate::kernels::{ACROSS, Shape, UNITS, factorized, flat, gather, half, node, norm, pool, weights};
use crate::table::{Placed, Rows, Table};

/// Numbers on the card.
#[derive(Clone, Debug)]
pub struct Numbers {
    /// Where they lie.
    pub handle: Handle,
    /// How many.
    pub len: usize,
}

impl Numbers {
    /// Of unspecified values.
    pub fn empty(client: &Client, len: usize) -> Self {
        Self { handle: client.empty(len.max(1) * size_of::<f32>()), len: len.max(1) }
    }

    /// From the memory of the CPU.
    pub fn upload(client: &Client, values: &[f32]) -> Self {
        if values.is_empty() {
            return Self::upload(client, &[0.0]);
        }
        went_up(size_of_val(values));
        Self { handle: client.create_from_slice(f32::as_bytes(values)), len: values.len() }
    }

    /// Zeros, which do not come from the CPU.
    pub fn zeros(client: &Client, len: usize) -> Self {
        let made = Self::empty(client, len);
        made.fill(client, 0.0);
        made
    }

    /// Makes all values the same.
    pub(crate) fn fill(&self, client: &Client, value: f32) {
        const EACH: usize = 4;
        const CUBES: usize = 1024;
        let count = CubeCount::Static(self.len.div_ceil(UNITS * EACH).clamp(1, CUBES) as u32, 1, 1);
        flat::fill::launch(client, count, CubeDim::new_1d(UNITS as u32), self.arg(), value, self.len as u32);
    }

    /// To the memory of the CPU.
    ///
    /// # Panics
    /// If the card was lost.
    pub fn download(&self, client: &Client) -> Vec<f32> {
        let bytes = client.read_one(self.handle.clone()).expect("the card answers");
        came_down(self.len * size_of::<f32>());
        f32::from_bytes(&bytes)[..self.len].to_vec()
    }

    pub(crate) fn arg(&self) -> BufferArg {
        // SAFETY: the handle was made for this many values, or for more.
        unsafe { BufferArg::from_raw_parts(self.handle.clone(), self.len) }
    }
}

impl Placed {
    pub(crate) fn arg(&self) -> BufferArg {
        // SAFETY: the table has this many numbers.
        unsafe { BufferArg::from_raw_parts(self.handle.clone(), self.len) }
    }
}

/// Tensors that a cell is evaluated at.
#[derive(Clone, Debug)]
pub struct Input {
    /// Output of the cell before the last and of the last one, (n, h, w, c).
    pub states: [Numbers; 2],
    /// Mixing weights.
    pub p: Numbers,
    /// All weights.
    pub w: Numbers,
    /// Drop-path factors (path, image), if there are any.
    pub drop: Option<Numbers>,
}

/// No state: the input is a buffer of the cell.
pub(crate) const FROM_ARENA: usize = usize::MAX;

/// Launches of one cell, as they are put together.
#[derive(Default)]
pub(crate) struct Program {
    table: Table,
    launches: Vec<Launch>,
}

/// A launch: which kernel, its cubes in a row, its rows.
pub(crate) struct Launch {
    kernel: Kernel,
    cubes: usize,
    rows: Rows,
    /// Pixels of all images.
    n_px: usize,
    c: usize,
}

#[derive(Clone, Copy)]
pub(crate) enum Kernel {
    Half { s: Shape },
    Factorized { s: Shape, input: usize },
    Pool { s: Shape, is_max: bool },
    Learn,
    Node { px_of_image: usize, terms: usize },
    Gather { s: Shape, stretch: usize },
    LearnGradient,
    HalfProduct { s: Shape },
    FactorizedProduct { s: Shape, input: usize },
    FactorizedPixels { s: Shape, input: usize },
    PoolBack { s: Shape, is_max: bool },
    Reduce,
}

/// The buffers of a launch; those that a pass does not have are dummies.
pub(crate) struct Buffers<'a> {
    pub input: &'a Input,
    pub arena: &'a Numbers,
    pub coefs: &'a Numbers,
    pub partials: &'a Numbers,
    pub drop: &'a Numbers,
    pub output: &'a Numbers,
    pub gradients: &'a Numbers,
    pub to_input: [&'a Numbers; 2],
    pub p_bar: &'a Numbers,
    pub w_bar: &'a Numbers,
    pub parts: &'a Numbers,
    pub dummy: &'a Numbers,
    /// Another one, to write to: nothing is bound to be read and to be written at once.
    pub spare: &'a Numbers,
    pub n_images: u32,
}

pub(crate) type Row = (Vec<usize>, Vec<usize>);

impl Program {
    /// How many launches it is.
    pub fn len(&self) -> usize {
        self.launches.len()
    }

    pub fn add(&mut self, kernel: Kernel, cubes: usize, n_px: usize, c: usize, rows: Vec<Row>) {
        if rows.is_empty() {
            return;
        }
        let rows = self.table.add(rows);
        self.launches.push(Launch { kernel, cubes, rows, n_px, c });
    }

    pub fn run(self, client: &Client, b: &Buffers<'_>) {
        let table = self.table.upload(client);
        for launch in &self.launches {
            launch.run(client, b, || table.arg());
        }
    }
}

impl Launch {
    fn run(&self, client: &Client, b: &Buffers<'_>, table: impl Fn() -> BufferArg) {
        let across = self.cubes.min(ACROSS);
        let count = match self.kernel {
            Kernel::Learn | Kernel::LearnGradient => CubeCount::Static(self.rows.n, 1, 1),
            _ => CubeCount::Static(across as u32, self.rows.n, self.cubes.div_ceil(across) as u32),
        };
        let dim = CubeDim::new_1d(UNITS as u32);
        let (at, n_px, c) = (self.rows.at, self.n_px as u32, self.c);
        let state = |input: usize| b.input.states.get(input).unwrap_or(b.dummy).arg();
        let to = |input: usize| b.to_input.get(input).map_or(b.spare.arg(), |to| to.arg());
        let w = || b.input.w.arg();
        let (arena, coefs, partials) = (|| b.arena.arg(), || b.coefs.arg(), || b.partials.arg());
        let (p, drop, gradients, parts) = (|| b.input.p.arg(), || b.drop.arg(), || b.gradients.arg(), || b.parts.arg());
        let (eps, n_images) = (BN_EPS as f32, b.n_images);
        match self.kernel {
            Kernel::Half { s } => half::forward::launch(
                client,
                count,
                dim,
                state(0),
                state(1),
                arena(),
                coefs(),
                w(),
                table(),
                partials(),
                at,
                n_px,
                eps,
                s,
            ),
            Kernel::Factorized { s, input } => factorized::forward::launch(
                client,
                count,
                dim,
                state(input),
                arena(),
                coefs(),
                w(),
                table(),
                partials(),
                at,
                n_px,
                eps,
                s,
            ),
            Kernel::Pool { s, is_max } => {
                pool::forward::launch(client, count, dim, arena(), coefs(), table(), partials(), at, n_px, is_max, s)
            }
            Kernel::Learn => norm::learn::launch(client, count, dim, partials(), coefs(), w(), table(), at, eps, c),
            Kernel::Node { px_of_image, terms } => node::sum::launch(
                client,
                count,
                dim,
                arena(),
                coefs(),
                p(),
                w(),
                drop(),
                table(),
                partials(),
                at,
                n_px,
                px_of_image as u32,
                n_images,
                eps,
                terms,
                c,
            ),
            Kernel::Gather { s, stretch } => gather::gather::launch(
                client,
                count,
                dim,
                b.output.arg(),
                arena(),
                gradients(),
                coefs(),
                p(),
                w(),
                drop(),
                table(),
                partials(),
                at,
                n_px,
                n_images,
                stretch as u32,
                s,
            ),
            Kernel::LearnGradient => norm::learn_gradient::launch(
                client,
                count,
                dim,
                partials(),
                coefs(),
                p(),
                w(),
                table(),
                b.p_bar.arg(),
                b.w_bar.arg(),
                at,
                n_px,
                c,
            ),
            Kernel::HalfProduct { s } => half::back_product::launch(
                client,
                count,
                dim,
                state(0),
                state(1),
                arena(),
                gradients(),
                b.to_input[0].arg(),
                b.to_input[1].arg(),
                coefs(),
                partials(),
                p(),
                w(),
                drop(),
                table(),
                parts(),
                at,
                n_px,
                n_images,
                s,
            ),
            Kernel::FactorizedProduct { s, input } => factorized::back_product::launch(
                client,
                count,
                dim,
                state(input),
                arena(),
                gradients(),
                coefs(),
                partials(),
                p(),
                w(),
                drop(),
                table(),
                parts(),
                at,
                n_px,
                n_images,
                s,
            ),
            Kernel::FactorizedPixels { s, input } => factorized::back_pixels::launch(
                client,
                count,
                dim,
                state(input),
                arena(),
                gradients(),
                to(input),
                coefs(),
                w(),
                table(),
                at,
                n_px,
                s,
            ),
            Kernel::PoolBack { s, is_max } => pool::back::launch(
                client,
                count,
                dim,
                arena(),
                gradients(),
                coefs(),
                drop(),
                table(),
                at,
                n_px,
                n_images,
                is_max,
                s,
            ),
            Kernel::Reduce => weights::reduce::launch(client, count, dim, parts(), b.w_bar.arg(), table(), at),
        }
    }
}
