# SPDX-License-Identifier: GPL-2.0
# Shared by the shell scripts of this project; sourced, never run.
# shellcheck shell=bash disable=SC2034

set -euo pipefail

# The checkout's root, and the one place outside of it that we write to.
TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/kvm-series
BUILD=$TOP/build
# The base's folder in patches/. Its file `base` tells all else about it.
BASE=v5.10
PATCHES=$TOP/patches/$BASE
# Where the series' new files stand, here as in the kernel.
NEW_DIRS=(include virt arch tools Documentation)
JOBS=${JOBS:-$(nproc)}

# One object cache for all kernel and test builds; no timestamps, no
# absolute paths in what it hashes, so that a fresh clone hits it too.
export CCACHE_DIR=$CACHE/ccache CCACHE_NOHASHDIR=1 CCACHE_MAXSIZE=5G
export CCACHE_BASEDIR=$TOP CCACHE_SLOPPINESS=time_macros
export KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 1970'
export KBUILD_BUILD_USER=kvm KBUILD_BUILD_HOST=series

# What is meant for our own make is not meant for the kernel's; nor is the
# repository of a git hook that runs us.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE

# Progress goes to stderr: stdout belongs to the result (KTAP, paths).
say() { printf '# %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# step "what is done" command...: run it, its output to a log, say how long
# it took; on failure show the end of that log.
step() {
	local what=$1 log t0=$SECONDS rc=0
	shift
	mkdir -p "$BUILD/logs"
	log=$BUILD/logs/$(printf '%s' "$what" | tr -cs '[:alnum:].\n' -).log
	say "$what ..."
	# Not "|| rc=$?", which would switch -e off inside of a function.
	set +e
	(set -e; "$@") >"$log" 2>&1 </dev/null
	rc=$?
	set -e
	if [ $rc -ne 0 ]; then
		tail -n 40 "$log" >&2
		die "$what: failed ($rc), whole log in ${log#"$TOP"/}"
	fi
	say "$what: $((SECONDS - t0)) s"
}

# base_fact WORD: what the base's file says of it.
base_fact() { sed -n "s/^$1[[:space:]]*//p" "$PATCHES/base"; }

# hash_of FILE...: one short key for the contents of all named files.
hash_of() { cat -- "$@" | sha256sum | cut -c1-16; }

# locked NAME command...: one at a time on this machine, across checkouts.
locked() {
	local lock=$CACHE/lock-$1
	shift
	mkdir -p "$CACHE"
	(flock 9; "$@" 9>&-) 9>"$lock"
}

# Git as if nobody had configured it, with one identity and one date: the same
# commits, down to their ids, whoever makes them and when.
plain_git() {
	export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
	export GIT_ATTR_NOSYSTEM=1
	export GIT_AUTHOR_NAME='KVM for 5.10' GIT_COMMITTER_NAME='KVM for 5.10'
	export GIT_AUTHOR_EMAIL=kvm-5.10@localhost
	export GIT_COMMITTER_EMAIL=kvm-5.10@localhost
	export GIT_AUTHOR_DATE='2021-01-01T00:00:00Z'
	export GIT_COMMITTER_DATE='2021-01-01T00:00:00Z'
}

# kernel_version GIT-DIR COMMIT: its version, as in 5.10.262.
kernel_version() {
	git --git-dir "$1" show "$2:Makefile" |
		sed -n '/^EXTRAVERSION/,$!s/^[A-Z]* = *//p' | paste -sd.
}

# The files that a patch's New-files header names, one a line; of several patches,
# if they come as one stream.
new_files() {
	awk '/^From: / { named = body = 0 }
	     /^$/ { named = 0; body = 1 }
	     body { next }
	     /^[^ \t]/ { named = sub(/^New-files:/, "") }
	     named { for (i = 1; i <= NF; i++) print $i }' "$1"
}

# The tree id of what stands in the git work tree DIR, committed or not.
work_tree_id() {
	local index
	index=$(mktemp)
	cp "$(git -C "$1" rev-parse --absolute-git-dir)/index" "$index"
	GIT_INDEX_FILE=$index git -C "$1" add -A
	GIT_INDEX_FILE=$index git -C "$1" write-tree
	rm -f "$index"
}
