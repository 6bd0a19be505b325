/*
 * Diagnostics. Guards P15 for the one callback that is of the whole process: a function that was
 * replaced runs no more when dl_set_trace returns (scenario 29), and its `drop` comes once. Each level
 * lets through what is of it and of those before, and the call tells which one it is.
 */
#define _GNU_SOURCE
#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

static int alive;    /* a trace function may run */
static int messages; /* that came */
static int drops;
static dl_status inside[2];

static void drop(void *user_data) {
    (void)user_data;
    __atomic_add_fetch(&drops, 1, __ATOMIC_SEQ_CST);
}

static void trace(void *user_data, uint32_t level, const char *target, const char *message,
                  size_t len) {
    CHECK(user_data == &alive && __atomic_load_n(&alive, __ATOMIC_SEQ_CST));
    CHECK(level >= DL_LEVEL_ERROR && level <= DL_LEVEL_TRACE);
    CHECK(strncmp(target, "dledger", 7) == 0 && len > 0 && message[0] != ' ');
    CHECK(memchr(message, 0, len) == NULL);
    __atomic_add_fetch(&messages, 1, __ATOMIC_SEQ_CST);
}

/* It must call nothing, and is told so where it would wait for itself. */
static void calls_back(void *user_data, uint32_t level, const char *target, const char *message,
                       size_t len) {
    dl_log *log = NULL;
    dl_config *cfg = user_data;
    (void)level, (void)target, (void)message, (void)len;
    inside[0] = dl_set_trace(DL_LEVEL_INFO, trace, &alive, drop);
    inside[1] = dl_open(cfg, &log, NULL);
}

/* dl_open says at level debug that it was called, also where it then refuses. */
static void say(void) {
    dl_log *log = NULL;
    dl_config *cfg = dl_config_new(DL_VERSION);
    IS(DL_E_CONFIG, dl_open(cfg, &log, NULL));
    dl_config_free(cfg);
}

static int stop;
static void *talk(void *argument) {
    while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST))
        say();
    return argument;
}

/* ---- Levels --------------------------------------------------------------------------------------- */

/* What a log says that is damaged, in each level one thing. */
static const char *const sayings[] = {
    [DL_LEVEL_ERROR] = "read: damaged at position", /* by the thread that reads */
    [DL_LEVEL_WARN] = "units are missing",          /* in dl_open */
    [DL_LEVEL_INFO] = "Leader in term",             /* by the log's own thread */
    [DL_LEVEL_DEBUG] = "dl_open",
    [DL_LEVEL_TRACE] = "ENTER become_leader", /* by the engine */
};
static int heard[DL_LEVEL_TRACE + 1], of_level[DL_LEVEL_TRACE + 1];

static void hears(void *user_data, uint32_t level, const char *target, const char *message,
                  size_t len) {
    (void)user_data, (void)target;
    CHECK(level >= DL_LEVEL_ERROR && level <= DL_LEVEL_TRACE);
    __atomic_add_fetch(&of_level[level], 1, __ATOMIC_SEQ_CST);
    for (uint32_t at = DL_LEVEL_ERROR; at <= DL_LEVEL_TRACE; at++) {
        if (memmem(message, len, sayings[at], strlen(sayings[at])) == NULL)
            continue;
        CHECK(level == at);
        __atomic_add_fetch(&heard[level], 1, __ATOMIC_SEQ_CST);
    }
}

static void remove_units(const char *dir, const char *name) {
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s/index", dir, name);
    DIR *index = opendir(path);
    CHECK(index != NULL);
    for (struct dirent *unit; (unit = readdir(index)) != NULL;)
        CHECK(unit->d_name[0] == '.' || unlinkat(dirfd(index), unit->d_name, 0) == 0);
    closedir(index);
}

static void damage(const char *dir, const char *name, uint64_t pos) {
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s/data/00000000000000000000", dir, name);
    int file = open(path, O_RDWR);
    CHECK(file >= 0 && pwrite(file, "!", 1, (off_t)pos) == 1 && close(file) == 0);
}

static void says_all(const char *dir, const char *name) {
    char body[100];
    dl_entry entry;
    dl_log *log = small_log(dir, name);
    memset(body, 'x', sizeof(body));
    start_leader(log);
    IS(DL_OK, dl_append(log, body, sizeof(body), NULL, &entry));
    IS(DL_OK, dl_append(log, body, sizeof(body), NULL, NULL));
    IS(DL_OK, dl_stop(log, DL_FOREVER));
    dl_close(log);
    remove_units(dir, name);
    log = small_log(dir, name);
    start_leader(log);
    IS(DL_OK, dl_stop(log, DL_FOREVER));
    dl_close(log);
    damage(dir, name, entry.body_pos + 7);
    log = small_log(dir, name);
    IS(DL_E_CORRUPT, dl_read_copy(log, 0, body, sizeof(body), NULL));
    dl_close(log);
}

static void levels(const char *dir) {
    for (uint32_t threshold = DL_LEVEL_ERROR; threshold <= DL_LEVEL_TRACE; threshold++) {
        char name[16];
        snprintf(name, sizeof(name), "level-%u", threshold);
        memset(heard, 0, sizeof(heard)), memset(of_level, 0, sizeof(of_level));
        IS(DL_OK, dl_set_trace(threshold, hears, NULL, NULL));
        says_all(dir, name);
        IS(DL_OK, dl_set_trace(0, NULL, NULL, NULL));
        for (uint32_t level = DL_LEVEL_ERROR; level <= DL_LEVEL_TRACE; level++) {
            CHECK((heard[level] > 0) == (level <= threshold));
            CHECK((of_level[level] > 0) == (level <= threshold));
        }
    }
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    say(); /* before any function is set */
    alive = 1;
    IS(DL_E_INVALID, dl_set_trace(0, trace, &alive, drop));
    IS(DL_E_INVALID, dl_set_trace(6, trace, &alive, drop));
    CHECK(drops == 2);

    IS(DL_OK, dl_set_trace(DL_LEVEL_TRACE, trace, &alive, drop));
    say();
    CHECK(messages == 1 && drops == 2);
    IS(DL_OK, dl_set_trace(DL_LEVEL_INFO, trace, &alive, drop));
    CHECK(drops == 3);
    say();
    CHECK(messages == 1);
    IS(DL_OK, dl_set_trace(0, NULL, NULL, drop)); /* nothing to keep: at once */
    CHECK(drops == 5);
    say();
    CHECK(messages == 1);

    dl_config *cfg = dl_config_new(DL_VERSION);
    IS(DL_OK, dl_set_trace(DL_LEVEL_DEBUG, calls_back, cfg, NULL));
    say();
    IS(DL_E_DEADLOCK, inside[0]);
    IS(DL_E_DEADLOCK, inside[1]);
    CHECK(drops == 6);
    IS(DL_OK, dl_set_trace(0, NULL, NULL, NULL));
    dl_config_free(cfg);

    /* Two threads talk while functions come and go. */
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, talk, NULL) == 0);
    messages = 0;
    for (int round = 0; round < 2000; round++) {
        __atomic_store_n(&alive, 1, __ATOMIC_SEQ_CST);
        IS(DL_OK, dl_set_trace(DL_LEVEL_DEBUG, trace, &alive, drop));
        IS(DL_OK, dl_set_trace(DL_LEVEL_ERROR, NULL, NULL, NULL));
        __atomic_store_n(&alive, 0, __ATOMIC_SEQ_CST); /* whoever comes now fails a check */
    }
    __atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(drops == 2006);
    levels(argv[1]);
    return 0;
}
