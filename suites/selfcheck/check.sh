#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Does the lab judge rightly? Runs tests that hang, panic, warn and so on, and
# compares the verdicts with expect.tab. KTAP on stdout, and the closing line.
#
#   suites/selfcheck/check.sh [options]
#	--hw "HW ..."	the hardware (the best there is)
#	--kernel FILE	the host kernel (build/host/bzImage)
#	--logs DIR	(build/logs/selfcheck)

. "$(dirname "$0")/../../scripts/lib.sh"
. "$TOP/scripts/ktap.sh"
. "$TOP/lab/options.sh"

option=([hw]='' [kernel]=$BUILD/host/bzImage [logs]=$BUILD/logs/selfcheck)
options "$@"
here=$TOP/suites/selfcheck kernel=${option[kernel]} logs=${option[logs]}
hws=${option[hw]:-$("$TOP/lab/setup.sh" detect)}
set -- --kernel "$kernel"

# refused WHAT run.sh's arguments...: it says WHAT, and does nothing.
refused() {
	local said
	said=$("$TOP/lab/run.sh" "${@:2}" --logs "$logs/refused" 2>&1) && return 1
	echo "$said"
	grep -qF "$1" <<<"$said" && [ ! -e "$logs/refused" ]
}

# What this kernel can have: "machine: test ..." a line.
listed() { "$TOP/lab/run.sh" selfcheck --hw "$1" --kernel "$kernel" --list; }

# judged HW TEST VERDICT REASON: find the test's lines in run.sh's output.
judged() {
	local title line reason
	title=$(awk -v name="$2" '$1 == name' "$here/tests.tab" |
		sed -E 's/^([^[:space:]]+[[:space:]]+){4}//; s/^.* -- //')
	line=$(awk -v title=": $title" '
		!/: retried, / && index($0, title) { print; getline; print; exit }' \
		"$logs/ktap.$1")
	reason=$(sed -n '2s/^# //p' <<<"$line")
	echo "${line/$'\n'# /$'\n'reason: }"
	line=${line%%$'\n'*}
	case $3 in
	pass) [[ $line = "ok "* && $line != *"# SKIP"* ]] ;;
	skip) [[ $line = "ok "*"# SKIP "* && ${line##*# SKIP } =~ $4 ]] ;;
	fail) [[ $line = "not ok "* && $reason =~ $4 ]] ;;
	esac
}

# closing HW: the sum of all. Whatever a dead machine was to run has failed.
closing() {
	awk 'NR == FNR { verdict[$1] = $2; next }
	     { n[$1 ~ /-(silent|dead):$/ ? "fail" : verdict[$2]]++ }
	     $2 ~ /^(never-begins|hangs-twice)$/ { retried++ }
	     END { printf "%d passed, %d failed, %d skipped, %d retried\n",
			n["pass"], n["fail"], n["skip"], retried }' \
		"$here/expect.tab" <(listed "$1")
}

says() {
	tail -n 1 "$logs/ktap.$1"
	[ "$(tail -n 1 "$logs/ktap.$1")" = "$(closing "$1")" ]
}

mkdir -p "$logs"
check "no such suite" refused "error: no such suite" none "$@"
check "no such hardware" refused "error: no such hardware" selfcheck --hw abacus "$@"
check "no such set" refused "error: no such set" selfcheck --set none "$@"
check "no such machine" refused "error: no such machine" selfcheck --machines none "$@"
check "no such test" refused "error: no such test" selfcheck --tests "passes none" "$@"
check "no test that fits" refused "error: no test of" selfcheck --machines svm-dead --tests passes "$@"
check "no kernel" refused "error: no kernel" selfcheck --kernel "$logs/none"
check "no such option" refused "lab/run.sh [SUITE]" selfcheck --none "$@"
N=0 check "no number of times" refused "error: not a number" migration "$@"
for hw in $hws; do
	"$TOP/lab/run.sh" selfcheck --hw "$hw" "$@" --logs "$logs" \
		>"$logs/ktap.$hw" 2>"$logs/progress.$hw" && code=0 || code=$?
	check "$hw: the whole has failed" [ "$code" -eq 1 ]
	check "$hw: the closing line" says "$hw"
	while read -r name verdict reason; do
		check "$hw: $name" judged "$hw" "$name" "$verdict" "$reason"
	done < <(awk 'NR == FNR { listed[$2] } NR != FNR && $1 in listed' \
		<(listed "$hw") "$here/expect.tab")
done
total
