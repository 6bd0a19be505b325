/*
 * The C side of io.dledger: each function is one call of libdledger. Handles and addresses are
 * jlong, answers are jint (a dl_status), and what else comes back is written as int64_t words to an
 * address in a direct buffer of the caller. So there is nearly no JNI in it: no arrays are pinned,
 * no global reference is made, and what Java reads has the order of the words here, not of a struct.
 */
#ifndef GLUE_H
#define GLUE_H

#include <dledger.h>
#include <jni.h>
#include <stddef.h>
#include <stdint.h>

/* What callbacks said, as words: see poll.c. */
struct records {
    int64_t *words;
    size_t len, cap;
};

/* What a jlong `log` points to. */
struct glue {
    dl_log *log;
    struct records polled; /* of the last poll; its memory never moves */
    struct records last;   /* of the stop */
};

static inline void *at(jlong address) { return (void *)(uintptr_t)address; }
static inline dl_log *log_at(jlong address) { return ((struct glue *)at(address))->log; }

/* What Java may call back, found when the library is loaded; NULL if that failed. */
struct upcalls {
    jclass appends, native;
    jmethodID hook, option, member, metric;
};
extern struct upcalls upcalls;

/* UTF-8 as a new byte[]; NULL with an exception pending. Java makes the string of it: JNI's own
 * strings are of another encoding. */
jbyteArray bytes_of(JNIEnv *env, const char *text);

/* A copy of a byte[] with a NUL behind it, for free(3); NULL if there is no memory. */
char *text_of(JNIEnv *env, jbyteArray bytes);

/* The words of a state, in the order of io.dledger.LogState. */
enum { STATE_WORDS = 14 };
void put_state(int64_t *out, const dl_state *state);

/* Callbacks for dl_on_complete, dl_on_event and dl_read_index_async. */
void on_complete(void *user_data, const dl_completion *items, size_t n);
void on_event(void *user_data, uint32_t what, const dl_state *now);
void on_index(void *user_data, dl_status status, uint64_t index);

/* While a call is made on this thread that runs callbacks: where they write to. */
extern _Thread_local struct records *sink;

/* As many callbacks as one poll runs. */
enum { POLL_MAX = 256 };

/* Room for that many more words; 0 if there is no memory. */
int reserve(struct records *records, size_t words);

#endif
