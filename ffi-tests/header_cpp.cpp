// The header is C++11 as well, twice included, and its functions do not throw.
#include "dledger.h"
#include "dledger.h"
#include "dledger.hpp"

static_assert(noexcept(dl_version()), "functions of the library are noexcept");
static_assert(noexcept(dl_close(nullptr)), "functions of the library are noexcept");
static_assert(sizeof(dl_entry) == 64, "layouts are those of C");

int main() {
    const dl_state state = DL_STATE_INIT;
    const dl_append_opts append = DL_APPEND_OPTS_INIT;
    const dl_read_opts read = DL_READ_OPTS_INIT;
    const bool sizes = state.size == sizeof state && append.size == sizeof append && read.size == sizeof read;
    return sizes && dl_version() == DL_VERSION ? 0 : 1;
}
