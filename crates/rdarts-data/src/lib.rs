//! Data sets, splits, augmentation and deterministic batches
