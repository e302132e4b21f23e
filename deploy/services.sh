#!/bin/sh
# services.sh: Chromium for the tests of the page, from the distribution's packages, if it is missing and may be
# installed (by root, or with sudo that asks for no password).
set -eu
[ "${PARLEY_NO_BROWSER:-}" != 1 ] || exit 0
for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null && exit 0
done

as_root=
if [ "$(id -u)" -ne 0 ]; then
    as_root="sudo -n"
    $as_root true 2>/dev/null || as_root=none
fi
if [ "$as_root" = none ] || ! command -v apt-get >/dev/null; then
    echo "parley: the tests of the page need Chromium: install it, or leave them out with PARLEY_NO_BROWSER=1" >&2
    exit 1
fi
echo "Installing Chromium …"
$as_root apt-get update -qq
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
