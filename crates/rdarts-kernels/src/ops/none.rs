//! `none`: zero. It has no weights, moves no bytes and multiplies nothing; it is there for its mixing weight.

use super::Action;

pub(super) fn action() -> Action {
    Action::Zero
}
