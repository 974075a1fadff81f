#!/bin/bash
# A store of which a part is lost or damaged: what was in that part is missed, by name,
# and nothing else.
# shellcheck disable=SC1091,SC2154
. "${0%/*}/lib.sh"
printf '{"stores":{"default":{"plugin":"file","durability":"crash","snapshot_every":3,
  "options":{"dir":"f.d","dead_space":100}}}}\n' >f.json # nothing moves by itself

# Each opening that saves makes a segment of its own; the last of some is in the third.
begin() {
    rm -rf f.d
    for n in 1 2 3 4; do
        for s in "only/$n" "in/1-$n"; do
            echo "state $n of $s" >state
            run 0 -c f.json save "$s" --sequence "$n" --schema 1 state
        done
    done
    for s in twice thrice; do
        echo old >state
        run 0 -c f.json save $s --sequence 7 --schema 1 state
    done
    printf '{"streams":3}' >state
    run 0 -c f.json save twice --sequence 8 --schema 1 state
    run 0 -c f.json save after --sequence 1 --schema 1 state
    run 0 -c f.json verify
    has out "11 good, 0 bad"
    victim=$(grep -lF '{"streams":3}' f.d/*.seg | head -n 1)
}

# missed WHY: the stream twice, and no other.
missed() {
    run 1 -c f.json verify
    has out "10 good, 1 bad"
    has err "twice: DAMAGED: "
    has err "$1"
    run 1 -c f.json --json verify
    member 10 out good
    is "$(json out bad '#')" 1
    member twice out bad 0 stream
    member DAMAGED out bad 0 status
    run 1 -c f.json load twice --schema 1
    empty out
    run 1 -c f.json --json show twice
    member DAMAGED out status
    run 1 -c f.json show twice
    has err 'twice: '
    run 0 -c f.json ls
    has out twice
    run 0 -c f.json --json ls
    is "$(json out '#')" 11
    run 0 -c f.json load "only/1" --schema 1
    has out "state 1 of only/1"
    run 0 -c f.json load thrice --schema 1
    has out "old"
    # Said until it is saved again; what is made then is good.
    run 0 -c f.json save twice --sequence 9 --schema 1 state
    run 0 -c f.json verify
    has out "11 good, 0 bad"
}

# Lost: its index file tells what was in it.
begin
rm "$victim"
run 1 -c f.json verify
has err "${victim##*/}: missing; its snapshots are lost: 1 streams are damaged"
missed "its file is lost"

# Its header is gone.
begin
dd if=/dev/zero of="$victim" bs=4096 count=1 conv=notrunc 2>/dev/null
run 1 -c f.json verify
has err "${victim##*/}: the header is damaged; its snapshots are lost: 1 streams"
missed "its file is lost"

# Everything behind the header is, and the index file, too: the segment behind it knows.
begin
length=$(stat -c %s "$victim")
dd if=/dev/zero of="$victim" bs=1 seek=4096 count=$((length - 4096)) conv=notrunc 2>/dev/null
rm -f f.d/*.idx
run 1 -c f.json verify
has err "${victim##*/}: damaged: offsets 4096 to "
missed "checksum does not match"

# Lost, and nothing tells what was in it: older ones may show, and that is said.
begin
rm "$victim" f.d/*.idx
run 0 -c f.json verify
has err "${victim##*/}: missing; its snapshots are lost, and older or removed ones may show"
run 0 -c f.json load twice --schema 1
has out "old"
finish
