/* SPDX-License-Identifier: GPL-2.0 */
#if !defined(_TRACE_KVM_DIRTY_RING_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_KVM_DIRTY_RING_H

#include <linux/tracepoint.h>

#undef TRACE_SYSTEM
#define TRACE_SYSTEM kvm
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE kvm_dirty_ring

/* A page went into the ring; @used counts it. */
TRACE_EVENT(kvm_dirty_ring_push,
	TP_PROTO(int vcpu_id, u32 slot, u64 offset, u32 used),
	TP_ARGS(vcpu_id, slot, offset, used),

	TP_STRUCT__entry(
		__field(int, vcpu_id)
		__field(u32, slot)
		__field(u64, offset)
		__field(u32, used)
	),

	TP_fast_assign(
		__entry->vcpu_id = vcpu_id;
		__entry->slot = slot;
		__entry->offset = offset;
		__entry->used = used;
	),

	TP_printk("vcpu %d slot %u:%u offset 0x%llx used %u",
		  __entry->vcpu_id, __entry->slot >> 16,
		  __entry->slot & 0xffff, __entry->offset, __entry->used)
);

/* One ring was reset by @count entries; @used are left. */
TRACE_EVENT(kvm_dirty_ring_reset,
	TP_PROTO(int vcpu_id, u32 count, u32 used),
	TP_ARGS(vcpu_id, count, used),

	TP_STRUCT__entry(
		__field(int, vcpu_id)
		__field(u32, count)
		__field(u32, used)
	),

	TP_fast_assign(
		__entry->vcpu_id = vcpu_id;
		__entry->count = count;
		__entry->used = used;
	),

	TP_printk("vcpu %d reset %u used %u",
		  __entry->vcpu_id, __entry->count, __entry->used)
);

/* KVM_RUN exits with KVM_EXIT_DIRTY_RING_FULL. */
TRACE_EVENT(kvm_dirty_ring_exit,
	TP_PROTO(int vcpu_id, u32 used),
	TP_ARGS(vcpu_id, used),

	TP_STRUCT__entry(
		__field(int, vcpu_id)
		__field(u32, used)
	),

	TP_fast_assign(
		__entry->vcpu_id = vcpu_id;
		__entry->used = used;
	),

	TP_printk("vcpu %d used %u", __entry->vcpu_id, __entry->used)
);

#endif /* _TRACE_KVM_DIRTY_RING_H */

#include <trace/define_trace.h>
