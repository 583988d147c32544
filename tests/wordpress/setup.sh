#!/usr/bin/env bash
# Installs what the WordPress plugin is tested with and is not ours: a web server, PHP, a
# browser, PHP's linters, WordPress itself. Nothing of it is committed, and a second run
# returns at once.
#
#   Debian's PHP, nginx, Apache, MariaDB, Chromium, PHPUnit and PHP_CodeSniffer, as root or preinstalled
#   WordPress 7.1.1, wp-cli and the SQLite drop-in, from npm's wp-studio (GPL)
#   WordPress 6.5.5, from npm's @wp-playground/wordpress-builds (GPL)
#   PHP 7.4 and 8.5, from npm's @php-wasm/cli (GPL)
#   eslint with @eslint/js, from npm (MIT)
#
# All goes to ${STAGEDOOR_WORDPRESS_DIR:-~/.cache/stagedoor-wordpress}. What cannot be
# installed is said here, and the tests that need it say so too.
set -euo pipefail
dir="${STAGEDOOR_WORDPRESS_DIR:-$HOME/.cache/stagedoor-wordpress}"
mkdir -p "$dir"
studio=1.22.0 builds=0.9.19 wasm=3.1.56 eslint=9.39.1

need=()
for package in php-cli php-fpm php-curl php-sqlite3 php-mbstring php-xml php-intl php-zip php-gd \
  php-mysql mariadb-server-core mariadb-client-core nginx-light apache2 chromium fonts-dejavu-core unzip phpunit php-codesniffer; do
  dpkg -s "$package" >/dev/null 2>&1 || need+=("$package")
done
# Another nginx serves as well.
if command -v nginx >/dev/null; then need=("${need[@]/nginx-light/}"); fi
need=(${need[@]})
if ((${#need[@]})); then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    # The tests start servers of their own: no package shall start one on this machine.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
      printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d
      trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    apt-get update -q >"$dir/apt.log" 2>&1 || true
    apt-get install -y -q --no-install-recommends "${need[@]}" >>"$dir/apt.log" 2>&1 ||
      echo "left out: ${need[*]} (see $dir/apt.log)" >&2
  else
    echo "left out: apt-get install ${need[*]}" >&2
  fi
fi

if ! command -v npm >/dev/null; then
  echo "left out: WordPress itself (npm is missing)" >&2
  exit 0
fi

if [ ! -e "$dir/7.1/.done-$studio" ]; then
  (cd "$dir" && npm pack --silent "wp-studio@$studio" >/dev/null)
  rm -rf "$dir/7.1" "$dir/studio" && mkdir -p "$dir/studio"
  tar xzf "$dir/wp-studio-$studio.tgz" -C "$dir/studio" --strip-components=4 \
    package/dist/cli/wp-files/latest/wordpress package/dist/cli/wp-files/wp-cli \
    package/dist/cli/wp-files/sqlite-database-integration
  mv "$dir/studio/latest/wordpress" "$dir/7.1"
  rm -f "$dir/wp-studio-$studio.tgz" && touch "$dir/7.1/.done-$studio"
fi

if [ ! -e "$dir/6.5/.done-$builds" ]; then
  (cd "$dir" && npm pack --silent "@wp-playground/wordpress-builds@$builds" >/dev/null)
  rm -rf "$dir/6.5" "$dir/builds" && mkdir -p "$dir/builds" "$dir/6.5"
  tar xzf "$dir/wp-playground-wordpress-builds-$builds.tgz" -C "$dir/builds" --strip-components=1
  unzip -q "$(find "$dir/builds" -name 'wp-6.5*.zip' | head -1)" -d "$dir/6.5"
  cp -r "$dir/builds/public/wp-6.5/." "$dir/6.5/" # Static files are packed apart.
  rm -f "$dir/6.5/wp-config.php"
  rm -rf "$dir/builds" "$dir/wp-playground-wordpress-builds-$builds.tgz" && touch "$dir/6.5/.done-$builds"
fi

if [ ! -e "$dir/node/.done-$wasm-$eslint" ]; then
  rm -rf "$dir/node" && mkdir -p "$dir/node"
  (cd "$dir/node" && npm install --silent --no-fund --no-audit --ignore-scripts --prefix . \
    "@php-wasm/cli@$wasm" "eslint@$eslint" "@eslint/js@$eslint" >npm.log 2>&1) &&
    touch "$dir/node/.done-$wasm-$eslint" ||
    echo "left out: PHP 7.4 and 8.5, eslint (see $dir/node/npm.log)" >&2
fi
