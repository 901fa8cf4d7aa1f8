# A stock Milvus whose etcd is the local cluster: its files and its process. Needs say.sh, places.sh and nodes.sh.
# shellcheck shell=bash

# Beside the cluster's nodes, because what it holds belongs to what the cluster knows of it.
MILVUS_HOME=$ROOST_HOME/milvus

# How long it may take to be healthy, and to stop, in seconds. Its own stop often never ends; PyPI's package gives it one.
MILVUS_READY_SECONDS=180
MILVUS_STOP_SECONDS=10

# Its own ports, 19530 and 9091, are Roost's here. The others it takes where they are free.
milvus_port() { echo $((27530 + PORT_OFFSET)); }
milvus_health_port() { echo $((27091 + PORT_OFFSET)); }
milvus_log() { echo "$MILVUS_HOME/milvus.log"; }

# Prints its process id while it runs. A pid file may be older than the last boot.
milvus_pid() {
    local pid directory
    [[ -f $MILVUS_HOME/milvus.pid ]] || return 1
    pid=$(<"$MILVUS_HOME/milvus.pid")
    directory=$(readlink "/proc/$pid/cwd" 2>/dev/null) || return 1
    [[ $directory == "$MILVUS_HOME" ]] || return 1
    # A process that has ended and was not waited for yet.
    [[ -n $(tr -d '\0' <"/proc/$pid/cmdline" 2>/dev/null) ]] || return 1
    echo "$pid"
}

milvus_start() {
    local node endpoints='' pid
    for node in "${NODES[@]}"; do endpoints+=${endpoints:+,}127.0.0.1:$(node_port "$node" client); done
    mkdir -p "$MILVUS_HOME"
    (
        cd "$MILVUS_HOME" || exit
        exec setsid "$MILVUS_PYTHON" -B "$CHECKOUT/tests/milvus_on_roost/server.py" --data "$MILVUS_HOME" \
            --etcd "$endpoints" --port "$(milvus_port)" --health-port "$(milvus_health_port)" \
            --programs "$MILVUS_VENV/programs" </dev/null >"$(milvus_log)" 2>&1
    ) &
    pid=$!
    echo "$pid" >"$MILVUS_HOME/milvus.pid"
    disown "$pid"
    milvus_wait_ready "$pid"
}

# milvus_wait_ready PID: until all of its components say that they are healthy, or it ended.
milvus_wait_ready() {
    local started=$SECONDS told=0
    until [[ $(http_code "$(milvus_health_port)" /healthz) == 200 ]]; do
        if ! kill -0 "$1" 2>/dev/null; then
            show_log Milvus "$(milvus_log)"
            die "Milvus ended while starting; its log is $(milvus_log)"
        fi
        if ((SECONDS - started > MILVUS_READY_SECONDS)); then
            show_log Milvus "$(milvus_log)"
            die "Milvus is not healthy after $MILVUS_READY_SECONDS s; its log is $(milvus_log)"
        fi
        if ((SECONDS - started - told >= 15)); then
            told=$((SECONDS - started))
            note "Milvus is not healthy yet ($told s)"
        fi
        sleep 0.2
    done
    note "Milvus is healthy after $((SECONDS - started)) s: clients 127.0.0.1:$(milvus_port)," \
        "http://127.0.0.1:$(milvus_health_port)/healthz"
}

# Gracefully, then by force; nothing to do if it does not run.
milvus_stop() {
    local pid deadline=$((SECONDS + MILVUS_STOP_SECONDS))
    pid=$(milvus_pid) || return 0
    note "stopping Milvus (process $pid)"
    kill -s TERM "$pid" 2>/dev/null || true
    while milvus_pid >/dev/null; do
        if ((SECONDS > deadline)); then
            kill -s KILL "$pid" 2>/dev/null || true
            deadline=$((SECONDS + MILVUS_STOP_SECONDS))
        fi
        sleep 0.1
    done
    rm -f -- "$MILVUS_HOME/milvus.pid"
}

# milvus_walk ARGUMENT...: lets a client walk through it.
milvus_walk() {
    "$MILVUS_PYTHON" -B "$CHECKOUT/tests/milvus_on_roost/walk.py" "127.0.0.1:$(milvus_port)" "$@" ||
        die "Milvus on Roost failed its user; logs: $(milvus_log), scripts/cluster logs"
}
