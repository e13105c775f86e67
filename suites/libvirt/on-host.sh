#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# Runs on the booted host: what libvirt makes of the domain beside this file. Two
# daemons of one user stand for two hosts. Exits with 0 if all is right.
#
#	on-host.sh size-odd TAR		a ring that no host takes is refused
#	on-host.sh migrate TAR		the domain goes from one daemon to the other
set -eu

XML=/lab/domain.xml
SERIAL=/tmp/serial	# as in the domain

die() {
	echo "FAIL: $*"
	exit 1
}

# Programs and libraries, from TAR, and a user.
make_debian() {
	tar -x -f "$1" -C /
	mkdir -p /etc
	printf '%s\n' 'root:x:0:0::/tmp:/bin/sh' 'user:x:1000:1000::/tmp:/bin/sh' >/etc/passwd
	printf '%s\n' 'root:x:0:' 'user:x:1000:' >/etc/group
	chmod 1777 /tmp
	chown user /dev/kvm
	hostname lab
}

# libvirt migrates to another host only, and knows it by its UUID.
start_daemon() {
	local home=/tmp/$1
	mkdir -p "$home/.config/libvirt" "$home/run"
	echo "host_uuid = \"$(cat /proc/sys/kernel/random/uuid)\"" \
		>"$home/.config/libvirt/libvirtd.conf"
	echo 'stdio_handler = "file"' >"$home/.config/libvirt/qemu.conf"
	chown -R user "$home"
	HOME=$home XDG_RUNTIME_DIR=$home/run \
		su -p user -c 'exec /usr/sbin/libvirtd' >"$home/log" 2>&1 &
}

# In $a and $b, the URIs of the two.
start_daemons() {
	a='qemu+unix:///session?socket=/tmp/a/run/libvirt/libvirt-sock'
	b='qemu+unix:///session?socket=/tmp/b/run/libvirt/libvirt-sock'
	[ ! -e /usr ] || return 0
	make_debian "$1"
	start_daemon a
	start_daemon b
	until virsh -c "$a" uri && virsh -c "$b" uri; do
		sleep 0.5
	done >/dev/null 2>&1
}

virsh() { /usr/bin/virsh -q "$@"; }

# start_on a|b COMMAND...: virsh COMMAND, by which that daemon starts QEMU. As launch()
# of migrate.c, where QEMU 7.2 aborts before there is a ring: once more.
start_on() {
	local log=/tmp/$1/.cache/libvirt/qemu/log/ring.log
	shift
	virsh "$@" && return
	grep "Assertion .dirty_gfns" "$log" || return
	echo "QEMU aborted at its start, before there was a ring: started again"
	virsh "$@"
}

# What the guest has said so far, without the line that it is at.
said() { sed '$d' $SERIAL; }
ticks() { said | grep -c '^tick ' || :; }

wait_for_ticks() {
	local until=$(($(ticks) + $1))
	while [ "$(ticks)" -lt $until ]; do
		virsh -c "$2" domstate ring | grep -q running ||
			die "the domain does not run"
		sleep 0.5
	done
}

# Entries that rings have given back: the pages that QEMU has got from them.
reset_entries() { cat /sys/kernel/debug/kvm/dirty_ring_reset_entry; }

# One text across both: each tick follows the last, and no page is bad.
check_guest() {
	said | grep '^page ' && die "the guest lost pages"
	said | awk '
		/^start: / { starts++; next }
		!/^tick / || $2 != n++ || $4 + 0 <= writes || $6 != 0 {
			print "FAIL: the guest said: " $0
			bad = 1
			exit 1
		}
		{ writes = $4 + 0 }
		END {
			if (!bad && starts == 1)
				print "the guest: " writes " pages written, verified " n " times, none lost"
			exit bad || starts != 1
		}'
}

# As check_kernel_log() of migrate.c does it.
check_kernel_log() {
	dmesg -r | grep '^<[0-4]>' |
		grep -vE 'TSC|set_tsc_khz:|clocksource:|sched_clock:|hrtimer:|\] CE: ' &&
		die "the kernel complained"
	return 0
}

size_odd() {
	sed "s/'4096'/'1000'/" $XML >/tmp/odd.xml
	! virsh -c "$a" define /tmp/odd.xml >/tmp/odd.log 2>&1 ||
		die "a ring of 1000 entries was not refused"
	cat /tmp/odd.log
	grep -q 'dirty ring must be power of 2' /tmp/odd.log
}

check_source() {
	local pid
	virsh -c "$a" dumpxml ring | grep -F "<dirty-ring state='on' size='4096'/>" ||
		die "no dirty ring in the domain"
	pid=$(cat /tmp/a/run/libvirt/qemu/run/ring.pid)
	tr '\0' '\n' <"/proc/$pid/cmdline" | grep -x 'kvm,dirty-ring-size=4096' ||
		die "QEMU was started without a dirty ring"
}

migrate() {
	local entries
	dmesg -c >/dev/null
	start_on a -c "$a" create $XML
	check_source
	wait_for_ticks 2 "$a"
	start_on b -c "$a" migrate --live --verbose --bandwidth 16 \
		--migrateuri unix:///tmp/migrate.socket ring "$b" &
	# The guest writes faster than that. Let it stop when rings were read.
	while [ "$(reset_entries)" -eq 0 ] && kill -0 $!; do
		sleep 0.5
	done
	entries=$(reset_entries)
	virsh -c "$a" migrate-setmaxdowntime ring 60000
	wait $!
	echo "$entries pages came by the ring at first"
	[ "$entries" -gt 0 ] || die "no page came by a ring"
	virsh -c "$b" domjobinfo ring --completed
	[ -z "$(virsh -c "$a" list --name)" ] || die "the source still has it"
	wait_for_ticks 2 "$b"
	check_guest
	virsh -c "$b" destroy ring
	check_kernel_log
}

[ $# -eq 2 ] || die "usage: on-host.sh size-odd|migrate TAR"
start_daemons "$2"
case $1 in
size-odd) size_odd ;;
migrate) migrate ;;
*) die "no such test: $1" ;;
esac
