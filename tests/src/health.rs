//! The health and metrics endpoint of our processes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context as _;

use crate::control_plane::ControlPlane;
use crate::eventually::eventually;

const TIMEOUT: Duration = Duration::from_secs(30);

/// The address at which a process serves `/livez`, `/readyz` and `/metrics`.
#[derive(Debug, Clone, Copy)]
pub struct Health(pub SocketAddr);

impl Health {
    /// Sends a GET and returns the status line, the headers and the body.
    ///
    /// # Errors
    /// Returns an error if there is no response.
    pub fn get(self, path: &str) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(self.0)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// True if the process is ready.
    pub fn is_ready(self) -> bool {
        self.get("/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// Returns the value of a metric, by its name and labels as they are exposed, or zero if it does not exist.
    ///
    /// # Errors
    /// Returns an error if there is no response.
    pub fn metric(self, name: &str) -> anyhow::Result<u64> {
        let metrics = self.get("/metrics")?;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(value.map_or(Ok(0), |value| value.trim().parse())?)
    }

    /// Returns the sum of a metric over all its series.
    ///
    /// # Errors
    /// Returns an error if there is no response.
    pub fn sum(self, name: &str) -> anyhow::Result<u64> {
        self.sum_of(name, &[])
    }

    /// Returns the sum of a metric over the series with the given labels, each as it is exposed: `outcome="denied"`.
    ///
    /// # Errors
    /// Returns an error if there is no response.
    pub fn sum_of(self, name: &str, with: &[&str]) -> anyhow::Result<u64> {
        let metrics = self.get("/metrics")?;
        let values = metrics.lines().filter_map(|line| {
            let (labels, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
            let is_series = labels.is_empty() || labels.starts_with('{');
            (is_series && with.iter().all(|label| labels.contains(label))).then_some(value)
        });
        Ok(values.map(str::parse::<u64>).sum::<Result<u64, _>>()?)
    }

    /// Waits until the process `name` of a control plane is ready.
    ///
    /// # Errors
    /// Returns an error if it does not become ready; with the end of its log.
    pub fn await_ready(self, control_plane: &ControlPlane, name: &str) -> anyhow::Result<()> {
        eventually(&format!("{name} is ready"), TIMEOUT, || self.is_ready().then_some(()))
            .with_context(|| format!("{name}.log ends with:\n{}", control_plane.log_tail(name)))
    }
}
