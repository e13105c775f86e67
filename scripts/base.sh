#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The base kernel as a bare git repository of one commit, in the cache.
#
#   [LINUX=PATH|VERSION] scripts/base.sh
#
# Without LINUX the base is the newest Debian package that the mirror has
# (patches/.../base names it). LINUX is another version of that package, or a git
# checkout (its HEAD), a plain source folder or a tarball of the same series of
# versions. Prints the repository's path; its one commit is the branch "base".

. "$(dirname "$0")/lib.sh"

# Each kind of base: locate_* sets $origin and the $key to cache it by,
# makefile_* prints its top Makefile, import_* its tree's id, once it is in
# the repository $GIT_DIR ($1 is a folder to unpack to).

locate_debian() {
	local package suites version=${LINUX:-} dir
	package=$(base_fact package)
	suites=$(base_fact suites)
	[ -n "$version" ] || version=$(locked fetch-linux \
		"$TOP/scripts/fetch.sh" newest "$suites" "$package")
	dir=$(locked fetch-linux "$TOP/scripts/fetch.sh" \
		deb "$suites" "$package=$version")
	origin=$(echo "$dir"/*.deb)
	key=$(basename "$origin" .deb)
}

# A package's version tells; its Makefile is packed.
makefile_debian() {
	basename "$origin" | sed 's/[^_]*_\([0-9]*\)\.\([0-9]*\)\..*/VERSION = \1\nPATCHLEVEL = \2/'
}

import_debian() {
	dpkg-deb --fsys-tarfile "$origin" |
		tar -xO --wildcards './usr/src/*.tar.xz' |
		tar -xJ --strip-components=1 -C "$1"
	add_folder "$1"
}

locate_tarball() { key=tarball-$(hash_of "$origin"); }

makefile_tarball() {
	tar -xOf "$origin" --wildcards --no-wildcards-match-slash '*/Makefile'
}

import_tarball() {
	tar -xf "$origin" --strip-components=1 -C "$1"
	add_folder "$1"
}

locate_folder() {
	[ ! -e "$origin/.config" ] && [ ! -e "$origin/include/config" ] ||
		die "LINUX=$LINUX was built in: run 'make mrproper' there"
	key=folder-$(cd "$origin" && find . -type f -printf '%p %s %T@\n' |
		sort | sha256sum | cut -c1-16)
}

makefile_folder() { cat "$origin/Makefile"; }
import_folder() { add_folder "$origin"; }

# The kernel's .gitignore would drop some of its own files: -f. With the low
# threshold git streams all files into one pack and compares none of them.
add_folder() {
	git --work-tree="$1" -c core.bigFileThreshold=1 \
		-c core.compression=1 -c core.autocrlf=false add -f -A
	git write-tree
}

locate_checkout() {
	key=checkout-$(git -C "$origin" rev-parse -q --verify 'HEAD^{tree}') ||
		die "LINUX=$LINUX: no commit there"
	git -C "$origin" diff --quiet HEAD ||
		say "LINUX=$LINUX: its HEAD is used, not the changes on top"
}

makefile_checkout() { git -C "$origin" show HEAD:Makefile; }

# Its HEAD and nothing of its history.
import_checkout() {
	git fetch -q --depth 1 "file://$origin" HEAD
	git rev-parse 'FETCH_HEAD^{tree}'
}

# A version of Debian's package, as in 5.10.262-1.
is_version() { [[ $1 =~ ^[0-9]+(\.[0-9]+)+-[0-9a-z.+~]+$ && ! -e $1 ]]; }

locate() {
	kind=debian
	if [ -n "${LINUX:-}" ] && ! is_version "$LINUX"; then
		origin=$(realpath -qe "$LINUX") || die "LINUX=$LINUX does not exist"
		kind=folder
		[ ! -f "$origin" ] || kind=tarball
		[ ! -e "$origin/.git" ] || kind=checkout
	fi
	"locate_$kind"
}

check_version() {
	local version wanted
	wanted=$(base_fact version)
	version=$("makefile_$kind" 2>/dev/null | awk '
		$1 == "VERSION" { v = $3 } $1 == "PATCHLEVEL" { p = $3 }
		END { print v "." p }') || true
	[ "$version" = "$wanted" ] ||
		die "the base must be Linux $wanted.y, ${LINUX:-} is ${version/#./no kernel}"
}

import() {
	"import_$kind" "$GIT_DIR/unpack" >"$GIT_DIR/tree"
	rm -rf "$GIT_DIR/unpack"
	notice_new_files
}

# Debian's packaging has git ignore all files; ours would go unnoticed.
notice_new_files() {
	local tree blob
	tree=$(cat "$GIT_DIR/tree")
	git cat-file -e "$tree:.gitignore" 2>/dev/null || return 0
	blob=$(git cat-file blob "$tree:.gitignore" | sed '/^\/\*$/d' |
		git hash-object -w --stdin)
	git read-tree "$tree"
	git update-index --cacheinfo "100644,$blob,.gitignore"
	git write-tree >"$GIT_DIR/tree"
}

make_repository() {
	local tree version
	[ ! -d "$repo" ] || return 0
	check_version
	export GIT_DIR=$repo.part
	rm -rf "$GIT_DIR"
	git init -q --bare "$GIT_DIR"
	git config gc.auto 0
	mkdir "$GIT_DIR/unpack"
	step "import base ${origin##*/}" import
	tree=$(cat "$GIT_DIR/tree")
	version=$(kernel_version "$GIT_DIR" "$tree")
	plain_git
	git update-ref refs/heads/base \
		"$(git commit-tree -m "Linux $version" "$tree")"
	git symbolic-ref HEAD refs/heads/base
	mv "$GIT_DIR" "$repo"
}

locate
repo=$CACHE/base/$key.git
[ -d "$repo" ] || locked base make_repository
say "base: $(git --git-dir "$repo" log -1 --format=%s base) ($key)"
echo "$repo"
