// NEON, dot product and matrix product instructions: the same numbers, since all is integer.

#include <arm_neon.h>
#include <math.h>
#include <string.h>
#include <sys/auxv.h>

#include "kernels.h"

#define TILE(feature) static inline __attribute__((always_inline, target(feature))) void
// An array that a loop indexes stays in memory; unrolled, in registers.
#define UNROLL _Pragma("clang loop unroll(full)")
#define UNROLL_TWICE _Pragma("clang loop unroll_count(2)")

static inline __attribute__((always_inline)) int32x4_t load_range(const Tile *tile, int row,
                                                                   size_t group) {
    return vld1q_s32((const int32_t *)(tile->ranges + row * tile->groups + group));
}

// Four outputs' sums of a group become floats, and join those of the groups before.
static inline __attribute__((always_inline)) float32x4_t add_group(
    const Tile *tile, float32x4_t y, int32x4_t sums, int row, size_t group, int output) {
    const int32x4_t range = load_range(tile, row, group);
    const int32x4_t weights = vld1q_s32(tile->sums + group * PANEL + output);
    const int32x4_t whole = vmlsq_laneq_s32(sums, weights, range, 1);
    const float32x4_t scale = vreinterpretq_f32_s32(range);
    return vaddq_f32(y, vmulq_laneq_f32(vcvtq_f32_s32(whole), scale, 0));
}

// The same of weights of 4 bits, whose scales and zero points are a group's; for all rows.
static inline __attribute__((always_inline)) void add_groups_4(
    const Tile *tile, float32x4_t y[], const int32x4_t sums[], int rows, size_t group, int output) {
    const size_t place = group * PANEL + output;
    const int32x4_t zeros = vld1q_s32(tile->zeros + place);
    const float32x4_t scales = vld1q_f32(tile->scales + place);
    for (int row = 0; row < rows; row++) {
        const int32x4_t range = load_range(tile, row, group);
        const int32x4_t whole = vmlsq_laneq_s32(sums[row], zeros, range, 2);
        const float32x4_t real = vmulq_f32(vcvtq_f32_s32(whole), scales);
        y[row] = vfmaq_laneq_f32(y[row], real, vreinterpretq_f32_s32(range), 0);
    }
}

static inline __attribute__((always_inline)) void store(const Tile *tile, float32x4_t y, int row,
                                                        int output) {
    const float32x4_t scales = vld1q_f32(tile->scales + output);
    vst1q_f32(tile->y + row * tile->y_stride + output, vmulq_f32(y, scales));
}

// Armv8.0: two products of 16 bits fit 16 bits (2 * 128 * 127 < 32768), then pairs are widened.
TILE("arch=armv8-a") neon_step(const int8_t *weight, const int8_t *first, size_t stride, int rows,
                               int32x4_t total[4][4]) {
    int8x16_t x[4];
    for (int row = 0; row < rows; row++) x[row] = vld1q_s8(first + row * stride);
    for (int output = 0; output < 4; output++) {
        const int8x16_t w = vld1q_s8(weight + 16 * output);
        for (int row = 0; row < rows; row++) {
            int16x8_t pair = vmull_s8(vget_low_s8(x[row]), vget_low_s8(w));
            pair = vmlal_high_s8(pair, x[row], w);
            total[row][output] = vpadalq_s16(total[row][output], pair);
        }
    }
}

TILE("arch=armv8-a") neon_tile(const Tile *tile, int rows) {
    const size_t groups = tile->groups, depth = tile->depth;
    const int8_t *weight = tile->panel;
    for (int block = 0; block < PANEL; block += 4) {
        float32x4_t y[4] = {0};
        for (size_t group = 0; group < groups; group++, weight += 4 * depth) {
            const int8_t *x = tile->x + group * depth;
            int32x4_t total[4][4];
            for (int row = 0; row < rows; row++)
                for (int output = 0; output < 4; output++) total[row][output] = vdupq_n_s32(0);
            if (rows == 1)
                UNROLL_TWICE
                for (size_t at = 0; at < depth; at += 16)
                    neon_step(weight + 4 * at, x + at, groups * depth, rows, total);
            else
                for (size_t at = 0; at < depth; at += 16)
                    neon_step(weight + 4 * at, x + at, groups * depth, rows, total);
            for (int row = 0; row < rows; row++) {
                const int32x4_t low = vpaddq_s32(total[row][0], total[row][1]);
                const int32x4_t high = vpaddq_s32(total[row][2], total[row][3]);
                y[row] = add_group(tile, y[row], vpaddq_s32(low, high), row, group, block);
            }
        }
        for (int row = 0; row < rows; row++) store(tile, y[row], row, block);
    }
}

// Armv8.2 dot product: four products of each lane at once, the row's by lane.
TILE("arch=armv8.2-a+dotprod") dot_step(const int8_t *weight, const int8_t *first, size_t stride,
                                        int rows, int32x4_t total[4][4]) {
    int8x16_t x[4];
    for (int row = 0; row < rows; row++) x[row] = vld1q_s8(first + row * stride);
#define FOUR_INPUTS(lane)                                                          \
    for (int part = 0; part < 4; part++) {                                         \
        const int8x16_t w = vld1q_s8(weight + 64 * lane + 16 * part);              \
        for (int row = 0; row < rows; row++)                                       \
            total[row][part] = vdotq_laneq_s32(total[row][part], w, x[row], lane); \
    }
    FOUR_INPUTS(0)
    FOUR_INPUTS(1)
    FOUR_INPUTS(2)
    FOUR_INPUTS(3)
}

TILE("arch=armv8.2-a+dotprod") dot_tile(const Tile *tile, int rows) {
    const size_t groups = tile->groups, depth = tile->depth;
    const int8_t *weight = tile->panel;
    float32x4_t y[4][4] = {0};
    for (size_t group = 0; group < groups; group++, weight += PANEL * depth) {
        const int8_t *x = tile->x + group * depth;
        int32x4_t total[4][4];
        for (int row = 0; row < rows; row++)
            for (int part = 0; part < 4; part++) total[row][part] = vdupq_n_s32(0);
        if (rows == 1)
            UNROLL_TWICE
            for (size_t at = 0; at < depth; at += 16)
                dot_step(weight + 16 * at, x + at, groups * depth, rows, total);
        else
            for (size_t at = 0; at < depth; at += 16)
                dot_step(weight + 16 * at, x + at, groups * depth, rows, total);
        for (int row = 0; row < rows; row++)
            for (int part = 0; part < 4; part++)
                y[row][part] =
                    add_group(tile, y[row][part], total[row][part], row, group, 4 * part);
    }
    for (int row = 0; row < rows; row++)
        for (int part = 0; part < 4; part++) store(tile, y[row][part], row, 4 * part);
}

// Armv8.6 matrix product: two rows with two outputs, eight inputs at once.
TILE("arch=armv8.6-a+i8mm") matrix_step(const int8_t *weight, const int8_t *first, size_t stride,
                                        int rows, int32x4_t total[4][4]) {
    const int pairs = (rows + 1) / 2;
    int8x16_t x[4][2];
    for (int pair = 0; pair < pairs; pair++) {
        const int8_t *row = first + 2 * pair * stride;
        const int64x2_t one = vreinterpretq_s64_s8(vld1q_s8(row));
        const int64x2_t two =
            2 * pair + 1 < rows ? vreinterpretq_s64_s8(vld1q_s8(row + stride)) : one;
        x[pair][0] = vreinterpretq_s8_s64(vzip1q_s64(one, two));
        x[pair][1] = vreinterpretq_s8_s64(vzip2q_s64(one, two));
    }
    for (int half = 0; half < 2; half++)
        for (int part = 0; part < 4; part++) {
            const int8x16_t w = vld1q_s8(weight + 64 * half + 16 * part);
            for (int pair = 0; pair < pairs; pair++)
                total[pair][part] = vmmlaq_s32(total[pair][part], x[pair][half], w);
        }
}

TILE("arch=armv8.6-a+i8mm") matrix_tile(const Tile *tile, int rows) {
    const size_t groups = tile->groups, depth = tile->depth;
    const int8_t *weight = tile->panel;
    for (int block = 0; block < PANEL; block += 8) {
        float32x4_t y[8][2] = {0};
        for (size_t group = 0; group < groups; group++, weight += 8 * depth) {
            const int8_t *x = tile->x + group * depth;
            int32x4_t total[4][4];
            for (int pair = 0; 2 * pair < rows; pair++)
                for (int part = 0; part < 4; part++) total[pair][part] = vdupq_n_s32(0);
            for (size_t at = 0; at < depth; at += 16)
                matrix_step(weight + 8 * at, x + at, groups * depth, rows, total);
            UNROLL
            for (int row = 0; row < rows; row++)
                for (int part = 0; part < 2; part++) {
                    const int64x2_t near = vreinterpretq_s64_s32(total[row / 2][2 * part]);
                    const int64x2_t far = vreinterpretq_s64_s32(total[row / 2][2 * part + 1]);
                    const int64x2_t four =
                        row % 2 ? vzip2q_s64(near, far) : vzip1q_s64(near, far);
                    y[row][part] = add_group(tile, y[row][part], vreinterpretq_s32_s64(four), row,
                                             group, block + 4 * part);
                }
        }
        for (int row = 0; row < rows; row++)
            for (int part = 0; part < 2; part++) store(tile, y[row][part], row, block + 4 * part);
    }
}

// 4 bits, Armv8.0: up to 16 products of 4 with 8 bits fit 16 bits (16 * 15 * 128 < 32768), which is
// what a lane takes of a group of 128 inputs.
TILE("arch=armv8-a") neon_step_4(const uint8_t *weight, const int8_t *first, size_t stride,
                                 int rows, int16x8_t total[4][4]) {
    int8x16_t near[4], far[4];
    for (int row = 0; row < rows; row++) {
        near[row] = vld1q_s8(first + row * stride);
        far[row] = vld1q_s8(first + row * stride + 16);
    }
    for (int output = 0; output < 4; output++) {
        const uint8x16_t both = vld1q_u8(weight + 16 * output);
        const int8x16_t low = vreinterpretq_s8_u8(vandq_u8(both, vdupq_n_u8(15)));
        const int8x16_t high = vreinterpretq_s8_u8(vshrq_n_u8(both, 4));
        for (int row = 0; row < rows; row++) {
            int16x8_t sums = total[row][output];
            sums = vmlal_s8(sums, vget_low_s8(near[row]), vget_low_s8(low));
            sums = vmlal_high_s8(sums, near[row], low);
            sums = vmlal_s8(sums, vget_low_s8(far[row]), vget_low_s8(high));
            total[row][output] = vmlal_high_s8(sums, far[row], high);
        }
    }
}

TILE("arch=armv8-a") neon_tile_4(const Tile *tile, int rows) {
    const size_t groups = tile->groups, depth = tile->depth;
    const uint8_t *weight = tile->panel;
    for (int block = 0; block < PANEL; block += 4) {
        float32x4_t y[4] = {0};
        for (size_t group = 0; group < groups; group++, weight += 2 * depth) {
            const int8_t *x = tile->x + group * depth;
            int16x8_t total[4][4];
            for (int row = 0; row < rows; row++)
                for (int output = 0; output < 4; output++) total[row][output] = vdupq_n_s16(0);
            for (size_t at = 0; at < depth; at += 32)
                neon_step_4(weight + 2 * at, x + at, groups * depth, rows, total);
            int32x4_t sums[4];
            for (int row = 0; row < rows; row++) {
                int32x4_t wide[4];
                for (int output = 0; output < 4; output++)
                    wide[output] = vpaddlq_s16(total[row][output]);
                const int32x4_t low = vpaddq_s32(wide[0], wide[1]);
                const int32x4_t high = vpaddq_s32(wide[2], wide[3]);
                sums[row] = vpaddq_s32(low, high);
            }
            add_groups_4(tile, y, sums, rows, group, block);
        }
        for (int row = 0; row < rows; row++)
            vst1q_f32(tile->y + row * tile->y_stride + block, y[row]);
    }
}

// 4 bits, dot product: eight outputs at once, so that their floats stay in registers.
TILE("arch=armv8.2-a+dotprod") dot_step_4(const uint8_t *weight, const int8_t *first,
                                          size_t stride, int rows, int32x4_t total[2][4]) {
    int8x16_t x[4];
    for (int row = 0; row < rows; row++) x[row] = vld1q_s8(first + row * stride);
#define EIGHT_INPUTS(lane)                                                                \
    for (int part = 0; part < 2; part++) {                                                \
        const uint8x16_t both = vld1q_u8(weight + 16 * lane + 16 * part);                 \
        const int8x16_t low = vreinterpretq_s8_u8(vandq_u8(both, vdupq_n_u8(15)));        \
        const int8x16_t high = vreinterpretq_s8_u8(vshrq_n_u8(both, 4));                  \
        for (int row = 0; row < rows; row++) {                                            \
            total[part][row] = vdotq_laneq_s32(total[part][row], low, x[row], lane);      \
            total[part][row] = vdotq_laneq_s32(total[part][row], high, x[row], lane + 1); \
        }                                                                                 \
    }
    EIGHT_INPUTS(0)
    EIGHT_INPUTS(2)
}

TILE("arch=armv8.2-a+dotprod") dot_tile_4(const Tile *tile, int rows) {
    const size_t groups = tile->groups, depth = tile->depth;
    const uint8_t *weight = tile->panel;
    for (int block = 0; block < PANEL; block += 8) {
        float32x4_t y[2][4] = {0};
        for (size_t group = 0; group < groups; group++, weight += 4 * depth) {
            const int8_t *x = tile->x + group * depth;
            int32x4_t total[2][4];
            for (int part = 0; part < 2; part++)
                for (int row = 0; row < rows; row++) total[part][row] = vdupq_n_s32(0);
            if (rows == 1)
                UNROLL_TWICE
                for (size_t at = 0; at < depth; at += 16)
                    dot_step_4(weight + 4 * at, x + at, groups * depth, rows, total);
            else
                for (size_t at = 0; at < depth; at += 16)
                    dot_step_4(weight + 4 * at, x + at, groups * depth, rows, total);
            for (int part = 0; part < 2; part++)
                add_groups_4(tile, y[part], total[part], rows, group, block + 4 * part);
        }
        for (int row = 0; row < rows; row++)
            for (int part = 0; part < 2; part++)
                vst1q_f32(tile->y + row * tile->y_stride + block + 4 * part, y[part][row]);
    }
}

// A tile for every number of rows, so that each keeps its sums in registers.
#define ROWS(of_tile, count) \
    case count: of_tile(tile, count); return;
#define MULTIPLY(name, feature, ...)                                              \
    static __attribute__((target(feature))) void name(const Tile *tile, int rows) { \
        switch (rows) { __VA_ARGS__ }                                             \
    }

MULTIPLY(neon, "arch=armv8-a",
         ROWS(neon_tile, 1) ROWS(neon_tile, 2) ROWS(neon_tile, 3) ROWS(neon_tile, 4))
MULTIPLY(dot, "arch=armv8.2-a+dotprod",
         ROWS(dot_tile, 1) ROWS(dot_tile, 2) ROWS(dot_tile, 3) ROWS(dot_tile, 4))
MULTIPLY(matrix, "arch=armv8.6-a+i8mm",
         ROWS(matrix_tile, 1) ROWS(matrix_tile, 2) ROWS(matrix_tile, 3) ROWS(matrix_tile, 4)
         ROWS(matrix_tile, 5) ROWS(matrix_tile, 6) ROWS(matrix_tile, 7) ROWS(matrix_tile, 8))

MULTIPLY(neon_4, "arch=armv8-a",
         ROWS(neon_tile_4, 1) ROWS(neon_tile_4, 2) ROWS(neon_tile_4, 3) ROWS(neon_tile_4, 4))
MULTIPLY(dot_4, "arch=armv8.2-a+dotprod",
         ROWS(dot_tile_4, 1) ROWS(dot_tile_4, 2) ROWS(dot_tile_4, 3) ROWS(dot_tile_4, 4))

static const Variant NEON[] = {{4, 16, 4, neon}, {4, 16, 4, neon_4}};
static const Variant DOT[] = {{16, 4, 4, dot}, {8, 4, 4, dot_4}};
static const Variant MATRIX[] = {{8, 8, 8, matrix}, {8, 4, 4, dot_4}};

// Linux, arch/arm64/include/uapi/asm/hwcap.h
enum { CAP_ASIMDDP = 1 << 20 };  // of AT_HWCAP
enum { CAP2_I8MM = 1 << 13 };    // of AT_HWCAP2

const Variant *choose_variant(Bits bits) {
    if (getauxval(AT_HWCAP2) & CAP2_I8MM) return &MATRIX[bits];
    if (getauxval(AT_HWCAP) & CAP_ASIMDDP) return &DOT[bits];
    return &NEON[bits];
}

static int32_t sum(const int8_t *row, size_t count) {
    int32x4_t total = vdupq_n_s32(0);
    for (size_t at = 0; at < count; at += DEPTH_STEP)
        total = vpadalq_s16(total, vpaddlq_s8(vld1q_s8(row + at)));
    return vaddvq_s32(total);
}

// The floor under a scale: a row of zeros has no range. edgellm/quantize/rows.py has the same.
static const float SMALLEST_SCALE = 1e-30f;

Range quantize(const float *row, size_t count, size_t padded, Bits bits, int8_t *out) {
    float32x4_t high = vdupq_n_f32(0), low = high, high2 = high, low2 = high;
    size_t at = 0;
    for (; at + 8 <= count; at += 8) {
        const float32x4_t one = vld1q_f32(row + at), two = vld1q_f32(row + at + 4);
        high = vmaxq_f32(high, one), high2 = vmaxq_f32(high2, two);
        low = vminq_f32(low, one), low2 = vminq_f32(low2, two);
    }
    float top = vmaxvq_f32(vmaxq_f32(high, high2)), bottom = vminvq_f32(vminq_f32(low, low2));
    for (; at < count; at++) {
        top = row[at] > top ? row[at] : top;
        bottom = row[at] < bottom ? row[at] : bottom;
    }
    float step = (top - bottom) * (1.0f / 255.0f);
    if (bits == BITS_4) step = fmaxf(top, -bottom) / 127.0f;
    step = fmaxf(step, SMALLEST_SCALE);
    const float inverse = 1.0f / step;
    const int32_t zero = bits == BITS_4 ? 0 : -128 - vcvtns_s32_f32(bottom * inverse);
    const int32x4_t shift = vdupq_n_s32(zero);
    for (at = 0; at + 16 <= count; at += 16) {
        int32x4_t whole[4];
        for (int part = 0; part < 4; part++) {
            const float32x4_t x = vmulq_n_f32(vld1q_f32(row + at + 4 * part), inverse);
            whole[part] = vaddq_s32(vcvtnq_s32_f32(x), shift);
        }
        const int16x8_t front = vqmovn_high_s32(vqmovn_s32(whole[0]), whole[1]);
        const int16x8_t back = vqmovn_high_s32(vqmovn_s32(whole[2]), whole[3]);
        vst1q_s8(out + at, vqmovn_high_s16(vqmovn_s16(front), back));
    }
    for (; at < count; at++) {
        const int32_t whole = vcvtns_s32_f32(row[at] * inverse) + zero;
        out[at] = (int8_t)(whole < -128 ? -128 : whole > 127 ? 127 : whole);
    }
    memset(out + count, 0, padded - count);
    return (Range){step, zero, sum(out, padded), 0};
}
