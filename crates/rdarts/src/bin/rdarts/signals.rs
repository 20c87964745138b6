//! What ends a search in order: Ctrl-C, the hang-up of a terminal, and what schedulers and limits send.
//!
//! A signal that was ignored when the program began stays ignored: `nohup` ignores hang-ups, and a shell without job
//! control ignores Ctrl-C for what it puts into the background.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU, SIGXFSZ};
use signal_hook::iterator::Signals;

use crate::exit::{Exit, INTERRUPTED};

/// What ends a search after the step it is in, and whether a second one ends the process at once. Schedulers repeat
/// theirs: the system sends SIGXCPU every second once the limit is passed.
const STOPPING: [(i32, bool); 6] =
    [(SIGINT, true), (SIGTERM, true), (SIGHUP, true), (SIGUSR1, false), (SIGUSR2, false), (SIGXCPU, false)];

/// A closing terminal may send its hang-up twice, the shell's and its own.
const ONE_EVENT: Duration = Duration::from_millis(500);

/// `timeout` sends its signal to the program and to its group; a hand on Ctrl-C is slower.
const ONE_STROKE: Duration = Duration::from_millis(50);

/// Lets a write beyond the limit of file sizes fail like one to a full disk, with a sentence, instead of ending the
/// process.
pub fn fail_writes_beyond_the_limit() -> Result<(), Exit> {
    if is_ignored(SIGXFSZ) {
        return Ok(());
    }
    signal_hook::flag::register(SIGXFSZ, Arc::default()).map(drop).map_err(cannot_wait)
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
    let heeded = STOPPING.iter().map(|(signal, _)| *signal).filter(|signal| !is_ignored(*signal));
    let mut signals = Signals::new(heeded).map_err(cannot_wait)?;
    let again = again.to_string();
    std::thread::spawn(move || {
        let mut first: Option<Instant> = None;
        for signal in signals.forever() {
            let Some(first) = first else {
                first = Some(Instant::now());
                on_first(signal);
                say(&format!("{}{what}; again to stop at once.", reason(signal)));
                continue;
            };
            let forces = STOPPING.iter().any(|(other, forces)| *other == signal && *forces);
            let apart = if signal == SIGINT { ONE_STROKE } else { ONE_EVENT };
            if forces && first.elapsed() > apart {
                say(&format!("Stopped at once; `{again}` goes on from the last checkpoint."));
                std::process::exit(i32::from(INTERRUPTED));
            }
        }
    });
    Ok(())
}

/// Whether this is the signal that a scheduler sends before a time limit.
pub fn is_of_limit(signal: i32) -> bool {
    signal == SIGUSR1
}

/// Why, where it was not a person.
fn reason(signal: i32) -> &'static str {
    match signal {
        SIGXCPU => "The limit of processor time is reached (SIGXCPU). ",
        SIGUSR1 => "A scheduler asks to stop (SIGUSR1). ",
        SIGUSR2 => "A scheduler asks to stop (SIGUSR2). ",
        _ => "",
    }
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
