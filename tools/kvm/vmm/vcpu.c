// SPDX-License-Identifier: GPL-2.0-only
/*
 * vCPUs: running them, and stopping them.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

int vcpu_create(struct vcpu *vcpu, struct vm *vm, uint32_t id)
{
	int ret;

	memset(vcpu, 0, sizeof(*vcpu));
	vcpu->vm = vm;
	vcpu->id = id;
	vcpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, id);
	if (vcpu->fd < 0)
		return vcpu_error(vcpu, -errno, "KVM_CREATE_VCPU %u", id);

	vcpu->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED,
			 vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED) {
		ret = -errno;
		close(vcpu->fd);
		return vcpu_error(vcpu, ret, "mmap of vCPU %u", id);
	}
	return 0;
}

void vcpu_destroy(struct vcpu *vcpu)
{
	munmap(vcpu->run, vcpu->vm->run_size);
	close(vcpu->fd);
}

int vcpu_ioctl(struct vcpu *vcpu, unsigned long request, unsigned long arg,
	       const char *name)
{
	int ret = ioctl(vcpu->fd, request, arg);

	if (ret < 0)
		return vcpu_error(vcpu, -errno, "vCPU %u: %s", vcpu->id, name);
	return ret;
}

int vcpu_enter(struct vcpu *vcpu)
{
	if (ioctl(vcpu->fd, KVM_RUN, 0) < 0)
		return vcpu_error(vcpu, -errno, "vCPU %u: KVM_RUN", vcpu->id);
	return 0;
}

/*
 * A signal interrupts KVM_RUN only while it runs: one that comes between the
 * look at @stop and KVM_RUN would be lost. With immediate_exit set, KVM_RUN
 * returns at once.
 *
 * vcpu_stop() sets @stop, then immediate_exit. vcpu_run() clears
 * immediate_exit, then reads @stop. All four accesses are sequentially
 * consistent. So if the flag is cleared after it was set, @stop is seen; if
 * before, KVM_RUN sees the flag.
 */
static bool stopped(struct vcpu *vcpu)
{
	return __atomic_load_n(&vcpu->stop, __ATOMIC_SEQ_CST);
}

static void set_immediate_exit(struct vcpu *vcpu, uint8_t value)
{
	__atomic_store_n(&vcpu->run->immediate_exit, value, __ATOMIC_SEQ_CST);
}

int vcpu_run(struct vcpu *vcpu)
{
	int ret = 0;

	while (!ret && !stopped(vcpu)) {
		ret = vcpu_enter(vcpu);
		set_immediate_exit(vcpu, 0);
		if (!ret)
			ret = vcpu_dispatch(vcpu);
		else if (ret == -EINTR)
			ret = 0;
	}
	return ret;
}

static void *thread(void *arg)
{
	struct vcpu *vcpu = arg;

	vcpu->ret = vcpu_run(vcpu);
	if (vcpu->ended)
		vcpu->ended(vcpu, vcpu->ret);
	return NULL;
}

/* The signal only has to interrupt KVM_RUN: its sender sets immediate_exit. */
static void on_signal(int sig)
{
	(void)sig;
}

int vcpu_start(struct vcpu *vcpu, vcpu_ended_fn ended)
{
	struct sigaction action = { .sa_handler = on_signal };
	int ret;

	if (sigaction(VCPU_SIGNAL, &action, NULL) < 0)
		return vcpu_error(vcpu, -errno, "sigaction");

	vcpu->stop = false;
	vcpu->ended = ended;
	ret = pthread_create(&vcpu->thread, NULL, thread, vcpu);
	if (ret)
		return vcpu_error(vcpu, -ret, "thread of vCPU %u", vcpu->id);
	return 0;
}

void vcpu_stop(struct vcpu *vcpu)
{
	__atomic_store_n(&vcpu->stop, true, __ATOMIC_SEQ_CST);
	set_immediate_exit(vcpu, 1);
	/* It fails only if the thread has ended already. */
	pthread_kill(vcpu->thread, VCPU_SIGNAL);
}

int vcpu_join(struct vcpu *vcpu)
{
	int ret = pthread_join(vcpu->thread, NULL);

	if (ret)
		return vcpu_error(vcpu, -ret, "join of vCPU %u", vcpu->id);
	return vcpu->ret;
}
