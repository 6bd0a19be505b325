/*
 * Acceptance 7, P8, scenario 1: on a small file system appends end in DL_E_DISK_FULL, and nothing
 * else does: no signal, nothing acknowledged lost, reads go on, the log can be stopped and opened
 * full. Freeing space, by removing another file or by dl_delete_prefix, is enough to go on
 * appending without reopening. With disk.full.ratio=1.00 (only a write tells) and 0.90.
 */
#include "check.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { BODY_LEAST = 1, BODY_MOST = 30000, BALLAST = 5 << 20 };

static const char *directory;
static uint64_t completed; /* of all that were taken, in order */

static void on_complete(void *user_data, const dl_completion *items, size_t n) {
    (void)user_data;
    for (size_t i = 0; i < n; i++) {
        IS(DL_OK, items[i].status);
        CHECK(items[i].index == completed);
        __atomic_store_n(&completed, completed + 1, __ATOMIC_SEQ_CST);
    }
}

/* Tries one append. The body follows from its index. */
static dl_status append(dl_log *log) {
    static uint8_t body[BODY_MOST];
    uint64_t index = state_of(log).end.index;
    dl_entry out;
    size_t len = fill_body(index, BODY_LEAST, BODY_MOST, body);
    dl_status status = dl_append_async(log, body, len, NULL, &out, NULL, NULL);
    CHECK(status != DL_OK || out.index == index);
    return status;
}

/* Appends until the disk has been full for some time. Returns how many were taken. */
static uint64_t fill(dl_log *log) {
    uint64_t taken = 0, since = 0, refused = 0;
    for (;;) {
        dl_status status = append(log);
        if (status == DL_OK) {
            taken++;
            since = 0;
            continue;
        }
        /* A slow disk may still be making room. */
        if (status == DL_E_DISK_FULL && since != 0 && now_ms() - since > 3000 && ++refused > 20)
            break;
        if (status == DL_E_DISK_FULL && since == 0)
            since = now_ms(), refused = 0;
        if (status != DL_E_DISK_FULL)
            IS(DL_E_PENDING_FULL, status);
        sleep_ms(1);
    }
    CHECK(dl_status_is(DL_E_DISK_FULL, DL_IS_RETRYABLE) == 1);
    AWAIT(__atomic_load_n(&completed, __ATOMIC_SEQ_CST) == state_of(log).end.index);
    return taken;
}

static void check_all(dl_log *log) {
    static uint8_t body[BODY_MOST], copy[BODY_MOST];
    dl_state state = state_of(log);
    dl_read_opts opts = DL_READ_OPTS_INIT;
    dl_entry entry;
    opts.max_entries = 100;
    opts.flags = DL_READ_VERIFY;
    CHECK(state.committed.index == completed);
    for (uint64_t index = state.begin.index; index < completed;) {
        dl_view view = {0};
        IS(DL_OK, dl_read(log, index, &opts, &view));
        for (size_t i = 0; i < view.count; i++, index++) {
            size_t len = fill_body(index, BODY_LEAST, BODY_MOST, body);
            CHECK(view.entries[i].index == index && view.entries[i].body_len == len);
            CHECK(memcmp(view.entries[i].body, body, len) == 0);
            IS(DL_OK, dl_read_copy(log, index, copy, sizeof(copy), &entry));
            CHECK(memcmp(copy, body, len) == 0);
        }
        dl_view_release(&view);
    }
}

/* The log is well, only full. */
static void is_well(dl_log *log) {
    dl_error err;
    uint64_t index = 0;
    IS(DL_OK, dl_failure(log, &err));
    IS(DL_OK, dl_flush(log, 20000));
    IS(DL_OK, dl_read_index(log, 20000, &index));
    CHECK(index == completed && is_leader(log));
    CHECK(state_of(log).flushed.index == completed);
    check_all(log);
}

static void resumes(dl_log *log) {
    dl_status status;
    uint64_t begin = now_ms();
    while ((status = append(log)) != DL_OK && now_ms() - begin < 20000) {
        CHECK(status == DL_E_DISK_FULL || status == DL_E_PENDING_FULL);
        sleep_ms(5);
    }
    IS(DL_OK, status);
}

/* Forgets the older half. */
static void forget(dl_log *log) {
    dl_state state = state_of(log);
    uint64_t half = 0;
    IS(DL_OK, dl_index_at(log, (state.begin.pos + state.committed.pos) / 2, &half));
    IS(DL_OK, dl_delete_prefix(log, half, NULL));
    AWAIT(state_of(log).begin.index > state.begin.index);
}

static int64_t mib(uint64_t bytes) { return (int64_t)(bytes >> 20); }

static void run(const char *ratio) {
    char path[4096];
    struct statvfs disk;
    CHECK(statvfs(directory, &disk) == 0);
    uint64_t room = (uint64_t)disk.f_bavail * disk.f_frsize;

    snprintf(path, sizeof(path), "%s/ballast-%s", directory, ratio);
    int ballast = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
    CHECK(ballast >= 0 && posix_fallocate(ballast, 0, BALLAST) == 0 && close(ballast) == 0);

    char name[32];
    snprintf(name, sizeof(name), "log-%s", ratio);
    dl_config *cfg = small_config(directory, name);
    set(cfg, "index.segment.bytes", "1MiB");
    set(cfg, DL_OPT_DISK_FULL, ratio);
    set(cfg, DL_OPT_APPEND_TIMEOUT, "1h");
    dl_log *log = open_log(cfg);
    completed = 0;
    IS(DL_OK, dl_on_complete(log, on_complete, NULL, NULL));
    start_leader(log);

    uint64_t first = fill(log), kept = state_of(log).committed.pos;
    is_well(log);
    CHECK(unlink(path) == 0);
    resumes(log);
    uint64_t second = fill(log), more = state_of(log).committed.pos;
    is_well(log);
    printf("disk.full.ratio=%s: of %d MiB %d MiB were filled, then %d MiB; %llu and %llu appends\n",
           ratio, (int)mib(room), (int)mib(kept), (int)mib(more), (unsigned long long)first,
           (unsigned long long)second);
    fflush(stdout);
    CHECK(kept > (room - BALLAST) / 2); /* full means full */
    CHECK(more > kept + BALLAST / 2);

    forget(log);
    resumes(log);
    CHECK(fill(log) > 0);
    is_well(log);

    /* Stopped, opened and led full; and it goes on. */
    IS(DL_OK, dl_stop(log, 20000));
    check_all(log);
    dl_close(log);
    log = open_log(cfg);
    IS(DL_OK, dl_on_complete(log, on_complete, NULL, NULL));
    start_leader(log);
    is_well(log);
    fill(log);
    is_well(log);
    forget(log);
    resumes(log);
    fill(log);
    is_well(log);
    IS(DL_OK, dl_stop(log, DL_FOREVER));
    dl_close(log);
    log = open_log(cfg);
    start_leader(log);
    check_all(log);
    dl_close(log);
    dl_config_free(cfg);
    char command[5000];
    snprintf(command, sizeof(command), "rm -r '%s/%s'", directory, name);
    CHECK(system(command) == 0);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    directory = argv[1];
    run("1.00");
    run("0.90");
    return 0;
}
