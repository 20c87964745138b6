//! `skip_connect`: the state itself at stride 1, FactorizedReduce at stride 2.
//!
//! The identity costs no pass of its own: its node sums up the state, and the state's gradient the node's.

use super::{Action, Start, factorized};

pub(super) fn action(start: Start) -> Action {
    if start.stride == 1 {
        Action::Identity
    } else {
        Action::Stages(vec![factorized::stage(start.side, start.c, start.c)])
    }
}
