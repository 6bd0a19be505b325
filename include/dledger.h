/*
 * dledger.h - a replicated (Raft), memory-mapped commit log.  C99 and C++11, 64-bit targets.
 *
 * THE RULES.  They hold for every function, unless its own comment says otherwise.
 *
 * Status     A function returns DL_OK or a negative dl_status.  On failure it writes no output
 *            but *err.  A NULL where a pointer is needed is DL_E_INVALID, never a crash.
 * Life       dl_open (recovers the directory; no socket, no election, no callback) -> register
 *            hooks and callbacks -> dl_start (joins the cluster) -> ... -> dl_stop (the barrier:
 *            every append is completed, no callback runs any more, the directory is unlocked;
 *            reads still work) -> dl_close (frees the handle; views and pins outlive it).
 * Threads    Any function, any thread, any time, also at once on one dl_log; only dl_close must
 *            be the last.  A dl_config and a dl_view are used by one thread at a time (they may
 *            move between threads).
 * Waiting    Only functions marked [waits] can block on the disk or the cluster.  timeout_ms:
 *            0 = do not wait (and then the call is not [waits]), DL_FOREVER = no limit.
 * Memory     What you pass in is yours again when the call returns.  What you get is borrowed,
 *            and the comment says until when.  Nothing is ever given to free(3).  Release
 *            functions accept NULL.
 * Callbacks  Run one at a time per log, in order, on one library thread; with the option
 *            callbacks=poll only inside dl_poll(), on your thread, and the last ones inside
 *            dl_stop() or dl_close().  Exceptions: a dl_thread_fn runs on each thread that it
 *            tells of, in either mode; for dl_drop_fn, dl_trace_fn and hooks see there.  Never
 *            inside the call that caused them, but perhaps before it returns.  No lock is held:
 *            a callback may call anything that is not [waits] (those return DL_E_DEADLOCK
 *            there).  It must not block for long.  An exception that leaves it aborts the process
 *            with a message; to leave it by longjmp is undefined.  Pointers it was given are
 *            valid until it returns.
 * user_data  Never looked at.  Where a `drop` is taken, it is called exactly once, after the
 *            last use, on the thread that calls dl_close, dl_unregister_append_hook or
 *            dl_set_trace, or by the registering call itself if that fails.  See dl_drop_fn.
 * Order      Completions with DL_OK come in index order; any other may come before those of a
 *            lower index.  Before the DL_EVENT_ROLE that ends a leadership is delivered, every
 *            append of that term has been completed.
 * fork       A log does not survive fork().  In the child calls return DL_E_FORKED; dl_close,
 *            dl_view_release and dl_segment_unpin do nothing.
 * Signals    No handlers are installed; library threads block asynchronous signals.  Segments
 *            are allocated in full before they are mapped, so a full disk is DL_E_DISK_FULL.
 *            A medium error under a view is SIGBUS; dl_read_copy() returns DL_E_IO instead.
 * Failure    After a failed write or sync, or a bug (panic), the log stops for good: dl_append*,
 *            dl_start, dl_set, dl_flush, dl_delete_prefix, dl_read_index*, dl_transfer_leader and
 *            dl_change_members answer DL_E_FAILED at once; what waits is completed, and then
 *            comes DL_EVENT_FAILED.  Reads, dl_members and all else go on.  A bad read fails that
 *            one call.
 * ABI        Under one soname functions and frozen structs do not change, status numbers and
 *            option keys are not reused, and a struct that begins with `size` grows only at
 *            its end: what one side does not know reads as 0 (DL_E_UNSUPPORTED if you set
 *            it).  The library cannot be unloaded: dlclose() keeps it mapped.
 */
#ifndef DLEDGER_H
#define DLEDGER_H

#include <stddef.h>
#include <stdint.h>

#define DL_VERSION_MAJOR 0
#define DL_VERSION_MINOR 1
#define DL_VERSION_PATCH 0
#define DL_VERSION ((DL_VERSION_MAJOR << 24) | (DL_VERSION_MINOR << 16) | (DL_VERSION_PATCH << 8))

#if defined(__GNUC__)
#define DL_API __attribute__((visibility("default")))
#define DL_NODISCARD __attribute__((warn_unused_result))
#else
#define DL_API
#define DL_NODISCARD
#endif

#ifdef __cplusplus
#define DL_NOEXCEPT noexcept
extern "C" {
#else
#define DL_NOEXCEPT
#endif

#define DL_FOREVER UINT32_MAX

/* Initialisers of the structs that begin with `size`. */
#define DL_STATE_INIT { (uint32_t)sizeof(dl_state), 0, 0, 0, 0, 0, 0, {0, 0}, {0, 0}, {0, 0}, {0, 0} }
#define DL_APPEND_OPTS_INIT { (uint32_t)sizeof(dl_append_opts), 0, 0 }
#define DL_READ_OPTS_INIT { (uint32_t)sizeof(dl_read_opts), 0, 1, 0, 0 }

/* ---- Keys of options (the rest: dl_options() and the manual) ---------------------------- */

#define DL_OPT_DIR "dir"                         /* must be set */
#define DL_OPT_GROUP "group"                     /* the cluster's name; checked in each handshake */
#define DL_OPT_NODE_ID "node.id"                 /* 1 .. 2^63-1; must be set */
#define DL_OPT_LISTEN "node.listen"              /* "0.0.0.0:20911"; not needed by a group of one */
#define DL_OPT_PRIORITY "node.priority"          /* preferred leader: highest */
#define DL_OPT_MEMBERS "members"                 /* "1@a:20911,2@b:20911,3@c:20911", at birth.
                                                  * Not set: a group of one */
#define DL_OPT_ADDRESSES "member.addresses"      /* "2@b:20911": instead of the stored ones, here */
#define DL_OPT_BEGIN_POS "begin.pos"             /* "0"; at birth: position of the first entry, a
                                                  * multiple of segment.bytes; equal everywhere */
#define DL_OPT_SEGMENT_BYTES "segment.bytes"     /* "1GiB"; equal on all members, for ever */
#define DL_OPT_FLUSH "flush"                     /* "commit" (default) or an interval, "10ms" */
#define DL_OPT_APPEND_MAX "append.max.bytes"     /* "4MiB" */
#define DL_OPT_PENDING_MAX "append.pending.max"  /* "10000" entries */
#define DL_OPT_PENDING_BYTES "append.pending.bytes"
#define DL_OPT_APPEND_TIMEOUT "append.timeout"   /* "2500ms" */
#define DL_OPT_APPEND_STAMP "append.stamp"       /* "28:body_pos:be64": a hook without a call;
                                                  * a body too short for it: DL_E_REJECTED */
#define DL_OPT_ELECTION "election.timeout"
#define DL_OPT_HEARTBEAT "heartbeat.interval"
#define DL_OPT_RETAIN_BYTES "retention.bytes"    /* "off" (default) */
#define DL_OPT_RETAIN_TIME "retention.time"      /* "off" (default), "72h" */
#define DL_OPT_DISK_FULL "disk.full.ratio"       /* "0.90": appends end in DL_E_DISK_FULL above */
#define DL_OPT_MISSING_TAIL "recovery.missing.tail" /* "refuse" (default) | "clamp": unsafe, loses
                                                  * what was acknowledged */
#define DL_OPT_TLS_CERT "tls.cert"               /* + tls.key, tls.ca: PEM files, read by dl_start
                                                  * if the member listens.  Mutual TLS 1.3 between
                                                  * members; the certificate bears the URI
                                                  * dledger:<group>/<node.id> */
#define DL_OPT_INSECURE "insecure.listen"        /* "no" (default): without TLS loopback only */
#define DL_OPT_CALLBACKS "callbacks"             /* "thread" (default) or "poll" */
                                                 /* the rest: dl_options() and the manual */

/* ---- Status ------------------------------------------------------------------------------ */

#define DL_OK 0
/** The call was wrong: bad argument. */
#define DL_E_INVALID (-1)
/** Unknown option, or a value it does not take. */
#define DL_E_CONFIG (-2)
/** Header, library or files on disk do not fit each other. */
#define DL_E_VERSION (-3)
/** Not started, or stopped. */
#define DL_E_STOPPED (-4)
/** A [waits] function in a callback; in a hook any that takes a log, dl_open and dl_set_trace. */
#define DL_E_DEADLOCK (-5)
/** Opened by the parent process. */
#define DL_E_FORKED (-6)
/** Another process, or another handle, has the directory. */
#define DL_E_LOCKED (-7)
/** Body over append.max.bytes or append.pending.bytes, or does not fit the buffer. */
#define DL_E_TOO_LARGE (-8)
/** Not in this version. */
#define DL_E_UNSUPPORTED (-9)
/** Memory, threads, descriptors. */
#define DL_E_RESOURCE (-10)
/** The cluster cannot now: see dl_state.leader_id. */
#define DL_E_NOT_LEADER (-100)
/**
 * Leader without a committed entry of its term: for dl_change_members.  Appends are taken, and
 * dl_read_index waits for it.
 */
#define DL_E_NOT_READY (-101)
/** Leadership is on its way to another member. */
#define DL_E_TRANSFERRING (-102)
/**
 * append.pending.max or .bytes reached, or no segment or index units are ready yet to take more;
 * nothing was appended.
 */
#define DL_E_PENDING_FULL (-103)
/** For an append: it may still commit. */
#define DL_E_TIMED_OUT (-104)
/** Deposed before the commit was known: it may still commit. */
#define DL_E_LEADER_LOST (-105)
/** expected_term does not hold; nothing was appended. */
#define DL_E_TERM_CHANGED (-106)
/** A membership change is under way. */
#define DL_E_CHANGE_PENDING (-107)
/** No member has this node_id. */
#define DL_E_NO_MEMBER (-108)
/** An append hook refused; nothing was appended. */
#define DL_E_REJECTED (-109)
/** This member fell behind what the others still keep.  No function of this version returns it. */
#define DL_E_BEHIND (-110)
/** The place is not in the log: before dl_state.begin. */
#define DL_E_COMPACTED (-200)
/** The place is not in the log: at or after dl_state.committed. */
#define DL_E_NOT_COMMITTED (-201)
/** The storage failed. */
#define DL_E_IO (-300)
/** The disk is full, or above disk.full.ratio. */
#define DL_E_DISK_FULL (-301)
/** Checksum or structure.  Where: *err of dl_open(); of a read, dl_failure(). */
#define DL_E_CORRUPT (-302)
/** The log stopped for good: see dl_failure(). */
#define DL_E_FAILED (-400)
/** A bug in the library, caught. */
#define DL_E_PANIC (-401)
/** A question for dl_status_is(): the same call may succeed here a little later. */
#define DL_IS_RETRYABLE 1
/** Another member can serve it now. */
#define DL_IS_REDIRECT 2
/**
 * Asked about a completion or dl_append(): the append may be in the log, now or later.  What
 * dl_append_async or dl_append_batch_async refused at once was not appended.
 */
#define DL_IS_MAYBE_COMMITTED 3
/** This log will never work again; reopen it. */
#define DL_IS_FATAL 4

/** DL_OK or one of the negative numbers DL_E_... */
typedef int32_t dl_status;

/** Details of one failure, in memory of the caller.  Frozen: 256 bytes. */
typedef struct dl_error {
    dl_status status;
    /** 0 if the system had no part in it. */
    int32_t sys_errno;
    /** UTF-8, NUL-terminated. */
    char message[248];
} dl_error;

/** "DL_E_NOT_LEADER"; static. */
DL_API const char *dl_status_name(dl_status s) DL_NOEXCEPT;

/** One sentence; static. */
DL_API const char *dl_strerror(dl_status s) DL_NOEXCEPT;

/** 1 if the answer to the question (DL_IS_...) is yes, else 0; for DL_OK always 0. */
DL_API int dl_status_is(dl_status s, uint32_t question) DL_NOEXCEPT;

/** As DL_VERSION, at run time. */
DL_API uint32_t dl_version(void) DL_NOEXCEPT;

/** "0.1.0 (git 1a2b3c4) ..."; static. */
DL_API const char *dl_version_string(void) DL_NOEXCEPT;

/* ---- Types ------------------------------------------------------------------------------- */

/** Not started, or stopped. */
#define DL_ROLE_STOPPED 0
#define DL_ROLE_FOLLOWER 1
#define DL_ROLE_CANDIDATE 2
#define DL_ROLE_LEADER 3
/** Receives the log and has no vote. */
#define DL_ROLE_LEARNER 4
/** Levels of dl_set_trace(). */
#define DL_LEVEL_ERROR 1
#define DL_LEVEL_WARN 2
#define DL_LEVEL_INFO 3
#define DL_LEVEL_DEBUG 4
#define DL_LEVEL_TRACE 5

/**
 * Called once when `user_data` is not needed any more.  Like a callback it may call anything that
 * is not [waits], also on the log that dl_close is closing: that one answers as after dl_stop, and
 * nothing can be registered with it.
 */
typedef void (*dl_drop_fn)(void *user_data);

/** A boundary in the log: the first entry, and the first byte, behind it. */
typedef struct dl_mark {
    uint64_t index;
    uint64_t pos;
} dl_mark;

/** One entry.  Index, term and positions are equal on all members.  Frozen: 64 bytes. */
typedef struct dl_entry {
    /** From 0, without gaps: the library's own Raft entries take none. */
    uint64_t index;
    uint64_t term;
    /** Of the 48-byte header, in bytes from the beginning of time. */
    uint64_t pos;
    /** = pos + 48: the broker's physical offset. */
    uint64_t body_pos;
    /** NULL where no bytes come with it. */
    const uint8_t *body;
    uint32_t body_len;
    /** 48 + body_len: the header's size field. */
    uint32_t size;
    uint64_t reserved[2];
} dl_entry;

/** The end of one append.  Frozen: 48 bytes. */
typedef struct dl_completion {
    void *user_data;
    /** DL_OK: committed.  Else ask DL_IS_MAYBE_COMMITTED. */
    dl_status status;
    /** Entries of the call. */
    uint32_t count;
    /** Of its first entry, as term and pos. */
    uint64_t index;
    uint64_t term;
    uint64_t pos;
    uint64_t reserved;
} dl_completion;

/** A pinned piece of the log.  Frozen: 64 bytes. */
typedef struct dl_view {
    /** Bytes pos .. pos + len, records with their headers. */
    const uint8_t *data;
    size_t len;
    uint64_t pos;
    /** NULL from dl_read_pos(). */
    const dl_entry *entries;
    size_t count;
    /** Where to go on reading. */
    uint64_t next_index;
    void *priv[2];
} dl_view;

/** One data segment, mapped whole and pinned.  Frozen: 48 bytes. */
typedef struct dl_segment {
    /** segment.bytes long; read only below dl_state.committed.pos. */
    const uint8_t *base;
    /** Position of base[0]: a multiple of segment.bytes. */
    uint64_t pos;
    /** = segment.bytes. */
    uint64_t size;
    /** First valid position in it. */
    uint64_t begin;
    void *priv[2];
} dl_segment;

/** How things are; always begin <= committed <= end and flushed <= end, index and pos alike. */
typedef struct dl_state {
    /** In: sizeof(dl_state). */
    uint32_t size;
    /** DL_ROLE_... */
    uint32_t role;
    /** 1: leader, and its term has a committed entry. */
    uint32_t ready;
    uint32_t open_views;
    uint64_t node_id;
    /** 0 = unknown. */
    uint64_t leader_id;
    uint64_t term;
    /** Kept: begin.index <= i. */
    dl_mark begin;
    /** Readable: i < committed.index. */
    dl_mark committed;
    /** On this member's disk: i < flushed.index. */
    dl_mark flushed;
    /** Appended: i < end.index. */
    dl_mark end;
} dl_state;

/* ---- Configuration ----------------------------------------------------------------------- */

/** Options to open a log with.  Used by one thread at a time. */
typedef struct dl_config dl_config;

/** Called for one option.  type says what text is taken, preset is the default. */
typedef void (*dl_option_fn)(void *user_data,
                             const char *key,
                             const char *type,
                             const char *preset,
                             const char *doc,
                             int changes_live);

/** header_version: DL_VERSION.  NULL if this header is newer than the library. */
DL_API dl_config *dl_config_new(uint32_t header_version) DL_NOEXCEPT;

/** NULL is accepted. */
DL_API void dl_config_free(dl_config *cfg) DL_NOEXCEPT;

/** Sets one option by text.  Checked at once: DL_E_CONFIG, and *err says what is allowed. */
DL_API
dl_status dl_config_set(dl_config *cfg,
                        const char *key,
                        const char *value,
                        dl_error *err)
DL_NOEXCEPT;

/**
 * Calls fn here and now for each option there is.  The strings are static.  Without a fn it does
 * nothing.
 */
DL_API void dl_options(dl_option_fn fn, void *user_data) DL_NOEXCEPT;

/* ---- Life -------------------------------------------------------------------------------- */

/** One member of one replicated log.  Any thread, any time; only dl_close must be the last. */
typedef struct dl_log dl_log;

/**
 * Locks and recovers the directory, or makes it.  No socket, no election, no callback.  Begin is
 * final; committed is a lower bound that was durable; end may still fall, never below committed,
 * when a leader's log differs.  cfg stays yours and may be freed or used again.  [waits] for the
 * disk.
 */
DL_API
DL_NODISCARD
dl_status dl_open(const dl_config *cfg,
                  dl_log **out,
                  dl_error *err)
DL_NOEXCEPT;

/**
 * Listens and joins the cluster.  Does not wait for a leader, but reads the files of tls.* and
 * resolves node.listen, which may take a moment.  Once in the life of a handle; if it fails it may
 * be called again.  But if the system has no thread for it the log has failed: DL_E_RESOURCE, and
 * only a reopen goes on.
 */
DL_API DL_NODISCARD dl_status dl_start(dl_log *log, dl_error *err) DL_NOEXCEPT;

/**
 * Leaves: refuses new appends with DL_E_STOPPED, waits up to timeout_ms for appends in flight,
 * completes the rest with DL_E_STOPPED, flushes.  When it returns no callback runs or will run
 * (with callbacks=poll it wakes dl_poll, waits until that has returned, and runs the last ones
 * itself).  It waits without limit for a callback that is running: hold no lock that one takes.
 * Every other wait ends with DL_E_STOPPED.  The directory is unlocked and may be opened again,
 * while this handle goes on reading below the committed mark it had; reads no longer wait.
 * DL_E_TIMED_OUT: stopped as well, but some outcomes are unknown, or the last sync is not over
 * (the lock is then kept).  DL_E_FAILED: stopped as well, but the log had failed, or did so now:
 * not all that was acknowledged need be on this disk.  Twice is harmless: the second call answers
 * DL_OK, also after a first that did not and while the directory is still locked.  In a callback
 * or hook: DL_E_DEADLOCK.  [waits]
 */
DL_API dl_status dl_stop(dl_log *log, uint32_t timeout_ms) DL_NOEXCEPT;

/**
 * Frees the handle; stops it first if need be, with timeout 0.  That ends what is in flight with
 * DL_E_STOPPED, and waits a little: half a second for the last sync, and without limit for a
 * callback that is running.  A longer sync goes on behind dl_close, and until it is over the
 * directory stays locked (dl_open: DL_E_LOCKED).  Call dl_stop first, with a timeout that suits the
 * disk: it waits longer, and tells.  The one function that must not run at the same time as another
 * on this handle, but for what a `drop` calls that it runs.  Views and pinned segments outlive it.
 * In a callback or hook it does nothing.
 */
DL_API void dl_close(dl_log *log) DL_NOEXCEPT;

/** Changes an option of an open log; only those that dl_options() calls live. */
DL_API
dl_status dl_set(dl_log *log,
                 const char *key,
                 const char *value,
                 dl_error *err)
DL_NOEXCEPT;

/* ---- What the library calls by itself ---------------------------------------------------- */

/** A bit of `what`: role, term, leader_id or ready. */
#define DL_EVENT_ROLE 1
/** Committed moved: there is something to read. */
#define DL_EVENT_COMMIT 2
/** Begin moved: retention, or a snapshot was installed. */
#define DL_EVENT_BEGIN 4
/** See dl_members(). */
#define DL_EVENT_MEMBERS 8
/** See dl_failure(). */
#define DL_EVENT_FAILED 16

/**
 * Completions of the appends that were given no callback of their own: all that are due, but
 * at most 256 at a time.
 */
typedef void (*dl_complete_fn)(void *user_data, const dl_completion *items, size_t n);

/**
 * `what` changed, and `now` is how things are.  The first call has every bit but FAILED set.
 * Role changes come one by one, the others may come merged.
 */
typedef void (*dl_event_fn)(void *user_data, uint32_t what, const dl_state *now);

/**
 * First and last thing each library thread that serves this log does; `callbacks` is 1 on the
 * thread that runs callbacks.  Here a virtual machine attaches and detaches it.  The last calls
 * come before dl_stop returns: a thread that still hangs in a sync then (DL_E_TIMED_OUT) makes none
 * when it ends, at a later time.  Not called on the two threads that serve all logs of the process,
 * a helper and a listener: of callbacks they run dl_trace_fn only.
 */
typedef void (*dl_thread_fn)(void *user_data, int starts, int callbacks);

/**
 * Sets the function for completions.  Between dl_open and dl_start, as the other dl_on_
 * functions: nothing is missed.  DL_E_INVALID after dl_start, unless that failed: then what was set
 * stays, and may be set anew.  On a log that was stopped before it was started it is kept for its
 * `drop`, and never called.
 */
DL_API
dl_status dl_on_complete(dl_log *log,
                         dl_complete_fn fn,
                         void *user_data,
                         dl_drop_fn drop)
DL_NOEXCEPT;

/** Sets the function for events.  When: as dl_on_complete(). */
DL_API
dl_status dl_on_event(dl_log *log,
                      dl_event_fn fn,
                      void *user_data,
                      dl_drop_fn drop)
DL_NOEXCEPT;

/** Sets the function for threads.  When: as dl_on_complete(). */
DL_API
dl_status dl_on_thread(dl_log *log,
                       dl_thread_fn fn,
                       void *user_data,
                       dl_drop_fn drop)
DL_NOEXCEPT;

/* ---- Diagnostics ------------------------------------------------------------------------- */

/**
 * The one callback that comes from ANY library thread, and from inside your own calls, several
 * at once.  It must call no dl_ function.  `message` is UTF-8 of `len` bytes, not
 * NUL-terminated, for the duration of the call, and so is `target`, which is NUL-terminated.
 */
typedef void (*dl_trace_fn)(void *user_data,
                            uint32_t level,
                            const char *target,
                            const char *message,
                            size_t len);

/**
 * Diagnostics up to `level`, for the whole process, at any time.  fn NULL turns it off; when
 * dl_set_trace returns, the function before runs no more.  In a dl_trace_fn or a hook:
 * DL_E_DEADLOCK.
 */
DL_API
dl_status dl_set_trace(uint32_t level,
                       dl_trace_fn fn,
                       void *user_data,
                       dl_drop_fn drop)
DL_NOEXCEPT;

/* ---- Append ------------------------------------------------------------------------------ */

/** How to append; NULL instead is DL_APPEND_OPTS_INIT. */
typedef struct dl_append_opts {
    /** In: sizeof(dl_append_opts). */
    uint32_t size;
    /** 0 = append.timeout. */
    uint32_t timeout_ms;
    /** 0 = any; else fails unless the leader's term is this one. */
    uint64_t expected_term;
} dl_append_opts;

/** The end of one append. */
typedef void (*dl_append_fn)(void *user_data, const dl_completion *c);

/** Bytes of the caller. */
typedef struct dl_bytes {
    const void *data;
    size_t len;
} dl_bytes;

/**
 * Called for each entry you append, here as the leader, ON THE APPENDING THREAD inside its
 * dl_append* call, under the append order: index, term and positions are final, the checksum
 * is not computed, nothing has been sent.  body (entry->body_len bytes, the copy that will be
 * written) may be changed, its length not.  Anything but DL_OK refuses the whole call
 * (DL_E_REJECTED) and uses up no index.  All appends wait for it: keep it to nanoseconds, call
 * no dl_ function, take no lock an appender may hold.  Not called on followers, which receive
 * the bytes as it left them.
 */
typedef dl_status (*dl_append_hook)(void *user_data, const dl_entry *entry, uint8_t *body);

/**
 * Appends one entry.  Before it returns the body has been copied and `out` (NULL: not wanted;
 * out->body is NULL) tells the index and positions it has for ever, if it commits.  Entries get
 * their indexes in the order of the calls.  fn is called exactly once if and only if DL_OK is
 * returned; without fn the completion goes to dl_on_complete.  opts may be NULL.  Does not wait:
 * DL_E_PENDING_FULL when too much is in flight; an append is in flight until its callback is
 * called, or the first of those that are called with it, 256 at most.
 */
DL_API
DL_NODISCARD
dl_status dl_append_async(dl_log *log,
                          const void *body,
                          size_t len,
                          const dl_append_opts *opts,
                          dl_entry *out,
                          dl_append_fn fn,
                          void *user_data)
DL_NOEXCEPT;

/**
 * Appends n entries with consecutive indexes, all or none; one completion, when the last is
 * committed.  out: n elements or NULL.  All or none through a crash or the loss of a leadership
 * as well while together, with headers, they are at most 1 MiB and segment.bytes - 8 (they then
 * roll together); beyond that either may keep a prefix.  More than the limits ever allow:
 * DL_E_TOO_LARGE.  n = 0: invalid.
 */
DL_API
DL_NODISCARD
dl_status dl_append_batch_async(dl_log *log,
                                const dl_bytes *bodies,
                                size_t n,
                                const dl_append_opts *opts,
                                dl_entry *out,
                                dl_append_fn fn,
                                void *user_data)
DL_NOEXCEPT;

/** Appends one entry and waits until it is committed.  [waits] */
DL_API
DL_NODISCARD
dl_status dl_append(dl_log *log,
                    const void *body,
                    size_t len,
                    const dl_append_opts *opts,
                    dl_entry *out)
DL_NOEXCEPT;

/** Hooks run in the order of registration, which ends with dl_start.  id may be NULL. */
DL_API
dl_status dl_register_append_hook(dl_log *log,
                                  dl_append_hook hook,
                                  void *user_data,
                                  dl_drop_fn drop,
                                  uint64_t *id)
DL_NOEXCEPT;

/** When it returns the hook neither runs nor will run.  DL_E_INVALID if there is none of this id. */
DL_API dl_status dl_unregister_append_hook(dl_log *log, uint64_t id) DL_NOEXCEPT;

/* ---- Read -------------------------------------------------------------------------------- */

/** A flag of dl_read_opts: compare checksums. */
#define DL_READ_VERIFY 1
/** Read ahead. */
#define DL_READ_SEQUENTIAL 2

/** How to read; NULL instead is DL_READ_OPTS_INIT. */
typedef struct dl_read_opts {
    /** In: sizeof(dl_read_opts). */
    uint32_t size;
    /** DL_READ_... */
    uint32_t flags;
    /** 0 = 1. */
    uint32_t max_entries;
    /** How long to wait for the first entry to be committed. */
    uint32_t timeout_ms;
    /** 0 = no limit; the first entry comes in any case. */
    uint64_t max_bytes;
} dl_read_opts;

/**
 * Pins committed entries from `index` on, without a copy, as many as the limits allow and lie
 * in one segment.  Release *out with dl_view_release().  opts may be NULL: one entry, now.  To
 * scan, go on at out->next_index; with a timeout this follows the log.  DL_E_COMPACTED;
 * DL_E_NOT_COMMITTED, also when the time is over.  [waits] with a timeout only.
 */
DL_API
dl_status dl_read(dl_log *log,
                  uint64_t index,
                  const dl_read_opts *opts,
                  dl_view *out)
DL_NOEXCEPT;

/**
 * Pins committed bytes from any position on: up to max_len, the end of the segment or
 * committed.pos.  out->entries is NULL.
 */
DL_API dl_status dl_read_pos(dl_log *log, uint64_t pos, size_t max_len, dl_view *out) DL_NOEXCEPT;

/**
 * Copies one body into buf by read(2), and verifies it.  DL_E_TOO_LARGE: *out is filled in all
 * the same and tells body_len.  out->body is buf.  out may be NULL, and buf if cap is 0.  What is
 * in buf after a failure is undefined.  [waits] for the disk.
 */
DL_API
dl_status dl_read_copy(dl_log *log,
                       uint64_t index,
                       void *buf,
                       size_t cap,
                       dl_entry *out)
DL_NOEXCEPT;

/** Which committed entry has the byte at pos?  In a blank: the next one. */
DL_API dl_status dl_index_at(dl_log *log, uint64_t pos, uint64_t *index) DL_NOEXCEPT;

/**
 * Unpins, and clears *view: twice is harmless, but release only one of two copies.  Until then
 * the file keeps its blocks on disk, deleted or not.  Also after dl_stop() and dl_close().
 */
DL_API void dl_view_release(dl_view *view) DL_NOEXCEPT;

/**
 * Pins the whole segment that has `pos`, for a caller that keeps its own table of segments (one
 * DirectByteBuffer each, say) and reads without a call.  Release *out with dl_segment_unpin().
 * DL_E_COMPACTED; DL_E_NOT_COMMITTED.
 */
DL_API dl_status dl_segment_pin(dl_log *log, uint64_t pos, dl_segment *out) DL_NOEXCEPT;

/** Unpins, and clears *segment, as dl_view_release() does. */
DL_API void dl_segment_unpin(dl_segment *segment) DL_NOEXCEPT;

/* ---- State and durability ---------------------------------------------------------------- */

/** The end of dl_read_index_async(). */
typedef void (*dl_index_fn)(void *user_data, dl_status status, uint64_t index);

/** One consistent snapshot; takes no lock.  Set out->size first (DL_STATE_INIT). */
DL_API dl_status dl_get_state(dl_log *log, dl_state *out) DL_NOEXCEPT;

/**
 * Why the log failed: the first cause, which is also returned.  DL_OK if it has not; then
 * out->message tells what the last read met that ended in DL_E_CORRUPT or DL_E_IO, on whatever
 * thread, and is "" if none did.  The position in it ("damaged at position 4096: ...") is one in
 * the log, or if the text says "in the index files" the offset of a unit in these.
 */
DL_API dl_status dl_failure(dl_log *log, dl_error *out) DL_NOEXCEPT;

/**
 * The linearizable read barrier: asks a majority, on any member, and ends when the log here is
 * committed up to *index.  What is read below *index then includes every append that was
 * completed before the call.  With timeout_ms 0 it asks and does not wait: DL_E_TIMED_OUT is the
 * answer then, and says only that the log runs.  [waits]
 */
DL_API dl_status dl_read_index(dl_log *log, uint32_t timeout_ms, uint64_t *index) DL_NOEXCEPT;

/**
 * dl_read_index() that does not wait: fn is called exactly once if and only if DL_OK is returned.
 * DL_E_PENDING_FULL while append.pending.max of them are under way.
 */
DL_API
dl_status dl_read_index_async(dl_log *log,
                              uint32_t timeout_ms,
                              dl_index_fn fn,
                              void *user_data)
DL_NOEXCEPT;

/**
 * Puts all that is appended here now on this member's disk.  DL_E_DISK_FULL while a write waits
 * for room.  With timeout_ms 0 it asks and does not wait, also in a callback: DL_E_TIMED_OUT is the
 * answer then, the sync is made all the same, and dl_state.flushed tells.  [waits]
 */
DL_API dl_status dl_flush(dl_log *log, uint32_t timeout_ms) DL_NOEXCEPT;

/**
 * Forgets, on this member, whole segments that lie before `index`; not above committed.  Begin
 * moves a little later, with DL_EVENT_BEGIN; not at all if the log is damaged where it would begin.
 */
DL_API dl_status dl_delete_prefix(dl_log *log, uint64_t index, dl_error *err) DL_NOEXCEPT;

/* ---- Cluster ----------------------------------------------------------------------------- */

/** An op of dl_change: needs address. */
#define DL_MEMBER_ADD_LEARNER 1
/** Learner to voter, once it has caught up. */
#define DL_MEMBER_PROMOTE 2
#define DL_MEMBER_DEMOTE 3
#define DL_MEMBER_REMOVE 4
/** New address. */
#define DL_MEMBER_MOVE 5

/** One change of the members.  Frozen: 24 bytes. */
typedef struct dl_change {
    /** DL_MEMBER_... */
    uint32_t op;
    uint32_t reserved;
    uint64_t node_id;
    /** Of ADD_LEARNER and MOVE, "host:port"; else NULL, or DL_E_INVALID. */
    const char *address;
} dl_change;

/** One member. */
typedef struct dl_member {
    /** Out: sizeof(dl_member) in the library. */
    uint32_t size;
    uint32_t voter;
    uint64_t node_id;
    const char *address;
    /** 0 unless known here (on the leader). */
    uint64_t match_index;
    /** Since it was last heard; UINT64_MAX = never. */
    uint64_t contact_ms;
} dl_member;

/** Called for one member; *m is valid for that call. */
typedef void (*dl_member_fn)(void *user_data, const dl_member *m);

/**
 * To node_id, or with 0 to the best voter.  Leader only.  Appends are refused meanwhile
 * (DL_E_TRANSFERRING): up to one election.timeout until what is in flight is committed, and up to
 * one more until the other leads, also beyond timeout_ms.  DL_OK: the other leads.
 * DL_E_NO_MEMBER: no such voter.  DL_E_CHANGE_PENDING: another transfer is under way.
 * DL_E_TIMED_OUT: it did not take it, or not yet.  With timeout_ms 0 it begins and returns: watch
 * the events.  [waits]
 */
DL_API
dl_status dl_transfer_leader(dl_log *log,
                             uint64_t node_id,
                             uint32_t timeout_ms,
                             dl_error *err)
DL_NOEXCEPT;

/**
 * All n changes in one step; DL_MEMBER_MOVE not together with others.  Leader only, and it does
 * not remove or demote itself.  DL_OK: in force here.  DL_E_CHANGE_PENDING: another one is under
 * way.  DL_E_LEADER_LOST, DL_E_TIMED_OUT: what was proposed goes on, and may be made.  With
 * timeout_ms 0 it checks, begins and returns: watch the events.  A learner is promoted once it has
 * what the leader has now: until timeout_ms, or with 0 for up to 60 s, the promotion waits for
 * it, and is the one under way.  [waits]
 */
DL_API
dl_status dl_change_members(dl_log *log,
                            const dl_change *changes,
                            size_t n,
                            uint32_t timeout_ms,
                            dl_error *err)
DL_NOEXCEPT;

/** Calls fn here and now for each member. */
DL_API dl_status dl_members(dl_log *log, dl_member_fn fn, void *user_data) DL_NOEXCEPT;

/* ---- Callbacks by polling, metrics ------------------------------------------------------- */

/** One figure. */
typedef struct dl_metric {
    /** Out: sizeof(dl_metric) in the library. */
    uint32_t size;
    /** 1: only grows; 0: a gauge. */
    uint32_t counter;
    /** "append_commit_seconds"; static. */
    const char *name;
    /** Static. */
    const char *help;
    /** `quantile="0.99"`, or "". */
    const char *label;
    double value;
} dl_metric;

/** Called for one metric; *m is valid for that call. */
typedef void (*dl_metric_fn)(void *user_data, const dl_metric *m);

/**
 * With callbacks=poll: runs callbacks that are due, here, and waits up to timeout_ms for the
 * first.  max 0 = all.  Returns how many completions, events and read barriers it told (not how
 * many calls told them), or a dl_status (DL_E_STOPPED before dl_start and after dl_stop).  One
 * thread at a time (DL_E_INVALID while another runs callbacks), and not in a callback.
 */
DL_API int32_t dl_poll(dl_log *log, uint32_t timeout_ms, uint32_t max) DL_NOEXCEPT;

/**
 * A descriptor that is readable while callbacks are due; for epoll and the like.  Owned by the
 * log.  A dl_status if there is none: DL_E_INVALID with callbacks=thread, as dl_poll() answers.
 */
DL_API int32_t dl_poll_fd(dl_log *log) DL_NOEXCEPT;

/** Calls fn here and now for each metric; cheap enough for every scrape. */
DL_API dl_status dl_metrics(dl_log *log, dl_metric_fn fn, void *user_data) DL_NOEXCEPT;

#ifdef __cplusplus
} /* extern "C" */
#define DL_SIZE_IS_(T, n) static_assert(sizeof(T) == (n), #T)
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define DL_SIZE_IS_(T, n) _Static_assert(sizeof(T) == (n), #T)
#else
#define DL_SIZE_IS_(T, n) typedef char dl_size_is_##T[sizeof(T) == (n) ? 1 : -1]
#endif
DL_SIZE_IS_(dl_error, 256);
DL_SIZE_IS_(dl_mark, 16);
DL_SIZE_IS_(dl_entry, 64);
DL_SIZE_IS_(dl_completion, 48);
DL_SIZE_IS_(dl_view, 64);
DL_SIZE_IS_(dl_segment, 48);
DL_SIZE_IS_(dl_bytes, 16);
DL_SIZE_IS_(dl_change, 24);
#undef DL_SIZE_IS_

#endif /* DLEDGER_H */
