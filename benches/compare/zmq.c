/* ZeroMQ: XPUB and SUB. The first address in $COMPARE_URL is bound (a group: joined) by the publisher, and subscribers connect to
 * it. XPUB_NODROP has `zmq_send` wait where the high-water mark is reached, instead of dropping. */
#include "peer.h"
#include <zmq.h>

static void *context, *queue;

static void check(int result, const char *what) {
    if (result < 0)
        fail("%s: %s", what, zmq_strerror(zmq_errno()));
}

static bool is_multicast(const char *url) { return strncmp(url, "tcp:", 4) != 0; }

static void open_socket(int kind) {
    const char *url = getenv("COMPARE_URL");
    if (!url)
        fail("COMPARE_URL is not set");
    context = zmq_ctx_new();
    queue = zmq_socket(context, kind);
    int mark = 10000, buffer = 4 << 20, rate = 2000000, window = 1000, one = 1, timeout = 100;
    check(zmq_setsockopt(queue, ZMQ_SNDHWM, &mark, sizeof mark), "SNDHWM");
    check(zmq_setsockopt(queue, ZMQ_RCVHWM, &mark, sizeof mark), "RCVHWM");
    if (is_multicast(url)) {
        /* Kilobits a second, and milliseconds of them that can be repaired; the defaults are 100 and 10,000. */
        check(zmq_setsockopt(queue, ZMQ_RATE, &rate, sizeof rate), "RATE");
        check(zmq_setsockopt(queue, ZMQ_RECOVERY_IVL, &window, sizeof window), "RECOVERY_IVL");
        check(zmq_setsockopt(queue, ZMQ_RCVBUF, &buffer, sizeof buffer), "RCVBUF");
        check(zmq_setsockopt(queue, ZMQ_SNDBUF, &buffer, sizeof buffer), "SNDBUF");
    }
    if (kind == ZMQ_XPUB) {
        check(zmq_setsockopt(queue, ZMQ_XPUB_NODROP, &one, sizeof one), "XPUB_NODROP");
        check(is_multicast(url) ? zmq_connect(queue, url) : zmq_bind(queue, url), url);
    } else {
        check(zmq_setsockopt(queue, ZMQ_SUBSCRIBE, "", 0), "SUBSCRIBE");
        check(zmq_setsockopt(queue, ZMQ_RCVTIMEO, &timeout, sizeof timeout), "RCVTIMEO");
        check(is_multicast(url) ? zmq_bind(queue, url) : zmq_connect(queue, url), url);
    }
}

static void open_publisher(void) {
    open_socket(ZMQ_XPUB);
    char subscription[16];
    /* Over multicast nobody tells. */
    if (is_multicast(getenv("COMPARE_URL")))
        sleep(1);
    else
        check(zmq_recv(queue, subscription, sizeof subscription, 0), "waiting for the subscription");
}

static void publish(const void *message) {
    while (zmq_send(queue, message, set.size, 0) < 0)
        if (zmq_errno() != EAGAIN && zmq_errno() != EINTR)
            check(-1, "sending");
}

static void flush(void) {}

static void open_subscriber(void) { open_socket(ZMQ_SUB); }

static void receive(void) {
    static char message[1 << 20];
    for (int i = 0; i < 1000; i++) {
        int length = zmq_recv(queue, message, sizeof message, set.spin || i > 0 ? ZMQ_DONTWAIT : 0);
        if (length < 0)
            break;
        take(message, (size_t)length < sizeof message ? (size_t)length : sizeof message);
    }
}

int main(int count, char **words) { return main_of(count, words); }
