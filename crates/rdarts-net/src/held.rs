//! Weights and what stays beside them, wherever they lie.
//!
//! A run on a card keeps weights, momentum or moments, and running statistics there: they come back when someone reads them, for a
//! checkpoint or a measurement, and go up again when someone writes them here. On the CPU a [`Held`] is a vector.

use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;

use rdarts_kernels::workspace::Workspace;

use crate::engine::Engine;
use crate::values::Real;

/// Numbers in single precision that lie where they were written last: in the memory of the CPU or on a card. To read them
/// as a slice brings them down, once; to write them as a slice takes them off the card. A card that was lost meanwhile is a
/// panic, as everywhere: see [`Engine::guarded`].
#[derive(Debug, Default)]
pub struct Held {
    len: usize,
    host: OnceLock<Vec<f32>>,
    #[cfg(feature = "gpu")]
    card: Option<rdarts_gpu::Flat>,
}

impl Held {
    /// Puts them on the card that an engine computes on, in parts of these lengths, unless they are there; on the CPU they
    /// stay where they are.
    ///
    /// # Panics
    /// If the lengths do not add up to theirs.
    pub fn place(&mut self, engine: &Engine, parts: impl FnOnce() -> Vec<usize>) {
        #[cfg(feature = "gpu")]
        if self.card.is_none() && !engine.is_cpu() {
            let layout = std::sync::Arc::new(rdarts_gpu::Layout::new(parts()));
            self.card = Some(rdarts_gpu::Flat::upload(&crate::resident::client(&engine.device), &layout, self));
        }
        #[cfg(not(feature = "gpu"))]
        let _ = (engine, parts);
    }

    /// The values, as a vector.
    pub fn into_vec(self) -> Vec<f32> {
        _ = &self[..];
        self.host.into_inner().unwrap_or_default()
    }

    /// Whether they lie on a card.
    pub fn is_on_card(&self) -> bool {
        #[cfg(feature = "gpu")]
        return self.card.is_some();
        #[cfg(not(feature = "gpu"))]
        false
    }

    #[cfg(feature = "gpu")]
    pub(crate) fn card(&self) -> Option<&rdarts_gpu::Flat> {
        self.card.as_ref()
    }

    /// To write there: what was read of it here is forgotten.
    #[cfg(feature = "gpu")]
    pub(crate) fn card_mut(&mut self) -> Option<&mut rdarts_gpu::Flat> {
        let card = self.card.as_mut()?;
        self.host = OnceLock::new();
        Some(card)
    }

    #[cfg(feature = "gpu")]
    pub(crate) fn on_card(card: rdarts_gpu::Flat) -> Self {
        Self { len: card.layout().n(), host: OnceLock::new(), card: Some(card) }
    }

    /// A step of SGD on these weights where they lie on a card, with momentum and gradient there: b <- mu b + g + l2 w,
    /// w <- w - lr b, with g scaled so that its norm is at most `max_norm`. Returns the norm before, `None` on the CPU, where
    /// nothing was done.
    pub fn sgd_on_card(&mut self, momentum: &mut Self, gradient: &Self, step: SgdStep) -> Option<f64> {
        #[cfg(feature = "gpu")]
        if let (Some(w), Some(b), Some(g)) = (self.card_mut(), momentum.card_mut(), gradient.card()) {
            let SgdStep { lr, momentum, l2, max_norm } = step;
            return Some(w.sgd(b, g, rdarts_gpu::SgdStep { lr, momentum, l2, max_norm }));
        }
        let _ = (momentum, gradient, step);
        None
    }

    /// A step of Adam on these weights where they lie on a card, with both moments and the gradient there, scaled so that its norm
    /// is at most the step's. Returns the norm before, `None` on the CPU, where nothing was done.
    pub fn adam_on_card(&mut self, moments: [&mut Self; 2], gradient: &Self, step: AdamStep) -> Option<f64> {
        #[cfg(feature = "gpu")]
        {
            let [m, v] = moments;
            if let (Some(w), Some(m), Some(v), Some(g)) = (self.card_mut(), m.card_mut(), v.card_mut(), gradient.card())
            {
                let AdamStep { rate, root, first, second, eps, l2, max_norm } = step;
                let step = rdarts_gpu::AdamStep { rate, root, first, second, eps, l2, max_norm };
                return Some(w.adam([m, v], g, step));
            }
        }
        #[cfg(not(feature = "gpu"))]
        let _ = (moments, gradient, step);
        None
    }

    /// a <- kept a + (1 - kept) v on a card; whether that was done there.
    pub fn average_on_card(&mut self, values: &Self, kept: f64) -> bool {
        #[cfg(feature = "gpu")]
        if let (Some(v), Some(a)) = (values.card(), self.card_mut()) {
            a.average(v, kept);
            return true;
        }
        let _ = (values, kept);
        false
    }
}

/// The images of a data set on a card, as bytes: a batch is made of them there.
#[derive(Debug)]
pub struct CardImages {
    #[cfg(feature = "gpu")]
    images: rdarts_gpu::Images,
}

impl CardImages {
    /// Of a card's memory what images may take at most: a quarter, and never more than a kernel can be bound to everywhere.
    pub const SHARE: u64 = 4;
    /// See [`CardImages::SHARE`].
    pub const MOST: u64 = 1 << 30;

    /// Sends the bytes of all images, (n, rows, columns, channels), to the card that an engine computes on, with what each
    /// byte is in each channel. None on the CPU, and if they take too much of the card's memory, or it is not known.
    pub fn upload(engine: &Engine, bytes: &[u8], values: &[[f32; 256]], size: [usize; 3]) -> Option<Self> {
        let memory = engine.gpu.as_ref()?.memory?;
        if bytes.is_empty() || bytes.len() as u64 > (memory / Self::SHARE).min(Self::MOST) {
            return None;
        }
        #[cfg(feature = "gpu")]
        let client = crate::resident::client(&engine.device);
        #[cfg(feature = "gpu")]
        return Some(Self { images: rdarts_gpu::Images::upload(&client, bytes, values, size) });
        #[cfg(not(feature = "gpu"))]
        {
            _ = (values, size);
            None
        }
    }

    /// A batch, (n, rows, columns, channels), by a record for each image: 0 which one, 1 and 2 row and column of its crop's first
    /// pixel with `padding` black pixels around it, 3 whether it is mirrored, 4 to 7 the rows and columns of zeros, from and
    /// up to before.
    pub fn make(&self, records: &[[u32; 8]], padding: u32) -> Held {
        #[cfg(feature = "gpu")]
        return Held::on_card(self.images.make(records, padding));
        #[cfg(not(feature = "gpu"))]
        unreachable!("{records:?} with {padding}: there is no card")
    }
}

/// A step of SGD.
#[derive(Clone, Copy, Debug)]
pub struct SgdStep {
    /// Learning rate.
    pub lr: f64,
    /// Momentum mu.
    pub momentum: f64,
    /// Coupled L2 regularisation.
    pub l2: f64,
    /// The largest norm of the gradient.
    pub max_norm: f64,
}

/// A step of Adam, as its number makes it.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// Learning rate over 1 - beta1^t.
    pub rate: f32,
    /// The root of 1 - beta2^t.
    pub root: f32,
    /// Decay of the mean of the gradient, and one less it.
    pub first: [f32; 2],
    /// Decay of the mean of its square, and one less it.
    pub second: [f32; 2],
    /// What is added to the denominator.
    pub eps: f32,
    /// Coupled L2 regularisation.
    pub l2: f32,
    /// The largest norm of the gradient.
    pub max_norm: f32,
}

impl From<Vec<f32>> for Held {
    fn from(values: Vec<f32>) -> Self {
        Self {
            len: values.len(),
            host: OnceLock::from(values),
            #[cfg(feature = "gpu")]
            card: None,
        }
    }
}

/// What is on a card comes down.
impl Deref for Held {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.host.get_or_init(|| {
            #[cfg(feature = "gpu")]
            if let Some(card) = &self.card {
                return card.download();
            }
            Vec::new()
        })
    }
}

/// What is on a card comes down and is none of the card's any more.
impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut [f32] {
        _ = &self[..];
        #[cfg(feature = "gpu")]
        {
            self.card = None;
        }
        self.host.get_mut().expect("it has just been read")
    }
}

/// A copy is in the memory of the CPU.
impl Clone for Held {
    fn clone(&self) -> Self {
        Self::from(self.to_vec())
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}

impl<'a> IntoIterator for &'a Held {
    type Item = &'a f32;
    type IntoIter = std::slice::Iter<'a, f32>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Flat values, wherever they lie.
pub trait Values<R> {
    /// To be read.
    fn view(&self) -> View<'_, R>;
}

impl<R> Values<R> for [R] {
    fn view(&self) -> View<'_, R> {
        View::Slice(self)
    }
}

impl<R> Values<R> for Vec<R> {
    fn view(&self) -> View<'_, R> {
        View::Slice(self)
    }
}

impl<R, const N: usize> Values<R> for [R; N] {
    fn view(&self) -> View<'_, R> {
        View::Slice(self)
    }
}

impl Values<f32> for Held {
    fn view(&self) -> View<'_, f32> {
        if self.is_on_card() { View::Held(self) } else { View::Slice(self) }
    }
}

/// Flat values to be read.
#[derive(Debug)]
pub enum View<'a, R> {
    /// In the memory of the CPU.
    Slice(&'a [R]),
    /// On a card, where there is single precision alone.
    Held(&'a Held),
}

impl<R> Clone for View<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for View<'_, R> {}

impl<'a, R, V: Values<R> + ?Sized> From<&'a V> for View<'a, R> {
    fn from(values: &'a V) -> Self {
        values.view()
    }
}

impl<'a, R: Real> View<'a, R> {
    /// How many they are.
    pub fn len(self) -> usize {
        match self {
            Self::Slice(slice) => slice.len(),
            Self::Held(held) => held.len,
        }
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// In the memory of the CPU; what is on a card comes down.
    pub fn slice(self) -> &'a [R] {
        match self {
            Self::Slice(slice) => slice,
            Self::Held(held) => R::of_single(held),
        }
    }

    /// What is on a card.
    #[cfg(feature = "gpu")]
    pub(crate) fn card(self) -> Option<&'a rdarts_gpu::Flat> {
        match self {
            Self::Slice(_) => None,
            Self::Held(held) => held.card(),
        }
    }
}

/// Flat values that were computed, where they are.
#[derive(Debug)]
pub(crate) enum Made<R> {
    Host(Vec<R>),
    #[cfg_attr(not(feature = "gpu"), expect(dead_code))]
    Card(Held),
}

impl<R: Real> Made<R> {
    pub(crate) fn view(&self) -> View<'_, R> {
        match self {
            Self::Host(values) => View::Slice(values),
            Self::Card(held) => View::Held(held),
        }
    }

    /// In the memory of the CPU.
    pub(crate) fn into_vec(self) -> Vec<R> {
        match self {
            Self::Host(values) => values,
            Self::Card(held) => R::of_single(&held).to_vec(),
        }
    }
}

impl<R: Real> Made<R> {
    /// Memory of the CPU goes back to the workspace.
    pub(crate) fn give_back(self, workspace: &Workspace) {
        if let Self::Host(values) = self {
            R::give_back(workspace, values);
        }
    }
}

impl Made<f32> {
    pub(crate) fn into_held(self) -> Held {
        match self {
            Self::Host(values) => values.into(),
            Self::Card(held) => held,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_the_cpu_it_is_a_vector() {
        let mut held = Held::from(vec![1.0, 2.0]);
        held.place(&Engine::cpu(), || unreachable!("there is no card"));
        held[1] = 5.0;
        assert_eq!((held.len(), &held[..], held.clone() == held), (2, &[1.0, 5.0][..], true));
        assert!(!held.is_on_card() && held.sgd_on_card(&mut Held::default(), &Held::default(), STEP).is_none());
        let [mut m, mut v] = [Held::default(), Held::default()];
        assert!(held.adam_on_card([&mut m, &mut v], &Held::default(), ADAM).is_none());
        assert_eq!((Held::default().into_vec(), held.into_vec()), (vec![], vec![1.0, 5.0]));
    }

    const STEP: SgdStep = SgdStep { lr: 1.0, momentum: 0.0, l2: 0.0, max_norm: 1.0 };
    const ADAM: AdamStep =
        AdamStep { rate: 1.0, root: 1.0, first: [0.5; 2], second: [0.5; 2], eps: 1e-8, l2: 0.0, max_norm: 1.0 };
}
