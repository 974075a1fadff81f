#!/bin/bash
# memcheck.sh BUILD - whole programs under valgrind, which must find no bad access and no
# leak.  Plain programs only: Criterion's cases run in processes of their own, whose
# errors valgrind reports to nobody.
set -uo pipefail
export LC_ALL=C.UTF-8

build=$(cd "$1" && pwd) || exit 2
bin=$build/bin
work=$(mktemp -d "${TMPDIR:-/tmp}/mako-memcheck.XXXXXX") || exit 2
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 2

bad=0 runs=0
# check STATUS PROGRAM ARG...: under valgrind the program ends with that status.
check() {
    local want=$1 rc
    shift
    valgrind -q --error-exitcode=99 --leak-check=full \
        --errors-for-leak-kinds=definite,indirect "$@" >output 2>&1
    rc=$?
    runs=$((runs + 1))
    if [ $rc -eq "$want" ]; then
        echo "ok - ${*:1:6}"
    else
        bad=$((bad + 1))
        echo "not ok - $* (status $rc, not $want):"
        tail -n 40 output | sed 's/^/    /'
    fi
}

# events STREAMS EVENTS [FROM]: a log for "mako-snapshot replay", streams interleaved.
events() {
    jq -nc --argjson streams "$1" --argjson last "$2" --argjson from "${3:-1}" \
        'range($from; $last + 1) as $n | range($streams) as $s |
         {stream: "s/\($s)", sequence: $n, type: "t\($n % 3)", time: "2026-01-01",
          data: {"n": $n, "k\($n % 5)": $s}}'
}

conf() { # FILE PLUGIN DURABILITY OPTIONS
    jq -n --arg plugin "$2" --arg durability "$3" --argjson options "$4" \
        '{stores: {default: {plugin: $plugin, durability: $durability, options: $options,
                             snapshot_every: 5}}}' >"$1"
}
conf file.json file power '{"dir": "snapshots"}'
conf memory.json memory memory '{}'
conf noop.json noop none '{}'
events 7 23 >short.jsonl
events 7 41 >long.jsonl
gzip -k long.jsonl

tool=$bin/mako-snapshot
for backend in file memory noop; do
    check 0 "$tool" -c $backend.json config
    check 0 "$tool" -c $backend.json replay --verify short.jsonl
    check 0 "$tool" describe $backend --json
done
check 0 "$tool" -c file.json replay --verify --output states long.jsonl.gz
check 0 "$tool" -c file.json replay --verify short.jsonl # cut below its snapshots
check 0 "$tool" -c file.json ls --json
check 0 "$tool" -c file.json show s/3
check 0 "$tool" -c file.json load s/3 --schema 1
check 1 "$tool" -c file.json load s/3 --schema 2-9
check 0 "$tool" -c file.json verify
check 0 "$tool" -c file.json rm s/3
check 1 "$tool" -c file.json load s/3 --schema 1
check 0 "$tool" -c file.json stats
check 2 "$tool" -c file.json -o dri=x ls
check 2 "$tool" -c nowhere.json ls

for backend in file memory noop; do
    rm -f bank.db*
    check 0 "$bin/account" - bank.db fill alice 300
    check 0 "$bin/account" $backend.json bank.db deposit alice 100 7
    check 0 "$bin/account" --schema 2 $backend.json bank.db deposit alice 100 7
    check 0 "$bin/account" $backend.json bank.db show alice
    check 0 "$bin/account" - bank.db cut alice 200
    check 0 "$bin/account" - bank.db fill alice 200
    check 0 "$bin/account" --schema 3 $backend.json bank.db deposit alice 100
    check 1 "$bin/account" $backend.json bank.db withdraw alice 999999999
done

echo "$runs programs, $bad bad"
[ $bad -eq 0 ]
