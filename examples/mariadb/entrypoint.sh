#!/bin/sh
# Starts MariaDB on /var/lib/mysql; makes the system tables there when the directory is empty.
# `root` logs in from inside the container, by the socket, without a password.
set -eu
# The image's /run is empty, as on every boot.
install -d -o mysql -g mysql -m 0755 /run/mysqld
if [ ! -d /var/lib/mysql/mysql ]; then
    mariadb-install-db --user=mysql --datadir=/var/lib/mysql --auth-root-authentication-method=socket --skip-test-db
fi
exec mariadbd --user=mysql --datadir=/var/lib/mysql --bind-address=0.0.0.0 "$@"
