#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A picture of out/migrate-syncs.csv (`make migrate`), one for each hardware in it:
# out/migrate-svm.svg, out/migrate-vtx.svg. That of SVM stands in the document, too:
# build/linux/Documentation/virt/kvm/dirty-ring-syncs.svg, for `make refresh`.
#
#   suites/migration/plot.sh

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../../scripts/lib.sh"

figures=$TOP/out/migrate-syncs.csv

# gnuplot's SVG is mostly empty groups, and says what goes without saying.
tidy() {
	perl -0pi -e '
		s/ stroke-linecap="butt" stroke-linejoin="miter"//g;
		s/<tspan[^>]*>\s*([^<]*)<\/tspan>/$1/g;
		s/ M[\d.,]+ (?=M)| +(?=\x27\/>)//g;
		1 while s/<g [^>]*>\s*<\/g>\s*//g;
		s/[ \t]+$//mg;
		s/\n+/\n/g;
		s/(\?>\n)/$1<!-- SPDX-License-Identifier: GPL-2.0 -->\n/' "$1"
}

plot() {
	gnuplot -e "figures='$1'; picture='$2'" "$TOP/suites/migration/plot.gp"
	tidy "$2"
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
document=$BUILD/linux/Documentation/virt/kvm
if [ -e "$TOP/out/migrate-svm.svg" ] && [ -d "$document" ]; then
	cp "$TOP/out/migrate-svm.svg" "$document/dirty-ring-syncs.svg"
fi
