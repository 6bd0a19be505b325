/*
 * P15: where callbacks run, and how. One at a time, on the one thread that was told so or inside
 * dl_poll; in each kind of them what could wait is refused; a `drop` runs inside the call that causes
 * it; dl_poll is for callbacks=poll, and for one thread at a time.
 */
#include "check.h"

#include <sched.h>

static const char *directory;
static dl_log *the_log;

/* The kinds of callback that come one at a time, and those that come here and now. */
enum { APPEND, COMPLETE, EVENT, INDEX, THREAD, IN_TURN, MEMBER = IN_TURN, METRIC, OPTION, KINDS };
static int came[KINDS];

static int polled;                 /* callbacks=poll */
static int told;                   /* which thread calls back: */
static pthread_t callback_thread;  /* this one */
static __thread int in_call;       /* this thread is inside dl_poll, dl_stop or dl_close */
static int now_inside, overlaps, elsewhere;
static void (*within)(void);       /* what a callback does */

static void called(int kind) {
    if (kind < IN_TURN) {
        if (__atomic_add_fetch(&now_inside, 1, __ATOMIC_SEQ_CST) != 1)
            __atomic_add_fetch(&overlaps, 1, __ATOMIC_SEQ_CST);
        int here = polled ? in_call : told && pthread_equal(pthread_self(), callback_thread);
        if (!here)
            __atomic_add_fetch(&elsewhere, 1, __ATOMIC_SEQ_CST);
    }
    within();
    if (kind < IN_TURN)
        __atomic_sub_fetch(&now_inside, 1, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&came[kind], 1, __ATOMIC_SEQ_CST);
}

static void on_append(void *u, const dl_completion *c) { (void)u, (void)c, called(APPEND); }
static void on_complete(void *u, const dl_completion *items, size_t n) {
    (void)u, (void)items;
    CHECK(n >= 1 && n <= 256);
    called(COMPLETE);
    __atomic_add_fetch(&came[COMPLETE], (int)n - 1, __ATOMIC_SEQ_CST);
}
static void on_event(void *u, uint32_t what, const dl_state *now) {
    (void)u, (void)what, (void)now, called(EVENT);
}
static void on_index(void *u, dl_status s, uint64_t index) {
    (void)u, (void)s, (void)index, called(INDEX);
}
static void on_member(void *u, const dl_member *m) { (void)u, (void)m, called(MEMBER); }
static void on_metric(void *u, const dl_metric *m) { (void)u, (void)m, called(METRIC); }
static void on_option(void *u, const char *key, const char *type, const char *preset,
                      const char *doc, int live) {
    (void)u, (void)key, (void)type, (void)preset, (void)doc, (void)live, called(OPTION);
}
/* The thread that calls back tells so itself, in turn with all else; the other one is not it. */
static void on_thread(void *u, int starts, int callbacks) {
    (void)u;
    if (!callbacks) {
        within();
        return;
    }
    CHECK(!polled);
    if (starts) {
        CHECK(!told);
        callback_thread = pthread_self();
        told = 1;
    }
    called(THREAD);
}

static void begin(const char *name, const char *callbacks, void (*does)(void)) {
    dl_config *cfg = small_config(directory, name);
    set(cfg, DL_OPT_CALLBACKS, callbacks);
    set(cfg, DL_OPT_APPEND_TIMEOUT, "60s");
    the_log = open_log(cfg);
    dl_config_free(cfg);
    memset(came, 0, sizeof(came));
    polled = strcmp(callbacks, "poll") == 0;
    told = now_inside = overlaps = elsewhere = 0;
    within = does;
    IS(DL_OK, dl_on_complete(the_log, on_complete, NULL, NULL));
    IS(DL_OK, dl_on_event(the_log, on_event, NULL, NULL));
    IS(DL_OK, dl_on_thread(the_log, on_thread, NULL, NULL));
    start_leader(the_log);
}

static void end(void) {
    in_call = 1; /* with callbacks=poll the last ones run in here */
    IS(DL_OK, dl_stop(the_log, 60000));
    dl_close(the_log);
    in_call = 0;
    CHECK(overlaps == 0 && elsewhere == 0 && now_inside == 0);
}

/* ---- One at a time, on one thread ----------------------------------------------------------------- */

enum { CALLERS = 3, ROUNDS = 1500 };

static void yields(void) { sched_yield(); }

static void *causes_callbacks(void *log) {
    for (int i = 0; i < ROUNDS; i++) {
        dl_status status;
        IS_SOON(DL_OK, dl_append_async(log, "x", 1, NULL, NULL, on_append, NULL));
        IS_SOON(DL_OK, dl_append_async(log, "x", 1, NULL, NULL, NULL, NULL));
        while ((status = dl_read_index_async(log, 60000, on_index, NULL)) == DL_E_PENDING_FULL)
            sleep_ms(1);
        IS(DL_OK, status);
    }
    return NULL;
}

/* Others poll as well: a status, and no callback beside another. */
static void *polls(void *log) {
    int32_t ran;
    in_call = 1;
    do {
        ran = dl_poll(log, DL_FOREVER, 3);
        CHECK(ran >= 0 || ran == DL_E_INVALID || ran == DL_E_STOPPED);
    } while (ran != DL_E_STOPPED);
    in_call = 0;
    return NULL;
}

static void one_at_a_time(const char *name, const char *callbacks) {
    pthread_t callers[CALLERS], pollers[2];
    begin(name, callbacks, yields);
    for (int i = 0; i < 2 && polled; i++)
        pollers[i] = thread(polls, the_log);
    for (int i = 0; i < CALLERS; i++)
        callers[i] = thread(causes_callbacks, the_log);
    for (int i = 0; i < CALLERS; i++)
        join(callers[i]);
    UNTIL(came[APPEND], CALLERS * ROUNDS);
    UNTIL(came[COMPLETE], CALLERS * ROUNDS);
    UNTIL(came[INDEX], CALLERS * ROUNDS);
    in_call = 1;
    IS(DL_OK, dl_stop(the_log, 60000));
    in_call = 0;
    for (int i = 0; i < 2 && polled; i++)
        join(pollers[i]);
    end();
    CHECK(came[EVENT] > 0 && came[THREAD] == (polled ? 0 : 2));
}

/* ---- What could wait is refused in each kind -------------------------------------------------------- */

/* All that is [waits]; the same without a timeout is allowed. */
static void asks_to_wait(void) {
    dl_log *log = the_log, *other = NULL;
    dl_config *cfg = small_config(directory, "never");
    dl_change change = {DL_MEMBER_REMOVE, 0, 2, NULL};
    dl_read_opts opts = DL_READ_OPTS_INIT;
    dl_view view = {0};
    dl_error err;
    uint64_t index;
    char body[8];
    opts.timeout_ms = 1000;
    IS(DL_E_DEADLOCK, dl_open(cfg, &other, &err));
    dl_config_free(cfg);
    CHECK(err.status == DL_E_DEADLOCK && other == NULL);
    IS(DL_E_DEADLOCK, dl_append(log, "x", 1, NULL, NULL));
    IS(DL_E_DEADLOCK, dl_read(log, 0, &opts, &view));
    IS(DL_E_DEADLOCK, dl_read_copy(log, 0, body, sizeof(body), NULL));
    IS(DL_E_DEADLOCK, dl_read_index(log, 1000, &index));
    IS(DL_E_DEADLOCK, dl_flush(log, 1000));
    err.status = DL_OK;
    IS(DL_E_DEADLOCK, dl_transfer_leader(log, 7, 1000, &err));
    CHECK(err.status == DL_E_DEADLOCK);
    err.status = DL_OK;
    IS(DL_E_DEADLOCK, dl_change_members(log, &change, 1, 1000, &err));
    CHECK(err.status == DL_E_DEADLOCK);
    IS(DL_E_DEADLOCK, dl_poll(log, 0, 0));
    IS(DL_E_DEADLOCK, dl_stop(log, 0));
    dl_close(log); /* nothing */
    CHECK(dl_flush(log, 0) != DL_E_DEADLOCK);
    CHECK(dl_read_index(log, 0, &index) != DL_E_DEADLOCK);
    CHECK(dl_transfer_leader(log, 7, 0, NULL) != DL_E_DEADLOCK);
    CHECK(dl_change_members(log, &change, 1, 0, NULL) != DL_E_DEADLOCK);
    IS(DL_E_NOT_COMMITTED, dl_read(log, 1000000, NULL, &view));
}

static void waits_are_refused(const char *name, const char *callbacks) {
    pthread_t poller = 0;
    begin(name, callbacks, asks_to_wait);
    if (polled)
        poller = thread(polls, the_log);
    IS(DL_OK, dl_append_async(the_log, "x", 1, NULL, NULL, on_append, NULL));
    IS(DL_OK, dl_append_async(the_log, "x", 1, NULL, NULL, NULL, NULL));
    IS(DL_OK, dl_read_index_async(the_log, 60000, on_index, NULL));
    UNTIL(came[APPEND], 1);
    UNTIL(came[COMPLETE], 1);
    UNTIL(came[INDEX], 1);
    IS(DL_OK, dl_members(the_log, on_member, NULL));
    IS(DL_OK, dl_metrics(the_log, on_metric, NULL));
    dl_options(on_option, NULL);
    IS(DL_OK, dl_flush(the_log, 60000)); /* and out of them all is as before */
    in_call = 1;
    IS(DL_OK, dl_stop(the_log, 60000));
    in_call = 0;
    if (polled)
        join(poller);
    end();
    for (int kind = 0; kind < KINDS; kind++)
        CHECK(came[kind] > 0 || (polled && kind == THREAD));
}

/* ---- A `drop` runs inside the call -------------------------------------------------------------------- */

static int drops, drops_elsewhere;
static void drop(void *user_data) {
    (void)user_data;
    drops++;
    drops_elsewhere += !in_call;
}

static dl_status pass(void *u, const dl_entry *e, uint8_t *b) { return (void)u, (void)e, (void)b, DL_OK; }
static void trace(void *u, uint32_t level, const char *target, const char *message, size_t len) {
    (void)u, (void)level, (void)target, (void)message, (void)len;
}
static void nothing(void) {}

/* On a thread that is ours alone, so that no other one can be taken for it. */
static void *drops_here(void *user_data) {
    uint64_t id = 0;
    dl_log *log = small_log(directory, "drops");
    (void)user_data;
    polled = 0, told = 0, within = nothing, the_log = log;
    IS(DL_OK, dl_on_complete(log, on_complete, NULL, drop));
    IS(DL_OK, dl_on_event(log, on_event, NULL, drop));
    IS(DL_OK, dl_on_event(log, on_event, NULL, drop)); /* in place of the first, which is kept */
    IS(DL_OK, dl_on_thread(log, on_thread, NULL, drop));
    IS(DL_OK, dl_register_append_hook(log, pass, NULL, drop, &id));
    IS(DL_OK, dl_register_append_hook(log, pass, NULL, drop, NULL));
    CHECK(drops == 0);
    start_leader(log);
    in_call = 1;
    IS(DL_OK, dl_unregister_append_hook(log, id));
    CHECK(drops == 1);
    IS(DL_E_INVALID, dl_on_complete(log, on_complete, NULL, drop));
    IS(DL_E_INVALID, dl_on_event(log, on_event, NULL, drop));
    IS(DL_E_INVALID, dl_on_thread(log, on_thread, NULL, drop));
    IS(DL_E_INVALID, dl_register_append_hook(log, pass, NULL, drop, NULL));
    IS(DL_E_INVALID, dl_set_trace(77, trace, NULL, drop));
    CHECK(drops == 6);
    in_call = 0;
    IS(DL_OK, dl_set_trace(DL_LEVEL_TRACE, trace, NULL, drop));
    IS(DL_OK, dl_append(log, "x", 1, NULL, NULL)); /* the library's threads trace meanwhile */
    CHECK(drops == 6);
    in_call = 1;
    IS(DL_OK, dl_set_trace(0, NULL, NULL, NULL));
    CHECK(drops == 7);
    in_call = 0;
    IS(DL_OK, dl_stop(log, 60000));
    CHECK(drops == 7);
    in_call = 1;
    dl_close(log);
    in_call = 0;
    CHECK(drops == 12 && drops_elsewhere == 0);
    return NULL;
}

/* ---- What is registered when ----------------------------------------------------------------------------- */

static void registered_when(void) {
    int before = drops;
    dl_error err;
    dl_log *log = small_log(directory, "stopped");
    IS(DL_OK, dl_stop(log, 1000));
    IS(DL_OK, dl_on_event(log, on_event, NULL, drop)); /* kept, and never called */
    IS(DL_E_INVALID, dl_register_append_hook(log, pass, NULL, drop, NULL));
    CHECK(drops == before + 1);
    IS(DL_E_STOPPED, dl_start(log, &err));
    CHECK(err.status == DL_E_STOPPED);
    IS(DL_OK, dl_on_event(log, on_event, NULL, drop));
    CHECK(drops == before + 1);
    dl_close(log);
    CHECK(drops == before + 3);
}

/* ---- dl_poll ------------------------------------------------------------------------------------------------ */

static int blocked, blocks_until;
static void blocks(void *u, const dl_completion *c) {
    (void)u, (void)c;
    __atomic_store_n(&blocked, 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&blocks_until, __ATOMIC_SEQ_CST))
        sleep_ms(1);
}

static void polls_of_one(void) {
    dl_log *log = small_log(directory, "no-poll");
    for (int life = 0; life < 3; life++) {
        IS(DL_E_INVALID, dl_poll(log, 0, 0));
        IS(DL_E_INVALID, dl_poll(log, DL_FOREVER, 1));
        IS(DL_E_INVALID, dl_poll_fd(log));
        if (life == 0)
            start_leader(log);
        else
            IS(DL_OK, dl_stop(log, 60000));
    }
    dl_close(log);

    dl_config *cfg = small_config(directory, "poll");
    set(cfg, DL_OPT_CALLBACKS, "poll");
    log = open_log(cfg);
    dl_config_free(cfg);
    IS(DL_E_STOPPED, dl_poll(log, DL_FOREVER, 0)); /* there is nothing to wait for */
    CHECK(dl_poll_fd(log) >= 0);
    start_leader(log);
    pthread_t poller = thread(poll_until_stopped, log);
    IS(DL_OK, dl_append_async(log, "x", 1, NULL, NULL, blocks, NULL));
    UNTIL(blocked, 1);
    IS(DL_E_INVALID, dl_poll(log, 0, 0));
    IS(DL_E_INVALID, dl_poll(log, DL_FOREVER, 0)); /* nor does it wait for the other */
    __atomic_store_n(&blocks_until, 1, __ATOMIC_SEQ_CST);
    IS(DL_OK, dl_stop(log, 60000));
    join(poller);
    IS(DL_E_STOPPED, dl_poll(log, DL_FOREVER, 0));
    dl_close(log);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    directory = argv[1];
    one_at_a_time("one-thread", "thread");
    one_at_a_time("one-poll", "poll");
    waits_are_refused("waits-thread", "thread");
    waits_are_refused("waits-poll", "poll");
    join(thread(drops_here, NULL));
    in_call = 1;
    registered_when();
    in_call = 0;
    CHECK(drops_elsewhere == 0);
    polls_of_one();
    return 0;
}
