/* Aeron, its C media driver in this process, on multicast with min flow control: the slowest subscriber is waited for. Who
 * sleeps has the driver on a thread of its own (SHARED) with Aeron's own backoff, and the same here; who spins has it on
 * this thread (INVOKER): two that spin would want two processors for each side. */
#include "peer.h"
#include <aeronc.h>
#include <aeronmd.h>
#include <sched.h>

#define STREAM 1001

#define WORK_EVERY 32 /* messages */

static aeron_t *client;
static aeron_driver_t *driver;
static aeron_exclusive_publication_t *publication;
static aeron_subscription_t *subscription;
static aeron_fragment_assembler_t *assembler;
static char channel[256];

static void check(int result, const char *what) {
    if (result < 0)
        fail("%s: %s", what, aeron_errmsg());
}

/* Where the driver has no thread. */
static void work(void) { check(aeron_driver_main_do_work(driver), "driver"); }

static void pause_for(int microseconds) {
    if (set.spin)
        work();
    else
        usleep(microseconds);
}

static void start(void) {
    aeron_driver_context_t *driver_context;
    aeron_context_t *context;
    char directory[64];
    snprintf(directory, sizeof directory, "/dev/shm/nakcast-compare-aeron-%d", getpid());
    check(aeron_driver_context_init(&driver_context), "driver");
    aeron_driver_context_set_dir(driver_context, directory);
    aeron_driver_context_set_dir_delete_on_start(driver_context, true);
    aeron_driver_context_set_dir_delete_on_shutdown(driver_context, true);
    aeron_driver_context_set_threading_mode(driver_context, set.spin ? AERON_THREADING_MODE_INVOKER : AERON_THREADING_MODE_SHARED);
    aeron_driver_context_set_mtu_length(driver_context, 1408);
    aeron_driver_context_set_rcv_initial_window_length(driver_context, 2 << 20);
    aeron_driver_context_set_socket_so_rcvbuf(driver_context, 4 << 20);
    aeron_driver_context_set_socket_so_sndbuf(driver_context, 2 << 20);
    /* For a lone receiver: the defaults spread NAKs over 10 ms for a group of 10, and answer one for the same place again after 10. */
    aeron_driver_context_set_nak_multicast_group_size(driver_context, 2);
    aeron_driver_context_set_nak_multicast_max_backoff_ns(driver_context, 200000);
    aeron_driver_context_set_retransmit_unicast_linger_ns(driver_context, 1000000);
    check(aeron_driver_init(&driver, driver_context), "driver");
    check(aeron_driver_start(driver, set.spin), "driver");
    meanwhile = set.spin ? work : NULL;
    check(aeron_context_init(&context), "client");
    check(aeron_context_set_dir(context, directory), "client");
    check(aeron_init(&client, context), "client");
    check(aeron_start(client), "client");
    snprintf(channel, sizeof channel, "aeron:udp?endpoint=239.255.78.3:40456|interface=%s|fc=min", set.local);
}

/* Aeron's default backoff: spins, then yields, then sleeps from 1 us up to 1 ms. */
static void idle(bool worked) {
    static int idles;
    static long parked = 1000;
    if (set.spin) {
        work();
    } else if (worked) {
        idles = 0;
        parked = 1000;
    } else if (++idles <= 10) {
        __asm__ volatile("" ::: "memory");
    } else if (idles <= 30) {
        sched_yield();
    } else {
        struct timespec time = {0, parked};
        nanosleep(&time, NULL);
        parked = parked * 2 < 1000000 ? parked * 2 : 1000000;
    }
}

static void open_publisher(void) {
    start();
    aeron_async_add_exclusive_publication_t *async;
    check(aeron_async_add_exclusive_publication(&async, client, channel, STREAM), "publication");
    while (!publication) {
        check(aeron_async_add_exclusive_publication_poll(&publication, async), "publication");
        pause_for(1000);
    }
    while (!aeron_exclusive_publication_is_connected(publication))
        pause_for(1000);
}

static void publish(const void *message) {
    for (;;) {
        int64_t result = aeron_exclusive_publication_offer(publication, message, set.size, NULL, NULL);
        if (result >= 0)
            break;
        if (result != AERON_PUBLICATION_BACK_PRESSURED && result != AERON_PUBLICATION_ADMIN_ACTION) {
            if (result == AERON_PUBLICATION_NOT_CONNECTED)
                fail("sending: the subscriber is not connected any more");
            fail("sending: %s", aeron_errmsg());
        }
        idle(false);
    }
    static int unworked;
    if (!set.spin) {
        idle(true);
    } else if (++unworked == WORK_EVERY) {
        unworked = 0;
        work();
    }
}

static void flush(void) {
    if (set.spin)
        work();
}

static void taken(void *unused, const uint8_t *message, size_t length, aeron_header_t *header) {
    (void)unused, (void)header;
    take(message, length);
}

static void open_subscriber(void) {
    start();
    aeron_async_add_subscription_t *async;
    check(aeron_async_add_subscription(&async, client, channel, STREAM, NULL, NULL, NULL, NULL), "subscription");
    while (!subscription) {
        check(aeron_async_add_subscription_poll(&subscription, async), "subscription");
        pause_for(1000);
    }
    check(aeron_fragment_assembler_create(&assembler, taken, NULL), "assembler");
}

static void receive(void) {
    int count = aeron_subscription_poll(subscription, aeron_fragment_assembler_handler, assembler, 256);
    check(count, "polling");
    idle(count > 0);
}

int main(int count, char **words) { return main_of(count, words); }
