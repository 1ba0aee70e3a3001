//! The state of a Job: on one line at a terminal, a line for each change in a pipe.

use std::io::{self, IsTerminal as _};

use codex_k8s_webhook::render::State;

use crate::output;

/// Back to the beginning of the line, and away with what stood there.
const OVER: &str = "\r\x1b[2K";

/// Tells states on standard output.
#[derive(Debug)]
pub(super) struct Progress {
    what: String,
    lively: bool,
    last: Option<State>,
}

impl Progress {
    /// Tells the states of something.
    pub(super) fn of(what: String) -> Self {
        Self { what, lively: io::stdout().is_terminal(), last: None }
    }

    /// Tells a state, unless it was told last.
    pub(super) fn show(&mut self, state: &State) {
        if self.last.as_ref() != Some(state) {
            // With standard output gone nobody reads it, but the exit code still tells of the end.
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
