/* Run llama.cpp on given tokens and print the instructions of each pass as one JSON object.
 *
 *     llamacpp_steps MODEL.gguf PROMPT DEPTH STEPS < IDS
 *
 * IDS are token ids as text. Passes: the first PROMPT ids at once, of which only the last yields
 * logits, as for an answer; then, with the first DEPTH ids in the cache, the STEPS ids after them
 * one by one. One thread; everything else is llama.cpp's default. The counts come from the file that
 * count_instructions.c keeps and EDGELLM_INSTRUCTIONS names.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <llama.h>

enum { MOST_IDS = 4096, SLOTS = 4096 };

struct counts { /* as in count_instructions.c */
    uint64_t magic;
    uint64_t used;
    uint64_t slot[SLOTS];
};

static const volatile struct counts *counts;
static struct llama_context *context;

static void stop(const char *why)
{
    fprintf(stderr, "llamacpp_steps: %s\n", why);
    exit(1);
}

static void be_quiet(enum ggml_log_level level, const char *text, void *data)
{
    (void)data;
    if (level == GGML_LOG_LEVEL_ERROR)
        fputs(text, stderr);
}

static void open_counts(void)
{
    const char *path = getenv("EDGELLM_INSTRUCTIONS");
    int file = path ? open(path, O_RDONLY) : -1;

    if (file < 0)
        stop("EDGELLM_INSTRUCTIONS must name the file of the counting plugin");
    counts = mmap(NULL, sizeof *counts, PROT_READ, MAP_SHARED, file, 0);
    if (counts == MAP_FAILED)
        stop("the file of the counting plugin cannot be mapped");
}

static uint64_t instructions(void)
{
    uint64_t total = 0;

    for (uint64_t i = 0; i < counts->used; i++)
        total += counts->slot[i];
    return total;
}

/* Returns the instructions of one pass over `number` ids, logits of the last one included. */
static uint64_t pass(llama_token *ids, int number)
{
    uint64_t before = instructions();

    if (llama_decode(context, llama_batch_get_one(ids, number)) != 0)
        stop("llama_decode failed");
    return instructions() - before;
}

/* Puts the instructions of the prompt, then those of each step, into `found`. */
static void run(llama_token *ids, int prompt, int depth, int steps, uint64_t *found)
{
    llama_memory_t memory = llama_get_memory(context);

    llama_memory_clear(memory, true);
    *found++ = pass(ids, prompt);
    llama_memory_clear(memory, true);
    if (depth > 1)
        pass(ids, depth - 1);
    pass(ids + depth - 1, 1); /* by itself: after many tokens, one alone takes a new graph */
    for (int i = 0; i < steps; i++)
        *found++ = pass(ids + depth + i, 1);
}

static void open_model(const char *path)
{
    struct llama_model *model;
    struct llama_context_params params = llama_context_default_params();

    llama_log_set(be_quiet, NULL);
    llama_backend_init();
    model = llama_model_load_from_file(path, llama_model_default_params());
    if (model == NULL)
        stop("the model cannot be loaded");
    params.n_threads = params.n_threads_batch = 1;
    context = llama_init_from_model(model, params);
    if (context == NULL)
        stop("no context can be made for the model");
}

int main(int argc, char **argv)
{
    static llama_token ids[MOST_IDS];
    static uint64_t found[MOST_IDS + 1];
    int known = 0, prompt, depth, steps;

    if (argc != 5)
        stop("usage: llamacpp_steps MODEL.gguf PROMPT DEPTH STEPS < IDS");
    prompt = atoi(argv[2]);
    depth = atoi(argv[3]);
    steps = atoi(argv[4]);
    while (known < MOST_IDS && scanf("%" SCNd32, &ids[known]) == 1)
        known++;
    if (prompt < 1 || depth < 1 || steps < 1 || known < prompt || known < depth + steps)
        stop("give at least as many ids as PROMPT, and as DEPTH + STEPS; each of them 1 or more");
    open_counts();
    open_model(argv[1]);

    run(ids, prompt, depth, steps, found);
    printf("{\"build\": \"%s\", \"prefill\": %" PRIu64 ", \"decode\": [", llama_print_system_info(),
           found[0]);
    for (int i = 1; i <= steps; i++)
        printf("%s%" PRIu64, i == 1 ? "" : ", ", found[i]);
    printf("]}\n");
    return 0;
}
