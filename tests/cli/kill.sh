#!/bin/bash
# replay is killed (SIGKILL) at any moment and started again: the same states.
# shellcheck disable=SC1091,SC2154
. "${0%/*}/lib.sh"
noop_store noop
file_store f 4

# 400 streams of 30 events, interleaved.
for n in $(seq 30); do
    for s in $(seq 400); do
        printf '{"stream":"k/%s","sequence":%s,"type":"T%s","time":"t%s","data":{"v":{"x%s":%s},"y%s":null,"y":"%s"}}\n' \
            "$s" "$n" $((n % 5)) "$n" $((n % 7)) "$n" $((n % 3)) "$s"
    done
done >log.jsonl
run 0 -c noop.json replay --output want.jsonl log.jsonl

start=${EPOCHREALTIME/./}
"$cli" -c f.json replay log.jsonl >/dev/null 2>&1
took=$((${EPOCHREALTIME/./} - start)) # microseconds of a whole run
rm -rf f.d

# Killed after a random part of that time.
hit=0
for round in 1 2 3 4 5 6 7 8 9 10 11 12; do
    "$cli" -c f.json replay --output part.jsonl log.jsonl >/dev/null 2>&1 &
    pid=$!
    delay=$(((took * (RANDOM % 100 + 1)) / 100))
    sleep "$((delay / 1000000)).$(printf %06d $((delay % 1000000)))"
    kill -9 "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
    [ $? = 137 ] && hit=$((hit + 1))
    if [ $((round % 4)) = 0 ]; then
        run 0 -c f.json --json replay --verify --output got.jsonl log.jsonl
        same got.jsonl want.jsonl
        rm -rf f.d
    fi
done
echo "killed in mid-run: $hit of 12"

# Surely in mid-run: it has read most of this much, and waits for more.
for lines in 1 1700 5000 11999; do
    rm -rf f.d
    mkfifo in
    "$cli" -c f.json replay - <in >/dev/null 2>&1 &
    pid=$!
    exec 9>in
    head -n "$lines" log.jsonl >&9
    kill -9 "$pid"
    wait "$pid" 2>/dev/null
    is $? 137
    exec 9>&-
    rm in
    run 0 -c f.json --json replay --verify --output got.jsonl log.jsonl
    same got.jsonl want.jsonl
    member '{}' out refused
done
finish
