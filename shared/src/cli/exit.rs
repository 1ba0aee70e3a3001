//! What ends a command early, and with which code.

/// What ended a command, and the code for it.
#[derive(Debug)]
pub struct Failure<C> {
    /// The code.
    pub exit: C,
    /// Why.
    pub error: anyhow::Error,
}

/// Of codes that have a default, it is the one of errors that name none.
impl<C: Default, E: Into<anyhow::Error>> From<E> for Failure<C> {
    fn from(error: E) -> Self {
        Self { exit: C::default(), error: error.into() }
    }
}

/// Results that end a command with a code of their own.
pub trait OrExit<T> {
    /// The value, or the end of the command.
    fn or_exit<C>(self, exit: C) -> Result<T, Failure<C>>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit<C>(self, exit: C) -> Result<T, Failure<C>> {
        self.map_err(|error| Failure { exit, error: error.into() })
    }
}
