"""The deliberate defects that `make mutants` builds one after the other. Each is an edit of the source, made in
the build directory only, so nothing of it can get into the product: (file, text that stands there exactly once,
what stands there instead). `tests` names tests that are known to see it and are run first; `broker` a defect
that only a real broker shows, then `tests` are of the conformance suite."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Defect:
    name: str
    edits: tuple
    tests: tuple
    broker: str = ""


def defect(name, path, old, new, *tests, broker="", more=()):
    return Defect(name, ((path, old, new), *more), tests, broker)


DEFECTS = (
    # ---- accepting ----
    defect("acknowledged-before-commit", "routes/intake.c",
           "while (n < i->given && i->batches[n].txn <= done) {", "while (n < i->given) {",
           "nothing_is_acknowledged_before_its_commit"),
    defect("position-after-its-events", "routes/intake.c",
           "        i->spec.connector->source_settle(i->source, i->batches[n].batch, true);\n",
           "        give_rest(i, i->batches[n].batch);\n"
           "        i->spec.connector->source_settle(i->source, i->batches[n].batch, true);\n",
           "whatever_the_seed",
           more=(("routes/intake.c", "        give_rest(i, i->batches[i->given].batch);\n", ""),)),
    defect("position-before-its-events", "store/writer.c",
           "    if (t && apply_some(s, t, true, true, why) != 0)\n        return -1;\n",
           "    for (size_t i = 0; t && i < t->n; i++)\n"
           "        if (t->ops[i].kind == OP_POSITION && apply_op(s, t, &t->ops[i], why) != 0)\n"
           "            return -1;\n"
           "    if (t && t->number % 16 == 15)\n"
           "        return fault_set(why, FAULT_BROKEN, 0, \"no\"), db_exec(s->db, \"COMMIT\", NULL), -1;\n"
           "    if (t && apply_some(s, t, true, true, why) != 0)\n        return -1;\n",
           "whatever_the_seed"),
    defect("redelivery-not-appended", "routes/intake.c",
           "if (i->batches[b].known && i->batches[b].known[e]) {",
           "if (batch->events[e].flags & EVENT_REDELIVERED) {",
           "whatever_the_seed"),
    defect("time-of-receipt-goes-back", "routes/intake.c",
           "    if (unix_ms > i->last_received_ms)\n", "", "received"),
    defect("events-beyond-one-chunk-lost", "routes/intake.c",
           "    return n ? give_block(i, n, received_ms, why) : 0;",
           "    return n > 1 ? give_block(i, n, received_ms, why) : 0;", "whatever_the_seed"),
    # ---- finishing ----
    defect("cursor-moves-on-send", "routes/outflow.c",
           "        if (f->first_sent_ms == 0)\n            f->first_sent_ms = o->unix_ms;\n",
           "        if (f->first_sent_ms == 0)\n            f->first_sent_ms = o->unix_ms;\n"
           "        if (!f->entry && f->seq >= f->lane->frontier && !ranges_have(&f->lane->above, f->seq))\n"
           "            lane_finish(f->lane, f->seq);\n",
           "whatever_the_seed",
           more=(("routes/lane.c", "    assert(seq >= l->frontier);\n",
                  "    if (seq < l->frontier || ranges_have(&l->above, seq))\n        return;\n"),)),
    defect("nack-counts-as-delivered", "routes/fates.c",
           "        breaker_counts(o, f, r->text);\n        if (f->probe)\n",
           "        delivered(f);\n        break;\n        if (f->probe)\n", "whatever_the_seed"),
    defect("unroutable-counts-as-delivered", "routes/fates.c",
           "        fate_charged(f, REASON_UNROUTABLE, r->cause, r->code, r->text);\n",
           "        delivered(f);\n", "whatever_the_seed"),
    defect("unsure-counts-as-delivered", "routes/fates.c",
           "    if (r->fate == FATE_UNSURE)\n        f->unsure = true;\n",
           "    if (r->fate == FATE_UNSURE) {\n        delivered(f);\n        return;\n    }\n",
           "whatever_the_seed"),
    defect("fate-dropped", "routes/fates.c",
           "    default:\n        break;\n    }\n    lane_again(f);\n",
           "    default:\n        return;\n    }\n    lane_again(f);\n", "whatever_the_seed"),
    defect("late-report-of-another-round", "routes/fates.c",
           " || f->round != (uint32_t)(r->ref >> 32))", ")", "report"),
    defect("dead-letter-without-a-row", "routes/fates.c",
           "    store_held_put(o->spec.store, &row, &f->in);\n", "", "a_final_refusal"),
    defect("rows-without-their-cursor", "routes/outflow.c",
           "    if (!o->dirty)\n        return;\n    store_cursor_put(",
           "    if (!o->dirty || (o->outcomes[OUTCOME_HELD].capacity && o->now_ms % 4))\n"
           "        return;\n    store_cursor_put(", "whatever_the_seed"),
    defect("cursor-committed-before-its-rows", "store/writer.c",
           "        if ((waits_when_full(&t->ops[i]) ? appends : rest) && apply_op(s, t, &t->ops[i], why) != 0)",
           "        if ((waits_when_full(&t->ops[i]) ? appends : rest) &&\n"
           "            !(t->ops[i].kind == OP_HELD && t->number % 32 == 31) && apply_op(s, t, &t->ops[i], why) != 0)",
           "whatever_the_seed"),
    defect("finished-ranges-not-cut", "routes/lane.c",
           "            ranges_cut(&l->above, l->frontier);\n", "", "whatever_the_seed"),
    # ---- attempts and outages ----
    defect("retry-counted-twice", "routes/fates.c",
           "uint32_t attempts = (e ? e->attempts : 0) + 1;", "uint32_t attempts = (e ? e->attempts : 0) + 2;",
           "attempts_are_used_up"),
    defect("outage-charges-an-attempt", "routes/fates.c",
           "    default:\n        break;\n    }\n    lane_again(f);\n",
           "    default:\n        fate_charged(f, REASON_TIMEOUT, r->cause, r->code, r->text);\n        return;\n"
           "    }\n    lane_again(f);\n", "attempts_are_used_up"),
    defect("breaker-probe-burns-an-attempt", "routes/fates.c",
           "        if (f->probe)\n            lane_again(f);\n        else\n            fate_charged",
           "            fate_charged", "the_breaker_opens"),
    defect("unsure-forgotten", "routes/fates.c",
           "    if (r->fate == FATE_UNSURE)\n        f->unsure = true;\n", "", "unsure"),
    defect("unsure-forgotten-over-a-crash", "routes/held.c",
           ".unsure = h->unsure || o->spec.careful,", ".unsure = h->unsure,", "unsure"),
    defect("unclean-start-not-careful", "routes/outflow.c",
           "        if (spec->careful)\n            o->live.careful_below",
           "        if (0)\n            o->live.careful_below",
           "unsure"),
    defect("suspects-not-sent-alone", "routes/outflow.c",
           "        if (o->suspects) {\n", "        if (0) {\n", "the_one_that_closes"),
    defect("expiry-by-a-clock-that-is-stepped", "routes/outflow.c",
           "f->in.received_ms + after < o->now_ms + o->clock_base_ms", "f->in.received_ms + after < o->unix_ms",
           "a_clock_that_is_stepped"),
    # ---- order ----
    defect("parked-follower-lost", "routes/outflow.c",
           "        held_add(l, seq, hash, HELD_FOLLOWING, REASON_NONE, 0, NULL, 0, 0, from, e);\n\n"
           "    if (!entry)\n        return false;\n",
           "        NULL;\n\n    (void)from, (void)e, (void)hash, (void)entry;\n"
           "    l->o->counts.held++;\n    outflow_dirty(l->o);\n",
           "followers_of_a_held_key"),
    defect("follower-row-not-written", "routes/held.c",
           "    store_held_put(o->spec.store, &row, event);\n    buf_done(&scratch);\n",
           "    if (state != HELD_FOLLOWING)\n        store_held_put(o->spec.store, &row, event);\n"
           "    buf_done(&scratch);\n", "followers_of_a_held_key"),
    defect("follower-passes-its-elder", "routes/outflow.c",
           "    if (k && k->first && k->first->seq < e->seq &&", "    if (0 && k && k->first->seq < e->seq &&",
           "followers_of_a_held_key",
           more=(("routes/outflow.c", "    if (!f->entry && k->first && k->first->seq < f->seq) {",
                  "    if (0) {"),)),
    defect("key-goes-on-after-a-lost-session", "routes/lane.c",
           "        f->key->barrier = true;\n", "        f->key->barrier = false;\n", "whatever_the_seed"),
    defect("held-key-not-restored", "routes/held.c",
           "    if (l->kind != LANE_RETRY && bytes_present(h->order_key))", "    if (0)", "whatever_the_seed"),
    # ---- fallback, people, replay ----
    defect("fallback-row-lost", "routes/fates.c",
           "    held_due(&to->live, e, 0);\n    to->counts.accepted++;\n",
           "    store_held_remove(to->spec.store, e->number);\n"
           "    held_due(&to->live, e, 0);\n    to->counts.accepted++;\n", "a_refusal_goes_to_the_fallback"),
    defect("resolved-before-the-brokers-word", "routes/outflow.c",
           "    return held_retry(&o->retry, d, why);",
           "    o->counts.dead--;\n    o->counts.delivered++;\n    return held_retry(&o->retry, d, why);",
           "a_retried_dead_letter"),
    defect("number-of-a-held-row-used-twice", "store/writer.c",
           "    held = s->next_held;\n", "    held = 1;\n", "whatever_the_seed"),
    defect("replay-pin-forgotten", "store/retain.c",
           "        bool pins = jobs[i].state != JOB_PLANNED || jobs[i].expires_ms > unix_ms;",
           "        bool pins = jobs[i].state == JOB_NONE;", "retention_spares"),
    defect("generation-used-twice", "routes/held.c",
           ".generation = store_next_generation(o->spec.store),", ".generation = 0,", "token"),
    # ---- the log ----
    defect("checksum-skipped", "store/chunk.c",
           "ZSTD_c_checksumFlag, 1)", "ZSTD_c_checksumFlag, 0)", "bit"),
    defect("failed-sync-forgiven", "store/writer.c",
           "    if (result == 1) {\n        s->stuck = t;",
           "    if (result < 0)\n        result = 1;\n    if (result == 1) {\n        s->stuck = t;",
           "a_failed_sync"),
    defect("first-sync-not-asked", "store/store.c",
           " || db_settle(s->db, why) != 0)", ")", "a_store_is_not_opened"),
    defect("full-disk-loses-appends", "store/writer.c",
           "    *kept = true;\n    return wait_for_space(s, t, why);", "    return 0;", "a_full_disk"),
    defect("retention-past-a-slow-sink", "store/retain.c",
           "    *ret = (uint64_t)db_int(st, 0);\n", "    *ret = UINT64_MAX;\n", "retention_stops"),
    defect("retention-while-the-clock-is-wrong", "store/retain.c",
           "        old = clock_ok && ", "        old = ", "retention"),
    defect("merge-forgets-times", "store/merge.c",
           "(uint64_t)(e.received_ms - first->received_ms));", "0);", "small_chunks"),
    defect("filter-misses-keys", "store/chunk.c",
           "        if (bytes_present(e.key))\n            filter_add(", "        if (0)\n            filter_add(",
           "filter"),
    defect("hop-not-counted", "routes/render.c",
           "f->out.hops = f->in.hops + 1;", "f->out.hops = f->in.hops;", "hop"),
    defect("event-without-body-gets-an-empty-one", "store/chunk.c",
           "    flags |= bytes_present(e->body) ? HAS_BODY : 0;\n", "    flags |= HAS_BODY;\n", "chunk"),
    # ---- links: only a broker shows these ----
    defect("return-forgotten", "bridge/links/rabbitmq/jobs.c",
           "    else if (j->returned)\n", "    else if (j->returned && j->key.len > 1u << 30)\n",
           "rabbitmq_an_unroutable", broker="rabbitmq"),
    defect("basic-nack-counts-as-delivered", "bridge/links/rabbitmq/jobs.c",
           "    if (!ack)\n        jobs_tell(s, j, FATE_REFUSED, CAUSE_NACK,",
           "    if (!ack)\n        jobs_tell(s, j, FATE_DELIVERED, CAUSE_NONE,",
           "rabbitmq_a_full_queue", broker="rabbitmq"),
    defect("committed-entry-appended-again", "bridge/links/redis/stream.c",
           "committed_has(&t->committed, &id))", "0)",
           "redis_an_entry_in_the_committed_set", broker="redis"),
    defect("failed-delivery-report-counts-as-delivered", "bridge/links/kafka/producer.c",
           "    if (s && m->err != 0) {\n", "    if (0) {\n", "kafka_no_confirmation", broker="kafka"),
    defect("another-routes-commit-taken-for-ours", "bridge/links/kafka/assign.c",
           "memcmp(p->metadata, a->metadata, p->metadata_size) == 0;", "true;",
           "kafka_a_commit_of_another", broker="kafka"),
    defect("group-beats-the-store", "bridge/links/kafka/assign.c",
           "f->adopt = !ours || f->stored < 0;", "f->adopt = true;", "kafka_our_own_commit", broker="kafka"),
    defect("topic-made-anew-not-noticed", "bridge/links/kafka/assign.c",
           "ts == f->stored_ts)", "ts > -2)", "kafka_a_topic_that_was_made_anew", broker="kafka"),
    defect("late-partition-begins-at-its-end", "bridge/links/kafka/assign.c",
           "a->first_assignment && a->start == KAFKA_START_LATEST", "a->start == KAFKA_START_LATEST",
           "kafka_start_latest", broker="kafka"),
    defect("failed-producer-made-anew-at-once", "bridge/links/kafka/producer.c",
           "    p->dial_ms = p->link->now_ms +", "    p->dial_ms = 0 *",
           "kafka_a_producer_that_fails", broker="kafka"),
    defect("header-of-another-width", "bridge/links/rabbitmq/codec.c",
           "{ HEADER_U16, AMQP_FIELD_KIND_U16, 2 }", "{ HEADER_U16, AMQP_FIELD_KIND_I16, 2 }",
           "rabbitmq_header_tables", broker="rabbitmq"),
)
