//! Records decisions in the background. A record that cannot be written, or not in time, is counted and dropped: an
//! admission never waits for its record and never fails because of it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use codex_k8s_shared::errors;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::Snapshot;
use super::folder::{Bounds, Folder};
use crate::decision::{DecisionSink, EvaluatedReview};
use crate::metrics::Metrics;
use crate::review::{AdmissionRequest, Entry, Outcome};

/// Maximum number of decisions that wait to be written.
const WAITING: usize = 256;
/// Maximum number of bytes of their requests: a few large ones must not fill the memory.
const WAITING_BYTES: usize = 16 << 20;

/// The decisions that are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Only denials.
    Denied,
    /// All decisions about run namespaces and the objects that they contain.
    All,
}

enum Message {
    Decision(Box<Snapshot>, OwnedSemaphorePermit),
    Flush(oneshot::Sender<()>),
}

/// Records decisions.
#[derive(Debug, Clone)]
pub struct Recorder {
    what: What,
    queue: mpsc::Sender<Message>,
    bytes: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl Recorder {
    /// Starts recording to a folder, on a separate thread.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(path: PathBuf, bounds: Bounds, what: What, metrics: Arc<Metrics>) -> io::Result<Self> {
        let (queue, messages) = mpsc::channel(WAITING);
        let writer = Writer { path, bounds, folder: None, metrics: Arc::clone(&metrics), fails: false };
        thread::Builder::new().name("records".to_owned()).spawn(move || writer.follow(messages))?;
        Ok(Self { what, queue, bytes: Arc::new(Semaphore::new(WAITING_BYTES)), metrics })
    }

    /// Reserves a slot in the queue first, so that nothing is copied for a record that will be dropped.
    fn queue(
        &self,
        entry: Entry,
        review: &AdmissionRequest<'_>,
        evaluated: EvaluatedReview<'_>,
        outcome: &Outcome,
    ) -> Option<()> {
        let objects = [review.object, review.old_object].into_iter().flatten();
        let size = objects.map(|object| object.get().len()).sum::<usize>();
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(u32::try_from(size).ok()?).ok()?;
        let permit = self.queue.try_reserve().ok()?;
        permit.send(Message::Decision(Box::new(Snapshot::new(entry, review, evaluated, outcome)), bytes));
        Some(())
    }

    /// Waits until all queued records are written.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.queue.send(Message::Flush(done)).await.is_ok() {
            let _ = flushed.await;
        }
    }
}

impl DecisionSink for Recorder {
    /// Records a decision if it is selected.
    fn take(
        &self,
        entry: Entry,
        review: &AdmissionRequest<'_>,
        evaluated: EvaluatedReview<'_>,
        outcome: &Outcome,
    ) {
        let is_recorded = match self.what {
            What::All => evaluated.verdict.in_scope,
            What::Denied => outcome.denial.is_some(),
        };
        if !is_recorded {
            return;
        }
        if self.queue(entry, review, evaluated, outcome).is_none() {
            self.metrics.recorded("dropped");
        }
    }
}

struct Writer {
    path: PathBuf,
    bounds: Bounds,
    folder: Option<Folder>,
    metrics: Arc<Metrics>,
    fails: bool,
}

impl Writer {
    fn follow(mut self, mut messages: mpsc::Receiver<Message>) {
        while let Some(message) = messages.blocking_recv() {
            match message {
                Message::Decision(taken, bytes) => {
                    self.write(*taken);
                    drop(bytes);
                }
                // The caller may be gone.
                Message::Flush(done) => _ = done.send(()),
            }
        }
    }

    fn write(&mut self, taken: Snapshot) {
        match self.try_write(taken) {
            Ok(()) => {
                self.metrics.recorded("written");
                if std::mem::take(&mut self.fails) {
                    tracing::info!(folder = %self.path.display(), "decisions are recorded again");
                }
            }
            Err(error) => {
                self.metrics.recorded("failed");
                // The folder may have been deleted: it is opened again, and created if necessary, for the next record.
                self.folder = None;
                // Consecutive failures are logged once.
                if !std::mem::replace(&mut self.fails, true) {
                    let folder = self.path.display();
                    tracing::error!(%folder, error = errors::chain(&error), "failed to record a decision");
                }
            }
        }
    }

    fn try_write(&mut self, taken: Snapshot) -> io::Result<()> {
        let folder = match &mut self.folder {
            Some(folder) => folder,
            none => none.insert(Folder::open(&self.path, self.bounds)?),
        };
        folder.write(&taken.into_record())
    }
}
