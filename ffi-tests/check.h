/* What the C programs share: checks that say what was expected, and a log in a directory. */
#ifndef CHECK_H
#define CHECK_H

#include "dledger.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* True, or the program ends with the line that was not. */
#define CHECK(what)                                                                                \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #what);                   \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* A call answers this status. */
#define IS(status, call) check_status(status, call, #call, __FILE__, __LINE__)

static inline void check_status(dl_status expected, dl_status got, const char *call,
                                const char *file, int line) {
    if (got == expected)
        return;
    fprintf(stderr, "%s:%d: %s answers %s instead of %s\n", file, line, call, dl_status_name(got),
            dl_status_name(expected));
    exit(1);
}

static inline void sleep_ms(long ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* Waits, up to 20 s, until an int that another thread sets is `value`. */
#define UNTIL(variable, value)                                                                     \
    do {                                                                                           \
        int tries_ = 0;                                                                            \
        while (__atomic_load_n(&(variable), __ATOMIC_SEQ_CST) != (value) && tries_++ < 20000)      \
            sleep_ms(1);                                                                           \
        CHECK(__atomic_load_n(&(variable), __ATOMIC_SEQ_CST) == (value));                          \
    } while (0)

/* A group of one in `dir`/`name`. */
static inline dl_config *small_config(const char *dir, const char *name) {
    char path[4096];
    dl_config *cfg = dl_config_new(DL_VERSION);
    CHECK(cfg != NULL);
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    IS(DL_OK, dl_config_set(cfg, DL_OPT_DIR, path, NULL));
    IS(DL_OK, dl_config_set(cfg, DL_OPT_NODE_ID, "1", NULL));
    IS(DL_OK, dl_config_set(cfg, DL_OPT_SEGMENT_BYTES, "1MiB", NULL));
    return cfg;
}

static inline dl_log *open_log(dl_config *cfg) {
    dl_error err;
    dl_log *log = NULL;
    dl_status status = dl_open(cfg, &log, &err);
    if (status != DL_OK) {
        fprintf(stderr, "dl_open: %s: %s\n", dl_status_name(status), err.message);
        exit(1);
    }
    CHECK(log != NULL);
    return log;
}

static inline dl_log *small_log(const char *dir, const char *name) {
    dl_config *cfg = small_config(dir, name);
    dl_log *log = open_log(cfg);
    dl_config_free(cfg);
    return log;
}

static inline int is_leader(dl_log *log) {
    dl_state state = DL_STATE_INIT;
    IS(DL_OK, dl_get_state(log, &state));
    return state.role == DL_ROLE_LEADER && state.ready;
}

static inline void wait_leader(dl_log *log) {
    int tries = 0;
    while (!is_leader(log) && tries++ < 20000)
        sleep_ms(1);
    CHECK(is_leader(log));
}

static inline void start_leader(dl_log *log) {
    IS(DL_OK, dl_start(log, NULL));
    wait_leader(log);
}

static inline void set(dl_config *cfg, const char *key, const char *value) {
    IS(DL_OK, dl_config_set(cfg, key, value, NULL));
}

static inline uint64_t now_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

/* Waits, up to 20 s, until something is so. */
#define AWAIT(what)                                                                                \
    do {                                                                                           \
        uint64_t begin_ = now_ms();                                                                \
        while (!(what) && now_ms() - begin_ < 20000)                                               \
            sleep_ms(1);                                                                           \
        CHECK(what);                                                                               \
    } while (0)

/* As IS, for an append that may have to wait for room. */
#define IS_SOON(status, call)                                                                      \
    do {                                                                                           \
        dl_status answer_;                                                                         \
        uint64_t begin_ = now_ms();                                                                \
        while ((answer_ = (call)) == DL_E_PENDING_FULL && now_ms() - begin_ < 20000)               \
            sleep_ms(1);                                                                           \
        check_status(status, answer_, #call, __FILE__, __LINE__);                                  \
    } while (0)

static inline dl_state state_of(dl_log *log) {
    dl_state state = DL_STATE_INIT;
    IS(DL_OK, dl_get_state(log, &state));
    return state;
}

/* Numbers that depend on nothing but the seed (splitmix64). */
static inline uint64_t random_of(uint64_t *seed) {
    uint64_t z = *seed += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

/* A body from its seed: `least` to `most` bytes. */
static inline size_t fill_body(uint64_t seed, size_t least, size_t most, uint8_t *body) {
    size_t len = least + random_of(&seed) % (most - least + 1);
    for (size_t at = 0; at < len; at += 8) {
        uint64_t eight = random_of(&seed);
        memcpy(body + at, &eight, len - at < 8 ? len - at : 8);
    }
    return len;
}

/* One metric by its name (the first of that name); -1 if there is none. */
struct wanted_metric {
    const char *name;
    double value;
    uint32_t counter;
};

static inline void find_metric(void *user_data, const dl_metric *m) {
    struct wanted_metric *wanted = (struct wanted_metric *)user_data;
    if (wanted->value < 0 && strcmp(m->name, wanted->name) == 0) {
        wanted->value = m->value;
        wanted->counter = m->counter;
    }
}

static inline double metric(dl_log *log, const char *name) {
    struct wanted_metric wanted = {name, -1, 0};
    IS(DL_OK, dl_metrics(log, find_metric, &wanted));
    return wanted.value;
}

/* With callbacks=poll: a thread that polls until the log stops. */
static inline void *poll_until_stopped(void *log) {
    int32_t ran;
    while ((ran = dl_poll((dl_log *)log, DL_FOREVER, 0)) >= 0)
        continue;
    IS(DL_E_STOPPED, ran);
    return NULL;
}

static inline pthread_t thread(void *(*run)(void *), void *user_data) {
    pthread_t id;
    CHECK(pthread_create(&id, NULL, run, user_data) == 0);
    return id;
}

static inline void join(pthread_t id) { CHECK(pthread_join(id, NULL) == 0); }

#endif
