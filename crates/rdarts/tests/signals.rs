//! Signals as shells, terminals and schedulers send them.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SEARCH: &str = "search --space tiny --epochs 150 --threads 1 --out run --set data.limit=64 --set search.batch=16 \
                      --set network.channels=2 --set network.cells=3 --set eval.oneshot=false --set eval.child=false \
                      --set search.method=darts --set data.size=14 --set hessian.batches=1 --no-report";

/// What begins a program with no signal ignored, even where the tests themselves run under nohup.
const HEEDED: &str = "exec env --default-signal";

/// Starts a search from a shell by `exec`, and waits until it has saved an epoch.
fn begin(dir: &Path, exec: &str) -> Child {
    let line = format!("{exec} {} {SEARCH}", env!("CARGO_BIN_EXE_rdarts"));
    let child = Command::new("sh")
        .args(["-c", &line])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    let saved = || std::fs::read_dir(dir.join("run/checkpoints")).is_ok_and(|names| names.count() > 1);
    while !saved() {
        assert!(begin.elapsed() < Duration::from_secs(120), "no checkpoint");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

fn send(child: &Child, signal: &str) {
    let done = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
    assert!(done.success());
}

/// The exit code and what was said.
fn end(child: Child) -> (Option<i32>, String) {
    let out = child.wait_with_output().unwrap();
    (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
}

fn resume(dir: &Path) {
    let out = Command::new(env!("CARGO_BIN_EXE_rdarts"))
        .args(["resume", "run", "--no-report"])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

fn events(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("run/events.jsonl")).unwrap()
}

#[test]
fn a_signal_that_was_ignored_when_the_search_began_stays_ignored() {
    let tmp = tempfile::tempdir().unwrap();
    // nohup ignores hang-ups, a shell without job control Ctrl-C for its background.
    let child = begin(tmp.path(), &format!("{HEEDED} --ignore-signal=HUP --ignore-signal=INT"));
    let before = events(tmp.path()).len();
    send(&child, "HUP");
    send(&child, "INT");
    let begin = Instant::now();
    while events(tmp.path()).len() == before {
        assert!(begin.elapsed() < Duration::from_secs(120), "the search stands still");
        std::thread::sleep(Duration::from_millis(5));
    }
    send(&child, "TERM");
    let (code, said) = end(child);
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("Go on with `rdarts resume run`"), "{said}");
}

#[test]
fn what_schedulers_and_limits_send_saves_and_ends_like_sigterm() {
    let whole = tempfile::tempdir().unwrap();
    let (code, said) = end(begin(whole.path(), HEEDED));
    assert_eq!(code, Some(0), "{said}");
    for (signal, why) in [
        ("USR1", "A scheduler asks to stop (SIGUSR1)."),
        ("USR2", "A scheduler asks to stop (SIGUSR2)."),
        ("XCPU", "The limit of processor time is reached (SIGXCPU)."),
        ("HUP", "Stopping after this step"),
    ] {
        let tmp = tempfile::tempdir().unwrap();
        let child = begin(tmp.path(), HEEDED);
        // The system repeats some of them, and a closing terminal sends two: none of that ends it at once.
        send(&child, signal);
        send(&child, signal);
        let (code, said) = end(child);
        assert_eq!(code, Some(130), "{signal}: {said}");
        assert!(said.contains(why) && said.contains("and saved. Go on with `rdarts resume run`"), "{signal}: {said}");
        resume(tmp.path());
        assert_eq!(events(tmp.path()), events(whole.path()), "{signal}");
    }
}

#[test]
fn a_limit_of_file_sizes_is_a_failure_with_a_sentence() {
    let tmp = tempfile::tempdir().unwrap();
    // Blocks of 512 bytes: the events fit, a checkpoint does not.
    let line = format!("ulimit -f 16; {HEEDED} {} {SEARCH}", env!("CARGO_BIN_EXE_rdarts"));
    let out = Command::new("sh").args(["-c", &line]).current_dir(tmp.path()).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("error: ") && said.contains("rdarts resume run"), "{said}");
}
