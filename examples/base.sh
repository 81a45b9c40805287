#!/usr/bin/env bash
# Makes the root file system of one example from Debian packages and prints the path of its tar.
#
#   examples/base.sh NAME          NAME is a directory here: postgres, mariadb, nginx, debian
#
# The tar is kept below ORLOP_EXAMPLES_CACHE (default: $XDG_CACHE_HOME/orlop-examples, for root
# without it /var/cache/orlop-examples), under a checksum of everything that went into it, so that
# nothing is made twice and nothing stale is used. Several callers at once wait for the first one.
# Packages come from the Debian mirror that this machine's apt uses. Standard error shows progress.
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=${1:?usage: base.sh postgres|mariadb|nginx|debian}
example=$here/$name
[ -f "$example/packages" ] || { echo "base.sh: no example is called \`$name\`" >&2; exit 2; }

if [ -n "${ORLOP_EXAMPLES_CACHE:-}" ]; then cache=$ORLOP_EXAMPLES_CACHE
elif [ -n "${XDG_CACHE_HOME:-}" ]; then cache=$XDG_CACHE_HOME/orlop-examples
else cache=/var/cache/orlop-examples; fi
mkdir -p "$cache"

key=$(cd "$example" && find . -type f ! -name changes | LC_ALL=C sort | xargs cat "$here/base.sh" | sha256sum | cut -c1-16)
tar=$cache/$name-$key.tar

exec 9>"$cache/$name.lock"
flock 9
if [ -s "$tar" ]; then
    echo "$tar"
    exit 0
fi

# The mirror of this machine's apt, or Debian's own.
mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(LABEL) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
    awk '$2 == "bookworm" && $3 == "Debian" && $4 == "main" { print $1; exit }')
security=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(LABEL) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
    awk '$2 == "bookworm-security" && $4 == "main" { print $1; exit }')
sources="deb ${mirror:-http://deb.debian.org/debian} bookworm main"
[ -z "$security" ] || sources+=$'\n'"deb $security bookworm-security main"
proxy=()
while IFS= read -r line; do proxy+=(--aptopt="$line"); done < <(apt-config dump 2>/dev/null | grep -E '^Acquire::https?::Proxy ' || true)

packages=$(grep -v '^#' "$example/packages" | tr '\n' ',' | sed 's/,*$//')
part=$tar.part.$$
work=$(mktemp -d)
trap 'rm -rf "$part" "$work"' EXIT
cp "$example"/* "$work/"

echo "examples: making $name from Debian packages ($packages) …" >&2
started=$(date +%s)
hooks=()
[ ! -f "$example/before.sh" ] || hooks+=(--essential-hook="sh '$work/before.sh' \"\$1\"")
[ ! -f "$example/entrypoint.sh" ] || hooks+=(--customize-hook="install -m 0755 '$work/entrypoint.sh' \"\$1/usr/local/bin/entrypoint\"")
[ ! -f "$example/customize.sh" ] || hooks+=(--customize-hook="sh '$work/customize.sh' \"\$1\"")
# Documentation and translations are left out: an image is made to run. mmdebstrap itself keeps
# packages from starting their services (policy-rc.d). Its mounts stay in a mount namespace.
printf '%s\n' "$sources" | unshare --mount --propagation private -- \
    mmdebstrap --mode=root --variant=minbase --include="$packages" \
    --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/lib/*/libLLVM-*' --dpkgopt='path-exclude=/usr/lib/postgresql/*/lib/llvmjit*' \
    --dpkgopt='path-exclude=/usr/lib/postgresql/*/lib/bitcode/*' \
    "${proxy[@]}" "${hooks[@]}" bookworm "$work/root.tar" - >&2
mv "$work/root.tar" "$part"
mv "$part" "$tar"
# Older makes of the same example are of no use any more.
find "$cache" -maxdepth 1 -name "$name-*.tar" ! -path "$tar" -delete
echo "examples: made $name: $(du -m "$tar" | cut -f1) MB in $(($(date +%s) - started)) s" >&2
echo "$tar"
