package io.dledger.rocketmq;

import java.util.List;

/** What is compared: a jar, and how durable an acknowledgement is. */
enum Variant {
    /** DLedger: acknowledged in memory, written out every 10 ms. */
    DLEDGER(Jar.DLEDGER, List.of(), "DLedger, flush every 10 ms"),
    /** libdledger, as durable as DLedger. */
    SAME(Jar.LIBDLEDGER, List.of("-Dio.dledger.option.flush=10ms"), "libdledger, flush=10ms"),
    /** libdledger as it comes: acknowledged when synced. */
    DURABLE(Jar.LIBDLEDGER, List.of(), "libdledger, flush=commit");

    final Jar jar;
    final List<String> options;
    final String title;

    Variant(Jar jar, List<String> options, String title) {
        this.jar = jar;
        this.options = options;
        this.title = title;
    }
}
