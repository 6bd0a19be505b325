/*
 * A disk that hangs or fails, for programs linked with -rdynamic: the library calls libc's
 * fdatasync, and finds this one first. Only data segments are touched, unless another part is named.
 */
#ifndef FAULTS_H
#define FAULTS_H

#include "check.h"

#include <errno.h>
#include <limits.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { HEALTHY = 0, HANGS = -1 }; /* or an errno, with which each sync fails */

static int disk_is = HEALTHY;
/* What the path of a file that is touched has in it. Set while the disk is healthy. */
static const char *faulty = "/data/";
static int syncs_hanging, syncs_failed;

int fdatasync(int fd);
int fdatasync(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof(path) - 1);
    path[len > 0 ? len : 0] = 0;
    if (strstr(path, faulty) != NULL) {
        __atomic_add_fetch(&syncs_hanging, 1, __ATOMIC_SEQ_CST);
        while (__atomic_load_n(&disk_is, __ATOMIC_SEQ_CST) == HANGS)
            sleep_ms(1);
        __atomic_sub_fetch(&syncs_hanging, 1, __ATOMIC_SEQ_CST);
        int error = __atomic_load_n(&disk_is, __ATOMIC_SEQ_CST);
        if (error != HEALTHY) {
            __atomic_add_fetch(&syncs_failed, 1, __ATOMIC_SEQ_CST);
            errno = error;
            return -1;
        }
    }
    return (int)syscall(SYS_fdatasync, fd);
}

static inline void set_disk(int what) { __atomic_store_n(&disk_is, what, __ATOMIC_SEQ_CST); }

#endif
