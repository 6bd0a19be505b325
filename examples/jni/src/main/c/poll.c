/*
 * Callbacks, without an upcall: inside dl_poll and dl_stop they write records of words, which Java
 * reads when the call is over.
 *
 *     completion  1, token, status, count, index, term, pos
 *     event       2, what, the words of a state
 *     read index  3, token, status, index
 */
#include "glue.h"
#include "io_dledger_Native.h"

#include <stdlib.h>

enum { COMPLETION = 1, EVENT = 2, READ_INDEX = 3 };

_Thread_local struct records *sink;

int reserve(struct records *records, size_t words) {
    if (records->cap - records->len >= words)
        return 1;
    size_t cap = records->cap * 2 > records->len + words ? records->cap * 2 : records->len + words;
    int64_t *grown = realloc(records->words, cap * sizeof(*grown));
    if (grown == NULL)
        return 0;
    records->words = grown;
    records->cap = cap;
    return 1;
}

/* A poll has reserved room for all it runs. At a stop memory may end: Java then completes what it
 * was told nothing of. */
static int64_t *record(size_t words) {
    if (sink == NULL || !reserve(sink, words))
        return NULL;
    int64_t *to = sink->words + sink->len;
    sink->len += words;
    return to;
}

void on_complete(void *user_data, const dl_completion *items, size_t n) {
    (void)user_data;
    for (size_t i = 0; i < n; i++) {
        int64_t *to = record(7);
        if (to == NULL)
            return;
        to[0] = COMPLETION;
        to[1] = (int64_t)(uintptr_t)items[i].user_data;
        to[2] = items[i].status;
        to[3] = items[i].count;
        to[4] = (int64_t)items[i].index;
        to[5] = (int64_t)items[i].term;
        to[6] = (int64_t)items[i].pos;
    }
}

void on_event(void *user_data, uint32_t what, const dl_state *now) {
    (void)user_data;
    int64_t *to = record(2 + STATE_WORDS);
    if (to == NULL)
        return;
    to[0] = EVENT;
    to[1] = what;
    put_state(to + 2, now);
}

void on_index(void *user_data, dl_status status, uint64_t index) {
    int64_t *to = record(4);
    if (to == NULL)
        return;
    to[0] = READ_INDEX;
    to[1] = (int64_t)(uintptr_t)user_data;
    to[2] = status;
    to[3] = (int64_t)index;
}

/* How many words there are, or a dl_status. */
JNIEXPORT jint JNICALL Java_io_dledger_Native_poll(JNIEnv *env, jclass class, jlong log,
                                                   jint timeout) {
    (void)env, (void)class;
    struct glue *glue = at(log);
    glue->polled.len = 0;
    sink = &glue->polled;
    int32_t ran = dl_poll(glue->log, (uint32_t)timeout, POLL_MAX);
    sink = NULL;
    return ran < 0 ? ran : (jint)glue->polled.len;
}

/* The memory that polls write to. */
JNIEXPORT jobject JNICALL Java_io_dledger_Native_polled(JNIEnv *env, jclass class, jlong log) {
    (void)class;
    struct records *polled = &((struct glue *)at(log))->polled;
    return (*env)->NewDirectByteBuffer(env, polled->words,
                                       (jlong)(polled->cap * sizeof(*polled->words)));
}

/* What the stop wrote, or null. */
JNIEXPORT jobject JNICALL Java_io_dledger_Native_last(JNIEnv *env, jclass class, jlong log) {
    (void)class;
    struct records *last = &((struct glue *)at(log))->last;
    if (last->len == 0)
        return NULL;
    return (*env)->NewDirectByteBuffer(env, last->words, (jlong)(last->len * sizeof(*last->words)));
}

JNIEXPORT jint JNICALL Java_io_dledger_Native_readIndex(JNIEnv *env, jclass class, jlong log,
                                                        jint timeout, jlong token) {
    (void)env, (void)class;
    return dl_read_index_async(log_at(log), (uint32_t)timeout, on_index, at(token));
}
