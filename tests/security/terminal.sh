#!/bin/bash
# terminal.sh - what the tool shows of names that would do something to a terminal, and of
# texts with them.
# shellcheck source=tests/cli/lib.sh
. "${0%/*}/../cli/lib.sh"

# An escape, a line break, DEL, C1's CSI, and a letter that is none of these.
evil=$'a\033[31m\n\x7f\u009b2Jé'
shown='a\x1b[31m\x0a\x7f\xc2\x9b2Jé'

# harmless FILE: no control character but the line break.
harmless() {
    checks=$((checks + 1))
    ! LC_ALL=C tr -d '\n' <"$1" | LC_ALL=C grep -qaP '[\x00-\x1f\x7f]|\xc2[\x80-\x9f]' ||
        fail "control characters in $1"
}
# shows CODE FILE ARGUMENT...: leaves so, shows the id escaped, and nothing that works.
shows() {
    run "$1" "${@:3}"
    has "$2" "$shown"
    harmless out
    harmless err
}
file_store f 3
echo x >state
shows 0 out -c f.json save "$evil" --sequence 5 --schema 1 state
shows 0 out -c f.json ls
shows 0 out -c f.json show "$evil"
shows 1 err -c f.json save "$evil" --sequence 4 --schema 1 state
shows 1 err -c f.json load "$evil" --schema 2
shows 1 err -c f.json show "$evil-not-there"

# refused ARGUMENT...: says no, in words that do nothing.
refused() {
    checks=$((checks + 1))
    "$cli" "$@" >out 2>err </dev/null && fail "not refused"
    [ -s err ] || fail "nothing was said"
    harmless out
    harmless err
}
refused "$evil"
refused "--$evil"
refused ls "--$evil"
refused -c "$evil" ls
refused -c f.json -s "$evil" ls
refused -c f.json -o "$evil=1" ls
refused -c f.json -o "dir=$evil/x" ls
refused describe "$evil"
refused describe "/$evil"
printf '{"%s": 1}' "$evil" >key.json
refused -c key.json ls
printf '{"stores": {"a\\n\\u001b\\u009b": {"plugin": "../x\\n\\u009b"}}}' >name.json
refused -c name.json ls
has err 'neither a name'
printf '{"stream": "a\\u009b\\u001b", "sequence": 7, "type": "x\\u009b", "time": "", "data": {}}' >gap.jsonl
refused -c f.json replay gap.jsonl

# A document is JSON, which escapes no C1: on a terminal it is ASCII.  DEL does nothing
# there, and stays.
run 0 -c f.json ls --json
is "$(json out 0 stream)" "$evil"
if command -v script >/dev/null; then
    for words in "ls --json" "show '$evil' --json"; do
        TERM=xterm script -qec "'$cli' -c f.json $words" /dev/null </dev/null |
            tr -d '\r\177' >out 2>err
        has out '\u009B'
        harmless out
    done
else
    echo "NOT TRIED: documents on a terminal; there is no script(1)"
fi
finish
