//! The options of logs and traces.

use clap::ValueEnum;
use codex_k8s_shared::telemetry::{self, LogForm, Telemetry};
use tokio::runtime::Handle;

/// Logs and traces.
#[derive(Debug, clap::Args)]
pub(crate) struct TelemetryArgs {
    /// The form of the log; its filter is `RUST_LOG`
    #[arg(long, value_enum, default_value = "text")]
    log: LogName,
    /// The collector that traces are sent to, by OTLP over HTTP: such as `http://collector:4318`; without one, there are no
    /// traces
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    otlp_endpoint: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogName {
    /// A line of text each
    Text,
    /// A line of JSON each
    Json,
}

impl TelemetryArgs {
    /// Logs and traces under the name of a program from now on, filtered as `usual` unless `RUST_LOG` says otherwise.
    pub(crate) fn begin(
        &self,
        program: &'static str,
        usual: &str,
        runtime: &Handle,
    ) -> anyhow::Result<Telemetry> {
        let log = match self.log {
            LogName::Text => LogForm::Text,
            LogName::Json => LogForm::Json,
        };
        telemetry::begin(log, self.otlp_endpoint.as_deref(), program, usual, runtime)
    }
}
