//! The promise of `defer` and nothing more, for models.
//!
//! Time is cut in generations. A pin joins the youngest; a `defer` puts its
//! call into the youngest and starts a new one. The oldest generation goes,
//! and its calls run, once nobody is in it. So a call runs exactly when all
//! guards of its moment are gone: as early as the promise allows, which is
//! where bugs show.
//!
//! Its lock gives models a few more happens-before edges than the real epoch
//! does. Orderings around `pin` are for the models on the real one.

use crate::sync::seed;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::cell::Cell;
use core::mem;
#[cfg(loom)]
use loom::{lazy_static, sync::Mutex};
#[cfg(shuttle)]
use shuttle::{lazy_static, sync::Mutex};

type Call = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Generation {
    readers: usize,
    calls: Vec<Call>,
}

#[derive(Default)]
struct Time {
    /// Number of the oldest generation.
    oldest: usize,
    generations: VecDeque<Generation>,
}

impl Drop for Time {
    fn drop(&mut self) {
        // The model is over, and calls may touch what the model has put away.
        mem::forget(mem::take(&mut self.generations));
    }
}

lazy_static! {
    static ref TIME: Mutex<Time> = Mutex::new(Time::default());
}

fn with_time<R>(change: impl FnOnce(&mut Time) -> R) -> R {
    change(&mut TIME.lock().expect("a model that panicked has failed"))
}

impl Time {
    fn youngest(&mut self) -> usize {
        if self.generations.is_empty() {
            self.generations.push_back(Generation::default());
        }
        self.oldest + self.generations.len() - 1
    }

    fn generation(&mut self, number: usize) -> &mut Generation {
        &mut self.generations[number - self.oldest]
    }

    /// Takes out what is due: the calls of the oldest generations without
    /// readers, and never those of the youngest.
    fn take_due(&mut self) -> Vec<Call> {
        let mut due = Vec::new();
        while self.generations.len() > 1 && self.generations[0].readers == 0 {
            self.oldest += 1;
            due.extend(self.generations.pop_front().map(|gone| gone.calls).unwrap_or_default());
        }
        due
    }
}

pub(super) struct Guard {
    /// `None` once a twin unpinned early.
    generation: Cell<Option<usize>>,
}

/// Generations count guards, not threads. Not `Send`, as the real one.
pub(super) struct Participant(core::marker::PhantomData<*mut ()>);

pub(super) fn register() -> Participant {
    Participant(core::marker::PhantomData)
}

pub(super) fn pin_as(_: &Participant) -> Guard {
    pin()
}

pub(super) fn pin() -> Guard {
    let is_seen = !seed::is_planted(seed::PINS_OUT_OF_SIGHT);
    Guard { generation: Cell::new(is_seen.then(enter)) }
}

fn enter() -> usize {
    with_time(|time| {
        let youngest = time.youngest();
        time.generation(youngest).readers += 1;
        youngest
    })
}

fn leave(generation: usize) {
    let due = with_time(|time| {
        time.generation(generation).readers -= 1;
        time.take_due()
    });
    due.into_iter().for_each(|call| call());
}

impl Guard {
    pub(super) fn defer(&self, f: impl FnOnce() + Send + 'static) {
        with_time(|time| {
            let youngest = time.youngest();
            time.generation(youngest).calls.push(Box::new(f));
            time.generations.push_back(Generation::default());
        });
    }

    pub(super) fn flush(&self) {}

    pub(super) fn repin(&mut self) {
        self.unpin();
        self.generation.set(Some(enter()));
    }

    pub(super) fn unpin(&self) {
        if let Some(generation) = self.generation.take() {
            leave(generation);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.unpin();
    }
}
