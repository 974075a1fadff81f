# What the tests of the installed tree and of the packages share.  Sourced.
#
# Each check is one line, "ok - WHAT" or "not ok - WHAT" with what was said; finish prints
# the sum as ./dev reads it.
# shellcheck shell=bash

passed=0 failed=0

ok() {
    passed=$((passed + 1))
    printf 'ok - %s\n' "$*"
}
not_ok() { # WHAT [TEXT]
    failed=$((failed + 1))
    printf 'not ok - %s\n' "$1"
    printf '%s\n' "${2-}" | tail -n 40 | sed 's/^/    /'
}

# check WHAT COMMAND...: it succeeds.  refuse WHAT COMMAND...: it does not.
check() {
    local what=$1 said
    shift
    if said=$("$@" 2>&1 </dev/null); then ok "$what"; else not_ok "$what" "$said"; fi
}
refuse() {
    local what=$1 said
    shift
    if said=$("$@" 2>&1 </dev/null); then not_ok "$what" "$said"; else ok "$what"; fi
}
# same WHAT WANTED FOUND
same() {
    if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1" "wanted: $2"$'\n'"found:  $3"; fi
}
# says WHAT PATTERN COMMAND...: it succeeds, and its output has a line like that.
says() {
    local what=$1 pattern=$2 said
    shift 2
    if said=$("$@" 2>&1 </dev/null) && grep -qE -- "$pattern" <<<"$said"; then
        ok "$what"
    else
        not_ok "$what" "no '$pattern' in: $said"
    fi
}

# A store in files below the current directory, in conf.json.
file_store() {
    cat >conf.json <<'JSON'
{ "stores": { "default": { "plugin": "file", "durability": "crash",
                           "options": {"dir": "store.d"} } } }
JSON
}

# round_trip PROGRAM: the command-line program on a store of its own: all that is saved is
# there, whole, and gone once it is removed.
round_trip() {
    printf 'a state' >state &&
        "$1" -c conf.json save order/7 --sequence 7 --schema 2 state &&
        [ "$("$1" -c conf.json load order/7 --schema 2)" = 'a state' ] &&
        "$1" -c conf.json ls | grep -q 'order/7' &&
        "$1" -c conf.json verify &&
        "$1" -c conf.json rm order/7 &&
        ! "$1" -c conf.json load order/7 --schema 2
}

# The sum of a project's own tests: ctest's lines, one check each.
count_ctest() { # PROJECT OUTPUT
    local line status
    while read -r line; do
        case $line in
        *" Passed "*) ok "$1: ${line%% *}" ;;
        *"***Skipped"*) printf 'ok - %s: %s # SKIP\n' "$1" "${line%% *}" ;;
        *) not_ok "$1: $line" ;;
        esac
    done < <(sed -nE 's/^ *[0-9]+\/[0-9]+ Test +#[0-9]+: //p' "$2")
    status=$(sed -nE 's/.* tests failed out of ([0-9]+)$/\1/p' "$2")
    [ "${status:-0}" -gt 0 ] || not_ok "$1: tests ran" "$(cat "$2")"
}

finish() {
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
    exit
}
