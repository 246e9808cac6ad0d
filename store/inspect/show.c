/*
 * show - see show.h. strato-inspect; ends the process when memory runs out.
 */
#include "store/inspect/show.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "proto/base/log.h"

enum { TROUBLES_SHOWN = 50, INDENT = 2, NAME_WIDTH = 22, COLUMNS_MAX = 16, CELL_MAX = 80 };

static json_t *must(json_t *value)
{
    if (!value)
        panic("out of memory, or text that is not UTF-8");
    return value;
}

static void set(json_t *to, const char *name, json_t *value)
{
    if (json_object_set_new(to, name, must(value)) != 0)
        panic("out of memory");
}

json_t *show_object(json_t *parent, const char *name)
{
    json_t *object = json_object();
    set(parent, name, object);
    return object;
}

json_t *show_array(json_t *parent, const char *name)
{
    json_t *array = json_array();
    set(parent, name, array);
    return array;
}

json_t *show_row(json_t *array)
{
    json_t *row = must(json_object());
    if (json_array_append_new(array, row) != 0)
        panic("out of memory");
    return row;
}

void show_number(json_t *to, const char *name, uint64_t number)
{
    if (number > INT64_MAX)
        show_text(to, name, "%llu", (unsigned long long)number);
    else
        show_signed(to, name, (int64_t)number);
}

void show_signed(json_t *to, const char *name, int64_t number)
{
    set(to, name, json_integer(number));
}

void show_flag(json_t *to, const char *name, bool flag)
{
    set(to, name, json_boolean(flag));
}

void show_text(json_t *to, const char *name, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    set(to, name, json_string(text));
}

static bool is_plain(uint8_t byte)
{
    return byte >= 0x20 && byte < 0x7f && byte != '\\';
}

void show_bytes(json_t *to, const char *name, struct bytes bytes, size_t limit)
{
    struct buffer text = {0};
    for (size_t i = 0; i < bytes.len && i < limit; i++)
        if (is_plain(bytes.data[i]))
            buffer_append(&text, &bytes.data[i], 1);
        else
            buffer_append_format(&text, "\\x%02x", bytes.data[i]);
    if (bytes.len > limit)
        buffer_append_text(&text, "...");
    set(to, name, json_stringn(text.data ? (const char *)text.data : "", text.len));
    buffer_free(&text);
}

void show_time(json_t *to, const char *name, uint64_t ms)
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    char text[40];
    if (ms == 0)
        show_text(to, name, "never");
    else if (ms / 1000 > 253402300799u || !gmtime_r(&seconds, &tm)) /* the end of year 9999 */
        show_text(to, name, "%llu ms", (unsigned long long)ms);
    else if (strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm) > 0)
        show_text(to, name, "%s.%03uZ", text, (unsigned)(ms % 1000));
}

static int hex(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c ? strchr(digits, c | 0x20) : NULL;
    return at && *at ? (int)(at - digits) : -1;
}

bool show_unescape(const char *text, struct buffer *bytes)
{
    for (; *text; text++) {
        uint8_t byte = (uint8_t)*text;
        if (*text == '\\') {
            int high = text[1] == 'x' ? hex(text[2]) : -1, low = high < 0 ? -1 : hex(text[3]);
            if (low < 0)
                return false;
            byte = (uint8_t)((unsigned)high << 4 | (unsigned)low);
            text += 3;
        }
        buffer_append(bytes, &byte, 1);
    }
    return true;
}

/* ---- The report ---- */

void report_open(struct report *report)
{
    *report = (struct report){.root = must(json_object())};
}

void report_close(struct report *report)
{
    json_decref(report->root);
    report->root = NULL;
}

void report_trouble(struct report *report, const char *format, ...)
{
    char text[512];
    va_list args;
    json_t *array = json_object_get(report->root, "trouble");
    if (!array)
        array = show_array(report->root, "trouble");
    if (report->troubles++ >= TROUBLES_SHOWN)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (json_array_append_new(array, must(json_string(text))) != 0)
        panic("out of memory");
}

/* ---- Plain text ---- */

static void print_value(const json_t *value, char *cell, size_t size)
{
    if (json_is_string(value))
        snprintf(cell, size, "%s", json_string_value(value));
    else if (json_is_integer(value))
        snprintf(cell, size, "%lld", (long long)json_integer_value(value));
    else if (json_is_boolean(value))
        snprintf(cell, size, "%s", json_is_true(value) ? "yes" : "no");
    else
        snprintf(cell, size, "-");
}

/* The names of the first row are the heads of the columns. */
static void measure(const json_t *rows, size_t *widths)
{
    char cell[CELL_MAX];
    const char *name;
    size_t at;
    json_t *value, *row;
    json_array_foreach(rows, at, row)
    {
        size_t column = 0;
        json_object_foreach(row, name, value)
        {
            if (column >= COLUMNS_MAX)
                break;
            print_value(value, cell, sizeof cell);
            size_t width = strlen(cell) > strlen(name) ? strlen(cell) : strlen(name);
            if (width > widths[column])
                widths[column] = width;
            column++;
        }
    }
}

static void print_row(json_t *row, const size_t *widths, int indent, bool heads)
{
    char cell[CELL_MAX];
    const char *name;
    json_t *value;
    size_t column = 0;
    printf("%*s", indent, "");
    json_object_foreach(row, name, value)
    {
        if (column >= COLUMNS_MAX)
            break;
        print_value(value, cell, sizeof cell);
        bool right = json_is_integer(value), last = column + 1 == json_object_size(row);
        int width = last && !right ? 0 : (int)widths[column];
        printf("%s%*s", column ? "  " : "", right ? width : -width, heads ? name : cell);
        column++;
    }
    printf("\n");
}

static void print_array(json_t *array, int indent)
{
    size_t at, widths[COLUMNS_MAX] = {0};
    json_t *value;
    if (json_is_object(json_array_get(array, 0))) {
        measure(array, widths);
        print_row(json_array_get(array, 0), widths, indent, true);
    }
    json_array_foreach(array, at, value)
    {
        if (json_is_object(value))
            print_row(value, widths, indent, false);
        else
            printf("%*s%s\n", indent, "", json_string_value(value));
    }
}

static void print_object(json_t *object)
{
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
    {
        char cell[4096];
        print_value(value, cell, sizeof cell);
        if (json_is_object(value)) {
            const char *inner;
            json_t *member;
            printf("%s:\n", name);
            json_object_foreach(value, inner, member)
            {
                print_value(member, cell, sizeof cell);
                printf("%*s%-*s %s\n", INDENT, "", NAME_WIDTH - INDENT, inner, cell);
            }
        } else if (json_is_array(value)) {
            printf("%s:%s\n", name, json_array_size(value) ? "" : " none");
            print_array(value, INDENT);
        } else {
            printf("%-*s %s\n", NAME_WIDTH, name, cell);
        }
    }
}

bool report_print(const struct report *report, bool json)
{
    if (json)
        json_dumpf(report->root, stdout, JSON_INDENT(2));
    else
        print_object(report->root);
    if (json)
        printf("\n");
    else if (report->troubles > TROUBLES_SHOWN)
        printf("%*sand %u more\n", INDENT, "", report->troubles - TROUBLES_SHOWN);
    return fflush(stdout) == 0 && !ferror(stdout);
}
