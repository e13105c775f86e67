#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Write docs/results.md from what the last runs have left in build/results (see
# record.sh). It runs nothing. What was not run is not in the report.
#
#   scripts/report.sh [--results DIR] [--out FILE]

. "$(dirname "$0")/lib.sh"

results=$BUILD/results out=$TOP/docs/results.md
while [ $# -gt 0 ]; do
	[ $# -ge 2 ] || die "usage: ${0##*/} [--results DIR] [--out FILE]"
	case $1 in
	--results) results=$2 ;;
	--out) out=$2 ;;
	*) die "usage: ${0##*/} [--results DIR] [--out FILE]" ;;
	esac
	shift 2
done

# In this order, others after them.
known='check-full check-smoke check-full-debug check-smoke-debug races bench
	migrate migrate-libvirt mutants'

# What is in $results, one name a line.
names() {
	local name
	for name in $known; do
		[ ! -f "$results/$name.ktap" ] || echo "$name"
	done
	for name in "$results"/*.ktap; do
		name=$(basename "$name" .ktap)
		[[ " ${known//[$'\n\t']/ } " = *" $name "* ]] || echo "$name"
	done
}

# How a run's commit stands to HEAD; nothing if they are the same but for documents.
state() {
	local commit files
	commit=$(sed -n 's/^# commit: //p;/^# took/q' "$results/$1.ktap" | head -n 1)
	case $commit in
	*-dirty) echo "with changes that were not committed"; return ;;
	esac
	files=$(git -C "$TOP" diff --name-only "$commit" HEAD -- . ':!docs' \
		':!README.md' ':!Documentation' 2>/dev/null) ||
		{ echo "not in this repository"; return; }
	[ -z "$files" ] ||
		echo "another state: $(wc -l <<<"$files") files differ from this one"
}

# The mutants and what kills each, "NAME COMMAND".
killers() {
	awk 'FNR == 1 { n = split(FILENAME, path, "/"); sub(/\.patch$/, "", path[n]) }
	     /^Killed-by: / { sub(/^Killed-by: /, "")
			      sub(/^(vtx|svm|kvm)[^:]*: /, "")
			      print path[n], $0; nextfile }' \
		"$TOP"/verification/mutants/*.patch
}

# markdown CSV COLUMNS: some columns of a table, by name, as Markdown.
markdown() {
	awk -F, -v want="$2" '
	NR == 1 {
		for (i = 1; i <= NF; i++)
			at[$i] = i
		n = split(want, name, " ")
		rule = "|"
		printf "|"
		for (i = 1; i <= n; i++) {
			printf " %s |", name[i]
			rule = rule "---|"
		}
		print "\n" rule
		next
	}
	{
		printf "|"
		for (i = 1; i <= n; i++)
			printf " %s |", $at[name[i]]
		print ""
	}' "$1"
	echo
}

# bench CSV: a line for each machine, kernel and kind of tracking, a column for each
# pattern and size. `run` is that of the first of these: the others hardly differ.
bench() {
	awk -F, '
	NR == 1 { next }
	{
		row = "| " $1 " | " $2 " | " $3 " |"
		column = $4 ", " $5 " GiB"
		if (!(row in run)) {
			rows[++nr] = row
			run[row] = $6
		}
		if (!(column in seen)) {
			columns[++nc] = column
			seen[column]
		}
		collect[row, column] = $7
	}
	END {
		printf "| machine | kernel | tracking | run |"
		for (c = 1; c <= nc; c++)
			printf " collect %s |", columns[c]
		printf "\n|---|---|---|---|"
		for (c = 1; c <= nc; c++)
			printf "---|"
		for (r = 1; r <= nr; r++) {
			printf "\n%s %s |", rows[r], run[rows[r]]
			for (c = 1; c <= nc; c++)
				printf " %s |", collect[rows[r], columns[c]]
		}
		print "\n"
	}' "$1"
}

# Figures that stand beside NAME.ktap.
figures() {
	local csv=$results/$1
	if [ -f "$csv.bench.csv" ]; then
		echo "Instructions per dirtied page. \`base\` is the unpatched kernel," \
			"\`host\` the patched one."
		echo
		bench "$csv.bench.csv"
	fi
	if [ -f "$csv.migrate.csv" ]; then
		echo "One migration a line. Ticks are instructions of QEMU and the host" \
			"kernel."
		echo
		markdown "$csv.migrate.csv" "hw guest tracking total_ms downtime_ms syncs bytes sync_ticks reap_ticks clear_ticks full_exits"
	fi
}

report() {
	local name
	cat <<-'END'
	# Results

	Written by `make report` from the last run of each command. A run that was not
	made is not listed. [README.md](README.md) says what the commands measure.

	| command | result | commit | base | hardware | date | took |
	|---|---|---|---|---|---|---|
	END
	for name in "$@"; do
		awk -v as=row -v state="$(state "$name")" \
			-f "$TOP/scripts/report.awk" "$results/$name.ktap"
	done
	echo
	for name in "$@"; do
		awk -v as=section -v state="$(state "$name")" \
			-v killers="$([ "$name" != mutants ] || echo "$work/killers")" \
			-f "$TOP/scripts/report.awk" "$results/$name.ktap"
		figures "$name"
	done
}

compgen -G "$results/*.ktap" >/dev/null ||
	die "no results in ${results#"$TOP"/}: 'make check' and others leave them there"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
killers >"$work/killers"
mapfile -t < <(names)
report "${MAPFILE[@]}" | cat -s >"$work/report"
mkdir -p "$(dirname "$out")"
sed '$!b;/^$/d' "$work/report" >"$out"
say "report: ${out#"$TOP"/}"
