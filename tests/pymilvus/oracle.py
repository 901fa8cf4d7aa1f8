"""The same calls to a real Milvus 2.3.5 and to Roost: prints each answer that differs without a known reason.

  oracle.py MILVUS_ADDRESS ROOST_ADDRESS

Requests are made by hand, so that no client looks at them first; both servers get the same bytes. Needs the Python of
tests/milvus_on_roost (`~/.cache/roost-milvus-venv`). Exit code 1 if a difference is unexplained.
"""

from __future__ import annotations

import itertools
import sys
import time

import grpc
from pymilvus.grpc_gen import common_pb2, milvus_pb2, milvus_pb2_grpc, schema_pb2
from pymilvus.grpc_gen.common_pb2 import KeyValuePair

CALL_SECONDS = 30.0
# Of an error that 2.3.5 has no code for.
NO_CODE = 65535
HAS_A_CODE = "2.6 has a code for it, and the code's text behind the error's"
ERRORS_OF_2_6 = {1100: "invalid parameter", 1101: "missing parameter"}
# Names that nobody else has, on a server that may have been asked before.
RUN = f"oracle_{int(time.time())}"

# Where 2.6 answers otherwise than 2.3.5, and Roost answers as 2.6 does: call to reason.
EXPLAINED = {
    "create: no vector": "2.6 wants one",
    "create: duplicate field": "2.6 names it",
    "create: no length": "2.6 names the field",
    "create: length 0": "2.6 names the field and the value",
    "create: length 65536": "2.6 names the field and the value",
    "create: length x": "2.6 says it in words",
    "create: dim 0": "2.6 begins at 2",
    "create: dim 1": "2.6 begins at 2",
    "create: dim -1": "2.6 begins at 2",
    "create: dim 32769": "2.6 begins at 2, and names the field",
    "create: no dim": "2.6 names the field",
    "create: binary dim 12": "2.6 names the field",
    "create: unknown type": "2.6 refuses it",
    "create: missing database": "2.6 has a code for it",
    "describe: first": "2.6 keeps the time zone with the properties",
    "describe: missing": "2.6 says it once, and sets the older code too",
    "alter: ttl that is no number": "2.6 looks at it",
    "alter: nothing": "2.6 has other words for it",
    "alter: missing": "2.6 names the database, and no timestamp",
    "rename: to itself": "2.6 has a text of its own for it",
    "rename: missing": "2.6 names the database, and no timestamp",
}


def field(name, data_type, primary=False, **params):
    pairs = [KeyValuePair(key=key, value=str(value)) for key, value in params.items()]
    return schema_pb2.FieldSchema(name=name, data_type=data_type, is_primary_key=primary, type_params=pairs)


def declared(name, *fields):
    if not fields:
        fields = (
            field("id", schema_pb2.Int64, primary=True),
            field("title", schema_pb2.VarChar, max_length=100),
            field("vector", schema_pb2.FloatVector, dim=8),
        )
    return schema_pb2.CollectionSchema(name=name, description="asked twice", fields=fields)


def create(name, *fields, **options):
    schema = declared(name, *fields).SerializeToString()
    return "CreateCollection", milvus_pb2.CreateCollectionRequest(collection_name=name, schema=schema, **options)


def rename(old, new):
    return "RenameCollection", milvus_pb2.RenameCollectionRequest(oldName=old, newName=new)


def alter(name, **properties):
    pairs = [KeyValuePair(key=key.replace("__", "."), value=value) for key, value in properties.items()]
    return "AlterCollection", milvus_pb2.AlterCollectionRequest(collection_name=name, properties=pairs)


def describe(name):
    return "DescribeCollection", milvus_pb2.DescribeCollectionRequest(collection_name=name)


def has(name):
    return "HasCollection", milvus_pb2.HasCollectionRequest(collection_name=name)


def drop(name):
    return "DropCollection", milvus_pb2.DropCollectionRequest(collection_name=name)


def statistics(name):
    return "GetCollectionStatistics", milvus_pb2.GetCollectionStatisticsRequest(collection_name=name)


def calls():
    """Every call with its name, in an order in which later ones build on earlier ones."""
    a, b, wide, gone = f"{RUN}_a", f"{RUN}_b", f"{RUN}_wide", f"{RUN}_gone"
    # What one of the two takes must not be there for the next call.
    new = (f"{RUN}_refused_{number}" for number in itertools.count())
    key, vector = field("id", schema_pb2.Int64, primary=True), field("vector", schema_pb2.FloatVector, dim=8)
    yield "create: first", create(a)
    yield "create: again", create(a)
    yield "create: second", create(b, shards_num=2, consistency_level=common_pb2.ConsistencyLevel.Session)
    yield "create: same name, other schema", create(a, key, vector)
    for name in ["", "1st", "a-b", "a b", "x" * 256, "$x"]:
        yield f"create: name {name[:8]!r}", create(name, key, vector)
    yield "create: no primary key", create(next(new), vector)
    yield "create: two primary keys", create(next(new), key, field("other", schema_pb2.Int64, primary=True), vector)
    yield "create: float primary key", create(next(new), field("id", schema_pb2.Float, primary=True), vector)
    yield "create: no vector", create(next(new), key)
    yield "create: duplicate field", create(next(new), key, vector, field("id", schema_pb2.Int64))
    yield "create: bad field name", create(next(new), key, vector, field("1st", schema_pb2.Int64))
    yield "create: no length", create(next(new), key, vector, field("text", schema_pb2.VarChar))
    yield "create: length 0", create(next(new), key, vector, field("text", schema_pb2.VarChar, max_length=0))
    yield "create: length 65536", create(next(new), key, vector, field("text", schema_pb2.VarChar, max_length=65536))
    yield "create: length x", create(next(new), key, vector, field("text", schema_pb2.VarChar, max_length="x"))
    for dim in [0, 1, 32769, -1]:
        yield f"create: dim {dim}", create(next(new), key, field("vector", schema_pb2.FloatVector, dim=dim))
    yield "create: no dim", create(next(new), key, field("vector", schema_pb2.FloatVector))
    yield "create: binary dim 12", create(next(new), key, field("vector", schema_pb2.BinaryVector, dim=12))
    yield "create: unknown type", create(next(new), key, vector, field("x", 77))
    yield "create: type string", create(next(new), key, vector, field("x", schema_pb2.String))
    yield "create: 17 shards", create(next(new), key, vector, shards_num=17)
    many = [field(f"f{number}", schema_pb2.Int64) for number in range(63)]
    yield "create: 65 fields", create(next(new), key, vector, *many)
    yield "create: 64 fields", create(wide, key, vector, *many[:62])
    mismatch = milvus_pb2.CreateCollectionRequest(collection_name=gone, schema=declared(a).SerializeToString())
    yield "create: other name in the schema", ("CreateCollection", mismatch)
    elsewhere = milvus_pb2.CreateCollectionRequest(
        db_name="nowhere", collection_name=gone, schema=declared(gone).SerializeToString()
    )
    yield "create: missing database", ("CreateCollection", elsewhere)

    yield "describe: first", describe(a)
    yield "describe: missing", describe(gone)
    yield "has: first", has(a)
    yield "has: missing", has(gone)
    yield "has: bad name", has("1st")
    yield "statistics: first", statistics(a)
    yield "statistics: missing", statistics(gone)
    yield "alter: ttl", alter(a, collection__ttl__seconds="60")
    yield "alter: ttl that is no number", alter(a, collection__ttl__seconds="x")
    yield "alter: nothing", alter(a)
    yield "alter: missing", alter(gone, collection__ttl__seconds="60")
    yield "rename: to itself", rename(a, a)
    yield "rename: to one that exists", rename(a, b)
    yield "rename: bad name", rename(a, "1st")
    yield "rename: missing", rename(gone, f"{gone}_2")
    yield "rename: first", rename(a, f"{a}_2")
    yield "has: renamed", has(f"{a}_2")
    yield "has: old name", has(a)
    for name in [f"{a}_2", b, wide, gone]:
        yield f"drop: {name.removeprefix(RUN)}", drop(name)
    yield "drop: again", drop(b)
    yield "has: dropped", has(b)


def answer(stub, method, request):
    """What of a reply must be equal: codes and text, and of a description what is not the server's own to choose."""
    try:
        reply = getattr(stub, method)(request, timeout=CALL_SECONDS)
    except grpc.RpcError as error:
        return {"grpc": error.code().name}
    status = reply if isinstance(reply, common_pb2.Status) else reply.status
    found = {"code": status.code, "legacy": status.error_code, "reason": status.reason}
    if method == "HasCollection":
        found["value"] = reply.value
    if method == "GetCollectionStatistics":
        found["stats"] = {pair.key: pair.value for pair in reply.stats}
    if method == "DescribeCollection" and status.code == 0:
        found |= {
            "fields": [str(field) for field in reply.schema.fields],
            "shards": reply.shards_num,
            "consistency": reply.consistency_level,
            "properties": {pair.key: pair.value for pair in reply.properties},
            "channels": len(reply.virtual_channel_names),
            "name": (reply.collection_name, reply.schema.name, reply.schema.description, reply.db_name),
        }
    return found


def got_a_code(milvus, roost):
    """Errors without a code of their own in 2.3.5 have one in 2.6, and its text behind theirs; the rest is equal."""
    without = {"code": 0, "legacy": 0, "reason": ""}
    return (
        milvus.get("code") == NO_CODE
        and roost["reason"] == f"{milvus['reason']}: {ERRORS_OF_2_6.get(roost['code'])}"
        and milvus | without == roost | without
    )


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    stubs = [milvus_pb2_grpc.MilvusServiceStub(grpc.insecure_channel(address)) for address in sys.argv[1:]]
    asked = unexplained = 0
    for label, (method, request) in calls():
        asked += 1
        milvus, roost = (answer(stub, method, request) for stub in stubs)
        differs = [part for part in milvus.keys() | roost.keys() if milvus.get(part) != roost.get(part)]
        if not differs:
            continue
        reason = EXPLAINED.get(label) or (HAS_A_CODE if got_a_code(milvus, roost) else None)
        unexplained += reason is None
        print(f"{'explained' if reason else 'UNEXPLAINED'}: {label}" + (f" ({reason})" if reason else ""))
        for part in sorted(differs):
            print(f"    {part}: Milvus {milvus.get(part)!r}\n    {' ' * len(part)}  Roost  {roost.get(part)!r}")
    print(f"{asked} calls, {unexplained} unexplained differences")
    sys.exit(unexplained > 0)


if __name__ == "__main__":
    main()
