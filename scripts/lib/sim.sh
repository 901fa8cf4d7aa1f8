# Simulated streaming nodes beside the local cluster, in one process. Needs say.sh, places.sh and nodes.sh.
# shellcheck shell=bash

SIM_HOME=$ROOST_HOME/sim
SIM_NODES=3
# Without a keep-alive for so long a node is dead, in seconds.
SIM_TTL=5
# How long registering, and moving channels, may take, in seconds.
SIM_WAIT_SECONDS=60
# Every cluster has at least so many physical channels.
SIM_CHANNELS_MIN=16

sim_control() { echo "127.0.0.1:$((22199 + PORT_OFFSET))"; }
sim_log() { echo "$SIM_HOME/roost-sim.log"; }

# Prints its process id while it runs. A pid file may be older than the last boot.
sim_pid() {
    local pid command
    [[ -f $SIM_HOME/roost-sim.pid ]] || return 1
    pid=$(<"$SIM_HOME/roost-sim.pid")
    [[ $pid =~ ^[0-9]+$ && -r /proc/$pid/cmdline ]] || return 1
    command=$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) || return 1
    [[ $command == *roost-sim* && $command == *"--control $(sim_control) "* ]] || return 1
    echo "$pid"
}

# sim_ctl ARGUMENT...: asks the simulation that runs.
sim_ctl() { ROOST_SIM_CONTROL=$(sim_control) "$ROOST_SIM" "$@"; }

# Starts it, if it does not run.
sim_start() {
    local node pid endpoints=()
    ! sim_pid >/dev/null || return 0
    [[ -x $ROOST_SIM ]] || die "$ROOST_SIM is not built; run scripts/quickstart"
    for node in "${NODES[@]}"; do endpoints+=(--endpoint "127.0.0.1:$(node_port "$node" internal)"); done
    mkdir -p "$SIM_HOME"
    ROOST_CLUSTER_SECRET=$(nodes_secret) setsid "$ROOST_SIM" run --control "$(sim_control)" --nodes "$SIM_NODES" \
        --ttl "$SIM_TTL" "${endpoints[@]}" </dev/null >"$(sim_log)" 2>&1 &
    pid=$!
    echo "$pid" >"$SIM_HOME/roost-sim.pid"
    disown "$pid"
}

sim_stop() {
    local pid deadline=$((SECONDS + STOP_SECONDS))
    pid=$(sim_pid) || return 0
    kill "$pid" 2>/dev/null || true
    while sim_pid >/dev/null; do
        ((SECONDS <= deadline)) || { kill -KILL "$pid" 2>/dev/null || true; }
        sleep 0.05
    done
}

# Prints number, server id, power and number of channels of each node.
sim_nodes() {
    sim_ctl nodes | awk -F '\t' 'NR > 1 { print $1, $2, $4, split($5, channels, " ") }'
}

# sim_served CHANNELS NODES: whether so many nodes run, each has channels, and they have so many together, or more.
sim_served() {
    sim_nodes 2>/dev/null | awk -v least="$1" -v nodes="$2" \
        '$3 == "running" && $4 > 0 { serving++; sum += $4 } END { exit !(serving == nodes && sum >= least) }'
}

# sim_wait_served CHANNELS NODES: until that is so.
sim_wait_served() {
    local deadline=$((SECONDS + SIM_WAIT_SECONDS))
    until sim_served "$@"; do
        if ! sim_pid >/dev/null; then
            show_log roost-sim "$(sim_log)"
            die "roost-sim ended; its log is $(sim_log)"
        fi
        if ((SECONDS > deadline)); then
            sim_ctl nodes >&2 || true
            die "the channels are not served after $SIM_WAIT_SECONDS s; see $(sim_log) and: scripts/cluster ctl channel list"
        fi
        sleep 0.1
    done
}

# sim_wait_registered NUMBER: until that node has a server id.
sim_wait_registered() {
    local deadline=$((SECONDS + SIM_WAIT_SECONDS))
    until sim_nodes 2>/dev/null | awk -v number="$1" '$1 == number && $2 > 0 { found = 1 } END { exit !found }'; do
        ((SECONDS <= deadline)) || die "streaming node $1 is not registered after $SIM_WAIT_SECONDS s; see $(sim_log)"
        sleep 0.1
    done
}

# What each node serves.
sim_show() {
    local number id power channels
    while read -r number id power channels; do
        note "streaming node $number (server id $id, $power): $channels physical channels"
    done < <(sim_nodes)
}

# Streaming nodes join, one is killed, and comes back.
sim_demo() {
    local channels
    step "$SIM_NODES streaming nodes (simulated) join and are given the physical channels"
    sim_start
    sim_wait_served "$SIM_CHANNELS_MIN" "$SIM_NODES"
    sim_show
    channels=$(sim_nodes | awk '{ sum += $4 } END { print sum }')
    step "Streaming node 1 dies without a word; its channels move when its $SIM_TTL s are over"
    sim_ctl switch 1 crash
    sim_wait_served "$channels" "$((SIM_NODES - 1))"
    sim_show
    step 'Which node has which channel, as the cluster says'
    nodes_ctl channel list
    step 'Streaming node 1 comes back, as a new node'
    sim_ctl switch 1 run
    sim_wait_registered 1
    # By itself the balancer leaves channels for some minutes where they have just been moved.
    nodes_ctl --yes channel balance >/dev/null
    sim_wait_served "$channels" "$SIM_NODES"
    sim_show
}
