// SPDX-License-Identifier: GPL-2.0

#include <linux/random.h>

int rust_helper_register_vmfork_notifier(struct notifier_block *block)
{
	return register_random_vmfork_notifier(block);
}

int rust_helper_unregister_vmfork_notifier(struct notifier_block *block)
{
	return unregister_random_vmfork_notifier(block);
}
