//! Layers of networks that are no cells (`rdarts-kernels/src/dense`), each as the linear maps that its four derivatives are made
//! of. A unit makes one value at a time and reads what it needs from memory: right end to end, not fast.
//!
//! Sizes are known when a kernel is launched, not when it is compiled: such networks have dozens of them, and a card compiles
//! slowly. Every value is summed by one unit in a fixed order, sums over images in parts that are added in theirs.

use cubecl::prelude::*;

use super::UNITS;

/// No such place in a buffer.
pub const NOWHERE: u32 = u32::MAX;

/// What a convolution looks at: rows, columns and channels in, the same out, side of the window, step, distance of taps, border.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub struct Window {
    pub h: u32,
    pub wd: u32,
    pub ci: u32,
    pub ho: u32,
    pub wo: u32,
    pub co: u32,
    pub k: u32,
    pub stride: u32,
    pub dilation: u32,
    pub pad: u32,
}

/// The first value of a unit, and the distance to its next.
#[cube]
fn first() -> usize {
    CUBE_POS_X as usize * UNITS + UNIT_POS as usize
}

#[cube]
fn step() -> usize {
    CUBE_COUNT_X as usize * UNITS
}

/// Where a value of a state lies.
#[derive(CubeType)]
struct Place {
    image: u32,
    y: u32,
    x: u32,
    c: u32,
}

/// Of value i in a state of so many rows, columns and channels.
#[cube]
fn place_of(i: u32, h: u32, wd: u32, c: u32) -> Place {
    Place { image: i / (c * wd * h), y: (i / (c * wd)) % h, x: (i / c) % wd, c: i % c }
}

/// Whether a pixel that is counted from the border's first one lies inside it.
#[cube]
fn is_inside(y: u32, x: u32, s: &Window) -> bool {
    y >= s.pad && y < s.h + s.pad && x >= s.pad && x < s.wd + s.pad
}

/// Where the channels of such a pixel begin.
#[cube]
fn begin(image: u32, y: u32, x: u32, s: &Window) -> u32 {
    ((image * s.h + y - s.pad) * s.wd + x - s.pad) * s.ci
}

/// out += the convolution of x, plus the bias; `alone`: of each channel by itself.
#[cube(launch)]
pub fn convolve(
    x: &[f32],
    w: &[f32],
    out: &mut [f32],
    n: u32,
    s: Window,
    w_at: u32,
    bias_at: u32,
    #[comptime] alone: bool,
) {
    for i in range_stepped(first(), n as usize, step()) {
        let i = i as u32;
        let at = place_of(i, s.ho, s.wo, s.co);
        let mut v = out[i as usize];
        for ky in 0..s.k {
            let y = at.y * s.stride + ky * s.dilation;
            if y >= s.pad && y < s.h + s.pad {
                for kx in 0..s.k {
                    let xx = at.x * s.stride + kx * s.dilation;
                    if xx >= s.pad && xx < s.wd + s.pad {
                        let from = begin(at.image, y, xx, &s);
                        let tap = ky * s.k + kx;
                        if alone {
                            v += x[(from + at.c) as usize] * w[(w_at + tap * s.co + at.c) as usize];
                        } else {
                            for c in 0..s.ci {
                                v += x[(from + c) as usize] * w[(w_at + (tap * s.ci + c) * s.co + at.c) as usize];
                            }
                        }
                    }
                }
            }
        }
        if bias_at != NOWHERE {
            v += w[(bias_at + at.c) as usize];
        }
        out[i as usize] = v;
    }
}

/// x += the transpose of the convolution, of g, plus the bias of each channel.
#[cube(launch)]
pub fn convolve_back(
    g: &[f32],
    w: &[f32],
    x: &mut [f32],
    n: u32,
    s: Window,
    w_at: u32,
    bias_at: u32,
    #[comptime] alone: bool,
) {
    for i in range_stepped(first(), n as usize, step()) {
        let i = i as u32;
        let at = place_of(i, s.h, s.wd, s.ci);
        let mut v = x[i as usize];
        if bias_at != NOWHERE {
            v += w[(bias_at + at.c) as usize];
        }
        for ky in 0..s.k {
            let y = at.y + s.pad;
            let dy = ky * s.dilation;
            if y >= dy && (y - dy) % s.stride == 0 && (y - dy) / s.stride < s.ho {
                let oy = (y - dy) / s.stride;
                for kx in 0..s.k {
                    let xx = at.x + s.pad;
                    let dx = kx * s.dilation;
                    if xx >= dx && (xx - dx) % s.stride == 0 && (xx - dx) / s.stride < s.wo {
                        let from = ((at.image * s.ho + oy) * s.wo + (xx - dx) / s.stride) * s.co;
                        let tap = ky * s.k + kx;
                        if alone {
                            v += g[(from + at.c) as usize] * w[(w_at + tap * s.co + at.c) as usize];
                        } else {
                            for o in 0..s.co {
                                v += g[(from + o) as usize] * w[(w_at + (tap * s.ci + at.c) * s.co + o) as usize];
                            }
                        }
                    }
                }
            }
        }
        x[i as usize] = v;
    }
}

/// Each part's share of the gradient of the weights; a part is so many pixels of the outputs of all images. The cubes' second
/// axis counts the parts.
#[cube(launch)]
pub fn convolve_weights(
    x: &[f32],
    g: &[f32],
    parts: &mut [f32],
    n_weights: u32,
    n_px: u32,
    stretch: u32,
    s: Window,
    #[comptime] alone: bool,
) {
    let part = CUBE_POS_Y;
    for i in range_stepped(first(), n_weights as usize, step()) {
        let i = i as u32;
        let o = i % s.co;
        let mut c = o;
        let mut tap = i / s.co;
        if !alone {
            c = (i / s.co) % s.ci;
            tap = i / (s.co * s.ci);
        }
        let ky = tap / s.k;
        let kx = tap % s.k;
        let mut v = 0.0f32;
        let mut end = (part + 1) * stretch;
        if end > n_px {
            end = n_px;
        }
        for px in part * stretch..end {
            let ox = px % s.wo;
            let oy = (px / s.wo) % s.ho;
            let image = px / (s.wo * s.ho);
            let y = oy * s.stride + ky * s.dilation;
            let xx = ox * s.stride + kx * s.dilation;
            if is_inside(y, xx, &s) {
                let from = begin(image, y, xx, &s) + c;
                v += x[from as usize] * g[(px * s.co + o) as usize];
            }
        }
        parts[(part * n_weights + i) as usize] = v;
    }
}

/// to += from where y is positive, slope from elsewhere.
#[cube(launch)]
pub fn gate(y: &[f32], from: &[f32], to: &mut [f32], n: u32, slope: f32) {
    for i in range_stepped(first(), n as usize, step()) {
        let mut v = from[i];
        if y[i] <= 0.0f32 {
            v *= slope;
        }
        to[i] += v;
    }
}

/// Rows of `len` values times a factor, added; both buffers have rows of their own distance.
#[cube(launch)]
pub fn add_rows(
    from: &[f32],
    to: &mut [f32],
    n: u32,
    len: u32,
    from_at: u32,
    from_step: u32,
    to_at: u32,
    to_step: u32,
    factor: f32,
) {
    for i in range_stepped(first(), n as usize, step()) {
        let i = i as u32;
        let row = i / len;
        let at = i % len;
        to[(to_at + row * to_step + at) as usize] += factor * from[(from_at + row * from_step + at) as usize];
    }
}

/// The place of the largest value of each window, counted within the window; of equal ones the first.
#[cube(launch)]
pub fn places(x: &[f32], place: &mut [u32], n: u32, s: Window) {
    for i in range_stepped(first(), n as usize, step()) {
        let i = i as u32;
        let at = place_of(i, s.ho, s.wo, s.co);
        let mut best = 0.0f32;
        let mut largest = 4_294_967_295u32;
        for tap in 0..s.k * s.k {
            let y = at.y * s.stride + tap / s.k;
            let xx = at.x * s.stride + tap % s.k;
            if is_inside(y, xx, &s) {
                let v = x[(begin(at.image, y, xx, &s) + at.c) as usize];
                if largest == NOWHERE || v > best {
                    best = v;
                    largest = tap;
                }
            }
        }
        place[i as usize] = largest;
    }
}

/// How many pixels an output of a window looks at.
#[cube]
fn seen(oy: u32, ox: u32, s: &Window) -> f32 {
    let mut count = 0u32;
    for tap in 0..s.k * s.k {
        let y = oy * s.stride + tap / s.k;
        let xx = ox * s.stride + tap % s.k;
        if is_inside(y, xx, s) {
            count += 1u32;
        }
    }
    f32::cast_from(count)
}

/// out = the mean of each window, or the value at its place.
#[cube(launch)]
pub fn pool(x: &[f32], place: &[u32], out: &mut [f32], n: u32, s: Window, #[comptime] is_max: bool) {
    for i in range_stepped(first(), n as usize, step()) {
        let i = i as u32;
        let at = place_of(i, s.ho, s.wo, s.co);
        let mut v = 0.0f32;
        if is_max {
            let tap = place[i as usize];
            let y = at.y * s.stride + tap / s.k - s.pad;
            let xx = at.x * s.stride + tap % s.k - s.pad;
            v = x[(((at.image * s.h + y) * s.wd + xx) * s.ci + at.c) as usize];
        } else {
            for tap in 0..s.k * s.k {
                let y = at.y * s.stride + tap / s.k;
                let xx = at.x * s.stride + tap % s.k;
                if is_inside(y, xx, &s) {
                    v += x[(begin(at.image, y, xx, &s) + at.c) as usize];
                }
            }
            v /= seen(at.y, at.x, &s);
        }
        out[i as usize] = v;
    }
}

/// x += its transpose, of g.
#[cube(launch)]
pub fn pool_back(g: &[f32], place: &[u32], x: &mut [f32], n: u32, s: Window, #[comptime] is_max: bool) {
    for i in range_stepped(first(), n as usize, step()) {
        let i = i as u32;
        let at = place_of(i, s.h, s.wd, s.ci);
        let mut v = x[i as usize];
        for tap in 0..s.k * s.k {
            let y = at.y + s.pad;
            let xx = at.x + s.pad;
            let dy = tap / s.k;
            let dx = tap % s.k;
            if y >= dy && (y - dy) % s.stride == 0 && xx >= dx && (xx - dx) % s.stride == 0 {
                let oy = (y - dy) / s.stride;
                let ox = (xx - dx) / s.stride;
                if oy < s.ho && ox < s.wo {
                    let from = (((at.image * s.ho + oy) * s.wo + ox) * s.co + at.c) as usize;
                    if is_max {
                        if place[from] == tap {
                            v += g[from];
                        }
                    } else {
                        v += g[from] / seen(oy, ox, &s);
                    }
                }
            }
        }
        x[i as usize] = v;
    }
}

/// out += the correlation of both views; a row is `wd` pixels of `c` channels, and has `2 d + 1` shifts for each.
#[cube(launch)]
pub fn correlate(l: &[f32], r: &[f32], out: &mut [f32], n: u32, wd: u32, c: u32, d: u32) {
    let shifts = 2 * d + 1;
    for i in range_stepped(first(), n as usize, step()) {
        let i = i as u32;
        let shift = i % shifts;
        let left = i / shifts;
        let x = left % wd;
        let mut v = 0.0f32;
        if x + shift >= d && x + shift < wd + d {
            let right = left + shift - d;
            for ch in 0..c {
                v += l[(left * c + ch) as usize] * r[(right * c + ch) as usize];
            }
            v /= f32::cast_from(c);
        }
        out[i as usize] += v;
    }
}

/// One view += the transpose, of g and the other view; `is_left` says which.
#[cube(launch)]
pub fn correlate_back(
    g: &[f32],
    other: &[f32],
    to: &mut [f32],
    n: u32,
    wd: u32,
    c: u32,
    d: u32,
    #[comptime] is_left: bool,
) {
    let shifts = 2 * d + 1;
    for i in range_stepped(first(), n as usize, step()) {
        let i = i as u32;
        let ch = i % c;
        let px = i / c;
        let x = px % wd;
        let mut v = 0.0f32;
        for shift in 0..shifts {
            if is_left {
                if x + shift >= d && x + shift < wd + d {
                    v += g[(px * shifts + shift) as usize] * other[((px + shift - d) * c + ch) as usize];
                }
            } else if x + d >= shift && x + d < wd + shift {
                let left = px + d - shift;
                v += g[(left * shifts + shift) as usize] * other[(left * c + ch) as usize];
            }
        }
        to[i as usize] += v / f32::cast_from(c);
    }
}

/// out = x at twice the rows and columns, bilinear.
#[cube(launch)]
pub fn upsample(x: &[f32], out: &mut [f32], n: u32, h: u32, wd: u32, c: u32) {
    for i in range_stepped(first(), n as usize, step()) {
        let i = i as u32;
        let at = place_of(i, 2 * h, 2 * wd, c);
        let mut v = 0.0f32;
        for dy in 0..2u32 {
            let y = source(at.y, dy, h);
            for dx in 0..2u32 {
                let xx = source(at.x, dx, wd);
                v += share(dy) * share(dx) * x[(((at.image * h + y) * wd + xx) * c + at.c) as usize];
            }
        }
        out[i as usize] = v;
    }
}

/// The pixel that an output belongs to (0), and the next one on its side (1).
#[cube]
fn source(o: u32, which: u32, side: u32) -> u32 {
    let mut at = o / 2;
    if which == 1 {
        if o % 2 == 0 {
            if at > 0 {
                at -= 1u32;
            }
        } else if at + 1 < side {
            at += 1u32;
        }
    }
    at
}

#[cube]
fn share(which: u32) -> f32 {
    let mut share = 0.75f32;
    if which == 1 {
        share = 0.25f32;
    }
    share
}

/// x += its transpose, of g.
#[cube(launch)]
pub fn upsample_back(g: &[f32], x: &mut [f32], n: u32, h: u32, wd: u32, c: u32) {
    for i in range_stepped(first(), n as usize, step()) {
        let i = i as u32;
        let at = place_of(i, h, wd, c);
        let mut v = x[i as usize];
        // Outputs from the one before the pixel's own to the one behind them, each twice: as its own and as its other one.
        for ty in 0..4u32 {
            let oy = 2 * at.y + ty;
            if oy >= 1 && oy < 2 * h + 1 {
                for dy in 0..2u32 {
                    if source(oy - 1, dy, h) == at.y {
                        for tx in 0..4u32 {
                            let ox = 2 * at.x + tx;
                            if ox >= 1 && ox < 2 * wd + 1 {
                                for dx in 0..2u32 {
                                    if source(ox - 1, dx, wd) == at.x {
                                        let from =
                                            (((at.image * 2 * h + oy - 1) * 2 * wd + ox - 1) * c + at.c) as usize;
                                        v += share(dy) * share(dx) * g[from];
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
        x[i as usize] = v;
    }
}

/// Each part's sums of a (b), channel by channel, or with one channel of everything; the cubes are the parts.
#[cube(launch)]
pub fn sums(a: &[f32], b: &[f32], parts: &mut [f32], n_px: u32, c: u32, stretch: u32, #[comptime] both: bool) {
    let part = CUBE_POS_X;
    let mut end = (part + 1) * stretch;
    if end > n_px {
        end = n_px;
    }
    for ch in range_stepped(UNIT_POS as usize, c as usize, UNITS) {
        let mut v = 0.0f32;
        for px in part * stretch..end {
            let at = px as usize * c as usize + ch;
            if both {
                v += a[at] * b[at];
            } else {
                v += a[at];
            }
        }
        parts[part as usize * c as usize + ch] = v;
    }
}

/// to (+)= the sums of so many parts in their order, times a factor.
#[cube(launch)]
pub fn gather(parts: &[f32], to: &mut [f32], n_parts: u32, len: u32, to_at: u32, factor: f32, add: u32) {
    for i in range_stepped(first(), len as usize, step()) {
        let mut v = 0.0f32;
        for part in 0..n_parts as usize {
            v += parts[part * len as usize + i];
        }
        v *= factor;
        let dst = to_at as usize + i;
        if add != 0 {
            v += to[dst];
        }
        to[dst] = v;
    }
}

/// out = x - its channel's mean.
#[cube(launch)]
pub fn centre(x: &[f32], means: &[f32], out: &mut [f32], n: u32, c: u32) {
    for i in range_stepped(first(), n as usize, step()) {
        out[i] = x[i] - means[i % c as usize];
    }
}

/// Of differences to a mean, with the means of their squares and of themselves: divided by the deviation, which is kept.
#[cube(launch)]
pub fn normalize(out: &mut [f32], means: &[f32], rate: &mut [f32], n: u32, c: u32, eps: f32) {
    let c = c as usize;
    for i in range_stepped(first(), n as usize, step()) {
        let ch = i % c;
        let m = means[c + ch];
        let r = 1.0f32 / f32::sqrt(means[ch] - m * m + eps);
        out[i] = r * (out[i] - m);
        if i < c {
            rate[ch] = r;
        }
    }
}

/// to += r (u - <u> - y <u y>), `means` of u and of u y.
#[cube(launch)]
pub fn project(u: &[f32], y: &[f32], means: &[f32], rate: &[f32], to: &mut [f32], n: u32, c: u32) {
    let c = c as usize;
    for i in range_stepped(first(), n as usize, step()) {
        let ch = i % c;
        to[i] += rate[ch] * (u[i] - means[ch] - means[c + ch] * y[i]);
    }
}

/// x += r^2 (y (3 a b - A) - b (d - <d>) - a (u - <u>)), `means` of d, u, d y, u y, d u.
#[cube(launch)]
pub fn bend(d: &[f32], u: &[f32], y: &[f32], means: &[f32], rate: &[f32], x: &mut [f32], n: u32, c: u32) {
    let c = c as usize;
    for i in range_stepped(first(), n as usize, step()) {
        let ch = i % c;
        let r = rate[ch];
        let a = means[2 * c + ch];
        let b = means[3 * c + ch];
        let spread = means[4 * c + ch] - means[ch] * means[c + ch];
        let v = y[i] * (3.0f32 * a * b - spread) - b * (d[i] - means[ch]) - a * (u[i] - means[c + ch]);
        x[i] += r * r * v;
    }
}
