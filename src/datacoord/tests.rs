//! What may be asked of an index: a table of good requests and what they mean, and one of bad ones with Milvus' texts.

use super::params::{Wanted, complete, named_field};
use crate::error::Rejection;
use crate::pb::common::KeyValuePair;
use crate::pb::schema::{CollectionSchema, DataType, FieldSchema, FunctionSchema, FunctionType};

fn pairs(pairs: &[(&str, &str)]) -> Vec<KeyValuePair> {
    pairs.iter().map(|(key, value)| KeyValuePair { key: key.to_string(), value: value.to_string() }).collect()
}

/// One field of each kind, named after it.
fn schema() -> CollectionSchema {
    use DataType::*;
    let mut fields = Vec::new();
    let mut add = |name: &str, data_type: DataType, params: &[(&str, &str)]| {
        fields.push(FieldSchema {
            field_id: 100 + fields.len() as i64,
            name: name.into(),
            data_type: data_type.into(),
            type_params: pairs(params),
            ..FieldSchema::default()
        });
    };
    add("id", Int64, &[]);
    add("float", FloatVector, &[("dim", "8"), ("mmap.enabled", "true")]);
    add("half", Float16Vector, &[("dim", "8")]);
    add("int8", Int8Vector, &[("dim", "8")]);
    add("binary", BinaryVector, &[("dim", "64")]);
    add("sparse", SparseFloatVector, &[]);
    add("scores", SparseFloatVector, &[]);
    add("flag", Bool, &[]);
    add("count", Int32, &[]);
    add("weight", Double, &[]);
    add("title", VarChar, &[("max_length", "64")]);
    add("tags", Array, &[("max_capacity", "4")]);
    add("weights", Array, &[("max_capacity", "4")]);
    add("doc", Json, &[]);
    add("place", Geometry, &[]);
    add("when", Timestamptz, &[]);
    add("$meta", Json, &[]);
    fields[0].is_primary_key = true;
    fields.iter_mut().for_each(|field| field.is_dynamic = field.name == "$meta");
    fields.iter_mut().filter(|field| field.name == "tags").for_each(|field| field.element_type = VarChar.into());
    fields.iter_mut().filter(|field| field.name == "weights").for_each(|field| field.element_type = Double.into());
    let bm25 = FunctionSchema {
        r#type: FunctionType::Bm25.into(),
        output_field_names: vec!["scores".into()],
        ..FunctionSchema::default()
    };
    CollectionSchema { fields, functions: vec![bm25], ..CollectionSchema::default() }
}

fn ask(field: &str, extra: &[(&str, &str)]) -> Result<Wanted, Rejection> {
    let schema = schema();
    complete(&schema, named_field(&schema, field)?, field, &pairs(extra))
}

fn built(wanted: &Wanted) -> Vec<(&str, &str)> {
    wanted.index_params.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

#[test]
fn what_is_asked_is_what_is_built() {
    let wanted = ask(
        "float",
        &[("index_type", "IVF_FLAT"), ("metric_type", "L2"), ("params", r#"{"nlist": 128, "mmap.enabled": "true"}"#)],
    )
    .unwrap();
    let expected = [("index_type", "IVF_FLAT"), ("metric_type", "L2"), ("mmap.enabled", "true"), ("nlist", "128")];
    assert_eq!(built(&wanted), expected);
    // Of the field's own parameters the index's do not repeat any, and mapping is each one's own.
    assert_eq!(wanted.type_params, [("dim".to_owned(), "8".to_owned())]);
    assert_eq!(wanted.user_params[2].0, "params", "as the user wrote it");
    assert_eq!(wanted.default_name, "float");
    assert!(!wanted.is_auto && !wanted.metric_is_default);
}

#[test]
fn the_server_chooses_by_the_fields_type() {
    let hnsw = |metric| vec![("M", "18"), ("efConstruction", "240"), ("index_type", "HNSW"), ("metric_type", metric)];
    for (field, extra, expected) in [
        ("float", vec![], hnsw("COSINE")),
        ("float", vec![("index_type", "AUTOINDEX"), ("metric_type", "L2")], hnsw("L2")),
        ("int8", vec![("index_type", "AUTOINDEX")], hnsw("COSINE")),
        ("binary", vec![], vec![("index_type", "BIN_IVF_FLAT"), ("metric_type", "HAMMING"), ("nlist", "1024")]),
        ("sparse", vec![], vec![("index_type", "SPARSE_INVERTED_INDEX"), ("metric_type", "IP")]),
        (
            "scores",
            vec![("index_type", "AUTOINDEX"), ("metric_type", "BM25")],
            vec![
                ("bm25_b", "0.75"),
                ("bm25_k1", "1.2"),
                ("index_type", "SPARSE_INVERTED_INDEX"),
                ("metric_type", "BM25"),
            ],
        ),
    ] {
        let wanted = ask(field, &extra).unwrap();
        assert_eq!(built(&wanted), expected, "{field} {extra:?}");
        let user: Vec<&str> = wanted.user_params.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(user, ["index_type", "metric_type"]);
        assert_eq!(wanted.user_params[0].1, "AUTOINDEX");
        assert_eq!(wanted.metric_is_default, !extra.iter().any(|(key, _)| *key == "metric_type"));
    }
    for (field, expected) in [
        ("flag", "BITMAP"),
        ("count", "HYBRID"),
        ("weight", "INVERTED"),
        ("title", "HYBRID"),
        ("tags", "HYBRID"),
        ("weights", "INVERTED"),
        ("place", "RTREE"),
        ("when", "STL_SORT"),
    ] {
        for extra in [vec![], vec![("index_type", "AUTOINDEX")]] {
            let wanted = ask(field, &extra).unwrap();
            assert_eq!(built(&wanted), [("index_type", expected)], "{field}");
            assert!(wanted.is_auto);
        }
    }
}

#[test]
fn every_type_takes_what_it_takes() {
    for (field, index, params) in [
        ("float", "FLAT", "{}"),
        ("half", "IVF_SQ8", r#"{"nlist": 1}"#),
        ("float", "IVF_PQ", r#"{"nlist": 65536, "m": 4, "nbits": 8}"#),
        ("float", "SCANN", r#"{"nlist": "16", "with_raw_data": true}"#),
        ("int8", "HNSW", r#"{"M": 2, "efConstruction": 2147483647}"#),
        ("float", "HNSW_PRQ", r#"{"M": 2048, "m": 8, "nrq": 16}"#),
        ("float", "DISKANN", "{}"),
    ] {
        ask(field, &[("index_type", index), ("metric_type", "COSINE"), ("params", params)]).unwrap();
    }
    for (field, index, metric) in [
        ("binary", "BIN_FLAT", "SUPERSTRUCTURE"),
        ("binary", "BIN_IVF_FLAT", "JACCARD"),
        ("binary", "MINHASH_LSH", "MHJACCARD"),
        ("sparse", "SPARSE_WAND", "IP"),
    ] {
        ask(field, &[("index_type", index), ("metric_type", metric)]).unwrap();
    }
    for (field, index) in
        [("title", "TRIE"), ("title", "INVERTED"), ("count", "STL_SORT"), ("flag", "BITMAP"), ("place", "RTREE")]
    {
        assert_eq!(built(&ask(field, &[("index_type", index)]).unwrap()), [("index_type", index)]);
    }
    ask("title", &[("index_type", "NGRAM"), ("min_gram", "2"), ("max_gram", "3")]).unwrap();
    let disk = ask("float", &[("index_type", "DISKANN"), ("metric_type", "L2"), ("max_degree", "64")]).unwrap();
    assert_eq!(disk.index_params.iter().find(|(key, _)| key == "max_degree").unwrap().1, "64");
    assert!(disk.index_params.iter().any(|(key, value)| key == "search_list_size" && value == "100"));
}

#[test]
fn json_indexes_are_of_a_path() {
    let cast = ("json_cast_type", "double");
    let at = |path| ask("doc", &[("index_type", "INVERTED"), cast, ("json_path", path)]);
    let wanted = at(r#"doc["a"]["b"]"#).unwrap();
    assert_eq!(wanted.default_name, "doc/a/b");
    let expected = [("index_type", "INVERTED"), ("json_cast_type", "DOUBLE"), ("json_path", "/a/b")];
    assert_eq!(built(&wanted), expected);
    assert!(at("title").unwrap_err().reason().starts_with("fieldID not match with field name"));
    assert_eq!(ask("color", &[cast]).unwrap().default_name, "$meta/color", "a key of the dynamic field");
}

/// A field, what is asked of it, and the text of the refusal.
type Bad = (&'static str, Vec<(&'static str, &'static str)>, String);

#[test]
fn bad_requests_get_milvus_texts() {
    const WRAPPED: &str = "invalid parameter[expected=valid index params][actual=invalid index params]";
    let inner = |text: &str| format!("{text}: invalid parameter: {WRAPPED}");
    let plain = |text: &str| format!("{text}: invalid parameter");
    let l2 = |index| vec![("index_type", index), ("metric_type", "L2")];
    let with = |index, params| vec![("index_type", index), ("metric_type", "L2"), ("params", params)];
    let range = |what: &str| inner(&format!("Out of range in json: param {what}"));
    let table: Vec<Bad> = vec![
        ("float", vec![("a", "1"), ("a", "2")], plain("duplicated index param (key=a) (value=2) found")),
        (
            "float",
            vec![("index_type", "NONSENSE")],
            "invalid parameter[expected=valid index][actual=invalid index type: NONSENSE]".into(),
        ),
        (
            "count",
            vec![("index_type", "HYBRID")],
            "invalid parameter[expected=valid index][actual=invalid index type: HYBRID]".into(),
        ),
        (
            "float",
            vec![("index_type", "GPU_CAGRA")],
            "invalid parameter[expected=valid index][actual=invalid index type: GPU_CAGRA]".into(),
        ),
        ("float", vec![("index_type", "")], format!("metric type not set for vector index: {WRAPPED}")),
        ("float", l2(""), inner("invalid index type: ")),
        ("float", vec![("index_type", "FLAT")], format!("metric type not set for vector index: {WRAPPED}")),
        (
            "float",
            vec![("index_type", "AUTOINDEX"), ("nlist", "8")],
            plain("only metric type can be passed when use AutoIndex"),
        ),
        (
            "float",
            vec![("nlist", "8"), ("metric_type", "L2")],
            plain("only metric type can be passed when use AutoIndex"),
        ),
        (
            "float",
            vec![("metric_type", "HAMMING")],
            format!("float vector index does not support metric type: HAMMING: {WRAPPED}"),
        ),
        (
            "int8",
            vec![("metric_type", "HAMMING")],
            format!("int vector index does not support metric type: HAMMING: {WRAPPED}"),
        ),
        (
            "binary",
            vec![("metric_type", "L2")],
            format!("binary vector index does not support metric type: L2: {WRAPPED}"),
        ),
        (
            "binary",
            vec![("metric_type", "MHJACCARD")],
            plain("Deduplicate index is not enabled, but metric type is deduplicate."),
        ),
        (
            "sparse",
            vec![("metric_type", "L2")],
            format!("only IP&BM25 is the supported metric type for sparse index: {WRAPPED}"),
        ),
        (
            "sparse",
            vec![("metric_type", "BM25")],
            format!("only BM25 Function output field support BM25 metric type: {WRAPPED}"),
        ),
        (
            "scores",
            vec![("metric_type", "IP")],
            plain("index metric type of BM25 function output field must be BM25, got IP"),
        ),
        (
            "binary",
            vec![("index_type", "BIN_IVF_FLAT"), ("metric_type", "SUBSTRUCTURE")],
            inner("metric type SUBSTRUCTURE not found or not supported, supported: [HAMMING JACCARD]"),
        ),
        ("float", l2("BIN_FLAT"), inner("data type FloatVector can't build with this index BIN_FLAT")),
        ("float", l2("INVERTED"), inner("data type FloatVector can't build with this index INVERTED")),
        ("int8", l2("IVF_FLAT"), inner("data type Int8Vector can't build with this index IVF_FLAT")),
        ("title", vec![("index_type", "HNSW")], inner("index HNSW only supports vector data type")),
        ("float", with("HNSW", r#"{"M": 1}"#), range("'M' (1) should be in range [2, 2048]")),
        ("float", with("HNSW", r#"{"M": 2049}"#), range("'M' (2049) should be in range [2, 2048]")),
        (
            "float",
            with("HNSW", r#"{"efConstruction": 0}"#),
            range("'efConstruction' (0) should be in range [1, 2147483647]"),
        ),
        ("float", with("IVF_FLAT", r#"{"nlist": 0}"#), range("'nlist' (0) should be in range [1, 65536]")),
        ("float", with("IVF_FLAT", r#"{"nlist": -1}"#), range("'nlist' (-1) should be in range [1, 65536]")),
        ("float", with("IVF_FLAT", r#"{"nlist": "a"}"#), inner("invalid integer value, key: 'nlist', value: 'a'")),
        ("float", with("IVF_FLAT", r#"{"nlist": 1.5}"#), inner("wrong data type in json, key: 'nlist', value: '1.5'")),
        (
            "float",
            with("IVF_FLAT", r#"{"nlist": 99999999999999999999}"#),
            inner("wrong data type in json, key: 'nlist', value: '1e+20'"),
        ),
        (
            "float",
            with("IVF_FLAT", r#"{"nlist": "99999999999999999999"}"#),
            inner("integer value out of range, key: 'nlist', value: '99999999999999999999'"),
        ),
        (
            "float",
            with("IVF_PQ", r#"{"m": 3}"#),
            inner(
                "The dimension of a vector (dim) should be a multiple of the number of subquantizers (m). \
                 Dimension:8, m:3",
            ),
        ),
        ("float", with("HNSW", r#"{"dim": 16}"#), inner("dimension mismatch, dimension in schema: 8, dimension: 16")),
        (
            "float",
            with("DISKANN", r#"{"mmap.enabled": true}"#),
            plain("invalid mmap type params: index type DISKANN does not support mmap"),
        ),
        (
            "float",
            with("HNSW", r#"{"mmap.enabled": "maybe"}"#),
            plain("invalid mmap type params: invalid mmap.enabled value: maybe, expected: true, false"),
        ),
        (
            "float",
            with("HNSW", r#"{"indexoffsetcache.enabled": true}"#),
            plain("invalid offset cache index params: only bitmap index support indexoffsetcache.enabled now"),
        ),
        (
            "sparse",
            vec![("index_type", "SPARSE_WAND"), ("metric_type", "IP"), ("drop_ratio_build", "1")],
            range("'drop_ratio_build' (1.000000) should be in range [0.000000, 1.000000)"),
        ),
        (
            "sparse",
            vec![("index_type", "SPARSE_WAND"), ("metric_type", "IP"), ("drop_ratio_build", "x")],
            inner("invalid float value, key: 'drop_ratio_build', value: 'x'"),
        ),
        (
            "sparse",
            vec![("index_type", "SPARSE_WAND"), ("metric_type", "IP"), ("inverted_index_algo", "X")],
            inner(
                "sparse inverted index algo X not found or not supported, \
                 supported: [TAAT_NAIVE DAAT_WAND DAAT_MAXSCORE]",
            ),
        ),
        ("title", vec![("index_type", "RTREE")], inner("RTREE index can only be built on geometry field, got VarChar")),
        ("count", vec![("index_type", "TRIE")], inner("TRIE are only supported on varchar field")),
        (
            "flag",
            vec![("index_type", "STL_SORT")],
            inner("STL_SORT are only supported on numeric, varchar or timestamptz field, got Bool"),
        ),
        ("id", vec![("index_type", "BITMAP")], inner("create bitmap index on primary key not supported")),
        (
            "weight",
            vec![("index_type", "BITMAP")],
            inner("bitmap index are only supported on bool, int, string and array field"),
        ),
        (
            "weights",
            vec![("index_type", "BITMAP")],
            inner("bitmap index are only supported on bool, int, string for array field"),
        ),
        ("place", vec![("index_type", "INVERTED")], inner("INVERTED are not supported on Geometry field")),
        ("count", vec![("index_type", "NGRAM")], inner("ngram index can only be created on VARCHAR or JSON field")),
        (
            "title",
            vec![("index_type", "NGRAM"), ("min_gram", "3"), ("max_gram", "2")],
            inner("invalid min_gram or max_gram value for Ngram index, min_gram: 3, max_gram: 2"),
        ),
        (
            "title",
            vec![("index_type", "NGRAM"), ("min_gram", "x"), ("max_gram", "2")],
            inner("min_gram for Ngram index must be an integer, got: x"),
        ),
        (
            "title",
            vec![("index_type", "NGRAM")],
            format!("Ngram index must specify both min_gram and max_gram: missing parameter: {WRAPPED}"),
        ),
        (
            "doc",
            vec![("index_type", "INVERTED"), ("json_cast_type", "TEXT")],
            inner("json_cast_type TEXT is not supported"),
        ),
        (
            "doc",
            vec![("json_cast_type", "BOOL"), ("json_cast_function", "STRING_TO_DOUBLE")],
            inner("json_cast_function STRING_TO_DOUBLE is not supported for json_cast_type BOOL"),
        ),
        (
            "doc",
            vec![("json_cast_type", "DOUBLE"), ("json_cast_function", "X")],
            inner("json_cast_function X is not supported"),
        ),
        (
            "doc",
            vec![("index_type", "NGRAM"), ("json_cast_type", "DOUBLE")],
            inner("JSON field with ngram index only supports VARCHAR cast type, got: DOUBLE"),
        ),
        (
            "count",
            vec![("warmup", "never")],
            plain("invalid warmup params: invalid warmup policy: never, must be 'sync' or 'disable'"),
        ),
    ];
    for (field, extra, text) in table {
        let rejection = ask(field, &extra).unwrap_err();
        assert_eq!((rejection.code(), rejection.reason()), (1100, text), "{field} {extra:?}");
    }
    let missing = ask("doc", &[("index_type", "INVERTED")]).unwrap_err().reason();
    assert!(missing.starts_with("json index must specify cast type: missing parameter"), "{missing}");
    let broken = ask("float", &[("params", "{")]).unwrap_err();
    assert!(broken.reason().starts_with("unmarshal params failed, "));
    let mut without_dynamic = schema();
    without_dynamic.fields.retain(|field| !field.is_dynamic);
    let nowhere = named_field(&without_dynamic, "nowhere").unwrap_err().reason();
    assert_eq!(nowhere, "cannot create index on non-exist field: nowhere: invalid parameter");
}

#[test]
fn the_servers_own_fields_take_no_index() {
    let mut stored = schema();
    stored.fields.push(FieldSchema { field_id: 0, name: "RowID".into(), ..FieldSchema::default() });
    assert_eq!(named_field(&stored, "RowID").unwrap().name, "$meta");
    stored.fields.retain(|field| !field.is_dynamic);
    let refused = named_field(&stored, "RowID").unwrap_err().reason();
    assert_eq!(refused, "cannot create index on non-exist field: RowID: invalid parameter");
}
