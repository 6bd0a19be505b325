/*
 * "A log does not survive fork()": the child may have logs of its own, and whatever it does with them
 * and with its sockets is nothing to the parent; also while another thread of the parent is inside.
 */
#define _GNU_SOURCE
#include "ports.h"

#include <signal.h>
#include <sys/wait.h>

enum { FORKS = 200 };

static dl_log *log_;
static int over;

static dl_log *listening(const char *dir, const char *name, int port) {
    char address[64];
    dl_config *cfg = small_config(dir, name);
    snprintf(address, sizeof(address), "127.0.0.1:%d", port);
    set(cfg, DL_OPT_LISTEN, address);
    dl_log *log = open_log(cfg);
    dl_config_free(cfg);
    start_leader(log);
    return log;
}

static void knock(int port) {
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0);
    CHECK(write(fd, "knock", 5) == 5);
    sleep_ms(20);
    close(fd);
}

static void ended_well(pid_t child) {
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Both listen, the child at a port of its own. */
static void sockets(const char *dir, int parent_stops) {
    int ports[] = {free_port(), free_port()};
    dl_log *log = listening(dir, parent_stops ? "stopped" : "parent", ports[0]);
    if (parent_stops) {
        IS(DL_OK, dl_stop(log, DL_FOREVER));
        dl_close(log);
    }
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(60);
        dl_log *own = listening(dir, parent_stops ? "child of stopped" : "child", ports[1]);
        for (int n = 0; n < 5; n++)
            knock(ports[1]);
        IS(DL_OK, dl_append(own, "body", 4, NULL, NULL));
        IS(DL_OK, dl_stop(own, DL_FOREVER));
        dl_close(own);
        _exit(0);
    }
    ended_well(child);
    if (!parent_stops) {
        knock(ports[0]);
        IS(DL_OK, dl_append(log, "body", 4, NULL, NULL));
        IS(DL_OK, dl_stop(log, DL_FOREVER));
        dl_close(log);
    }
}

static void on_metric(void *user_data, const dl_metric *metric) {
    (void)user_data, (void)metric;
}

static void *asks(void *unused) {
    (void)unused;
    while (!__atomic_load_n(&over, __ATOMIC_SEQ_CST))
        IS(DL_OK, dl_metrics(log_, on_metric, NULL));
    return NULL;
}

static void on_option(void *user_data, const char *key, const char *type, const char *preset,
                      const char *doc, int live) {
    (void)user_data, (void)key, (void)type, (void)preset, (void)doc, (void)live;
}

/* What another thread of the parent was at is not held for ever in the child. */
static void texts(const char *dir) {
    log_ = small_log(dir, "texts");
    start_leader(log_);
    pthread_t asker;
    CHECK(pthread_create(&asker, NULL, asks, NULL) == 0);
    for (int n = 0; n < FORKS; n++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            alarm(60);
            dl_options(on_option, NULL);
            _exit(0);
        }
        ended_well(child);
    }
    __atomic_store_n(&over, 1, __ATOMIC_SEQ_CST);
    CHECK(pthread_join(asker, NULL) == 0);
    IS(DL_OK, dl_stop(log_, DL_FOREVER));
    dl_close(log_);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    sockets(argv[1], 0);
    sockets(argv[1], 1);
    /* The sanitizer's own allocator may be locked for ever in a child. */
#ifndef __SANITIZE_ADDRESS__
    texts(argv[1]);
#else
    (void)texts;
#endif
    return 0;
}
