//! `dil_conv_kxk`: relu, depthwise k x k with dilation 2, pointwise, batch norm.

use super::{Action, Start, half};

pub(super) fn action(start: Start, k: usize) -> Action {
    Action::Stages(vec![half::stage(start, k, 2, ["op.1.weight", "op.2.weight"], "op.3")])
}
