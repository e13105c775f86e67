#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Download from the Debian mirror that the system already uses, with an apt
# configuration of our own, so that the system's stays as it is.
#
#   scripts/fetch.sh deb "SUITE ..." PACKAGE[=VERSION]	the binary package
#   scripts/fetch.sh all "SUITE ..." PACKAGE		and all that it depends on
#   scripts/fetch.sh src "SUITE ..." PACKAGE[=VERSION]	its source, tarballs only
#   scripts/fetch.sh newest "SUITE ..." PACKAGE		nothing: print its version
#
# Suites may be those of the security archive; `all` prefers the last one. Prints the
# folder that holds the downloaded files. A second call with the same words
# downloads nothing; `newest` asks the mirror once a day, and names what is in the
# cache where it cannot.

. "$(dirname "$0")/lib.sh"

[ $# -eq 3 ] || die "usage: ${0##*/} deb|all|src|newest 'SUITE ...' PACKAGE[=VERSION]"
kind=$1 suites=$2 package=$3
dl=$CACHE/dl/${suites// /+}
out=$dl/$package
[ "$kind" != all ] || out+=.all
apt=$CACHE/apt/${suites// /+}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# mirror LABEL: where the system gets the archive of that label from.
mirror() {
	# shellcheck disable=SC2016 # apt's variables
	apt-get indextargets --format '$(LABEL)|$(REPO_URI)' \
		'Created-By: Packages' 2>/dev/null |
		sed -n "s/^$1|//p" | sed -n 1p
}

# The same by the archive's folder, where `apt-get update` was never run and so
# no label is known.
mirror_from_sources() {
	local main=/etc/apt/sources.list dir=/etc/apt/sources.list.d
	{
		sed -n 's/^deb \(\[[^]]*\] \)\?\([^ ]*\) .*/\2/p' \
			$main $dir/*.list 2>/dev/null
		sed -n 's/^URIs: *\([^ ]*\).*/\1/p' $dir/*.sources 2>/dev/null
	} | grep "/$1/\?\$" | sed -n 1p
}

# archive_of SUITE: a system without security updates has that archive beside
# the main one.
archive_of() {
	local uri main
	main=$(mirror Debian)
	[ -n "$main" ] || main=$(mirror_from_sources debian)
	[ -n "$main" ] || die "no Debian mirror in the system's apt sources"
	case $1 in
	*-security)
		uri=$(mirror Debian-Security)
		[ -n "$uri" ] || uri=$(mirror_from_sources debian-security)
		echo "${uri:-${main%/}-security}"
		;;
	*)
		echo "$main"
		;;
	esac
}

apt_conf() {
	local suite uri type=deb
	[ "$kind" != src ] || type=deb-src
	[ -e $keyring ] || die "$keyring is missing (debian-archive-keyring)"
	mkdir -p "$apt"/{lists/partial,cache/archives/partial,parts}
	for suite in $suites; do
		uri=$(archive_of "$suite")
		echo "$type [signed-by=$keyring] $uri $suite main"
	done >"$apt/sources-$kind.list"
	# apt drops root for its downloads; its user must reach the cache.
	cat >"$apt/conf-$kind" <<-END
		Dir::Etc::sourcelist "$apt/sources-$kind.list";
		Dir::Etc::sourceparts "$apt/parts";
		Dir::State::lists "$apt/lists";
		Dir::State::status "/dev/null";
		Dir::Cache "$apt/cache";
		APT::Sandbox::User "$(id -un)";
		Acquire::Languages "none";
		Acquire::Retries "3";
	END
}

update_lists() {
	apt_conf
	export APT_CONFIG=$apt/conf-$kind
	apt-get update
}

download() {
	update_lists
	rm -rf "$out.part"
	mkdir -p "$out.part"
	cd "$out.part"
	if [ "$kind" = src ]; then
		apt-get source --download-only --tar-only "$package"
	elif [ "$kind" = all ]; then
		apt-get -s -t "${suites##* }" install --no-install-recommends \
			"$package" | sed -n 's/^Inst \([^ ]*\) (\([^ ]*\).*/\1=\2/p' |
			xargs apt-get download
	else
		apt-get download "$package"
	fi
	mv "$out.part" "$out"
}

find_newest() {
	update_lists
	apt-cache madison "$package" | awk '{ print $3 }' | newest_of >"$out.newest"
	[ -s "$out.newest" ] || die "$suites: no $package there"
}

newest_of() {
	local newest='' version
	while read -r version; do
		! dpkg --compare-versions "$version" gt "$newest" || newest=$version
	done
	[ -z "$newest" ] || echo "$newest"
}

# What was downloaded before, where the mirror cannot be asked.
newest_in_cache() {
	local dir
	for dir in "$out="*; do
		[ ! -d "$dir" ] || echo "${dir#"$out="}"
	done | newest_of
}

if [ "$kind" = newest ]; then
	mkdir -p "$dl"
	if [ -z "$(find "$dl" -name "$package.newest" -mtime -1 -size +0)" ] &&
		! (step "look for the newest $package ($suites)" find_newest); then
		[ -n "$(newest_in_cache)" ] || exit 1
		say "$package: the mirror does not answer, so what was downloaded before"
		newest_in_cache
		exit
	fi
	cat "$out.newest"
	exit
fi
if [ ! -d "$out" ]; then
	step "download $package ($suites)" download
fi
echo "$out"
