/* Notes in ROOST_SYNC_JOURNAL what a power loss would keep: each file's size at its last sync, and renames, truncations
 * and removals, which count as durable at once; and what was written to the mark.
 * Preloaded into the child of a crash test, and, as a part of tests/chaos/shim.c, into the nodes of scripts/chaos. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#ifndef BEFORE_SYNC
#define BEFORE_SYNC()
#endif

static int journal_fd(void) {
    static int fd = -2;
    if (fd == -2) {
        const char *path = getenv("ROOST_SYNC_JOURNAL");
        int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
        fd = path ? real(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1;
    }
    return fd;
}

static void note(const char *line) {
    int fd = journal_fd();
    if (fd >= 0 && write(fd, line, strlen(line)) < 0) abort();
}

static int synced(int fd, int (*real)(int)) {
    struct stat before;
    char link[64], path[4096], line[8300];
    int known = fstat(fd, &before) == 0;
    BEFORE_SYNC();
    int result = real(fd);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (result == 0 && known && S_ISREG(before.st_mode) && length > 0) {
        path[length] = 0;
        snprintf(line, sizeof line, "S\t%lld\t%s\n", (long long)before.st_size, path);
        note(line);
    }
    return result;
}

int fsync(int fd) { return synced(fd, (int (*)(int))dlsym(RTLD_NEXT, "fsync")); }
int fdatasync(int fd) { return synced(fd, (int (*)(int))dlsym(RTLD_NEXT, "fdatasync")); }

int rename(const char *from, const char *to) {
    int (*real)(const char *, const char *) = dlsym(RTLD_NEXT, "rename");
    int result = real(from, to);
    char line[8300];
    snprintf(line, sizeof line, "R\t%s\t%s\n", from, to);
    if (result == 0) note(line);
    return result;
}

int unlink(const char *path) {
    int (*real)(const char *) = dlsym(RTLD_NEXT, "unlink");
    char line[8300];
    snprintf(line, sizeof line, "U\t%s\n", path);
    note(line);
    return real(path);
}

/* The mark is written in place, so its size says nothing: its versions are noted instead. */
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    ssize_t (*real)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
    ssize_t result = real(fd, bytes, length, offset);
    char link[64], path[4096], line[8300];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t known = readlink(link, path, sizeof path - 1);
    if (known > 0) path[known] = 0;
    if (result == (ssize_t)length && length <= 64 && known > 0 && strstr(path, "synced.mark")) {
        int at = snprintf(line, sizeof line, "W\t%lld\t", (long long)offset);
        for (size_t i = 0; i < length; i++) at += sprintf(line + at, "%02x", ((const unsigned char *)bytes)[i]);
        snprintf(line + at, sizeof line - at, "\n");
        note(line);
    }
    return result;
}

static void opened(const char *path, int flags) {
    char line[8300];
    snprintf(line, sizeof line, "T\t%s\n", path);
    if (flags & O_TRUNC) note(line);
}

int open(const char *path, int flags, ...) {
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    opened(path, flags);
    return real(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open64");
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    opened(path, flags);
    return real(path, flags, mode);
}
