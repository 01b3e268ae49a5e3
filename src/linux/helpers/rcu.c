// SPDX-License-Identifier: GPL-2.0

#include <linux/rcupdate.h>

/* Where no task is preempted (no CONFIG_TASKS_RCU), this is synchronize_rcu by another name. */
void rust_helper_synchronize_rcu_tasks(void)
{
	synchronize_rcu_tasks();
}
