//! Progress of a Job: its state on one line on a terminal, one line per change in a pipe.

use std::io::{self, IsTerminal as _};

use codex_k8s_webhook::render::State;

use crate::output;

/// Returns the cursor to the beginning of the line and erases the line.
const OVER: &str = "\r\x1b[2K";

/// Prints states to standard output.
#[derive(Debug)]
pub(super) struct Progress {
    what: String,
    lively: bool,
    last: Option<State>,
}

impl Progress {
    /// Creates the progress of an object.
    pub(super) fn of(what: String) -> Self {
        Self { what, lively: io::stdout().is_terminal(), last: None }
    }

    /// Prints a state, unless it is the last one printed.
    pub(super) fn show(&mut self, state: &State) {
        if self.last.as_ref() != Some(state) {
            // If standard output is closed, the exit code still reports how the Job ended.
            let _ = output::print(&line(&self.what, state, self.lively));
            self.last = Some(state.clone());
        }
    }
}

fn line(what: &str, state: &State, lively: bool) -> String {
    // Messages of conditions may have several lines.
    let state_line = state.to_string().replace(char::is_control, " ");
    let (over, end) = match (lively, state.is_the_end()) {
        (true, false) => (OVER, ""),
        (true, true) => (OVER, "\n"),
        (false, _) => ("", "\n"),
    };
    format!("{over}{what}: {state_line}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_has_one_line_that_stays_at_the_end_and_a_pipe_has_one_each() {
        let failed = State::Failed { reason: "two\nlines\u{1b}[31m".to_owned() };
        assert_eq!(line("job j", &State::Pending, true), "\r\x1b[2Kjob j: pending");
        assert_eq!(line("job j", &State::Succeeded, true), "\r\x1b[2Kjob j: succeeded\n");
        assert_eq!(line("job j", &failed, false), "job j: failed: two lines [31m\n");
    }
}
