//! A sweep as one array of Slurm: the script, and what it says of the tasks.
//!
//! A task of the array is a member by its number. Names and paths never become text that the script has to take apart: the
//! script holds the sweep's directory and the program as a shell quotes them, and the number comes from Slurm.

use std::path::Path;

use rdarts_run::for_shell;

use crate::plan::Slurm;

/// Numbers as ranges: `1-4,7,9-10`.
pub fn ranges(numbers: &[usize]) -> String {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for n in sorted {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == n => *last = n,
            _ => parts.push((n, n)),
        }
    }
    let part = |(a, b): &(usize, usize)| if a == b { a.to_string() } else { format!("{a}-{b}") };
    parts.iter().map(part).collect::<Vec<_>>().join(",")
}

/// The numbers of ranges as Slurm writes them: `1-4,7%2`, in brackets or not, with steps `1-9:2`; what is none is left out.
pub fn numbers(ranges: &str) -> Vec<usize> {
    let ranges = ranges.trim().trim_matches(['[', ']']);
    let ranges = ranges.split('%').next().unwrap_or_default();
    let part = |part: &str| -> Option<Vec<usize>> {
        let (part, step) = match part.split_once(':') {
            Some((part, step)) => (part, step.parse().ok().filter(|step| *step > 0)?),
            None => (part, 1),
        };
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some((first.trim().parse().ok()?..=last.trim().parse().ok()?).step_by(step).take(1_000_000).collect())
    };
    ranges.split(',').filter_map(part).flatten().collect()
}

/// The script of an array.
///
/// The program takes the place of the shell, so that it hears the signals: USR1 before the time limit, TERM when a task is
/// preempted or cancelled. What Slurm requeues itself, after a lost node or a preemption, goes on where it was.
pub fn script(slurm: &Slurm, name: &str, program: &Path, sweep: &Path) -> String {
    let mut lines = vec!["#!/bin/bash".to_string()];
    let mut say = |option: &str, value: Option<&str>| {
        if let Some(value) = value {
            lines.push(format!("#SBATCH --{option}={value}"));
        }
    };
    // A name of Slurm is one word.
    let word: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
    say("job-name", Some(&word));
    say("partition", slurm.partition.as_deref());
    say("account", slurm.account.as_deref());
    say("qos", slurm.qos.as_deref());
    say("time", slurm.time.as_ref().map(|(text, _)| text.as_str()));
    say("mem", slurm.memory.as_deref());
    say("cpus-per-task", slurm.cpus.map(|n| n.to_string()).as_deref());
    say("gpus", slurm.gpus.as_deref());
    say("signal", slurm.time.as_ref().map(|_| format!("B:USR1@{}", slurm.save_before)).as_deref());
    say("open-mode", Some("append"));
    lines.push("#SBATCH --requeue".to_string());
    for (name, value) in &slurm.environment {
        lines.push(format!("export {name}='{}'", value.replace('\'', "'\\''")));
    }
    lines.extend(slurm.setup.iter().cloned());
    let (program, sweep) = (for_shell(program), for_shell(sweep));
    lines.push(format!("exec {program} sweep member {sweep} \"$SLURM_ARRAY_TASK_ID\""));
    lines.join("\n") + "\n"
}

/// A path in an option of sbatch that takes patterns.
pub fn in_pattern(path: &Path) -> String {
    path.display().to_string().replace('%', "%%")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn ranges_are_those_of_exactly_the_numbers() {
        for (given, expected) in [(&[][..], ""), (&[3], "3"), (&[1, 2, 3, 4], "1-4"), (&[10, 1, 2, 9, 5], "1-2,5,9-10")]
        {
            assert_eq!(ranges(given), expected);
            let mut sorted = given.to_vec();
            sorted.sort_unstable();
            assert_eq!(numbers(expected), sorted);
        }
        assert_eq!(numbers("[1-5:2,9%3]"), [1, 3, 5, 9]);
        assert!(numbers("N/A").is_empty());
    }

    #[test]
    fn a_script_quotes_what_a_shell_would_take_apart() {
        let slurm = Slurm {
            partition: Some("gpu".into()),
            time: Some(("12:00:00".into(), 43_200)),
            memory: Some("8G".into()),
            cpus: Some(4),
            gpus: Some("a100:1".into()),
            save_before: 120,
            environment: vec![("NOTE".into(), "it's $HOME \"here\"".into())],
            setup: vec!["module load x".into()],
            ..Slurm::default()
        };
        let script = script(&slurm, "my plan", Path::new("/opt/my tools/rdarts"), Path::new("/data/$HOME it's/sweep"));
        for line in ["#SBATCH --partition=gpu", "#SBATCH --mem=8G", "module load x"] {
            assert!(script.lines().any(|of| of == line), "no line {line} in {script}");
        }
        // A shell takes it as it was meant.
        let echoed = script.replace("exec ", "printf '%s|' ").replace("module load x", "SLURM_ARRAY_TASK_ID=7");
        let shell =
            std::process::Command::new("bash").args(["-c", &format!("{echoed}\necho \"$NOTE\"")]).output().unwrap();
        assert_eq!(
            String::from_utf8(shell.stdout).unwrap(),
            "/opt/my tools/rdarts|sweep|member|/data/$HOME it's/sweep|7|it's $HOME \"here\"\n"
        );
    }
}
