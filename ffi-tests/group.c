/*
 * Three members in one process, over TCP: they elect, replicate, answer reads on each, hand over and fail
 * over. Positions, terms and bytes are the same on all; hooks run on the leader only; each append ends; a
 * member that was away catches up; a fourth joins, gets a vote, takes over, and goes; one that lost its
 * disk is not let in (P11, scenario 6). Where the
 * library listens is a decision: an address that is open to the network is refused with the option's
 * name.
 */
#include "ports.h"

#include <inttypes.h>
#include <unistd.h>

enum { MEMBERS = 3, ALL = 4, BODY_MAX = 3000 };

static const char *directory;
static int ports[ALL + 1];

/* What one member told, in one life. */
struct told {
    int hooks, ends, bad, roles, members_events, failed;
    uint64_t term;
};
static struct told told[ALL + 1];

static void on_event(void *user_data, uint32_t what, const dl_state *now) {
    struct told *t = user_data;
    CHECK(now->term >= t->term);
    t->term = now->term;
    CHECK(now->begin.index <= now->committed.index && now->committed.index <= now->end.index);
    if (what & DL_EVENT_ROLE)
        __atomic_add_fetch(&t->roles, 1, __ATOMIC_SEQ_CST);
    if (what & DL_EVENT_MEMBERS)
        __atomic_add_fetch(&t->members_events, 1, __ATOMIC_SEQ_CST);
    if (what & DL_EVENT_FAILED)
        __atomic_add_fetch(&t->failed, 1, __ATOMIC_SEQ_CST);
}

static dl_status hook(void *user_data, const dl_entry *entry, uint8_t *body) {
    struct told *t = user_data;
    if (entry->body_len >= 8)
        memcpy(body, &entry->index, 8);
    __atomic_add_fetch(&t->hooks, 1, __ATOMIC_SEQ_CST);
    return DL_OK;
}

static void on_append(void *user_data, const dl_completion *c) {
    struct told *t = user_data;
    if (c->status != DL_OK)
        __atomic_add_fetch(&t->bad, 1, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&t->ends, 1, __ATOMIC_SEQ_CST);
}

static dl_config *config(int id, const char *name) {
    char text[512];
    dl_config *cfg = small_config(directory, name);
    snprintf(text, sizeof(text), "%d", id);
    set(cfg, DL_OPT_NODE_ID, text);
    snprintf(text, sizeof(text), "1@127.0.0.1:%d,2@127.0.0.1:%d,3@127.0.0.1:%d", ports[1], ports[2],
             ports[3]);
    set(cfg, DL_OPT_MEMBERS, text);
    set(cfg, DL_OPT_ELECTION, "400ms");
    set(cfg, DL_OPT_HEARTBEAT, "50ms");
    set(cfg, DL_OPT_SEGMENT_BYTES, "64KiB");
    set(cfg, "index.segment.bytes", "64KiB");
    return cfg;
}

static dl_log *start(int id, const char *name) {
    char address[64];
    dl_error err;
    dl_config *cfg = config(id, name);
    snprintf(address, sizeof(address), "127.0.0.1:%d", ports[id]);
    set(cfg, DL_OPT_LISTEN, address);
    dl_log *log = open_log(cfg);
    dl_config_free(cfg);
    memset(&told[id], 0, sizeof(told[id]));
    IS(DL_OK, dl_on_event(log, on_event, &told[id], NULL));
    IS(DL_OK, dl_register_append_hook(log, hook, &told[id], NULL, NULL));
    dl_status status = dl_start(log, &err);
    if (status != DL_OK)
        fprintf(stderr, "dl_start of member %d: %s\n", id, err.message);
    CHECK(status == DL_OK);
    return log;
}

/* The leader among those that are open; 0 if there is none that is ready. */
static int leader_of(dl_log **log) {
    for (int id = 1; id <= ALL; id++)
        if (log[id] != NULL && is_leader(log[id]))
            return id;
    return 0;
}

static int wait_for_leader(dl_log **log) {
    AWAIT(leader_of(log) != 0);
    return leader_of(log);
}

static void append_many(dl_log *log, struct told *t, int many, uint64_t *seed) {
    static uint8_t body[BODY_MAX];
    int before = __atomic_load_n(&t->ends, __ATOMIC_SEQ_CST);
    for (int n = 0; n < many; n++) {
        size_t len = fill_body(random_of(seed), 0, BODY_MAX, body);
        IS_SOON(DL_OK, dl_append_async(log, body, len, NULL, NULL, on_append, t));
    }
    UNTIL(t->ends, before + many);
    CHECK(t->bad == 0);
}

static void all_committed(dl_log **log, uint64_t index) {
    for (int id = 1; id <= ALL; id++)
        AWAIT(log[id] == NULL || state_of(log[id]).committed.index >= index);
}

/* Entries and bytes are the same on all members that are open. */
static void all_equal(dl_log **log, uint64_t index) {
    dl_read_opts opts = DL_READ_OPTS_INIT;
    opts.flags = DL_READ_VERIFY;
    for (uint64_t at = 0; at < index; at++) {
        dl_view first = {0};
        for (int id = 1; id <= ALL; id++) {
            dl_view view = {0};
            if (log[id] == NULL)
                continue;
            IS(DL_OK, dl_read(log[id], at, &opts, &view));
            CHECK(view.count == 1);
            if (first.entries == NULL) {
                first = view;
                continue;
            }
            const dl_entry *a = first.entries, *b = view.entries;
            CHECK(a->index == b->index && a->term == b->term && a->pos == b->pos);
            CHECK(first.len == view.len && memcmp(first.data, view.data, view.len) == 0);
            if (a->body_len >= 8)
                CHECK(memcmp(b->body, &at, 8) == 0);
            dl_view_release(&view);
        }
        dl_view_release(&first);
    }
}

static void on_member(void *user_data, const dl_member *m) {
    int *seen = user_data;
    CHECK(m->voter <= 1 && m->node_id >= 1 && m->node_id <= ALL);
    CHECK(strncmp(m->address, "127.0.0.1:", 10) == 0);
    seen[0]++;
    seen[m->node_id] = (int)m->match_index;
    CHECK(m->contact_ms < 20000);
}

/* How far the others are only the leader knows; whom a member has never heard it says so. */
struct seen {
    uint64_t own;
    int matched, heard, others;
};

static void note_other(void *user_data, const dl_member *m) {
    struct seen *seen = user_data;
    if (m->node_id == seen->own) {
        CHECK(m->contact_ms == 0);
        return;
    }
    seen->others++;
    seen->matched += m->match_index != 0;
    seen->heard += m->contact_ms != UINT64_MAX;
}

static struct seen others_of(dl_log *log, int id) {
    struct seen seen = {.own = (uint64_t)id};
    IS(DL_OK, dl_members(log, note_other, &seen));
    CHECK(seen.others == MEMBERS - 1);
    return seen;
}

static void followers_know_less(dl_log **log, int leader) {
    AWAIT(others_of(log[leader], leader).matched == MEMBERS - 1);
    CHECK(others_of(log[leader], leader).heard == MEMBERS - 1);
    for (int id = 1; id <= MEMBERS; id++) {
        if (id == leader)
            continue;
        AWAIT(others_of(log[id], id).heard >= 1); /* the leader */
        AWAIT(others_of(log[id], id).matched == 0);
    }
}

struct fault {
    const char *label;
    double count;
};

static void on_metric(void *user_data, const dl_metric *m) {
    struct fault *f = user_data;
    if (strcmp(m->name, "connection_faults_total") == 0 && strcmp(m->label, f->label) == 0)
        f->count = m->value;
}

static double faults(dl_log *log, const char *label) {
    struct fault f = {label, -1};
    IS(DL_OK, dl_metrics(log, on_metric, &f));
    CHECK(f.count >= 0);
    return f.count;
}

static void on_index(void *user_data, dl_status status, uint64_t index) {
    CHECK(status == DL_OK);
    __atomic_store_n((int *)user_data, (int)index, __ATOMIC_SEQ_CST);
}

static void followers_refuse(dl_log **log, int leader) {
    dl_append_opts opts = DL_APPEND_OPTS_INIT;
    opts.expected_term = state_of(log[leader]).term + 1;
    IS(DL_E_TERM_CHANGED, dl_append(log[leader], "x", 1, &opts, NULL));
    for (int id = 1; id <= MEMBERS; id++) {
        if (id == leader)
            continue;
        AWAIT(state_of(log[id]).leader_id == (uint64_t)leader);
        CHECK(state_of(log[id]).role == DL_ROLE_FOLLOWER);
        IS(DL_E_NOT_LEADER, dl_append(log[id], "x", 1, NULL, NULL));
        IS(DL_E_NOT_LEADER, dl_append_async(log[id], "x", 1, NULL, NULL, on_append, &told[id]));
        CHECK(told[id].hooks == 0 && told[id].ends == 0);
    }
}

static void reads_are_current(dl_log **log, int leader) {
    for (int id = 1; id <= MEMBERS; id++) {
        uint64_t index = 0, end = state_of(log[leader]).committed.index;
        int async = -1;
        IS(DL_OK, dl_read_index(log[id], 10000, &index));
        CHECK(index >= end && state_of(log[id]).committed.index >= index);
        IS(DL_OK, dl_read_index_async(log[id], 10000, on_index, &async));
        AWAIT(__atomic_load_n(&async, __ATOMIC_SEQ_CST) >= (int)end);
    }
}

/* Handing over: to whom is named, to the best one, without waiting; and what cannot be. */
static int hands_over(dl_log **log, int leader) {
    dl_error err;
    int to = leader % MEMBERS + 1, third = to % MEMBERS + 1;
    IS(DL_E_NO_MEMBER, dl_transfer_leader(log[leader], 9, 1000, &err));
    CHECK(err.status == DL_E_NO_MEMBER && strstr(err.message, "9") != NULL);
    IS(DL_E_NOT_LEADER, dl_transfer_leader(log[to], third, 1000, &err));
    IS(DL_OK, dl_transfer_leader(log[leader], (uint64_t)leader, 0, &err));
    IS(DL_OK, dl_transfer_leader(log[leader], (uint64_t)to, 10000, &err));
    AWAIT(is_leader(log[to]));
    CHECK(state_of(log[leader]).leader_id == (uint64_t)to);
    IS(DL_OK, dl_transfer_leader(log[to], 0, 10000, &err));
    AWAIT(leader_of(log) != 0 && leader_of(log) != to);
    leader = leader_of(log);
    IS(DL_OK, dl_transfer_leader(log[leader], (uint64_t)to, 0, &err));
    AWAIT(is_leader(log[to]));
    return to;
}

static dl_status change(dl_log *log, uint32_t op, uint64_t id, const char *address, uint32_t ms,
                        dl_error *err) {
    dl_change change = {op, 0, id, address};
    return dl_change_members(log, &change, 1, ms, err);
}

static int is_voter[ALL + 1], is_there[ALL + 1];

static void note_member(void *user_data, const dl_member *m) {
    (void)user_data;
    is_there[m->node_id] = 1;
    is_voter[m->node_id] = (int)m->voter;
}

/* Whether `id` is a member in the eyes of this log, and votes. */
static int sees(dl_log *log, int id, int there, int voter) {
    memset(is_there, 0, sizeof(is_there)), memset(is_voter, 0, sizeof(is_voter));
    IS(DL_OK, dl_members(log, note_member, NULL));
    return is_there[id] == there && is_voter[id] == voter;
}

/* A fourth member joins, follows, votes, leads and goes. What cannot be says why. */
static int changes_members(dl_log **log, int leader, uint64_t *seed) {
    char address[64];
    dl_error err;
    int other = leader % MEMBERS + 1;
    snprintf(address, sizeof(address), "127.0.0.1:%d", ports[4]);
    IS(DL_E_INVALID, change(log[leader], DL_MEMBER_ADD_LEARNER, 4, NULL, 1000, &err));
    IS(DL_E_INVALID, change(log[leader], DL_MEMBER_ADD_LEARNER, 4, "nowhere", 1000, &err));
    IS(DL_E_INVALID, change(log[leader], DL_MEMBER_ADD_LEARNER, (uint64_t)other, address, 1000, &err));
    IS(DL_E_INVALID, change(log[leader], 77, 4, address, 1000, &err));
    IS(DL_E_NO_MEMBER, change(log[leader], DL_MEMBER_PROMOTE, 4, NULL, 1000, &err));
    IS(DL_E_INVALID, change(log[leader], DL_MEMBER_REMOVE, (uint64_t)leader, NULL, 1000, &err));
    CHECK(strstr(err.message, "dl_transfer_leader") != NULL);
    IS(DL_E_NOT_LEADER, change(log[other], DL_MEMBER_ADD_LEARNER, 4, address, 1000, &err));

    log[4] = start(4, "four");
    CHECK(state_of(log[4]).leader_id == 0);
    IS(DL_OK, change(log[leader], DL_MEMBER_ADD_LEARNER, 4, address, 10000, &err));
    append_many(log[leader], &told[leader], 20, seed);
    AWAIT(state_of(log[4]).role == DL_ROLE_LEARNER);
    uint64_t index = 0;
    IS(DL_OK, dl_read_index(log[4], 10000, &index));
    CHECK(index == state_of(log[leader]).committed.index);
    AWAIT(sees(log[other], 4, 1, 0));
    IS(DL_OK, change(log[leader], DL_MEMBER_PROMOTE, 4, NULL, 10000, &err));
    AWAIT(sees(log[4], 4, 1, 1) && sees(log[other], 4, 1, 1));
    IS(DL_OK, dl_transfer_leader(log[leader], 4, 10000, &err));
    AWAIT(is_leader(log[4]));
    append_many(log[4], &told[4], 20, seed);
    IS(DL_OK, dl_transfer_leader(log[4], (uint64_t)leader, 10000, &err));
    AWAIT(is_leader(log[leader]));
    uint64_t end = state_of(log[leader]).committed.index;
    all_committed(log, end);
    all_equal(log, end);
    IS(DL_OK, change(log[leader], DL_MEMBER_REMOVE, 4, NULL, 0, &err));
    AWAIT(sees(log[leader], 4, 0, 0) && sees(log[other], 4, 0, 0));
    AWAIT(sees(log[4], 4, 0, 0)); /* it learns it, and stands no more */
    uint64_t term = state_of(log[leader]).term;
    sleep_ms(1500);
    CHECK(state_of(log[4]).term == term && state_of(log[leader]).term == term);
    IS(DL_OK, dl_stop(log[4], 20000));
    dl_close(log[4]);
    log[4] = NULL;
    return leader;
}

static void the_group(void) {
    dl_log *log[ALL + 1] = {NULL};
    uint64_t seed = 7;
    for (int id = 1; id <= MEMBERS; id++) {
        log[id] = start(id, id == 1 ? "one" : id == 2 ? "two" : "three");
        if (id == 1)
            CHECK(others_of(log[1], 1).heard == 0 && others_of(log[1], 1).matched == 0);
    }
    int leader = wait_for_leader(log);
    append_many(log[leader], &told[leader], 300, &seed);
    IS(DL_OK, dl_append(log[leader], "waited for", 10, NULL, NULL));
    all_committed(log, 301);
    all_equal(log, 301);
    CHECK(told[leader].hooks == 301);
    followers_refuse(log, leader);
    reads_are_current(log, leader);
    int seen[MEMBERS + 1] = {0};
    AWAIT((memset(seen, 0, sizeof(seen)), dl_members(log[leader], on_member, seen)) == DL_OK &&
          seen[0] == 3 && seen[1] == 301 && seen[2] == 301 && seen[3] == 301);
    followers_know_less(log, leader);

    leader = hands_over(log, leader);
    followers_know_less(log, leader); /* one of them was the leader */
    CHECK(state_of(log[leader]).end.index == 301); /* no gap, and nothing of its own */

    /* The leader goes; what it had in flight has ended when dl_stop returns. */
    int old = leader, sofar = told[leader].ends;
    dl_entry entry;
    for (int n = 0; n < 100; n++)
        IS_SOON(DL_OK, dl_append_async(log[old], "in flight", 9, NULL, NULL, on_append, &told[old]));
    IS(DL_OK, dl_stop(log[old], 20000));
    CHECK(told[old].ends == sofar + 100 && told[old].bad == 0);
    dl_close(log[old]);
    log[old] = NULL;
    leader = wait_for_leader(log);
    CHECK(leader != old);
    IS(DL_OK, dl_append(log[leader], "after it", 8, NULL, &entry));
    CHECK(entry.index == 401);
    append_many(log[leader], &told[leader], 200, &seed);

    /* It comes back and catches up. */
    log[old] = start(old, old == 1 ? "one" : old == 2 ? "two" : "three");
    all_committed(log, 602);
    all_equal(log, 602);
    leader = wait_for_leader(log);
    reads_are_current(log, leader);
    leader = changes_members(log, leader, &seed);

    /* One loses its disk: under its old id it is not let in, the others go on. */
    leader = wait_for_leader(log);
    int lost = leader == 3 ? 2 : 3;
    IS(DL_OK, dl_stop(log[lost], 20000));
    dl_close(log[lost]);
    log[lost] = start(lost, "empty");
    AWAIT(faults(log[leader], "kind=\"refused.old_incarnation\"") > 0);
    AWAIT(faults(log[lost], "kind=\"refused_by.old_incarnation\"") > 0);
    append_many(log[leader], &told[leader], 50, &seed);
    CHECK(state_of(log[lost]).leader_id == 0 && state_of(log[lost]).end.index == 0);
    uint64_t index;
    IS(DL_E_TIMED_OUT, dl_read_index(log[lost], 300, &index));

    for (int id = 1; id <= MEMBERS; id++) {
        IS(DL_OK, dl_stop(log[id], 20000));
        CHECK(told[id].failed == 0 && told[id].roles > 0 && told[id].members_events > 0);
        dl_close(log[id]);
    }
}

/* Without TLS, listening at an open address is a decision; a port that is taken is an error, after which
 * the log can be started elsewhere. */
static void where_it_listens(void) {
    char address[64];
    dl_error err;
    dl_config *cfg = config(1, "open");
    snprintf(address, sizeof(address), "0.0.0.0:%d", ports[1]);
    set(cfg, DL_OPT_LISTEN, address);
    dl_log *log = open_log(cfg);
    IS(DL_E_CONFIG, dl_start(log, &err));
    CHECK(strstr(err.message, "insecure.listen") != NULL);
    CHECK(strstr(err.message, address) != NULL);
    dl_close(log);
    set(cfg, DL_OPT_INSECURE, "yes");
    log = open_log(cfg);
    IS(DL_OK, dl_start(log, &err));

    dl_config *other = config(2, "taken");
    set(other, DL_OPT_INSECURE, "yes");
    set(other, DL_OPT_LISTEN, address);
    set(other, DL_OPT_GROUP, "other");
    dl_log *shares = open_log(other); /* another group may share the address */
    IS(DL_OK, dl_start(shares, &err));
    IS(DL_OK, dl_stop(shares, DL_FOREVER));
    dl_close(shares);
    snprintf(address, sizeof(address), "127.0.0.1:%d", ports[1]);
    set(other, DL_OPT_LISTEN, address);
    dl_log *taken = open_log(other);
    IS(DL_E_IO, dl_start(taken, &err));
    CHECK(strstr(err.message, address) != NULL && err.sys_errno != 0);
    IS(DL_OK, dl_stop(log, DL_FOREVER));
    dl_close(log);
    IS(DL_OK, dl_start(taken, &err));
    dl_close(taken);
    dl_config_free(other);
    dl_config_free(cfg);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    directory = argv[1];
    for (int id = 1; id <= ALL; id++)
        ports[id] = free_port();
    where_it_listens();
    the_group();
    return 0;
}
