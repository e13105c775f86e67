# SPDX-License-Identifier: GPL-2.0
# Dirty pages of each sync, and the host's instructions for it: a column for each
# kind of guest, ring and bitmap side by side. plot.sh sets `figures` (a CSV) and
# `picture`.
set terminal svg size 1100,560 font "sans-serif,11" background "white"
set output picture
set datafile separator ","
set key at screen 0.99, screen 0.98 horizontal
set grid ytics
set style data histograms
set style histogram clustered gap 1
set style fill solid 0.8 border -1
set boxwidth 0.9
set xtics scale 0
set yrange [0:*]
guests = "light heavy random posted sparse"

figures_of(guest, tracking, what) = sprintf( \
	"< awk -F, '$2 == \"%s\" && $3 == \"%s\" { print $5 \",\" $%d }' %s", \
	guest, tracking, what, figures)

set multiplot layout 2,5 margins 0.08,0.98,0.11,0.86 spacing 0.06,0.12
do for [what = 6:7] {
	do for [guest in guests] {
		set title (what == 6 ? guest : "")
		set ylabel (guest ne "light" ? "" : what == 6 ? \
			"dirty pages" : "instructions, in thousands")
		set xlabel (what == 7 ? "sync" : "")
		scale = what == 7 ? 1000.0 : 1.0
		plot figures_of(guest, "bitmap", what) using ($2 / scale):xtic(1) \
				title "bitmap" linecolor rgb "#999999", \
			figures_of(guest, "ring", what) using ($2 / scale) \
				title "ring" linecolor rgb "#2266aa"
		unset key
	}
}
unset multiplot
