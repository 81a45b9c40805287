# After the packages are installed: the data directory. It belongs to the server's user, so that a
# new volume mounted there does, too.
set -eu
chroot "$1" install -d -o postgres -g postgres -m 0700 /var/lib/postgresql/data
