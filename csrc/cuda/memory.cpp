// SPDX-License-Identifier: Apache-2.0
#include "cuda/memory.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cinttypes>
#include <cstring>
#include <map>
#include <mutex>
#include <shared_mutex>

#include "core/fault.h"
#include "core/guard.h"

namespace meft {
namespace cuda {

namespace {

struct Block {
    char *device;
    int64_t bytes;
    std::string class_name;
};

struct Booked {
    int64_t bytes = 0;
    int64_t peak_bytes = 0;
};

struct Books {
    std::shared_mutex mutex;
    std::map<uintptr_t, Block> shadows;   // by first address
    std::map<uintptr_t, int64_t> pinned;  // bytes by first address
    std::map<std::string, Booked> classes;
    std::string refused_class;  // of the last request that memory had no room for
    int64_t refused_bytes = 0;
};

Books &books() {
    static Books *const all = new Books();  // leaked: a fault at exit may still ask
    return *all;
}

void book(Books &all, const std::string &class_name, int64_t bytes) {
    Booked &booked = all.classes[class_name];
    booked.bytes += bytes;
    booked.peak_bytes = std::max(booked.peak_bytes, booked.bytes);
}

// "1.50 GiB", in the largest unit of which there is one.
std::string size_text(int64_t bytes) {
    const char *const units[] = {"KiB", "MiB", "GiB"};
    double count = double(bytes) / 1024;
    int unit = 0;
    for (; unit < 2 && count >= 1024; ++unit) count /= 1024;
    char text[32];
    std::snprintf(text, sizeof text, "%.2f %s", count, units[unit]);
    return text;
}

[[noreturn]] void fail_out_of_memory(const std::string &class_name, int64_t bytes) {
    Books &all = books();
    all.refused_class = class_name;
    all.refused_bytes = bytes;
    std::string held;
    for (const auto &[name, booked] : all.classes) {
        if (booked.bytes > 0 && name != "pinned") {
            held += (held.empty() ? "" : ", ") + name + " " + size_text(booked.bytes);
        }
    }
    fail(MEFT_OUT_OF_MEMORY, "%s asked the device for %s, %s are free (held: %s)", class_name.c_str(),
         size_text(bytes).c_str(), size_text(free_device_bytes()).c_str(), held.empty() ? "nothing" : held.c_str());
}

// ---- a host that touches device memory ----

struct sigaction earlier_fault, earlier_bus;

// The block that holds an address, without a lock that a faulting thread could hold itself.
bool in_shadow(uintptr_t address) {
    Books &all = books();
    if (!all.mutex.try_lock_shared()) return false;
    auto next = all.shadows.upper_bound(address);
    const bool inside = next != all.shadows.begin() && address < (--next)->first + uintptr_t(next->second.bytes);
    all.mutex.unlock_shared();
    return inside;
}

void on_fault(int signal, siginfo_t *info, void *context) {
    if (in_shadow(reinterpret_cast<uintptr_t>(info->si_addr))) {
        static const char text[] =
            "meft: the host touched device memory: an array on the device was read or written directly; use the "
            "kernels' read, write, copy and zero\n";
        const ssize_t written = write(STDERR_FILENO, text, sizeof text - 1);
        (void)written;
        struct sigaction plain;
        std::memset(&plain, 0, sizeof plain);
        plain.sa_handler = SIG_DFL;
        sigaction(signal, &plain, nullptr);  // returning, the fault comes again and ends the process
        return;
    }
    pass_on(signal, info, context, signal == SIGSEGV ? earlier_fault : earlier_bus);
}

void watch_for_faults() {
    static const bool once = [] {
        struct sigaction mine;
        std::memset(&mine, 0, sizeof mine);
        mine.sa_sigaction = on_fault;
        mine.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigemptyset(&mine.sa_mask);
        sigaction(SIGSEGV, &mine, &earlier_fault);
        sigaction(SIGBUS, &mine, &earlier_bus);
        return true;
    }();
    (void)once;
}

}  // namespace

void *reserve_shadow(int64_t bytes, const std::string &class_name) {
    if (bytes <= 0) fail(MEFT_INVALID, "bytes is %" PRId64 ", expected 1 or more", bytes);
    watch_for_faults();
    Books &all = books();
    std::unique_lock<std::shared_mutex> hold(all.mutex);
    char *device = static_cast<char *>(allocate(bytes));
    if (device == nullptr) fail_out_of_memory(class_name, bytes);
    void *shadow = mmap(nullptr, size_t(bytes), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (shadow == MAP_FAILED) {
        release(device);
        fail(MEFT_OUT_OF_MEMORY, "no address range of %s left in this process", size_text(bytes).c_str());
    }
    all.shadows[reinterpret_cast<uintptr_t>(shadow)] = Block{device, bytes, class_name};
    book(all, class_name, bytes);
    return shadow;
}

void release_shadow(void *shadow) {
    Books &all = books();
    std::unique_lock<std::shared_mutex> hold(all.mutex);
    const auto found = all.shadows.find(reinterpret_cast<uintptr_t>(shadow));
    if (found == all.shadows.end()) fail(MEFT_INVALID, "address %p begins no reserved device memory", shadow);
    const Block block = found->second;
    all.shadows.erase(found);
    book(all, block.class_name, -block.bytes);
    munmap(shadow, size_t(block.bytes));
    release(block.device);
}

void *reserve_pinned(int64_t bytes) {
    if (bytes <= 0) fail(MEFT_INVALID, "bytes is %" PRId64 ", expected 1 or more", bytes);
    void *memory = allocate_pinned(bytes);
    if (memory == nullptr) fail(MEFT_OUT_OF_MEMORY, "the system refused %s of pinned memory", size_text(bytes).c_str());
    Books &all = books();
    std::unique_lock<std::shared_mutex> hold(all.mutex);
    all.pinned[reinterpret_cast<uintptr_t>(memory)] = bytes;
    book(all, "pinned", bytes);
    return memory;
}

void release_pinned_block(void *memory) {
    Books &all = books();
    std::unique_lock<std::shared_mutex> hold(all.mutex);
    const auto found = all.pinned.find(reinterpret_cast<uintptr_t>(memory));
    if (found == all.pinned.end()) fail(MEFT_INVALID, "address %p begins no pinned memory", memory);
    book(all, "pinned", -found->second);
    all.pinned.erase(found);
    release_pinned(memory);
}

bool is_pinned(const void *host, int64_t bytes) {
    const uintptr_t address = reinterpret_cast<uintptr_t>(host);
    Books &all = books();
    std::shared_lock<std::shared_mutex> hold(all.mutex);
    auto next = all.pinned.upper_bound(address);
    if (next == all.pinned.begin()) return false;
    --next;
    return address + uintptr_t(bytes) <= next->first + uintptr_t(next->second);
}

void *device_address(const void *pointer, int64_t bytes) {
    const uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
    Books &all = books();
    std::shared_lock<std::shared_mutex> hold(all.mutex);
    auto next = all.shadows.upper_bound(address);
    if (next == all.shadows.begin()) return nullptr;
    --next;
    const int64_t offset = int64_t(address - next->first);
    if (offset >= next->second.bytes) return nullptr;
    if (bytes > next->second.bytes - offset) {
        fail(MEFT_INVALID, "%" PRId64 " bytes at byte %" PRId64 " leave a block of %" PRId64 " bytes on the device",
             bytes, offset, next->second.bytes);
    }
    return next->second.device + offset;
}

void *take_workspace(cudaStream_t stream, int64_t bytes) {
    void *memory = allocate_on(stream, bytes);
    Books &all = books();
    std::unique_lock<std::shared_mutex> hold(all.mutex);
    if (memory == nullptr) fail_out_of_memory("workspace", bytes);
    book(all, "workspace", bytes);
    return memory;
}

void give_workspace(cudaStream_t stream, void *memory, int64_t bytes) noexcept {
    release_on(stream, memory);
    Books &all = books();
    std::unique_lock<std::shared_mutex> hold(all.mutex);
    book(all, "workspace", -bytes);
}

std::string refused_text() {
    Books &all = books();
    std::shared_lock<std::shared_mutex> hold(all.mutex);
    if (all.refused_class.empty()) return "null";
    return "{\"class\":\"" + all.refused_class + "\",\"bytes\":" + std::to_string(all.refused_bytes) + "}";
}

std::string ledger_text() {
    Books &all = books();
    std::shared_lock<std::shared_mutex> hold(all.mutex);
    std::string text;
    for (const auto &[name, booked] : all.classes) {
        text += (text.empty() ? "\"" : ",\"") + name + "\":{\"bytes\":" + std::to_string(booked.bytes) +
                ",\"peakBytes\":" + std::to_string(booked.peak_bytes) + "}";
    }
    return "{" + text + "}";
}

void reset_peaks() {
    Books &all = books();
    std::unique_lock<std::shared_mutex> hold(all.mutex);
    for (auto &entry : all.classes) entry.second.peak_bytes = entry.second.bytes;
}

}  // namespace cuda
}  // namespace meft
