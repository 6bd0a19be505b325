/*
 * callbacks=poll: the descriptor is readable while something is due, however dl_poll's max cuts what
 * was; dl_poll counts and waits for callbacks that there are; dl_stop comes back behind dl_poll, also
 * where that is held up on its way out.
 */
#define _GNU_SOURCE
#include "faults.h"

#include <poll.h>
#include <signal.h>

enum { ROUNDS = 30 };

static dl_log *log_;
static int ends, inside, in_handler;

static dl_log *polled(const char *dir, const char *name) {
    dl_config *cfg = small_config(dir, name);
    set(cfg, DL_OPT_CALLBACKS, "poll");
    set(cfg, DL_OPT_APPEND_TIMEOUT, "1h");
    dl_log *log = open_log(cfg);
    dl_config_free(cfg);
    start_leader(log);
    return log;
}

static void on_append(void *user_data, const dl_completion *completion) {
    (void)user_data;
    CHECK(completion->status == DL_OK);
    ends++;
}

static int is_readable(dl_log *log) {
    struct pollfd fd = {dl_poll_fd(log), POLLIN, 0};
    return poll(&fd, 1, 0);
}

/* What is committed while dl_poll runs its last one keeps the descriptor readable. */
static void max_cuts(const char *dir) {
    dl_log *log = polled(dir, "cuts");
    while (dl_poll(log, 50, 0) > 0)
        ;
    for (int n = 0; n < 2; n++)
        IS(DL_OK, dl_append_async(log, "first", 5, NULL, NULL, on_append, NULL));
    AWAIT(state_of(log).committed.index == 2);
    set_disk(HANGS);
    IS(DL_OK, dl_append_async(log, "second", 6, NULL, NULL, on_append, NULL));
    UNTIL(syncs_hanging, 1);
    CHECK(dl_poll(log, 0, 1) == 1 && is_readable(log));
    set_disk(HEALTHY);
    AWAIT(state_of(log).committed.index == 3);
    CHECK(dl_poll(log, 0, 1) == 1 && ends == 2);
    CHECK(is_readable(log));
    CHECK(dl_poll(log, 0, 1) == 1 && ends == 3);
    IS(DL_OK, dl_stop(log, DL_FOREVER));
    dl_close(log);
}

/* Where no function was given none runs, and nobody is woken for it. */
static void nothing_to_call(const char *dir) {
    dl_log *log = polled(dir, "nothing");
    CHECK(dl_poll(log, 50, 0) == 0);
    IS(DL_OK, dl_append(log, "body", 4, NULL, NULL));
    IS(DL_OK, dl_append_async(log, "body", 4, NULL, NULL, NULL, NULL));
    AWAIT(state_of(log).committed.index == 2);
    CHECK(dl_poll(log, 50, 0) == 0);
    IS(DL_OK, dl_append_async(log, "body", 4, NULL, NULL, on_append, NULL));
    ends = 0;
    CHECK(dl_poll(log, DL_FOREVER, 0) == 1 && ends == 1);
    IS(DL_OK, dl_stop(log, DL_FOREVER));
    dl_close(log);
}

static void *polls(void *unused) {
    (void)unused;
    while (dl_poll(log_, 0, 0) > 0)
        ;
    __atomic_store_n(&inside, 1, __ATOMIC_SEQ_CST);
    while (dl_poll(log_, DL_FOREVER, 0) >= 0)
        ;
    return NULL;
}

static void is_slow(int number) {
    (void)number;
    __atomic_add_fetch(&in_handler, 1, __ATOMIC_SEQ_CST);
    sleep_ms(200);
    __atomic_sub_fetch(&in_handler, 1, __ATOMIC_SEQ_CST);
}

static void stop_waits(const char *dir) {
    CHECK(signal(SIGUSR1, is_slow) != SIG_ERR);
    for (int round = 0; round < ROUNDS; round++) {
        char name[32];
        snprintf(name, sizeof(name), "stop-%d", round);
        log_ = polled(dir, name);
        inside = 0;
        pthread_t poller;
        CHECK(pthread_create(&poller, NULL, polls, NULL) == 0);
        UNTIL(inside, 1);
        if (round % 10 == 0) {
            sleep_ms(20);
            CHECK(pthread_kill(poller, SIGUSR1) == 0);
            UNTIL(in_handler, 1);
        }
        IS(DL_OK, dl_stop(log_, DL_FOREVER));
        CHECK(in_handler == 0);
        dl_close(log_);
        CHECK(pthread_join(poller, NULL) == 0);
    }
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    max_cuts(argv[1]);
    nothing_to_call(argv[1]);
    stop_waits(argv[1]);
    return 0;
}
