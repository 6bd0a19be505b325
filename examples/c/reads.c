/*
 * What reads cost: a log of one member is filled, and then read from the page cache, without a copy:
 * in order with every byte summed, and one record at random.
 *
 *     reads [BODY_BYTES [RECORDS [DIRECTORY]]]
 *
 * The log lives in a fresh directory, in the one that is named or else in TMPDIR or /tmp, and is removed at
 * the end.
 */
#define _XOPEN_SOURCE 700

#include "dledger.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS 9
#define READS 500000

static void check(dl_status status, const char *what) {
    if (status != DL_OK) {
        fprintf(stderr, "%s: %s\n", what, dl_status_name(status));
        exit(1);
    }
}

static double now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void pause_briefly(void) { nanosleep(&(struct timespec){0, 1000000}, NULL); }

static dl_state state_of(dl_log *log) {
    dl_state state = DL_STATE_INIT;
    check(dl_get_state(log, &state), "dl_get_state");
    return state;
}

static dl_log *open_log(const char *path) {
    dl_config *cfg = dl_config_new(DL_VERSION);
    dl_log *log = NULL;
    dl_error err;
    check(dl_config_set(cfg, DL_OPT_DIR, path, NULL), "dir");
    check(dl_config_set(cfg, DL_OPT_NODE_ID, "1", NULL), "node.id");
    check(dl_config_set(cfg, DL_OPT_FLUSH, "100ms", NULL), "flush");
    if (dl_open(cfg, &log, &err) != DL_OK) {
        fprintf(stderr, "dl_open: %s\n", err.message);
        exit(1);
    }
    dl_config_free(cfg);
    check(dl_start(log, &err), "dl_start");
    while (!state_of(log).ready)
        pause_briefly();
    return log;
}

static void fill(dl_log *log, size_t body_bytes, uint64_t records) {
    uint8_t *body = calloc(1, body_bytes + 1);
    memset(body, 7, body_bytes);
    for (uint64_t n = 0; n < records;) {
        dl_status status = dl_append_async(log, body, body_bytes, NULL, NULL, NULL, NULL);
        if (status == DL_OK) {
            n++;
            continue;
        }
        if (status != DL_E_PENDING_FULL)
            check(status, "dl_append_async");
        pause_briefly();
    }
    while (state_of(log).committed.index < records)
        pause_briefly();
    free(body);
}

/* Bytes a nanosecond. */
static double in_order(dl_log *log, uint64_t *sum) {
    dl_state state = state_of(log);
    dl_read_opts opts = DL_READ_OPTS_INIT;
    opts.max_entries = 4096;
    opts.flags = DL_READ_SEQUENTIAL;
    double begin = now_ns();
    for (uint64_t index = state.begin.index; index < state.committed.index;) {
        dl_view view = {0};
        uint64_t word;
        check(dl_read(log, index, &opts, &view), "dl_read");
        size_t at = 0;
        for (; at + sizeof(word) <= view.len; at += sizeof(word)) {
            memcpy(&word, view.data + at, sizeof(word));
            *sum += word;
        }
        for (; at < view.len; at++)
            *sum += view.data[at];
        index = view.next_index;
        dl_view_release(&view);
    }
    return (double)(state.committed.pos - state.begin.pos) / (now_ns() - begin);
}

/* Nanoseconds of a read, its release, and a look at the first byte. */
static double at_random(dl_log *log, uint64_t records, uint64_t *sum) {
    uint64_t seed = 1;
    double begin = now_ns();
    for (int n = 0; n < READS; n++) {
        dl_view view = {0};
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        check(dl_read(log, (seed >> 33) % records, NULL, &view), "dl_read");
        *sum += *(const uint8_t *)view.entries[0].body;
        dl_view_release(&view);
    }
    return (now_ns() - begin) / READS;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static char dir[4096];

static int remove_one(const char *path, const struct stat *what, int kind, struct FTW *place) {
    (void)what, (void)kind, (void)place;
    return remove(path);
}

static void remove_all(void) { nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

int main(int argc, char **argv) {
    size_t body_bytes = argc > 1 ? strtoul(argv[1], NULL, 10) : 1024;
    uint64_t records = argc > 2 ? strtoull(argv[2], NULL, 10) : 100000;
    const char *temporary = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp";
    if (body_bytes == 0 || records == 0) {
        fprintf(stderr, "usage: reads [BODY_BYTES [RECORDS [DIRECTORY]]]\n");
        return 2;
    }
    snprintf(dir, sizeof(dir), "%s/dledger-reads-XXXXXX", argc > 3 ? argv[3] : temporary);
    if (mkdtemp(dir) == NULL) {
        perror(dir);
        return 1;
    }
    atexit(remove_all);
    dl_log *log = open_log(dir);
    fill(log, body_bytes, records);
    double rates[ROUNDS], times[ROUNDS];
    uint64_t sum = 0;
    for (int round = 0; round < ROUNDS; round++) {
        rates[round] = in_order(log, &sum);
        times[round] = at_random(log, records, &sum);
    }
    qsort(rates, ROUNDS, sizeof(*rates), by_value);
    qsort(times, ROUNDS, sizeof(*times), by_value);
    printf("%llu records of %zu bytes, medians of %d rounds (the sum is %llx)\n",
           (unsigned long long)records, body_bytes, ROUNDS, (unsigned long long)sum);
    printf("in order, every byte summed: %.2f GB/s\n", rates[ROUNDS / 2]);
    printf("dl_read of one record at random, with dl_view_release: %.0f ns\n", times[ROUNDS / 2]);
    check(dl_stop(log, DL_FOREVER), "dl_stop");
    dl_close(log);
    return 0;
}
