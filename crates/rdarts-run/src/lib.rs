//! What a run is on disk: its spec, its events, its checkpoints, and the directory that holds them.
//!
//! The run directory is the only border between searching and showing: whatever a report wants to know, a run
//! has written there. This crate knows the files and nothing about networks, data or gradients.
//!
//! - [`spec`]: every value that can change the result of a kind of run, from a preset, a file and overrides
//! - [`presets`]: the built-in values, one TOML file each
//! - [`event`]: what happened, one JSON object a line, deterministic
//! - [`checkpoint`]: the state of a run in one safetensors file with a checksum
//! - [`rundir`]: the directory: layout, lock, format version, recovery
//! - [`text`]: files and names that people wrote

pub mod text;

mod atomic;

pub mod presets;

pub mod spec;

mod environment;

pub mod event;

mod extras;

mod log;

pub mod checkpoint;

mod error;

mod append;

mod lock;

pub mod rundir;

pub use checkpoint::{Checkpoint, CheckpointError, CheckpointName, Tensor, TensorData};
pub use environment::{Environment, peak_memory};
pub use error::RunError;
pub use event::{
    BaselineTrained, Chosen, DISPARITY_EVENT_FORMAT, DISPARITY_ROBUST_EVENT_FORMAT, DISPARITY_TRAIN_EVENT_FORMAT,
    Decision, DecisionKind, DisparityBaselineTrained, DisparityEpoch, DisparityErrors, DisparityMemberTrained,
    DisparityRobustFinished, DisparityStarted, DisparityTrainEpoch, DisparityTrainFinished, DisparityTrainStarted,
    EVENT_FORMAT, EXTENDED_EVENT_FORMAT, EpochRecord, Event, EventError, Finished, LastLine, MemberFound,
    MemberRefused, MemberTrained, ROBUST_EVENT_FORMAT, RobustFinished, RobustStarted, Selected, Started,
    TRAIN_EVENT_FORMAT, Timing, TrainEpoch, TrainFinished, TrainStarted, read_events, read_good_events,
};
pub use extras::{Landscape, LandscapeLine, MAP_NAMES, MOST_MAPS, Mistake, PairMap, PairPictures, Spectrum};
pub use log::checksum;
pub use rundir::{Reservation, RunDir, RunView, check_free, try_lock, write_file};
pub use spec::{
    AdamSpec, AlphasSpec, AugmentSpec, CutoutSchedule, DataSets, DataSpec, DisparityLoopSpec, DisparityNetworkSpec,
    DisparityNetworksSpec, DisparityPortfolioSpec, DisparityRobustSpec, DisparitySearchSpec, DisparityTrainLoopSpec,
    DisparityTrainNetworkSpec, DisparityTrainSpec, DisparityTrainingsSpec, EvalSpec, HessianImages, HessianMode,
    HessianSpec, LoopSpec, Method, MethodSpec, MonitorForm, MonitorSpec, NetworkSpec, Order, PairsSpec, PortfolioSpec,
    RobustNetworkSpec, RobustSpec, RobustTrainSpec, SearchDataSpec, SearchSpec, SpaceSpec, Spec, SpecError, Statistics,
    StereoAugmentSpec, StereoDataSpec, StereoRobustDataSpec, StereoTrainDataSpec, TrainDataSpec, TrainLoopSpec,
    TrainNetworkSpec, TrainSpec, Vary, WeightsSpec, difference,
};
pub use text::{TextError, for_shell, is_system, read_text};
