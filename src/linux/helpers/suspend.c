// SPDX-License-Identifier: GPL-2.0

#include <linux/suspend.h>

/* Constants that bindgen does not see, as the wrappers spell them. */
static_assert(PM_HIBERNATION_PREPARE == 1 && PM_POST_HIBERNATION == 2);

int rust_helper_register_pm_notifier(struct notifier_block *block)
{
	return register_pm_notifier(block);
}

int rust_helper_unregister_pm_notifier(struct notifier_block *block)
{
	return unregister_pm_notifier(block);
}
