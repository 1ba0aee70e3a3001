//! The options of logs and traces.

use clap::ValueEnum;
use codex_k8s_shared::telemetry::{self, LogForm, Telemetry};
use tokio::runtime::Handle;

/// Options of logs and traces.
#[derive(Debug, clap::Args)]
pub(crate) struct TelemetryArgs {
    /// Log format; `RUST_LOG` sets the filter
    #[arg(long, value_enum, default_value = "text")]
    log: LogName,
    /// OTLP/HTTP collector to send traces to, such as `http://collector:4318` (default: no traces)
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    otlp_endpoint: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogName {
    /// One line of text per event
    Text,
    /// One JSON object per line
    Json,
}

impl TelemetryArgs {
    /// Starts logs and traces under the name of a program, with the filter `usual` unless `RUST_LOG` is set.
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
