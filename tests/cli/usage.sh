#!/bin/bash
# The command line itself: help, version, usage errors, the manual page in step with
# --help.  Needs MAKO_MAN, the manual page's source.
# shellcheck disable=SC1091,SC2154
. "${0%/*}/lib.sh"
commands="replay save load show ls rm verify describe config stats"
noop_store noop

run 0 --help
has out "Usage: mako-snapshot [OPTION]... COMMAND"
has out "Exit codes: 0 done; 1 nothing usable there; 2 usage or configuration;"
for command in $commands; do has out "  $command "; done
empty err
run 0 -h
run 0 --version
is "$(sed -E 's/[0-9]+\.[0-9]+\.[0-9]+/N/' out)" "mako-snapshot N"
for command in $commands; do
    run 0 "$command" --help
    has out "Usage: mako-snapshot $command "
    empty err
    run 0 "$command" -h
done

# Options of a command: rows of the help, and items of the manual page.
rows() { sed -nE 's/^  (-., |    )(--[a-z]+).*/\2/p' out | sort; }
items() { # of the section whose heading is $1
    awk -v want="$1" '/^#/ { on = index($0 " ", want " ") == 1 } on' "$MAKO_MAN" |
        sed -nE 's/^(\*-.\*, )?\*(--[a-z]+)\*.*/\2/p' | sort
}
common=$(items "# COMMON OPTIONS")
run 0 --help
is "$(rows)" "$common"
has <(printf '%s\n' "$common") "--store"
for command in $commands; do
    run 0 "$command" --help
    is "$(rows | grep -vxF -e "$common")" "$(items "## $command")"
    grep -qE "^\*mako-snapshot\* $command( |\+|$)" "$MAKO_MAN" ||
        fail "$command is not in the synopsis"
done
run 0 save --help
is "$(rows | grep -c -e sequence -e anchor -e force)" 3
has out "(required)"

# What is wrong is said, with the way to the help.
run 2
has err "a command is needed (see mako-snapshot --help)"
run 2 frobnicate
has err "unknown command 'frobnicate' (see mako-snapshot --help)"
run 2 --frob ls
has err "unknown or ambiguous option '--frob' (see mako-snapshot --help)"
run 2 -c noop.json ls --frob
has err "ls: unknown or ambiguous option '--frob' (see mako-snapshot ls --help)"
run 2 ls -x
has err "ls: unknown option '-x'"
run 2 ls -c
has err "ls: --config needs a value: FILE"
run 2 ls --json=yes
has err "ls: --json takes no value"
run 2 -c noop.json ls a b
has err "ls: 'b' is one operand too many"
run 2 -c noop.json show
has err "show: an operand is missing: STREAM"
run 2 -c noop.json save s --schema 1
has err "save: --sequence N is needed"
run 2 -c noop.json save s --sequence 1
has err "save: --schema V is needed"
for number in 0 -1 x 1x 18446744073709551616 9223372036854775808 ""; do
    run 2 -c noop.json save s --schema 1 --sequence "$number"
    has err "save: --sequence: '$number' is no number from 1 to 9223372036854775807"
done
run 2 -c noop.json save s --sequence 1 --schema 4294967296
has err "is no number from 1 to 4294967295"
for range in 0 0-1 3-2 1- -2 1-2-3 x; do
    run 2 -c noop.json load s --schema "$range"
    has err "load: --schema: '$range' is no version (3) or range of them (3-5)"
done
run 2 -c noop.json replay --schema 0 x
has err "replay: --schema: '0' is no number"
for word in novalue =x; do
    run 2 -c noop.json -o "$word" ls
    has err "--option: '$word' is not KEY=VALUE"
done
run 2 -c noop.json rm
has err "rm: either STREAM or --prefix P is needed"
run 2 -c noop.json rm s --prefix t
has err "rm: either STREAM or --prefix P is needed"
run 2 -c noop.json rm --prefix ""
has err "rm: --prefix: an empty one would remove everything"
run 2 -c noop.json load s
has err "schema"

# Where the configuration comes from.
run 2 ls
has err "no configuration: say -c FILE, or set MAKO_SNAPSHOT_CONFIG"
run 2 -c absent.json ls
has err "absent.json: No such file or directory"
export MAKO_SNAPSHOT_CONFIG=noop.json
run 0 ls
unset MAKO_SNAPSHOT_CONFIG
run 0 ls -c noop.json
run 0 -c absent.json ls -c noop.json
run 2 -c noop.json -s other ls
has err "other"

# Standard output that takes nothing.
if [ -c /dev/full ]; then
    "$cli" --help >/dev/full 2>err
    is $? 2
    has err "cannot write standard output"
fi
finish
