//! Errors for logs and the command line.

use std::error::Error;

use kube::core::Status;

/// Formats an error and its causes in one line, each cause once. An error of the API server is its message only.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let status = status(error);
        let own = status.map_or_else(|| error.to_string(), message);
        if !text.contains(&own) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&own);
        }
        // The source of an error of the API server is the status itself.
        next = error.source().filter(|_| status.is_none());
    }
    text
}

fn status<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Status> {
    match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) => Some(status),
        _ => None,
    }
}

fn message(status: &Status) -> String {
    if status.message.is_empty() {
        return format!("the API server answered with {}", status.code);
    }
    // A denial has a line for each problem.
    status.message.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("failed to patch the Lease: {source}")]
    struct Failed {
        source: std::io::Error,
    }

    #[derive(Debug, thiserror::Error)]
    #[error("failed to take the Lease")]
    struct Refused(#[source] kube::Error);

    fn refused(message: &str) -> Refused {
        let status = Status { code: 403, message: message.to_owned(), ..Status::default() };
        Refused(kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn a_refused_request_is_said_once_and_without_the_debug_output_of_its_status() {
        let error = refused("NS001: a: Required value: b\nNS007: c");
        assert_eq!(chain(&error), "failed to take the Lease: NS001: a: Required value: b NS007: c");
        assert_eq!(chain(&refused("")), "failed to take the Lease: the API server answered with 403");
    }

    #[test]
    fn a_cause_that_an_error_says_itself_is_not_repeated() {
        let error = Failed { source: std::io::Error::other("connection refused") };
        assert_eq!(chain(&error), "failed to patch the Lease: connection refused");
    }
}
