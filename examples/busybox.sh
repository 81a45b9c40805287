#!/usr/bin/env bash
# Makes a small image root from Debian's busybox-static and prints the path of its tar (cached like
# base.sh does). The tests and `cargo xtask bench` use it.
set -euo pipefail
export LC_ALL=C

if [ -n "${ORLOP_EXAMPLES_CACHE:-}" ]; then cache=$ORLOP_EXAMPLES_CACHE
elif [ -n "${XDG_CACHE_HOME:-}" ]; then cache=$XDG_CACHE_HOME/orlop-examples
else cache=/var/cache/orlop-examples; fi
mkdir -p "$cache"

busybox=$(command -v busybox) || { echo 'busybox.sh: no busybox: install busybox-static' >&2; exit 1; }
key=$(cat "${BASH_SOURCE[0]}" "$busybox" | sha256sum | cut -c1-16)
tar=$cache/busybox-$key.tar
exec 9>"$cache/busybox.lock"
flock 9
if [ ! -s "$tar" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    mkdir -p "$work"/{bin,dev,etc,home,proc,root,run,sys,tmp,usr/bin,var}
    chmod 0755 "$work"
    chmod 1777 "$work/tmp"
    chmod 0700 "$work/root"
    install -m 0755 "$busybox" "$work/bin/busybox"
    for applet in $("$busybox" --list); do
        [ "$applet" = busybox ] || ln -s busybox "$work/bin/$applet"
    done
    printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'daemon:x:1:1:daemon:/:/bin/false' \
        'www:x:1000:1000:www:/home:/bin/sh' 'nobody:x:65534:65534:nobody:/:/bin/false' >"$work/etc/passwd"
    printf '%s\n' 'root:x:0:' 'daemon:x:1:' 'www:x:1000:' 'extra:x:2000:www' 'nogroup:x:65534:' >"$work/etc/group"
    # Fixed times: the same root gives the same layer everywhere.
    tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf "$tar.part" -C "$work" .
    mv "$tar.part" "$tar"
fi
echo "$tar"
