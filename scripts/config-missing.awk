# SPDX-License-Identifier: GPL-2.0
# awk -f config-missing.awk .config FRAGMENT...: print what the fragments ask for and
# .config does not have. A later fragment overrides an earlier one.

match($0, /CONFIG_[A-Za-z0-9_]+/) && /^(# )?CONFIG_.*(=| is not set$)/ {
	name = substr($0, RSTART, RLENGTH)
	if (FILENAME == ARGV[1])
		have[name] = $0
	else
		wanted[name] = $0
}

# An option whose dependencies are off is not in .config at all.
END {
	for (name in wanted)
		if (name in have ? have[name] != wanted[name] : wanted[name] !~ /^#/)
			print wanted[name]
}
