#!/usr/bin/env bash
# Imports one example as an image.
#
#   examples/import.sh NAME REFERENCE [EXTRA CHANGE …]
#
# ORLOP is the command to use (default: orlop). Each line of NAME/changes becomes one `--change`.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=${1:?usage: import.sh NAME REFERENCE [CHANGE …]}
reference=${2:?usage: import.sh NAME REFERENCE [CHANGE …]}
shift 2
changes=()
while IFS= read -r line; do
    case $line in '' | '#'*) ;; *) changes+=(--change "$line") ;; esac
done <"$here/$name/changes"
for change in "$@"; do changes+=(--change "$change"); done
tar=$("$here/base.sh" "$name")
# shellcheck disable=SC2086 # ORLOP may carry global options
${ORLOP:-orlop} import "${changes[@]}" --message "Debian packages, examples/$name" "$tar" "$reference"
