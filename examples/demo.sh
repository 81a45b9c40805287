#!/usr/bin/env bash
# The main job, step by step, with real PostgreSQL: `make demo`.
#
# Uses the store that `orlop` uses by itself (ORLOP_ROOT chooses another one). Everything is called
# orlop-demo-… and goes at the end, also after Ctrl-C; the images stay for the next time.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ORLOP=${ORLOP:-$here/../target/release/orlop}
export ORLOP
volume=orlop-demo-data
containers=(orlop-demo-one orlop-demo-two orlop-demo-left orlop-demo-right)
scratch=$(mktemp -d)

if [ -t 1 ]; then bold=$(tput bold 2>/dev/null || true) plain=$(tput sgr0 2>/dev/null || true); else bold= plain=; fi
step() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
proved() { printf '   → proved: %s\n' "$*"; }
failed() { printf 'demo: %s\n' "$*" >&2; exit 1; }
# Shows a command as one would type it, and runs it.
show() { { printf '   $ orlop'; printf ' %s' "$@"; printf '\n'; } >&3; "$ORLOP" "$@"; }
exec 3>&1

clean() {
    status=$?
    trap - EXIT INT TERM HUP
    "$ORLOP" rm -f -v "${containers[@]}" >/dev/null 2>&1 || true
    "$ORLOP" volume rm -f "$volume" >/dev/null 2>&1 || true
    # Gives back the idle store's bridge, rules and control groups as well.
    "$ORLOP" system check --repair >/dev/null 2>&1 || true
    rm -rf "$scratch"
    exit "$status"
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

[ "$(id -u)" = 0 ] || failed 'run me as root: containers need it'

# import TAG [CHANGE …]: imports the example unless this very make of it is there already.
import() {
    reference=$1
    shift
    label="org.example.made-from=$(basename "$tar" .tar)-$(sha256sum <"$here/postgres/changes" | cut -c1-8)"
    if [ "$("$ORLOP" image inspect --format '{{index .Config.Labels "org.example.made-from"}}' "$reference" 2>/dev/null)" = "${label#*=}" ]; then
        echo "   $reference is there already"
    else
        echo "   importing $reference …"
        bash "$here/import.sh" postgres "$reference" "LABEL $label" "$@" >/dev/null
    fi
}

sql() { "$ORLOP" exec -u postgres "$1" psql -v ON_ERROR_STOP=1 -qtAc "$2"; }

wait_for_server() {
    for _ in $(seq 300); do
        if "$ORLOP" exec "$1" pg_isready -q -h 127.0.0.1 -U postgres 2>/dev/null; then return; fi
        sleep 0.2
    done
    "$ORLOP" logs "$1" >&2 || true
    failed "PostgreSQL in $1 did not answer within a minute"
}

mounts_before=$(wc -l </proc/self/mountinfo)
# What an earlier demo may have left when it was killed outright.
"$ORLOP" rm -f -v "${containers[@]}" >/dev/null 2>&1 || true
"$ORLOP" volume rm -f "$volume" >/dev/null 2>&1 || true

step '1. An image from Debian packages'
tar=$(bash "$here/base.sh" postgres)
import postgres:15
# Another image with the same Debian root file system and other settings: its tag, id and
# configuration differ, its layer is stored once.
import postgres:15-v2 'LABEL org.example.version=2'
[ "$("$ORLOP" image inspect --format '{{.Id}}' postgres:15)" != "$("$ORLOP" image inspect --format '{{.Id}}' postgres:15-v2)" ] ||
    failed 'the two tags name one image'
proved 'a tar became two images that share one layer'

step '2. PostgreSQL on a named volume'
show volume create "$volume" >/dev/null
show run -d --name orlop-demo-one -e POSTGRES_PASSWORD=secret -v "$volume:/var/lib/postgresql/data" postgres:15 >/dev/null
wait_for_server orlop-demo-one
sql orlop-demo-one "CREATE TABLE deck AS SELECT n AS id, 'row ' || n AS name FROM generate_series(1, 1000) n"
echo "   $(sql orlop-demo-one 'SELECT version()' | cut -d' ' -f1,2): 1000 rows written"
proved 'a real database runs, on data that belongs to the volume'

step '3. The container goes'
show rm -f orlop-demo-one >/dev/null
if "$ORLOP" inspect orlop-demo-one >/dev/null 2>&1; then failed 'the container is still there'; fi
[ "$("$ORLOP" volume ls -q | grep -cx "$volume")" = 1 ] || failed 'the volume is gone'
proved 'container and writable layer are gone, the volume is not'

step '4. A new container of another image, on the same volume'
show run -d --name orlop-demo-two -p 127.0.0.1::5432 -v "$volume:/var/lib/postgresql/data" postgres:15-v2 >/dev/null
wait_for_server orlop-demo-two
rows=$(sql orlop-demo-two 'SELECT count(*), max(name) FROM deck')
[ "$rows" = '1000|row 999' ] || failed "want 1000 rows, found $rows"
"$ORLOP" ps --format 'table {{.Names}}\t{{.Image}}\t{{.Status}}\t{{.Ports}}' | sed 's/^/   /'
proved 'all 1000 rows are there: data outlives its container and its image'

step '5. Two containers of one image write to private layers'
for side in left right; do
    show run -d --name "orlop-demo-$side" --entrypoint sleep postgres:15 600 >/dev/null
    "$ORLOP" exec "orlop-demo-$side" sh -c "echo $side > /srv/who"
done
for side in left right; do
    [ "$("$ORLOP" exec "orlop-demo-$side" cat /srv/who)" = "$side" ] || failed "$side reads what the other wrote"
done
[ -z "$("$ORLOP" run --rm --entrypoint ls postgres:15 /srv)" ] || failed 'the image was written to'
proved 'each reads its own file, and the image has neither'

step '6. A read-only bind mount'
echo 'hello from the host' >"$scratch/greeting"
seen=$(show run --rm -v "$scratch:/in:ro" --entrypoint cat postgres:15 /in/greeting)
echo "   $seen"
[ "$seen" = 'hello from the host' ] || failed 'the file was not read'
if "$ORLOP" run --rm -v "$scratch:/in:ro" --entrypoint sh postgres:15 -c 'echo changed > /in/greeting' 2>"$scratch/refused"; then
    failed 'the container wrote to a read-only mount'
fi
grep -q 'Read-only file system' "$scratch/refused" || failed "$(cat "$scratch/refused")"
[ "$(cat "$scratch/greeting")" = 'hello from the host' ] || failed 'the file has changed'
proved 'the container reads the host directory and cannot change it'

step '7. Nothing is left'
show rm -f -v orlop-demo-two orlop-demo-left orlop-demo-right >/dev/null
show volume rm "$volume" >/dev/null
[ "$(wc -l </proc/self/mountinfo)" = "$mounts_before" ] || failed 'mounts are left in the host namespace'
"$ORLOP" system check >/dev/null || failed '`orlop system check` found something'
# An idle store keeps its bridge ready for the next container; this gives it back.
show system check --repair >/dev/null
proved 'no container, no volume, no mount, no bridge is left; the two images stay for the next time'
