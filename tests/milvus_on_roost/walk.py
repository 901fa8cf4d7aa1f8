"""Walks through what a Milvus does for its users, and checks the answers.

  walk.py ADDRESS round                    create, insert, flush, index, load, search with known results, drop
  walk.py ADDRESS under-fault ...          keeps doing so while a command breaks something and another mends it
  walk.py ADDRESS still-there ...          everything that `under-fault` had acknowledged is there, then drops it

A call fails when pymilvus raises: it has then used up its own retries. No failure is forgiven.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import time
from pathlib import Path

from pymilvus import Collection, CollectionSchema, DataType, FieldSchema, connections, utility

DIMENSION = 8
ROWS = 200
# A call that takes longer than this has failed its user, whatever it says in the end.
CALL_SECONDS = 60.0
# Searched around these rows, each nearest to itself.
PROBES = (0, 7, ROWS - 1)
INDEX = {"index_type": "IVF_FLAT", "metric_type": "L2", "params": {"nlist": 8}}
SEARCH = {"metric_type": "L2", "params": {"nprobe": 8}}


class Calls:
    """Makes calls one by one and remembers how long they took."""

    def __init__(self):
        self.made = 0
        self.slowest = ("nothing", 0.0)

    def __call__(self, what, work, *arguments, **named):
        started = time.monotonic()
        try:
            answer = work(*arguments, **named)
        except Exception as error:
            sys.exit(f"FAILED after {time.monotonic() - started:.1f} s: {what}: {error}")
        took = time.monotonic() - started
        self.made += 1
        if took > self.slowest[1]:
            self.slowest = (what, took)
        if took > CALL_SECONDS:
            sys.exit(f"FAILED: {what} took {took:.1f} s, more than {CALL_SECONDS:.0f} s")
        return answer

    def summary(self):
        return f"{self.made} calls, none failed; the slowest was {self.slowest[0]}: {self.slowest[1]:.2f} s"


def vector(row):
    """Rows lie on a line, so that the nearest to row N are N, then N-1 and N+1, at distances that are known."""
    return [float(row)] + [0.0] * (DIMENSION - 1)


def schema():
    fields = [
        FieldSchema("id", DataType.INT64, is_primary=True),
        FieldSchema("title", DataType.VARCHAR, max_length=64),
        FieldSchema("embedding", DataType.FLOAT_VECTOR, dim=DIMENSION),
    ]
    return CollectionSchema(fields, description="walks on Roost")


def build(calls, name):
    """A collection with rows, flushed, indexed and loaded."""
    collection = calls("create", Collection, name, schema(), num_shards=1)
    rows = range(ROWS)
    calls("insert", collection.insert, [list(rows), [f"book {row}" for row in rows], [vector(row) for row in rows]])
    calls("flush", collection.flush)
    calls("index", collection.create_index, "embedding", INDEX)
    calls("load", collection.load)
    return collection


def check_search(calls, collection):
    """The answers are known: each probe finds itself at distance 0, then its neighbours at 1."""
    found = calls(
        "search",
        collection.search,
        [vector(row) for row in PROBES],
        "embedding",
        SEARCH,
        limit=2,
        output_fields=["title"],
        consistency_level="Strong",
    )
    for row, hits in zip(PROBES, found):
        first, second = hits[0], hits[1]
        right = (
            first.id == row
            and first.distance == 0.0
            and first.entity.get("title") == f"book {row}"
            and abs(second.id - row) == 1
            and second.distance == 1.0
        )
        if not right:
            sys.exit(f"WRONG: {collection.name}: nearest to row {row} are {[(hit.id, hit.distance) for hit in hits]}")


def drop(calls, name):
    calls("drop", utility.drop_collection, name)
    if calls("has", utility.has_collection, name):
        sys.exit(f"WRONG: {name} is there after it was dropped")


def round_trip(calls, _options):
    name = f"walk_{time.time_ns() // 1_000_000}"
    for what, work in (
        ("create, insert, flush, index, load", lambda: build(calls, name)),
        ("search", lambda: check_search(calls, Collection(name))),
        ("drop", lambda: drop(calls, name)),
    ):
        started = time.monotonic()
        work()
        print(f"  {what}: {time.monotonic() - started:.1f} s", flush=True)


def under_fault(calls, options):
    """Half of the time before the fault, then the fault, then as long again; mended in the middle of that."""
    run = f"kept_{time.time_ns() // 1_000_000}"
    kept = [f"{run}_books"]
    books = build(calls, kept[0])
    events = [(options.seconds * 0.3, options.fault), (options.seconds * 0.6, options.mend)]
    searches = 0
    started = time.monotonic()
    while (elapsed := time.monotonic() - started) < options.seconds or events:
        if events and elapsed >= events[0][0]:
            command = events.pop(0)[1]
            print(f"  {len(kept)} collections, {searches} searches so far; now: {command}", flush=True)
            subprocess.run(command, shell=True, check=True)
        name = f"{run}_{len(kept)}"
        collection = calls("create", Collection, name, schema(), num_shards=1)
        calls("index", collection.create_index, "embedding", INDEX)
        kept.append(name)
        passing = f"{run}_passing"
        calls("create", Collection, passing, schema(), num_shards=1)
        drop(calls, passing)
        check_search(calls, books)
        searches += 1
    lost = sorted(set(kept) - set(calls("list", utility.list_collections)))
    if lost:
        sys.exit(f"LOST: {lost}")
    options.kept.write_text(json.dumps(kept))
    print(f"  {len(kept)} collections acknowledged, all there; {searches} searches, all right")


def still_there(calls, options):
    """Everything acknowledged before is there, with its rows; then tidies up."""
    kept = json.loads(options.kept.read_text())
    lost = sorted(set(kept) - set(calls("list", utility.list_collections)))
    if lost:
        sys.exit(f"LOST: {lost}")
    books = Collection(kept[0])
    calls("load", books.load)
    rows = calls("count", lambda: books.num_entities)
    if rows != ROWS:
        sys.exit(f"LOST: {kept[0]} has {rows} rows of {ROWS}")
    check_search(calls, books)
    for name in kept[1:]:
        if not calls("describe index", Collection(name).has_index):
            sys.exit(f"LOST: the index of {name}")
    for name in kept:
        drop(calls, name)
    print(f"  {len(kept)} collections with their rows and indexes were there; dropped now")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address", metavar="HOST:PORT")
    tasks = parser.add_subparsers(required=True)
    task = tasks.add_parser("round")
    task.set_defaults(task=round_trip)
    task = tasks.add_parser("under-fault")
    task.add_argument("--seconds", type=float, default=20.0)
    task.add_argument("--fault", required=True, metavar="COMMAND")
    task.add_argument("--mend", required=True, metavar="COMMAND")
    task.add_argument("--kept", required=True, type=Path, help="where to write what must not be lost")
    task.set_defaults(task=under_fault)
    task = tasks.add_parser("still-there")
    task.add_argument("--kept", required=True, type=Path)
    task.set_defaults(task=still_there)
    options = parser.parse_args()
    # Its log of each retry says nothing that the exit does not.
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)

    host, port = options.address.rsplit(":", 1)
    calls = Calls()
    calls("connect", connections.connect, host=host, port=port, timeout=30)
    options.task(calls, options)
    print(f"  {calls.summary()}")


if __name__ == "__main__":
    main()
