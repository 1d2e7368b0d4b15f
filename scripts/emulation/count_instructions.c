/* A QEMU plugin that counts executed instructions into a file that the guest reads while it runs.
 *
 *     qemu-aarch64 -plugin count_instructions.so,counts=FILE ...
 *
 * FILE holds, in the machine's byte order: a magic number, the number of slots in use, and a count
 * for each slot, all 64 bits wide; see edgellm/measure/emulation.py, which reads it. A slot belongs
 * to one thread, in the order in which they began, so that counting needs no lock and a reader can
 * tell the threads that came later. A block is counted when it begins: one that is left halfway by a
 * signal counts whole.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <qemu-plugin.h>

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

#define MAGIC 0x736e6c6c65676465u
#define SLOTS 4096

struct counts {
    uint64_t magic;
    uint64_t used;
    uint64_t slot[SLOTS];
};

static struct counts *counts;

/* Processors are threads in user mode; the number of one that ended is given again. */
static uint64_t slot_of[SLOTS];

static void on_block(unsigned int processor, void *instructions)
{
    if (processor < SLOTS && slot_of[processor] < SLOTS)
        counts->slot[slot_of[processor]] += (uintptr_t)instructions;
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_cb(block, on_block, QEMU_PLUGIN_CB_NO_REGS,
                                         (void *)(uintptr_t)qemu_plugin_tb_n_insns(block));
}

/* Beyond SLOTS nothing is counted; the reader sees it by the number in use, and refuses. */
static void on_processor(qemu_plugin_id_t id, unsigned int processor)
{
    uint64_t slot = __atomic_fetch_add(&counts->used, 1, __ATOMIC_RELAXED);

    (void)id;
    if (processor < SLOTS)
        slot_of[processor] = slot;
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc,
                                           char **argv)
{
    const char *path = NULL;
    int file;

    (void)info;
    for (int i = 0; i < argc; i++)
        if (strncmp(argv[i], "counts=", 7) == 0)
            path = argv[i] + 7;
    if (path == NULL) {
        fprintf(stderr, "count_instructions: name the file: counts=FILE\n");
        return -1;
    }
    file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (file < 0 || ftruncate(file, sizeof *counts) != 0) {
        perror(path);
        return -1;
    }
    counts = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (counts == MAP_FAILED) {
        perror(path);
        return -1;
    }
    counts->magic = MAGIC;
    qemu_plugin_register_vcpu_init_cb(id, on_processor);
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    return 0;
}
