/*
 * P15: a system that has no more threads. dl_start says so, the log has failed and says why, no
 * callback runs, and dl_stop and dl_close do not wait for threads that never came.
 */
#define _GNU_SOURCE
#include "check.h"

#include <dlfcn.h>
#include <errno.h>

typedef int create_fn(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

/* So many threads may come yet; -1: any number. */
static int allowed = -1;
static int threads, drops;

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *of) {
    static create_fn *real;
    if (allowed == 0)
        return EAGAIN;
    allowed -= allowed > 0;
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    return real(thread, attr, run, of);
}

static void on_event(void *user_data, uint32_t what, const dl_state *now) {
    (void)user_data, (void)what, (void)now;
    CHECK(!"an event of a log that never ran");
}

static void on_thread(void *user_data, int starts, int callbacks) {
    (void)user_data, (void)callbacks;
    __atomic_add_fetch(&threads, starts ? 1 : -1, __ATOMIC_SEQ_CST);
}

static void on_drop(void *user_data) {
    (void)user_data;
    drops++;
}

static void denied(const char *dir, const char *callbacks, int threads_allowed) {
    dl_config *cfg = small_config(dir, "log");
    IS(DL_OK, dl_config_set(cfg, "callbacks", callbacks, NULL));
    dl_log *log = open_log(cfg);
    drops = 0;
    IS(DL_OK, dl_on_event(log, on_event, NULL, on_drop));
    IS(DL_OK, dl_on_thread(log, on_thread, NULL, on_drop));
    dl_error error;
    allowed = threads_allowed;
    IS(DL_E_RESOURCE, dl_start(log, &error));
    allowed = -1;
    CHECK(error.status == DL_E_RESOURCE && error.sys_errno == EAGAIN);
    CHECK(strstr(error.message, "a thread") != NULL);
    CHECK(threads == 0);
    IS(DL_E_RESOURCE, dl_failure(log, &error));
    CHECK(error.status == DL_E_RESOURCE && error.sys_errno == EAGAIN);
    IS(DL_E_FAILED, dl_start(log, NULL));
    dl_entry entry;
    IS(DL_E_FAILED, dl_append(log, "a", 1, NULL, &entry));
    IS(DL_E_FAILED, dl_stop(log, DL_FOREVER));
    dl_close(log);
    CHECK(drops == 2);

    /* With threads again the directory opens as ever. */
    log = open_log(cfg);
    dl_config_free(cfg);
    IS(DL_OK, dl_start(log, &error));
    IS(DL_OK, dl_stop(log, DL_FOREVER));
    dl_close(log);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    denied(argv[1], "thread", 0);
    denied(argv[1], "thread", 1);
    denied(argv[1], "poll", 0);
    return 0;
}
