//! The vector index types: which vectors each takes, and the ranges of its parameters. Names and ranges are knowhere's
//! (Milvus' index library) in its CPU build; its GPU types are unknown here as they are there.

use super::metrics;
use super::params::Map;
use crate::error::Rejection;
use crate::pb::schema::DataType;

/// The type of which the server chooses the rest.
pub(super) const AUTO: &str = "AUTOINDEX";
const DISK: &str = "DISKANN";

/// What disk indexes get where the caller is silent: Milvus' `common.DiskIndex.*`.
const DISK_DEFAULTS: [(&str, &str); 5] = [
    ("max_degree", "56"),
    ("search_list_size", "100"),
    ("pq_code_budget_gb_ratio", "0.125"),
    ("search_cache_budget_gb_ratio", "0.1"),
    ("num_build_thread_ratio", "1"),
];

/// What the inverted lists of a sparse index may be walked by.
const SPARSE_ALGORITHMS: [&str; 3] = ["TAAT_NAIVE", "DAAT_WAND", "DAAT_MAXSCORE"];

/// One vector index type.
pub(super) struct Kind {
    pub(super) name: &'static str,
    takes: &'static [DataType],
    params: &'static [Param],
    pub(super) mmap: bool,
}

/// A number that an index type takes.
enum Param {
    Integer(&'static str, i64, i64),
    /// Up to, and in the last case not including, the upper end.
    Fraction(&'static str, f64, f64),
    Below(&'static str, f64, f64),
}

use Param::{Below, Fraction, Integer};

const DENSE: &[DataType] = &[DataType::FloatVector, DataType::Float16Vector, DataType::BFloat16Vector];
const DENSE_AND_INT8: &[DataType] =
    &[DataType::FloatVector, DataType::Float16Vector, DataType::BFloat16Vector, DataType::Int8Vector];
/// A graph also holds lists of vectors, one list a row.
const GRAPH: &[DataType] = &[
    DataType::FloatVector,
    DataType::Float16Vector,
    DataType::BFloat16Vector,
    DataType::Int8Vector,
    DataType::ArrayOfVector,
];
const BINARY: &[DataType] = &[DataType::BinaryVector];
const SPARSE: &[DataType] = &[DataType::SparseFloatVector];

const LISTS: Param = Integer("nlist", 1, 65_536);
const PARTS: Param = Integer("m", 1, 65_536);
const BITS: Param = Integer("nbits", 1, 24);
const DEGREE: Param = Integer("M", 2, 2048);
const BREADTH: Param = Integer("efConstruction", 1, 2_147_483_647);

const fn kind(name: &'static str, takes: &'static [DataType], mmap: bool, params: &'static [Param]) -> Kind {
    Kind { name, takes, params, mmap }
}

const SPARSE_PARAMS: &[Param] =
    &[Below("drop_ratio_build", 0.0, 1.0), Fraction("bm25_k1", 0.0, 3.0), Fraction("bm25_b", 0.0, 1.0)];

const KINDS: [Kind; 16] = [
    kind("FLAT", DENSE, true, &[]),
    kind("IVF_FLAT", DENSE, true, &[LISTS]),
    kind("IVF_SQ8", DENSE, true, &[LISTS]),
    kind("IVF_PQ", DENSE, true, &[LISTS, PARTS, BITS]),
    kind("IVF_RABITQ", DENSE, true, &[LISTS]),
    kind("SCANN", DENSE, true, &[LISTS]),
    kind("HNSW", GRAPH, true, &[DEGREE, BREADTH]),
    kind("HNSW_SQ", DENSE_AND_INT8, true, &[DEGREE, BREADTH]),
    kind("HNSW_PQ", DENSE_AND_INT8, true, &[DEGREE, BREADTH, PARTS, BITS]),
    kind("HNSW_PRQ", DENSE_AND_INT8, true, &[DEGREE, BREADTH, PARTS, BITS, Integer("nrq", 1, 16)]),
    kind(DISK, DENSE, false, &[Integer("max_degree", 1, 2048), Integer("search_list_size", 1, 2_147_483_647)]),
    kind("BIN_FLAT", BINARY, true, &[]),
    kind("BIN_IVF_FLAT", BINARY, true, &[LISTS]),
    kind("MINHASH_LSH", BINARY, true, &[]),
    kind("SPARSE_INVERTED_INDEX", SPARSE, true, SPARSE_PARAMS),
    kind("SPARSE_WAND", SPARSE, true, SPARSE_PARAMS),
];

/// The vector index type of this name.
pub(super) fn named(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

impl Kind {
    /// Adds what the server decides where the caller is silent.
    pub(super) fn complete(&self, params: &mut Map) {
        if self.name == DISK {
            for (key, value) in DISK_DEFAULTS {
                params.entry(key.to_owned()).or_insert_with(|| value.to_owned());
            }
        }
    }

    /// Whether vectors of this type can have this index.
    pub(super) fn takes(&self, data_type: DataType) -> bool {
        self.takes.contains(&data_type)
    }

    /// The parameters for vectors of `dim` dimensions; sparse ones have none.
    pub(super) fn check(&self, params: &Map, dim: Option<i64>) -> Result<(), Rejection> {
        metrics::check_index(self.name, params)?;
        if self.takes == SPARSE
            && let Some(algorithm) = params.get("inverted_index_algo")
            && !SPARSE_ALGORITHMS.contains(&algorithm.as_str())
        {
            let known = SPARSE_ALGORITHMS.join(" ");
            return Err(Rejection::invalid(format!(
                "sparse inverted index algo {algorithm} not found or not supported, supported: [{known}]"
            )));
        }
        for param in self.params {
            param.check(params)?;
        }
        let parts = params.get("m").and_then(|value| value.parse::<i64>().ok());
        match (self.params.iter().any(|param| matches!(param, Integer("m", ..))), parts, dim) {
            (true, Some(parts), Some(dim)) if dim % parts != 0 => Err(Rejection::invalid(format!(
                "The dimension of a vector (dim) should be a multiple of the number of subquantizers (m). \
                 Dimension:{dim}, m:{parts}"
            ))),
            _ => Ok(()),
        }
    }
}

impl Param {
    fn check(&self, params: &Map) -> Result<(), Rejection> {
        match *self {
            Integer(key, low, high) => {
                let Some(value) = params.get(key) else { return Ok(()) };
                let number = integer(key, value)?;
                if (low..=high).contains(&number) {
                    return Ok(());
                }
                Err(out_of_range(key, value, &format!("[{low}, {high}]")))
            }
            Fraction(key, low, high) | Below(key, low, high) => {
                let Some(value) = params.get(key) else { return Ok(()) };
                let Some(number) = value.parse::<f64>().ok().filter(|number| number.is_finite()) else {
                    return Err(Rejection::invalid(format!("invalid float value, key: '{key}', value: '{value}'")));
                };
                let open = matches!(self, Below(..));
                if low <= number && (number < high || (!open && number <= high)) {
                    return Ok(());
                }
                let end = if open { ')' } else { ']' };
                Err(out_of_range(key, &format!("{number:.6}"), &format!("[{low:.6}, {high:.6}{end}")))
            }
        }
    }
}

fn integer(key: &str, value: &str) -> Result<i64, Rejection> {
    let wrong = |what: &str| Err(Rejection::invalid(format!("{what}, key: '{key}', value: '{value}'")));
    match value.parse::<i64>() {
        Ok(number) => Ok(number),
        Err(error) if *error.kind() == std::num::IntErrorKind::PosOverflow => wrong("integer value out of range"),
        Err(error) if *error.kind() == std::num::IntErrorKind::NegOverflow => wrong("integer value out of range"),
        Err(_) if value.starts_with(|c: char| c.is_ascii_digit()) => wrong("wrong data type in json"),
        Err(_) => wrong("invalid integer value"),
    }
}

fn out_of_range(key: &str, value: &str, range: &str) -> Rejection {
    Rejection::invalid(format!("Out of range in json: param '{key}' ({value}) should be in range {range}"))
}
