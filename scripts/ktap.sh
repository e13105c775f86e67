# SPDX-License-Identifier: GPL-2.0
# KTAP on stdout: whatever prints a verdict does it here. Sourced after lib.sh.
# shellcheck shell=bash

checks=0 passed=0 failed=0 skipped=0 retried=0

# plan N: so many verdicts follow.
plan() { printf 'KTAP version 1\n1..%d\n' "$1"; }

# result LINE: number and count "ok WHAT", "ok WHAT # SKIP WHY", "not ok WHAT".
result() {
	checks=$((checks + 1))
	case $1 in
	"ok "*" # SKIP "*) skipped=$((skipped + 1)) ;;
	"ok "*) passed=$((passed + 1)) ;;
	*) failed=$((failed + 1)) ;;
	esac
	echo "${1%%ok *}ok $checks ${1#*ok }"
}

# results FILE: such lines, between lines of diagnostics.
results() {
	local line
	while IFS= read -r line; do
		case $line in
		"ok "* | "not ok "*) result "$line" ;;
		*) echo "$line" ;;
		esac
	done <"$1"
}

# check WHAT command...: a verdict, and what the command said if it failed. What
# it says of its progress passes through to stderr at once.
check() {
	local what=$1 said rc
	shift
	set +e
	said=$( (set -e; "$@") 2>&1 </dev/null |
		tee >(grep --line-buffered '^# ' >&2))
	rc=$?
	set -e
	if [ $rc -eq 0 ]; then
		result "ok $what"
		return
	fi
	result "not ok $what"
	said=$(grep -v '^# ' <<<"$said") || true
	echo "# ${said//$'\n'/$'\n'# }"
}

# skip WHAT WHY
skip() { result "ok $1 # SKIP $2"; }

# suite WHAT command...: what prints KTAP and a closing line of its own, which
# is added to ours. No such line, or failure without one that failed, is a
# failure.
suite() {
	local what=$1 log=$BUILD/logs/suite rc=0 p f s r
	local closing='([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped'
	closing="^$closing(, ([0-9]+) retried)?$"
	shift
	mkdir -p "$BUILD/logs"
	say "$what ..."
	set +e
	"$@" </dev/null | tee "$log" | sed -u -E "s/$closing/# $what: &/"
	rc=${PIPESTATUS[0]}
	set -e
	read -r p f s r < <(tail -n 1 "$log" |
		sed -n -E "s/$closing/\1 \2 \3 0\5/p") || p=0 f=0 s=0 r=0 rc=1
	if [ "$rc" -ne 0 ] && [ "$f" -eq 0 ]; then
		echo "not ok $what ended with $rc"
		f=1
	fi
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	retried=$((retried + 10#$r))
}

# The closing line; success if nothing failed and something passed.
total() {
	local more=
	[ "$retried" -eq 0 ] || more=", $retried retried"
	echo "$passed passed, $failed failed, $skipped skipped$more"
	[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}
