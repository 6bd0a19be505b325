/*
 * Acceptance 5, P1 for a process crash: a process that appends is killed with SIGKILL at a random
 * instant, over and over on one directory, with flush=commit and with flush=10ms. After each round
 * nothing that was acknowledged is missing or changed, each thread's order is kept, indexes are
 * dense, and nothing is in the log that nobody appended.
 *
 * DLEDGER_ROUNDS says how many rounds for each (200).
 */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 2, LEAST = 16, MOST = 700, KILLED_WITHIN = 150 };

/* Which append it was; the body begins with it, and all the rest follows from it. */
struct name {
    uint32_t round, thread;
    uint64_t number;
};

/* What the child reports: this append was acknowledged at this index. */
struct ack {
    struct name name;
    uint64_t index;
};

static size_t body_of(struct name name, uint8_t *body) {
    uint64_t seed = name.number << 24 ^ (uint64_t)name.round << 4 ^ name.thread;
    size_t len = fill_body(seed, LEAST, MOST, body);
    memcpy(body, &name, sizeof(name));
    return len;
}

static dl_config *config(const char *dir, const char *flush) {
    dl_config *cfg = small_config(dir, flush);
    set(cfg, DL_OPT_FLUSH, flush);
    set(cfg, DL_OPT_APPEND_TIMEOUT, "1h");
    /* Some are made ahead at each open, and each of them is synced: few, for slow disks. */
    set(cfg, DL_OPT_SEGMENT_BYTES, "8MiB");
    return cfg;
}

/* ---- The process that is killed -------------------------------------------------------------- */

static int acks_to;
static dl_log *appended_to;
static uint32_t this_round;

static void on_complete(void *user_data, const dl_completion *items, size_t n) {
    struct ack acks[256];
    (void)user_data;
    for (size_t i = 0; i < n; i++) {
        IS(DL_OK, items[i].status);
        acks[i].name = *(struct name *)items[i].user_data;
        acks[i].index = items[i].index;
        free(items[i].user_data);
    }
    for (size_t at = 0; at < n * sizeof(acks[0]);) {
        ssize_t wrote = write(acks_to, (char *)acks + at, n * sizeof(acks[0]) - at);
        CHECK(wrote > 0);
        at += (size_t)wrote;
    }
}

static void *appends(void *thread) {
    uint8_t body[MOST];
    for (uint64_t number = 0;; number++) {
        struct name *name = malloc(sizeof(*name));
        *name = (struct name){this_round, (uint32_t)(uintptr_t)thread, number};
        size_t len = body_of(*name, body);
        dl_status status;
        while ((status = dl_append_async(appended_to, body, len, NULL, NULL, NULL, name)) ==
               DL_E_PENDING_FULL)
            sleep_ms(1);
        IS(DL_OK, status);
    }
    return NULL;
}

static int child(const char *dir, const char *flush, uint32_t round, int to) {
    dl_config *cfg = config(dir, flush);
    acks_to = to;
    this_round = round;
    appended_to = open_log(cfg);
    dl_config_free(cfg);
    IS(DL_OK, dl_on_complete(appended_to, on_complete, NULL, NULL));
    start_leader(appended_to);
    for (uintptr_t i = 1; i < THREADS; i++)
        thread(appends, (void *)i);
    appends(NULL);
    return 1;
}

/* ---- The process that kills and looks --------------------------------------------------------- */

static struct name *names; /* by index: what the log is known to hold */
static uint64_t known, room, forgotten;
static struct ack *acks;
static size_t acked, acks_room;

static void *grown(void *bytes, size_t need, size_t each, size_t *have) {
    if (need <= *have)
        return bytes;
    *have = need * 2;
    bytes = realloc(bytes, *have * each);
    CHECK(bytes != NULL);
    return bytes;
}

/* Reads acknowledgements until the time is over (-1: until the pipe ends). True at its end. */
static int hear(int from, int64_t ms) {
    static size_t part; /* bytes of an acknowledgement whose rest is still to come */
    uint64_t begin = now_ms();
    for (;;) {
        int64_t left = ms < 0 ? -1 : ms - (int64_t)(now_ms() - begin);
        struct pollfd fd = {from, POLLIN, 0};
        if (ms >= 0 && left <= 0)
            return 0;
        if (poll(&fd, 1, (int)left) < 1)
            continue;
        acks = grown(acks, acked + 4096, sizeof(*acks), &acks_room);
        ssize_t got = read(from, (char *)&acks[acked] + part, 4096 * sizeof(*acks) - part);
        CHECK(got >= 0);
        if (got == 0) {
            part = 0; /* killed in the middle of one */
            return 1;
        }
        acked += (part + (size_t)got) / sizeof(*acks);
        part = (part + (size_t)got) % sizeof(*acks);
    }
}

/* One record is what was appended as `name`. */
static void check_record(const dl_entry *e, struct name name) {
    uint8_t body[MOST];
    size_t len = body_of(name, body);
    CHECK(e->body_len == len && memcmp(e->body, body, len) == 0);
}

/* Reads the log from `index` to its end; what is not known yet must be of this round. */
static void check_log(dl_log *log, uint64_t index, uint32_t round) {
    uint64_t next[THREADS] = {0}, end = state_of(log).committed.index;
    dl_read_opts opts = DL_READ_OPTS_INIT;
    opts.max_entries = 1000;
    opts.flags = DL_READ_VERIFY;
    CHECK(end >= known); /* what was there once stays */
    names = grown(names, end + 1, sizeof(*names), &room);
    while (index < end) {
        dl_view view = {0};
        IS(DL_OK, dl_read(log, index, &opts, &view));
        CHECK(view.count > 0);
        for (size_t i = 0; i < view.count; i++, index++) {
            const dl_entry *e = &view.entries[i];
            CHECK(e->index == index && e->body_len >= LEAST);
            if (index >= known) {
                struct name *name = &names[index];
                memcpy(name, e->body, sizeof(*name));
                CHECK(name->round == round && name->thread < THREADS);
                CHECK(name->number == next[name->thread]++); /* in order, none left out */
            }
            check_record(e, names[index]);
        }
        dl_view_release(&view);
    }
    known = end;
}

static void check_acks(uint32_t round) {
    uint64_t last = 0;
    for (size_t i = 0; i < acked; i++) {
        const struct ack *ack = &acks[i];
        CHECK(ack->name.round == round && ack->index < known);
        CHECK(i == 0 || ack->index == last + 1);
        CHECK(memcmp(&names[ack->index], &ack->name, sizeof(ack->name)) == 0);
        last = ack->index;
    }
}

static void one_round(const char *dir, const char *flush, uint32_t round, uint64_t *seed) {
    char number[16], to[16];
    int ends[2], status;
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    snprintf(number, sizeof(number), "%u", round);
    fflush(stdout);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        int kept = dup(ends[1]); /* without O_CLOEXEC */
        snprintf(to, sizeof(to), "%d", kept);
        execl("/proc/self/exe", "kill9", dir, flush, number, to, (char *)NULL);
        _exit(127);
    }
    CHECK(close(ends[1]) == 0);
    acked = 0;
    /* In every other round from the first acknowledgement on, so that not all is start-up. */
    while (round % 2 == 0 && acked == 0)
        CHECK(hear(ends[0], 1) == 0);
    CHECK(hear(ends[0], (int64_t)(random_of(seed) % (KILLED_WITHIN + 1))) == 0);
    CHECK(kill(pid, SIGKILL) == 0);
    CHECK(hear(ends[0], -1) == 1);
    CHECK(close(ends[0]) == 0 && waitpid(pid, &status, 0) == pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

    dl_config *cfg = config(dir, flush);
    dl_log *log = open_log(cfg);
    dl_config_free(cfg);
    start_leader(log);
    uint64_t begin = state_of(log).begin.index;
    CHECK(begin >= forgotten);
    forgotten = begin;
    check_log(log, round % 20 == 19 ? begin : known, round);
    check_acks(round);
    if (round % 8 == 7) { /* so that it does not grow for ever */
        IS(DL_OK, dl_delete_prefix(log, begin + (known - begin) / 4 * 3, NULL));
        IS(DL_OK, dl_flush(log, DL_FOREVER)); /* comes after it */
        forgotten = state_of(log).begin.index;
    }
    IS(DL_OK, dl_stop(log, DL_FOREVER)); /* however slow the disk is, the next round can open it */
    dl_close(log);
}

static void rounds(const char *dir, const char *flush, uint32_t count, uint64_t *seed) {
    uint64_t all = 0, most = 0, begin = now_ms();
    known = forgotten = 0;
    for (uint32_t round = 0; round < count; round++) {
        one_round(dir, flush, round, seed);
        all += acked;
        most = acked > most ? acked : most;
    }
    dl_config *cfg = config(dir, flush);
    dl_log *log = open_log(cfg);
    start_leader(log);
    check_log(log, state_of(log).begin.index, UINT32_MAX);
    dl_close(log);
    dl_config_free(cfg);
    printf("flush=%s: %u rounds in %llu ms, %llu acknowledged (at most %llu in a round), %llu in the "
           "log\n",
           flush, count, (unsigned long long)(now_ms() - begin), (unsigned long long)all,
           (unsigned long long)most, (unsigned long long)known);
}

int main(int argc, char **argv) {
    if (argc == 5)
        return child(argv[1], argv[2], (uint32_t)atoi(argv[3]), atoi(argv[4]));
    CHECK(argc == 2);
    const char *number = getenv("DLEDGER_ROUNDS");
    uint32_t count = number != NULL && number[0] != 0 ? (uint32_t)atoi(number) : 200;
    uint64_t seed = (uint64_t)getpid() ^ now_ms() << 20;
    printf("seed %llu\n", (unsigned long long)seed);
    rounds(argv[1], "commit", count, &seed);
    rounds(argv[1], "10ms", count, &seed);
    free(names);
    free(acks);
    return 0;
}
