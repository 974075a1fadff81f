#!/bin/bash
# secrets.sh HELD - where a password may be seen, on the server of "with-redis single": not
# in what the tool prints, and, from a file, not in the memory of a program.  HELD is absent
# under the sanitizers, whose own memory is too much to look through.
# shellcheck source=tests/cli/lib.sh
. "${0%/*}/../cli/lib.sh"

held=${1-}
port=${MAKO_TEST_REDIS##*:}
tail=Qw7-sesame-Zx9 # what is looked for in memory: free() writes over the beginning
secret=a-password-of-more-bytes-than-free-touches-$tail
backwards=$(rev <<<"$tail")

redis-cli -p "$port" config set requirepass "$secret" >out 2>err
has out OK
printf '%s\nsecond line\n' "$secret" >password
chmod 600 password
store() {
    printf '{"plugin": "redis", "durability": "crash", "options": {%s%s}}' \
        "\"endpoints\": \"$MAKO_TEST_REDIS\"" "$1"
}
cat >mako.json <<END
{"stores": {
    "inline": $(store ", \"password\": \"$secret\""),
    "environment": $(store ", \"password\": \"\${MAKO_TEST_SECRET}\""),
    "wrong": $(store ", \"password\": \"$secret-wrong\""),
    "file": $(store ', "password_file": "password"'),
    "none": $(store '')}}
END
export MAKO_TEST_SECRET=$secret

# quiet CODE ARGUMENT...: the tool leaves so, and shows the password nowhere.
quiet() {
    run "$@"
    lacks out "$secret"
    lacks err "$secret"
}
echo x >state
for name in inline environment file; do
    for words in "config" "config --json" "ls" "ls --json" "stats" "stats --json" \
        "save a --sequence 1 --schema 1 state" "show a" "verify"; do
        # shellcheck disable=SC2086
        quiet 0 -c mako.json -s "$name" $words
    done
done
quiet 0 -c mako.json -s inline config
has out '(hidden)'
quiet 0 describe redis
quiet 2 -c mako.json -s wrong ls
has err WRONGPASS
quiet 2 -c mako.json -s inline -o "password_file=password" ls
quiet 2 -c mako.json -s inline -o "passwort=$secret" ls
has err 'passwort'

# places STORE WORD...: how often the password stands in a program's memory, while the
# store is open and after it.
places() {
    env -u MAKO_TEST_SECRET "$held" mako.json "$1" "$backwards" "${@:2}" 2>err
}
if [ -n "$held" ]; then
    sed -i '/"environment"/d' mako.json
    # It finds what is there: in the configuration's text, which jansson read.
    read -r open closed <<<"$(places inline)"
    is "$((open > 0))" 1
    sed -i '/"inline"\|"wrong"/d' mako.json
    is "$(places file)" '0 0'
    # What a program hands over itself is there while the store is open, and then gone.
    read -r open closed <<<"$(places none "password=$(rev <<<"$secret")")"
    is "$((open > 0)) $closed" '1 0'
    # One so long that nothing is written over its end by chance, and that buffers grow.
    long=$(printf 'long-%.0s' {1..194})$tail
    redis-cli -p "$port" -a "$secret" config set requirepass "$long" >out 2>err
    has out OK
    printf '%s\n' "$long" >password
    is "$(places file)" '0 0'
fi
finish
