/* Fields of a stream entry to an event and back.
 *
 * Written: body, id and key as fields of their own (absent ones have none), each header that a
 * field of text can bring back unchanged as PREFIX + its name, the token, and `bascule-hops` once
 * it is above 0. When a header is none of that kind (a number, a table, a property, a name that one
 * of our own fields has) the whole list goes in `bascule-headers` too, in our own encoding, and
 * then rules; headers of text stand beside it to be read by people. Headers that a broker owns are
 * left out. Read: any other field is a header, TEXT when it is valid UTF-8, else BYTES; the token
 * is dropped. An entry without the body's field has a null body and all its fields as headers. */
#ifndef BASCULE_FIELDS_H
#define BASCULE_FIELDS_H

#include "bridge/connector.h"
#include "bridge/links/resp.h"

/* Names of the fields. */
struct fields {
    struct bytes body, id, key, prefix, token; /* token absent: none is written */
};

/* For writing: the first names as they stand in a command, all behind each other. */
struct fields_heads {
    struct buf text;
    struct bytes body, id, key, token;
};

void fields_heads_init(struct fields_heads *h, const struct fields *c);
void fields_heads_done(struct fields_heads *h);

/* NULL takes the default; an empty token is none. The texts are kept. */
struct fields fields_of(
    const char *body, const char *id, const char *key, const char *prefix, const char *token);
/* Appends the headers to `headers`; e->headers.n tells how many bytes, where they lie is known once
 * that buffer stopped growing. The fields (names and values in turn, all texts) are lent. */
void fields_read(
    const struct fields *c, const struct resp_value *fields, struct buf *headers, struct event *e);

/* How one message will be written. */
struct fields_plan {
    size_t pairs;
    bool bare;          /* nothing to say: an entry needs a field all the same */
    struct bytes exact; /* value of bascule-headers, absent when not needed */
};
struct fields_plan fields_plan(
    const struct fields *c, const struct message *m, struct buf *scratch);
/* 2 * plan->pairs arguments. */
void fields_write(const struct fields *c, const struct fields_heads *heads, const struct message *m,
    const struct fields_plan *plan, struct resp *to);
/* {"id":…,"key":…,"time":…,"hops":…,"headers":{…},"body":…}; bodies and headers that are
 * not UTF-8 stand as {"base64":…}. */
void fields_envelope(const struct message *m, struct buf *to);

#endif
