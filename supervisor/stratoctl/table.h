/*
 * table - columns of text, as wide as what stands in them.
 */
#ifndef STRATO_SUPERVISOR_STRATOCTL_TABLE_H
#define STRATO_SUPERVISOR_STRATOCTL_TABLE_H

#include <stdint.h>

enum { TABLE_COLUMNS = 12, TABLE_CELL = 200 };

struct table; /* rows of cells */

struct table *table_new(void);
/* Prints and frees it. */
void table_print(struct table **table);
/* Appends a row of cells, up to NULL. A cell that begins with '>' is set right, without it. */
void table_row(struct table *table, ...) __attribute__((sentinel));

/* Short forms, in a static buffer of which the last few results stay valid: "1.2M", "3h12m". */
const char *table_bytes(double bytes);
const char *table_number(double number);
const char *table_time(double seconds);

#endif
