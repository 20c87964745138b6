//! What ends a search in order: Ctrl-C, the hang-up of a terminal, and what schedulers and limits send.
//!
//! A signal that was ignored when the program began stays ignored: `nohup` ignores hang-ups, and a shell without job
//! control ignores Ctrl-C for what it puts into the background. Windows has Ctrl-C alone, and what asks a process to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::exit::{Exit, INTERRUPTED};

/// What ends a search after the step it is in.
struct Stopping {
    signal: i32,
    /// Whether a second one ends the process at once. Schedulers repeat theirs: the system sends SIGXCPU every second once
    /// the limit is passed.
    forces: bool,
    /// Who sends it, where it is not a person.
    reason: &'static str,
}

const fn by_person(signal: i32) -> Stopping {
    Stopping { signal, forces: true, reason: "" }
}

#[cfg(unix)]
const fn by_system(signal: i32, reason: &'static str) -> Stopping {
    Stopping { signal, forces: false, reason }
}

#[cfg(unix)]
const STOPPING: &[Stopping] = {
    use signal_hook::consts::{SIGHUP, SIGUSR1, SIGUSR2, SIGXCPU};
    &[
        by_person(SIGINT),
        by_person(SIGTERM),
        by_person(SIGHUP),
        by_system(SIGUSR1, "A scheduler asks to stop (SIGUSR1). "),
        by_system(SIGUSR2, "A scheduler asks to stop (SIGUSR2). "),
        by_system(SIGXCPU, "The limit of processor time is reached (SIGXCPU). "),
    ]
};

#[cfg(not(unix))]
const STOPPING: &[Stopping] = &[by_person(SIGINT), by_person(SIGTERM)];

/// A closing terminal may send its hang-up twice, the shell's and its own.
const ONE_EVENT: Duration = Duration::from_millis(500);

/// `timeout` sends its signal to the program and to its group; a hand on Ctrl-C is slower.
const ONE_STROKE: Duration = Duration::from_millis(50);

/// Lets a write beyond the limit of file sizes fail like one to a full disk, with a sentence, instead of ending the
/// process.
pub fn fail_writes_beyond_the_limit() -> Result<(), Exit> {
    #[cfg(unix)]
    if !is_ignored(signal_hook::consts::SIGXFSZ) {
        signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default()).map_err(cannot_wait)?;
    }
    Ok(())
}

/// A flag that the first of these signals sets; a second one ends the process at once, `again` being the command that
/// goes on.
pub fn stop_flag(again: &str, say: impl Fn(&str) + Send + 'static) -> Result<Arc<AtomicBool>, Exit> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    heed("Stopping after this step", again, say, move |_| flag.store(true, Ordering::Relaxed))?;
    Ok(stop)
}

/// Like [`stop_flag`], for those whose work is done by other processes: the number of the first signal, 0 before. `first` is
/// what is said then.
pub fn stop_signal(
    first: &'static str,
    again: &str,
    say: impl Fn(&str) + Send + 'static,
) -> Result<Arc<AtomicI32>, Exit> {
    let number = Arc::new(AtomicI32::new(0));
    let set = number.clone();
    heed(first, again, say, move |signal| set.store(signal, Ordering::Relaxed))?;
    Ok(number)
}

/// Waits for signals beside the work.
fn heed(
    what: &'static str,
    again: &str,
    say: impl Fn(&str) + Send + 'static,
    on_first: impl Fn(i32) + Send + 'static,
) -> Result<(), Exit> {
    let signals = arriving(STOPPING.iter().map(|stopping| stopping.signal).filter(|signal| !is_ignored(*signal)))?;
    let again = again.to_string();
    std::thread::spawn(move || {
        let mut first: Option<Instant> = None;
        for signal in signals {
            let Some(Stopping { forces, reason, .. }) = STOPPING.iter().find(|stopping| stopping.signal == signal)
            else {
                continue;
            };
            let Some(first) = first else {
                first = Some(Instant::now());
                on_first(signal);
                say(&format!("{reason}{what}; again to stop at once."));
                continue;
            };
            let apart = if signal == SIGINT { ONE_STROKE } else { ONE_EVENT };
            if *forces && first.elapsed() > apart {
                say(&format!("Stopped at once; `{again}` goes on from the last checkpoint."));
                std::process::exit(i32::from(INTERRUPTED));
            }
        }
    });
    Ok(())
}

/// Whether this is the signal that a scheduler sends before a time limit.
pub fn is_of_limit(signal: i32) -> bool {
    #[cfg(unix)]
    return signal == signal_hook::consts::SIGUSR1;
    #[cfg(not(unix))]
    {
        let _ = signal;
        false
    }
}

/// A flag that Ctrl-C, SIGTERM or a hang-up sets; the second one ends the process at once, without a word.
pub fn plain_stop_flag() -> Result<Arc<AtomicBool>, Exit> {
    let stop = Arc::new(AtomicBool::new(false));
    for Stopping { signal, .. } in STOPPING.iter().filter(|stopping| stopping.forces) {
        signal_hook::flag::register_conditional_shutdown(*signal, INTERRUPTED.into(), stop.clone())
            .and_then(|_| signal_hook::flag::register(*signal, stop.clone()))
            .map_err(cannot_wait)?;
    }
    Ok(stop)
}

/// Signals as they arrive, without end.
#[cfg(unix)]
fn arriving(heeded: impl Iterator<Item = i32>) -> Result<impl Iterator<Item = i32> + Send, Exit> {
    let mut signals = signal_hook::iterator::Signals::new(heeded).map_err(cannot_wait)?;
    Ok(std::iter::repeat_with(move || signals.forever().next()).map_while(|signal| signal))
}

/// Where nothing waits for signals, their flags are looked at as often as a person can press a key.
#[cfg(not(unix))]
fn arriving(heeded: impl Iterator<Item = i32>) -> Result<impl Iterator<Item = i32> + Send, Exit> {
    let raised = |signal: i32| {
        let flag = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal, flag.clone()).map(|_| (signal, flag)).map_err(cannot_wait)
    };
    let flags: Vec<(i32, Arc<AtomicBool>)> = heeded.map(raised).collect::<Result<_, Exit>>()?;
    Ok(std::iter::repeat_with(move || {
        loop {
            if let Some((signal, _)) = flags.iter().find(|(_, flag)| flag.swap(false, Ordering::Relaxed)) {
                return *signal;
            }
            std::thread::sleep(ONE_STROKE);
        }
    }))
}

/// Whether a signal was ignored when the program began, where the system tells.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored(&status).is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// The mask of ignored signals in the text of Linux's `/proc/self/status`.
fn ignored(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

fn cannot_wait(e: std::io::Error) -> Exit {
    Exit::Failed(format!("cannot wait for signals: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        assert_eq!(ignored("Name:\trdarts\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000000\n"), Some(0x1001));
        assert_eq!(ignored("Name:\trdarts\n"), None);
    }
}
