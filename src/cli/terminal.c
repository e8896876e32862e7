/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

static volatile sig_atomic_t stop_requested;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct {
    bool quiet, is_terminal, line_open, complete;
    double started, shown;
    char stage[32];
    uint64_t first, done;
} state;

static double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void on_signal(int number)
{
    (void)number;
    if (stop_requested)
        _exit(130); /* interrupted, whichever signal asked, as after the first */
    stop_requested = 1;
}

static void end_line(void)
{
    if (state.line_open)
        fputs("\r\033[K", stderr);
    state.line_open = false;
}

static void on_log(void *user, enum phy_log_level level, const char *line)
{
    (void)user;
    if (level == PHY_LOG_NOTE && state.quiet)
        return;
    pthread_mutex_lock(&lock);
    end_line();
    fprintf(stderr, "%s\n", line);
    pthread_mutex_unlock(&lock);
}

static void scale_number(double value, const char *unit, char out[48])
{
    static const char prefix[] = " kMGTP";
    size_t n = 0;
    while (value >= 1000.0 && prefix[n + 1]) {
        value /= 1000.0;
        n++;
    }
    bool bytes = strcmp(unit, "bytes") == 0;
    if (n == 0)
        snprintf(out, 48, "%.0f %s", value, bytes ? "B" : unit);
    else
        snprintf(out, 48, "%.3g %c%s", value, prefix[n], bytes ? "B" : unit[0] == 'w' ? "weights" : unit);
}

static void on_progress(void *user, const struct phy_progress *progress)
{
    (void)user;
    if (state.quiet)
        return;
    double now = now_seconds();
    pthread_mutex_lock(&lock);
    if (strncmp(state.stage, progress->stage, sizeof state.stage - 1) != 0 || progress->done < state.done) {
        snprintf(state.stage, sizeof state.stage, "%s", progress->stage);
        state.started = now;
        state.first = progress->done;
        state.complete = false;
        state.shown = state.is_terminal ? 0 : now;
    }
    state.done = progress->done;
    bool last = progress->total && progress->done >= progress->total;
    double interval = state.is_terminal ? 0.1 : 5.0;
    if (state.complete || (now - state.shown < interval && !last)) {
        pthread_mutex_unlock(&lock);
        return;
    }
    state.shown = now;
    state.complete = last;
    double elapsed = now - state.started, done = (double)(progress->done - state.first);
    double rate = elapsed > 0.05 ? done / elapsed : 0.0;
    char done_text[48], total_text[48], rate_text[48], speed[64] = "", eta[48] = "";
    scale_number((double)progress->done, progress->unit, done_text);
    scale_number((double)progress->total, progress->unit, total_text);
    scale_number(rate, progress->unit, rate_text);
    if (rate > 0)
        snprintf(speed, sizeof speed, ", %s/s", rate_text);
    if (rate > 0 && progress->total > progress->done) {
        double left = ceil((double)(progress->total - progress->done) / rate);
        snprintf(eta, sizeof eta, ", %.0f:%02.0f left", floor(left / 60), fmod(left, 60));
    }
    double share = progress->total ? (double)progress->done / (double)progress->total : 0.0;
    if (state.is_terminal) {
        char bar[31];
        for (int i = 0; i < 30; i++)
            bar[i] = i < (int)(share * 30.0) ? '#' : '.';
        bar[30] = 0;
        fprintf(stderr, "\r\033[K%s [%s] %3.0f%%%s%s", progress->stage, bar, share * 100.0, speed, eta);
        state.line_open = true;
        if (last) {
            fputc('\n', stderr);
            state.line_open = false;
        }
        fflush(stderr);
    } else {
        fprintf(stderr, "%s: %s of %s (%.0f%%)%s%s\n", progress->stage, done_text, total_text, share * 100.0, speed,
                eta);
    }
    pthread_mutex_unlock(&lock);
}

static bool on_cancelled(void *user)
{
    (void)user;
    return stop_requested != 0;
}

void phy_terminal_open(struct phy_terminal *terminal, bool quiet)
{
    state.quiet = quiet;
    state.is_terminal = isatty(STDERR_FILENO) == 1;
    terminal->host = (struct phy_host){.log = on_log, .progress = on_progress, .cancelled = on_cancelled};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

void phy_terminal_close(struct phy_terminal *terminal)
{
    (void)terminal;
    pthread_mutex_lock(&lock);
    end_line();
    pthread_mutex_unlock(&lock);
}
