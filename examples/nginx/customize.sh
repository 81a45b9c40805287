# After the package is installed: its log goes where the engine reads it.
set -eu
ln -sf /dev/stdout "$1/var/log/nginx/access.log"
ln -sf /dev/stderr "$1/var/log/nginx/error.log"
