"""What a Milvus client sees of a Roost cluster: collections created through one node are there on every node.

Creates collections round-robin through the given nodes, describes and lists each through all of them, and checks at the
end that every collection whose creation was acknowledged is known to every node. Nodes may die meanwhile (kill -9): a
call that fails is retried through another node, which is safe because creating the same collection twice is one creation.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import time
from dataclasses import dataclass, field

from pymilvus import DataType, MilvusClient, MilvusException

CALL_SECONDS = 2.0  # a node that does not answer within this is taken for dead for now
RETURN_SECONDS = 30.0  # how long a call may fail on all nodes before the demo gives up
BOOKS = "roost_demo_books"  # the one collection that stays


@dataclass
class Node:
    """One node as the client sees it."""

    address: str
    client: MilvusClient | None = None
    version: str = ""
    created: int = 0
    described: int = 0
    listed: int = 0
    failed: int = 0
    missing: list[str] = field(default_factory=list)
    checked: bool = False

    def call(self, work):
        """Runs `work(client)`; None if this node does not answer."""
        try:
            if self.client is None:
                self.client = MilvusClient(uri=f"http://{self.address}", timeout=CALL_SECONDS)
                self.version = self.client.get_server_version(timeout=CALL_SECONDS)
            return work(self.client)
        except (MilvusException, ConnectionError) as error:
            self.failed += 1
            self.disconnect()
            if getattr(error, "code", 0) not in (0, 1, 2):
                raise  # an answer, and not "unreachable" or "not ready": nothing that another node would do better
            return None

    def disconnect(self):
        """A new connection finds a restarted node sooner than an old one that waits longer after each failure."""
        if self.client is not None:
            try:
                self.client.close()
            except MilvusException:
                pass
        self.client = None


def book_schema():
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=True, description="a Roost demo")
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("title", DataType.VARCHAR, max_length=200)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=8)
    return schema


def through_some_node(nodes, first, work):
    """Runs `work` through the preferred node, else through another, until one acknowledges. Returns that node."""
    deadline = time.monotonic() + RETURN_SECONDS
    turn = first
    while time.monotonic() < deadline:
        node = nodes[turn % len(nodes)]
        if node.call(lambda client: work(client) or True):
            return node
        turn += 1
        time.sleep(0.05)
    sys.exit(f"no node acknowledged a call for {RETURN_SECONDS:.0f} s")


def look(node, name):
    """Describes and lists one acknowledged collection through one node."""
    described = node.call(lambda client: client.describe_collection(name, timeout=CALL_SECONDS))
    if described is not None:
        assert [one["name"] for one in described["fields"]] == ["id", "title", "embedding"], described
        node.described += 1
    listed = node.call(lambda client: client.list_collections(timeout=CALL_SECONDS))
    if listed is not None:
        node.listed += 1
        if name not in listed:
            node.missing.append(name)


def final_check(node, acknowledged):
    """Every acknowledged collection, through one node; waits for one that is just coming back."""
    deadline = time.monotonic() + CALL_SECONDS * 3
    while not node.checked and time.monotonic() < deadline:
        listed = node.call(lambda client: client.list_collections(timeout=CALL_SECONDS))
        if listed is None:
            time.sleep(0.2)
            continue
        node.checked = True
        node.missing += sorted(set(acknowledged) - set(listed))


def print_table(nodes):
    print(f"\n{'NODE':<18} {'VERSION':<22} {'CREATED':>7} {'DESCRIBED':>9} {'LISTED':>6} {'LOST':>4}  STATE")
    for node in nodes:
        state = "up" if node.checked else "down"
        row = f"{node.created:>7} {node.described:>9} {node.listed:>6} {len(set(node.missing)):>4}  {state}"
        print(f"{node.address:<18} {node.version:<22} {row}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nodes", nargs="+", metavar="HOST:PORT")
    parser.add_argument("--seconds", type=float, default=6.0, help="how long to create collections")
    parser.add_argument("--midway", metavar="COMMAND", help="run at half time, for example to kill a node")
    parser.add_argument("--before-check", metavar="COMMAND", help="run before the final check")
    options = parser.parse_args()
    # Nodes may die here on purpose; the log of each retry says nothing that the table does not.
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)

    nodes = [Node(address) for address in options.nodes]
    run = f"roost_demo_{time.time_ns() // 1_000_000}"
    acknowledged = []
    longest_wait = 0.0
    midway = options.midway
    started = time.monotonic()
    while (elapsed := time.monotonic() - started) < options.seconds:
        if midway and elapsed > options.seconds / 2:
            print(f"  {len(acknowledged)} collections acknowledged; running: {midway}", flush=True)
            subprocess.run(midway, shell=True, check=True)
            midway = None
        name = BOOKS if not acknowledged else f"{run}_{len(acknowledged)}"
        asked = time.monotonic()
        create = lambda client: client.create_collection(name, schema=book_schema(), timeout=CALL_SECONDS)
        through_some_node(nodes, len(acknowledged), create).created += 1
        longest_wait = max(longest_wait, time.monotonic() - asked)
        acknowledged.append(name)
        for node in nodes:
            look(node, name)
        time.sleep(0.05)  # a demo, not a load test
    if options.before_check:
        subprocess.run(options.before_check, shell=True, check=True)
    for node in nodes:
        final_check(node, acknowledged)
    print_table(nodes)
    print(f"\n{len(acknowledged)} collections acknowledged, the slowest after {longest_wait * 1000:.0f} ms")

    for position, name in enumerate(acknowledged[1:]):
        through_some_node(nodes, position, lambda client: client.drop_collection(name, timeout=CALL_SECONDS))
    print(f"dropped again, but {BOOKS}")
    if any(node.missing for node in nodes):
        sys.exit("LOST: " + "; ".join(f"{node.address} lacks {sorted(set(node.missing))}" for node in nodes))
    if not all(node.described and node.listed for node in nodes):
        sys.exit("a node never answered: " + ", ".join(node.address for node in nodes if not node.listed))


if __name__ == "__main__":
    main()
