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

mkdir -p "$logs"
out=$logs/ktap said=$logs/said
expected=$(sed '/^#/d;/^$/d' "$here/expect.tab")
echo "KTAP version 1"
echo "1..$((4 + ($(wc -l <<<"$expected") + 2) * $(wc -w <<<"$hws")))"
check "no such hardware" refused hardware --hw abacus --kernel "$kernel"
check "no such set" refused set --set all --kernel "$kernel"
check "no kernel" refused kernel --hw svm --kernel "$logs/none"
check "no such test" refused test --hw "$hws" --kernel "$kernel" --bin "$here/bin" --tests none
for hw in $hws; do
	"$TOP/lab/run.sh" --hw "$hw" --set full --kernel "$kernel" \
		--bin "$here/bin" --logs "$logs" >"$out.$hw" 2>"$logs/progress.$hw" && code=0 || code=$?
	said=$out.$hw
	check "$hw: the whole has failed" [ "$code" -ne 0 ]
	check "$hw: the closing line" grep -q "^3 passed, 15 failed, 2 skipped$" "$out.$hw"
	said=$logs/said
	while read -r name verdict reason; do
		check "$hw: $name" judged "$hw" "$name" "$verdict" "$reason"
	done <<<"$expected"
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
