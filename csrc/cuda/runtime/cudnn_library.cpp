// SPDX-License-Identifier: Apache-2.0
#include "cuda/runtime/cudnn_library.h"

#include <dlfcn.h>

#include <cstdlib>

#include "cuda/runtime/library_search.h"

namespace cudnn_frontend {
void *cudnn_dlhandle = nullptr;  // the frontend looks its functions up here
}

namespace meft {
namespace cuda {

namespace {

struct Library {
    bool opened = false;
    std::string missing;
    decltype(&cudnnSetStream) set_stream = nullptr;
};

// Deterministic backward on Hopper keeps all of dP unless that is limited; then it is slower and linear in the length.
constexpr const char *kLimitVariable = "CUDNN_FRONTEND_ATTN_DP_WORKSPACE_LIMIT", *kLimitBytes = "134217728";

const Library *open_library() {
    Library *library = new Library();
    // The frontend and cuDNN ask for these by name: opened here, they are found wherever they are.
    const FoundLibrary runtime = find_library({"libcudart.so.13", "libcudart.so.12"});
    if (runtime.handle == nullptr) {
        library->missing = "cuDNN needs libcudart: " + runtime.missing;
        return library;
    }
    find_library({"libnvrtc.so.13", "libnvrtc.so.12"});
    const FoundLibrary found = find_library({"libcudnn.so.9"});
    library->missing = found.missing;
    if (found.handle == nullptr) return library;
    library->set_stream = reinterpret_cast<decltype(&cudnnSetStream)>(dlsym(found.handle, "cudnnSetStream"));
    library->opened = library->set_stream != nullptr;
    if (!library->opened) library->missing = "libcudnn.so.9 lacks cudnnSetStream";
    cudnn_frontend::cudnn_dlhandle = found.handle;
    setenv(kLimitVariable, kLimitBytes, 0);  // unless the user has said so
    return library;
}

const Library &library() {
    static const Library *const opened = open_library();
    return *opened;
}

}  // namespace

bool cudnn_opened() { return library().opened; }
const std::string &cudnn_missing() { return library().missing; }
std::string cudnn_version() {
    const size_t version = cudnn_frontend::detail::get_backend_version();
    return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
           std::to_string(version % 100);
}
cudnnStatus_t cudnn_set_stream(cudnnHandle_t handle, cudaStream_t stream) {
    return library().set_stream(handle, stream);
}

}  // namespace cuda
}  // namespace meft
