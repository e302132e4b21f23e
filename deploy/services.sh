#!/bin/sh
# services.sh: install programs that the tests need in addition to Python packages, if they are missing and apt can be
# used (as root, or with sudo without a password): Chromium, PostgreSQL, Redis and a TURN server (coturn). Each test
# starts its own. PARLEY_NO_BROWSER=1, PARLEY_NO_POSTGRES=1, PARLEY_NO_REDIS=1 and PARLEY_NO_TURN=1 skip them and their
# tests. Debian also has Chromium's headless shell, with which the browser tests need half of the CPU time.
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
if [ "${PARLEY_NO_TURN:-}" != 1 ] && ! command -v turnserver >/dev/null; then
    missing="$missing coturn"
fi
quicker=
if [ "${PARLEY_NO_BROWSER:-}" != 1 ] && grep -qx 'ID=debian' /etc/os-release 2>/dev/null \
    && ! command -v chromium-headless-shell >/dev/null; then
    quicker="chromium chromium-headless-shell" # of the same version
fi
[ -n "$missing$quicker" ] || exit 0

as_root=
if [ "$(id -u)" -ne 0 ]; then
    as_root="sudo -n"
    $as_root true 2>/dev/null || as_root=none
fi
if [ "$as_root" = none ] || ! command -v apt-get >/dev/null; then
    [ -n "$missing" ] || exit 0
    echo "parley: the tests need$(printf ' %s' $missing): install them, or skip their tests with PARLEY_NO_BROWSER=1, PARLEY_NO_POSTGRES=1, PARLEY_NO_REDIS=1 or PARLEY_NO_TURN=1" >&2
    exit 1
fi
echo "Installing $(echo $missing $quicker) …"
install() {
    $as_root apt-get update -qq \
        && $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}
# shellcheck disable=SC2086  # lists
[ -z "$missing" ] || install $missing
# shellcheck disable=SC2086
[ -z "$quicker" ] || install $quicker || echo "parley: without Chromium's headless shell the browser tests take longer" >&2
# A relay without a password, open to the network.
case "$missing" in *coturn*) $as_root systemctl disable --now coturn >/dev/null 2>&1 || true ;; esac
