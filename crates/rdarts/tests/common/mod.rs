//! The program as the tests start it: in a directory of its own, with nothing of the user who runs them.

#![allow(dead_code)] // Not every test file needs all of it.

use std::path::Path;
use std::process::{Command, Output};

pub fn rdarts(dir: &Path) -> Command {
    // The program leaves signals ignored that are; what started the tests in the background may have ignored some.
    let mut command = match cfg!(target_os = "linux") {
        true => Command::new("env"),
        false => Command::new(env!("CARGO_BIN_EXE_rdarts")),
    };
    if cfg!(target_os = "linux") {
        command.args(["--default-signal", env!("CARGO_BIN_EXE_rdarts")]);
    }
    command.current_dir(dir).env_remove("RDARTS_DATA").env_remove("RDARTS_ISA");
    command.env("HOME", dir).env("XDG_DATA_HOME", dir.join("share"));
    command
}

pub fn run(dir: &Path, args: &[&str]) -> Output {
    rdarts(dir).args(args).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
