#!/bin/sh
# What the tests have run: tests/coverage.sh BUILD_DIRECTORY [more arguments for gcovr]. A page for
# each source in BUILD_DIRECTORY/html, coverage.xml for other programs, and the sums on the terminal.
set -eu
cd "$(dirname "$0")/.."
build=$1
shift
mkdir -p "$build/html"
# Generated messages are not ours, and the tests do not count as tested.
gcovr --root . --object-directory "$build" --exclude 'tests/' --exclude '.*\.pb-c\.[ch]' \
    --exclude 'build/' --html-details "$build/html/index.html" --xml "$build/coverage.xml" \
    --print-summary "$@" "$build"
