//! What the layers share: images on threads, partial sums in a fixed order, means of channels.

use rayon::prelude::*;

use super::Scalar;
use crate::Kernels;
use crate::plan::chunk_images;

/// Calls f for each image with its part of `out`, in parallel.
pub(super) fn images<T: Scalar>(kernels: &Kernels, n: usize, out: &mut [T], f: impl Fn(usize, &mut [T]) + Sync) {
    let (isa, len) = (kernels.isa(), out.len() / n);
    if len == 0 {
        return;
    }
    out.par_chunks_mut(len).enumerate().for_each(|(image, out)| isa.run(|| f(image, out)));
}

/// Image `at` of n in a slice.
pub(super) fn image<T>(values: &[T], n: usize, at: usize) -> &[T] {
    let len = values.len() / n;
    &values[at * len..(at + 1) * len]
}

/// Adds to `total` what f adds to zeros for each image: groups of images in parallel, their sums in the order of the groups.
pub(super) fn summed<T: Scalar>(kernels: &Kernels, n: usize, total: &mut [T], f: impl Fn(usize, &mut [T]) + Sync) {
    let (isa, each) = (kernels.isa(), chunk_images(n));
    let groups: Vec<Vec<T>> = (0..n.div_ceil(each))
        .into_par_iter()
        .map(|group| {
            let mut part = vec![T::default(); total.len()];
            let images = group * each..((group + 1) * each).min(n);
            images.for_each(|image| isa.run(|| f(image, &mut part)));
            part
        })
        .collect();
    for part in groups {
        total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
    }
}

/// For each channel the means over all pixels of each product of factors: `[factors][c]`, in double precision. A product is
/// of one or two slices.
pub(super) fn means<T: Scalar>(kernels: &Kernels, n: usize, c: usize, products: &[(&[T], Option<&[T]>)]) -> Vec<f64> {
    let len = products[0].0.len() / n;
    let mut sums = vec![0.0; products.len() * c];
    summed(kernels, n, &mut sums, |at, sums| {
        for ((a, b), sums) in products.iter().zip(sums.chunks_exact_mut(c)) {
            let a = &a[at * len..(at + 1) * len];
            match b {
                Some(b) => sum_products(a, &b[at * len..(at + 1) * len], sums),
                None => sum_values(a, sums),
            }
        }
    });
    let px = (len * n / c) as f64;
    sums.iter_mut().for_each(|sum| *sum /= px);
    sums
}

#[inline(always)]
pub(super) fn sum_values<T: Scalar>(a: &[T], sums: &mut [f64]) {
    for a in a.chunks_exact(sums.len()) {
        sums.iter_mut().zip(a).for_each(|(sum, a)| *sum += a.wide());
    }
}

#[inline(always)]
fn sum_products<T: Scalar>(a: &[T], b: &[T], sums: &mut [f64]) {
    let c = sums.len();
    for (a, b) in a.chunks_exact(c).zip(b.chunks_exact(c)) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a.wide() * b.wide());
    }
}

/// The sum of products of two slices, by image, in double precision.
pub(super) fn dot<T: Scalar>(kernels: &Kernels, n: usize, a: &[T], b: &[T]) -> f64 {
    let mut total = [0.0];
    summed(kernels, n, &mut total, |at, total| {
        total[0] += image(a, n, at).iter().zip(image(b, n, at)).map(|(a, b)| a.wide() * b.wide()).sum::<f64>();
    });
    total[0]
}

/// The transpose of a matrix of `columns` columns.
pub(super) fn transpose<T: Scalar>(matrix: &[T], columns: usize) -> Vec<T> {
    let rows = matrix.len() / columns;
    let mut out = vec![T::default(); matrix.len()];
    for (r, row) in matrix.chunks_exact(columns).enumerate() {
        row.iter().enumerate().for_each(|(c, value)| out[c * rows + r] = *value);
    }
    out
}
