// SPDX-License-Identifier: Apache-2.0
#include "kernels/kernel_table.h"

#include <cstring>

namespace meft {

namespace {

template <class Kernels, size_t count>
void add_absent(std::string &list, const char *family, const Kernels &kernels, const char *const (&names)[count]) {
    typedef void (*Kernel)();
    static_assert(sizeof kernels == count * sizeof(Kernel), "a name for each kernel of the family, in their order");
    Kernel all[count];
    std::memcpy(all, &kernels, sizeof kernels);
    for (size_t i = 0; i < count; ++i) {
        if (all[i] != nullptr) continue;
        list += std::string(list.empty() ? "\"" : ",\"") + family + "." + names[i] + "\"";
    }
}

}  // namespace

std::string absent_kernels(const KernelTable &table) {
    std::string list;
#define MEFT_ADD(family) add_absent(list, #family, *table.family, family##_names);
    MEFT_FAMILIES(MEFT_ADD)
#undef MEFT_ADD
    return "[" + list + "]";
}

}  // namespace meft
