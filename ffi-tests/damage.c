/*
 * P5: damage below the durable bound is met by reads, and dl_failure() tells where it is. It fails
 * one read, not the log.
 */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

enum { RECORDS = 3, BODY = 100 };

static dl_log *log_under_test;
static dl_entry entries[RECORDS];

/* Flips bits of the byte at `pos` of the first data file. */
static void flip(const char *dir, uint64_t pos) {
    char path[4096];
    unsigned char byte;
    int file;
    snprintf(path, sizeof(path), "%s/log/data/00000000000000000000", dir);
    file = open(path, O_RDWR);
    CHECK(file >= 0);
    CHECK(pread(file, &byte, 1, (off_t)pos) == 1);
    byte ^= 0x40;
    CHECK(pwrite(file, &byte, 1, (off_t)pos) == 1);
    CHECK(close(file) == 0);
}

/* The log has not failed, and what it tells has this text in it; NULL: it tells nothing. */
static void tells(const char *text) {
    dl_error error;
    memset(&error, 0x55, sizeof(error));
    IS(DL_OK, dl_failure(log_under_test, &error));
    CHECK(error.status == DL_OK && error.sys_errno == 0);
    if (text == NULL) {
        CHECK(error.message[0] == 0);
    } else if (strstr(error.message, text) == NULL) {
        fprintf(stderr, "\"%s\" does not say \"%s\"\n", error.message, text);
        exit(1);
    }
}

static void at(char text[64], uint64_t pos) {
    snprintf(text, 64, "position %" PRIu64 ":", pos);
}

int main(int argc, char **argv) {
    dl_read_opts verified = DL_READ_OPTS_INIT;
    char text[64], body[BODY];
    dl_config *cfg;
    dl_status status;
    dl_view view;
    int n;
    CHECK(argc > 1);
    verified.flags = DL_READ_VERIFY;
    memset(body, 'x', sizeof(body));
    cfg = small_config(argv[1], "log");
    IS(DL_OK, dl_open(cfg, &log_under_test, NULL));
    IS(DL_OK, dl_start(log_under_test, NULL));
    for (n = 0; n < RECORDS; n++) {
        while ((status = dl_append(log_under_test, body, BODY, NULL, &entries[n])) ==
               DL_E_NOT_LEADER)
            sleep_ms(1);
        IS(DL_OK, status);
    }
    /* All of it is below the durable bound, where an open does not look. */
    IS(DL_OK, dl_stop(log_under_test, DL_FOREVER));
    dl_close(log_under_test);
    flip(argv[1], entries[1].body_pos + 7);
    IS(DL_OK, dl_open(cfg, &log_under_test, NULL));
    IS(DL_OK, dl_start(log_under_test, NULL));
    while ((status = dl_append(log_under_test, body, BODY, NULL, NULL)) == DL_E_NOT_LEADER)
        sleep_ms(1);
    IS(DL_OK, status);
    tells(NULL);

    /* What is no damage is not told. */
    IS(DL_E_NOT_COMMITTED, dl_read(log_under_test, 99, NULL, &view));
    IS(DL_E_TOO_LARGE, dl_read_copy(log_under_test, 0, body, 1, NULL));
    tells(NULL);

    at(text, entries[1].pos);
    IS(DL_E_CORRUPT, dl_read(log_under_test, 1, &verified, &view));
    tells(text);
    tells("body");

    /* The last one counts. Its body is intact, its header is not. */
    flip(argv[1], entries[2].pos + 3);
    at(text, entries[2].pos);
    IS(DL_E_CORRUPT, dl_read(log_under_test, 2, NULL, &view));
    tells(text);
    tells("header of record 2");

    at(text, entries[1].pos);
    IS(DL_E_CORRUPT, dl_read_copy(log_under_test, 1, body, sizeof(body), NULL));
    tells(text);

    /* One bad read is not the log's end. */
    IS(DL_OK, dl_append(log_under_test, body, BODY, NULL, NULL));
    IS(DL_OK, dl_read(log_under_test, 0, &verified, &view));
    dl_view_release(&view);
    tells(text);
    IS(DL_OK, dl_stop(log_under_test, DL_FOREVER));
    tells(text);
    dl_close(log_under_test);
    dl_config_free(cfg);
    return 0;
}
