// SPDX-License-Identifier: GPL-2.0

#include <linux/rcupdate.h>

/*
 * Without it synchronize_rcu_tasks() is synchronize_rcu(), which does not wait for a preempted task. An in-tree
 * driver would select NEED_TASKS_RCU, as kprobes, BPF and ftrace do.
 */
#if defined(CONFIG_PREEMPTION) && !defined(CONFIG_TASKS_RCU)
#error "a kernel with CONFIG_PREEMPTION must have CONFIG_TASKS_RCU, which CONFIG_KPROBES or CONFIG_BPF_SYSCALL selects"
#endif

/* Waits until each task that runs now, or was preempted, has given up the CPU by itself. */
void rust_helper_synchronize_rcu_tasks(void)
{
	synchronize_rcu_tasks();
}
