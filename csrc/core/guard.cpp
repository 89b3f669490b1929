// SPDX-License-Identifier: Apache-2.0
#include "core/guard.h"

#include <cinttypes>
#include <cstdio>
#include <cstring>

namespace meft {

std::string format_text(const char *format, va_list arguments) {
    char text[512];
    std::vsnprintf(text, sizeof text, format, arguments);
    return text;
}

void fail(meft_status status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    std::string text = format_text(format, arguments);
    va_end(arguments);
    throw Failure{status, text};
}

void check_count(const char *name, int64_t count) {
    if (count < 0) fail(MEFT_INVALID, "%s is %" PRId64 ", expected 0 or more", name, count);
}

void check_array(const char *name, const void *data, int64_t count) {
    if (data == nullptr && count > 0) {
        fail(MEFT_INVALID, "%s is null, expected %" PRId64 " elements", name, count);
    }
}

void check_struct(const char *name, const void *params, uint32_t wanted) {
    if (params == nullptr) fail(MEFT_INVALID, "%s is null", name);
    uint32_t size;
    std::memcpy(&size, params, sizeof size);
    if (size != wanted) fail(MEFT_INVALID, "%s has struct_size %u, expected %u", name, size, wanted);
}

}  // namespace meft
