# The nodes of the local cluster: their ports, files and processes. Needs say.sh and places.sh.
# shellcheck shell=bash

declare -a NODES=(1 2 3)

# How long a node may take to be ready, and to stop, in seconds.
READY_SECONDS=60
STOP_SECONDS=15

# Added to every port, so that several clusters fit on one machine. Kept in ROOST_HOME, because the members' addresses
# are part of the replicated state and cannot be changed by a variable later.
nodes_port_offset() {
    local kept=$ROOST_HOME/port_offset
    if [[ -f $kept ]]; then
        local offset
        offset=$(<"$kept")
        [[ "${ROOST_PORT_OFFSET:-$offset}" == "$offset" ]] ||
            die "the cluster in $ROOST_HOME uses ROOST_PORT_OFFSET=$offset: unset the variable, or remove the cluster" \
                'with: env -u ROOST_PORT_OFFSET scripts/cluster down --wipe'
        echo "$offset"
    else
        echo "${ROOST_PORT_OFFSET:-0}"
    fi
}

# node_port NODE client|internal|peer|http
node_port() {
    local base step
    case $2 in
        client) base=19530 step=10 ;;
        internal) base=22125 step=10 ;;
        peer) base=23125 step=10 ;;
        http) base=9091 step=1 ;;
        *) die "node_port: no such listener: $2" ;;
    esac
    echo $((base + step * ($1 - 1) + PORT_OFFSET))
}

node_dir() { echo "$ROOST_HOME/node$1"; }
node_config() { echo "$ROOST_HOME/node$1/roost.yaml"; }
node_log() { echo "$ROOST_HOME/node$1/roostd.log"; }

# Prints the process id of a node that runs. A pid file may be older than the last boot, so the process must be a
# roostd that was started with this node's file.
node_pid() {
    local pid_file pid command
    pid_file=$(node_dir "$1")/roostd.pid
    [[ -f $pid_file ]] || return 1
    pid=$(<"$pid_file")
    [[ $pid =~ ^[0-9]+$ && -r /proc/$pid/cmdline ]] || return 1
    # A zombie has an empty command line.
    command=$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) || return 1
    [[ $command == *roostd* && $command == *"--config $(node_config "$1") "* ]] || return 1
    echo "$pid"
}

# running, paused or dead
node_state() {
    local pid state
    pid=$(node_pid "$1") || { echo dead && return; }
    state=$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | cut -d' ' -f1) || state=X
    case $state in
        T | t) echo paused ;;
        X | Z | '') echo dead ;;
        *) echo running ;;
    esac
}

# Nodes in the given state, one a line.
nodes_in_state() {
    local node
    for node in "${NODES[@]}"; do
        [[ $(node_state "$node") == "$1" ]] && echo "$node"
    done
    return 0
}

# The shared secret, made once.
nodes_secret() {
    local file=$ROOST_HOME/secret
    if [[ ! -f $file ]]; then
        (umask 077 && od -An -N32 -v -tx1 /dev/urandom | tr -d ' \n' >"$file")
    fi
    cat "$file"
}

# Writes a node's configuration, if it has none: what a person changed in it stays.
node_configure() {
    local node=$1 config member host=127.0.0.1
    config=$(node_config "$node")
    mkdir -p "$(node_dir "$node")"
    [[ -f $config ]] && return
    echo "$PORT_OFFSET" >"$ROOST_HOME/port_offset"
    (
        umask 077
        {
            echo "# Written by scripts/cluster for node $node; your changes stay. Apply: scripts/cluster restart $node"
            echo "node: { id: $node, data_dir: \"$(node_dir "$node")/data\" }"
            echo 'listen:'
            for listener in client internal peer http; do
                echo "  $listener: \"$host:$(node_port "$node" "$listener")\""
            done
            echo 'cluster:'
            echo "  secret: \"$(nodes_secret)\""
            echo '  initial_members:'
            for member in "${NODES[@]}"; do
                printf '    - { id: %s, peer: "%s", client: "%s", internal: "%s" }\n' "$member" \
                    "$host:$(node_port "$member" peer)" "$host:$(node_port "$member" client)" \
                    "$host:$(node_port "$member" internal)"
            done
            echo 'etcd: { enabled: true }'
            echo 'log: { level: "info,openraft=warn", format: text }'
        } >"$config.new"
        mv "$config.new" "$config"
    )
}

# nodes_prepare NODE...: before any of them is started, that they can be: built, and no other program has their ports.
nodes_prepare() {
    local node listener port
    [[ -x $ROOSTD ]] || die "$ROOSTD is not built; run scripts/quickstart, or: cargo build --release --locked"
    for node in "$@"; do
        [[ $(node_state "$node") == dead ]] || continue
        for listener in client internal peer http; do
            port=$(node_port "$node" "$listener")
            if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
                die "port $port (node $node, $listener) is taken by another program; stop that," \
                    "or use other ports for a new cluster: ROOST_PORT_OFFSET=100 scripts/cluster up"
            fi
        done
    done
}

# node_start NODE: starts it if it does not run; one that is paused goes on.
node_start() {
    local node=$1 pid
    case $(node_state "$node") in
        running) return ;;
        paused)
            node_signal CONT "$node"
            note "node $node was paused and goes on"
            return
            ;;
    esac
    node_configure "$node"
    # A session of its own: it outlives this script and the terminal. 9 is the lock of scripts/cluster.
    # What tells the nodes apart comes from their files, whatever the caller has exported; the rest of ROOST_* may pass.
    env -u ROOST_CLUSTER_SECRET -u ROOST_NODE_ID -u ROOST_NODE_DATA_DIR \
        setsid "$ROOSTD" --config "$(node_config "$node")" </dev/null >>"$(node_log "$node")" 2>&1 9>&- &
    pid=$!
    echo "$pid" >"$(node_dir "$node")/roostd.pid"
    disown "$pid"
    # Until it is roostd and no longer this script, it looks dead.
    while [[ $(node_state "$node") == dead && -n $(tr -d '\0' <"/proc/$pid/cmdline" 2>/dev/null) ]]; do
        sleep 0.01
    done
}

# node_signal SIGNAL NODE: only ever to a process that is this node.
node_signal() {
    local pid
    pid=$(node_pid "$2") && kill -s "$1" "$pid"
}

# node_gone NODE SECONDS: waits until its process ended.
node_gone() {
    local deadline=$((SECONDS + $2))
    while [[ $(node_state "$1") != dead ]]; do
        ((SECONDS <= deadline)) || return 1
        sleep 0.05
    done
}

# nodes_stop NODE...: gracefully and together; by force if that takes too long.
nodes_stop() {
    local node
    for node in "$@"; do
        node_signal TERM "$node" || true
        # A paused process gets its signals when it goes on.
        node_signal CONT "$node" || true
    done
    for node in "$@"; do
        node_gone "$node" "$STOP_SECONDS" && continue
        note "node $node did not stop within $STOP_SECONDS s: killing it"
        node_signal KILL "$node" || true
        node_gone "$node" "$STOP_SECONDS" || die "node $node cannot be killed (process $(node_pid "$node"))"
    done
}

# http_code PORT PATH: prints the HTTP status code, or nothing. Without curl: a fresh machine has none.
http_code() (
    exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
    printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$2" >&3
    read -r -t 2 _ code _ <&3 || exit 1
    echo "$code"
) 2>/dev/null

node_http() { http_code "$(node_port "$1" http)" "$2"; }

# nodes_wait_ready NODE...: until each answers /readyz, or ends with the last lines of its log.
nodes_wait_ready() {
    local node deadline=$((SECONDS + READY_SECONDS))
    for node in "$@"; do
        until [[ $(node_http "$node" /readyz) == 200 ]]; do
            if [[ $(node_state "$node") == dead ]]; then
                node_show_log "$node"
                die "node $node ended while starting; its log is $(node_log "$node")"
            fi
            if ((SECONDS > deadline)); then
                node_show_log "$node"
                die "node $node is not ready after $READY_SECONDS s; its log is $(node_log "$node")." \
                    'A cluster needs two of its three nodes: scripts/cluster status'
            fi
            sleep 0.1
        done
    done
}

node_show_log() { show_log "node $1" "$(node_log "$1")"; }

# nodes_ctl ARGUMENT...: roostctl with the cluster's endpoints and secret.
nodes_ctl() {
    local node endpoints=()
    for node in "${NODES[@]}"; do
        # One that is paused accepts connections and never answers.
        [[ $(node_state "$node") == paused ]] || endpoints+=(--endpoint "127.0.0.1:$(node_port "$node" internal)")
    done
    ROOST_CLUSTER_SECRET=$(nodes_secret) "$ROOSTCTL" "${endpoints[@]}" "$@"
}

# Prints the leader's number; waits a little, because there may be an election.
nodes_leader() {
    local deadline=$((SECONDS + 10)) leader
    [[ -n $(nodes_in_state running) ]] || die 'no node is running; start them: scripts/cluster up'
    while :; do
        leader=$(nodes_ctl --timeout 2s -o json leader show 2>/dev/null | tr -d ' \n' | sed -n 's/.*"leader":\([0-9]*\).*/\1/p') || true
        if [[ -n $leader && $(node_state "$leader") == running ]]; then
            echo "$leader"
            return
        fi
        ((SECONDS <= deadline)) || die 'the cluster has no leader; see: scripts/cluster status'
        sleep 0.1
    done
}

# nodes_named leader|follower|all|NUMBER: prints node numbers, one a line.
nodes_named() {
    local leader
    case $1 in
        all) printf '%s\n' "${NODES[@]}" ;;
        leader) nodes_leader ;;
        follower)
            leader=$(nodes_leader) || exit
            leader=$(nodes_in_state running | grep -vx "$leader" | head -n 1) || die 'no follower is running'
            echo "$leader"
            ;;
        *)
            printf '%s\n' "${NODES[@]}" | grep -x -- "$1" ||
                usage_error "'$1' is none of: leader, follower, all, ${NODES[*]}"
            ;;
    esac
}

PORT_OFFSET=$(nodes_port_offset)
if ! [[ $PORT_OFFSET =~ ^[0-9]{1,5}$ ]] || ((PORT_OFFSET + 23145 > 65535)); then
    usage_error "ROOST_PORT_OFFSET must be a number from 0 to 42390, not '$PORT_OFFSET'"
fi
