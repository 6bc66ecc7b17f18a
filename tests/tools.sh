# What the tests with foreign programs share: tools that may have to be installed first, a cache that knows what
# it was filled from, and a server to wait for. To be sourced; expects $cache to be set where packages are wanted.

# A folder $work that goes with the script, however it ends, and an array `started` for the processes that do. They are
# asked first: nginx killed outright leaves its workers behind.
begin_work() {
  work=$(mktemp -d)
  started=()
  trap end_work EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
}
end_work() {
  local pid
  for pid in ${started[@]+"${started[@]}"}; do kill -TERM "$pid" 2>/dev/null || true; done
  for _ in $(seq 20); do
    [[ -n $(jobs -r) ]] || break
    sleep 0.1
  done
  for pid in ${started[@]+"${started[@]}"}; do kill -KILL "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}

# The whole path of the program $1; ends with what was expected where there is none.
program() {
  [[ -f $1 && -x $1 ]] || { echo "$0: no such program: $1" >&2; exit 2; }
  realpath "$1"
}

# Installs Debian packages; nothing is started by that, and another installation is waited for.
install_debian() {
  [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null || return 0
  timeout 300 apt-get update
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive timeout 900 \
    apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@"
}

# The commands of that name, from Debian's packages of the same name as far as they are missing.
need_commands() {
  PATH=$PATH:/usr/sbin
  local missing=() name
  for name in "$@"; do command -v "$name" >/dev/null || missing+=("$name"); done
  [[ ${#missing[@]} -eq 0 ]] || install_debian "${missing[@]}"
  for name in "$@"; do
    command -v "$name" >/dev/null || { echo "$0: needs $name (Debian: apt-get install $name)" >&2; exit 1; }
  done
}

# Waits until the server of process $1 has said in the file $2 where it listens, and sets `address` to host and
# port. Ends with its words, and those in the file $3, where it does not.
listening() {
  address=
  for _ in $(seq 300); do
    address=$(sed -nE 's#^listening on https?://(127\.0\.0\.1:[0-9]+)/mcp$#\1#p' "$2")
    [[ -z $address ]] || return 0
    kill -0 "$1" 2>/dev/null || break
    sleep 0.1
  done
  echo "$0: the server did not say where it listens; it wrote:" >&2
  tail -n 50 "$2" "$3" >&2
  exit 1
}

node_ready() { node -e 'process.exit(parseInt(process.versions.node) >= 22 ? 0 : 1)' 2>/dev/null; }
python_ready() { python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; }

# npm, a Node of version 22 or later, and Python, as far as they are missing. Where the distribution's Node is
# too old, npm brings a newer one into the cache.
need_tools() {
  if ! command -v npm >/dev/null || ! python_ready; then
    install_debian nodejs npm python3 python3-venv
  fi
  if ! node_ready && command -v npm >/dev/null; then
    local arch
    case $(uname -m) in aarch64 | arm64) arch=arm64 ;; *) arch=x64 ;; esac
    local dir=$cache/node/node_modules/node-linux-$arch/bin
    [[ -x $dir/node ]] || timeout 600 npm install --prefix "$cache/node" --no-save --no-audit --no-fund --force "node-linux-$arch@22"
    PATH=$dir:$PATH
  fi
  if ! { command -v npm >/dev/null && node_ready && python_ready; }; then
    echo "$0: needs node >= 22 with npm, and python3 >= 3.10 with venv" >&2
    echo "(Debian: apt-get install nodejs npm python3 python3-venv)" >&2
    exit 1
  fi
}

sum() { cat "$@" | sha256sum | cut -d' ' -f1; }
fresh() { [[ -f $1 && $(<"$1") == "$2" ]]; }

# Installs the packages that the package-lock.json in $1 pins into $cache/$2, when they are not there yet.
need_packages() {
  local from=$1 to=$cache/$2 want
  want=$(sum "$from/package.json" "$from/package-lock.json")
  fresh "$to.stamp" "$want" && return
  echo "installing what $2 needs"
  rm -rf "$to" "$to.stamp"
  mkdir -p "$to"
  cp "$from"/package{,-lock}.json "$to/"
  (cd "$to" && timeout 600 npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
  echo "$want" >"$to.stamp"
}

# The same for Python: the requirements.txt in $1, as a virtual environment.
need_python() {
  local from=$1 to=$cache/$2 want
  want="$(sum "$from/requirements.txt") $(python3 -V)"
  fresh "$to.stamp" "$want" && return
  echo "installing what $2 needs"
  rm -rf "$to" "$to.stamp"
  mkdir -p "$cache"
  timeout 120 python3 -m venv "$to"
  timeout 600 "$to/bin/python" -m pip install --quiet --disable-pip-version-check -r "$from/requirements.txt"
  echo "$want" >"$to.stamp"
}
