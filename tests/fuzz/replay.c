/*
 * replay - runs a fuzz target without a fuzzer: over its corpus, then over inputs derived from it.
 *
 * A test program: fuzz_NAME CORPUS_DIRECTORY. The derived inputs come from a fixed seed, so that a
 * failure repeats. Fails by the sanitizers, by a crash, or when the corpus cannot be read.
 */
#include <dirent.h>
#include <err.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INPUT_MAX = 16384, CORPUS_MAX = 256, DERIVED = 20000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct input {
    uint8_t *data;
    size_t len;
} corpus[CORPUS_MAX];
static unsigned corpus_count;
static uint64_t state = 0x9e3779b97f4a7c15u;

/* xorshift64*: any fixed, well mixed sequence will do. */
static uint64_t next_random(void)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545f4914f6cdd1du;
}

/* Runs the target on a copy of exactly this length, so that asan sees a read past its end. */
static void run(const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);
    if (!copy)
        err(1, "malloc");
    if (len)
        memcpy(copy, data, len);
    LLVMFuzzerTestOneInput(copy, len);
    free(copy);
}

static void load(const char *path)
{
    static uint8_t data[INPUT_MAX];
    FILE *file = fopen(path, "re");
    if (!file)
        err(1, "%s", path);
    size_t len = fread(data, 1, sizeof data, file);
    fclose(file);
    if (corpus_count == CORPUS_MAX)
        errx(1, "more than %d inputs in the corpus", CORPUS_MAX);
    struct input *input = &corpus[corpus_count++];
    *input = (struct input){malloc(len + 1), len};
    if (!input->data)
        err(1, "malloc");
    memcpy(input->data, data, len);
    run(data, len);
}

static void load_all(const char *directory)
{
    DIR *dir = opendir(directory);
    if (!dir)
        err(1, "%s", directory);
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[4096];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        load(path);
    }
    closedir(dir);
    if (corpus_count == 0)
        errx(1, "%s: no input", directory);
}

/* A corpus entry with a few bytes changed, a part cut out or the tail of another one put on. */
static size_t derive(uint8_t *out)
{
    const struct input *a = &corpus[next_random() % corpus_count];
    const struct input *b = &corpus[next_random() % corpus_count];
    size_t keep = next_random() % 4 ? a->len : next_random() % (a->len + 1);
    memcpy(out, a->data, keep);
    size_t len = keep;
    if (next_random() % 4 == 0) {
        size_t from = next_random() % (b->len + 1);
        size_t more = b->len - from;
        if (more > INPUT_MAX - len)
            more = INPUT_MAX - len;
        memcpy(out + len, b->data + from, more);
        len += more;
    }
    for (uint64_t n = next_random() % 8; n > 0 && len > 0; n--)
        out[next_random() % len] = (uint8_t)next_random();
    return len;
}

int main(int argc, char **argv)
{
    static uint8_t out[INPUT_MAX];
    if (argc != 2)
        errx(2, "usage: %s CORPUS_DIRECTORY", argv[0]);
    load_all(argv[1]);
    for (int i = 0; i < DERIVED; i++)
        run(out, derive(out));
    printf("%u inputs of the corpus and %d derived from them\n", corpus_count, DERIVED);
    for (unsigned i = 0; i < corpus_count; i++)
        free(corpus[i].data);
    return 0;
}
