/* State, and reads that cannot be answered from a pinned segment. */
#include "glue.h"
#include "io_dledger_Native.h"

#include <stdlib.h>

void put_state(int64_t *out, const dl_state *state) {
    const int64_t words[STATE_WORDS] = {
        state->role,
        state->ready,
        (int64_t)state->node_id,
        (int64_t)state->leader_id,
        (int64_t)state->term,
        (int64_t)state->begin.index,
        (int64_t)state->begin.pos,
        (int64_t)state->committed.index,
        (int64_t)state->committed.pos,
        (int64_t)state->flushed.index,
        (int64_t)state->flushed.pos,
        (int64_t)state->end.index,
        (int64_t)state->end.pos,
        state->open_views,
    };
    for (int i = 0; i < STATE_WORDS; i++)
        out[i] = words[i];
}

/* out: the words of a state. */
JNIEXPORT jint JNICALL Java_io_dledger_Native_state(JNIEnv *env, jclass class, jlong log,
                                                    jlong out) {
    (void)env, (void)class;
    dl_state state = DL_STATE_INIT;
    dl_status status = dl_get_state(log_at(log), &state);
    if (status == DL_OK)
        put_state(at(out), &state);
    return status;
}

/* The committed position, or a dl_status. */
JNIEXPORT jlong JNICALL Java_io_dledger_Native_committed(JNIEnv *env, jclass class, jlong log) {
    (void)env, (void)class;
    dl_state state = DL_STATE_INIT;
    dl_status status = dl_get_state(log_at(log), &state);
    return status == DL_OK ? (jlong)state.committed.pos : status;
}

JNIEXPORT jint JNICALL Java_io_dledger_Native_failure(JNIEnv *env, jclass class, jlong log,
                                                      jlong err) {
    (void)env, (void)class;
    return dl_failure(log_at(log), at(err));
}

/* Where the entry of an index is. out: position, size with its header. Waits for its commit. */
JNIEXPORT jint JNICALL Java_io_dledger_Native_locate(JNIEnv *env, jclass class, jlong log,
                                                     jlong index, jint timeout, jlong out) {
    (void)env, (void)class;
    dl_view view = {0};
    dl_read_opts opts = DL_READ_OPTS_INIT;
    opts.timeout_ms = (uint32_t)timeout;
    dl_status status = dl_read(log_at(log), (uint64_t)index, &opts, &view);
    if (status != DL_OK)
        return status;
    int64_t *to = at(out);
    to[0] = (int64_t)view.entries[0].pos;
    to[1] = view.entries[0].size;
    dl_view_release(&view);
    return DL_OK;
}

/* The index, or a dl_status. */
JNIEXPORT jlong JNICALL Java_io_dledger_Native_indexAt(JNIEnv *env, jclass class, jlong log,
                                                       jlong position) {
    (void)env, (void)class;
    uint64_t index;
    dl_status status = dl_index_at(log_at(log), (uint64_t)position, &index);
    return status == DL_OK ? (jlong)index : status;
}

/* out: the length of the body, also with DL_E_TOO_LARGE. */
JNIEXPORT jint JNICALL Java_io_dledger_Native_readCopy(JNIEnv *env, jclass class, jlong log,
                                                       jlong index, jlong to, jint cap, jlong out) {
    (void)env, (void)class;
    dl_entry entry = {0};
    dl_status status = dl_read_copy(log_at(log), (uint64_t)index, at(to), (size_t)cap, &entry);
    *(int64_t *)at(out) = entry.body_len;
    return status;
}

/* out: the pin, to be given to unpin; position, size and first valid position of the segment. */
JNIEXPORT jint JNICALL Java_io_dledger_Native_pin(JNIEnv *env, jclass class, jlong log,
                                                  jlong position, jlong out) {
    (void)env, (void)class;
    dl_segment *segment = calloc(1, sizeof(*segment));
    if (segment == NULL)
        return DL_E_RESOURCE;
    dl_status status = dl_segment_pin(log_at(log), (uint64_t)position, segment);
    if (status != DL_OK) {
        free(segment);
        return status;
    }
    int64_t *to = at(out);
    to[0] = (int64_t)(uintptr_t)segment;
    to[1] = (int64_t)segment->pos;
    to[2] = (int64_t)segment->size;
    to[3] = (int64_t)segment->begin;
    return DL_OK;
}

/* A part of a pinned segment. */
JNIEXPORT jobject JNICALL Java_io_dledger_Native_window(JNIEnv *env, jclass class, jlong pin,
                                                        jlong offset, jint len) {
    (void)class;
    const dl_segment *segment = at(pin);
    return (*env)->NewDirectByteBuffer(env, (void *)(segment->base + offset), len);
}

/* Also when the log is closed; once for each pin. */
JNIEXPORT void JNICALL Java_io_dledger_Native_unpin(JNIEnv *env, jclass class, jlong pin) {
    (void)env, (void)class;
    dl_segment_unpin(at(pin));
    free(at(pin));
}
