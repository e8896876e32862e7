/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "model/mapping.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

/* Written under `lock`, read by the signal handler: begin is published last and cleared first. */
enum { SLOT_COUNT = 512 };
static struct slot {
    atomic_uintptr_t begin, end;
    atomic_bool torn;
} slots[SLOT_COUNT];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction previous;
static uintptr_t page_bytes;

static void on_bus_error(int number, siginfo_t *info, void *context)
{
    uintptr_t at = (uintptr_t)info->si_addr;
    for (int i = 0; i < SLOT_COUNT; i++) {
        uintptr_t begin = atomic_load(&slots[i].begin);
        if (begin && at >= begin && at < atomic_load(&slots[i].end)) {
            /* A system call, so safe here: zeros take the place of the lost page. */
            void *page = (void *)(at & ~(page_bytes - 1));
            if (mmap(page, page_bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED) {
                atomic_store(&slots[i].torn, true);
                return;
            }
        }
    }
    if (previous.sa_flags & SA_SIGINFO) {
        previous.sa_sigaction(number, info, context);
    } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
        previous.sa_handler(number);
    } else {
        signal(number, SIG_DFL); /* the access is repeated, and ends the process as it would have */
    }
}

/* Ours, again if the program has put its own in its place since. */
static int install_handler(void)
{
    struct sigaction now, action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_NODEFER};
    if (sigaction(SIGBUS, NULL, &now) != 0)
        return errno;
    if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_bus_error)
        return 0;
    page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
    previous = now;
    sigemptyset(&action.sa_mask);
    return sigaction(SIGBUS, &action, NULL) == 0 ? 0 : errno;
}

int phy_mapping_open(struct phy_mapping *out, int fd, size_t bytes)
{
    *out = (struct phy_mapping){.slot = -1};
    void *data = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED)
        return errno;
    pthread_mutex_lock(&lock);
    int error = install_handler();
    for (int i = 0; !error && out->slot < 0 && i < SLOT_COUNT; i++) {
        if (atomic_load(&slots[i].begin) == 0) {
            atomic_store(&slots[i].torn, false);
            atomic_store(&slots[i].end, (uintptr_t)data + bytes);
            atomic_store(&slots[i].begin, (uintptr_t)data);
            out->slot = i;
        }
    }
    pthread_mutex_unlock(&lock);
    if (out->slot < 0) {
        munmap(data, bytes);
        return error ? error : EMFILE;
    }
    out->data = data;
    out->bytes = bytes;
    return 0;
}

void phy_mapping_close(struct phy_mapping *mapping)
{
    if (!mapping->data)
        return;
    pthread_mutex_lock(&lock);
    atomic_store(&slots[mapping->slot].begin, 0);
    pthread_mutex_unlock(&lock);
    munmap((void *)(uintptr_t)mapping->data, mapping->bytes);
    *mapping = (struct phy_mapping){.slot = -1};
}

bool phy_mapping_torn(const struct phy_mapping *mapping)
{
    return mapping->data && atomic_load(&slots[mapping->slot].torn);
}
