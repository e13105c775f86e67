# SPDX-License-Identifier: GPL-2.0
# git diff -U0 ... | awk -f filter-warnings.awk - LOG: print those messages of a compiler or
# of Sphinx that are about a line which the diff adds.

FNR == 1 { input++ }

input == 1 && /^\+\+\+ / { file = substr($2, 3); files[file] }

input == 1 && /^@@ / {
	split($3, range, ",")
	for (i = 0; i < (range[2] == "" ? 1 : range[2]); i++)
		added[file ":" range[1] + i]
}

# "path:line:column: warning: ..."; the path may lead through other folders.
input == 2 && /: *(warning|error|WARNING|ERROR|SEVERE)[: ]/ {
	split($1, at, ":")
	path = at[1]
	while (sub(/[^\/]+\/\.\.\//, "", path))
		;
	sub(/^(\.\.\/)+/, "", path)
	for (file in files)
		if (path == file || substr(path, length(path) - length(file)) == "/" file)
			if (at[2] == "" || (file ":" at[2]) in added)
				print
}
