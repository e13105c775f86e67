// SPDX-License-Identifier: GPL-2.0-only
/*
 * cr4_reserved_bits_test: which writes of CR4 exit from the guest.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cr4_reserved_bits.h"

/*
 * Exits, counted by the tracepoint kvm_exit for a range of RIP. An interrupt of
 * the host's may come anywhere.
 */
#define EXIT_FILTER	"guest_rip >= 0x%lx && guest_rip < 0x%lx && "	\
			"exit_reason != 0x%x"
#define VMX_EXTERNAL_INTERRUPT	1
#define SVM_INTR		0x60

static const char *tracefs(void)
{
	static const char * const dirs[] = {
		"/sys/kernel/tracing", "/sys/kernel/debug/tracing",
	};
	char path[64];
	int i;

	for (i = 0; i < ARRAY_SIZE(dirs); i++) {
		snprintf(path, sizeof(path), "%s/events/kvm/kvm_exit", dirs[i]);
		if (!access(path, W_OK))
			return dirs[i];
	}
	return NULL;
}

static void trace_write(const char *file, const char *text)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", tracefs(), file);
	fd = open(path, O_WRONLY | O_TRUNC);
	TEST_ASSERT(fd >= 0, "open %s, errno %d", path, errno);
	TEST_ASSERT(write(fd, text, strlen(text)) == strlen(text),
		    "write \"%s\" to %s, errno %d", text, path, errno);
	close(fd);
}

static int count_exits(void)
{
	char path[128], line[512];
	int exits = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/trace", tracefs());
	f = fopen(path, "r");
	TEST_ASSERT(f, "open %s, errno %d", path, errno);
	while (fgets(line, sizeof(line), f))
		exits += line[0] != '#' && strstr(line, "kvm_exit:");
	fclose(f);
	return exits;
}

/* Return: the exits within [@start, @end) while the guest toggles FSGSBASE. */
static int toggle_fsgsbase(char *start, char *end, uint64_t fs_base)
{
	struct kvm_regs regs;
	char filter[128];
	uint64_t seen;
	int exits;

	vcpu_regs_get(vm, VCPU_ID, &regs);
	regs.rbx = fs_base;
	regs.r8 = here.cr4;
	vcpu_regs_set(vm, VCPU_ID, &regs);

	snprintf(filter, sizeof(filter), EXIT_FILTER, (unsigned long)start,
		 (unsigned long)end,
		 is_vmx ? VMX_EXTERNAL_INTERRUPT : SVM_INTR);
	trace_write("events/kvm/kvm_exit/filter", filter);
	trace_write("trace", "");
	trace_write("events/kvm/kvm_exit/enable", "1");
	order(ORDER_TOGGLE, here.cr4 | BIT_ULL(FSGSBASE_BIT), &seen);
	trace_write("events/kvm/kvm_exit/enable", "0");
	exits = count_exits();
	trace_write("events/kvm/kvm_exit/filter", "0");
	return exits;
}

/* SVM has no masks: KVM intercepts all writes to CR4. */
void owns_fsgsbase(void)
{
	int want = is_vmx ? 0 : 2 * TOGGLES, exits;
	uint64_t fs_base = 0x123456789000;
	struct kvm_sregs sregs;

	if (reserved(FSGSBASE_BIT) || !tracefs()) {
		skip(tracefs() ? "no FSGSBASE" : "no tracefs");
		return;
	}
	exits = toggle_fsgsbase(toggle, toggle_end, fs_base);
	CHECK(exits == want, "%d writes of CR4.FSGSBASE: %d exits, not %d",
	      2 * TOGGLES, exits, want);
	vcpu_sregs_get(vm, VCPU_ID, &sregs);
	CHECK(sregs.fs.base == fs_base, "WRFSBASE wrote %#llx, not %#lx",
	      sregs.fs.base, fs_base);
	exits = toggle_fsgsbase(toggle_wrfsbase, toggle_wrfsbase_end, 0);
	CHECK(!exits, "%d WRFSBASE: %d exits", TOGGLES, exits);
	result("FSGSBASE without exits");
}
