/* SPDX-License-Identifier: Apache-2.0 */
/* Read-only maps of weight files that survive the file being cut short: a page that is gone reads as zeros and is
 * remembered, instead of a signal that ends the process. */
#ifndef PHY_MODEL_MAPPING_H
#define PHY_MODEL_MAPPING_H

#include <stdbool.h>
#include <stddef.h>

struct phy_mapping {
    const unsigned char *data;
    size_t bytes;
    int slot; /* in the table that the signal handler looks at */
};

/* Map the first `bytes` bytes of fd. Returns 0 or an errno value (EMFILE: more than 512 maps at a time). Each
 * makes sure that our SIGBUS handler is in place, which hands every fault outside our maps to the handler that it
 * found; a program that sets its own while a map is open loses the protection until the next is opened. Thread-safe. */
int phy_mapping_open(struct phy_mapping *out, int fd, size_t bytes);
void phy_mapping_close(struct phy_mapping *mapping);
/* True once a page of it was gone: what was computed from it is worthless. */
bool phy_mapping_torn(const struct phy_mapping *mapping);

#endif
