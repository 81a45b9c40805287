#!/bin/sh
# Puts a small package repository into the image, so that `apt-get update && apt-get install` works in
# it without any network: python3 and curl with what they need.
set -eu
root=$1
chroot "$root" apt-get install -y --download-only --no-install-recommends python3 curl
mkdir -p "$root/repository"
mv "$root"/var/cache/apt/archives/*.deb "$root/repository/"
(cd "$root/repository" && dpkg-scanpackages --multiversion . > Packages 2>/dev/null)
[ -s "$root/repository/Packages" ]
rm -rf "$root"/etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:/repository ./' > "$root/etc/apt/sources.list"
