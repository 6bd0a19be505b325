/*
 * One member of a group as a process, with a line protocol: commands come on stdin, answers and
 * events go to stdout.
 *
 *     member dir=PATH node.id=1 members=1@127.0.0.1:7001,2@127.0.0.1:7002,3@127.0.0.1:7003
 *
 * Each argument sets an option of the library (README, "Options"). One more is this program's own:
 * groups=N opens the groups g1 to gN, in sub-directories of `dir` with these names, which share the
 * listen address. When all have started it prints
 *
 *     ready node=1 groups=1 pid=4711
 *
 * A command is one line and begins with a tag, any word, that its answer begins with too: many can
 * be in flight, and each is answered by one line, `TAG ok ...` or `TAG DL_E_... ...`. With several
 * groups, @K behind the tag means group gK; without it g1.
 *
 *     TAG append TEXT            ok index= pos= term=   or   DL_E_... maybe=0|1 [index=]
 *     TAG fill COUNT BYTES       so many appends of that size, as many at once as the log takes
 *     TAG read INDEX             ok index= pos= term= len= body=TEXT
 *     TAG readindex MS           ok index=      (the linearizable read barrier)
 *     TAG state                  ok role= ready= node= leader= term= begin= committed= ...
 *     TAG members                ok 1@ADDRESS,voter,match=INDEX,contact=MS 2@...
 *     TAG transfer NODE MS       to node 0: to the best voter
 *     TAG change add|move NODE ADDRESS MS
 *     TAG change promote|demote|remove NODE MS
 *     TAG flush
 *     TAG prefix INDEX           forgets whole segments before it
 *     TAG failure                ok failure=none   or   ok failure=DL_E_... errno= message=
 *     TAG quit                   ok, and the process ends with 0. So does the end of stdin
 *
 * Events: `event role=leader term=3 leader=1 ready=1`, `event begin=INDEX`, `event members`,
 * `event failed DL_E_... message=TEXT`; with several groups ` group=gK` follows `event`.
 *
 * TEXT is the rest of the line, spaces included. A body with other bytes than printable ones is
 * written as hex:00ff..., also where it is read.
 */
#define _XOPEN_SOURCE 700

#include "dledger.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { GROUPS_MAX = 1024, STOP_MS = 5000 };

struct group {
    dl_log *log;
    int number;        /* 1 .. */
    pthread_t polling; /* with callbacks=poll */
};

/* A command, until it is answered. The strings lie in `line`. */
struct command {
    struct group *group;
    const char *tag, *verb;
    char *rest;
    char line[];
};

static struct group *groups;
static int group_count = 1;
static int polls; /* callbacks=poll was asked for */

/* Commands that have a thread of their own: the logs are closed when there are none. */
static struct {
    pthread_mutex_t mutex;
    pthread_cond_t none;
    int count;
} working = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};

/* ---- Output: whole lines, one at a time ---------------------------------------------------- */

static pthread_mutex_t output = PTHREAD_MUTEX_INITIALIZER;

static const char hex_digits[] = "0123456789abcdef";

/* Bytes of a body as text: itself, or as hex. */
static void put_body(const uint8_t *body, size_t len) {
    int plain = len < 4 || memcmp(body, "hex:", 4) != 0;
    for (size_t i = 0; i < len; i++)
        plain &= body[i] >= 0x20 && body[i] != 0x7f;
    if (plain) {
        fwrite(body, 1, len, stdout);
        return;
    }
    fputs("hex:", stdout);
    for (size_t i = 0; i < len; i++) {
        putchar(hex_digits[body[i] >> 4]);
        putchar(hex_digits[body[i] & 15]);
    }
}

static void begin_answer(const struct command *command, const char *status) {
    pthread_mutex_lock(&output);
    printf("%s %s", command->tag, status);
}

static void end_line(void) {
    putchar('\n');
    fflush(stdout);
    pthread_mutex_unlock(&output);
}

static const char *name_of(dl_status status) {
    return status == DL_OK ? "ok" : dl_status_name(status);
}

/* Answers a command; what follows the status is printed as by printf. */
__attribute__((format(printf, 3, 4))) static void
answer(const struct command *command, dl_status status, const char *format, ...) {
    va_list arguments;
    begin_answer(command, name_of(status));
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    end_line();
}

/* Answers with the status alone, and with what the call said about it. */
static void answer_status(const struct command *command, dl_status status, const dl_error *err) {
    if (status == DL_OK || err == NULL)
        answer(command, status, "%s", "");
    else
        answer(command, status, " message=%s", err->message);
}

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...) {
    va_list arguments;
    fprintf(stderr, "member: ");
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\n");
    _Exit(1);
}

static void *need(void *memory) {
    if (memory == NULL)
        fail("out of memory");
    return memory;
}

/* ---- Events -------------------------------------------------------------------------------- */

static const char *role_name(uint32_t role) {
    static const char *const names[] = {"stopped", "follower", "candidate", "leader", "learner"};
    return role < sizeof(names) / sizeof(*names) ? names[role] : "unknown";
}

__attribute__((format(printf, 2, 3))) static void event(const struct group *group,
                                                        const char *format, ...) {
    va_list arguments;
    pthread_mutex_lock(&output);
    fputs("event ", stdout);
    if (group_count > 1)
        printf("group=g%d ", group->number);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    end_line();
}

static void on_event(void *user_data, uint32_t what, const dl_state *now) {
    const struct group *group = user_data;
    if (what & DL_EVENT_ROLE)
        event(group, "role=%s term=%" PRIu64 " leader=%" PRIu64 " ready=%" PRIu32,
              role_name(now->role), now->term, now->leader_id, now->ready);
    if (what & DL_EVENT_BEGIN)
        event(group, "begin=%" PRIu64, now->begin.index);
    if (what & DL_EVENT_MEMBERS)
        event(group, "members");
    if (what & DL_EVENT_FAILED) {
        dl_error err = {0};
        dl_status status = dl_failure(group->log, &err);
        event(group, "failed %s message=%s", dl_status_name(status), err.message);
    }
}

/* With callbacks=poll: they run here. */
static void *polling(void *log) {
    while (dl_poll(log, DL_FOREVER, 0) >= 0)
        continue;
    return NULL;
}

/* ---- Words of a command -------------------------------------------------------------------- */

/* Cuts the next word off; NULL if there is none. What is left begins behind one space. */
static char *word(char **rest) {
    char *begin = *rest, *end;
    if (begin == NULL || *begin == 0)
        return NULL;
    end = strchr(begin, ' ');
    *rest = end == NULL ? NULL : end + 1;
    if (end != NULL)
        *end = 0;
    return *begin == 0 ? NULL : begin;
}

/* The next word as a number up to `most`. 1 if there is one. */
static int number(char **rest, uint64_t most, uint64_t *out) {
    char *end, *text = word(rest);
    if (text == NULL || *text < '0' || *text > '9')
        return 0;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return errno == 0 && *end == 0 && *out <= most;
}

static int hex_value(char c) {
    if (c >= 'A' && c <= 'F')
        c = (char)(c - 'A' + 'a');
    const char *at = c == 0 ? NULL : strchr(hex_digits, c);
    return at == NULL ? -1 : (int)(at - hex_digits);
}

/* Turns hex:... into its bytes, in place. The length, or -1 if it is not hexadecimal. */
static long body_of(char *text) {
    size_t len = strlen(text);
    if (strncmp(text, "hex:", 4) != 0)
        return (long)len;
    if (len % 2 != 0)
        return -1;
    for (size_t i = 4; i < len; i += 2) {
        int high = hex_value(text[i]), low = hex_value(text[i + 1]);
        if (high < 0 || low < 0)
            return -1;
        text[(i - 4) / 2] = (char)(high << 4 | low);
    }
    return (long)(len - 4) / 2;
}

/* ---- Commands that do not wait -------------------------------------------------------------- */

static void wrong(const struct command *command) {
    answer(command, DL_E_INVALID, " message=see the head of member.c for what %s takes",
           command->verb);
}

static void on_appended(void *user_data, const dl_completion *c) {
    struct command *command = user_data;
    if (c->status == DL_OK)
        answer(command, DL_OK, " index=%" PRIu64 " pos=%" PRIu64 " term=%" PRIu64, c->index,
               c->pos, c->term);
    else
        answer(command, c->status, " maybe=%d index=%" PRIu64,
               dl_status_is(c->status, DL_IS_MAYBE_COMMITTED), c->index);
    free(command);
}

/* 1 if the answer comes later; then the command is not the caller's any more. */
static int append(struct command *command) {
    char *text = command->rest != NULL ? command->rest : command->line + strlen(command->line);
    long len = body_of(text);
    if (len < 0) {
        answer(command, DL_E_INVALID, " maybe=0 message=not hexadecimal");
        return 0;
    }
    dl_status status = dl_append_async(command->group->log, text, (size_t)len, NULL, NULL,
                                       on_appended, command);
    if (status == DL_OK)
        return 1;
    /* What is refused at once was not appended. */
    answer(command, status, " maybe=0");
    return 0;
}

static void on_index(void *user_data, dl_status status, uint64_t index) {
    struct command *command = user_data;
    if (status == DL_OK)
        answer(command, status, " index=%" PRIu64, index);
    else
        answer_status(command, status, NULL);
    free(command);
}

static int read_index(struct command *command) {
    uint64_t ms;
    if (!number(&command->rest, UINT32_MAX, &ms))
        return wrong(command), 0;
    dl_status status = dl_read_index_async(command->group->log, (uint32_t)ms, on_index, command);
    if (status == DL_OK)
        return 1;
    answer_status(command, status, NULL);
    return 0;
}

static void read_one(struct command *command) {
    uint64_t index;
    dl_view view;
    dl_read_opts opts = DL_READ_OPTS_INIT;
    opts.flags = DL_READ_VERIFY;
    if (!number(&command->rest, UINT64_MAX, &index))
        return wrong(command);
    dl_status status = dl_read(command->group->log, index, &opts, &view);
    if (status != DL_OK)
        return answer_status(command, status, NULL);
    const dl_entry *e = &view.entries[0];
    begin_answer(command, "ok");
    printf(" index=%" PRIu64 " pos=%" PRIu64 " term=%" PRIu64 " len=%" PRIu32 " body=", e->index,
           e->pos, e->term, e->body_len);
    put_body(e->body, e->body_len);
    end_line();
    dl_view_release(&view);
}

static void state(struct command *command) {
    dl_state s = DL_STATE_INIT;
    dl_status status = dl_get_state(command->group->log, &s);
    if (status != DL_OK)
        return answer_status(command, status, NULL);
    answer(command, status,
           " role=%s ready=%" PRIu32 " node=%" PRIu64 " leader=%" PRIu64 " term=%" PRIu64
           " begin=%" PRIu64 " begin_pos=%" PRIu64 " committed=%" PRIu64 " committed_pos=%" PRIu64
           " flushed=%" PRIu64 " end=%" PRIu64 " end_pos=%" PRIu64,
           role_name(s.role), s.ready, s.node_id, s.leader_id, s.term, s.begin.index, s.begin.pos,
           s.committed.index, s.committed.pos, s.flushed.index, s.end.index, s.end.pos);
}

/* Called in dl_members(), while the answer is being written. */
static void put_member(void *user_data, const dl_member *m) {
    (void)user_data;
    printf(" %" PRIu64 "@%s,%s,match=%" PRIu64 ",contact=", m->node_id,
           m->address != NULL ? m->address : "", m->voter ? "voter" : "learner", m->match_index);
    if (m->contact_ms == UINT64_MAX)
        fputs("never", stdout);
    else
        printf("%" PRIu64, m->contact_ms);
}

static void members(struct command *command) {
    begin_answer(command, "ok");
    dl_status status = dl_members(command->group->log, put_member, NULL);
    if (status != DL_OK)
        printf(" %s", dl_status_name(status));
    end_line();
}

static void prefix(struct command *command) {
    uint64_t index;
    dl_error err;
    if (!number(&command->rest, UINT64_MAX, &index))
        return wrong(command);
    answer_status(command, dl_delete_prefix(command->group->log, index, &err), &err);
}

static void failure(struct command *command) {
    dl_error err = {0};
    dl_status status = dl_failure(command->group->log, &err);
    if (status == DL_OK)
        answer(command, DL_OK, " failure=none");
    else
        answer(command, DL_OK, " failure=%s errno=%" PRId32 " message=%s", dl_status_name(status),
               err.sys_errno, err.message);
}

/* ---- Commands that wait: each on a thread of its own ------------------------------------------ */

struct filling {
    pthread_mutex_t mutex;
    pthread_cond_t ended_all;
    uint64_t in_flight, committed, not_appended, unknown;
    dl_status first; /* the first that was not DL_OK */
};

static void count_end(struct filling *filling, dl_status status) {
    if (status == DL_OK)
        filling->committed++;
    else if (dl_status_is(status, DL_IS_MAYBE_COMMITTED))
        filling->unknown++;
    else
        filling->not_appended++;
    if (filling->first == DL_OK)
        filling->first = status;
}

static void on_filled(void *user_data, const dl_completion *c) {
    struct filling *filling = user_data;
    pthread_mutex_lock(&filling->mutex);
    count_end(filling, c->status);
    if (--filling->in_flight == 0)
        pthread_cond_signal(&filling->ended_all);
    pthread_mutex_unlock(&filling->mutex);
}

static void sleep_ms(long ms) {
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static double seconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* The window is the log's own: while it is full, the next append waits. It ends at the first that
 * is refused for another reason. */
static void fill(struct command *command) {
    struct filling filling = {.mutex = PTHREAD_MUTEX_INITIALIZER,
                              .ended_all = PTHREAD_COND_INITIALIZER};
    uint64_t count, bytes;
    dl_status status = DL_OK;
    if (!number(&command->rest, UINT64_MAX, &count) || !number(&command->rest, 1 << 30, &bytes))
        return wrong(command);
    uint8_t *body = need(malloc(bytes + 1));
    memset(body, 'x', bytes);
    double begin = seconds();
    for (uint64_t i = 0; i < count && status == DL_OK; i++) {
        pthread_mutex_lock(&filling.mutex);
        filling.in_flight++;
        pthread_mutex_unlock(&filling.mutex);
        while ((status = dl_append_async(command->group->log, body, bytes, NULL, NULL, on_filled,
                                         &filling)) == DL_E_PENDING_FULL)
            sleep_ms(1);
        if (status != DL_OK) {
            pthread_mutex_lock(&filling.mutex);
            filling.in_flight--;
            count_end(&filling, status);
            pthread_mutex_unlock(&filling.mutex);
        }
    }
    pthread_mutex_lock(&filling.mutex);
    while (filling.in_flight > 0)
        pthread_cond_wait(&filling.ended_all, &filling.mutex);
    pthread_mutex_unlock(&filling.mutex);
    free(body);
    answer(command, filling.first,
           " committed=%" PRIu64 " refused=%" PRIu64 " unknown=%" PRIu64 " seconds=%.6f",
           filling.committed, filling.not_appended, filling.unknown, seconds() - begin);
}

static void flush(struct command *command) {
    answer_status(command, dl_flush(command->group->log, DL_FOREVER), NULL);
}

static void transfer(struct command *command) {
    uint64_t node, ms;
    dl_error err;
    if (!number(&command->rest, UINT64_MAX, &node) || !number(&command->rest, UINT32_MAX, &ms))
        return wrong(command);
    dl_status status = dl_transfer_leader(command->group->log, node, (uint32_t)ms, &err);
    answer_status(command, status, &err);
}

static void change(struct command *command) {
    static const struct {
        const char *name;
        uint32_t op;
        int address;
    } ops[] = {
        {"add", DL_MEMBER_ADD_LEARNER, 1}, {"promote", DL_MEMBER_PROMOTE, 0},
        {"demote", DL_MEMBER_DEMOTE, 0},   {"remove", DL_MEMBER_REMOVE, 0},
        {"move", DL_MEMBER_MOVE, 1},
    };
    dl_change change = {0};
    uint64_t ms;
    dl_error err;
    int address = 0;
    const char *name = word(&command->rest);
    for (size_t i = 0; name != NULL && i < sizeof(ops) / sizeof(*ops); i++)
        if (strcmp(name, ops[i].name) == 0) {
            change.op = ops[i].op;
            address = ops[i].address;
        }
    if (change.op == 0 || !number(&command->rest, UINT64_MAX, &change.node_id))
        return wrong(command);
    if (address && (change.address = word(&command->rest)) == NULL)
        return wrong(command);
    if (!number(&command->rest, UINT32_MAX, &ms))
        return wrong(command);
    dl_status status = dl_change_members(command->group->log, &change, 1, (uint32_t)ms, &err);
    answer_status(command, status, &err);
}

/* ---- Dispatch -------------------------------------------------------------------------------- */

static const struct {
    const char *verb;
    void (*run)(struct command *);
    int waits;
} verbs[] = {
    {"read", read_one, 0}, {"state", state, 0},     {"members", members, 0}, {"prefix", prefix, 0},
    {"fill", fill, 1},     {"flush", flush, 1},     {"failure", failure, 0}, {"change", change, 1},
    {"transfer", transfer, 1},
};

struct job {
    void (*run)(struct command *);
    struct command *command;
};

static void *work(void *user_data) {
    struct job *job = user_data;
    job->run(job->command);
    free(job->command);
    free(job);
    pthread_mutex_lock(&working.mutex);
    if (--working.count == 0)
        pthread_cond_signal(&working.none);
    pthread_mutex_unlock(&working.mutex);
    return NULL;
}

static void run_beside(void (*run)(struct command *), struct command *command) {
    pthread_t id;
    struct job *job = need(malloc(sizeof(*job)));
    *job = (struct job){run, command};
    pthread_mutex_lock(&working.mutex);
    working.count++;
    pthread_mutex_unlock(&working.mutex);
    if (pthread_create(&id, NULL, work, job) != 0)
        fail("no more threads");
    pthread_detach(id);
}

/* Runs one line; the command is freed when it is answered. Answers the command if it is the last. */
static struct command *run_line(const char *line, size_t len) {
    struct command *command = need(calloc(1, sizeof(*command) + len + 1));
    memcpy(command->line, line, len);
    char *rest = command->line;
    command->group = &groups[0];
    command->tag = word(&rest);
    if (command->tag == NULL) {
        free(command); /* an empty line has nobody to answer to */
        return NULL;
    }
    if (rest != NULL && *rest == '@') {
        int which = atoi(word(&rest) + 1);
        if (which < 1 || which > group_count) {
            answer(command, DL_E_INVALID, " message=no such group");
            free(command);
            return NULL;
        }
        command->group = &groups[which - 1];
    }
    command->verb = word(&rest);
    command->rest = rest;
    if (command->verb == NULL) {
        command->verb = "a line";
    } else if (strcmp(command->verb, "quit") == 0) {
        return command;
    } else if (strcmp(command->verb, "append") == 0) {
        if (!append(command))
            free(command);
        return NULL;
    } else if (strcmp(command->verb, "readindex") == 0) {
        if (!read_index(command))
            free(command);
        return NULL;
    }
    for (size_t i = 0; i < sizeof(verbs) / sizeof(*verbs); i++)
        if (strcmp(command->verb, verbs[i].verb) == 0) {
            if (verbs[i].waits)
                return run_beside(verbs[i].run, command), NULL;
            verbs[i].run(command);
            free(command);
            return NULL;
        }
    answer(command, DL_E_INVALID, " message=no such command: %s", command->verb);
    free(command);
    return NULL;
}

/* ---- The program ------------------------------------------------------------------------------ */

static void set(dl_config *cfg, const char *key, const char *value) {
    dl_error err;
    if (dl_config_set(cfg, key, value, &err) != DL_OK)
        fail("%s", err.message);
}

/* Options to `cfg`, this program's own aside. The directory, or NULL. */
static const char *configure(dl_config *cfg, char **arguments, int count) {
    const char *dir = NULL;
    for (int i = 0; i < count; i++) {
        char *value = strchr(arguments[i], '=');
        if (value == NULL)
            fail("%s is not key=value", arguments[i]);
        *value++ = 0;
        if (strcmp(arguments[i], "groups") == 0) {
            group_count = atoi(value);
            if (group_count < 1 || group_count > GROUPS_MAX)
                fail("groups = %s: 1 to %d", value, GROUPS_MAX);
            continue;
        }
        set(cfg, arguments[i], value);
        if (strcmp(arguments[i], DL_OPT_DIR) == 0)
            dir = value;
        if (strcmp(arguments[i], DL_OPT_CALLBACKS) == 0)
            polls = strcmp(value, "poll") == 0;
    }
    return dir;
}

/* The group's name and its directory, where there are several. */
static void name_group(dl_config *cfg, const char *dir, int number) {
    char name[16], path[4096];
    if (dir == NULL)
        fail("dir must be set");
    if (mkdir(dir, 0777) != 0 && errno != EEXIST)
        fail("%s: %s", dir, strerror(errno));
    snprintf(name, sizeof(name), "g%d", number);
    if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
        fail("%s is too long", dir);
    set(cfg, DL_OPT_GROUP, name);
    set(cfg, DL_OPT_DIR, path);
}

static void start_group(const dl_config *cfg, struct group *group) {
    dl_error err;
    if (dl_open(cfg, &group->log, &err) != DL_OK)
        fail("dl_open: %s: %s", dl_status_name(err.status), err.message);
    dl_status status = dl_on_event(group->log, on_event, group, NULL);
    if (status != DL_OK)
        fail("dl_on_event: %s", dl_status_name(status));
    if (dl_start(group->log, &err) != DL_OK)
        fail("dl_start: %s: %s", dl_status_name(err.status), err.message);
    if (polls && pthread_create(&group->polling, NULL, polling, group->log) != 0)
        fail("no thread to poll on");
}

/* Stops all groups; the first status that is not DL_OK. */
static dl_status stop_groups(void) {
    dl_status first = DL_OK;
    for (int i = 0; i < group_count; i++) {
        dl_status status = dl_stop(groups[i].log, STOP_MS);
        if (polls)
            pthread_join(groups[i].polling, NULL);
        if (first == DL_OK)
            first = status;
    }
    /* Every wait has ended with its log, so these threads are about to end. */
    pthread_mutex_lock(&working.mutex);
    while (working.count > 0)
        pthread_cond_wait(&working.none, &working.mutex);
    pthread_mutex_unlock(&working.mutex);
    for (int i = 0; i < group_count; i++)
        dl_close(groups[i].log);
    return first;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: %s key=value ...\n", argv[0]);
        return 2;
    }
    /* Who reads our answers may go; the end of stdin says so too. */
    signal(SIGPIPE, SIG_IGN);
    dl_config *cfg = dl_config_new(DL_VERSION);
    if (cfg == NULL)
        fail("this program was compiled for a newer library than %s", dl_version_string());
    const char *dir = configure(cfg, argv + 1, argc - 1);
    groups = need(calloc((size_t)group_count, sizeof(*groups)));
    for (int i = 0; i < group_count; i++) {
        groups[i].number = i + 1;
        if (group_count > 1)
            name_group(cfg, dir, i + 1);
        start_group(cfg, &groups[i]);
    }
    dl_config_free(cfg);
    dl_state now = DL_STATE_INIT;
    if (dl_get_state(groups[0].log, &now) != DL_OK)
        fail("dl_get_state failed");
    pthread_mutex_lock(&output);
    printf("ready node=%" PRIu64 " groups=%d pid=%ld", now.node_id, group_count, (long)getpid());
    end_line();

    char *line = NULL;
    size_t room = 0;
    ssize_t len;
    struct command *last = NULL;
    while (last == NULL && (len = getline(&line, &room, stdin)) >= 0)
        last = run_line(line, (size_t)len - (len > 0 && line[len - 1] == '\n'));
    free(line);
    dl_status status = stop_groups();
    if (last != NULL)
        answer_status(last, status, NULL);
    free(last);
    free(groups);
    return 0;
}
