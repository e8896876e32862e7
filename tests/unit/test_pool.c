/* SPDX-License-Identifier: Apache-2.0 */
/* Loops shared among threads: every index once, every worker alone with its number, whatever the sizes. Written so that
 * ThreadSanitizer has something to look at: results are plain memory, ordered by the pool alone. */
#include "support/test.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "base/alloc.h"
#include "base/pool.h"

enum { MOST_THREADS = 8, MOST = 5000 };

struct loop {
    unsigned char seen[MOST]; /* calls of each index */
    atomic_flag at_work[MOST_THREADS];
    unsigned threads;
    atomic_bool broken;
    size_t per_worker[MOST_THREADS];
};

static void note(void *user, size_t index, unsigned worker)
{
    struct loop *loop = user;
    if (worker >= loop->threads || atomic_flag_test_and_set(&loop->at_work[worker])) {
        atomic_store(&loop->broken, true);
        return;
    }
    loop->seen[index]++;
    loop->per_worker[worker]++;
    atomic_flag_clear(&loop->at_work[worker]);
}

static void run_loop(struct phy_pool *pool, struct loop *loop, size_t count)
{
    memset(loop->seen, 0, sizeof loop->seen);
    memset(loop->per_worker, 0, sizeof loop->per_worker);
    loop->threads = phy_pool_threads(pool);
    phy_pool_run(pool, count, note, loop);
    assert_false(atomic_load(&loop->broken));
    size_t total = 0;
    for (size_t i = 0; i < MOST; i++)
        assert_int_equal(loop->seen[i], i < count);
    for (unsigned w = 0; w < loop->threads; w++)
        total += loop->per_worker[w];
    assert_int_equal(total, count);
}

static void every_index_runs_once_for_every_size_and_thread_count(void **state)
{
    static const size_t counts[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 63, 64, 65, 1000, MOST};
    static struct loop loop;
    (void)state;
    for (unsigned threads = 1; threads <= MOST_THREADS; threads++) {
        struct phy_pool *pool = phy_pool_create(threads);
        assert_non_null(pool);
        assert_int_equal(phy_pool_threads(pool), threads);
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
            run_loop(pool, &loop, counts[i]);
        phy_pool_destroy(pool);
    }
}

struct sums {
    const double *from;
    double *to;
    size_t count;
};

/* to[i] from three neighbours: reads what other workers wrote in the loop before. */
static void smooth(void *user, size_t index, unsigned worker)
{
    const struct sums *s = user;
    (void)worker;
    size_t before = index ? index - 1 : s->count - 1, after = index + 1 < s->count ? index + 1 : 0;
    s->to[index] = s->from[index] + 0.25 * (s->from[before] - 2 * s->from[index] + s->from[after]);
}

static void thousands_of_short_loops_see_what_the_loop_before_wrote(void **state)
{
    enum { LOOPS = 4000, WIDTH = 37 };
    double expected[2][WIDTH];
    (void)state;
    for (unsigned threads = 1; threads <= 4; threads++) {
        double values[2][WIDTH];
        struct phy_pool *pool = phy_pool_create(threads);
        assert_non_null(pool);
        for (size_t i = 0; i < WIDTH; i++)
            values[0][i] = i == 5 ? 1 : 0;
        for (size_t loop = 0; loop < LOOPS; loop++) {
            struct sums s = {values[loop % 2], values[(loop + 1) % 2], WIDTH};
            phy_pool_run(pool, WIDTH, smooth, &s);
        }
        phy_pool_destroy(pool);
        if (threads == 1)
            memcpy(expected, values, sizeof values);
        assert_memory_equal(expected, values, sizeof values);
    }
}

static void count_one(void *user, size_t index, unsigned worker)
{
    (void)index;
    (void)worker;
    atomic_fetch_add_explicit((atomic_size_t *)user, 1, memory_order_relaxed);
}

struct nest {
    struct phy_pool *inner; /* another pool: one loop of a pool at a time */
    atomic_size_t total;
};

static void run_inner(void *user, size_t index, unsigned worker)
{
    struct nest *nest = user;
    if (worker == 0) /* the calling thread alone may use the inner pool */
        phy_pool_run(nest->inner, index % 7, count_one, &nest->total);
    else
        atomic_fetch_add(&nest->total, index % 7);
}

static void a_loop_may_run_loops_of_another_pool(void **state)
{
    struct phy_pool *outer = phy_pool_create(3);
    struct nest nest = {.inner = phy_pool_create(2)};
    (void)state;
    assert_true(outer && nest.inner);
    for (size_t count = 0; count < 200; count++) {
        size_t expected = 0;
        for (size_t i = 0; i < count; i++)
            expected += i % 7;
        atomic_store(&nest.total, 0);
        phy_pool_run(outer, count, run_inner, &nest);
        assert_int_equal(atomic_load(&nest.total), expected);
    }
    phy_pool_destroy(outer);
    phy_pool_destroy(nest.inner);
}

static void pools_come_and_go_with_and_without_work(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 200; round++) {
        atomic_size_t total = 0;
        struct phy_pool *pool = phy_pool_create(1 + round % 5);
        assert_non_null(pool);
        if (round % 3)
            phy_pool_run(pool, round, count_one, &total);
        assert_int_equal(total, round % 3 ? round : 0);
        phy_pool_destroy(pool);
    }
    phy_pool_destroy(NULL);
}

static void workers_that_fell_asleep_wake_up(void **state)
{
    static struct loop loop;
    struct phy_pool *pool = phy_pool_create(4);
    struct timespec while_asleep = {.tv_nsec = 2000000}; /* twenty times as long as they look for work */
    (void)state;
    assert_non_null(pool);
    for (int round = 0; round < 20; round++) {
        run_loop(pool, &loop, 100);
        nanosleep(&while_asleep, NULL);
    }
    phy_pool_destroy(pool);
}

static void a_pool_that_memory_does_not_suffice_for_is_null(void **state)
{
    (void)state;
    for (uint64_t after = 0; after < 6; after++) {
        phy_alloc_fail_after(after);
        struct phy_pool *pool = phy_pool_create(4);
        phy_alloc_fail_after(UINT64_MAX);
        /* The pool, its list of threads, and three starts. */
        assert_int_equal(pool != NULL, after >= 5);
        phy_pool_destroy(pool);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_index_runs_once_for_every_size_and_thread_count),
        cmocka_unit_test(thousands_of_short_loops_see_what_the_loop_before_wrote),
        cmocka_unit_test(a_loop_may_run_loops_of_another_pool),
        cmocka_unit_test(pools_come_and_go_with_and_without_work),
        cmocka_unit_test(workers_that_fell_asleep_wake_up),
        cmocka_unit_test(a_pool_that_memory_does_not_suffice_for_is_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
