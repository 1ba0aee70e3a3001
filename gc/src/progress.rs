//! How far a sweep is.

use std::fmt::Debug;

/// Whoever wants to see it.
pub trait Progress: Debug + Sync {
    /// Something has begun that takes so many steps; 0 if nobody knows.
    fn phase(&self, name: &'static str, steps: usize);

    /// One step is done.
    fn step(&self);
}

/// Nobody does.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unseen;

impl Progress for Unseen {
    fn phase(&self, _: &'static str, _: usize) {}

    fn step(&self) {}
}
