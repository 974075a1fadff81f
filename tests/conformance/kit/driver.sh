#!/bin/bash
# driver.sh KIT MUTANTS SOURCE PAGES - the program around the cases: what it says of crashes,
# time limits and what is left behind; its three reports; its options; and whether the
# manual page and PAGES/conformance.md say the same as the program.
set -uo pipefail
export LC_ALL=C.UTF-8

kit=$1 plugin=$2/mutant/mako-store-mutant.so
acme=$2/mutant_acme/mako-store-acme.so conf=$3/mutants/mutant.json pages=$4
work=$(mktemp -d "${TMPDIR:-/tmp}/mako-driver.XXXXXX") || exit 2
trap 'rm -rf "$work"' EXIT
mkdir "$work/tmp"
export TMPDIR=$work/tmp

bad=0 checked=0
wrong() {
    printf 'WRONG: %s\n' "$*"
    bad=$((bad + 1))
}
# run EXIT RULE ARG...: the output goes to $work/out and $work/err.
run() {
    local want=$1 rule=$2 got
    shift 2
    checked=$((checked + 1))
    MAKO_MUTANT=$rule "$kit" "$@" >"$work/out" 2>"$work/err"
    got=$?
    [ "$got" = "$want" ] ||
        wrong "exit status $got, not $want: $* ($rule): $(tail -n 5 "$work/out" "$work/err")"
}
# has FILE TEXT...: each text is in it.
has() {
    local file=$1 text
    shift
    for text; do
        checked=$((checked + 1))
        grep -qF -- "$text" "$work/$file" || wrong "not in $file: '$text': $(<"$work/$file")"
    done
}
one() { # EXIT RULE CASE ARG...
    local exit=$1 rule=$2 case=$3
    shift 3
    run "$exit" "$rule" --filter "$case" --plugin "$plugin" "$@" "$conf"
}

# ---- verdicts -------------------------------------------------------------------------

one 0 '' raw/metadata_is_kept
has out 'ok    raw/metadata_is_kept' '1 passed, 0 failed, 0 skipped'
one 1 arguments_are_kept raw/arguments_end_with_the_call
has out 'FAIL  raw/arguments_end_with_the_call' 'killed by SIGSEGV' '0 passed, 1 failed'
one 1 scan_holds_a_lock raw/no_lock_is_held_in_a_scan --timeout 2
has out 'still running after 2 seconds'
one 1 a_process_stays raw/metadata_is_kept
has out 'a process was left running'
one 1 a_file_stays raw/metadata_is_kept
has out "the file 'mutant.tmp' was left in the working directory"
one 1 a_temporary_file_stays raw/metadata_is_kept
has out "the file 'mutant.tmp' was left in the temporary directory"
one 1 umask_is_changed core/peek
has out 'after the case the umask was changed from'
one 1 descriptors_leak core/peek
has out 'descriptors were left open' '/dev/null'
sed 's/{ "stores"/{ "_conformance": {"faults": false}, "stores"/' "$conf" >"$work/no-faults.json"
run 0 '' --plugin "$plugin" --filter 'raw/without_*' "$work/no-faults.json"
has out 'skip  raw/without_descriptors  (' 'the configuration says no' '1 skipped'
one 0 '' raw/metadata_is_kept --in-process
has out '1 passed'
one 2 '' 'raw/*' --in-process
has err '--in-process is for one case, which --filter chooses'

# Told to end, it ends what it started first.
MAKO_MUTANT=scan_holds_a_lock "$kit" --filter raw/no_lock_is_held_in_a_scan --plugin "$plugin" \
    "$conf" >"$work/out" 2>&1 &
program=$!
for ((i = 0; i < 600; i++)); do
    compgen -G "$TMPDIR/*/data/store/*.snap" >/dev/null && break
    sleep 0.1
done
kill -TERM $program
checked=$((checked + 1))
wait $program
[ $? = 143 ] || wrong "ended by SIGTERM it does not say so: $(<"$work/out")"

# A parent that ignores the end of children must not spoil the verdicts.
checked=$((checked + 1))
(trap '' CHLD && "$kit" --filter raw/metadata_is_kept --plugin "$plugin" "$conf" >/dev/null) ||
    wrong "with SIGCHLD ignored the cases do not pass"
[ -z "$(ls -A "$TMPDIR")" ] || wrong "left in the temporary directory: $(ls -A "$TMPDIR")"

# What a crashed case printed is shown, and the processes of cases end with the program.
one 1 abi_is_2 'core/[pr]e*'
has out 'built for store ABI 2'

# ---- reports --------------------------------------------------------------------------

one 1 texts_have_markup 'raw/[uo]n*' --format tap --jobs 2
has out 'TAP version 14' 'not ok 3 - raw/unknown_record_flags_are_refused' 'ok 2 - ' \
    '  message: "save: there is a newline in the text '
plan=$(sed -n 's/^1\.\.//p' "$work/out")
[ "$plan" = "$(grep -cE '^(not )?ok ' "$work/out")" ] || wrong "the plan is $plan: $(<"$work/out")"
grep -E '^(not )?ok ' "$work/out" | cut -d' ' -f1-4 | grep -qE '^(not )?ok 1 ' ||
    wrong "no test is number 1"

one 1 texts_have_markup 'raw/*_flags_are_refused' --format junit --output "$work/xml"
has out 'FAIL  raw/unknown_record_flags_are_refused' '1 passed, 1 failed'
has xml 'tests="2" failures="1"' '&lt;b&gt; &amp; &quot;#&quot; ]]&gt; \x01\xff\&#10;' \
    'classname="mako.raw" name="unknown_record_flags_are_refused"'
grep -qP '[^\x09\x0a\x20-\x7e]' "$work/xml" && wrong "bytes that XML does not know: $(<"$work/xml")"
checked=$((checked + 1))
[ "$(grep -c '<testcase' "$work/xml")" = "$(grep -c '</testcase>' "$work/xml")" ] ||
    wrong "unbalanced: $(<"$work/xml")"
one 1 '' raw/metadata_is_kept --output /dev/full
has err 'the report cannot be written'

# ---- usage ----------------------------------------------------------------------------

printf '{"stores": {}}' >"$work/none.json"
printf '{"stores": {"test": {"plugin": "mutant", "options": {"dri": "x"}}}}' >"$work/key.json"
run 2 ''
has err 'a configuration file is needed'
run 2 '' "$work/missing.json"
has err 'missing.json' 'No such file'
run 2 '' "$work/none.json"
has err "there is no store 'test'"
run 2 '' --plugin "$work/none.so" "$conf"
has err 'none.so: no such file'
run 2 '' "$conf"
has err 'no mako-store-mutant.so in'
run 2 '' --plugin "$plugin" "$work/key.json"
has err 'dri' "did you mean 'dir'"
run 2 '' --filter 'no/such' "$conf"
has err 'there is no such case'
run 2 '' --level both "$conf"
run 2 '' --format xml "$conf"
run 2 '' --jobs 0 "$conf"
run 2 '' --timeout 1s "$conf"
run 2 '' --nonsense "$conf"
has err "no option '--nonsense'"
run 2 '' --plugin
run 0 '' --version
has out 'mako-conformance '

# ---- pages ----------------------------------------------------------------------------

same() { # WHAT ONE OTHER
    checked=$((checked + 1))
    local differ
    differ=$(diff <(sort -u <<<"$2") <(sort -u <<<"$3")) || wrong "$1:"$'\n'"$differ"
}
run 0 '' --help
same "options ('<' program, '>' manual page)" \
    "$(grep -oE '^  +(-[a-zA-Z], )? *--[a-z-]+( [A-Z]+)?' "$work/out" | tr -d ' ' | sort)" \
    "$(sed -n 's/^\(\*-[a-zA-Z]\*, \)\?\*--[a-z-]*\*.*/&/p' "$pages/man/mako-conformance.1.scd" |
        tr -d '* _' | sort)"
# The page's commands, on the page's configuration and a plugin of the page's name.  With
# fewer cases, for all of them run elsewhere.
block() { # LANGUAGE: all blocks of it
    awk -v want="\`\`\`$1" '$0 == want {on = 1; next} /^```$/ {on = 0} on' "$pages/conformance.md"
}
page() {
    mkdir "$work/page" && cd "$work/page" || return
    cp "$acme" . && block json >acme.json || return
    {
        echo 'set -e'
        block sh | sed '/^mako-conformance --plugin/s/$/ --filter "*peek*"/'
    } >page.sh
    PATH=${kit%/*}:$PATH bash page.sh >"$work/out" 2>&1
}
checked=$((checked + 1))
page || wrong "the commands of docs/conformance.md: $(tail -n 5 "$work/out")"
for file in acme.xml acme.tap; do
    [ -s "$work/page/$file" ] || wrong "they made no $file"
done

run 0 '' --list
# A pattern's backticks and dollar.
# shellcheck disable=SC2016
same "cases ('<' program, '>' docs/conformance.md)" "$(<"$work/out")" \
    "$(sed -n 's/^| `\(\(core\|raw\)\/[a-z0-9_]*\)` |.*/\1/p' "$pages/conformance.md")"

echo "$checked checked, $bad wrong"
[ "$bad" -eq 0 ] && [ "$checked" -gt 0 ]
