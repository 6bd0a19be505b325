/*
 * examples/c/member.c with a disk that can hang: while the file exists that MEMBER_HANGS names, no
 * sync of a data segment returns. Link with -rdynamic: the library calls libc's fdatasync, and finds
 * this one first.
 */
#define _GNU_SOURCE
#include "../examples/c/member.c"

#include <limits.h>
#include <sys/syscall.h>

int fdatasync(int fd) {
    char link[64], path[PATH_MAX];
    const char *hangs = getenv("MEMBER_HANGS");
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof(path) - 1);
    path[len > 0 ? len : 0] = 0;
    if (hangs != NULL && strstr(path, "/data/") != NULL)
        while (access(hangs, F_OK) == 0)
            sleep_ms(1);
    return (int)syscall(SYS_fdatasync, fd);
}
