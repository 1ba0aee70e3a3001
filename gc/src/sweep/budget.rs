//! The number of deletions that a sweep has left.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// The deletions of a sweep. A deletion that fails is not counted: otherwise namespaces whose deletion always fails
/// would retain the younger ones forever.
#[derive(Debug)]
pub(super) struct Budget {
    free: Semaphore,
    unspent: AtomicU32,
}

/// One deletion, returned to the budget unless it is spent.
#[derive(Debug)]
pub(super) struct Slot<'a> {
    budget: &'a Budget,
    permit: SemaphorePermit<'a>,
}

impl Budget {
    /// A budget of this many deletions.
    pub(super) fn new(most: u32) -> Self {
        let permits = usize::try_from(most).unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS);
        let free = Semaphore::new(permits);
        if most == 0 {
            free.close();
        }
        Self { free, unspent: AtomicU32::new(most) }
    }

    /// Takes one deletion as soon as one is available; `None` when all are spent.
    pub(super) async fn take(&self) -> Option<Slot<'_>> {
        let permit = self.free.acquire().await.ok()?;
        Some(Slot { budget: self, permit })
    }
}

impl Slot<'_> {
    /// Spends the deletion, because it was accepted.
    pub(super) fn spend(self) {
        self.permit.forget();
        if self.budget.unspent.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.budget.free.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_not_spent_is_given_back_and_what_is_spent_ends_the_budget() {
        let budget = Budget::new(2);
        for _ in 0..10 {
            drop(budget.take().await.unwrap());
        }
        budget.take().await.unwrap().spend();
        let last = budget.take().await.unwrap();
        let (next, ()) = futures::future::join(budget.take(), async { last.spend() }).await;
        assert!(next.is_none());
        assert!(Budget::new(0).take().await.is_none());
    }
}
