/*
 * formats - which formats a database holds: one number for all of it, and one for the records of
 * each service (the column `format` of its row in operations.def).
 *
 *     meta    "STRATO-DISK" -> number          "format" -> struct format_entry, of the same number
 *             "format." + service -> struct format_entry; without it: format 1
 *
 * As long as a database holds nothing that release 0.2.0 does not know, its number is
 * FORMAT_FIRST, and that release can go on with it. 0.2.0 looks at that number alone, so it must
 * be raised before anything else is stored that 0.2.0 would misread.
 */
#ifndef STRATO_STORE_DISK_FORMATS_H
#define STRATO_STORE_DISK_FORMATS_H

#include "store/disk/env.h"

struct format_entry {
    uint32_t number;
    char release[20]; /* that wrote the number; ends with a NUL unless it fills it */
    /* Behind it, while records are brought to the next format: the key to go on with (steps.h). */
} __attribute__((packed));

/* Ends the process through run_child_fail() when the database is none of Strato, or it or a service
 * in it has a number that this program does not know. Only TABLE_META need be open. */
void formats_check(const struct env *env, MDB_txn *txn);
/* What a new database holds. STATUS_OK, STATUS_FULL, STATUS_DAMAGED. */
enum status formats_lay_out(struct env *env, MDB_txn *txn) MUST_CHECK;

/* The storage format of a service's records. */
uint32_t formats_of(const struct env *env, MDB_txn *txn, enum service service);
/* Where its records are brought to the next format: from which key on; empty: from the first. */
struct bytes formats_position(const struct env *env, MDB_txn *txn, enum service service);
/* STATUS_OK, STATUS_FULL, STATUS_DAMAGED. */
enum status formats_put(struct env *env, MDB_txn *txn, enum service service, uint32_t number,
                        struct bytes position) MUST_CHECK;

/* From now on 0.2.0 refuses the database. STATUS_OK, STATUS_FULL, STATUS_DAMAGED. */
enum status formats_raise(struct env *env, MDB_txn *txn) MUST_CHECK;

#endif
