/*
 * Statuses, questions, version, and the configuration, which need no log. Guards P15: misuse
 * answers a status, and an error's text fits its 248 bytes whatever it has to say.
 */
#include "check.h"

static const dl_status all[] = {
    DL_OK, DL_E_INVALID, DL_E_CONFIG, DL_E_VERSION, DL_E_STOPPED, DL_E_DEADLOCK, DL_E_FORKED,
    DL_E_LOCKED, DL_E_TOO_LARGE, DL_E_UNSUPPORTED, DL_E_RESOURCE, DL_E_NOT_LEADER, DL_E_NOT_READY,
    DL_E_TRANSFERRING, DL_E_PENDING_FULL, DL_E_TIMED_OUT, DL_E_LEADER_LOST, DL_E_TERM_CHANGED,
    DL_E_CHANGE_PENDING, DL_E_NO_MEMBER, DL_E_REJECTED, DL_E_BEHIND, DL_E_COMPACTED,
    DL_E_NOT_COMMITTED, DL_E_IO, DL_E_DISK_FULL, DL_E_CORRUPT, DL_E_FAILED, DL_E_PANIC,
};
enum { ALL = sizeof(all) / sizeof(all[0]) };

static void names(void) {
    CHECK(strcmp(dl_status_name(DL_E_NOT_LEADER), "DL_E_NOT_LEADER") == 0);
    CHECK(strcmp(dl_status_name(DL_OK), "DL_OK") == 0);
    for (int i = 0; i < ALL; i++) {
        CHECK(strncmp(dl_status_name(all[i]), "DL_", 3) == 0);
        CHECK(strlen(dl_strerror(all[i])) > 5);
        for (int j = 0; j < i; j++)
            CHECK(strcmp(dl_status_name(all[i]), dl_status_name(all[j])) != 0);
    }
    /* Numbers that are none. */
    CHECK(strcmp(dl_status_name(1), "DL_E_UNKNOWN") == 0);
    CHECK(dl_strerror(INT32_MIN) != NULL && dl_strerror(INT32_MAX) != NULL);
    CHECK(dl_status_is(12345, DL_IS_FATAL) == 0);
}

static void questions(void) {
    for (uint32_t question = 0; question < 6; question++)
        CHECK(dl_status_is(DL_OK, question) == 0);
    CHECK(dl_status_is(DL_E_PENDING_FULL, DL_IS_RETRYABLE) == 1);
    CHECK(dl_status_is(DL_E_PENDING_FULL, DL_IS_MAYBE_COMMITTED) == 0);
    CHECK(dl_status_is(DL_E_NOT_LEADER, DL_IS_REDIRECT) == 1);
    CHECK(dl_status_is(DL_E_FAILED, DL_IS_FATAL) == 1);
    CHECK(dl_status_is(DL_E_REJECTED, DL_IS_MAYBE_COMMITTED) == 0);
    CHECK(dl_status_is(DL_E_TERM_CHANGED, DL_IS_MAYBE_COMMITTED) == 0);
    /* Scenario 20: what may have been committed must never be taken for what was not. */
    CHECK(dl_status_is(DL_E_TIMED_OUT, DL_IS_MAYBE_COMMITTED) == 1);
    CHECK(dl_status_is(DL_E_LEADER_LOST, DL_IS_MAYBE_COMMITTED) == 1);
    CHECK(dl_status_is(DL_E_STOPPED, DL_IS_MAYBE_COMMITTED) == 1);
    CHECK(dl_status_is(DL_E_FAILED, DL_IS_MAYBE_COMMITTED) == 1);
}

static void version(void) {
    char numbers[32];
    CHECK(dl_version() == DL_VERSION);
    snprintf(numbers, sizeof(numbers), "%d.%d.%d (git ", DL_VERSION_MAJOR, DL_VERSION_MINOR,
             DL_VERSION_PATCH);
    CHECK(strncmp(dl_version_string(), numbers, strlen(numbers)) == 0);
}

/* A status fills *err; success leaves it alone. The text is cut between characters. */
static void config(const char *dir) {
    dl_error err;
    dl_log *log = (dl_log *)&err;
    CHECK(dl_config_new(DL_VERSION + 1) == NULL);
    CHECK(dl_config_new(UINT32_MAX) == NULL);
    dl_config *cfg = dl_config_new(DL_VERSION);
    CHECK(cfg != NULL);

    memset(&err, 0x55, sizeof(err));
    IS(DL_OK, dl_config_set(cfg, DL_OPT_DIR, dir, &err));
    CHECK(err.status == 0x55555555 && err.message[247] == 0x55);
    IS(DL_E_CONFIG, dl_config_set(cfg, "no.such.option", "1", &err));
    CHECK(err.status == DL_E_CONFIG && err.sys_errno == 0);
    CHECK(strstr(err.message, "no.such.option") != NULL);
    IS(DL_E_CONFIG, dl_config_set(cfg, "no.such.option", "1", NULL));
    IS(DL_E_CONFIG, dl_config_set(cfg, DL_OPT_SEGMENT_BYTES, "wide", &err));
    CHECK(strstr(err.message, DL_OPT_SEGMENT_BYTES) != NULL);
    IS(DL_E_CONFIG, dl_config_set(cfg, DL_OPT_CALLBACKS, "", &err));
    IS(DL_E_CONFIG, dl_config_set(cfg, "", "", &err));
    IS(DL_E_CONFIG, dl_config_set(cfg, "dir\xff\xfe", "x", &err));

    IS(DL_E_INVALID, dl_config_set(NULL, "dir", "x", &err));
    CHECK(err.status == DL_E_INVALID && strlen(err.message) > 0);
    IS(DL_E_INVALID, dl_config_set(cfg, NULL, "x", &err));
    IS(DL_E_INVALID, dl_config_set(cfg, "dir", NULL, NULL));

    /* 64 KiB keys and values, of characters of two bytes, at odd and at even places. */
    char *large = malloc(65538);
    CHECK(large != NULL);
    large[0] = 'x';
    for (int i = 1; i < 65537; i += 2)
        memcpy(large + i, "\xc3\xa9", 2);
    large[65537] = 0;
    for (int skip = 0; skip < 2; skip++) {
        IS(DL_E_CONFIG, dl_config_set(cfg, DL_OPT_NODE_ID, large + skip, &err));
        memset(&err, 0x55, sizeof(err));
        IS(DL_E_CONFIG, dl_config_set(cfg, large + skip, "1", &err));
        size_t len = strlen(err.message);
        CHECK(len <= 247);
        /* No half of a character at the end. */
        CHECK(len == 0 || (unsigned char)err.message[len - 1] != 0xc3);
    }
    free(large);

    /* Open: not without what must be set; NULLs; nothing is written but *err. */
    IS(DL_E_INVALID, dl_open(NULL, &log, &err));
    IS(DL_E_INVALID, dl_open(cfg, NULL, &err));
    IS(DL_E_INVALID, dl_open(NULL, NULL, NULL));
    IS(DL_E_CONFIG, dl_open(cfg, &log, &err));
    CHECK(err.status == DL_E_CONFIG && strlen(err.message) > 0);
    CHECK(log == (dl_log *)&err);

    dl_config_free(cfg);
    dl_config_free(NULL);
}

struct listed {
    int all, live, keys;
};

static void one(void *user_data, const char *key, const char *type, const char *preset,
                const char *doc, int live) {
    struct listed *listed = user_data;
    CHECK(*key && *type && *doc && preset && (live == 0 || live == 1));
    listed->all++;
    listed->live += live;
    listed->keys += strcmp(key, DL_OPT_DIR) == 0 || strcmp(key, DL_OPT_CALLBACKS) == 0;
}

static void options(void) {
    struct listed listed = {0, 0, 0};
    dl_options(one, &listed);
    CHECK(listed.all >= 24 && listed.live > 0 && listed.live < listed.all && listed.keys == 2);
    dl_options(NULL, NULL);
}

/* No handle is needed to be refused, and then `drop` is called at once. */
static void drop(void *user_data) { ++*(int *)user_data; }
static void complete(void *u, const dl_completion *c, size_t n) { (void)u, (void)c, (void)n; }

static void without_a_log(void) {
    int drops = 0;
    IS(DL_E_INVALID, dl_on_complete(NULL, complete, &drops, drop));
    IS(DL_E_INVALID, dl_on_event(NULL, NULL, &drops, drop));
    IS(DL_E_INVALID, dl_on_thread(NULL, NULL, &drops, drop));
    IS(DL_E_INVALID, dl_register_append_hook(NULL, NULL, &drops, drop, NULL));
    CHECK(drops == 4);
    dl_close(NULL);
    dl_view_release(NULL);
    dl_segment_unpin(NULL);
    dl_view view = {0};
    dl_segment segment = {0};
    dl_view_release(&view);
    dl_segment_unpin(&segment);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    names();
    questions();
    version();
    config(argv[1]);
    options();
    without_a_log();
    return 0;
}
