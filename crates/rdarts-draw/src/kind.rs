//! How an operation looks: the one table, for cells and for charts.
//!
//! Operations of a kind share a color. The colors start from Okabe and Ito's and were then moved apart, so that all
//! pairs are told apart by normal sight and with any one kind of cones missing: in CIELAB they are at least 20 apart
//! under Machado's simulations (2009), and 3 to 1 against the paper. Color is never the only cue: what is no convolution
//! and no pool is dashed too, and every edge has its operation's name.

use rdarts_space::Op;

/// A kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Depthwise separable convolutions.
    SepConv,
    /// Dilated convolutions.
    DilConv,
    /// All other convolutions.
    OtherConv,
    /// Pools, by mean or maximum.
    Pool,
    /// The identity.
    Skip,
    /// No connection.
    None,
    /// Noise in place of a value.
    Noise,
}

/// How a kind looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KindRow {
    /// The kind.
    pub kind: Kind,
    /// What a legend calls it.
    pub name: &'static str,
    /// Its name in classes and variables of CSS: `--rdarts-sep` is the color that a page wants for it.
    pub css: &'static str,
    /// Color on white paper.
    pub light: &'static str,
    /// Color on dark paper.
    pub dark: &'static str,
    /// Lengths of dashes and gaps, in units of a thin line; empty for a solid line.
    pub dash: &'static [f64],
}

/// All kinds, in the order of a legend.
pub const KINDS: [KindRow; 7] = [
    row(Kind::SepConv, "separable convolution", "sep", ["#00559f", "#42cdf6"], &[]),
    row(Kind::DilConv, "dilated convolution", "dil", ["#d473ba", "#c15aa4"], &[]),
    row(Kind::OtherConv, "other convolution", "conv", ["#6a4b05", "#d9c53a"], &[]),
    row(Kind::Pool, "pool", "pool", ["#00a865", "#00a25d"], &[]),
    row(Kind::Skip, "skip connection", "skip", ["#db7500", "#ce681a"], &[4.0, 2.0]),
    row(Kind::None, "none", "none", ["#6f6f6f", "#adadad"], &[1.0, 2.0]),
    row(Kind::Noise, "noise", "noise", ["#373737", "#ebebeb"], &[4.0, 1.5, 1.0, 1.5]),
];

impl Kind {
    /// The kind of an operation.
    pub const fn of(op: Op) -> Kind {
        match op {
            Op::None => Kind::None,
            Op::Noise => Kind::Noise,
            Op::MaxPool3x3 | Op::AvgPool3x3 => Kind::Pool,
            Op::SkipConnect => Kind::Skip,
            Op::SepConv3x3 | Op::SepConv5x5 | Op::SepConv7x7 => Kind::SepConv,
            Op::DilConv3x3 | Op::DilConv5x5 => Kind::DilConv,
            Op::Conv7x1_1x7 | Op::NorConv1x1 | Op::NorConv3x3 => Kind::OtherConv,
        }
    }

    /// How the kind looks.
    pub const fn row(self) -> &'static KindRow {
        &KINDS[self as usize]
    }
}

/// What an operation is called where there is little room.
pub const fn short_name(op: Op) -> &'static str {
    match op {
        Op::None => "none",
        Op::Noise => "noise",
        Op::MaxPool3x3 => "max 3×3",
        Op::AvgPool3x3 => "avg 3×3",
        Op::SkipConnect => "skip",
        Op::SepConv3x3 => "sep 3×3",
        Op::SepConv5x5 => "sep 5×5",
        Op::SepConv7x7 => "sep 7×7",
        Op::DilConv3x3 => "dil 3×3",
        Op::DilConv5x5 => "dil 5×5",
        Op::Conv7x1_1x7 => "conv 7×1",
        Op::NorConv1x1 => "conv 1×1",
        Op::NorConv3x3 => "conv 3×3",
    }
}

const fn row(
    kind: Kind,
    name: &'static str,
    css: &'static str,
    [light, dark]: [&'static str; 2],
    dash: &'static [f64],
) -> KindRow {
    KindRow { kind, name, css, light, dark, dash }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Linear red, green and blue of what somebody sees: all cones, or without those for long, middle, short waves
    /// (Machado, Oliveira and Fernandes 2009, severity 1).
    const SIGHTS: [[[f64; 3]; 3]; 4] = [
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    ];

    fn linear(color: &str) -> [f64; 3] {
        [1, 3, 5].map(|at| {
            let c = f64::from(u8::from_str_radix(&color[at..at + 2], 16).unwrap()) / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        })
    }

    fn times(rows: [[f64; 3]; 3], v: [f64; 3]) -> [f64; 3] {
        rows.map(|row| row.iter().zip(v).map(|(a, b)| a * b).sum())
    }

    fn lab(color: &str, sight: [[f64; 3]; 3]) -> [f64; 3] {
        let seen = times(sight, linear(color)).map(|c| c.clamp(0.0, 1.0));
        let xyz = times([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]], seen);
        let f = |t: f64| if t > 0.008856 { t.cbrt() } else { 7.787 * t + 16.0 / 116.0 };
        let [x, y, z] = [f(xyz[0] / 0.9505), f(xyz[1]), f(xyz[2] / 1.089)];
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    }

    fn contrast(a: &str, b: &str) -> f64 {
        let [a, b] = [a, b].map(|color| times([[0.2126, 0.7152, 0.0722]; 3], linear(color))[0] + 0.05);
        a.max(b) / a.min(b)
    }

    #[test]
    fn kinds_are_told_apart_whatever_cones_are_missing() {
        for sight in SIGHTS {
            for (i, a) in KINDS.iter().enumerate() {
                for b in &KINDS[..i] {
                    for [a, b] in [[a.light, b.light], [a.dark, b.dark]] {
                        let apart = lab(a, sight).iter().zip(lab(b, sight)).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
                        assert!(apart.sqrt() > 20.0, "{a} {b}: {}", apart.sqrt());
                    }
                }
            }
        }
    }

    #[test]
    fn lines_stand_out_from_the_paper() {
        for row in KINDS {
            assert!(contrast(row.light, "#ffffff") >= 3.0 && contrast(row.dark, "#16191d") >= 3.0, "{}", row.name);
        }
    }

    #[test]
    fn every_kind_has_its_row_and_every_operation_its_own_short_name() {
        for (i, row) in KINDS.iter().enumerate() {
            assert_eq!(row.kind as usize, i);
            assert_eq!(row.kind.row(), row);
        }
        let mut names = Op::ALL.map(short_name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(Op::ALL.iter().all(|op| Kind::of(*op).row().name.len() >= 4));
    }
}
