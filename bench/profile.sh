#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Where the instructions go, function by function: one round of dirty_cost on
# the virtual SVM, counted by a plugin of QEMU without disturbing what it counts.
#
#   bench/profile.sh [options]
#	--kernel FILE	the kernel (build/host/bzImage)
#	--symbols FILE	its System.map (the one beside the kernel)
#	--part NAME	run or collect (collect)
#	--mode NAME	bitmap or ring (ring)
#	--pattern NAME	random or sequential (random)
#	--slot MIB	size of the memslot (1024)
#	--append ARGS	more kernel arguments
#	--function NAME	the instructions of one function instead, by address

. "$(dirname "$0")/../scripts/lib.sh"
. "$TOP/lab/lib.sh"
. "$TOP/lab/judge.sh"
. "$TOP/lab/tables.sh"
. "$TOP/bench/lib.sh"

usage() { sed -n '/^#   bench/,/^$/s/^#//p' "$0" >&2; exit 1; }

kernel=$BUILD/host/bzImage symbols='' part=collect mode=ring pattern=random
slot=1024 append='' function='' pages=20000
while [ $# -gt 0 ]; do
	[ $# -ge 2 ] || usage
	case $1 in
	--kernel) kernel=$2 ;;
	--symbols) symbols=$2 ;;
	--part) part=$2 ;;
	--mode) mode=$2 ;;
	--pattern) pattern=$2 ;;
	--slot) slot=$2 ;;
	--append) append=$2 ;;
	--function) function=$2 ;;
	*) usage ;;
	esac
	shift 2
done
symbols=${symbols:-$(dirname "$kernel")/System.map}
[ -f "$kernel" ] || die "no kernel at $kernel"
[ -f "$symbols" ] || die "no symbols at $symbols"
[[ $part = run || $part = collect ]] || usage

build_plugin() {
	gcc -shared -fPIC -O2 -Wall -o "$BENCH_OUT/profile.so" "$BENCH/profile.c"
}

# One boot, as lab/boot.sh does it, with the plugin in the emulator.
boot() {
	local command="dirty_cost -m $mode -p $pattern -s $slot -n $pages -r 1"
	KERNEL=$kernel
	load_machine svm
	CPUS=1 ICOUNT=1 ARGS="$ARGS nokaslr $append"
	QEMU_OPTIONS=(-plugin "$BENCH_OUT/profile.so,out=$work/counts,mark=$part")
	echo "0 900 $command" >"$work/plan"
	echo "0 $command" >"$work/init-plan"
	initramfs "$work/initrd" "$work/init-plan" "$BENCH_OUT" dirty_cost
	run_boot "$work"
	text_of "$work/0.out"
	[ "$(exit_of "$work/0.out")" = 0 ]
}

# Symbols and counts, merged by address: "ADDRESS 0 NAME" and "ADDRESS 1 COUNT".
merged() {
	{
		sed -n 's/^\(f[0-9a-f]*\) [tTwW] /\1 0 /p' "$symbols"
		nm "$BENCH_OUT/dirty_cost" |
			sed -n 's/^\([0-9a-f]*\) [tTwWi] /\1 0 user:/p'
		sed 's/ / 1 /' "$work/counts"
	} | LC_ALL=C sort
}

by_function() {
	merged | awk -v pages=$pages '
		$2 == 0 { name = $3; next }
		# The static program begins at 4 MiB, its guest is below.
		{ n[$1 < "0000000000400000" ? "[guest]" : name] += $3; all += $3 }
		END {
			for (f in n)
				if (n[f] >= pages / 10)
					printf "%9.1f %5.1f%%  %s\n", n[f] / pages,
						100 * n[f] / all, f
			printf "%9.1f 100.0%%  all\n", all / pages
		}' | sort -rn
}

by_address() {
	merged | awk -v pages=$pages -v function_name="$function" '
		$2 == 0 { inside = $3 == function_name; next }
		inside { n[$1] += $3 }
		END { for (a in n) printf "%s %9.2f\n", a, n[a] / pages }' | sort
}

work=$BENCH_OUT/profile
rm -rf "$work"
mkdir -p "$work"
step "build dirty_cost" build_dirty_cost
step "build profile.so" build_plugin
"$LAB/setup.sh" svm
step "profile $part, $mode, $pattern, $slot MiB" boot
[ -s "$work/counts" ] || die "the program came to no end mark: see $work/0.out"
say "instructions a page"
if [ -n "$function" ]; then
	by_address
else
	by_function
fi
