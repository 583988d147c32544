#!/usr/bin/env bash
# Installs the browser that tests/support_browser.py drives: Debian's Chromium. A second
# run returns at once. Without it the tests of browsers fail, and say what is missing.
set -euo pipefail
[ -x "${CHROMIUM:-/usr/bin/chromium}" ] && exit 0
log="$(mktemp)"
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  apt-get update -q >"$log" 2>&1 || true
  apt-get install -y -q --no-install-recommends chromium >>"$log" 2>&1 || true
fi
if [ ! -x "${CHROMIUM:-/usr/bin/chromium}" ]; then
  echo "missing: Chromium (apt-get install chromium; or set CHROMIUM to one; $log)" >&2
  exit 1
fi
