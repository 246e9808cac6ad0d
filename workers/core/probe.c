/*
 * probe - whether the stores answer: a read through the ring of each, at most once per second.
 *
 * A store that restarts within the probe's second is still ready: calls wait for it as well.
 */
#include "proto/base/clock.h"
#include "workers/core/internal.h"

#define ANSWER_GOOD_NS ((uint64_t)CORE_INQUIRY_MS * 1000000)

static bool fresh(const struct core_store *store, uint64_t now_ns)
{
    return store->answered_ns != 0 && now_ns < store->answered_ns + ANSWER_GOOD_NS;
}

static void probe_done(struct core_call *probe)
{
    struct core_store *store = probe->state.store;
    enum status status = probe->reply.status;
    bool good = status == STATUS_OK || status == STATUS_NOT_FOUND;
    store->answered = good ? STATUS_OK : STATUS_UNAVAILABLE;
    store->answered_ns = clock_ns();
    bool says = !good && probe->reply.value.len > 0;
    snprintf(store->trouble, sizeof store->trouble, "%s", says ? probe->error : "");
}

/* A read that the backend serves: of any service that is kept there. */
static enum op read_of(const struct core *core, enum backend backend)
{
    unsigned service = 0;
    while (service + 1 < SERVICE_COUNT && core->child->conf.services[service] != backend)
        service++;
    return service_info((enum service)service)->read;
}

/* A store that refused our hello answers reads but could not take a large value: not ready. */
static void probe(struct core_store *store, uint64_t now_ns)
{
    const char *why;
    if (!transfer_accepted(store->transfer, &why)) {
        store->answered = STATUS_UNAVAILABLE;
        store->answered_ns = now_ns;
        store->trouble[0] = '\0';
        return;
    }
    store->probe = (struct core_call){
        .request = {.op = read_of(store->core, store->backend),
                    .key = bytes_of("strato-ready"),
                    .number = KV_GET_PROBE},
        .done = probe_done,
    };
    store->probe.state.started_ns = now_ns;
    store->probe.state.deadline_ns = now_ns + ANSWER_GOOD_NS;
    core_enter(store->core, store, &store->probe);
}

void core_ready(struct core *core,
                void (*done)(void *context, enum status status, const char *backend), void *context)
{
    core_waiter_add(&core->ready_waiters, (struct core_waiter){.ready = done, .context = context});
}

void core_ready_cancel(struct core *core, void *context)
{
    core_waiter_remove(&core->ready_waiters, context);
}

bool core_answers(const struct core *core, enum service service)
{
    const struct core_store *store = core->stores[core->child->conf.services[service]];
    return store->answered_ns == 0 || store->answered == STATUS_OK;
}

const char *core_trouble(const struct core *core)
{
    const struct core_store *store;
    const char *trouble = "";
    CORE_EACH_STORE(core, store)
    {
        if (store->answered_ns != 0 && store->answered != STATUS_OK)
            trouble = store->trouble;
    }
    return trouble;
}

void core_ready_poll(struct core *core, uint64_t now_ns)
{
    enum status status = STATUS_OK;
    const char *backend = NULL;
    bool known = true;
    struct core_store *store;
    CORE_EACH_STORE(core, store)
    {
        if (!fresh(store, now_ns) && store->probe.state.phase == PHASE_CLOSED)
            probe(store, now_ns);
        if (!fresh(store, now_ns)) {
            known = false;
        } else if (store->answered != STATUS_OK) {
            status = store->answered;
            backend = backend_name(store->backend);
        }
    }
    if (!known && status == STATUS_OK)
        return;
    struct core_waiter waiter;
    while (core_waiter_take(&core->ready_waiters, &waiter))
        waiter.ready(waiter.context, status, backend);
}
