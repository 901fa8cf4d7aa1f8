//! What `/metrics` tells of the oracle: read when asked, so the hot path counts nothing.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;

use super::Oracle;

/// The gauges of this node's oracle.
pub struct OracleGauges(pub Arc<Oracle>);

impl fmt::Debug for OracleGauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OracleGauges")
    }
}

impl Collector for OracleGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let bound_ms = self.0.bound_ms();
        let gauges = [
            ("tso_serving", "1 where timestamps are handed out", u64::from(bound_ms.is_some())),
            ("tso_bound_ms", "Timestamps are handed out below this time; 0 elsewhere", bound_ms.unwrap_or(0)),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}
