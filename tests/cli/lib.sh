# What the tests of the command-line program share.  Sourced; needs MAKO_CLI (the
# program) and MAKO_JSONGET.  Works in a directory of its own that goes away at the end.
# shellcheck shell=bash
# shellcheck disable=SC2034

set -u
cli=$MAKO_CLI
unset MAKO_SNAPSHOT_CONFIG MAKO_PLUGIN_PATH NO_COLOR POSIXLY_CORRECT
failures=0
checks=0
work=$(mktemp -d "${TMPDIR:-/tmp}/mako-cli.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

fail() {
    failures=$((failures + 1))
    echo "FAILED (${BASH_SOURCE[-1]##*/}:${BASH_LINENO[-2]}): $*"
    sed 's/^/    out: /' out 2>/dev/null | head -n 20
    sed 's/^/    err: /' err 2>/dev/null | head -n 20
}

# run CODE ARGUMENT...: the program must leave with that code.  Fills the files out, err.
run() {
    local want=$1 code
    shift
    checks=$((checks + 1))
    "$cli" "$@" >out 2>err </dev/null
    code=$?
    [ "$code" = "$want" ] || fail "exit code $code, not $want: mako-snapshot $*"
}

# feed CODE FILE ARGUMENT...: the same, with FILE through a pipe as standard input.
feed() {
    local want=$1 file=$2 code
    shift 2
    checks=$((checks + 1))
    # shellcheck disable=SC2002
    cat "$file" | "$cli" "$@" >out 2>err
    code=$?
    [ "$code" = "$want" ] || fail "exit code $code, not $want: mako-snapshot $*"
}

# has FILE TEXT, lacks FILE TEXT: fixed text in one line of a file.
has() {
    checks=$((checks + 1))
    grep -qF -e "$2" "$1" || fail "no '$2' in $1"
}
lacks() {
    checks=$((checks + 1))
    ! grep -qF -e "$2" "$1" || fail "'$2' in $1"
}
empty() {
    checks=$((checks + 1))
    [ ! -s "$1" ] || fail "$1 is not empty"
}
same() {
    checks=$((checks + 1))
    cmp -s "$1" "$2" || fail "$1 and $2 differ: $(diff "$1" "$2" | head -n 6)"
}
is() {
    checks=$((checks + 1))
    [ "$1" = "$2" ] || fail "'$1', not '$2'"
}

# json FILE KEY...: a member of the document in a file.
json() {
    local file=$1
    shift
    "$MAKO_JSONGET" "$@" <"$file"
}
# member VALUE FILE KEY...: what it must be.
member() {
    local want=$1 got
    shift
    checks=$((checks + 1))
    got=$(json "$@" 2>&1)
    [ "$got" = "$want" ] || fail "$* is '$got', not '$want'"
}

# A configuration NAME.json with one store in files below NAME.d; EVERY is the interval.
file_store() {
    printf '{"stores":{"default":{"plugin":"file","durability":"crash",
      "snapshot_every":%s,"options":{"dir":"%s.d"}}}}\n' "$2" "$1" >"$1.json"
}
noop_store() {
    printf '{"stores":{"default":{"plugin":"noop","durability":"none",
      "snapshot_every":3}}}\n' >"$1.json"
}

# event STREAM SEQUENCE TYPE TIME DATA: one line of a log.
event() {
    printf '{"stream":"%s","sequence":%s,"type":"%s","time":"%s","data":%s}\n' "$@"
}

finish() {
    echo "$checks checks, $failures failed"
    [ "$failures" = 0 ] && [ "$checks" -gt 0 ]
    exit
}
