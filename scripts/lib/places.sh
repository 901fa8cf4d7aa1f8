# Where everything is: the checkout, the state of the local cluster, the build, the Python environment.
# shellcheck shell=bash

CHECKOUT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)

# State of the local cluster. A relative path is meant from where the user stands.
ROOST_HOME=${ROOST_HOME:-$CHECKOUT/.roost}
# In one form, however it was written: processes are recognised by the directory that they work in.
ROOST_HOME=$(realpath -m -- "$ROOST_HOME")
export ROOST_HOME

CACHE=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}

# Outside the checkout: RocksDB takes minutes to compile, and a fresh clone need not do it again.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CACHE/roost-target}

# Python with pymilvus and pytest, for the demo and the client tests.
VENV=${ROOST_VENV:-$CACHE/roost-venv}

# A Python with the newest pymilvus, for a smoke run in scripts/test.
NEWEST_VENV=${ROOST_NEWEST_VENV:-$CACHE/roost-newest-venv}

# Another Python with a real Milvus server and the older client that goes with it, for scripts/quickstart --with-milvus and
# scripts/bench.
MILVUS_VENV=${ROOST_MILVUS_VENV:-$CACHE/roost-milvus-venv}

# Where roostd, roostctl and roost-sim are; set it to try other builds.
BIN_DIR=${ROOST_BIN_DIR:-$CARGO_TARGET_DIR/release}
# shellcheck disable=SC2034 # used by the scripts that source this
ROOSTD=$BIN_DIR/roostd ROOSTCTL=$BIN_DIR/roostctl PYTHON=$VENV/bin/python MILVUS_PYTHON=$MILVUS_VENV/bin/python
# shellcheck disable=SC2034
ROOST_SIM=$BIN_DIR/roost-sim
# shellcheck disable=SC2034
NEWEST_PYTHON=$NEWEST_VENV/bin/python
