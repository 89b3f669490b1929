// SPDX-License-Identifier: Apache-2.0
#include "cpu/onednn.h"

#include <dlfcn.h>

#include <string>

#include "core/guard.h"

namespace meft {

namespace {

struct Provider {
    OnednnMultiply multiply = nullptr;
    std::string missing;
};

// The folder that holds libmeft itself.
std::string own_folder() {
    Dl_info info;
    if (dladdr(reinterpret_cast<const void *>(&meft_abi_version), &info) == 0 || info.dli_fname == nullptr) return "";
    const std::string path = info.dli_fname;
    const size_t slash = path.rfind('/');
    return slash == std::string::npos ? "" : path.substr(0, slash + 1);
}

Provider *open_provider() {
    Provider *provider = new Provider();
    const std::string path = own_folder() + "libmeft_onednn.so";
    void *library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);  // never closed: its OpenMP threads outlive calls
    if (library != nullptr) {
        provider->multiply = reinterpret_cast<OnednnMultiply>(dlsym(library, "meft_onednn_multiply"));
    }
    if (provider->multiply == nullptr) {
        const char *reason = dlerror();
        provider->missing = reason != nullptr ? reason : path + " has no meft_onednn_multiply";
    }
    return provider;
}

const Provider &provider() {
    static const Provider *const opened = open_provider();  // leaked: nothing runs at unload
    return *opened;
}

}  // namespace

const char *onednn_missing() { return provider().multiply != nullptr ? nullptr : provider().missing.c_str(); }

bool onednn_takes(int32_t dtype, int64_t m, int64_t n, int64_t k) {
    return dtype != MEFT_F16 && m > 0 && n > 0 && k > 0;
}

void onednn_multiply(meft_ctx &lane, OnednnProduct product) {
    product.threads = lane.threads;
    Workspace::Frame frame(lane.workspace);
    char *scratch = frame.take<char>(onednn_scratch_bytes(product));
    char error[256];
    if (provider().multiply(&product, scratch, error, sizeof error) != 0) fail(MEFT_INTERNAL, "oneDNN: %s", error);
}

}  // namespace meft
