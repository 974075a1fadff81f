#!/bin/bash
# replay without snapshots: the fold itself, the output, and every way in which a log can
# be broken.  The store keeps nothing, so that only the fold counts.
# shellcheck disable=SC1091,SC2154
. "${0%/*}/lib.sh"
noop_store noop

# state DATA...: the "data" after these patches, compact and sorted.
folded() {
    local n=0 patch
    for patch in "$@"; do
        n=$((n + 1))
        event s "$n" T now "$patch"
    done >patches.jsonl
    run 0 -c noop.json replay --output - patches.jsonl
    json out state data
}

# RFC 7396, appendix A, where both sides are objects; and the example of section 3.
is "$(folded '{"a":"b"}' '{"a":"c"}')" '{"a":"c"}'
is "$(folded '{"a":"b"}' '{"b":"c"}')" '{"a":"b","b":"c"}'
is "$(folded '{"a":"b"}' '{"a":null}')" '{}'
is "$(folded '{"a":"b","b":"c"}' '{"a":null}')" '{"b":"c"}'
is "$(folded '{"a":["b"]}' '{"a":"c"}')" '{"a":"c"}'
is "$(folded '{"a":"c"}' '{"a":["b"]}')" '{"a":["b"]}'
is "$(folded '{"a":{"b":"c"}}' '{"a":{"b":"d","c":null}}')" '{"a":{"b":"d"}}'
is "$(folded '{"a":[{"b":"c"}]}' '{"a":[1]}')" '{"a":[1]}'
is "$(folded '{"e":1}' '{"a":1}')" '{"a":1,"e":1}'
is "$(folded '{}' '{"a":{"bb":{"ccc":null}}}')" '{"a":{"bb":{}}}'
is "$(folded '{"a":1}' '{"a":{"b":{"c":2,"d":null}}}')" '{"a":{"b":{"c":2}}}'
is "$(folded '{"a":{"b":1}}' '{"a":{}}' '{"c":null}')" '{"a":{"b":1}}'
is "$(folded '{"a":[{"b":null}]}')" '{"a":[{"b":null}]}'
is "$(folded '{"t":{"g":"J","f":"D"},"tags":["e","s"],"c":"T"}' \
    '{"t":{"f":null},"p":"+","tags":["e"]}')" \
    '{"c":"T","p":"+","t":{"g":"J"},"tags":["e"]}'
# A patch's object is copied, not shared: the second stream must not see the first.
is "$(folded '{"a":{"b":1}}' '{"a":{"b":2}}' '{"a":{"c":3}}')" '{"a":{"b":2,"c":3}}'

# A small log, two streams interleaved, and all that is said about it.
{
    event b/1 1 Opened t1 '{"by":"ada","n":1}'
    event a/1 1 Opened t2 '{"x":{"y":1}}'
    event b/1 2 Moved t3 '{"n":null,"to":"\u00e9"}'
    event b/1 3 Moved t4 '{"zero":"a\u0000b"}'
    event a/1 2 Closed t5 '{}'
} >log.jsonl
cat >want.jsonl <<'END'
{"stream":"a/1","sequence":2,"state":{"counts":{"Closed":1,"Opened":1},"data":{"x":{"y":1}},"events":2,"time":"t5","type":"Closed"}}
{"stream":"b/1","sequence":3,"state":{"counts":{"Moved":2,"Opened":1},"data":{"by":"ada","to":"é","zero":"a\u0000b"},"events":3,"time":"t4","type":"Moved"}}
END
run 0 -c noop.json replay --output - log.jsonl
same out want.jsonl
has err "events read         5"
run 0 -c noop.json replay --output got.jsonl --verify log.jsonl
same got.jsonl want.jsonl
is "$(echo got.jsonl*)" got.jsonl
has out "streams             2"
has out "events read         5"
has out "folded              5"
has out "spared              0 (0.0 %)"
has out "snapshots loaded    0"
has out "snapshots refused   0"
has out "snapshots taken     1"
has out "all 2 states agree with a fold without snapshots"
has err "no snapshot is kept"
lacks err "NO SNAPSHOT WAS TAKEN"
run 0 -c noop.json replay --json --verify log.jsonl
for pair in "streams 2" "events 5" "folded 5" "spared 0" "loaded 0" "refused {}" \
    "failed_loads 0" "taken 1" "kept_later 0" "failed_takes 0" "longest 3" \
    "verified true" "different []" "unresolved []"; do
    member "${pair#* }" out "${pair%% *}"
done
lacks out "$(printf '\033')"

# The same from a pipe, compressed, compressed in two parts, without the last newline.
feed 0 log.jsonl -c noop.json replay --output - -
same out want.jsonl
gzip -k log.jsonl
run 0 -c noop.json replay --output - log.jsonl.gz
same out want.jsonl
feed 0 log.jsonl.gz -c noop.json replay --output - -
same out want.jsonl
{ head -n 2 log.jsonl | gzip; tail -n 3 log.jsonl | gzip; } >two.gz
run 0 -c noop.json replay --output - two.gz
same out want.jsonl
printf %s "$(cat log.jsonl)" >bare.jsonl
run 0 -c noop.json replay --output - bare.jsonl
same out want.jsonl

# Where nothing is taken, why is said; an empty log is no error.
head -n 2 log.jsonl >short.jsonl
run 0 -c noop.json replay short.jsonl
has err 'NO SNAPSHOT WAS TAKEN: "snapshot_every" is 3, and the longest stream has 1 events'
: >empty.jsonl
run 0 -c noop.json replay --output got.jsonl empty.jsonl
empty got.jsonl
has out "events read         0"
sed 's/"snapshot_every":3/"snapshot_every":0/' noop.json >never.json
run 0 -c never.json replay log.jsonl
has err 'NO SNAPSHOT WAS TAKEN: "snapshot_every" is 0, that is never'

# Members that are not known are ignored; the schema is free.
sed 's/^{/{"extra":[1,{"x":2}],/' log.jsonl >extra.jsonl
run 0 -c noop.json replay --schema 7 --output - extra.jsonl
same out want.jsonl

# Awkward streams are sorted bytewise.
for stream in b 'a\u0001' 'a/../b' A 'é' 'a b'; do event "$stream" 1 T t '{}'; done >odd.jsonl
run 0 -c noop.json replay --output - odd.jsonl
is "$(sed 's/,"sequence.*//; s/{"stream"://' out | tr '\n' ' ')" \
    '"A" "a\u0001" "a b" "a/../b" "b" "é" '

# An output that is no regular file is written in place; one that cannot be is said.
run 0 -c noop.json replay --output /dev/null log.jsonl
[ -c /dev/null ] || fail "/dev/null is no device any more"
ln -s got.jsonl link.jsonl
run 0 -c noop.json replay --output link.jsonl log.jsonl
same got.jsonl want.jsonl
[ -L link.jsonl ] || fail "the link was replaced"
run 2 -c noop.json replay --output absent/got log.jsonl
has err "cannot write beside absent/got: No such file or directory"

# A progress bar on a terminal; it is gone before the summary.
if command -v script >/dev/null; then
    TERM=xterm script -qec "'$cli' -c noop.json replay log.jsonl" /dev/null </dev/null >out
    has out $'\rreplay ['
    has out "events read"
    lacks out "] events"
fi

# Broken logs: the line's number, the cause, nothing written.
broken() { # MESSAGE FILE
    rm -f got.jsonl
    run 2 -c noop.json replay --output got.jsonl "$2"
    has err "$2:$1"
    [ ! -e got.jsonl ] || fail "output was written"
    feed 2 "$2" -c noop.json replay -
    has err "standard input:$1"
}
line() { # MESSAGE LINE: as the third line of a log
    { head -n 2 log.jsonl; printf '%s\n' "$2"; tail -n 2 log.jsonl; } >broken.jsonl
    broken "3: $1" broken.jsonl
}
line "a gap: sequence 3 of stream 'b/1', where 2 is next" "$(event b/1 3 T t '{}')"
line "a repeat: sequence 1 of stream 'b/1', where 2 is next" "$(event b/1 1 T t '{}')"
line "a gap: sequence 2 of stream 'new', where 1 is next" "$(event new 2 T t '{}')"
line "an empty line" ""
line "not JSON: " "{"
line "not JSON: " "$(event b/1 2 T t '{}')x"
line "not JSON: " "$(event b/1 2 T t '{"a":}')"
line "not JSON: " "$(event b/1 2 T t '{"a":123456789012345678901}')"
line "not JSON: " "$(printf '{"stream":"\xff"}')"
line "not a JSON object" "[]"
line '"stream" must be there' "{}"
line '"stream" must be there' '{"stream":1,"sequence":1,"type":"T","time":"t","data":{}}'
line '"stream" must have 1 to 1024 bytes' "$(event '' 1 T t '{}')"
line '"stream" must have 1 to 1024 bytes' "$(event 'a\u0000' 1 T t '{}')"
line '"stream" must have 1 to 1024 bytes' "$(event "$(printf '%01025d' 0)" 1 T t '{}')"
line '"sequence" must be there' "$(event b/1 '"2"' T t '{}')"
line '"sequence" must be there' "$(event b/1 2.0 T t '{}')"
line '"sequence" must be there' "$(event b/1 0 T t '{}')"
line '"sequence" must be there' "$(event b/1 -1 T t '{}')"
line '"type" must be there' '{"stream":"b/1","sequence":2,"time":"t","data":{}}'
line '"type" must be there' "$(event b/1 2 'T\u0000' t '{}')"
line '"time" must be there' '{"stream":"b/1","sequence":2,"type":"t","time":null,"data":{}}'
line '"data" must be there' "$(event b/1 2 T t null)"
line '"data" must be there' "$(event b/1 2 T t '[]')"
{ cat log.jsonl; echo; } >tail.jsonl
broken "6: an empty line" tail.jsonl
head -c -20 log.jsonl >cut.jsonl
broken "5: not JSON: " cut.jsonl
for bytes in 11 40 -9 -1; do
    head -c "$bytes" log.jsonl.gz >cut.gz
    run 2 -c noop.json replay cut.gz
    has err "cut.gz:"
    has err "ends too early"
    feed 2 cut.gz -c noop.json replay -
    has err "ends too early"
done
# A byte of the compressed data or of its checksum.
for at in -12 -6; do
    { head -c "$at" log.jsonl.gz; printf '\x5a'; tail -c $((-at - 1)) log.jsonl.gz; } >flip.gz
    run 2 -c noop.json replay flip.gz
    has err "flip.gz:"
done
head -c $((64 * 1024 * 1024 + 1)) /dev/zero | tr '\0' ' ' | gzip -1 >long.gz
run 2 -c noop.json replay long.gz
has err "long.gz:1: the line is longer than 64 MiB"

# Deep documents: bounded by the parser, not by the stack.
deep=$(printf '%02000d' 0 | sed 's/0/{"a":/g')1$(printf '%02000d' 0 | tr 0 '}')
{ event d 1 T t "$deep"; event d 2 T t "$deep"; } >deep.jsonl
run 0 -c noop.json replay --verify deep.jsonl
deep=$(printf '%03000d' 0 | sed 's/0/{"a":/g')1$(printf '%03000d' 0 | tr 0 '}')
event d 1 T t "$deep" >deep.jsonl
run 2 -c noop.json replay deep.jsonl
has err "deep.jsonl:1: not JSON: maximum parsing depth reached"

# Not there, not a file; control characters do not reach the terminal.
run 2 -c noop.json replay absent.jsonl
has err "cannot open absent.jsonl: No such file or directory"
run 2 -c noop.json replay .
has err ".: is a directory"
run 2 -c noop.json replay $'a\033[31mb'
has err 'a\x1b[31mb'
lacks err $'\033'
finish
