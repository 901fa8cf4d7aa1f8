//! Metric types: how far apart two vectors are, by what kind of vectors they are.

use super::params::{Map, invalid_params};
use crate::error::Rejection;
use crate::pb::schema::{DataType, FieldSchema};

pub(super) const METRIC: &str = "metric_type";
pub(super) const BM25: &str = "BM25";
/// Of signatures: only for an index that finds duplicates.
const DUPLICATES: &str = "MHJACCARD";

const DENSE: [&str; 3] = ["L2", "IP", "COSINE"];
const BINARY: [&str; 5] = ["HAMMING", "JACCARD", "SUBSTRUCTURE", "SUPERSTRUCTURE", DUPLICATES];
/// What lists of binary vectors can be sorted into.
const BINARY_LISTS: [&str; 2] = ["HAMMING", "JACCARD"];
/// Between two lists of vectors.
const OF_LISTS: [&str; 4] = ["MAX_SIM", "MAX_SIM_COSINE", "MAX_SIM_IP", "MAX_SIM_L2"];

/// Whether the field's vectors can be compared so.
pub(super) fn check_field(
    field: &FieldSchema,
    data_type: DataType,
    of_bm25: bool,
    metric: &str,
) -> Result<(), Rejection> {
    let detail = match data_type {
        DataType::FloatVector | DataType::Float16Vector | DataType::BFloat16Vector if !DENSE.contains(&metric) => {
            format!("float vector index does not support metric type: {metric}")
        }
        DataType::Int8Vector if !DENSE.contains(&metric) => {
            format!("int vector index does not support metric type: {metric}")
        }
        DataType::BinaryVector if !BINARY.contains(&metric) => {
            format!("binary vector index does not support metric type: {metric}")
        }
        DataType::SparseFloatVector if metric != "IP" && metric != BM25 => {
            "only IP&BM25 is the supported metric type for sparse index".to_owned()
        }
        DataType::SparseFloatVector if metric == BM25 && !of_bm25 => {
            "only BM25 Function output field support BM25 metric type".to_owned()
        }
        DataType::ArrayOfVector if field.element_type != i32::from(DataType::FloatVector) => {
            format!("array of vector index does not support metric type: {metric}")
        }
        DataType::ArrayOfVector if !OF_LISTS.contains(&metric) => {
            format!("array of vector with float element type does not support metric type: {metric}")
        }
        _ => return Ok(()),
    };
    Err(invalid_params(detail))
}

/// Whether an index of this type can compare so.
pub(super) fn check_index(index_type: &str, params: &Map) -> Result<(), Rejection> {
    let Some(metric) = params.get(METRIC) else { return Ok(()) };
    let known: &[&str] = match index_type {
        "BIN_IVF_FLAT" => &BINARY_LISTS,
        "BIN_FLAT" => BINARY.split_last().map_or(&[], |(_, known)| known),
        "MINHASH_LSH" => &[DUPLICATES],
        _ => return Ok(()),
    };
    if known.contains(&metric.as_str()) {
        return Ok(());
    }
    let known = known.join(" ");
    Err(Rejection::invalid(format!("metric type {metric} not found or not supported, supported: [{known}]")))
}

/// What the server builds when it is asked to choose: Milvus' `autoIndex.params`.
pub(super) fn automatic(data_type: DataType, of_bm25: bool) -> &'static [(&'static str, &'static str)] {
    match data_type {
        DataType::SparseFloatVector if of_bm25 => &[("index_type", "SPARSE_INVERTED_INDEX"), (METRIC, BM25)],
        DataType::SparseFloatVector => &[("index_type", "SPARSE_INVERTED_INDEX"), (METRIC, "IP")],
        DataType::BinaryVector => &[("index_type", "BIN_IVF_FLAT"), ("nlist", "1024"), (METRIC, "HAMMING")],
        DataType::ArrayOfVector => {
            &[("index_type", "HNSW"), ("M", "18"), ("efConstruction", "240"), (METRIC, "MAX_SIM_COSINE")]
        }
        _ => &[("index_type", "HNSW"), ("M", "18"), ("efConstruction", "240"), (METRIC, "COSINE")],
    }
}

/// Refuses a metric that an index of the server's choice would not have.
pub(super) fn check_automatic(metric: &str) -> Result<(), Rejection> {
    if metric == DUPLICATES {
        let detail = "Deduplicate index is not enabled, but metric type is deduplicate.";
        return Err(Rejection::invalid(detail));
    }
    Ok(())
}
