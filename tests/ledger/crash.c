/* A disk that fails at one chosen point: loaded before libc, it counts what a process does to the files of one
 * folder, and at the chosen one tears the write and kills the process, or says from then on that the disk is full.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PAGE 4096

enum crash_way { CRASH_PAGE = 0, CRASH_HALF = 1, CRASH_FULL = 2 };

char crash_folder[4096];
long crash_at = -1; /* the operation to fail, counted from 0; none if negative */
int crash_way;
long crash_seen;

static int ours(const char *path) { return crash_folder[0] && strstr(path, crash_folder); }

static int ours_open(int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return ours(path);
}

/* Count one operation; tell whether it fails. */
static int struck(void) {
    long number = __atomic_fetch_add(&crash_seen, 1, __ATOMIC_SEQ_CST);
    if (crash_at < 0) return 0;
    return crash_way == CRASH_FULL ? number >= crash_at : number == crash_at;
}

static _Noreturn void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* How much of a write reaches the disk: whole pages, since a kill cannot be seen inside of one. */
static size_t torn(size_t length) {
    size_t part = crash_way == CRASH_PAGE ? PAGE : length / 2 / PAGE * PAGE;
    return part < length ? part : 0;
}

static int full(void) {
    errno = ENOSPC;
    return -1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t place) {
    if (!ours_open(file) || !struck()) return REAL(pwrite64)(file, bytes, length, place);
    if (torn(length)) REAL(pwrite64)(file, bytes, torn(length), place);
    if (crash_way != CRASH_FULL) die();
    return full();
}

ssize_t pwrite(int file, const void *bytes, size_t length, off_t place) { return pwrite64(file, bytes, length, place); }

ssize_t write(int file, const void *bytes, size_t length) {
    if (!ours_open(file) || !struck()) return REAL(write)(file, bytes, length);
    if (torn(length)) REAL(write)(file, bytes, torn(length));
    if (crash_way != CRASH_FULL) die();
    return full();
}

int ftruncate64(int file, off64_t length) {
    if (ours_open(file) && struck() && crash_way != CRASH_FULL) die();
    return REAL(ftruncate64)(file, length);
}

int ftruncate(int file, off_t length) { return ftruncate64(file, length); }

int fsync(int file) {
    if (!ours_open(file) || !struck()) return REAL(fsync)(file);
    if (crash_way != CRASH_FULL) die();
    return full();
}

int fdatasync(int file) {
    if (!ours_open(file) || !struck()) return REAL(fdatasync)(file);
    if (crash_way != CRASH_FULL) die();
    return full();
}

/* A full disk renames and removes as ever. */
int rename(const char *from, const char *to) {
    if (ours(to) && struck() && crash_way != CRASH_FULL) die();
    return REAL(rename)(from, to);
}

int unlink(const char *path) {
    if (ours(path) && struck() && crash_way != CRASH_FULL) die();
    return REAL(unlink)(path);
}
