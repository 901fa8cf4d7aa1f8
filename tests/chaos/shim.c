/* Preloaded into every node of scripts/chaos. Beside the journal of what is synced:
 *   - connections to a port named in ROOST_SHIM_ROUTES (PORT=PORT,...) go to the port behind it, the fault proxy's;
 *   - ROOST_SHIM_CONTROL, a file of three 64-bit numbers in the machine's order, is obeyed as soon as it changes:
 *     nanoseconds by which CLOCK_REALTIME is wrong, microseconds by which every sync takes longer, and microseconds a
 *     second by which CLOCK_REALTIME drifts, from when it is first looked at.
 * The monotonic clock stays as it is. */
#define _GNU_SOURCE
#include <stdint.h>

struct control {
    int64_t clock_step_ns;
    int64_t sync_delay_us;
    int64_t drift_ppm;
};

static volatile struct control *control;
static void delay_sync(void);

#define BEFORE_SYNC() delay_sync()
#include "../../raft/tests/it/sync_shim.c"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

#define ROUTES_MAX 64

static struct {
    uint16_t from, to;
} routes[ROUTES_MAX];
static int route_count;
static int (*real_clock_gettime)(clockid_t, struct timespec *);
static int (*real_connect)(int, const struct sockaddr *, socklen_t);

static void find_real(void) {
    if (!real_clock_gettime) real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    if (!real_connect) real_connect = dlsym(RTLD_NEXT, "connect");
}

__attribute__((constructor)) static void begin(void) {
    find_real();
    const char *path = getenv("ROOST_SHIM_CONTROL");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC, 0) : -1;
    if (fd >= 0) {
        void *map = mmap(NULL, sizeof(struct control), PROT_READ, MAP_SHARED, fd, 0);
        if (map != MAP_FAILED) control = map;
        close(fd);
    }
    const char *text = getenv("ROOST_SHIM_ROUTES");
    while (text && *text && route_count < ROUTES_MAX) {
        unsigned from, to;
        if (sscanf(text, "%u=%u", &from, &to) != 2) break;
        routes[route_count].from = (uint16_t)from;
        routes[route_count++].to = (uint16_t)to;
        text = strchr(text, ',');
        if (text) text++;
    }
}

static void delay_sync(void) {
    int64_t delay = control ? control->sync_delay_us : 0;
    if (delay > 0) usleep((useconds_t)delay);
}

/* Nanoseconds by which the clock has drifted. */
static int64_t drifted(void) {
    static int64_t since;
    int64_t ppm = control->drift_ppm;
    if (!ppm) {
        since = 0;
        return 0;
    }
    struct timespec now;
    if (real_clock_gettime(CLOCK_MONOTONIC, &now)) return 0;
    int64_t now_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    if (!since) since = now_us;
    return (now_us - since) * ppm / 1000;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    if (!real_clock_gettime) find_real();
    int result = real_clock_gettime(clock, time);
    int64_t wrong_by = result == 0 && clock == CLOCK_REALTIME && control ? control->clock_step_ns + drifted() : 0;
    if (wrong_by) {
        int64_t now = (int64_t)time->tv_sec * 1000000000 + time->tv_nsec + wrong_by;
        time->tv_sec = now / 1000000000;
        time->tv_nsec = now % 1000000000;
    }
    return result;
}

int connect(int fd, const struct sockaddr *to, socklen_t length) {
    if (!real_connect) find_real();
    if (to && to->sa_family == AF_INET && length >= sizeof(struct sockaddr_in)) {
        struct sockaddr_in other;
        memcpy(&other, to, sizeof other);
        for (int i = 0; i < route_count; i++) {
            if (ntohs(other.sin_port) == routes[i].from) {
                other.sin_port = htons(routes[i].to);
                return real_connect(fd, (struct sockaddr *)&other, sizeof other);
            }
        }
    }
    return real_connect(fd, to, length);
}
