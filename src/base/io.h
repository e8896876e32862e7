/* SPDX-License-Identifier: Apache-2.0 */
/* System calls on files, repeated over short counts and EINTR, with a seam for tests to inject errors. */
#ifndef PHY_BASE_IO_H
#define PHY_BASE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Each returns 0, or an errno value. */
int phy_pread_all(int fd, void *buffer, size_t bytes, uint64_t at); /* ENODATA at end of file */
int phy_pwrite_all(int fd, const void *buffer, size_t bytes, uint64_t at);
int phy_write_all(int fd, const void *buffer, size_t bytes);
int phy_fsync(int fd);
int phy_close(int fd);
/* fsync the directory that a descriptor is open on, or EINVAL-tolerant no-op where the file system cannot. */
int phy_fsync_directory(int fd);

enum phy_io_call { PHY_IO_READ, PHY_IO_WRITE, PHY_IO_FSYNC, PHY_IO_CLOSE };

/* Test seam: before each system call `hook` sees the call and may shorten *bytes (>= 1) or return an errno value to
 * inject. NULL turns it off. Set it while no other thread does I/O. */
typedef int phy_io_hook(void *user, enum phy_io_call call, int fd, size_t *bytes, uint64_t at);
void phy_io_set_hook(phy_io_hook *hook, void *user);

#endif
