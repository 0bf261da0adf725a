#include "bridge/links/nats/acks.h"

#include <stdio.h>
#include <stdlib.h>

#define TEXT_BYTES_MAX (256u << 20)
/* After so long without a reply the last acknowledgement of a job goes out again. */
#define AGAIN_MS 5000

void acks_init(struct acks *a)
{
    *a = (struct acks){ 0 };
    a->end = &a->first;
}

void ack_job_free(struct ack_job *job)
{
    if (!job)
        return;
    buf_done(&job->texts);
    free(job);
}

void acks_done(struct acks *a)
{
    while (a->first) {
        struct ack_job *job = a->first;
        a->first = job->next;
        ack_job_free(job);
    }
    acks_init(a);
}

struct ack_job *acks_job(uint64_t number, size_t n)
{
    struct ack_job *job = calloc(1, sizeof *job + n * sizeof job->at[0]);

    if (!job)
        return NULL;
    job->number = number;
    buf_init(&job->texts, TEXT_BYTES_MAX);
    return job;
}

int acks_put(struct ack_job *job, const char *subject, uint64_t seq)
{
    job->at[job->n] = (struct ack){ job->texts.n, seq };
    buf_put(&job->texts, subject, strlen(subject) + 1);
    if (job->texts.failed)
        return -1;
    job->n++;
    return 0;
}

void acks_add(struct acks *a, struct ack_job *job)
{
    a->waiting += job->n;
    *a->end = job;
    a->end = &job->next;
}

static bool send(struct ack_job *job, size_t i, struct wire *w, const char *prefix)
{
    struct wire_publish p = { .subject = (const char *)job->texts.at + job->at[i].subject,
        .body = bytes_text("+ACK") };
    char reply[288];

    (void)snprintf(reply, sizeof reply, "%s.%llu", prefix, (unsigned long long)job->number);
    if (i + 1 == job->n)
        p.reply = reply;
    return wire_publish(w, &p) > 0;
}

int64_t acks_step(struct acks *a, struct wire *w, const char *prefix, int64_t now_ms)
{
    uint64_t session = wire_status(w)->session;
    int64_t wake = INT64_MAX;

    if (!wire_ready(w))
        return wake;
    if (a->session != session)
        for (struct ack_job *job = a->first; job; job = job->next)
            job->sent = 0;
    a->session = session;
    wire_cork(w);
    for (struct ack_job *job = a->first; job; job = job->next) {
        if (job->sent == job->n && now_ms - job->sent_ms >= AGAIN_MS)
            job->sent = job->n - 1;
        while (job->sent < job->n) {
            if (!send(job, job->sent, w, prefix))
                goto full;
            job->sent++;
            job->sent_ms = now_ms;
        }
        if (job->sent_ms + AGAIN_MS < wake)
            wake = job->sent_ms + AGAIN_MS;
    }
full:
    wire_uncork(w);
    return wake;
}

struct ack_job *acks_confirmed(struct acks *a, uint64_t number)
{
    for (struct ack_job **at = &a->first; *at; at = &(*at)->next) {
        struct ack_job *job = *at;
        if (job->number != number)
            continue;
        *at = job->next;
        if (!job->next)
            a->end = at;
        job->next = NULL;
        a->waiting -= job->n;
        return job;
    }
    return NULL;
}

bool acks_has(const struct acks *a, uint64_t number)
{
    for (const struct ack_job *job = a->first; job; job = job->next)
        if (job->number == number)
            return true;
    return false;
}
