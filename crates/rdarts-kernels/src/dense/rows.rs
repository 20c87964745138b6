//! What the layers share: images on threads, partial sums in a fixed order, means of channels.

use rayon::prelude::*;

use super::Scalar;
use crate::Kernels;
use crate::plan::chunk_images;
use rdarts_simd::Isa;

/// Products that are worth another thread.
pub(super) const WORTH: usize = 1 << 14;

/// Calls f for each image with its part of `out`; in parallel if that is worth it.
pub(super) fn images<T: Scalar>(kernels: &Kernels, n: usize, out: &mut [T], f: impl Fn(Isa, usize, &mut [T]) + Sync) {
    costly_images(kernels, (n, 1), out, f);
}

/// The same where each value of `out` takes so many products.
pub(super) fn costly_images<T: Scalar>(
    kernels: &Kernels,
    (n, of_each): (usize, usize),
    out: &mut [T],
    f: impl Fn(Isa, usize, &mut [T]) + Sync,
) {
    let (isa, len) = (kernels.isa(), out.len() / n);
    if len == 0 {
        return;
    }
    if out.len() * of_each < WORTH {
        return out.chunks_mut(len).enumerate().for_each(|(image, out)| f(isa, image, out));
    }
    out.par_chunks_mut(len).enumerate().for_each(|(image, out)| f(isa, image, out));
}

/// Image `at` of n in a slice.
pub(super) fn image<T>(values: &[T], n: usize, at: usize) -> &[T] {
    let len = values.len() / n;
    &values[at * len..(at + 1) * len]
}

/// Adds to `total` what f adds for each image, with so many products in one: groups of images in parallel, each to zeros, and their sums in the
/// order of the groups, which depend on the sizes alone. A single group adds to the total itself.
pub(super) fn summed<T: Scalar>(
    kernels: &Kernels,
    (n, of_image): (usize, usize),
    total: &mut [T],
    f: impl Fn(Isa, usize, &mut [T]) + Sync,
) {
    // The sums of a group are written and added once more: with few values in an image they would be most of the work.
    let least = (total.len() / 4).max(WORTH).div_ceil(of_image.max(1));
    let (isa, each) = (kernels.isa(), chunk_images(n).max(least).min(n.max(1)));
    let images = |group: usize| group * each..((group + 1) * each).min(n);
    if each >= n {
        return images(0).for_each(|image| f(isa, image, total));
    }
    let groups: Vec<Vec<T>> = (0..n.div_ceil(each))
        .into_par_iter()
        .map(|group| {
            let mut part = vec![T::default(); total.len()];
            images(group).for_each(|image| f(isa, image, &mut part));
            part
        })
        .collect();
    for part in groups {
        T::add_to(total, &part);
    }
}

/// For each channel the means over all pixels of each product of factors: `[factors][c]`, in double precision. A product is
/// of one or two slices.
pub(super) fn means<T: Scalar>(kernels: &Kernels, n: usize, c: usize, products: &[(&[T], Option<&[T]>)]) -> Vec<f64> {
    let len = products[0].0.len() / n;
    let mut sums = vec![0.0; products.len() * c];
    summed(kernels, (n, len), &mut sums, |isa, at, sums| {
        compiled!(T, isa, {
            for ((a, b), sums) in products.iter().zip(sums.chunks_exact_mut(c)) {
                let a = &a[at * len..(at + 1) * len];
                match b {
                    Some(b) => sum_products(a, &b[at * len..(at + 1) * len], sums),
                    None => sum_values(a, sums),
                }
            }
        })
    });
    let px = (len * n / c) as f64;
    sums.iter_mut().for_each(|sum| *sum /= px);
    sums
}

/// Adds an image to the sums of its channels.
#[inline(always)]
pub(super) fn sum_values<T: Scalar>(a: &[T], sums: &mut [f64]) {
    fold_channels(sums, [a], |sum, [a]| sum + a.wide());
}

/// Adds products of two images to the sums of their channels.
#[inline(always)]
pub(super) fn sum_products<T: Scalar>(a: &[T], b: &[T], sums: &mut [f64]) {
    fold_channels(sums, [a, b], |sum, [a, b]| sum + a.wide() * b.wide());
}

/// Folds the pixels of an image for each channel, eight channels at a time, whose sums stay in registers.
#[inline(always)]
fn fold_channels<T: Copy, const N: usize>(sums: &mut [f64], from: [&[T]; N], f: impl Fn(f64, [T; N]) -> f64) {
    let c = sums.len();
    let px = from[0].len() / c;
    let from = from.map(|values| &values[..px * c]);
    let (blocks, rest) = sums.as_chunks_mut::<8>();
    let n_blocks = blocks.len();
    for (block, sums) in blocks.iter_mut().enumerate() {
        let mut folded = *sums;
        for at in (0..px).map(|px| px * c + 8 * block) {
            let from = from.map(|values| &values[at..at + 8]);
            for i in 0..8 {
                folded[i] = f(folded[i], from.map(|values| values[i]));
            }
        }
        *sums = folded;
    }
    for (i, sum) in rest.iter_mut().enumerate() {
        for at in (0..px).map(|px| px * c + 8 * n_blocks + i) {
            *sum = f(*sum, from.map(|values| values[at]));
        }
    }
}

/// The sum of products of two slices, by image, in double precision.
pub(super) fn dot<T: Scalar>(kernels: &Kernels, n: usize, a: &[T], b: &[T]) -> f64 {
    let mut total = [0.0];
    summed(kernels, (n, a.len() / n), &mut total, |isa, at, total| {
        total[0] +=
            compiled!(T, isa, in_eight(image(a, n, at), image(b, n, at), 0.0, |sum, a, b| sum + a.wide() * b.wide()));
    });
    total[0]
}

/// Folds pairs of values in eight parts, which a register holds, and adds those in their order.
#[inline(always)]
pub(super) fn in_eight<T: Copy, S: Copy + std::ops::Add<Output = S>>(
    a: &[T],
    b: &[T],
    zero: S,
    f: impl Fn(S, T, T) -> S,
) -> S {
    let mut sums = [zero; 8];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for i in 0..8 {
            sums[i] = f(sums[i], a[i], b[i]);
        }
    }
    for (sum, (a, b)) in sums.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *sum = f(*sum, *a, *b);
    }
    sums.into_iter().fold(zero, |total, sum| total + sum)
}

/// Calls f for each channel of a pixel with its values, eight channels at a time: the compiler's own loops want more of them than
/// most pixels have.
#[inline(always)]
pub(super) fn by_channel<O, T: Copy, const N: usize>(to: &mut [O], from: [&[T]; N], f: impl Fn(&mut O, [T; N])) {
    let c = to.len();
    let (to, to_rest) = to.as_chunks_mut::<8>();
    let from = from.map(|values| values[..c].as_chunks::<8>());
    for (block, to) in to.iter_mut().enumerate() {
        let from = from.map(|(values, _)| &values[block]);
        for i in 0..8 {
            f(&mut to[i], from.map(|values| values[i]));
        }
    }
    for (i, to) in to_rest.iter_mut().enumerate() {
        f(to, from.map(|(_, rest)| rest[i]));
    }
}

/// Calls f for each value of an image with those of other images of the same size and the factors of its channel, eight channels
/// at a time, whose factors stay in registers.
#[inline(always)]
pub(super) fn by_pixel<T: Copy, const N: usize, const M: usize>(
    to: &mut [T],
    from: [&[T]; N],
    factors: [&[T]; M],
    f: impl Fn(&mut T, [T; N], [T; M]),
) {
    let c = factors[0].len();
    let px = to.len() / c;
    let from = from.map(|values| &values[..px * c]);
    let of = factors.map(|of| of[..c].as_chunks::<8>());
    let n_blocks = c / 8;
    for block in 0..n_blocks {
        let of = of.map(|(of, _)| of[block]);
        for at in (0..px).map(|px| px * c + 8 * block) {
            let (to, from) = (&mut to[at..at + 8], from.map(|values| &values[at..at + 8]));
            for i in 0..8 {
                f(&mut to[i], from.map(|values| values[i]), of.map(|of| of[i]));
            }
        }
    }
    for i in 8 * n_blocks..c {
        let of = factors.map(|of| of[i]);
        for at in (0..px).map(|px| px * c + i) {
            f(&mut to[at], from.map(|values| values[at]), of);
        }
    }
}

/// The transpose of a matrix of `columns` columns.
pub(super) fn transpose<T: Scalar>(matrix: &[T], columns: usize) -> Vec<T> {
    /// Rows and columns that are in the first cache level together.
    const TILE: usize = 16;
    let rows = matrix.len() / columns;
    let mut out = vec![T::default(); matrix.len()];
    for first_row in (0..rows).step_by(TILE) {
        for first in (0..columns).step_by(TILE) {
            for column in first..(first + TILE).min(columns) {
                let last_row = (first_row + TILE).min(rows);
                for (row, out) in (first_row..last_row).zip(&mut out[column * rows + first_row..]) {
                    *out = matrix[row * columns + column];
                }
            }
        }
    }
    out
}
