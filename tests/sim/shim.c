/* Makes a disk fail for the files that the file $DISK_SHIM_RULES names: "CALL ERRNO PART-OF-THE-PATH" a line, CALL
 * being sync or write. Loaded before libc (LD_PRELOAD); what is not named goes through. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fails(const char *call, int fd) {
    const char *rules = getenv("DISK_SHIM_RULES");
    if (rules == NULL) return 0;
    FILE *file = fopen(rules, "re");
    if (file == NULL) return 0;
    char link[64], path[4096], what[16], part[256];
    int code = 0, failing = 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    while (!failing && fscanf(file, "%15s %d %255s", what, &code, part) == 3)
        if (strcmp(what, call) == 0 && strstr(path, part) != NULL) failing = code;
    fclose(file);
    errno = failing;
    return failing;
}

/* The same function further down the line: libc's own. */
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fsync(int fd) {
    return fails("sync", fd) ? -1 : REAL(fsync)(fd);
}

int fdatasync(int fd) {
    return fails("sync", fd) ? -1 : REAL(fdatasync)(fd);
}

ssize_t write(int fd, const void *bytes, size_t count) {
    return fails("write", fd) ? -1 : REAL(write)(fd, bytes, count);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    return fails("write", fd) ? -1 : REAL(pwrite)(fd, bytes, count, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    return fails("write", fd) ? -1 : REAL(pwrite64)(fd, bytes, count, at);
}
