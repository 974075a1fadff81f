#!/bin/bash
# races.sh BUILD [AMOUNT...] - threads under valgrind's helgrind and drd, which must report
# nothing beside what valgrind.supp explains.  AMOUNT: of the stress, else a small one.
#
# They find what the thread sanitizer cannot see: locks and memory of libraries that were
# not built with it, such as jansson, hiredis and the C library.  References to stacks are
# left out: the file store's threads write into each other's calls, and say so by atomic
# operations that neither tool knows.
set -uo pipefail
export LC_ALL=C.UTF-8

build=$(cd "$1" && pwd) || exit 2
tests=$(cd "$(dirname "$0")/.." && pwd) || exit 2
shift
amount=("${@:---rounds=40}")
conformance=$tests/conformance
work=$(mktemp -d "${TMPDIR:-/tmp}/mako-races.XXXXXX") || exit 2
trap 'rm -rf "$work"' EXIT
export TMPDIR=$work

bad=0 runs=0
# check NAME TOOL PROGRAM ARG...: beside what stands in wrap.
check() {
    local name=$1 tool=$2
    local valgrind=(valgrind -q "--tool=$tool" --error-exitcode=99
        "--suppressions=$tests/threads/valgrind.supp")
    shift 2
    [ "$tool" = drd ] || valgrind+=(--check-stack-refs=no)
    runs=$((runs + 1))
    if "${wrap[@]}" "${valgrind[@]}" "$@" >"$work/output" 2>&1; then
        echo "ok - $tool $name: $(tail -n 1 "$work/output")"
    else
        bad=$((bad + 1))
        echo "not ok - $tool $name:"
        head -n 120 "$work/output" | sed 's/^/    /'
    fi
}

stress() { check "stress $1" "$2" "$build/bin/stress" --threads 3 "${amount[@]}" "$3"; }

wrap=()
for name in memory file-crash probe-store; do
    stress "$name" helgrind "$conformance/$name.json"
done
stress plain helgrind "$tests/threads/plain.json"
stress file-crash drd "$conformance/file-crash.json"
check storm helgrind "$build/bin/storm" --threads 2 --rounds 1 late "$conformance/noop.json" \
    "$conformance"/{memory,file-crash,probe-store}.json "$tests/threads/plain.json"
if [ -e "$build/lib/mako-snapshot/mako-store-redis.so" ] && command -v redis-server >/dev/null; then
    wrap=("$tests/redis/with-redis" single --)
    stress redis helgrind "$tests/redis/redis-crash.json"
fi

echo "$runs runs, $bad bad"
[ "$bad" -eq 0 ]
