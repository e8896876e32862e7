/* SPDX-License-Identifier: Apache-2.0 */
#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

#include "base/alloc.h"
#include "base/cpu_features.h"

struct phy_pool {
    unsigned threads;
    int looks;          /* of a waiting worker, before it offers its processor to others */
    pthread_t *workers; /* threads - 1 of them */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    atomic_uint generation; /* counts loops; a change is the signal to start */
    atomic_uint busy;       /* workers still in the present loop */
    atomic_bool stop;
    phy_pool_task *task;
    void *user;
    size_t count, grab; /* indices, and how many a worker takes at a time */
    atomic_size_t next;
};

struct start {
    struct phy_pool *pool;
    unsigned worker;
};

/* A decode step is hundreds of loops of some 10 us each: a worker looks for the next one this long before it sleeps. */
enum { SPIN_NS = 100000 };
/* Looks, some 20 us of them, at what the last workers are about before the processor is offered to others: with fewer
 * processors than threads the one that is waited for may need it. Loops of four threads on two busy processors take a
 * quarter of the time that plain spinning does. */
enum { SPINS_BEFORE_YIELD = 1024 };

/* Looks for the next loop, 20 us or 1 us of them, before a worker does the same. A processor that was offered to
 * another program is gone for milliseconds: not between two loops of a layer, if there is one for each thread. */
enum { LOOKS_ALONE = 1024, LOOKS_CROWDED = 64 };

/* Indices that a worker takes at a time are so small a part of its share, or one. */
enum { PARTS_OF_A_SHARE = 64 };

static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void take_indices(struct phy_pool *pool, unsigned worker)
{
    for (;;) {
        size_t index = atomic_fetch_add_explicit(&pool->next, pool->grab, memory_order_relaxed);
        if (index >= pool->count)
            return;
        const size_t end = pool->count - index < pool->grab ? pool->count : index + pool->grab;
        for (; index < end; index++)
            pool->task(pool->user, index, worker);
    }
}

static long long now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

/* Wait for a generation other than `seen`; spin first, then sleep. */
static unsigned wait_for_loop(struct phy_pool *pool, unsigned seen)
{
    unsigned generation;
    long long until = now_ns() + SPIN_NS;
    do {
        for (int i = 0; i < pool->looks; i++) {
            generation = atomic_load_explicit(&pool->generation, memory_order_acquire);
            if (generation != seen)
                return generation;
            relax();
        }
        sched_yield();
    } while (now_ns() < until);
    pthread_mutex_lock(&pool->lock);
    while ((generation = atomic_load_explicit(&pool->generation, memory_order_acquire)) == seen)
        pthread_cond_wait(&pool->wake, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
    return generation;
}

static void *worker_main(void *argument)
{
    struct start start = *(struct start *)argument;
    struct phy_pool *pool = start.pool;
    phy_free(argument);
    unsigned seen = 0;
    for (;;) {
        seen = wait_for_loop(pool, seen);
        if (atomic_load(&pool->stop))
            return NULL;
        take_indices(pool, start.worker);
        atomic_fetch_sub_explicit(&pool->busy, 1, memory_order_release);
    }
}

static void begin_generation(struct phy_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add_explicit(&pool->generation, 1, memory_order_release);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
}

struct phy_pool *phy_pool_create(unsigned threads)
{
    struct phy_pool *pool = phy_zalloc(1, sizeof *pool);
    if (!pool)
        return NULL;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pool->threads = 1;
    pool->looks = threads <= phy_cpu_count() ? LOOKS_ALONE : LOOKS_CROWDED;
    pool->workers = phy_zalloc(threads, sizeof *pool->workers);
    for (unsigned i = 1; pool->workers && i < threads; i++) {
        struct start *start = phy_alloc(1, sizeof *start);
        if (start)
            *start = (struct start){pool, i};
        if (!start || pthread_create(&pool->workers[i - 1], NULL, worker_main, start) != 0) {
            phy_free(start);
            break;
        }
        pool->threads++;
    }
    if (!pool->workers || (pool->threads < threads)) {
        phy_pool_destroy(pool);
        return NULL;
    }
    return pool;
}

void phy_pool_destroy(struct phy_pool *pool)
{
    if (!pool)
        return;
    atomic_store(&pool->stop, true);
    begin_generation(pool);
    for (unsigned i = 1; i < pool->threads; i++)
        pthread_join(pool->workers[i - 1], NULL);
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->wake);
    phy_free(pool->workers);
    phy_free(pool);
}

unsigned phy_pool_threads(const struct phy_pool *pool)
{
    return pool->threads;
}

void phy_pool_run(struct phy_pool *pool, size_t count, phy_pool_task *task, void *user)
{
    if (pool->threads == 1 || count <= 1) {
        for (size_t i = 0; i < count; i++)
            task(user, i, 0);
        return;
    }
    pool->task = task;
    pool->user = user;
    pool->count = count;
    pool->grab = count / ((size_t)pool->threads * PARTS_OF_A_SHARE) + 1;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->busy, pool->threads - 1, memory_order_relaxed);
    begin_generation(pool);
    take_indices(pool, 0);
    for (unsigned spins = 1; atomic_load_explicit(&pool->busy, memory_order_acquire) != 0; spins++) {
        if (spins % SPINS_BEFORE_YIELD == 0)
            sched_yield();
        relax();
    }
}
