/* Another time and no names, for one process: a preload that a test drives through a small shared file.
 *
 * The file holds an int64 offset in nanoseconds, added to the wall clock (never to the monotonic one), and an int32
 * that, when not zero, makes every name lookup fail as a resolver without a network does. Addresses in digits and
 * "localhost" still resolve: those ask nobody. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct world {
    volatile int64_t offset_ns;
    volatile int32_t nameless;
};

static struct world *world;
static int (*real_clock)(clockid_t, struct timespec *);
static int (*real_lookup)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("ELSEWHERE");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        void *got = mmap(NULL, sizeof *world, PROT_READ, MAP_SHARED, fd, 0);
        world = got == MAP_FAILED ? NULL : got;
        close(fd);
    }
    real_clock = dlsym(RTLD_NEXT, "clock_gettime");
    real_lookup = dlsym(RTLD_NEXT, "getaddrinfo");
}

int clock_gettime(clockid_t which, struct timespec *at)
{
    int got;
    if (!real_clock)
        real_clock = dlsym(RTLD_NEXT, "clock_gettime");
    got = real_clock(which, at);
    if (got == 0 && world && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) {
        int64_t ns = (int64_t)at->tv_sec * 1000000000 + at->tv_nsec + world->offset_ns;
        at->tv_sec = ns / 1000000000;
        at->tv_nsec = ns % 1000000000;
    }
    return got;
}

time_t time(time_t *at)
{
    struct timespec now = {0, 0};
    clock_gettime(CLOCK_REALTIME, &now);
    if (at)
        *at = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
    struct timespec now = {0, 0};
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

static int asks_somebody(const char *name)
{
    unsigned char buffer[sizeof(struct in6_addr)];
    return name && strcmp(name, "localhost") && inet_pton(AF_INET, name, buffer) != 1 &&
           inet_pton(AF_INET6, name, buffer) != 1;
}

/* A name of the tests' own, "*.local", is this machine: a real lookup, without a resolver to depend on. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    size_t length = name ? strlen(name) : 0;
    if (world && world->nameless && asks_somebody(name))
        return EAI_AGAIN;
    if (length > 6 && !strcmp(name + length - 6, ".local"))
        name = "127.0.0.1";
    return real_lookup(name, service, hints, found);
}
