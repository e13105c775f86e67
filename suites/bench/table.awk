# SPDX-License-Identifier: GPL-2.0
# The CSV of the bench as a table. Of run/page it shows the first figure of a row, the
# random one of the smallest slot: the others hardly differ.

BEGIN { FS = "," }
NR == 1 { next }
{
	row = $1 "," $2 "," $3
	if (!(row in run)) {
		order[++rows] = row
		run[row] = $6
	}
	collect[row, $4, $5] = $7
}
END {
	line = "%-10s %-6s %-8s %9s %16s %16s %16s %16s\n"
	printf line, "machine", "kernel", "tracking", "run/page",
		"collect random", "sequential", "random 64 GiB", "seq. 64 GiB"
	for (i = 1; i <= rows; i++) {
		split(order[i], name, ",")
		printf line, name[1], name[2], name[3], run[order[i]],
			collect[order[i], "random", 1],
			collect[order[i], "sequential", 1],
			collect[order[i], "random", 64],
			collect[order[i], "sequential", 64]
	}
}
