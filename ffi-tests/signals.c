/*
 * "Library threads block asynchronous signals", and no handler is installed: a signal that is sent to
 * the process is taken by a thread of the program's, also while appends are under way; what a thread
 * causes itself is not blocked; the mask of the thread that starts a log is what it was.
 */
#define _GNU_SOURCE
#include "ports.h"

#include <ctype.h>
#include <dirent.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SIGNALS = 2000 };

static const int ASYNCHRONOUS[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGUSR1,   SIGUSR2,
                                   SIGALRM, SIGCHLD, SIGPIPE, SIGCONT, SIGVTALRM, SIGPROF,
                                   SIGIO,   SIGTSTP, SIGURG,  SIGWINCH};
static const int SYNCHRONOUS[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static pid_t main_thread;
static int taken, elsewhere, appended;

static void on_signal(int number) {
    (void)number;
    __atomic_add_fetch(&taken, 1, __ATOMIC_SEQ_CST);
    if (syscall(SYS_gettid) != main_thread)
        __atomic_add_fetch(&elsewhere, 1, __ATOMIC_SEQ_CST);
}

static void on_append(void *user_data, const dl_completion *completion) {
    (void)user_data;
    CHECK(completion->status == DL_OK);
    __atomic_add_fetch(&appended, 1, __ATOMIC_SEQ_CST);
}

/* A line of /proc/self/task/<id>/status. */
static int field(const char *id, const char *name, char *value, size_t len) {
    char path[64], line[256];
    snprintf(path, sizeof(path), "/proc/self/task/%s/status", id);
    FILE *file = fopen(path, "r");
    int found = 0;
    while (file != NULL && !found && fgets(line, sizeof(line), file) != NULL) {
        size_t n = strlen(name);
        if (strncmp(line, name, n) == 0 && line[n] == ':') {
            line[strcspn(line, "\n")] = '\0';
            snprintf(value, len, "%s", line + n + 2);
            found = 1;
        }
    }
    if (file != NULL)
        fclose(file);
    return found;
}

/* How many threads the library has. Each has its signals blocked as it should. */
static int library_threads(void) {
    struct dirent *entry;
    int seen = 0;
    DIR *dir = opendir("/proc/self/task");
    CHECK(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        char name[64], mask[64];
        if (!isdigit((unsigned char)entry->d_name[0]) ||
            !field(entry->d_name, "Name", name, sizeof(name)) || strncmp(name, "dledger-", 8) != 0 ||
            !field(entry->d_name, "SigBlk", mask, sizeof(mask)))
            continue;
        uint64_t blocked = strtoull(mask, NULL, 16);
        for (size_t n = 0; n < LENGTH(ASYNCHRONOUS); n++)
            if ((blocked >> (ASYNCHRONOUS[n] - 1) & 1) == 0) {
                fprintf(stderr, "%s does not block signal %d\n", name, ASYNCHRONOUS[n]);
                exit(1);
            }
        for (size_t n = 0; n < LENGTH(SYNCHRONOUS); n++)
            CHECK((blocked >> (SYNCHRONOUS[n] - 1) & 1) == 0);
        seen++;
    }
    closedir(dir);
    return seen;
}

typedef void handler(int);

static handler *handler_of(int number) {
    struct sigaction now;
    CHECK(sigaction(number, NULL, &now) == 0);
    return now.sa_handler;
}

static handler *handlers[65];

/* No handler is replaced. A sanitizer has some of its own. */
static void check_handlers(void) {
    for (size_t n = 0; n < LENGTH(ASYNCHRONOUS); n++)
        CHECK(handler_of(ASYNCHRONOUS[n]) == handlers[ASYNCHRONOUS[n]]);
    for (size_t n = 0; n < LENGTH(SYNCHRONOUS); n++)
        CHECK(handler_of(SYNCHRONOUS[n]) == handlers[SYNCHRONOUS[n]]);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    main_thread = (pid_t)syscall(SYS_gettid);
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    for (int number = 1; number < 32; number++)
        handlers[number] = handler_of(number);
    sigset_t before, after;
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &before) == 0);

    /* A group of one that listens: so that it has threads of all kinds. */
    char address[64];
    snprintf(address, sizeof(address), "127.0.0.1:%d", free_port());
    dl_config *cfg = small_config(argv[1], "log");
    IS(DL_OK, dl_config_set(cfg, DL_OPT_LISTEN, address, NULL));
    dl_log *log = open_log(cfg);
    dl_config_free(cfg);
    start_leader(log);
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &after) == 0);
    for (int number = 1; number < 65; number++)
        CHECK(sigismember(&before, number) == sigismember(&after, number));

    for (int n = 0; n < SIGNALS; n++) {
        CHECK(kill(getpid(), SIGUSR1) == 0);
        dl_status status;
        while ((status = dl_append_async(log, "body", 4, NULL, NULL, on_append, NULL)) != DL_OK)
            CHECK(status == DL_E_PENDING_FULL);
    }
    UNTIL(appended, SIGNALS);
    CHECK(taken > 0 && elsewhere == 0);
    int seen = library_threads();
    check_handlers();
    printf("%d signals taken, %d threads of the library\n", taken, seen);
    CHECK(seen >= 4);
    IS(DL_OK, dl_stop(log, DL_FOREVER));
    dl_close(log);
    check_handlers();
    return 0;
}
