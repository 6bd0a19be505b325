/*
 * P3, P15, scenario 29: dl_stop against appends of all kinds from several threads, round after
 * round, from the election on. Each append that was taken ends once, before dl_stop returns; one
 * that was refused never does; no call hangs, and the log is opened again with all that was
 * acknowledged.
 *
 * DLEDGER_ROUNDS says how many rounds (120).
 */
#include "check.h"

int fdatasync(int fd);
int fdatasync(int fd) { return fd < 0; }
int fsync(int fd);
int fsync(int fd) { return fd < 0; }

enum { THREADS = 3, MOST = 50000, BATCH = 3 };
enum { ALONE, IN_BATCHES, WAITING, KINDS };

/* What became of one append: taken or not, and how often it ended. */
struct call {
    int taken, ends;
    dl_status status;
};

struct appender {
    dl_log *log;
    int kind;
    size_t taken;
    uint64_t committed; /* entries of those that waited */
    struct call calls[MOST];
};

static struct appender appenders[THREADS];
static int stopped, late, going;

static void on_append(void *user_data, const dl_completion *c) {
    struct call *call = user_data;
    call->status = c->status;
    late += __atomic_load_n(&stopped, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&call->ends, 1, __ATOMIC_SEQ_CST);
}

static dl_status append(struct appender *a, struct call *call) {
    static const dl_bytes bodies[BATCH] = {{"a", 1}, {"bc", 2}, {"def", 3}};
    dl_status status;
    if (a->kind == WAITING) {
        status = dl_append(a->log, "body", 4, NULL, NULL);
        a->committed += status == DL_OK;
        return status;
    }
    status = a->kind == ALONE
                 ? dl_append_async(a->log, "body", 4, NULL, NULL, on_append, call)
                 : dl_append_batch_async(a->log, bodies, BATCH, NULL, NULL, on_append, call);
    call->taken = status == DL_OK;
    return status;
}

/* Until the log is stopped. What is refused leaves its place to the next. */
static void *appends(void *user_data) {
    struct appender *a = user_data;
    dl_status status = DL_OK;
    __atomic_add_fetch(&going, 1, __ATOMIC_SEQ_CST);
    while (a->taken < MOST && (status = append(a, &a->calls[a->taken])) != DL_E_STOPPED) {
        CHECK(status == DL_OK || status == DL_E_NOT_LEADER || status == DL_E_PENDING_FULL);
        a->taken += a->calls[a->taken].taken;
    }
    return NULL;
}

/* Each ended as often as it was taken. How many entries are known to be committed. */
static uint64_t check_ends(const struct appender *a) {
    uint64_t committed = a->committed;
    for (size_t i = 0; i < MOST; i++) {
        const struct call *call = &a->calls[i];
        if (call->ends != call->taken) {
            fprintf(stderr, "append %zu of kind %d was taken %d times and ended %d times\n", i,
                    a->kind, call->taken, call->ends);
            exit(1);
        }
        if (call->taken) {
            CHECK(call->status == DL_OK || call->status == DL_E_STOPPED);
            committed += call->status != DL_OK ? 0 : a->kind == IN_BATCHES ? BATCH : 1;
        }
    }
    return committed;
}

static uint64_t one_round(dl_config *cfg, int round, const char *callbacks, uint64_t *seed) {
    pthread_t threads[THREADS], poller = 0;
    dl_log *log = open_log(cfg);
    uint64_t before = state_of(log).committed.index;
    stopped = going = 0;
    memset(appenders, 0, sizeof(appenders));
    IS(DL_OK, dl_start(log, NULL));
    if (round % 3 != 0)
        wait_leader(log);
    if (strcmp(callbacks, "poll") == 0)
        poller = thread(poll_until_stopped, log);
    for (int i = 0; i < THREADS; i++) {
        appenders[i].log = log;
        appenders[i].kind = (round + i) % (KINDS + 1) % KINDS; /* in some rounds two of one */
        threads[i] = thread(appends, &appenders[i]);
    }
    UNTIL(going, THREADS);
    struct timespec moment = {0, (long)(random_of(seed) % 3000000)};
    nanosleep(&moment, NULL);
    IS(DL_OK, dl_stop(log, 60000));
    __atomic_store_n(&stopped, 1, __ATOMIC_SEQ_CST);
    uint64_t committed = 0;
    for (int i = 0; i < THREADS; i++)
        join(threads[i]);
    if (poller)
        join(poller);
    for (int i = 0; i < THREADS; i++)
        committed += check_ends(&appenders[i]);
    CHECK(late == 0 && metric(log, "appends_pending") == 0);
    CHECK(state_of(log).committed.index >= before + committed);
    dl_close(log);
    return committed;
}

static void rounds(const char *dir, const char *callbacks, const char *flush, int count) {
    char name[64];
    uint64_t seed = (uint64_t)count, committed = 0, begin = now_ms();
    snprintf(name, sizeof(name), "%s-%s", callbacks, flush);
    dl_config *cfg = small_config(dir, name);
    set(cfg, DL_OPT_CALLBACKS, callbacks);
    set(cfg, DL_OPT_FLUSH, flush);
    set(cfg, "index.segment.bytes", "1MiB");
    set(cfg, DL_OPT_RETAIN_BYTES, "4MiB");
    set(cfg, DL_OPT_APPEND_TIMEOUT, "1h");
    set(cfg, DL_OPT_PENDING_MAX, "200"); /* so that dl_stop need not wait for many */
    for (int round = 0; round < count; round++)
        committed += one_round(cfg, round, callbacks, &seed);
    dl_config_free(cfg);
    CHECK(committed > 0);
    printf("%s: %d rounds in %llu ms, %llu entries\n", name, count,
           (unsigned long long)(now_ms() - begin), (unsigned long long)committed);
}

int main(int argc, char **argv) {
    const char *number = getenv("DLEDGER_ROUNDS");
    int count = number != NULL && number[0] != 0 ? atoi(number) : 120;
    CHECK(argc == 2 && count > 0);
    rounds(argv[1], "thread", "10ms", count - count / 2);
    rounds(argv[1], "poll", "10ms", count / 4);
    rounds(argv[1], "thread", "commit", count / 2 - count / 4);
    return 0;
}
