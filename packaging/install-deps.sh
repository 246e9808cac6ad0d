#!/bin/sh
# Installs the Debian packages that a task needs, and only those that are missing.
# Usage: install-deps.sh build|package|test|bench|lint|coverage ...
# Works as root or with sudo; says what to install by hand where it cannot.
set -eu

# What `make build` and `make run` need, and so what each other task needs too.
build="gcc libc6-dev cmake ninja-build pkg-config libgrpc-dev libhiredis-dev libinih-dev
    libjansson-dev liblmdb-dev libnng-dev libprotobuf-c-dev libxxhash-dev protobuf-c-compiler
    protobuf-compiler"
# clang and its runtime are for the fuzzers.
test="libcmocka-dev python3 python3-grpcio python3-hpack python3-protobuf python3-pytest python3-yaml
    nghttp2-client iproute2 binutils valgrind wrk redis-server redis-tools clang libclang-rt-14-dev prometheus systemd"
package="dpkg-dev rpm lintian mmdebstrap python3-pytest"
bench="python3 python3-grpcio python3-protobuf wrk redis-server webdis nghttp2-client etcd-server
    valgrind"
lint="clang clang-tidy clang-format"
coverage="gcovr"

wanted=$build
for task in "$@"; do
    case $task in
    build) ;;
    test) wanted="$wanted $test" ;;
    bench) wanted="$wanted $bench" ;;
    package) wanted="$wanted $package" ;;
    lint) wanted="$wanted $test $lint" ;;
    coverage) wanted="$wanted $test $coverage" ;;
    *) echo "usage: $0 build|package|test|bench|lint|coverage ..." >&2; exit 2 ;;
    esac
done

if ! command -v dpkg-query >/dev/null; then
    echo "No dpkg here; what Debian calls these must be installed:" $wanted >&2
    exit 0
fi

# Packages are named once each below; a package that dpkg does not know prints nothing.
have=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $wanted 2>/dev/null |
    sed -n 's/^installed //p')
missing=
for package in $wanted; do
    case "
$have
" in
    *"
$package
"*) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "Missing packages; as root: apt-get install --no-install-recommends$missing" >&2
        exit 1
    fi
    as_root=sudo
fi
echo "Installing:$missing"
apt() {
    # A list that another program holds locked is waited for; the output is shown only on failure.
    log=$(mktemp)
    if ! $as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq "$@" \
        >"$log" 2>&1 </dev/null; then
        cat "$log" >&2
        rm -f "$log"
        exit 1
    fi
    rm -f "$log"
}
apt update
apt install -y --no-install-recommends $missing
