#!/bin/bash
# readme.sh SOURCE BUILD [update] - run the commands of examples/ledger/README.md as they
# stand, in one shell, and compare what they print with what the page shows.  With update
# the page is given what they print.  Needs jq.
set -uo pipefail
export LC_ALL=C.UTF-8

source=$(readlink -f "$1") build=$(readlink -f "$2") update=${3-}
page=$source/examples/ledger/README.md
work=$(mktemp -d "${TMPDIR:-/tmp}/mako-ledger.XXXXXX") || exit 2
trap 'rm -rf "$work"' EXIT
export TMPDIR=$work

# N.sh: a block of commands, with this build in the place of build/release, which is there.
# N.want: the block of output that follows, where one does.
awk -v at="$work/" -v build="$build" '
    /^```$/ && in_sh {in_sh = 0; next}
    /^```$/ && in_out {in_out = 0; next}
    /^```sh$/ {n++; in_sh = 1; printf "" >(at n ".sh"); next}
    /^```$/ {in_out = 1; printf "" >(at n ".want"); next}
    in_sh && /^\.\/dev build$/ {next}
    in_sh {gsub(/\$PWD\/build\/release/, build); print >(at n ".sh")}
    in_out {print >(at n ".want")}' "$page"

# What is another number each time.
steady() { sed -E 's/"ms":[0-9.e-]+/"ms":0/' "$1"; }

cd "$source" || exit 2
checked=0 wrong=0
for ((n = 1; ; n++)); do
    [ -e "$work/$n.sh" ] || break
    # shellcheck disable=SC1090
    . "$work/$n.sh" >"$work/$n.got" 2>&1
    [ -e "$work/$n.want" ] || : >"$work/$n.want"
    [ -z "$update" ] || continue
    checked=$((checked + 1))
    diff <(steady "$work/$n.want") <(steady "$work/$n.got") && continue
    echo "WRONG: block $n ('<' the page, '>' printed):"
    sed 's/^/    /' "$work/$n.sh"
    wrong=$((wrong + 1))
done

if [ -n "$update" ]; then
    awk -v at="$work/" '
        /^```$/ && in_sh {in_sh = 0; print; next}
        /^```$/ && in_out {in_out = 0; print; next}
        /^```sh$/ {n++; in_sh = 1}
        /^```$/ {in_out = 1; print; while ((getline line < (at n ".got")) > 0) print line; next}
        !in_out' "$page" >"$work/page" && cat "$work/page" >"$page"
    exit
fi
echo "$checked blocks, $wrong wrong"
[ "$wrong" = 0 ] && [ "$checked" -gt 10 ]
