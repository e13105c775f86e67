# SPDX-License-Identifier: GPL-2.0
# Goals (FIGURE FACTOR LIMIT, see goals.tab) against the figures in `csv`: one
# verdict each.

function read_figures(	name, key, i)
{
	FS = ","
	getline <csv
	for (i = 1; i <= NF; i++)
		name[i] = $i
	while ((getline <csv) > 0) {
		measured[$1] = 1
		key = $1 "," $2 "," $3 "," $4 "," $5 ","
		for (i = 6; i <= NF; i++)
			figure[key name[i]] = $i
		figure[key "total"] = $6 + $7
	}
	FS = " "
}

# A number, or what the figure of that name is; empty if there is none.
function value(word)
{
	return word ~ /^[0-9.]+$/ ? word : figure[word]
}

function verdict(	have, limit, machine)
{
	machine = substr($1, 1, index($1, ",") - 1)
	if (!(machine in measured))
		return "ok " $1 " # SKIP " machine " was not measured"
	have = value($1)
	limit = value($3)
	if (have != "" && limit != "" && have + 0 <= $2 * limit)
		return "ok " $1 " = " have " <= " $2 * limit
	return "not ok " $1 " = " (have == "" ? "nothing" : have " > " $2 * limit)
}

BEGIN { read_figures() }
{ print verdict() }
