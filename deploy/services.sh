#!/bin/sh
# services.sh: what the tests use and Python packages do not bring, from the distribution's packages, if it is missing
# and may be installed (by root, or with sudo that asks for no password): Chromium, and PostgreSQL, which each run of the
# tests starts for itself. PARLEY_NO_BROWSER=1 and PARLEY_NO_POSTGRES=1 leave them out, and the tests with them.
set -eu

missing=
if [ "${PARLEY_NO_BROWSER:-}" != 1 ]; then
    missing=chromium
    for name in chromium chromium-browser google-chrome; do
        if command -v "$name" >/dev/null; then missing=; fi
    done
fi
if [ "${PARLEY_NO_POSTGRES:-}" != 1 ] && ! command -v initdb >/dev/null && ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then
    missing="$missing postgresql"
fi
if [ "${PARLEY_NO_REDIS:-}" != 1 ] && ! command -v redis-server >/dev/null; then
    missing="$missing redis-server"
fi
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" -ne 0 ]; then
    as_root="sudo -n"
    $as_root true 2>/dev/null || as_root=none
fi
if [ "$as_root" = none ] || ! command -v apt-get >/dev/null; then
    echo "parley: the tests need$(printf ' %s' $missing): install it, or leave its tests out with PARLEY_NO_BROWSER=1, PARLEY_NO_POSTGRES=1 or PARLEY_NO_REDIS=1" >&2
    exit 1
fi
echo "Installing $(echo $missing) …"
$as_root apt-get update -qq
# shellcheck disable=SC2086  # a list
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
