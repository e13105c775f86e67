#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# All checks. KTAP on stdout; its last line is the sum of all.
#
#   [HW=...] [MATRIX=smoke|full] [TEST=...] [CONFIG=NAME] scripts/check.sh

. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/ktap.sh"

cd "$TOP"
hw=${HW:-$(lab/setup.sh detect)}
kernel=$BUILD/${CONFIG:-host}/bzImage

finish() { total; exit; }

check "the series applies" scripts/tree.sh
[ "$failed" -eq 0 ] || finish
suite lint scripts/lint.sh
suite model verification/model.sh
check "SPTEs of all formats keep their bits apart" verification/spte.sh
check "documents build without warnings" scripts/docs.sh
check "results are recorded and reported" scripts/check-report.sh
if [ -z "${LINUX:-}" ]; then
	check "the round trip changes nothing" scripts/check-refresh.sh
else
	skip "the round trip changes nothing" "patches are in the form of the usual base"
fi
suite "scripts' own checks" scripts/selfcheck.sh
check "git am of the whole and of each part" scripts/series.sh --check
if [ -z "${LINUX:-}" ]; then
	for other in $(base_fact also); do
		check "git am of the whole on $other" env LINUX="$other" scripts/series.sh --check
	done
fi
for cc in gcc clang; do
	check "selftests build by $cc for x86-64-v2, without a warning" \
		env SELFTESTS_CC=$cc SELFTESTS_CFLAGS="-march=x86-64-v2 -Werror" \
		scripts/selftests.sh
done
before=$failed
check "kernel, selftests and virtual hardware build" \
	make --no-print-directory built
[ "$failed" -eq "$before" ] || finish
suite "lab's own checks" suites/selfcheck/check.sh --hw "$hw" --kernel "$kernel"
suite "tests (${MATRIX:-smoke})" lab/run.sh --hw "$hw" --kernel "$kernel" \
	--set "${MATRIX:-smoke}" --tests "${TEST:-}"
suite "migration" lab/run.sh migration --hw "$hw" --kernel "$kernel" --set check
finish
