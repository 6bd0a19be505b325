/* Load on a group of one or more members, each a process of its own, through the C ABI.
 *
 *     bench [--members 3] [--in-flight 1024] [--body 200] [--flush commit] [--seconds 5] ...
 *
 * What it measures, it measures on member 1, which leads: how many entries a second are committed,
 * and how long each took from its append to its completion. Without --rate as many appends as
 * --in-flight says are always under way (a closed loop). With --rate appends come at fixed times, and
 * a latency counts from the time at which its append was due, also when the log was late for it (an
 * open loop). It also tells what each process used: CPU per entry, and memory.
 *
 * `bench --help` lists the options. examples/bench.rs has the same and draws plots.
 */
#define _GNU_SOURCE
#include <dledger.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MEMBERS_MAX = 9, GROUPS_MAX = 256, CALLERS_MAX = 1024, BATCH_MAX = 1024, MORE_MAX = 32 };

static const char *const USAGE =
    "usage: bench [option value]...\n"
    "  --members N       processes, each a member of every group (3)\n"
    "  --groups N        groups, each led by member 1 (1)\n"
    "  --in-flight N     entries under way, over all groups and callers (1024)\n"
    "  --callers N       threads that append; 0: whoever completes an append makes the next (0)\n"
    "  --blocking yes    the callers call dl_append, each with one entry under way (no)\n"
    "  --batch N         entries of one call (1)\n"
    "  --rate N          entries a second, at fixed times, instead of --in-flight\n"
    "  --body BYTES      of each entry (200)\n"
    "  --file FILE       its lines are the bodies, one after the other\n"
    "  --flush HOW       commit, or an interval such as 10ms (commit)\n"
    "  --seconds N       of measuring, after a tenth of it to warm up (5)\n"
    "  --dir DIR         where the logs go, in a directory that is removed (TMPDIR or /tmp)\n"
    "  --option K=V      any option of the log, as often as needed\n"
    "  --every N         seconds: a line on stderr for each of them (none)\n"
    "  --json yes        prints one JSON object (no)\n";

/* ---- What is asked for ------------------------------------------------------------------------ */

static struct {
    unsigned members, groups, in_flight, callers, batch;
    bool blocking, json;
    double rate, seconds;
    uint64_t every;
    size_t body;
    const char *file, *flush, *dir;
    const char *more[MORE_MAX];
    unsigned more_count;
} wanted = {.members = 3, .groups = 1, .in_flight = 1024, .batch = 1, .seconds = 5, .body = 200,
            .flush = "commit"};

/* The bodies that are appended in turn. */
static dl_bytes *bodies;
static size_t body_count;

static void die(const char *what, const char *why)
{
    fprintf(stderr, "bench: %s: %s\n", what, why);
    exit(1);
}

static double number(const char *key, const char *text, double least, double most)
{
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (errno != 0 || end == text || *end != '\0' || !(value >= least && value <= most)) {
        fprintf(stderr, "bench: %s %s: a number from %.10g to %.10g is meant\n", key, text, least, most);
        exit(2);
    }
    return value;
}

static bool yes(const char *key, const char *text)
{
    if (strcmp(text, "yes") != 0 && strcmp(text, "no") != 0) {
        fprintf(stderr, "bench: %s %s: yes or no is meant\n", key, text);
        exit(2);
    }
    return text[0] == 'y';
}

static void parse(int argc, char **argv)
{
    for (int i = 1; i < argc; i += 2) {
        const char *key = argv[i], *value = argv[i + 1];
        if (strcmp(key, "--help") == 0) {
            fputs(USAGE, stdout);
            exit(0);
        }
        if (value == NULL)
            die(key, "a value is missing; --help lists the options");
        if (strcmp(key, "--members") == 0)
            wanted.members = (unsigned)number(key, value, 1, MEMBERS_MAX);
        else if (strcmp(key, "--groups") == 0)
            wanted.groups = (unsigned)number(key, value, 1, GROUPS_MAX);
        else if (strcmp(key, "--in-flight") == 0)
            wanted.in_flight = (unsigned)number(key, value, 1, 1e6);
        else if (strcmp(key, "--callers") == 0)
            wanted.callers = (unsigned)number(key, value, 0, CALLERS_MAX);
        else if (strcmp(key, "--blocking") == 0)
            wanted.blocking = yes(key, value);
        else if (strcmp(key, "--batch") == 0)
            wanted.batch = (unsigned)number(key, value, 1, BATCH_MAX);
        else if (strcmp(key, "--rate") == 0)
            wanted.rate = number(key, value, 0.1, 1e9);
        else if (strcmp(key, "--body") == 0)
            wanted.body = (size_t)number(key, value, 1, 4 << 20);
        else if (strcmp(key, "--file") == 0)
            wanted.file = value;
        else if (strcmp(key, "--flush") == 0)
            wanted.flush = value;
        else if (strcmp(key, "--seconds") == 0)
            wanted.seconds = number(key, value, 0.1, 1e6);
        else if (strcmp(key, "--every") == 0)
            wanted.every = (uint64_t)number(key, value, 1, 1e6);
        else if (strcmp(key, "--dir") == 0)
            wanted.dir = value;
        else if (strcmp(key, "--json") == 0)
            wanted.json = yes(key, value);
        else if (strcmp(key, "--option") == 0 && wanted.more_count < MORE_MAX && strchr(value, '='))
            wanted.more[wanted.more_count++] = value;
        else
            die(key, "no such option, or not of this form; --help lists them");
    }
    if (wanted.blocking && (wanted.callers == 0 || wanted.batch > 1 || wanted.rate > 0))
        die("--blocking", "it needs --callers, and takes neither --batch nor --rate");
    if (wanted.batch > wanted.in_flight)
        die("--batch", "more than --in-flight");
    if (wanted.dir == NULL)
        wanted.dir = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp";
}

static void read_bodies(void)
{
    if (wanted.file == NULL) {
        /* Some that differ, so that nothing is made of their being the same. */
        body_count = 16;
        bodies = calloc(body_count, sizeof *bodies);
        for (size_t i = 0; i < body_count; i++) {
            uint8_t *bytes = malloc(wanted.body);
            uint32_t x = (uint32_t)i * 2654435761u + 1;
            for (size_t k = 0; k < wanted.body; k++) {
                x ^= x << 13, x ^= x >> 17, x ^= x << 5;
                bytes[k] = (uint8_t)x;
            }
            bodies[i] = (dl_bytes){bytes, wanted.body};
        }
        return;
    }
    FILE *file = fopen(wanted.file, "r");
    if (file == NULL)
        die(wanted.file, strerror(errno));
    char *line = NULL;
    size_t room = 0, kept = 0;
    ssize_t len;
    while ((len = getline(&line, &room, file)) >= 0) {
        if (len > 0 && line[len - 1] == '\n')
            len--;
        if (body_count == kept) {
            kept = kept == 0 ? 1024 : kept * 2;
            bodies = realloc(bodies, kept * sizeof *bodies);
        }
        void *bytes = malloc((size_t)len + 1);
        memcpy(bytes, line, (size_t)len);
        bodies[body_count++] = (dl_bytes){bytes, (size_t)len};
    }
    free(line);
    fclose(file);
    if (body_count == 0)
        die(wanted.file, "it has no line");
}

/* ---- Latencies: a histogram whose buckets are 1/64 of their value wide --------------------------- */

enum { SUB = 6, BUCKETS = (65 - SUB) << SUB };

typedef struct {
    uint64_t buckets[BUCKETS], count, max;
} histogram;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* One thread records into a histogram; others may look at it meanwhile. */
static void add(uint64_t *to, uint64_t what)
{
    __atomic_store_n(to, __atomic_load_n(to, __ATOMIC_RELAXED) + what, __ATOMIC_RELAXED);
}

static void record(histogram *h, uint64_t ns, uint64_t times)
{
    int shift = ns < (2u << SUB) ? 0 : 63 - SUB - __builtin_clzll(ns);
    add(&h->buckets[((uint64_t)shift << SUB) + (ns >> shift)], times);
    add(&h->count, times);
    if (ns > h->max)
        __atomic_store_n(&h->max, ns, __ATOMIC_RELAXED);
}

static void merge(histogram *into, const histogram *from)
{
    for (size_t i = 0; i < BUCKETS; i++)
        into->buckets[i] += __atomic_load_n(&from->buckets[i], __ATOMIC_RELAXED);
    into->count += __atomic_load_n(&from->count, __ATOMIC_RELAXED);
    uint64_t max = __atomic_load_n(&from->max, __ATOMIC_RELAXED);
    if (max > into->max)
        into->max = max;
}

/* What came to `now` since `before`; its max is that of the highest bucket. */
static void subtract(histogram *now, const histogram *before)
{
    now->count = 0;
    for (size_t i = 0; i < BUCKETS; i++)
        now->count += now->buckets[i] -= before->buckets[i];
}

/* The highest value of the bucket that the quantile is in, in ns. */
static uint64_t quantile(const histogram *h, double q)
{
    uint64_t rank = (uint64_t)(q * (double)h->count), seen = 0;
    if (rank >= h->count && rank > 0)
        rank = h->count - 1;
    for (size_t i = 0; i < BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen > rank) {
            size_t shift = i < (2u << SUB) ? 0 : (i >> SUB) - 1;
            uint64_t top = (((i - (shift << SUB)) + 1) << shift) - 1;
            return top < h->max ? top : h->max;
        }
    }
    return h->max;
}

/* ---- The load: on member 1 ---------------------------------------------------------------------- */

/* One log and what the callback thread of this group keeps of it. */
typedef struct {
    dl_log *log;
    size_t turn;
    atomic_uint failures;
    _Atomic dl_status failure;
    atomic_uint_fast64_t done;
    /* Of the callback thread, and of who reads it when the load is over. */
    histogram latencies;
} group;

/* A thread that appends, and its entries that are not under way. */
typedef struct {
    pthread_t thread;
    unsigned of, free;
    uint64_t first_ns, interval_ns;
    pthread_mutex_t lock;
    pthread_cond_t freed;
    histogram latencies;
} caller;

/* Who waits for a call of a caller, and since when. */
typedef struct ticket {
    caller *caller;
    uint64_t since_ns;
    struct ticket *next;
} ticket;

static group groups[GROUPS_MAX];
static caller *callers;
static atomic_bool over;
/* Latencies count from the first append that began after it. */
static atomic_uint_fast64_t measured_from = UINT64_MAX;

/* Appends a batch; what it is for comes with its completion. */
static void put(group *g, void *what)
{
    dl_status s;
    do {
        if (wanted.batch == 1) {
            const dl_bytes *body = &bodies[g->turn++ % body_count];
            s = dl_append_async(g->log, body->data, body->len, NULL, NULL, NULL, what);
        } else {
            dl_bytes several[BATCH_MAX];
            for (unsigned i = 0; i < wanted.batch; i++)
                several[i] = bodies[g->turn++ % body_count];
            s = dl_append_batch_async(g->log, several, wanted.batch, NULL, NULL, NULL, what);
        }
        /* Full: the next segment is on its way, or more is asked for than can be done. */
        if (s == DL_E_PENDING_FULL)
            sched_yield();
    } while (s == DL_E_PENDING_FULL && !atomic_load_explicit(&over, memory_order_relaxed));
    /* Who looked just before the end appends just after the stop. */
    bool ended = s == DL_E_STOPPED && atomic_load(&over);
    if (s != DL_OK && s != DL_E_PENDING_FULL && !ended) {
        atomic_store(&g->failure, s);
        atomic_fetch_add(&g->failures, 1);
    }
}

static void took(histogram *h, uint64_t since_ns, uint64_t now, uint64_t entries)
{
    if (since_ns >= atomic_load_explicit(&measured_from, memory_order_relaxed))
        record(h, now - since_ns, entries);
}

/* On the callback thread: some calls are done. Who is nobody's makes the next one at once. */
static void completed(void *of, const dl_completion *items, size_t n)
{
    group *g = of;
    uint64_t now = now_ns(), entries = 0;
    size_t next = 0;
    for (size_t i = 0; i < n; i++) {
        if (items[i].status != DL_OK) {
            atomic_store(&g->failure, items[i].status);
            atomic_fetch_add(&g->failures, 1);
            continue;
        }
        entries += items[i].count;
        if (wanted.rate > 0 || wanted.callers == 0) {
            took(&g->latencies, (uint64_t)(uintptr_t)items[i].user_data, now, items[i].count);
            next++;
        } else {
            ticket *t = items[i].user_data;
            caller *c = t->caller;
            took(&g->latencies, t->since_ns, now, items[i].count);
            free(t);
            pthread_mutex_lock(&c->lock);
            if (c->free++ == 0)
                pthread_cond_signal(&c->freed);
            pthread_mutex_unlock(&c->lock);
        }
    }
    atomic_fetch_add_explicit(&g->done, entries, memory_order_relaxed);
    if (wanted.rate == 0 && wanted.callers == 0) {
        now = now_ns();
        for (; next > 0 && !atomic_load_explicit(&over, memory_order_relaxed); next--)
            put(g, (void *)(uintptr_t)now);
    }
}

/* A caller that waits for each of its entries. */
static void *block(void *of)
{
    caller *c = of;
    group *g = &groups[c->of % wanted.groups];
    size_t turn = c->of;
    while (!atomic_load_explicit(&over, memory_order_relaxed)) {
        const dl_bytes *body = &bodies[turn++ % body_count];
        uint64_t since = now_ns();
        dl_status s = dl_append(g->log, body->data, body->len, NULL, NULL);
        if (s == DL_E_PENDING_FULL)
            continue;
        if (s != DL_OK) {
            atomic_store(&g->failure, s);
            atomic_fetch_add(&g->failures, 1);
            break;
        }
        took(&c->latencies, since, now_ns(), 1);
        atomic_fetch_add_explicit(&g->done, 1, memory_order_relaxed);
    }
    return NULL;
}

/* A caller that keeps its share of the entries under way. */
static void *fill(void *of)
{
    caller *c = of;
    group *g = &groups[c->of % wanted.groups];
    while (!atomic_load_explicit(&over, memory_order_relaxed)) {
        pthread_mutex_lock(&c->lock);
        while (c->free == 0 && !atomic_load(&over))
            pthread_cond_wait(&c->freed, &c->lock);
        unsigned count = c->free;
        c->free = 0;
        pthread_mutex_unlock(&c->lock);
        for (; count > 0 && !atomic_load_explicit(&over, memory_order_relaxed); count--) {
            ticket *t = malloc(sizeof *t);
            *t = (ticket){.caller = c, .since_ns = now_ns()};
            put(g, t);
        }
    }
    return NULL;
}

/* A caller that appends when it is time, and late rather than not. */
static void *pace(void *of)
{
    caller *c = of;
    group *g = &groups[c->of % wanted.groups];
    for (uint64_t due = c->first_ns; !atomic_load_explicit(&over, memory_order_relaxed);) {
        for (uint64_t now = now_ns(); due <= now; due += c->interval_ns)
            put(g, (void *)(uintptr_t)due);
        struct timespec t = {(time_t)(due / 1000000000u), (long)(due % 1000000000u)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
    }
    return NULL;
}

static void start_load(void)
{
    unsigned threads = wanted.rate > 0 && wanted.callers == 0 ? 1 : wanted.callers;
    uint64_t now = now_ns();
    callers = calloc(threads + 1, sizeof *callers);
    unsigned calls = wanted.in_flight / wanted.batch;
    for (unsigned i = 0; i < threads; i++) {
        caller *c = &callers[i];
        c->of = i;
        c->free = calls / threads + (i < calls % threads);
        if (wanted.rate > 0)
            c->interval_ns = (uint64_t)(1e9 * wanted.batch * threads / wanted.rate);
        c->first_ns = now + c->interval_ns * i / threads;
        pthread_mutex_init(&c->lock, NULL);
        pthread_cond_init(&c->freed, NULL);
        void *(*run)(void *) = wanted.rate > 0 ? pace : wanted.blocking ? block : fill;
        if (pthread_create(&c->thread, NULL, run, c) != 0)
            die("a caller", "no thread");
    }
    for (unsigned i = 0; threads == 0 && i < calls; i++)
        put(&groups[i % wanted.groups], (void *)(uintptr_t)now_ns());
}

static void stop_load(void)
{
    atomic_store(&over, true);
    for (caller *c = callers; c->thread != 0; c++) {
        pthread_mutex_lock(&c->lock);
        pthread_cond_signal(&c->freed);
        pthread_mutex_unlock(&c->lock);
        pthread_join(c->thread, NULL);
    }
}

/* ---- A member: a process that does what a pipe tells it -------------------------------------------- */

/* What a member says at the end. */
typedef struct {
    uint64_t entries, elapsed_ns, cpu_ns, anonymous_kib, resident_kib;
    uint64_t failures;
    int64_t failure;
    uint64_t quantiles[4];
} figures;

/* And of a while in between. */
typedef struct {
    uint64_t entries, elapsed_ns, anonymous_kib, begin, end;
    uint64_t quantiles[4];
} interval;

static uint64_t cpu_ns(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000u +
           (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000u;
}

static uint64_t status_kib(const char *key)
{
    char line[256];
    uint64_t kib = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status != NULL && fgets(line, sizeof line, status) != NULL) {
        if (strncmp(line, key, strlen(key)) == 0)
            kib = strtoull(line + strlen(key), NULL, 10);
    }
    if (status != NULL)
        fclose(status);
    return kib;
}

static void set(dl_config *cfg, const char *key, const char *value)
{
    dl_error e;
    if (dl_config_set(cfg, key, value, &e) != DL_OK)
        die(key, e.message);
}

static void open_log(group *g, unsigned which, unsigned id, const char *root, const unsigned *ports)
{
    char text[1024], members[1024] = "";
    for (unsigned m = 1; m <= wanted.members; m++) {
        size_t at = strlen(members);
        snprintf(members + at, sizeof members - at, "%s%u@127.0.0.1:%u", m > 1 ? "," : "", m, ports[m]);
    }
    dl_config *cfg = dl_config_new(DL_VERSION);
    if (cfg == NULL)
        die("dl_config_new", "this header is newer than the library");
    snprintf(text, sizeof text, "%s/member-%u/group-%u", root, id, which);
    set(cfg, DL_OPT_DIR, text);
    snprintf(text, sizeof text, "bench-%u", which);
    set(cfg, DL_OPT_GROUP, text);
    snprintf(text, sizeof text, "%u", id);
    set(cfg, DL_OPT_NODE_ID, text);
    set(cfg, DL_OPT_FLUSH, wanted.flush);
    set(cfg, DL_OPT_RETAIN_BYTES, "2GiB");
    set(cfg, DL_OPT_PENDING_MAX, "1000000");
    if (wanted.groups > 1)
        set(cfg, DL_OPT_SEGMENT_BYTES, "64MiB");
    if (wanted.members > 1) {
        set(cfg, DL_OPT_MEMBERS, members);
        snprintf(text, sizeof text, "127.0.0.1:%u", ports[id]);
        set(cfg, DL_OPT_LISTEN, text);
        set(cfg, DL_OPT_PRIORITY, id == 1 ? "1" : "0");
    }
    for (unsigned i = 0; i < wanted.more_count; i++) {
        const char *equals = strchr(wanted.more[i], '=');
        snprintf(text, sizeof text, "%.*s", (int)(equals - wanted.more[i]), wanted.more[i]);
        set(cfg, text, equals + 1);
    }
    dl_error e;
    if (dl_open(cfg, &g->log, &e) != DL_OK)
        die("dl_open", e.message);
    dl_config_free(cfg);
    dl_on_complete(g->log, completed, g, NULL);
    if (dl_start(g->log, &e) != DL_OK)
        die("dl_start", e.message);
}

static void wait_until_it_leads(void)
{
    for (unsigned i = 0; i < wanted.groups; i++) {
        dl_state state = DL_STATE_INIT;
        for (uint64_t begin = now_ns(); state.ready == 0; usleep(2000)) {
            if (dl_get_state(groups[i].log, &state) != DL_OK || now_ns() - begin > 60000000000u)
                die("member 1", "it does not lead after 60 s");
        }
    }
}

static uint64_t done_by_all(void)
{
    uint64_t done = 0;
    for (unsigned i = 0; i < wanted.groups; i++)
        done += atomic_load(&groups[i].done);
    return done;
}

static void tell(int to, const void *what, size_t len)
{
    if (write(to, what, len) != (ssize_t)len)
        die("a pipe", strerror(errno));
}

/* Of all groups and callers. */
static void merge_all(histogram *all)
{
    memset(all, 0, sizeof *all);
    for (unsigned i = 0; i < wanted.groups; i++)
        merge(all, &groups[i].latencies);
    for (caller *c = callers; callers != NULL && c->thread != 0; c++)
        merge(all, &c->latencies);
}

/* What came since the last time, while the load goes on; positions are those of the first group. */
static void look(interval *out)
{
    static histogram now, before, next;
    static uint64_t done_before, at_before;
    uint64_t done = done_by_all(), at = now_ns();
    dl_state state = DL_STATE_INIT;
    dl_get_state(groups[0].log, &state);
    merge_all(&now);
    next = now;
    subtract(&now, &before);
    before = next;
    *out = (interval){.entries = done - done_before, .elapsed_ns = at - at_before, .anonymous_kib = status_kib("RssAnon:"),
                      .begin = state.begin.pos, .end = state.committed.pos,
                      .quantiles = {quantile(&now, 0.5), quantile(&now, 0.99), quantile(&now, 0.999),
                                    quantile(&now, 1)}};
    done_before = done, at_before = at;
}

static void finish(figures *f)
{
    histogram all;
    for (unsigned i = 0; i < wanted.groups; i++) {
        dl_stop(groups[i].log, DL_FOREVER);
        f->failures += atomic_load(&groups[i].failures);
        if (atomic_load(&groups[i].failure) != DL_OK)
            f->failure = atomic_load(&groups[i].failure);
    }
    merge_all(&all);
    const double wants[] = {0.5, 0.99, 0.999};
    for (int i = 0; i < 3; i++)
        f->quantiles[i] = quantile(&all, wants[i]);
    f->quantiles[3] = all.max;
}

/* Opens, says so, and then: (l)oad, (b)egin to measure, how (m)any, what came (i)n between,
 * (s)top measuring, (e)nd. */
static void be_member(unsigned id, const char *root, const unsigned *ports, int in, int out)
{
    char path[1024], word;
    figures f = {0};
    interval came;
    uint64_t began = 0, cpu = 0, before = 0;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    snprintf(path, sizeof path, "%s/member-%u", root, id);
    mkdir(path, 0755);
    for (unsigned i = 0; i < wanted.groups; i++)
        open_log(&groups[i], i, id, root, ports);
    if (id == 1)
        wait_until_it_leads();
    tell(out, "r", 1);
    while (read(in, &word, 1) == 1) {
        uint64_t done = done_by_all();
        switch (word) {
        case 'l':
            start_load();
            break;
        case 'b':
            before = done, cpu = cpu_ns(), began = now_ns();
            atomic_store(&measured_from, began);
            break;
        case 'm':
            tell(out, &done, sizeof done);
            break;
        case 'i':
            look(&came);
            tell(out, &came, sizeof came);
            break;
        case 's':
            f.entries = done - before, f.cpu_ns = cpu_ns() - cpu, f.elapsed_ns = now_ns() - began;
            f.anonymous_kib = status_kib("RssAnon:");
            f.resident_kib = status_kib("VmHWM:");
            break;
        case 'e':
            if (id == 1)
                stop_load();
            finish(&f);
            tell(out, &f, sizeof f);
            break;
        }
    }
    for (unsigned i = 0; i < wanted.groups; i++)
        dl_close(groups[i].log);
    _exit(0);
}

/* ---- The processes, the clock and the report -------------------------------------------------------- */

typedef struct {
    pid_t pid;
    int to, from;
    figures figures;
} member;

static void hear(member *m, void *what, size_t len)
{
    for (char *at = what; len > 0;) {
        ssize_t got = read(m->from, at, len);
        if (got <= 0)
            die("a member", "it is gone");
        at += got, len -= (size_t)got;
    }
}

static unsigned free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s < 0 || bind(s, (struct sockaddr *)&a, len) != 0 || getsockname(s, (struct sockaddr *)&a, &len) != 0)
        die("a port", strerror(errno));
    close(s);
    return ntohs(a.sin_port);
}

static void start_member(member *members, unsigned id, const char *root, const unsigned *ports)
{
    int down[2], up[2];
    if (pipe2(down, O_CLOEXEC) != 0 || pipe2(up, O_CLOEXEC) != 0)
        die("a pipe", strerror(errno));
    pid_t pid = fork();
    if (pid < 0)
        die("fork", strerror(errno));
    if (pid == 0) {
        for (unsigned m = 1; m < id; m++)
            close(members[m].to), close(members[m].from);
        close(down[1]), close(up[0]);
        be_member(id, root, ports, down[0], up[1]);
    }
    close(down[0]), close(up[1]);
    members[id] = (member){.pid = pid, .to = down[1], .from = up[0]};
}

static void sleep_until(uint64_t ns)
{
    struct timespec t = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {
    }
}

/* A line for each --every. */
static void show(member *leader, uint64_t second)
{
    interval i;
    tell(leader->to, "i", 1);
    hear(leader, &i, sizeof i);
    if (second == 0) {
        fprintf(stderr, "%8s %12s %10s %10s %10s %10s %14s %12s %12s\n", "second", "entries/s", "p50 us",
                "p99 us", "p99.9 us", "max us", "anonymous MiB", "begin MiB", "end MiB");
        return;
    }
    fprintf(stderr, "%8" PRIu64 " %12.0f", second, (double)i.entries / (double)i.elapsed_ns * 1e9);
    for (int q = 0; q < 4; q++)
        fprintf(stderr, " %10.1f", (double)i.quantiles[q] / 1e3);
    fprintf(stderr, " %14.1f %12.1f %12.1f\n", (double)i.anonymous_kib / 1024, (double)i.begin / 1048576,
            (double)i.end / 1048576);
}

/* A line a second on a terminal. */
static void watch(member *leader, uint64_t until)
{
    uint64_t last, done, at = now_ns(), from = at, shown = 1;
    bool shows = isatty(2);
    tell(leader->to, "m", 1);
    hear(leader, &last, sizeof last);
    if (wanted.every > 0)
        show(leader, 0);
    while (now_ns() + 1000000000u < until) {
        sleep_until(at += 1000000000u);
        for (; wanted.every > 0 && at - from >= 1000000000u * wanted.every * shown; shown++)
            show(leader, wanted.every * shown);
        tell(leader->to, "m", 1);
        hear(leader, &done, sizeof done);
        if (shows)
            fprintf(stderr, "\r%10" PRIu64 " entries/s, %5.0f s to go ", done - last,
                    (double)(until - now_ns()) / 1e9);
        last = done;
    }
    sleep_until(until);
    if (wanted.every > 0 && (double)(wanted.every * shown) <= wanted.seconds)
        show(leader, wanted.every * shown);
    if (shows)
        fprintf(stderr, "\r%40s\r", "");
}

static double mean_body(void)
{
    double sum = 0;
    for (size_t i = 0; i < body_count; i++)
        sum += (double)bodies[i].len;
    return sum / (double)body_count;
}

static void report(const member *members)
{
    const figures *l = &members[1].figures;
    double seconds = (double)l->elapsed_ns / 1e9, rate = (double)l->entries / seconds;
    double bytes = rate * mean_body();
    const char *names[] = {"p50", "p99", "p99.9", "max"}, *keys[] = {"p50", "p99", "p999", "max"};
    double per = l->entries > 0 ? 1.0 / (double)l->entries : 0;
    if (wanted.json) {
        printf("{\"members\":%u,\"groups\":%u,\"in_flight\":%u,\"callers\":%u,\"batch\":%u,"
               "\"rate\":%.1f,\"body\":%.1f,\"flush\":\"%s\",\"seconds\":%.3f,"
               "\"entries\":%" PRIu64 ",\"entries_per_second\":%.1f,\"bytes_per_second\":%.1f",
               wanted.members, wanted.groups, wanted.in_flight, wanted.callers, wanted.batch,
               wanted.rate, mean_body(), wanted.flush, seconds, l->entries, rate, bytes);
        for (int i = 0; i < 4; i++)
            printf(",\"%s_us\":%.1f", keys[i], (double)l->quantiles[i] / 1e3);
        printf(",\"failures\":%" PRIu64 ",\"processes\":[", l->failures);
        for (unsigned m = 1; m <= wanted.members; m++) {
            const figures *f = &members[m].figures;
            printf("%s{\"member\":%u,\"cpu_ns_per_entry\":%.1f,\"cpu\":%.4f,\"anonymous_kib\":%" PRIu64
                   ",\"peak_resident_kib\":%" PRIu64 "}",
                   m > 1 ? "," : "", m, (double)f->cpu_ns * per,
                   (double)f->cpu_ns / (double)f->elapsed_ns, f->anonymous_kib, f->resident_kib);
        }
        puts("]}");
    } else {
        printf("%u member%s, %u group%s, bodies of %.0f bytes, flush=%s, ", wanted.members,
               wanted.members > 1 ? "s" : "", wanted.groups, wanted.groups > 1 ? "s" : "", mean_body(),
               wanted.flush);
        if (wanted.rate > 0)
            printf("%.0f entries a second are due, ", wanted.rate);
        else
            printf("%u in flight, ", wanted.blocking ? wanted.callers : wanted.in_flight);
        printf("%.1f s\n%.0f entries/s, %.1f MB/s\n", seconds, rate, bytes / 1e6);
        for (int i = 0; i < 4; i++)
            printf("%s%s %.1f µs", i > 0 ? ", " : "", names[i], (double)l->quantiles[i] / 1e3);
        puts("");
        for (unsigned m = 1; m <= wanted.members; m++) {
            const figures *f = &members[m].figures;
            printf("member %u%s: %.0f ns of CPU per entry, %.1f %% of a core; %.1f MiB anonymous, "
                   "%.1f MiB resident at its peak\n",
                   m, m == 1 ? " (leader)" : "", (double)f->cpu_ns * per,
                   100.0 * (double)f->cpu_ns / (double)f->elapsed_ns, (double)f->anonymous_kib / 1024,
                   (double)f->resident_kib / 1024);
        }
    }
    if (l->failures > 0) {
        fprintf(stderr, "bench: %" PRIu64 " appends failed, the last: %s\n", l->failures,
                dl_strerror((dl_status)l->failure));
        exit(1);
    }
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    read_bodies();
    char root[512];
    snprintf(root, sizeof root, "%s/dledger-bench-XXXXXX", wanted.dir);
    if (mkdtemp(root) == NULL)
        die(root, strerror(errno));
    unsigned ports[MEMBERS_MAX + 1];
    member members[MEMBERS_MAX + 1];
    for (unsigned id = 1; id <= wanted.members; id++)
        ports[id] = free_port();
    for (unsigned id = 1; id <= wanted.members; id++)
        start_member(members, id, root, ports);
    char word;
    for (unsigned id = wanted.members; id >= 1; id--)
        hear(&members[id], &word, 1);
    tell(members[1].to, "l", 1);
    sleep_until(now_ns() + (uint64_t)(wanted.seconds * 1e8));
    for (unsigned id = 1; id <= wanted.members; id++)
        tell(members[id].to, "b", 1);
    watch(&members[1], now_ns() + (uint64_t)(wanted.seconds * 1e9));
    for (unsigned id = 1; id <= wanted.members; id++)
        tell(members[id].to, "s", 1);
    /* The leader first: what it waits for needs the others. */
    for (unsigned id = 1; id <= wanted.members; id++) {
        tell(members[id].to, "e", 1);
        hear(&members[id], &members[id].figures, sizeof(figures));
    }
    for (unsigned id = 1; id <= wanted.members; id++) {
        close(members[id].to), close(members[id].from);
        waitpid(members[id].pid, NULL, 0);
    }
    char command[600];
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    if (system(command) != 0)
        fprintf(stderr, "bench: %s is left behind\n", root);
    report(members);
    return 0;
}
