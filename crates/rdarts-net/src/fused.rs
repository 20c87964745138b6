//! The operations of the supernet on the CPU.
//!
//! Single precision is the place of the fused kernels, one `match` arm per operation; every other float type
//! runs the composed reference of [`crate::composed`], which double precision trusts for golden values.

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use burn::tensor::DType;

use crate::composed;
use crate::ops::{CellCall, CellWant, HeadCall, HeadWant, SearchOps, StemCall};

type T = FloatTensor<Flex>;

impl SearchOps for Flex {
    fn stem(x: T, w: T, call: StemCall) -> T {
        match x.dtype() {
            DType::F32 => composed::stem::<Self>(x, w, &call),
            _ => composed::stem::<Self>(x, w, &call),
        }
    }

    fn stem_vjp(x: T, w: T, g: T, call: StemCall) -> T {
        match x.dtype() {
            DType::F32 => composed::stem_vjp::<Self>(x, w, g, &call),
            _ => composed::stem_vjp::<Self>(x, w, g, &call),
        }
    }

    fn cell(s0: T, s1: T, p: T, w: T, call: CellCall) -> T {
        match s0.dtype() {
            DType::F32 => composed::cell::<Self>(s0, s1, p, w, &call),
            _ => composed::cell::<Self>(s0, s1, p, w, &call),
        }
    }

    fn cell_vjp(s0: T, s1: T, p: T, w: T, g: T, call: CellCall, want: CellWant) -> (T, T, T, T) {
        match s0.dtype() {
            DType::F32 => composed::cell_vjp::<Self>([s0, s1, p, w], g, &call, want),
            _ => composed::cell_vjp::<Self>([s0, s1, p, w], g, &call, want),
        }
    }

    fn head(s: T, w: T, call: HeadCall) -> T {
        match s.dtype() {
            DType::F32 => composed::head::<Self>(s, w, &call),
            _ => composed::head::<Self>(s, w, &call),
        }
    }

    fn head_vjp(s: T, w: T, g: T, call: HeadCall, want: HeadWant) -> (T, T) {
        match s.dtype() {
            DType::F32 => composed::head_vjp::<Self>(s, w, g, &call, want),
            _ => composed::head_vjp::<Self>(s, w, g, &call, want),
        }
    }
}
