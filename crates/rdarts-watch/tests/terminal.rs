//! The view in a real terminal, one of the program `script` that every Linux has: however it ends, the terminal is as before.
#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdarts_watch::terminal;

mod samples;

use samples::{LINES, search};

/// Says to this program that it is the one in the terminal, and what shall happen there.
const CHILD: &str = "RDARTS_TEST_IN_TERMINAL";

/// Shows the alternate screen, and leaves it.
const SCREEN: &str = "\u{1b}[?1049h";
const LEFT: &str = "\u{1b}[?1049l";

/// What the child does, a test only in name.
#[test]
fn child() {
    let Ok(how) = std::env::var(CHILD) else { return };
    let stop = AtomicBool::new(false);
    if how == "none" {
        return println!("It says: {}.", terminal(&[], &stop).unwrap_err());
    }
    std::thread::scope(|scope| {
        if how != "keys" {
            let (stop, is_panic) = (&stop, how == "panic");
            scope.spawn(move || {
                std::thread::sleep(Duration::from_secs(1));
                let result = std::panic::catch_unwind(|| assert!(!is_panic, "for the test"));
                stop.store(true, Ordering::SeqCst);
                drop(result);
            });
        }
        terminal(&[PathBuf::from(std::env::var("RUN").unwrap())], &stop).unwrap();
    });
}

/// Runs the child in a terminal, types keys once it shows the run, and gives back all that was written.
fn in_terminal(how: &str, keys: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    search(&run, LINES);
    let mut command = Command::new("script");
    command.args(["-qefc", "stty rows 24 cols 80; stty -g; \"$EXE\" --exact child --nocapture; stty -g", "/dev/null"]);
    command.env(CHILD, how).env("RUN", &run).env("EXE", std::env::current_exe().unwrap()).env("TERM", "xterm");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (written, mut output) = (Arc::new(Mutex::new(Vec::new())), child.stdout.take().unwrap());
    let sink = Arc::clone(&written);
    let reader = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = output.read(&mut buffer) {
            sink.lock().unwrap().extend_from_slice(&buffer[..n]);
        }
    });
    let text = || String::from_utf8_lossy(&written.lock().unwrap()).into_owned();
    let mut input = child.stdin.take().unwrap();
    wait(&mut child, |_| text().contains("25.78 %"));
    input.write_all(keys).unwrap();
    input.flush().unwrap();
    wait(&mut child, |child| child.try_wait().unwrap().is_some());
    reader.join().unwrap();
    text()
}

fn wait(child: &mut Child, is_so: impl Fn(&mut Child) -> bool) {
    let begin = Instant::now();
    while !is_so(child) {
        if Duration::from_secs(30) < begin.elapsed() {
            let _ = child.kill();
            panic!("nothing happens in the terminal");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether the terminal is as it was, and what was written to it afterwards.
fn after(written: &str) -> String {
    // Modes as one line of numbers.
    let is_mode = |line: &&str| line.contains(':') && line.chars().all(|c| c.is_ascii_hexdigit() || c == ':');
    let modes: Vec<&str> = written.lines().map(str::trim).filter(is_mode).collect();
    assert_eq!(modes.len(), 2, "{written:?}");
    assert_eq!(modes[0], modes[1]);
    assert_eq!(written.matches(SCREEN).count(), 1, "{written:?}");
    let (before, after) = written.rsplit_once(LEFT).unwrap_or_else(|| panic!("{written:?}"));
    assert!(before.contains(SCREEN) && written.contains("Eigenvalue"), "{written:?}");
    // The cursor is hidden while it shows, and seen again.
    assert!(written.rfind("\u{1b}[?25l") < written.rfind("\u{1b}[?25h"), "{written:?}");
    after.to_string()
}

#[test]
fn every_key_that_ends_it_gives_the_terminal_back() {
    for keys in [&b"q"[..], b"\x1b", b"\x03", b"jk\tq"] {
        let after = after(&in_terminal("keys", keys));
        assert!(after.contains("test result: ok") && !after.contains('\u{2502}'), "{after:?}");
    }
}

#[test]
fn a_set_flag_ends_it_too() {
    assert!(after(&in_terminal("stop", b"")).contains("test result: ok"));
}

#[test]
fn a_panic_gives_the_terminal_back_before_it_says_anything() {
    let written = in_terminal("panic", b"");
    after(&written);
    let (before, message) = written.split_once("for the test").expect("the message");
    assert!(before.contains(LEFT), "{written:?}");
    assert!(message.contains("test result: ok"), "{message:?}");
}

#[test]
fn without_a_terminal_it_is_one_sentence() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]).env(CHILD, "none").stdin(Stdio::null());
    let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let line = said.lines().find_map(|line| line.strip_prefix("It says: ")).unwrap_or_else(|| panic!("{said:?}"));
    assert_eq!(
        line,
        "the view in the terminal needs one for both input and output, and input is none: leave out `--tui` for a page \
         in a browser, or write one with `rdarts report`."
    );
    assert!(!said.contains('\u{1b}'), "{said:?}");
}
