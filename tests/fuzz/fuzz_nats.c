/* Any bytes as what the NATS link reads by itself: header blocks, JetStream's answers, and subjects
 * of acknowledgements. clang -fsanitize=fuzzer,address with libbascule.a. */
#include "bridge/links/nats/answer.h"
#include "bridge/links/nats/block.h"
#include "bridge/links/nats/jet.h"
#include "bridge/links/nats/meaning.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const struct block_names names = { bytes_text("message-id"), bytes_text("key"), false };
    struct bytes input = bytes_of(data, n), list = input, item;
    struct event e = { .body = bytes_text("") };
    struct jet_place place;
    struct meaning meaning;
    struct buf headers;
    char *text = strndup((const char *)data, n), words[8];

    buf_init(&headers, 1 << 20);
    (void)block_read(&names, input, &headers, &e);
    buf_done(&headers);
    meaning_of_ack(input, input, true, "S", &meaning);
    meaning_of_ack(BYTES_NONE, input, false, "S", &meaning);
    meaning_of_reply(input, &meaning);
    (void)answer_find(input, "config.subjects.name");
    (void)answer_text(input, "error.description", words, sizeof words);
    buf_init(&headers, 1 << 20);
    (void)answer_string(input, "a", &headers);
    (void)answer_time_ms(input, "a");
    buf_done(&headers);
    while (answer_item(&list, &item) == 1)
        (void)answer_int(item, "a", 0);
    if (text) {
        (void)jet_place_parse(text, &place);
        (void)meaning_denies(text, "a.b");
        (void)nats_subject_valid(text, strlen(text), true);
    }
    free(text);
    return 0;
}
