/*
 * P3, P18: read barriers that are asked for without waiting are as many as append.pending.max says,
 * each ends exactly once, and a flood of them holds up neither appends nor the stop.
 */
#include "check.h"

enum { MOST = 10000, FLOOD = 200000 };

static int ended[2]; /* by whether they were passed */

static void on_index(void *user_data, dl_status status, uint64_t index) {
    CHECK(status == DL_OK || status == DL_E_TIMED_OUT || status == DL_E_STOPPED);
    (void)index;
    __atomic_add_fetch((int *)user_data, 1, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&ended[status == DL_OK], 1, __ATOMIC_SEQ_CST);
}

/* One member of three, alone: nothing is answered, all ends by its time. */
static void without_a_leader(const char *dir, int *ends) {
    dl_config *cfg = small_config(dir, "barriers");
    set(cfg, DL_OPT_MEMBERS, "1@127.96.3.1:20911,2@127.96.3.2:20911,3@127.96.3.3:20911");
    set(cfg, DL_OPT_LISTEN, "127.96.3.1:20911");
    dl_log *log = open_log(cfg);
    dl_config_free(cfg);
    dl_error e;
    CHECK(dl_start(log, &e) == DL_OK);
    for (int i = 0; i < MOST; i++)
        IS(DL_OK, dl_read_index_async(log, 2000, on_index, &ends[i]));
    IS(DL_E_PENDING_FULL, dl_read_index_async(log, 2000, on_index, NULL));
    UNTIL(ended[0], MOST);
    /* There is room again. What waits when the log stops ends with it. */
    for (int i = 0; i < 100; i++)
        IS(DL_OK, dl_read_index_async(log, 60000, on_index, &ends[i]));
    IS(DL_OK, dl_stop(log, 60000));
    dl_close(log);
    for (int i = 0; i < MOST; i++)
        CHECK(ends[i] == (i < 100 ? 2 : 1));
    CHECK(ended[0] == MOST + 100 && ended[1] == 0);
}

static void on_append(void *user_data, const dl_completion *c) {
    CHECK(c->status == DL_OK);
    __atomic_store_n((int *)user_data, 1, __ATOMIC_SEQ_CST);
}

/* A leader: all are passed, and an append among them ends before the last of them. */
static void on_a_leader(const char *dir, int *ends) {
    dl_log *log = small_log(dir, "flood");
    start_leader(log);
    int appended = 0;
    memset(ends, 0, FLOOD * sizeof(*ends));
    ended[0] = 0;
    for (int i = 0; i < FLOOD; i++) {
        dl_status s;
        while ((s = dl_read_index_async(log, 60000, on_index, &ends[i])) == DL_E_PENDING_FULL)
            sleep_ms(1);
        IS(DL_OK, s);
        if (i == FLOOD / 2)
            IS(DL_OK, dl_append_async(log, "body", 4, NULL, NULL, on_append, &appended));
    }
    UNTIL(ended[1], FLOOD);
    UNTIL(appended, 1);
    IS(DL_OK, dl_stop(log, 60000));
    dl_close(log);
    for (int i = 0; i < FLOOD; i++)
        CHECK(ends[i] == 1);
    CHECK(ended[0] == 0);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    int *ends = calloc(FLOOD, sizeof(*ends));
    without_a_leader(argv[1], ends);
    on_a_leader(argv[1], ends);
    free(ends);
    return 0;
}
