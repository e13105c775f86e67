# SPDX-License-Identifier: GPL-2.0
# Reading a series file, see commit-series.sh; sourced after lib.sh.
# shellcheck shell=bash

# The names of the parts, in their order.
part_names() { sed -n -E 's/^# part ([a-z0-9-]+)( needs [a-z0-9 -]+)?: .*/\1/p' "$1"; }

# part_title SERIES PART
part_title() { sed -n -E "s/^# part $2( needs [^:]*)?: //p" "$1"; }

# part_needs SERIES PART: the parts that PART names, one a line.
part_needs() {
	sed -n -E "s/^# part $2 needs ([^:]*): .*/\1/p" "$1" | tr -s ' ' '\n'
}

# needed_parts SERIES PART: PART and all that it needs, in the order of the series.
needed_parts() {
	local wanted=" $2 " more name
	part_names "$1" | grep -qxF -- "$2" ||
		die "no such part: $2 ($(part_names "$1" | paste -sd' '))"
	while :; do
		more=$wanted
		for name in $wanted; do
			more+=" $(part_needs "$1" "$name" | paste -sd' ') "
		done
		more=" $(tr -s ' ' '\n' <<<"$more" | sed '/^$/d' | sort -u | paste -sd' ') "
		[ "$more" != "$wanted" ] || break
		wanted=$more
	done
	part_names "$1" | while read -r name; do
		[[ $wanted != *" $name "* ]] || echo "$name"
	done
}

# The steps, one a line: "PART PATCH [since VERSION]".
steps() {
	awk '/^# part / { part = $3; sub(/:$/, "", part); next }
	     !/^#/ && NF { print part, $0 }' "$1"
}

# in_stable "since VERSION" BASE-VERSION
in_stable() {
	[ -n "$1" ] && dpkg --compare-versions "${1#since }" le "$2"
}

# Complains of what nobody can have meant.
check_series() {
	local of p since name need
	grep '^# part' "$1" | while read -r name; do
		[[ $name =~ ^#\ part\ [a-z0-9-]+(\ needs(\ [a-z0-9-]+)+)?:\  ]] ||
			die "series: not a part's heading: $name"
	done
	while read -r of p since; do
		[ -n "$p" ] || die "series: '$of' is below no part's heading"
		[ -z "$since" ] || [[ $since =~ ^since\ [0-9]+(\.[0-9]+)+$ ]] ||
			die "series: $p: '$since' is not 'since VERSION'"
		[ "${p%%/*}" = "$of" ] || die "series: $p is below the heading of $of"
	done < <(steps "$1")
	while read -r name; do
		for need in $(part_needs "$1" "$name"); do
			part_names "$1" | sed "/^$name\$/,\$d" | grep -qxF "$need" ||
				die "series: part $name needs $need, which does not come before it"
		done
	done < <(part_names "$1")
}
