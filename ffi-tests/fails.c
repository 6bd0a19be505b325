/*
 * Acceptance 7, P7, scenario 2: one failed sync stops the log for good, whatever the system calls
 * it. What waits is completed with DL_E_FAILED (it may be in the log), then comes DL_EVENT_FAILED,
 * then everything that writes answers DL_E_FAILED and dl_failure tells the errno. Reads go on. A
 * reopen recovers all that was acknowledged.
 */
#include "faults.h"

enum { BEFORE = 10, WAITING = 5 };

static int ended, ended_ok, failed_events, barriers;
static dl_status barrier_status;

static void on_append(void *user_data, const dl_completion *c) {
    (void)user_data;
    if (c->status == DL_OK) {
        ended_ok++;
    } else {
        IS(DL_E_FAILED, c->status);
        CHECK(dl_status_is(c->status, DL_IS_MAYBE_COMMITTED) == 1);
        CHECK(dl_status_is(c->status, DL_IS_FATAL) == 1);
        CHECK(failed_events == 0);
    }
    __atomic_add_fetch(&ended, 1, __ATOMIC_SEQ_CST);
}

static void on_index(void *user_data, dl_status status, uint64_t index) {
    (void)user_data, (void)index;
    CHECK(failed_events == 0);
    barrier_status = status;
    barriers++;
}

static void on_event(void *user_data, uint32_t what, const dl_state *now) {
    if (what & DL_EVENT_FAILED) {
        CHECK(ended == *(int *)user_data && now->role == DL_ROLE_STOPPED && now->ready == 0);
        __atomic_add_fetch(&failed_events, 1, __ATOMIC_SEQ_CST);
    }
}

static void *append_fails(void *log) {
    dl_append_opts opts = DL_APPEND_OPTS_INIT;
    opts.timeout_ms = 20000;
    IS(DL_E_FAILED, dl_append(log, "blocks", 6, &opts, NULL));
    return NULL;
}
static void *flush_fails(void *log) {
    IS(DL_E_FAILED, dl_flush(log, 20000));
    return NULL;
}
static void *index_fails(void *log) {
    uint64_t index;
    IS(DL_E_FAILED, dl_read_index(log, 20000, &index));
    return NULL;
}
static void *read_ends(void *log) {
    dl_read_opts opts = DL_READ_OPTS_INIT;
    dl_view view = {0};
    opts.timeout_ms = 20000;
    IS(DL_E_FAILED, dl_read(log, BEFORE + 100, &opts, &view));
    return NULL;
}

static void on_member(void *user_data, const dl_member *m) {
    CHECK(m->node_id == 1 && m->voter == 1);
    ++*(int *)user_data;
}

/* What a log that failed answers, before and after it is stopped. */
static void is_failed(dl_log *log, int error) {
    dl_error err;
    dl_bytes bytes = {"x", 1};
    dl_entry out, untouched;
    uint64_t index;
    memset(&out, 0x55, sizeof(out));
    untouched = out;
    IS(DL_E_IO, dl_failure(log, &err));
    CHECK(err.status == DL_E_IO && err.sys_errno == error && err.message[0] != 0);
    IS(DL_E_IO, dl_failure(log, &err));
    IS(DL_E_FAILED, dl_append_async(log, "x", 1, NULL, &out, on_append, NULL));
    IS(DL_E_FAILED, dl_append_batch_async(log, &bytes, 1, NULL, &out, on_append, NULL));
    IS(DL_E_FAILED, dl_append(log, "x", 1, NULL, &out));
    CHECK(memcmp(&out, &untouched, sizeof(out)) == 0);
    IS(DL_E_FAILED, dl_start(log, &err));
    CHECK(err.status == DL_E_FAILED);
    IS(DL_E_FAILED, dl_set(log, DL_OPT_APPEND_TIMEOUT, "1s", &err));
    IS(DL_E_FAILED, dl_flush(log, 1000));
    IS(DL_E_FAILED, dl_delete_prefix(log, 0, &err));
    IS(DL_E_FAILED, dl_read_index(log, 1000, &index));
    IS(DL_E_FAILED, dl_read_index_async(log, 1000, on_index, NULL));
    dl_change change = {DL_MEMBER_MOVE, 0, 1, "a:1"};
    for (uint32_t timeout_ms = 0; timeout_ms <= 1000; timeout_ms += 1000) {
        err.status = DL_OK;
        IS(DL_E_FAILED, dl_transfer_leader(log, 1, timeout_ms, &err));
        CHECK(err.status == DL_E_FAILED);
        err.status = DL_OK;
        IS(DL_E_FAILED, dl_change_members(log, &change, 1, timeout_ms, &err));
        CHECK(err.status == DL_E_FAILED);
    }
    int members = 0;
    IS(DL_OK, dl_members(log, on_member, &members));
    CHECK(members == 1);
}

static void reads(dl_log *log) {
    dl_read_opts opts = DL_READ_OPTS_INIT;
    dl_view view = {0};
    dl_entry entry;
    uint64_t index = 0;
    char body[64];
    opts.max_entries = BEFORE;
    opts.flags = DL_READ_VERIFY;
    IS(DL_OK, dl_read(log, 0, &opts, &view));
    CHECK(view.count == BEFORE);
    for (int i = 0; i < BEFORE; i++)
        CHECK(view.entries[i].body_len == 6 && memcmp(view.entries[i].body, "before", 6) == 0);
    dl_view_release(&view);
    IS(DL_OK, dl_read_pos(log, 48, 6, &view));
    CHECK(memcmp(view.data, "before", 6) == 0);
    dl_view_release(&view);
    IS(DL_OK, dl_read_copy(log, BEFORE - 1, body, sizeof(body), &entry));
    CHECK(entry.body_len == 6 && memcmp(body, "before", 6) == 0);
    IS(DL_OK, dl_index_at(log, 48, &index));
}

static void fails(const char *dir, const char *callbacks, const char *flush, int error) {
    char name[64];
    int each = strcmp(flush, "commit") == 0, expected = each ? BEFORE + WAITING : BEFORE + 1;
    snprintf(name, sizeof(name), "%s-%s-%d", callbacks, flush, error);
    pthread_t poller = 0, others[4];
    dl_config *cfg = small_config(dir, name);
    set(cfg, DL_OPT_CALLBACKS, callbacks);
    set(cfg, DL_OPT_FLUSH, flush);
    set(cfg, DL_OPT_APPEND_TIMEOUT, "20s");
    dl_log *log = open_log(cfg);
    ended = ended_ok = failed_events = barriers = syncs_failed = 0;
    dl_error err;
    IS(DL_OK, dl_failure(log, &err));
    IS(DL_OK, dl_on_event(log, on_event, &expected, NULL));
    start_leader(log);
    if (strcmp(callbacks, "poll") == 0)
        poller = thread(poll_until_stopped, log);
    for (int i = 0; i < BEFORE; i++)
        IS(DL_OK, dl_append_async(log, "before", 6, NULL, NULL, on_append, NULL));
    UNTIL(ended, BEFORE);
    CHECK(ended_ok == BEFORE);
    IS(DL_OK, dl_flush(log, 20000));

    if (each) {
        /* Everything that can wait does, while the sync takes its time to fail. */
        set_disk(HANGS);
        IS(DL_OK, dl_append_async(log, "waits", 5, NULL, NULL, on_append, NULL));
        UNTIL(syncs_hanging, 1);
        for (int i = 1; i < WAITING; i++)
            IS(DL_OK, dl_append_async(log, "waits", 5, NULL, NULL, on_append, NULL));
        others[0] = thread(append_fails, log);
        others[1] = thread(flush_fails, log);
        others[2] = thread(index_fails, log);
        others[3] = thread(read_ends, log);
        IS(DL_OK, dl_read_index_async(log, 20000, on_index, NULL));
        AWAIT(metric(log, "appends_pending") == WAITING + 1);
        sleep_ms(20);
        CHECK(ended == BEFORE && failed_events == 0 && barriers == 0);
        set_disk(error);
        for (int i = 0; i < 4; i++)
            join(others[i]);
        UNTIL(failed_events, 1);
        CHECK(barriers == 1);
        IS(DL_E_FAILED, barrier_status);
        CHECK(ended_ok == BEFORE);
    } else {
        /* Acknowledged before the sync by interval fails. */
        set_disk(error);
        IS(DL_OK, dl_append_async(log, "before", 6, NULL, NULL, on_append, NULL));
        UNTIL(failed_events, 1);
        CHECK(ended_ok == BEFORE + 1);
    }
    CHECK(ended == expected && syncs_failed == 1);
    set_disk(HEALTHY); /* too late */
    is_failed(log, error);
    reads(log);
    dl_state state = state_of(log);
    CHECK(state.role == DL_ROLE_STOPPED && state.ready == 0 && state.leader_id == 0);
    CHECK(metric(log, "appends_pending") == 0);
    sleep_ms(50);
    CHECK(syncs_failed == 1);
    IS(DL_E_FAILED, dl_stop(log, 20000));
    if (poller)
        join(poller);
    is_failed(log, error);
    reads(log);
    CHECK(ended == expected && failed_events == 1 && barriers == each);

    /* Another handle recovers, while this one goes on reading. */
    dl_log *second = open_log(cfg);
    IS(DL_OK, dl_failure(second, &err));
    CHECK(err.status == DL_OK && err.sys_errno == 0);
    dl_close(log);
    start_leader(second);
    reads(second);
    state = state_of(second);
    CHECK(state.committed.index >= (uint64_t)(each ? BEFORE : BEFORE + 1));
    IS(DL_OK, dl_append(second, "after", 5, NULL, NULL));
    dl_close(second);
    dl_config_free(cfg);
}

/* The last sync, in dl_stop, is the one that fails: what was acknowledged may not be on the disk. */
static void stop_fails(const char *dir) {
    dl_config *cfg = small_config(dir, "stop");
    set(cfg, DL_OPT_FLUSH, "60s");
    dl_log *log = open_log(cfg);
    dl_config_free(cfg);
    start_leader(log);
    IS(DL_OK, dl_append(log, "acknowledged", 12, NULL, NULL));
    set_disk(EIO);
    IS(DL_E_FAILED, dl_stop(log, 20000));
    set_disk(HEALTHY);
    dl_error err;
    IS(DL_E_IO, dl_failure(log, &err));
    CHECK(err.sys_errno == EIO);
    dl_close(log);
}

/* Appends once more, and looks. */
static int has_failed(dl_log *log, dl_error *err) {
    if (dl_append_async(log, "x", 1, NULL, NULL, NULL, NULL) == DL_OK)
        sleep_ms(1);
    return dl_failure(log, err) != DL_OK;
}

/* A failed sync of any file is final, with its errno, though it says that the disk is full. */
static void fails_at(const char *dir, const char *part, int before_start) {
    char name[64];
    snprintf(name, sizeof(name), "part-%.4s-%d", part + 1, before_start);
    dl_config *cfg = small_config(dir, name);
    set(cfg, "checkpoint.interval", "50ms");
    dl_log *log = open_log(cfg);
    dl_config_free(cfg);
    if (!before_start)
        start_leader(log);
    faulty = part;
    set_disk(ENOSPC);
    dl_error err;
    if (before_start)
        CHECK(dl_start(log, NULL) <= DL_OK);
    AWAIT(has_failed(log, &err));
    if (err.status != DL_E_IO || err.sys_errno != ENOSPC)
        fprintf(stderr, "%s: %s\n", part, err.message);
    CHECK(err.status == DL_E_IO && err.sys_errno == ENOSPC);
    set_disk(HEALTHY);
    faulty = "/data/";
    IS(DL_E_FAILED, dl_append(log, "x", 1, NULL, NULL));
    dl_close(log);
}

static int blocks_until;
static void blocks(void *user_data, const dl_completion *c) {
    while (!__atomic_load_n(&blocks_until, __ATOMIC_SEQ_CST))
        sleep_ms(1);
    on_append(user_data, c);
}

/* Calls are refused at once, while what waits is still being completed; DL_EVENT_FAILED is behind that. */
static void refused_at_once(const char *dir) {
    int expected = 1;
    dl_error err;
    dl_log *log = small_log(dir, "at-once");
    ended = ended_ok = failed_events = barriers = syncs_failed = 0;
    IS(DL_OK, dl_on_event(log, on_event, &expected, NULL));
    start_leader(log);
    set_disk(EIO);
    IS(DL_OK, dl_append_async(log, "blocks", 6, NULL, NULL, blocks, NULL));
    AWAIT(dl_failure(log, &err) == DL_E_IO);
    is_failed(log, EIO);
    CHECK(ended == 0 && failed_events == 0);
    __atomic_store_n(&blocks_until, 1, __ATOMIC_SEQ_CST);
    UNTIL(failed_events, 1);
    CHECK(ended == 1 && ended_ok == 0);
    set_disk(HEALTHY);
    dl_close(log);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    stop_fails(argv[1]);
    refused_at_once(argv[1]);
    fails_at(argv[1], "/meta", 1);
    fails_at(argv[1], "/meta", 0);
    fails_at(argv[1], "/control", 1);
    fails_at(argv[1], "/index/", 0);
    fails_at(argv[1], "/batches/", 0);
    fails(argv[1], "thread", "commit", EIO);
    fails(argv[1], "poll", "commit", EIO);
    fails(argv[1], "thread", "commit", ENOSPC); /* too late to be a full disk */
    fails(argv[1], "thread", "10ms", EIO);
    fails(argv[1], "poll", "10ms", EIO);
    return 0;
}
