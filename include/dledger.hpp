// dledger.hpp - a small C++11 face of dledger.h: handles that free themselves, errors as
// exceptions, callbacks as function objects. The rules of dledger.h hold here too.
//
// Exceptions come from your own calls only (dledger::Error, std::bad_alloc). A function object
// that throws out of a callback ends the process, with a message: the library cannot pass it on.
#ifndef DLEDGER_HPP
#define DLEDGER_HPP

#include "dledger.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

namespace dledger {

// A status other than DL_OK, with what there is to say about it.
class Error : public std::runtime_error {
public:
    explicit Error(dl_status status)
        : std::runtime_error(std::string(dl_status_name(status)) + ": " + dl_strerror(status)),
          status_(status), sys_errno_(0) {}
    explicit Error(const dl_error &error)
        : std::runtime_error(std::string(dl_status_name(error.status)) + ": " + error.message),
          status_(error.status), sys_errno_(error.sys_errno) {}

    dl_status status() const noexcept { return status_; }
    int sys_errno() const noexcept { return sys_errno_; }
    bool is(uint32_t question) const noexcept { return dl_status_is(status_, question) != 0; }

private:
    dl_status status_;
    int sys_errno_;
};

inline void check(dl_status status) {
    if (status != DL_OK)
        throw Error(status);
}

// Options to open a log with.
class Config {
public:
    Config() : cfg_(dl_config_new(DL_VERSION)) {
        if (!cfg_)
            throw Error(DL_E_VERSION);
    }

    Config &set(const std::string &key, const std::string &value) {
        dl_error error;
        if (dl_config_set(cfg_.get(), key.c_str(), value.c_str(), &error) != DL_OK)
            throw Error(error);
        return *this;
    }

    const dl_config *get() const noexcept { return cfg_.get(); }

private:
    struct Free {
        void operator()(dl_config *cfg) const noexcept { dl_config_free(cfg); }
    };
    std::unique_ptr<dl_config, Free> cfg_;
};

// A pinned piece of the log: entries without a copy, until it is destroyed. It may outlive its
// Log. An empty one pins nothing.
class View {
public:
    View() noexcept : view_() {}
    explicit View(const dl_view &view) noexcept : view_(view) {}
    View(View &&other) noexcept : view_(other.view_) { other.view_ = dl_view(); }
    View &operator=(View &&other) noexcept {
        std::swap(view_, other.view_);
        return *this;
    }
    View(const View &) = delete;
    View &operator=(const View &) = delete;
    ~View() { dl_view_release(&view_); }

    const dl_entry *begin() const noexcept { return view_.entries; }
    const dl_entry *end() const noexcept { return view_.entries + view_.count; }
    std::size_t size() const noexcept { return view_.count; }
    bool empty() const noexcept { return view_.count == 0; }
    const dl_entry &operator[](std::size_t i) const noexcept { return view_.entries[i]; }

    const uint8_t *data() const noexcept { return view_.data; }
    std::size_t bytes() const noexcept { return view_.len; }
    uint64_t pos() const noexcept { return view_.pos; }
    uint64_t next_index() const noexcept { return view_.next_index; }

private:
    dl_view view_;
};

// One log. Destroying it stops it with timeout 0: call stop() before to wait, and to know.
class Log {
public:
    explicit Log(const Config &config) {
        dl_error error;
        dl_log *log = nullptr;
        if (dl_open(config.get(), &log, &error) != DL_OK)
            throw Error(error);
        log_.reset(log);
    }

    // The C handle, for everything that has no method here.
    dl_log *get() const noexcept { return log_.get(); }

    void start() {
        dl_error error;
        if (dl_start(get(), &error) != DL_OK)
            throw Error(error);
    }
    dl_status stop(uint32_t timeout_ms) noexcept { return dl_stop(get(), timeout_ms); }
    void set(const std::string &key, const std::string &value) {
        dl_error error;
        if (dl_set(get(), key.c_str(), value.c_str(), &error) != DL_OK)
            throw Error(error);
    }
    dl_state state() const {
        dl_state state = DL_STATE_INIT;
        check(dl_get_state(get(), &state));
        return state;
    }

    // f(uint32_t what, const dl_state &now). Before start().
    template <class F> void on_event(F f) {
        typedef Kept<F> K;
        K *kept = new K(std::move(f)); // given back through drop, also if it is refused
        check(dl_on_event(get(), &K::event, kept, &K::drop));
    }
    // f(const dl_completion *items, size_t n). Before start().
    template <class F> void on_complete(F f) {
        typedef Kept<F> K;
        K *kept = new K(std::move(f));
        check(dl_on_complete(get(), &K::complete, kept, &K::drop));
    }
    // f(const dl_entry &, uint8_t *body), a dl_status. Before start(). The rules of hooks are
    // strict: see dl_append_hook.
    template <class F> uint64_t register_append_hook(F f) {
        typedef Kept<F> K;
        K *kept = new K(std::move(f));
        uint64_t id = 0;
        check(dl_register_append_hook(get(), &K::hook, kept, &K::drop, &id));
        return id;
    }
    void unregister_append_hook(uint64_t id) { check(dl_unregister_append_hook(get(), id)); }

    // Appends and waits until it is committed.
    dl_entry append(const void *body, std::size_t len, const dl_append_opts *opts = nullptr) {
        dl_entry entry = dl_entry();
        check(dl_append(get(), body, len, opts, &entry));
        return entry;
    }
    dl_entry append(const std::string &body) { return append(body.data(), body.size()); }

    // f(const dl_completion &) is called once, unless this throws. It costs an allocation; whoever
    // appends millions a second uses on_complete() and dl_append_async().
    template <class F>
    dl_entry append_async(const void *body, std::size_t len, F f,
                          const dl_append_opts *opts = nullptr) {
        typedef Kept<F> K;
        std::unique_ptr<K> kept(new K(std::move(f)));
        dl_entry entry = dl_entry();
        check(dl_append_async(get(), body, len, opts, &entry, &K::append, kept.get()));
        kept.release(); // the callback has it, and perhaps has ended already
        return entry;
    }

    // Entries from `index` on; throws DL_E_NOT_COMMITTED, DL_E_COMPACTED.
    View read(uint64_t index, const dl_read_opts *opts = nullptr) const {
        dl_view view = dl_view();
        check(dl_read(get(), index, opts, &view));
        return View(view);
    }
    View read(uint64_t index, uint32_t max_entries, uint32_t timeout_ms = 0) const {
        dl_read_opts opts = DL_READ_OPTS_INIT;
        opts.max_entries = max_entries;
        opts.timeout_ms = timeout_ms;
        return read(index, &opts);
    }
    View read_pos(uint64_t pos, std::size_t max_len) const {
        dl_view view = dl_view();
        check(dl_read_pos(get(), pos, max_len, &view));
        return View(view);
    }

private:
    struct Close {
        void operator()(dl_log *log) const noexcept { dl_close(log); }
    };
    std::unique_ptr<dl_log, Close> log_;

    // A function object behind a user_data.
    template <class F> struct Kept {
        F f;
        explicit Kept(F &&function) : f(std::move(function)) {}

        static void drop(void *kept) { delete static_cast<Kept *>(kept); }
        static void event(void *kept, uint32_t what, const dl_state *now) {
            static_cast<Kept *>(kept)->f(what, *now);
        }
        static void complete(void *kept, const dl_completion *items, std::size_t n) {
            static_cast<Kept *>(kept)->f(items, n);
        }
        static dl_status hook(void *kept, const dl_entry *entry, uint8_t *body) {
            return static_cast<Kept *>(kept)->f(*entry, body);
        }
        static void append(void *kept, const dl_completion *completion) {
            const std::unique_ptr<Kept> mine(static_cast<Kept *>(kept));
            mine->f(*completion);
        }
    };
};

} // namespace dledger

#endif // DLEDGER_HPP
