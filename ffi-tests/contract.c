/*
 * The contract of the C ABI, written out by hand: every function, type, constant, size and offset.
 * The header is generated from the Rust source; here the compiler compares the two, so nothing of
 * the ABI can change by accident. Compiled as C99, C11 and (the header alone) C++11.
 */
#include "dledger.h"

#include <stdio.h>
#include <string.h>

/* A negative size does not compile; unlike _Static_assert it is in C99 as well. */
#define IS(what, name) typedef char name[(what) ? 1 : -1]
#define VALUE(constant, number) IS((constant) == (number), value_of_##constant);
#define SIZE(type, size) IS(sizeof(type) == (size), size_of_##type);
#define FIELD(type, field, offset, size)                                                           \
    IS(offsetof(type, field) == (offset), offset_of_##type##_##field);                             \
    IS(sizeof(((type *)0)->field) == (size), size_of_##type##_##field);

/* ---- Types of functions: to define a typedef again, equally, is allowed since C11 ---------- */

#if __STDC_VERSION__ >= 201112L
typedef int32_t dl_status;
typedef void (*dl_drop_fn)(void *user_data);
typedef void (*dl_option_fn)(void *user_data, const char *key, const char *type, const char *preset,
    const char *doc, int changes_live);
typedef void (*dl_complete_fn)(void *user_data, const dl_completion *items, size_t n);
typedef void (*dl_event_fn)(void *user_data, uint32_t what, const dl_state *now);
typedef void (*dl_trace_fn)(void *user_data, uint32_t level, const char *target, const char
    *message, size_t len);
typedef void (*dl_thread_fn)(void *user_data, int starts, int callbacks);
typedef void (*dl_append_fn)(void *user_data, const dl_completion *c);
typedef dl_status (*dl_append_hook)(void *user_data, const dl_entry *entry, uint8_t *body);
typedef void (*dl_index_fn)(void *user_data, dl_status status, uint64_t index);
typedef void (*dl_member_fn)(void *user_data, const dl_member *m);
typedef void (*dl_metric_fn)(void *user_data, const dl_metric *m);
#endif

/* ---- Functions: a declaration that differs does not compile --------------------------------- */

const char *dl_status_name(dl_status s);
const char *dl_strerror(dl_status s);
int dl_status_is(dl_status s, uint32_t question);
uint32_t dl_version(void);
const char *dl_version_string(void);
dl_config *dl_config_new(uint32_t header_version);
void dl_config_free(dl_config *cfg);
dl_status dl_config_set(dl_config *cfg, const char *key, const char *value, dl_error *err);
void dl_options(dl_option_fn fn, void *user_data);
dl_status dl_open(const dl_config *cfg, dl_log **out, dl_error *err);
dl_status dl_start(dl_log *log, dl_error *err);
dl_status dl_stop(dl_log *log, uint32_t timeout_ms);
void dl_close(dl_log *log);
dl_status dl_set(dl_log *log, const char *key, const char *value, dl_error *err);
dl_status dl_on_complete(dl_log *log, dl_complete_fn fn, void *user_data, dl_drop_fn drop);
dl_status dl_on_event(dl_log *log, dl_event_fn fn, void *user_data, dl_drop_fn drop);
dl_status dl_set_trace(uint32_t level, dl_trace_fn fn, void *user_data, dl_drop_fn drop);
dl_status dl_on_thread(dl_log *log, dl_thread_fn fn, void *user_data, dl_drop_fn drop);
dl_status dl_append_async(dl_log *log, const void *body, size_t len, const dl_append_opts *opts,
    dl_entry *out, dl_append_fn fn, void *user_data);
dl_status dl_append_batch_async(dl_log *log, const dl_bytes *bodies, size_t n, const dl_append_opts
    *opts, dl_entry *out, dl_append_fn fn, void *user_data);
dl_status dl_append(dl_log *log, const void *body, size_t len, const dl_append_opts *opts, dl_entry
    *out);
dl_status dl_register_append_hook(dl_log *log, dl_append_hook hook, void *user_data, dl_drop_fn
    drop, uint64_t *id);
dl_status dl_unregister_append_hook(dl_log *log, uint64_t id);
dl_status dl_read(dl_log *log, uint64_t index, const dl_read_opts *opts, dl_view *out);
dl_status dl_read_pos(dl_log *log, uint64_t pos, size_t max_len, dl_view *out);
dl_status dl_read_copy(dl_log *log, uint64_t index, void *buf, size_t cap, dl_entry *out);
dl_status dl_index_at(dl_log *log, uint64_t pos, uint64_t *index);
void dl_view_release(dl_view *view);
dl_status dl_segment_pin(dl_log *log, uint64_t pos, dl_segment *out);
void dl_segment_unpin(dl_segment *segment);
dl_status dl_get_state(dl_log *log, dl_state *out);
dl_status dl_failure(dl_log *log, dl_error *out);
dl_status dl_read_index(dl_log *log, uint32_t timeout_ms, uint64_t *index);
dl_status dl_read_index_async(dl_log *log, uint32_t timeout_ms, dl_index_fn fn, void *user_data);
dl_status dl_flush(dl_log *log, uint32_t timeout_ms);
dl_status dl_delete_prefix(dl_log *log, uint64_t index, dl_error *err);
dl_status dl_transfer_leader(dl_log *log, uint64_t node_id, uint32_t timeout_ms, dl_error *err);
dl_status dl_change_members(dl_log *log, const dl_change *changes, size_t n, uint32_t timeout_ms,
    dl_error *err);
dl_status dl_members(dl_log *log, dl_member_fn fn, void *user_data);
int32_t dl_poll(dl_log *log, uint32_t timeout_ms, uint32_t max);
int32_t dl_poll_fd(dl_log *log);
dl_status dl_metrics(dl_log *log, dl_metric_fn fn, void *user_data);

/* ---- Numbers --------------------------------------------------------------------------------- */

IS(DL_FOREVER == UINT32_MAX, value_of_DL_FOREVER);
IS(DL_VERSION == 0x00010000, value_of_DL_VERSION);
VALUE(DL_OK, 0)
VALUE(DL_E_INVALID, -1)
VALUE(DL_E_CONFIG, -2)
VALUE(DL_E_VERSION, -3)
VALUE(DL_E_STOPPED, -4)
VALUE(DL_E_DEADLOCK, -5)
VALUE(DL_E_FORKED, -6)
VALUE(DL_E_LOCKED, -7)
VALUE(DL_E_TOO_LARGE, -8)
VALUE(DL_E_UNSUPPORTED, -9)
VALUE(DL_E_RESOURCE, -10)
VALUE(DL_E_NOT_LEADER, -100)
VALUE(DL_E_NOT_READY, -101)
VALUE(DL_E_TRANSFERRING, -102)
VALUE(DL_E_PENDING_FULL, -103)
VALUE(DL_E_TIMED_OUT, -104)
VALUE(DL_E_LEADER_LOST, -105)
VALUE(DL_E_TERM_CHANGED, -106)
VALUE(DL_E_CHANGE_PENDING, -107)
VALUE(DL_E_NO_MEMBER, -108)
VALUE(DL_E_REJECTED, -109)
VALUE(DL_E_BEHIND, -110)
VALUE(DL_E_COMPACTED, -200)
VALUE(DL_E_NOT_COMMITTED, -201)
VALUE(DL_E_IO, -300)
VALUE(DL_E_DISK_FULL, -301)
VALUE(DL_E_CORRUPT, -302)
VALUE(DL_E_FAILED, -400)
VALUE(DL_E_PANIC, -401)
VALUE(DL_IS_RETRYABLE, 1)
VALUE(DL_IS_REDIRECT, 2)
VALUE(DL_IS_MAYBE_COMMITTED, 3)
VALUE(DL_IS_FATAL, 4)
VALUE(DL_ROLE_STOPPED, 0)
VALUE(DL_ROLE_FOLLOWER, 1)
VALUE(DL_ROLE_CANDIDATE, 2)
VALUE(DL_ROLE_LEADER, 3)
VALUE(DL_ROLE_LEARNER, 4)
VALUE(DL_LEVEL_ERROR, 1)
VALUE(DL_LEVEL_WARN, 2)
VALUE(DL_LEVEL_INFO, 3)
VALUE(DL_LEVEL_DEBUG, 4)
VALUE(DL_LEVEL_TRACE, 5)
VALUE(DL_EVENT_ROLE, 1)
VALUE(DL_EVENT_COMMIT, 2)
VALUE(DL_EVENT_BEGIN, 4)
VALUE(DL_EVENT_MEMBERS, 8)
VALUE(DL_EVENT_FAILED, 16)
VALUE(DL_READ_VERIFY, 1)
VALUE(DL_READ_SEQUENTIAL, 2)
VALUE(DL_MEMBER_ADD_LEARNER, 1)
VALUE(DL_MEMBER_PROMOTE, 2)
VALUE(DL_MEMBER_DEMOTE, 3)
VALUE(DL_MEMBER_REMOVE, 4)
VALUE(DL_MEMBER_MOVE, 5)

/* ---- Layouts --------------------------------------------------------------------------------- */

FIELD(dl_error, status, 0, 4)
FIELD(dl_error, sys_errno, 4, 4)
FIELD(dl_error, message, 8, 248)
SIZE(dl_error, 256)

FIELD(dl_mark, index, 0, 8)
FIELD(dl_mark, pos, 8, 8)
SIZE(dl_mark, 16)

FIELD(dl_entry, index, 0, 8)
FIELD(dl_entry, term, 8, 8)
FIELD(dl_entry, pos, 16, 8)
FIELD(dl_entry, body_pos, 24, 8)
FIELD(dl_entry, body, 32, 8)
FIELD(dl_entry, body_len, 40, 4)
FIELD(dl_entry, size, 44, 4)
FIELD(dl_entry, reserved, 48, 16)
SIZE(dl_entry, 64)

FIELD(dl_completion, user_data, 0, 8)
FIELD(dl_completion, status, 8, 4)
FIELD(dl_completion, count, 12, 4)
FIELD(dl_completion, index, 16, 8)
FIELD(dl_completion, term, 24, 8)
FIELD(dl_completion, pos, 32, 8)
FIELD(dl_completion, reserved, 40, 8)
SIZE(dl_completion, 48)

FIELD(dl_view, data, 0, 8)
FIELD(dl_view, len, 8, 8)
FIELD(dl_view, pos, 16, 8)
FIELD(dl_view, entries, 24, 8)
FIELD(dl_view, count, 32, 8)
FIELD(dl_view, next_index, 40, 8)
FIELD(dl_view, priv, 48, 16)
SIZE(dl_view, 64)

FIELD(dl_segment, base, 0, 8)
FIELD(dl_segment, pos, 8, 8)
FIELD(dl_segment, size, 16, 8)
FIELD(dl_segment, begin, 24, 8)
FIELD(dl_segment, priv, 32, 16)
SIZE(dl_segment, 48)

FIELD(dl_state, size, 0, 4)
FIELD(dl_state, role, 4, 4)
FIELD(dl_state, ready, 8, 4)
FIELD(dl_state, open_views, 12, 4)
FIELD(dl_state, node_id, 16, 8)
FIELD(dl_state, leader_id, 24, 8)
FIELD(dl_state, term, 32, 8)
FIELD(dl_state, begin, 40, 16)
FIELD(dl_state, committed, 56, 16)
FIELD(dl_state, flushed, 72, 16)
FIELD(dl_state, end, 88, 16)
SIZE(dl_state, 104)

FIELD(dl_append_opts, size, 0, 4)
FIELD(dl_append_opts, timeout_ms, 4, 4)
FIELD(dl_append_opts, expected_term, 8, 8)
SIZE(dl_append_opts, 16)

FIELD(dl_bytes, data, 0, 8)
FIELD(dl_bytes, len, 8, 8)
SIZE(dl_bytes, 16)

FIELD(dl_read_opts, size, 0, 4)
FIELD(dl_read_opts, flags, 4, 4)
FIELD(dl_read_opts, max_entries, 8, 4)
FIELD(dl_read_opts, timeout_ms, 12, 4)
FIELD(dl_read_opts, max_bytes, 16, 8)
SIZE(dl_read_opts, 24)

FIELD(dl_change, op, 0, 4)
FIELD(dl_change, reserved, 4, 4)
FIELD(dl_change, node_id, 8, 8)
FIELD(dl_change, address, 16, 8)
SIZE(dl_change, 24)

FIELD(dl_member, size, 0, 4)
FIELD(dl_member, voter, 4, 4)
FIELD(dl_member, node_id, 8, 8)
FIELD(dl_member, address, 16, 8)
FIELD(dl_member, match_index, 24, 8)
FIELD(dl_member, contact_ms, 32, 8)
SIZE(dl_member, 40)

FIELD(dl_metric, size, 0, 4)
FIELD(dl_metric, counter, 4, 4)
FIELD(dl_metric, name, 8, 8)
FIELD(dl_metric, help, 16, 8)
FIELD(dl_metric, label, 24, 8)
FIELD(dl_metric, value, 32, 8)
SIZE(dl_metric, 40)

/* ---- What can be looked at only by running ---------------------------------------------------- */

struct text {
    const char *is, *expected;
};
#define TEXT(macro, text) { macro, text },

static const struct text texts[] = {
TEXT(DL_OPT_DIR, "dir")
TEXT(DL_OPT_GROUP, "group")
TEXT(DL_OPT_NODE_ID, "node.id")
TEXT(DL_OPT_LISTEN, "node.listen")
TEXT(DL_OPT_PRIORITY, "node.priority")
TEXT(DL_OPT_MEMBERS, "members")
TEXT(DL_OPT_ADDRESSES, "member.addresses")
TEXT(DL_OPT_BEGIN_POS, "begin.pos")
TEXT(DL_OPT_SEGMENT_BYTES, "segment.bytes")
TEXT(DL_OPT_FLUSH, "flush")
TEXT(DL_OPT_APPEND_MAX, "append.max.bytes")
TEXT(DL_OPT_PENDING_MAX, "append.pending.max")
TEXT(DL_OPT_PENDING_BYTES, "append.pending.bytes")
TEXT(DL_OPT_APPEND_TIMEOUT, "append.timeout")
TEXT(DL_OPT_APPEND_STAMP, "append.stamp")
TEXT(DL_OPT_ELECTION, "election.timeout")
TEXT(DL_OPT_HEARTBEAT, "heartbeat.interval")
TEXT(DL_OPT_RETAIN_BYTES, "retention.bytes")
TEXT(DL_OPT_RETAIN_TIME, "retention.time")
TEXT(DL_OPT_DISK_FULL, "disk.full.ratio")
TEXT(DL_OPT_MISSING_TAIL, "recovery.missing.tail")
TEXT(DL_OPT_TLS_CERT, "tls.cert")
TEXT(DL_OPT_INSECURE, "insecure.listen")
TEXT(DL_OPT_CALLBACKS, "callbacks")
};

typedef void (*function)(void);
#define F(name) (function)name

/* Their addresses, so that each is in the library too. */
static const function functions[] = {
    F(dl_status_name),
    F(dl_strerror),
    F(dl_status_is),
    F(dl_version),
    F(dl_version_string),
    F(dl_config_new),
    F(dl_config_free),
    F(dl_config_set),
    F(dl_options),
    F(dl_open),
    F(dl_start),
    F(dl_stop),
    F(dl_close),
    F(dl_set),
    F(dl_on_complete),
    F(dl_on_event),
    F(dl_set_trace),
    F(dl_on_thread),
    F(dl_append_async),
    F(dl_append_batch_async),
    F(dl_append),
    F(dl_register_append_hook),
    F(dl_unregister_append_hook),
    F(dl_read),
    F(dl_read_pos),
    F(dl_read_copy),
    F(dl_index_at),
    F(dl_view_release),
    F(dl_segment_pin),
    F(dl_segment_unpin),
    F(dl_get_state),
    F(dl_failure),
    F(dl_read_index),
    F(dl_read_index_async),
    F(dl_flush),
    F(dl_delete_prefix),
    F(dl_transfer_leader),
    F(dl_change_members),
    F(dl_members),
    F(dl_poll),
    F(dl_poll_fd),
    F(dl_metrics),
};

int main(void) {
    const dl_state state = DL_STATE_INIT;
    const dl_append_opts append = DL_APPEND_OPTS_INIT;
    const dl_read_opts read = DL_READ_OPTS_INIT;
    size_t i, failures = 0;

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (strcmp(texts[i].is, texts[i].expected) != 0) {
            fprintf(stderr, "\"%s\" should be \"%s\"\n", texts[i].is, texts[i].expected);
            failures++;
        }
    }
    for (i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
        failures += functions[i] == 0;
    failures += sizeof(functions) / sizeof(functions[0]) != 42;

    failures += state.size != sizeof(state) || state.role != 0 || state.end.pos != 0;
    failures += append.size != sizeof(append) || append.timeout_ms != 0;
    failures += read.size != sizeof(read) || read.max_entries != 1 || read.max_bytes != 0;
    return failures == 0 ? 0 : 1;
}
