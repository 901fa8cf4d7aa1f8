"""Becomes a stock Milvus standalone server, whose etcd may be given by endpoints, on ports that are free.

Milvus binds 19530 and 9091 on every interface, where Roost's own nodes may listen: here every port is moved. PyPI's
package starts the server as a child and kills it after a second; this replaces itself by the server, so that whoever
started it holds the server's own process, and a SIGTERM is Milvus' own graceful stop.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
from pathlib import Path

import milvus

# Far from Roost's ports (19530-19550, 22125-23145, 9091-9093), and below where systems take ports for connections.
PORTS_FROM = 27000
PORTS_TO = 31000


def free_ports(count):
    """Ports that nobody has, all held until all are found, so that none is found twice."""
    held = []
    for port in range(PORTS_FROM, PORTS_TO):
        candidate = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind(("0.0.0.0", port))
        except OSError:
            candidate.close()
            continue
        held.append(candidate)
        if len(held) == count:
            break
    else:
        raise SystemExit(f"no {count} free ports from {PORTS_FROM} to {PORTS_TO}")
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def unpack_programs(into):
    """The server and its libraries, 300 MB of them: once, not for every data directory. Repeated: checks only."""
    milvus._initialize_data_files(str(into))
    return into / "bin"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="data, logs, configuration")
    parser.add_argument("--etcd", metavar="HOST:PORT,...", help="endpoints; without, the one that Milvus embeds")
    parser.add_argument("--port", type=int, required=True, help="where clients connect")
    parser.add_argument("--health-port", type=int, required=True, help="where /healthz is")
    parser.add_argument("--root-coord-port", type=int, help="where RootCoord is; without, somewhere")
    parser.add_argument("--programs", type=Path, required=True, help="where to unpack the server; may be shared")
    options = parser.parse_args()

    data = options.data.absolute()
    data.mkdir(parents=True, exist_ok=True)
    programs = unpack_programs(options.programs.absolute())

    config = milvus.MilvusServerConfig(data_dir=str(data))
    config.resolve_storage()
    others = [key for key in config.configurable_items if key.endswith("_port") and key != "proxy_port"]
    config.set("proxy_port", options.port)
    for key, port in zip(others, free_ports(len(others))):
        config.set(key, port)
    if options.root_coord_port:
        config.set("root_coord_port", options.root_coord_port)
    config.write_config()

    # Milvus keeps its message queue in the data directory and creates what is below it relative to where it stands.
    shutil.rmtree(data / "run", ignore_errors=True)
    os.chdir(data)
    environment = dict(
        os.environ,
        DEPLOY_MODE="STANDALONE",
        METRICS_PORT=str(options.health_port),
        MILVUS_RUN_DIR=str(data / "run"),
        LD_LIBRARY_PATH=str(programs),
        MILVUSCONF=str(data / "configs"),
        ETCD_USE_EMBED="false" if options.etcd else "true",
        ETCD_ROOTPATH="by-dev",
    )
    if options.etcd:
        environment["ETCD_ENDPOINTS"] = options.etcd
    server = programs / "milvus"
    os.execve(server, [str(server), "run", "standalone"], environment)


if __name__ == "__main__":
    main()
