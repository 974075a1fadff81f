#!/bin/bash
# What seldom happens: nothing to work with, files that fail while they are read or written,
# states and snapshots that others left.
# shellcheck disable=SC1091,SC2154
. "${0%/*}/lib.sh"

# ---- no configuration, or one that names what is no plugin ------------------------------
for words in stats 'show a' config 'rm a' 'rm --prefix a' compact verify ls \
    'save a --sequence 1 --schema 1 -' 'load a --schema 1' 'replay /dev/null'; do
    # shellcheck disable=SC2086 # words
    MAKO_SNAPSHOT_CONFIG='' run 2 $words
    has err 'no configuration: say -c FILE, or set MAKO_SNAPSHOT_CONFIG'
    empty out
done
printf '{"stores":{"s":{"plugin":"%s","durability":"none"}}}\n' "$(readlink -f "$cli")" >no.json
run 2 -c no.json ls
has err "$(readlink -f "$cli"): "

# Plugin directories make a list, however many they are.
printf '{"plugin_dirs":["a","b","/c"],"stores":{"s":{"plugin":"file","durability":"crash",
  "stale_saves":"replace","on_load_failure":"fail","options":{"dir":"d"}}}}\n' >dirs.json
run 0 -c dirs.json --json config
is "$(json out plugin_dirs '#')" 3
member replace out stores.s.stale_saves
member fail out stores.s.on_load_failure
run 0 -c dirs.json config
is "$(grep -c '^plugin_dirs' out)" 3

# ---- options ----------------------------------------------------------------------------
file_store f 3
echo state >state
for range in 0 0-1 2-1 1-4294967296 1-2x 1- -1 x 1-x 0x; do
    run 2 -c f.json load a --schema="$range"
    has err "--schema"
done
run 0 -c f.json save a --sequence 0X1f --schema 1 state
run 0 -c f.json load a --schema 1-0X2
same out state
run 2 -c f.json save a --sequence
has err '--sequence needs a value'
run 2 -c f.json ls --json=x
has err '--json takes no value'
run 2 -c f.json ls -y
has err "unknown option '-y'"
run 2 -c f.json ls -c
has err '--config needs a value'

# ---- output -----------------------------------------------------------------------------
mkdir there
run 2 -c f.json load a --schema 1 --output there
has err 'cannot write there: Is a directory'
run 2 -c f.json load a --schema 1 --json --output there
has err 'cannot write there: Is a directory'
run 2 -c f.json load a --schema 1 --output state/beneath
has err 'cannot write state/beneath: Not a directory'
mkfifo pipe
cat pipe >got &
run 0 -c f.json load a --schema 1 --output pipe
wait $!
same got state
[ -p pipe ] || fail 'the pipe was replaced'
run 2 -c f.json load a --schema 1 --output /dev/full
has err 'cannot write the output: No space left on device'
# A document that does not fit into what is kept back.
head -c 20000 /dev/zero | tr '\0' x >large
run 0 -c f.json save large --sequence 1 --schema 1 large
"$cli" -c f.json load large --schema 1 --json >/dev/full 2>err
is $? 2
has err 'cannot write the JSON document'
run 2 -c f.json load large --schema 1 --output /dev/full
has err 'No space left on device'

run 0 -c f.json load large --schema 1 --output file
same file large
# A file that may not grow so far: the one that is there stays.
head -c 400000 /dev/zero | tr '\0' y >huge
run 0 -c f.json save huge --sequence 1 --schema 1 huge
(trap '' XFSZ && ulimit -f 300 && "$cli" -c f.json load huge --schema 1 --output file) 2>err
is $? 2
has err 'file: File too large'
same file large
is "$(find . -name 'file.*')" ''

# A new file is as the umask has it.  One that takes the place of another is for the same
# people; where its group cannot be kept, that may do no more than everybody.
mask=$(umask)
umask 027
run 0 -c f.json load a --schema 1 --output new
is "$(stat -c %a new)" 640
umask 022
chmod 600 new
run 0 -c f.json load large --schema 1 --output new
same new large
is "$(stat -c %a new)" 600
chmod 775 new
ln -s new by-link
run 0 -c f.json load a --schema 1 --output by-link
same new state
is "$(stat -c %a new)" 775
noop_store none
echo '{"stream":"a","sequence":1,"type":"t","time":"t","data":{"v":1}}' >one.jsonl
chmod 600 new
run 0 -c none.json replay --output new one.jsonl
is "$(stat -c %a new)" 600
as_nobody() { setpriv --clear-groups --reuid 65534 --regid "$@"; }
if [ "$(id -u)" = 0 ]; then
    chown 12345:12346 new
    chmod 4654 new
    run 0 -c f.json load a --schema 1 --output new
    is "$(stat -c '%u:%g %a' new)" '12345:12346 654'
    chmod 755 .
    mkdir -m 777 public
    install -o 12345 -g 12346 -m 664 state public/file
    if as_nobody 65534 "$cli" -c none.json config >/dev/null 2>&1; then
        as_nobody 65534 "$cli" -c none.json replay --output public/file one.jsonl >out 2>err
        is $? 0
        is "$(stat -c '%u:%g %a' public/file)" '65534:65534 644'
        chown 12345:12346 public/file
        chmod 664 public/file
        as_nobody 12346 "$cli" -c none.json replay --output public/file one.jsonl \
            >out 2>err
        is $? 0
        is "$(stat -c '%u:%g %a' public/file)" '65534:12346 664'
    fi
fi
umask "$mask"

# More than the store takes is not read to its end.
printf '{"stores":{"s":{"plugin":"file","durability":"crash","max_snapshot":"4KiB",
  "options":{"dir":"small.d"}}}}\n' >small.json
run 2 -c small.json save a --sequence 1 --schema 1 huge
has err 'a state of 4097 bytes, max_snapshot is 4096'
feed 2 huge -c small.json save a --sequence 1 --schema 1 -
{
    "$cli" -c small.json save a --sequence 1 --schema 1 - 2>err
    cat >rest
} <huge
[ "$(stat -c %s rest)" -gt 300000 ] || fail "$(stat -c %s rest) bytes were left unread"

# ---- no stream's name ---------------------------------------------------------------------
run 2 -c f.json --json save '' --sequence 1 --schema 1 state
has err 'an empty stream id'
run 2 -c f.json show ''
has err 'an empty stream id'
run 2 -c f.json --json show ''
run 2 -c f.json rm ''
has err 'an empty stream id'

# ---- one snapshot: gone, replaced, of another program -------------------------------------
run 1 -c f.json --json show gone
member NOT_FOUND out peek
run 1 -c f.json show gone
has err 'gone: '
empty out
run 1 -c f.json rm gone
has err 'no snapshot of gone'
run 1 -c f.json --json rm gone
member 0 out removed
run 1 -c f.json --json save a --sequence 1 --schema 1 state
member STALE out status
member 1 out sequence
printf '' >nothing
run 0 -c f.json save none --sequence 1 --schema 1 nothing
run 0 -c f.json load none --schema 1
empty out
run 0 -c f.json load none --schema 1 --json
member '' out state_hex
run 0 -c f.json show none
has out '0 bytes (0 B)'
printf x >one
run 0 -c f.json save one --sequence 1 --schema 1 one
run 0 -c f.json load one --schema 1
same out one

# ---- logs that cannot be read -------------------------------------------------------------
noop_store noop
for n in 1 2 3; do event a "$n" T t "{\"n\":$n}"; done >log
run 2 -c noop.json replay /proc/self/mem
has err '/proc/self/mem:1: Input/output error'
run 2 -c noop.json replay .
has err '.: is a directory'
seq 1 20000 | while read -r n; do printf '{"n":"%s"}\n' "$n"; done | gzip -c >log.gz
{ head -c 20 log.gz && head -c 200 /dev/urandom && tail -c 20000 log.gz; } >wrong.gz
run 2 -c noop.json replay wrong.gz
has err 'wrong.gz:'
gzip -c <log >sum.gz
size=$(stat -c %s sum.gz)
{ head -c $((size - 8)) sum.gz && printf '\1\2\3\4' && tail -c 4 sum.gz; } >sum-wrong.gz
run 2 -c noop.json replay sum-wrong.gz
has err 'incorrect data check'
for line in '[1]' '7' '{"stream":"a","sequence":"1","type":"T","time":"t","data":{}}' \
    '{"stream":"a","sequence":1,"type":"T\u0000","time":"t","data":{}}' \
    '{"stream":"a","sequence":1,"type":"T","data":{}}' \
    '{"stream":"a","sequence":1,"type":"T","time":7,"data":{}}' \
    '{"stream":"a","sequence":1,"type":7,"time":"t","data":{}}' \
    '{"stream":"a","sequence":1,"type":"T","time":"t","data":7}' \
    '{"stream":"a","sequence":1,"type":"T","time":"t"}' \
    '{"stream":"a","sequence":1,"time":"t","data":{}}' \
    '{"stream":"a","type":"T","time":"t","data":{}}' \
    '{"sequence":1,"type":"T","time":"t","data":{}}' \
    '{"stream":"","sequence":1,"type":"T","time":"t","data":{}}'; do
    printf '%s\n' "$line" >line
    run 2 -c noop.json replay line
    has err 'line:1: '
done
echo '[1]' >line
run 2 -c noop.json replay line
has err 'line:1: not a JSON object'

# ---- states that no fold of this tool made ------------------------------------------------
good='{"type":"T","time":"t","events":2,"counts":{"T":2},"data":{"n":2}}'
streams=0
: >strange.jsonl
strange() { # STATE: kept for a stream of its own, at its second event
    streams=$((streams + 1))
    printf '%s' "$1" >state
    run 0 -c f.json save "x/$streams" --sequence 2 --schema 1 state
    for n in 1 2 3 4 5; do event "x/$streams" $n T t "{\"n\":$n}"; done >>strange.jsonl
}
strange "$good"
for change in 's/"type":"T",//' 's/"T","time"/7,"time"/' 's/"time":"t",//' 's/"t"/7/' \
    's/"events":2,//' 's/:2,"counts"/:"2","counts"/' 's/"counts":{"T":2},//' \
    's/{"T":2}/7/' 's/,"data":{"n":2}//' 's/{"n":2}/7/' 's/^{/{"more":1,/' 's/^.*$/7/' \
    's/^.*$/not JSON/'; do
    strange "$(sed "$change" <<<"$good")"
done
# What is no number is counted from the start; --verify finds that.
strange "${good/'"T":2'/'"T":"two"'}"
run 0 -c f.json --json replay --output states strange.jsonl
member 2 out loaded
member 13 out refused DAMAGED
has states '{"stream":"x/1","sequence":5,"state":{"counts":{"T":5},"data":{"n":5},'
has states '{"stream":"x/2","sequence":5,"state":{"counts":{"T":5},"data":{"n":5},'
has states '{"stream":"x/15","sequence":5,"state":{"counts":{"T":3},"data":{"n":5},'
run 1 -c f.json replay --verify strange.jsonl
has err "stream 'x/15': VERIFY FAILED: its state differs"
lacks err "'x/1'"

# ---- the system was started again -----------------------------------------------------
# Without flushes an index file may have reached the disk before what it speaks of.
boot=/proc/sys/kernel/random/boot_id
rm -rf f.d
for n in 1 2; do run 0 -c f.json save "s/$n" --sequence 1 --schema 1 large; done
printf X | dd of=f.d/0000000000000001.seg bs=1 seek=9000 conv=notrunc 2>dd.err
run 0 -c f.json ls
empty err # the index file is believed, and nothing is read
tr 0-8 1-9 <$boot >other
: >none
tr - 0 <$boot >long
for id in other none long; do
    if unshare -m mount --bind $id $boot 2>/dev/null; then
        # shellcheck disable=SC2016 # the other shell's
        unshare -m sh -c 'mount --bind "$1" "$2" && exec "$3" -c f.json ls' - \
            $id $boot "$cli" >out 2>err
        is $? 0
        has err '0000000000000001.seg: damaged: the record at offset 4096, of stream s/1'
        has out 's/2'
    else
        echo "NOT TRIED: another start of the system: mounting is not possible"
    fi
done

# ---- streams without number ---------------------------------------------------------------
for n in $(seq 1 4000); do event "many/$n" 1 T t '{}'; done >many.jsonl
run 0 -c noop.json --json replay --output states many.jsonl
member 4000 out streams
is "$(wc -l <states)" 4000
run 2 -c noop.json replay --output /dev/full many.jsonl
has err 'No space left on device'
printf '{"stores":{"s":{"plugin":"file","durability":"crash","snapshot_every":1,
  "options":{"dir":"many.d"}}}}\n' >many.json
run 0 -c many.json replay many.jsonl
has out 'snapshots taken     4000'
run 0 -c many.json ls --json
is "$(json out '#')" 4000

# ---- some refused for this reason, some for that ------------------------------------------
printf '%s' "$good" >state
rm -rf f.d
for s in a b; do
    run 0 -c f.json save "$s" --sequence 2 --schema 2 state
    run 0 -c f.json save "old/$s" --sequence 9 --schema 1 --force state
done
for s in a b old/a old/b; do
    for n in 1 2; do event "$s" $n T t '{}'; done
done >both.jsonl
feed 1 both.jsonl -c f.json replay -
has out 'snapshots refused   4 (2 SCHEMA_NEWER, 2 AHEAD)'
has err "stream 'old/a': its snapshot is not of this log"
feed 1 both.jsonl -c f.json replay --verify --output got -
has err 'got is not written: not every state is right'
finish
