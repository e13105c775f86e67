#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# On the booted host: `load TARFILE STATE` loads the states of a tar file, `save
# STATE` saves states and prints them, both without STATE; `-` is none.

code=0
dir=/tmp/states
while [ $# -gt 0 ]; do
	rm -rf $dir
	mkdir -p $dir
	case $1 in
	load)
		tar xzf "$(dirname "$0")/$2" -C $dir || exit 1
		"$(dirname "$0")/state_file_test" -r $dir -x "$3" ||
			code=1
		shift 3
		;;
	save)
		"$(dirname "$0")/state_file_test" -w $dir -x "$2" >/tmp/saved 2>&1 || {
			cat /tmp/saved
			exit 1
		}
		grep '^#' /tmp/saved
		echo @files
		tar cz -C $dir . | base64
		echo @end
		shift 2
		;;
	*)
		exit 1
		;;
	esac
done
exit $code
