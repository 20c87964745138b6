use std::sync::Mutex;

use super::*;

/// A file system without locks, whose clock stands where the test puts it.
struct Lockless {
    dir: tempfile::TempDir,
    ahead: Arc<Mutex<Duration>>,
}

impl Lockless {
    fn new() -> Lockless {
        Lockless { dir: tempfile::tempdir().unwrap(), ahead: Arc::default() }
    }

    fn means(&self, code: i32) -> Means {
        let ahead = self.ahead.clone();
        Means {
            lock: Arc::new(move |_| Err(TryLockError::Error(io::Error::from_raw_os_error(code)))),
            now: Arc::new(move |dir| Ok(clock_of(dir)? + *ahead.lock().unwrap())),
            patience: Duration::from_secs(60),
            renew_every: Duration::from_secs(3600),
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn entries(&self) -> Vec<String> {
        entries(self.path())
    }

    fn write_owner(&self, process: &Process) {
        std::fs::write(self.path().join(OWNER), process.text()).unwrap();
    }
}

fn entries(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn elsewhere() -> Process {
    Process { host: "node7".into(), number: 41, machine: "another".into(), began: "9".into(), has_lock: false }
}

const ENOLCK: i32 = 37;

#[test]
fn one_without_locks_is_refused_where_another_has_the_lock_and_the_other_way_round() {
    let system = Lockless::new();
    let first = Lock::take(system.path(), &Means::system()).unwrap();
    let refused = Lock::take(system.path(), &system.means(ENOLCK)).unwrap_err().to_string();
    assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
    assert!(!first.is_lost());
    drop(first);
    let _second = Lock::take(system.path(), &system.means(ENOLCK)).unwrap();
    assert!(Lock::take(system.path(), &Means::system()).is_err());
}

#[test]
fn who_gets_the_lock_of_one_that_was_killed_need_not_wait_long() {
    let system = Lockless::new();
    let there = Process { host: "node7".into(), machine: "another".into(), has_lock: true, ..Process::own() };
    std::fs::write(system.path().join(OWNER), there.text()).unwrap();
    // It may work there, on a file system whose machines grant locks each for itself.
    let refused = Lock::take(system.path(), &Means::system()).unwrap_err().to_string();
    assert!(refused.contains("node7"), "{refused}");
    let owner = File::options().write(true).open(system.path().join(OWNER)).unwrap();
    owner.set_modified(SystemTime::now() - SILENT_AFTER - Duration::from_secs(9)).unwrap();
    let lock = Lock::take(system.path(), &Means::system()).unwrap();
    assert_eq!(lock.warnings().len(), 1, "{:?}", lock.warnings());
    drop(lock);
    // Killed before it wrote its name, and on this machine.
    let here = Process { has_lock: true, began: "another".into(), ..Process::own() };
    for text in [String::new(), here.text()] {
        std::fs::write(system.path().join(OWNER), text).unwrap();
        let lock = Lock::take(system.path(), &Means::system()).unwrap();
        assert!(lock.warnings().is_empty(), "{:?}", lock.warnings());
    }
    // One that had no lock says nothing by that.
    std::fs::write(system.path().join(OWNER), Process { has_lock: false, ..there }.text()).unwrap();
    assert!(Lock::take(system.path(), &Means::system()).is_err());
}

#[test]
fn every_error_of_a_lock_is_a_warning_and_the_owner_keeps_a_second_process_out() {
    for code in [ENOLCK, 95, 38, 22, 5] {
        let system = Lockless::new();
        let first = Lock::take(system.path(), &system.means(code)).unwrap();
        let reason = io::Error::from_raw_os_error(code);
        let warning = format!(
            "the file system of `{}` gives no locks ({reason}): the file `owner` in it keeps other processes out",
            system.path().display()
        );
        assert_eq!(first.warnings(), [warning]);
        assert_eq!(system.entries(), ["lock", "owner"]);
        let err = Lock::take(system.path(), &system.means(code)).unwrap_err().to_string();
        let (number, host) = (std::process::id(), Process::own().host);
        let sentence = format!(
            "the run in `{}` is locked by another process (process {number} on {host})",
            system.path().display()
        );
        assert_eq!(err, sentence);
        assert_eq!(system.entries(), ["lock", "owner"]);
        // One to whom the system gives a lock is refused as well.
        assert_eq!(Lock::take(system.path(), &Means::system()).unwrap_err().to_string(), sentence);
        assert!(!first.is_lost());
        drop(first);
        assert_eq!(system.entries(), ["lock"]);
        assert!(Lock::take(system.path(), &system.means(code)).is_ok());
    }
}

#[test]
fn a_lock_daemon_that_does_not_answer_is_waited_for_a_while_only() {
    let system = Lockless::new();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let means = Means {
        lock: Arc::new(move |_| {
            let _ = released.lock().unwrap().recv();
            Ok(())
        }),
        patience: Duration::from_millis(50),
        ..system.means(ENOLCK)
    };
    let lock = Lock::take(system.path(), &means).unwrap();
    assert!(lock.warnings()[0].contains("gives no locks (no answer in 0.05 s)"), "{:?}", lock.warnings());
    assert_eq!(system.entries(), ["lock", "owner"]);
    drop(release);
}

#[test]
fn a_lock_that_another_process_has_is_told_with_it_and_nothing_changes() {
    let dir = tempfile::tempdir().unwrap();
    let shown = dir.path().display().to_string();
    let lock = Lock::take(dir.path(), &Means::system()).unwrap();
    assert!(lock.warnings().is_empty());
    let text = std::fs::read_to_string(dir.path().join(LOCK)).unwrap();
    let err = Lock::take(dir.path(), &Means::system()).unwrap_err().to_string();
    let (number, host) = (std::process::id(), Process::own().host);
    assert_eq!(text, format!("{number} {host}\n"));
    assert_eq!(err, format!("the run in `{shown}` is locked by another process (process {number} on {host})"));
    assert_eq!(std::fs::read_to_string(dir.path().join(LOCK)).unwrap(), text);
    // As older programs wrote it.
    assert_eq!(described("12\n").as_deref(), Some("process 12"));
    assert_eq!(described("?"), None);
    lock.undo();
    assert!(entries(dir.path()).is_empty());
}

#[test]
fn an_owner_on_another_machine_is_taken_over_only_when_it_has_long_been_silent() {
    let system = Lockless::new();
    system.write_owner(&elsewhere());
    let shown = system.path().display().to_string();
    let refused = |minutes: u64| {
        format!(
            "the run in `{shown}` is locked by another process (process 41 on node7); if that was killed, try \
             again in {minutes} min"
        )
    };
    for (seconds, minutes) in [(0, 5), (130, 3), (299, 1)] {
        *system.ahead.lock().unwrap() = Duration::from_secs(seconds);
        let err = Lock::take(system.path(), &system.means(ENOLCK)).unwrap_err().to_string();
        assert_eq!(err, refused(minutes), "{seconds}");
        // Not even an empty file of the lock stays.
        assert_eq!(system.entries(), ["owner"]);
    }
    *system.ahead.lock().unwrap() = Duration::from_secs(7 * 60 + 5);
    let lock = Lock::take(system.path(), &system.means(ENOLCK)).unwrap();
    assert_eq!(
        lock.warnings()[0],
        format!(
            "`{shown}` belonged to process 41 on node7, which has shown no sign of life for 7 minutes: it is taken over"
        )
    );
    assert_eq!(std::fs::read_to_string(system.path().join(OWNER)).unwrap(), Process::own().text());
    assert_eq!(system.entries(), ["lock", "owner"]);
}

#[cfg(target_os = "linux")]
#[test]
fn an_owner_on_this_machine_is_taken_over_as_soon_as_it_has_ended() {
    let system = Lockless::new();
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let (_, began) = state_and_start(child.id()).unwrap();
    let process = Process { number: child.id(), began, ..Process::own() };
    system.write_owner(&process);
    // Silent for long, stopped perhaps, but there.
    *system.ahead.lock().unwrap() = Duration::from_secs(3600);
    let err = Lock::take(system.path(), &system.means(ENOLCK)).unwrap_err().to_string();
    assert!(err.ends_with(&format!("(process {} on {})", child.id(), process.host)), "{err}");
    *system.ahead.lock().unwrap() = Duration::ZERO;
    child.kill().unwrap();
    // Before its parent has asked for it, its number still stands in the table of processes.
    while state_and_start(child.id()).is_some_and(|(state, _)| state != "Z") {
        std::thread::sleep(Duration::from_millis(5));
    }
    let lock = Lock::take(system.path(), &system.means(ENOLCK)).unwrap();
    let sentence =
        format!("`{}` belonged to {}, which has ended: it is taken over", system.path().display(), process.described());
    assert_eq!(lock.warnings()[0], sentence);
    drop(lock);
    child.wait().unwrap();
    // A later process with the same number is another one.
    system.write_owner(&Process { began: "0".into(), ..Process::own() });
    assert!(Lock::take(system.path(), &Means::system()).is_ok());
    assert_eq!(system.entries(), ["lock"]);
}

#[test]
fn an_owner_that_says_nothing_is_taken_over_in_time() {
    let system = Lockless::new();
    std::fs::write(system.path().join(OWNER), b"").unwrap();
    let err = Lock::take(system.path(), &system.means(ENOLCK)).unwrap_err().to_string();
    assert!(err.ends_with("is locked by another process; if that was killed, try again in 5 min"), "{err}");
    *system.ahead.lock().unwrap() = STALE_AFTER + Duration::from_secs(1);
    let lock = Lock::take(system.path(), &system.means(ENOLCK)).unwrap();
    assert!(lock.warnings()[0].contains("belonged to another process"), "{:?}", lock.warnings());
}

#[test]
fn an_owner_is_renewed_while_it_lasts_and_notices_that_it_was_taken_over() {
    let system = Lockless::new();
    let means = Means { renew_every: Duration::from_millis(20), ..system.means(ENOLCK) };
    let lock = Lock::take(system.path(), &means).unwrap();
    let path = system.path().join(OWNER);
    let time = || std::fs::metadata(&path).unwrap().modified().unwrap();
    let (before, begin) = (time(), std::time::Instant::now());
    while time() == before {
        assert!(begin.elapsed() < Duration::from_secs(20), "never renewed");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!lock.is_lost());
    system.write_owner(&elsewhere());
    assert!(lock.is_lost());
    // What is another's stays.
    drop(lock);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), elsewhere().text());
}

#[test]
fn of_many_that_come_at_once_one_gets_an_owner_left_behind() {
    let system = Lockless::new();
    let means = system.means(ENOLCK);
    for _ in 0..20 {
        system.write_owner(&elsewhere());
        let file = OpenOptions::new().write(true).open(system.path().join(OWNER)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
        let taken: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| Lock::take(system.path(), &means).ok())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(taken.iter().flatten().count(), 1);
    }
}
