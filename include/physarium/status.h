/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHYSARIUM_STATUS_H
#define PHYSARIUM_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

/* Marks what the shared library exports; everything else has hidden visibility. */
#ifndef PHY_API
#define PHY_API __attribute__((visibility("default")))
#endif

/* What a call came to. The detail (file, tensor, fact) has been written once, as one line, to the host's log,
 * where it was found: see phy_host. */
enum phy_status {
    PHY_OK = 0,
    PHY_ERR_INTERNAL,    /* a bug in physarium */
    PHY_ERR_USAGE,       /* wrong arguments, or an output that is refused */
    PHY_ERR_IO,          /* absent or unreadable path, no space, a donor that changed while it was read */
    PHY_ERR_FORMAT,      /* malformed, contradictory or incomplete input */
    PHY_ERR_UNSUPPORTED, /* may well be a good file; we cannot use it */
    PHY_ERR_LIMIT,       /* one of our stated limits */
    PHY_ERR_MEMORY,      /* host allocation failed */
    PHY_ERR_DEVICE,      /* no driver, no such device, device lost, device that is not bit-exact */
    PHY_ERR_MISMATCH,    /* an audit measured more than its limit */
    PHY_ERR_INTERRUPTED, /* the host asked to stop; the work so far is kept */
};

/* The program's exit code for a status: 0 1 2 3 4 5 6 6 7 8 130, in the order above. */
PHY_API int phy_status_exit_code(enum phy_status status);

/* Short fixed name, such as "format"; never NULL. */
PHY_API const char *phy_status_name(enum phy_status status);

#ifdef __cplusplus
}
#endif
#endif
