//! Coalesces concurrent reads of the same thing into one, which begins after the last caller has asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::Semaphore;

/// Coalesced reads by name. For any number of concurrent callers with one name, at most two reads are made, one after
/// the other. A caller never gets the result of a read that began before its call.
#[derive(Debug)]
pub(crate) struct Coalesce<T> {
    slots: Mutex<HashMap<Box<str>, Arc<Slot<T>>>>,
    permits: Semaphore,
}

/// The last successful read of a name, kept as long as a caller waits for it.
type Slot<T> = tokio::sync::Mutex<Option<(Instant, T)>>;

impl<T: Clone> Coalesce<T> {
    /// Allows at most this many concurrent reads of different names.
    pub(crate) fn new(at_a_time: usize) -> Self {
        Self { slots: Mutex::default(), permits: Semaphore::new(at_a_time) }
    }

    /// Returns the result of `read`, or of another caller's read that began after this call.
    ///
    /// # Errors
    /// The error of `read`. It is not shared: each caller then reads for itself.
    pub(crate) async fn get<E>(&self, name: &str, read: impl AsyncFnOnce() -> Result<T, E>) -> Result<T, E> {
        let requested = Instant::now();
        let user = self.slot(name);
        let mut last = user.slot.lock().await;
        if let Some((_, value)) = last.as_ref().filter(|(begun, _)| *begun > requested) {
            return Ok(value.clone());
        }
        // The semaphore is never closed. Without a permit there would only be more concurrent reads.
        let _permit = self.permits.acquire().await.ok();
        let begun = Instant::now();
        let value = read().await?;
        *last = Some((begun, value.clone()));
        Ok(value)
    }

    fn slot<'a>(&'a self, name: &'a str) -> User<'a, T> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.entry(name.into()).or_default();
        User { coalesce: self, name, slot: Arc::clone(slot) }
    }
}

/// A caller. The last one removes the slot, even if it is cancelled.
struct User<'a, T> {
    coalesce: &'a Coalesce<T>,
    name: &'a str,
    slot: Arc<Slot<T>>,
}

impl<T> Drop for User<'_, T> {
    fn drop(&mut self) {
        let mut slots = self.coalesce.slots.lock().unwrap_or_else(PoisonError::into_inner);
        // The reference of the map and this one: no other caller can get the slot while the map is locked.
        if Arc::strong_count(&self.slot) == 2 {
            slots.remove(self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    #[derive(Default)]
    struct Source {
        reads: AtomicUsize,
        begun: Notify,
        go_on: Notify,
    }

    impl Source {
        async fn read(&self) -> Result<usize, &'static str> {
            let number = self.reads.fetch_add(1, Ordering::SeqCst) + 1;
            self.begun.notify_one();
            self.go_on.notified().await;
            Ok(number)
        }
    }

    fn setup() -> (Arc<Coalesce<usize>>, Arc<Source>) {
        (Arc::new(Coalesce::new(4)), Arc::default())
    }

    fn ask(
        setup: &(Arc<Coalesce<usize>>, Arc<Source>),
    ) -> tokio::task::JoinHandle<Result<usize, &'static str>> {
        let (coalesce, source) = (Arc::clone(&setup.0), Arc::clone(&setup.1));
        tokio::spawn(async move { coalesce.get("a", async || source.read().await).await })
    }

    #[tokio::test]
    async fn those_who_ask_during_a_read_share_the_next_one() {
        let setup = setup();
        let first = ask(&setup);
        setup.1.begun.notified().await;
        let later: Vec<_> = (0..50).map(|_| ask(&setup)).collect();
        // The runtime has one thread: all tasks run until they wait for the read.
        tokio::task::yield_now().await;
        setup.1.go_on.notify_one();
        assert_eq!(first.await.unwrap(), Ok(1));
        setup.1.begun.notified().await;
        setup.1.go_on.notify_one();
        for caller in later {
            assert_eq!(caller.await.unwrap(), Ok(2), "not what was read before they asked");
        }
        assert_eq!(setup.1.reads.load(Ordering::SeqCst), 2);
        assert!(setup.0.slots.lock().unwrap().is_empty(), "nothing is kept");
    }

    #[tokio::test]
    async fn a_caller_that_gives_up_leaves_the_others_their_read() {
        let setup = setup();
        let first = ask(&setup);
        setup.1.begun.notified().await;
        let second = ask(&setup);
        tokio::task::yield_now().await;
        first.abort();
        setup.1.begun.notified().await;
        setup.1.go_on.notify_one();
        assert_eq!(second.await.unwrap(), Ok(2));
        assert!(setup.0.slots.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_failure_is_not_shared() {
        let coalesce = Coalesce::<usize>::new(1);
        assert_eq!(coalesce.get("a", async || Err("no")).await, Err("no"));
        assert_eq!(coalesce.get("a", async || Ok::<_, &str>(7)).await, Ok(7));
    }
}
