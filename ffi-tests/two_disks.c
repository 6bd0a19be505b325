/*
 * P8: `data` and `spare` may be links to another disk than that of `dir`, and disk.full.ratio counts
 * that one. On two disks they are refused, before anything is written: segments are made in one and
 * renamed into the other. The small disk is what the directory names; around it is a large one.
 */
#include "check.h"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static char large[4096], small[4096];

static void make(const char *disk, const char *name) {
    char path[5000];
    snprintf(path, sizeof(path), "%s/%s", disk, name);
    CHECK(mkdir(path, 0700) == 0);
}

/* Has `log`/`dir` on one disk lead to the other. */
static void lead(const char *from, const char *log, const char *dir, const char *to) {
    char path[5000], name[64], target[5000];
    snprintf(path, sizeof(path), "%s/%s/%s", from, log, dir);
    snprintf(name, sizeof(name), "%s-%s", log, dir);
    snprintf(target, sizeof(target), "%s/%s", to, name);
    make(to, name);
    CHECK(symlink(target, path) == 0);
}

static dl_config *config(const char *disk, const char *log) {
    dl_config *cfg = small_config(disk, log);
    set(cfg, "index.segment.bytes", "64KiB");
    return cfg;
}

static dl_status append(dl_log *log) {
    static const char body[60000];
    return dl_append(log, body, sizeof(body), NULL, NULL);
}

static dl_log *lead_log(const char *disk, const char *name) {
    dl_config *cfg = config(disk, name);
    dl_log *log = open_log(cfg);
    dl_config_free(cfg);
    start_leader(log);
    IS_SOON(DL_OK, append(log));
    return log;
}

int main(int argc, char **argv) {
    char path[5000];
    dl_error err;
    dl_log *log = NULL;
    CHECK(argc == 2);
    snprintf(small, sizeof(small), "%s", argv[1]);
    snprintf(large, sizeof(large), "%s/..", argv[1]);

    /* On two disks: refused, and nothing is written. */
    make(large, "parted");
    lead(large, "parted", "data", small);
    dl_config *cfg = config(large, "parted");
    IS(DL_E_CONFIG, dl_open(cfg, &log, &err));
    printf("refused: %s\n", err.message);
    CHECK(log == NULL && strstr(err.message, "renamed into data") != NULL);
    snprintf(path, sizeof(path), "%s/parted/meta", large);
    CHECK(access(path, F_OK) != 0);
    /* The remedy that the message names. */
    snprintf(path, sizeof(path), "%s/parted/spare", large);
    CHECK(rmdir(path) == 0);
    lead(large, "parted", "spare", small);
    dl_close(lead_log(large, "parted"));
    /* The same of a log that has been: its spares are gone since. */
    CHECK(unlink(path) == 0 && mkdir(path, 0700) == 0);
    IS(DL_E_CONFIG, dl_open(cfg, &log, &err));
    dl_config_free(cfg);
    snprintf(path, sizeof(path), "rm -r '%s'/parted-*", small);
    CHECK(system(path) == 0);

    /* The segments of the one are on the disk that gets full, the rest of the other. */
    make(small, "within");
    lead(small, "within", "data", large);
    lead(small, "within", "spare", large);
    dl_log *within = lead_log(small, "within");
    make(large, "beside");
    lead(large, "beside", "data", small);
    lead(large, "beside", "spare", small);
    dl_log *beside = lead_log(large, "beside");
    AWAIT(append(beside) == DL_E_DISK_FULL);
    /* By its ratio, before a write meets the end of the disk. */
    struct statvfs disk;
    CHECK(statvfs(small, &disk) == 0);
    CHECK(disk.f_bavail * 10 >= disk.f_blocks);
    /* The room is looked at once a second. */
    for (uint64_t begin = now_ms(); now_ms() - begin < 3000; sleep_ms(10)) {
        IS_SOON(DL_OK, append(within));
        IS(DL_E_DISK_FULL, append(beside));
    }
    dl_close(beside);
    dl_close(within);
    return 0;
}
