/*
 * Acceptance 2, P3: an append with a timeout of 100 ms behind one of 10 s ends at 100 ms, also
 * while a sync hangs, in both callback modes and in dl_append. While it hangs dl_stop ends with
 * DL_E_TIMED_OUT, everything that waits ends, and the directory stays locked until the sync is
 * over; then it opens, and has what was acknowledged. The thread that hung says nothing then: no
 * callback runs after dl_stop.
 */
#include "faults.h"

#include <sys/epoll.h>

enum { SOON = 90, LATE = 1500 };

struct end {
    dl_status status;
    int ends;
    uint64_t at;
};

static void on_append(void *user_data, const dl_completion *c) {
    struct end *end = user_data;
    end->status = c->status;
    end->at = now_ms();
    __atomic_add_fetch(&end->ends, 1, __ATOMIC_SEQ_CST);
}

static void append(dl_log *log, uint32_t timeout_ms, struct end *end) {
    dl_append_opts opts = DL_APPEND_OPTS_INIT;
    opts.timeout_ms = timeout_ms;
    memset(end, 0, sizeof(*end));
    IS(DL_OK, dl_append_async(log, "body", 4, &opts, NULL, on_append, end));
}

static void timed_out(struct end *end, uint64_t begin) {
    UNTIL(end->ends, 1);
    IS(DL_E_TIMED_OUT, end->status);
    CHECK(dl_status_is(end->status, DL_IS_MAYBE_COMMITTED) == 1);
    if (end->at - begin < SOON || end->at - begin > LATE) {
        fprintf(stderr, "ended after %d ms\n", (int)(end->at - begin));
        exit(1);
    }
}

static dl_config *config(const char *dir, const char *name, const char *callbacks) {
    dl_config *cfg = small_config(dir, name);
    set(cfg, DL_OPT_CALLBACKS, callbacks);
    return cfg;
}

static void *epoll_until_stopped(void *log) {
    struct epoll_event event = {.events = EPOLLIN};
    int set = epoll_create1(0);
    CHECK(epoll_ctl(set, EPOLL_CTL_ADD, dl_poll_fd(log), &event) == 0);
    for (;;) {
        if (epoll_wait(set, &event, 1, -1) < 1)
            continue;
        int32_t ran = dl_poll(log, 0, 0);
        if (ran == DL_E_STOPPED)
            break;
        CHECK(ran >= 0);
    }
    close(set);
    return NULL;
}

/* What hangs is the sync of `first`, and behind it the others wait. */
static void hang(dl_log *log, struct end *first) {
    set_disk(HANGS);
    append(log, 10000, first);
    UNTIL(syncs_hanging, 1);
}

static int thread_starts, thread_ends;
static void on_thread(void *user_data, int starts, int callbacks) {
    (void)user_data, (void)callbacks;
    __atomic_add_fetch(starts ? &thread_starts : &thread_ends, 1, __ATOMIC_SEQ_CST);
}

static dl_log *begin(dl_config *cfg, void *(*poll)(void *), pthread_t *poller) {
    dl_log *log = open_log(cfg);
    thread_starts = thread_ends = 0;
    IS(DL_OK, dl_on_thread(log, on_thread, NULL, NULL));
    start_leader(log);
    *poller = poll != NULL ? thread(poll, log) : 0;
    IS(DL_OK, dl_append(log, "first", 5, NULL, NULL));
    return log;
}

static void appends(const char *dir, const char *name, const char *callbacks,
                    void *(*poll)(void *)) {
    struct end first, one, other, last;
    pthread_t poller;
    dl_config *cfg = config(dir, name, callbacks);
    dl_log *log = begin(cfg, poll, &poller);
    dl_append_opts opts = DL_APPEND_OPTS_INIT;
    uint64_t number = 0;

    /* Behind one that is being synced, and behind one that waits as well. */
    hang(log, &first);
    uint64_t since = now_ms();
    append(log, 100, &one);
    timed_out(&one, since);
    append(log, 10000, &other);
    sleep_ms(50); /* whoever calls back sleeps until then */
    since = now_ms();
    append(log, 100, &one);
    timed_out(&one, since);

    /* The caller that blocks, and other waits. */
    since = now_ms();
    opts.timeout_ms = 100;
    IS(DL_E_TIMED_OUT, dl_append(log, "body", 4, &opts, NULL));
    CHECK(now_ms() - since >= SOON && now_ms() - since <= LATE);
    since = now_ms();
    IS(DL_E_TIMED_OUT, dl_flush(log, 100));
    IS(DL_E_TIMED_OUT, dl_read_index(log, 100, &number));
    CHECK(now_ms() - since <= 2 * LATE);

    /* Live: the preset. */
    IS(DL_OK, dl_set(log, DL_OPT_APPEND_TIMEOUT, "100ms", NULL));
    since = now_ms();
    append(log, 0, &one);
    timed_out(&one, since);
    since = now_ms();
    IS(DL_E_TIMED_OUT, dl_append(log, "body", 4, NULL, NULL));
    CHECK(now_ms() - since >= SOON && now_ms() - since <= LATE);
    IS(DL_OK, dl_set(log, DL_OPT_APPEND_TIMEOUT, "10s", NULL));

    /* Reads go on; the 10 s ones are still waiting. */
    dl_view view = {0};
    IS(DL_OK, dl_read(log, 0, NULL, &view));
    dl_view_release(&view);
    CHECK(first.ends == 0 && other.ends == 0);
    set_disk(HEALTHY);
    UNTIL(first.ends, 1);
    UNTIL(other.ends, 1);
    IS(DL_OK, first.status);
    IS(DL_OK, other.status);
    append(log, 10000, &last);
    UNTIL(last.ends, 1);
    IS(DL_OK, last.status);
    /* Those that timed out are in the log all the same, and in flight no more. */
    CHECK(state_of(log).committed.index == 9);
    AWAIT(metric(log, "appends_pending") == 0);
    CHECK(metric(log, "appends_pending_bytes") == 0);
    CHECK(metric(log, "appends_timed_out_total") == 5);
    IS(DL_OK, dl_stop(log, 20000));
    CHECK(thread_starts > 0 && thread_ends == thread_starts);
    if (poller)
        join(poller);
    dl_close(log);
    CHECK(first.ends == 1 && other.ends == 1 && one.ends == 1);
    dl_config_free(cfg);
}

/* With dl_poll and its own timeout on one thread. */
static void polled_here(const char *dir) {
    struct end first, one;
    pthread_t none;
    dl_config *cfg = config(dir, "here", "poll");
    dl_log *log = begin(cfg, NULL, &none);
    while (dl_poll(log, 50, 0) > 0)
        continue;
    hang(log, &first);
    uint64_t since = now_ms();
    append(log, 100, &one);
    while (one.ends == 0)
        CHECK(dl_poll(log, 10000, 0) >= 0);
    timed_out(&one, since);
    CHECK(dl_poll(log, 0, 0) == 0);
    set_disk(HEALTHY);
    while (first.ends == 0)
        CHECK(dl_poll(log, 10000, 0) >= 0);
    IS(DL_OK, first.status);
    IS(DL_OK, dl_stop(log, 20000));
    dl_close(log);
    dl_config_free(cfg);
}

static int index_ends;
static dl_status index_status;
static void on_index(void *user_data, dl_status status, uint64_t index) {
    (void)user_data, (void)index;
    index_status = status;
    index_ends++;
}

static void *blocks(void *log) {
    dl_append_opts opts = DL_APPEND_OPTS_INIT;
    opts.timeout_ms = 20000;
    IS(DL_E_STOPPED, dl_append(log, "blocks", 6, &opts, NULL));
    return NULL;
}

/* Everything else that waits, until dl_stop. */
static int asking;
static void *flushes(void *log) {
    __atomic_add_fetch(&asking, 1, __ATOMIC_SEQ_CST);
    IS(DL_E_STOPPED, dl_flush(log, 20000));
    return NULL;
}
static void *asks_index(void *log) {
    uint64_t index = 7;
    __atomic_add_fetch(&asking, 1, __ATOMIC_SEQ_CST);
    IS(DL_E_STOPPED, dl_read_index(log, 20000, &index));
    CHECK(index == 7);
    return NULL;
}
static void *transfers(void *log) {
    dl_error err = {0};
    __atomic_add_fetch(&asking, 1, __ATOMIC_SEQ_CST);
    IS(DL_E_STOPPED, dl_transfer_leader(log, 1, 20000, &err));
    CHECK(err.status == DL_E_STOPPED);
    return NULL;
}
static void *changes(void *log) {
    dl_change change = {DL_MEMBER_MOVE, 0, 1, "a:1"};
    dl_error err = {0};
    __atomic_add_fetch(&asking, 1, __ATOMIC_SEQ_CST);
    IS(DL_E_STOPPED, dl_change_members(log, &change, 1, 20000, &err));
    CHECK(err.status == DL_E_STOPPED);
    return NULL;
}
enum { ASKERS = 4 };
static void *(*const askers[ASKERS])(void *) = {flushes, asks_index, transfers, changes};

static void stops(const char *dir, const char *name, const char *callbacks, void *(*poll)(void *),
                  int closes, const char *flush) {
    struct end first = {0}, other;
    pthread_t poller, blocker = 0, others[ASKERS];
    dl_config *cfg = config(dir, name, callbacks);
    int each = strcmp(flush, "commit") == 0;
    set(cfg, DL_OPT_FLUSH, flush);
    dl_log *log = begin(cfg, poll, &poller), *second = NULL;
    dl_error err;
    hang(log, &first);
    index_ends = 0;
    if (each) {
        append(log, 10000, &other);
        blocker = thread(blocks, log);
        AWAIT(metric(log, "appends_pending") == 3);
        IS(DL_OK, dl_read_index_async(log, 10000, on_index, NULL));
        asking = 0;
        for (int i = 0; i < ASKERS; i++)
            others[i] = thread(askers[i], log);
        UNTIL(asking, ASKERS);
        sleep_ms(20); /* and are inside their calls */
    } else {
        UNTIL(first.ends, 1); /* acknowledged without the sync */
        IS(DL_OK, first.status);
    }
    uint64_t since = now_ms();
    IS(DL_E_TIMED_OUT, dl_stop(log, 100));
    CHECK(now_ms() - since >= SOON && now_ms() - since <= LATE);
    CHECK(thread_ends == thread_starts - 1); /* all but the one that hangs */
    if (each) {
        CHECK(first.ends == 1 && other.ends == 1);
        IS(DL_E_STOPPED, first.status);
        IS(DL_E_STOPPED, other.status);
        CHECK(dl_status_is(DL_E_STOPPED, DL_IS_MAYBE_COMMITTED) == 1);
        join(blocker);
        for (int i = 0; i < ASKERS; i++)
            join(others[i]);
        CHECK(index_ends == 1);
        IS(DL_E_STOPPED, index_status);
    }
    if (poller)
        join(poller);
    IS(DL_E_STOPPED, dl_append(log, "x", 1, NULL, NULL));
    if (closes)
        dl_close(log);
    for (int i = 0; i < 10; i++) {
        IS(DL_E_LOCKED, dl_open(cfg, &second, &err));
        sleep_ms(10);
    }
    CHECK(second == NULL && syncs_hanging == 1);
    if (!closes) { /* this handle still reads */
        dl_view view = {0};
        IS(DL_OK, dl_read(log, 0, NULL, &view));
        CHECK(memcmp(view.entries[0].body, "first", 5) == 0);
        dl_view_release(&view);
        IS(DL_OK, dl_stop(log, 0)); /* twice is harmless */
    }
    set_disk(HEALTHY);
    AWAIT(dl_open(cfg, &second, NULL) == DL_OK || second != NULL);
    CHECK(thread_ends == thread_starts - 1); /* it gave up the lock, and told nobody */
    start_leader(second);
    dl_state state = state_of(second);
    CHECK(state.committed.index >= 2); /* `first` was written */
    IS(DL_OK, dl_append(second, "again", 5, NULL, NULL));
    dl_close(second);
    if (!closes)
        dl_close(log);
    CHECK(first.ends == 1 && (!each || other.ends == 1));
    dl_config_free(cfg);
}

/* dl_close alone, while a sync hangs: what is in flight ends before it returns, without a poller in it,
 * and the directory is locked until the sync is over. */
static void closes(const char *dir, const char *name, const char *callbacks) {
    struct end first = {0}, other = {0};
    pthread_t none;
    dl_config *cfg = config(dir, name, callbacks);
    dl_log *log = begin(cfg, NULL, &none), *second = NULL;
    hang(log, &first);
    append(log, 10000, &other);
    index_ends = 0;
    IS(DL_OK, dl_read_index_async(log, 10000, on_index, NULL));
    dl_close(log);
    CHECK(first.ends == 1 && other.ends == 1 && index_ends == 1);
    IS(DL_E_STOPPED, first.status);
    IS(DL_E_STOPPED, other.status);
    IS(DL_E_STOPPED, index_status);
    CHECK(syncs_hanging == 1);
    IS(DL_E_LOCKED, dl_open(cfg, &second, NULL));
    set_disk(HEALTHY);
    AWAIT(dl_open(cfg, &second, NULL) == DL_OK || second != NULL);
    CHECK(first.ends == 1 && other.ends == 1 && index_ends == 1);
    CHECK(state_of(second).committed.index >= 1);
    dl_close(second);
    dl_config_free(cfg);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    closes(argv[1], "only-close", "thread");
    closes(argv[1], "only-close-poll", "poll");
    appends(argv[1], "thread", "thread", NULL);
    appends(argv[1], "poll", "poll", poll_until_stopped);
    appends(argv[1], "epoll", "poll", epoll_until_stopped);
    polled_here(argv[1]);
    stops(argv[1], "stop-thread", "thread", NULL, 0, "commit");
    stops(argv[1], "stop-poll", "poll", poll_until_stopped, 0, "commit");
    stops(argv[1], "stop-alone", "poll", NULL, 0, "commit");
    stops(argv[1], "close-thread", "thread", NULL, 1, "commit");
    stops(argv[1], "close-epoll", "poll", epoll_until_stopped, 1, "commit");
    stops(argv[1], "interval", "thread", NULL, 0, "10ms");
    stops(argv[1], "interval-poll", "poll", poll_until_stopped, 1, "10ms");
    return 0;
}
