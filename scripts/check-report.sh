#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# record.sh and report.sh on hand-made results: what ran is reported as it was, what
# did not is absent.
#
#   scripts/check-report.sh
# shellcheck disable=SC2016 # the backticks are of Markdown

. "$(dirname "$0")/lib.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export RESULTS=$work/results
unset TEST MUTANT PART

# ran NAME COMMIT LINE...: the result of a run, as record.sh leaves it.

ran() {
	local name=$1 commit=$2
	shift 2
	mkdir -p "$RESULTS"
	{
		printf '# %s\n' "command: make $name" "commit: $commit" \
			"base: 5.10.262 (some-package)" "hardware: vtx svm" \
			"emulators: Bochs 3.0" "date: 2026-01-02"
		printf '%s\n' "$@" "# took: 7 min"
	} >"$RESULTS/$name.ktap"
}

report() { "$TOP/scripts/report.sh" --results "$RESULTS" --out "$work/out.md" 2>"$work/err"; }

has() { grep -qF -e "$1" "$work/out.md" || { cat "$work/out.md"; die "not reported: $1"; }; }
lacks() { ! grep -qF -e "$1" "$work/out.md" || die "reported: $1"; }

# Nothing was run: an error, and no file.
! report || die "a report of nothing"
grep -q 'no results' "$work/err" || die "no word on missing results"
[ ! -e "$work/out.md" ] || die "a report without results"

head=$(git -C "$TOP" rev-parse --short=12 HEAD)
ran check-full "$head" "KTAP version 1" "ok 1 lint" \
	"ok 2 svm: a_test" "ok 3 vtx-tdp: a_test" "not ok 4 svm: b_test -x" \
	"ok 5 svm: c_test # SKIP no such CPU" "ok 6 vtx-tdp: c_test # SKIP no such CPU" \
	"# svm: d_test: retried, no end within 5 s (build/logs)" \
	"# tests (full): 3 passed, 1 failed, 2 skipped" \
	"4 passed, 1 failed, 2 skipped, 1 retried"
report
has '| `make check-full` | 4 passed, 1 failed, 2 skipped, 1 retried | '"$head | 5.10.262 (some-package) | vtx svm | 2026-01-02 | 7 min |"
has '| svm | 1 | 1 | 1 |'
has '| vtx-tdp | 1 | 0 | 1 |'
has '- svm: b_test -x'
has '- 2 x no such CPU'
has '- svm: d_test: retried'
has '- tests (full): 3 passed, 1 failed, 2 skipped'
for absent in bench migrate mutants races; do
	lacks "make $absent"
done

# Another commit, an unknown one, changes: each is said.
first=$(git -C "$TOP" rev-list --max-parents=0 HEAD | tail -n 1)
ran races "$first" "ok 1 svm: a_test" "1 passed, 0 failed, 0 skipped"
ran migrate 0123456789ab "ok 1 svm: migrate ring" "1 passed, 0 failed, 0 skipped"
ran bench "$head-dirty" "ok 1 goal" "1 passed, 0 failed, 0 skipped"
report
has "$first (another state: "
has '0123456789ab (not in this repository)'
has "$head-dirty (with changes that were not committed)"

# A run that was cut off has no result, and its tables are not needed.
ran mutants "$head" "ok 1 count-ignored is killed: something" \
	"not ok 2 drop-bit is killed: something"
report
has '| `make mutants` | did not end |'
has '| `dirty_ring_unlucky_test` | count-ignored |'
lacks '| drop-bit'

# Tables stand beside the run.
echo 'machine,kernel,mode,pattern,slot_gib,run,collect,more
svm,base,bitmap,random,1,10.5,9.5,0
svm,host,ring,random,1,12.5,7.5,0
svm,host,ring,random,64,12.6,7.7,0' >"$RESULTS/bench.bench.csv"
report
has '| machine | kernel | tracking | run | collect random, 1 GiB | collect random, 64 GiB |'
has '| svm | base | bitmap | 10.5 | 9.5 |  |'
has '| svm | host | ring | 12.5 | 7.5 | 7.7 |'
echo 'hw,guest,tracking,migration,total_ms,downtime_ms,syncs,bytes,pages,sync_ticks,sync_kernel_ticks,reap_ticks,clear_ticks,full_exits
svm,light,ring,1,222,21,5,1929,9,348,1,2,3,4' >"$RESULTS/migrate.migrate.csv"
report
has '| svm | light | ring | 222 | 21 | 5 | 1929 | 348 | 2 | 3 | 4 |'

# record.sh: the command's exit status and output, its facts, its table.
table=$work/table.csv
makes_table() { printf 'ok 1 svm: x\n1 passed, 0 failed, 0 skipped\n'; touch "$1"; return 3; }
export -f makes_table
rc=0
MADE_BY="make bench" HW=vtx "$TOP/scripts/record.sh" --keep "$table" bench \
	bash -c "sleep 1; makes_table $table" >"$work/said" || rc=$?
[ $rc -eq 3 ] || die "record.sh: exit status $rc, not 3"
[ "$(cat "$work/said")" = "ok 1 svm: x
1 passed, 0 failed, 0 skipped" ] || die "record.sh: other output"
[ -e "$RESULTS/bench.table.csv" ] || die "record.sh: no table"
[ ! -e "$RESULTS/bench.bench.csv" ] || die "record.sh: an old table"
report
has '| `make bench` | 1 passed, 0 failed, 0 skipped | '"$head"
has 'Bochs 3.0'
! "$TOP/scripts/record.sh" bench false || die "record.sh: a success"
report
has '| `make bench` | 1 passed, 0 failed, 0 skipped | '"$head"
TEST=x "$TOP/scripts/record.sh" part true
[ ! -e "$RESULTS/part.ktap" ] || die "record.sh: a part is kept as a result"
