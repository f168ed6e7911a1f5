/* Lets one call of a program, or of any process that it starts, fail: preloaded before the C library by torture.py.

   Calls are counted over all processes, in a file that is mapped into each, and only those that concern files below TORTURE_BELOW. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))real(#name))

enum { OPEN, READ, WRITE, PWRITE, SHORT, FSYNC, CLOSE, TRUNCATE, MMAP, RENAME, LINK, UNLINK, MKDIR, OPENDIR, CALLS };  /* as in torture.py */

static uint64_t *counts;
static const char *below;
static size_t length;
static int which = -1, number;
static uint64_t at;

static void *real(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("TORTURE_COUNTS");
    below = getenv("TORTURE_BELOW");
    if (!path || !below)
        return;
    length = strlen(below);
    which = atoi(getenv("TORTURE_CALL"));
    at = strtoull(getenv("TORTURE_AT"), NULL, 10);
    number = atoi(getenv("TORTURE_ERRNO"));
    int descriptor = REAL(open)(path, O_RDWR | O_CLOEXEC);
    void *mapped = REAL(mmap)(NULL, CALLS * sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    REAL(close)(descriptor);
    if (mapped != MAP_FAILED)
        counts = mapped;
}

static int inside(const char *path)
{
    return strncmp(path, below, length) == 0 && (path[length] == '/' || !path[length]);
}

static int of_descriptor(int descriptor)
{
    char link[64], path[PATH_MAX];
    if (!counts || descriptor < 0)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0)
        return 0;
    path[size] = 0;
    return inside(path);
}

static int of_path(int folder, const char *path)
{
    char here[PATH_MAX];
    if (!counts || !path)
        return 0;
    if (path[0] == '/')
        return inside(path);
    return folder == AT_FDCWD ? getcwd(here, sizeof here) && inside(here) : of_descriptor(folder);
}

/* Counts a call, and tells whether it is the one. */
static int hit(int call, int concerned)
{
    int saved = errno;
    int found = concerned && __atomic_add_fetch(&counts[call], 1, __ATOMIC_SEQ_CST) == at && call == which;
    errno = found ? number : saved;
    return found;
}

#define OPENING(name)                                                                                                                    \
    int name(const char *path, int flags, ...)                                                                                           \
    {                                                                                                                                    \
        va_list rest;                                                                                                                    \
        va_start(rest, flags);                                                                                                           \
        mode_t mode = va_arg(rest, mode_t);                                                                                              \
        va_end(rest);                                                                                                                    \
        return hit(OPEN, of_path(AT_FDCWD, path)) ? -1 : REAL(name)(path, flags, mode);                                                  \
    }
#define OPENING_AT(name)                                                                                                                 \
    int name(int folder, const char *path, int flags, ...)                                                                               \
    {                                                                                                                                    \
        va_list rest;                                                                                                                    \
        va_start(rest, flags);                                                                                                           \
        mode_t mode = va_arg(rest, mode_t);                                                                                              \
        va_end(rest);                                                                                                                    \
        return hit(OPEN, of_path(folder, path)) ? -1 : REAL(name)(folder, path, flags, mode);                                            \
    }
OPENING(open)
OPENING(open64)
OPENING_AT(openat)
OPENING_AT(openat64)

/* what fails, and what to do otherwise */
#define CALL(type, name, parameters, call, concerned, failure, arguments)                                                                \
    type name parameters                                                                                                                 \
    {                                                                                                                                    \
        return hit(call, concerned) ? failure : REAL(name) arguments;                                                                    \
    }

CALL(ssize_t, read, (int d, void *b, size_t n), READ, of_descriptor(d), -1, (d, b, n))
CALL(ssize_t, pread64, (int d, void *b, size_t n, off64_t o), READ, of_descriptor(d), -1, (d, b, n, o))
CALL(ssize_t, write, (int d, const void *b, size_t n), WRITE, of_descriptor(d), -1, (d, b, n))
CALL(int, fsync, (int d), FSYNC, of_descriptor(d), -1, (d))
CALL(int, ftruncate64, (int d, off64_t n), TRUNCATE, of_descriptor(d), -1, (d, n))
CALL(void *, mmap, (void *a, size_t n, int p, int f, int d, off_t o), MMAP, of_descriptor(d), MAP_FAILED, (a, n, p, f, d, o))
CALL(void *, mmap64, (void *a, size_t n, int p, int f, int d, off64_t o), MMAP, of_descriptor(d), MAP_FAILED, (a, n, p, f, d, o))
CALL(int, rename, (const char *p, const char *q), RENAME, of_path(AT_FDCWD, q), -1, (p, q))
CALL(int, renameat, (int c, const char *p, int d, const char *q), RENAME, of_path(d, q), -1, (c, p, d, q))
CALL(int, renameat2, (int c, const char *p, int d, const char *q, unsigned f), RENAME, of_path(d, q), -1, (c, p, d, q, f))
CALL(int, link, (const char *p, const char *q), LINK, of_path(AT_FDCWD, q), -1, (p, q))
CALL(int, linkat, (int c, const char *p, int d, const char *q, int f), LINK, of_path(d, q), -1, (c, p, d, q, f))
CALL(int, unlink, (const char *p), UNLINK, of_path(AT_FDCWD, p), -1, (p))
CALL(int, rmdir, (const char *p), UNLINK, of_path(AT_FDCWD, p), -1, (p))
CALL(int, unlinkat, (int d, const char *p, int f), UNLINK, of_path(d, p), -1, (d, p, f))
CALL(int, mkdir, (const char *p, mode_t m), MKDIR, of_path(AT_FDCWD, p), -1, (p, m))
CALL(int, mkdirat, (int d, const char *p, mode_t m), MKDIR, of_path(d, p), -1, (d, p, m))
CALL(DIR *, opendir, (const char *p), OPENDIR, of_path(AT_FDCWD, p), NULL, (p))

ssize_t pwrite64(int d, const void *b, size_t n, off64_t o)
{
    int concerned = of_descriptor(d);
    if (hit(PWRITE, concerned))
        return -1;
    return REAL(pwrite64)(d, b, hit(SHORT, concerned && n > 1) ? n / 2 : n, o);
}

/* what is closed is closed, whatever is said of it */
int close(int d)
{
    int failing = hit(CLOSE, of_descriptor(d)), number = errno, done = REAL(close)(d);
    if (failing)
        errno = number;
    return failing ? -1 : done;
}
