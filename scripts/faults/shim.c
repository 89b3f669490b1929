/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into a process (LD_PRELOAD), this numbers the calls on files of a folder from 1 and injects a fault into one of them.
 *
 *   FAULTS_FOLDER   the folder, by its real path
 *   FAULTS_LOG      file that gets a line a call: number, kind and path, separated by tabs, then "struck" for the one struck
 *   FAULTS_PROCESS  only processes whose command line contains this are watched (default: all)
 *   FAULTS_AT       number of the call that is struck (default: none)
 *   FAULTS_ACTION   fail:ERRNO    the call fails
 *                   stay:ERRNO    it fails, and so does every later one of its kind: a disk that is full stays full
 *                   short         a read or write does half of what it was asked for, any other call all
 *                   delay:MS      the call comes later
 *                   kill-before, kill-after
 *
 * Paths of descriptors are asked of the kernel, so that copies of them, however made, are known.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

enum action { NOTHING, FAIL_ONCE, FAIL_STAYS, SHORTEN, DELAY, KILL_BEFORE, KILL_AFTER };

/* What a call does then. */
enum verdict { PASS, FAIL, HALF, DIE_AFTER };

static const char* watched_folder; /* null: this process is not watched */
static size_t folder_length;
static int log_file = -1;
static long strike_at;
static enum action action;
static long action_value; /* an errno, or milliseconds */
static atomic_long calls;
static _Atomic(const char*) struck_kind;

/* ---- what is asked for ---- */

static int command_line_contains(const char* part) {
    static char line[1 << 16];
    const int file = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    const long bytes = syscall(SYS_read, file, line, sizeof line);
    syscall(SYS_close, file);
    return bytes > 0 && memmem(line, (size_t)bytes, part, strlen(part)) != NULL;
}

static void read_action(const char* text) {
    static const struct {
        const char* name;
        enum action action;
    } names[] = {{"fail:", FAIL_ONCE},  {"stay:", FAIL_STAYS},        {"short", SHORTEN},
                 {"delay:", DELAY},     {"kill-before", KILL_BEFORE}, {"kill-after", KILL_AFTER}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const size_t length = strlen(names[i].name);
        if (strncmp(text, names[i].name, length) != 0) continue;
        action = names[i].action;
        action_value = strtol(text + length, NULL, 10);
        return;
    }
    dprintf(STDERR_FILENO, "FAULTS_ACTION is \"%s\", which is no action\n", text);
    abort();
}

__attribute__((constructor)) static void start(void) {
    const char* folder = getenv("FAULTS_FOLDER");
    const char* process = getenv("FAULTS_PROCESS");
    if (folder == NULL || (process != NULL && !command_line_contains(process))) return;
    const char* log = getenv("FAULTS_LOG");
    const char* at = getenv("FAULTS_AT");
    const char* what = getenv("FAULTS_ACTION");
    if (log != NULL) {
        log_file = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    }
    if (at != NULL) strike_at = strtol(at, NULL, 10);
    if (what != NULL) read_action(what);
    folder_length = strlen(folder);
    watched_folder = folder;
}

/* ---- which files ---- */

static int is_below(const char* path) {
    return strncmp(path, watched_folder, folder_length) == 0 &&
           (path[folder_length] == '/' || path[folder_length] == '\0');
}

/* The path of a descriptor. Returns its length, 0 when it has none. */
static size_t path_of(int descriptor, char* path) {
    char link[64];
    if (descriptor == AT_FDCWD) {
        strcpy(link, "/proc/self/cwd");
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    }
    const long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_BYTES - 1);
    path[length > 0 ? length : 0] = '\0';
    return length > 0 ? (size_t)length : 0;
}

/* Whether a path that is looked up from an open folder is watched, and the whole of it. */
static int find(int folder, const char* name, char* path) {
    if (name[0] == '\0') { /* AT_EMPTY_PATH */
        return path_of(folder, path) > 0 && is_below(path);
    }
    if (name[0] == '/') {
        snprintf(path, PATH_BYTES, "%s", name);
    } else {
        const size_t length = path_of(folder, path);
        snprintf(path + length, PATH_BYTES - length, "/%s", name);
    }
    return is_below(path);
}

/* ---- the fault ---- */

static void note(long number, const char* kind, const char* path, int struck) {
    char line[PATH_BYTES + 64];
    if (log_file < 0) return;
    const int length =
        snprintf(line, sizeof line, "%ld\t%s\t%s%s\n", number, kind, path, struck ? "\tstruck" : "");
    syscall(SYS_write, log_file, line, (size_t)length);
}

static void die(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

static void wait_a_while(long milliseconds) {
    struct timespec rest = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    while (nanosleep(&rest, &rest) != 0 && errno == EINTR) continue;
}

/* Counts a call, and strikes when it is its turn. On FAIL errno is set, else it is as it was. */
static enum verdict count(const char* kind, const char* path) {
    const long number = atomic_fetch_add(&calls, 1) + 1;
    const char* before = atomic_load(&struck_kind);
    const int again = action == FAIL_STAYS && before != NULL && strcmp(before, kind) == 0;
    const int struck = number == strike_at || again;
    note(number, kind, path, struck);
    if (!struck) return PASS;
    atomic_store(&struck_kind, kind);
    switch (action) {
    case FAIL_ONCE:
    case FAIL_STAYS:
        errno = (int)action_value;
        return FAIL;
    case SHORTEN:
        return HALF;
    case DELAY:
        wait_a_while(action_value);
        return PASS;
    case KILL_BEFORE:
        die();
        return PASS;
    case KILL_AFTER:
        return DIE_AFTER;
    default:
        return PASS;
    }
}

static enum verdict on_path(const char* kind, int folder, const char* name) {
    char path[PATH_BYTES];
    const int error = errno;
    if (watched_folder == NULL || name == NULL) return PASS;
    const int watched = find(folder, name, path);
    errno = error;
    return watched ? count(kind, path) : PASS;
}

static enum verdict on_descriptor(const char* kind, int descriptor) {
    return on_path(kind, descriptor, "");
}

/* ---- the calls ---- */

#define REAL(name)                                                                                             \
    static __typeof__(&name) real;                                                                             \
    if (real == NULL) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

/* A call that does what it does or fails. */
#define CALL(type, failure, name, parameters, arguments, asked)                                                \
    type name parameters {                                                                                     \
        REAL(name);                                                                                            \
        const enum verdict verdict = asked;                                                                    \
        if (verdict == FAIL) return failure;                                                                   \
        type result = real arguments;                                                                          \
        if (verdict == DIE_AFTER) die();                                                                       \
        return result;                                                                                         \
    }

/* A call that moves up to `bytes` bytes. */
#define TRANSFER(name, parameters, arguments, asked)                                                           \
    ssize_t name parameters {                                                                                  \
        REAL(name);                                                                                            \
        const enum verdict verdict = asked;                                                                    \
        if (verdict == FAIL) return -1;                                                                        \
        if (verdict == HALF && bytes > 1) bytes /= 2;                                                          \
        const ssize_t result = real arguments;                                                                 \
        if (verdict == DIE_AFTER) die();                                                                       \
        return result;                                                                                         \
    }

/* A call with a mode when it makes a file. */
#define OPEN(name, parameters, arguments, folder)                                                              \
    int name parameters {                                                                                      \
        REAL(name);                                                                                            \
        mode_t mode = 0;                                                                                       \
        if ((flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE) {                                      \
            va_list rest;                                                                                      \
            va_start(rest, flags);                                                                             \
            mode = va_arg(rest, mode_t);                                                                       \
            va_end(rest);                                                                                      \
        }                                                                                                      \
        const enum verdict verdict = on_path((flags & O_CREAT) != 0 ? "create" : "open", folder, path);        \
        if (verdict == FAIL) return -1;                                                                        \
        const int result = real arguments;                                                                     \
        if (verdict == DIE_AFTER) die();                                                                       \
        return result;                                                                                         \
    }

OPEN(open, (const char* path, int flags, ...), (path, flags, mode), AT_FDCWD)
OPEN(open64, (const char* path, int flags, ...), (path, flags, mode), AT_FDCWD)
OPEN(openat, (int folder, const char* path, int flags, ...), (folder, path, flags, mode), folder)
OPEN(openat64, (int folder, const char* path, int flags, ...), (folder, path, flags, mode), folder)
CALL(FILE*, NULL, fopen, (const char* path, const char* mode), (path, mode), on_path("open", AT_FDCWD, path))
CALL(FILE*, NULL, fopen64, (const char* path, const char* mode), (path, mode), on_path("open", AT_FDCWD, path))

TRANSFER(read, (int fd, void* data, size_t bytes), (fd, data, bytes), on_descriptor("read", fd))
TRANSFER(pread, (int fd, void* data, size_t bytes, off_t at), (fd, data, bytes, at), on_descriptor("read", fd))
TRANSFER(pread64, (int fd, void* data, size_t bytes, off64_t at), (fd, data, bytes, at),
         on_descriptor("read", fd))
TRANSFER(write, (int fd, const void* data, size_t bytes), (fd, data, bytes), on_descriptor("write", fd))
TRANSFER(pwrite, (int fd, const void* data, size_t bytes, off_t at), (fd, data, bytes, at),
         on_descriptor("write", fd))
TRANSFER(pwrite64, (int fd, const void* data, size_t bytes, off64_t at), (fd, data, bytes, at),
         on_descriptor("write", fd))
TRANSFER(copy_file_range, (int from, off64_t* at, int to, off64_t* to_at, size_t bytes, unsigned flags),
         (from, at, to, to_at, bytes, flags), on_descriptor("copy", to))
TRANSFER(sendfile, (int to, int from, off_t* at, size_t bytes), (to, from, at, bytes),
         on_descriptor("copy", to))
TRANSFER(sendfile64, (int to, int from, off64_t* at, size_t bytes), (to, from, at, bytes),
         on_descriptor("copy", to))
CALL(ssize_t, -1, readv, (int fd, const struct iovec* parts, int count), (fd, parts, count),
     on_descriptor("read", fd))
CALL(ssize_t, -1, writev, (int fd, const struct iovec* parts, int count), (fd, parts, count),
     on_descriptor("write", fd))

CALL(int, -1, fsync, (int fd), (fd), on_descriptor("sync", fd))
CALL(int, -1, fdatasync, (int fd), (fd), on_descriptor("sync", fd))
CALL(int, -1, ftruncate, (int fd, off_t bytes), (fd, bytes), on_descriptor("truncate", fd))
CALL(int, -1, ftruncate64, (int fd, off64_t bytes), (fd, bytes), on_descriptor("truncate", fd))
CALL(int, -1, flock, (int fd, int operation), (fd, operation), on_descriptor("lock", fd))
CALL(int, -1, fstat, (int fd, struct stat* out), (fd, out), on_descriptor("stat", fd))
CALL(int, -1, fstat64, (int fd, struct stat64* out), (fd, out), on_descriptor("stat", fd))
CALL(int, -1, fstatfs, (int fd, struct statfs* out), (fd, out), on_descriptor("stat", fd))
CALL(int, -1, dup, (int fd), (fd), on_descriptor("dup", fd))
CALL(int, -1, dup2, (int fd, int to), (fd, to), on_descriptor("dup", fd))
CALL(int, -1, dup3, (int fd, int to, int flags), (fd, to, flags), on_descriptor("dup", fd))
CALL(void*, MAP_FAILED, mmap, (void* at, size_t bytes, int protection, int flags, int fd, off_t offset),
     (at, bytes, protection, flags, fd, offset), fd < 0 ? PASS : on_descriptor("map", fd))
CALL(void*, MAP_FAILED, mmap64, (void* at, size_t bytes, int protection, int flags, int fd, off64_t offset),
     (at, bytes, protection, flags, fd, offset), fd < 0 ? PASS : on_descriptor("map", fd))

CALL(int, -1, rename, (const char* from, const char* to), (from, to), on_path("rename", AT_FDCWD, to))
CALL(int, -1, renameat, (int a, const char* from, int b, const char* to), (a, from, b, to),
     on_path("rename", b, to))
CALL(int, -1, renameat2, (int a, const char* from, int b, const char* to, unsigned flags),
     (a, from, b, to, flags), on_path("rename", b, to))
CALL(int, -1, unlink, (const char* path), (path), on_path("unlink", AT_FDCWD, path))
CALL(int, -1, unlinkat, (int folder, const char* path, int flags), (folder, path, flags),
     on_path("unlink", folder, path))
CALL(int, -1, rmdir, (const char* path), (path), on_path("unlink", AT_FDCWD, path))
CALL(int, -1, mkdir, (const char* path, mode_t mode), (path, mode), on_path("mkdir", AT_FDCWD, path))
CALL(int, -1, mkdirat, (int folder, const char* path, mode_t mode), (folder, path, mode),
     on_path("mkdir", folder, path))
CALL(int, -1, chmod, (const char* path, mode_t mode), (path, mode), on_path("chmod", AT_FDCWD, path))
CALL(int, -1, fchmod, (int fd, mode_t mode), (fd, mode), on_descriptor("chmod", fd))
CALL(int, -1, access, (const char* path, int mode), (path, mode), on_path("stat", AT_FDCWD, path))
CALL(int, -1, stat, (const char* path, struct stat* out), (path, out), on_path("stat", AT_FDCWD, path))
CALL(int, -1, stat64, (const char* path, struct stat64* out), (path, out), on_path("stat", AT_FDCWD, path))
CALL(int, -1, lstat, (const char* path, struct stat* out), (path, out), on_path("stat", AT_FDCWD, path))
CALL(int, -1, lstat64, (const char* path, struct stat64* out), (path, out), on_path("stat", AT_FDCWD, path))
CALL(int, -1, fstatat, (int folder, const char* path, struct stat* out, int flags),
     (folder, path, out, flags), on_path("stat", folder, path))
CALL(int, -1, fstatat64, (int folder, const char* path, struct stat64* out, int flags),
     (folder, path, out, flags), on_path("stat", folder, path))
CALL(int, -1, statx, (int folder, const char* path, int flags, unsigned mask, struct statx* out),
     (folder, path, flags, mask, out), on_path("stat", folder, path))
CALL(int, -1, statfs, (const char* path, struct statfs* out), (path, out), on_path("stat", AT_FDCWD, path))
CALL(int, -1, statfs64, (const char* path, struct statfs64* out), (path, out), on_path("stat", AT_FDCWD, path))
CALL(char*, NULL, realpath, (const char* path, char* out), (path, out), on_path("resolve", AT_FDCWD, path))
CALL(DIR*, NULL, opendir, (const char* path), (path), on_path("list", AT_FDCWD, path))
CALL(DIR*, NULL, fdopendir, (int fd), (fd), on_descriptor("list", fd))
CALL(struct dirent*, NULL, readdir, (DIR* folder), (folder), on_descriptor("entry", dirfd(folder)))
CALL(struct dirent64*, NULL, readdir64, (DIR* folder), (folder), on_descriptor("entry", dirfd(folder)))

/* What programs built for older C libraries call instead of stat and its kin. */
int __xstat64(int version, const char* path, struct stat64* out);
int __lxstat64(int version, const char* path, struct stat64* out);
int __fxstat64(int version, int fd, struct stat64* out);
int __fxstatat64(int version, int folder, const char* path, struct stat64* out, int flags);
CALL(int, -1, __xstat64, (int version, const char* path, struct stat64* out), (version, path, out),
     on_path("stat", AT_FDCWD, path))
CALL(int, -1, __lxstat64, (int version, const char* path, struct stat64* out), (version, path, out),
     on_path("stat", AT_FDCWD, path))
CALL(int, -1, __fxstat64, (int version, int fd, struct stat64* out), (version, fd, out),
     on_descriptor("stat", fd))
CALL(int, -1, __fxstatat64, (int version, int folder, const char* path, struct stat64* out, int flags),
     (version, folder, path, out, flags), on_path("stat", folder, path))

/* A descriptor is closed even when that fails. */
int close(int fd) {
    REAL(close);
    const enum verdict verdict = on_descriptor("close", fd);
    const int error = errno;
    const int result = real(fd);
    if (verdict == DIE_AFTER) die();
    if (verdict != FAIL) return result;
    errno = error;
    return -1;
}

int fcntl(int fd, int command, ...) {
    REAL(fcntl);
    va_list rest;
    va_start(rest, command);
    void* argument = va_arg(rest, void*);
    va_end(rest);
    const int copies = command == F_DUPFD || command == F_DUPFD_CLOEXEC;
    const int locks = command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK;
    const enum verdict verdict = copies || locks ? on_descriptor(copies ? "dup" : "lock", fd) : PASS;
    if (verdict == FAIL) return -1;
    const int result = real(fd, command, argument);
    if (verdict == DIE_AFTER) die();
    return result;
}
