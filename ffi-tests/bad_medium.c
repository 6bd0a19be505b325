/*
 * Signals: a medium error is DL_E_IO of dl_read_copy(), not a signal. Of the pages of a log none may
 * be touched in place, so none can be; and where `read` fails as well, it says so.
 */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { RECORDS = 9, BODY = 2000 };

static int medium_is_bad;

/* The library reads with libc's pread64, and finds this one first. */
ssize_t pread64(int fd, void *to, size_t len, off64_t at);
ssize_t pread64(int fd, void *to, size_t len, off64_t at) {
    if (__atomic_load_n(&medium_is_bad, __ATOMIC_SEQ_CST)) {
        errno = EIO;
        return -1;
    }
    return (ssize_t)syscall(SYS_pread64, fd, to, len, at);
}

static void on_signal(int number) {
    static const char text[] = "a signal in dl_read_copy\n";
    (void)number;
    _exit(write(STDERR_FILENO, text, sizeof(text) - 1) > 0 ? 3 : 4);
}

/* Forbids, or allows, every page of the mapped files of this directory under `directory`. */
static void protect(const char *directory, int how) {
    char line[8192], *path;
    FILE *maps = fopen("/proc/self/maps", "r");
    int found = 0;
    CHECK(maps != NULL);
    while (fgets(line, sizeof(line), maps) != NULL) {
        uintptr_t from, to;
        if ((path = strchr(line, '/')) == NULL || strstr(path, directory) == NULL)
            continue;
        CHECK(sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &from, &to) == 2);
        CHECK(mprotect((void *)from, to - from, how) == 0);
        found++;
    }
    CHECK(fclose(maps) == 0 && found > 0);
}

int main(int argc, char **argv) {
    char body[BODY], copy[BODY];
    dl_entry entries[RECORDS], out;
    dl_log *log;
    CHECK(argc > 1);
    log = small_log(argv[1], "log");
    start_leader(log);
    for (int i = 0; i < RECORDS; i++) {
        memset(body, 'a' + i, BODY);
        IS(DL_OK, dl_append(log, body, BODY, NULL, &entries[i]));
    }
    signal(SIGSEGV, on_signal);
    signal(SIGBUS, on_signal);
    protect("/log/data/", PROT_NONE);
    protect("/log/index/", PROT_NONE);
    for (int i = 0; i < RECORDS; i++) {
        IS(DL_OK, dl_read_copy(log, (uint64_t)i, copy, BODY, &out));
        memset(body, 'a' + i, BODY);
        CHECK(memcmp(copy, body, BODY) == 0 && out.pos == entries[i].pos);
        IS(DL_E_TOO_LARGE, dl_read_copy(log, (uint64_t)i, copy, BODY - 1, &out));
    }
    __atomic_store_n(&medium_is_bad, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < RECORDS; i++)
        IS(DL_E_IO, dl_read_copy(log, (uint64_t)i, copy, BODY, NULL));
    __atomic_store_n(&medium_is_bad, 0, __ATOMIC_SEQ_CST);
    for (int i = 0; i < RECORDS; i++)
        IS(DL_OK, dl_read_copy(log, (uint64_t)i, copy, BODY, NULL));
    protect("/log/data/", PROT_READ);
    protect("/log/index/", PROT_READ);
    dl_close(log);
    return 0;
}
