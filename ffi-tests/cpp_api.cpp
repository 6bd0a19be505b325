// dledger.hpp from a program: handles that move and free themselves, errors with their text,
// function objects that are called and destroyed exactly once (P15), views that outlive (P16).
#include "check.h"
#include "dledger.hpp"

#include <atomic>
#include <vector>

using namespace dledger;

// Counts the objects of a callback that are alive.
struct Counted {
    explicit Counted(int *alive) : alive_(alive) { ++*alive_; }
    Counted(const Counted &other) : alive_(other.alive_) { ++*alive_; }
    Counted &operator=(const Counted &) = delete;
    ~Counted() { --*alive_; }
    int *alive_;
};

static std::string text(const dl_entry &entry) {
    return std::string(reinterpret_cast<const char *>(entry.body), entry.body_len);
}

static Config config(const std::string &directory) {
    Config config;
    config.set(DL_OPT_DIR, directory).set(DL_OPT_NODE_ID, "1").set(DL_OPT_SEGMENT_BYTES, "1MiB");
    return config;
}

static void errors(const std::string &directory) {
    try {
        Config().set("no.such.option", "1");
        CHECK(false);
    } catch (const Error &error) {
        CHECK(error.status() == DL_E_CONFIG && !error.is(DL_IS_RETRYABLE));
        CHECK(std::string(error.what()).find("no.such.option") != std::string::npos);
    }
    const Config good = config(directory + "/errors");
    const Log log(good);
    try {
        const Log second(good);
        CHECK(false);
    } catch (const Error &error) {
        CHECK(error.status() == DL_E_LOCKED);
    }
    try {
        log.read(0);
        CHECK(false);
    } catch (const Error &error) {
        CHECK(error.status() == DL_E_NOT_COMMITTED && error.is(DL_IS_RETRYABLE));
    }
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    const std::string directory = argv[1];
    errors(directory);

    int alive = 0;
    std::atomic<int> events(0), completions(0), own(0);
    View last;
    {
        Log log(config(directory + "/log"));
        const Counted counted(&alive);
        log.on_event([&events, counted](uint32_t, const dl_state &) { ++events; });
        log.on_complete([&completions, counted](const dl_completion *items, size_t n) {
            for (size_t i = 0; i < n; i++)
                CHECK(items[i].status == DL_OK);
            completions += static_cast<int>(n);
        });
        const uint64_t id = log.register_append_hook(
            [counted](const dl_entry &entry, uint8_t *body) -> dl_status {
                if (entry.body_len == 6 && body[0] == 'r')
                    return DL_E_INVALID;
                body[0] = 'H';
                return DL_OK;
            });
        CHECK(alive == 4);
        log.start();
        wait_leader(log.get());

        const dl_entry first = log.append("hello");
        CHECK(first.index == 0 && first.body_pos == first.pos + 48 && first.body == nullptr);
        try {
            log.append("refuse");
            CHECK(false);
        } catch (const Error &error) {
            CHECK(error.status() == DL_E_REJECTED);
        }
        log.unregister_append_hook(id);
        CHECK(alive == 3);

        for (int i = 0; i < 100; i++)
            log.append_async("world", 5, [&own, counted](const dl_completion &c) {
                CHECK(c.status == DL_OK && c.count == 1);
                ++own;
            });
        IS(DL_OK, dl_append_async(log.get(), "!", 1, nullptr, nullptr, nullptr, nullptr));
        const View followed = log.read(101, 1, 20000);
        CHECK(followed.size() == 1 && text(followed[0]) == "!" && followed.next_index() == 102);

        std::vector<std::string> bodies;
        View view = log.read(0, 1000);
        for (const dl_entry &entry : view)
            bodies.push_back(text(entry));
        CHECK(bodies.size() == 102 && bodies[0] == "Hello" && bodies[100] == "world");
        last = std::move(view);

        Log moved(std::move(log));
        IS(DL_OK, moved.stop(20000));
        CHECK(own == 100 && completions == 1 && events > 0);
        CHECK(alive == 3); // the two that are registered, and `counted`
        CHECK(moved.state().role == DL_ROLE_STOPPED && moved.state().committed.index == 102);
    }
    CHECK(alive == 0);
    CHECK(last.size() == 102 && text(last[0]) == "Hello");
    return 0;
}
