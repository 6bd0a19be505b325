/*
 * A demonstration of a group: three members, each a process of member.c, agree on every line of a
 * file while their leader is killed in the middle.
 *
 *     cluster FILE DIRECTORY [MEMBER]
 *
 * MEMBER is the program of a member; without it the one beside this program. The directory must not be there, or is one
 * that an earlier run left; the members' logs stay in it.
 * Whatever goes wrong ends the program with 1 and a reason.
 *
 * What to look at as a writer of clients: append_once(). An append whose outcome is unknown may be in
 * the log, so it is looked for there before it is tried again.
 */
#define _XOPEN_SOURCE 700

#include <arpa/inet.h>
#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <libgen.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MEMBERS = 3, PATIENCE_MS = 30000, SEGMENT_KIB = 64 };

/* A member's process, and what it wrote that was not read yet. */
struct member {
    pid_t pid; /* 0: it does not run */
    int to, from;
    int port;
    char *text; /* bytes read, `used` of them */
    size_t used, room;
};

static struct member members[MEMBERS + 1]; /* [0] is not used: members count from 1 */
static char program[4096];                 /* of a member */
static const char *directory;

/* ---- Ways to end --------------------------------------------------------------------------- */

static void kill_all(void) {
    for (int id = 1; id <= MEMBERS; id++)
        if (members[id].pid > 0)
            kill(members[id].pid, SIGKILL);
}

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...) {
    va_list arguments;
    fflush(stdout);
    fprintf(stderr, "cluster: ");
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\n");
    kill_all();
    _Exit(1);
}

static void *grown(void *memory, size_t bytes) {
    memory = realloc(memory, bytes);
    if (memory == NULL)
        fail("out of memory");
    return memory;
}

static int64_t now_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static void pause_ms(long ms) {
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

/* ---- Members as processes -------------------------------------------------------------------- */

/* The next line of a member, without its end: borrowed until the next call. NULL: it is gone, or
 * says nothing for `ms`. */
static char *next_line(struct member *m, int64_t ms) {
    static char *line;
    int64_t until = now_ms() + ms;
    for (;;) {
        char *end = m->used > 0 ? memchr(m->text, '\n', m->used) : NULL;
        if (end != NULL) {
            size_t len = (size_t)(end - m->text);
            line = grown(line, len + 1);
            memcpy(line, m->text, len);
            line[len] = 0;
            m->used -= len + 1;
            memmove(m->text, end + 1, m->used);
            return line;
        }
        struct pollfd fd = {m->from, POLLIN, 0};
        int64_t left = until - now_ms();
        if (left <= 0)
            return NULL;
        if (poll(&fd, 1, (int)left) < 1)
            continue;
        if (m->used + 4096 > m->room)
            m->text = grown(m->text, m->room = m->room * 2 + 8192);
        ssize_t got = read(m->from, m->text + m->used, m->room - m->used);
        if (got == 0 || (got < 0 && errno != EINTR))
            return NULL;
        m->used += got > 0 ? (size_t)got : 0;
    }
}

/* Sends a command. What a dead member is sent is lost, which its missing answer tells. */
static void send_line(struct member *m, const char *line) {
    size_t len = strlen(line);
    for (size_t sent = 0; sent < len;) {
        ssize_t n = write(m->to, line + sent, len - sent);
        if (n < 0 && errno != EINTR)
            return;
        sent += n > 0 ? (size_t)n : 0;
    }
}

/* Asks one thing, and waits for the answer: what follows the tag, borrowed. NULL: the member is gone.
 * The events in between are not needed here. */
__attribute__((format(printf, 2, 3))) static char *ask(int id, const char *format, ...) {
    static uint64_t last_tag;
    static char *line;
    struct member *m = &members[id];
    va_list arguments, again;
    char tag[32], *answer;
    if (m->pid == 0)
        return NULL;
    int head = snprintf(tag, sizeof(tag), "%" PRIu64 " ", ++last_tag);
    va_start(arguments, format);
    va_copy(again, arguments);
    int len = vsnprintf(NULL, 0, format, arguments);
    line = grown(line, (size_t)(head + len) + 2);
    memcpy(line, tag, (size_t)head);
    vsnprintf(line + head, (size_t)len + 1, format, again);
    va_end(arguments);
    va_end(again);
    memcpy(line + head + len, "\n", 2);
    send_line(m, line);
    while ((answer = next_line(m, PATIENCE_MS)) != NULL)
        if (strncmp(answer, tag, (size_t)head) == 0)
            return answer + head;
    return NULL;
}

/* The number behind ` name=` in an answer; `missing` if it is not there. */
static uint64_t number_in(const char *answer, const char *name, uint64_t missing) {
    char key[32];
    snprintf(key, sizeof(key), " %s=", name);
    const char *at = strstr(answer, key);
    return at != NULL ? strtoull(at + strlen(key), NULL, 10) : missing;
}

static int is_ok(const char *answer) {
    return answer != NULL && strncmp(answer, "ok", 2) == 0 && (answer[2] == ' ' || answer[2] == 0);
}

static void start(int id) {
    struct member *m = &members[id];
    int to[2], from[2];
    char dir[4200], node[32], list[200], segment[40], *ready;
    /* The rest are the library's options (README, "Options"). */
    snprintf(dir, sizeof(dir), "dir=%s/member-%d", directory, id);
    snprintf(node, sizeof(node), "node.id=%d", id);
    snprintf(list, sizeof(list), "members=1@127.0.0.1:%d,2@127.0.0.1:%d,3@127.0.0.1:%d",
             members[1].port, members[2].port, members[3].port);
    snprintf(segment, sizeof(segment), "segment.bytes=%dKiB", SEGMENT_KIB);
    if (pipe(to) != 0 || pipe(from) != 0)
        fail("pipe: %s", strerror(errno));
    m->pid = fork();
    if (m->pid < 0)
        fail("fork: %s", strerror(errno));
    if (m->pid == 0) {
        dup2(to[0], 0);
        dup2(from[1], 1);
        /* The other members' pipes must end when we do. */
        for (int fd = 3; fd < 64; fd++)
            close(fd);
        execl(program, program, dir, node, list, segment, (char *)NULL);
        fprintf(stderr, "cluster: %s: %s\n", program, strerror(errno));
        _Exit(127);
    }
    close(to[0]);
    close(from[1]);
    m->to = to[1];
    m->from = from[0];
    m->used = 0;
    do {
        ready = next_line(m, PATIENCE_MS);
        if (ready == NULL)
            fail("member %d does not start", id);
    } while (strncmp(ready, "ready ", 6) != 0);
}

/* Reaps a member that ends. How it ended, as of wait(2). */
static int reap(int id) {
    struct member *m = &members[id];
    int status;
    close(m->to);
    close(m->from);
    if (waitpid(m->pid, &status, 0) != m->pid)
        fail("waitpid: %s", strerror(errno));
    m->pid = 0;
    return status;
}

static void kill9(int id) {
    kill(members[id].pid, SIGKILL);
    reap(id);
}

static void stop(int id) {
    char *answer = ask(id, "quit");
    if (!is_ok(answer))
        fail("member %d does not stop: %s", id, answer != NULL ? answer : "no answer");
    int status = reap(id);
    if (status != 0)
        fail("member %d ended with %d", id, status);
}

/* ---- The group as its client sees it ----------------------------------------------------------- */

/* Waits for a leader whose term has a committed entry. */
static int wait_leader(void) {
    for (int64_t until = now_ms() + PATIENCE_MS; now_ms() < until; pause_ms(5))
        for (int id = 1; id <= MEMBERS; id++) {
            char *answer = ask(id, "state");
            if (is_ok(answer) && number_in(answer, "ready", 0) == 1)
                return id;
        }
    fail("nobody leads within %d s", PATIENCE_MS / 1000);
}

/* A line as a body. The number makes equal lines distinct: only so can a line be looked for. */
static char *body_of(size_t number, const char *line) {
    static char *body;
    body = grown(body, strlen(line) + 32);
    sprintf(body, "%zu: %s", number, line);
    return body;
}

/* Looks for a body in the log, from an index on. Its index, or UINT64_MAX if it is not there and never
 * will be without being appended again.
 *
 * "Not committed" alone would not be final: an append that timed out may be about to commit. So:
 * what the leader's log has (`end`) until it is committed, and then a look at all of it. The barrier
 * asks a majority, and the leader must lead in the same term before and behind it: then no leader of
 * a later term has the entry either, as it has all that this one had committed. */
static uint64_t find(int *leader, uint64_t from, const char *body) {
    for (int64_t until = now_ms() + PATIENCE_MS; now_ms() < until; *leader = wait_leader()) {
        char *answer = ask(*leader, "state");
        if (!is_ok(answer) || number_in(answer, "ready", 0) == 0)
            continue; /* deposed just now, or gone */
        uint64_t term = number_in(answer, "term", 0), end = number_in(answer, "end", 0);
        answer = ask(*leader, "readindex 5000");
        if (!is_ok(answer) || number_in(answer, "index", 0) < end)
            continue;
        answer = ask(*leader, "state");
        if (!is_ok(answer) || number_in(answer, "ready", 0) == 0 ||
            number_in(answer, "term", 0) != term)
            continue;
        for (uint64_t index = from; is_ok(answer) && index < end; index++) {
            answer = ask(*leader, "read %" PRIu64, index);
            char *found = is_ok(answer) ? strstr(answer, " body=") : NULL;
            if (found != NULL && strcmp(found + 6, body) == 0)
                return index;
        }
        if (is_ok(answer))
            return UINT64_MAX;
    }
    fail("the log cannot be read");
}

/* Appends a body so that it is in the log exactly once, whatever happens on the way. `from` is an
 * index that it cannot lie before. Its index. */
static uint64_t append_once(int *leader, uint64_t from, const char *body) {
    for (int64_t until = now_ms() + PATIENCE_MS; now_ms() < until;) {
        char *answer = ask(*leader, "append %s", body);
        if (is_ok(answer))
            return number_in(answer, "index", UINT64_MAX);
        /* "maybe=0": it is not in the log and never will be. Anything else, and no answer at all,
         * leaves that open. */
        int maybe = answer == NULL || number_in(answer, "maybe", 1) != 0;
        *leader = wait_leader();
        if (maybe) {
            uint64_t index = find(leader, from, body);
            if (index != UINT64_MAX)
                return index;
        }
    }
    fail("an append does not end: %s", body);
}

/* Waits until all members have committed so many records. The committed position. */
static uint64_t wait_committed(uint64_t count) {
    uint64_t position = 0;
    int64_t until = now_ms() + PATIENCE_MS;
    for (int id = 1; id <= MEMBERS;) {
        char *answer = ask(id, "state");
        if (!is_ok(answer))
            fail("member %d is gone", id);
        uint64_t committed = number_in(answer, "committed", 0);
        position = number_in(answer, "committed_pos", 0);
        if (committed > count)
            fail("member %d has %" PRIu64 " records for %" PRIu64 " lines", id, committed, count);
        if (committed == count)
            id++;
        else if (now_ms() > until)
            fail("member %d has %" PRIu64 " of %" PRIu64 " records", id, committed, count);
        else
            pause_ms(5);
    }
    return position;
}

/* ---- Files --------------------------------------------------------------------------------------- */

/* The lines of a file. */
static char **read_lines(const char *path, size_t *count) {
    char **lines = NULL, *line = NULL;
    size_t room = 0;
    ssize_t len;
    FILE *file = fopen(path, "r");
    if (file == NULL)
        fail("%s: %s", path, strerror(errno));
    for (*count = 0; (len = getline(&line, &room, file)) >= 0; (*count)++) {
        line[strcspn(line, "\r\n")] = 0;
        lines = grown(lines, (*count + 1) * sizeof(*lines));
        lines[*count] = line;
        line = NULL;
        room = 0;
    }
    free(line);
    fclose(file);
    if (*count < 2)
        fail("%s has no lines to stop between", path);
    return lines;
}

/* Opens the data file of a member that begins at a position: it is named by that. */
static FILE *segment(int id, uint64_t position) {
    char path[4300];
    snprintf(path, sizeof(path), "%s/member-%d/data/%020" PRIu64, directory, id, position);
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail("%s: %s", path, strerror(errno));
    return file;
}

/* The data files of all members have the same bytes up to a position. */
static void compare(uint64_t end) {
    for (uint64_t begin = 0; begin < end; begin += SEGMENT_KIB << 10) {
        FILE *files[MEMBERS + 1];
        for (int id = 1; id <= MEMBERS; id++)
            files[id] = segment(id, begin);
        for (uint64_t at = begin; at < end && at < begin + (SEGMENT_KIB << 10); at++) {
            int byte = getc(files[1]);
            for (int id = 2; id <= MEMBERS; id++)
                if (getc(files[id]) != byte || byte == EOF)
                    fail("members 1 and %d differ at position %" PRIu64, id, at);
        }
        for (int id = 1; id <= MEMBERS; id++)
            fclose(files[id]);
    }
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *walk) {
    (void)info, (void)type, (void)walk;
    return remove(path);
}

/* Removes what an earlier run left, and nothing else. */
static void make_directory(void) {
    char path[4200];
    if (mkdir(directory, 0777) != 0 && errno != EEXIST)
        fail("%s: %s", directory, strerror(errno));
    for (int id = 1; id <= MEMBERS; id++) {
        snprintf(path, sizeof(path), "%s/member-%d", directory, id);
        if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT)
            fail("%s: %s", path, strerror(errno));
    }
}

/* Ports that are free now, and that the system gives to nobody by itself: a member that is killed
 * finds its own again. */
static void choose_ports(void) {
    int port = 20000 + (int)(getpid() % 8000), found = 0;
    for (int tries = 0; found < MEMBERS && tries < 1000; tries++, port++) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (fd < 0)
            fail("socket: %s", strerror(errno));
        if (bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
            members[++found].port = port;
        close(fd);
    }
    if (found < MEMBERS)
        fail("no free ports");
}

/* ---- The program ---------------------------------------------------------------------------------- */

int main(int argc, char **argv) {
    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: %s FILE DIRECTORY [MEMBER]\n", argv[0]);
        return 2;
    }
    size_t count, done = 0;
    char **lines = read_lines(argv[1], &count), *own = strdup(argv[0]);
    directory = argv[2];
    if (own == NULL)
        fail("out of memory");
    if (argc == 4)
        snprintf(program, sizeof(program), "%s", argv[3]);
    else
        snprintf(program, sizeof(program), "%s/member", dirname(own));
    signal(SIGPIPE, SIG_IGN);
    make_directory();
    choose_ports();

    for (int id = 1; id <= MEMBERS; id++)
        start(id);
    printf("started   members 1, 2 and 3, processes %ld, %ld and %ld, logs in %s\n",
           (long)members[1].pid, (long)members[2].pid, (long)members[3].pid, directory);
    int leader = wait_leader();
    uint64_t from = 0;
    printf("elected   member %d leads in term %" PRIu64 "\n", leader,
           number_in(ask(leader, "state"), "term", 0));

    for (; done < count / 2; done++)
        from = append_once(&leader, from, body_of(done + 1, lines[done])) + 1;
    printf("appended  %zu lines of %s: each is on the disks of a majority\n", done, argv[1]);

    /* In the middle of an append: the answer never comes. */
    int killed = leader;
    char *body = body_of(done + 1, lines[done]);
    send_line(&members[killed], "0 append ");
    send_line(&members[killed], body);
    send_line(&members[killed], "\n");
    int64_t begin = now_ms();
    kill9(killed);
    printf("killed    the leader, member %d, with kill -9 while it appends line %zu\n", killed,
           done + 1);
    leader = wait_leader();
    printf("elected   member %d leads in term %" PRIu64 ", %" PRId64 " ms later\n", leader,
           number_in(ask(leader, "state"), "term", 0), now_ms() - begin);
    uint64_t there = find(&leader, from, body);
    printf("looked    for line %zu, whose outcome nobody knew: it is %s\n", done + 1,
           there == UINT64_MAX ? "not in the log, and is appended again" : "in the log already");
    if (there != UINT64_MAX) {
        done++;
        from = there + 1;
    }

    for (; done < count; done++)
        from = append_once(&leader, from, body_of(done + 1, lines[done])) + 1;
    printf("appended  the other lines: two members of three are a majority\n");
    start(killed);
    uint64_t position = wait_committed(count);
    printf("returned  member %d, and caught up: all three have committed %zu records, one per line\n",
           killed, count);
    for (size_t i = 0; i < count; i++) {
        char *answer = ask(killed, "read %zu", i);
        char *read = is_ok(answer) ? strstr(answer, " body=") : NULL;
        if (read == NULL || strcmp(read + 6, body_of(i + 1, lines[i])) != 0)
            fail("record %zu on member %d is not line %zu", i, killed, i + 1);
    }
    printf("read      every line on member %d, each once and in its place\n", killed);
    for (int id = 1; id <= MEMBERS; id++)
        stop(id);
    compare(position);
    printf("compared  the three logs: %" PRIu64 " bytes, equal\n", position);
    printf("All checks passed.\n");
    for (size_t i = 0; i < count; i++)
        free(lines[i]);
    for (int id = 1; id <= MEMBERS; id++)
        free(members[id].text);
    free(lines);
    free(own);
    return 0;
}
