// SPDX-License-Identifier: GPL-2.0

#include <linux/rcupdate.h>

/*
 * Waits until each task that was preempted has given up the CPU by itself. Without CONFIG_TASKS_RCU this is
 * synchronize_rcu by another name, which does the same only where no task is preempted. See `disown` in
 * block/bio.rs.
 */
void rust_helper_synchronize_rcu_tasks(void)
{
	synchronize_rcu_tasks();
}
