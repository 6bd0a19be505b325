/*
 * P15, P16, behaviours 13 and 29, scenario 29: one log from its first event to behind its end.
 * Events and their order, threads that are told of, reads that follow, read barriers, flush,
 * dl_delete_prefix under pinned views, dl_index_at, dl_segment_pin, metrics, live options, batches,
 * expected_term, the exact limit of append.pending.max, and a term for each life.
 */
#include "check.h"

#include <sys/wait.h>
#include <unistd.h>

static const char *directory;
static char big[1 << 20];

static int completions;
static void counts(void *user_data, const dl_completion *c) {
    (void)user_data;
    IS(DL_OK, c->status);
    __atomic_add_fetch(&completions, 1, __ATOMIC_SEQ_CST);
}
static void never(void *user_data, const dl_completion *c) {
    (void)user_data, (void)c;
    CHECK(!"refused, and called back all the same");
}

static dl_log *reopen(const char *name) {
    dl_log *log = small_log(directory, name);
    start_leader(log);
    return log;
}

/* ---- Events and threads ------------------------------------------------------------------------ */

struct happening {
    uint32_t what;
    dl_state now;
};
static struct happening happenings[10000];
static _Atomic int happened;

static void on_event(void *user_data, uint32_t what, const dl_state *now) {
    CHECK(user_data == happenings && what != 0 && happened < 10000);
    CHECK(now->size == sizeof(*now));
    CHECK(now->begin.index <= now->committed.index && now->begin.pos <= now->committed.pos);
    CHECK(now->committed.index <= now->end.index && now->committed.pos <= now->end.pos);
    CHECK(now->flushed.index <= now->end.index && now->flushed.pos <= now->end.pos);
    happenings[happened] = (struct happening){what, *now};
    happened++;
}

/* What the library's threads said: whether they run, and which one calls back. */
static pthread_t library_threads[16];
static int thread_calls, threads_running, callback_threads, callback_ends;
static void on_thread(void *user_data, int starts, int callbacks) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    (void)user_data;
    pthread_mutex_lock(&lock);
    CHECK(thread_calls < 16);
    library_threads[thread_calls++] = pthread_self();
    threads_running += starts ? 1 : -1;
    callback_threads += starts && callbacks;
    callback_ends += !starts && callbacks;
    pthread_mutex_unlock(&lock);
}

static pthread_t called_back_on;
static void notes_thread(void *user_data, const dl_completion *c) {
    called_back_on = pthread_self();
    counts(user_data, c);
}

static void events(const char *name, const char *callbacks) {
    int polls = strcmp(callbacks, "poll") == 0;
    pthread_t poller = 0;
    dl_config *cfg = small_config(directory, name);
    set(cfg, DL_OPT_CALLBACKS, callbacks);
    dl_log *log = open_log(cfg);
    dl_config_free(cfg);
    completions = happened = thread_calls = threads_running = callback_threads = callback_ends = 0;
    IS(DL_OK, dl_on_event(log, on_event, happenings, NULL));
    IS(DL_OK, dl_on_thread(log, on_thread, NULL, NULL));
    dl_state state = state_of(log);
    CHECK(state.role == DL_ROLE_STOPPED && state.node_id == 1 && state.leader_id == 0);
    sleep_ms(20);
    CHECK(happened == 0 && thread_calls == 0); /* no callback before dl_start */
    start_leader(log);
    if (polls) {
        sleep_ms(20);
        CHECK(happened == 0);
        poller = thread(poll_until_stopped, log);
    }
    IS(DL_E_INVALID, dl_on_event(log, on_event, NULL, NULL));
    IS(DL_E_INVALID, dl_start(log, NULL));
    for (int i = 0; i < 100; i++)
        IS(DL_OK, dl_append_async(log, "x", 1, NULL, NULL, notes_thread, NULL));
    UNTIL(completions, 100);
    AWAIT(happenings[happened - 1].now.committed.index == 100);
    if (polls)
        CHECK(pthread_equal(called_back_on, poller));

    CHECK(happenings[0].what ==
          (DL_EVENT_ROLE | DL_EVENT_COMMIT | DL_EVENT_BEGIN | DL_EVENT_MEMBERS));
    CHECK(happenings[0].now.role == DL_ROLE_FOLLOWER && happenings[0].now.node_id == 1);
    /* Roles one by one, to a leader and then a leader that is ready; commits only move on. */
    int roles = 0, ready = -1, commits = 0;
    for (int i = 1; i < happened; i++) {
        const dl_state *before = &happenings[i - 1].now, *now = &happenings[i].now;
        uint32_t what = happenings[i].what;
        CHECK((what & ~(DL_EVENT_ROLE | DL_EVENT_COMMIT)) == 0);
        CHECK(now->committed.index >= before->committed.index && now->term >= before->term);
        if (what & DL_EVENT_ROLE) {
            roles++;
            CHECK(ready < 0);
            if (now->role == DL_ROLE_LEADER)
                CHECK(now->leader_id == 1 && now->term >= 1);
            if (now->ready)
                ready = i;
        }
        commits += (what & DL_EVENT_COMMIT) != 0;
    }
    CHECK(roles >= 1 && ready > 0 && commits >= 1);
    IS(DL_OK, dl_stop(log, 20000));
    /* All threads have ended, in pairs. */
    int calls = thread_calls, ends = happened;
    CHECK(threads_running == 0 && calls % 2 == 0 && calls >= 2);
    CHECK(callback_threads == (polls ? 0 : 1) && callback_ends == callback_threads);
    state = state_of(log);
    CHECK(state.role == DL_ROLE_STOPPED && state.ready == 0 && state.committed.index == 100);
    if (polls)
        join(poller);
    sleep_ms(20);
    CHECK(thread_calls == calls && happened == ends && completions == 100);
    dl_close(log);
}

/* ---- Reads that follow, barriers, flush --------------------------------------------------------- */

enum { FOLLOWED = 3000 };

static void *follow(void *user_data) {
    dl_log *log = user_data;
    dl_read_opts opts = DL_READ_OPTS_INIT;
    opts.timeout_ms = 20000;
    opts.max_entries = 7;
    for (uint64_t index = 0; index < FOLLOWED;) {
        dl_view view = {0};
        IS(DL_OK, dl_read(log, index, &opts, &view));
        CHECK(view.count >= 1 && view.count <= 7 && view.entries[0].index == index);
        for (size_t i = 0; i < view.count; i++)
            CHECK(memcmp(view.entries[i].body, &(uint64_t){index + i}, 8) == 0);
        index = view.next_index;
        dl_view_release(&view);
    }
    dl_view none = {0};
    IS(DL_E_NOT_COMMITTED, dl_read(log, FOLLOWED, NULL, &none));
    uint64_t begin = now_ms();
    opts.timeout_ms = 100;
    IS(DL_E_NOT_COMMITTED, dl_read(log, FOLLOWED, &opts, &none));
    CHECK(now_ms() - begin >= 90);
    opts.timeout_ms = DL_FOREVER; /* ended by dl_stop */
    IS(DL_E_STOPPED, dl_read(log, FOLLOWED, &opts, &none));
    CHECK(none.priv[0] == NULL);
    return NULL;
}

static uint64_t barrier_index;
static dl_status barrier_status;
static int barriers;
static void on_index(void *user_data, dl_status status, uint64_t index) {
    CHECK(user_data == &barriers);
    barrier_status = status;
    barrier_index = index;
    __atomic_add_fetch(&barriers, 1, __ATOMIC_SEQ_CST);
}

static void follows(void) {
    dl_log *log = small_log(directory, "follows");
    pthread_t followers[2];
    completions = barriers = 0;
    start_leader(log);
    for (int i = 0; i < 2; i++)
        followers[i] = thread(follow, log);
    for (uint64_t i = 0; i < FOLLOWED; i++) {
        IS(DL_OK, dl_append_async(log, &i, 8, NULL, NULL, counts, NULL));
        if (i % 500 == 0)
            sleep_ms(20);
    }
    UNTIL(completions, FOLLOWED);
    /* What was completed before lies below the barrier. */
    uint64_t index = 0;
    IS(DL_OK, dl_read_index(log, 20000, &index));
    CHECK(index == FOLLOWED);
    IS(DL_OK, dl_read_index_async(log, 20000, on_index, &barriers));
    UNTIL(barriers, 1);
    IS(DL_OK, barrier_status);
    CHECK(barrier_index == FOLLOWED);
    sleep_ms(200);
    IS(DL_OK, dl_stop(log, 20000));
    for (int i = 0; i < 2; i++)
        join(followers[i]);
    /* What is committed reads as before; what is not is not waited for. */
    dl_read_opts opts = DL_READ_OPTS_INIT;
    dl_view view = {0};
    opts.timeout_ms = DL_FOREVER;
    IS(DL_OK, dl_read(log, FOLLOWED - 1, &opts, &view));
    dl_view_release(&view);
    IS(DL_E_STOPPED, dl_read(log, FOLLOWED, &opts, &view));
    IS(DL_E_NOT_COMMITTED, dl_read(log, FOLLOWED, NULL, &view));
    CHECK(barriers == 1);
    dl_close(log);
}

static void flushes(void) {
    dl_config *cfg = small_config(directory, "flushes");
    set(cfg, DL_OPT_FLUSH, "60s");
    dl_log *log = open_log(cfg);
    dl_config_free(cfg);
    completions = 0;
    IS(DL_E_STOPPED, dl_flush(log, 0));
    start_leader(log);
    for (int i = 0; i < 1000; i++)
        IS(DL_OK, dl_append_async(log, "x", 1, NULL, NULL, counts, NULL));
    IS(DL_OK, dl_flush(log, 20000)); /* what is appended, acknowledged or not */
    CHECK(state_of(log).flushed.index == 1000);
    UNTIL(completions, 1000);
    IS(DL_OK, dl_append(log, "x", 1, NULL, NULL)); /* without a sync */
    CHECK(state_of(log).flushed.index == 1000);
    /* Live: from here on each commit is synced. */
    IS(DL_OK, dl_set(log, DL_OPT_FLUSH, "commit", NULL));
    IS(DL_OK, dl_append(log, "x", 1, NULL, NULL));
    AWAIT(state_of(log).flushed.index == 1002);
    IS(DL_OK, dl_stop(log, 20000));
    IS(DL_E_STOPPED, dl_flush(log, 0));
    dl_close(log);
}

/* ---- Prefix, positions, pins --------------------------------------------------------------------- */

static _Atomic int begins;
static _Atomic uint64_t begin_told;
static void on_begin(void *user_data, uint32_t what, const dl_state *now) {
    (void)user_data;
    if (what & DL_EVENT_BEGIN) {
        begin_told = now->begin.index;
        begins++;
    }
}

enum { SEGMENT = 1 << 20, BODY = 300000, IN_ONE = 3, RECORDS = 3 * IN_ONE + 1 };

static void prefix(void) {
    dl_log *log = small_log(directory, "prefix");
    dl_entry entries[RECORDS];
    dl_view view = {0}, bytes = {0}, none = {0};
    dl_segment segment = {0}, last = {0};
    dl_error err;
    uint64_t index = 0;
    IS(DL_OK, dl_on_event(log, on_begin, NULL, NULL));
    start_leader(log);
    for (int i = 0; i < RECORDS; i++) {
        memset(big, 'a' + i, BODY);
        IS_SOON(DL_OK, dl_append(log, big, BODY, NULL, &entries[i]));
        CHECK(entries[i].pos == (uint64_t)(i / IN_ONE * SEGMENT + i % IN_ONE * (BODY + 48)));
    }

    /* Which record has this byte? In a blank: the next one. */
    for (int i = 0; i < RECORDS; i++) {
        const uint64_t inside[] = {entries[i].pos, entries[i].body_pos, entries[i].body_pos + BODY - 1};
        for (int k = 0; k < 3; k++) {
            IS(DL_OK, dl_index_at(log, inside[k], &index));
            CHECK(index == (uint64_t)i);
        }
    }
    const uint64_t blank = entries[IN_ONE - 1].body_pos + BODY;
    const uint64_t in_blank[] = {blank, blank + 7, blank + 8, SEGMENT - 1};
    for (int k = 0; k < 4; k++) {
        IS(DL_OK, dl_index_at(log, in_blank[k], &index));
        CHECK(index == IN_ONE);
    }
    dl_state state = state_of(log);
    IS(DL_E_NOT_COMMITTED, dl_index_at(log, state.committed.pos, &index));
    IS(DL_E_NOT_COMMITTED, dl_index_at(log, UINT64_MAX, &index));

    /* A segment, whole; bytes up to its end, to the committed mark, and not beyond. */
    IS(DL_OK, dl_segment_pin(log, entries[1].body_pos, &segment));
    CHECK(segment.pos == 0 && segment.size == SEGMENT && segment.begin == 0);
    CHECK(segment.base[entries[1].body_pos] == 'b');
    IS(DL_OK, dl_segment_pin(log, state.committed.pos - 1, &last));
    CHECK(last.pos == 3 * SEGMENT && last.base[48] == 'a' + 9);
    IS(DL_E_NOT_COMMITTED, dl_segment_pin(log, state.committed.pos, &(dl_segment){0}));
    IS(DL_OK, dl_read_pos(log, entries[2].body_pos, SIZE_MAX, &bytes));
    CHECK(bytes.len == SEGMENT - entries[2].body_pos && bytes.next_index == IN_ONE);
    dl_view_release(&bytes);
    IS(DL_OK, dl_read_pos(log, entries[9].pos, SIZE_MAX, &bytes));
    CHECK(bytes.len == BODY + 48 && bytes.next_index == state.committed.index);
    dl_view_release(&bytes);
    /* And who goes on by index goes on with the record that has the next byte. */
    for (int i = 0; i < RECORDS; i++) {
        const size_t lens[] = {1, 47, 48 + BODY - 1, 48 + BODY};
        for (int k = 0; k < 4; k++) {
            IS(DL_OK, dl_read_pos(log, entries[i].pos, lens[k], &bytes));
            CHECK(bytes.len == lens[k] && bytes.next_index == (uint64_t)i + (k == 3));
            dl_view_release(&bytes);
        }
    }
    IS(DL_E_NOT_COMMITTED, dl_read_pos(log, state.committed.pos, 1, &none));
    IS(DL_OK, dl_read_pos(log, entries[0].pos, 100, &bytes));

    /* As many as lie in one segment. */
    dl_read_opts opts = DL_READ_OPTS_INIT;
    opts.max_entries = 100;
    IS(DL_OK, dl_read(log, 1, &opts, &view));
    CHECK(view.count == IN_ONE - 1 && view.next_index == IN_ONE);
    opts.max_bytes = 1; /* the first comes in any case */
    IS(DL_OK, dl_read(log, 4, &opts, &none));
    CHECK(none.count == 1 && none.next_index == 5);
    dl_view_release(&none);
    CHECK(state_of(log).open_views == 4 && metric(log, "open_views") == 4);

    /* Whole segments before the record go; not above what is committed. */
    IS(DL_E_NOT_COMMITTED, dl_delete_prefix(log, RECORDS + 1, &err));
    CHECK(err.status == DL_E_NOT_COMMITTED && err.message[0] != 0);
    begins = 0;
    IS(DL_OK, dl_delete_prefix(log, IN_ONE - 1, NULL)); /* inside the first: nothing goes */
    IS(DL_OK, dl_flush(log, 20000));
    sleep_ms(20);
    CHECK(state_of(log).begin.index == 0 && begins == 0);
    IS(DL_OK, dl_delete_prefix(log, 2 * IN_ONE + 1, NULL));
    AWAIT(begin_told == 2 * IN_ONE);
    CHECK(begins == 1);
    state = state_of(log);
    CHECK(state.begin.index == 2 * IN_ONE && state.begin.pos == 2 * SEGMENT);
    for (uint64_t i = 0; i < 2 * IN_ONE; i++) {
        IS(DL_E_COMPACTED, dl_read(log, i, NULL, &none));
        IS(DL_E_COMPACTED, dl_read_pos(log, entries[i].pos, 1, &none));
        IS(DL_E_COMPACTED, dl_read_copy(log, i, big, sizeof(big), NULL));
        IS(DL_E_COMPACTED, dl_index_at(log, entries[i].pos, &index));
        IS(DL_E_COMPACTED, dl_segment_pin(log, entries[i].pos, &(dl_segment){0}));
    }
    opts.timeout_ms = 20000; /* what is gone is not waited for */
    IS(DL_E_COMPACTED, dl_read(log, 0, &opts, &none));
    for (uint64_t i = 2 * IN_ONE; i < RECORDS; i++) {
        IS(DL_OK, dl_read(log, i, NULL, &none));
        CHECK(none.entries[0].body[0] == 'a' + (int)i);
        dl_view_release(&none);
    }
    IS(DL_OK, dl_append(log, "on", 2, NULL, NULL));
    IS(DL_OK, dl_stop(log, 20000));
    IS(DL_E_STOPPED, dl_delete_prefix(log, RECORDS, &err));
    IS(DL_E_COMPACTED, dl_read(log, 0, NULL, &none));
    dl_close(log);

    /* A view and a segment that were pinned before stay: behind the purge, stop and close. */
    CHECK(view.entries[0].index == 1 && view.entries[1].index == 2);
    for (int i = 0; i < BODY; i++)
        CHECK(view.entries[0].body[i] == 'b' && segment.base[entries[2].body_pos + i] == 'c');
    CHECK(bytes.data[48] == 'a' && bytes.len == 100 && last.base[48] == 'a' + 9);
    dl_view_release(&view);
    dl_view_release(&bytes);
    dl_segment_unpin(&segment);
    dl_segment_unpin(&last);

    log = reopen("prefix");
    state = state_of(log);
    CHECK(state.begin.index == 2 * IN_ONE && state.committed.index == RECORDS + 1);
    IS(DL_OK, dl_segment_pin(log, state.begin.pos, &segment));
    CHECK(segment.begin == state.begin.pos && segment.base[48] == 'a' + 6);
    dl_segment_unpin(&segment);
    dl_close(log);
}

/* Limits of one read: by entries, and by bytes with headers, to the byte. */
static void limits(void) {
    enum { N = 4, LEN = 100, EACH = LEN + 48 };
    dl_log *log = small_log(directory, "limits");
    dl_read_opts opts = DL_READ_OPTS_INIT;
    dl_view view = {0};
    start_leader(log);
    for (int i = 0; i < N; i++)
        IS(DL_OK, dl_append(log, big, LEN, NULL, NULL));
    const struct {
        uint64_t bytes, count;
    } by_bytes[] = {{0, N},        {1, 1},        {EACH - 1, 1},     {EACH, 1},         {2 * EACH - 1, 1},
                    {2 * EACH, 2}, {3 * EACH, 3}, {N * EACH - 1, 3}, {N * EACH, N}, {UINT64_MAX, N}};
    opts.max_entries = 100;
    for (int i = 0; i < 10; i++) {
        opts.max_bytes = by_bytes[i].bytes;
        IS(DL_OK, dl_read(log, 0, &opts, &view));
        CHECK(view.count == by_bytes[i].count && view.next_index == by_bytes[i].count);
        CHECK(view.len == by_bytes[i].count * EACH);
        dl_view_release(&view);
    }
    opts.max_bytes = 0;
    for (uint32_t most = 0; most <= N + 1; most++) {
        const uint64_t count = most == 0 ? 1 : most > N ? N : most;
        opts.max_entries = most;
        IS(DL_OK, dl_read(log, 0, &opts, &view));
        CHECK(view.count == count && view.next_index == count && view.len == count * EACH);
        dl_view_release(&view);
    }
    dl_close(log);
}

/* ---- Metrics and options -------------------------------------------------------------------------- */

static int metrics_seen, counters_seen, quantiles_seen;
static double quantile_before;
static void on_metric(void *user_data, const dl_metric *m) {
    static const char *const quantiles[] = {"quantile=\"0.5\"", "quantile=\"0.99\"", "quantile=\"0.999\"",
                                            "quantile=\"1\""};
    const char *total = strstr(m->name, "_total");
    (void)user_data;
    CHECK(m->size == sizeof(*m) && m->name[0] != 0 && m->help[0] != 0 && m->label != NULL);
    CHECK(m->value >= 0);
    int counter = (total != NULL && total[6] == 0) || strcmp(m->name, "recovery_read_bytes") == 0;
    CHECK(m->counter == (uint32_t)counter);
    if (strstr(m->name, "_seconds") != NULL) {
        int at = quantiles_seen++ % 4;
        CHECK(strcmp(m->label, quantiles[at]) == 0 && (at == 0 || m->value >= quantile_before));
        quantile_before = m->value;
    } else {
        CHECK(m->label[0] == 0);
    }
    counters_seen += counter;
    metrics_seen++;
}

static void metrics(void) {
    static const char *const names[] = {
        "records_written_total", "bytes_written_total",    "batches_written_total",
        "syncs_total",           "appends_refused_total",  "appends_timed_out_total",
        "leaderships_total",     "recovery_read_bytes",    "checkpoints_total"};
    static const char *const gauges[] = {
        "term",       "leader",          "begin_index",           "committed_index",      "flushed_index",
        "end_index",  "appends_pending", "appends_pending_bytes", "append_commit_seconds", "sync_seconds",
        "open_views"};
    dl_log *log = small_log(directory, "metrics");
    IS(DL_OK, dl_metrics(log, on_metric, NULL)); /* at any time */
    start_leader(log);
    double before[9];
    for (int i = 0; i < 9; i++)
        CHECK((before[i] = metric(log, names[i])) >= 0);
    for (int i = 0; i < 11; i++)
        CHECK(metric(log, gauges[i]) >= 0);
    completions = 0;
    for (int i = 0; i < 10; i++)
        IS(DL_OK, dl_append_async(log, "0123456789", 10, NULL, NULL, counts, NULL));
    UNTIL(completions, 10);
    IS(DL_E_TOO_LARGE, dl_append_async(log, big, sizeof(big), NULL, NULL, never, NULL));
    CHECK(metric(log, "records_written_total") == before[0] + 10);
    CHECK(metric(log, "bytes_written_total") == before[1] + 580);
    CHECK(metric(log, "batches_written_total") > before[2]);
    CHECK(metric(log, "syncs_total") > before[3]);
    CHECK(metric(log, "appends_refused_total") == before[4] + 1);
    CHECK(metric(log, "appends_timed_out_total") == 0);
    CHECK(metric(log, "leaderships_total") == 1 && metric(log, "leader") == 1);
    CHECK(metric(log, "committed_index") == 10 && metric(log, "end_index") == 10);
    CHECK(metric(log, "flushed_index") == 10 && metric(log, "appends_pending") == 0);
    CHECK(metric(log, "append_commit_seconds") > 0);
    IS(DL_OK, dl_stop(log, 20000));
    metrics_seen = counters_seen = quantiles_seen = 0;
    IS(DL_OK, dl_metrics(log, on_metric, NULL));
    CHECK(metrics_seen >= 20 && metric(log, "leader") == 0);
    CHECK(counters_seen >= 9 && counters_seen < metrics_seen && quantiles_seen == 8);
    dl_close(log);
}

static void on_option(void *user_data, const char *key, const char *type, const char *preset,
                      const char *doc, int live) {
    dl_log *log = user_data;
    dl_error err;
    CHECK(type[0] != 0 && doc[0] != 0);
    if (!live) {
        IS(DL_E_CONFIG, dl_set(log, key, "1", &err));
        CHECK(strstr(err.message, key) != NULL);
    } else if (strcmp(key, DL_OPT_APPEND_MAX) != 0) { /* whose preset is larger than a segment */
        IS(DL_OK, dl_set(log, key, preset, &err));
    }
}

static void options(void) {
    dl_log *log = small_log(directory, "options");
    dl_error err;
    dl_entry entry;
    uint8_t body[16] = {0};
    start_leader(log);
    dl_options(on_option, log);
    IS(DL_E_CONFIG, dl_set(log, "no.such.option", "1", &err));
    IS(DL_E_CONFIG, dl_set(log, DL_OPT_APPEND_TIMEOUT, "soon", &err));
    CHECK(strstr(err.message, "allowed") != NULL);
    IS(DL_E_CONFIG, dl_set(log, DL_OPT_APPEND_MAX, "2MiB", &err)); /* above segment.bytes */
    IS(DL_OK, dl_set(log, DL_OPT_APPEND_MAX, "100B", NULL));
    IS(DL_E_TOO_LARGE, dl_append(log, big, 101, NULL, NULL));
    IS_SOON(DL_OK, dl_append(log, big, 100, NULL, NULL));
    IS(DL_OK, dl_set(log, DL_OPT_APPEND_STAMP, "4:index:le64", NULL));
    IS(DL_OK, dl_append(log, body, sizeof(body), NULL, &entry));
    IS(DL_OK, dl_read_copy(log, entry.index, body, sizeof(body), NULL));
    CHECK(entry.index == 1 && body[4] == 1 && body[11] == 0);
    IS(DL_E_REJECTED, dl_append(log, body, 11, NULL, NULL));
    IS(DL_OK, dl_set(log, DL_OPT_APPEND_STAMP, "off", NULL));
    IS(DL_OK, dl_append(log, body, 11, NULL, NULL));
    IS(DL_OK, dl_set(log, DL_OPT_RETAIN_BYTES, "1MiB", NULL));
    IS(DL_OK, dl_set(log, DL_OPT_APPEND_MAX, "1000000B", NULL));
    for (int i = 0; i < 4; i++)
        IS_SOON(DL_OK, dl_append(log, big, 1000000, NULL, &entry));
    AWAIT(state_of(log).begin.pos >= SEGMENT);
    IS(DL_OK, dl_stop(log, 20000));
    dl_close(log);
}

/* ---- Batches ----------------------------------------------------------------------------------------- */

static int batch_ends;
static dl_completion batch_end;
static void on_batch(void *user_data, const dl_completion *c) {
    CHECK(user_data == &batch_ends);
    batch_end = *c;
    __atomic_add_fetch(&batch_ends, 1, __ATOMIC_SEQ_CST);
}

static void batches(void) {
    enum { N = 7 };
    dl_log *log = small_log(directory, "batches");
    dl_bytes bodies[N];
    dl_entry out[N];
    dl_append_opts opts = DL_APPEND_OPTS_INIT;
    start_leader(log);
    batch_ends = 0;
    for (int i = 0; i < N; i++)
        bodies[i] = (dl_bytes){big + i, (size_t)(i == 0 ? 0 : 100000 * i % 300000)};
    IS(DL_E_INVALID, dl_append_batch_async(log, bodies, 0, NULL, out, never, NULL));
    IS_SOON(DL_OK, dl_append_batch_async(log, bodies, 3, NULL, out, on_batch, &batch_ends));
    UNTIL(batch_ends, 1);
    IS(DL_OK, batch_end.status);
    CHECK(batch_end.count == 3 && batch_end.index == 0 && batch_end.pos == 0);
    CHECK(batch_end.term == out[0].term && batch_end.user_data == &batch_ends);
    for (int i = 1; i < 3; i++)
        CHECK(out[i].index == (uint64_t)i && out[i].pos == out[i - 1].pos + out[i - 1].size);

    /* What does not fit the rest of a segment rolls together. */
    IS_SOON(DL_OK, dl_append(log, big, 400000, NULL, &out[0]));
    CHECK(out[0].index == 3 && out[0].pos < SEGMENT);
    bodies[0].len = bodies[1].len = 200000;
    bodies[2].len = 100000;
    IS_SOON(DL_OK, dl_append_batch_async(log, bodies, 3, NULL, out, on_batch, &batch_ends));
    UNTIL(batch_ends, 2);
    CHECK(batch_end.index == 4 && batch_end.pos == SEGMENT && out[0].pos == SEGMENT);
    CHECK(out[1].pos == SEGMENT + 200048 && out[2].pos == SEGMENT + 2 * 200048);
    /* Beyond a segment they go on in the next. */
    for (int i = 0; i < N; i++)
        bodies[i].len = 300000;
    IS_SOON(DL_OK, dl_append_batch_async(log, bodies, N, NULL, out, on_batch, &batch_ends));
    UNTIL(batch_ends, 3);
    CHECK(batch_end.count == N && batch_end.index == 7 && out[N - 1].index == 13);
    for (int i = 0; i < N; i++) {
        dl_view view = {0};
        IS(DL_OK, dl_read(log, out[i].index, NULL, &view));
        CHECK(view.entries[0].pos == out[i].pos && view.entries[0].body_len == 300000);
        dl_view_release(&view);
    }

    /* More than the limits ever allow, or one body too large: none of them. */
    dl_state before = state_of(log);
    memset(out, 0x55, sizeof(out));
    IS(DL_OK, dl_set(log, DL_OPT_PENDING_MAX, "6", NULL));
    IS(DL_E_TOO_LARGE, dl_append_batch_async(log, bodies, N, NULL, out, never, NULL));
    IS(DL_OK, dl_set(log, DL_OPT_PENDING_MAX, "7", NULL));
    IS(DL_OK, dl_set(log, DL_OPT_PENDING_BYTES, "1MiB", NULL));
    IS(DL_E_TOO_LARGE, dl_append_batch_async(log, bodies, N, NULL, out, never, NULL));
    IS(DL_OK, dl_set(log, DL_OPT_PENDING_BYTES, "64MiB", NULL));
    bodies[N - 1].len = sizeof(big);
    IS(DL_E_TOO_LARGE, dl_append_batch_async(log, bodies, N, NULL, out, never, NULL));
    bodies[N - 1].len = 1;

    /* A term that is not the leader's. */
    opts.expected_term = before.term + 1;
    IS(DL_E_TERM_CHANGED, dl_append_batch_async(log, bodies, N, &opts, out, never, NULL));
    IS(DL_E_TERM_CHANGED, dl_append_async(log, "x", 1, &opts, out, never, NULL));
    IS(DL_E_TERM_CHANGED, dl_append(log, "x", 1, &opts, out));
    CHECK(out[0].index == 0x5555555555555555);
    CHECK(state_of(log).end.index == before.end.index && state_of(log).end.pos == before.end.pos);
    opts.expected_term = before.term;
    IS_SOON(DL_OK, dl_append_batch_async(log, bodies, N, &opts, out, on_batch, &batch_ends));
    UNTIL(batch_ends, 4);
    CHECK(batch_end.term == before.term && out[0].index == before.end.index);
    dl_close(log);
}

/* ---- Behaviour 13: pending appends ---------------------------------------------------------------------- */

static int blocked, blocks_until;
static void blocks(void *user_data, const dl_completion *c) {
    counts(user_data, c);
    __atomic_store_n(&blocked, 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&blocks_until, __ATOMIC_SEQ_CST))
        sleep_ms(1);
}

/* An append is in flight until its callback is called: while one blocks, exactly so many are
 * taken, and the next is refused, and not written. */
static void pending(void) {
    enum { LIMIT = 50 };
    dl_config *cfg = small_config(directory, "pending");
    set(cfg, DL_OPT_PENDING_MAX, "50");
    set(cfg, DL_OPT_PENDING_BYTES, "64KiB");
    set(cfg, DL_OPT_APPEND_TIMEOUT, "20s");
    dl_log *log = open_log(cfg);
    dl_entry out, untouched;
    completions = blocked = blocks_until = 0;
    start_leader(log);
    IS(DL_OK, dl_append_async(log, "first", 5, NULL, NULL, blocks, NULL));
    UNTIL(blocked, 1);
    memset(&out, 0x55, sizeof(out));
    untouched = out;
    for (int i = 0; i < LIMIT; i++)
        IS(DL_OK, dl_append_async(log, "body", 4, NULL, NULL, counts, NULL));
    for (int i = 0; i < 3; i++) {
        IS(DL_E_PENDING_FULL, dl_append_async(log, "more", 4, NULL, &out, never, NULL));
        IS(DL_E_PENDING_FULL, dl_append(log, "more", 4, NULL, &out));
        sleep_ms(20); /* committed meanwhile, and still in flight */
    }
    AWAIT(state_of(log).committed.index == LIMIT + 1);
    IS(DL_E_PENDING_FULL, dl_append_async(log, "more", 4, NULL, &out, never, NULL));
    CHECK(memcmp(&out, &untouched, sizeof(out)) == 0);
    CHECK(metric(log, "appends_pending") == LIMIT && completions == 1);
    CHECK(state_of(log).end.index == LIMIT + 1);
    IS(DL_OK, dl_set(log, DL_OPT_PENDING_MAX, "51", NULL));
    IS(DL_OK, dl_append_async(log, "body", 4, NULL, NULL, counts, NULL));
    IS(DL_E_PENDING_FULL, dl_append_async(log, "more", 4, NULL, &out, never, NULL));
    __atomic_store_n(&blocks_until, 1, __ATOMIC_SEQ_CST);
    UNTIL(completions, LIMIT + 2);
    AWAIT(metric(log, "appends_pending") == 0);

    /* And by bytes: 64 KiB with headers. */
    blocked = blocks_until = 0;
    IS(DL_OK, dl_append_async(log, "first", 5, NULL, NULL, blocks, NULL));
    UNTIL(blocked, 1);
    for (int i = 0; i < 4; i++)
        IS(DL_OK, dl_append_async(log, big, 16384 - 48, NULL, NULL, counts, NULL));
    IS(DL_E_PENDING_FULL, dl_append_async(log, NULL, 0, NULL, &out, never, NULL));
    CHECK(metric(log, "appends_pending_bytes") == 65536);
    __atomic_store_n(&blocks_until, 1, __ATOMIC_SEQ_CST);
    UNTIL(completions, LIMIT + 7);
    AWAIT(metric(log, "appends_pending_bytes") == 0);
    IS(DL_OK, dl_append(log, "room again", 10, NULL, &out));
    CHECK(out.index == LIMIT + 7);
    IS(DL_OK, dl_stop(log, DL_FOREVER));
    dl_close(log);

    log = open_log(cfg);
    start_leader(log);
    CHECK(state_of(log).committed.index == LIMIT + 8);
    dl_close(log);
    dl_config_free(cfg);
}

/* ---- Behaviour 29, and a log of a child -------------------------------------------------------------------- */

/* Each life has a term of its own, a reused one never; also if nothing was appended in it. */
static void terms(void) {
    uint64_t last = 0;
    for (int life = 0; life < 6; life++) {
        dl_log *log = small_log(directory, "terms");
        dl_entry entry;
        CHECK(state_of(log).term == last);
        start_leader(log);
        dl_state state = state_of(log);
        CHECK(state.term >= last + 1 && state.leader_id == 1);
        if (life % 2 == 0) {
            IS(DL_OK, dl_append(log, "x", 1, NULL, &entry));
            CHECK(entry.term == state.term && entry.index == (uint64_t)life / 2);
        }
        last = state.term;
        IS(DL_OK, dl_stop(log, DL_FOREVER));
        dl_close(log);
    }
}

/* A child of a process that had a log open can have one of its own, with all that belongs to it. */
static void child(void) {
    dl_log *log = reopen("parent");
    int status;
    IS(DL_OK, dl_append(log, "parent", 6, NULL, NULL));
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        dl_log *own = reopen("child");
        for (int i = 0; i < 20; i++)
            IS_SOON(DL_OK, dl_append(own, big, 900000, NULL, NULL));
        IS(DL_OK, dl_delete_prefix(own, 10, NULL));
        AWAIT(state_of(own).begin.index == 10);
        IS(DL_OK, dl_stop(own, 20000));
        dl_close(own);
        /* Another program: what is the parent's was rightly not freed, and is no leak. */
        execl("/bin/true", "true", (char *)NULL);
        _exit(1);
    }
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    IS(DL_OK, dl_append(log, "parent", 6, NULL, NULL));
    IS(DL_OK, dl_stop(log, 20000));
    dl_close(log);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    directory = argv[1];
    events("events-thread", "thread");
    events("events-poll", "poll");
    follows();
    flushes();
    prefix();
    limits();
    metrics();
    options();
    batches();
    pending();
    terms();
    child();
    return 0;
}
