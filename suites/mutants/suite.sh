# SPDX-License-Identifier: GPL-2.0
# Break the kernel on purpose, one mutant after the other, and see that the test
# which is to notice does. Sourced by lab/run.sh; the tests are the patches of
# verification/mutants/, whose first lines say what to run:
#
#	Breaks: WHAT
#	Killed-by: MACHINE: COMMAND	a machine of the lab, a test program
#
# A line "Config: NAME" has the kernel built with configs/NAME.config.
#
# No test can be made to see some. A tool sees them instead:
#
#	Killed-by: ordering: NAME	run on the mutated source; NAME fails
#	Killed-by: spte: any		the SPTEs that the mutated source makes
#	Killed-by: model: BREAK		the model, broken in the same way by hand
#
# And one may break nothing, but add what the feature has to cope with:
#
#	Adds: WHAT
#	Passes: MACHINE: COMMAND
# shellcheck shell=bash disable=SC2034,SC2154

hws=${option[hw]:-svm vtx} set=${set:-all}
mutants=verification/mutants

tests() {
	cd "$TOP" && awk -v OFS='\t' -v tool="on=here -- lab/patched.sh" '
		FNR == 1 { split(FILENAME, path, /[.\/]/); header = 1 }
		/^---/ { header = 0 }
		!header || !/^(Killed-by|Passes): / { next }
		{
			where = $2
			sub(/^[^ ]* [^ ]* /, "")
			command = "on=" where " kernel=../../" FILENAME " -- " $0
			sub(/:/, "", command)
		}
		where == "model:" {
			command = tool " " FILENAME " verification/model.sh broken " $0
		}
		where == "ordering:" {
			command = tool " " FILENAME " verification/model.sh ordering @TREE@ " $0
		}
		where == "spte:" {
			command = tool " " FILENAME " verification/spte.sh @TREE@"
		}
		{ print path[3], "all", "-", 300, command }' "$mutants"/*.patch
}

header() { sed -n "s/^$1: //p;/^---/q" "$TOP/$mutants/$name.patch"; }

title() {
	if [ -n "$(header Passes)" ]; then
		echo "$name passes: $(header Adds)"
	else
		echo "$name is killed: $(header Breaks)"
	fi
}

# A test kills by failing, a tool by its exit code. A skip does not, nor does
# what could not run.
turn() {
	[ -z "$(header Passes)" ] || return 0
	case $HW:$what:$reason in
	here:fail:'exit code 1') what=pass ;;
	here:fail:*) ;;
	*:fail:'exit code 12'[67]) reason="the test did not run: $reason" ;;
	*:fail:*) what=pass ;;
	*) reason="survived: $(header Killed-by): $what $reason" what=fail ;;
	esac
}
