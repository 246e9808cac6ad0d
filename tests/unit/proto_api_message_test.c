/*
 * The messages of operations: each that takes one has a row, and no message contains itself, for
 * protobuf-c does not bound how deep it unpacks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/api/message.h"

enum { DEPTH_MAX = 16 };

static void check(const ProtobufCMessageDescriptor *type, int depth)
{
    if (depth > DEPTH_MAX)
        fail_msg("%s contains itself, or more than %d messages in one another", type->name,
                 DEPTH_MAX);
    assert_true(type->n_fields <= 64); /* MESSAGE_FIELDS */
    for (unsigned i = 0; i < type->n_fields; i++)
        if (type->fields[i].type == PROTOBUF_C_TYPE_MESSAGE)
            check(type->fields[i].descriptor, depth + 1);
}

static void every_message_is_bounded(void **state)
{
    (void)state;
    for (int op = OP_NONE + 1; op < OP_COUNT; op++) {
        const struct api_messages *messages = api_messages((enum op)op);
        assert_int_equal(op_info((enum op)op)->takes == OP_TAKES_MESSAGE, messages != NULL);
        if (messages) {
            check(messages->request, 1);
            check(messages->reply, 1);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_message_is_bounded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
