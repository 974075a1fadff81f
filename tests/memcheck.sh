#!/bin/bash
# memcheck.sh BUILD - whole programs under valgrind, which must find no bad access and no
# leak.  Plain programs only: Criterion's cases run in processes of their own, whose
# errors valgrind reports to nobody.  Called by itself as "memcheck.sh BUILD redis MODE":
# those that need the servers of "with-redis MODE", which stand beside them.
set -uo pipefail
export LC_ALL=C.UTF-8

build=$(cd "$1" && pwd) || exit 2
self=$(readlink -f "$0")
redis=${self%/*}/redis
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

tool=$bin/mako-snapshot
events 7 23 >short.jsonl
events 7 41 >long.jsonl
gzip -k long.jsonl

# on_servers MODE [SERVER OPTION...]: ourselves, on Redis servers.
on_servers() {
    local said
    said=$("$redis/with-redis" "$@" -- "$self" "$build" redis "$1" 2>&1)
    echo "-- redis: $1"
    grep -av '^[0-9]* programs, [0-9]* bad$' <<<"$said"
    if [[ $said =~ ([0-9]+)' programs, '([0-9]+)' bad'$ ]]; then
        runs=$((runs + BASH_REMATCH[1])) bad=$((bad + BASH_REMATCH[2]))
    else
        bad=$((bad + 1))
    fi
}

# redis_part MODE: with limits that valgrind does not reach.
redis_part() {
    local mode=$1 durability=crash where
    [ "$mode" != single ] || durability=power
    where=$(jq -n --arg mode "$mode" --arg servers "$MAKO_TEST_REDIS" \
        '{mode: $mode, endpoints: $servers, connect_timeout: "60s", io_timeout: "60s",
          wait_timeout: "60s", op_timeout: "120s"} +
         if $mode == "sentinel" then {sentinel_master: "mako"} else {} end')
    conf redis.json redis $durability "$where"
    head -c 200000 /dev/urandom | base64 >big

    check 0 "$tool" -c redis.json replay --verify short.jsonl
    check 0 "$tool" -c redis.json save big --sequence 1 --schema 1 big
    check 0 "$tool" -c redis.json load big --schema 1
    check 0 "$tool" -c redis.json ls --json
    check 1 "$tool" -c redis.json load s/3 --schema 2-9
    check 0 "$tool" -c redis.json rm s/3
    check 1 "$tool" -c redis.json load s/3 --schema 1
    case $mode in
    single)
        check 0 "$tool" -c redis.json replay --verify --output states long.jsonl.gz
        check 0 "$tool" -c redis.json show s/4
        check 0 "$tool" -c redis.json verify
        check 0 "$tool" -c redis.json stats
        check 2 "$tool" -c redis.json -o mode=cluster ls
        check 2 "$tool" -c redis.json -o username=nobody -o password=x ls
        check 3 "$tool" -c redis.json -o endpoints=127.0.0.1:1 -o op_timeout=1s ls
        # Threads that wait for a connection; saves by way of a temporary key.
        jq '.stores |= {test: .default} |
            .stores.test.options += {pool_max: 2, inline_max: 64}' redis.json >test.json
        check 0 "$bin/stress" --threads 3 --rounds 40 test.json
        ;;
    esac
}

if [ "${2-}" = redis ]; then
    redis_part "$3"
    echo "$runs programs, $bad bad"
    exit $((bad > 0))
fi

conf file.json file power '{"dir": "snapshots"}'
conf memory.json memory memory '{}'
conf noop.json noop none '{}'

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

if [ -e "$build/lib/mako-snapshot/mako-store-redis.so" ] && command -v redis-server >/dev/null; then
    on_servers single --appendonly yes --appendfsync always
    on_servers sentinel
    on_servers cluster
fi

echo "$runs programs, $bad bad"
[ $bad -eq 0 ]
