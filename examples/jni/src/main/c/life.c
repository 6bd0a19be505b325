/* Loading, options, and a log from open to close. */
#include "glue.h"
#include "io_dledger_Native.h"

#include <stdlib.h>
#include <string.h>

/* The longest record of one callback, in words. */
enum { RECORD_MAX = 2 + STATE_WORDS };

struct upcalls upcalls;

static int find_class(JNIEnv *env, const char *name, jclass *out) {
    jclass local = (*env)->FindClass(env, name);
    if (local == NULL)
        return 0;
    *out = (*env)->NewGlobalRef(env, local);
    (*env)->DeleteLocalRef(env, local);
    return *out != NULL;
}

static int find_method(JNIEnv *env, jclass class, const char *name, const char *type,
                       jmethodID *out) {
    *out = (*env)->GetStaticMethodID(env, class, name, type);
    return *out != NULL;
}

JNIEXPORT jint JNICALL JNI_OnLoad(JavaVM *vm, void *reserved) {
    JNIEnv *env;
    (void)reserved;
    if ((*vm)->GetEnv(vm, (void **)&env, JNI_VERSION_1_8) != JNI_OK)
        return JNI_ERR;
    int found =
        find_class(env, "io/dledger/Appends", &upcalls.appends) &&
        find_class(env, "io/dledger/Native", &upcalls.native) &&
        find_method(env, upcalls.appends, "runHook",
                    "(Lio/dledger/Appends;Lio/dledger/Scratch;IJJJII)I", &upcalls.hook) &&
        find_method(env, upcalls.native, "addOption", "(Ljava/util/List;[B[B[B[BZ)V",
                    &upcalls.option) &&
        find_method(env, upcalls.native, "addMember", "(Ljava/util/List;J[BZJJ)V",
                    &upcalls.member) &&
        find_method(env, upcalls.native, "addMetric", "(Ljava/util/List;[B[B[BZD)V",
                    &upcalls.metric);
    return found ? JNI_VERSION_1_8 : JNI_ERR; /* what was not found is pending as an exception */
}

/* ---- Texts --------------------------------------------------------------------------------- */

jbyteArray bytes_of(JNIEnv *env, const char *text) {
    jsize len = text != NULL ? (jsize)strlen(text) : 0;
    jbyteArray bytes = (*env)->NewByteArray(env, len);
    if (bytes != NULL && len > 0)
        (*env)->SetByteArrayRegion(env, bytes, 0, len, (const jbyte *)text);
    return bytes;
}

char *text_of(JNIEnv *env, jbyteArray bytes) {
    jsize len = (*env)->GetArrayLength(env, bytes);
    char *text = malloc((size_t)len + 1);
    if (text == NULL)
        return NULL;
    (*env)->GetByteArrayRegion(env, bytes, 0, len, (jbyte *)text);
    text[len] = 0;
    return text;
}

JNIEXPORT jint JNICALL Java_io_dledger_Native_version(JNIEnv *env, jclass class) {
    (void)env, (void)class;
    return (jint)dl_version();
}

JNIEXPORT jbyteArray JNICALL Java_io_dledger_Native_versionText(JNIEnv *env, jclass class) {
    (void)class;
    return bytes_of(env, dl_version_string());
}

JNIEXPORT jbyteArray JNICALL Java_io_dledger_Native_statusText(JNIEnv *env, jclass class,
                                                               jint status) {
    (void)class;
    return bytes_of(env, dl_strerror(status));
}

JNIEXPORT jboolean JNICALL Java_io_dledger_Native_statusIs(JNIEnv *env, jclass class, jint status,
                                                           jint question) {
    (void)env, (void)class;
    return dl_status_is(status, (uint32_t)question) != 0;
}

JNIEXPORT jlong JNICALL Java_io_dledger_Native_address(JNIEnv *env, jclass class, jobject buffer) {
    (void)class;
    return (jlong)(uintptr_t)(*env)->GetDirectBufferAddress(env, buffer);
}

/* ---- Options ------------------------------------------------------------------------------- */

/* Failures of our own, said as the library says its. */
static dl_status fail(dl_error *err, dl_status status, const char *message) {
    err->status = status;
    err->sys_errno = 0;
    strncpy(err->message, message, sizeof(err->message) - 1);
    err->message[sizeof(err->message) - 1] = 0;
    return status;
}

/* `pairs`: keys and values in turn. */
static dl_status configure(JNIEnv *env, dl_config *cfg, jobjectArray pairs, dl_error *err) {
    jsize count = (*env)->GetArrayLength(env, pairs);
    for (jsize i = 0; i + 1 < count; i += 2) {
        jbyteArray key = (*env)->GetObjectArrayElement(env, pairs, i);
        jbyteArray value = (*env)->GetObjectArrayElement(env, pairs, i + 1);
        char *key_text = text_of(env, key), *value_text = text_of(env, value);
        dl_status status = key_text != NULL && value_text != NULL
                               ? dl_config_set(cfg, key_text, value_text, err)
                               : fail(err, DL_E_RESOURCE, "no memory for an option");
        free(key_text);
        free(value_text);
        (*env)->DeleteLocalRef(env, key);
        (*env)->DeleteLocalRef(env, value);
        if (status != DL_OK)
            return status;
    }
    return DL_OK;
}

JNIEXPORT jint JNICALL Java_io_dledger_Native_check(JNIEnv *env, jclass class, jobjectArray pairs,
                                                    jlong err) {
    (void)class;
    dl_config *cfg = dl_config_new(DL_VERSION);
    if (cfg == NULL)
        return fail(at(err), DL_E_VERSION, "the native library is older than the Java library");
    dl_status status = configure(env, cfg, pairs, at(err));
    dl_config_free(cfg);
    return status;
}

struct listing {
    JNIEnv *env;
    jobject list;
};

static void add_option(void *user_data, const char *key, const char *type, const char *preset,
                       const char *doc, int changes_live) {
    struct listing *listing = user_data;
    JNIEnv *env = listing->env;
    if ((*env)->ExceptionCheck(env) || (*env)->PushLocalFrame(env, 8) != 0)
        return;
    const char *texts[4] = {key, type, preset, doc};
    jbyteArray bytes[4];
    int made = 0;
    while (made < 4 && (bytes[made] = bytes_of(env, texts[made])) != NULL)
        made++;
    if (made == 4)
        (*env)->CallStaticVoidMethod(env, upcalls.native, upcalls.option, listing->list, bytes[0],
                                     bytes[1], bytes[2], bytes[3], (jboolean)(changes_live != 0));
    (*env)->PopLocalFrame(env, NULL); /* an exception stays pending, and no more is added */
}

JNIEXPORT void JNICALL Java_io_dledger_Native_options(JNIEnv *env, jclass class, jobject list) {
    (void)class;
    struct listing listing = {env, list};
    dl_options(add_option, &listing);
}

/* ---- Life ---------------------------------------------------------------------------------- */

static void free_glue(struct glue *glue) {
    free(glue->polled.words);
    free(glue->last.words);
    free(glue);
}

static dl_status open_glue(const dl_config *cfg, struct glue *glue, dl_error *err) {
    if (!reserve(&glue->polled, (size_t)POLL_MAX * RECORD_MAX))
        return fail(err, DL_E_RESOURCE, "no memory for callbacks");
    dl_status status = dl_open(cfg, &glue->log, err);
    if (status != DL_OK)
        return status;
    status = dl_on_complete(glue->log, on_complete, glue, NULL);
    if (status == DL_OK)
        status = dl_on_event(glue->log, on_event, glue, NULL);
    if (status != DL_OK) {
        dl_close(glue->log);
        fail(err, status, dl_strerror(status));
    }
    return status;
}

JNIEXPORT jint JNICALL Java_io_dledger_Native_open(JNIEnv *env, jclass class, jobjectArray pairs,
                                                   jlong out, jlong err) {
    (void)class;
    dl_config *cfg = dl_config_new(DL_VERSION);
    if (cfg == NULL)
        return fail(at(err), DL_E_VERSION, "the native library is older than the Java library");
    struct glue *glue = calloc(1, sizeof(*glue));
    dl_status status = glue != NULL ? configure(env, cfg, pairs, at(err))
                                    : fail(at(err), DL_E_RESOURCE, "no memory for a log");
    if (status == DL_OK)
        status = open_glue(cfg, glue, at(err));
    dl_config_free(cfg);
    if (status == DL_OK)
        *(int64_t *)at(out) = (int64_t)(uintptr_t)glue;
    else if (glue != NULL)
        free_glue(glue);
    return status;
}

JNIEXPORT jint JNICALL Java_io_dledger_Native_start(JNIEnv *env, jclass class, jlong log,
                                                    jlong err) {
    (void)env, (void)class;
    return dl_start(log_at(log), at(err));
}

JNIEXPORT jint JNICALL Java_io_dledger_Native_stop(JNIEnv *env, jclass class, jlong log,
                                                   jint timeout) {
    (void)env, (void)class;
    struct glue *glue = at(log);
    sink = &glue->last;
    dl_status status = dl_stop(glue->log, (uint32_t)timeout);
    sink = NULL;
    return status;
}

JNIEXPORT void JNICALL Java_io_dledger_Native_close(JNIEnv *env, jclass class, jlong log) {
    (void)env, (void)class;
    struct glue *glue = at(log);
    sink = &glue->last;
    dl_close(glue->log);
    sink = NULL;
    free_glue(glue);
}

JNIEXPORT jint JNICALL Java_io_dledger_Native_set(JNIEnv *env, jclass class, jlong log,
                                                  jbyteArray key, jbyteArray value, jlong err) {
    (void)class;
    char *key_text = text_of(env, key), *value_text = text_of(env, value);
    dl_status status = key_text != NULL && value_text != NULL
                           ? dl_set(log_at(log), key_text, value_text, at(err))
                           : fail(at(err), DL_E_RESOURCE, "no memory for an option");
    free(key_text);
    free(value_text);
    return status;
}
