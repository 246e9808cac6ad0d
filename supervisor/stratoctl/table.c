/*
 * table - see table.h. stratoctl; ends the program when memory runs out.
 */
#include "supervisor/stratoctl/table.h"

#include <err.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/text.h"

struct table {
    unsigned rows, capacity;
    char (*cells)[TABLE_COLUMNS][TABLE_CELL];
};

struct table *table_new(void)
{
    struct table *table = calloc(1, sizeof *table);
    if (!table)
        err(1, "out of memory");
    return table;
}

void table_row(struct table *table, ...)
{
    va_list args;
    const char *text;
    if (table->rows == table->capacity) {
        table->capacity = table->capacity ? 2 * table->capacity : 32;
        table->cells = realloc(table->cells, table->capacity * sizeof *table->cells);
        if (!table->cells)
            err(1, "out of memory");
    }
    memset(table->cells[table->rows], 0, sizeof table->cells[0]);
    va_start(args, table);
    for (unsigned i = 0; i < TABLE_COLUMNS && (text = va_arg(args, const char *)); i++) {
        snprintf(table->cells[table->rows][i], TABLE_CELL, "%s", text);
        text_flatten(table->cells[table->rows][i]);
    }
    va_end(args);
    table->rows++;
}

static const char *bare(const char *cell)
{
    return cell[0] == '>' ? cell + 1 : cell;
}

static void print_row(char (*row)[TABLE_CELL], const unsigned *widths)
{
    unsigned last = 0;
    for (unsigned i = 0; i < TABLE_COLUMNS; i++)
        if (*bare(row[i]))
            last = i;
    for (unsigned i = 0; i <= last; i++) {
        bool right = row[i][0] == '>';
        int width = i == last && !right ? 0 : (int)widths[i];
        printf("%s%*s", i ? "  " : "", right ? width : -width, bare(row[i]));
    }
    printf("\n");
}

void table_print(struct table **table)
{
    unsigned widths[TABLE_COLUMNS] = {0};
    for (unsigned r = 0; r < (*table)->rows; r++)
        for (unsigned i = 0; i < TABLE_COLUMNS; i++)
            if (strlen(bare((*table)->cells[r][i])) > widths[i])
                widths[i] = (unsigned)strlen(bare((*table)->cells[r][i]));
    for (unsigned r = 0; r < (*table)->rows; r++)
        print_row((*table)->cells[r], widths);
    free((*table)->cells);
    free(*table);
    *table = NULL;
}

static char *next_text(void)
{
    static char texts[TABLE_COLUMNS][32];
    static unsigned next;
    return texts[next++ % TABLE_COLUMNS];
}

static const char *scaled(double value, double step, const char *units)
{
    char *text = next_text();
    while (value >= step && units[1]) {
        value /= step;
        units++;
    }
    int digits = *units == ' ' || value >= 100 ? 0 : 1;
    snprintf(text, 32, ">%.*f%.*s", digits, value, *units == ' ' ? 0 : 1, units);
    return text;
}

const char *table_bytes(double bytes)
{
    return scaled(bytes, 1024, " KMGT");
}

const char *table_number(double number)
{
    return number < 100000 ? scaled(number, 1e18, " ") : scaled(number, 1000, " kMG");
}

const char *table_time(double seconds)
{
    char *text = next_text();
    if (seconds < 1e-3)
        snprintf(text, 32, ">%.0fus", seconds * 1e6);
    else if (seconds < 1)
        snprintf(text, 32, ">%.3gms", seconds * 1e3);
    else if (seconds < 60)
        snprintf(text, 32, ">%.0fs", seconds);
    else if (seconds < 3600)
        snprintf(text, 32, ">%ldm%02lds", (long)seconds / 60, (long)seconds % 60);
    else if (seconds < 86400)
        snprintf(text, 32, ">%ldh%02ldm", (long)seconds / 3600, (long)seconds / 60 % 60);
    else
        snprintf(text, 32, ">%ldd%02ldh", (long)seconds / 86400, (long)seconds / 3600 % 24);
    return text;
}
