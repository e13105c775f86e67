# SPDX-License-Identifier: GPL-2.0
# What a dirtied page costs: instructions for the run that dirties it and for
# its collection, the unpatched kernel beside ours. Sourced by lab/run.sh. The
# figures go to out/bench.csv; README.md says how to read them.
# shellcheck shell=bash disable=SC2034,SC2153,SC2154

keys_of_all='on=svm,svm-tdp,svm-npt0,vtx-pml,vtx-pml0 icount=1'
set=${set:-all} bin=${bin:-$BUILD/bench} csv=$TOP/out/bench.csv
if [[ $hws = *kvm* ]]; then
	say "kvm counts no instructions: measuring on svm and vtx"
	hws='svm vtx'
fi

prepare() { "$SUITE/build.sh"; }

title() { echo "$MACHINE: dirty_cost, $name kernel"; }

turn() {
	[ "$what" != pass ] || grep -q '^cost,' "$text" ||
		what=fail reason="no figures"
}

# each EXPRESSION: what sed makes of the jobs' output. Their names are
# MACHINE-KERNEL; in EXPRESSION MACHINE and KERNEL stand for the two.
each() {
	local job machine kernel
	for job in "${jobs[@]}"; do
		machine=${job%-*} kernel=${job##*-}
		[ ! -e "$logs/$job/$kernel.out" ] ||
			sed -n "$1" "$logs/$job/$kernel.out" |
			sed "s/MACHINE/$machine/; s/KERNEL/$kernel/"
	done
}

# The bitmap figures of the unpatched kernel, as goals.
unchanged() {
	awk -F, '$2 == "base" && $3 == "bitmap" {
		rest = $3 "," $4 "," $5
		print $1 ",host," rest ",run", 1.01, $1 ",base," rest ",run"
		print $1 ",host," rest ",collect", 1.01, $1 ",base," rest ",collect"
	}' "$csv"
}

figures() {
	mkdir -p "$(dirname "$csv")"
	{
		echo "machine,kernel,mode,pattern,slot_gib,run,collect,run_median,collect_median,harvest,reprotect"
		each 's/^cost,/MACHINE,KERNEL,/p'
	} >"$csv"
	{
		awk -f "$SUITE/table.awk" "$csv"
		echo
		each 's/^small,ring,\(.*\),/MACHINE, ring: \1, instructions: /p'
	} | sed 's/^/# /'
	{ rows "$SUITE/goals.tab"; unchanged; } |
		awk -f "$SUITE/goals.awk" -v csv="$csv"
	say "figures: ${csv#"$TOP"/}"
}
