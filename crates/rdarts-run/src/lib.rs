//! Specs, events, run directories and checkpoints
