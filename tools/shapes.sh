#!/usr/bin/env bash
# Tests in other host shapes, with real processes: an ordinary user with a range of ids, and one id under no_new_privs.
# Its arguments are pytest's; without any, the suites that speak to an engine.
# As root only: it makes the user `dockerlab-test` if there is none, and an environment that this user can read.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "tools/shapes.sh needs root to become other users"; exit 1; }
python=/usr/bin/python3
[ -x "$python" ] || python=$(command -v python3)
if [ $# = 0 ]; then set -- tests/engine tests/notebooks tests/cli; fi
room=$(mktemp -d /var/tmp/dockerlab-shapes-XXXXXX)
trap 'rm -rf "$room"' EXIT
chmod 755 "$room"
git archive HEAD | tar -x -C "$room"
"$python" tools/bootstrap.py "$room/.venv"
"$room/.venv/bin/python" -m pip install --quiet --disable-pip-version-check "$room[test,zstd]"
id dockerlab-test >/dev/null 2>&1 || useradd --create-home dockerlab-test
grep -q '^dockerlab-test:' /etc/subuid || { echo 'dockerlab-test:400000:65536' >>/etc/subuid; echo 'dockerlab-test:400000:65536' >>/etc/subgid; }
uid=$(id -u dockerlab-test) gid=$(id -g dockerlab-test)
run() {
  local name=$1 rights=$2; shift 2
  local home="$room/home-$name"
  install -d -m 700 -o "$uid" -g "$gid" "$home"
  echo "== shape: $name"
  (cd "$room" && env -i PATH="$room/.venv/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin" HOME="$home" TMPDIR="$home" LANG=C.UTF-8 \
    ${DOCKERLAB_SOAK_ROUNDS:+DOCKERLAB_SOAK_ROUNDS="$DOCKERLAB_SOAK_ROUNDS"} setpriv --reuid="$uid" --regid="$gid" --clear-groups $rights \
    "$room/.venv/bin/python" -m pytest -q -p no:cacheprovider --basetemp="$home/t" "$@")
}
run ranged "" "$@"
run single --no-new-privs "$@"
