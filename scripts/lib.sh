# shellcheck shell=sh
# Sourced by the scripts beside it.

# Root, if need be through sudo; without a terminal it must not ask for a password.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif ! command -v sudo >/dev/null; then
        echo "${0##*/}: needs root, and there is no sudo" >&2
        return 1
    elif [ -t 0 ]; then
        sudo "$@"
    else
        sudo -n "$@"
    fi
}

# Builds the end-to-end tests and with them the program; sets E2E and SENTBY_BIN.
build_e2e() {
    # Errors for people on stderr, paths on stdout.
    messages=$(cargo test --release --locked -p sentby --test e2e --no-run \
        --message-format=json-render-diagnostics) || return
    E2E=$(executable e2e)
    SENTBY_BIN=$(executable sentby)
    [ -x "$E2E" ] && [ -x "$SENTBY_BIN" ]
}

# The executable of the target $1 among cargo's messages.
executable() {
    echo "$messages" |
        sed -n 's/.*"target":{[^}]*"name":"'"$1"'".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
}
