# What the tests with foreign programs share: tools that may have to be installed first, and a cache that
# knows what it was filled from. To be sourced; expects $cache to be set.

node_ready() { node -e 'process.exit(parseInt(process.versions.node) >= 22 ? 0 : 1)' 2>/dev/null; }
python_ready() { python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; }

# npm, a Node of version 22 or later, and Python, as far as they are missing. Where the distribution's Node is
# too old, npm brings a newer one into the cache.
need_tools() {
  if { ! command -v npm >/dev/null || ! python_ready; } && [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null; then
    timeout 300 apt-get update
    timeout 600 apt-get install -y --no-install-recommends nodejs npm python3 python3-venv
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
