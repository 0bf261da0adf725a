#include "bridge/handed.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FIRST 3 /* sd_listen_fds(3) */
#define COUNT_MAX 64

static long number_of(const char *name)
{
    const char *text = getenv(name);
    char *end;
    long n = text ? strtol(text, &end, 10) : -1;

    return text && *text && *end == '\0' ? n : -1;
}

static int is_listening_at(int fd, const char *path)
{
    struct sockaddr_un at = { 0 };
    socklen_t n = sizeof at, m = sizeof(int);
    int listening = 0;

    return getsockname(fd, (struct sockaddr *)&at, &n) == 0 && at.sun_family == AF_UNIX &&
           strncmp(at.sun_path, path, sizeof at.sun_path) == 0 &&
           getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &m) == 0 && listening;
}

int handed_socket(const char *path)
{
    long n = number_of("LISTEN_FDS");

    if (number_of("LISTEN_PID") != getpid() || n > COUNT_MAX)
        return -1;
    for (int fd = FIRST; fd < FIRST + n; fd++)
        if (is_listening_at(fd, path) && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 &&
            fcntl(fd, F_SETFL, O_NONBLOCK) == 0)
            return fd;
    return -1;
}
