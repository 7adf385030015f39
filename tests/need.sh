#!/bin/sh
# Installs what is missing, given as program:package pairs, with apt; says so and asks for nothing.
set -eu
PATH=$PATH:/usr/sbin:/sbin
missing=
for pair in "$@"; do
  program=${pair%%:*}
  [ -e "$program" ] && continue
  # PostgreSQL's own programs are not on the PATH.
  command -v "$program" >/dev/null 2>&1 && continue
  ls /usr/lib/postgresql/*/bin/"$program" >/dev/null 2>&1 && continue
  missing="$missing ${pair#*:}"
done
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1; then
  echo "missing programs; install these packages and try again:$missing" >&2
  exit 1
fi
sudo=
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null 2>&1 || { echo "not root and no sudo; install:$missing" >&2; exit 1; }
  sudo=sudo
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
# Servers that packages bring must not start by themselves.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null && $sudo chmod +x $policy
  trap '$sudo rm -f $policy' EXIT
fi
$sudo apt-get update -qq
# shellcheck disable=SC2086
$sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
