/*
 * value - what the inspectors say alike of channels, services and values. strato-inspect; pure.
 */
#include <stdio.h>

#include "proto/base/op.h"
#include "proto/base/set.h"
#include "proto/run/run.h"
#include "store/inspect/inspect.h"

enum { VALUE_SHOWN = 256 };

void inspect_show_worker(json_t *to, uint32_t channel)
{
    static const struct conf none; /* the name does not depend on it */
    char name[RUN_NAME_MAX];
    (void)run_worker_name(&none, channel / RUN_LANES, name);
    show_number(to, "channel", channel);
    show_text(to, "worker", "%s", name);
    show_number(to, "lane", channel % RUN_LANES);
}

unsigned inspect_service(const char *name)
{
    unsigned service = 0;
    while (service < SERVICE_COUNT && strcmp(service_name((enum service)service), name) != 0)
        service++;
    return service;
}

void inspect_service_names(char *text, size_t size)
{
    size_t len = 0;
    *text = '\0';
    for (int i = 0; i < SERVICE_COUNT && len < size; i++)
        len += (size_t)snprintf(text + len, size - len, "%s%s", i ? ", " : "",
                                service_name((enum service)i));
}

static void show_items(json_t *to, struct bytes value)
{
    struct bytes item;
    uint64_t items = 0;
    while (set_next(&value, &item))
        items++;
    show_number(to, "items", items);
    if (value.len > 0)
        show_text(to, "after the items", "%zu bytes that are no item", value.len);
}

void inspect_show_value(json_t *to, unsigned service, struct bytes value, uint64_t whole_len)
{
    enum op_holds holds = service_info((enum service)service)->holds;
    int64_t number = 0;
    show_number(to, "value bytes", whole_len);
    if (holds == OP_HOLDS_NUMBER && value.len == sizeof number) {
        memcpy(&number, value.data, sizeof number);
        show_signed(to, "number", number);
    } else if (holds == OP_HOLDS_FLAG && value.len == 1) {
        show_flag(to, "flag", value.data[0] != 0);
    } else if (holds == OP_HOLDS_ITEMS && value.len == whole_len) {
        show_items(to, value);
    }
    show_bytes(to, "value", value, VALUE_SHOWN);
}
