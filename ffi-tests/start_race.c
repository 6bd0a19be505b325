/*
 * P15, scenario 29: dl_start against dl_stop. Whichever comes first, after dl_stop no callback runs,
 * each thread that came has gone, and dl_close gives back what was registered. The creation of a
 * thread takes its time here, as on a machine that is busy. With callbacks=poll, too.
 */
#define _GNU_SOURCE
#include "check.h"

#include <dlfcn.h>

enum { ROUNDS = 40 };

typedef int create_fn(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

static dl_log *log_;
static int stopped, late, threads, drops;
static dl_status start_status;

static void *start(void *wait_us) {
    dl_error error;
    struct timespec time = {0, (long)(intptr_t)wait_us * 1000};
    nanosleep(&time, NULL);
    start_status = dl_start(log_, &error);
    return NULL;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *of) {
    static create_fn *real;
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    int made = real(thread, attr, run, of);
    if (run != start)
        sleep_ms(20);
    return made;
}

static void on_event(void *user_data, uint32_t what, const dl_state *now) {
    (void)user_data, (void)what, (void)now;
    late += __atomic_load_n(&stopped, __ATOMIC_SEQ_CST);
}

static void on_thread(void *user_data, int starts, int callbacks) {
    (void)user_data, (void)callbacks;
    late += __atomic_load_n(&stopped, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&threads, starts ? 1 : -1, __ATOMIC_SEQ_CST);
}

static void on_drop(void *user_data) {
    (void)user_data;
    drops++;
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    int started = 0;
    for (int round = 0; round < ROUNDS; round++) {
        char name[32];
        snprintf(name, sizeof(name), "log-%d", round);
        dl_config *cfg = small_config(argv[1], name);
        IS(DL_OK, dl_config_set(cfg, "callbacks", round % 2 == 0 ? "thread" : "poll", NULL));
        log_ = open_log(cfg);
        dl_config_free(cfg);
        stopped = drops = 0;
        IS(DL_OK, dl_on_event(log_, on_event, NULL, on_drop));
        IS(DL_OK, dl_on_thread(log_, on_thread, NULL, on_drop));
        pthread_t starter;
        CHECK(pthread_create(&starter, NULL, start, (void *)(intptr_t)(round % 8 * 50)) == 0);
        sleep_ms(round / 8 * 10);
        IS(DL_OK, dl_stop(log_, DL_FOREVER));
        __atomic_store_n(&stopped, 1, __ATOMIC_SEQ_CST);
        CHECK(threads == 0);
        CHECK(pthread_join(starter, NULL) == 0);
        if (start_status != DL_OK)
            IS(DL_E_STOPPED, start_status);
        started += start_status == DL_OK;
        dl_close(log_);
        CHECK(late == 0 && threads == 0 && drops == 2);
    }
    printf("%d of %d starts came first\n", started, ROUNDS);
    CHECK(started > 0 && started < ROUNDS);
    return 0;
}
