# SPDX-License-Identifier: GPL-2.0
# A job: a machine and the tests it is to run, in as few boots as that takes.
# Sourced by run.sh.
# shellcheck shell=bash disable=SC2154

# run_job NAME: each test's verdict to a file, NUMBER.verdict.
run_job() {
	local out=$logs/$1 dir boot=0 why stalls=0 i
	local -a rows todo again=()
	load_job "$1"
	mapfile -t rows <<<"${plans[$1]%$'\n'}"
	todo=("${!rows[@]}")
	KERNEL=$(kernel_of "$kernel" 2>"$out/kernel.log") || {
		refuse_all "no kernel: $(tail -n 1 "$out/kernel.log")"
		return
	}
	while [ ${#todo[@]} -gt 0 ]; do
		boot=$((boot + 1))
		dir=$out/boot$boot
		prepare_boot
		say "$1: boot $boot, ${#todo[@]} tests"
		why=$(run_boot "$dir")
		if [ -e "$dir/${todo[0]}.out" ]; then
			judge_boot
		elif stalled && [ $((stalls++)) -eq 0 ]; then
			once_more "$1" "the boot stalled"
		else
			refuse_all "the machine did not come up ($why): $(last_words)"
			return
		fi
	done
}

# load_job NAME: its machine, as its first test wants it. (Where a job has several
# tests, none changes the machine.)
load_job() {
	load_machine "${machine_of[$1]}"
	load_test "${plans[$1]%%$'\n'*}"
	load_machine "$MACHINE" "$extra"
}

# kernel_of NAME: host, base, NAME of configs/NAME.config, or a patch, as the suite
# sees its path. A line "Config: NAME" above the patch names its configuration.
kernel_of() {
	local dir patch config
	case $1 in
	host) echo "$KERNEL" ;;
	base)
		[ -f "${option[base]}" ] || die "'make base-kernel' first"
		echo "${option[base]}"
		;;
	*.patch)
		patch=$(cd "$SUITE" && realpath -e "$1") &&
			config=$(sed -n 's/^Config: //p; /^---/q' "$patch") &&
			dir=$(CONFIG=${config:-${CONFIG:-}} "$LAB/patched.sh" "$patch" \
				"$TOP/scripts/kernel.sh" --tree @TREE@) &&
			echo "$dir/bzImage"
		;;
	*)
		dir=$(CONFIG=$1 "$TOP/scripts/kernel.sh" --tree "$BUILD/linux") &&
			echo "$dir/bzImage"
		;;
	esac
}

prepare_boot() {
	local words=
	mkdir -p "$dir"
	for i in "${todo[@]}"; do
		load_test "${rows[i]}"
		echo "$i $limit $command" >>"$dir/plan"
		echo "$i $command" >>"$dir/init-plan"
		words+=" $command"
	done
	# shellcheck disable=SC2086 # the words of command lines
	[ "$HW" = here ] ||
		initramfs "$dir/initrd" "$dir/init-plan" "$bin" $words
}

# The one rule of what is tried again: what stops without a word, once. That is
# a boot before its first test; and a test where machine or test says `again`.
stalled() { [ "$why" = silent ] && ! faults_in "$dir/boot.out" >/dev/null; }
hangs() {
	[[ -n $AGAIN && $reason = "no end within"* && -z ${again[i]:-} ]] &&
		! faults_in "$dir/$i.out" >/dev/null
}
once_more() {
	echo "# $1: retried, $2 (${dir#"$TOP"/})" | tee -a "$out/retried" >&2
}

# The tests that this boot began get their verdicts, the others stay to do.
judge_boot() {
	local left=() what reason text
	# What the kernel said before the first test counts for the first test.
	faults_in "$dir/boot.out" >>"$dir/${todo[0]}.out" || :
	for i in "${todo[@]}"; do
		text=$dir/$i.out
		load_test "${rows[i]}"
		if [ ! -e "$text" ]; then
			left+=("$i")
			continue
		fi
		read -r what reason < <(judge "$text" "$why" "$limit")
		if [ "$what" = fail ] && hangs; then
			once_more "$(title)" "$reason"
			again[i]=1 left+=("$i")
			continue
		fi
		turn
		verdict
	done
	todo=("${left[@]}")
}

# The loaded test, number i, has its verdict: the KTAP line, without number, and
# diagnostics. Its output is shown unless it passed.
verdict() {
	local title known=
	title=$(title)
	[ ! -e "$text" ] || known=$(known_failure "$name" "$text")
	if [ "$what" = fail ] && [ -n "$known" ]; then
		what=skip reason="known to fail: $known"
	elif [ "$what" = skip ] && [ "$needs" != - ]; then
		what=fail reason="skipped what it was to test here: $reason"
	fi
	{
		case $what in
		pass)
			echo "ok $title${reason:+$'\n'# $reason}"
			notes | sed 's/^/#   /' || :
			;;
		skip) echo "ok $title # SKIP $reason" ;;
		*)
			echo "not ok $title"
			echo "# $reason"
			echo "# log: ${dir#"$TOP"/}"
			[ ! -e "$text" ] || show "$text"
			;;
		esac
	} >"$out/$i.verdict"
	[ ! -e "$text" ] || ln -sf "${text#"$out"/}" "$out/$name.out"
	say "$what: $title${reason:+ ($reason)}"
}

# show FILE: a failed test's output, as diagnostics: all that went wrong by its
# own account, the kernel's complaint, and its last lines.
show() {
	local all
	all=$(text_of "$1" | wc -l)
	[ "$all" -le 30 ] || { text_of "$1" | head -n -30 |
		grep -aE "^ *not ok|\[ *[0-9]+\.[0-9]{6}\] .*($FAULTS)" |
		head -n 20 | sed 's/^/#   /' || :; echo "#   ..."; }
	text_of "$1" | tail -n 30 | sed 's/^/#   /'
}

# What a machine that did not come up had to say: its panic, or its last line.
last_words() {
	{
		sed "/TCG doesn't support/d" "$dir/emulator.log"
		sed '/^$/d' "$dir/boot.out"
		faults_in "$dir/boot.out" | tail -n 1 || :
	} | sed 's/^\[[^]]*\] //' | tail -n 1
}

# refuse_all REASON: nothing passes.
refuse_all() {
	local what text='' reason
	dir=${dir:-$out}
	for i in "${todo[@]}"; do
		load_test "${rows[i]}"
		what=fail reason=$1
		verdict
	done
}
