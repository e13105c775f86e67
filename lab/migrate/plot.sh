#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A picture of out/migrate-syncs.csv (run.sh), one for each hardware in it:
# out/migrate-svm.svg, out/migrate-vtx.svg.
#
#   lab/migrate/plot.sh

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../../scripts/lib.sh"

figures=$TOP/out/migrate-syncs.csv

plot() {
	gnuplot -e "figures='$1'; picture='$2'" "$TOP/lab/migrate/plot.gp"
}

[ $# -eq 0 ] || die "usage: ${0##*/}"
[ -s "$figures" ] || die "no figures at out/migrate-syncs.csv: make migrate"
part=$(mktemp)
trap 'rm -f "$part"' EXIT
sed 1d "$figures" | cut -d, -f1 | sort -u | while read -r hw; do
	grep "^$hw," "$figures" >"$part"
	plot "$part" "$TOP/out/migrate-$hw.svg"
	say "plot: out/migrate-$hw.svg"
done
