// SPDX-License-Identifier: Apache-2.0
#include "cuda/runtime/library_search.h"

#include <dlfcn.h>
#include <glob.h>

#include <cstdlib>
#include <sstream>
#include <vector>

namespace meft {
namespace cuda {

namespace {

void add_matches(std::vector<std::string> &found, const std::string &pattern) {
    glob_t matches;
    if (glob(pattern.c_str(), 0, nullptr, &matches) != 0) return;
    for (size_t i = 0; i < matches.gl_pathc; ++i) found.push_back(matches.gl_pathv[i]);
    globfree(&matches);
}

std::vector<std::string> folders() {
    std::vector<std::string> found;
    const char *named = std::getenv("MEFT_CUDA_LIBS");
    std::istringstream list(named != nullptr ? named : "");
    for (std::string folder; std::getline(list, folder, ':');) {
        if (!folder.empty()) found.push_back(folder + "/");
    }
    found.push_back("");
    found.push_back("/usr/local/cuda/lib64/");
    for (const char *variable : {"VIRTUAL_ENV", "CONDA_PREFIX"}) {
        const char *root = std::getenv(variable);
        if (root != nullptr) add_matches(found, std::string(root) + "/lib/python3*/site-packages/nvidia/*/lib/");
    }
    return found;
}

}  // namespace

FoundLibrary find_library(std::initializer_list<const char *> names) {
    FoundLibrary found = {nullptr, ""};
    for (const std::string &folder : folders()) {
        for (const char *name : names) {
            found.handle = dlopen((folder + name).c_str(), RTLD_NOW | RTLD_LOCAL);
            if (found.handle != nullptr) return found;
            const char *reason = dlerror();
            if (found.missing.empty() && reason != nullptr) found.missing = reason;
        }
    }
    return found;
}

}  // namespace cuda
}  // namespace meft
