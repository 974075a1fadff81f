#!/bin/bash
# tls.sh MAKO-SNAPSHOT [absent] - whom the Redis store believes over TLS, on the server of
# "with-redis tls"; with "absent", that a build without TLS says so, and that stunnel does
# what it then recommends.
set -uo pipefail

tool=$1
bad=0
unset MAKO_SNAPSHOT_CONFIG

wrong() {
    printf 'WRONG: %s\n' "$*"
    bad=$((bad + 1))
}
# refused STATUS WORDS OPTION...: a store with these options does not open, and says why.
refused() {
    local status=$1 words=$2 said rc
    shift 2
    said=$("$tool" "${store[@]}" "$@" ls 2>&1)
    rc=$?
    [ $rc -eq "$status" ] || wrong "$*: status $rc, not $status"
    grep -qiE "$words" <<<"$said" || wrong "$*: '$said' lacks '$words'"
    [[ $said != *$'\n'*$'\n'* ]] || wrong "$*: says more than a line: $said"
}
works() {
    "$tool" "${store[@]}" "$@" ls >/dev/null || wrong "$*: refused"
}

work=$(mktemp -d "${TMPDIR:-/tmp}/mako-tls.XXXXXX") || exit 2
trap 'rm -rf "$work"' EXIT
store=(-c "$work/mako.json")
certs=$MAKO_TEST_REDIS_CERTS
head -c 300000 /dev/urandom >"$work/big"
# tunnel NAME: stunnel with a Unix socket of our own on one side, and the server, whose
# certificate must be for NAME, on the other.
tunnel() {
    rm -f "$work/socket"
    cat >"$work/stunnel.conf" <<END
foreground = yes
pid =
output = $work/stunnel.log
[redis]
client = yes
accept = $work/socket
connect = $MAKO_TEST_REDIS
CAfile = $certs/ca.crt
cert = $certs/client.crt
key = $certs/client.key
verifyChain = yes
checkHost = $1
END
    stunnel "$work/stunnel.conf" &
    tunnel=$!
    # The file is there before anybody listens; the kernel's flag comes with listen().
    until grep -q " 00010000 .* $work/socket\$" /proc/net/unix; do
        kill -0 "$tunnel" 2>/dev/null || { cat "$work/stunnel.log"; exit 2; }
        sleep 0.02
    done
}
if [ "${2-}" = absent ]; then
    echo '{"stores": {"default": {"plugin": "redis", "durability": "crash",
        "options": {"endpoints": "127.0.0.1:1", "tls": true}}}}' >"$work/mako.json"
    refused 3 'built without.*stunnel'
    trap 'kill "$tunnel"; wait "$tunnel"; rm -rf "$work"' EXIT
    cat >"$work/mako.json" <<END
{ "stores": { "default": { "plugin": "redis", "durability": "crash", "options": {
    "unix_socket": "$work/socket", "op_timeout": "60s" } } } }
END
    tunnel redis.test
    "$tool" "${store[@]}" save big --sequence 1 --schema 1 "$work/big" || wrong "save"
    "$tool" "${store[@]}" load big --schema 1 | cmp - "$work/big" || wrong "load"
    kill "$tunnel"
    wait "$tunnel"
    tunnel evil.example
    refused 3 'closed by the server|reset|broken pipe' -o op_timeout=3s
    grep -q 'Rejected by CERT' "$work/stunnel.log" || wrong "$(cat "$work/stunnel.log")"
    exit $((bad > 0))
fi

cat >"$work/mako.json" <<END
{ "stores": { "default": { "plugin": "redis", "durability": "crash", "options": {
    "endpoints": "$MAKO_TEST_REDIS", "tls": true, "tls_ca": "$certs/ca.crt",
    "op_timeout": "60s",
    "tls_cert": "$certs/client.crt", "tls_key": "$certs/client.key" } } } }
END
"$tool" "${store[@]}" save big --sequence 1 --schema 1 "$work/big" || wrong "save"
"$tool" "${store[@]}" load big --schema 1 | cmp - "$work/big" || wrong "load"
works -o tls_verify_name=redis.test
refused 3 'name|mismatch' -o tls_verify_name=evil.example
refused 3 'address|mismatch' -o tls_verify_name=127.0.0.2
refused 3 'self.signed|issuer|unable to' -o "tls_ca=$certs/other-ca.crt"
refused 2 'tls_ca.*nowhere: no such file' -o "tls_ca=$certs/nowhere"

# Without a certificate of our own, and without TLS at all.  The server says what it lacks, an
# alert whose name depends on the version of TLS, and hangs up; where that overtakes what it
# said, a connection that ended is all there is to see.
ended='closed by the server|connection reset|broken pipe'
sed -i.whole '/tls_cert/d; s/"op_timeout": "60s",/"op_timeout": "60s" } } } }/' "$work/mako.json"
refused 3 "alert (certificate required|handshake failure|bad certificate)|$ended" -o op_timeout=1s
sed -i 's/"tls": true, "tls_ca".*/"db": 0,/' "$work/mako.json"
refused 3 "$ended" -o op_timeout=1s
mv "$work/mako.json.whole" "$work/mako.json"

redis-cli -p "${MAKO_TEST_REDIS##*:}" --tls --cacert "$certs/ca.crt" \
    --cert "$certs/client.crt" --key "$certs/client.key" \
    config set tls-key-file "$certs/expired.key" tls-cert-file "$certs/expired.crt" |
    grep -q OK || wrong "the server does not take another certificate"
refused 3 'certificate.* expired'
exit $((bad > 0))
