/*
 * A process without a descriptor left: what needs one is DL_E_RESOURCE, and an open log outlives it.
 * It goes on with what it has, refuses what would need more, and takes appends again later.
 */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

enum { MOST = 256, BODY = 900000 };

static char body[BODY];
static int taken[MOST], count;

/* Takes every descriptor that there is. */
static void take(void) {
    while (count < MOST && (taken[count] = open("/dev/null", O_RDONLY)) >= 0)
        count++;
    CHECK(count < MOST && errno == EMFILE);
}

/* Gives back so many. */
static void give(int many) {
    while (many-- > 0 && count > 0)
        CHECK(close(taken[--count]) == 0);
}

/* An open for which there are not enough says so, whatever it lacked one for. */
static void opens(const char *directory) {
    dl_config *cfg = small_config(directory, "opens");
    dl_log *log = NULL;
    dl_error err;
    dl_status status;
    int refused = 0;
    take();
    while ((status = dl_open(cfg, &log, &err)) != DL_OK) {
        CHECK(log == NULL);
        IS(DL_E_RESOURCE, status);
        CHECK(err.status == DL_E_RESOURCE && err.sys_errno == EMFILE && err.message[0] != 0);
        CHECK(count > 0);
        give(1);
        refused++;
    }
    CHECK(refused > 3);
    give(MOST);
    start_leader(log);
    IS(DL_OK, dl_append(log, "x", 1, NULL, NULL));
    IS(DL_OK, dl_stop(log, DL_FOREVER));
    dl_close(log);
    dl_config_free(cfg);
}

/* Rolls, through what was made ahead and to its end; the index files are used up as well. */
static void rolls(const char *directory, int large) {
    dl_config *cfg = small_config(directory, large ? "data" : "index");
    dl_log *log;
    dl_error err;
    dl_status status;
    dl_entry last = {0}, entry;
    dl_view view;
    uint64_t taken_now = 0;
    set(cfg, "index.segment.bytes", "64KiB");
    log = open_log(cfg);
    dl_config_free(cfg);
    start_leader(log);
    IS(DL_OK, dl_append(log, "x", 1, NULL, &last));
    take();
    while ((status = dl_append(log, body, large ? BODY : 1, NULL, &entry)) == DL_OK) {
        CHECK(taken_now++ < 100000);
        last = entry;
    }
    IS(DL_E_PENDING_FULL, status); /* nothing was appended, and it may be tried again */
    CHECK(taken_now > (large ? 3 : 100));
    IS(DL_OK, dl_failure(log, &err));
    IS(DL_OK, dl_flush(log, 20000));
    IS(DL_OK, dl_read(log, last.index, NULL, &view));
    dl_view_release(&view);
    give(MOST);
    for (int i = 0; i < 5; i++)
        IS_SOON(DL_OK, dl_append(log, body, large ? BODY : 1, NULL, &entry));
    CHECK(entry.index == last.index + 5);
    IS(DL_OK, dl_failure(log, &err));
    IS(DL_OK, dl_stop(log, DL_FOREVER));
    dl_close(log);
}

int main(int argc, char **argv) {
    struct rlimit limit;
    CHECK(argc > 1);
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = MOST - 8;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    opens(argv[1]);
    rolls(argv[1], 1);
    rolls(argv[1], 0);
    return 0;
}
