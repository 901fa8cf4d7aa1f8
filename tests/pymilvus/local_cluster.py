"""A three-node cluster for the tests, driven through scripts/cluster as a person would: own directory, own ports."""

import json
import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

from pymilvus import MilvusClient, MilvusException

CHECKOUT = Path(__file__).resolve().parents[2]
CALL_SECONDS = 10.0
RECONNECT_SECONDS = 60.0
# First client, internal, peer and HTTP port, and the step from node to node: as in scripts/lib/nodes.sh.
PORTS = ((19530, 10), (22125, 10), (23125, 10), (9091, 1))
NODES = (1, 2, 3)


class LocalCluster:
    def __init__(self, home: Path, **settings: str):
        """`settings` are environment variables of the nodes: ROOST_SECTION_KEY."""
        self.home = home
        self.settings = settings
        self.offset = free_port_offset()
        self.acknowledged: set[str] = set()  # names of the collections that must be there
        self.findings: list[str] = []  # measurements, printed at the end of the run
        self.failed = False  # whether a test did
        self._clients: dict[int, MilvusClient] = {}

    def command(self, *arguments: str) -> str:
        own = {"ROOST_HOME": str(self.home), "ROOST_PORT_OFFSET": str(self.offset)}
        environment = os.environ | own | self.settings
        done = subprocess.run(
            [CHECKOUT / "scripts/cluster", *arguments],
            env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180,
        )
        assert done.returncode == 0, f"scripts/cluster {arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def pid(self, node: int) -> int:
        return int((self.home / f"node{node}/roostd.pid").read_text())

    def alive(self, node: int) -> bool:
        try:
            state = Path(f"/proc/{self.pid(node)}/stat").read_text().rpartition(") ")[2][:1]
        except FileNotFoundError:
            return False
        # In a container nobody may collect the dead.
        return state not in "XZ"

    def leader(self) -> int:
        return int(json.loads(self.command("ctl", "-o", "json", "leader", "show"))["leader"])

    def kill(self, node: int) -> None:
        pid = self.pid(node)
        os.kill(pid, signal.SIGKILL)
        while self.alive(node):
            time.sleep(0.001)
        self._clients.pop(node, None)

    def uri(self, node: int) -> str:
        return f"http://127.0.0.1:{19530 + 10 * (node - 1) + self.offset}"

    def client(self, node: int) -> MilvusClient:
        """One connection a node, kept over the tests as an application would."""
        if node not in self._clients:
            self._clients[node] = MilvusClient(uri=self.uri(node), timeout=CALL_SECONDS)
        return self._clients[node]

    def wait_for_clients(self) -> None:
        """Until pymilvus reaches every node: gRPC waits longer after each failure before it tries an address again."""
        deadline = time.monotonic() + RECONNECT_SECONDS
        for node in NODES:
            while True:
                try:
                    self.client(node).get_server_version(timeout=CALL_SECONDS)
                    break
                except MilvusException:
                    assert time.monotonic() < deadline, f"pymilvus does not reach node {node} again"
                    self._clients.pop(node, None)
                    time.sleep(0.2)

    def wait_for_apply_version(self) -> None:
        """Until a new cluster does all that its nodes can: not before every one has told its version."""
        deadline = time.monotonic() + RECONNECT_SECONDS
        while True:
            nodes = json.loads(self.command("ctl", "-o", "json", "cluster", "status"))["nodes"]
            told = [node["status"] for node in nodes]
            if all(own and own["apply_version"] == own["apply_version_supported"] for own in told):
                return
            assert time.monotonic() < deadline, told
            time.sleep(0.1)

    def logs(self) -> str:
        return self.command("logs")


def free_port_offset() -> int:
    """An offset whose twelve ports are all free; below the range that outgoing connections take theirs from."""
    for _ in range(100):
        offset = random.randrange(100, 9000, 100)
        ports = [first + step * index + offset for first, step in PORTS for index in range(len(NODES))]
        if len(set(ports)) == len(ports) and all(is_free(port) for port in ports):
            return offset
    raise RuntimeError("no free ports for three nodes")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
