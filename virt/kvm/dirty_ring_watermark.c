// SPDX-License-Identifier: GPL-2.0
/*
 * The watermark of KVM dirty rings: an eventfd is signalled when a ring has as many
 * used entries as user space asks for, so that nobody has to look at rings in vain.
 *
 * A push costs one compare, with @watermark of its ring:
 *
 *	0		a new ring, which nobody has told yet
 *	U32_MAX		there is no watermark, or the signal has been given
 *	else		the watermark
 *
 * A page may be pushed while the scheduler holds the lock of a run queue, and a
 * wake-up would take it: so an irq_work gives the signal.
 */
#include <linux/atomic.h>
#include <linux/err.h>
#include <linux/eventfd.h>
#include <linux/irq_work.h>
#include <linux/kernel.h>
#include <linux/kvm_dirty_ring.h>
#include <linux/kvm_host.h>

#define NO_WATERMARK	U32_MAX

static void give_signal(struct irq_work *work)
{
	struct kvm_dirty_ring_watermark *watermark =
		container_of(work, struct kvm_dirty_ring_watermark, work);
	struct eventfd_ctx *eventfd = READ_ONCE(watermark->eventfd);

	if (eventfd)
		eventfd_signal(eventfd, 1);
}

/**
 * kvm_dirty_ring_watermark_init - prepare a VM that gets rings
 * @kvm: the VM, which has no vCPU
 */
void kvm_dirty_ring_watermark_init(struct kvm *kvm)
{
	init_irq_work(&kvm->dirty_ring_watermark.work, give_signal);
}

/*
 * After this, no signal is given but to @eventfd, and the caller puts what it gets:
 * a signal that is under way has been given.
 */
static struct eventfd_ctx *exchange_eventfd(struct kvm *kvm,
					    struct eventfd_ctx *eventfd)
{
	eventfd = xchg(&kvm->dirty_ring_watermark.eventfd, eventfd);
	irq_work_sync(&kvm->dirty_ring_watermark.work);
	return eventfd;
}

/**
 * kvm_dirty_ring_watermark_destroy - forget the watermark of a VM that ends
 * @kvm: the VM, with rings or without, and with no vCPU any more
 *
 * Context: Process context, interrupts are on.
 */
void kvm_dirty_ring_watermark_destroy(struct kvm *kvm)
{
	struct eventfd_ctx *eventfd;

	if (!kvm->dirty_ring_size)
		return;

	eventfd = exchange_eventfd(kvm, NULL);
	if (eventfd)
		eventfd_ctx_put(eventfd);
}

/**
 * kvm_dirty_ring_watermark_reached - a push has met the watermark of its ring
 * @vcpu: the vCPU, loaded on this CPU
 * @used: how many entries its ring has in use
 *
 * Context: Any that may push; preemption is off.
 */
void kvm_dirty_ring_watermark_reached(struct kvm_vcpu *vcpu, u32 used)
{
	struct kvm_dirty_ring_watermark *watermark =
		&vcpu->kvm->dirty_ring_watermark;
	u32 *mine = &vcpu->dirty_ring.watermark;
	u32 entries;

	/* Atomic: KVM_ENABLE_CAP may write it, too. */
	entries = xchg(mine, NO_WATERMARK);
	if (!entries) {
		entries = READ_ONCE(watermark->entries);
		if (!entries)
			return;
		if (used < entries) {
			cmpxchg(mine, NO_WATERMARK, entries);
			return;
		}
	}
	irq_work_queue(&watermark->work);
}

/**
 * kvm_dirty_ring_watermark_rearm - let a ring give its signal again
 * @kvm: the VM
 * @ring: the ring of a vCPU that is online, with fewer entries in use than before
 *
 * If as many entries as the watermark are in use all the same, the signal is given
 * now: user space may have gone to wait for it.
 *
 * A push that counts what is used at the same time may see the old state of both,
 * the count and the watermark. Then the next one gives the signal.
 *
 * Context: kvm->slots_lock is held.
 */
void kvm_dirty_ring_watermark_rearm(struct kvm *kvm, struct kvm_dirty_ring *ring)
{
	u32 entries = kvm->dirty_ring_watermark.entries;

	if (!entries)
		return;

	if (READ_ONCE(ring->dirty_index) - READ_ONCE(ring->reset_index) < entries)
		WRITE_ONCE(ring->watermark, entries);
	else
		irq_work_queue(&kvm->dirty_ring_watermark.work);
}

static int get_eventfd(u64 fd, struct eventfd_ctx **eventfd)
{
	*eventfd = NULL;
	if (fd == (u64)-1 || fd == (u32)-1)
		return 0;
	if (fd > INT_MAX)
		return -EBADF;

	*eventfd = eventfd_ctx_fdget(fd);
	return PTR_ERR_OR_ZERO(*eventfd);
}

/**
 * kvm_dirty_ring_set_watermark - KVM_CAP_DIRTY_LOG_RING_WATERMARK
 * @kvm: the VM
 * @cap: KVM_ENABLE_CAP's argument; args[0] is the eventfd, or -1 for none,
 *	args[1] the number of used entries, which is ignored if there is none
 *
 * The eventfd is signalled when the used entries of any ring reach that number, and
 * then not for this ring until a reset has freed some of them. What was set before
 * is replaced. A ring that has so many entries in use already gives its signal now.
 *
 * Context: Takes kvm->lock and kvm->slots_lock, may sleep.
 * Return: 0; -EINVAL if the VM has no rings, if flags or other arguments are set,
 * if the number is 0 or above the soft limit, or if the file is no eventfd; -EBADF
 * if there is no such file.
 */
int kvm_dirty_ring_set_watermark(struct kvm *kvm,
				 const struct kvm_enable_cap *cap)
{
	u64 entries = cap->args[1];
	struct eventfd_ctx *eventfd;
	struct kvm_vcpu *vcpu;
	int i, r;

	if (cap->flags || cap->args[2] || cap->args[3] ||
	    !READ_ONCE(kvm->dirty_ring_size))
		return -EINVAL;

	r = get_eventfd(cap->args[0], &eventfd);
	if (r)
		return r;

	if (!eventfd) {
		entries = 0;
	} else if (!entries || entries > kvm_dirty_ring_soft_limit(kvm)) {
		eventfd_ctx_put(eventfd);
		return -EINVAL;
	}

	/* kvm->lock: a vCPU that comes online later has pushed nothing. */
	mutex_lock(&kvm->lock);
	mutex_lock(&kvm->slots_lock);
	eventfd = exchange_eventfd(kvm, eventfd);
	WRITE_ONCE(kvm->dirty_ring_watermark.entries, entries);
	kvm_for_each_vcpu(i, vcpu, kvm) {
		xchg(&vcpu->dirty_ring.watermark, NO_WATERMARK);
		kvm_dirty_ring_watermark_rearm(kvm, &vcpu->dirty_ring);
	}
	mutex_unlock(&kvm->slots_lock);
	mutex_unlock(&kvm->lock);

	if (eventfd)
		eventfd_ctx_put(eventfd);
	return 0;
}
