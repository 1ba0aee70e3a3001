//! Progress of a sweep: a bar on a terminal, a line now and then in a log.

use std::io::IsTerminal;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use codex_k8s_gc::progress::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The shortest interval between lines in the log.
const PAUSE: Duration = Duration::from_secs(5);

/// Prints the progress of a sweep to standard error.
#[derive(Debug)]
pub(super) struct ProgressLog {
    bar: ProgressBar,
    lively: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: &'static str,
    steps: usize,
    done: usize,
    logged_at: Instant,
}

impl ProgressLog {
    pub(super) fn new() -> Self {
        let lively = std::io::stderr().is_terminal();
        let target = if lively { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let state = Mutex::new(State { phase: "", steps: 0, done: 0, logged_at: Instant::now() });
        Self { bar: ProgressBar::with_draw_target(None, target), lively, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ProgressLog {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for ProgressLog {
    fn phase(&self, name: &'static str, steps: usize) {
        *self.state() = State { phase: name, steps, done: 0, logged_at: Instant::now() };
        let template =
            if steps > 0 { "{msg} {bar:30} {pos}/{len} {eta}" } else { "{spinner} {msg} {elapsed}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        self.bar.set_length(steps.try_into().unwrap_or(u64::MAX));
        self.bar.set_position(0);
        self.bar.set_message(name);
        self.bar.enable_steady_tick(Duration::from_millis(100));
    }

    fn step(&self) {
        self.bar.inc(1);
        let mut state = self.state();
        state.done += 1;
        if !self.lively && state.logged_at.elapsed() >= PAUSE {
            state.logged_at = Instant::now();
            tracing::info!(done = state.done, of = state.steps, "{}", state.phase);
        }
    }
}
