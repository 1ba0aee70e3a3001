//! The telemetry of the programs: a log, and traces if a collector is configured.
//!
//! Spans are only for the collector. They have a separate [target](SPANS) that the log never shows: without a
//! collector they are not needed, and cost one load of a flag.

mod collector;

use std::io::{self, IsTerminal};

use anyhow::Context as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;
use tracing_subscriber::filter::{Directive, LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::marked;
use collector::{Collector, Endpoint};

/// The target of spans.
pub const SPANS: &str = "codex_k8s::spans";

/// The format of the log.
#[derive(Debug, Clone, Copy, Default)]
pub enum LogForm {
    /// A line of text each
    #[default]
    Text,
    /// A line of JSON each
    Json,
}

/// Sends the remaining traces when it is dropped.
#[derive(Debug)]
#[must_use = "what is left of the traces is sent when it goes"]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

/// Starts to write logs to standard error, filtered as `usual` unless `RUST_LOG` overrides it, and to send spans to
/// the collector at `endpoint`, if it is set. The result must be dropped before the runtime.
///
/// # Errors
/// If the endpoint is not a valid address, or it uses TLS and this machine has no trusted certificates.
pub fn begin(
    form: LogForm,
    endpoint: Option<&str>,
    program: &'static str,
    usual: &str,
    runtime: &Handle,
) -> anyhow::Result<Telemetry> {
    // An empty variable counts as unset.
    let endpoint = endpoint.filter(|text| !text.is_empty()).map(str::parse);
    let endpoint = endpoint.transpose().context("--otlp-endpoint names no collector")?;
    let traces = endpoint.map(|endpoint| traces(&endpoint, program, runtime)).transpose()?;
    let spans = traces.as_ref().map(|traces| {
        tracing_opentelemetry::layer()
            .with_tracer(traces.tracer(program))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(|found| found.target() == SPANS))
    });
    let log = tracing_subscriber::fmt::layer().with_writer(marked::stderr).with_ansi(colours());
    let log = match form {
        LogForm::Text => log.boxed(),
        LogForm::Json => log.json().boxed(),
    };
    tracing_subscriber::registry().with(log.with_filter(filter(usual))).with(spans).init();
    Ok(Telemetry { traces })
}

/// Starts to write the logs of an interactive command to standard error, unless [`begin`] has started to write them.
pub fn begin_interactive(level: &str) {
    let log = tracing_subscriber::fmt::layer().with_writer(marked::stderr).with_ansi(colours());
    // An error says that logs are written already.
    let _ = tracing_subscriber::registry().with(log.with_filter(filter(level))).try_init();
}

fn colours() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.traces.as_ref().map(SdkTracerProvider::shutdown) {
            tracing::warn!(error = &error as &dyn std::error::Error, "the last traces are lost");
        }
    }
}

fn filter(usual: &str) -> EnvFilter {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    let silent = format!("{SPANS}={}", LevelFilter::OFF).parse::<Directive>();
    // This is a constant that always parses.
    silent.map_or_else(|_| EnvFilter::default(), |silent| filter.add_directive(silent))
}

fn traces(endpoint: &Endpoint, program: &'static str, runtime: &Handle) -> anyhow::Result<SdkTracerProvider> {
    let collector = Collector::new(endpoint, runtime.clone())?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(collector)
        .with_endpoint(endpoint.traces())
        .build()
        .context("failed to prepare traces")?;
    let mut resource = Resource::builder();
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name(program);
    }
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_never_shows_spans_whatever_its_filter_says() {
        for usual in ["info", "trace", "warn,codex_k8s=trace"] {
            let shown = filter(usual).to_string();
            assert!(shown.contains("codex_k8s::spans=off"), "{shown}");
        }
    }
}
