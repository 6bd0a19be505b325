/* What the C programs share: checks that say what was expected, and a log in a directory. */
#ifndef CHECK_H
#define CHECK_H

#include "dledger.h"

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

#endif
