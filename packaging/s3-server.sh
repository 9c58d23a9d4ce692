#!/usr/bin/env bash
# Starts a real S3 server (SeaweedFS) for tests and benchmarks, on loopback and free ports, and ends it.
#
# usage: s3-server.sh start DIRECTORY   keeps everything there; prints the endpoint when it answers
#        s3-server.sh stop DIRECTORY    ends it by its pid
#        s3-server.sh pause|resume DIRECTORY
#
# Its keys: AKIABERTHTEST / berth-test-secret may do everything, AKIABERTHREAD / berth-read-secret read the bucket
# "readable". The buckets "berth" and "readable" are there.
set -euo pipefail

action=${1:?usage: s3-server.sh start|stop|pause|resume DIRECTORY}
directory=${2:?usage: s3-server.sh start|stop|pause|resume DIRECTORY}
weed=${BERTH_WEED:-$(cd "$(dirname "$0")/.." && pwd)/.build/test-tools/bin/weed}

if [ "$action" != start ]; then
    pid=$(cat "$directory/pid")
    case $action in
    stop)
        kill -CONT "$pid" 2>/dev/null || true
        kill "$pid" 2>/dev/null || true
        for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || exit 0; sleep 0.1; done
        kill -9 "$pid"
        ;;
    pause) kill -STOP "$pid" ;;
    resume) kill -CONT "$pid" ;;
    *) echo "s3-server: unknown action $action" >&2; exit 64 ;;
    esac
    exit 0
fi

[ -x "$weed" ] || { echo "s3-server: $weed is missing; run packaging/install-dependencies.sh test" >&2; exit 69; }
mkdir -p "$directory/data"
cat > "$directory/s3.json" <<'KEYS'
{"identities": [
    {"name": "tester", "credentials": [{"accessKey": "AKIABERTHTEST", "secretKey": "berth-test-secret"}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"]},
    {"name": "reader", "credentials": [{"accessKey": "AKIABERTHREAD", "secretKey": "berth-read-secret"}],
        "actions": ["Read:readable", "List:readable"]}]}
KEYS

# Ports that are free now and whose neighbours 10000 above are, too. Kept for a later start in the same directory, so
# that a store that comes back is where it was.
[ -e "$directory/ports" ] || /usr/bin/python3 - > "$directory/ports" <<'PORTS'
import random, socket
def is_free(port):
    with socket.socket() as s:
        try:
            s.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False
ports = []
# Below the range that outgoing connections use.
while len(ports) < 8:
    port = random.randint(10100, 21900)
    if port not in ports and is_free(port) and is_free(port + 10000):
        ports.append(port)
print(*ports)
PORTS
read -r master master_grpc volume volume_grpc filer filer_grpc s3 s3_grpc < "$directory/ports"

setsid "$weed" -logtostderr=false -logdir="$directory" server -dir="$directory/data" -ip=127.0.0.1 \
    -ip.bind=127.0.0.1 -master.telemetry=false -master.port="$master" -master.port.grpc="$master_grpc" \
    -master.volumeSizeLimitMB=64 -volume.port="$volume" -volume.port.grpc="$volume_grpc" -volume.max=400 \
    -filer -filer.port="$filer" -filer.port.grpc="$filer_grpc" \
    -s3 -s3.port="$s3" -s3.port.grpc="$s3_grpc" -s3.config="$directory/s3.json" -s3.autoCreateBucket=false \
    -s3.port.iceberg=0 -s3.port.lance=0 ${BERTH_WEED_OPTIONS:-} \
    < /dev/null > "$directory/server.log" 2>&1 &
pid=$!
echo "$pid" > "$directory/pid"
echo "http://127.0.0.1:$s3" > "$directory/endpoint"

create() {
    curl -sS -o /dev/null -w '%{http_code}' --aws-sigv4 aws:amz:us-east-1:s3 --user AKIABERTHTEST:berth-test-secret \
        -X PUT "http://127.0.0.1:$s3/$1" 2>/dev/null
}
for _ in $(seq 2400); do
    kill -0 "$pid" 2>/dev/null || { tail -n 5 "$directory/server.log" >&2; exit 69; }
    case $(create berth || true) in
    200 | 409) create readable > /dev/null || true; cat "$directory/endpoint"; exit 0 ;;
    esac
    sleep 0.1
done
echo "s3-server: the server does not answer; see $directory/server.log" >&2
exit 69
