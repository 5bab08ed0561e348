#!/usr/bin/env bash
# Installs the Debian/Ubuntu packages that building and testing need, and says
# which.  Nothing missing: no output, no network, a few milliseconds.
#   usage: bootstrap.sh [further packages]
#          bootstrap.sh --optional packages   only these; where they cannot be installed
#                                             it says so and succeeds
set -eu

optional=false
packages=(g++ cmake ninja-build ccache pkg-config
          libfmt-dev libeigen3-dev nlohmann-json3-dev libcli11-dev
          libxxhash-dev liburing-dev libsqlite3-dev libssl-dev
          libpng-dev libjpeg-dev libwebp-dev
          catch2 libbenchmark-dev python3 python3-numpy "$@")
if [ "${1:-}" = --optional ]; then
  optional=true
  packages=("${@:2}")
fi
give_up() {  # with a sentence
  $optional || exit 1
  echo "bootstrap: going on without ${packages[*]}; the tests that need them are skipped" >&2
  exit 0
}

if ! command -v dpkg-query >/dev/null; then
  $optional && exit 0
  echo "bootstrap: not a Debian or Ubuntu system; building with what is installed." >&2
  echo "bootstrap: needed are the equivalents of: ${packages[*]}" >&2
  exit 0
fi

installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p')
missing=()
for p in "${packages[@]}"; do
  grep -qx -- "$p" <<<"$installed" || missing+=("$p")
done
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "bootstrap: packages are missing and there is no sudo; as root run:" >&2
    echo "  apt-get install --no-install-recommends ${missing[*]}" >&2
    give_up
  fi
  as_root=(sudo)
fi

echo "bootstrap: installing with apt: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q "$@" >"$log" 2>&1; }
if ! apt update || ! apt install -y --no-install-recommends "${missing[@]}"; then
  tail -n 25 "$log" >&2
  echo "bootstrap: apt-get failed; its last lines are above" >&2
  give_up
fi
echo "bootstrap: installed ${#missing[@]} packages and what they depend on"
