#!/bin/bash
# Completion in bash: what is offered at each place of a line.  Needs MAKO_COMPLETION, the
# script.  What it offers must be what --help says, for every command.
# shellcheck disable=SC1090,SC1091,SC2154
. "${0%/*}/lib.sh"
. "$MAKO_COMPLETION"
declare COMP_CWORD COMP_WORDS COMPREPLY

# offers LINE [PROGRAM]: what is offered at the end of the line, one a line, in file out.
# The line is cut into words as readline does, also at "=".
offers() {
    local line=$1 handler
    handler=$(complete -p "${2:-mako-snapshot}" | sed 's/.*-F \([^ ]*\).*/\1/')
    checks=$((checks + 1))
    eval "COMP_WORDS=(${line//=/ = })"
    [[ $line == *[\ =] ]] && [[ $line != *= ]] && COMP_WORDS+=("")
    COMP_WORDS[0]=${MAKO_PROGRAM:-$cli}
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    COMPREPLY=()
    "$handler" "${COMP_WORDS[0]}" "${COMP_WORDS[COMP_CWORD]}" \
        "${COMP_WORDS[COMP_CWORD - 1]}" 2>err
    printf '%s\n' "${COMPREPLY[@]}" | sort >out
    empty err
}
said() { sort out | tr '\n' ' '; }

# Commands and options are those of --help.
listed() { sed -nE '/^Commands:/,/^$/s/^  ([a-z]+) .*/\1/p' "$1" | sort; }
spelled() { # without the descriptions
    sed -nE 's/^  (-.|  )(,| ) (--[a-z]+).*/\1\n\3/p' "$1" | grep '^-' | sort
}
"$cli" --help >help
offers "mako-snapshot "
same out <(listed help)
is "$(grep -c . out)" 11
offers "mako-snapshot -"
same out <(spelled help)
while read -r command; do
    "$cli" "$command" --help >help
    offers "mako-snapshot $command -"
    same out <(spelled help)
    offers "mako-snapshot --json $command --c"
    is "$(said)" "--config "
done < <(listed help)
"$cli" save --help >help
offers "mako-snapshot save --s"
is "$(said)" "--schema --sequence --store "
offers "mako-snapshot re"
is "$(said)" "replay "
offers "mako-snapshot replay re"
is "$(said)" " "
offers "mako-snapshot nonsense -"
is "$(said)" " "

# Stores of the configuration file that the line names, wherever it names it.
cat >stores.json <<'JSON'
{ "plugin_dirs": ["plugins", "/nowhere", "${HOME}/x"], "_x": {"stores": {"no": 1}},
  "stores": {
    "orders": {"plugin": "away", "options": {"stores": "a } ] \" : b"}},
    "other one": {"plugin": "noop", "schema": {"min": 1, "max": 2}},
    "$(touch ran)": {"plugin": "noop"} } }
JSON
cp stores.json "its name.json"
for line in "-c stores.json ls -s " "ls --config=stores.json --store=" \
    "ls -s x --config stores.json -s " "ls -c 'its name.json' --store " \
    "ls -c $work/stores.json --json -s "; do
    offers "mako-snapshot $line"
    is "$(said)" '\$\(touch\ ran\) orders other\ one '
done
offers "mako-snapshot -c stores.json ls -s or"
is "$(said)" "orders "
offers "mako-snapshot -c absent.json ls -s "
is "$(said)" " "
export MAKO_SNAPSHOT_CONFIG=stores.json
offers "mako-snapshot ls -s ord"
is "$(said)" "orders "
unset MAKO_SNAPSHOT_CONFIG
HOME=$work offers "mako-snapshot -c ~/stores.json stats -s oth"
is "$(said)" 'other\ one '
[ ! -e ran ] || fail "the name of a store was run"

# Plugins: of the configuration, the environment, and those beside the program.
mkdir plugins more
: >plugins/mako-store-acme.so
: >more/mako-store-noop-2.so
offers "mako-snapshot describe "
has out noop
has out file
lacks out acme
MAKO_PLUGIN_PATH=/nowhere:$work/more offers "mako-snapshot -c stores.json describe "
has out acme
has out noop-2
has out memory
offers "mako-snapshot describe ./plu"
is "$(said)" "./plugins "

# Files where files stand, and nothing where nobody can know.
offers "mako-snapshot -c sto"
is "$(said)" "stores.json "
offers "mako-snapshot replay --output=its"
is "$(said)" "its name.json "
offers "mako-snapshot replay sto"
is "$(said)" "stores.json "
offers "mako-snapshot save a/b sto"
is "$(said)" "stores.json "
for line in "save sto" "load sto" "save a b sto" "save --schema sto" "-o sto" "ls sto"; do
    offers "mako-snapshot $line"
    is "$(said)" " "
done

# The same function completes mako-conformance.
[ -n "${MAKO_CONFORMANCE-}" ] || finish
MAKO_PROGRAM=$MAKO_CONFORMANCE
"$MAKO_CONFORMANCE" --help >help
offers "mako-conformance --" mako-conformance
same out <(grep -oE '^ +(-., +)?--[a-z-]+' help | grep -oE -e '--[a-z-]+' | sort)
for option in plugin format output level filter list timeout jobs in-process; do
    has out "--$option"
done
offers "mako-conformance --format " mako-conformance
is "$(said)" "human junit tap "
offers "mako-conformance -f t" mako-conformance
is "$(said)" "tap "
offers "mako-conformance --timeout " mako-conformance
is "$(said)" " "
offers "mako-conformance --level " mako-conformance
is "$(said)" "core raw "
offers "mako-conformance --jobs 2 --plugin x sto" mako-conformance
is "$(said)" "stores.json "
finish
