//! Logs to standard error, as text or as JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One line of text per event.
    #[default]
    Text,
    /// One JSON object per event.
    Json,
}

/// Crates that write requests with their paths and headers below `info`: keys are in them (INV-9).
const WIRE: [&str; 14] = [
    "azure_core",
    "azure_identity",
    "azure_security_keyvault_secrets",
    "h2",
    "hyper",
    "hyper_util",
    "reqwest",
    "rustls",
    "tokio_tungstenite",
    "tower_http",
    "tungstenite",
    "typespec",
    "typespec_client_core",
    "want",
];

fn is_of_wire(target: &str) -> bool {
    let name = target.split("::").next().unwrap_or_default();
    WIRE.contains(&name)
}

/// Starts logging; `HEADWATER_LOG` sets the filter (default `info`). No filter shows what goes over
/// the wire.
pub fn start(format: LogFormat, default_filter: &str) {
    let filter =
        EnvFilter::try_from_env("HEADWATER_LOG").unwrap_or_else(|_| EnvFilter::new(default_filter));
    let is_shown =
        filter_fn(|facts| *facts.level() <= tracing::Level::INFO || !is_of_wire(facts.target()));
    let filter = filter.and(is_shown);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let layer = match format {
        LogFormat::Text => layer.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => layer.json().boxed(),
    };
    let result = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
    // A second start, as in tests, keeps the first logger.
    drop(result);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_writes_requests_is_known() {
        assert!(is_of_wire("tungstenite::handshake::client") && is_of_wire("hyper"));
        assert!(!is_of_wire("headwater::rpc::exchange") && !is_of_wire("hyperbole"));
    }
}
