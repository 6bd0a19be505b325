/*
 * Diagnostics. Guards P15 for the one callback that is of the whole process: a function that was
 * replaced runs no more when dl_set_trace returns (scenario 29), and its `drop` comes once.
 */
#include "check.h"

#include <pthread.h>

static int alive;    /* a trace function may run */
static int messages; /* that came */
static int drops;
static dl_status inside[2];

static void drop(void *user_data) {
    (void)user_data;
    __atomic_add_fetch(&drops, 1, __ATOMIC_SEQ_CST);
}

static void trace(void *user_data, uint32_t level, const char *target, const char *message,
                  size_t len) {
    CHECK(user_data == &alive && __atomic_load_n(&alive, __ATOMIC_SEQ_CST));
    CHECK(level >= DL_LEVEL_ERROR && level <= DL_LEVEL_TRACE);
    CHECK(strncmp(target, "dledger", 7) == 0 && len > 0 && message[0] != ' ');
    CHECK(memchr(message, 0, len) == NULL);
    __atomic_add_fetch(&messages, 1, __ATOMIC_SEQ_CST);
}

/* It must call nothing, and is told so where it would wait for itself. */
static void calls_back(void *user_data, uint32_t level, const char *target, const char *message,
                       size_t len) {
    dl_log *log = NULL;
    dl_config *cfg = user_data;
    (void)level, (void)target, (void)message, (void)len;
    inside[0] = dl_set_trace(DL_LEVEL_INFO, trace, &alive, drop);
    inside[1] = dl_open(cfg, &log, NULL);
}

/* dl_open says at level debug that it was called, also where it then refuses. */
static void say(void) {
    dl_log *log = NULL;
    dl_config *cfg = dl_config_new(DL_VERSION);
    IS(DL_E_CONFIG, dl_open(cfg, &log, NULL));
    dl_config_free(cfg);
}

static int stop;
static void *talk(void *argument) {
    while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST))
        say();
    return argument;
}

int main(void) {
    say(); /* before any function is set */
    alive = 1;
    IS(DL_E_INVALID, dl_set_trace(0, trace, &alive, drop));
    IS(DL_E_INVALID, dl_set_trace(6, trace, &alive, drop));
    CHECK(drops == 2);

    IS(DL_OK, dl_set_trace(DL_LEVEL_TRACE, trace, &alive, drop));
    say();
    CHECK(messages == 1 && drops == 2);
    IS(DL_OK, dl_set_trace(DL_LEVEL_INFO, trace, &alive, drop));
    CHECK(drops == 3);
    say();
    CHECK(messages == 1);
    IS(DL_OK, dl_set_trace(0, NULL, NULL, drop)); /* nothing to keep: at once */
    CHECK(drops == 5);
    say();
    CHECK(messages == 1);

    dl_config *cfg = dl_config_new(DL_VERSION);
    IS(DL_OK, dl_set_trace(DL_LEVEL_DEBUG, calls_back, cfg, NULL));
    say();
    IS(DL_E_DEADLOCK, inside[0]);
    IS(DL_E_DEADLOCK, inside[1]);
    CHECK(drops == 6);
    IS(DL_OK, dl_set_trace(0, NULL, NULL, NULL));
    dl_config_free(cfg);

    /* Two threads talk while functions come and go. */
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, talk, NULL) == 0);
    messages = 0;
    for (int round = 0; round < 2000; round++) {
        __atomic_store_n(&alive, 1, __ATOMIC_SEQ_CST);
        IS(DL_OK, dl_set_trace(DL_LEVEL_DEBUG, trace, &alive, drop));
        IS(DL_OK, dl_set_trace(DL_LEVEL_ERROR, NULL, NULL, NULL));
        __atomic_store_n(&alive, 0, __ATOMIC_SEQ_CST); /* whoever comes now fails a check */
    }
    __atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(drops == 2006);
    return 0;
}
