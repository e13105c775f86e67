#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A picture of out/migrate-syncs.csv (`make migrate`), one for each hardware in it:
# out/migrate-svm.svg, out/migrate-vtx.svg.
#
#   suites/migration/plot.sh

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../../scripts/lib.sh"

figures=$TOP/out/migrate-syncs.csv

[ $# -eq 0 ] || die "usage: ${0##*/}"
[ -s "$figures" ] || die "no figures at out/migrate-syncs.csv: make migrate"
part=$(mktemp)
trap 'rm -f "$part"' EXIT
sed 1d "$figures" | cut -d, -f1 | sort -u | while read -r hw; do
	grep "^$hw," "$figures" >"$part"
	gnuplot -e "figures='$part'; picture='$TOP/out/migrate-$hw.svg'" \
		"$TOP/suites/migration/plot.gp"
	say "plot: out/migrate-$hw.svg"
done
