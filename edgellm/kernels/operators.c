// The operators edgellm::MatMulRows, MatMulRowGroups and MatMulBlocks, and the library's entry. What each
// is in standard operators stands in edgellm/quantize/operators.py.
//
// x (..., inputs) float -> y (..., outputs) float. Every row of x is quantized to int8, each group of its
// inputs with a range of its own; the products of a group are integers. The weights are
//
// - of MatMulRows and MatMulRowGroups: weight (outputs, inputs) or (outputs, groups, inputs / groups)
//   int8; sums (outputs) or (groups, outputs) int32, those of the weights; scales (outputs) float
// - of MatMulBlocks, as MatMulNBits has them: weight (outputs, groups, inputs / groups / 2) uint8, two
//   weights in a byte; scales (outputs, groups) float; zero points (outputs, groups / 2) uint8

#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include "onnxruntime.h"

enum { INPUT_X, INPUT_WEIGHT, INPUT_SUMS, INPUT_SCALES, INPUTS };
enum { INPUT_SCALES_4 = 2, INPUT_ZEROS_4 = 3 };  // of MatMulBlocks, with as many inputs
enum { MOST_RANK = 8, LINE_BYTES = 64 };
// Products of a task: enough to be worth waking a thread for.
enum { TASK_PRODUCTS = 1 << 16 };

typedef struct {
    const OrtApi *api;
    const Variant *variant;
    size_t groups, inputs, depth;  // of a group: inputs, and those with their padding
    size_t outputs, panels;
    Bits bits;
    size_t panel_bytes;
    uint8_t *weight;  // panel by panel
    int32_t *sums;    // (panels, groups, PANEL), padded to whole panels; none of 4 bits
    int32_t *zeros;   // as the sums; none of 8 bits
    float *scales;    // (panels, PANEL), or with 4 bits as the zeros
} Kernel;

typedef struct {
    const Kernel *kernel;
    const float *x;
    float *y;
    size_t rows;
    int8_t *quantized;  // (rows, groups, depth)
    Range *ranges;      // (rows, groups)
    size_t share;       // rows, or panels, of one task
} Call;

#define TRY(call)                         \
    do {                                  \
        OrtStatus *status_ = (call);      \
        if (status_) return status_;      \
    } while (0)

static size_t round_up(size_t value, size_t step) { return (value + step - 1) / step * step; }

static size_t least(size_t one, size_t other) { return one < other ? one : other; }

// Zeroed, at the start of a cache line.
static void *reserve(size_t bytes) {
    void *place = aligned_alloc(LINE_BYTES, round_up(bytes, LINE_BYTES));
    return place ? memset(place, 0, bytes) : NULL;
}

static OrtStatus *dimensions(const OrtApi *api, const OrtValue *value, int64_t *sizes,
                             size_t *rank) {
    OrtShape *shape;
    TRY(api->get_shape(value, &shape));
    OrtStatus *status = api->get_rank(shape, rank);
    if (!status && *rank > MOST_RANK)
        status = api->create_status(ORT_FAIL, "MatMulRows: more than 8 dimensions");
    if (!status) status = api->get_dimensions(shape, sizes, *rank);
    api->release_shape(shape);
    return status;
}

static OrtStatus *constant(const OrtApi *api, const OrtKernelInfo *info, size_t index,
                           const OrtValue **value, const void **data) {
    int is_constant = 0;
    TRY(api->get_constant_input(info, index, &is_constant, value));
    if (!is_constant) return api->create_status(ORT_FAIL, "MatMulRows: weights must be constant");
    return api->get_data((OrtValue *)*value, (void **)data);
}

static void destroy(void *made) {
    Kernel *kernel = made;
    if (!kernel) return;
    free(kernel->weight);
    free(kernel->sums);
    free(kernel->zeros);
    free(kernel->scales);
    free(kernel);
}

static void pack(Kernel *kernel, const int8_t *weight, const int32_t *sums) {
    const size_t lanes = kernel->variant->lanes, together = kernel->variant->together;
    uint8_t *out = kernel->weight;
    for (size_t first = 0; first < kernel->panels * PANEL; first += lanes)
        for (size_t group = 0; group < kernel->groups; group++)
            for (size_t at = 0; at < kernel->depth; at += together)
                for (size_t output = first; output < first + lanes; output++, out += together)
                    if (output < kernel->outputs && at < kernel->inputs)
                        memcpy(out,
                               weight + (output * kernel->groups + group) * kernel->inputs + at,
                               least(together, kernel->inputs - at));
    for (size_t output = 0; output < kernel->outputs; output++)
        for (size_t group = 0; group < kernel->groups; group++)
            kernel->sums[(output / PANEL * kernel->groups + group) * PANEL + output % PANEL] =
                sums[group * kernel->outputs + output];
}

// Weights of 4 bits lie two in a byte, the first low; so do their zero points.
static uint8_t nibble(const uint8_t *data, size_t index) {
    return data[index / 2] >> index % 2 * 4 & 15;
}

static void pack_4(Kernel *kernel, const uint8_t *weight, const float *scales,
                   const uint8_t *zeros) {
    const size_t lanes = kernel->variant->lanes, together = kernel->variant->together;
    const size_t groups = kernel->groups, depth = kernel->depth;
    uint8_t *out = kernel->weight;
    for (size_t first = 0; first < kernel->panels * PANEL; first += lanes)
        for (size_t group = 0; group < groups; group++)
            for (size_t at = 0; at < depth; at += 2 * together)
                for (size_t output = first; output < first + lanes; output++)
                    for (size_t index = at; index < at + together; index++, out++) {
                        if (output >= kernel->outputs) continue;
                        const uint8_t *from = weight + (output * groups + group) * depth / 2;
                        *out = nibble(from, index) | nibble(from, index + together) << 4;
                    }
    for (size_t output = 0; output < kernel->outputs; output++)
        for (size_t group = 0; group < groups; group++) {
            const size_t place = (output / PANEL * groups + group) * PANEL + output % PANEL;
            kernel->zeros[place] = nibble(zeros + output * ((groups + 1) / 2), group);
            kernel->scales[place] = scales[output * groups + group];
        }
}

// A kernel for a weight of `shape`, (outputs, inputs) or (outputs, groups, inputs of a group).
static Kernel *reserve_kernel(const OrtApi *api, const int64_t *shape, size_t rank, Bits bits) {
    Kernel *kernel = calloc(1, sizeof *kernel);
    if (!kernel) return NULL;
    kernel->api = api;
    kernel->bits = bits;
    kernel->variant = choose_variant(bits);
    kernel->outputs = (size_t)shape[0];
    kernel->groups = rank == 3 ? (size_t)shape[1] : 1;
    kernel->inputs = (size_t)shape[rank - 1];
    kernel->depth = round_up(kernel->inputs, DEPTH_STEP);
    kernel->panels = round_up(kernel->outputs, PANEL) / PANEL;
    kernel->panel_bytes = PANEL * kernel->groups * kernel->depth / (bits == BITS_4 ? 2 : 1);
    const size_t places = kernel->panels * PANEL * kernel->groups;
    const size_t scales = bits == BITS_4 ? places : kernel->panels * PANEL;
    kernel->weight = reserve(kernel->panels * kernel->panel_bytes);
    kernel->sums = reserve(bits == BITS_8 ? places * sizeof *kernel->sums : 1);
    kernel->zeros = reserve(bits == BITS_4 ? places * sizeof *kernel->zeros : 1);
    kernel->scales = reserve(scales * sizeof *kernel->scales);
    if (kernel->weight && kernel->sums && kernel->zeros && kernel->scales) return kernel;
    destroy(kernel);
    return NULL;
}

static OrtStatus *create(const OrtApi *api, const OrtKernelInfo *info, Bits bits, void **made) {
    const OrtValue *values[INPUTS];
    const void *data[INPUTS];
    for (size_t index = INPUT_WEIGHT; index < INPUTS; index++)
        TRY(constant(api, info, index, &values[index], &data[index]));
    int64_t shape[MOST_RANK];
    size_t rank;
    TRY(dimensions(api, values[INPUT_WEIGHT], shape, &rank));
    if (rank != 3 && !(rank == 2 && bits == BITS_8))
        return api->create_status(ORT_FAIL, "MatMulRows: the weight has other dimensions");
    if (bits == BITS_4) shape[2] *= 2;
    if (bits == BITS_4 && shape[2] != 32 && shape[2] != 64 && shape[2] != 128)
        return api->create_status(ORT_FAIL, "MatMulBlocks: blocks of other than 32, 64 or 128");
    Kernel *kernel = reserve_kernel(api, shape, rank, bits);
    if (!kernel) return api->create_status(ORT_FAIL, "MatMulRows: out of memory");
    if (bits == BITS_4) {
        pack_4(kernel, data[INPUT_WEIGHT], data[INPUT_SCALES_4], data[INPUT_ZEROS_4]);
    } else {
        pack(kernel, data[INPUT_WEIGHT], data[INPUT_SUMS]);
        memcpy(kernel->scales, data[INPUT_SCALES], kernel->outputs * sizeof *kernel->scales);
    }
    *made = kernel;
    return NULL;
}

static OrtStatus *create_8(const OrtCustomOp *op, const OrtApi *api, const OrtKernelInfo *info,
                           void **made) {
    return (void)op, create(api, info, BITS_8, made);
}

static OrtStatus *create_4(const OrtCustomOp *op, const OrtApi *api, const OrtKernelInfo *info,
                           void **made) {
    return (void)op, create(api, info, BITS_4, made);
}

// The groups of all rows lie one after the other, before and after.
static void quantize_some(void *given, size_t task) {
    Call *call = given;
    const size_t inputs = call->kernel->inputs, depth = call->kernel->depth;
    const size_t end = least((task + 1) * call->share, call->rows * call->kernel->groups);
    for (size_t at = task * call->share; at < end; at++)
        call->ranges[at] = quantize(call->x + at * inputs, inputs, depth, call->kernel->bits,
                                    call->quantized + at * depth);
}

static void multiply_tile(const Call *call, size_t panel, size_t row, int rows) {
    const Kernel *kernel = call->kernel;
    const size_t groups = kernel->groups, depth = kernel->depth;
    const size_t output = panel * PANEL, outputs = least(PANEL, kernel->outputs - output);
    float last[MOST_ROWS][PANEL];
    float *y = call->y + row * kernel->outputs + output;
    const Tile tile = {
        .panel = kernel->weight + panel * kernel->panel_bytes,
        .x = call->quantized + row * groups * depth,
        .ranges = call->ranges + row * groups,
        .groups = groups,
        .depth = depth,
        .sums = kernel->sums + output * groups,
        .zeros = kernel->zeros + output * groups,
        .scales = kernel->scales + output * (kernel->bits == BITS_4 ? groups : 1),
        .y = outputs < PANEL ? last[0] : y,
        .y_stride = outputs < PANEL ? PANEL : kernel->outputs,
    };
    kernel->variant->multiply(&tile, rows);
    for (int index = 0; outputs < PANEL && index < rows; index++)
        memcpy(y + index * kernel->outputs, last[index], outputs * sizeof *y);
}

static void multiply_some(void *given, size_t task) {
    Call *call = given;
    const size_t most = call->kernel->variant->rows;
    const size_t end = least((task + 1) * call->share, call->kernel->panels);
    for (size_t panel = task * call->share; panel < end; panel++)
        for (size_t row = 0; row < call->rows; row += most)
            multiply_tile(call, panel, row, (int)least(most, call->rows - row));
}

static OrtStatus *run(const Call *call, const OrtKernelContext *context, size_t count,
                      size_t products, void (*work)(void *, size_t)) {
    Call own = *call;
    own.share = round_up(TASK_PRODUCTS, products) / products;
    const size_t tasks = (count + own.share - 1) / own.share;
    if (tasks > 1) return own.kernel->api->parallel_for(context, work, tasks, 0, &own);
    work(&own, 0);
    return NULL;
}

static OrtStatus *compute(void *made, OrtKernelContext *context) {
    const Kernel *kernel = made;
    const OrtApi *api = kernel->api;
    const OrtValue *x;
    OrtValue *y;
    int64_t shape[MOST_RANK];
    size_t rank;
    Call call = {.kernel = kernel, .rows = 1};
    TRY(api->get_input(context, INPUT_X, &x));
    TRY(dimensions(api, x, shape, &rank));
    if (rank == 0 || shape[rank - 1] != (int64_t)(kernel->groups * kernel->inputs))
        return api->create_status(ORT_FAIL, "MatMulRows: rows and weight differ in length");
    for (size_t axis = 0; axis + 1 < rank; axis++) call.rows *= (size_t)shape[axis];
    shape[rank - 1] = (int64_t)kernel->outputs;
    TRY(api->get_output(context, 0, shape, rank, &y));
    TRY(api->get_data((OrtValue *)x, (void **)&call.x));
    TRY(api->get_data(y, (void **)&call.y));
    if (call.rows == 0) return NULL;
    const size_t ranges = call.rows * kernel->groups;
    const size_t bytes = ranges * (kernel->depth + sizeof *call.ranges);
    call.quantized = aligned_alloc(LINE_BYTES, round_up(bytes, LINE_BYTES));
    if (!call.quantized) return api->create_status(ORT_FAIL, "MatMulRows: out of memory");
    call.ranges = (Range *)(call.quantized + ranges * kernel->depth);
    OrtStatus *status = run(&call, context, ranges, kernel->inputs, quantize_some);
    if (!status) {
        const size_t products = ranges * kernel->depth * PANEL;
        status = run(&call, context, kernel->panels, products, multiply_some);
    }
    free(call.quantized);
    return status;
}

static const char *rows_name(const OrtCustomOp *op) { return (void)op, "MatMulRows"; }
static const char *groups_name(const OrtCustomOp *op) { return (void)op, "MatMulRowGroups"; }
static const char *blocks_name(const OrtCustomOp *op) { return (void)op, "MatMulBlocks"; }
static const char *provider(const OrtCustomOp *op) { return (void)op, "CPUExecutionProvider"; }
static size_t input_count(const OrtCustomOp *op) { return (void)op, INPUTS; }
static size_t output_count(const OrtCustomOp *op) { return (void)op, 1; }
static int output_type(const OrtCustomOp *op, size_t index) {
    return (void)op, (void)index, ORT_FLOAT;
}
static int none(const OrtCustomOp *op, size_t index) { return (void)op, (void)index, 0; }
static int zero(const OrtCustomOp *op) { return (void)op, 0; }
static int input_type(const OrtCustomOp *op, size_t index) {
    static const int TYPES[INPUTS] = {ORT_FLOAT, ORT_INT8, ORT_INT32, ORT_FLOAT};
    return (void)op, TYPES[index];
}
static int input_type_4(const OrtCustomOp *op, size_t index) {
    static const int TYPES[INPUTS] = {ORT_FLOAT, ORT_UINT8, ORT_FLOAT, ORT_UINT8};
    return (void)op, TYPES[index];
}

#define OPERATOR(of_name, of_types, of_create)                                            \
    {                                                                                     \
        .version = ORT_CUSTOM_OP_VERSION, .name = of_name, .provider = provider,          \
        .input_type = of_types, .input_count = input_count, .output_type = output_type,   \
        .output_count = output_count, .destroy = destroy, .input_characteristic = none,   \
        .output_characteristic = none, .input_memory = none, .variadic_input_least = zero, \
        .variadic_input_alike = zero, .variadic_output_least = zero,                      \
        .variadic_output_alike = zero, .create = of_create, .compute = compute,           \
    }
static const OrtCustomOp OPERATORS[] = {
    OPERATOR(rows_name, input_type, create_8),
    OPERATOR(groups_name, input_type, create_8),
    OPERATOR(blocks_name, input_type_4, create_4),
};

// What onnxruntime calls when the library is registered with a session.
__attribute__((visibility("default"))) OrtStatus *RegisterCustomOps(OrtSessionOptions *options,
                                                                   const OrtApiBase *base) {
    const OrtApi *api = base->get_api(ORT_API_VERSION);
    OrtDomain *domain;
    TRY(api->create_domain("edgellm", &domain));
    for (size_t index = 0; index < sizeof OPERATORS / sizeof *OPERATORS; index++)
        TRY(api->add_operator(domain, &OPERATORS[index]));
    return api->add_domain(options, domain);
}
