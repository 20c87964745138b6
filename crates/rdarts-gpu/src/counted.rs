//! Which kernels some work launches, how often and how long they take, those of the framework too; and how many bytes cross
//! between the memories of CPU and card meanwhile. What a launch takes with it (its sizes) is not counted among these.

use std::collections::BTreeMap;
use std::mem::take;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cubecl::future::block_on;
use cubecl::logging::{Duration, LaunchObservation, LaunchObserver, ProfileDuration, TimingMethod, TimingRequest};

/// Launches of one kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Launches {
    /// How many.
    pub n: usize,
    /// Seconds of all that were timed by the card itself.
    pub seconds: f64,
    /// How many were.
    pub n_timed: usize,
}

/// By the kernels' names.
pub type AllLaunches = BTreeMap<String, Launches>;

#[derive(Default)]
struct Counter {
    all: Mutex<AllLaunches>,
    profiles: Mutex<Vec<(&'static str, ProfileDuration)>>,
}

impl LaunchObserver for Counter {
    fn launched(&self, kernel: &'static str) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).entry(short(kernel)).or_default().n += 1;
    }

    fn timing(&self) -> TimingRequest {
        TimingRequest::Deferred
    }

    fn profiled(&self, kernel: &'static str, profile: ProfileDuration) {
        self.profiles.lock().unwrap_or_else(PoisonError::into_inner).push((kernel, profile));
    }

    fn timed(&self, _: &'static str, _: Duration, _: TimingMethod) {}
}

/// What some work has done.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// Its launches.
    pub launches: AllLaunches,
    /// Bytes that went up to the card.
    pub up: u64,
    /// Bytes that came down.
    pub down: u64,
}

static UP: AtomicU64 = AtomicU64::new(0);
static DOWN: AtomicU64 = AtomicU64::new(0);

/// Counts bytes that go up to a card: whoever sends some says so here.
pub fn went_up(bytes: usize) {
    UP.fetch_add(bytes as u64, Ordering::Relaxed);
}

/// Counts bytes that come down.
pub fn came_down(bytes: usize) {
    DOWN.fetch_add(bytes as u64, Ordering::Relaxed);
}

/// Does some work and counts the launches that it makes, of all threads of the process. The card's clock is read around
/// each, which slows the work down.
pub fn counted(work: impl FnOnce()) -> Counted {
    let crossed = || [&UP, &DOWN].map(|count| count.load(Ordering::Relaxed));
    let before = crossed();
    let counter = Arc::new(Counter::default());
    let observation = LaunchObservation::new(counter.clone());
    work();
    drop(observation);
    let [up, down] = [0, 1].map(|at| crossed()[at] - before[at]);
    let mut all = take(&mut *counter.all.lock().unwrap_or_else(PoisonError::into_inner));
    for (kernel, profile) in take(&mut *counter.profiles.lock().unwrap_or_else(PoisonError::into_inner)) {
        if profile.timing_method() == TimingMethod::Device
            && let Some(ticks) = block_on(profile.resolve())
        {
            let of = all.entry(short(kernel)).or_default();
            of.seconds += ticks.duration().as_secs_f64();
            of.n_timed += 1;
        }
    }
    Counted { launches: all, up, down }
}

/// The last modules of a name, without what the kernel is compiled for.
fn short(kernel: &str) -> String {
    let path = kernel.split('<').next().unwrap_or(kernel);
    let parts: Vec<&str> = path.split("::").collect();
    parts[parts.len().saturating_sub(3)..].join("::")
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn a_name_says_which_kernel_it_is() {
        assert_eq!(short("rdarts_gpu::kernels::half::forward::Forward<f32, 3>"), "half::forward::Forward");
        assert_eq!(short("sum"), "sum");
    }
}
