/* A slow disk for the test `two-writers`: loaded before the C library, it lets reads of log files take their time. The
 * file that CHAOS_SLOW_READS names says how many microseconds a KiB takes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void take_time(int fd, ssize_t got)
{
    const char *control = getenv("CHAOS_SLOW_READS");
    char link[64], path[4096];
    long pace = 0;
    FILE *file;
    ssize_t length;

    if (got < 1024 || control == NULL)
        return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return;
    path[length] = 0;
    if (strstr(path, "/shared/log/") == NULL)
        return;
    file = fopen(control, "r");
    if (file == NULL)
        return;
    if (fscanf(file, "%ld", &pace) != 1)
        pace = 0;
    fclose(file);
    usleep(pace * (got / 1024));
}

ssize_t read(int fd, void *to, size_t size)
{
    static ssize_t (*next)(int, void *, size_t);
    ssize_t got;

    if (next == NULL)
        next = dlsym(RTLD_NEXT, "read");
    got = next(fd, to, size);
    take_time(fd, got);
    return got;
}

ssize_t pread64(int fd, void *to, size_t size, off64_t at)
{
    static ssize_t (*next)(int, void *, size_t, off64_t);
    ssize_t got;

    if (next == NULL)
        next = dlsym(RTLD_NEXT, "pread64");
    got = next(fd, to, size, at);
    take_time(fd, got);
    return got;
}
