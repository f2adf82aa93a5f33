/* A disk that fails: loaded before the C library, it lets syncs of log files fail as long as the file is there that
 * FAILING_SYNCS names. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fails(int fd)
{
    const char *control = getenv("FAILING_SYNCS");
    char link[64], path[4096];
    ssize_t length;

    if (control == NULL || access(control, F_OK) != 0)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return 0;
    path[length] = 0;
    if (strstr(path, "/log/") == NULL)
        return 0;
    errno = EIO;
    return 1;
}

int fsync(int fd)
{
    static int (*next)(int);

    if (next == NULL)
        next = dlsym(RTLD_NEXT, "fsync");
    return fails(fd) ? -1 : next(fd);
}

int fdatasync(int fd)
{
    static int (*next)(int);

    if (next == NULL)
        next = dlsym(RTLD_NEXT, "fdatasync");
    return fails(fd) ? -1 : next(fd);
}
