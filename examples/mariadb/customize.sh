# After the packages are installed: the server's user and data directory.
set -eu
chroot "$1" useradd --system --home-dir /var/lib/mysql --shell /usr/sbin/nologin --user-group mysql
chroot "$1" install -d -o mysql -g mysql -m 0755 /var/lib/mysql
