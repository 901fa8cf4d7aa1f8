# Messages for people: all on stderr, so that what a script prints for programs stays clean.
# shellcheck shell=bash

if [[ -t 2 && -z "${NO_COLOR:-}" ]]; then
    say_bold=$'\e[1m' say_red=$'\e[31m' say_plain=$'\e[0m'
else
    say_bold='' say_red='' say_plain=''
fi

# A step that begins.
step() { printf '%s==> %s%s\n' "$say_bold" "$*" "$say_plain" >&2; }

# A detail of the step.
note() { printf '    %s\n' "$*" >&2; }

# show_log WHOSE FILE: its last lines.
show_log() {
    note "last lines of $1's log:"
    tail -n 20 "$2" | cut -c 1-400 | sed 's/^/    | /' >&2 || true
}

# Ends the script; the message says what to do.
die() {
    printf '%serror:%s %s\n' "$say_red" "$say_plain" "$*" >&2
    exit 1
}

# usage_error TEXT: the command line makes no sense.
usage_error() {
    printf '%serror:%s %s\n' "$say_red" "$say_plain" "$*" >&2
    exit 2
}

# with_progress WHAT COMMAND...: runs a long command and says every minute that it still runs.
with_progress() {
    local what=$1 started=$SECONDS status=0 ticker
    shift
    (
        trap 'kill "$!" 2>/dev/null; exit 0' TERM
        # Ends with the script, even if that is killed.
        while kill -0 $$ 2>/dev/null; do
            sleep 60 &
            wait "$!"
            note "still $what ($(((SECONDS - started) / 60)) min)"
        done
    ) &
    ticker=$!
    "$@" || status=$?
    kill "$ticker" 2>/dev/null || true
    wait "$ticker" 2>/dev/null || true
    return "$status"
}
