#!/usr/bin/env bash
# Installs the Debian packages that building, testing and the demo need, if any are missing, and
# checks the Rust toolchain.
set -euo pipefail

needed=(
    build-essential dpkg-dev pkg-config libseccomp-dev # the binary
    mmdebstrap busybox-static                 # example images
    runc nftables iproute2 util-linux bsdutils # root and end-to-end tests
    gzip bzip2 xz-utils zstd
    skopeo umoci buildah podman # other programs' image archives
    docker-registry apache2-utils openssl ca-certificates # registries in tests
    git openssh-client # contexts and ssh mounts of builds
)

missing=()
for package in "${needed[@]}"; do
    state=$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done

if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "packages: missing: ${missing[*]}; run me as root to install them" >&2
        exit 1
    fi
    echo "packages: installing ${missing[*]} …"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # Services of the packages (none are wanted) are not started.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 0755 "$policy"
    fi
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    echo "packages: installed"
fi

command -v cargo >/dev/null || {
    echo 'packages: no cargo in the path: install a Rust toolchain (https://rustup.rs), at least the rust-version of Cargo.toml' >&2
    exit 1
}
for part in clippy rustfmt; do
    tool=cargo-${part/rustfmt/fmt}
    if ! command -v "$tool" >/dev/null || ! "$tool" --version >/dev/null 2>&1; then
        command -v rustup >/dev/null || { echo "packages: the Rust toolchain lacks $part" >&2; exit 1; }
        echo "packages: adding $part to the Rust toolchain …"
        rustup component add "$part"
    fi
done
