#!/usr/bin/env bash
# Installs what checks our audit log and is not ours. Everything goes to
# ${AUDIT_VERIFIERS_DIR:-~/.cache/stagedoor-audit-verifiers}; a second run returns at once.
#
#   Go's sumdb packages (Debian: golang-go golang-golang-x-mod-dev), as root or preinstalled
#   aics-tlog and aics-witness from PyPI, in an environment of their own (they pin their own
#   versions, and ask for a newer Python than they need)
#
# What cannot be installed is said here, and the tests that need it are skipped by name.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
dir="${AUDIT_VERIFIERS_DIR:-$HOME/.cache/stagedoor-audit-verifiers}"
gocode=/usr/share/gocode
mkdir -p "$dir"

if [ ! -x "$dir/verify-go" ]; then
  if [ ! -d "$gocode/src/golang.org/x/mod/sumdb/tlog" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get install -y -q --no-install-recommends golang-go golang-golang-x-mod-dev >"$dir/apt.log" 2>&1 || true
  fi
  if command -v go >/dev/null && [ -d "$gocode/src/golang.org/x/mod/sumdb/tlog" ]; then
    GO111MODULE=off GOPATH="$gocode" GOCACHE="$dir/go-cache" go build -o "$dir/verify-go" "$here/verify.go"
  else
    echo "left out: Go's sumdb packages (apt-get install golang-go golang-golang-x-mod-dev)" >&2
  fi
fi

if [ ! -x "$dir/venv/bin/aics-witness" ]; then
  python="${PYTHON:-python3}"
  "$python" -m venv "$dir/venv"
  "$dir/venv/bin/pip" install --quiet --disable-pip-version-check --ignore-requires-python \
    aics-tlog==0.2.1 aics-witness==0.1.0 >"$dir/pip.log" 2>&1 ||
    { rm -rf "$dir/venv"; echo "left out: aics-tlog and aics-witness (see $dir/pip.log)" >&2; }
fi
