#!/bin/bash
# replay on top of a store in files: snapshots spare events, logs that were cut or
# rewritten are noticed, --verify finds a wrong state.
# shellcheck disable=SC1091,SC2154
. "${0%/*}/lib.sh"
noop_store noop
file_store f 3

# a: 10 events, b: 4, c: 2; interleaved by sequence.
log() { # SUFFIX: the data of events from a's 7th on say it
    local n
    for n in 1 2 3 4 5 6 7 8 9 10; do
        event a "$n" "T$((n % 3))" "t$n" "{\"n\":$n,\"k$((n % 4))\":{\"v\":$n}$(
            [ "$n" -lt 7 ] || echo ",\"s\":\"$1\"")}"
        [ "$n" -gt 4 ] || event b "$n" B "t$n" "{\"b\":$n,\"k$n\":null}"
        [ "$n" -gt 2 ] || event c "$n" C "t$n" "{\"c\":$n}"
    done
}
states() { # LOG: what a fold without snapshots gives, into want.jsonl
    "$cli" -c noop.json replay --output want.jsonl "$1" >/dev/null 2>&1 || fail "states $1"
}
fresh() { # a new store, filled from log.jsonl
    rm -rf f.d
    run 0 -c f.json replay log.jsonl
    has out "snapshots taken     4"
}
log x >log.jsonl
gzip -k log.jsonl

# First run: takes; second run: spared.  Both give the states of the plain fold.
states log.jsonl
run 0 -c f.json --json replay --verify --output got.jsonl log.jsonl
same got.jsonl want.jsonl
member 16 out folded
member 4 out taken
member 0 out loaded
run 0 -c f.json --json replay --verify --output got.jsonl log.jsonl.gz
same got.jsonl want.jsonl
member 2 out loaded
member 12 out spared
member 4 out folded
member 16 out events
member 0 out taken
run 0 -c f.json ls
is "$(awk 'NR > 1 { print $1, $2, $3 }' out | tr '\n' ';')" "a 9 1;b 3 1;"
run 0 -c f.json replay log.jsonl
has out "spared              12 (75.0 %)"
has out "snapshots loaded    2"
has err 'NO SNAPSHOT WAS TAKEN: no stream has 3 events after its snapshot (2 loaded)'

# The log grows: only what is new is folded, and taken from.
{ cat log.jsonl; event a 11 N t11 '{"n":11}'; event a 12 N t12 '{"n":12}'; } >more.jsonl
states more.jsonl
feed 0 more.jsonl -c f.json --json replay --output got.jsonl -
same got.jsonl want.jsonl
member 12 out spared
member 6 out folded
member 1 out taken
member 18 out events

# Cut back: a's snapshot (12) lies beyond the log, b's does not.
head -n 12 log.jsonl >cut.jsonl
states cut.jsonl
feed 1 cut.jsonl -c f.json --json replay --output absent.jsonl -
has err "stream 'a': its snapshot is not of this log, and the log cannot be read again"
has err "(AHEAD)"
has err "absent.jsonl is not written"
lacks err "stream 'b'"
[ ! -e absent.jsonl ] || fail "output was written"
member '["a"]' out unresolved
member '{"AHEAD":1}' out refused
run 0 -c f.json --json replay --verify --output got.jsonl cut.jsonl
same got.jsonl want.jsonl
member '{"AHEAD":1}' out refused
member 1 out loaded
member 3 out spared
member "$(($(wc -l <cut.jsonl) - 3))" out folded
member "$(wc -l <cut.jsonl)" out events
member 2 out taken
# ... and the store is healed: the lower snapshot took the higher one's place.
run 0 -c f.json ls
is "$(awk 'NR > 1 { print $1, $2, $3 }' out | tr '\n' ';')" "a 6 1;b 3 1;"
feed 0 cut.jsonl -c f.json --json replay --output got.jsonl -
same got.jsonl want.jsonl
member '{}' out refused

# Rewritten from a's 7th event on: the event at the snapshot's sequence is another.
fresh
log y >other.jsonl
gzip -k other.jsonl
states other.jsonl
feed 1 other.jsonl -c f.json replay -
has err "stream 'a': its snapshot is not of this log"
has err "(DIVERGED)"
has out "snapshots refused   1 (1 DIVERGED)"
mkfifo fifo
cat other.jsonl >fifo &
run 1 -c f.json replay fifo
has err "stream 'a': its snapshot is not of this log"
wait
run 0 -c f.json --json replay --verify --output got.jsonl other.jsonl.gz
same got.jsonl want.jsonl
member '{"DIVERGED":1}' out refused
member 3 out taken
member 13 out folded
run 0 -c f.json --json replay --output got.jsonl other.jsonl
same got.jsonl want.jsonl
member '{}' out refused
member 12 out spared

# Standard input is not read again, even where it could be.
fresh
"$cli" -c f.json replay - <other.jsonl >out 2>err
is $? 1
has err "stream 'a'"

# A snapshot at sequence 1 that diverged needs no second pass.
file_store one 1
event s 1 T t '{"v":"old"}' >old.jsonl
{ event s 1 T t '{"v":"new"}'; event s 2 T t '{}'; } >new.jsonl
run 0 -c one.json replay old.jsonl
states new.jsonl
feed 0 new.jsonl -c one.json --json replay --output got.jsonl --verify -
same got.jsonl want.jsonl
member '{"DIVERGED":1}' out refused
member 2 out taken

# Many at once: twenty are named, the rest counted; machines get all.
file_store many 1
for n in $(seq 30); do event "m$n" 1 T t '{}'; event "m$n" 2 T t '{}'; done >many.jsonl
run 0 -c many.json replay many.jsonl
sed -i 's/"t"/"u"/' many.jsonl
feed 1 many.jsonl -c many.json replay -
is "$(grep -c "its snapshot is not of this log" err)" 20
has err "... and 10 more such streams"
feed 1 many.jsonl -c many.json --json replay -
member 30 out unresolved '#'

# --verify: a wrong state under the right anchor.
fresh
states log.jsonl
run 0 -c f.json --json show a
anchor=$(json out anchor)
run 0 -c f.json load a --schema 1 --output right.json
sed 's/"T0":3/"T0":7/' right.json >wrong.json
cmp -s right.json wrong.json && fail "nothing changed"
run 0 -c f.json save a --sequence 9 --schema 1 --anchor "$anchor" wrong.json
run 1 -c f.json replay --verify --output absent.jsonl log.jsonl
has err "stream 'a': VERIFY FAILED: its state differs from a fold without snapshots"
lacks err "stream 'b'"
lacks out "agree"
[ ! -e absent.jsonl ] || fail "output was written"
feed 1 log.jsonl -c f.json --json replay --verify -
member '["a"]' out different
run 0 -c f.json save a --sequence 9 --schema 1 --anchor "$anchor" right.json
run 0 -c f.json replay --verify log.jsonl
# ... but with a wrong anchor it is not used at all.
run 0 -c f.json save a --sequence 9 --schema 1 --anchor 0x1234 wrong.json
run 0 -c f.json --json replay --verify log.jsonl
member '{"DIVERGED":1}' out refused

# What is no state of replay is refused, and replaced.
fresh
printf 'not a state' >junk
run 0 -c f.json save a --sequence 9 --schema 1 --anchor "$anchor" junk
run 0 -c f.json --json replay --verify log.jsonl
member '{"DAMAGED":1}' out refused
member 3 out taken
printf '{"a":1}' >junk
run 0 -c f.json save a --sequence 9 --schema 1 junk
run 0 -c f.json --json replay --verify log.jsonl
member '{"DAMAGED":1}' out refused
run 0 -c f.json --json replay --verify log.jsonl
member '{}' out refused

# Another schema: neither reads the other's; the older one does not overwrite.
fresh
run 0 -c f.json --json replay --schema 2 --verify log.jsonl
member '{"SCHEMA_OLDER":2}' out refused
member 2 out taken
member 2 out kept_later
run 0 -c f.json --json replay --schema 1 --verify log.jsonl
member '{"SCHEMA_NEWER":2}' out refused
member 0 out loaded
run 0 -c f.json --json replay --schema 2 --verify log.jsonl
member 2 out loaded

# A broken line at the end: what was taken before it stays and helps.
rm -rf f.d
{ cat log.jsonl; echo "{"; } >broken.jsonl
run 2 -c f.json replay broken.jsonl
has err "broken.jsonl:17: not JSON"
run 0 -c f.json --json replay --verify log.jsonl
member 12 out spared

# A store that cannot save: states are right, the failures are counted, the code is 3.
sed 's/"durability"/"max_snapshot":16,"durability"/' f.json >small.json
sed -i 's/f\.d/small.d/' small.json
states log.jsonl
run 3 -c small.json --json replay --verify --output got.jsonl log.jsonl
same got.jsonl want.jsonl
member 4 out failed_takes
is "$(grep -c "a snapshot could not be saved" err)" 1
has err "NO SNAPSHOT WAS TAKEN: all 4 attempts failed"
run 3 -c small.json replay log.jsonl
has out "failed takes        4"

# A store that does not open is said before anything is read.
sed 's/f\.d/f.json/' f.json >bad.json
run 3 -c bad.json replay log.jsonl
has err "f.json"
finish
