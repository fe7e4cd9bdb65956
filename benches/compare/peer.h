/* One side of a comparison: the part that is the same for every peer. A peer's file has the functions declared below and
 * calls main_of. scripts/compare builds and runs them.
 *
 *   PEER pub|sub INTERFACE LOCAL-ADDRESS SIZE RATE SECONDS WARM-UP SPIN
 *
 * Each message begins with when it was due, in nanoseconds of CLOCK_MONOTONIC (0: not timed), and its number from 1 (0: it is of
 * the warm-up; the highest: the end, and in the first place how many there were). A subscriber prints `ready` when it may be sent
 * to, and at the end, like the publisher, a line of JSON. Either ends when its standard input does. Received is what came in its
 * order; what did not is disordered, and so lost. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

struct settings {
    const char *interface, *local;
    size_t size;
    double rate, seconds, warm_up; /* rate 0: as fast as it goes */
    bool spin;
};

static struct settings set;

/* Of the peer. A publisher is open when its subscriber is there; `publish` returns when the message was taken. */
static void open_publisher(void);
static void publish(const void *message);
static void flush(void);
static void open_subscriber(void);
/* Gives what is here to `take`, and waits for it a tenth of a second at most. */
static void receive(void);

/* What a peer has to do while this side waits for a moment, if anything. */
static void (*meanwhile)(void);

#define END UINT64_MAX
#define TIMED_EVERY 256 /* messages, as fast as it goes */
#define OVERTIME 1.0    /* seconds after the end in which what was due may be sent */

static void fail(const char *format, ...) {
    va_list list;
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    _exit(1);
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static double cpu(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void wait_until(uint64_t due) {
    struct timespec time = {due / 1000000000ull, due % 1000000000ull};
    if (set.spin || meanwhile)
        while (now() < due) {
            if (meanwhile)
                meanwhile();
        }
    else {
        /* As nakcast's side waits: sleeping calls end up to 50 us late (timer slack), which is not the peer's doing. */
        static int timer = -1;
        struct itimerspec once = {.it_value = time};
        uint64_t expired;
        if (timer < 0 && (timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)) < 0)
            fail("timerfd_create: %s", strerror(errno));
        if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &once, NULL) < 0)
            fail("timerfd_settime: %s", strerror(errno));
        while (read(timer, &expired, sizeof expired) < 0 && errno == EINTR)
            ;
    }
}

static void send_one(char *message, uint64_t due, uint64_t number) {
    memcpy(message, &due, 8);
    memcpy(message + 8, &number, 8);
    publish(message);
}

/* Sends for so long; tells how many, and how many that were due could not be sent. Those that count have numbers. */
static uint64_t send_for(char *message, double seconds, bool counts, uint64_t *unsent) {
    uint64_t begun = now(), until = begun + (uint64_t)(seconds * 1e9), sent = 0;
    *unsent = 0;
    if (set.rate > 0) {
        uint64_t total = (uint64_t)(seconds * set.rate), given_up = until + (uint64_t)(OVERTIME * 1e9);
        for (; sent < total; sent++) {
            uint64_t due = begun + (uint64_t)(sent * 1e9 / set.rate), time = now();
            if (time < due) {
                flush();
                wait_until(due);
            } else if (time >= given_up) {
                *unsent = total - sent;
                break;
            }
            send_one(message, due, counts ? sent + 1 : 0);
        }
    } else {
        for (uint64_t time; (time = now()) < until;)
            for (int i = 0; i < TIMED_EVERY; i++, sent++)
                send_one(message, i == 0 ? time : 0, counts ? sent + 1 : 0);
    }
    flush();
    return sent;
}

static void *end_with_input(void *unused) {
    char byte[64];
    while (read(0, byte, sizeof byte) > 0)
        ;
    _exit(0);
    return unused;
}

static void run_publisher(void) {
    char *message = calloc(1, set.size);
    memset(message, '.', set.size);
    open_publisher();
    uint64_t unsent;
    send_for(message, set.warm_up, false, &unsent);
    uint64_t begun = now();
    double used = cpu();
    uint64_t sent = send_for(message, set.seconds, true, &unsent);
    double seconds = (now() - begun) / 1e9;
    printf("{\"sent\": %llu, \"unsent\": %llu, \"seconds\": %.6f, \"cpu\": %.6f}\n", (unsigned long long)sent,
           (unsigned long long)unsent, seconds, cpu() - used);
    fflush(stdout);
    /* Until nobody listens any more: the end may be lost too. */
    for (;;) {
        send_one(message, sent, END);
        flush();
        wait_until(now() + 20000000);
    }
}

static struct {
    uint64_t received, number, disordered, first, last, sent;
    double cpu;
    uint64_t *times;
    size_t timed, room;
    bool ended;
} seen;

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void take(const void *message, size_t length) {
    uint64_t due, number;
    if (length < 16)
        return;
    memcpy(&due, message, 8);
    memcpy(&number, (const char *)message + 8, 8);
    if (number == 0 || seen.ended)
        return;
    if (number == END) {
        seen.ended = true;
        seen.sent = due;
        return;
    }
    /* None of them may come again, or behind its successor. */
    if (number <= seen.number) {
        seen.disordered++;
        return;
    }
    seen.number = number;
    /* The clock is read for each, in every peer alike, where each is timed; else for some. */
    if (seen.received++ == 0) {
        seen.first = now();
        seen.cpu = cpu();
    }
    if (due) {
        if (seen.timed == seen.room) {
            seen.room = seen.room ? 2 * seen.room : 1 << 20;
            seen.times = realloc(seen.times, seen.room * sizeof *seen.times);
        }
        seen.last = now();
        seen.times[seen.timed++] = seen.last - due;
    }
}

static void run_subscriber(void) {
    open_subscriber();
    puts("ready");
    fflush(stdout);
    while (!seen.ended) {
        uint64_t before = seen.received;
        receive();
        if (seen.received != before)
            seen.last = now();
    }
    double used = cpu() - seen.cpu;
    qsort(seen.times, seen.timed, sizeof *seen.times, ascending);
    printf("{\"received\": %llu, \"lost\": %lld, \"disordered\": %llu, \"seconds\": %.6f, \"cpu\": %.6f, \"timed\": %zu", (unsigned long long)seen.received,
           (long long)(seen.sent - seen.received), (unsigned long long)seen.disordered, (seen.last - seen.first) / 1e9, used, seen.timed);
    static const struct {
        const char *name;
        double share;
    } percentiles[] = {{"p50", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}, {"max", 1}};
    for (int i = 0; i < 4 && seen.timed; i++) {
        size_t at = (size_t)(percentiles[i].share * seen.timed);
        printf(", \"%s\": %llu", percentiles[i].name, (unsigned long long)seen.times[at < seen.timed ? at : seen.timed - 1]);
    }
    puts("}");
    fflush(stdout);
    _exit(0);
}

static int main_of(int count, char **words) {
    if (count != 9)
        fail("%s pub|sub INTERFACE LOCAL-ADDRESS SIZE RATE SECONDS WARM-UP SPIN", words[0]);
    set = (struct settings){words[2], words[3], strtoul(words[4], NULL, 10), atof(words[5]), atof(words[6]), atof(words[7]),
                            atoi(words[8]) != 0};
    if (set.size < 16)
        fail("a message takes 16 bytes at least");
    pthread_t thread;
    pthread_create(&thread, NULL, end_with_input, NULL);
    if (strcmp(words[1], "pub") == 0)
        run_publisher();
    else
        run_subscriber();
    return 0;
}
