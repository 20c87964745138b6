//! The stem: z = scale * BN(conv3x3(x)) + shift. The images are data, so only the weights have gradients.

use rayon::prelude::*;

use crate::Kernels;
use crate::norm::{Affine, Moments, Norm, NormTangent, Sums, gradient};
use crate::plan::chunk_images;
use crate::spec::{StemSpec, weights_len};
use crate::workspace::Buffer;
use rdarts_simd::Isa;
use rdarts_simd::blend::{Source, add_moments, blend, dots};
use rdarts_simd::pointwise::{product, weight_gradient};
use rdarts_simd::window::{Feed, Window};

/// What the forward pass leaves.
#[derive(Debug)]
pub struct StemSaved {
    /// Of the forward pass, and of those that follow it.
    kernels: Kernels,
    spec: StemSpec,
    n: usize,
    side: [usize; 2],
    /// The convolution's output.
    y: Buffer,
    norm: Norm,
}

/// Value into `out`, (n, h, w, c_out), of images (n, h, w, c_in).
///
/// # Panics
/// If a slice has not the length its shape says.
pub fn forward(
    kernels: &Kernels,
    spec: StemSpec,
    n: usize,
    side: [usize; 2],
    x: &[f32],
    w: &[f32],
    out: &mut [f32],
) -> StemSaved {
    let (isa, px, c) = (kernels.isa(), side[0] * side[1], spec.c_out);
    assert!(x.len() == n * px * spec.c_in && out.len() == n * px * c && w.len() == weights_len(&spec.weights()));
    let (conv, scale, shift) = split(&spec, w);
    let mut y = kernels.workspace().buffer(n * px * c);
    let per_chunk = chunk_images(n);
    let parts: Vec<Moments> = y
        .par_chunks_mut(per_chunk * px * c)
        .zip(x.par_chunks(per_chunk * px * spec.c_in))
        .map(|(y, x)| {
            let mut window = vec![0f32; win(&spec, side).len()];
            let mut part = Moments::new(c);
            for (y, x) in y.chunks_mut(px * c).zip(x.chunks(px * spec.c_in)) {
                convolve(isa, &spec, side, x, conv, &mut window, y);
                let mut sums = vec![0f32; 2 * c];
                let (sum, square) = sums.split_at_mut(c);
                add_moments(isa, px, c, y, &y[..c], sum, square);
                part.add_pixels(px, &y[..c], sum, square);
            }
            part
        })
        .collect();
    let mut total = Moments::new(c);
    parts.iter().for_each(|p| total.merge(p));
    let norm = Norm::from_moments(&total);
    let affine = norm.affine();
    let coef: Vec<f32> = affine.of_y.iter().zip(scale).map(|(a, s)| a * s).collect();
    let shift: Vec<f32> = (0..c).map(|i| affine.shift[i] * scale[i] + shift[i]).collect();
    out.par_chunks_mut(px * c).zip(y.par_chunks(px * c)).for_each(|(out, y)| {
        blend(isa, px, c, &[Source::new(y, c, &coef)], &shift, false, out, c);
    });
    StemSaved { kernels: kernels.clone(), spec, n, side, y, norm }
}

/// Value with given means and variances, `running`, into `out`.
///
/// # Panics
/// If a slice has not the length its shape says.
#[allow(clippy::too_many_arguments)]
pub fn infer(
    kernels: &Kernels,
    spec: StemSpec,
    n: usize,
    side: [usize; 2],
    x: &[f32],
    w: &[f32],
    running: &[f32],
    out: &mut [f32],
) {
    let (isa, px, c) = (kernels.isa(), side[0] * side[1], spec.c_out);
    assert!(x.len() == n * px * spec.c_in && out.len() == n * px * c && running.len() == 2 * c, "sizes of the stem");
    let (conv, rest) = w.split_at(9 * spec.c_in * c);
    let Affine { of_y, shift, .. } = Norm::given(&running[..c], &running[c..]).with_factors(rest).affine();
    let folded: Vec<f32> = conv.chunks(c).flat_map(|row| row.iter().zip(&of_y).map(|(w, a)| w * a)).collect();
    out.par_chunks_mut(px * c).zip(x.par_chunks(px * spec.c_in)).for_each(|(out, x)| {
        let mut window = vec![0f32; win(&spec, side).len()];
        convolve(isa, &spec, side, x, &folded, &mut window, out);
        out.chunks_mut(c).for_each(|pixel| pixel.iter_mut().zip(&shift).for_each(|(y, s)| *y += s));
    });
}

impl StemSaved {
    /// Mean and unbiased variance of each channel of the convolution.
    pub fn statistics(&self) -> Vec<f64> {
        self.norm.mean.iter().copied().chain(self.norm.unbiased_variance()).collect()
    }
}

/// Gradient of the weights for the gradient g of the output.
pub fn vjp(x: &[f32], w: &[f32], saved: &StemSaved, g: &[f32]) -> Vec<f32> {
    let StemSaved { kernels, spec, n, side, y, norm } = saved;
    let (isa, px, c) = (kernels.isa(), side[0] * side[1], spec.c_out);
    let (_, scale, _) = split(spec, w);
    let per_chunk = chunk_images(*n);
    let parts: Vec<Sums> = g
        .par_chunks(per_chunk * px * c)
        .zip(y.par_chunks(per_chunk * px * c))
        .map(|(g, y)| {
            let mut sums = Sums::new(c);
            let mut pair = vec![0f32; 2 * c];
            for (g, y) in g.chunks(px * c).zip(y.chunks(px * c)) {
                dots(isa, px, c, (g, c), &[(y, c)], &mut pair);
                for i in 0..c {
                    sums.g[i] += f64::from(pair[i]);
                    sums.g_y[i] += f64::from(pair[c + i]);
                }
            }
            sums
        })
        .collect();
    let mut sums = Sums::new(c);
    parts.iter().for_each(|p| sums.merge(p));
    let coef = gradient(norm, None, &sums, |c| (f64::from(scale[c]), 0.0));
    let n_conv = 9 * spec.c_in * c;
    let parts: Vec<Vec<f32>> = g
        .par_chunks(per_chunk * px * c)
        .zip(y.par_chunks(per_chunk * px * c))
        .zip(x.par_chunks(per_chunk * px * spec.c_in))
        .map(|((g, y), x)| {
            let win = win(spec, *side);
            let (mut window, mut g_y) = (vec![0f32; win.len()], vec![0f32; px * c]);
            let mut dw = vec![0f32; n_conv];
            for ((g, y), x) in g.chunks(px * c).zip(y.chunks(px * c)).zip(x.chunks(px * spec.c_in)) {
                let sources = [Source::new(g, c, &coef.of_g), Source::new(y, c, &coef.of_y)];
                blend(isa, px, c, &sources, &coef.shift, false, &mut g_y, c);
                Feed::plain(Source::new(x, spec.c_in, &[])).fill(isa, win, &mut window);
                for ky in 0..3 {
                    for row in 0..side[0] {
                        let r = &window[(row + ky) * win.pitch() * spec.c_in..];
                        let dw = &mut dw[ky * 3 * spec.c_in * c..];
                        weight_gradient(
                            isa,
                            side[1],
                            (3 * spec.c_in, c),
                            r,
                            spec.c_in,
                            &g_y[row * side[1] * c..],
                            c,
                            dw,
                        );
                    }
                }
            }
            dw
        })
        .collect();
    let mut dw = kernels.workspace().take_vec(n_conv + 2 * c);
    dw.fill(0.0);
    for part in &parts {
        dw.iter_mut().zip(part).for_each(|(d, p)| *d += p);
    }
    dw[n_conv..].copy_from_slice(&norm.factor_gradients(&sums, 1.0));
    dw
}

/// Tangent into `out_dot` along a direction of the weights.
pub fn jvp(x: &[f32], w: &[f32], w_dot: &[f32], saved: &StemSaved, out_dot: &mut [f32]) {
    let StemSaved { kernels, spec, n, side, y, norm } = saved;
    let (isa, px, c) = (kernels.isa(), side[0] * side[1], spec.c_out);
    let ((_, scale, _), (conv_dot, scale_dot, shift_dot)) = (split(spec, w), split(spec, w_dot));
    let per_chunk = chunk_images(*n);
    let parts: Vec<[Vec<f64>; 2]> = out_dot
        .par_chunks_mut(per_chunk * px * c)
        .zip(x.par_chunks(per_chunk * px * spec.c_in))
        .zip(y.par_chunks(per_chunk * px * c))
        .map(|((y_dot, x), y)| {
            let mut window = vec![0f32; win(spec, *side).len()];
            let mut pair = vec![0f32; 2 * c];
            let mut sums = [0, 1].map(|_| vec![0f64; c]);
            for ((y_dot, x), y) in y_dot.chunks_mut(px * c).zip(x.chunks(px * spec.c_in)).zip(y.chunks(px * c)) {
                convolve(isa, spec, *side, x, conv_dot, &mut window, y_dot);
                dots(isa, px, c, (y_dot, c), &[(y, c)], &mut pair);
                for (sum, part) in sums.iter_mut().zip(pair.chunks(c)) {
                    sum.iter_mut().zip(part).for_each(|(s, v)| *s += f64::from(*v));
                }
            }
            sums
        })
        .collect();
    let mut sums = [0, 1].map(|_| vec![0f64; c]);
    for part in &parts {
        for (sum, part) in sums.iter_mut().zip(part) {
            sum.iter_mut().zip(part).for_each(|(s, v)| *s += v);
        }
    }
    let tangent: NormTangent = norm.tangent(&sums[0], &sums[1]);
    let (plain, moved) = (norm.affine(), norm.tangent_affine(&tangent, 1.0, 0.0));
    let of_dot: Vec<f32> = (0..c).map(|i| scale[i] * moved.of_dot[i]).collect();
    let of_y: Vec<f32> = (0..c).map(|i| scale[i] * moved.of_y[i] + scale_dot[i] * plain.of_y[i]).collect();
    let shift: Vec<f32> =
        (0..c).map(|i| scale[i] * moved.shift[i] + scale_dot[i] * plain.shift[i] + shift_dot[i]).collect();
    out_dot.par_chunks_mut(px * c).zip(y.par_chunks(px * c)).for_each_init(
        || vec![0f32; px * c],
        |dense, (out_dot, y)| {
            dense.copy_from_slice(out_dot);
            let sources = [Source::new(dense, c, &of_dot), Source::new(y, c, &of_y)];
            blend(isa, px, c, &sources, &shift, false, out_dot, c);
        },
    );
}

/// (convolution, scale, shift).
fn split<'a>(spec: &StemSpec, w: &'a [f32]) -> (&'a [f32], &'a [f32], &'a [f32]) {
    let (conv, rest) = w.split_at(9 * spec.c_in * spec.c_out);
    let (scale, shift) = rest.split_at(spec.c_out);
    (conv, scale, shift)
}

fn win(spec: &StemSpec, [h, w]: [usize; 2]) -> Window {
    Window { images: 1, h, w, c: spec.c_in, pad: 1 }
}

/// One image. Three pixels of c_in channels are consecutive in a window's row: a row of taps is one product.
fn convolve(isa: Isa, spec: &StemSpec, side: [usize; 2], x: &[f32], conv: &[f32], window: &mut [f32], y: &mut [f32]) {
    let (win, c_in, c) = (win(spec, side), spec.c_in, spec.c_out);
    Feed::plain(Source::new(x, c_in, &[])).fill(isa, win, window);
    for row in 0..side[0] {
        for ky in 0..3 {
            let r = &window[(row + ky) * win.pitch() * c_in..];
            let y = &mut y[row * side[1] * c..];
            product(isa, side[1], (3 * c_in, c), r, c_in, &conv[ky * 3 * c_in * c..], y, c, ky > 0);
        }
    }
}
