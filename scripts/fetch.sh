#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Download from the Debian mirror that the system already uses, with an apt
# configuration of our own, so that the system's stays as it is.
#
#   scripts/fetch.sh deb SUITE PACKAGE[=VERSION]	the binary package
#   scripts/fetch.sh all SUITE PACKAGE		and all that it depends on
#   scripts/fetch.sh src SUITE PACKAGE[=VERSION]	its source, tarballs only
#
# Prints the folder that holds the downloaded files. A second call with the
# same words downloads nothing.

. "$(dirname "$0")/lib.sh"

[ $# -eq 3 ] || die "usage: ${0##*/} deb|all|src SUITE PACKAGE[=VERSION]"
kind=$1 suite=$2 package=$3
out=$CACHE/dl/$suite/$package
[ "$kind" != all ] || out+=.all
apt=$CACHE/apt/$suite
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

mirror() {
	# shellcheck disable=SC2016 # apt's variables
	apt-get indextargets --format '$(LABEL)|$(REPO_URI)' \
		'Created-By: Packages' 2>/dev/null |
		sed -n 's/^Debian|//p' | sed -n 1p
}

# The same, where `apt-get update` was never run and so no label is known.
mirror_from_sources() {
	local main=/etc/apt/sources.list dir=/etc/apt/sources.list.d
	{
		sed -n 's/^deb \(\[[^]]*\] \)\?\([^ ]*\) .*/\2/p' \
			$main $dir/*.list 2>/dev/null
		sed -n 's/^URIs: *\([^ ]*\).*/\1/p' $dir/*.sources 2>/dev/null
	} | grep '/debian/\?$' | sed -n 1p
}

apt_conf() {
	local uri=$1
	mkdir -p "$apt"/{lists/partial,cache/archives/partial,parts}
	# apt drops root for its downloads; its user must reach the cache.
	printf '%s [signed-by=%s] %s %s main\n' \
		"$([ "$kind" = src ] && echo deb-src || echo deb)" \
		$keyring "$uri" "$suite" >"$apt/sources-$kind.list"
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

download() {
	local uri
	uri=$(mirror)
	[ -n "$uri" ] || uri=$(mirror_from_sources)
	[ -n "$uri" ] || die "no Debian mirror in the system's apt sources"
	[ -e $keyring ] || die "$keyring is missing (debian-archive-keyring)"
	apt_conf "$uri"
	export APT_CONFIG=$apt/conf-$kind
	apt-get update
	rm -rf "$out.part"
	mkdir -p "$out.part"
	cd "$out.part"
	if [ "$kind" = src ]; then
		apt-get source --download-only --tar-only "$package"
	elif [ "$kind" = all ]; then
		apt-get -s install --no-install-recommends "$package" |
			awk '/^Inst / { print $2 }' | xargs apt-get download
	else
		apt-get download "$package"
	fi
	mv "$out.part" "$out"
}

if [ ! -d "$out" ]; then
	step "download $package ($suite)" download
fi
echo "$out"
