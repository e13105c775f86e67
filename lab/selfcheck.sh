#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Does the lab judge rightly? Runs tests that hang, panic, warn and so on, and
# compares the verdicts with lab/selfcheck/expect.tab. Output as lab/run.sh's.
#
#   lab/selfcheck.sh [--hw "HW ..."] [--kernel FILE] [--logs DIR]

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../scripts/lib.sh"

hws='' kernel=$BUILD/host/bzImage logs=$BUILD/logs/selfcheck
while [ $# -gt 0 ]; do
	case $1 in
	--hw) hws=$2 ;;
	--kernel) kernel=$2 ;;
	--logs) logs=$2 ;;
	*) sed -n '/^#   lab/,/^$/s/^#//p' "$0" >&2; exit 1 ;;
	esac
	shift 2
done
here=$TOP/lab/selfcheck
export LAB_MACHINES=$here/machines.tab LAB_TESTS=$here/tests.tab
export LAB_KNOWN=$here/known.tab LAB_BOOT_LIMIT=10
hws=${hws:-$("$TOP/lab/setup.sh" detect)}

n=0 passed=0 failed=0
# check TITLE command...
check() {
	local title=$1
	shift
	n=$((n + 1))
	if "$@"; then
		passed=$((passed + 1))
		echo "ok $n $title"
	else
		failed=$((failed + 1))
		echo "not ok $n $title"
		sed 's/^/#   /' "$said"
	fi
}

# refused WHAT run.sh's arguments...: an error, and no boot.
refused() {
	local what=$1
	shift
	! "$TOP/lab/run.sh" "$@" >"$said" 2>&1 && grep -q "^error: .*$what" "$said"
}

# judged HW TEST VERDICT REASON: find the test's lines in run.sh's output.
judged() {
	local title line reason
	title=$(awk -v name="$2" '$1 == name' "$LAB_TESTS" |
		sed -E 's/^([^[:space:]]+[[:space:]]+){4}//')
	grep -F -A 1 ": $title" "$out.$1" >"$said"
	line=$(head -n 1 "$said")
	reason=$(sed -n '2s/^# //p' "$said")
	case $3 in
	pass) [[ $line = "ok "* && $line != *"# SKIP"* ]] ;;
	skip) [[ $line = "ok "*"# SKIP "* && ${line##*# SKIP } =~ $4 ]] ;;
	fail) [[ $line = "not ok "* && $reason =~ $4 ]] ;;
	esac
}

# What this kernel can have: "machine: test ..." a line.
listed() { "$TOP/lab/run.sh" --hw "$1" --set full --kernel "$kernel" --list; }

# expected HW: the lines of expect.tab for these tests.
expected() {
	awk 'NR == FNR { listed[$2] } NR != FNR && $1 in listed' \
		<(listed "$1") "$here/expect.tab"
}

# closing HW: the sum of all. Whatever a dead machine was to run has failed.
closing() {
	awk 'NR == FNR { verdict[$1] = $2; next }
	     { n[$1 ~ /-(silent|dead):$/ ? "fail" : verdict[$2]]++ }
	     END { printf "%d passed, %d failed, %d skipped\n",
			n["pass"], n["fail"], n["skip"] }' \
		"$here/expect.tab" <(listed "$1")
}

mkdir -p "$logs"
out=$logs/ktap said=$logs/said
declare -A lines
count=4
for hw in $hws; do
	lines[$hw]=$(expected "$hw")
	count=$((count + $(wc -l <<<"${lines[$hw]}") + 2))
done
echo "KTAP version 1"
echo "1..$count"
check "no such hardware" refused hardware --hw abacus --kernel "$kernel"
check "no such set" refused set --set all --kernel "$kernel"
check "no kernel" refused kernel --hw svm --kernel "$logs/none"
check "no such test" refused test --hw "$hws" --kernel "$kernel" --bin "$here/bin" --tests none
for hw in $hws; do
	"$TOP/lab/run.sh" --hw "$hw" --set full --kernel "$kernel" \
		--bin "$here/bin" --logs "$logs" >"$out.$hw" 2>"$logs/progress.$hw" && code=0 || code=$?
	said=$out.$hw
	check "$hw: the whole has failed" [ "$code" -ne 0 ]
	check "$hw: the closing line" \
		grep -qxF "$(closing "$hw")" "$out.$hw"
	said=$logs/said
	while read -r name verdict reason; do
		check "$hw: $name" judged "$hw" "$name" "$verdict" "$reason"
	done <<<"${lines[$hw]}"
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
