#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Search the model of the protocol, and see that it notices what is broken on
# purpose; then the same for the ordering of the accesses. KTAP on stdout.
#
#   verification/model.sh			all
#
# For mutants; success if all is well, 1 if something was found, else 2:
#
#   verification/model.sh broken BREAK		the model, with a line of breaks.tab
#   verification/model.sh ordering TREE NAME	a test of ring.cc, with the
#						accesses of a kernel tree

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../scripts/lib.sh"
# shellcheck source=scripts/ktap.sh
. "$TOP/scripts/ktap.sh"

model=$TOP/verification/model
ordering=$TOP/verification/ordering
out=$BUILD/model

# rows FILE: without comments
rows() { sed 's/[[:space:]]*#.*//; /^$/d' "$1"; }

defines() { rows "$model/runs.tab" | sed -n "s/^$1[[:space:]]*//p"; }

# search RUN [BREAK]: leaves what the search says in $out/.../said
search() {
	local dir=$out/$1${2:+.$2} with flags=-DSAFETY options=-n
	# What is broken is found soon: compiling takes longer.
	local optimize=${2:+-O0}
	with="$(defines "$1") ${2:+-DBREAK_$2}"
	[[ $with != *-DPROGRESS* ]] || flags=-DNFAIR=3 options='-n -a -f'
	mkdir -p "$dir"
	cd "$dir"
	cp "$model/dirty_ring.pml" .
	# shellcheck disable=SC2086 # words of a command line
	spin $with -a dirty_ring.pml >spin.log
	# shellcheck disable=SC2086
	gcc ${optimize:--O2} -w $flags -DMEMLIM=4000 -o pan pan.c
	# shellcheck disable=SC2086
	./pan $options -m5000000 >said || :
}

# What a search found: nothing, or the name of what must not happen. Fails where
# it did not look at all states.
found() {
	sed -nE 's/.*assertion violated  !\((.*)\) \(at depth.*/\1/p
		 s/^pan:[0-9]+: (acceptance cycle|invalid end state).*/\1/p' "$1"
	! grep -qE 'max search depth too small|reached memory limit' "$1" &&
		grep -q '^State-vector' "$1"
}

holds() {
	local what
	what=$(found "$out/$1/said") || { cat "$out/$1/said"; return 1; }
	[ -n "$what" ] || return 0
	echo "$what; the way there: cd build/model/$1 &&" \
		"spin $(defines "$1") -t -p dirty_ring.pml"
	return 1
}

# is_found RUN BREAK WHAT
is_found() {
	local what
	what=$(found "$out/$1.$2/said") || { cat "$out/$1.$2/said"; return 1; }
	[ "$3" != reset_ends ] || set -- "$1" "$2" "acceptance cycle"
	[ "$what" = "$3" ] || { echo "found: ${what:-nothing}"; return 1; }
}

states() { sed -nE 's/^ *([0-9.e+]+) states, stored.*/\1/p' "$1"; }

check_model() {
	local run name finds what
	while IFS= read -r what; do
		run=${what%%[[:space:]]*}
		step "model $run" search "$run"
		check "model, ${what#*# }: $(states "$out/$run/said") states" \
			holds "$run"
	done < <(grep -v '^#' "$model/runs.tab")
	while read -r name run finds what; do
		step "model without $name" search "$run" "$name"
		check "model notices: $what" is_found "$run" "$name" "$finds"
	done < <(rows "$model/breaks.tab")
}

build_ordering() {
	mkdir -p "$out"
	# Relacy is older than C++11 and replaces its atomics.
	g++ -std=c++98 -w -O1 -o "$out/ordering" "$ordering/ring.cc"
}

# ordered FILE [NAME=ORDER]: the accesses of FILE, and what is different.
ordered() {
	local orders
	orders=$(awk -f "$ordering/orders.awk" "$1") || return 2
	# shellcheck disable=SC2086 # words of a command line
	"$out/ordering" $orders "${@:2}" >"$out/ordered" && return
	# After the name of the test.
	grep -m 1 -B 1 -E '^(DATA RACE|USER ASSERT)' "$out/ordered" || return 2
	return 1
}

# In all executions? Fails in one?
is_ordered() { ordered "$@"; }
is_racy() {
	local rc=0
	ordered "$@" || rc=$?
	[ $rc -eq 1 ]
}

check_ordering() {
	local name what file=$TOP/virt/kvm/dirty_ring.c
	step "build the ordering tests" build_ordering
	check "accesses of dirty_ring.c are ordered" is_ordered "$file"
	while read -r name what; do
		check "ordering tests notice: $what" \
			is_racy "$file" "$name=relaxed"
	done < <(rows "$ordering/breaks.tab")
}

case $#,${1:-} in
0,)
	check_model
	check_ordering
	total
	;;
2,broken)
	read -r run finds < <(rows "$model/breaks.tab" |
		awk -v name="$2" '$1 == name { print $2, $3 }') || :
	[ -n "${finds:-}" ] || exit 2
	(step "model without $2" search "$run" "$2") || exit 2
	! is_found "$run" "$2" "$finds" || { echo "$finds"; exit 1; }
	;;
3,ordering)
	(step "build the ordering tests" build_ordering) || exit 2
	rc=0
	ordered "$2/virt/kvm/dirty_ring.c" || rc=$?
	[ $rc -ne 1 ] || grep -qx "$3" <(grep -B 1 -E '^(DATA RACE|USER ASSERT)' \
		"$out/ordered") || rc=2
	exit $rc
	;;
*) sed -n '/^#   /s/^#   //p' "$0" >&2; exit 2 ;;
esac
