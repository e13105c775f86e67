// SPDX-License-Identifier: GPL-2.0-only
/*
 * cr4_reserved_bits_test: which writes of CR4 exit from the guest.
 */
#include <stdio.h>
#include <string.h>

#include "kvm_trace.h"
#include "cr4_reserved_bits.h"

/*
 * Exits, counted by the tracepoint kvm_exit for a range of RIP. An interrupt of
 * the host's may come anywhere.
 */
#define EXIT_FILTER	"guest_rip >= 0x%lx && guest_rip < 0x%lx && "	\
			"exit_reason != 0x%x"
#define VMX_EXTERNAL_INTERRUPT	1
#define SVM_INTR		0x60

static void count_line(const char *line, void *data)
{
	if (strstr(line, "kvm_exit:"))
		++*(int *)data;
}

/*
 * Return: the exits within [@start, @end) while the guest toggles FSGSBASE, or -1
 * where exits cannot be traced.
 */
static int toggle_fsgsbase(char *start, char *end, uint64_t fs_base)
{
	struct kvm_regs regs;
	char filter[128];
	uint64_t seen;
	int exits = 0;

	vcpu_regs_get(vm, VCPU_ID, &regs);
	regs.rbx = fs_base;
	regs.r8 = here.cr4;
	vcpu_regs_set(vm, VCPU_ID, &regs);

	snprintf(filter, sizeof(filter), EXIT_FILTER, (unsigned long)start,
		 (unsigned long)end,
		 is_vmx ? VMX_EXTERNAL_INTERRUPT : SVM_INTR);
	if (!trace_clear() || !trace_event_enable("kvm_exit", filter))
		return -1;
	order(ORDER_TOGGLE, here.cr4 | BIT_ULL(FSGSBASE_BIT), &seen);
	trace_event_disable("kvm_exit");
	trace_read(count_line, &exits);
	return exits;
}

/* SVM has no masks: KVM intercepts all writes to CR4. */
void owns_fsgsbase(void)
{
	int want = is_vmx ? 0 : 2 * TOGGLES, exits;
	uint64_t fs_base = 0x123456789000;
	struct kvm_sregs sregs;

	if (reserved(FSGSBASE_BIT)) {
		skip("no FSGSBASE");
		return;
	}
	exits = toggle_fsgsbase(toggle, toggle_end, fs_base);
	if (exits < 0) {
		skip("no tracefs");
		return;
	}
	CHECK(exits == want, "%d writes of CR4.FSGSBASE: %d exits, not %d",
	      2 * TOGGLES, exits, want);
	vcpu_sregs_get(vm, VCPU_ID, &sregs);
	CHECK(sregs.fs.base == fs_base, "WRFSBASE wrote %#llx, not %#lx",
	      sregs.fs.base, fs_base);
	exits = toggle_fsgsbase(toggle_wrfsbase, toggle_wrfsbase_end, 0);
	CHECK(!exits, "%d WRFSBASE: %d exits", TOGGLES, exits);
	result("FSGSBASE without exits");
}
