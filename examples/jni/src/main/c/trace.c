/*
 * Diagnostics, without an upcall: the library's threads leave lines, and one thread of Java takes them.
 */
#include "glue.h"
#include "io_dledger_Native.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Lines that are kept for Java; what is said beyond is counted and dropped. */
enum { LINES_MAX = 1024 };

/* As Java gets it: the level in one byte, the target and a NUL, the message. */
struct line {
    struct line *next;
    size_t len;
    char bytes[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t said = PTHREAD_COND_INITIALIZER;
static struct line *first, **behind = &first;
static size_t lines, dropped;

static struct line *line_of(uint32_t level, const char *target, const char *message, size_t len) {
    size_t target_bytes = strlen(target) + 1;
    struct line *line = malloc(sizeof(*line) + 1 + target_bytes + len);
    if (line == NULL)
        return NULL;
    line->next = NULL;
    line->len = 1 + target_bytes + len;
    line->bytes[0] = (char)level;
    memcpy(line->bytes + 1, target, target_bytes);
    memcpy(line->bytes + 1 + target_bytes, message, len);
    return line;
}

static void on_trace(void *user_data, uint32_t level, const char *target, const char *message,
                     size_t len) {
    (void)user_data;
    struct line *line = line_of(level, target, message, len);
    pthread_mutex_lock(&lock);
    if (line != NULL && lines < LINES_MAX) {
        *behind = line;
        behind = &line->next;
        lines++;
        line = NULL;
    } else {
        dropped++;
    }
    pthread_cond_signal(&said);
    pthread_mutex_unlock(&lock);
    free(line);
}

/* Waits for one, and takes it. NULL if there is no memory. */
static struct line *take(void) {
    struct line *line = NULL;
    pthread_mutex_lock(&lock);
    while (first == NULL && dropped == 0)
        pthread_cond_wait(&said, &lock);
    if (first != NULL) {
        line = first;
        first = line->next;
        if (first == NULL)
            behind = &first;
        lines--;
    } else {
        char text[64];
        int len = snprintf(text, sizeof(text), "%zu lines were dropped", dropped);
        dropped = 0;
        line = line_of(DL_LEVEL_WARN, "io.dledger", text, (size_t)len);
    }
    pthread_mutex_unlock(&lock);
    return line;
}

/* Level 0 turns it off. */
JNIEXPORT jint JNICALL Java_io_dledger_Native_trace(JNIEnv *env, jclass class, jint level) {
    (void)env, (void)class;
    return dl_set_trace((uint32_t)level, level == 0 ? NULL : on_trace, NULL, NULL);
}

/* The next line, or null if there was no memory for it. */
JNIEXPORT jbyteArray JNICALL Java_io_dledger_Native_traced(JNIEnv *env, jclass class) {
    (void)class;
    struct line *line = take();
    if (line == NULL)
        return NULL;
    jbyteArray bytes = (*env)->NewByteArray(env, (jsize)line->len);
    if (bytes != NULL)
        (*env)->SetByteArrayRegion(env, bytes, 0, (jsize)line->len, (const jbyte *)line->bytes);
    free(line);
    return bytes;
}
