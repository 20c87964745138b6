//! The view in the terminal: it reads keys and sizes, and draws what `screen` says.
//!
//! Runs are read in a thread of their own, so that keys are obeyed while a slow disk is waited for. The terminal is given
//! back as it was however this ends: by a key, by `stop`, by an error, or by a panic.

use std::io::{IsTerminal, stdin, stdout};
use std::panic;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use rdarts_report::table::RunTable;

use crate::error::WatchError;
use crate::runs::Runs;
use crate::screen::{Shown, draw};

/// How often the runs are looked at: an epoch takes seconds at least.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a key is waited for before news of the runs and `stop` are looked at.
const KEY_EVERY: Duration = Duration::from_millis(200);

/// How many runs a page of keys goes on.
const PAGE: usize = 10;

/// Shows some runs in the terminal until a key ends it or `stop` is set.
///
/// # Errors
/// If there is no terminal, or it does not work.
pub fn terminal(paths: &[PathBuf], stop: &AtomicBool) -> Result<(), WatchError> {
    let is_terminal = [("input", stdin().is_terminal()), ("output", stdout().is_terminal())];
    if let Some((stream, _)) = is_terminal.into_iter().find(|(_, is)| !is) {
        return Err(WatchError::NoTerminal { stream });
    }
    let (send, news) = channel();
    // It holds this end as long as it is wanted.
    let (wanted, wants) = channel();
    let runs = Runs::new(paths);
    let reader = thread::Builder::new().name("looks".into());
    reader.spawn(move || follow(runs, &send, &wants)).map_err(|source| WatchError::Thread { source })?;
    let (mut screen, given_back) = take_terminal()?;
    let result = show(&mut screen, paths.len(), &news, stop);
    drop(given_back);
    drop(wanted);
    result
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To end.
    Quit,
    /// To see this run.
    Choose(usize),
    /// To see charts instead of words, or the other way round.
    Turn,
}

/// What a key asks for where one of `n` runs is chosen; `None`: nothing.
pub fn wish(key: KeyEvent, chosen: usize, n: usize) -> Option<Wish> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    let chosen = match key.code {
        KeyCode::Char('c' | 'd') if is_control => return Some(Wish::Quit),
        _ if is_control => return None,
        KeyCode::Char('q') | KeyCode::Esc => return Some(Wish::Quit),
        KeyCode::Tab => return Some(Wish::Turn),
        KeyCode::Down | KeyCode::Right | KeyCode::Char('j') => chosen + 1,
        KeyCode::Up | KeyCode::Left | KeyCode::Char('k') => chosen.saturating_sub(1),
        KeyCode::PageDown => chosen + PAGE,
        KeyCode::PageUp => chosen.saturating_sub(PAGE),
        KeyCode::Home => 0,
        KeyCode::End => n,
        _ => return None,
    };
    Some(Wish::Choose(chosen.min(n.saturating_sub(1))))
}

/// Sends the tables of runs that have changed, with their numbers, until nobody wants them.
fn follow(mut runs: Runs, send: &Sender<Vec<(usize, RunTable)>>, wants: &Receiver<()>) {
    loop {
        let changed = runs.refresh();
        let tables = changed.into_iter().map(|i| (i, RunTable::new(&runs.runs()[i]))).collect();
        let is_over = send.send(tables).is_err() || wants.recv_timeout(LOOK_EVERY) != Err(RecvTimeoutError::Timeout);
        if is_over {
            return;
        }
    }
}

fn show(
    screen: &mut DefaultTerminal,
    n: usize,
    news: &Receiver<Vec<(usize, RunTable)>>,
    stop: &AtomicBool,
) -> Result<(), WatchError> {
    let fault = |source| WatchError::Terminal { source };
    let (mut runs, mut is_changed) = (Vec::<RunTable>::new(), true);
    let (mut chosen, mut shown) = (0, Shown::Charts);
    while !stop.load(Ordering::SeqCst) {
        match news.try_recv() {
            Ok(tables) => {
                is_changed |= !tables.is_empty();
                for (i, table) in tables {
                    match runs.get_mut(i) {
                        Some(old) => *old = table,
                        None => runs.push(table),
                    }
                }
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Err(WatchError::Reader),
        }
        if is_changed {
            screen.draw(|frame| draw(frame, &runs, chosen, shown)).map_err(fault)?;
            is_changed = false;
        }
        if !event::poll(KEY_EVERY).map_err(fault)? {
            continue;
        }
        match event::read().map_err(fault)? {
            Event::Key(key) => match wish(key, chosen, n) {
                Some(Wish::Quit) => return Ok(()),
                Some(Wish::Choose(run)) => {
                    is_changed = run != chosen;
                    chosen = run;
                }
                Some(Wish::Turn) => {
                    is_changed = true;
                    shown = if shown == Shown::Charts { Shown::Words } else { Shown::Charts };
                }
                None => {}
            },
            Event::Resize(..) => is_changed = true,
            _ => {}
        }
    }
    Ok(())
}

/// Gives the terminal back when it is dropped, and what is done at a panic.
struct GivenBack(Option<Arc<Hook>>);

type Hook = dyn Fn(&panic::PanicHookInfo<'_>) + Send + Sync;

/// Takes the terminal. A panic gives it back before its message is written, which would be lost otherwise.
fn take_terminal() -> Result<(DefaultTerminal, GivenBack), WatchError> {
    let before: Arc<Hook> = Arc::from(panic::take_hook());
    let given_back = GivenBack(Some(Arc::clone(&before)));
    // Sets another hook around the one that there is by now, the standard one; ours takes the place of both.
    let screen = ratatui::try_init().map_err(|source| WatchError::Terminal { source })?;
    panic::set_hook(Box::new(move |info| {
        ratatui::restore();
        before(info);
    }));
    Ok((screen, given_back))
}

impl Drop for GivenBack {
    fn drop(&mut self) {
        ratatui::restore();
        // While a thread panics its hook cannot be changed.
        if let Some(before) = self.0.take().filter(|_| !thread::panicking()) {
            panic::set_hook(Box::new(move |info| before(info)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_choose_within_the_runs_or_end() {
        let plain = |code| wish(KeyEvent::new(code, KeyModifiers::NONE), 1, 3);
        let choices = [
            (KeyCode::Down, 2),
            (KeyCode::Char('j'), 2),
            (KeyCode::Up, 0),
            (KeyCode::Char('k'), 0),
            (KeyCode::PageDown, 2),
            (KeyCode::PageUp, 0),
            (KeyCode::Home, 0),
            (KeyCode::End, 2),
        ];
        for (code, run) in choices {
            assert_eq!(plain(code), Some(Wish::Choose(run)), "{code:?}");
        }
        assert_eq!([KeyCode::Esc, KeyCode::Char('q')].map(plain), [Some(Wish::Quit); 2]);
        assert_eq!(plain(KeyCode::Tab), Some(Wish::Turn));
        assert_eq!([KeyCode::Enter, KeyCode::Char('c')].map(plain), [None; 2]);
        let control = |c| wish(KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL), 0, 0);
        assert_eq!((control('c'), control('q')), (Some(Wish::Quit), None));
        // No run, no way.
        assert_eq!(wish(KeyEvent::new(KeyCode::End, KeyModifiers::NONE), 0, 0), Some(Wish::Choose(0)));
    }
}
