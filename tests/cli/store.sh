#!/bin/bash
# The commands about snapshots, on a store in files: save, load, show, ls, rm, verify,
# stats; and describe and config.
# shellcheck disable=SC1091,SC2154
. "${0%/*}/lib.sh"
file_store f 3
noop_store noop

# save and load, byte for byte.
printf 'one\n\0two\xff' >state
run 0 -c f.json save orders/7 --sequence 42 --schema 3 --anchor 0xabc state
has out "saved orders/7: sequence 42, schema 3, 9 bytes"
run 0 -c f.json load orders/7 --schema 3
same out state
empty err
run 0 -c f.json load --schema 2-4 --output copy orders/7
same copy state
empty out
feed 0 state -c f.json save from/pipe --sequence 1 --schema 1
feed 0 state -c f.json save from/dash --sequence 1 --schema 1 -
run 0 -c f.json load from/pipe --schema 1
same out state
run 0 -c f.json load from/dash --schema 1
same out state
run 0 -c f.json save empty --sequence 1 --schema 1 /dev/null
run 0 -c f.json load empty --schema 1
empty out

# What cannot be loaded: why, and the code.
run 1 -c f.json load nobody --schema 1
has err "nobody"
empty out
run 1 -c f.json load orders/7 --schema 4-9
has err "3"
run 1 -c f.json load orders/7 --schema 1-2 --json
member SCHEMA_NEWER out status
member orders/7 out stream
member 42 out sequence
member 3 out schema
run 1 -c f.json load nobody --schema 1 --json
member NOT_FOUND out status
run 0 -c f.json save kinds --sequence 1 --schema 1 --kind account state
run 0 -c f.json load kinds --schema 1
run 0 -c f.json load kinds --schema 1 --kind account
run 1 -c f.json --json load kinds --schema 1 --kind order
member FOREIGN out status
run 2 -c f.json load orders/7
has err "schema"
sed 's/"durability"/"schema":{"min":3,"max":5},"durability"/' f.json >range.json
run 0 -c range.json load orders/7
same out state
run 1 -c range.json load kinds

# --json of a load: bytes as hexadecimal, documents as they are.
run 0 -c f.json --json load orders/7 --schema 3
member OK out status
member 42 out sequence
member 0x0000000000000abc out anchor
member 9 out size
member 6f6e650a0074776fff out state_hex
printf '{"b":[1,null]}' >doc
run 0 -c f.json --json save doc --sequence 9223372036854775807 --schema 4294967295 doc
member OK out status
member 9223372036854775807 out sequence
run 0 -c f.json --json load doc --schema 1-4294967295
member '{"b":[1,null]}' out state
member null out anchor
member 9223372036854775807 out sequence

# A later one is kept, unless forced; an equal one is replaced.
run 1 -c f.json save orders/7 --sequence 41 --schema 3 doc
has err "not saved: "
has err "(--force replaces it)"
run 1 -c f.json --json save orders/7 --sequence 41 --schema 3 doc
member STALE out status
run 0 -c f.json load orders/7 --schema 3
same out state
run 0 -c f.json save orders/7 --sequence 42 --schema 4 doc
run 0 -c f.json load orders/7 --schema 4
same out doc
run 0 -c f.json save orders/7 --sequence 41 --schema 3 --force doc

# What cannot be saved.
run 2 -c f.json save orders/7 --sequence 50 --schema 1 absent
has err "cannot open absent: No such file or directory"
run 2 -c f.json save orders/7 --sequence 50 --schema 1 .
has err "cannot read .: Is a directory"
run 2 -c f.json save "" --sequence 50 --schema 1 doc
has err "an empty stream id"
run 2 -c f.json save $'\xff' --sequence 50 --schema 1 doc
has err "UTF-8"
sed 's/"durability"/"max_snapshot":8,"durability"/' f.json >small.json
run 2 -c small.json save big --sequence 1 --schema 1 state
has err "8"
run 1 -c small.json load orders/7 --schema 3
run 1 -c small.json --json load orders/7 --schema 3
member TOO_LARGE out status

# show: everything, for people and machines.
run 0 -c f.json save orders/7 --sequence 42 --schema 3 --anchor 2748 --force state
run 0 -c f.json show orders/7
has out "stream              orders/7"
has out "sequence            42"
has out "schema              3"
has out "created             $(date -u +%Y-)"
has out " s"
has out "anchor              0x0000000000000abc"
has out "state               9 bytes (9 B)"
has out "check               good"
run 0 -c f.json --json show orders/7
for pair in "status OK" "peek OK" "sequence 42" "schema 3" "anchor 0x0000000000000abc" \
    "size 9" "stream orders/7"; do
    member "${pair#* }" out "${pair%% *}"
done
created=$(json out created_ms)
[ "$created" -gt 1700000000000 ] || fail "created_ms is $created"
run 1 -c f.json show nobody
empty out
run 1 -c f.json --json show nobody
member NOT_FOUND out status

# ls: sorted, with a prefix, odd ids escaped for people and exact for machines.
run 0 -c f.json save $'odd\n\033[1mid' --sequence 5 --schema 1 doc
run 0 -c f.json ls
has out "STREAM"
has out 'odd\x0a\x1b[1mid'
lacks out $'\033'
is "$(awk 'NR > 1 { print $1 }' out)" "$(awk 'NR > 1 { print $1 }' out | LC_ALL=C sort)"
is "$(wc -l <out)" 8
run 0 -c f.json ls from/
is "$(awk '{ print $1 }' out | tr '\n' ' ')" "STREAM from/dash from/pipe "
run 0 -c f.json ls orders
is "$(awk 'NR > 1 { print $1, $2, $3, $(NF - 1), $NF }' out)" "orders/7 42 3 121 B"
run 0 -c f.json --json ls
is "$(json out '#')" 7
is "$(json out 5 stream)" $'odd\n\033[1mid'
member orders/7 out 6 stream
run 0 -c f.json --json ls orders
member 42 out 0 sequence
member 3 out 0 schema
member 121 out 0 size
run 0 -c f.json ls none/
is "$(wc -l <out)" 1
run 0 -c f.json --json ls none/
is "$(cat out)" "[]"

# stats.
run 0 -c f.json stats
has out "plugin              file"
has out "durability          crash"
has out "plugin.streams      7"
has out "loads_ok            0"
run 0 -c f.json --json stats
member file out plugin
member 7 out counters plugin.streams
member 3 out snapshot_every

# verify: all good; then one byte of one state is another.
run 0 -c f.json verify
has out "7 good, 0 bad"
run 0 -c f.json --json verify
member 7 out good
member '[]' out bad
run 0 -c range.json verify
has out "outside the store's configured schema range"
printf 'a very particular state' >special
run 0 -c f.json save damaged --sequence 1 --schema 1 special
file=$(grep -rlF 'a very particular state' f.d | head -n 1)
at=$(grep -obaF 'a very particular state' "$file" | head -n 1 | cut -d: -f1)
printf 'A' | dd of="$file" bs=1 seek="$at" conv=notrunc 2>/dev/null
run 1 -c f.json verify
has out "7 good, 1 bad"
has err "damaged: DAMAGED: "
run 1 -c f.json --json verify
member damaged out bad 0 stream
member DAMAGED out bad 0 status
run 1 -c f.json load damaged --schema 1
empty out
run 1 -c f.json show damaged
has err "damaged"
has out "stream              damaged"
run 1 -c f.json --json show damaged
member DAMAGED out status

# rm.
run 0 -c f.json rm damaged
has out "removed 1 snapshot"
run 1 -c f.json rm damaged
has err "no snapshot of damaged"
run 1 -c f.json --json rm damaged
member 0 out removed
run 0 -c f.json rm --prefix from/
has out "removed 2 snapshots"
run 1 -c f.json rm --prefix from/
has err "no snapshot of a stream that begins with from/"
run 0 -c f.json --json rm --prefix o
member 2 out removed
run 0 -c f.json ls
is "$(awk 'NR > 1 { print $1 }' out | tr '\n' ' ')" "doc empty kinds "

# Another store of the same file, another value of an option.
printf '{"stores":{"x":{"plugin":"file","durability":"crash","options":{"dir":"f.d"}},
  "y":{"plugin":"file","durability":"crash","options":{"dir":"y.d"}}}}' >two.json
run 2 -c two.json ls
has err "default"
run 0 -c two.json -s x ls
is "$(wc -l <out)" 4
run 0 -c two.json -s y ls
is "$(wc -l <out)" 1
run 0 -c two.json -s y -o dir="$PWD/f.d" ls
is "$(wc -l <out)" 4
run 2 -c two.json -s y -o color=red ls
has err "color"

# describe: by name, by file, without a configuration; what is no plugin.
run 0 describe file
has out "name "
has out "option"
has out "  dir (path, required)"
run 0 --json describe file
member file out name
member path out option.dir.type
path=$(json out path)
run 0 describe "$path"
has out "$path"
ln -s "$path" near.so
run 0 describe ./near.so
run 0 describe near.so
run 0 describe noop
has out "none"
run 2 describe nosuch
has err "nosuch"
run 2 describe ./absent.so
has err "./absent.so: No such file or directory"
chmod 755 .
printf 'no plugin' >plain.so
run 2 describe ./plain.so
has err "plain.so"

# config: resolved, checked, refused.
run 0 -c f.json config
has out "stores.default.plugin "
has out "stores.default.options.dir "
has out "$PWD/f.d"
has out "stores.default.snapshot_every "
run 0 -c f.json --json config
member file out stores.default.plugin
member "$PWD/f.d" out stores.default.options.dir
run 0 -c two.json -s y --json config
lacks out "stores.x."
sed 's/"durability"/"durabillity"/' f.json >typo.json
run 2 -c typo.json config
has err "typo.json"
has err "did you mean 'durability'"
printf '{' >broken.json
run 2 -c broken.json config
has err "broken.json:1"
printf '{"plugin_dirs":["/p","/q"],"stores":{"d":{"plugin":"noop","durability":"none"}}}' >dirs.json
run 0 -c dirs.json --json config
member '["/p","/q"]' out plugin_dirs
run 0 -c dirs.json config
is "$(grep -c '^plugin_dirs ' out)" 2

# compact: what was replaced is in no file any more, and the command says what it freed.
file_store c 3
printf 'the-old-state' >old
printf 'the-new-state' >new
run 0 -c c.json save a --sequence 1 --schema 1 old
run 0 -c c.json save a --sequence 2 --schema 1 new
run 0 -c c.json save b --sequence 1 --schema 1 old
run 0 -c c.json rm b
run 0 -c c.json compact
has out "freed "
has out " are left"
is "$(cat c.d/*.seg | grep -c the-old-state)" 0
run 0 -c c.json load a --schema 1
same out new
run 1 -c c.json load b --schema 1
run 0 -c c.json --json compact
member 0 out freed
run 3 -c noop.json compact
has err "cannot compact"

# Beside a program that has the store open: commands that read, and no others.
mkfifo log
"$cli" -c c.json replay log >held 2>&1 &
holder=$!
exec 8>log
tries=0
until [ -s c.d/lock ] && "$cli" -c c.json -o lock_wait=0 rm nobody 2>&1 | grep -q "in use"; do
    tries=$((tries + 1))
    [ "$tries" -lt 600 ] || break
    sleep 0.1
done
run 3 -c c.json -o lock_wait=0 rm a
has err "in use by process $holder"
run 0 -c c.json ls
has out "a "
run 0 -c c.json load a --schema 1
same out new
run 0 -c c.json show a
run 0 -c c.json verify
has out "1 good, 0 bad"
run 0 -c c.json stats
exec 8>&-
wait "$holder"

# Colours only on a terminal, and not where NO_COLOR is set.
if command -v script >/dev/null; then
    export TERM=xterm
    script -qec "'$cli' -c f.json ls" /dev/null </dev/null >out 2>&1
    has out $'\033[1m'
    NO_COLOR=1 script -qec "'$cli' -c f.json ls" /dev/null </dev/null >out 2>&1
    lacks out $'\033'
    has out "STREAM"
fi
finish
