#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What a dirtied page costs: instructions for the run that dirties it and for
# its collection, on each line of machines.tab, the unpatched kernel beside ours.
# README.md says how to read it.
#
#   bench/run.sh [options]
#	--hw "vtx svm"	the hardware (all)
#	--base FILE	the unpatched kernel (build/base/bzImage)
#	--host FILE	the kernel to compare with it (build/host/bzImage)
#	--csv FILE	the figures (out/bench.csv)
#	--check		hold them against the goals, too (check.sh)

. "$(dirname "$0")/../scripts/lib.sh"
. "$TOP/bench/lib.sh"

usage() { sed -n '/^#   bench/,/^$/s/^#//p' "$0" >&2; exit 1; }

hw='svm vtx' base=$BUILD/base/bzImage host=$BUILD/host/bzImage
csv=$TOP/out/bench.csv check=''
while [ $# -gt 0 ]; do
	case $1 in
	--check) check=1; shift; continue ;;
	--hw | --base | --host | --csv) [ $# -ge 2 ] || usage ;;
	esac
	case $1 in
	--hw) hw=$2 ;;
	--base) base=$2 ;;
	--host) host=$2 ;;
	--csv) csv=$2 ;;
	*) usage ;;
	esac
	shift 2
done
for word in $hw; do
	case $word in
	svm | vtx) ;;
	kvm)
		say "kvm counts no instructions: measuring on svm and vtx"
		hw='svm vtx'
		;;
	*) die "no such hardware: $word" ;;
	esac
done
[ -f "$base" ] || die "no kernel at $base: scripts/kernel.sh base builds it"
[ -f "$host" ] || die "no kernel at $host: make kernel builds it"

# boot_one: one boot of what measure() has set, to $out.log
boot_one() {
	"$TOP/lab/boot.sh" --hw "$hw" --kernel "$file" --cpus 1 "${count[@]}" \
		--append "$args" --bin "$BENCH_OUT" --timeout 900 \
		-- dirty_cost >"$out.log" 2>&1
}

# Bochs stalls in one boot of many.
stalled() { grep -q 'did not come up (silent)' "$out.log"; }

# measure MACHINE HW KERNEL-NAME FILE ARGS: its figures to MACHINE.KERNEL.csv
measure() {
	local machine=$1 hw=$2 name=$3 file=$4 args=$5 count=()
	local out=$work/$machine.$name
	[ "$hw" != svm ] || count=(--icount)
	boot_one || { stalled && say "$machine, $name: retried" && boot_one; } || {
		tail -n 20 "$out.log" >&2
		die "no figures from $machine with the $name kernel"
	}
	sed -n "s/^cost,/$machine,$name,/p" "$out.log" >"$out.csv"
	sed -n "s/^small,ring,\(.*\),/$machine, ring: \1, instructions: /p" \
		"$out.log" >"$out.small"
	[ -s "$out.csv" ] || die "no figures in $out.log"
}

# As many boots at a time as there are CPUs: instructions are counted, so how
# busy this machine is does not matter.
measure_all() {
	local machine hw args name running=0 failed=0
	while read -r machine hw args; do
		for name in base host; do
			if [ $running -eq "$JOBS" ]; then
				wait -n || failed=1
				running=$((running - 1))
			fi
			measure "$machine" "$hw" $name "${!name}" "$args" </dev/null &
			running=$((running + 1))
		done
	done <"$work/machines"
	while [ $running -gt 0 ]; do
		wait -n || failed=1
		running=$((running - 1))
	done
	return $failed
}

results() {
	local machine hw args name
	while read -r machine hw args; do
		for name in base host; do
			cat "$work/$machine.$name.$1"
		done
	done <"$work/machines"
}

step "build dirty_cost" build_dirty_cost
for word in $hw; do
	"$TOP/lab/setup.sh" "$word"
done
work=$BENCH_OUT/boots
rm -rf "$work"
mkdir -p "$work" "$(dirname "$csv")"
rows "$BENCH/machines.tab" | awk -v hw="$hw" '
	index(" " hw " ", " " $2 " ")' >"$work/machines"
step "measure ($(wc -l <"$work/machines") machines, 2 kernels)" measure_all

{
	echo "machine,kernel,mode,pattern,slot_gib,run,collect,run_median,collect_median,harvest,reprotect"
	results csv
} >"$csv"
awk -f "$BENCH/table.awk" "$csv"
echo
results small
say "figures: ${csv#"$TOP"/}"
[ -z "$check" ] || "$BENCH/check.sh" "$csv"
