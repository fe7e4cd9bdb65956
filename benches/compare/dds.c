/* CycloneDDS: reliable, everything kept until it is read. Its own settings are in $CYCLONEDDS_URI. As fast as it goes, samples
 * are written in batches (dds_write_set_batch). */
#include "peer.h"
#include "sample.h"
#include <dds/dds.h>

static dds_entity_t participant, topic, writer, reader, waiter;

static dds_entity_t check(dds_entity_t result, const char *what) {
    if (result < 0)
        fail("%s: %s", what, dds_strretcode(-result));
    return result;
}

static dds_qos_t *quality(void) {
    dds_qos_t *quality = dds_create_qos();
    dds_qset_reliability(quality, DDS_RELIABILITY_RELIABLE, DDS_INFINITY);
    dds_qset_history(quality, DDS_HISTORY_KEEP_ALL, 0);
    dds_qset_resource_limits(quality, 10000, DDS_LENGTH_UNLIMITED, DDS_LENGTH_UNLIMITED);
    return quality;
}

static void join(void) {
    participant = check(dds_create_participant(DDS_DOMAIN_DEFAULT, NULL, NULL), "participant");
    topic = check(dds_create_topic(participant, &Sample_desc, "compare", NULL, NULL), "topic");
}

static void open_publisher(void) {
    if (set.rate == 0)
        dds_write_set_batch(true);
    join();
    writer = check(dds_create_writer(participant, topic, quality(), NULL), "writer");
    dds_publication_matched_status_t status = {0};
    while (status.current_count == 0) {
        check(dds_get_publication_matched_status(writer, &status), "waiting for the subscriber");
        usleep(10000);
    }
}

static void publish(const void *message) {
    Sample sample = {.body = {set.size, set.size, (uint8_t *)message, false}};
    check(dds_write(writer, &sample), "writing");
}

static void flush(void) {
    if (set.rate == 0)
        dds_write_flush(writer);
}

static void open_subscriber(void) {
    join();
    reader = check(dds_create_reader(participant, topic, quality(), NULL), "reader");
    waiter = check(dds_create_waitset(participant), "waitset");
    check(dds_set_status_mask(reader, DDS_DATA_AVAILABLE_STATUS), "status");
    check(dds_waitset_attach(waiter, reader, 0), "waitset");
}

static void receive(void) {
    static void *samples[256];
    static dds_sample_info_t infos[256];
    if (!set.spin)
        check(dds_waitset_wait(waiter, NULL, 0, DDS_MSECS(100)), "waiting");
    int count;
    while ((count = check(dds_take(reader, samples, infos, 256, 256), "taking")) > 0) {
        for (int i = 0; i < count; i++)
            if (infos[i].valid_data)
                take(((Sample *)samples[i])->body._buffer, ((Sample *)samples[i])->body._length);
        dds_return_loan(reader, samples, count);
    }
}

int main(int count, char **words) { return main_of(count, words); }
