//! Batches made ahead on another thread.
//!
//! Any iterator of things that take time to make is run on a thread of its own, at most a few items ahead
//! of the one who takes them, in its own order. What is made is what the iterator would have made in place,
//! so a search gives the same bits with and without it.
//!
//! ```
//! use rdarts_data::Prefetch;
//! let squares: Result<Vec<u64>, _> = Prefetch::new((0..5u64).map(|x| x * x), 2)?.collect();
//! assert_eq!(squares?, [0, 1, 4, 9, 16]);
//! # Ok::<(), rdarts_data::DataError>(())
//! ```

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use crate::error::DataError;

/// An iterator that runs ahead on another thread. Dropping it ends the thread.
#[derive(Debug)]
pub struct Prefetch<T> {
    // None only while dropping: the thread ends when it finds its receiver gone.
    receiver: Option<Receiver<Result<T, DataError>>>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Prefetch<T> {
    /// Starts to run `items`, with up to `ahead` finished ones waiting (2 to 4 are enough).
    pub fn new(items: impl Iterator<Item = T> + Send + 'static, ahead: usize) -> Result<Self, DataError> {
        let (sender, receiver) = sync_channel(ahead);
        let thread = Builder::new()
            .name("rdarts-prefetch".to_owned())
            .spawn(move || run(items, &sender))
            .map_err(|e| DataError::Prefetch { reason: e.to_string() })?;
        Ok(Self { receiver: Some(receiver), thread: Some(thread) })
    }
}

impl<T> Iterator for Prefetch<T> {
    type Item = Result<T, DataError>;

    /// The next item; after a panic of the iterator one error that carries its message, then None.
    fn next(&mut self) -> Option<Self::Item> {
        self.receiver.as_ref()?.recv().ok()
    }
}

impl<T> Drop for Prefetch<T> {
    fn drop(&mut self) {
        self.receiver = None;
        if let Some(thread) = self.thread.take() {
            // The thread catches the panics of its items; one in their destructors has nobody left to be told.
            let _ = thread.join();
        }
    }
}

fn run<T>(mut items: impl Iterator<Item = T>, sender: &SyncSender<Result<T, DataError>>) {
    loop {
        // After a panic the iterator is not used again, so a broken state of it is seen by nobody.
        match catch_unwind(AssertUnwindSafe(|| items.next())) {
            Ok(None) => return,
            Ok(Some(item)) => {
                if sender.send(Ok(item)).is_err() {
                    return;
                }
            }
            Err(panic) => {
                // The receiver may be gone already, and then nobody waits for the reason.
                let _ = sender.send(Err(DataError::Prefetch { reason: panic_message(panic.as_ref()) }));
                return;
            }
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::augment::Augment;
    use crate::batch::{Batch, Loader, tests::dataset};

    #[test]
    fn batches_are_the_same_made_ahead_or_in_place() {
        let augment = Some(Augment { crop_padding: 2, flip: true, cutout_length: 3, cutout_prob: 0.5 });
        let weights = Loader::new(dataset(60), 0..33, 4, 7, "train");
        let alphas = Loader::new(dataset(60), 33..60, 4, 7, "valid");
        let pairs = || {
            let alphas = alphas.clone();
            let first_step = 5 * weights.n_batches() as u64;
            weights
                .epoch(5, 0, augment)
                .zip(first_step..)
                .map(move |(w, step)| (w.unwrap(), alphas.draw(step, augment).unwrap()))
        };
        let in_place: Vec<(Batch, Batch)> = pairs().collect();
        assert_eq!(in_place.len(), 9);
        for ahead in [0, 1, 3, 100] {
            let made_ahead: Result<Vec<_>, _> = Prefetch::new(pairs(), ahead).unwrap().collect();
            assert_eq!(made_ahead.unwrap(), in_place);
        }
    }

    #[test]
    fn a_panic_becomes_one_error_after_the_items_before_it() {
        let items = (0..5).map(|i| if i == 2 { panic!("image {i} is gone") } else { i });
        let got: Vec<_> = Prefetch::new(items, 2).unwrap().collect();
        let error = DataError::Prefetch { reason: "image 2 is gone".to_owned() };
        assert_eq!(error.to_string(), "the thread that makes batches ahead failed: image 2 is gone");
        assert_eq!(got, [Ok(0), Ok(1), Err(error)]);
    }

    #[test]
    fn dropping_it_ends_the_thread_and_it_never_runs_far_ahead() {
        let n_made = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&n_made);
        let endless = std::iter::repeat_with(move || counter.fetch_add(1, Ordering::SeqCst));
        let mut prefetch = Prefetch::new(endless, 3).unwrap();
        for expected in 0..10 {
            assert_eq!(prefetch.next(), Some(Ok(expected)));
            // Taken so far, three waiting, one in the hand of the thread.
            assert!(n_made.load(Ordering::SeqCst) <= expected + 5);
        }
        drop(prefetch);
        // The thread owned the other handle of the counter; it is gone.
        assert_eq!(Arc::strong_count(&n_made), 1);
    }
}
