//! `rdarts completions`: what a shell must know to complete the program's words.

use std::process::ExitCode;

use clap_complete::Shell;

use crate::exit::{Exit, out};

/// Print the completions of a shell
///
/// They are made from the table that the help is made from. Where they belong:
///   bash        rdarts completions bash > ~/.local/share/bash-completion/completions/rdarts
///   zsh         rdarts completions zsh > DIR/_rdarts        (DIR is a directory of $fpath)
///   fish        rdarts completions fish > ~/.config/fish/completions/rdarts.fish
///   powershell  rdarts completions powershell >> $PROFILE
///   elvish      rdarts completions elvish >> ~/.config/elvish/rc.elv
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The shell
    shell: Shell,
}

/// Runs the verb for the program that `command` describes.
pub fn run(args: Args, mut command: clap::Command) -> Result<ExitCode, Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "rdarts", &mut script);
    out!("{}", String::from_utf8_lossy(&script).trim_end());
    Ok(ExitCode::SUCCESS)
}
