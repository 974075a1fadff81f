#!/bin/bash
# run-mutants.sh KIT MUTANTS SOURCE - whether each case of the kit can fail.
#
# SOURCE/mutants.table has a line for each rule that a plugin may break: the rule, the
# time for a case, and the cases that must then fail.  Every case of the kit must be in
# that table: a case that no plugin can fail proves nothing.
set -uo pipefail
export LC_ALL=C.UTF-8

kit=$1 mutants=$2 source=$3
work=$(mktemp -d "${TMPDIR:-/tmp}/mako-mutants.XXXXXX") || exit 2
trap 'rm -rf "$work"' EXIT

bad=0 checked=0
wrong() {
    printf 'WRONG: %s\n' "$*"
    bad=$((bad + 1))
}

# The table's lines without comments.
table() { sed -e 's/#.*//' -e '/^ *$/d' "$source/mutants.table"; }

# plugin_of RULE: two rules are broken when the plugin is linked.
plugin_of() {
    case $1 in
    exports_more | needs_library) echo "$mutants/mutant_$1/mako-store-mutant.so" ;;
    *) echo "$mutants/mutant/mako-store-mutant.so" ;;
    esac
}

# fails RULE SECONDS CASE...: with that rule broken, each of the cases fails.  What only
# shows when two threads or processes meet gets five tries to meet.
fails() {
    local rule=$1 seconds=$2 case try filters=() tried=()
    shift 2
    checked=$((checked + $#))
    for try in 1 2 3 4 5; do
        tried=("$@") filters=()
        set --
        for case in "${tried[@]}"; do filters+=(--filter "$case"); done
        MAKO_MUTANT=$rule "$kit" --format tap --jobs 2 --timeout "$seconds" "${filters[@]}" \
            --plugin "$(plugin_of "$rule")" "$source/mutant.json" >"$work/report" 2>&1
        for case in "${tried[@]}"; do
            grep -qE "^not ok [0-9]+ - $case\$|^ok [0-9]+ - $case # SKIP .*cannot be mounted" \
                "$work/report" || set -- "$@" "$case"
        done
        [ $# -gt 0 ] || return 0
    done
    for case; do
        wrong "$rule: $case does not fail, $try times:"$'\n'"$(tail -n 5 "$work/report")"
    done
}

while read -r line; do
    # words are what is wanted
    # shellcheck disable=SC2086
    fails $line
done < <(table)

# Every case is in the table, and what is in the table is a case.
"$kit" --list | sort >"$work/all"
table | awk '{ for (i = 3; i <= NF; i++) print $i }' | sort -u >"$work/known"
while read -r case; do
    wrong "no mutant breaks $case"
done < <(comm -23 "$work/all" "$work/known")
while read -r case; do
    wrong "there is no case $case"
done < <(comm -13 "$work/all" "$work/known")

# A rule that no mutant breaks, or a mutant that nobody runs.
comm -3 <(table | awk '{ print $1 }' | sort -u) \
    <({ grep -o 'broken("[a-z_0-9]*")' "$source/mutant.c" | cut -d'"' -f2
        printf 'exports_more\nneeds_library\n'; } | sort -u) >"$work/rules"
[ ! -s "$work/rules" ] || wrong "rules of mutant.c and mutants.table:"$'\n'"$(<"$work/rules")"

echo "$checked checked, $bad wrong"
[ "$bad" -eq 0 ] && [ "$checked" -gt 0 ]
