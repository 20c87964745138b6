//! Runs followed while they go on: the page of a report on this machine, and a view in the terminal.
//!
//! Both read run directories and write nothing anywhere. [`serve()`] is for a browser, [`terminal()`] for a connection
//! over ssh; both go on until they are told to stop.
//!
//! - [`runs`]: which runs have changed since the last look
//! - [`http`]: the little of HTTP that one page needs, with a limit on everything
//! - [`serve`](mod@serve): the page on 127.0.0.1, and a stream of messages that there is a new one
//! - [`screen`]: what the terminal shows, a pure function of the tables and the size
//! - [`terminal`](mod@terminal): the view in the terminal
//!
//! The browser's side is `live.js`.

mod error;

pub mod runs;

pub mod http;

pub mod serve;

pub mod screen;

pub mod terminal;

pub use error::WatchError;
pub use serve::serve;
pub use terminal::terminal;
