#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Where the instructions go, function by function: one round of dirty_cost on
# the virtual SVM, counted by a plugin of QEMU without disturbing what it counts.
#
#   suites/bench/profile.sh [options]
#	--kernel FILE	the kernel (build/host/bzImage)
#	--symbols FILE	its System.map (the one beside the kernel)
#	--part NAME	run or collect (collect)
#	--mode NAME	bitmap or ring (ring)
#	--pattern NAME	random or sequential (random)
#	--slot MIB	size of the memslot (1024)
#	--append ARGS	more kernel arguments
#	--function NAME	the instructions of one function instead, by address

. "$(dirname "$0")/../../scripts/lib.sh"
. "$TOP/lab/lib.sh"
. "$TOP/lab/judge.sh"
. "$TOP/lab/tables.sh"
. "$TOP/lab/options.sh"

option=([kernel]=$BUILD/host/bzImage [symbols]='' [part]=collect [mode]=ring
	[pattern]=random [slot]=1024 [append]='' [function]='')
options "$@"
[[ ${#rest[@]} -eq 0 && ${option[part]} =~ ^(run|collect)$ ]] || usage
KERNEL=${option[kernel]} SUITE=$TOP/suites/bench pages=20000
symbols=${option[symbols]:-$(dirname "$KERNEL")/System.map}
[ -f "$KERNEL" ] || die "no kernel at $KERNEL"
[ -f "$symbols" ] || die "no symbols at $symbols"

build_plugin() {
	gcc -shared -fPIC -O2 -Wall -o "$BUILD/bench/profile.so" "$TOP/bench/profile.c"
}

# One boot, as lab/boot.sh does it, with the plugin in the emulator.
boot() {
	local command="dirty_cost -m ${option[mode]} -p ${option[pattern]}"
	command+=" -s ${option[slot]} -n $pages -r 1"
	read_machines
	load_machine svm "icount=1 arg=nokaslr"
	ARGS+=" ${option[append]}"
	QEMU_OPTIONS=(-plugin "$BUILD/bench/profile.so,out=$work/counts,mark=${option[part]}")
	echo "0 900 $command" >"$work/plan"
	echo "0 $command" >"$work/init-plan"
	initramfs "$work/initrd" "$work/init-plan" "$BUILD/bench" dirty_cost
	run_boot "$work"
	text_of "$work/0.out"
	[ "$(exit_of "$work/0.out")" = 0 ]
}

# Symbols and counts, merged by address: "ADDRESS 0 NAME" and "ADDRESS 1 COUNT".
merged() {
	{
		sed -n 's/^\(f[0-9a-f]*\) [tTwW] /\1 0 /p' "$symbols"
		nm "$BUILD/bench/dirty_cost" |
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
	merged | awk -v pages=$pages -v function_name="${option[function]}" '
		$2 == 0 { inside = $3 == function_name; next }
		inside { n[$1] += $3 }
		END { for (a in n) printf "%s %9.2f\n", a, n[a] / pages }' | sort
}

work=$BUILD/bench/profile
rm -rf "$work"
"$SUITE/build.sh"
mkdir -p "$work"
step "build profile.so" build_plugin
"$LAB/setup.sh" svm
step "profile ${option[part]}, ${option[mode]}, ${option[pattern]}, ${option[slot]} MiB" boot
[ -s "$work/counts" ] || die "the program came to no end mark: see $work/0.out"
say "instructions a page"
if [ -n "${option[function]}" ]; then
	by_address
else
	by_function
fi
