/* Any bytes as a configuration file, with the option tables of the real links. */
#include "routes/check.h"

#include <sys/mman.h>
#include <stdio.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct config_problems problems;
    struct config *config = NULL;
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    char path[64];
    const char *paths[] = { path };

    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (fd >= 0 && write(fd, data, n) == (ssize_t)n)
        (void)config_load(paths, 1, &config, &problems);
    else
        problems = (struct config_problems){ 0 };
    config_problems_done(&problems);
    config_free(config);
    if (fd >= 0)
        (void)close(fd);
    return 0;
}
