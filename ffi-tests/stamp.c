/*
 * Acceptance 2: from one thread, with bodies of 36 to 4,096 bytes, a hook that writes BE64(body_pos)
 * at body offset 28 and append.stamp=28:body_pos:be64 give the same bodies at the same positions,
 * byte for byte in the files; a body too short for the stamp is refused. A hook that refuses
 * refuses the whole call, uses no index, no position, and does not touch `out`. With
 * callbacks=thread and callbacks=poll.
 */
#include "check.h"

#include <dirent.h>

enum { RECORDS = 2000, LEAST = 36, MOST = 4096, HEADER = 48, OFFSET = 28, REFUSED = 0xEE };

static int hook_calls;

static void put_be64(uint8_t *at, uint64_t value) {
    for (int i = 0; i < 8; i++)
        at[i] = (uint8_t)(value >> (56 - 8 * i));
}

static dl_status stamps(void *user_data, const dl_entry *entry, uint8_t *body) {
    CHECK(user_data == &hook_calls && entry->body == body);
    CHECK(entry->body_pos == entry->pos + HEADER && entry->size == HEADER + entry->body_len);
    hook_calls++;
    if (entry->body_len < OFFSET + 8)
        return DL_E_INVALID;
    put_be64(body + OFFSET, entry->body_pos);
    return DL_OK;
}

/* Behind the stamp, so that it sees a refused body only if that passed the first. */
static dl_status refuses(void *user_data, const dl_entry *entry, uint8_t *body) {
    (void)user_data;
    return entry->body_len > 0 && body[0] == REFUSED ? DL_E_TOO_LARGE : DL_OK;
}

static size_t body_of(uint64_t seed, uint8_t *body) {
    size_t len = fill_body(seed, LEAST, MOST, body);
    body[0] = (uint8_t)seed % REFUSED;
    return len;
}

static int completions;
static void on_append(void *user_data, const dl_completion *c) {
    (void)user_data;
    IS(DL_OK, c->status);
    __atomic_add_fetch(&completions, 1, __ATOMIC_SEQ_CST);
}
static void never(void *user_data, const dl_completion *c) {
    (void)user_data, (void)c;
    CHECK(!"a refused append has no completion");
}

/* A batch whose third body is refused, and single ones: nothing is left of them. */
static void refused(dl_log *log, const uint8_t *third, size_t third_len) {
    static uint8_t one[MOST], two[MOST];
    dl_bytes bodies[4] = {{one, MOST}, {two, MOST}, {third, third_len}, {one, MOST}};
    dl_entry out[4], untouched[4];
    dl_state before = state_of(log);
    memset(out, 0x55, sizeof(out));
    memset(untouched, 0x55, sizeof(untouched));
    IS_SOON(DL_E_REJECTED, dl_append_batch_async(log, bodies, 4, NULL, out, never, NULL));
    IS_SOON(DL_E_REJECTED, dl_append_async(log, third, third_len, NULL, out, never, NULL));
    IS_SOON(DL_E_REJECTED, dl_append(log, third, third_len, NULL, out));
    CHECK(memcmp(out, untouched, sizeof(out)) == 0);
    dl_state after = state_of(log);
    CHECK(before.end.index == after.end.index && before.end.pos == after.end.pos);
}

static dl_log *open_one(const char *dir, const char *name, int hooked, const char *callbacks) {
    dl_config *cfg = small_config(dir, name);
    set(cfg, DL_OPT_CALLBACKS, callbacks);
    if (!hooked)
        set(cfg, DL_OPT_APPEND_STAMP, "28:body_pos:be64");
    dl_log *log = open_log(cfg);
    dl_config_free(cfg);
    if (hooked)
        IS(DL_OK, dl_register_append_hook(log, stamps, &hook_calls, NULL, NULL));
    IS(DL_OK, dl_register_append_hook(log, refuses, NULL, NULL, NULL));
    start_leader(log);
    return log;
}

/* Waiting for each, batches are of one, and so the files are equal to the byte. */
static void fill(const char *dir, const char *name, int hooked, const char *callbacks, int waits,
                 dl_entry *entries) {
    uint8_t body[MOST], refuse[MOST] = {REFUSED};
    dl_log *log = open_one(dir, name, hooked, callbacks);
    pthread_t poller = 0;
    if (strcmp(callbacks, "poll") == 0)
        poller = thread(poll_until_stopped, log);
    completions = 0;
    for (uint64_t i = 0; i < RECORDS; i++) {
        size_t len = body_of(i, body);
        if (i % 10 == 0)
            refused(log, body, OFFSET + 7);
        if (i % 10 == 5)
            refused(log, refuse, MOST);
        if (waits) {
            IS_SOON(DL_OK, dl_append(log, body, len, NULL, &entries[i]));
        } else {
            IS_SOON(DL_OK, dl_append_async(log, body, len, NULL, &entries[i], on_append, NULL));
        }
        CHECK(entries[i].index == i);
    }
    if (!waits)
        UNTIL(completions, RECORDS);
    /* What is read has the stamp, in place of what was there. */
    for (uint64_t i = 0; i < RECORDS; i++) {
        dl_view view = {0};
        size_t len = body_of(i, body);
        put_be64(body + OFFSET, entries[i].body_pos);
        IS(DL_OK, dl_read(log, i, NULL, &view));
        CHECK(view.entries[0].body_len == len && view.entries[0].pos == entries[i].pos);
        CHECK(memcmp(view.entries[0].body, body, len) == 0);
        dl_view_release(&view);
    }
    IS(DL_OK, dl_stop(log, DL_FOREVER));
    if (poller)
        join(poller);
    dl_close(log);
}

static size_t read_file(const char *dir, const char *name, const char *file, uint8_t *bytes) {
    char path[5000];
    snprintf(path, sizeof(path), "%s/%s/data/%s", dir, name, file);
    FILE *in = fopen(path, "rb");
    CHECK(in != NULL);
    size_t len = fread(bytes, 1, 2 << 20, in);
    fclose(in);
    return len;
}

/* All data files of both. Which appends share a batch is a matter of time: unless they were
 * waited for, bytes 32 to 40 of a header (framing and chain) are not compared. */
static void compare(const char *dir, const char *a, const char *b, int framing,
                    const dl_entry *entries) {
    uint8_t *one = malloc(2 << 20), *two = malloc(2 << 20);
    char path[4096];
    int files = 0;
    uint64_t last = entries[RECORDS - 1].pos;
    snprintf(path, sizeof(path), "%s/%s/data", dir, a);
    DIR *data = opendir(path);
    CHECK(data != NULL);
    for (struct dirent *file; (file = readdir(data)) != NULL;) {
        if (file->d_name[0] == '.')
            continue;
        size_t len = read_file(dir, a, file->d_name, one);
        CHECK(len == 1 << 20 && read_file(dir, b, file->d_name, two) == len);
        uint64_t begin = strtoull(file->d_name, NULL, 10);
        for (int i = 0; !framing && i < RECORDS; i++) {
            if (entries[i].pos >= begin && entries[i].pos < begin + len) {
                memset(one + (entries[i].pos - begin) + 32, 0, 8);
                memset(two + (entries[i].pos - begin) + 32, 0, 8);
            }
        }
        CHECK(memcmp(one, two, len) == 0);
        files++;
    }
    closedir(data);
    CHECK(files == (int)(last / (1 << 20)) + 1 && files > 2);
    free(one);
    free(two);
}

static void both(const char *dir, const char *callbacks, int waits) {
    static dl_entry by_hook[RECORDS], by_stamp[RECORDS];
    char hook[100], stamp[100];
    snprintf(hook, sizeof(hook), "hook-%s-%d", callbacks, waits);
    snprintf(stamp, sizeof(stamp), "stamp-%s-%d", callbacks, waits);
    hook_calls = 0;
    fill(dir, hook, 1, callbacks, waits, by_hook);
    CHECK(hook_calls >= RECORDS);
    fill(dir, stamp, 0, callbacks, waits, by_stamp);
    CHECK(memcmp(by_hook, by_stamp, sizeof(by_hook)) == 0);
    compare(dir, hook, stamp, waits, by_stamp);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    for (int waits = 0; waits < 2; waits++) {
        both(argv[1], "thread", waits);
        both(argv[1], "poll", waits);
    }
    return 0;
}
