/*
 * Everything one should not do, and a status each time. Guards P15 (no unwind crosses the ABI;
 * misuse answers a status; after dl_stop no callback runs; dl_stop inside a callback is an error,
 * not a deadlock), P16 (views outlive purge, stop and close), scenarios 17 and 29.
 */
#include "check.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *directory;

static int drops;
static void drop(void *user_data) {
    (void)user_data;
    __atomic_add_fetch(&drops, 1, __ATOMIC_SEQ_CST);
}

static void on_complete(void *u, const dl_completion *c, size_t n) { (void)u, (void)c, (void)n; }
static void on_event(void *u, uint32_t what, const dl_state *now) { (void)u, (void)what, (void)now; }
static void on_thread(void *u, int starts, int callbacks) { (void)u, (void)starts, (void)callbacks; }
static void on_append(void *u, const dl_completion *c) { (void)u, (void)c; }
static void on_index(void *u, dl_status s, uint64_t i) { (void)u, (void)s, (void)i; }
static void on_member(void *u, const dl_member *m) { (void)m, ++*(int *)u; }
static void on_metric(void *u, const dl_metric *m) { (void)m, ++*(int *)u; }
static dl_status pass(void *u, const dl_entry *e, uint8_t *b) { return (void)u, (void)e, (void)b, DL_OK; }

/* ---- NULL for each pointer of each function ------------------------------------------------- */

static void nulls_with(dl_log *log) {
    const dl_status no_log = DL_E_INVALID;
    uint64_t number = 7;
    char buffer[8];
    dl_view view = {0};
    dl_segment segment = {0};
    dl_entry entry;
    dl_error err;
    dl_bytes bytes = {"x", 1};
    dl_change change = {DL_MEMBER_REMOVE, 0, 2, NULL};
    dl_state state = DL_STATE_INIT;

    if (log == NULL) {
        IS(no_log, dl_start(NULL, &err));
        CHECK(err.status == DL_E_INVALID);
        IS(no_log, dl_start(NULL, NULL));
        IS(no_log, dl_stop(NULL, 0));
        IS(no_log, dl_set(NULL, DL_OPT_APPEND_TIMEOUT, "1s", &err));
        IS(no_log, dl_on_complete(NULL, on_complete, NULL, NULL));
        IS(no_log, dl_on_event(NULL, on_event, NULL, NULL));
        IS(no_log, dl_on_thread(NULL, on_thread, NULL, NULL));
        IS(no_log, dl_append_async(NULL, "x", 1, NULL, &entry, on_append, NULL));
        IS(no_log, dl_append_batch_async(NULL, &bytes, 1, NULL, &entry, on_append, NULL));
        IS(no_log, dl_append(NULL, "x", 1, NULL, &entry));
        IS(no_log, dl_register_append_hook(NULL, pass, NULL, NULL, &number));
        IS(no_log, dl_unregister_append_hook(NULL, 1));
        IS(no_log, dl_read(NULL, 0, NULL, &view));
        IS(no_log, dl_read_pos(NULL, 0, 1, &view));
        IS(no_log, dl_read_copy(NULL, 0, buffer, sizeof(buffer), &entry));
        IS(no_log, dl_index_at(NULL, 0, &number));
        IS(no_log, dl_segment_pin(NULL, 0, &segment));
        IS(no_log, dl_get_state(NULL, &state));
        IS(no_log, dl_failure(NULL, &err));
        IS(no_log, dl_read_index(NULL, 0, &number));
        IS(no_log, dl_read_index_async(NULL, 0, on_index, NULL));
        IS(no_log, dl_flush(NULL, 0));
        IS(no_log, dl_delete_prefix(NULL, 0, &err));
        IS(no_log, dl_transfer_leader(NULL, 0, 0, &err));
        IS(no_log, dl_change_members(NULL, &change, 1, 0, &err));
        IS(no_log, dl_members(NULL, on_member, &number));
        IS(no_log, dl_poll(NULL, 0, 0));
        IS(no_log, dl_poll_fd(NULL));
        IS(no_log, dl_metrics(NULL, on_metric, &number));
        CHECK(number == 7 && view.priv[0] == NULL && segment.priv[0] == NULL);
        return;
    }
    IS(DL_E_INVALID, dl_set(log, NULL, "1s", &err));
    IS(DL_E_INVALID, dl_set(log, DL_OPT_APPEND_TIMEOUT, NULL, NULL));
    IS(DL_E_INVALID, dl_append_async(log, NULL, 1, NULL, NULL, NULL, NULL));
    IS(DL_E_INVALID, dl_append(log, NULL, 1, NULL, NULL));
    IS(DL_E_INVALID, dl_append_batch_async(log, NULL, 1, NULL, NULL, NULL, NULL));
    IS(DL_E_INVALID, dl_append_batch_async(log, &bytes, 0, NULL, NULL, NULL, NULL));
    IS(DL_E_INVALID, dl_append_batch_async(log, &bytes, SIZE_MAX, NULL, NULL, NULL, NULL));
    bytes.data = NULL;
    IS(DL_E_INVALID, dl_append_batch_async(log, &bytes, 1, NULL, NULL, NULL, NULL));
    IS(DL_E_INVALID, dl_read(log, 0, NULL, NULL));
    IS(DL_E_INVALID, dl_read_pos(log, 0, 1, NULL));
    IS(DL_E_INVALID, dl_read_copy(log, 0, NULL, 8, &entry));
    IS(DL_E_INVALID, dl_index_at(log, 0, NULL));
    IS(DL_E_INVALID, dl_segment_pin(log, 0, NULL));
    IS(DL_E_INVALID, dl_get_state(log, NULL));
    IS(DL_E_INVALID, dl_failure(log, NULL));
    IS(DL_E_INVALID, dl_read_index(log, 0, NULL));
    IS(DL_E_INVALID, dl_read_index_async(log, 0, NULL, NULL));
    IS(DL_E_INVALID, dl_change_members(log, NULL, 1, 0, &err));
    IS(DL_E_INVALID, dl_change_members(log, &change, 0, 0, NULL));
    IS(DL_E_INVALID, dl_members(log, NULL, NULL));
    IS(DL_E_INVALID, dl_metrics(log, NULL, NULL));
}

static void nulls(void) {
    dl_log *log = small_log(directory, "nulls");
    nulls_with(NULL);
    nulls_with(log);
    int before = drops;
    IS(DL_E_INVALID, dl_on_complete(log, NULL, NULL, drop));
    IS(DL_E_INVALID, dl_on_event(log, NULL, NULL, drop));
    IS(DL_E_INVALID, dl_on_thread(log, NULL, NULL, drop));
    IS(DL_E_INVALID, dl_register_append_hook(log, NULL, NULL, drop, NULL));
    CHECK(drops == before + 4);
    start_leader(log);
    nulls_with(log);
    /* No bytes need no pointer, an id that is not wanted neither. */
    IS(DL_OK, dl_append(log, NULL, 0, NULL, NULL));
    IS(DL_OK, dl_stop(log, 20000));
    nulls_with(log);
    dl_close(log);
}

/* ---- Before start, after stop ---------------------------------------------------------------- */

static void not_running(dl_log *log) {
    uint64_t number = 0;
    dl_bytes bytes = {"x", 1};
    dl_entry entry;
    memset(&entry, 0x55, sizeof(entry));
    IS(DL_E_STOPPED, dl_append_async(log, "x", 1, NULL, &entry, on_append, NULL));
    IS(DL_E_STOPPED, dl_append_batch_async(log, &bytes, 1, NULL, &entry, on_append, NULL));
    IS(DL_E_STOPPED, dl_append(log, "x", 1, NULL, &entry));
    CHECK(entry.index == 0x5555555555555555);
    IS(DL_E_STOPPED, dl_read_index(log, 100, &number));
    IS(DL_E_STOPPED, dl_read_index_async(log, 100, on_index, NULL));
}

#define SAYS(text) CHECK(strstr(err.message, text) != NULL)

/* What a group of one can be told, and what not. */
static void changes(dl_log *log) {
    dl_error err;
    dl_change change = {DL_MEMBER_REMOVE, 0, 2, NULL};
    IS(DL_E_NO_MEMBER, dl_change_members(log, &change, 1, 0, &err));
    SAYS("no member has the node_id 2");
    change.reserved = 1;
    IS(DL_E_INVALID, dl_change_members(log, &change, 1, 1000, &err));
    SAYS("reserved must be 0");
    change = (dl_change){6, 0, 2, NULL};
    IS(DL_E_INVALID, dl_change_members(log, &change, 1, 1000, &err));
    SAYS("allowed: 1 to 5");
    change = (dl_change){DL_MEMBER_ADD_LEARNER, 0, 2, NULL};
    IS(DL_E_INVALID, dl_change_members(log, &change, 1, 1000, &err));
    SAYS("needs an address");
    change.address = "\xff:1";
    IS(DL_E_INVALID, dl_change_members(log, &change, 1, 1000, &err));
    SAYS("UTF-8");
    change.address = "host";
    IS(DL_E_INVALID, dl_change_members(log, &change, 1, 1000, &err));
    SAYS("host:port");
    change.address = "127.0.0.1:1"; /* this member has no address itself */
    IS(DL_E_INVALID, dl_change_members(log, &change, 1, 1000, &err));
    SAYS("member 1 has no address");
    change = (dl_change){DL_MEMBER_REMOVE, 0, 1, NULL};
    IS(DL_E_INVALID, dl_change_members(log, &change, 1, 1000, &err));
    SAYS("the last voter");
    dl_change two[2] = {{DL_MEMBER_MOVE, 0, 1, "a:1"}, {DL_MEMBER_DEMOTE, 0, 2, NULL}};
    IS(DL_E_INVALID, dl_change_members(log, two, 2, 1000, &err));
    SAYS("a call of their own");
    IS(DL_E_INVALID, dl_change_members(log, two, SIZE_MAX, 1000, &err));
    IS(DL_OK, dl_change_members(log, two, 1, 20000, &err)); /* a new address */
}

static void life(void) {
    dl_log *log = small_log(directory, "life");
    dl_view view = {0};
    dl_state state = DL_STATE_INIT;
    dl_error err;
    int drops_before = drops, shown = 0;
    uint64_t id = 0;

    not_running(log);
    IS(DL_E_NOT_COMMITTED, dl_read(log, 0, NULL, &view));
    IS(DL_E_INVALID, dl_unregister_append_hook(log, 12345));
    IS(DL_OK, dl_on_event(log, on_event, NULL, drop));
    IS(DL_OK, dl_on_event(log, on_event, NULL, drop)); /* in place of the first */
    IS(DL_OK, dl_register_append_hook(log, pass, NULL, drop, &id));
    IS(DL_OK, dl_register_append_hook(log, pass, NULL, drop, NULL));
    CHECK(drops == drops_before);
    start_leader(log);

    /* Registering is over: a status, and `drop` at once. */
    IS(DL_E_INVALID, dl_start(log, &err));
    CHECK(err.status == DL_E_INVALID && err.message[0] != 0);
    IS(DL_E_INVALID, dl_on_complete(log, on_complete, NULL, drop));
    IS(DL_E_INVALID, dl_on_event(log, on_event, NULL, drop));
    IS(DL_E_INVALID, dl_on_thread(log, on_thread, NULL, drop));
    IS(DL_E_INVALID, dl_register_append_hook(log, pass, NULL, drop, NULL));
    CHECK(drops == drops_before + 4);
    IS(DL_OK, dl_unregister_append_hook(log, id));
    CHECK(drops == drops_before + 5);
    IS(DL_E_INVALID, dl_unregister_append_hook(log, id));
    CHECK(drops == drops_before + 5);

    IS(DL_OK, dl_append(log, "kept", 4, NULL, NULL));
    IS(DL_E_NO_MEMBER, dl_transfer_leader(log, 0, 0, &err));
    SAYS("no other member has a vote");
    IS(DL_E_NO_MEMBER, dl_transfer_leader(log, 7, 1000, &err));
    SAYS("member 7 has no vote here");
    IS(DL_OK, dl_transfer_leader(log, 1, 1000, &err));
    changes(log);
    IS(DL_OK, dl_members(log, on_member, &shown));
    CHECK(shown == 1);
    IS(DL_OK, dl_metrics(log, on_metric, &shown));
    CHECK(shown > 1);
    IS(DL_OK, dl_failure(log, &err));
    CHECK(err.status == DL_OK && err.message[0] == 0);
    IS(DL_E_CONFIG, dl_set(log, "no.such.option", "1", &err));
    IS(DL_E_CONFIG, dl_set(log, DL_OPT_DIR, "elsewhere", &err)); /* not live */
    IS(DL_OK, dl_set(log, DL_OPT_APPEND_TIMEOUT, "3s", &err));

    /* Twice is harmless, and reads go on. */
    IS(DL_OK, dl_stop(log, 20000));
    IS(DL_OK, dl_stop(log, 0));
    not_running(log);
    CHECK(dl_start(log, NULL) != DL_OK);
    IS(DL_OK, dl_get_state(log, &state));
    CHECK(state.role == DL_ROLE_STOPPED && state.committed.index == 1);
    IS(DL_OK, dl_read(log, 0, NULL, &view));
    CHECK(view.count == 1 && memcmp(view.entries[0].body, "kept", 4) == 0);
    CHECK(view.data + 48 == view.entries[0].body && view.next_index == 1);
    dl_read_opts opts = DL_READ_OPTS_INIT;
    opts.timeout_ms = DL_FOREVER; /* reads no longer wait */
    dl_view none = {0};
    CHECK(dl_read(log, 1, &opts, &none) != DL_OK);
    dl_view_release(&view);
    CHECK(view.priv[0] == NULL && view.data == NULL && view.len == 0);
    dl_view_release(&view);

    CHECK(drops == drops_before + 5);
    dl_close(log);
    CHECK(drops == drops_before + 8); /* two of on_event, one hook */
}

/* ---- Calls that come from inside ------------------------------------------------------------- */

struct inside {
    dl_log *log;
    int done;
    dl_status stop, append, read, copy, index, flush, poll, open, async, state, reads_now;
};

/* All that could wait is refused; the rest works. */
static void call_back(struct inside *in) {
    uint64_t number;
    char buffer[8];
    dl_log *other = NULL;
    dl_config *cfg = small_config(directory, "never");
    dl_view view = {0};
    dl_read_opts opts = DL_READ_OPTS_INIT;
    dl_state state = DL_STATE_INIT;
    opts.timeout_ms = 1000;
    in->stop = dl_stop(in->log, 0);
    in->append = dl_append(in->log, "x", 1, NULL, NULL);
    in->read = dl_read(in->log, 0, &opts, &view);
    in->copy = dl_read_copy(in->log, 0, buffer, sizeof(buffer), NULL);
    in->index = dl_read_index(in->log, 1000, &number);
    in->flush = dl_flush(in->log, 1000);
    in->poll = dl_poll(in->log, 0, 0);
    in->open = dl_open(cfg, &other, NULL);
    dl_config_free(cfg);
    dl_close(in->log); /* nothing */
    in->async = dl_append_async(in->log, "y", 1, NULL, NULL, NULL, NULL);
    in->state = dl_get_state(in->log, &state);
    in->reads_now = dl_read(in->log, 0, NULL, &view);
    dl_view_release(&view);
    __atomic_store_n(&in->done, 1, __ATOMIC_SEQ_CST);
}

static void append_calls_back(void *user_data, const dl_completion *c) {
    IS(DL_OK, c->status);
    call_back(user_data);
}
static void member_calls_back(void *user_data, const dl_member *m) {
    CHECK(m->size == sizeof(*m));
    call_back(user_data);
}

static void check_inside(const struct inside *in) {
    IS(DL_E_DEADLOCK, in->stop);
    IS(DL_E_DEADLOCK, in->append);
    IS(DL_E_DEADLOCK, in->read);
    IS(DL_E_DEADLOCK, in->copy);
    IS(DL_E_DEADLOCK, in->index);
    IS(DL_E_DEADLOCK, in->flush);
    IS(DL_E_DEADLOCK, in->poll);
    IS(DL_E_DEADLOCK, in->open);
    IS(DL_OK, in->async);
    IS(DL_OK, in->state);
    IS(DL_OK, in->reads_now);
}

static void in_callbacks(void) {
    struct inside in = {.log = small_log(directory, "callbacks")};
    start_leader(in.log);
    IS(DL_OK, dl_append_async(in.log, "x", 1, NULL, NULL, append_calls_back, &in));
    UNTIL(in.done, 1);
    check_inside(&in);
    IS(DL_OK, dl_members(in.log, member_calls_back, &in)); /* on our own thread */
    check_inside(&in);
    IS(DL_OK, dl_append(in.log, "x", 1, NULL, NULL)); /* and out of it all is as before */
    IS(DL_OK, dl_stop(in.log, 20000));
    dl_close(in.log);
}

/* The same with callbacks=poll. */
static void in_polled_callbacks(void) {
    dl_config *cfg = small_config(directory, "polled");
    IS(DL_OK, dl_config_set(cfg, DL_OPT_CALLBACKS, "poll", NULL));
    struct inside in = {.log = open_log(cfg)};
    dl_config_free(cfg);
    start_leader(in.log);
    CHECK(dl_poll_fd(in.log) >= 0);
    IS(DL_OK, dl_append_async(in.log, "x", 1, NULL, NULL, append_calls_back, &in));
    for (int tries = 0; tries < 1000 && !in.done; tries++)
        CHECK(dl_poll(in.log, 20, 1) >= 0);
    CHECK(in.done);
    check_inside(&in);
    IS(DL_OK, dl_stop(in.log, 20000));
    IS(DL_E_STOPPED, dl_poll(in.log, 0, 0));
    dl_close(in.log);
}

struct hooked {
    dl_log *log;
    int calls, refuse, shown;
    dl_status state, append, stop, read, remove, trace, set, metrics, poll_fd, index, open, members;
};

static dl_status hook_calls_back(void *user_data, const dl_entry *entry, uint8_t *body) {
    struct hooked *in = user_data;
    dl_state state = DL_STATE_INIT;
    dl_view view = {0};
    CHECK(entry->body_len == 4 && entry->size == 52 && entry->body_pos == entry->pos + 48);
    in->calls++;
    in->state = dl_get_state(in->log, &state);
    in->append = dl_append_async(in->log, "x", 1, NULL, NULL, NULL, NULL);
    in->stop = dl_stop(in->log, 0);
    in->read = dl_read(in->log, 0, NULL, &view);
    in->remove = dl_unregister_append_hook(in->log, 1);
    in->trace = dl_set_trace(DL_LEVEL_INFO, NULL, NULL, NULL);
    in->set = dl_set(in->log, DL_OPT_APPEND_TIMEOUT, "1s", NULL);
    in->metrics = dl_metrics(in->log, on_metric, &in->shown);
    in->members = dl_members(in->log, on_member, &in->shown);
    in->poll_fd = dl_poll_fd(in->log);
    in->index = dl_read_index_async(in->log, 1000, on_index, NULL);
    dl_close(in->log); /* nothing */
    /* What takes no log works. */
    dl_log *other = NULL;
    dl_config *cfg = small_config(directory, "never");
    in->open = dl_open(cfg, &other, NULL);
    dl_config_free(cfg);
    body[0] = 'H';
    return in->refuse ? DL_E_INVALID : DL_OK;
}

static void in_hooks(void) {
    struct hooked in = {.log = small_log(directory, "hooks")};
    dl_entry entry = {0};
    dl_view view = {0};
    IS(DL_OK, dl_register_append_hook(in.log, hook_calls_back, &in, NULL, NULL));
    start_leader(in.log);
    IS(DL_OK, dl_append(in.log, "body", 4, NULL, &entry));
    CHECK(in.calls == 1 && entry.index == 0);
    IS(DL_E_DEADLOCK, in.state);
    IS(DL_E_DEADLOCK, in.append);
    IS(DL_E_DEADLOCK, in.stop);
    IS(DL_E_DEADLOCK, in.read);
    IS(DL_E_DEADLOCK, in.remove);
    IS(DL_E_DEADLOCK, in.trace);
    IS(DL_E_DEADLOCK, in.set);
    IS(DL_E_DEADLOCK, in.metrics);
    IS(DL_E_DEADLOCK, in.members);
    IS(DL_E_DEADLOCK, in.poll_fd);
    IS(DL_E_DEADLOCK, in.index);
    IS(DL_E_DEADLOCK, in.open);
    CHECK(in.shown == 0);
    in.refuse = 1;
    IS(DL_E_REJECTED, dl_append(in.log, "body", 4, NULL, NULL));
    in.refuse = 0;
    IS(DL_OK, dl_append(in.log, "body", 4, NULL, &entry));
    CHECK(entry.index == 1 && in.calls == 3); /* the refused one took no index */
    IS(DL_OK, dl_read(in.log, 1, NULL, &view));
    CHECK(memcmp(view.entries[0].body, "Hody", 4) == 0);
    dl_view_release(&view);
    dl_close(in.log);
}

/* ---- What a `drop` calls ------------------------------------------------------------------------ */

struct dropped {
    dl_log *log;
    uint64_t hook, other; /* the one that this belongs to, if to one, and one whose drop is still due */
    int calls, shown, again;
    dl_status state, metrics, members, failure, read, async, barrier, set, start, event, new_hook, own,
        unknown;
    dl_status stop, append, flush, poll;
};

static void drop_again(void *user_data) { ++*(int *)user_data; }

/* While dl_close runs it the log is there, and stopped. */
static void drop_calls_back(void *user_data) {
    struct dropped *in = user_data;
    dl_state state = DL_STATE_INIT;
    dl_view view = {0};
    dl_error err;
    in->calls++;
    in->state = dl_get_state(in->log, &state);
    CHECK(state.role == DL_ROLE_STOPPED && state.committed.index == 1);
    in->metrics = dl_metrics(in->log, on_metric, &in->shown);
    in->members = dl_members(in->log, on_member, &in->shown);
    in->failure = dl_failure(in->log, &err);
    in->read = dl_read(in->log, 0, NULL, &view);
    CHECK(view.count == 1 && memcmp(view.entries[0].body, "kept", 4) == 0);
    dl_view_release(&view);
    in->async = dl_append_async(in->log, "x", 1, NULL, NULL, on_append, NULL);
    in->barrier = dl_read_index_async(in->log, 100, on_index, NULL);
    in->set = dl_set(in->log, DL_OPT_APPEND_TIMEOUT, "3s", NULL);
    in->start = dl_start(in->log, NULL);
    in->event = dl_on_event(in->log, on_event, &in->again, drop_again);
    in->new_hook = dl_register_append_hook(in->log, pass, &in->again, drop_again, NULL);
    in->own = in->hook != 0 ? dl_unregister_append_hook(in->log, in->hook) : DL_E_INVALID;
    in->unknown = dl_unregister_append_hook(in->log, 12345);
    if (in->other != 0)
        IS(DL_OK, dl_unregister_append_hook(in->log, in->other)); /* calls its drop, within this one */
    in->stop = dl_stop(in->log, 0);
    in->append = dl_append(in->log, "x", 1, NULL, NULL);
    in->flush = dl_flush(in->log, 100);
    in->poll = dl_poll(in->log, 0, 0);
    dl_close(in->log); /* nothing */
}

static void check_dropped(const struct dropped *in) {
    CHECK(in->calls == 1 && in->shown > 1 && in->again == 2); /* both were refused */
    IS(DL_OK, in->state);
    IS(DL_OK, in->metrics);
    IS(DL_OK, in->members);
    IS(DL_OK, in->failure);
    IS(DL_OK, in->read);
    IS(DL_E_STOPPED, in->async);
    IS(DL_E_STOPPED, in->barrier);
    IS(DL_OK, in->set);
    CHECK(in->start != DL_OK);
    IS(DL_E_INVALID, in->event);
    IS(DL_E_INVALID, in->new_hook);
    IS(DL_E_INVALID, in->own); /* it is gone already */
    IS(DL_E_INVALID, in->unknown);
    IS(DL_E_DEADLOCK, in->stop);
    IS(DL_E_DEADLOCK, in->append);
    IS(DL_E_DEADLOCK, in->flush);
    IS(DL_E_DEADLOCK, in->poll);
}

/* A log that was stopped, one that dl_close stops, and one that was never started. */
static void in_drops(const char *callbacks, int starts, int stops) {
    dl_config *cfg = small_config(directory, "drops");
    IS(DL_OK, dl_config_set(cfg, DL_OPT_CALLBACKS, callbacks, NULL));
    struct dropped event = {.log = open_log(cfg)}, thread = event, hook = event, other = event;
    dl_log *log = event.log;
    dl_config_free(cfg);
    IS(DL_OK, dl_on_event(log, on_event, &event, drop_calls_back));
    IS(DL_OK, dl_on_thread(log, on_thread, &thread, drop_calls_back));
    IS(DL_OK, dl_register_append_hook(log, pass, &hook, drop_calls_back, &hook.hook));
    IS(DL_OK, dl_register_append_hook(log, pass, &other, drop_calls_back, &other.hook));
    hook.other = other.hook;
    if (starts) {
        start_leader(log);
        if (state_of(log).committed.index == 0)
            IS(DL_OK, dl_append(log, "kept", 4, NULL, NULL));
    }
    if (stops)
        IS(DL_OK, dl_stop(log, 20000));
    CHECK(event.calls == 0 && thread.calls == 0 && hook.calls == 0 && other.calls == 0);
    dl_close(log);
    check_dropped(&event);
    check_dropped(&thread);
    check_dropped(&hook);
    check_dropped(&other);
}

/* ---- Views and handles ------------------------------------------------------------------------ */

static void *release(void *view) {
    dl_view_release(view);
    return NULL;
}

/* P16: what is pinned stays readable behind dl_close, and is released on any thread. */
static void views_outlive(void) {
    dl_log *log = small_log(directory, "views");
    dl_view view = {0}, bytes = {0};
    dl_segment segment = {0};
    dl_read_opts opts = DL_READ_OPTS_INIT;
    char body[1000];
    start_leader(log);
    for (int i = 0; i < 20; i++) {
        memset(body, 'a' + i, sizeof(body));
        IS(DL_OK, dl_append(log, body, sizeof(body), NULL, NULL));
    }
    opts.max_entries = 20;
    IS(DL_OK, dl_read(log, 0, &opts, &view));
    IS(DL_OK, dl_read_pos(log, view.entries[3].body_pos, 500, &bytes));
    IS(DL_OK, dl_segment_pin(log, 0, &segment));
    CHECK(view.count == 20 && bytes.len == 500 && bytes.entries == NULL && bytes.count == 0);
    dl_close(log);
    for (int i = 0; i < 20; i++) {
        const dl_entry *entry = &view.entries[i];
        CHECK(entry->index == (uint64_t)i && entry->body_len == 1000);
        CHECK(entry->body == view.data + (entry->body_pos - view.pos));
        CHECK(entry->body[0] == 'a' + i && entry->body[999] == 'a' + i);
        CHECK(segment.base[entry->body_pos - segment.pos] == 'a' + i);
    }
    CHECK(bytes.data[0] == 'd' && bytes.data[499] == 'd');
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, release, &view) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    dl_view_release(&view);
    dl_view_release(&bytes);
    dl_segment_unpin(&segment);
    CHECK(view.entries == NULL && segment.base == NULL);
    dl_segment_unpin(&segment);
}

static void two_opens(void) {
    dl_config *cfg = small_config(directory, "twice");
    dl_log *first = open_log(cfg), *second = NULL;
    dl_error err;
    IS(DL_E_LOCKED, dl_open(cfg, &second, &err));
    CHECK(second == NULL && err.status == DL_E_LOCKED && err.message[0] != 0);
    IS(DL_OK, dl_stop(first, 1000)); /* unlocks, while the handle goes on */
    second = open_log(cfg);
    dl_close(first);
    IS(DL_E_LOCKED, dl_open(cfg, &first, NULL));
    dl_close(second);
    dl_close(open_log(cfg));
    dl_config_free(cfg);
}

/* ---- Structs that begin with size -------------------------------------------------------------- */

static void sizes(void) {
    struct {
        dl_append_opts opts;
        uint64_t more;
    } append = {DL_APPEND_OPTS_INIT, 0};
    struct {
        dl_read_opts opts;
        uint64_t more;
    } read = {DL_READ_OPTS_INIT, 0};
    struct {
        dl_state state;
        uint64_t more;
    } state = {DL_STATE_INIT, 0x5555555555555555};
    dl_log *log = small_log(directory, "sizes");
    dl_view view = {0};
    start_leader(log);

    append.opts.size = sizeof(append);
    IS(DL_OK, dl_append(log, "x", 1, &append.opts, NULL));
    append.more = 1;
    IS(DL_E_UNSUPPORTED, dl_append(log, "x", 1, &append.opts, NULL));
    append.opts.size = 8; /* without expected_term */
    append.opts.expected_term = 1000000;
    IS(DL_OK, dl_append(log, "x", 1, &append.opts, NULL));
    append.opts.size = sizeof(append.opts);
    IS(DL_E_TERM_CHANGED, dl_append(log, "x", 1, &append.opts, NULL));

    read.opts.size = sizeof(read);
    IS(DL_OK, dl_read(log, 0, &read.opts, &view));
    dl_view_release(&view);
    read.more = 1;
    IS(DL_E_UNSUPPORTED, dl_read(log, 0, &read.opts, &view));
    read.opts.size = 8;
    IS(DL_OK, dl_read(log, 0, &read.opts, &view));
    dl_view_release(&view);
    read.opts.flags = 0x80;
    IS(DL_E_UNSUPPORTED, dl_read(log, 0, &read.opts, &view));

    const uint32_t senseless[] = {0, 3, 4097, UINT32_MAX};
    for (int i = 0; i < 4; i++) {
        append.opts.size = read.opts.size = state.state.size = senseless[i];
        IS(DL_E_INVALID, dl_append_async(log, "x", 1, &append.opts, NULL, NULL, NULL));
        IS(DL_E_INVALID, dl_read(log, 0, &read.opts, &view));
        IS(DL_E_INVALID, dl_get_state(log, &state.state));
    }
    /* What the library does not know reads as 0; what the caller has no room for is not written. */
    state.state.size = sizeof(state);
    IS(DL_OK, dl_get_state(log, &state.state));
    CHECK(state.state.role == DL_ROLE_LEADER && state.more == 0);
    memset(&state, 0x55, sizeof(state));
    state.state.size = 8;
    IS(DL_OK, dl_get_state(log, &state.state));
    CHECK(state.state.role == DL_ROLE_LEADER && state.state.ready == 0x55555555);
    CHECK(state.state.size == 8);

    /* Bodies that do not fit. */
    char small[2];
    dl_entry entry = {0};
    IS(DL_OK, dl_append(log, "four", 4, NULL, &entry));
    IS(DL_E_TOO_LARGE, dl_read_copy(log, entry.index, small, sizeof(small), &entry));
    CHECK(entry.body_len == 4);
    IS(DL_E_TOO_LARGE, dl_read_copy(log, entry.index, NULL, 0, NULL));
    dl_close(log);
}

/* ---- fork --------------------------------------------------------------------------------------- */

/* The child of a process with an open log: every call is refused, and what would free does not. */
static void in_child(dl_log *log, dl_view *view, dl_segment *segment) {
    uint64_t number;
    char buffer[8];
    dl_view none = {0};
    dl_segment no_segment = {0};
    dl_state state = DL_STATE_INIT;
    dl_error err;
    dl_bytes bytes = {"x", 1};
    dl_change change = {DL_MEMBER_REMOVE, 0, 2, NULL};
    drops = 0;
    IS(DL_E_FORKED, dl_start(log, &err));
    CHECK(err.status == DL_E_FORKED);
    IS(DL_E_FORKED, dl_stop(log, DL_FOREVER));
    IS(DL_E_FORKED, dl_set(log, DL_OPT_APPEND_TIMEOUT, "1s", NULL));
    IS(DL_E_FORKED, dl_on_complete(log, on_complete, NULL, drop));
    IS(DL_E_FORKED, dl_on_event(log, on_event, NULL, drop));
    IS(DL_E_FORKED, dl_on_thread(log, on_thread, NULL, drop));
    IS(DL_E_FORKED, dl_append_async(log, "x", 1, NULL, NULL, on_append, NULL));
    IS(DL_E_FORKED, dl_append_batch_async(log, &bytes, 1, NULL, NULL, on_append, NULL));
    IS(DL_E_FORKED, dl_append(log, "x", 1, NULL, NULL));
    IS(DL_E_FORKED, dl_register_append_hook(log, pass, NULL, drop, &number));
    IS(DL_E_FORKED, dl_unregister_append_hook(log, 1));
    IS(DL_E_FORKED, dl_read(log, 0, NULL, &none));
    IS(DL_E_FORKED, dl_read_pos(log, 0, 1, &none));
    IS(DL_E_FORKED, dl_read_copy(log, 0, buffer, sizeof(buffer), NULL));
    IS(DL_E_FORKED, dl_index_at(log, 0, &number));
    IS(DL_E_FORKED, dl_segment_pin(log, 0, &no_segment));
    IS(DL_E_FORKED, dl_get_state(log, &state));
    IS(DL_E_FORKED, dl_failure(log, &err));
    IS(DL_E_FORKED, dl_read_index(log, DL_FOREVER, &number));
    IS(DL_E_FORKED, dl_read_index_async(log, 0, on_index, NULL));
    IS(DL_E_FORKED, dl_flush(log, DL_FOREVER));
    IS(DL_E_FORKED, dl_delete_prefix(log, 0, NULL));
    IS(DL_E_FORKED, dl_transfer_leader(log, 0, DL_FOREVER, NULL));
    IS(DL_E_FORKED, dl_change_members(log, &change, 1, DL_FOREVER, NULL));
    IS(DL_E_FORKED, dl_members(log, on_member, &number));
    IS(DL_E_FORKED, dl_poll(log, DL_FOREVER, 0));
    IS(DL_E_FORKED, dl_poll_fd(log));
    IS(DL_E_FORKED, dl_metrics(log, on_metric, &number));
    CHECK(drops == 4); /* of the registrations that failed */
    dl_view_release(view);
    dl_segment_unpin(segment);
    dl_close(log);
    CHECK(drops == 4);
    CHECK(view->priv[0] != NULL && memcmp(view->entries[0].body, "parent", 6) == 0);
    IS(DL_OK, dl_set_trace(0, NULL, NULL, NULL));

    /* A log of its own is the child's. */
    dl_log *own = small_log(directory, "child");
    IS(DL_OK, dl_stop(own, 1000));
    dl_close(own);
}

static void forks(void) {
    dl_log *log = small_log(directory, "parent");
    dl_view view = {0};
    dl_segment segment = {0};
    int status = 0, before = drops;
    IS(DL_OK, dl_on_event(log, on_event, NULL, drop));
    start_leader(log);
    IS(DL_OK, dl_append(log, "parent", 6, NULL, NULL));
    IS(DL_OK, dl_read(log, 0, NULL, &view));
    IS(DL_OK, dl_segment_pin(log, 0, &segment));
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        in_child(log, &view, &segment);
        /* Another program: what is the parent's was rightly not freed, and is no leak. */
        execl("/bin/true", "true", (char *)NULL);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    /* The parent noticed nothing. */
    IS(DL_OK, dl_append(log, "still here", 10, NULL, NULL));
    dl_view_release(&view);
    dl_segment_unpin(&segment);
    dl_close(log);
    CHECK(drops == before + 1);
}

/* ---- Scenario 29: stop and close while everything is going on ----------------------------------- */

static int stopped, late, completed, started_threads, ended_threads;

static void counts(void *user_data, const dl_completion *c) {
    (void)user_data, (void)c;
    late += __atomic_load_n(&stopped, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&completed, 1, __ATOMIC_SEQ_CST);
}

static void counts_threads(void *user_data, int starts, int callbacks) {
    (void)user_data, (void)callbacks;
    __atomic_add_fetch(starts ? &started_threads : &ended_threads, 1, __ATOMIC_SEQ_CST);
}

static void *appends(void *user_data) {
    dl_log *log = user_data;
    intptr_t taken = 0;
    for (;;) {
        dl_status status = dl_append_async(log, "x", 1, NULL, NULL, counts, NULL);
        if (status == DL_E_STOPPED)
            return (void *)taken;
        CHECK(status == DL_OK || status == DL_E_PENDING_FULL);
        taken += status == DL_OK;
    }
}

static void *stops(void *user_data) {
    IS(DL_OK, dl_stop(user_data, 20000));
    return NULL;
}

static void stop_while_busy(void) {
    pthread_t appenders[2], stopper;
    intptr_t taken = 0;
    dl_log *log = small_log(directory, "busy");
    IS(DL_OK, dl_on_thread(log, counts_threads, NULL, NULL));
    start_leader(log);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&appenders[i], NULL, appends, log) == 0);
    sleep_ms(50);
    CHECK(pthread_create(&stopper, NULL, stops, log) == 0); /* two at once */
    IS(DL_OK, dl_stop(log, 20000));
    __atomic_store_n(&stopped, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < 2; i++) {
        void *answer;
        CHECK(pthread_join(appenders[i], &answer) == 0);
        taken += (intptr_t)answer;
    }
    CHECK(pthread_join(stopper, NULL) == 0);
    CHECK(started_threads > 0 && started_threads == ended_threads);
    dl_close(log);
    CHECK(late == 0 && completed == taken);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    directory = argv[1];
    nulls();
    life();
    in_callbacks();
    in_polled_callbacks();
    in_hooks();
    in_drops("poll", 1, 1);
    in_drops("thread", 1, 1);
    in_drops("thread", 0, 0);
    in_drops("thread", 1, 0); /* the last: a sync that hangs would keep the directory locked */
    views_outlive();
    two_opens();
    sizes();
    forks();
    stop_while_busy();
    return 0;
}
