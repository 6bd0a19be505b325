/*
 * Three members that prove by certificates who they are (P10, scenario 30): they elect, replicate and answer
 * reads as without. A member without TLS, or with a certificate of another authority, is not let in under
 * the id of one that is, and is let in again with its own. What is wrong with the files is told before
 * anything is sent. The certificates lie in the directory: see tests/c.rs.
 */
#include "ports.h"

#include <unistd.h>

enum { MEMBERS = 3, BODY = 3000 };

static const char *directory;
static int ports[MEMBERS + 1];
static dl_log *members[MEMBERS + 1];

static void set_file(dl_config *cfg, const char *key, const char *name, const char *end) {
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s.%s", directory, name, end);
    set(cfg, key, path);
}

/* Member `id`; `files` names its certificate and key, `ca` its authority, NULL: no TLS. */
static dl_config *config(int id, const char *files, const char *ca) {
    char text[512];
    snprintf(text, sizeof(text), "member-%d", id);
    dl_config *cfg = small_config(directory, text);
    snprintf(text, sizeof(text), "%d", id);
    set(cfg, DL_OPT_NODE_ID, text);
    set(cfg, DL_OPT_GROUP, "a b");
    snprintf(text, sizeof(text), "1@127.0.0.1:%d,2@127.0.0.1:%d,3@127.0.0.1:%d", ports[1], ports[2],
             ports[3]);
    set(cfg, DL_OPT_MEMBERS, text);
    set(cfg, DL_OPT_ELECTION, "400ms");
    set(cfg, DL_OPT_HEARTBEAT, "50ms");
    if (files != NULL) {
        set_file(cfg, DL_OPT_TLS_CERT, files, "cert");
        set_file(cfg, "tls.key", files, "key");
        set_file(cfg, "tls.ca", ca, "ca");
    }
    return cfg;
}

static void start(int id, const char *files, const char *ca) {
    dl_error err;
    dl_config *cfg = config(id, files, ca);
    members[id] = open_log(cfg);
    dl_config_free(cfg);
    dl_status status = dl_start(members[id], &err);
    if (status != DL_OK)
        fprintf(stderr, "dl_start of member %d: %s\n", id, err.message);
    CHECK(status == DL_OK);
}

static void stop(int id) {
    IS(DL_OK, dl_stop(members[id], 20000));
    dl_close(members[id]);
    members[id] = NULL;
}

static int leader(void) {
    for (int id = 1; id <= MEMBERS; id++)
        if (members[id] != NULL && is_leader(members[id]))
            return id;
    return 0;
}

/* Appends on whoever leads. The records before `until` are there then. */
static void append_until(uint64_t until, uint64_t *seed) {
    static uint8_t body[BODY];
    uint64_t index = 0;
    do {
        AWAIT(leader() != 0);
        dl_entry entry;
        size_t len = fill_body(random_of(seed), 0, BODY, body);
        if (dl_append(members[leader()], body, len, NULL, &entry) == DL_OK)
            index = entry.index;
    } while (index + 1 < until);
}

/* What is committed is current on each member but one, and the same. */
static void all_equal(int but) {
    int first = but == 1 ? 2 : 1;
    uint64_t end = 0;
    AWAIT(dl_read_index(members[first], 20000, &end) == DL_OK);
    for (int id = first + 1; id <= MEMBERS; id++) {
        uint64_t index = 0;
        if (id == but)
            continue;
        AWAIT(dl_read_index(members[id], 20000, &index) == DL_OK);
        CHECK(index >= end);
        for (uint64_t at = 0; at < end; at++) {
            dl_view ours = {0}, view = {0};
            IS(DL_OK, dl_read(members[first], at, NULL, &ours));
            IS(DL_OK, dl_read(members[id], at, NULL, &view));
            CHECK(ours.len == view.len && memcmp(ours.data, view.data, view.len) == 0);
            dl_view_release(&ours);
            dl_view_release(&view);
        }
    }
}

struct fault {
    const char *name, *label;
    double count;
};

static void on_metric(void *user_data, const dl_metric *m) {
    struct fault *f = user_data;
    if (strcmp(m->name, f->name) == 0 && strcmp(m->label, f->label) == 0)
        f->count = m->value;
}

static double faults(int id, const char *name, const char *label) {
    struct fault f = {name, label, -1};
    IS(DL_OK, dl_metrics(members[id], on_metric, &f));
    CHECK(f.count >= 0);
    return f.count;
}

/* Who has nothing to show is not let in, neither where it dials nor where it is dialled. */
static void strangers(uint64_t *seed) {
    int known = leader() == 1 ? 2 : 1;
    stop(3);
    start(3, NULL, NULL);
    AWAIT(faults(known, "listener_faults_total", "kind=\"tls.noise\"") > 0);
    AWAIT(faults(3, "listener_faults_total", "kind=\"hello.magic\"") > 0);
    uint64_t end = state_of(members[3]).end.index;
    append_until(400, seed);
    all_equal(3);
    CHECK(state_of(members[3]).leader_id == 0 && state_of(members[3]).end.index == end);
    stop(3);
    start(3, "other", "other");
    AWAIT(faults(known, "connection_faults_total", "kind=\"tls.authority\"") > 0);
    AWAIT(faults(3, "connection_faults_total", "kind=\"tls.authority\"") > 0);
    AWAIT(faults(known, "listener_faults_total", "kind=\"tls.alert\"") > 0);
    append_until(500, seed);
    CHECK(state_of(members[3]).leader_id == 0 && state_of(members[3]).end.index == end);
    stop(3);
    start(3, "3", "one");
    append_until(600, seed);
    all_equal(0);
}

static void refused(dl_config *cfg, const char *expected) {
    dl_error err;
    dl_log *log = open_log(cfg);
    IS(DL_E_CONFIG, dl_start(log, &err));
    if (strstr(err.message, expected) == NULL)
        fprintf(stderr, "%s\n", err.message);
    CHECK(strstr(err.message, expected) != NULL);
    dl_close(log);
    dl_config_free(cfg);
}

static void wrong_files(void) {
    dl_error err;
    dl_log *log = NULL;
    dl_config *cfg = config(1, NULL, NULL);
    set_file(cfg, DL_OPT_TLS_CERT, "1", "cert");
    IS(DL_E_CONFIG, dl_open(cfg, &log, &err));
    CHECK(log == NULL && strstr(err.message, "tls.cert, tls.key and tls.ca must be set together"));
    dl_config_free(cfg);

    refused(config(1, "nowhere", "one"), "No such file");
    refused(config(1, "2", "one"), "the certificate does not name this member, dledger:a%20b/1");
    refused(config(3, "other", "one"), "does not come from the authority in tls.ca");
    cfg = config(1, "1", "one");
    set_file(cfg, "tls.key", "2", "key");
    refused(cfg, "it is not the key of the certificate in tls.cert");

    /* With TLS any address may be listened at; all groups at one address have the same files. */
    char address[64];
    snprintf(address, sizeof(address), "0.0.0.0:%d", ports[1]);
    cfg = config(1, "1", "one");
    set(cfg, DL_OPT_LISTEN, address);
    log = open_log(cfg);
    IS(DL_OK, dl_start(log, &err));
    dl_config *other = config(2, NULL, NULL);
    set(other, DL_OPT_GROUP, "other");
    set(other, DL_OPT_INSECURE, "yes");
    set(other, DL_OPT_LISTEN, address);
    set_file(other, DL_OPT_DIR, "elsewhere", "log");
    refused(other, "they must have the same tls.cert, tls.key and tls.ca, or none");
    dl_close(log);
    dl_config_free(cfg);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    directory = argv[1];
    uint64_t seed = 11;
    for (int id = 1; id <= MEMBERS; id++)
        ports[id] = free_port();
    wrong_files();
    start(1, "1", "one");
    start(2, "2", "one");
    start(3, "3", "one");
    append_until(300, &seed);
    all_equal(0);
    strangers(&seed);
    for (int id = 1; id <= MEMBERS; id++)
        stop(id);
    return 0;
}
