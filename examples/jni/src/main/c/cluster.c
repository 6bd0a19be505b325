/* What waits for the cluster or the disk, and lists. */
#include "glue.h"
#include "io_dledger_Native.h"

#include <stdlib.h>

JNIEXPORT jint JNICALL Java_io_dledger_Native_readIndexNow(JNIEnv *env, jclass class, jlong log,
                                                           jint timeout, jlong out) {
    (void)env, (void)class;
    return dl_read_index(log_at(log), (uint32_t)timeout, at(out));
}

JNIEXPORT jint JNICALL Java_io_dledger_Native_flush(JNIEnv *env, jclass class, jlong log,
                                                    jint timeout) {
    (void)env, (void)class;
    return dl_flush(log_at(log), (uint32_t)timeout);
}

JNIEXPORT jint JNICALL Java_io_dledger_Native_deletePrefix(JNIEnv *env, jclass class, jlong log,
                                                           jlong index, jlong err) {
    (void)env, (void)class;
    return dl_delete_prefix(log_at(log), (uint64_t)index, at(err));
}

JNIEXPORT jint JNICALL Java_io_dledger_Native_transfer(JNIEnv *env, jclass class, jlong log,
                                                       jlong node, jint timeout, jlong err) {
    (void)env, (void)class;
    return dl_transfer_leader(log_at(log), (uint64_t)node, (uint32_t)timeout, at(err));
}

/* changes: op and node id in turn; addresses: a byte[] or null for each change. */
JNIEXPORT jint JNICALL Java_io_dledger_Native_change(JNIEnv *env, jclass class, jlong log,
                                                     jlongArray numbers, jobjectArray addresses,
                                                     jint timeout, jlong err) {
    (void)class;
    jsize n = (*env)->GetArrayLength(env, addresses);
    dl_change *changes = calloc((size_t)n + 1, sizeof(*changes));
    dl_status status = changes != NULL ? DL_OK : DL_E_RESOURCE;
    for (jsize i = 0; i < n && status == DL_OK; i++) {
        jlong pair[2];
        (*env)->GetLongArrayRegion(env, numbers, 2 * i, 2, pair);
        if ((*env)->ExceptionCheck(env)) {
            status = DL_E_INVALID;
            break;
        }
        changes[i].op = (uint32_t)pair[0];
        changes[i].node_id = (uint64_t)pair[1];
        jbyteArray address = (*env)->GetObjectArrayElement(env, addresses, i);
        if (address != NULL) {
            changes[i].address = text_of(env, address);
            (*env)->DeleteLocalRef(env, address);
            if (changes[i].address == NULL)
                status = DL_E_RESOURCE;
        }
    }
    if (status == DL_OK)
        status = dl_change_members(log_at(log), changes, (size_t)n, (uint32_t)timeout, at(err));
    else
        *(dl_error *)at(err) = (dl_error){status, 0, "no memory for the changes"};
    for (jsize i = 0; changes != NULL && i < n; i++)
        free((char *)changes[i].address);
    free(changes);
    return status;
}

/* ---- Lists --------------------------------------------------------------------------------- */

/* Items are added by a call for each, on the thread that asked, while the library waits. After an
 * exception no more are added, and it is thrown when the function returns. */
struct listing {
    JNIEnv *env;
    jobject list;
};

static void add_member(void *user_data, const dl_member *m) {
    struct listing *listing = user_data;
    JNIEnv *env = listing->env;
    if ((*env)->ExceptionCheck(env))
        return;
    jbyteArray address = bytes_of(env, m->address);
    if (address == NULL)
        return;
    (*env)->CallStaticVoidMethod(env, upcalls.native, upcalls.member, listing->list,
                                 (jlong)m->node_id, address, (jboolean)(m->voter != 0),
                                 (jlong)m->match_index, (jlong)m->contact_ms);
    (*env)->DeleteLocalRef(env, address);
}

JNIEXPORT jint JNICALL Java_io_dledger_Native_members(JNIEnv *env, jclass class, jlong log,
                                                      jobject list) {
    (void)class;
    struct listing listing = {env, list};
    return dl_members(log_at(log), add_member, &listing);
}

static void add_metric(void *user_data, const dl_metric *m) {
    struct listing *listing = user_data;
    JNIEnv *env = listing->env;
    if ((*env)->ExceptionCheck(env) || (*env)->PushLocalFrame(env, 8) != 0)
        return;
    jbyteArray name = bytes_of(env, m->name);
    jbyteArray help = name != NULL ? bytes_of(env, m->help) : NULL;
    jbyteArray label = help != NULL ? bytes_of(env, m->label) : NULL;
    if (label != NULL)
        (*env)->CallStaticVoidMethod(env, upcalls.native, upcalls.metric, listing->list, name, help,
                                     label, (jboolean)(m->counter != 0), m->value);
    (*env)->PopLocalFrame(env, NULL);
}

JNIEXPORT jint JNICALL Java_io_dledger_Native_metrics(JNIEnv *env, jclass class, jlong log,
                                                      jobject list) {
    (void)class;
    struct listing listing = {env, list};
    return dl_metrics(log_at(log), add_metric, &listing);
}
