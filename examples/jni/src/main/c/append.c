/*
 * Appends. Bodies lie in a direct buffer of the calling thread, one behind the other, so that
 * nothing of the heap is held while the append order is waited for, whoever holds it.
 *
 * A Java hook is given the bytes in that same buffer: the copy in the log is written there before
 * and taken from there after, so a hook that keeps its buffer can never write into the log's memory.
 */
#include "glue.h"
#include "io_dledger_Native.h"

#include <stdlib.h>
#include <string.h>

/* What needs no memory from malloc. */
enum { FEW = 128 };

/* The append that this thread is in, if there are hooks. */
struct appending {
    JNIEnv *env;
    jobject appends, scratch;
    const uint8_t *memory; /* where the scratch begins */
    uint8_t *body;         /* of the entry that hooks are called for */
    size_t len;
    uint64_t index;
};

static _Thread_local struct appending *appending;

static dl_status hook(void *user_data, const dl_entry *entry, uint8_t *body) {
    struct appending *now = appending;
    if (now == NULL)
        return DL_E_REJECTED; /* appends come from here only */
    JNIEnv *env = now->env;
    if (now->index != entry->index) {
        now->body += now->len;
        now->index = entry->index;
    }
    now->len = entry->body_len;
    memcpy(now->body, body, entry->body_len);
    jint refused = (*env)->CallStaticIntMethod(
        env, upcalls.appends, upcalls.hook, now->appends, now->scratch,
        (jint)(intptr_t)user_data, (jlong)entry->index, (jlong)entry->term, (jlong)entry->pos,
        (jint)(now->body - now->memory), (jint)entry->body_len);
    if ((*env)->ExceptionCheck(env) || refused)
        return DL_E_REJECTED; /* an exception that is pending is thrown when the append returns */
    memcpy(body, now->body, entry->body_len);
    return DL_OK;
}

/* out: the hook's id. */
JNIEXPORT jint JNICALL Java_io_dledger_Native_addHook(JNIEnv *env, jclass class, jlong log,
                                                      jint number, jlong out) {
    (void)env, (void)class;
    return dl_register_append_hook(log_at(log), hook, (void *)(intptr_t)number, NULL, at(out));
}

JNIEXPORT jint JNICALL Java_io_dledger_Native_removeHook(JNIEnv *env, jclass class, jlong log,
                                                         jlong id) {
    (void)env, (void)class;
    return dl_unregister_append_hook(log_at(log), (uint64_t)id);
}

static struct appending begin(JNIEnv *env, jobject appends, jobject scratch, jlong memory,
                              jlong body) {
    return (struct appending){env, appends, scratch, at(memory), at(body), 0, UINT64_MAX};
}

/* appends: null if there are no hooks. out: index, term, pos. */
JNIEXPORT jint JNICALL Java_io_dledger_Native_append(JNIEnv *env, jclass class, jlong log,
                                                     jobject appends, jobject scratch,
                                                     jlong memory, jlong body, jint len,
                                                     jint timeout, jlong term, jlong token,
                                                     jlong out) {
    (void)class;
    dl_append_opts opts = DL_APPEND_OPTS_INIT;
    dl_entry entry;
    dl_status status;
    opts.timeout_ms = (uint32_t)timeout;
    opts.expected_term = (uint64_t)term;
    if (appends == NULL) {
        status = dl_append_async(log_at(log), at(body), (size_t)len, &opts, &entry, NULL, at(token));
    } else {
        struct appending now = begin(env, appends, scratch, memory, body), *before = appending;
        appending = &now;
        status = dl_append_async(log_at(log), at(body), (size_t)len, &opts, &entry, NULL, at(token));
        appending = before;
    }
    if (status == DL_OK) {
        int64_t *to = at(out);
        to[0] = (int64_t)entry.index;
        to[1] = (int64_t)entry.term;
        to[2] = (int64_t)entry.pos;
    }
    return status;
}

static dl_status append_batch(jlong log, const int32_t *lens, size_t n, const uint8_t *body,
                              const dl_append_opts *opts, dl_bytes *bodies, dl_entry *entries,
                              void *token, int64_t *to) {
    for (size_t i = 0; i < n; i++) {
        bodies[i] = (dl_bytes){body, (size_t)lens[i]};
        body += lens[i];
    }
    dl_status status = dl_append_batch_async(log_at(log), bodies, n, opts, entries, NULL, token);
    if (status == DL_OK) {
        to[0] = (int64_t)entries[0].index;
        to[1] = (int64_t)entries[0].term;
        for (size_t i = 0; i < n; i++)
            to[2 + i] = (int64_t)entries[i].pos;
    }
    return status;
}

/* lens: n int32_t. out: index, term, n positions. */
JNIEXPORT jint JNICALL Java_io_dledger_Native_appendBatch(JNIEnv *env, jclass class, jlong log,
                                                          jobject appends, jobject scratch,
                                                          jlong memory, jlong body, jlong lens,
                                                          jint n, jint timeout, jlong term,
                                                          jlong token, jlong out) {
    (void)class;
    dl_bytes few_bodies[FEW], *bodies = few_bodies;
    dl_entry few_entries[FEW], *entries = few_entries;
    dl_append_opts opts = DL_APPEND_OPTS_INIT;
    opts.timeout_ms = (uint32_t)timeout;
    opts.expected_term = (uint64_t)term;
    if (n > FEW) {
        bodies = malloc((size_t)n * sizeof(*bodies));
        entries = malloc((size_t)n * sizeof(*entries));
    }
    dl_status status = DL_E_RESOURCE;
    if (bodies != NULL && entries != NULL) {
        struct appending now = begin(env, appends, scratch, memory, body), *before = appending;
        if (appends != NULL)
            appending = &now;
        status = append_batch(log, at(lens), (size_t)n, at(body), &opts, bodies, entries, at(token),
                              at(out));
        appending = before;
    }
    if (n > FEW) {
        free(bodies);
        free(entries);
    }
    return status;
}
