//! The HTTP listener, for monitoring: `/metrics`, and probes under the names that Milvus and Kubernetes use.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::health::Health;
use crate::metrics::Metrics;

/// OpenMetrics, which Prometheus asks for and understands.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All paths of the listener.
pub fn router(health: Arc<Health>, metrics: Arc<Metrics>) -> Router {
    let probes = Router::new()
        // The process answers, so restarting it would not help.
        .route("/livez", get(|| async { "OK" }))
        .route("/readyz", get(ready))
        .route("/healthz", get(ready))
        .with_state(health);
    probes.merge(self::metrics(metrics))
}

/// `/metrics` alone.
pub fn metrics(metrics: Arc<Metrics>) -> Router {
    Router::new().route("/metrics", get(print)).with_state(metrics)
}

async fn ready(State(health): State<Arc<Health>>) -> Response {
    let reasons = health.not_ready();
    if reasons.is_empty() {
        return "OK".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n")).into_response()
}

async fn print(State(metrics): State<Arc<Metrics>>) -> Response {
    match metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
