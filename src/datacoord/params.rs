//! From what a user asks of an index to what is built: defaults, the server's own choices, and refusals in the order
//! and the words of Milvus 2.6. Nothing here knows what exists already: that is for `state` to judge.

use std::collections::{BTreeMap, BTreeSet};

use super::{kinds, metrics, path, scalar};
use crate::error::Rejection;
use crate::pb::common::KeyValuePair;
use crate::pb::schema::{CollectionSchema, DataType, FieldSchema, FunctionSchema, FunctionType};
use crate::rootcoord::validate;
use crate::state::{JSON_PATH, Properties};

pub(super) type Map = BTreeMap<String, String>;

pub(super) const INDEX_TYPE: &str = "index_type";
/// A JSON object of further parameters.
const PARAMS: &str = "params";
const DIM: &str = "dim";
const MAX_LENGTH: &str = "max_length";
const MMAP: &str = "mmap.enabled";
const OFFSET_CACHE: &str = "indexoffsetcache.enabled";
const WARMUP: &str = "warmup";

/// An index that may be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) default_name: String,
    pub(super) type_params: Properties,
    pub(super) index_params: Properties,
    pub(super) user_params: Properties,
    pub(super) is_auto: bool,
    pub(super) metric_is_default: bool,
}

/// The field that is meant; a name that is not declared means a key of the dynamic field.
pub(super) fn named_field<'a>(schema: &'a CollectionSchema, name: &str) -> Result<&'a FieldSchema, Rejection> {
    let members = schema.struct_array_fields.iter().flat_map(|parent| &parent.fields);
    let own = schema.fields.iter().filter(|field| validate::is_users_own(field));
    let declared = own.chain(members).find(|field| field.name == name);
    let dynamic = || schema.fields.iter().find(|field| field.is_dynamic);
    declared
        .or_else(dynamic)
        .ok_or_else(|| Rejection::invalid(format!("cannot create index on non-exist field: {name}")))
}

/// Judges what is asked for a field and completes it. `asked_field` is the field's name as it was asked.
pub(super) fn complete(
    schema: &CollectionSchema,
    field: &FieldSchema,
    asked_field: &str,
    extra: &[KeyValuePair],
) -> Result<Wanted, Rejection> {
    let mut asked = flat(extra)?;
    let data_type = DataType::try_from(field.data_type).unwrap_or_default();
    if let Some(index_type) = asked.get(INDEX_TYPE).filter(|index_type| !index_type.is_empty()) {
        check_mmap(index_type, &asked).map_err(|why| Rejection::invalid(format!("invalid mmap type params: {why}")))?;
        if *index_type != kinds::AUTO && kinds::named(index_type).is_none() && !scalar::is_known(index_type) {
            return Err(Rejection::ParameterUnexpected {
                expected: "valid index".to_owned(),
                actual: format!("invalid index type: {index_type}"),
                detail: String::new(),
            });
        }
    }
    check_warmup(&asked)?;
    let mut wanted = Wanted {
        default_name: field.name.clone(),
        type_params: Vec::new(),
        index_params: Vec::new(),
        user_params: extra.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect(),
        is_auto: false,
        metric_is_default: false,
    };
    if is_vector(data_type) {
        vector(&mut wanted, &mut asked, field, data_type, function_of(schema, field))?;
    } else {
        of_scalar(&mut wanted, &mut asked, field, data_type)?;
    }
    if data_type == DataType::Json {
        let place = asked.get(JSON_PATH).map_or(asked_field, String::as_str);
        let normal = path::normal(place, field, schema)?;
        wanted.default_name.push_str(&normal);
        asked.insert(JSON_PATH.to_owned(), normal);
    }
    // What the field's type says is not said again.
    asked.remove(DIM);
    asked.remove(MAX_LENGTH);
    let kept = |pair: &&KeyValuePair| pair.key != MMAP && !asked.contains_key(&pair.key);
    let pair = |pair: &KeyValuePair| (pair.key.clone(), pair.value.clone());
    wanted.type_params = field.type_params.iter().filter(kept).map(pair).collect();
    wanted.index_params = asked.into_iter().collect();
    check_changeable(wanted.index_params.iter())?;
    Ok(wanted)
}

/// The parameters with those of the JSON object among them.
fn flat(extra: &[KeyValuePair]) -> Result<Map, Rejection> {
    let mut seen = BTreeSet::new();
    if let Some(pair) = extra.iter().find(|pair| !seen.insert(&pair.key)) {
        let KeyValuePair { key, value } = pair;
        return Err(Rejection::invalid(format!("duplicated index param (key={key}) (value={value}) found")));
    }
    let mut asked = Map::new();
    for KeyValuePair { key, value } in extra {
        if key != PARAMS {
            asked.insert(key.clone(), value.clone());
            continue;
        }
        let inner: BTreeMap<String, serde_json::Value> = serde_json::from_str(value)
            .map_err(|error| Rejection::invalid(format!("unmarshal params failed, {error}")))?;
        for (key, value) in inner {
            let value = match value {
                serde_json::Value::String(text) => text,
                other => other.to_string(),
            };
            asked.insert(key, value);
        }
    }
    Ok(asked)
}

fn of_scalar(wanted: &mut Wanted, asked: &mut Map, field: &FieldSchema, data_type: DataType) -> Result<(), Rejection> {
    if let (DataType::Json, Some(cast)) = (data_type, asked.get_mut(scalar::CAST)) {
        *cast = cast.trim().to_uppercase();
    }
    if asked.get(INDEX_TYPE).is_none_or(|index_type| index_type == kinds::AUTO) {
        asked.insert(INDEX_TYPE.to_owned(), scalar::automatic(field)?.to_owned());
        wanted.is_auto = true;
    }
    let index_type = asked.get(INDEX_TYPE).map(String::as_str).unwrap_or_default();
    let checked = match kinds::named(index_type) {
        Some(_) => Err(Rejection::invalid(format!("index {index_type} only supports vector data type"))),
        None => scalar::check(index_type, field, asked),
    };
    checked.map_err(|why| invalid_params(why.reason()))
}

fn vector(
    wanted: &mut Wanted,
    asked: &mut Map,
    field: &FieldSchema,
    data_type: DataType,
    function: Option<&FunctionSchema>,
) -> Result<(), Rejection> {
    let of_bm25 = function.is_some_and(|function| function.r#type == i32::from(FunctionType::Bm25));
    if asked.get(INDEX_TYPE).is_none_or(|index_type| index_type == kinds::AUTO) {
        choose(wanted, asked, data_type, of_bm25)?;
    }
    if of_bm25 {
        let metric = asked.entry(metrics::METRIC.to_owned()).or_insert_with(|| metrics::BM25.to_owned());
        if metric != metrics::BM25 {
            let detail = format!("index metric type of BM25 function output field must be BM25, got {metric}");
            return Err(Rejection::invalid(detail));
        }
        for (key, value) in [("bm25_k1", "1.2"), ("bm25_b", "0.75")] {
            asked.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    let index_type = asked.get(INDEX_TYPE).cloned().unwrap_or_default();
    let kind = kinds::named(&index_type);
    if let Some(kind) = kind {
        kind.complete(asked);
    }
    let Some(metric) = asked.get(metrics::METRIC) else {
        return Err(invalid_params("metric type not set for vector index"));
    };
    metrics::check_field(field, data_type, of_bm25, metric)?;
    let name = data_type.as_str_name();
    let checked = match kind {
        Some(kind) if kind.takes(data_type) => {
            dimension(field, data_type, asked).and_then(|dim| kind.check(asked, dim))
        }
        Some(_) => Err(Rejection::invalid(format!("data type {name} can't build with this index {index_type}"))),
        None if scalar::is_known(&index_type) => {
            Err(Rejection::invalid(format!("data type {name} can't build with this index {index_type}")))
        }
        None => Err(Rejection::invalid(format!("invalid index type: {index_type}"))),
    };
    checked.map_err(|why| invalid_params(why.reason()))
}

/// The server's choice, in which only the metric type may be the user's.
fn choose(wanted: &mut Wanted, asked: &mut Map, data_type: DataType, of_bm25: bool) -> Result<(), Rejection> {
    let metric = asked.get(metrics::METRIC).cloned();
    let named = usize::from(asked.contains_key(INDEX_TYPE)) + usize::from(metric.is_some());
    if asked.len() > named {
        return Err(Rejection::invalid("only metric type can be passed when use AutoIndex"));
    }
    let chosen =
        metrics::automatic(data_type, of_bm25).iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    asked.extend(chosen);
    if let Some(metric) = &metric {
        metrics::check_automatic(metric)?;
        asked.insert(metrics::METRIC.to_owned(), metric.clone());
    }
    let metric_type = asked.get(metrics::METRIC).cloned().unwrap_or_default();
    wanted.user_params =
        vec![(INDEX_TYPE.to_owned(), kinds::AUTO.to_owned()), (metrics::METRIC.to_owned(), metric_type)];
    wanted.metric_is_default = metric.is_none();
    Ok(())
}

/// The field's dimension, which a request may repeat. Sparse vectors have none.
fn dimension(field: &FieldSchema, data_type: DataType, asked: &Map) -> Result<Option<i64>, Rejection> {
    if data_type == DataType::SparseFloatVector {
        return Ok(None);
    }
    let Some(declared) = field.type_params.iter().find(|pair| pair.key == DIM).map(|pair| &pair.value) else {
        return Err(Rejection::invalid("dimension not found in schema"));
    };
    if let Some(given) = asked.get(DIM).filter(|given| *given != declared) {
        let detail = format!("dimension mismatch, dimension in schema: {declared}, dimension: {given}");
        return Err(Rejection::invalid(detail));
    }
    Ok(declared.parse().ok())
}

fn function_of<'a>(schema: &'a CollectionSchema, field: &FieldSchema) -> Option<&'a FunctionSchema> {
    schema.functions.iter().find(|function| function.output_field_names.contains(&field.name))
}

fn is_vector(data_type: DataType) -> bool {
    validate::is_vector(data_type) || data_type == DataType::ArrayOfVector
}

/// What AlterIndex may set.
pub(super) fn is_changeable(key: &str) -> bool {
    [MMAP, OFFSET_CACHE, WARMUP].contains(&key)
}

/// The changeable ones among an index's parameters; they must fit its type.
pub(super) fn check_changeable<'a>(params: impl Iterator<Item = &'a (String, String)>) -> Result<(), Rejection> {
    let params: Map = params.cloned().collect();
    let index_type = params.get(INDEX_TYPE).map(String::as_str).unwrap_or_default();
    check_mmap(index_type, &params).map_err(|why| Rejection::invalid(format!("invalid mmap index params: {why}")))?;
    check_warmup(&params)?;
    let Some(value) = params.get(OFFSET_CACHE) else { return Ok(()) };
    let fault = match validate::switch(value) {
        None => format!("invalid {OFFSET_CACHE} value: {value}, expected: true, false"),
        Some(true) if !scalar::is_bitmap(index_type) => format!("only bitmap index support {OFFSET_CACHE} now"),
        Some(_) => return Ok(()),
    };
    Err(Rejection::invalid(format!("invalid offset cache index params: {fault}")))
}

fn check_mmap(index_type: &str, params: &Map) -> Result<(), String> {
    let Some(value) = params.get(MMAP) else { return Ok(()) };
    let maps =
        index_type == kinds::AUTO || scalar::maps(index_type) || kinds::named(index_type).is_some_and(|kind| kind.mmap);
    match validate::switch(value) {
        None => Err(format!("invalid {MMAP} value: {value}, expected: true, false")),
        Some(true) if !maps => Err(format!("index type {index_type} does not support mmap")),
        Some(_) => Ok(()),
    }
}

fn check_warmup(params: &Map) -> Result<(), Rejection> {
    let Some(policy) = params.get(WARMUP) else { return Ok(()) };
    validate::check_warmup(policy).map_err(|why| Rejection::invalid(format!("invalid warmup params: {why}")))
}

/// Milvus' refusal of parameters, around what is wrong with them.
pub(super) fn invalid_params(why: impl Into<String>) -> Rejection {
    Rejection::ParameterUnexpected {
        expected: "valid index params".to_owned(),
        actual: "invalid index params".to_owned(),
        detail: why.into(),
    }
}
