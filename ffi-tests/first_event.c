/*
 * The first event has every bit but FAILED, and the state that is told goes forward only; also where
 * the polling thread is held up, at each of the moments at which it looks at the clock, until the
 * group thread has led, committed and told.
 */
#define _GNU_SOURCE
#include "check.h"

#include <dlfcn.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BEFORE = 5, MOMENTS = 12 };

typedef int clock_fn(clockid_t, struct timespec *);

static dl_log *log_;
static int group_may_run, is_polling, looks, held_at, events;
static pthread_t poller;
static __thread int nested;
static dl_state last;

int clock_gettime(clockid_t id, struct timespec *time) {
    static clock_fn *real;
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    int answer = real(id, time);
    if (is_polling && !nested && pthread_equal(pthread_self(), poller)) {
        nested = 1;
        if (++looks == held_at) {
            __atomic_store_n(&group_may_run, 1, __ATOMIC_SEQ_CST);
            AWAIT(is_leader(log_) && state_of(log_).committed.index == BEFORE);
            sleep_ms(5);
        }
        nested = 0;
    }
    return answer;
}

static void on_thread(void *user_data, int starts, int callbacks) {
    (void)user_data, (void)callbacks;
    if (starts)
        UNTIL(group_may_run, 1);
}

static void on_event(void *user_data, uint32_t what, const dl_state *now) {
    (void)user_data;
    if (events++ == 0)
        CHECK(what == (DL_EVENT_ROLE | DL_EVENT_COMMIT | DL_EVENT_BEGIN | DL_EVENT_MEMBERS));
    CHECK(now->term >= last.term && now->committed.index >= last.committed.index);
    CHECK(now->flushed.index >= last.flushed.index && now->end.index >= last.end.index);
    CHECK(now->flushed.index <= now->end.index && now->committed.index <= now->end.index);
    last = *now;
}

static void on_index(void *user_data, dl_status status, uint64_t index) {
    (void)user_data, (void)index;
    CHECK(status == DL_OK || status == DL_E_STOPPED);
}

static dl_config *config(const char *dir, int moment) {
    char name[32];
    snprintf(name, sizeof(name), "log-%d", moment);
    dl_config *cfg = small_config(dir, name);
    set(cfg, "checkpoint.interval", "1m");
    return cfg;
}

/* A life that is killed: what it committed is above the bound that the next one begins with. */
static void live_and_die(const char *dir, int moment) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        dl_log *log = open_log(config(dir, moment));
        start_leader(log);
        for (int n = 0; n < BEFORE; n++)
            IS(DL_OK, dl_append(log, "body", 4, NULL, NULL));
        kill(getpid(), SIGKILL);
    }
    CHECK(waitpid(child, NULL, 0) == child);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    for (int moment = 0; moment < MOMENTS; moment++) {
        live_and_die(argv[1], moment);
        dl_config *cfg = config(argv[1], moment);
        set(cfg, DL_OPT_CALLBACKS, "poll");
        log_ = open_log(cfg);
        dl_config_free(cfg);
        group_may_run = looks = events = 0;
        held_at = moment + 1;
        memset(&last, 0, sizeof(last));
        IS(DL_OK, dl_on_thread(log_, on_thread, NULL, NULL));
        IS(DL_OK, dl_on_event(log_, on_event, NULL, NULL));
        IS(DL_OK, dl_start(log_, NULL));
        IS(DL_OK, dl_read_index_async(log_, 60000, on_index, NULL));
        poller = pthread_self();
        is_polling = 1;
        CHECK(dl_poll(log_, 0, 0) >= 0);
        is_polling = 0;
        __atomic_store_n(&group_may_run, 1, __ATOMIC_SEQ_CST);
        while (dl_poll(log_, 100, 0) > 0 || !is_leader(log_))
            ;
        CHECK(events > 1);
        IS(DL_OK, dl_stop(log_, DL_FOREVER));
        dl_close(log_);
    }
    return 0;
}
