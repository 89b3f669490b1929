/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into a process (LD_PRELOAD), this writes down every call that changes what is in a folder, with the bytes written, and
 * every call that waits until something is on the disk, so that `disk_states.ts` can tell what a loss of power may leave.
 *
 *   POWER_FOLDER   the folder, by its real path
 *   POWER_LOG      file that gets a record a call: see `struct record`
 *   POWER_PROCESS  only processes whose command line contains this are watched (default: all)
 *
 * One call at a time is made and written down, so that their order is the log's. What the process says on stdout is in the log
 * too: what was said to be saved must be so from then on.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

/* As `change_log.ts` reads them. */
enum kind { CREATE = 1, WRITE, TRUNCATE, RENAME, REMOVE, MAKE_FOLDER, SYNC, SAY, UNKNOWN };

/* Before the path and what else there is: the bytes written, or the path that a name was changed to. */
struct record {
    uint32_t kind;
    uint32_t path_bytes;
    uint64_t more_bytes;
    int64_t number; /* where bytes are written, or how many are left */
};

static const char* watched_folder; /* null: this process is not watched */
static size_t folder_length;
static int log_file = -1;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

/* ---- what is watched ---- */

static int command_line_contains(const char* part) {
    static char line[1 << 16];
    const int file = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    const long bytes = syscall(SYS_read, file, line, sizeof line);
    syscall(SYS_close, file);
    return bytes > 0 && memmem(line, (size_t)bytes, part, strlen(part)) != NULL;
}

__attribute__((constructor)) static void start(void) {
    const char* folder = getenv("POWER_FOLDER");
    const char* log = getenv("POWER_LOG");
    const char* process = getenv("POWER_PROCESS");
    if (folder == NULL || log == NULL || (process != NULL && !command_line_contains(process))) return;
    log_file = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    folder_length = strlen(folder);
    if (log_file >= 0) watched_folder = folder;
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

static int is_below(const char* path) {
    static const char gone[] = " (deleted)"; /* nothing of it is left after a loss of power */
    const size_t length = strlen(path);
    if (length > sizeof gone && strcmp(path + length - (sizeof gone - 1), gone) == 0) return 0;
    return strncmp(path, watched_folder, folder_length) == 0 &&
           (path[folder_length] == '/' || path[folder_length] == '\0');
}

/* Whether a path that is looked up from an open folder is watched, and the whole of it. Errno stays as it is. */
static int find(int folder, const char* name, char* path) {
    if (watched_folder == NULL || name == NULL) return 0;
    const int error = errno;
    if (name[0] == '/') {
        snprintf(path, PATH_BYTES, "%s", name);
    } else {
        const size_t length = path_of(folder, path);
        if (name[0] != '\0') snprintf(path + length, PATH_BYTES - length, "/%s", name);
    }
    errno = error;
    return is_below(path);
}

static int find_open(int descriptor, char* path) { return find(descriptor, "", path); }

/* Whether a descriptor is where stdout leads. */
static int is_stdout(int descriptor) {
    char path[PATH_BYTES], out[PATH_BYTES];
    if (watched_folder == NULL) return 0;
    const int error = errno;
    const int same = descriptor == STDOUT_FILENO ||
                     (path_of(descriptor, path) > 0 && path_of(STDOUT_FILENO, out) > 0 && strcmp(path, out) == 0);
    errno = error;
    return same;
}

/* ---- the log ---- */

static void put(const void* bytes, size_t count) {
    for (const char* at = bytes; count > 0;) {
        const long written = syscall(SYS_write, log_file, at, count);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) {
            dprintf(STDERR_FILENO, "The log of calls cannot be written\n");
            abort();
        }
        at += written;
        count -= (size_t)written;
    }
}

static void note(enum kind kind, const char* path, int64_t number, const void* more, size_t more_bytes) {
    const int error = errno;
    const struct record record = {kind, (uint32_t)strlen(path), more_bytes, number};
    put(&record, sizeof record);
    put(path, record.path_bytes);
    put(more, more_bytes);
    errno = error;
}

/* ---- the calls ---- */

#define REAL(name)                                                                                             \
    static __typeof__(&name) real;                                                                             \
    if (real == NULL) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

/* A call that is made in turn and, when it has worked, written down. */
#define CALL(name, parameters, arguments, found, written_down)                                                 \
    int name parameters {                                                                                      \
        REAL(name);                                                                                            \
        char at[PATH_BYTES], to[PATH_BYTES];                                                                   \
        (void)to;                                                                                              \
        if (!(found)) return real arguments;                                                                   \
        pthread_mutex_lock(&turn);                                                                             \
        const int result = real arguments;                                                                     \
        if (result == 0) written_down;                                                                         \
        pthread_mutex_unlock(&turn);                                                                           \
        return result;                                                                                         \
    }

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
        char at[PATH_BYTES];                                                                                   \
        if ((flags & (O_CREAT | O_TRUNC)) == 0 || !find(folder, path, at)) return real arguments;              \
        pthread_mutex_lock(&turn);                                                                             \
        const int error = errno;                                                                               \
        const int is_new = syscall(SYS_faccessat, AT_FDCWD, at, F_OK) != 0;                                    \
        errno = error;                                                                                         \
        const int result = real arguments;                                                                     \
        if (result >= 0 && is_new) note(CREATE, at, 0, "", 0);                                                 \
        if (result >= 0 && !is_new && (flags & O_TRUNC) != 0) note(TRUNCATE, at, 0, "", 0);                    \
        pthread_mutex_unlock(&turn);                                                                           \
        return result;                                                                                         \
    }

OPEN(open, (const char* path, int flags, ...), (path, flags, mode), AT_FDCWD)
OPEN(open64, (const char* path, int flags, ...), (path, flags, mode), AT_FDCWD)
OPEN(openat, (int folder, const char* path, int flags, ...), (folder, path, flags, mode), folder)
OPEN(openat64, (int folder, const char* path, int flags, ...), (folder, path, flags, mode), folder)

static off_t place_of_next_write(int fd) {
    const int appends = (syscall(SYS_fcntl, fd, F_GETFL) & O_APPEND) != 0;
    const off_t before = (off_t)syscall(SYS_lseek, fd, 0, SEEK_CUR);
    if (!appends) return before;
    struct stat found;
    return syscall(SYS_fstat, fd, &found) == 0 ? found.st_size : before;
}

/* A call that writes up to `bytes` bytes; `place` is where. */
#define TRANSFER(name, parameters, arguments, place)                                                           \
    ssize_t name parameters {                                                                                  \
        REAL(name);                                                                                            \
        char at[PATH_BYTES];                                                                                   \
        const int says = is_stdout(fd);                                                                        \
        if (!says && (watched_folder == NULL || !find_open(fd, at))) return real arguments;                    \
        pthread_mutex_lock(&turn);                                                                             \
        const int64_t where = says ? 0 : (int64_t)(place);                                                     \
        const ssize_t result = real arguments;                                                                 \
        if (result > 0) note(says ? SAY : WRITE, says ? "" : at, where, data, (size_t)result);                 \
        pthread_mutex_unlock(&turn);                                                                           \
        return result;                                                                                         \
    }

TRANSFER(write, (int fd, const void* data, size_t bytes), (fd, data, bytes), place_of_next_write(fd))
TRANSFER(pwrite, (int fd, const void* data, size_t bytes, off_t offset), (fd, data, bytes, offset), offset)
TRANSFER(pwrite64, (int fd, const void* data, size_t bytes, off64_t offset), (fd, data, bytes, offset), offset)

/* The parts one by one: a caller goes on after what was written. */
ssize_t writev(int fd, const struct iovec* parts, int count) {
    REAL(writev);
    char at[PATH_BYTES];
    if (watched_folder == NULL || (!is_stdout(fd) && !find_open(fd, at))) return real(fd, parts, count);
    for (int i = 0; i < count; i++) {
        if (parts[i].iov_len > 0) return write(fd, parts[i].iov_base, parts[i].iov_len);
    }
    return 0;
}

/* Refused, so that whoever copies a file writes its bytes. */
#define REFUSED(name, parameters, arguments, to)                                                               \
    ssize_t name parameters {                                                                                  \
        REAL(name);                                                                                            \
        char at[PATH_BYTES];                                                                                   \
        if (watched_folder == NULL || !find_open(to, at)) return real arguments;                               \
        errno = ENOSYS;                                                                                        \
        return -1;                                                                                             \
    }

REFUSED(copy_file_range, (int from, off64_t* from_at, int to, off64_t* to_at, size_t bytes, unsigned flags),
        (from, from_at, to, to_at, bytes, flags), to)
REFUSED(sendfile, (int to, int from, off_t* from_at, size_t bytes), (to, from, from_at, bytes), to)
REFUSED(sendfile64, (int to, int from, off64_t* from_at, size_t bytes), (to, from, from_at, bytes), to)

CALL(ftruncate, (int fd, off_t bytes), (fd, bytes), find_open(fd, at), note(TRUNCATE, at, bytes, "", 0))
CALL(ftruncate64, (int fd, off64_t bytes), (fd, bytes), find_open(fd, at), note(TRUNCATE, at, bytes, "", 0))
CALL(fsync, (int fd), (fd), find_open(fd, at), note(SYNC, at, 0, "", 0))
CALL(fdatasync, (int fd), (fd), find_open(fd, at), note(SYNC, at, 0, "", 0))

#define FOUND_BOTH(a, b) (find(a, path, at) | find(b, new_path, to))
CALL(rename, (const char* path, const char* new_path), (path, new_path), FOUND_BOTH(AT_FDCWD, AT_FDCWD),
     note(RENAME, at, 0, to, strlen(to)))
CALL(renameat, (int a, const char* path, int b, const char* new_path), (a, path, b, new_path), FOUND_BOTH(a, b),
     note(RENAME, at, 0, to, strlen(to)))
CALL(renameat2, (int a, const char* path, int b, const char* new_path, unsigned flags),
     (a, path, b, new_path, flags), FOUND_BOTH(a, b), note(flags == 0 ? RENAME : UNKNOWN, at, 0, to, strlen(to)))
CALL(link, (const char* path, const char* new_path), (path, new_path), FOUND_BOTH(AT_FDCWD, AT_FDCWD),
     note(UNKNOWN, at, 0, to, strlen(to)))
CALL(linkat, (int a, const char* path, int b, const char* new_path, int flags), (a, path, b, new_path, flags),
     FOUND_BOTH(a, b), note(UNKNOWN, at, 0, to, strlen(to)))
CALL(symlink, (const char* target, const char* path), (target, path), find(AT_FDCWD, path, at),
     note(UNKNOWN, at, 0, "", 0))
CALL(symlinkat, (const char* target, int folder, const char* path), (target, folder, path),
     find(folder, path, at), note(UNKNOWN, at, 0, "", 0))
CALL(unlink, (const char* path), (path), find(AT_FDCWD, path, at), note(REMOVE, at, 0, "", 0))
CALL(unlinkat, (int folder, const char* path, int flags), (folder, path, flags), find(folder, path, at),
     note(REMOVE, at, 0, "", 0))
CALL(rmdir, (const char* path), (path), find(AT_FDCWD, path, at), note(REMOVE, at, 0, "", 0))
CALL(mkdir, (const char* path, mode_t mode), (path, mode), find(AT_FDCWD, path, at),
     note(MAKE_FOLDER, at, 0, "", 0))
CALL(mkdirat, (int folder, const char* path, mode_t mode), (folder, path, mode), find(folder, path, at),
     note(MAKE_FOLDER, at, 0, "", 0))
