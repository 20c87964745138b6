//! `sep_conv_kxk`: twice relu, depthwise k x k, pointwise, batch norm; the stride is in the first half.

use super::{Action, Start, half};

pub(super) fn action(start: Start, k: usize) -> Action {
    let second = Start { side: start.side_out(), stride: 1, ..start };
    Action::Stages(vec![
        half::stage(start, k, 1, ["op.1.weight", "op.2.weight"], "op.3"),
        half::stage(second, k, 1, ["op.5.weight", "op.6.weight"], "op.7"),
    ])
}
