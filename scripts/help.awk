# SPDX-License-Identifier: GPL-2.0
# Print a makefile's targets with the "##" line above each, and its variables
# with the comment above each.

/^## / { what = substr($0, 4); next }
/^# / { comment = substr($0, 3); next }
what && /^[a-z-]+:/ { sub(/:.*/, ""); printf "  make %-15s %s\n", $0, what }
/^[A-Z]+ \?=/ { variables = variables sprintf("  %-20s %s\n", $1 "=" $3, comment) }
{ what = "" }
END { print "\nVariables:\n" variables "JOBS, XDG_CACHE_HOME as usual." }
