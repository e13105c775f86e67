# SPDX-License-Identifier: GPL-2.0
# What a suite has printed (build/results/NAME.ktap, see record.sh), as Markdown.
#
#   awk -v as=row|section [-v killers=FILE] -v state=... -f report.awk NAME.ktap
#
# `row` is its line of the overview. `state` says how its commit stands to HEAD.
# `killers` has a line "MUTANT COMMAND" for each mutant: then verdicts are shown by
# command. Only a closing line makes a run complete.

function fact(name) { return (name in facts) ? facts[name] : "unknown" }

# The machine of a title such as "svm-npt0: command", or nothing.
function machine_of(title)
{
	if (match(title, /^(vtx|svm|kvm)[-a-z0-9]*: /))
		return substr(title, 1, RLENGTH - 2)
	return ""
}

function count(key, what) { n[key, what]++ }

function cell(key, what) { return n[key, what] + 0 }

/^# [a-z]+: / && !begun {
	name = substr($2, 1, length($2) - 1)
	facts[name] = substr($0, length($2) + 4)
	next
}
/^# took: / { facts["took"] = substr($0, 9); next }
{ begun = 1 }

/^# .*: [0-9]+ passed, [0-9]+ failed, [0-9]+ skipped/ {
	suites[++nr_suites] = substr($0, 3)
}

/^# .*: retried, / { retries[++nr_retries] = substr($0, 3) }

/^(not )?ok / {
	what = /^not / ? "failed" : / # SKIP / ? "skipped" : "passed"
	title = $0
	sub(/^(not )?ok [0-9]+ /, "", title)
	if (what == "skipped") {
		why = title
		sub(/.* # SKIP /, "", why)
		sub(/ # SKIP .*/, "", title)
		if (!(why in skips))
			reasons[++nr_reasons] = why
		skips[why]++
	}
	if (what == "failed")
		failures[++nr_failures] = title
	machine = machine_of(title)
	if (machine && !(machine in seen)) {
		seen[machine]
		machines[++nr_machines] = machine
	}
	if (machine)
		count(machine, what)
	split(title, word, " ")
	verdict[word[1]] = what
	order[++nr_titles] = word[1]
}

/^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped/ { closing = $0 }

function outcome() { return closing ? closing : "did not end" }

function row()
{
	printf "| `%s` | %s | %s | %s | %s | %s | %s |\n", fact("command"),
		outcome(), commit(), fact("base"), fact("hardware"),
		fact("date"), fact("took")
}

function commit() { return fact("commit") (state ? " (" state ")" : "") }

function by_machine(	i, m)
{
	print "| machine | passed | failed | skipped |\n|---|---|---|---|"
	for (i = 1; i <= nr_machines; i++) {
		m = machines[i]
		printf "| %s | %d | %d | %d |\n", m, cell(m, "passed"),
			cell(m, "failed"), cell(m, "skipped")
	}
	print ""
}

# A mutant that was killed is "passed".
function by_killer(	line, name, i, killer, names, kinds, kind, nr)
{
	while ((getline line <killers) > 0) {
		name = line
		sub(/ .*/, "", name)
		killer[name] = substr(line, length(name) + 2)
	}
	for (i = 1; i <= nr_titles; i++) {
		name = order[i]
		if (!(name in killer) || verdict[name] != "passed")
			continue
		kind = killer[name]
		if (!(kind in names))
			kinds[++nr] = kind
		names[kind] = names[kind] (names[kind] ? ", " : "") name
	}
	print "| test or tool | mutants that it kills |\n|---|---|"
	for (i = 1; i <= nr; i++)
		printf "| `%s` | %s |\n", kinds[i], names[kinds[i]]
	print ""
}

function list(what, lines, nr,	i)
{
	if (!nr)
		return
	print what "\n"
	for (i = 1; i <= nr; i++)
		print "- " lines[i]
	print ""
}

function section(	i)
{
	printf "## `%s`\n\n", fact("command")
	printf "%s. Commit %s, base %s, %s, %s.\n\n", outcome(), commit(),
		fact("base"), fact("emulators"), fact("date")
	list("Its parts:", suites, nr_suites)
	if (nr_machines)
		by_machine()
	if (killers)
		by_killer()
	list("Failed:", failures, nr_failures)
	list("Tried once more:", retries, nr_retries)
	for (i = 1; i <= nr_reasons; i++)
		reasons[i] = skips[reasons[i]] " x " reasons[i]
	list("Skipped:", reasons, nr_reasons)
}

END {
	if (as == "row")
		row()
	else
		section()
}
