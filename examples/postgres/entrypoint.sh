#!/bin/sh
# Starts PostgreSQL on PGDATA; makes a new cluster there when the directory is empty.
#
#   POSTGRES_PASSWORD   password of the superuser `postgres` over TCP (new clusters only); without
#                       it only connections from inside the container are let in
set -eu
bin=$(echo /usr/lib/postgresql/*/bin)
PGDATA=${PGDATA:-/var/lib/postgresql/data}
export PGDATA

if [ "$(id -u)" = 0 ]; then
    # The image's /run is empty, as on every boot.
    install -d -o postgres -g postgres -m 2775 /run/postgresql
    mkdir -p "$PGDATA"
    chown postgres:postgres "$PGDATA"
    chmod 0700 "$PGDATA"
    exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$0" "$@"
fi

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    "$bin/initdb" --username=postgres --locale=C.UTF-8 --encoding=UTF8 --auth-local=trust --auth-host=scram-sha-256 \
        --pwfile=/dev/stdin <<END
${POSTGRES_PASSWORD:-$(head -c 24 /dev/urandom | base64)}
END
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
fi
exec "$bin/postgres" -c listen_addresses='*' "$@"
