//! What a search run is on disk: its spec, its events, its checkpoints, and the directory that holds them.
//!
//! The run directory is the only border between searching and showing: whatever a report wants to know, a search
//! has written there. This crate knows the files and nothing about networks, data or gradients.
//!
//! - [`spec`]: every value that can change the result of a search, read from a preset, a file and overrides
//! - [`presets`]: the built-in values, one TOML file each
//! - [`event`]: what happened, one JSON object a line, deterministic
//! - [`checkpoint`]: the state of a search in one safetensors file with a checksum
//! - [`rundir`]: the directory: layout, lock, format version, recovery
//! - [`text`]: files and names that people wrote

pub mod spec;

pub mod presets;

pub mod event;

pub mod checkpoint;

pub mod rundir;

pub mod text;

mod lock;

mod log;

mod atomic;

pub use checkpoint::{Checkpoint, CheckpointError, CheckpointName, Tensor, TensorData};
pub use event::{
    Decision, DecisionKind, EVENT_FORMAT, EpochRecord, Event, EventError, Finished, LastLine, Started, Timing,
    read_events,
};
pub use rundir::{Environment, Reservation, RunDir, RunError, RunView};
pub use spec::{
    AlphasSpec, AugmentSpec, CutoutSchedule, DataSpec, EvalSpec, HessianImages, HessianMode, HessianSpec, LoopSpec,
    Method, MonitorForm, MonitorSpec, NetworkSpec, Order, SearchSpec, SpaceSpec, SpecError, Statistics, WeightsSpec,
};
pub use text::{TextError, for_shell, is_system, read_text};
