// SPDX-License-Identifier: Apache-2.0
// Finds NVIDIA's libraries at run time: in the folders that MEFT_CUDA_LIBS names (colons between them), in a process that
// has them already (a PyTorch, say), where the loader looks, in a toolkit, and in the nvidia-* wheels of a Python
// environment.
#pragma once

#include <initializer_list>
#include <string>

namespace meft {
namespace cuda {

struct FoundLibrary {
    void *handle;         // null when none of the names opens
    std::string missing;  // the loader's words about the first try
};

// The first of the names that opens, folder by folder. Never closed.
FoundLibrary find_library(std::initializer_list<const char *> names);

}  // namespace cuda
}  // namespace meft
