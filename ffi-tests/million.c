/*
 * Acceptance 2, P3: asynchronous appends of 1 to 4,096 random bytes from four threads. Each
 * completes exactly once, committed ones in index order; indexes are dense from 0; pos is the end
 * of the record before, or the next multiple of the segment size behind a blank; `out` at return
 * is what the completion says; every body reads back equal by dl_read, dl_read_pos and
 * dl_read_copy. With callbacks on the library's thread, by dl_poll, and by epoll on dl_poll_fd.
 *
 * DLEDGER_APPENDS says how many (1,000,000).
 */
#include "check.h"

#include <sched.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { THREADS = 4, LEAST = 1, MOST = 4096, HEADER = 48, SEGMENT = 64 << 20 };

/* One append: what it was told at return, and at its end. */
struct append {
    uint64_t index, pos, body_pos, term;
    uint32_t body_len, size;
    uint64_t end_index, end_pos, end_term;
    int ends;
};

static uint64_t appends;
static struct append *table; /* by seed */
static uint64_t *seed_at;    /* by index */
static uint64_t ended;       /* also the next index to be committed */
static dl_log *under_test;

static size_t body_of(uint64_t seed, uint8_t *body) { return fill_body(seed, LEAST, MOST, body); }

/* Callbacks run one at a time: nothing here is contended. */
static void note(const dl_completion *c) {
    struct append *append = c->user_data;
    IS(DL_OK, c->status);
    CHECK(c->count == 1 && c->index == ended);
    append->end_index = c->index;
    append->end_pos = c->pos;
    append->end_term = c->term;
    append->ends++;
    __atomic_store_n(&ended, ended + 1, __ATOMIC_SEQ_CST);
}

static void on_append(void *user_data, const dl_completion *c) {
    CHECK(user_data == c->user_data);
    note(c);
}

static void on_complete(void *user_data, const dl_completion *items, size_t n) {
    CHECK(user_data == &ended && n >= 1 && n <= 256);
    for (size_t i = 0; i < n; i++)
        note(&items[i]);
}

static void *append_share(void *number) {
    uint8_t body[MOST];
    for (uint64_t seed = (uintptr_t)number; seed < appends; seed += THREADS) {
        struct append *append = &table[seed];
        size_t len = body_of(seed, body);
        dl_entry out;
        dl_status status;
        /* Some with a callback of their own, some without. */
        dl_append_fn fn = seed / THREADS % 2 ? on_append : NULL;
        while ((status = dl_append_async(under_test, body, len, NULL, &out, fn, append)) ==
               DL_E_PENDING_FULL)
            sched_yield();
        IS(DL_OK, status);
        CHECK(out.body == NULL && out.body_len == len);
        append->index = out.index;
        append->pos = out.pos;
        append->body_pos = out.body_pos;
        append->term = out.term;
        append->body_len = out.body_len;
        append->size = out.size;
    }
    return NULL;
}

/* Calls dl_poll only when the descriptor says so: a wake-up that is lost shows as no progress. */
static void *epoll_until_stopped(void *log) {
    struct epoll_event event = {.events = EPOLLIN};
    int set = epoll_create1(0), fd = dl_poll_fd(log);
    CHECK(set >= 0 && fd >= 0 && epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0);
    for (uint32_t most = 0;; most = (most + 7) % 100) {
        if (epoll_wait(set, &event, 1, -1) < 1)
            continue;
        int32_t ran = dl_poll(log, 0, most);
        if (ran == DL_E_STOPPED)
            break;
        CHECK(ran >= 0 && (most == 0 || ran <= (int32_t)most));
    }
    CHECK(close(set) == 0);
    return NULL;
}

static void wait_for_all(void) {
    uint64_t seen = 0, since = now_ms();
    while (seen < appends) {
        uint64_t now = __atomic_load_n(&ended, __ATOMIC_SEQ_CST);
        if (now != seen) {
            seen = now;
            since = now_ms();
        }
        CHECK(now_ms() - since < 60000);
        sleep_ms(1);
    }
}

static void check_places(void) {
    uint64_t pos = 0, blanks = 0;
    for (uint64_t seed = 0; seed < appends; seed++)
        seed_at[seed] = UINT64_MAX;
    for (uint64_t seed = 0; seed < appends; seed++) {
        const struct append *a = &table[seed];
        CHECK(a->ends == 1);
        CHECK(a->index == a->end_index && a->pos == a->end_pos && a->term == a->end_term);
        CHECK(a->body_pos == a->pos + HEADER && a->size == a->body_len + HEADER);
        CHECK(a->index < appends && seed_at[a->index] == UINT64_MAX);
        seed_at[a->index] = seed;
    }
    for (uint64_t index = 0; index < appends; index++) {
        const struct append *a = &table[seed_at[index]];
        if (a->size + 8u > SEGMENT - pos % SEGMENT) {
            pos += SEGMENT - pos % SEGMENT;
            blanks++;
        }
        CHECK(a->pos == pos);
        pos += a->size;
        if (index >= THREADS) /* each thread's own order is kept */
            CHECK(seed_at[index] < THREADS || table[seed_at[index] - THREADS].index < index);
    }
    dl_state state = state_of(under_test);
    CHECK(state.begin.index == 0 && state.committed.index == appends && state.committed.pos == pos);
    CHECK(state.end.index == appends && state.end.pos == pos);
    CHECK(blanks == (pos - 1) / SEGMENT);
}

static void check_bodies(void) {
    uint8_t *body = malloc(MOST), *copy = malloc(MOST);
    dl_read_opts opts = DL_READ_OPTS_INIT;
    dl_view view = {0};
    dl_entry entry;
    opts.max_entries = 1000;
    opts.max_bytes = 1 << 20;
    opts.flags = DL_READ_VERIFY | DL_READ_SEQUENTIAL;
    uint64_t index = 0, next;
    while (index < appends) {
        IS(DL_OK, dl_read(under_test, index, &opts, &view));
        CHECK(view.count >= 1 && view.count <= 1000 && view.len <= 1 << 20);
        CHECK(view.next_index == index + view.count);
        for (size_t i = 0; i < view.count; i++, index++) {
            const dl_entry *e = &view.entries[i];
            const struct append *a = &table[seed_at[index]];
            size_t len = body_of(seed_at[index], body);
            CHECK(e->index == index && e->term == a->term && e->pos == a->pos);
            CHECK(e->body_pos == a->body_pos && e->size == a->size && e->body_len == len);
            CHECK(e->body == view.data + (e->body_pos - view.pos));
            CHECK(memcmp(e->body, body, len) == 0);
        }
        next = view.next_index;
        dl_view_release(&view);
        CHECK(next == index);
    }
    IS(DL_E_NOT_COMMITTED, dl_read(under_test, appends, &opts, &view));
    for (index = 0; index < appends; index++) {
        const struct append *a = &table[seed_at[index]];
        size_t len = body_of(seed_at[index], body);
        IS(DL_OK, dl_read_pos(under_test, a->body_pos, len, &view));
        CHECK(view.pos == a->body_pos && view.len == len && view.entries == NULL);
        CHECK(memcmp(view.data, body, len) == 0);
        dl_view_release(&view);
        IS(DL_OK, dl_read_copy(under_test, index, copy, MOST, &entry));
        CHECK(entry.index == index && entry.pos == a->pos && entry.body_len == len);
        CHECK(entry.body == copy && memcmp(copy, body, len) == 0);
    }
    free(body);
    free(copy);
}

static void run(const char *dir, const char *name, const char *callbacks, void *(*poll)(void *)) {
    uint64_t begin = now_ms();
    pthread_t threads[THREADS], poller = 0;
    dl_config *cfg = small_config(dir, name);
    char command[5000];
    ended = 0;
    memset(table, 0, appends * sizeof(*table));
    set(cfg, DL_OPT_SEGMENT_BYTES, "64MiB");
    set(cfg, DL_OPT_APPEND_TIMEOUT, "1h");
    set(cfg, DL_OPT_CALLBACKS, callbacks);
    under_test = open_log(cfg);
    IS(DL_OK, dl_on_complete(under_test, on_complete, &ended, NULL));
    start_leader(under_test);
    if (poll != NULL)
        poller = thread(poll, under_test);
    for (uintptr_t i = 0; i < THREADS; i++)
        threads[i] = thread(append_share, (void *)i);
    for (int i = 0; i < THREADS; i++)
        join(threads[i]);
    wait_for_all();
    uint64_t middle = now_ms();
    check_places();
    check_bodies();
    IS(DL_OK, dl_stop(under_test, DL_FOREVER));
    if (poll != NULL)
        join(poller);
    check_places(); /* nothing completed twice */
    dl_close(under_test);
    under_test = open_log(cfg); /* and all is there afterwards */
    check_places();
    dl_read_opts opts = DL_READ_OPTS_INIT;
    dl_view view = {0};
    IS(DL_OK, dl_read(under_test, appends - 1, &opts, &view));
    CHECK(view.entries[0].pos == table[seed_at[appends - 1]].pos);
    dl_view_release(&view);
    dl_close(under_test);
    dl_config_free(cfg);
    printf("%s: %llu appends in %llu ms, checked in %llu ms\n", name, (unsigned long long)appends,
           (unsigned long long)(middle - begin), (unsigned long long)(now_ms() - middle));
    snprintf(command, sizeof(command), "rm -r '%s/%s'", dir, name); /* room for the next */
    CHECK(system(command) == 0);
}

int main(int argc, char **argv) {
    const char *number = getenv("DLEDGER_APPENDS");
    CHECK(argc == 2);
    appends = number != NULL && number[0] != 0 ? strtoull(number, NULL, 10) : 1000000;
    CHECK(appends >= THREADS);
    table = malloc(appends * sizeof(*table));
    seed_at = malloc(appends * sizeof(*seed_at));
    CHECK(table != NULL && seed_at != NULL);
    run(argv[1], "thread", "thread", NULL);
    run(argv[1], "poll", "poll", poll_until_stopped);
    run(argv[1], "epoll", "poll", epoll_until_stopped);
    free(table);
    free(seed_at);
    return 0;
}
