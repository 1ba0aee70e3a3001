//! The progress of a sweep.

use std::fmt::Debug;

/// A receiver of progress reports.
pub trait Progress: Debug + Sync {
    /// A phase has started, with this number of steps; 0 if it is unknown.
    fn phase(&self, name: &'static str, steps: usize);

    /// One step is done.
    fn step(&self);
}

/// A receiver that ignores all reports.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unseen;

impl Progress for Unseen {
    fn phase(&self, _: &'static str, _: usize) {}

    fn step(&self) {}
}
