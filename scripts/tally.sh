# SPDX-License-Identifier: GPL-2.0
# KTAP for checks that run here; sourced after lib.sh.
# shellcheck shell=bash

checks=0 passed=0 failed=0 skipped=0

# check WHAT command...: one line of KTAP, and what the command said if it failed.
# What it says of its progress passes through to stderr at once.
check() {
	local what=$1 said rc
	shift
	checks=$((checks + 1))
	set +e
	said=$( (set -e; "$@") 2>&1 </dev/null |
		tee >(grep --line-buffered '^# ' >&2))
	rc=$?
	set -e
	if [ $rc -eq 0 ]; then
		echo "ok $checks $what"
		passed=$((passed + 1))
		return
	fi
	echo "not ok $checks $what"
	said=$(grep -v '^# ' <<<"$said") || true
	echo "# ${said//$'\n'/$'\n'# }"
	failed=$((failed + 1))
}

# skip WHAT WHY
skip() {
	checks=$((checks + 1)) skipped=$((skipped + 1))
	echo "ok $checks $1 # SKIP $2"
}

# suite WHAT command...: what prints KTAP and a closing line of its own, which is
# added to ours. No such line, or failure without one that failed, is a failure.
suite() {
	local what=$1 log=$BUILD/logs/suite rc=0 p f s
	shift
	mkdir -p "$BUILD/logs"
	say "$what ..."
	set +e
	"$@" </dev/null | tee "$log" |
		sed -u -E "s/^[0-9]+ passed, .* skipped$/# $what: &/"
	rc=${PIPESTATUS[0]}
	set -e
	read -r p f s < <(tail -n 1 "$log" | sed -n -E \
		's/^([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped$/\1 \2 \3/p') ||
		p=0 f=0 s=0 rc=1
	if [ "$rc" -ne 0 ] && [ "$f" -eq 0 ]; then
		echo "not ok $what ended with $rc"
		f=1
	fi
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

# The closing line; success if nothing failed and something passed.
total() {
	echo "$passed passed, $failed failed, $skipped skipped"
	[ $failed -eq 0 ] && [ $passed -gt 0 ]
}
