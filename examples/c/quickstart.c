/*
 * The main job of a broker's storage, from end to end: every line of a file is appended to a log,
 * stamped with its own physical position as it is appended, read back by index and by position,
 * and found again after the log was closed and reopened.
 *
 *     quickstart FILE [DIRECTORY]
 *
 * Without a directory the log lives in a fresh temporary one, which is removed at the end.
 */
#define _XOPEN_SOURCE 700

#include "dledger.h"

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A body is the position of its own first byte, 8 bytes big-endian, and then the line. */
#define STAMP 8

/* What a segment must have beside a body: 48 bytes of header, and 8 behind the record. */
#define RECORD_OVERHEAD 56

/* One line, and what the log said about it. */
struct line {
    const uint8_t *text;
    size_t len;
    dl_entry entry;      /* its place, known when dl_append_async returned */
    dl_completion ended; /* how the append ended */
};

struct input {
    uint8_t *bytes;
    struct line *lines;
    size_t count;
    uint64_t total;  /* bytes in lines */
    size_t longest;
};

/* What the callbacks tell the main thread. */
static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    size_t completed;
    int ready;  /* leader, and appends commit */
    int failed; /* the log stopped for good */
} told = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0};

static const char *log_dir;

/* ---- Ways to end ------------------------------------------------------------------------- */

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...) {
    va_list arguments;
    fflush(stdout);
    fprintf(stderr, "quickstart: ");
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\n");
    if (log_dir != NULL)
        fprintf(stderr, "quickstart: the log was left in %s\n", log_dir);
    _Exit(1);
}

/* Ends the program unless a call answered DL_OK. err: what the call said about it, or NULL. */
static void must(dl_status status, const char *call, const dl_error *err) {
    if (status != DL_OK)
        fail("%s: %s: %s", call, dl_status_name(status),
             err != NULL ? err->message : dl_strerror(status));
}

/* ---- What the library calls -------------------------------------------------------------- */

/* The hook: runs inside dl_append_async, when the position is final and before the checksum is
 * computed. So a record can carry its own address. */
static dl_status stamp(void *user_data, const dl_entry *entry, uint8_t *body) {
    (void)user_data;
    if (entry->body_len < STAMP)
        return DL_E_INVALID;
    for (int i = 0; i < STAMP; i++)
        body[i] = (uint8_t)(entry->body_pos >> (56 - 8 * i));
    return DL_OK;
}

/* Appends have ended; user_data is what was given to dl_append_async. */
static void on_complete(void *user_data, const dl_completion *items, size_t n) {
    (void)user_data;
    pthread_mutex_lock(&told.mutex);
    for (size_t i = 0; i < n; i++)
        ((struct line *)items[i].user_data)->ended = items[i];
    told.completed += n;
    pthread_cond_broadcast(&told.changed);
    pthread_mutex_unlock(&told.mutex);
}

static void on_event(void *user_data, uint32_t what, const dl_state *now) {
    (void)user_data;
    pthread_mutex_lock(&told.mutex);
    told.ready = now->role == DL_ROLE_LEADER && now->ready;
    told.failed |= (what & DL_EVENT_FAILED) != 0;
    pthread_cond_broadcast(&told.changed);
    pthread_mutex_unlock(&told.mutex);
}

/* Waits until the log leads. Never again after it failed. */
static void wait_ready(dl_log *log) {
    dl_error err;
    pthread_mutex_lock(&told.mutex);
    while (!told.ready && !told.failed)
        pthread_cond_wait(&told.changed, &told.mutex);
    int failed = told.failed;
    pthread_mutex_unlock(&told.mutex);
    if (failed)
        must(dl_failure(log, &err), "the log stopped", &err);
}

/* Waits until so many appends have ended. Each does, at the latest by its timeout. */
static void wait_completed(size_t count) {
    pthread_mutex_lock(&told.mutex);
    while (told.completed < count)
        pthread_cond_wait(&told.changed, &told.mutex);
    pthread_mutex_unlock(&told.mutex);
}

/* ---- The input --------------------------------------------------------------------------- */

static struct input read_input(const char *path) {
    struct input in = {0};
    size_t used = 0, room = 0, n;
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail("%s: %s", path, strerror(errno));
    do {
        if (used == room) {
            room = room == 0 ? 1 << 16 : room * 2;
            in.bytes = realloc(in.bytes, room);
            if (in.bytes == NULL)
                fail("out of memory");
        }
        n = fread(in.bytes + used, 1, room - used, file);
        used += n;
    } while (n > 0);
    if (ferror(file))
        fail("%s: %s", path, strerror(errno));
    fclose(file);

    for (size_t at = 0; at < used; at++)
        in.count += in.bytes[at] == '\n' || at + 1 == used;
    if (in.count == 0)
        fail("%s has no lines", path);
    in.lines = calloc(in.count, sizeof(struct line));
    if (in.lines == NULL)
        fail("out of memory");
    size_t at = 0;
    for (size_t i = 0; i < in.count; i++) {
        const uint8_t *end = memchr(in.bytes + at, '\n', used - at);
        size_t len = end != NULL ? (size_t)(end - (in.bytes + at)) : used - at;
        in.lines[i].text = in.bytes + at;
        in.lines[i].len = len;
        in.total += len;
        if (len > in.longest)
            in.longest = len;
        at += len + 1;
    }
    return in;
}

/* ---- The log ----------------------------------------------------------------------------- */

static dl_log *open_log(uint64_t segment_bytes) {
    dl_error err;
    char size[32], largest[32];
    dl_log *log = NULL;
    dl_config *cfg = dl_config_new(DL_VERSION);
    if (cfg == NULL)
        fail("this program was compiled for a newer library than %s", dl_version_string());
    snprintf(size, sizeof(size), "%" PRIu64 "KiB", segment_bytes >> 10);
    snprintf(largest, sizeof(largest), "%" PRIu64 "B", segment_bytes - RECORD_OVERHEAD);
    must(dl_config_set(cfg, DL_OPT_DIR, log_dir, &err), "dir", &err);
    must(dl_config_set(cfg, DL_OPT_NODE_ID, "1", &err), "node.id", &err);
    must(dl_config_set(cfg, DL_OPT_SEGMENT_BYTES, size, &err), "segment.bytes", &err);
    must(dl_config_set(cfg, DL_OPT_APPEND_MAX, largest, &err), "append.max.bytes", &err);
    must(dl_open(cfg, &log, &err), "dl_open", &err);
    dl_config_free(cfg);
    must(dl_register_append_hook(log, stamp, NULL, NULL, NULL), "dl_register_append_hook", NULL);
    must(dl_on_complete(log, on_complete, NULL, NULL), "dl_on_complete", NULL);
    must(dl_on_event(log, on_event, NULL, NULL), "dl_on_event", NULL);
    told.ready = 0; /* no callback runs between dl_stop and dl_start */
    must(dl_start(log, &err), "dl_start", &err);
    wait_ready(log);
    return log;
}

static void close_log(dl_log *log) {
    must(dl_stop(log, DL_FOREVER), "dl_stop", NULL);
    dl_close(log);
}

static dl_state state_of(dl_log *log) {
    dl_state state = DL_STATE_INIT;
    must(dl_get_state(log, &state), "dl_get_state", NULL);
    return state;
}

/* Appends every line without waiting for any, and then waits for all. */
static void append_all(dl_log *log, struct input *in) {
    uint8_t *body = malloc(STAMP + in->longest);
    if (body == NULL)
        fail("out of memory");
    for (size_t i = 0; i < in->count; i++) {
        struct line *line = &in->lines[i];
        dl_status status;
        memset(body, 0, STAMP); /* the hook fills it in the log's copy */
        memcpy(body + STAMP, line->text, line->len);
        for (int tries = 0;; tries++) {
            /* Without a callback of its own, the append's end comes to on_complete. */
            status = dl_append_async(log, body, STAMP + line->len, NULL, &line->entry, NULL, line);
            if (status == DL_OK || !dl_status_is(status, DL_IS_RETRYABLE) || tries == 10000)
                break;
            /* Too much in flight, say: nothing was appended, and soon there is room again. */
            nanosleep(&(struct timespec){0, 1000000}, NULL);
        }
        if (status != DL_OK)
            fail("line %zu (%zu bytes): dl_append_async: %s: %s", i + 1, line->len,
                 dl_status_name(status), dl_strerror(status));
    }
    free(body);
    wait_completed(in->count);

    for (size_t i = 0; i < in->count; i++) {
        const struct line *line = &in->lines[i];
        if (line->ended.status != DL_OK)
            fail("line %zu was not committed: %s", i + 1, dl_strerror(line->ended.status));
        if (line->ended.index != line->entry.index || line->ended.pos != line->entry.pos ||
            line->ended.term != line->entry.term)
            fail("line %zu was committed at another place than it was given", i + 1);
        if (i > 0 && line->entry.index != line[-1].entry.index + 1)
            fail("line %zu has index %" PRIu64 ", the one before %" PRIu64, i + 1,
                 line->entry.index, line[-1].entry.index);
    }
}

/* Compares a body in the log with the line it was made of. */
static void compare(const struct input *in, size_t i, const uint8_t *body, size_t len,
                    const char *how) {
    const struct line *line = &in->lines[i];
    uint64_t stamped = 0;
    if (len != STAMP + line->len)
        fail("line %zu, read %s, has %zu bytes instead of %zu", i + 1, how, len,
             STAMP + line->len);
    for (int at = 0; at < STAMP; at++)
        stamped = stamped << 8 | body[at];
    if (stamped != line->entry.body_pos)
        fail("line %zu, read %s, says it lies at %" PRIu64 ", and it lies at %" PRIu64, i + 1,
             how, stamped, line->entry.body_pos);
    if (memcmp(body + STAMP, line->text, line->len) != 0)
        fail("line %zu, read %s, is not what was appended", i + 1, how);
}

/* By index, without a copy, up to 256 records at a time, checksums compared. */
static void check_by_index(dl_log *log, const struct input *in) {
    dl_read_opts opts = DL_READ_OPTS_INIT;
    uint64_t next = in->lines[0].entry.index;
    size_t i = 0;
    opts.flags = DL_READ_VERIFY | DL_READ_SEQUENTIAL;
    opts.max_entries = 256;
    while (i < in->count) {
        dl_view view;
        must(dl_read(log, next, &opts, &view), "dl_read", NULL);
        for (size_t n = 0; n < view.count && i < in->count; n++, i++) {
            const dl_entry *entry = &view.entries[n];
            const dl_entry *given = &in->lines[i].entry;
            if (entry->index != given->index || entry->pos != given->pos ||
                entry->term != given->term)
                fail("line %zu has another index, term or position than it was given", i + 1);
            compare(in, i, entry->body, entry->body_len, "by index");
        }
        next = view.next_index;
        dl_view_release(&view);
    }
}

/* By position, as a consumer does that keeps physical offsets only. */
static void check_by_position(dl_log *log, const struct input *in) {
    for (size_t i = 0; i < in->count; i++) {
        const dl_entry *entry = &in->lines[i].entry;
        uint64_t index;
        dl_view view;
        size_t len = STAMP + in->lines[i].len;
        must(dl_read_pos(log, entry->body_pos, len, &view), "dl_read_pos", NULL);
        compare(in, i, view.data, view.len, "by position");
        dl_view_release(&view);
        must(dl_index_at(log, entry->body_pos, &index), "dl_index_at", NULL);
        if (index != entry->index)
            fail("position %" PRIu64 " is of record %" PRIu64 ", not %" PRIu64, entry->body_pos,
                 index, entry->index);
    }
}

/* ---- The program ------------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *walk) {
    (void)info, (void)type, (void)walk;
    return remove(path);
}

int main(int argc, char **argv) {
    char temporary[4096];
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: %s FILE [DIRECTORY]\n", argv[0]);
        return 2;
    }
    struct input in = read_input(argv[1]);

    /* Small segments, so that even a small file fills more than one; each takes a whole line. */
    uint64_t segment_bytes = 64 << 10;
    while (segment_bytes < in.longest + STAMP + RECORD_OVERHEAD)
        segment_bytes *= 2;

    if (argc == 3) {
        log_dir = argv[2];
    } else {
        const char *base = getenv("TMPDIR");
        snprintf(temporary, sizeof(temporary), "%s/dledger-quickstart-XXXXXX",
                 base != NULL && base[0] != 0 ? base : "/tmp");
        if (mkdtemp(temporary) == NULL)
            fail("%s: %s", temporary, strerror(errno));
        log_dir = temporary;
    }

    printf("libdledger %s\n", dl_version_string());
    dl_log *log = open_log(segment_bytes);
    dl_state before = state_of(log);
    printf("opened    %s: a group of one, leader in term %" PRIu64 ", %" PRIu64 " records\n",
           log_dir, before.term, before.committed.index - before.begin.index);

    append_all(log, &in);
    const dl_entry *first = &in.lines[0].entry, *last = &in.lines[in.count - 1].entry;
    printf("appended  %zu lines, %" PRIu64 " bytes, of %s: all committed and on disk\n", in.count,
           in.total, argv[1]);
    printf("          index %" PRIu64 " to %" PRIu64 ", position %" PRIu64 " to %" PRIu64
           ", in segments of %" PRIu64 " KiB\n",
           first->index, last->index, first->pos, last->pos + last->size, segment_bytes >> 10);

    check_by_index(log, &in);
    printf("passed    every line reads back by index, with its checksums and its stamp\n");
    check_by_position(log, &in);
    printf("passed    every line reads back by position, and its position names its index\n");
    close_log(log);

    log = open_log(segment_bytes);
    dl_state after = state_of(log);
    printf("reopened  the log: leader in term %" PRIu64 ", %" PRIu64 " records\n", after.term,
           after.committed.index - after.begin.index);
    if (after.committed.index != last->index + 1)
        fail("after reopening the log ends at record %" PRIu64 " instead of %" PRIu64,
             after.committed.index, last->index + 1);
    check_by_index(log, &in);
    check_by_position(log, &in);
    printf("passed    the same two checks after reopening\n");
    close_log(log);

    if (argc == 3)
        printf("kept      %s\n", log_dir);
    else if (nftw(log_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0)
        fail("cannot remove %s: %s", log_dir, strerror(errno));
    free(in.lines);
    free(in.bytes);
    printf("All checks passed.\n");
    return 0;
}
