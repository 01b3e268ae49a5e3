// SPDX-License-Identifier: GPL-2.0

#include <linux/dmi.h>

/* The machine's UUID as its firmware says it, if it does; else NULL. */
const char *rust_helper_machine_uuid(void)
{
	return dmi_get_system_info(DMI_PRODUCT_UUID);
}
