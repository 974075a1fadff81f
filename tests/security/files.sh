#!/bin/bash
# files.sh PLUGINS - which files a store makes and follows, whatever the names, the umask and
# the directory; and what a set-user-id copy of the tool takes from its caller's
# environment.  PLUGINS has the test
# plugin "probe".
# shellcheck source=tests/cli/lib.sh
. "${0%/*}/../cli/lib.sh"

plugins=$1

# ---- names of streams: none becomes the name of a file ------------------------------------
mkdir inner
file_store inner/f 3
sed -i 's|inner/f.d|f.d|' inner/f.json
echo x >state
touch out err
(umask 0 && "$cli" -c inner/f.json save plain --sequence 1 --schema 1 state) >out 2>err
# What lies outside of the store.
outside() { find . -path ./inner/f.d -prune -o -print | sort; }
before=$(outside)
# shellcheck disable=SC2016 # nothing is to be expanded
for id in ../x ../../x /tmp/mako-x . .. a/../../b lock 0000000000000001.seg 'a\..\b' \
    '~' '*' '$(touch x)' $'a\nb' '../lock' "$(printf '%0255d' 0)"; do
    run 0 -c inner/f.json save --sequence 1 --schema 1 -- "$id" state
    run 0 -c inner/f.json load --schema 1 -- "$id"
    same out state
done
is "$(outside)" "$before"
is "$(find inner/f.d -mindepth 1 -printf '%P\n' | grep -vxE '[0-9a-f]{16}\.(seg|idx)|lock')" ''

# ---- modes, under the worst umask ---------------------------------------------------------
is "$(stat -c %a inner/f.d)" 700
is "$(find inner/f.d -type f ! -perm 600)" ''
(umask 0 && "$cli" -c inner/f.json compact) >out 2>err
is "$(find inner/f.d -type f ! -perm 600)" ''

# ---- links and FIFOs in the store's directory ---------------------------------------------
echo precious >precious
rm inner/f.d/lock
ln -s ../../precious inner/f.d/lock
run 3 -c inner/f.json save a --sequence 2 --schema 1 state
has err 'lock: Too many levels of symbolic links'
is "$(cat precious)" precious
rm inner/f.d/lock
mv inner/f.d/0000000000000001.seg there.seg
ln -s ../../there.seg inner/f.d/0000000000000001.seg
run 3 -c inner/f.json ls
has err 'Too many levels of symbolic links'
rm inner/f.d/0000000000000001.seg
mkfifo inner/f.d/0000000000000001.seg
run 3 -c inner/f.json ls
has err '0000000000000001.seg'
rm inner/f.d/0000000000000001.seg
mv there.seg inner/f.d/0000000000000001.seg
run 0 -c inner/f.json ls
has out plain

# ---- a set-user-id copy -------------------------------------------------------------------
not_tried() {
    echo "NOT TRIED: set-user-id: $*"
    finish
}
[ "$(id -u)" = 0 ] || not_tried "only root makes a program of another user"
command -v setpriv >/dev/null || not_tried "there is no setpriv(1)"
chmod 755 .
mkdir stranger
cp "$plugins/mako-store-probe.so" stranger
noop_store plain
# shellcheck disable=SC2016
printf '{"stores": {"default": {"plugin": "file", "durability": "crash",
    "options": {"dir": "${MAKO_TEST_DIR}/x"}}}}' >variable.json
chmod -R a+rX .
# as_stranger COMMAND...: as somebody else, with an environment that wants to lead astray.
as_stranger() {
    MAKO_PLUGIN_PATH=$work/stranger MAKO_SNAPSHOT_CONFIG=$work/plain.json \
        MAKO_TEST_DIR=$work setpriv --reuid 12345 --regid 12345 --clear-groups "$@"
}
as_stranger "$cli" -c plain.json config >out 2>err ||
    not_tried "another user cannot run the tool where it lies"
raise() { # PROGRAM COPY: one that runs with the rights of another
    cp "$1" "$2"
    chown 65534:65534 "$2"
    chmod 4755 "$2"
}
# Whether rights are raised at all: not on a file system mounted nosuid.
raise "$(command -v id)" raised-id
[ "$(as_stranger ./raised-id -u)" = 65534 ] || not_tried "rights are not raised here"
raise "$cli" raised
as_stranger ./raised -c plain.json config >out 2>err ||
    not_tried "the copy does not run here: $(cat err)"
as_stranger ./raised -c variable.json config >out 2>err && fail "MAKO_TEST_DIR was taken"
has err 'MAKO_TEST_DIR is not set'
as_stranger "$cli" describe probe >out 2>err ||
    fail "not found without raised rights"
as_stranger ./raised describe probe >out 2>err && fail "MAKO_PLUGIN_PATH was obeyed"
has err "no mako-store-probe.so in"
lacks err "$work/stranger"
as_stranger ./raised config >out 2>err && fail "MAKO_SNAPSHOT_CONFIG was obeyed"
lacks out noop
finish
