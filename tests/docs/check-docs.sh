#!/bin/bash
# check-docs.sh PART SOURCE BUILD [PREFIX LIBDIR MANDIR] - whether the documentation agrees with the program.
# PART is one of the functions below.  What the pages tell to do is tried by run-page.
set -uo pipefail
export LC_ALL=C.UTF-8

part=$1 source=$(cd "$2" && pwd) build=$(cd "$3" && pwd) tests=$source/tests/docs
prefix=${4-} libdir=${5-} mandir=${6-}
tool=$build/bin/mako-snapshot
plugins=$build/lib/mako-snapshot
schema=$source/conf/mako-snapshot.schema.json
work=$(mktemp -d "${TMPDIR:-/tmp}/mako-docs.XXXXXX") || exit 2
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 2

bad=0 checked=0
wrong() {
    printf 'WRONG: %s\n' "$*"
    bad=$((bad + 1))
}
# same WHAT ONE OTHER: two lists of words, one a line, must be equal.
same() {
    checked=$((checked + 1))
    local differ
    differ=$(diff <(sort -u <<<"$2") <(sort -u <<<"$3")) || wrong "$1:"$'\n'"$differ"
}
# must WHAT COMMAND...: the command succeeds.
must() {
    local what=$1 log
    shift
    checked=$((checked + 1))
    log=$("$@" 2>&1) || wrong "$what: $log"
}
# block LANGUAGE FILE: the first such block of a page.
block() {
    awk -v want="\`\`\`$1" '$0 == want {on = 1; next} /^```$/ && on {exit} on' "$2"
}
# column FILE HEADING: the names in the first column of the tables below a heading.
column() {
    awk -F'|' -v heading="$2" '/^#/ {on = $0 == heading}
        on && /^\| *`/ {gsub(/[` ]/, "", $2); print $2}' "$1"
}

# Every option of every plugin, and no other, is in the plugin's page with its default, and
# in the JSON Schema with its type, limits and default.
options() {
    local file name page
    for file in "$plugins"/mako-store-*.so; do
        name=${file##*/mako-store-} name=${name%.so} page=$source/plugins/$name/README.md
        [ -s "$page" ] || { wrong "plugins/$name/README.md is missing"; continue; }
        must "describe $name" "$tool" describe "$name" --json
        same "options of $name ('<' program, '>' page)" \
            "$("$tool" describe "$name" --json |
                jq -r 'keys[] | capture("^option\\.(?<name>[^.]+)\\.") | .name')" \
            "$(column "$page" '## Options')"
        same "defaults of $name ('<' program, '>' page)" \
            "$("$tool" describe "$name" --json | defaults)" \
            "$(awk -F'|' '/^#/ {on = $0 == "## Options"} on && /^\| *`/ {gsub(/[` ]/, ""); print $2, $3}' "$page")"
        same "options of $name ('<' program, '>' JSON Schema)" \
            "$("$tool" describe "$name" --json | jq -S -f "$tests/options.jq")" \
            "$(jq -S --arg name "options-$name" '."$defs"[$name]' "$schema")"
        # shellcheck disable=SC2016 # jq's
        must "the JSON Schema uses options-$name" jq -e --arg name "$name" '
            any(."$defs".store.allOf[]; .if.properties.plugin.const == $name and
                .then.properties.options."$ref" == "#/$defs/options-" + $name)' "$schema"
    done
}

# "NAME DEFAULT" of each option that a plugin describes, as its page has it.
defaults() {
    jq -r 'reduce (to_entries[] | select(.key | startswith("option.")) |
            {name: (.key / ".")[1], field: (.key / ".")[2], value}) as $one
            ({}; .[$one.name][$one.field] = $one.value)
        | to_entries[]
        | .key + " " + (if .value.required then "required" else .value.default // "none" end)'
}

# The tables of what the plugins promise say what they declare, and every status is told.
promises() {
    local file name
    same "statuses ('<' header, '>' guarantees.md)" \
        "$(sed -n '/^enum mako_status/,/^}/s/^ *MAKO_\([A-Z_]*\) = .*/\1/p' "$source/core/include/mako/types.h")" \
        "$(awk -F'|' '/^#/ {on = /^## Statuses/} on && /^\| [A-Z_]+ \|/ {gsub(/ /, ""); print $2}' "$source/docs/guarantees.md")"
    same "statuses ('<' header, '>' mako-snapshot.3)" \
        "$(sed -n '/^enum mako_status/,/^}/s/^ *\(MAKO_[A-Z_]*\) = .*/\1/p' "$source/core/include/mako/types.h")" \
        "$(awk '/^# / {on = $0 == "# STATUSES"} on && /^\*MAKO_[A-Z_]*\*$/' "$source/docs/man/mako-snapshot.3.scd" | tr -d '*')"
    for file in "$plugins"/mako-store-*.so; do
        name=${file##*/mako-store-} name=${name%.so}
        same "promises of $name ('<' program, '>' guarantees.md)" \
            "$("$tool" describe "$name" --json | jq -r 'def word: if . == "true" then "yes" else "no" end;
                [.durability, .threads, (."feature.shared", ."feature.if_newer", ."has.scan",
                 ."has.compact" | word)] | join(" ")')" \
            "$(awk -F'|' -v name="$name" '{gsub(/[` ]/, "")} NF == 9 && $2 == name {print $3, $4, $5, $6, $7, $8}' \
                "$source/docs/guarantees.md")"
        same "durability of $name ('<' program, '>' README.md)" \
            "$("$tool" describe "$name" --json | jq -r .durability)" \
            "$(awk -F'|' -v name="$name" '$2 ~ "`" name "`" {gsub(/[` ]/, "", $4); print $4}' "$source/README.md")"
    done
}

# The schema, the page, the manual page and the program know the same keys.
keys() {
    local page=$source/docs/configuration.md manual=$source/docs/man/mako-snapshot.5.scd
    local key store top
    store=$(jq -r '."$defs".store.properties | keys[] | select(startswith("$") | not)' "$schema")
    top=$(jq -r '.properties | keys[] | select(startswith("$") | not)' "$schema")
    same "keys of a store ('<' schema, '>' page)" "$store" "$(column "$page" '## A store')"
    same "keys at the top ('<' schema, '>' page)" "$top" "$(column "$page" '## Top level')"
    same "defaults of a store ('<' schema, '>' page)" \
        "$(jq -r '."$defs".store.properties | to_entries[] | select(.value | has("default")) |
            .key + " " + (.value.default | tojson)' "$schema")" \
        "$(awk -F'|' '/^#/ {on = $0 == "## A store"} on && /^\| *`/ && $3 ~ /`/ && $2 !~ /options/ {
            gsub(/[` ]/, ""); print $2, $3}' "$page")"
    for key in $store $top min max; do
        must "the manual page on '$key'" grep -qw -- "$key" <(tr -d '\134' <"$manual")
        must "the page on '$key'" grep -qF -- "\`$key\`" "$page"
    done
    jq '{plugin_dirs: [], stores: {default:
          ((."$defs".store.properties | map_values(.default | select(. != null)))
          + {plugin: "noop", durability: "none", options: {}, schema: {min: 1, max: 2}})}}' \
        "$schema" >every-key.json
    same "keys tried ('<' schema, '>' tried)" "$store" \
        "$(jq -r '.stores.default | keys[]' every-key.json)"
    must "a file with every key" "$tool" -c every-key.json config
    # Options are shown one by one, and where the plugin was found is shown besides.
    same "keys of a store ('<' schema, '>' shown by config)" \
        "$(printf '%s\nplugin_path' "$store" | grep -vx options)" \
        "$("$tool" -c every-key.json config --json |
            jq -r 'keys[] | capture("^stores\\.default\\.(?<name>[^.]+)") | .name')"
    echo '{"stores": {"default": {"plugin": "noop", "durability": "none", "snapshot_evry": 1}}}' >bad.json
    checked=$((checked + 1))
    "$tool" -c bad.json config >/dev/null 2>message && wrong "an unknown key was accepted"
    grep -q "snapshot_evry.*snapshot_every" message ||
        wrong "no hint at the nearest key: $(<message)"
}

# Every file in conf/ and every configuration in a page is accepted.
conf() {
    local file
    for file in "$source"/conf/*.json; do
        [ "$file" = "$schema" ] || must "${file##*/}" "$tool" -c "$file" config
    done
    block json "$source/docs/configuration.md" >page.json
    must "the example of docs/configuration.md" "$tool" -c page.json config
    for file in "$source"/plugins/*/README.md; do
        block json "$file" >page.json
        must "the example of ${file#"$source"/}" "$tool" -c page.json config
    done
}

# The words that pages use of the project are there: its commands, the tool's, and what
# begins with mako_ or MAKO_.
words() {
    local word
    "$tool" --help | awk '/^Commands:/ {on = 1; next} /^$/ {on = 0} on {print $1}' >commands
    while read -r word; do
        must "'mako-snapshot $word'" grep -qx -- "$word" commands
    done < <(grep -hoE '(^|`)mako-snapshot (-c [^ ]+ )?[a-z]+\b' \
        "$source"/{README,docs/*,plugins/*/README}.md | grep -oE '[a-z]+$' | sort -u)
    must "names in the pages that are nowhere in the sources" diff /dev/null <(comm -23 \
        <(grep -hoE '\b(mako|MAKO)_[A-Za-z0-9_]*[A-Za-z0-9]\b' "$source"/*.md "$source"/docs/*.md \
            "$source"/plugins/*/*.md | sort -u) \
        <(grep -rhoE --exclude='*.md' '\b(mako|MAKO)_[A-Za-z0-9_]*[A-Za-z0-9]\b' \
            "$source"/{core,cli,plugins,cmake,examples,tests,bench,.ci,CMakeLists.txt} | sort -u) |
        grep -vxE 'MAKO_(TRIXIE|BOOKWORM)') # made of a suite's name, in .ci
    while read -r word; do
        must "'./dev $word'" grep -qE "^  ([a-z-]+, )?$word\b" <("$source/dev" help)
    done < <(grep -ho '\./dev [a-z-]\+' "$source"/*.md "$source"/docs/*.md | cut -d' ' -f2 |
        sort -u)
}

# refused NAME WORDS: run-page finds something wrong in the page on standard input, and says
# WORDS; "-" instead: it finds nothing.
refused() {
    local told rc
    checked=$((checked + 1))
    sed "s/'''/\`\`\`/" >"$1.md"
    told=$("$tests/run-page" "$1.md" "$work" "$prefix" "$libdir" 2>&1)
    rc=$?
    if [ "$2" = - ]; then
        [ $rc -eq 0 ] || wrong "$1: $told"
    elif [ $rc -eq 0 ] || ! grep -qF -- "$2" <<<"$told"; then
        wrong "$1: status $rc, $told"
    fi
}

# What makes the tests of the pages fail, and what does not.  Needs the installed tree.
mechanism() {
    refused fine - <<<$'<!-- file: a -->\n\'\'\'\nx\n\'\'\'\n\'\'\'sh\ncat a; echo 12 y\n\'\'\'\n<!-- output -->\n\'\'\'\nx\n1... y\n\'\'\''
    refused explained - <<<$'<!-- not run: it is a picture -->\n\'\'\'rust\nx\n\'\'\''
    refused state - <<<$'\'\'\'sh\nmkdir d; cd d; x=1\n\'\'\'\n\'\'\'sh\n[ "${PWD##*/}$x" = d1 ]\n\'\'\''
    refused command 'command.md:1: FAILED, status 3' <<<$'\'\'\'sh\n(exit 3)\ntrue\n\'\'\''
    refused output 'print something else' <<<$'\'\'\'sh\necho a\n\'\'\'\n<!-- output -->\n\'\'\'\nb\n\'\'\''
    refused longer 'print something else' <<<$'\'\'\'sh\necho a; echo b\n\'\'\'\n<!-- output -->\n\'\'\'\na\n\'\'\''
    refused unmarked 'no comment explains' <<<$'\'\'\'\nx\n\'\'\''
    refused language 'no comment explains' <<<$'\'\'\'rust\nx\n\'\'\''
    refused reasonless 'no comment explains' <<<$'<!-- not run: -->\n\'\'\'rust\nx\n\'\'\''
    refused hidden 'commands in a block of text' <<<$'\'\'\'text\nmako-snapshot ls\n\'\'\''
    refused program 'FAILED' <<<$'\'\'\'c\nint main(void) { return x; }\n\'\'\''
    refused refused 'unknown key' <<<$'\'\'\'json\n{"stores": {"a": {"plugin": "file", "optons": {}}}}\n\'\'\''
    refused document 'FAILED' <<<$'\'\'\'json\n{"a": }\n\'\'\''
    refused elsewhere - <<<$'<!-- run by: docs.mechanism -->\n\'\'\'sh\nfalse\n\'\'\''
    refused allelse - <<<$'<!-- page run by: docs.mechanism -->\n\n# A\n\'\'\'sh\nfalse\n\'\'\'\n\'\'\'\nx\n\'\'\''
    refused nowhere 'there is no test docs.mechan' <<<$'<!-- run by: docs.mechan -->\n\'\'\'sh\nfalse\n\'\'\''
    refused prefix - <<<$'\'\'\'sh\n[ -x /opt/mako/bin/mako-snapshot ] && touch /opt/mako/x\n\'\'\''
    refused endless 'without an end' <<<$'\'\'\'sh\ntrue'
}

# sentences: what the library, the plugins and the tool can say to somebody, one a line.
sentences() {
    local calls='^(complain|warn|usage_error|mako_fail|name_streams)$'
    {
        awk -f "$tests/messages.awk" "$source"/core/*.c "$source"/plugins/*/*.c \
            "$source/cli/events.c"
        awk -v calls="$calls" -f "$tests/messages.awk" "$source"/cli/*.c
    } | cut -f2 | sort -u
}

# The page has every message, and no other; so has the list of exemptions.
messages() {
    local page=$source/docs/troubleshooting.md
    sentences >said
    [ "$(wc -l <said)" -gt 250 ] || wrong "only $(wc -l <said) messages were found"
    # shellcheck disable=SC2016 # backquotes of Markdown
    grep '^| `' "$page" | sed 's/\\|/\x01/g' | cut -d'|' -f2 | tr '\001' '|' |
        grep -o '`[^`]*`' | tr -d '`' | sed 's/^ *//; s/ *$//' | sort >explained
    grep -v '^#' "$tests/messages.exempt" | grep . | sort >exempt
    same "messages ('<' sources, '>' the page and the exemptions)" "$(<said)" \
        "$(cat explained exempt)"
    same "messages twice in the page, or exempt besides" "" "$(sort explained exempt | uniq -d)"
}

# The example's bytes are what the library writes, and the fields leave no gap.
envelope() {
    local page=$source/docs/envelope.md
    must "writing the example" test -x "$build/bin/docs_envelope"
    same "bytes of the example ('<' library, '>' page)" "$("$build/bin/docs_envelope")" \
        "$(block text "$page" | cut -c1-53 | sed 's/ *$//')"
    # shellcheck disable=SC2016 # awk's
    must "the fields of the header" awk -F'|' '
        /^\| [0-9]+ \| [0-9]+ \| [a-z_]+ \|/ {bad += $2 + 0 != at; at = $2 + $3; n++}
        END {print n " fields, to " at; exit bad || at != 96 || n != 17}' "$page"
}

# anchors PAGE: what a link to one of its headings says.
anchors() {
    awk '/^```/ {code = !code} !code && /^#+ / {
        sub(/^#+ /, ""); line = tolower($0); gsub(/[^a-z0-9 _-]/, "", line); gsub(/ /, "-", line)
        print line}' "$1"
}

# Links between files lead somewhere.
links() {
    local file link to
    while read -r file; do
        while read -r link; do
            case $link in http*://* | '') continue ;; esac
            to=$(dirname "$file")/${link%%#*}
            [ -n "${link%%#*}" ] || to=$file
            must "${file#"$source"/}: link to $link" test -e "$to"
            case $link in
            *.md\#* | \#*)
                must "${file#"$source"/}: heading of $link" \
                    grep -qx -- "${link#*#}" <(anchors "$to")
                ;;
            esac
        done < <(awk '/^```/ {code = !code} !code' "$file" | grep -o '](\([^)]*\))' | sed 's/^](//; s/)$//')
    done < <(find "$source" \( -name build -o -name .git \) -prune -o -name '*.md' -print)
}

# declared WHAT HEADER...: the declarations of headers, or with "names" what they declare.
declared() {
    local what=$1 header
    shift
    for header in "$@"; do
        awk -v what="$what" -f "$tests/headers.awk" "$header"
    done
}

# Every function has a manual page; what a page declares is what the headers declare.
manual() {
    local page file name names text
    declared text "$source"/core/include/mako/*.h | sort >declarations
    for page in "$source"/docs/man/*.3.scd; do
        file=${page##*/}
        names=$(awk '/^# NAME/ {on = 1; next} on && / - / {sub(/ - .*/, ""); gsub(/,/, ""); print; exit}' "$page")
        awk '/^# / {on = $0 == "# SYNOPSIS"} on && /^```/ {code = !code; next} on && code' \
            "$page" >synopsis.h
        declared text synopsis.h | sort >synopsis
        must "what $file declares is in the headers" \
            diff /dev/null <(comm -13 declarations synopsis)
        # shellcheck disable=SC2086
        printf '%s\n' $names >>named
        # Each function of NAME is declared there, and each that is declared is in NAME.
        same "functions of $file ('<' NAME, '>' SYNOPSIS)" \
            "$(grep -Fx -f <(functions declarations) <<<"${names// /$'\n'}")" \
            "$(functions synopsis)"
        must "rendering $file" rendered "$page"
    done
    for page in "$source"/docs/man/*.[15].scd; do
        must "rendering ${page##*/}" rendered "$page"
    done
    same "functions with a page ('<' headers, '>' pages)" "$(functions declarations)" \
        "$(grep -Fx -f <(functions declarations) named)"
    for name in $(functions declarations); do
        file=$prefix/$mandir/man3/$name.3
        must "man $name" test -s "$file"
        text=$(sed -n '1s/^\.so man3\///p' "$file")
        must "man $name leads to a page" test -s "${file%/*}/${text:-$name.3}"
    done
    configurations
    # What a page refers to is there.
    while read -r name; do
        case $name in
        fork.2 | pkg-config.1) ;;
        mako-conformance.1) [ ! -x "$build/bin/mako-conformance" ] ;;
        *) [ -s "$prefix/$mandir/man${name##*.}/$name" ] ;;
        esac || must "the manual page $name" test -s "$prefix/$mandir/man${name##*.}/$name"
        checked=$((checked + 1))
    done < <(grep -ohE '\*[a-z_-]+\*\([0-9]\)' "$source"/docs/man/*.scd |
        sed 's/^\*\(.*\)\*(\(.\))$/\1.\2/' | sort -u)
}

# The configurations that the page of section 5 shows.
configurations() {
    local count=0 text
    while IFS= read -r -d '' text; do
        count=$((count + 1))
        printf '%s' "$text" >page.json
        must "configuration $count of the manual page" env STATE_DIR=/var/lib "$tool" \
            -c page.json config
    done < <(awk '/^```/ {if (on) printf "%c", 0; on = !on; next} on' \
        "$source/docs/man/mako-snapshot.5.scd")
    [ $count -gt 2 ] || wrong "only $count configurations in the manual page"
}

# functions FILE: their names, of declarations one a line.
functions() {
    grep -vE '^(struct|union|enum) [a-z_]+ \{|^typedef' "$1" | grep -oE 'mako_[a-z_]+\(' |
        tr -d '(' | grep -vx mako_store_plugin_entry
    grep -oE 'mako_store_plugin_entry' "$1"
}

# rendered PAGE: scdoc takes it, and groff has nothing to say about what comes out.
rendered() {
    local said
    scdoc <"$1" >page.roff || return
    said=$(groff -ww -man -Tutf8 -z page.roff 2>&1)
    echo "$said"
    [ -z "$said" ]
}

# Doxygen has nothing to complain about, and a description of all that the headers declare.
reference() {
    sed 's|^OUTPUT_DIRECTORY .*|OUTPUT_DIRECTORY = .|' "$build/docs/Doxyfile" >Doxyfile
    must "doxygen" doxygen Doxyfile
    must "a page to begin with" test -s html/index.html
    awk -f "$tests/reference.awk" xml/{struct,union}*.xml xml/*_8h.xml >described
    same "described ('<' declared, '>' described)" \
        "$(declared names "$source"/core/include/mako/*.h | sort -u)" \
        "$(grep -E '^(mako|MAKO)_[A-Za-z_]+$' described | sort -u)"
    must "everything has a description" diff /dev/null <(grep '^-' described)
}

# Each test and case that security.md names exists, and what exists for it is named.
# shellcheck disable=SC2016 # the page's backquotes
security() {
    local name
    ctest --test-dir "$build" -N | sed -n 's/^ *Test *#[0-9]*: //p' >there
    awk -F'|' '/^\| / && NF == 4 && $3 != " tests " {print $3}' \
        "$source/docs/security.md" >column
    must "each line of a table names tests" diff /dev/null <(grep -v '`' column)
    grep -o '`[^`]*`' column | tr -d '`' | sort -u >named
    while read -r name; do
        case $name in
        */*)
            must "the case $name" grep -rqE --include='*_test.c' \
                "^Test\(${name%/*}, ${name#*/}\)" "$source/tests"
            ;;
        *) must "the test $name" grep -qxF -- "$name" there ;;
        esac
    done <named
    must "tests that the page does not name" diff /dev/null \
        <(grep '^security\.' there | grep -vxF -f named)
}

case $part in
security | options | promises | keys | conf | words | links | manual | reference | mechanism | messages | envelope) "$part" ;;
*) wrong "no part '$part'" ;;
esac
echo "$checked checked, $bad wrong"
[ "$bad" -eq 0 ] && [ "$checked" -gt 0 ]
