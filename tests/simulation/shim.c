/* Preloaded into a simulation: what a process takes from the operating system for random, and what time it reads there,
 * follows from ROOST_SIMULATION_SEED. tokio draws the order in which it wakes those who wait from the one, and h2 forgets
 * closed streams by the other. Each look at a clock moves it by a microsecond; simulated time does not come from here.
 * Each thread has its own, so that threads cannot disturb each other. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>
#include <time.h>

static __thread uint64_t drawn;
static __thread uint64_t looked;

static uint64_t seed(void) {
    const char *text = getenv("ROOST_SIMULATION_SEED");
    return text ? strtoull(text, NULL, 10) : 0;
}

/* SplitMix64 (Steele, Lea, Flood 2014). */
static uint64_t draw(void) {
    uint64_t z = seed() + ++drawn * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

ssize_t getrandom(void *buffer, size_t length, unsigned int flags) {
    (void)flags;
    unsigned char *bytes = buffer;
    for (size_t at = 0; at < length; at++) bytes[at] = (unsigned char)draw();
    return (ssize_t)length;
}

int getentropy(void *buffer, size_t length) {
    getrandom(buffer, length, 0);
    return 0;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    uint64_t now_us = 1700000000ull * 1000000 + looked++;
    (void)clock;
    time->tv_sec = (time_t)(now_us / 1000000);
    time->tv_nsec = (long)(now_us % 1000000 * 1000);
    return 0;
}
