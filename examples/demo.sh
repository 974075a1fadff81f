#!/bin/bash
# demo.sh BUILD [redis] - six short scenes with examples/account.c and the file store, or
# with Redis at $MAKO_TEST_REDIS.  After each the account's state is compared, by its hash,
# with a fold of the whole log without snapshots; the first difference ends the tour with
# status 1.
set -uo pipefail
export LC_ALL=C.UTF-8

bin=$(cd "${1:-build/release}/bin" && pwd) || exit 2
work=$(mktemp -d "${TMPDIR:-/tmp}/mako-demo.XXXXXX") || exit 2
child=
finish() {
    [ -z "$child" ] || kill -9 "$child" 2>/dev/null
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP
cd "$work" || exit 2

bold='' plain=''
[ ! -t 1 ] || { bold=$'\033[1m' plain=$'\033[0m'; }

scene() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
note() { printf '   %s\n' "$*"; }
fail() {
    printf '\ndemo: %s\n' "$*" >&2
    exit 1
}

# account ARG...: examples/account.c; its line goes to $line.
schema=1
account() {
    line=$("$bin/account" --schema $schema "$@" 2>>warnings) || {
        cat warnings >&2
        fail "account $* failed"
    }
}
# field NAME [LINE]: a value out of such a line.
field() { sed -n "s/.*\b$1=\([^ ]*\).*/\1/p" <<<"${2:-$line}" | tail -n 1; }

# fastest: of several lines in $line, the one with the lowest ms.
fastest() { awk -F'[ =]' '{for (i = 1; i < NF; i++) if ($i == "ms") print $(i + 1), $0}' \
    <<<"$line" | sort -n | head -n 1; }

# expect FIELD VALUE: what the scene is about must really have happened.
expect() {
    [ "$(field "$1")" = "$2" ] || fail "expected $1=$2 in: $line"
}

# agree: the state in $line against a fold without snapshots.
agree() {
    local seen=$line
    account - bank.db show alice
    printf '   state %s, fold without snapshots %s: ' "$(field state "$seen")" "$(field state)"
    if [ "$(field state "$seen")$(field balance "$seen")$(field seq "$seen")" != \
        "$(field state)$(field balance)$(field seq)" ]; then
        echo "DIFFERENT"
        fail "with snapshots: $seen
      without:        $line"
    fi
    echo "equal"
    line=$seen
}

# A digit of the newest snapshot's balance, made another one behind the store's back.
flip_in_file() {
    local newest at digit
    newest=$(grep -alr '"balance"' snapshots | sort | tail -n 1)
    [ -n "$newest" ] || fail "no snapshot in the store's files"
    at=$(grep -abo '"balance"' "$newest" | tail -n 1 | cut -d: -f1)
    at=$((at + 10)) # behind "balance":
    digit=$(tail -c +$((at + 1)) "$newest" | head -c 1)
    [[ $digit == [0-9] ]] || fail "found no digit to change at byte $at of $newest"
    printf '%d' $(((digit + 1) % 10)) |
        dd of="$newest" bs=1 seek="$at" conv=notrunc status=none || fail "could not write"
    note "byte $at of $newest: '$digit' made a '$(((digit + 1) % 10))', inside the balance"
}

flip_in_redis() {
    local key at digit ask=(redis-cli -p "${MAKO_TEST_REDIS##*:}")
    key=$("${ask[@]}" --scan --pattern 'snap:*' | head -n 1)
    at=$("${ask[@]}" get "$key" | grep -abo '"balance"' | head -n 1 | cut -d: -f1)
    [ -n "$at" ] || fail "no snapshot at the server"
    at=$((at + 10))
    digit=$("${ask[@]}" getrange "$key" $at $at)
    [[ $digit == [0-9] ]] || fail "found no digit to change at byte $at of $key"
    "${ask[@]}" setrange "$key" $at $(((digit + 1) % 10)) >>warnings || fail "could not write"
    note "byte $at of $key: '$digit' made a '$(((digit + 1) % 10))', inside the balance"
}

backend=${2:-file}
case $backend in
file) options='"dir": "snapshots"' ;;
redis) options="\"endpoints\": \"${MAKO_TEST_REDIS:?is to say where the server is}\"" ;;
*) fail "no demo of '$backend'" ;;
esac
cat >mako.json <<JSON
{ "stores": { "accounts": {
    "plugin": "$backend", "durability": "power", "options": {$options},
    "snapshot_every": 100 } } }
JSON

echo "A bank account as a stream of events in a SQLite table; snapshots kept by a plugin."
echo "The configuration:"
sed 's/^/   /' mako.json

scene "1. An account with 100 000 events, one deposit"
account - bank.db fill alice 100000
account - bank.db deposit alice 1000 3
full=$(fastest)
account mako.json bank.db deposit alice 1000 # finds none, and leaves a snapshot behind
expect snapshot NOT_FOUND
account mako.json bank.db deposit alice 1000 3
expect snapshot OK
quick=$(fastest)
printf '   state rebuilt by full replay: %s ms, %s events | from the snapshot: %s ms, %s events\n' \
    "$(field ready "$full")" "$(field folded "$full")" \
    "$(field ready "$quick")" "$(field folded "$quick")"
note "the whole deposit, flushed to the log: $(field ms "$full") ms | $(field ms "$quick") ms"
agree

scene "2. kill -9 in mid-run, three times; start again, same balance"
for pause in 0.3 0.2 0.4; do
    "$bin/account" mako.json bank.db run alice 100 >acknowledged 2>>warnings &
    child=$!
    sleep $pause
    for _ in {1..200}; do # on a slow machine: let it get somewhere
        [ ! -s acknowledged ] || break
        sleep 0.1
    done
    kill -9 $child
    wait $child 2>/dev/null
    child=
    last=$(sed -n '/./p' acknowledged | tail -n 1)
    [ -n "$last" ] || fail "no deposit was made before the kill"
    account mako.json bank.db show alice
    [ "$(field seq)" -ge "$last" ] || fail "event $last was acknowledged and is gone: $line"
    note "killed after deposit $last; back with $(field seq) events," \
        "$(field folded) of them folded: balance $(field balance)"
    agree
done

scene "3. A byte of the store flipped"
account mako.json bank.db deposit alice 100 100 # so that a fresh snapshot is there
account mako.json bank.db show alice
expect snapshot OK
"flip_in_$backend"
account mako.json bank.db show alice
expect snapshot DAMAGED
expect spared 0
note "next start: $(field snapshot), never used; replayed, $(field folded) events in $(field ms) ms"
[ ! -s warnings ] || note "it said: $(tail -n 1 warnings)"
agree
account mako.json bank.db deposit alice 100
account mako.json bank.db show alice
expect snapshot OK
note "one deposit later it is healed: snapshot $(field snapshot), $(field folded) folded"
agree

scene "4. The log cut back, as by a restored backup, and grown again differently"
snapshot_at=$(field spared)
others=$((snapshot_at - 90000 + 5000)) # the new log goes beyond the snapshot
account - bank.db cut alice 90000
account - bank.db fill alice "$others"
note "cut to event 90000, then $others others appended; the snapshot was of event $snapshot_at"
account mako.json bank.db show alice
expect snapshot DIVERGED
expect spared 0
note "next start: $(field snapshot), its event is not in this log; replayed, $(field folded) events"
agree
account mako.json bank.db deposit alice 100
account mako.json bank.db show alice
expect snapshot OK
note "one deposit later: snapshot $(field snapshot), $(field folded) folded"
agree

scene "5. The layout of the state changes: schema 1 -> 2, then -> 3"
schema=2
account mako.json bank.db show alice
expect snapshot OK
note "program 2 also reads layout 1, and upgrades it: snapshot $(field snapshot), $(field folded) folded"
agree
account mako.json bank.db deposit alice 100 100
schema=1
account mako.json bank.db show alice
expect snapshot SCHEMA_NEWER
note "program 1, still running somewhere: $(field snapshot), replayed, $(field folded) events"
agree
schema=3
account mako.json bank.db show alice
expect snapshot SCHEMA_OLDER
note "program 3 needs what older states do not have: $(field snapshot), replayed, $(field folded) events"
agree
account mako.json bank.db deposit alice 100
account mako.json bank.db show alice
expect snapshot OK
note "one deposit later: snapshot $(field snapshot), $(field folded) folded"
agree

scene "6. One line of the configuration changed: another backend, the same binary"
cp mako.json before.json
sed -i 's/"plugin": .*/"plugin": "memory", "durability": "memory",/' mako.json
diff before.json mako.json | sed -n 's/^\([<>]\)/   \1/p'
account mako.json bank.db deposit alice 100 2
note "first command of the process: $(field folded "$(head -n 1 <<<"$line")") events folded;" \
    "the next, from memory: $(field folded)"
expect snapshot OK
agree

cat <<'TEXT'

That was all of it: whatever happens to the snapshots, the states come out right; with
good ones they come out sooner.  What to do next:
   less examples/account.c                    the program you just saw; copy from it
   build/release/bin/mako-snapshot --help     look into a store or an event log
   less README.md docs/configuration.md       use it; choose a backend
   less docs/writing-a-plugin.md              write a backend of your own
   ./dev test                                 run every test
TEXT
