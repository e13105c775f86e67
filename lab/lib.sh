# SPDX-License-Identifier: GPL-2.0
# The lab's machines: what they are made of and how one is started. Sourced by
# the lab's scripts after scripts/lib.sh.
# shellcheck shell=bash

LAB=$TOP/lab
# Debian 12's QEMU 7.2 emulates SVM less well: it gets error codes of #GP and the
# merging of exceptions wrong.
QEMU_SUITES="trixie trixie-backports"
QEMU_PACKAGE=qemu-system-x86
QEMU_OPTIONS=()		# added to the command line of each machine
BOCHS_SOURCE=bochs=3.0+dfsg-1
BOCHS_BIOS=/usr/share/bochs/BIOS-bochs-latest
BOCHS_VGABIOS=/usr/share/vgabios/vgabios.bin
BUSYBOX=/bin/busybox

# Debian's Bochs is too old and has no VT-x; these flags are for speed and for
# the CPU models that have it.
BOCHS_FLAGS=(
	--enable-x86-64 --enable-cpu-level=6 --enable-smp --enable-vmx=2
	--enable-svm --enable-avx --enable-evex --enable-amx --enable-cet
	--enable-uintr --enable-protection-keys --enable-monitor-mwait
	--enable-alignment-check --enable-pci --enable-all-optimizations
	--enable-repeat-speedups --enable-fast-function-calls
	--enable-handlers-chaining --enable-trace-linking --disable-debugger
	--disable-debugger-gui --disable-x86-debugger --disable-gdb-stub
	--disable-iodebug --disable-plugins --disable-docbook --disable-usb
	--disable-memtype --with-nogui --without-x --without-wx
)

# The build is for this very CPU (-march=native), so the CPU is in the key.
bochs_dir() {
	local key
	key=$({
		echo "$BOCHS_SOURCE ${BOCHS_FLAGS[*]}"
		gcc -march=native -Q --help=target
		cat "$LAB/bochs/optrom.S"
	} | sha256sum | cut -c1-16)
	echo "$CACHE/bochs/$key"
}

# QEMU's package and its dependencies, unpacked into one folder. The file names
# hold the versions.
qemu_packages() {
	"$TOP/scripts/fetch.sh" all "$QEMU_SUITES" "$QEMU_PACKAGE"
}
qemu_dir() {
	local key
	key=$(cd "$(qemu_packages)" && echo ./*.deb | sha256sum | cut -c1-16)
	echo "$CACHE/qemu-root/$key"
}

# qemu OPTION...: become QEMU. This system's libraries are too old, so it runs on
# those it came with, C library and loader included.
qemu() {
	local root libs
	root=$(qemu_dir)
	libs=$root/usr/lib/x86_64-linux-gnu
	exec "$libs/ld-linux-x86-64.so.2" --inhibit-cache --library-path "$libs" \
		"$root/usr/bin/qemu-system-x86_64" \
		-L "$root/usr/share/qemu" -L "$root/usr/share/seabios" "$@"
}

# need FILE PACKAGE: stop with the remedy where a system file is missing.
need() {
	[ -e "$1" ] || [ -n "$(command -v "$1")" ] ||
		die "$1 is missing: apt-get install $2"
}

# Does this machine lend its VT-x or SVM to its guests? A /dev/kvm alone, or a
# module's parameter alone, proves nothing.
nested_kvm() {
	local module
	module=$(sed -n '/^flags/{s/.*\<vmx\>.*/kvm_intel/p;s/.*\<svm\>.*/kvm_amd/p;q}' \
		/proc/cpuinfo)
	[ -n "$module" ] && [ -w /dev/kvm ] &&
		grep -qs '^[Y1]' "/sys/module/$module/parameters/nested"
}

# initramfs OUT PLAN BIN TEXT...: busybox, init, the plan, and those words of TEXT
# that are files in BIN.
initramfs() {
	local out=$1 plan=$2 bin=$3 root=$1.root word
	shift 3
	rm -rf "$root"
	mkdir -p "$root"/{bin,dev,proc,sys,tmp,lab}
	cp "$BUSYBOX" "$root/bin/busybox"
	cp "$LAB/init" "$root/init"
	cp "$plan" "$root/plan"
	for word in $(tr -cs "[:alnum:]_./-" " " <<<"$*"); do
		[ -f "$bin/$word" ] || continue
		mkdir -p "$root/lab/$(dirname "$word")"
		# Scripts cannot be stripped, and need not be.
		strip -o "$root/lab/$word" "$bin/$word" 2>/dev/null ||
			cp "$bin/$word" "$root/lab/$word"
	done
	(cd "$root" && find . | LC_ALL=C sort |
		cpio --quiet -R 0:0 -o -H newc | zstd -q) >"$out"
	rm -rf "$root"
}

# A machine is its folder DIR, holding `initrd`, and these variables, set from
# a line of machines.tab or by the user:
#	HW MODEL CPUS MEMORY ARGS KERNEL
# emulator DIR SERIAL: become the machine. SERIAL is a file, or - for a console
# on the terminal.
emulator() {
	case $HW in
	vtx) emulator_bochs "$@" ;;
	svm | kvm) emulator_qemu "$@" ;;
	here) emulator_here "$@" ;;
	*) die "no such hardware: $HW" ;;
	esac
}

# This computer: what a machine's init does, without a boot. The limit is the
# clock's, as spent() has it for what sleeps.
# timeout comes before the judge, which gives up after four times the limit.
emulator_here() {
	local number limit command code
	cd "$TOP" || return
	while read -r number limit command <&3; do
		echo "@lab begin $number"
		code=0
		timeout --foreground $((4 * limit - 1)) sh -c "$command" </dev/null || code=$?
		printf '\n@lab end %d %d\n' "$number" "$code"
	done 3<"$1/plan" >"$2" 2>&1
	echo "@lab done" >>"$2"
}

# oops=panic: what comes after an oops is not worth testing.
COMMON_ARGS="console=ttyS0,115200 loglevel=${LOGLEVEL:-5} oops=panic"

emulator_qemu() {
	local dir=$1 serial=$2 accel=tcg,thread=multi
	local -a opt=("${QEMU_OPTIONS[@]}")
	if [ "$HW" = kvm ]; then
		accel=kvm
	elif [ -n "${ICOUNT:-}" ]; then
		accel=tcg opt+=(-icount "shift=0,sleep=off")
	fi
	if [ "$serial" = - ]; then
		opt+=(-serial mon:stdio)
	else
		rm -f "$dir"/monitor.{in,out}
		mkfifo "$dir"/monitor.{in,out}
		opt+=(-serial "file:$serial")
		opt+=(-monitor "pipe:$dir/monitor")
	fi
	# no_timer_check: on a busy computer, that check finds no timer.
	qemu -M q35 -accel "$accel" -cpu "$MODEL" -smp "$CPUS" \
		-m "$MEMORY" -display none -no-reboot -nic none "${opt[@]}" \
		-kernel "$KERNEL" -initrd "$dir/initrd" \
		-append "$COMMON_ARGS panic=-1 no_timer_check $ARGS"
}

# What QEMU echoes of a command is the whole line again, for each letter.
monitor_says() {
	{ timeout 1 cat 0<>"$1/monitor.out" || :; } | tr -d '\r' |
		sed 's/^(qemu) .*\x1b\[D/(qemu) /; s/\x1b\[K//'
}

# ask_monitor DIR: what are the CPUs of a machine that hangs at? Their registers,
# three times, to DIR/monitor.log. RAX is the address of the VMCB where a CPU is
# about VMRUN: exit and event fields, RIP and CR2 of that. Bochs cannot be asked.
ask_monitor() {
	local vmcb
	[ -p "$1/monitor.in" ] || return 0
	for _ in 1 2 3; do
		echo 'info registers -a'
		sleep 0.5
	done 1<>"$1/monitor.in"
	monitor_says "$1" >"$1/monitor.log"
	sed -n 's/^RAX=0\{8\}\([0-9a-f]*[1-9a-f][0-9a-f]*000\) .*/\1/p' "$1/monitor.log" | sort -u |
		while read -r vmcb; do
			echo "xp /12xg 0x$vmcb+0x58"
			echo "xp /1xg 0x$vmcb+0x578"
			echo "xp /1xg 0x$vmcb+0x640"
		done 1<>"$1/monitor.in"
	monitor_says "$1" >>"$1/monitor.log"
}

# le32 NUMBER: its bytes as printf's escapes.
le32() {
	printf '\\x%02x\\x%02x\\x%02x\\x%02x' \
		$(($1 & 255)) $(($1 >> 8 & 255)) \
		$(($1 >> 16 & 255)) $(($1 >> 24 & 255))
}

# poke FILE OFFSET ESCAPES
poke() {
	# shellcheck disable=SC2059 # the escapes are the point
	printf "$3" | dd of="$1" bs=1 seek=$(($2)) conv=notrunc status=none
}

# The kernel's boot protocol (Documentation/x86/boot.rst) without a boot loader:
# real-mode part at 0x90000, the command line in the same segment at 0xe000.
bochs_images() {
	local dir=$1 sectors flags
	sectors=$(od -An -tu1 -j $((0x1f1)) -N1 "$KERNEL")
	flags=$(od -An -tu1 -j $((0x211)) -N1 "$KERNEL")
	dd if="$KERNEL" of="$dir/setup" bs=512 count=$((sectors + 1)) status=none
	dd if="$KERNEL" of="$dir/kernel" bs=512 skip=$((sectors + 1)) status=none
	poke "$dir/setup" 0x210 '\xff'					# type_of_loader
	poke "$dir/setup" 0x211 "\\x$(printf %x $((flags | 0x80)))"	# CAN_USE_HEAP
	poke "$dir/setup" 0x218 "$(le32 $((0x8000000)))"		# ramdisk_image
	poke "$dir/setup" 0x21c "$(le32 "$(stat -c %s "$dir/initrd")")"
	poke "$dir/setup" 0x224 '\x00\xde'				# heap_end_ptr
	poke "$dir/setup" 0x228 "$(le32 $((0x9e000)))"			# cmd_line_ptr
	# A panic must not reboot into memory that was used already.
	poke "$dir/setup" 0xe000 "${COMMON_ARGS//%/%%} panic=0 ${ARGS//%/%%}\\0"
}

# Each image must fit one block of Bochs' memory.
bochs_fits() {
	[ "$(stat -c %s "$1")" -le $(($2 << 20)) ] ||
		die "$1 is larger than $2 MiB, the most that Bochs can load"
}

emulator_bochs() {
	local dir=$1 serial=$2 bochs com1
	bochs=$(bochs_dir)
	bochs_images "$dir"
	bochs_fits "$dir/kernel" 7
	bochs_fits "$dir/initrd" 8
	if [ "$serial" = - ]; then
		com1="mode=term, dev=$(tty)"
	else
		com1="mode=file, dev=$serial"
	fi
	sed -e "s|@DIR@|$dir|g" -e "s|@BOCHS@|$bochs|g" -e "s|@COM1@|$com1|" \
		-e "s|@MODEL@|$MODEL|" -e "s|@CPUS@|$CPUS|" \
		-e "s|@MEMORY@|$MEMORY|g" -e "s|@BIOS@|$BOCHS_BIOS|" \
		-e "s|@VGABIOS@|$BOCHS_VGABIOS|" \
		"$LAB/bochs/bochsrc.in" >"$dir/bochsrc"
	exec "$bochs/bochs" -q -f "$dir/bochsrc"
}
