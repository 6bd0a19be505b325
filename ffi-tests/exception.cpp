// P15, scenario 17: a C++ exception that leaves a callback ends the process, and the last line on
// stderr says which callback it was. Each case runs in a child, which must die by SIGABRT.
#include "check.h"

#include <stdexcept>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

std::string directory;

[[noreturn]] void fail() { throw std::runtime_error("thrown by a callback"); }

void drop(void *) { fail(); }
void complete(void *, const dl_completion *, size_t) { fail(); }
void event(void *, uint32_t, const dl_state *) { fail(); }
void trace(void *, uint32_t, const char *, const char *, size_t) { fail(); }
void thread(void *, int, int) { fail(); }
void append(void *, const dl_completion *) { fail(); }
dl_status hook(void *, const dl_entry *, uint8_t *) { fail(); }
void index_read(void *, dl_status, uint64_t) { fail(); }
void member(void *, const dl_member *) { fail(); }
void metric(void *, const dl_metric *) { fail(); }
void option(void *, const char *, const char *, const char *, const char *, int) { fail(); }

dl_log *opened(const char *name) { return small_log(directory.c_str(), name); }

dl_log *leading(const char *name) {
    dl_log *log = opened(name);
    start_leader(log);
    return log;
}

// What a case does ends inside it; the pause is for the library's own threads.
void pause_for_threads() { sleep_ms(20000); }

void in_drop() { (void)dl_on_complete(nullptr, complete, nullptr, drop); }
void in_option() { dl_options(option, nullptr); }
void in_trace() {
    (void)dl_set_trace(DL_LEVEL_TRACE, trace, nullptr, nullptr);
    dl_log *log = nullptr;
    dl_config *cfg = dl_config_new(DL_VERSION);
    (void)!dl_open(cfg, &log, nullptr);
}
void in_complete() {
    dl_log *log = opened("complete");
    IS(DL_OK, dl_on_complete(log, complete, nullptr, nullptr));
    start_leader(log);
    IS(DL_OK, dl_append_async(log, "x", 1, nullptr, nullptr, nullptr, nullptr));
    pause_for_threads();
}
void in_event() {
    dl_log *log = opened("event");
    IS(DL_OK, dl_on_event(log, event, nullptr, nullptr));
    IS(DL_OK, dl_start(log, nullptr));
    pause_for_threads();
}
void in_thread() {
    dl_log *log = opened("thread");
    IS(DL_OK, dl_on_thread(log, thread, nullptr, nullptr));
    IS(DL_OK, dl_start(log, nullptr));
    pause_for_threads();
}
void in_append() {
    dl_log *log = leading("append");
    IS(DL_OK, dl_append_async(log, "x", 1, nullptr, nullptr, append, nullptr));
    pause_for_threads();
}
void in_hook() {
    dl_log *log = opened("hook");
    IS(DL_OK, dl_register_append_hook(log, hook, nullptr, nullptr, nullptr));
    start_leader(log);
    (void)!dl_append(log, "x", 1, nullptr, nullptr);
}
void in_index() {
    IS(DL_OK, dl_read_index_async(leading("index"), 5000, index_read, nullptr));
    pause_for_threads();
}
void in_member() { (void)dl_members(leading("member"), member, nullptr); }
void in_metric() { (void)dl_metrics(leading("metric"), metric, nullptr); }
void in_close() {
    dl_log *log = opened("close");
    IS(DL_OK, dl_on_event(log, event, nullptr, drop));
    dl_close(log);
}

// Runs one case in a child; what it wrote to stderr must end with the message.
void dies(const char *name, void (*run)()) {
    int pipe_ends[2];
    CHECK(pipe(pipe_ends) == 0);
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        const rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        dup2(pipe_ends[1], STDERR_FILENO);
        close(pipe_ends[0]);
        close(pipe_ends[1]);
        run();
        _exit(0);
    }
    close(pipe_ends[1]);
    std::string text;
    char buffer[512];
    ssize_t got;
    while ((got = read(pipe_ends[0], buffer, sizeof buffer)) > 0)
        text.append(buffer, static_cast<size_t>(got));
    close(pipe_ends[0]);
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);

    const std::string message =
        std::string("dledger: an exception left the callback ") + name + "; aborting\n";
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT ||
        text.find(message) == std::string::npos) {
        fprintf(stderr, "%s: wait status %#x, stderr:\n%s\n", name, status, text.c_str());
        exit(1);
    }
}

} // namespace

int main(int argc, char **argv) {
    CHECK(argc == 2);
    directory = argv[1];
    dies("dl_drop_fn", in_drop);
    dies("dl_option_fn", in_option);
    dies("dl_trace_fn", in_trace);
    dies("dl_complete_fn", in_complete);
    dies("dl_event_fn", in_event);
    dies("dl_thread_fn", in_thread);
    dies("dl_append_fn", in_append);
    dies("dl_append_hook", in_hook);
    dies("dl_index_fn", in_index);
    dies("dl_member_fn", in_member);
    dies("dl_metric_fn", in_metric);
    dies("dl_drop_fn", in_close);
    return 0;
}
